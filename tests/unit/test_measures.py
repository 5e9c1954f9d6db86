"""Metrics that the stages draw from their rows, by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from db.rows import EvaluationRow, MetricRow, PairRow, ResponseRow, ScoreRow
from engine.stages.measures import (
    measure_evaluations,
    measure_pairs,
    measure_previous_taus,
    measure_samples,
    measure_scores,
)


def build_response(
    prompt: str, k: int, tokens: Sequence[int], *, answer: str | None = None, correct: bool | None = None
) -> ResponseRow:
    return ResponseRow(prompt, k, "", tuple(tokens), "end", -float(len(tokens)) / 2, answer, correct)


def by_name(rows: Sequence[MetricRow]) -> Mapping[str, float]:
    assert all(row.step == 0 for row in rows)
    return {row.name: row.value for row in rows}


def test_samples() -> None:
    """Prompt a: two equal ones of three. Prompt b: three answers of which two agree; 1 of 6 judged has none."""
    rows = [
        build_response("a", 0, [5, 6], answer="4", correct=True),
        build_response("a", 1, [5, 6], answer="4", correct=True),
        build_response("a", 2, [5, 7], correct=False),
        build_response("b", 0, [5, 8, 9], answer="1", correct=False),
        build_response("b", 1, [5, 8, 7], answer="1", correct=False),
        build_response("b", 2, [4, 4, 4], answer="2", correct=True),
    ]
    assert by_name(measure_samples(rows)) == {
        "duplicate_prompt_rate": 0.5,
        "distinct_2": pytest.approx((2 / 3 + 4 / 6) / 2),  # 56 56 57 and 58 89, 58 87, 44 44
        "distinct_answers_share": 3 / 5,
        "majority_answer_share": pytest.approx((1 + 2 / 3) / 2),
        "extraction_failure_rate": 1 / 6,
        "mean_token_logprob": -0.5,
    }


def test_without_gold_no_failed_extraction_is_counted() -> None:
    assert "extraction_failure_rate" not in by_name(measure_samples([build_response("a", 0, [5, 6])]))


def build_scores(
    sums: Mapping[tuple[str, int], tuple[float, float, float]], lengths: Mapping[str, int]
) -> list[ScoreRow]:
    """Rows of M0, M1 and M2 from their sums."""
    rows = []
    for (prompt, k), (base, previous, current) in sums.items():
        n = lengths[f"{prompt}{k}"]
        rows.append(ScoreRow(prompt, k, "mean_loglik:M0", "M0", None, base, None, n, base / n, None))
        for model, value in (("M1", previous), ("M2", current)):
            rows.append(ScoreRow(prompt, k, f"implicit:{model}", model, "M0", value, base, n, value - base, None))
    return rows


def test_scores() -> None:
    """Rewards a: 1, 3 (lengths 2, 4), b: 0, 0 (lengths 1, 3): mean 1, 4 nats over 10 tokens."""
    responses = {
        "a": [build_response("a", 0, [1, 2], correct=False), build_response("a", 1, [1, 2, 3, 4], correct=True)],
        "b": [build_response("b", 0, [1], correct=True), build_response("b", 1, [1, 2, 3], correct=False)],
    }
    lengths = {"a0": 2, "a1": 4, "b0": 1, "b1": 3}
    rows = build_scores(
        {("a", 0): (-4, -4, -3), ("a", 1): (-8, -7, -5), ("b", 0): (-2, -2, -2), ("b", 1): (-9, -10, -9)}, lengths
    )
    found = by_name(measure_scores(responses, rows, policy="M2", previous="M1"))
    assert found == {
        "kl_base": 1.0,
        "kl_base_token": 0.4,
        "kl_previous": 1.0,  # 1 + 2 + 0 + 1
        "kl_previous_token": 0.4,
        "mean_loglik_base": -2.25,  # -2, -2, -2, -3
        "reward_sd": 1.0,  # squares 1 + 1 over 2 degrees of freedom
        "reward_length_correlation": pytest.approx(2 / (2 * 4) ** 0.5),  # centred -1 1 0 0 and -1 1 -1 1
        "tie_rate": 0.5,
        "reward_auc": 0.75,  # right above wrong, and a tie
        "anchor_auc": 0.75,  # a tie, and right above wrong
    }


def test_equal_responses_rank_as_one() -> None:
    """Repeated, the tie of equal responses would count, and their reward would weigh twice in the spread."""
    responses = {"a": [build_response("a", k, tokens, correct=k == 2) for k, tokens in enumerate([[1], [1], [2]])]}
    rows = build_scores(
        {("a", 0): (-1, -1, 0), ("a", 1): (-1, -1, 0), ("a", 2): (-1, -1, 2)}, {"a0": 1, "a1": 1, "a2": 1}
    )
    found = by_name(measure_scores(responses, rows, policy="M2", previous="M1"))
    assert (found["tie_rate"], found["reward_sd"], found["kl_base"]) == (0.0, pytest.approx(2**0.5), 5 / 3)


def test_a_response_without_a_score_is_in_no_measure() -> None:
    responses = {"a": [build_response("a", 0, [1]), build_response("a", 1, [2])]}
    rows = build_scores({("a", 0): (-1, -1, 0)}, {"a0": 1})
    rows += [ScoreRow("a", 1, name, "M", None, None, None, 1, None, "not finite") for name in ("implicit:M2",)]
    assert by_name(measure_scores(responses, rows, policy="M2", previous="M1"))["kl_base"] == 1.0
    assert measure_scores(responses, [], policy="M2", previous="M1") == []


def test_at_the_first_iteration_the_previous_model_is_the_base() -> None:
    responses = {"a": [build_response("a", 0, [1])]}
    rows = build_scores({("a", 0): (-3, -2, -1)}, {"a0": 1})
    found = by_name(measure_scores(responses, rows, policy="M1", previous="M0"))
    assert found["kl_previous"] == found["kl_base"] == 1.0


def test_previous_taus() -> None:
    found = by_name(measure_previous_taus([1.0, 1.0, 0.0, -0.2]))
    assert found == {"tau_saturated_share": 0.5, "low_consistency_share": 0.25}
    assert measure_previous_taus([]) == []


def build_pair(prompt: str, chosen: int, rejected: int, confidence: float) -> PairRow:
    return PairRow(prompt, chosen, rejected, 2.0, 0.0, 2.0, 0.5, confidence, None)


def test_pairs() -> None:
    """Three pairs and one prompt without: a is right, b inverted, c both right."""
    groups = {
        "a": [
            build_response("a", 0, [1, 2, 3], answer="4", correct=True),
            build_response("a", 1, [1], answer="5", correct=False),
            build_response("a", 2, [9, 9], answer="4", correct=True),
        ],
        "b": [
            build_response("b", 0, [1], answer="7", correct=False),
            build_response("b", 1, [2, 3], answer="8", correct=True),
        ],
        "c": [build_response("c", k, [k], answer="7", correct=True) for k in range(2)],
        "d": [build_response("d", 0, [1])],
    }
    pairs = [
        build_pair("a", 0, 1, 0.9),
        build_pair("b", 0, 1, 0.4),
        build_pair("c", 0, 1, 0.5),
        PairRow("d", None, None, None, None, None, None, None, "fewer than 2 rewards"),
    ]
    scores = build_scores(
        {("a", 0): (-3, 0, 0), ("a", 1): (-2, 0, 0), ("b", 0): (-2, 0, 0), ("b", 1): (-2, 0, 0)},
        {"a0": 3, "a1": 1, "b0": 1, "b1": 2},
    )
    found = by_name(
        measure_pairs(
            pairs,
            groups,
            {"a": [2.0, 0.0, 0.5], "b": [2.0, 0.0], "c": [2.0, 0.0], "d": [0.0]},
            scores=scores,
            taus={"previous": {"a": 0.2, "b": 0.2, "c": -1.0}, "anchor": {"a": 0.6, "b": -0.6, "d": None}},
        )
    )
    assert found == {
        "median_margin_top2": 2.0,  # 1.5, 2, 2
        "low_confidence_share": pytest.approx(1 / 3),
        "length_gap": pytest.approx(5 / 4 - 1),
        "anchor_agreement_share": 0.5,  # -1 above -2, and -2 below -1
        "vote_agreement_share": 1.0,  # 2 against 1; 1 against 1 and one answer on both sides say nothing
        "label_auc_previous": 0.5,
        "label_auc_anchor": 1.0,
    }


def test_the_top_gap_is_between_distinct_responses() -> None:
    groups = {"a": [build_response("a", k, tokens) for k, tokens in enumerate([[1], [1], [2], [3]])]}
    rewards = {"a": [5.0, 5.0, 3.0, None]}
    found = by_name(measure_pairs([build_pair("a", 0, 2, 1.0)], groups, rewards, scores=[], taus={}))
    assert found == {"median_margin_top2": 2.0, "low_confidence_share": 0.0, "length_gap": 0.0}


def test_evaluations() -> None:
    rows = [
        EvaluationRow("t", str(n), "", "", answer, "1", False, 1, ending)
        for n, (answer, ending) in enumerate([("1", "end"), (None, "length"), (None, "end"), ("2", "end")])
    ]
    assert by_name(measure_evaluations(rows)) == {"extraction_failure_rate": 0.5, "truncated_rate": 0.25}
