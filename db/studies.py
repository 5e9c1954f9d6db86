"""Reading studies: matrices of runs that are started, stopped and compared as one. Light: plain sqlite3, no sqlmodel.

A study's runs are ordinary runs; names of studies and of runs are one namespace. Must not know processes: callers say
who is alive.
"""

from __future__ import annotations

import json
import shlex
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from db.errors import LeaseHeldError, RunNotFoundError, StoreError
from db.labels import find_model_name
from db.queries import HOW_TO_START, NO_RUNS, find_run
from db.reading import fetch_rows
from db.references import Named, find_exact, find_starts, read_named, refuse, refuse_start
from db.rows import Lease, RunRow

_SELECT = (
    "SELECT s.study_id, s.name, s.config_json, s.jobs, s.created_at, s.finished_at, s.stop_requested_at, s.error, "
    "w.token, w.pid, w.pid_started_at, w.host, w.heartbeat_at "
    "FROM study s LEFT JOIN study_lease w ON w.study_id = s.study_id "
)


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study as it stands.

    Attributes:
        config_json: The study file, resolved.
        jobs: How many of its runs may work at once.
        finished_at: When its process last ended by itself or by a stop; None before and meanwhile.
        error: What ended its process, if that was no failed arm.
        lease: Its process; ``run_id`` of it is the study's id.
    """

    study_id: str
    name: str
    config_json: str
    jobs: int
    created_at: float
    finished_at: float | None
    stop_requested_at: float | None
    error: str | None
    lease: Lease | None

    @property
    def baseline(self) -> str | None:
        """The arm that its file compares all others with, by its title; None for the first."""
        try:
            content = json.loads(self.config_json)
        except ValueError:
            return None
        return content.get("baseline") if isinstance(content, dict) else None


@dataclass(frozen=True, slots=True)
class StudyArm:
    """One run of a study's matrix.

    Attributes:
        arm: Its title without the seed, as "cream" or "cream beta=0.5".
        run_name: What the run is called, or will be.
        run_id: None until it was started, and after its run was removed.
        state: Of its run.
        error: Of its run, or why there is none.
    """

    study_id: str
    position: int
    arm: str
    method: str
    seed: int
    run_name: str
    run_id: str | None
    state: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class StudyCount:
    """How far a study is, in numbers; ``has_lease``: a process has taken it and not let go."""

    study_id: str
    name: str
    has_lease: bool
    error: str | None
    n_runs: int
    n_done: int
    n_failed: int


@dataclass(frozen=True, slots=True)
class StudyStage:
    """A stage that runs of a study have, once however many share it.

    Attributes:
        n_arms: How many of them have it.
        seconds: What all its attempts took; None before the first has ended.
    """

    stage_id: int
    name: str
    iteration: int
    label: str
    state: str
    n_arms: int
    owner_run_id: str | None
    n_done: int
    n_total: int | None
    finished_at: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class ArmAccuracy:
    """The mean accuracy over tasks of a model that a run of a study has evaluated; ``position`` is its arm's."""

    position: int
    model: str
    accuracy: float


def list_studies(c: sqlite3.Connection) -> list[StudyRow]:
    """All studies, newest last."""
    return [_build_study(row) for row in fetch_rows(c, _SELECT + "ORDER BY s.created_at, s.study_id")]


def read_study(c: sqlite3.Connection, study_id: str) -> StudyRow | None:
    """The study with exactly this id."""
    rows = fetch_rows(c, _SELECT + "WHERE s.study_id = ?", (study_id,))
    return _build_study(rows[0]) if rows else None


def read_study_by_name(c: sqlite3.Connection, name: str) -> StudyRow | None:
    """The study with exactly this name."""
    rows = fetch_rows(c, _SELECT + "WHERE s.name = ?", (name,))
    return _build_study(rows[0]) if rows else None


def find_study(c: sqlite3.Connection, reference: str) -> StudyRow:
    """The study with this id, name, unique start of an id or unique start of a name.

    Raises:
        RunNotFoundError: None or several; the hint names the nearest or the candidates.
    """
    studies, _ = read_named(c)
    if not studies:
        raise RunNotFoundError("the store has no studies", hint="start one with `cream-tui sweep quick`")
    exact = find_exact(studies, reference)
    matching = [exact] if exact is not None else find_starts(studies, reference)
    if len(matching) != 1:
        raise refuse(studies, reference, noun="study")
    return _load_study(c, matching[0])


def find_run_or_study(c: sqlite3.Connection, reference: str) -> RunRow | StudyRow:
    """The study of exactly this id or name, else the run, else the only one that starts so; or the ``latest`` run.

    Where a study starts so, the runs that are called after it do not count.

    Raises:
        RunNotFoundError: Neither, or several.
    """
    studies, runs = read_named(c)
    known = [*studies, *runs]
    found = find_exact(studies, reference) or find_exact(runs, reference)
    if found is None and (reference == "latest" or not known):
        return find_run(c, reference)
    if found is None:
        starts = find_starts(known, reference)
        own = tuple(f"{one.name}-" for one in starts if one.is_study)
        starts = [one for one in starts if one.is_study or not one.name.startswith(own)]
        if len(starts) != 1:
            raise refuse(known, reference, noun="run or study")
        found = starts[0]
    return _load_study(c, found) if found.is_study else find_run(c, found.key)


def find_exact_run_or_study(c: sqlite3.Connection, reference: str) -> RunRow | StudyRow:
    """The study or run of exactly this id or name, for what cannot be undone.

    Raises:
        RunNotFoundError: Neither; the hint names what the word may mean.
    """
    studies, runs = read_named(c)
    known = [*studies, *runs]
    found = find_exact(known, reference)
    if found is not None:
        return _load_study(c, found) if found.is_study else find_run(c, found.key)
    if not known:
        raise RunNotFoundError(NO_RUNS, hint=HOW_TO_START)
    raise refuse_start(known, reference)


def check_study_name(c: sqlite3.Connection, name: str) -> None:
    """Passes where a new study may be called so.

    Raises:
        StoreError: a run is.
    """
    if fetch_rows(c, "SELECT 1 FROM run WHERE name = ? LIMIT 1", (name,)):
        raise refuse_study_name(name)


def refuse_study_name(name: str) -> StoreError:
    """Why a study may not be called like a run."""
    return StoreError(
        f"a run is called {name} already, and studies and runs share their names",
        hint="give the study another name (--name), or remove the run with `cream-tui rm`",
    )


def refuse_live_study(study_id: str, name: str, lease: Lease) -> LeaseHeldError:
    """Why nobody else may work on a study whose process lives."""
    word = shlex.quote(name)
    return LeaseHeldError(
        f"process {lease.pid} on {lease.host} is already working on study {name} ({study_id})",
        hint=f"follow it with `cream-tui watch {word}` or stop it with `cream-tui stop {word}`",
    )


def read_study_arms(c: sqlite3.Connection, study_id: str) -> list[StudyArm]:
    """The arms of a study in the order of its matrix."""
    rows = fetch_rows(
        c,
        "SELECT a.study_id, a.position, a.arm, a.method, a.seed, coalesce(r.name, a.run_name), a.run_id, r.state, "
        "coalesce(a.error, r.error) FROM study_arm a LEFT JOIN run r ON r.run_id = a.run_id "
        "WHERE a.study_id = ? ORDER BY a.position",
        (study_id,),
    )
    return [StudyArm(*row) for row in rows]


def read_arm_configs(c: sqlite3.Connection, study_id: str) -> dict[int, str]:
    """The full configuration of each arm as JSON, by its position."""
    rows = fetch_rows(c, "SELECT position, config_json FROM study_arm WHERE study_id = ?", (study_id,))
    return {row["position"]: row["config_json"] for row in rows}


def read_run_keys(c: sqlite3.Connection, run_id: str) -> list[str]:
    """The keys of a run's stages in the order of its plan."""
    rows = fetch_rows(
        c,
        "SELECT s.key FROM run_stage l JOIN stage s USING (stage_id) WHERE l.run_id = ? ORDER BY l.position",
        (run_id,),
    )
    return [row["key"] for row in rows]


def read_study_stages(c: sqlite3.Connection, study_id: str) -> list[StudyStage]:
    """The distinct stages of a study's runs, in the order in which its arms ask for them."""
    rows = fetch_rows(
        c,
        "SELECT s.stage_id, s.name, min(l.iteration), min(l.label), s.state, count(*), s.owner_run_id, s.n_done, "
        "s.n_total, s.finished_at, (SELECT sum(coalesce(t.compute_s, t.finished_at - t.started_at)) FROM attempt t "
        "WHERE t.stage_id = s.stage_id) FROM study_arm a JOIN run_stage l ON l.run_id = a.run_id "
        "JOIN stage s ON s.stage_id = l.stage_id "
        "WHERE a.study_id = ? GROUP BY s.stage_id ORDER BY min(a.position), min(l.position)",
        (study_id,),
    )
    return [StudyStage(*row) for row in rows]


def read_study_accuracies(c: sqlite3.Connection, study_id: str) -> list[ArmAccuracy]:
    """The accuracies of all models of a study's runs, in the order of its arms."""
    rows = fetch_rows(
        c,
        # From the study to its metrics: a store has far more metrics than a study has stages.
        "SELECT a.position, l.label, m.value FROM study_arm a CROSS JOIN run_stage l ON l.run_id = a.run_id "
        "CROSS JOIN stage s ON s.stage_id = l.stage_id CROSS JOIN metric_name n "
        "CROSS JOIN metric m ON m.stage_id = s.stage_id AND m.name_id = n.name_id "
        "WHERE a.study_id = ? AND s.name = 'evaluate' AND n.name = 'accuracy' ORDER BY a.position, l.position",
        (study_id,),
    )
    return [ArmAccuracy(place, name, value) for place, label, value in rows if (name := find_model_name(label))]


def read_studies_of_runs(c: sqlite3.Connection) -> dict[str, str]:
    """The study's name of each run that belongs to one, by run id."""
    rows = fetch_rows(
        c, "SELECT a.run_id, s.name FROM study_arm a JOIN study s USING (study_id) WHERE a.run_id IS NOT NULL"
    )
    return {row["run_id"]: row["name"] for row in rows}


def count_study_runs(c: sqlite3.Connection) -> list[StudyCount]:
    """Whether each study has a process, and how many of its runs are done and failed; in one pass."""
    rows = fetch_rows(
        c,
        "SELECT s.study_id, s.name, max(w.pid) IS NOT NULL, s.error, count(*), sum(r.state = 'done'), "
        "sum(r.state = 'failed' OR (a.run_id IS NULL AND a.error IS NOT NULL)) "
        "FROM study s JOIN study_arm a USING (study_id) LEFT JOIN run r ON r.run_id = a.run_id "
        "LEFT JOIN study_lease w ON w.study_id = s.study_id GROUP BY s.study_id",
    )
    return [StudyCount(row[0], row[1], bool(row[2]), row[3], row[4], row[5] or 0, row[6] or 0) for row in rows]


def derive_study_state(study: StudyRow, arms: Sequence[StudyArm], *, is_alive: Callable[[Lease], bool]) -> str:
    """How a study stands: running, stale, queued (not yet begun), done, failed or stopped.

    Stale: its process is gone, and not all of its runs are done. Failed: its process ended, and an arm or the process
    itself with an error. Stopped: some arms are left.
    """
    is_done = all(arm.state == "done" for arm in arms)
    if study.lease is not None:
        return "running" if is_alive(study.lease) else "done" if is_done else "stale"
    if study.finished_at is None:
        return "queued"
    if study.error is not None or any(arm.state == "failed" or (arm.run_id is None and arm.error) for arm in arms):
        return "failed"
    return "done" if is_done else "stopped"


def _load_study(c: sqlite3.Connection, named: Named) -> StudyRow:
    (row,) = fetch_rows(c, _SELECT + "WHERE s.study_id = ?", (named.key,))
    return _build_study(row)


def _build_study(row: sqlite3.Row) -> StudyRow:
    lease = None if row["token"] is None else Lease(row["study_id"], *tuple(row)[8:])
    return StudyRow(**{name: row[name] for name in row.keys()[:8]}, lease=lease)
