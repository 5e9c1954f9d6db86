"""The list of runs at a glance and the pairs for browsing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from db import writes
from db.overview import read_run_overview
from db.pair_views import PAIR_SORTS, read_pairs_view
from db.reading import open_reader
from db.rows import AgreementRow, Lease, NewRun, NewStage, PairRow, PromptRow, ResponseRow, SampledPromptRow
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


def test_pair_view_joins_texts_and_agreements(recorded: Any, reader: sqlite3.Connection) -> None:
    (view,) = read_pairs_view(reader, recorded.first.run_id)
    assert (view.iteration, view.position, view.prompt_id, view.chosen_k, view.rejected_k) == (1, 0, "pz", 1, 2)
    assert (view.chosen, view.rejected) == ("pz", "\x1b[31mred\x00 ümlaut \U0001f600pz")
    assert (view.chosen_correct, view.rejected_correct, view.chosen_n_tokens) == (True, False, 3)
    assert (view.tau_previous, view.tau_anchor, view.confidence) == (1 / 3, 1 / 3, 0.7)  # iteration 1: the anchor
    both = read_pairs_view(reader, recorded.first.run_id, skipped=True)
    assert [(v.prompt_id, v.skip_reason, v.chosen) for v in both[1:]] == [("pa", "all scores equal", None)]
    assert read_pairs_view(reader, recorded.first.run_id, iteration=2) == []
    assert read_pairs_view(reader, recorded.second.run_id) == []


@pytest.mark.parametrize(
    ("own", "earlier", "expected"),
    [
        ("mean_loglik", None, 0.25),
        ("sum_loglik", None, -0.5),
        ("skip", None, None),
        ("skip", (1, "sum_loglik"), -0.5),  # forked at M2: iteration 1 is the parent's
        ("skip", (0, "sum_loglik"), None),  # forked at M1: iteration 1 is its own
    ],
)
def test_what_stands_in_for_the_first_previous_model_is_configured(
    store: Store,
    new_run: Callable[..., NewRun],
    new_lease: Callable[..., Lease],
    own: str,
    earlier: tuple[int, str] | None,
    expected: float | None,
) -> None:
    """Both log-likelihoods are stored, as with a method that needs the sum; the configuration says which is meant."""

    def config(first: str) -> dict[str, Any]:
        return {"scoring": {"first_iteration": first}}

    segments = [] if earlier is None else [{"last_iteration": earlier[0], "config": config(earlier[1])}]
    lineage = json.dumps({"segments": segments, "salt": None})
    new = replace(new_run(), config_json=json.dumps(config(own)), lineage_json=lineage)
    plan = [NewStage(name, name, 1, f"{name} t=1") for name in ("sample", "agree", "pair")]
    run_id = writes.create_run(store, new, plan).run_id
    writes.acquire_lease(store, new_lease(run_id), is_alive=alive)
    rows: dict[str, list[Any]] = {
        "sample": [PromptRow("p", "ask", "[]", None, None), SampledPromptRow("p", 0, ())],
        "agree": [
            AgreementRow("p", "kendall", "implicit:M1", against, tau, (tau + 1) / 2, 5, 5, None)
            for against, tau in (("mean_loglik:M0", 0.25), ("sum_loglik:M0", -0.5))
        ],
        "pair": [PairRow("p", 0, 1, 1.0, 0.5, 0.5, 0.5, 0.9, None)],
    }
    with closing(open_reader(store.paths.root)) as c:
        for name, stage_id in c.execute("SELECT name, stage_id FROM stage").fetchall():
            writes.claim_stage(store, stage_id, run_id=run_id, token="t1", is_alive=alive)
            writes.write_stage_rows(store, stage_id, "t1", rows[name])
        (view,) = read_pairs_view(c, run_id)
    assert (view.tau_previous, view.tau_anchor) == (expected, 0.25)


@pytest.fixture
def many_pairs(
    store: Store, new_run: Callable[..., NewRun], new_lease: Callable[..., Lease]
) -> tuple[sqlite3.Connection, str]:
    """Iteration 2 with three pairs: p0 right, p1 inverted and without tau, p2 neither."""
    plan = [NewStage(f"k-{name}", name, 2, f"{name} M2") for name in ("sample", "agree", "pair")]
    run_id = writes.create_run(store, new_run(), plan).run_id
    writes.acquire_lease(store, new_lease(run_id), is_alive=alive)
    c = open_reader(store.paths.root)
    ids = dict(c.execute("SELECT s.name, s.stage_id FROM stage s").fetchall())
    rows: dict[str, list[Any]] = {"sample": [], "agree": [], "pair": []}
    for n, (chosen, rejected, tau) in enumerate([(True, False, 0.2), (False, True, None), (True, True, -0.6)]):
        prompt_id = f"p{n}"
        rows["sample"] += [PromptRow(prompt_id, "ask", "[]", None, None), SampledPromptRow(prompt_id, n, ())]
        rows["sample"] += [
            ResponseRow(prompt_id, k, "say", (1,) * length, "end", -1.0, None, correct)
            for k, length, correct in ((0, 4 + n, chosen), (1, 9 - 3 * n, rejected))
        ]
        for against, value in (("implicit:M1", tau), ("mean_loglik:M0", 0.5)):
            reason = "constant" if value is None else None
            rate = None if value is None else (value + 1) / 2
            rows["agree"].append(AgreementRow(prompt_id, "kendall", "implicit:M2", against, value, rate, 5, 5, reason))
        rows["agree"].append(AgreementRow(prompt_id, "spearman", "implicit:M2", "implicit:M1", 0.9, 0.95, 5, 5, None))
        rows["pair"].append(PairRow(prompt_id, 0, 1, 1.0, 0.5 * n, 1 - 0.5 * n, 0.5, 0.9 - n / 10, None))
    for name in ("sample", "agree", "pair"):
        writes.claim_stage(store, ids[name], run_id=run_id, token="t1", is_alive=alive)
        writes.write_stage_rows(store, ids[name], "t1", rows[name])
    return c, run_id


@pytest.mark.parametrize(
    ("sort", "ascending", "descending"),
    [
        ("position", "012", "210"),
        ("confidence", "210", "012"),
        ("margin", "210", "012"),
        ("inverted", "021", "120"),
        ("tau_previous", "201", "021"),  # undefined last either way
        ("tau_anchor", "012", "012"),
        ("length_difference", "012", "210"),
        ("chosen_length", "012", "210"),
    ],
)
def test_pairs_in_the_order_asked_for(
    many_pairs: tuple[sqlite3.Connection, str], sort: str, ascending: str, descending: str
) -> None:
    with closing(many_pairs[0]) as c:
        for is_descending, expected in ((False, ascending), (True, descending)):
            views = read_pairs_view(c, many_pairs[1], sort=sort, descending=is_descending)
            assert "".join(view.prompt_id[1] for view in views) == expected
        assert len(read_pairs_view(c, many_pairs[1], sort=sort, limit=2)) == 2


def test_every_order_of_pairs_works(many_pairs: tuple[sqlite3.Connection, str]) -> None:
    assert len(PAIR_SORTS) == 12
    with closing(many_pairs[0]) as c:
        for sort in PAIR_SORTS:
            assert len(read_pairs_view(c, many_pairs[1], sort=sort, descending=True)) == 3
        with pytest.raises(ValueError, match="confidence"):
            read_pairs_view(c, many_pairs[1], sort="margin; DROP TABLE pair")
        (first, *_) = read_pairs_view(c, many_pairs[1])
        assert (first.tau_previous, first.tau_anchor) == (0.2, 0.5)
