"""Which runs a command line compares, and opening the app at them. Light: on the way to the app's first chart.

Knows db.queries and targets. Must not know how a comparison is shown.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from cream_tui.diagnostics import UsageProblem
from cream_tui.stores import open_run_reader
from cream_tui.targets import CompareTarget
from db.queries import find_run
from db.rows import RunRow


def find_runs(connection: sqlite3.Connection, references: Sequence[str]) -> list[RunRow]:
    """The runs, each once.

    Raises:
        RunNotFoundError: No run, or several, answer to a name.
        UsageProblem: There are fewer than two.
    """
    runs = list({run.run_id: run for run in (find_run(connection, name) for name in references)}.values())
    if len(runs) < 2:
        raise UsageProblem("compare takes two different runs or more", "cream-tui ls names them.")
    return runs


def open_comparison(store: str | None, references: Sequence[str]) -> int:
    """Open the app at these runs."""
    from cream_tui.app_start import check_terminal, start_app

    check_terminal()
    with open_run_reader(store) as (_, connection):
        target = CompareTarget(tuple(run.run_id for run in find_runs(connection, references)))
    return start_app(store, target)
