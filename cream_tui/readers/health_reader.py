"""What was found of a run, worked out anew only when another stage is finished.

Knows db's reads and the rules. Must not know how anything is shown.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cream_tui.health.early_warning import predict
from cream_tui.health.rules import examine_run
from cream_tui.readers.snapshots import RunSnapshot, SnapshotReader
from cream_tui.results import ModelResult
from cream_tui.views.health import Diagnosis
from cream_tui.views.run_alerts import RunAlert, list_alerts
from db.pair_links import ANCHOR, read_pair_links
from db.run_series import TauCount, read_tau_counts


@dataclass(frozen=True, slots=True)
class HealthData:
    """A run as it is now, what was found of it, and what of that is to be looked at."""

    snapshot: RunSnapshot
    diagnosis: Diagnosis
    alerts: tuple[RunAlert, ...]

    @property
    def warnings(self) -> list[RunAlert]:
        """The alerts but for those that tell why the run does not go on."""
        return [alert for alert in self.alerts if alert.severity == "warning"]


class HealthReader:
    """Reads one run again and again."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self._snapshots = SnapshotReader(run_id)
        self._anchors: dict[int, tuple[TauCount, ...]] = {}
        self._last: tuple[tuple[ModelResult, ...], bool, Diagnosis] | None = None

    def read(self, connection: sqlite3.Connection) -> HealthData:
        """The run now.

        Raises:
            RunNotFoundError: It was deleted.
        """
        return self.examine(connection, self._snapshots.read(connection))

    def examine(self, connection: sqlite3.Connection, snapshot: RunSnapshot) -> HealthData:
        """The same of a run that is read already."""
        results, is_over = snapshot.results, snapshot.is_over
        if self._last is None or self._last[0] is not results or self._last[1] != is_over:
            self._read_anchors(connection, snapshot)
            self._last = results, is_over, diagnose(results, self._anchors, is_over=is_over)
        found = self._last[2]
        return HealthData(snapshot, found, tuple(list_alerts(snapshot, found.findings, found.early)))

    def _read_anchors(self, connection: sqlite3.Connection, snapshot: RunSnapshot) -> None:
        done = {row.iteration for row in snapshot.rows if row.name == "agree" and row.state == "done"}
        if done <= self._anchors.keys():
            return
        for link in read_pair_links(connection, self.run_id):
            if link.iteration in done and link.iteration not in self._anchors:
                counts = read_tau_counts(connection, self.run_id, link.iteration, against=ANCHOR)
                self._anchors[link.iteration] = tuple(counts)


def diagnose(
    results: Sequence[ModelResult], anchors: Mapping[int, Sequence[TauCount]], *, is_over: bool = True
) -> Diagnosis:
    """All diagnostics, the early warning, and what it said after each earlier model.

    Args:
        anchors: By iteration, the taus to the anchor.
        is_over: Whether the run has ended.
    """
    said = [predict(results[:n]) for n in range(1, len(results) + 1)]
    probabilities = {early.model: early.probability for early in said if not isinstance(early, str)}
    found = examine_run(results, anchors, is_over=is_over)
    return Diagnosis(tuple(found), predict(results), tuple(probabilities.items()))
