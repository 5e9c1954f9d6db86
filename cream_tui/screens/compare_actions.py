"""What the Compare screen asks, writes and hands out: one more run, the pin, the summary as rows.

Knows the app's dialogs and the views. Must not know the screen: each function gets what it needs.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cream_tui.screens.base import Table
from cream_tui.screens.dialogs import Choose
from cream_tui.views.compare import SeedArm, SummaryRow
from cream_tui.views.compare_selection import Selection
from db.annotations import set_baseline
from db.rows import RunRow

if TYPE_CHECKING:
    from cream_tui.app import CreamApp


def ask_run(app: CreamApp, known: Sequence[RunRow], chosen: Sequence[str], take: Callable[[str], None]) -> None:
    """Choose one more run, the newest first."""
    choices = [
        (run.run_id, f"{run.name}   {run.method}, seed {run.seed}, {run.state}")
        for run in known
        if run.run_id not in chosen
    ]
    if not choices:
        app.tell("all runs of the store are compared")
        return
    app.push_screen(Choose("Compare with", choices), lambda run_id: take(run_id) if run_id is not None else None)


def pin(app: CreamApp, run: RunRow, before: str | None, show: Callable[[str | None], None]) -> None:
    """Pin a run as the baseline of the store, or let go of it where it is that; undone by the app's undo.

    Args:
        before: The run that is pinned now.
        show: Shows a pin before it is written, and takes it back where writing fails.
    """
    after = None if run.run_id == before else run.run_id

    def write(run_id: str | None, old: str | None) -> None:
        show(run_id)
        app.annotate(lambda: set_baseline(app.root, run_id), on_failure=lambda: show(old))

    write(after, before)
    app.push_undo(f"the pin of {run.name}", lambda: write(before, after))


def build_command(selection: Selection, answers: Sequence[str] | None) -> str:
    """The command that prints the comparison, the baseline first.

    Args:
        answers: The options that list answers, of the run that stands against the baseline; None for all runs.
    """
    others = [run for run in selection.runs if run is not selection.baseline_run]
    if answers is not None:
        others = [run for run in others if run is selection.rival]
    names = [shlex.quote(run.name) for run in (selection.baseline_run, *others)]
    return " ".join(["compare", *names, *(answers or ())])


def tabulate_summary(arms: Sequence[SeedArm], rows: Sequence[SummaryRow]) -> Table:
    """The summary with a row for each arm and metric."""
    columns = (
        "letter",
        "arm",
        "runs",
        "seeds",
        "stage",
        "metric",
        "mean",
        "std",
        "n_seeds",
        "iteration",
        "delta",
        "best",
    )
    found = [
        (
            arm.letter,
            arm.title,
            json.dumps([run.name for run in arm.runs]),
            json.dumps([run.seed for run in arm.runs]),
            row.stage,
            row.name,
            cell.spread.mean,
            cell.spread.std,
            cell.spread.n,
            cell.iteration,
            cell.delta,
            cell.is_best,
        )
        for row in rows
        for arm, cell in zip(arms, row.cells, strict=True)
        if cell is not None
    ]
    return Table("compare", columns, found)
