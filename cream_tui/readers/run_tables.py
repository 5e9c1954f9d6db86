"""Reading the runs of a store as records, with the settings and metrics that a filter, an order or a group asks for.

Knows db's reads and when a run has lost its process. Must not know how anything is shown. Settings are kept, since a
run's never change.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cream_tui.readers.run_records import RunFacts, RunRecord, build_run_records, load_settings
from cream_tui.readers.snapshots import START_GRACE_S
from cream_tui.readers.study_records import StudyRecord, build_study_records, name_studies, read_studies
from cream_tui.stage_view import RateMeter, build_stage_view, estimate_time_left
from cream_tui.stores import is_lease_alive, is_stale
from db.overview import RunOverview, read_run_overview
from db.queries import read_run_stages
from db.reading import snapshot
from db.rows import Lease
from db.run_facts import read_last_metrics, read_metric_names, read_run_configs, read_run_health

if TYPE_CHECKING:
    from cream_tui.health.verdict import Verdict
    from cream_tui.readers.run_examiner import RunExaminer


@dataclass(frozen=True, slots=True)
class RunTable:
    """All runs at a moment, the newest first, and the facts that were asked for.

    Attributes:
        left_s: time to the end by run id, of live runs of which it can be told.
        studies: the newest first.
        is_whole: whether each run has its verdict, of a table that was to have them.
    """

    records: tuple[RunRecord, ...]
    facts: RunFacts
    read_at: float
    left_s: Mapping[str, float] = field(default_factory=dict)
    studies: tuple[StudyRecord, ...] = ()
    is_whole: bool = True


class RunTableReader:
    """Reads run tables for one thread at a time.

    Remembers settings, verdicts, rates, and since when a run has no process.
    """

    def __init__(self) -> None:
        self._examiner: RunExaminer | None = None
        self._meters: dict[str, RateMeter] = {}
        self._settings: dict[str, dict[str, Any]] = {}
        self._unattended_since: dict[str, float] = {}

    def read(
        self,
        connection: sqlite3.Connection,
        other_keys: Iterable[str] = (),
        *,
        with_facts: bool = False,
        with_time_left: bool = False,
        examine_s: float | None = None,
    ) -> RunTable:
        """The runs now.

        Args:
            other_keys: keys that are no fixed field; with any, settings and the metrics of these names are read too.
            with_facts: whether settings and the names of metrics are read anyway, to offer them.
            with_time_left: for a reader that comes again: a rate is measured between two readings.
            examine_s: how long to look into the health of runs that are not known yet, the newest first; None: not.
        """
        now = time.time()
        with snapshot(connection):
            runs = read_run_overview(connection)
            health = read_run_health(connection)
            studies = read_studies(connection, runs)
            keys = tuple(other_keys)
            facts = self._read_facts(connection, keys) if keys or with_facts else RunFacts()
        verdicts, is_whole = self._examine(connection, runs, examine_s) if examine_s is not None else ({}, True)
        records = build_run_records(
            runs,
            now=now,
            is_stale=lambda run: self._is_stale(run, now),
            health=health,
            studies=name_studies(studies),
            verdicts=verdicts,
        )
        left_s = self._read_time_left(connection, records, now) if with_time_left else {}
        found = build_study_records(studies, {record.run.run_id: record for record in records}, now=now)
        return RunTable(tuple(reversed(records)), facts, now, left_s, found[::-1], is_whole)

    def _examine(
        self, connection: sqlite3.Connection, runs: Sequence[RunOverview], within_s: float
    ) -> tuple[dict[str, Verdict], bool]:
        from cream_tui.readers.run_examiner import RunExaminer  # here, so that the first list stands before

        self._examiner = self._examiner or RunExaminer()
        return self._examiner.examine(connection, reversed(runs), within_s=within_s)

    def _read_time_left(
        self, connection: sqlite3.Connection, records: Sequence[RunRecord], now: float
    ) -> dict[str, float]:
        live = [record.run.run_id for record in records if record.state == "running"]
        self._meters = {run_id: self._meters.get(run_id, RateMeter()) for run_id in live}
        left_s = {}
        for run_id, meter in self._meters.items():
            stages = [build_stage_view(row, {}, now, meter) for row in read_run_stages(connection, run_id)]
            left = estimate_time_left(stages)
            if left is not None:
                left_s[run_id] = left
        return left_s

    def _read_facts(self, connection: sqlite3.Connection, keys: tuple[str, ...]) -> RunFacts:
        for run_id, text in read_run_configs(connection, self._settings).items():
            self._settings[run_id] = load_settings(text)
        names = tuple(read_metric_names(connection))
        folded = {key.casefold() for key in keys}
        metrics = {name: read_last_metrics(connection, name) for name in names if name.casefold() in folded}
        return RunFacts(dict(self._settings), metrics, names)

    def _is_stale(self, run: RunOverview, now: float) -> bool:
        if run.state != "queued":
            self._unattended_since.pop(run.run_id, None)
            return is_run_stale(run)
        lease = find_lease(run)
        if lease is not None and is_lease_alive(lease):
            self._unattended_since.pop(run.run_id, None)
            return False
        return now - self._unattended_since.setdefault(run.run_id, now) > START_GRACE_S


def is_run_stale(run: RunOverview) -> bool:
    """Whether an open run has lost its process."""
    return is_stale(run.state, find_lease(run))


def find_lease(run: RunOverview) -> Lease | None:
    """The lease that the overview holds, without its token."""
    if run.pid is None or run.pid_started_at is None or run.host is None or run.heartbeat_at is None:
        return None
    return Lease(run.run_id, "", run.pid, run.pid_started_at, run.host, run.heartbeat_at)
