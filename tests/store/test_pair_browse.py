"""Browsing pairs: orders, pages, filters, one pair in detail, the history of a prompt, what a person judged."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from db import writes
from db.annotations import write_verdict
from db.pair_browse import (
    PAIR_COLUMNS,
    PAIR_SORTS,
    PairQuery,
    PairView,
    read_pair_ids,
    read_pair_rows,
    read_tau_counts,
)
from db.pair_counts import read_judged_pairs, read_pair_counts, read_pair_stamp
from db.pair_detail import read_pair_detail, read_prompt_history
from db.reading import open_reader
from db.rows import (
    AgreementRow,
    EvaluationRow,
    Lease,
    NewRun,
    NewStage,
    PairRow,
    PromptRow,
    ResponseRow,
    SampledPromptRow,
    ScoreRow,
)
from db.session import Store


def alive(_: Lease) -> bool:
    return True


def read(c: sqlite3.Connection, run_id: str, **wishes: Any) -> list[PairView]:
    return read_pair_rows(c, run_id, read_pair_ids(c, run_id, PairQuery(**wishes)))


def test_pair_view_joins_texts_and_agreements(recorded: Any, reader: sqlite3.Connection) -> None:
    (view,) = read(reader, recorded.first.run_id)
    assert (view.iteration, view.position, view.prompt_id, view.chosen_k, view.rejected_k) == (1, 0, "pz", 1, 2)
    assert (view.chosen, view.rejected) == ("pz", "\x1b[31mred\x00 ümlaut \U0001f600pz")
    assert (view.chosen_correct, view.rejected_correct, view.chosen_n_tokens) == (True, False, 3)
    assert (view.tau_previous, view.tau_anchor, view.confidence) == (1 / 3, 1 / 3, 0.7)  # iteration 1: the anchor
    both = read(reader, recorded.first.run_id, with_skipped=True)
    assert [(v.prompt_id, v.skip_reason, v.chosen) for v in both[1:]] == [("pa", "all scores equal", None)]
    assert read(reader, recorded.first.run_id, iteration=2) == []
    assert read(reader, recorded.second.run_id) == []


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
        (view,) = read(c, run_id)
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
        ("label", "102", "201"),  # wrong first
        ("tau", "201", "021"),  # undefined last either way
        ("anchor", "012", "012"),
        ("length_difference", "012", "210"),
        ("chosen_length", "012", "210"),
    ],
)
def test_pairs_in_the_order_asked_for(
    many_pairs: tuple[sqlite3.Connection, str], sort: str, ascending: str, descending: str
) -> None:
    with closing(many_pairs[0]) as c:
        for is_descending, expected in ((False, ascending), (True, descending)):
            views = read(c, many_pairs[1], sort=sort, is_descending=is_descending)
            assert "".join(view.prompt_id[1] for view in views) == expected
        assert len(read_pair_ids(c, many_pairs[1], PairQuery(sort=sort), limit=2)) == 2


def test_every_order_of_pairs_works(many_pairs: tuple[sqlite3.Connection, str]) -> None:
    assert len(PAIR_SORTS) == 19
    with closing(many_pairs[0]) as c:
        for sort in PAIR_SORTS:
            assert len(read(c, many_pairs[1], sort=sort, is_descending=True)) == 3
        with pytest.raises(ValueError, match="confidence"):
            read(c, many_pairs[1], sort="margin; DROP TABLE pair")
        (first, *_) = read(c, many_pairs[1])
        assert (first.tau_previous, first.tau_anchor) == (0.2, 0.5)


def test_a_page_comes_in_the_order_of_its_ids_with_texts_cut(many_pairs: tuple[sqlite3.Connection, str]) -> None:
    with closing(many_pairs[0]) as c:
        ids = read_pair_ids(c, many_pairs[1], PairQuery())
        page = read_pair_rows(c, many_pairs[1], [ids[2], 987654, ids[0]], n_characters=2)
        assert [(view.prompt_id, view.prompt, view.chosen) for view in page] == [("p2", "as", "sa"), ("p0", "as", "sa")]
        assert read_pair_rows(c, "no such run", list(ids)) == []


def test_every_column_can_be_filtered_by(many_pairs: tuple[sqlite3.Connection, str]) -> None:
    with closing(many_pairs[0]) as c:
        for column in PAIR_COLUMNS:
            both = PairQuery(where=f"{column} IS NULL OR {column} = ? OR 1", parameters=("x",))
            assert len(read_pair_ids(c, many_pairs[1], both)) == 3


@pytest.mark.parametrize(
    ("where", "parameters", "expected"),
    [
        ("label = ?", ("wrong",), "1"),
        ("tau < ?", (0.0,), "2"),
        ("tau IS NULL", (), "1"),
        ("length_ratio >= ?", (1.0,), "2"),  # 4/9, 5/6, 6/3 tokens
        ("text LIKE ?", ("%say%",), "012"),
        ("text LIKE ?", ("%nobody said so%",), ""),
        ("prompt_id = ? OR position = ?", ("p2", 0), "02"),
        ("iteration = 2 AND margin > ?", (0.4,), "01"),  # 1.0, 0.5, 0.0
    ],
)
def test_filters(
    many_pairs: tuple[sqlite3.Connection, str], where: str, parameters: tuple[Any, ...], expected: str
) -> None:
    with closing(many_pairs[0]) as c:
        for sort in ("position", "tau"):
            found = read(c, many_pairs[1], where=where, parameters=parameters, sort=sort)
            assert sorted(view.prompt_id[1] for view in found) == list(expected)


def test_tau_counts_leave_undefined_ones_out(many_pairs: tuple[sqlite3.Connection, str]) -> None:
    with closing(many_pairs[0]) as c:
        assert read_tau_counts(c, many_pairs[1], PairQuery()) == [(-0.6, 1), (0.2, 1)]
        assert read_tau_counts(c, many_pairs[1], PairQuery(where="tau < 0")) == [(-0.6, 1)]
        assert read_tau_counts(c, many_pairs[1], PairQuery(iteration=1)) == []


def test_what_a_person_said_is_filtered_sorted_and_counted(
    many_pairs: tuple[sqlite3.Connection, str], store: Store
) -> None:
    c, run_id = many_pairs
    with closing(c):
        first, second, third = read(c, run_id)
        assert (first.verdict, first.is_flagged, first.note) == (None, False, "")
        before = read_pair_stamp(c, run_id)
        write_verdict(store.paths.root, second.stage_id, "p1", verdict="swap", is_blind=True, note="the sum is off")
        write_verdict(store.paths.root, third.stage_id, "p2", verdict=None, is_flagged=True)
        after = read_pair_stamp(c, run_id)
        assert after.pairs == before.pairs and after.verdicts != before.verdicts
        assert [v.prompt_id for v in read(c, run_id, where="verdict = ?", parameters=("swap",))] == ["p1"]
        assert [v.prompt_id for v in read(c, run_id, where="verdict IS NULL")] == ["p0", "p2"]
        assert [v.prompt_id for v in read(c, run_id, where="text LIKE ?", parameters=("%SUM%",))] == ["p1"]
        assert [v.prompt_id for v in read(c, run_id, sort="flagged")] == ["p2", "p0", "p1"]
        assert [v.prompt_id for v in read(c, run_id, sort="verdict", is_descending=True)] == ["p1", "p0", "p2"]
        judged = {pair.prompt_id: pair for pair in read_judged_pairs(c, run_id)}
        assert judged.keys() == {"p1", "p2"}
        assert (judged["p1"].verdict, judged["p1"].is_blind, judged["p1"].label) == ("swap", True, "wrong")
        assert (judged["p1"].note, judged["p1"].confidence) == ("the sum is off", 0.8)
        assert (judged["p2"].verdict, judged["p2"].is_flagged) == (None, True)


def test_counts_name_the_stage_that_pairs_wait_for(recorded: Any, reader: sqlite3.Connection) -> None:
    """The second run shares the first responses but has no pairs yet; pm was too long to be answered."""
    counts = read_pair_counts(reader, recorded.first.run_id)
    assert (counts.n_by_iteration, counts.n_pairs, counts.n_skipped, counts.n_unsampled) == ({1: 1}, 1, 1, 1)
    assert counts.waiting_for is None  # its plan has no further pairs
    waiting = read_pair_counts(reader, recorded.second.run_id)
    assert (waiting.n_pairs, waiting.waiting_for) == (0, "pair M1")


def test_detail_has_all_responses_with_the_scores_of_both_models(recorded: Any, reader: sqlite3.Connection) -> None:
    (pair_id,) = read_pair_ids(reader, recorded.first.run_id, PairQuery())
    detail = read_pair_detail(reader, recorded.first.run_id, pair_id)
    assert detail is not None
    assert (detail.view.prompt_id, detail.answer, detail.tau_reason) == ("pz", None, None)
    assert (detail.current_scorer, detail.previous_scorer) == ("implicit:M1", "mean_loglik:M0")
    assert [(r.k, r.reward, r.current, r.previous, r.anchor) for r in detail.responses] == [
        (0, 0.0, 1.0, 1.0, 1.0),
        (1, -1.0, 0.0, 0.0, 0.0),
        (2, -2.0, -1.0, -1.0, -1.0),
    ]
    assert [(r.item, r.correct, r.n_tokens, r.finish_reason) for r in detail.responses] == [
        (0, False, 3, "length"),
        (1, True, 3, "end"),
        (2, False, 3, "end"),
    ]
    assert read_pair_detail(reader, recorded.second.run_id, pair_id) is None


def test_detail_of_a_skipped_prompt_says_why(recorded: Any, reader: sqlite3.Connection) -> None:
    skipped = read_pair_ids(reader, recorded.first.run_id, PairQuery(with_skipped=True))[1]
    detail = read_pair_detail(reader, recorded.first.run_id, skipped)
    assert detail is not None
    assert (detail.view.skip_reason, detail.view.label, detail.tau_reason) == ("all scores equal", None, "constant")
    assert (detail.responses[0].reward, len(detail.responses)) == (None, 3)


@pytest.fixture
def two_runs(
    store: Store, new_run: Callable[..., NewRun], new_lease: Callable[..., Lease]
) -> Iterator[tuple[sqlite3.Connection, str, str]]:
    """Two runs that sampled one prompt with models of their own; the first also evaluates M0 and M1 on its text."""
    run_ids = []
    for name in ("one", "two"):
        plan = [NewStage(f"{name}-{stage}", stage, 1, f"{stage} t=1") for stage in ("sample", "score", "agree", "pair")]
        if name == "one":
            plan += [NewStage(f"e{m}", "evaluate", 0, f"evaluate M{m}") for m in (0, 1)]
        run_ids.append(writes.create_run(store, new_run(name=name), plan).run_id)
    c = open_reader(store.paths.root)
    for number, run_id in enumerate(run_ids):
        writes.acquire_lease(store, new_lease(run_id), is_alive=alive)
        answers = [ResponseRow("p", k, f"{number}{k}", (k,), "end", -1.0, None, k == number) for k in range(2)]
        rows: dict[str, list[Any]] = {
            "sample": [PromptRow("p", "ask", "[]", "7", "exact"), SampledPromptRow("p", 0, ()), *answers],
            "score": [ScoreRow("p", k, "mean_loglik:M0", "M0", None, -1.0, None, 1, float(k), None) for k in range(2)],
            "pair": [PairRow("p", 0, 1, 1.0, 0.5, 0.5, None, 0.9, None)],
            "evaluate": [EvaluationRow("held out", "i1", "ask", "greedy", None, "7", True, 3, "end")],
        }
        for stage_id, name in c.execute(
            "SELECT s.stage_id, s.name FROM run_stage l JOIN stage s USING (stage_id) WHERE l.run_id = ?", (run_id,)
        ).fetchall():
            writes.claim_stage(store, stage_id, run_id=run_id, token="t1", is_alive=alive)
            writes.write_stage_rows(store, stage_id, "t1", rows.get(name, []))
    with closing(c):
        yield c, *run_ids


def test_history_shows_own_models_first_then_other_runs(two_runs: tuple[sqlite3.Connection, str, str]) -> None:
    c, one, two = two_runs
    found = [
        (a.model, a.iteration, a.run_names, a.is_own, a.n, a.n_right, a.text, a.rejected)
        for a in read_prompt_history(c, one, "p")
    ]
    assert found == [
        ("M0", None, ("one",), True, 1, 1, "greedy", None),
        ("M1", 1, ("one",), True, 2, 1, "00", "01"),
        ("M1", None, ("one",), True, 1, 1, "greedy", None),
        ("M1", 1, ("two",), False, 2, 1, "10", "11"),
    ]
    assert [(a.run_names, a.is_own) for a in read_prompt_history(c, two, "p")] == [(("two",), True), (("one",), False)]
    assert read_prompt_history(c, one, "nobody asked this") == []


def test_history_names_all_runs_that_share_an_answer(recorded: Any, reader: sqlite3.Connection) -> None:
    (answer,) = read_prompt_history(reader, recorded.second.run_id, "pz")
    assert (answer.run_names, answer.is_own) == ((recorded.second.name, recorded.first.name), True)
    assert (answer.n, answer.n_right) == (3, 1)
    assert answer.text == 'NA, "quoted"\r\nlinepz'  # no pair of its own: the first response


def test_the_previous_models_margin_and_a_flip(two_runs: tuple[sqlite3.Connection, str, str]) -> None:
    """Chosen is k = 0 with a stand-in score of 0, rejected is k = 1 with 1: the base model would swap them."""
    c, one, _ = two_runs
    (view,) = read(c, one)
    assert (view.previous_margin, view.is_flipped, view.length_ratio) == (-1.0, True, 1.0)
    assert [v.prompt_id for v in read(c, one, where="previous_margin < 0")] == ["p"]
