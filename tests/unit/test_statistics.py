"""Intervals, tests and counts, against hand-derived numbers and scipy."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from engine.method.statistics import (
    LabelAccuracy,
    compute_auc,
    compute_correlation,
    compute_label_accuracy,
    compute_mcnemar,
    compute_mean_interval,
    compute_spearman,
    compute_t_quantile,
    compute_wilson_interval,
)

counts = st.integers(0, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@st.composite
def paired_values(draw):
    n = draw(st.integers(2, 12))
    side = st.lists(st.integers(-4, 4), min_size=n, max_size=n)
    return draw(side), draw(side)


# Wilson


def test_wilson_of_a_half():
    """With z = 1.96, n = 100, p = 1/2 the centre stays 1/2 and the half width is z / (2 sqrt(n + z^2)) = 0.09617."""
    assert compute_wilson_interval(50, 100) == pytest.approx((0.40383, 0.59617), abs=1e-5)


@given(counts, st.floats(0.5, 0.999))
@settings(max_examples=50)
def test_wilson_equals_scipy_and_holds_the_proportion(n_right_and_n, level):
    n_right, n = n_right_and_n
    low, high = compute_wilson_interval(n_right, n, level)
    assert 0 <= low < high <= 1
    if n:
        assert low <= n_right / n <= high
        expected = stats.binomtest(n_right, n).proportion_ci(level, method="wilson")
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_at_the_borders():
    """0 of n ends at z^2 / (n + z^2) = 3.8415 / 13.8415; no items, no knowledge."""
    assert compute_wilson_interval(0, 10) == (0.0, pytest.approx(0.27754, abs=1e-5))
    assert compute_wilson_interval(10, 10) == (pytest.approx(0.72246, abs=1e-5), 1.0)
    assert compute_wilson_interval(0, 0) == (0.0, 1.0)


# McNemar


@pytest.mark.parametrize(
    ("first_only", "second_only", "p"),
    [
        (0, 0, 1.0),  # no item differs
        (5, 0, 2 / 32),  # 2 * (1/2)^5
        (1, 5, 14 / 64),  # 2 * (1 + 6) / 2^6
        (3, 3, 1.0),  # twice the half with the middle exceeds 1
    ],
)
def test_mcnemar(first_only, second_only, p):
    assert compute_mcnemar(first_only, second_only) == pytest.approx(p)


@given(st.integers(0, 400), st.integers(0, 400))
@settings(max_examples=60)
def test_mcnemar_equals_the_binomial_test(first_only, second_only):
    p = compute_mcnemar(first_only, second_only)
    assert p == compute_mcnemar(second_only, first_only)
    if first_only + second_only:
        assert p == pytest.approx(stats.binomtest(first_only, first_only + second_only).pvalue)


# Mean interval


@given(st.integers(1, 400) | st.integers(5_000, 6_000), st.floats(0.01, 0.9999))
def test_t_quantile_equals_scipy(n_degrees, level):
    assert compute_t_quantile(level, n_degrees) == pytest.approx(stats.t.ppf((1 + level) / 2, n_degrees), rel=1e-8)


def test_mean_interval_of_two_values():
    """Mean 1, sd sqrt(2), standard error 1, t with one degree of freedom 12.706."""
    assert compute_mean_interval([0.0, 2.0]) == pytest.approx((-11.7062, 13.7062), abs=1e-4)
    assert compute_mean_interval([3.0, 3.0, 3.0]) == (3.0, 3.0)


@given(st.lists(st.integers(-100, 100), min_size=2, max_size=30).filter(lambda v: len(set(v)) > 1))
@settings(max_examples=50)
def test_mean_interval_equals_scipy(values):
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert compute_mean_interval(values, 0.9) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_one_value_has_no_interval():
    assert compute_mean_interval([1.0]) is None
    assert compute_mean_interval([]) is None


# AUC and correlations


def test_auc_counts_equal_scores_half():
    """Positives 2 and 1 against negatives 1 and 0: 2>1, 2>0, 1=1, 1>0 make 3.5 of 4."""
    assert compute_auc([2, 1, 1, 0], [True, True, False, False]) == 3.5 / 4


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=12))
@settings(max_examples=60)
def test_auc_equals_mann_whitney(rows):
    scores, labels = [score for score, _ in rows], [label for _, label in rows]
    auc = compute_auc(scores, labels)
    if len(set(labels)) < 2:
        assert auc is None
    else:
        positives = [s for s, label in rows if label]
        negatives = [s for s, label in rows if not label]
        u = stats.mannwhitneyu(positives, negatives, method="asymptotic").statistic
        assert auc == pytest.approx(u / (len(positives) * len(negatives)))
        assert compute_auc([-s for s in scores], labels) == pytest.approx(1 - auc)


@given(paired_values())
@settings(max_examples=60)
def test_correlations_equal_scipy(values):
    first, second = values
    if 1 in (len(set(first)), len(set(second))):
        assert compute_correlation(first, second) is None
        assert compute_spearman(first, second) is None
    else:
        assert compute_correlation(first, second) == pytest.approx(stats.pearsonr(first, second).statistic, abs=1e-9)
        assert compute_spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-9)


def test_correlation_far_from_zero_and_one():
    """Neighbouring floats around 1 and tiny values keep their order: exactly linear, so exactly -1 and 1."""
    first = [1.0, 1.0 + 2**-52, 1.0 + 2**-51]
    assert compute_correlation(first, [3e-300, 2e-300, 1e-300]) == pytest.approx(-1.0)
    assert compute_correlation(first, [1e300, 2e300, 3e300]) == pytest.approx(1.0)
    assert compute_correlation([1.0], [2.0]) is None


# Label accuracy


def test_label_accuracy_counts_every_kind_of_pair():
    """Three right and one inverted: 3/4; pairs that do not differ or are unknown do not enter."""
    chosen = [True, True, True, False, True, False, False, None, True, None]
    rejected = [False, False, False, True, True, False, False, True, None, None]
    assert compute_label_accuracy(chosen, rejected) == LabelAccuracy(3, 1, 1, 2, 3, 0.75)


def test_label_accuracy_without_a_deciding_pair():
    assert compute_label_accuracy([], []) == LabelAccuracy(0, 0, 0, 0, 0, None)
    assert compute_label_accuracy([True, None], [True, False]) == LabelAccuracy(0, 0, 1, 0, 1, None)


# Refusals


def test_refusals():
    for n_right, n in ((-1, 5), (6, 5), (0, -1)):
        with pytest.raises(ValueError, match="0 <= n_right <= n"):
            compute_wilson_interval(n_right, n)
    for level in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="level"):
            compute_wilson_interval(1, 2, level)
        with pytest.raises(ValueError, match="level"):
            compute_mean_interval([1.0, 2.0], level)
    with pytest.raises(ValueError, match="negative"):
        compute_mcnemar(-1, 2)
    with pytest.raises(ValueError, match="shorter"):
        compute_label_accuracy([True], [])
    with pytest.raises(ValueError, match="2 scores for 1 labels"):
        compute_auc([1.0, 2.0], [True])
    with pytest.raises(ValueError, match="2 values against 1"):
        compute_correlation([1.0, 2.0], [1.0])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_value_that_is_not_finite_is_refused(bad):
    for compute in (compute_correlation, compute_spearman, compute_auc):
        with pytest.raises(ValueError, match="not finite"):
            compute([1.0, bad], [0, 1])
    with pytest.raises(ValueError, match="not finite"):
        compute_mean_interval([1.0, bad])
