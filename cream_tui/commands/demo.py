"""`demo`: CREAM and plain self-rewarding on the embedded model, side by side, and what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cream_tui import diagnostics, output
from cream_tui.narrative import Arm, tell
from cream_tui.output import Cell
from cream_tui.result_table import LEGEND, RESULT_COLUMNS, build_record, build_result_rows
from cream_tui.results import read_results
from cream_tui.stores import format_command, open_run_reader
from cream_tui.text import make_visible
from db.paths import find_store_root
from db.rows import RunRow

CONFIG = "sandbox"
TAG = "demo"
# The baseline is first: later arms are compared with it.
ARMS = (("srlm", "SRLM"), ("cream", "CREAM"))
QUICK = ("iterations=2", "data.prompts_per_iteration=200", "evaluation.items=200")


def demo(store: str | None, *, is_quick: bool, seed: int, as_json: bool) -> int:
    """Run both arms and tell what happened."""
    root = find_store_root(store)
    diagnostics.narrate(f"A CREAM experiment on an embedded model; everything is kept in {root}")
    diagnostics.narrate("Two runs share M0, M1 and the first responses: CREAM, and plain self-rewarding (SRLM).\n")
    runs = _start(root, is_quick=is_quick, seed=seed)
    from cream_tui.commands.run import follow_to_end

    code = follow_to_end(root, store, runs)
    if code != diagnostics.ViewExit.CLOSED:
        _print(store, runs, as_json=as_json)
    return code


def _start(root: Path, *, is_quick: bool, seed: int) -> list[RunRow]:
    from engine.config.load import load_run_config
    from engine.runtime.control import start_run

    overrides = QUICK if is_quick else ()
    configs = [
        load_run_config(CONFIG, overrides=overrides, method=method, seed=seed, name=f"demo-{method}")
        for method, _ in ARMS
    ]
    return [start_run(root, config, tags=(TAG,)) for config in configs]


def _print(store: str | None, runs: Sequence[RunRow], *, as_json: bool) -> None:
    with open_run_reader(store) as (_, connection):
        arms = [
            Arm(title, tuple(read_results(connection, run.run_id))) for (_, title), run in zip(ARMS, runs, strict=True)
        ]
    sentences = tell(arms)
    if as_json:
        output.print_json(
            {
                "runs": [
                    {"run_id": run.run_id, "name": run.name, "models": [build_record(model) for model in arm.results]}
                    for run, arm in zip(runs, arms, strict=True)
                ],
                "sentences": sentences,
            }
        )
        return
    for run, arm in zip(runs, arms, strict=True):
        output.print_lines([[], [Cell(make_visible(run.name), "bold"), Cell(f"  {arm.title}", "dim")]])
        output.print_table(RESULT_COLUMNS, build_result_rows(arm.results), indent=2)
    output.print_text(LEGEND, "dim")
    output.print_text()
    for sentence in sentences:
        output.print_paragraph(sentence)
    _print_next(store, runs)


def _print_next(store: str | None, runs: Sequence[RunRow]) -> None:
    """Commands that run exactly as printed."""
    baseline, run = runs[0].name, runs[-1].name
    words = (
        ("the run, stage by stage", f"show {run}"),
        ("the pairs on which two models agreed least", f"pairs {run} --sort consistency --limit 10"),
        ("the runs side by side", f"compare {baseline} {run}"),
        ("every pair as a file", f"export {run} -o pairs.csv"),
    )
    output.print_lines([[], [Cell("See more", "bold")]])
    for what, command in words:
        output.print_lines([[Cell(f"  {format_command(command, store)}"), Cell(f"    # {what}", "dim")]])
