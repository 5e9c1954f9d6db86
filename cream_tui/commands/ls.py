"""`ls`: the runs of a store. On the fast path: one query module, no rich, no pydantic."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from cream_tui import diagnostics, output
from cream_tui.output import Cell, Column
from cream_tui.result_table import STAND_IN_ITERATION, STAND_IN_LEGEND
from cream_tui.stores import is_stale, open_run_reader
from cream_tui.styles import RUN_STYLES
from cream_tui.units import format_age, format_percent, format_signed
from db.exports import format_time
from db.overview import RunOverview, read_run_overview
from db.rows import Lease
from engine.errors import ExitCode, find_nearest

STATES = ("queued", "running", "done", "failed", "stopped", "stale")

_COLUMNS = (
    Column("run"),
    Column("name", is_flexible=True),
    Column("method", rank=1),
    Column("seed", "right", rank=4),
    Column("state"),
    Column("stages", "right"),
    Column("accuracy", "right"),
    Column("tau", "right", rank=2),
    Column("created", "right", rank=3),
)


def ls(store: str | None, *, tag: str | None, state: str | None, as_json: bool) -> int:
    """Print the runs, the newest first."""
    if state is not None and state not in STATES:
        nearest = find_nearest(state, STATES)
        raise diagnostics.UsageProblem(
            f"--state {state}: no such state" + (f"; did you mean {nearest}?" if nearest else ""),
            f"There are {', '.join(STATES)}.",
        )
    with open_run_reader(store) as (root, connection):
        runs = [(run, is_run_stale(run)) for run in reversed(read_run_overview(connection))]
    shown = [
        (run, stale)
        for run, stale in runs
        if (tag is None or tag in run.tags) and (state is None or (stale if state == "stale" else run.state == state))
    ]
    if as_json:
        output.print_json([_build_record(run, stale) for run, stale in shown])
    else:
        _print(root, shown, n_all=len(runs))
    return ExitCode.DONE


def is_run_stale(run: RunOverview) -> bool:
    """Whether an open run has lost its process."""
    lease = None
    if run.pid is not None and run.pid_started_at is not None and run.host is not None and run.heartbeat_at is not None:
        lease = Lease(run.run_id, "", run.pid, run.pid_started_at, run.host, run.heartbeat_at)
    return is_stale(run.state, lease)


def _print(root: Path, runs: list[tuple[RunOverview, bool]], n_all: int) -> None:
    if not runs:
        diagnostics.narrate("no run matches" if n_all else f"no runs in {root}; start one: cream-tui demo")
        return
    now = time.time()
    output.print_table(_COLUMNS, (_build_row(run, stale, now) for run, stale in runs))
    if any(has_stand_in(run) for run, _ in runs):
        diagnostics.narrate(STAND_IN_LEGEND)
    if any(stale for _, stale in runs):
        diagnostics.narrate("stale: the process is gone; `cream-tui resume RUN` goes on where it ended")


def _build_row(run: RunOverview, stale: bool, now: float) -> list[str | Cell]:
    state = "stale" if stale else run.state
    return [
        Cell(run.run_id, "dim"),
        run.name,
        run.method,
        str(run.seed),
        Cell(state, RUN_STYLES.get(state, "")),
        f"{run.n_stages_done}/{run.n_stages}",
        format_percent(run.accuracy),
        format_signed(run.tau_previous) + ("*" if has_stand_in(run) else ""),
        format_age(max(0.0, now - run.created_at)),
    ]


def has_stand_in(run: RunOverview) -> bool:
    """Whether the newest tau is that of the first iteration, with the base model's likelihood as its other side."""
    return run.tau_iteration == STAND_IN_ITERATION


def _build_record(run: RunOverview, stale: bool) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.name,
        "method": run.method,
        "seed": run.seed,
        "state": run.state,
        "stale": stale,
        "iterations": run.iterations,
        "iteration": run.iteration,
        "tags": list(run.tags),
        "created_at": format_time(run.created_at),
        "started_at": format_time(run.started_at),
        "finished_at": format_time(run.finished_at),
        "n_stages": run.n_stages,
        "n_stages_done": run.n_stages_done,
        "current_stage": run.current_stage,
        "waiting_for": run.waiting_for,
        "accuracy": run.accuracy,
        "consistency_rate": run.consistency_rate,
        "tau_previous": run.tau_previous,
        "tau_anchor": run.tau_anchor,
        "parent_run_id": run.parent_run_id,
        "error": run.error,
    }
