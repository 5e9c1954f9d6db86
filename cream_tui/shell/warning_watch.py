"""Finds out which diagnostics begin to warn in runs that go on, whatever screen is in front.

Knows the reader of a run's health. Must not know screens. Used by the thread that watches the store: a run is examined
when another of its stages is done, once more when it ends, and not at all where none goes on. Of a study's runs, which
are many, only the early warning is told.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cream_tui.shell.notices import RunState, WarningsFound
from db.errors import RunNotFoundError
from db.reading import fetch_rows

if TYPE_CHECKING:
    from cream_tui.readers.health_reader import HealthReader

_BEFORE_START = ("queued",)


@dataclass(slots=True)
class _Watched:
    """A run that goes on: how many of its stages were done at the last look, and what was told of it."""

    reader: HealthReader
    n_done: int = -1
    told: set[str] = field(default_factory=set)


class WarningWatch:
    """Each warning of a run is found once; those that were there before the run was first seen are none."""

    def __init__(self) -> None:
        self._states: Mapping[str, RunState] | None = None
        self._watched: dict[str, _Watched] = {}

    def look(self, connection: sqlite3.Connection, states: Mapping[str, RunState]) -> Iterator[WarningsFound]:
        """What is new since the last look."""
        before, self._states = self._states, states
        running = {run_id for run_id, run in states.items() if run.state == "running"}
        if not running and not self._watched:
            return
        counts = _count_done(connection)
        for run_id in sorted(running | self._watched.keys()):
            if run_id not in states:
                del self._watched[run_id]
                continue
            is_new = run_id not in self._watched
            watched = self._watch(run_id)
            if counts.get(run_id, 0) != watched.n_done or run_id not in running:
                watched.n_done = counts.get(run_id, 0)
                is_told = not is_new or (before is not None and _is_fresh(before.get(run_id)))
                found = self._examine(connection, states[run_id], watched)
                if found is not None and is_told:
                    yield found
            if run_id not in running:
                del self._watched[run_id]

    def _watch(self, run_id: str) -> _Watched:
        if run_id not in self._watched:
            from cream_tui.readers.health_reader import HealthReader  # here: most looks find no run that goes on

            self._watched[run_id] = _Watched(HealthReader(run_id))
        return self._watched[run_id]

    def _examine(self, connection: sqlite3.Connection, run: RunState, watched: _Watched) -> WarningsFound | None:
        try:
            warnings = watched.reader.read(connection).warnings
        except RunNotFoundError:  # removed meanwhile: the next look does not find it any more
            return None
        is_quiet = run.study is not None
        new = [
            warning
            for warning in warnings
            if warning.identity not in watched.told and (warning.is_early or not is_quiet)
        ]
        watched.told.update(warning.identity for warning in new)
        return WarningsFound(watched.reader.run_id, run.name, new, is_quiet=is_quiet) if new else None


def _is_fresh(before: RunState | None) -> bool:
    """Whether a run that goes on now had not started the last time: a resumed one has old warnings."""
    return before is None or before.state in _BEFORE_START


def _count_done(connection: sqlite3.Connection) -> dict[str, int]:
    rows = fetch_rows(
        connection,
        "SELECT r.run_id, count(*) FROM run r JOIN run_stage l ON l.run_id = r.run_id "
        "JOIN stage s ON s.stage_id = l.stage_id WHERE r.state = 'running' AND s.state = 'done' GROUP BY r.run_id",
    )
    return {row[0]: row[1] for row in rows}
