"""Rewards from the scores of one or several scorers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from engine.method.aggregation import compute_rewards

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


@given(two_scorers(), st.sampled_from(["mean", "min"]))
def test_invariant_to_positive_scale_shift_and_order_of_scorers(scorers, kind):
    first, second = scorers
    plain = compute_rewards({"a": first, "b": second}, kind=kind)
    third = [0.1 * x * y for x, y in zip(first, second, strict=True)]
    forth = compute_rewards({"a": first, "b": second, "c": third}, kind=kind)
    assert compute_rewards({"c": third, "b": second, "a": first}, kind=kind) == forth
    moved = {"a": [0.5 * x + 1000 for x in first], "b": [7 * x - 3 for x in second]}
    assert compute_rewards(moved, kind=kind) == pytest.approx(plain, abs=1e-9)


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
