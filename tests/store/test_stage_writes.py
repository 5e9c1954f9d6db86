"""Stages: who may claim and write, what a repeated write changes, attempts."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from sqlalchemy.exc import IntegrityError

from db.errors import LeaseLostError
from db.queries import (
    open_reader,
    read_attempts,
    read_checkpoint,
    read_pairs,
    read_prompts,
    read_responses,
    read_run_metrics,
    read_run_stages,
    read_scores,
)
from db.rows import (
    CheckpointRow,
    Lease,
    MetricRow,
    NewRun,
    NewStage,
    PairRow,
    PromptRow,
    ResponseRow,
    SampledPromptRow,
    ScoreRow,
    StageDataRow,
    StageRow,
)
from db.session import Store, open_store
from db.writes import (
    acquire_lease,
    claim_stage,
    create_run,
    fail_stage,
    finish_attempt,
    finish_stage,
    release_lease,
    release_stage,
    set_attempt_pid,
    start_attempt,
    write_stage_rows,
)

Arm = tuple[str, str]  # run id and token


def alive(_: Lease) -> bool:
    return True


@pytest.fixture
def arms(
    store: Store,
    new_run: Callable[..., NewRun],
    new_plan: Callable[[str], list[NewStage]],
    new_lease: Callable[..., Lease],
) -> tuple[Arm, Arm, int]:
    """Two running runs with one plan, and the first stage that they share."""
    arms: list[Arm] = []
    for token in ("one", "two"):
        run_id = create_run(store, new_run(), new_plan("x")).run_id
        acquire_lease(store, new_lease(run_id, token, pid=len(arms) + 1), is_alive=alive)
        arms.append((run_id, token))
    with closing(open_reader(store.paths.root)) as c:
        return arms[0], arms[1], read_run_stages(c, arms[0][0])[0].stage_id


def claim(store: Store, stage_id: int, arm: Arm, is_alive: Callable[[Lease], bool] = alive) -> tuple[str, str | None]:
    claimed = claim_stage(store, stage_id, run_id=arm[0], token=arm[1], is_alive=is_alive)
    return claimed.status, claimed.owner_run_id


def look(store: Store, arm: Arm) -> StageRow:
    with closing(open_reader(store.paths.root)) as c:
        return read_run_stages(c, arm[0])[0]


def prompt(n: int, text: str = "ask") -> list[StageDataRow]:
    return [PromptRow(f"p{n}", text, "[]", None, None), SampledPromptRow(f"p{n}", n, (1, 2))]


def response(n: int, k: int, text: str = "say") -> ResponseRow:
    return ResponseRow(f"p{n}", k, text, (3, 4, 5), "end", -1.5, None, True)


def test_second_run_waits_then_finds_it_done(store: Store, arms: tuple[Arm, Arm, int]) -> None:
    one, two, stage_id = arms
    assert claim(store, stage_id, one) == ("claimed", one[0])
    assert claim(store, stage_id, one) == ("claimed", one[0])  # again by itself
    assert claim(store, stage_id, two) == ("wait", one[0])
    finish_stage(store, stage_id, "one")
    assert claim(store, stage_id, two) == ("done", one[0])
    assert claim(store, stage_id, one) == ("done", one[0])


def test_dead_owner_is_displaced_with_its_rows(store: Store, arms: tuple[Arm, Arm, int]) -> None:
    one, two, stage_id = arms
    claim(store, stage_id, one)
    write_stage_rows(store, stage_id, "one", [*prompt(0), response(0, 0)], n_done=1, n_total=2, unit="prompts")
    before = look(store, one)
    assert claim(store, stage_id, two, lambda lease: lease.pid != 1) == ("claimed", two[0])
    after = look(store, two)
    assert (after.state, after.owner_run_id, after.n_done, after.started_at) == (
        "running",
        two[0],
        1,
        before.started_at,
    )
    with pytest.raises(LeaseLostError, match=two[0]):
        write_stage_rows(store, stage_id, "one", [response(0, 1)])
    with pytest.raises(LeaseLostError, match=two[0]):
        finish_stage(store, stage_id, "one")
    with pytest.raises(LeaseLostError, match=two[0]):
        fail_stage(store, stage_id, "one", "late")
    with pytest.raises(LeaseLostError, match=two[0]):
        release_stage(store, stage_id, "one")
    write_stage_rows(store, stage_id, "two", [response(0, 1, "new")])
    with closing(open_reader(store.paths.root)) as c:
        assert [(row.k, row.text) for row in read_responses(c, stage_id)] == [(0, "say"), (1, "new")]


def test_stage_of_an_earlier_life_of_the_owner_is_displaced(
    store: Store, arms: tuple[Arm, Arm, int], new_lease: Callable[..., Lease]
) -> None:
    one, two, stage_id = arms
    claim(store, stage_id, one)
    acquire_lease(store, new_lease(one[0], "again"), is_alive=lambda _: False)
    assert claim(store, stage_id, two) == ("claimed", two[0])  # the owner's lease has another token
    assert claim(store, stage_id, (one[0], "again")) == ("wait", two[0])


@pytest.mark.parametrize("end", ["release_stage", "fail_stage", "release_lease"])
def test_given_up_stage_is_free_and_keeps_its_rows(store: Store, arms: tuple[Arm, Arm, int], end: str) -> None:
    one, two, stage_id = arms
    claim(store, stage_id, one)
    write_stage_rows(store, stage_id, "one", prompt(0), n_done=1)
    match end:
        case "release_stage":
            release_stage(store, stage_id, "one")
        case "fail_stage":
            fail_stage(store, stage_id, "one", "broken")
        case _:
            release_lease(store, one[0], "one", state="stopped", exit_code=3)
    given_up = look(store, one)
    assert (given_up.state, given_up.error) == (("failed", "broken") if end == "fail_stage" else ("pending", None))
    with pytest.raises(LeaseLostError):
        write_stage_rows(store, stage_id, "one", prompt(1))
    assert claim(store, stage_id, two) == ("claimed", two[0])
    taken = look(store, two)
    assert (taken.state, taken.error, taken.n_done, taken.finished_at) == ("running", None, 1, None)


def test_run_without_its_lease_claims_nothing(store: Store, arms: tuple[Arm, Arm, int]) -> None:
    (run_id, _), _, stage_id = arms
    with pytest.raises(LeaseLostError):
        claim(store, stage_id, (run_id, "stranger"))
    assert look(store, arms[0]).state == "pending"


def test_finished_stage_counts_what_it_did(store: Store, arms: tuple[Arm, Arm, int]) -> None:
    one, _, stage_id = arms
    claim(store, stage_id, one)
    write_stage_rows(store, stage_id, "one", [], n_done=3, unit="items", n_tokens=0)
    finish_stage(store, stage_id, "one")
    stage = look(store, one)
    assert (stage.state, stage.n_done, stage.n_total, stage.unit, stage.n_tokens) == ("done", 3, 3, "items", 0)
    assert stage.finished_at is not None


def test_repeated_rows_stay_as_they_were(store: Store, arms: tuple[Arm, Arm, int]) -> None:
    one, _, stage_id = arms
    claim(store, stage_id, one)
    write_stage_rows(store, stage_id, "one", [response(0, 0), *prompt(0), response(0, 0, "twin")])
    write_stage_rows(store, stage_id, "one", [*prompt(0, "other"), response(0, 0, "other"), response(0, 1)])
    checkpoint = CheckpointRow("d1", "d0", "checkpoints/d1", 1, 2)
    for digest in ("d1", "d2"):
        write_stage_rows(store, stage_id, "one", [CheckpointRow(digest, "d0", f"checkpoints/{digest}", 1, 2)])
    with closing(open_reader(store.paths.root)) as c:
        assert read_responses(c, stage_id) == [response(0, 0), response(0, 1)]
        assert [row.text for row, _ in read_prompts(c, stage_id)] == ["ask"]
        assert read_checkpoint(c, stage_id) == checkpoint


def test_replayed_step_replaces_its_metric_with_a_higher_id(store: Store, arms: tuple[Arm, Arm, int]) -> None:
    one, _, stage_id = arms
    claim(store, stage_id, one)
    write_stage_rows(store, stage_id, "one", [MetricRow("loss", step, 1.0 / step) for step in (1, 2, 3)])
    with closing(open_reader(store.paths.root)) as c:
        seen = read_run_metrics(c, one[0])[-1].metric_id
        write_stage_rows(store, stage_id, "one", [MetricRow("loss", 2, 9.0), MetricRow("lr", 2, 1e-4)])
        fresh = read_run_metrics(c, one[0], after_metric_id=seen)
        assert [(m.name, m.step, m.value) for m in fresh] == [("loss", 2, 9.0), ("lr", 2, 1e-4)]
        assert sorted((m.step, m.value) for m in read_run_metrics(c, one[0], names=["loss"])) == [
            (1, 1.0),
            (2, 9.0),
            (3, 1 / 3),
        ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", ["metric", "score"])
def test_numbers_that_are_none_are_refused_before_any_write(
    store: Store, arms: tuple[Arm, Arm, int], value: float, kind: str
) -> None:
    one, _, stage_id = arms
    claim(store, stage_id, one)
    bad = (
        MetricRow("loss", 1, value)
        if kind == "metric"
        else ScoreRow("p0", 0, "oracle", None, None, None, None, None, value, None)
    )
    with pytest.raises(ValueError, match=f"is {value}"):
        write_stage_rows(store, stage_id, "one", [*prompt(0), bad], n_done=1)
    with closing(open_reader(store.paths.root)) as c:
        assert read_prompts(c, stage_id) == []
    assert look(store, one).n_done == 0


@pytest.mark.parametrize(
    "bad",
    [
        ScoreRow("p0", 0, "oracle", None, None, None, None, None, None, None),  # neither score nor reason
        PairRow("p0", 1, None, None, None, None, None, None, None),
        ResponseRow("p0", 0, "say", (), "cut", 0.0, None, None),
        ResponseRow("p9", 0, "say", (), "end", 0.0, None, None),  # of no known prompt
    ],
)
def test_row_that_breaks_the_schema_is_an_error_not_a_gap(
    store: Store, arms: tuple[Arm, Arm, int], bad: StageDataRow
) -> None:
    one, _, stage_id = arms
    claim(store, stage_id, one)
    with pytest.raises((IntegrityError, sqlite3.IntegrityError)):
        write_stage_rows(store, stage_id, "one", [*prompt(0), bad])
    with closing(open_reader(store.paths.root)) as c:
        assert (read_prompts(c, stage_id), read_scores(c, [stage_id]), read_pairs(c, stage_id)) == ([], [], [])


def test_two_writers_lose_nothing(store: Store, arms: tuple[Arm, Arm, int]) -> None:
    """Each on its own stage and its own connections, with prompts in common."""
    one, two, _ = arms
    with closing(open_reader(store.paths.root)) as c:
        first, second = (stage.stage_id for stage in read_run_stages(c, one[0])[:2])

    def write(arm: Arm, stage_id: int) -> None:
        own = open_store(store.paths.root)
        claim(own, stage_id, arm)
        for n in range(40):
            write_stage_rows(own, stage_id, arm[1], [*prompt(n), response(n, 0)], n_done=n + 1)

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(write, one, first), pool.submit(write, two, second)]:
            future.result()
    with closing(open_reader(store.paths.root)) as c:
        assert [len(read_responses(c, stage_id)) for stage_id in (first, second)] == [40, 40]
        assert c.execute("SELECT count(*) FROM prompt").fetchone()[0] == 40


def test_bulk_write_is_fast_enough_to_forget(store: Store, arms: tuple[Arm, Arm, int]) -> None:
    """3,000 responses took 0.05 s where this was written; the bound only catches a row-by-row write."""
    one, _, stage_id = arms
    claim(store, stage_id, one)
    rows = [row for n in range(600) for row in (*prompt(n), *(response(n, k, "word " * 30) for k in range(5)))]
    begin = time.perf_counter()
    write_stage_rows(store, stage_id, "one", rows, n_done=600)
    assert time.perf_counter() - begin < 2.0
    with closing(open_reader(store.paths.root)) as c:
        assert len(read_responses(c, stage_id)) == 3000


def test_attempts_are_numbered_within_the_run(store: Store, arms: tuple[Arm, Arm, int]) -> None:
    one, two, stage_id = arms
    first = start_attempt(store, stage_id, one[0])
    start_attempt(store, stage_id, two[0], "elsewhere.log")
    second = start_attempt(store, stage_id, one[0])
    set_attempt_pid(store, first.attempt_id, 77)
    finish_attempt(store, first.attempt_id, exit_code=4, error="out of memory", peak_rss_bytes=10, peak_gpu_bytes=20)
    with closing(open_reader(store.paths.root)) as c:
        attempts = read_attempts(c, one[0])
        assert [row.log_path for row in read_attempts(c, two[0])] == ["elsewhere.log"]
        assert read_run_stages(c, one[0])[0].n_attempts == 3
    assert [attempt.number for attempt in attempts] == [1, 2]
    assert attempts[1] == second
    ended = attempts[0]
    assert (ended.pid, ended.exit_code, ended.error, ended.peak_rss_bytes, ended.peak_gpu_bytes) == (
        *(77, 4, "out of memory", 10, 20),
    )
    assert ended.finished_at is not None
    assert ended.log_path == f"runs/{one[0]}/attempts/1/stage.log"
    assert store.paths.root / str(ended.log_path) == store.paths.attempt_log(one[0], 1)


def test_row_of_unknown_kind_is_refused(store: Store, arms: tuple[Arm, Arm, int]) -> None:
    one, _, stage_id = arms
    claim(store, stage_id, one)
    with pytest.raises(TypeError, match="NewStage"):
        write_stage_rows(store, stage_id, "one", [NewStage("k", "sample", 1, "x")])  # type: ignore[list-item]
