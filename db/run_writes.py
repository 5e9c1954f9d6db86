"""What changes a run: creation, lease, requests, end, deletion. Each function is one transaction."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TypeAlias

from sqlalchemy import func, update
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session, col, delete, select

from db.errors import LeaseHeldError, LeaseLostError, RunNotFoundError
from db.models import Run, RunLease, RunStage, RunTag, Stage, Study, Usage
from db.rows import Lease, NewRun, NewStage, RunRow, UsageSample
from db.session import Store

IsAlive: TypeAlias = Callable[[Lease], bool]

_ID_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # no l, o, 0, 1: easily taken for one another
_ID_LENGTH = 8
_RESERVED_NAMES = frozenset({"latest"})


def create_run(store: Store, new: NewRun, stages: Sequence[NewStage]) -> RunRow:
    """The new run, queued, linked to its stages in this order; a taken name gets the first free suffix -2, -3, ..."""
    with store.begin() as session:
        return insert_run(session, new, stages)


def acquire_lease(store: Store, lease: Lease, *, is_alive: IsAlive) -> None:
    """Makes the holder the only worker on the run and the run running; the same token renews.

    A run that waits in the queue stays queued until ``db.run_queue.take_turn``. A stop that was asked for while the run
    was queued is kept, so that the first renewal reports it.

    Raises:
        LeaseHeldError: another live process holds it.
        RunNotFoundError: the run is gone.
    """
    with store.begin() as session:
        run = _load_run(session, lease.run_id)
        refuse_live_holder(session, run, is_alive, token=lease.token)
        session.merge(RunLease(**asdict(lease)))
        if run.state not in ("queued", "running"):
            raise LeaseLostError(f"run {run.name} was {run.state} before its process began")
        if run.state != "queued":
            run.stop_requested_at = None
        if run.state == "running" or run.queue_position is None:
            run.state = "running"
            run.started_at = run.started_at if run.started_at is not None else time.time()
        run.finished_at = run.exit_code = run.error = None
        session.add(run)


def renew_lease(store: Store, run_id: str, token: str, now: float) -> bool:
    """Whether a stop was requested; moves the heartbeat.

    Raises:
        LeaseLostError: the lease is gone or belongs to another token.
    """
    with store.begin() as session:
        lease = _load_own_lease(session, run_id, token)
        lease.heartbeat_at = now
        session.add(lease)
        return _load_run(session, run_id).stop_requested_at is not None


def write_usage(store: Store, run_id: str, token: str, sample: UsageSample) -> None:
    """Adds what the run's processes take now.

    Raises:
        LeaseLostError: the lease is gone or belongs to another token.
    """
    with store.begin() as session:
        _load_own_lease(session, run_id, token)
        session.add(Usage(run_id=run_id, at=time.time(), **asdict(sample)))


def release_lease(
    store: Store, run_id: str, token: str, *, state: str, exit_code: int | None, error: str | None = None
) -> None:
    """Ends the run in this state (done, failed or stopped); stages it still owns become pending, rows kept.

    Raises:
        LeaseLostError: the lease is gone or belongs to another token.
    """
    with store.begin() as session:
        session.delete(_load_own_lease(session, run_id, token))
        _end_run(session, _load_run(session, run_id), state, exit_code=exit_code, error=error)


def request_stop(store: Store, run_id: str) -> None:
    """Asks the run's supervisor to stop; it sees the request at its next heartbeat, unless a signal tells it first."""
    with store.begin() as session:
        run = _load_run(session, run_id)
        run.stop_requested_at = time.time()
        session.add(run)


def requeue_run(store: Store, run_id: str, *, is_alive: IsAlive | None = None, is_queued: bool = False) -> None:
    """Makes the run queued again, without a stop request, for a resume: at once, or behind those that wait.

    Raises:
        LeaseHeldError: ``is_alive`` is given and a live process holds the lease.
    """
    with store.begin() as session:
        run = _load_run(session, run_id)
        if is_alive is not None:
            refuse_live_holder(session, run, is_alive)
            session.exec(delete(RunLease).where(col(RunLease.run_id) == run_id))
        run.state = "queued"
        run.queue_position = _find_last_position(session) if is_queued else None
        run.stop_requested_at = run.finished_at = run.exit_code = run.error = None
        session.add(run)


def mark_run_stopped(store: Store, run_id: str, state: str, error: str | None) -> None:
    """Ends a run that has no live supervisor: drops its lease; stages it still owns become pending, rows kept.

    A run that has ended meanwhile stays as it ended.
    """
    with store.begin() as session:
        run = _load_run(session, run_id)
        if run.state not in ("queued", "running"):
            return
        session.exec(delete(RunLease).where(col(RunLease.run_id) == run_id))
        _end_run(session, run, state, exit_code=run.exit_code, error=error)


def delete_run(store: Store, run_id: str, *, is_alive: IsAlive) -> None:
    """Drops the run, its links, tags and lease; stages and their rows stay for others and for ``gc``.

    Raises:
        LeaseHeldError: a live process works on it.
    """
    with store.begin() as session:
        run = _load_run(session, run_id)
        refuse_live_holder(session, run, is_alive)
        _free_stages(session, run_id)
        session.exec(delete(Run).where(col(Run.run_id) == run_id))


def insert_run(session: Session, new: NewRun, stages: Sequence[NewStage]) -> RunRow:
    """The new run, as ``create_run`` makes it, within the caller's transaction."""
    run = Run(
        run_id=find_free_id(session),
        name=_find_free_name(session, new.name),
        method=new.method,
        seed=new.seed,
        iterations=new.iterations,
        state="queued",
        created_at=time.time(),
        config_json=new.config_json,
        config_digest=new.config_digest,
        lineage_json=new.lineage_json,
        base_folder=new.base_folder,
        base_digest=new.base_digest,
        parent_run_id=new.parent_run_id,
        fork_at=new.fork_at,
        reuse=new.reuse,
        provenance_json=new.provenance_json,
        queue_position=_find_last_position(session) if new.is_queued else None,
    )
    session.add(run)
    session.flush()
    session.add_all(RunTag(run_id=run.run_id, tag=tag) for tag in dict.fromkeys(new.tags))
    _link_stages(session, run.run_id, stages)
    return RunRow(**run.model_dump(), tags=tuple(sorted(set(new.tags))))


def load_lease(session: Session, run_id: str | None) -> Lease | None:
    """The run's lease within this transaction."""
    held = session.get(RunLease, run_id) if run_id is not None else None
    return None if held is None else Lease(**held.model_dump())


def find_free_id(session: Session, table: type[Run] | type[Study] = Run) -> str:
    """A new id of a run or a study."""
    while True:
        free_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
        if session.get(table, free_id) is None:
            return free_id


def _load_own_lease(session: Session, run_id: str, token: str) -> RunLease:
    held = session.get(RunLease, run_id)
    if held is None or held.token != token:
        raise LeaseLostError(
            f"this process no longer owns run {run_id}: "
            + ("its lease was dropped" if held is None else f"process {held.pid} on {held.host} took it over")
        )
    return held


def _load_run(session: Session, run_id: str) -> Run:
    run = session.get(Run, run_id)
    if run is None:
        raise RunNotFoundError(f"run {run_id} is not in the store", hint="`cream-tui ls` lists the runs")
    return run


def refuse_live_holder(session: Session, run: Run, is_alive: IsAlive, token: str | None = None) -> None:
    """Lets a change of a run through unless a live process other than the token's works on it.

    Raises:
        LeaseHeldError: one does.
    """
    held = load_lease(session, run.run_id)
    if held is not None and held.token != token and is_alive(held):
        raise LeaseHeldError(
            f"process {held.pid} on {held.host} is already working on run {run.name} ({run.run_id})",
            hint=f"follow it with `cream-tui watch {run.run_id}` or stop it with `cream-tui stop {run.run_id}`",
        )


def _end_run(session: Session, run: Run, state: str, *, exit_code: int | None, error: str | None) -> None:
    run.state, run.exit_code, run.error, run.finished_at = state, exit_code, error, time.time()
    run.queue_position = None
    session.add(run)
    _free_stages(session, run.run_id)


def _free_stages(session: Session, run_id: str) -> None:
    """Running stages of the run become pending, so that no old worker can write and anyone can claim them."""
    session.exec(
        update(Stage)
        .where(col(Stage.owner_run_id) == run_id, col(Stage.state) == "running")
        .values(state="pending", owner_token=None)
    )


def _find_last_position(session: Session) -> float:
    """A place behind every run that waits."""
    return (session.exec(select(func.max(col(Run.queue_position)))).one() or 0.0) + 1.0


def _find_free_name(session: Session, name: str) -> str:
    taken = set(session.exec(select(Run.name).where(col(Run.name).startswith(name, autoescape=True)))) | _RESERVED_NAMES
    taken |= set(session.exec(select(Study.name).where(col(Study.name).startswith(name, autoescape=True))))
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}-{number}", number + 1
    return candidate


def _link_stages(session: Session, run_id: str, stages: Sequence[NewStage]) -> None:
    if not stages:
        return
    session.connection().execute(
        insert(Stage).on_conflict_do_nothing(index_elements=["key"]),
        [{"key": stage.key, "name": stage.name, "state": "pending", "n_done": 0} for stage in stages],
    )
    keys = [stage.key for stage in stages]
    ids = dict(session.exec(select(Stage.key, Stage.stage_id).where(col(Stage.key).in_(keys))).all())
    session.connection().execute(
        insert(RunStage),
        [
            {
                "run_id": run_id,
                "position": position,
                "stage_id": ids[stage.key],
                "iteration": stage.iteration,
                "label": stage.label,
            }
            for position, stage in enumerate(stages)
        ],
    )
