"""Studies as the list of runs shows them: a study with its arms, and how each of these stands.

Knows db's reads of studies and whose process lives. Must not know how anything is shown.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cream_tui.readers.run_records import RunRecord
from cream_tui.stores import FRESH_HEARTBEAT_S, is_lease_alive
from db.overview import RunOverview
from db.rows import Lease
from db.studies import StudyArm, StudyRow, derive_study_state, list_studies, read_study_arms

WAITING = "waiting"
_JUST_STARTED = ("queued", "running")  # another run of this name read other files, and has ended


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A study at a moment.

    Attributes:
        state: running, stale, queued, done, failed or stopped.
        arms: One for each run of its matrix, in the order of the matrix.
        states: How each arm stands: its run's state as shown, or waiting, or failed where it has no run.
    """

    study: StudyRow
    state: str
    arms: tuple[StudyArm, ...]
    states: tuple[str, ...]
    age_s: float

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs that there are."""
        return tuple(arm.run_id for arm in self.arms if arm.run_id is not None)

    @property
    def titles(self) -> tuple[str, ...]:
        """What its runs differ in besides the seed, each once."""
        return tuple(dict.fromkeys(arm.arm for arm in self.arms))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Its seeds, each once."""
        return tuple(dict.fromkeys(arm.seed for arm in self.arms))


def read_studies(
    connection: sqlite3.Connection, runs: Iterable[RunOverview]
) -> list[tuple[StudyRow, tuple[StudyArm, ...]]]:
    """All studies with their arms, the newest last.

    A study's process notes a run in its arm a moment after it has started it: until then its name tells.
    """
    by_name = {run.name: run for run in runs}
    return [
        (study, tuple(_find_run(study, arm, by_name) for arm in read_study_arms(connection, study.study_id)))
        for study in list_studies(connection)
    ]


def _find_run(study: StudyRow, arm: StudyArm, by_name: Mapping[str, RunOverview]) -> StudyArm:
    run = by_name.get(arm.run_name) if arm.run_id is None and study.lease is not None else None
    if run is None or run.created_at < study.created_at or run.state not in _JUST_STARTED:
        return arm
    return replace(arm, run_id=run.run_id, state=run.state)


def name_studies(studies: Iterable[tuple[StudyRow, Sequence[StudyArm]]]) -> dict[str, str]:
    """The study's name of each run that belongs to one, by run id."""
    return {arm.run_id: study.name for study, arms in studies for arm in arms if arm.run_id is not None}


def build_study_records(
    studies: Iterable[tuple[StudyRow, tuple[StudyArm, ...]]], runs: Mapping[str, RunRecord], *, now: float
) -> tuple[StudyRecord, ...]:
    """The records of the studies, in their order; ``runs`` are those of the store, by id."""
    return tuple(
        StudyRecord(
            study,
            derive_study_state(study, arms, is_alive=_is_alive),
            arms,
            tuple(_find_state(arm, runs) for arm in arms),
            max(0.0, now - study.created_at),
        )
        for study, arms in studies
    )


def _find_state(arm: StudyArm, runs: Mapping[str, RunRecord]) -> str:
    record = None if arm.run_id is None else runs.get(arm.run_id)
    if record is not None:
        return record.state
    return "failed" if arm.run_id is None and arm.error else WAITING


def _is_alive(lease: Lease) -> bool:
    return abs(time.time() - lease.heartbeat_at) < FRESH_HEARTBEAT_S or is_lease_alive(lease)
