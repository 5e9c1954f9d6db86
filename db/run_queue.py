"""Whose turn it is: runs that wait, in order, and the runs they wait for. Light: plain sqlite3, no sqlmodel.

There is no daemon: each waiting run's own supervisor asks here, and the transaction that finds its turn takes it. A run
whose process is gone neither waits nor is waited for. Must not know processes: callers say who is alive.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from db.annotations import open_annotator
from db.errors import LeaseLostError, RunNotFoundError, StoreError
from db.reading import fetch_rows
from db.rows import Lease

IsAlive = Callable[[Lease], bool]


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A run that is running, or that waits where it has a position."""

    run_id: str
    name: str
    method: str
    state: str
    queue_position: float | None
    created_at: float
    started_at: float | None
    lease: Lease | None


def read_queue(c: sqlite3.Connection) -> list[QueueEntry]:
    """The running runs, the oldest first, then those that wait, in the order of their turns."""
    rows = fetch_rows(
        c,
        "SELECT r.run_id, r.name, r.method, r.state, r.queue_position, r.created_at, r.started_at, w.token, w.pid, "
        "w.pid_started_at, w.host, w.heartbeat_at FROM run r LEFT JOIN lease w ON w.run_id = r.run_id "
        "WHERE r.state = 'running' OR (r.state = 'queued' AND r.queue_position IS NOT NULL) "
        "ORDER BY r.state = 'queued', r.queue_position, r.started_at, r.created_at, r.run_id",
    )
    return [
        QueueEntry(
            run_id=row["run_id"],
            name=row["name"],
            method=row["method"],
            state=row["state"],
            queue_position=row["queue_position"],
            created_at=row["created_at"],
            started_at=row["started_at"],
            lease=None if row["token"] is None else Lease(row["run_id"], *tuple(row)[7:]),
        )
        for row in rows
    ]


def count_ahead(entries: Sequence[QueueEntry], run_id: str, *, host: str, is_alive: IsAlive) -> int:
    """How many live runs of this host go before the waiting run: those that run and those whose turn comes earlier.

    Args:
        entries: as ``read_queue`` gives them.
    """
    n_ahead = 0
    for entry in entries:
        if entry.run_id == run_id:
            return n_ahead
        n_ahead += entry.lease is not None and entry.lease.host == host and is_alive(entry.lease)
    return 0


def take_turn(root: Path, lease: Lease, *, n_slots: int, is_alive: IsAlive) -> bool:
    """Makes the waiting run of this lease running if fewer than ``n_slots`` live runs go before it; whether it did.

    Raises:
        LeaseLostError: the lease is gone or belongs to another token.
    """
    with open_annotator(root) as c:
        held = c.execute("SELECT token FROM lease WHERE run_id = ?", (lease.run_id,)).fetchone()
        if held is None or held["token"] != lease.token:
            raise LeaseLostError(f"this process no longer owns run {lease.run_id}")
        if count_ahead(read_queue(c), lease.run_id, host=lease.host, is_alive=is_alive) >= n_slots:
            return False
        c.execute(
            "UPDATE run SET state = 'running', queue_position = NULL, started_at = coalesce(started_at, ?) "
            "WHERE run_id = ?",
            (time.time(), lease.run_id),
        )
        return True


def move_to_front(root: Path, run_id: str) -> None:
    """Lets the waiting run go before all others.

    Raises:
        StoreError: the run does not wait.
    """
    _move(root, run_id, lambda others: 0)


def move_to_back(root: Path, run_id: str) -> None:
    """Lets the waiting run go behind all others.

    Raises:
        StoreError: the run does not wait.
    """
    _move(root, run_id, len)


def move_before(root: Path, run_id: str, other_id: str) -> None:
    """Lets the waiting run go just before another one that waits.

    Raises:
        StoreError: one of them does not wait.
    """

    def find_place(others: list[str]) -> int:
        return others.index(other_id)

    _move(root, run_id, find_place, other_id)


def _move(root: Path, run_id: str, find_place: Callable[[list[str]], int], other_id: str | None = None) -> None:
    with open_annotator(root) as c:
        waiting = [entry.run_id for entry in read_queue(c) if entry.queue_position is not None]
        for wanted in (run_id, other_id):
            if wanted is not None and wanted not in waiting:
                raise _explain_not_waiting(c, wanted)
        if run_id == other_id:
            return
        waiting.remove(run_id)
        waiting.insert(find_place(waiting), run_id)
        # Numbered anew: halves between two positions would run out of digits.
        c.executemany("UPDATE run SET queue_position = ? WHERE run_id = ?", [(n, r) for n, r in enumerate(waiting, 1)])


def _explain_not_waiting(c: sqlite3.Connection, run_id: str) -> StoreError:
    row = c.execute("SELECT name, state FROM run WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        return RunNotFoundError(f"run {run_id} is not in the store", hint="`cream-tui ls` lists the runs")
    return StoreError(
        f"{row['name']} ({run_id}) does not wait in the queue: it is {row['state']}",
        hint="`cream-tui queue` lists the runs that wait",
    )
