"""Series as columns, on the recorded store, and read on while another connection writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from db import writes
from db.reading import open_reader
from db.rows import MetricRow, StageDataRow
from db.run_series import list_series, read_series, read_tau_counts
from db.session import Store

Training = tuple[str, Callable[..., None]]


def is_alive(_: object) -> bool:
    return True


def test_series_are_listed_by_stage(reader: sqlite3.Connection, recorded: Any) -> None:
    found = [
        (info.position, info.stage, info.name, info.iteration, info.first_step, info.last_step)
        for info in list_series(reader, recorded.first.run_id)
        if info.stage != "pair"
    ]
    assert found == [
        (0, "evaluate", "accuracy", 0, 0, 0),
        (1, "train", "loss", 0, 1, 1),
        (2, "evaluate", "accuracy", 0, 0, 0),
        (5, "agree", "consistency_rate", 1, 0, 0),
        (5, "agree", "tau_anchor", 1, 0, 0),
        (5, "agree", "tau_previous", 1, 0, 0),
        (7, "train", "loss", 1, 1, 2),
        (8, "evaluate", "accuracy", 1, 0, 0),
    ]


def test_a_series_comes_in_the_order_of_the_plan(reader: sqlite3.Connection, recorded: Any) -> None:
    columns = read_series(reader, recorded.first.run_id, "loss", stage="train")
    assert list(zip(columns.position, columns.iteration, columns.step, columns.value, strict=True)) == [
        (1, 0, 1, 2.5),
        (7, 1, 1, 1.0),
        (7, 1, 2, 0.5),
    ]
    assert columns.cursor == max(columns.metric_id) > 0
    assert min(columns.at) > 1e9


def test_a_shared_stage_belongs_to_both_runs(reader: sqlite3.Connection, recorded: Any) -> None:
    assert list(read_series(reader, recorded.second.run_id, "loss", stage="train").value) == [2.5]


@pytest.mark.parametrize(("name", "stage"), [("loss", "evaluate"), ("absent", "train")])
def test_what_there_is_not_is_empty(reader: sqlite3.Connection, recorded: Any, name: str, stage: str) -> None:
    columns = read_series(reader, recorded.first.run_id, name, stage=stage)
    assert len(columns) == columns.cursor == 0


@pytest.fixture
def training(
    store: Store, new_run: Callable[..., Any], new_plan: Callable[..., Any], new_lease: Callable[..., Any]
) -> Training:
    """A run in its training, and a function that commits steps of it."""
    run = writes.create_run(store, new_run(), new_plan("own"))
    writes.acquire_lease(store, new_lease(run.run_id), is_alive=is_alive)
    with closing(open_reader(store.paths.root)) as c:
        (stage_id,) = c.execute(
            "SELECT stage_id FROM run_stage WHERE run_id = ? AND label = 'train M1'", (run.run_id,)
        ).fetchone()
    writes.claim_stage(store, stage_id, run_id=run.run_id, token="t1", is_alive=is_alive)

    def commit(*rows: StageDataRow) -> None:
        writes.write_stage_rows(store, stage_id, "t1", list(rows))

    return run.run_id, commit


def test_a_cursor_brings_only_what_is_new(store: Store, training: Training) -> None:
    run_id, commit = training
    commit(*(MetricRow("loss", step, 1 / step) for step in range(1, 5)), MetricRow("z", 4, 0.1))
    with closing(open_reader(store.paths.root)) as c:
        first = read_series(c, run_id, "loss", stage="train")
        assert list(first.step) == [1, 2, 3, 4]
        assert len(read_series(c, run_id, "loss", stage="train", after=first.cursor)) == 0
        commit(MetricRow("loss", 5, 0.2))
        second = read_series(c, run_id, "loss", stage="train", after=first.cursor)
        assert list(second.step) == [5]
        commit(MetricRow("loss", 3, 9.0), MetricRow("loss", 6, 0.1))
        third = read_series(c, run_id, "loss", stage="train", after=second.cursor)
        assert list(zip(third.step, third.value, strict=True)) == [(3, 9.0), (6, 0.1)]


def test_reading_on_looks_up_no_old_rows(store: Store, training: Training) -> None:
    """Both step through the index of 4,000 steps; only the first looks up each row, builds it and hands it over."""
    run_id, commit = training
    commit(*(MetricRow("loss", step, 1.0) for step in range(1, 4001)))
    n_hundreds = [0]

    def count() -> int:
        n_hundreds[-1] += 1
        return 0

    with closing(open_reader(store.paths.root)) as c:
        c.set_progress_handler(count, 100)
        cursor = read_series(c, run_id, "loss", stage="train").cursor
        n_hundreds.append(0)
        assert len(read_series(c, run_id, "loss", stage="train", after=cursor)) == 0
    assert n_hundreds[1] < 0.5 * n_hundreds[0]


def test_taus_are_counted_by_value(recorded: Any, reader: sqlite3.Connection) -> None:
    """Of the two prompts one has no tau."""
    counts = read_tau_counts(reader, recorded.first.run_id, 1, against="mean_loglik:M0")
    assert [(count.tau, count.n_distinct, count.n_prompts) for count in counts] == [(pytest.approx(1 / 3), 3, 1)]
    assert read_tau_counts(reader, recorded.first.run_id, 2, against="mean_loglik:M0") == []
    assert read_tau_counts(reader, recorded.first.run_id, 1, against="implicit:M0") == []
