"""One run as it is now, read in one go: row, lease, stages, results.

Knows db.queries. Must not know how anything is shown.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

from cream_tui.results import ModelResult, ResultReader
from cream_tui.stage_view import REMOVED_RUN, RateMeter, StageView, build_stage_view
from cream_tui.stores import is_lease_alive, is_stale
from db.errors import RunNotFoundError
from db.queries import find_run, read_lease, read_run_stages, snapshot
from db.rows import Lease, RunRow, StageRow

# A queued run that is looked at for so long without a process will not get one.
START_GRACE_S = 30.0


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """Attributes:
    stale: The run should be going on but its process is gone.
    """

    run: RunRow
    stale: bool
    rows: tuple[StageRow, ...]
    stages: tuple[StageView, ...]
    results: tuple[ModelResult, ...]

    @property
    def state(self) -> str:
        return "stale" if self.stale else self.run.state

    @property
    def is_over(self) -> bool:
        return self.run.state not in ("queued", "running")

    @property
    def is_loading(self) -> bool:
        """Whether the run's process still loads its libraries: it lives, and has not taken a stage yet."""
        own = any(row.owner_run_id == self.run.run_id for row in self.rows)
        return self.state == "running" and not own and self.n_done < len(self.stages)

    @property
    def is_waiting(self) -> bool:
        """Whether the run waits for its turn in the queue."""
        return self.state == "queued" and self.run.queue_position is not None

    @property
    def n_done(self) -> int:
        return sum(stage.is_over for stage in self.stages)


class SnapshotReader:
    """Reads snapshots of one run; keeps what does not change: names, items, and how fast stages went."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self._names: dict[str, str] = {}
        self._results = ResultReader()
        self._meter = RateMeter()
        self._queued_since: float | None = None
        self._last: tuple[tuple[int, ...], tuple[ModelResult, ...]] | None = None

    def read(self, connection: sqlite3.Connection) -> RunSnapshot:
        """The run now."""
        now = time.time()
        with snapshot(connection):
            run = find_run(connection, self.run_id)
            lease = read_lease(connection, self.run_id)
            rows = tuple(read_run_stages(connection, self.run_id))
            self._learn_names(connection, rows)
            finished = tuple(row.stage_id for row in rows if row.state == "done")
            if self._last is None or self._last[0] != finished:
                self._last = finished, tuple(self._results.read(connection, self.run_id))
        stages = tuple(build_stage_view(row, self._names, now, self._meter) for row in rows)
        stale = self._is_stale(run, lease, now)
        if stale or run.state not in ("queued", "running"):
            stages = tuple(stage.interrupt() for stage in stages)
        return RunSnapshot(run, stale, rows, stages, self._last[1])

    def _is_stale(self, run: RunRow, lease: Lease | None, now: float) -> bool:
        if run.state != "queued":
            self._queued_since = None
            return is_stale(run.state, lease)
        if self._queued_since is None:
            self._queued_since = now
        has_waited = now - self._queued_since > START_GRACE_S
        return has_waited and (lease is None or not is_lease_alive(lease))

    def _learn_names(self, connection: sqlite3.Connection, rows: tuple[StageRow, ...]) -> None:
        for row in rows:
            owner = row.owner_run_id
            if owner is not None and owner != self.run_id and owner not in self._names:
                try:
                    self._names[owner] = find_run(connection, owner).name
                except RunNotFoundError:
                    self._names[owner] = REMOVED_RUN


def read_snapshot(connection: sqlite3.Connection, run_id: str) -> RunSnapshot:
    """The run now."""
    return SnapshotReader(run_id).read(connection)
