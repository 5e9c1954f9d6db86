"""Everything that the Run screen shows of one run, read in one go and from where the last reading ended.

Knows db and files. Must not know how anything is shown. Used by one thread at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cream_tui.readers.health_reader import HealthReader
from cream_tui.readers.log_tail import LogLine, RunLog
from cream_tui.readers.snapshots import RunSnapshot, SnapshotReader
from cream_tui.results import ModelResult
from cream_tui.stores import is_lease_alive
from cream_tui.views.panels import Key, Panel, list_needed, list_panels
from cream_tui.views.run import format_config, list_log_sections
from cream_tui.views.run_alerts import RunAlert
from cream_tui.views.series import Points, Timeline, build_timeline, count_trained_tokens, find_epochs, merge_points
from db.pair_links import ANCHOR, read_pair_links
from db.paths import StorePaths
from db.queries import read_attempts, read_run_checkpoints, snapshot
from db.rows import AttemptRow, RunCheckpoint, UsageRow
from db.run_queue import read_queue
from db.run_series import SeriesInfo, TauCount, list_series, read_recent_usage, read_series, read_tau_counts

PREVIOUS, TO_ANCHOR = "previous", "anchor"
N_USAGE = 150  # five minutes of samples


@dataclass(frozen=True, slots=True)
class RunWant:
    """What is asked for: a run, and the panels that are visible.

    Attributes:
        visible: Their keys.
        picked: Keys of the metrics that a person picked.
        has_config: Whether the configuration is wanted as text.
    """

    run_id: str
    visible: tuple[str, ...] = ()
    picked: tuple[str, ...] = ()
    has_config: bool = False


@dataclass(frozen=True, slots=True)
class RunData:
    """Attributes:
    panels: All panels of the run; only what the visible ones need is among the points.
    alerts: What to look at, errors first.
    taus: By iteration and PREVIOUS or TO_ANCHOR, tau by prompt; of M1 the previous one is the stand-in's.
    waits_for: Names of the runs before this one in the queue.
    log_changed: Number of the first line of the log that changed since the last reading; None where none did.
    config: As YAML; empty where it was not asked for.
    """

    snapshot: RunSnapshot
    alerts: tuple[RunAlert, ...]
    series: tuple[SeriesInfo, ...]
    panels: tuple[Panel, ...]
    timeline: Timeline
    points: Mapping[Key, Points]
    taus: Mapping[tuple[int, str], tuple[TauCount, ...]]
    usage: tuple[UsageRow, ...]
    attempts: tuple[AttemptRow, ...]
    checkpoints: tuple[RunCheckpoint, ...]
    waits_for: tuple[str, ...]
    log: list[LogLine]
    log_changed: int | None
    config: str


class RunReader:
    """Reads one run again and again; keeps what does not change."""

    def __init__(self, root: Path, run_id: str) -> None:
        self.run_id = run_id
        self._root = root
        self._snapshots = SnapshotReader(run_id)
        self._health = HealthReader(run_id)
        self._points: dict[Key, Points] = {}
        self._taus: dict[tuple[int, str], tuple[TauCount, ...]] = {}
        self._states: tuple[str, ...] | None = None
        self._series: tuple[SeriesInfo, ...] = ()
        self._log = RunLog()
        self._epochs: float | None = None

    def read(self, connection: sqlite3.Connection, want: RunWant) -> RunData:
        """The run now.

        Raises:
            RunNotFoundError: It was deleted.
        """
        with snapshot(connection):
            found = self._snapshots.read(connection)
            alerts = self._health.examine(connection, found).alerts
            attempts = tuple(read_attempts(connection, self.run_id))
            self._read_names(connection, found)
            panels = tuple(list_panels(self._series, want.picked))
            needed = list_needed(panel for panel in panels if panel.key in want.visible)
            self._read_points(connection, needed)
            usage = tuple(read_recent_usage(connection, self.run_id, N_USAGE))
            checkpoints = tuple(read_run_checkpoints(connection, self.run_id, self._root))
            waits_for = self._read_queue(connection) if found.run.state == "queued" else ()
        paths = StorePaths(self._root.absolute())
        sections = list_log_sections(attempts, found.rows, paths.root, paths.supervisor_log(self.run_id))
        changed = self._log.read(sections)
        return RunData(
            snapshot=found,
            alerts=alerts,
            series=self._series,
            panels=panels,
            timeline=build_timeline(found.rows, self._series, self._count_tokens(found)),
            points={key: self._points[key] for key in needed if key in self._points},
            taus=dict(self._taus),
            usage=usage,
            attempts=attempts,
            checkpoints=checkpoints,
            waits_for=waits_for,
            log=self._log.lines,
            log_changed=changed,
            config=format_config(found.run) if want.has_config else "",
        )

    def _read_names(self, connection: sqlite3.Connection, found: RunSnapshot) -> None:
        # Steps have counters of their own: names change with the stages, or when a training logs its first step.
        states = tuple(f"{row.state} {row.n_done > 0}" for row in found.rows)
        if states != self._states:
            self._states = states
            self._series = tuple(list_series(connection, self.run_id))
            self._read_taus(connection, found)

    def _read_points(self, connection: sqlite3.Connection, needed: Iterable[Key]) -> None:
        for stage, name in needed:
            old = self._points.get((stage, name))
            new = read_series(connection, self.run_id, name, stage=stage, after=0 if old is None else old.cursor)
            if old is None or len(new):
                self._points[stage, name] = merge_points(old, new)

    def _read_taus(self, connection: sqlite3.Connection, found: RunSnapshot) -> None:
        """Those of rankings that were compared since the last time."""
        done = {row.iteration for row in found.rows if row.name == "agree" and row.state == "done"}
        for link in read_pair_links(connection, self.run_id):
            if link.iteration not in done or (link.iteration, TO_ANCHOR) in self._taus:
                continue
            for name, against in ((PREVIOUS, link.previous), (TO_ANCHOR, ANCHOR)):
                if against is not None:
                    counts = read_tau_counts(connection, self.run_id, link.iteration, against=against)
                    self._taus[link.iteration, name] = tuple(counts)

    def _read_queue(self, connection: sqlite3.Connection) -> tuple[str, ...]:
        names: list[str] = []
        for entry in read_queue(connection):
            if entry.run_id == self.run_id:
                return tuple(names)
            if entry.lease is not None and is_lease_alive(entry.lease):
                names.append(entry.name)
        return ()

    def _count_tokens(self, found: RunSnapshot) -> dict[int, float]:
        if self._epochs is None:
            import json

            config = json.loads(found.run.config_json)
            self._epochs = find_epochs(config if isinstance(config, dict) else {})
        results: tuple[ModelResult, ...] = found.results
        return count_trained_tokens({model.index: model.measures for model in results}, self._epochs)
