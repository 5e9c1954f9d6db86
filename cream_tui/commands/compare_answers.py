"""`compare --answers`: the greedy answers of runs to the same evaluation items, side by side."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cream_tui import diagnostics, output
from cream_tui.output import Cell, Line
from cream_tui.readers.compared_runs import find_runs
from cream_tui.stores import open_run_reader
from cream_tui.text import make_visible
from cream_tui.views.shared_prompts import (
    SIDES,
    Answer,
    AnsweredItem,
    Outcome,
    count_outcomes,
    filter_by_side,
    join_answers,
    list_common_evaluations,
)
from db.queries import read_evaluations, read_run_stages
from db.rows import EvaluationRow, RunRow
from engine.errors import ExitCode, find_nearest

_STYLES = {"win": "green", "lose": "red", "tie": "dim"}


@dataclass(frozen=True, slots=True)
class Wish:
    """Which answers: ``only`` is one of SIDES, ``model`` M0, M1, ...; None is the last that all runs evaluated."""

    only: str | None = None
    model: str | None = None
    limit: int = 0


def compare_answers(store: str | None, references: Sequence[str], wish: Wish, *, as_json: bool) -> int:
    """Print the prompts with every run's answer; a win is an item that a run has right and the first one wrong."""
    if wish.only is not None and wish.only not in SIDES:
        nearest = find_nearest(wish.only, SIDES)
        raise diagnostics.UsageProblem(
            f"--only {wish.only}: there is no such outcome" + (f"; did you mean {nearest}?" if nearest else ""),
            f"There are {', '.join(SIDES)}.",
        )
    if wish.limit < 0:
        raise diagnostics.UsageProblem(f"--limit {wish.limit}: is below 0", "0 shows all.")
    with open_run_reader(store) as (_, connection):
        runs = find_runs(connection, references)
        model, evaluations = _read(connection, runs, wish.model)
    items = join_answers(evaluations)
    shown = filter_by_side(items, wish.only)[: wish.limit or None]
    if as_json:
        output.print_json(_build_record(runs, model, items, shown))
    else:
        _print(runs, model, items, shown)
    return ExitCode.DONE


def _read(
    connection: sqlite3.Connection, runs: Sequence[RunRow], model: str | None
) -> tuple[str, list[list[EvaluationRow]]]:
    """The model and each run's evaluation of it."""
    shared = list_common_evaluations([read_run_stages(connection, run.run_id) for run in runs])
    if not shared:
        raise diagnostics.UsageProblem("the runs have no evaluated model in common", "cream-tui show RUN tells.")
    chosen = list(shared)[-1] if model is None else model
    if chosen not in shared:
        raise diagnostics.UsageProblem(
            f"--model {chosen}: not every run has evaluated it", f"All have {', '.join(shared)}."
        )
    return chosen, [read_evaluations(connection, stage_id) for stage_id in shared[chosen]]


def _print(runs: Sequence[RunRow], model: str, items: Sequence[AnsweredItem], shown: Sequence[AnsweredItem]) -> None:
    for item in shown:
        output.print_lines([*_lay_out(runs, item), []])
    for k, run in enumerate(runs[1:]):
        count = count_outcomes(item.outcomes[k] for item in items)
        output.print_paragraph(
            f"At {model} {run.name} wins {count.n_win} and loses {count.n_lose} of {count.n} items against "
            f"{runs[0].name}; {count.n_both_right} both right, {count.n_both_wrong} both wrong.",
            "dim",
        )


def _lay_out(runs: Sequence[RunRow], item: AnsweredItem) -> list[Line]:
    lines: list[Line] = [
        [
            Cell(make_visible(item.task), "bold"),
            Cell(f"  {make_visible(item.item_id)}", "dim"),
            Cell("  gold ", "dim"),
            Cell(make_visible(item.gold)),
        ],
        *_lay_out_text(item.prompt),
    ]
    for run, answer, outcome in zip(runs, item.answers, (None, *item.outcomes), strict=True):
        lines += [_lay_out_title(run, answer, outcome), *_lay_out_text(answer.text)]
    return lines


def _lay_out_title(run: RunRow, answer: Answer, outcome: Outcome | None) -> Line:
    title: Line = [
        Cell(f"  {make_visible(run.name)}, {answer.n_tokens} tokens", "dim"),
        Cell(", right", "green") if answer.is_right else Cell(", wrong", "red"),
    ]
    return title if outcome is None else [*title, Cell(f"  {outcome.value}", _STYLES[outcome.side])]


def _lay_out_text(text: str) -> list[Line]:
    """The text, its lines below one another, always indented: a foreign text cannot pass for a line of ours."""
    return [[Cell("    "), Cell(line)] for line in make_visible(text.strip(), keep_newlines=True).split("\n")]


def _build_record(
    runs: Sequence[RunRow], model: str, items: Sequence[AnsweredItem], shown: Sequence[AnsweredItem]
) -> dict[str, Any]:
    counts = [count_outcomes(item.outcomes[k] for item in items) for k in range(len(runs) - 1)]
    return {
        "model": model,
        "baseline": runs[0].name,
        "counts": [
            {
                "run": run.name,
                "n_items": count.n,
                "n_win": count.n_win,
                "n_lose": count.n_lose,
                "n_both_right": count.n_both_right,
                "n_both_wrong": count.n_both_wrong,
            }
            for run, count in zip(runs[1:], counts, strict=True)
        ],
        "items": [
            {
                "task": item.task,
                "item_id": item.item_id,
                "prompt": item.prompt,
                "gold": item.gold,
                "answers": [
                    {
                        "run": run.name,
                        "response": answer.text,
                        "extracted": answer.extracted,
                        "correct": answer.is_right,
                        "n_tokens": answer.n_tokens,
                        "outcome": None if outcome is None else outcome.value,
                    }
                    for run, answer, outcome in zip(runs, item.answers, (None, *item.outcomes), strict=True)
                ],
            }
            for item in shown
        ],
    }
