"""The list of runs at a glance."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from db import writes
from db.overview import read_run_overview
from db.reading import open_reader
from db.rows import Lease, NewRun, NewStage
from db.session import Store


def alive(_: Lease) -> bool:
    return True


def test_overview_of_a_running_and_a_sharing_run(recorded: Any, reader: sqlite3.Connection) -> None:
    first, second = read_run_overview(reader)
    assert (first.run_id, first.name, first.state, first.tags, first.pid) == (
        *(recorded.first.run_id, "sandbox", "running", ("a", "b"), 100),
    )
    assert (first.iteration, first.n_stages, first.n_stages_done, first.current_stage) == (2, 10, 9, "sample M2")
    assert first.fraction_done == pytest.approx((9 + 1 / 4) / 10)
    assert (first.accuracy, first.tau_previous, first.tau_anchor, first.consistency_rate) == (0.3, 0.1, 0.2, 2 / 3)
    assert (first.confidence, first.label_accuracy, second.confidence) == (0.7, 0.25, None)
    assert (first.note, first.is_baseline, first.queue_position) == ("", False, None)
    assert (second.iteration, second.n_stages_done, second.current_stage) == (1, 6, "pair M1")
    assert second.accuracy == 0.2  # the newest of its own plan
    assert (first.waiting_for, second.waiting_for) == (None, None)


def test_overview_says_which_run_is_waited_for(
    store: Store,
    new_run: Callable[..., NewRun],
    new_plan: Callable[[str], list[NewStage]],
    new_lease: Callable[..., Lease],
) -> None:
    one, two = (writes.create_run(store, new_run(), new_plan("x")).run_id for _ in range(2))
    bare = writes.create_run(store, new_run(), []).run_id
    writes.acquire_lease(store, new_lease(one), is_alive=alive)
    with closing(open_reader(store.paths.root)) as c:
        stage_id = c.execute("SELECT stage_id FROM run_stage WHERE run_id = ? AND position = 0", (one,)).fetchone()[0]
        writes.claim_stage(store, stage_id, run_id=one, token="t1", is_alive=alive)
        lines = {line.run_id: line for line in read_run_overview(c)}
    assert (lines[one].waiting_for, lines[two].waiting_for) == (None, one)
    assert (lines[two].pid, lines[two].heartbeat_at, lines[two].accuracy) == (None, None, None)
    assert (lines[bare].n_stages, lines[bare].fraction_done, lines[bare].current_stage) == (0, 0.0, None)


def test_overview_of_an_empty_store(store: Store) -> None:
    with closing(open_reader(store.paths.root)) as c:
        assert read_run_overview(c) == []
