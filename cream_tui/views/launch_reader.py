"""Reads everything that the form of a new run shows: the draft looked at, its checks, the queue, what it can come from.

Knows the store and ``views.launch``. Must not know Textual. Runs beside the event loop; a draft that was looked at a
moment ago is not looked at again for a commit that only moves the queue.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cream_tui.views.launch import Draft, Review, expand_draft, prepare, review_draft
from cream_tui.views.launch_checks import Check, list_checks, read_machine
from db.errors import RunNotFoundError
from db.overview import RunOverview, read_run_overview
from db.queries import find_run
from db.rows import RunRow

if TYPE_CHECKING:
    from engine.runtime.preview import RunPreview

# Files and free space change without a commit.
REVIEW_AGE_S = 3.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run that computes, or waits in the queue: then with its place, from 1."""

    run_id: str
    name: str
    place: int | None
    fraction_done: float


@dataclass(frozen=True, slots=True)
class LaunchData:
    """What the screen shows.

    Attributes:
        sources: Runs to start from, the newest first: name, method, state.
    """

    review: Review
    checks: tuple[Check, ...]
    queue: tuple[Waiting, ...]
    sources: tuple[tuple[str, str, str], ...]

    @property
    def can_start(self) -> bool:
        """Whether nothing is wrong."""
        return self.review.is_sound and all(check.status != "bad" for check in self.checks)

    def list_doubts(self, *, is_queued: bool) -> list[str]:
        """What deserves a second look before a start."""
        n = len(self.review.commands)
        crowd = [f"{n} runs would compute side by side (ctrl+n queues them)"] if n > 1 and not is_queued else []
        return crowd + [f"{check.name}: {check.text}" for check in self.checks if check.status == "warning"]


class DraftReader:
    """Remembers the last look at a draft."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._last: tuple[float, Draft, Review, tuple[Check, ...]] | None = None

    def read(self, connection: sqlite3.Connection | None, draft: Draft) -> LaunchData:
        """Look at a draft; without a connection there is no store yet."""
        runs = [] if connection is None else read_run_overview(connection)
        now = time.monotonic()
        if self._last is None or self._last[1] != draft or now - self._last[0] > REVIEW_AGE_S:
            review = review_draft(draft, find_source(connection, draft), self.root)
            self._last = now, draft, review, list_checks(review, read_machine(self.root), connection, runs)
        _, _, review, checks = self._last
        sources = tuple((run.name, run.method, run.state) for run in reversed(runs))
        return LaunchData(review, checks, list_queue(runs), sources)


def find_source(connection: sqlite3.Connection | None, draft: Draft) -> RunRow | None:
    """The stored run that a draft comes from; None where there is none of this name."""
    if connection is None or draft.run_reference is None:
        return None
    try:
        return find_run(connection, draft.run_reference)
    except RunNotFoundError:
        return None


def list_queue(runs: Sequence[RunOverview]) -> tuple[Waiting, ...]:
    """The runs that compute, then those that wait, in their order."""
    running = [Waiting(run.run_id, run.name, None, run.fraction_done) for run in runs if run.state == "running"]
    queued = [run for run in runs if run.state == "queued" and run.queue_position is not None]
    queued.sort(key=lambda run: (run.queue_position or 0.0, run.created_at))
    return (*running, *(Waiting(run.run_id, run.name, place, 0.0) for place, run in enumerate(queued, 1)))


def preview_review(review: Review, root: Path) -> list[RunPreview]:
    """What each run of a sound review would do, one by one; starts nothing.

    Raises:
        CreamError: A file or the model's folder cannot be read.
    """
    from engine.runtime.preview import preview_fork, preview_run

    draft, run = review.draft, None if review.base is None else review.base.run
    if draft.is_fork and run is not None:
        variants, _ = expand_draft(draft)
        return [preview_fork(root, run, *prepare(variant, run, root)) for variant in variants]
    return [preview_run(root, config, reuse=draft.is_reusing) for config in review.configs]
