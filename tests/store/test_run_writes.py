"""Runs and leases: creation, names, the lease's state machine, end and deletion."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from db.errors import LeaseHeldError, LeaseLostError, RunNotFoundError
from db.queries import find_run, open_reader, read_lease, read_run_stages, read_runs
from db.rows import Lease, NewRun, NewStage, RunRow, StageRow
from db.session import Store
from db.writes import (
    acquire_lease,
    claim_stage,
    create_run,
    delete_run,
    mark_run_stopped,
    release_lease,
    renew_lease,
    request_stop,
    requeue_run,
)

NewLease = Callable[..., Lease]
NewRunOf = Callable[..., NewRun]
NewPlan = Callable[[str], list[NewStage]]


def alive(_: Lease) -> bool:
    return True


def dead(_: Lease) -> bool:
    return False


def look(store: Store, run_id: str) -> tuple[RunRow, Lease | None, list[StageRow]]:
    with closing(open_reader(store.paths.root)) as c:
        return find_run(c, run_id), read_lease(c, run_id), read_run_stages(c, run_id)


def test_create_run_returns_what_is_read_back(store: Store, new_run: NewRunOf, new_plan: NewPlan) -> None:
    before = time.time()
    created = create_run(store, new_run(tags=("b", "a", "b")), new_plan("x"))
    run, lease, stages = look(store, created.run_id)
    assert created == run
    assert (run.state, run.tags, lease) == ("queued", ("a", "b"), None)
    assert before <= run.created_at <= time.time()
    assert len(run.run_id) == 8 and run.run_id.isalnum() and run.run_id == run.run_id.lower()
    assert [(s.position, s.key, s.name, s.iteration, s.label) for s in stages] == [
        (place, plan.key, plan.name, plan.iteration, plan.label) for place, plan in enumerate(new_plan("x"))
    ]
    assert {(s.state, s.n_done, s.n_total, s.owner_run_id, s.n_attempts) for s in stages} == {
        ("pending", 0, None, None, 0)
    }


def test_runs_share_stages_of_equal_keys(store: Store, new_run: NewRunOf, new_plan: NewPlan) -> None:
    one = look(store, create_run(store, new_run(), new_plan("x")).run_id)[2]
    two = look(store, create_run(store, new_run(), new_plan("y")).run_id)[2]
    assert [a.stage_id == b.stage_id for a, b in zip(one, two, strict=True)] == [True] * 5 + [False] * 5


def test_taken_names_get_the_first_free_suffix(store: Store, new_run: NewRunOf) -> None:
    asked = ["a_b", "a_b", "axb", "a_b-3", "a_b", "a_b", "latest", "A_B"]
    names = [create_run(store, new_run(name), []).name for name in asked]
    assert names == ["a_b", "a_b-2", "axb", "a_b-3", "a_b-4", "a_b-5", "latest-2", "A_B"]


def test_lease_makes_the_run_running_and_its_end_frees_it(
    store: Store, new_run: NewRunOf, new_plan: NewPlan, new_lease: NewLease
) -> None:
    run_id = create_run(store, new_run(), new_plan("x")).run_id
    lease = new_lease(run_id)
    acquire_lease(store, lease, is_alive=alive)
    run, held, stages = look(store, run_id)
    assert (run.state, held) == ("running", lease)
    claim_stage(store, stages[0].stage_id, run_id=run_id, token="t1", is_alive=alive)
    assert renew_lease(store, run_id, "t1", 99.5) is False
    release_lease(store, run_id, "t1", state="failed", exit_code=4, error="out of memory")
    run, held, stages = look(store, run_id)
    assert (run.state, run.exit_code, run.error, held) == ("failed", 4, "out of memory", None)
    assert run.started_at is not None and run.finished_at is not None and run.started_at <= run.finished_at
    assert stages[0].state == "pending"  # what it had not released is free for others


def test_live_holder_is_not_displaced(store: Store, new_run: NewRunOf, new_lease: NewLease) -> None:
    run_id = create_run(store, new_run("busy"), []).run_id
    acquire_lease(store, new_lease(run_id, "t1", 4242), is_alive=alive)
    with pytest.raises(LeaseHeldError, match=r"4242 on here .* busy") as caught:
        acquire_lease(store, new_lease(run_id, "t2"), is_alive=alive)
    assert f"cream-tui stop {run_id}" in str(caught.value.hint)
    with pytest.raises(LeaseHeldError):
        requeue_run(store, run_id, is_alive=alive)
    with pytest.raises(LeaseHeldError):
        delete_run(store, run_id, is_alive=alive)
    acquire_lease(store, new_lease(run_id, "t1", 4243), is_alive=alive)  # one's own
    _, held, _ = look(store, run_id)
    assert held is not None and (held.token, held.pid) == ("t1", 4243)


def test_dead_holder_is_displaced_and_cannot_come_back(store: Store, new_run: NewRunOf, new_lease: NewLease) -> None:
    run_id = create_run(store, new_run(), []).run_id
    acquire_lease(store, new_lease(run_id, "old"), is_alive=alive)
    asked: list[str] = []

    def is_alive(lease: Lease) -> bool:
        asked.append(lease.token)
        return False

    acquire_lease(store, new_lease(run_id, "new"), is_alive=is_alive)
    assert asked == ["old"]
    with pytest.raises(LeaseLostError):
        renew_lease(store, run_id, "old", 1.0)
    with pytest.raises(LeaseLostError):
        release_lease(store, run_id, "old", state="done", exit_code=0)
    assert look(store, run_id)[0].state == "running"


def test_stop_request_reaches_the_next_heartbeat(store: Store, new_run: NewRunOf, new_lease: NewLease) -> None:
    run_id = create_run(store, new_run(), []).run_id
    acquire_lease(store, new_lease(run_id), is_alive=alive)
    request_stop(store, run_id)
    assert renew_lease(store, run_id, "t1", 1.0) is True


def test_stop_of_a_queued_run_is_not_lost(store: Store, new_run: NewRunOf, new_lease: NewLease) -> None:
    run_id = create_run(store, new_run(), []).run_id
    request_stop(store, run_id)
    acquire_lease(store, new_lease(run_id), is_alive=alive)
    assert renew_lease(store, run_id, "t1", 1.0) is True


def test_old_stop_request_does_not_stop_the_resumed_run(store: Store, new_run: NewRunOf, new_lease: NewLease) -> None:
    run_id = create_run(store, new_run(), []).run_id
    acquire_lease(store, new_lease(run_id, "old"), is_alive=alive)
    request_stop(store, run_id)
    release_lease(store, run_id, "old", state="stopped", exit_code=3, error="stopped")
    requeue_run(store, run_id)
    run = look(store, run_id)[0]
    assert (run.state, run.stop_requested_at, run.finished_at, run.exit_code, run.error) == ("queued", *[None] * 4)
    acquire_lease(store, new_lease(run_id, "new"), is_alive=alive)
    assert renew_lease(store, run_id, "new", 1.0) is False

    request_stop(store, run_id)  # and where the holder died before it could stop
    acquire_lease(store, new_lease(run_id, "third"), is_alive=dead)
    assert renew_lease(store, run_id, "third", 1.0) is False


def test_mark_run_stopped_ends_what_its_supervisor_could_not(
    store: Store, new_run: NewRunOf, new_plan: NewPlan, new_lease: NewLease
) -> None:
    run_id = create_run(store, new_run(), new_plan("x")).run_id
    acquire_lease(store, new_lease(run_id), is_alive=alive)
    stage_id = look(store, run_id)[2][0].stage_id
    claim_stage(store, stage_id, run_id=run_id, token="t1", is_alive=alive)
    mark_run_stopped(store, run_id, "failed", "killed")
    run, lease, stages = look(store, run_id)
    assert (run.state, run.error, lease, stages[0].state) == ("failed", "killed", None, "pending")
    assert run.finished_at is not None


def test_mark_run_stopped_leaves_a_run_that_has_ended_meanwhile(
    store: Store, new_run: NewRunOf, new_lease: NewLease
) -> None:
    run_id = create_run(store, new_run(), []).run_id
    acquire_lease(store, new_lease(run_id), is_alive=alive)
    release_lease(store, run_id, "t1", state="done", exit_code=0)
    ended = look(store, run_id)
    mark_run_stopped(store, run_id, "stopped", None)
    assert look(store, run_id) == ended
    assert (ended[0].state, ended[0].exit_code) == ("done", 0)


def test_delete_run_keeps_its_stages(store: Store, new_run: NewRunOf, new_plan: NewPlan, new_lease: NewLease) -> None:
    gone = create_run(store, new_run(tags=("x",)), new_plan("x"))
    kept = create_run(store, new_run(), new_plan("x"))
    acquire_lease(store, new_lease(gone.run_id), is_alive=alive)
    before = look(store, kept.run_id)[2]
    delete_run(store, gone.run_id, is_alive=dead)
    with closing(open_reader(store.paths.root)) as c:
        assert [run.run_id for run in read_runs(c)] == [kept.run_id]
        counts = {
            table: c.execute(f"SELECT count(*) FROM {table} WHERE run_id = ?", (gone.run_id,)).fetchone()[0]
            for table in ("run_tag", "run_stage", "lease")
        }
    assert counts == {"run_tag": 0, "run_stage": 0, "lease": 0}
    assert look(store, kept.run_id)[2] == before


@pytest.mark.parametrize(
    "change",
    [
        lambda store: request_stop(store, "nosuch"),
        lambda store: requeue_run(store, "nosuch"),
        lambda store: mark_run_stopped(store, "nosuch", "failed", None),
        lambda store: delete_run(store, "nosuch", is_alive=dead),
        lambda store: acquire_lease(store, Lease("nosuch", "t", 1, 1.0, "h", 1.0), is_alive=dead),
    ],
)
def test_unknown_run_is_named(store: Store, change: Callable[[Store], Any]) -> None:
    with pytest.raises(RunNotFoundError, match="nosuch"):
        change(store)
