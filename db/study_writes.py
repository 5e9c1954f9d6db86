"""What changes a study: its arms, its process's lease, requests, its end. Each function is one transaction.

Runs of a study are changed by ``db.run_writes`` as any other; a study only links to them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import update
from sqlmodel import Session, col, delete, select

from db.errors import LeaseHeldError, LeaseLostError, RunNotFoundError
from db.models import Run, Study, StudyArm, StudyLease
from db.rows import Lease
from db.run_writes import IsAlive, find_free_id, refuse_live_holder
from db.session import Store
from db.studies import refuse_live_study, refuse_study_name


@dataclass(frozen=True, slots=True)
class NewArm:
    """An arm to be written; ``run_id`` where it has its run already."""

    arm: str
    method: str
    seed: int
    run_name: str
    config_json: str
    run_id: str | None = None


def create_study(store: Store, name: str, config_json: str, *, jobs: int, arms: Sequence[NewArm]) -> str:
    """The id of the new study.

    Raises:
        StoreError: the name is a run's.
        LeaseHeldError: it is a study's, which another process has just made.
    """
    with store.begin() as session:
        if session.exec(select(Run.run_id).where(col(Run.name) == name)).first() is not None:
            raise refuse_study_name(name)
        if session.exec(select(Study.study_id).where(col(Study.name) == name)).first() is not None:
            raise LeaseHeldError(f"another process has just made the study {name}", hint="start it again to follow it")
        study_id = find_free_id(session, Study)
        session.add(Study(study_id=study_id, name=name, config_json=config_json, jobs=jobs, created_at=time.time()))
        session.flush()
        _add_arms(session, study_id, arms)
        return study_id


def replace_arms(
    store: Store, study_id: str, config_json: str, *, jobs: int, arms: Sequence[NewArm], is_alive: IsAlive
) -> None:
    """Gives the study other arms; runs of arms that are not among them stay in the store as plain runs.

    Raises:
        LeaseHeldError: a live process works on it.
    """
    with store.begin() as session:
        study = _load_study(session, study_id)
        _refuse_live_study(session, study, is_alive)
        study.config_json, study.jobs = config_json, jobs
        session.add(study)
        session.exec(delete(StudyArm).where(col(StudyArm.study_id) == study_id))
        _add_arms(session, study_id, arms)


def revise_study(store: Store, study_id: str, config_json: str, *, jobs: int) -> None:
    """Notes what the study's file and command line say now; its arms stay, and a live process sees it."""
    with store.begin() as session:
        study = _load_study(session, study_id)
        study.config_json, study.jobs = config_json, jobs
        session.add(study)


def acquire_study_lease(store: Store, lease: Lease, *, is_alive: IsAlive) -> None:
    """Makes the holder the only process of the study; forgets how it ended before and what was asked of it.

    Raises:
        LeaseHeldError: another live process holds it.
        RunNotFoundError: the study is gone.
    """
    with store.begin() as session:
        study = _load_study(session, lease.run_id)
        _refuse_live_study(session, study, is_alive)
        values = asdict(lease)
        session.merge(StudyLease(study_id=values.pop("run_id"), **values))
        study.finished_at = study.stop_requested_at = study.error = None
        session.add(study)


def renew_study_lease(store: Store, study_id: str, token: str, now: float) -> bool:
    """Whether a stop was requested; moves the heartbeat.

    Raises:
        LeaseLostError: the lease is gone or belongs to another token.
    """
    with store.begin() as session:
        lease = _load_own_lease(session, study_id, token)
        lease.heartbeat_at = now
        session.add(lease)
        return _load_study(session, study_id).stop_requested_at is not None


def release_study_lease(store: Store, study_id: str, token: str, *, error: str | None = None) -> None:
    """Ends the study's process.

    Raises:
        LeaseLostError: the lease is gone or belongs to another token.
    """
    with store.begin() as session:
        session.delete(_load_own_lease(session, study_id, token))
        _end_study(session, _load_study(session, study_id), error)


def request_study_stop(store: Store, study_id: str) -> None:
    """Asks the study's process to stop all its runs; it sees the request at its next heartbeat."""
    with store.begin() as session:
        study = _load_study(session, study_id)
        study.stop_requested_at = time.time()
        session.add(study)


def end_study(store: Store, study_id: str, error: str | None = None) -> None:
    """Ends a study that has no live process, or needs none: drops its lease."""
    with store.begin() as session:
        session.exec(delete(StudyLease).where(col(StudyLease.study_id) == study_id))
        _end_study(session, _load_study(session, study_id), error)


def set_arm_run(store: Store, study_id: str, position: int, run_id: str) -> None:
    """Links an arm to its run."""
    _update_arm(store, study_id, position, run_id=run_id, error=None)


def set_arm_error(store: Store, study_id: str, position: int, error: str) -> None:
    """Notes why an arm has no run."""
    _update_arm(store, study_id, position, error=error)


def delete_study(store: Store, study_id: str, *, is_alive: IsAlive) -> None:
    """Drops the study and its arms; their runs stay.

    Raises:
        LeaseHeldError: a live process works on it, or on one of its runs.
    """
    with store.begin() as session:
        _refuse_live_study(session, _load_study(session, study_id), is_alive)
        is_own = col(Run.run_id).in_(select(StudyArm.run_id).where(col(StudyArm.study_id) == study_id))
        for run in session.exec(select(Run).where(is_own)):
            refuse_live_holder(session, run, is_alive)
        session.exec(delete(Study).where(col(Study.study_id) == study_id))


def _update_arm(store: Store, study_id: str, position: int, **values: str | None) -> None:
    with store.begin() as session:
        session.exec(
            update(StudyArm)
            .where(col(StudyArm.study_id) == study_id, col(StudyArm.position) == position)
            .values(**values)
        )


def _add_arms(session: Session, study_id: str, arms: Sequence[NewArm]) -> None:
    session.add_all(StudyArm(study_id=study_id, position=place, **asdict(arm)) for place, arm in enumerate(arms))


def _end_study(session: Session, study: Study, error: str | None) -> None:
    study.finished_at, study.error = time.time(), error
    session.add(study)


def _load_study(session: Session, study_id: str) -> Study:
    study = session.get(Study, study_id)
    if study is None:
        raise RunNotFoundError(f"study {study_id} is not in the store", hint="`cream-tui ls` lists the studies")
    return study


def _load_own_lease(session: Session, study_id: str, token: str) -> StudyLease:
    held = session.get(StudyLease, study_id)
    if held is None or held.token != token:
        raise LeaseLostError(f"this process no longer owns study {study_id}")
    return held


def _refuse_live_study(session: Session, study: Study, is_alive: IsAlive) -> None:
    held = session.get(StudyLease, study.study_id)
    if held is None:
        return
    values = held.model_dump()
    lease = Lease(run_id=values.pop("study_id"), **values)
    if is_alive(lease):
        raise refuse_live_study(study.study_id, study.name, lease)
