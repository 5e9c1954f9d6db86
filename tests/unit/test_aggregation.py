"""Rewards from the scores of one or several scorers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from engine.method.aggregation import compute_rewards, penalise_length

R = math.sqrt(1.5)  # (1, 2, 3) standardised: deviations (-1, 0, 1), population sd sqrt(2/3), so (-R, 0, R)


@st.composite
def two_scorers(draw):
    n = draw(st.integers(1, 8))
    side = st.lists(st.integers(-100, 100), min_size=n, max_size=n)
    return draw(side), draw(side)


def test_single_passes_scores_through():
    assert compute_rewards({"implicit": [3.5, None, -2.0]}, kind="single") == [3.5, None, -2.0]


def test_mean_and_min_of_standardised_scores():
    """(1, 2, 3) and (20, 10, 30) standardise to (-R, 0, R) and (0, -R, R)."""
    scores = {"first": [1, 2, 3], "second": [20, 10, 30]}
    assert compute_rewards(scores, kind="mean") == pytest.approx([-R / 2, -R / 2, R])
    assert compute_rewards(scores, kind="min") == pytest.approx([-R, -R, R])


def test_disagreement_is_taken_off_the_mean():
    """(1, 2, 3) is (-R, 0, R), (20, 10, 30) is (0, -R, R) and (3, 2, 1) is (R, 0, -R), with R^2 = 3/2.

    Response 0 has the scores -R, 0, R: mean 0, variance 2 R^2 / 3 = 1. Response 1 has 0, -R, 0: mean -R/3, variance
    R^2/3 - R^2/9 = 1/3. Response 2 has R, R, -R: mean R/3, variance R^2 - R^2/9 = 4/3.
    """
    scores = {"first": [1, 2, 3], "second": [20, 10, 30], "third": [3, 2, 1]}
    uwo = compute_rewards(scores, kind="uwo", k=0.5)
    assert uwo == pytest.approx([-1 / 2, -R / 3 - 1 / 6, R / 3 - 2 / 3])
    lcb = compute_rewards(scores, kind="lcb", k=0.5)
    assert lcb == pytest.approx([-1 / 2, -R / 3 - math.sqrt(1 / 3) / 2, R / 3 - math.sqrt(4 / 3) / 2])


@given(two_scorers(), st.floats(0, 3), st.sampled_from(["lcb", "uwo"]))
def test_pessimism_lies_below_the_mean_and_falls_with_its_weight(scorers, k, kind):
    scores = dict(zip(("a", "b"), scorers, strict=True))
    mean = compute_rewards(scores, kind="mean")
    assert compute_rewards(scores, kind=kind, k=0.0) == mean
    low, lower = (compute_rewards(scores, kind=kind, k=weight) for weight in (k, k + 1))
    assert all(c <= b <= a for a, b, c in zip(mean, low, lower, strict=True))


@given(two_scorers())
def test_of_two_scorers_the_lower_bound_at_one_is_the_minimum(scorers):
    """Of two numbers the population standard deviation is half their distance."""
    scores = dict(zip(("a", "b"), scorers, strict=True))
    assert compute_rewards(scores, kind="lcb", k=1.0) == pytest.approx(compute_rewards(scores, kind="min"), abs=1e-9)


def test_scorers_that_agree_cost_nothing():
    scores = {"a": [1, 5, 2], "b": [10, 50, 20]}
    for kind in ("lcb", "uwo"):
        assert compute_rewards(scores, kind=kind, k=7.0) == pytest.approx(compute_rewards(scores, kind="mean"))


def test_length_penalty_is_per_token_and_keeps_missing_rewards():
    assert penalise_length([3.0, None, 3.0], [10, 5, 40], penalty=0.25) == [0.5, None, -7.0]
    assert penalise_length([3.0, 0.1], [10, 999], penalty=0.0) == [3.0, 0.1]
    with pytest.raises(ValueError, match="at least 0"):
        penalise_length([1.0], [1], penalty=-0.1)
    with pytest.raises(ValueError, match="longer"):
        penalise_length([1.0], [1, 2], penalty=0.1)


def test_constant_scorer_contributes_zero():
    scores = {"first": [1, 2, 3], "constant": [0.1, 0.1, 0.1]}
    assert compute_rewards(scores, kind="mean") == pytest.approx([-R / 2, 0, R / 2])
    assert compute_rewards(scores, kind="min") == pytest.approx([-R, 0, 0])
    assert compute_rewards({"constant": [0.1, 0.1, 0.1]}, kind="mean") == [0.0, 0.0, 0.0]


def test_missing_in_any_scorer_is_missing_and_left_out_of_all_moments():
    """Only responses 0, 1 and 3 have both scores; with 100 or 900 in the moments the others would differ."""
    scores = {"first": [1, 2, 100, 3, None], "second": [20, 10, None, 30, 900]}
    expected = [pytest.approx(-R / 2), pytest.approx(-R / 2), None, pytest.approx(R), None]
    assert compute_rewards(scores, kind="mean") == expected
    assert compute_rewards({"a": [None, 1.0], "b": [1.0, None]}, kind="min") == [None, None]
    assert compute_rewards({"a": [None, 1.0], "b": [2.0, 5.0]}, kind="min") == [None, 0.0]
    assert compute_rewards({"a": [], "b": []}, kind="mean") == []


@given(two_scorers())
def test_equals_scipy(scorers):
    columns = [[0.0] * len(side) if len(set(side)) == 1 else stats.zscore(side).tolist() for side in scorers]
    scores = dict(zip(("first", "second"), scorers, strict=True))
    rows = list(zip(*columns, strict=True))
    assert compute_rewards(scores, kind="mean") == pytest.approx([sum(row) / 2 for row in rows], abs=1e-9)
    assert compute_rewards(scores, kind="min") == pytest.approx([min(row) for row in rows], abs=1e-9)


@given(two_scorers(), st.sampled_from([("mean", None), ("min", None), ("lcb", 0.7), ("uwo", 0.7)]))
def test_invariant_to_positive_scale_shift_and_order_of_scorers(scorers, how):
    (first, second), (kind, k) = scorers, how
    plain = compute_rewards({"a": first, "b": second}, kind=kind, k=k)
    third = [0.1 * x * y for x, y in zip(first, second, strict=True)]
    forth = compute_rewards({"a": first, "b": second, "c": third}, kind=kind, k=k)
    assert compute_rewards({"c": third, "b": second, "a": first}, kind=kind, k=k) == forth
    moved = {"a": [0.5 * x + 1000 for x in first], "b": [7 * x - 3 for x in second]}
    assert compute_rewards(moved, kind=kind, k=k) == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_scale_far_from_one_keeps_the_standard_scores(scale):
    assert compute_rewards({"a": [scale, 2 * scale, 3 * scale]}, kind="mean") == pytest.approx([-R, 0, R])


def test_refusals():
    with pytest.raises(ValueError, match="exactly one scorer, got 2: a, b"):
        compute_rewards({"a": [1.0], "b": [1.0]}, kind="single")
    with pytest.raises(ValueError, match="at least one scorer, got 0: none"):
        compute_rewards({}, kind="mean")
    with pytest.raises(ValueError, match="a 1, b 2"):
        compute_rewards({"a": [1.0], "b": [1.0, 2.0]}, kind="min")
    with pytest.raises(ValueError, match="scorer 'a' gave a score that is not finite"):
        compute_rewards({"a": [1.0, math.nan]}, kind="single")
    with pytest.raises(ValueError, match="unknown aggregate 'median'"):
        compute_rewards({"a": [1.0]}, kind="median")
    for k in (None, -0.1, math.nan):
        with pytest.raises(ValueError, match="aggregate 'lcb' needs a weight k of at least 0"):
            compute_rewards({"a": [1.0]}, kind="lcb", k=k)
