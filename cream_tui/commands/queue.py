"""`queue`: which runs work, which wait, in which order; and another order.

Knows the queue's rows. Must not know how a run takes its turn.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from cream_tui import diagnostics, output
from cream_tui.output import Cell, Column
from cream_tui.stores import is_stale, open_run_reader
from cream_tui.styles import RUN_STYLES
from cream_tui.units import MISSING, format_age
from db.exports import format_time
from db.queries import find_run
from db.run_queue import QueueEntry, move_before, move_to_back, move_to_front, read_queue
from engine.errors import ExitCode

_COLUMNS = (
    Column("turn", "right"),
    Column("run"),
    Column("name", is_flexible=True),
    Column("method", rank=1),
    Column("state"),
    Column("since", "right", rank=2),
)


@dataclass(frozen=True, slots=True)
class Move:
    """Where a waiting run is to go; one of the three."""

    is_first: bool = False
    is_last: bool = False
    before: str | None = None

    @property
    def n_places(self) -> int:
        """How many places were named."""
        return self.is_first + self.is_last + (self.before is not None)


def queue(store: str | None, run: str | None, move: Move, *, as_json: bool) -> int:
    """Move a run where one is named; print the queue."""
    if move.n_places != (run is not None):
        raise diagnostics.UsageProblem(
            "say one place for the run" if run is not None else "name the run that is to move",
            "For example: cream-tui queue sandbox-2 --first",
        )
    with open_run_reader(store) as (root, connection):
        if run is not None:
            run_id = find_run(connection, run).run_id
            if move.before is not None:
                move_before(root, run_id, find_run(connection, move.before).run_id)
            elif move.is_first:
                move_to_front(root, run_id)
            else:
                move_to_back(root, run_id)
        entries = read_queue(connection)
    if as_json:
        output.print_json([_build_record(entry, turn) for entry, turn in _number(entries)])
    elif entries:
        now = time.time()
        output.print_table(_COLUMNS, (_build_row(entry, turn, now) for entry, turn in _number(entries)))
    else:
        diagnostics.narrate("no run works or waits; `cream-tui run CONFIG --queue` lets a run wait for its turn")
    return ExitCode.DONE


def _number(entries: list[QueueEntry]) -> list[tuple[QueueEntry, int | None]]:
    """The entries with their turns, from 1; None for those that work."""
    n_working = sum(entry.queue_position is None for entry in entries)
    return [(entry, None if k < n_working else k - n_working + 1) for k, entry in enumerate(entries)]


def _find_state(entry: QueueEntry) -> str:
    return "stale" if is_stale(entry.state, entry.lease) else entry.state


def _build_row(entry: QueueEntry, turn: int | None, now: float) -> list[str | Cell]:
    state = _find_state(entry)
    return [
        MISSING if turn is None else str(turn),
        Cell(entry.run_id, "dim"),
        entry.name,
        entry.method,
        Cell(state, RUN_STYLES.get(state, "")),
        format_age(max(0.0, now - (entry.started_at or entry.created_at))),
    ]


def _build_record(entry: QueueEntry, turn: int | None) -> dict[str, Any]:
    state = _find_state(entry)
    return {
        "run_id": entry.run_id,
        "name": entry.name,
        "method": entry.method,
        "state": entry.state,
        "stale": state == "stale",
        "turn": turn,
        "created_at": format_time(entry.created_at),
        "started_at": format_time(entry.started_at),
        "process": None if entry.lease is None else {"pid": entry.lease.pid, "host": entry.lease.host},
    }
