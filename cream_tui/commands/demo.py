"""`demo`: CREAM and plain self-rewarding on the embedded model, side by side, and what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cream_tui import diagnostics, output
from cream_tui.narrative import Arm, tell
from cream_tui.output import Cell
from cream_tui.result_table import RESULT_COLUMNS, build_legend, build_record, build_result_rows
from cream_tui.results import read_results
from cream_tui.stores import format_command, open_run_reader
from cream_tui.text import make_visible
from db.errors import StoreError
from db.paths import find_store_root
from db.rows import RunRow
from engine.errors import CreamError, ExitCode

CONFIG = "sandbox"
TAG = "demo"
# The baseline is first: later arms are compared with it.
ARMS = (("srlm", "SRLM"), ("cream", "CREAM"))
QUICK = ("iterations=2", "data.prompts_per_iteration=200", "evaluation.items=200")


def demo(store: str | None, *, is_quick: bool, seed: int, as_json: bool, is_detached: bool = False) -> int:
    """Run both arms and tell what happened; detached, start them and print their ids."""
    root = find_store_root(store)
    diagnostics.narrate(f"A CREAM experiment on an embedded model; everything is kept in {root}")
    diagnostics.narrate("CREAM and plain self-rewarding (SRLM) share M0, M1 and the first responses.\n")
    from cream_tui.commands.run import follow_to_end, tell_closed

    started: list[tuple[str, RunRow]] = []
    try:
        code = _start(root, started, is_quick=is_quick, seed=seed)
    except KeyboardInterrupt:
        if started:
            tell_closed(store, [run for _, run in started])
        return diagnostics.ViewExit.CLOSED
    if not started:
        return code
    if is_detached:
        output.print_text("\n".join(run.run_id for _, run in started))
        return code
    ended = follow_to_end(root, store, [run for _, run in started], is_kept=False)
    if ended != diagnostics.ViewExit.CLOSED:
        _print(store, started, as_json=as_json)
    return ended or code


def _start(root: Path, started: list[tuple[str, RunRow]], *, is_quick: bool, seed: int) -> int:
    """Start the arms, into ``started`` with their titles; one that cannot start is reported, its exit code returned."""
    from engine.config.load import load_run_config
    from engine.runtime.control import start_run

    code = int(ExitCode.DONE)
    for method, title in ARMS:
        try:
            config = load_run_config(
                CONFIG, overrides=QUICK if is_quick else (), method=method, seed=seed, name=f"demo-{method}"
            )
            started.append((title, start_run(root, config, tags=(TAG,))))
        except (CreamError, StoreError) as error:
            code = diagnostics.report(error)
    return code


def _print(store: str | None, started: Sequence[tuple[str, RunRow]], *, as_json: bool) -> None:
    runs = [run for _, run in started]
    with open_run_reader(store) as (_, connection):
        arms = [Arm(title, tuple(read_results(connection, run.run_id))) for title, run in started]
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
    for line in build_legend([model for arm in arms for model in arm.results]):
        output.print_paragraph(line, "dim")
    output.print_text()
    for sentence in sentences:
        output.print_paragraph(sentence)
    _print_next(store, runs)


def _print_next(store: str | None, runs: Sequence[RunRow]) -> None:
    """Commands that run exactly as printed."""
    run = runs[-1].name
    words = ["", f"show {run}", f"pairs {run} --sort consistency --limit 10", f"export {run} -o pairs.csv"]
    if len(runs) > 1:
        words.insert(3, f"compare {runs[0].name} {run}")
    output.print_lines([[], [Cell("See more", "bold")]])
    output.print_lines([Cell(f"  {format_command(command, store)}")] for command in words)
