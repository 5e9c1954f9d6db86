"""Start, resume, stop and delete studies: what the command line and the app call. Torch-free, returns at once.

A study's runs are started by its own detached process, the study runner; this module writes its rows and starts or
signals it.
"""

from __future__ import annotations

import fcntl
import json
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from db.errors import RunNotFoundError
from db.paths import StorePaths
from db.queries import find_run
from db.reading import open_reader
from db.rows import RunRow
from db.session import Store, open_store
from db.studies import StudyArm, StudyRow, read_study, read_study_arms, refuse_live_study
from db.study_writes import (
    NewArm,
    create_study,
    end_study,
    replace_arms,
    request_study_stop,
    revise_study,
)
from db.study_writes import delete_study as delete_study_row
from engine.config.load import dump
from engine.errors import ConfigError
from engine.runtime.control import ask_run_to_stop, delete_run, stop_run
from engine.runtime.detached import POLL_S, start_detached
from engine.runtime.process import ask_holder_to_stop, is_alive, signal_holder
from engine.runtime.study_plan import StudyPlan

STOP_TIMEOUT_S = 60.0


def start_study(root: Path, plan: StudyPlan) -> StudyRow:
    """Write the study, or bring the stored one of this name to its file, and start its runner where anything is left.

    Runs of arms that are none any more stay in the store. A study that is running, or done, with the same arms takes
    what else its file says; one that is running takes the new number of runs at once, too.

    Raises:
        ConfigError: it is running with other arms.
        LeaseHeldError: another process has made or started it since the plan was made.
        StoreError: a run has its name; the store cannot be written.
        BackendError: its process does not start.
    """
    stored, config_json = plan.stored, plan.study.config.model_dump_json()
    if stored is not None and plan.is_running and plan.is_changed:
        raise ConfigError(
            f"{stored.name} is running, and its file has changed: "
            f"{len(plan.added)} of its runs are new, {len(plan.dropped)} are gone, "
            f"{len(plan.outdated)} read other files",
            hint=f"stop it first: cream-tui stop {shlex.quote(stored.name)}",
        )
    if stored is not None and not plan.is_changed and (plan.is_running or plan.is_done):
        jobs = plan.jobs if plan.is_running else stored.jobs
        if (config_json, jobs) != (stored.config_json, stored.jobs):
            revise_study(open_store(root), stored.study_id, config_json, jobs=jobs)
        return _reread(root, stored.study_id)
    arms = [
        NewArm(
            arm=arm.arm.title,
            method=arm.arm.method,
            seed=arm.arm.seed,
            run_name=arm.arm.config.name,
            config_json=json.dumps(dump(arm.arm.config)),
            run_id=arm.run_id,
        )
        for arm in plan.arms
    ]
    store = open_store(root)
    if plan.is_done:
        study_id = _write_study(store, plan, arms)
        end_study(store, study_id)
    else:
        with one_at_a_time(root, "launch"):
            study_id = _write_study(store, plan, arms)
            _spawn(root, study_id)
    return _reread(root, study_id)


def _write_study(store: Store, plan: StudyPlan, arms: Sequence[NewArm]) -> str:
    stored, config_json = plan.stored, plan.study.config.model_dump_json()
    if stored is None:
        return create_study(store, plan.study.name, config_json, jobs=plan.jobs, arms=arms)
    replace_arms(store, stored.study_id, config_json, jobs=plan.jobs, arms=arms, is_alive=is_alive)
    return stored.study_id


def resume_study(root: Path, study: StudyRow) -> StudyRow:
    """Start the runner for what is left of a study as it is stored; one that is done stays as it is.

    Raises:
        LeaseHeldError: it is running.
        BackendError: its process does not start.
    """
    _refuse_running(root, study)
    if not all(arm.state == "done" for arm in _read_arms(root, study)):
        with one_at_a_time(root, "launch"):
            _refuse_running(root, study)
            _spawn(root, study.study_id)
    return _reread(root, study.study_id)


def stop_study(root: Path, study: StudyRow) -> None:
    """Stop a study's runner and its live runs; return once they have ended."""
    store = open_store(root)
    with one_at_a_time(root, "launch"):
        lease = _reread(root, study.study_id).lease
    if lease is not None and is_alive(lease):
        request_study_stop(store, study.study_id)
        ask_holder_to_stop(lease)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while lease is not None and is_alive(lease) and time.monotonic() < deadline:
            time.sleep(POLL_S)
            lease = _reread(root, study.study_id).lease
        if lease is not None:
            signal_holder(lease, 9)
    stop_runs(root, _read_arms(root, study))
    ended = _reread(root, study.study_id)
    if ended.lease is not None or ended.finished_at is None:
        end_study(store, study.study_id)


@contextmanager
def one_at_a_time(root: Path, what: str) -> Iterator[None]:
    """Let one process of the store do this to its studies at a time: whoever comes next finds it done."""
    folder = root / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{what}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def stop_runs(root: Path, arms: Sequence[StudyArm]) -> None:
    """Stop the runs of these arms that should be going on, all at once; return once they have ended."""
    runs = [find_arm_run(root, arm) for arm in arms if arm.state in ("queued", "running")]
    for run in runs:
        if run is not None:
            ask_run_to_stop(root, run)
    for run in runs:
        if run is not None:
            stop_run(root, run)


def delete_study(root: Path, study: StudyRow) -> list[str]:
    """Remove a study and its runs; return the names of those runs. What other runs share stays.

    Raises:
        LeaseHeldError: a live process works on it, or on one of its runs.
    """
    arms = _read_arms(root, study)
    delete_study_row(open_store(root), study.study_id, is_alive=is_alive)
    runs = [run for arm in arms if (run := find_arm_run(root, arm)) is not None]
    for run in runs:
        delete_run(root, run)
    return [run.name for run in runs]


def find_arm_run(root: Path, arm: StudyArm) -> RunRow | None:
    """Return the run of an arm; None where it has none, or that was removed."""
    if arm.run_id is None:
        return None
    with closing(open_reader(root)) as reader:
        try:
            return find_run(reader, arm.run_id)
        except RunNotFoundError:
            return None


def _refuse_running(root: Path, study: StudyRow) -> None:
    now = _reread(root, study.study_id)
    if now.lease is not None and is_alive(now.lease):
        raise refuse_live_study(now.study_id, now.name, now.lease)


def _spawn(root: Path, study_id: str) -> None:
    """Start the runner in a session of its own and wait until it holds the lease, or has nothing left to do.

    Raises:
        BackendError: it ended before; the message carries the end of its log.
    """
    paths = StorePaths(Path(root).absolute())
    before = _reread(root, study_id)

    def has_begun() -> bool:
        study = _reread(root, study_id)
        token = None if before.lease is None else before.lease.token
        if study.lease is not None and study.lease.token != token:
            return True
        return study.finished_at is not None and study.finished_at != before.finished_at

    start_detached(
        "engine.runtime.study_runner",
        [str(paths.root), study_id],
        log=paths.study_folder(study_id) / "runner.log",
        environment={},
        has_begun=has_begun,
    )


def _reread(root: Path, study_id: str) -> StudyRow:
    with closing(open_reader(root)) as reader:
        study = read_study(reader, study_id)
    if study is None:
        raise RunNotFoundError(f"study {study_id} is not in the store", hint="`cream-tui ls` lists the studies")
    return study


def _read_arms(root: Path, study: StudyRow) -> list[StudyArm]:
    with closing(open_reader(root)) as reader:
        return read_study_arms(reader, study.study_id)
