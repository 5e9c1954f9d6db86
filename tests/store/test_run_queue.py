"""The queue: places, turns, who counts, and that two processes cannot take one turn."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import db
from db.errors import LeaseLostError, RunNotFoundError, StoreError
from db.queries import find_run, open_reader
from db.rows import Lease, NewRun, RunRow
from db.run_queue import count_ahead, move_before, move_to_back, move_to_front, read_queue, take_turn
from db.session import Store
from db.writes import acquire_lease, create_run, release_lease, requeue_run

PROJECT = Path(db.__file__).parent.parent


def alive(_: Lease) -> bool:
    return True


@pytest.fixture
def queue_run(
    store: Store, new_run: Callable[..., NewRun], new_lease: Callable[..., Lease]
) -> Callable[..., tuple[RunRow, Lease]]:
    """A run that waits, its supervisor holding the lease."""

    def queue(name: str, *, is_queued: bool = True) -> tuple[RunRow, Lease]:
        run = create_run(store, replace(new_run(name), is_queued=is_queued), [])
        lease = new_lease(run.run_id, f"token-{name}")
        acquire_lease(store, lease, is_alive=alive)
        return run, lease

    return queue


def list_names(store: Store) -> list[str]:
    with closing(open_reader(store.paths.root)) as c:
        return [entry.name for entry in read_queue(c)]


def look(store: Store, run: RunRow) -> RunRow:
    with closing(open_reader(store.paths.root)) as c:
        return find_run(c, run.run_id)


def take(store: Store, lease: Lease, n_slots: int = 1, is_alive: Callable[[Lease], bool] = alive) -> bool:
    return take_turn(store.paths.root, lease, n_slots=n_slots, is_alive=is_alive)


def test_a_queued_run_holds_its_lease_and_waits(store: Store, queue_run: Callable[..., tuple[RunRow, Lease]]) -> None:
    run, _ = queue_run("a")
    found = look(store, run)
    assert (found.state, found.queue_position, found.started_at) == ("queued", 1.0, None)


def test_turns_come_in_the_order_of_the_queue(store: Store, queue_run: Callable[..., tuple[RunRow, Lease]]) -> None:
    busy, busy_lease = queue_run("busy", is_queued=False)
    (one, one_lease), (two, two_lease) = queue_run("one"), queue_run("two")
    assert list_names(store) == ["busy", "one", "two"]
    assert (take(store, one_lease), take(store, two_lease)) == (False, False)
    release_lease(store, busy.run_id, busy_lease.token, state="done", exit_code=0)
    assert take(store, two_lease) is False
    assert take(store, one_lease) is True
    found = look(store, one)
    assert (found.state, found.queue_position) == ("running", None)
    assert found.started_at is not None
    assert take(store, two_lease) is False
    release_lease(store, one.run_id, one_lease.token, state="stopped", exit_code=3)
    assert take(store, two_lease) is True
    assert look(store, two).state == "running"


def test_more_slots_let_more_run(store: Store, queue_run: Callable[..., tuple[RunRow, Lease]]) -> None:
    leases = [queue_run(name)[1] for name in "abc"]
    assert [take(store, lease, n_slots=2) for lease in reversed(leases)] == [False, True, True]
    assert take(store, leases[2], n_slots=2) is False
    assert take(store, leases[2], n_slots=3) is True


def test_dead_runs_and_other_hosts_are_not_waited_for(
    store: Store, queue_run: Callable[..., tuple[RunRow, Lease]], new_run: Callable[..., NewRun]
) -> None:
    queue_run("killed", is_queued=False)
    queue_run("waited-and-killed")
    far = create_run(store, new_run("far"), [])
    acquire_lease(store, Lease(far.run_id, "far", 7, 1.0, "elsewhere", 5.0), is_alive=alive)
    _, lease = queue_run("mine")
    assert take(store, lease) is False
    assert take(store, lease, is_alive=lambda held: "killed" not in held.token) is True


def test_runs_change_places(store: Store, queue_run: Callable[..., tuple[RunRow, Lease]]) -> None:
    a, b, c, d = (queue_run(name)[0].run_id for name in "abcd")
    root = store.paths.root
    move_to_front(root, c)
    assert list_names(store) == ["c", "a", "b", "d"]
    move_to_back(root, a)
    assert list_names(store) == ["c", "b", "d", "a"]
    move_before(root, a, b)
    assert list_names(store) == ["c", "a", "b", "d"]
    move_before(root, a, a)
    move_before(root, d, d)
    assert list_names(store) == ["c", "a", "b", "d"]
    for _ in range(60):  # halving between neighbours would end after 53 times
        move_before(root, b, a)
        move_before(root, a, b)
    assert list_names(store) == ["c", "a", "b", "d"]


def test_a_run_that_came_forward_goes_first(store: Store, queue_run: Callable[..., tuple[RunRow, Lease]]) -> None:
    (_, one_lease), (two, two_lease) = queue_run("one"), queue_run("two")
    move_to_front(store.paths.root, two.run_id)
    assert take(store, one_lease) is False
    assert take(store, two_lease) is True


def test_only_waiting_runs_move(store: Store, queue_run: Callable[..., tuple[RunRow, Lease]]) -> None:
    busy, _ = queue_run("busy", is_queued=False)
    one, _ = queue_run("one")
    with pytest.raises(StoreError, match=r"busy .* does not wait in the queue: it is running"):
        move_to_front(store.paths.root, busy.run_id)
    with pytest.raises(StoreError, match=r"busy .* does not wait"):
        move_before(store.paths.root, one.run_id, busy.run_id)
    with pytest.raises(RunNotFoundError, match="nosuch"):
        move_to_back(store.paths.root, "nosuch")


def test_a_lost_lease_takes_no_turn(store: Store, queue_run: Callable[..., tuple[RunRow, Lease]]) -> None:
    run, lease = queue_run("a")
    with pytest.raises(LeaseLostError):
        take(store, replace(lease, token="other"))
    assert look(store, run).state == "queued"


def test_ended_and_resumed_runs_have_the_place_they_were_given(
    store: Store, queue_run: Callable[..., tuple[RunRow, Lease]]
) -> None:
    a, a_lease = queue_run("a")
    queue_run("b")
    release_lease(store, a.run_id, a_lease.token, state="stopped", exit_code=3)
    assert look(store, a).queue_position is None
    requeue_run(store, a.run_id, is_queued=True)
    assert list_names(store) == ["b", "a"]
    requeue_run(store, a.run_id)
    assert look(store, a).queue_position is None


def test_a_run_without_a_place_has_nobody_ahead(store: Store, queue_run: Callable[..., tuple[RunRow, Lease]]) -> None:
    queue_run("busy", is_queued=False)
    with closing(open_reader(store.paths.root)) as c:
        assert count_ahead(read_queue(c), "nosuch", host="here", is_alive=alive) == 0


def test_processes_do_not_share_a_turn(store: Store, queue_run: Callable[..., tuple[RunRow, Lease]]) -> None:
    """Four processes ask for two turns at once, again and again: two get one, whoever asks first."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from db.rows import Lease\n"
        "from db.run_queue import take_turn\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "lease = Lease(sys.argv[2], sys.argv[3], 100, 1.0, 'here', 5.0)\n"
        "print(sum(take_turn(Path(sys.argv[1]), lease, n_slots=2, is_alive=lambda _: True) for _ in range(10)))\n"
    )
    waiting = [queue_run(name) for name in "abcd"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(store.paths.root), run.run_id, lease.token],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )
        for run, lease in waiting
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0] * 4
    assert [look(store, run).state for run, _ in waiting] == ["running", "running", "queued", "queued"]
