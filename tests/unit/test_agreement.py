"""Agreement of two rankings, against hand-derived numbers, a brute-force count and scipy."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from engine.method import agreement
from engine.method.agreement import Agreement, compute_agreement, compute_tau_null

MEASURES = ("kendall", "spearman", "toporder")


def run(first, second, items=None, **options):
    return compute_agreement(first, second, range(len(first)) if items is None else items, **options)


def brute_force_tau_a(xs, ys):
    signs = [np.sign(xs[i] - xs[j]) * np.sign(ys[i] - ys[j]) for i, j in itertools.combinations(range(len(xs)), 2)]
    return sum(signs) / len(signs)


@st.composite
def two_scorings(draw, low=-50, high=50, max_size=8):
    n = draw(st.integers(2, max_size))
    side = st.lists(st.integers(low, high), min_size=n, max_size=n)
    return draw(side), draw(side)


def two_orders(max_size=8):
    return st.integers(2, max_size).flatmap(lambda n: st.tuples(*[st.permutations(range(n))] * 2))


# Kendall


def test_kendall_of_one_swapped_neighbour():
    """5 items have 10 pairs; swapping two neighbours makes one of them discordant: tau = (9 - 1) / 10."""
    assert run([1, 2, 3, 4, 5], [1, 2, 4, 3, 5]) == Agreement(0.8, 0.9, 5, 5, None)


def test_kendall_counts_an_equal_pair_zero_and_keeps_it_in_the_denominator():
    """Pairs of (1, 1, 2) against (1, 2, 3): one equal, two concordant: tau-a = 2/3, not tau-b = 2/sqrt(6)."""
    assert run([1, 1, 2], [1, 2, 3]).value == pytest.approx(2 / 3)
    assert run([1, 1, 2], [1, 2, 3], ties="tau_b").value == pytest.approx(2 / math.sqrt(6))


@given(two_scorings(low=-3, high=3))
def test_kendall_equals_a_brute_force_count(scorings):
    result = run(*scorings)
    if result.value is None:
        assert 1 in (len(set(scorings[0])), len(set(scorings[1])))
    else:
        assert result.value == pytest.approx(brute_force_tau_a(*scorings))
        assert run(*scorings, ties="tau_a").value == result.value


@given(two_orders())
def test_without_ties_every_tau_equals_scipy(orders):
    expected = pytest.approx(stats.kendalltau(*orders).statistic)
    for ties in agreement.TIES:
        assert run(*orders, ties=ties).value == expected


@given(two_scorings(low=-2, high=2))
@settings(max_examples=60)
def test_tau_b_equals_scipy_with_ties(scorings):
    result = run(*scorings, ties="tau_b")
    if result.value is not None:
        assert result.value == pytest.approx(stats.kendalltau(*scorings).statistic)


@given(two_scorings(low=-2, high=2))
@settings(max_examples=60)
def test_ordinal_equals_the_authors_computation(scorings):
    ranks = [stats.rankdata(side, method="ordinal") for side in scorings]
    assert run(*scorings, ties="ordinal").value == pytest.approx(stats.kendalltau(*ranks).statistic)
    rho = run(*scorings, ties="ordinal", measure="spearman").value
    assert rho == pytest.approx(stats.spearmanr(*ranks).statistic)


@given(two_orders())
def test_identity_gives_one_and_reversal_zero(orders):
    order = orders[0]
    reverse = [-x for x in order]
    for measure in MEASURES:
        assert run(order, order, measure=measure).consistency_rate == pytest.approx(1.0)
        assert run(order, reverse, measure=measure).consistency_rate == pytest.approx(0.0)


@given(two_scorings(low=-4, high=4), st.randoms(use_true_random=False), st.sampled_from(MEASURES))
def test_invariant_to_permutation_positive_scale_and_shift(scorings, random, measure):
    first, second = scorings
    plain = run(first, second, measure=measure)
    order = list(range(len(first)))
    random.shuffle(order)
    permuted = run([first[k] for k in order], [second[k] for k in order], items=order, measure=measure)
    moved = run([0.25 * x - 7 for x in first], [1024.0 * y + 3 for y in second], measure=measure)
    for other in (permuted, moved):
        assert other.undefined_reason == plain.undefined_reason
        assert other.value == (plain.value if plain.value is None else pytest.approx(plain.value))


@given(two_scorings(low=-2, high=2), st.sampled_from(MEASURES), st.sampled_from(agreement.TIES))
def test_symmetric_and_in_range(scorings, measure, ties):
    forth, back = run(*scorings, measure=measure, ties=ties), run(*reversed(scorings), measure=measure, ties=ties)
    assert (forth.value is None) == (forth.consistency_rate is None) == (forth.undefined_reason is not None)
    if forth.value is not None:
        assert forth.value == pytest.approx(back.value)
        assert -1 <= forth.value <= 1
        assert 0 <= forth.consistency_rate <= 1


# Repeated items, missing and constant scores


def test_equal_items_are_one_item_by_default():
    """a, a, b, c with scores (1, 1, 2, 3) and (2, 2, 1, 3): over a, b, c two of three pairs agree, tau = 1/3.

    Over all four responses the pair (a, a) counts 0 and both (a, b) pairs disagree: tau-a = (3 - 2) / 6, and tau-b
    divides by the 5 pairs that are not equal: 1/5. Ordinal ranks (1, 2, 3, 4) and (2, 3, 1, 4) count the pair (a, a)
    as agreement: (4 - 2) / 6.
    """
    first, second, items = [1, 1, 2, 3], [2, 2, 1, 3], ["a", "a", "b", "c"]
    expected = {"distinct": 1 / 3, "tau_a": 1 / 6, "tau_b": 1 / 5, "ordinal": 1 / 3}
    for ties, value in expected.items():
        result = run(first, second, items, ties=ties)
        assert (result.value, result.n, result.n_distinct) == (pytest.approx(value), 4, 3)


@given(two_scorings(max_size=5), st.lists(st.integers(0, 4), max_size=6), st.sampled_from(MEASURES))
def test_repeating_responses_changes_no_distinct_agreement(scorings, repeats, measure):
    first, second = scorings
    index = list(range(len(first))) + [k % len(first) for k in repeats]
    plain = run(first, second, measure=measure)
    repeated = run([first[k] for k in index], [second[k] for k in index], index, measure=measure)
    assert (repeated.value, repeated.undefined_reason) == (plain.value, plain.undefined_reason)
    assert (repeated.n, repeated.n_distinct) == (len(index), len(first))


def test_missing_score_leaves_the_response_out_of_both_sides():
    result = run([1, None, 3, 9, 4], [1, 7, 2, None, 3])
    assert result == Agreement(1.0, 1.0, 3, 3, None)


@pytest.mark.parametrize(
    ("first", "second", "items", "reason", "n_distinct"),
    [
        ([], [], [], agreement.FEWER_THAN_2_DISTINCT, 0),
        ([1], [1], ["a"], agreement.FEWER_THAN_2_DISTINCT, 1),
        ([1, None], [None, 1], ["a", "b"], agreement.FEWER_THAN_2_DISTINCT, 0),
        ([1, 1, 1], [2, 2, 2], ["a", "a", "a"], agreement.FEWER_THAN_2_DISTINCT, 1),
        ([5, 5, 5], [1, 2, 3], ["a", "b", "c"], agreement.ALL_EQUAL_FIRST, 3),
        ([1, 2, 3], [0, 0, 0], ["a", "b", "c"], agreement.ALL_EQUAL_SECOND, 3),
        ([1, 1], [1, 1], ["a", "b"], agreement.ALL_EQUAL_FIRST, 2),
        ([4, 4, None], [1, 2, 3], ["a", "b", "c"], agreement.ALL_EQUAL_FIRST, 2),
    ],
)
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("ties", ["distinct", "tau_a", "tau_b"])
def test_undefined_agreement_has_a_reason_and_no_number(first, second, items, reason, n_distinct, measure, ties):
    result = run(first, second, items, measure=measure, ties=ties)
    assert (result.value, result.consistency_rate, result.undefined_reason) == (None, None, reason)
    assert result.n_distinct == n_distinct


def test_constant_scores_are_undefined_where_ordinal_ranks_would_agree_fully():
    """Ordinal ranks of (0, 0, 0, 0) are (1, 2, 3, 4): position alone makes tau 1 against an ordered list."""
    constant, ordered = [0, 0, 0, 0], [1, 2, 3, 4]
    assert run(constant, ordered).undefined_reason == agreement.ALL_EQUAL_FIRST
    assert run(constant, ordered, ties="ordinal").value == 1.0
    assert run(constant, ordered[::-1], ties="ordinal").value == -1.0


# Spearman and TopOrder


def test_spearman_of_one_swapped_neighbour():
    """rho = 1 - 6 * sum(d^2) / (n (n^2 - 1)) = 1 - 6 * 2 / (5 * 24) = 0.9; the rate is 0.95."""
    result = run([1, 2, 3, 4, 5], [1, 2, 4, 3, 5], measure="spearman")
    assert (result.value, result.consistency_rate) == (pytest.approx(0.9), pytest.approx(0.95))


@given(two_scorings(low=-3, high=3))
@settings(max_examples=60)
def test_spearman_equals_scipy(scorings):
    result = run(*scorings, measure="spearman")
    if result.value is not None:
        assert result.value == pytest.approx(stats.spearmanr(*scorings).statistic, abs=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([3, 9, 1, 5], [5, 8, 2, 3], 1.0),  # best is response 1, worst is 2; first and last responses swap places
        ([3, 9, 1, 5], [3, 9, 4, 1], 0.0),  # same best, other worst
        ([3, 9, 1, 5], [9, 3, 1, 5], 0.0),  # same worst, other best; the last response keeps its rank
        ([2, 9, 1, 3], [2, 1, 9, 3], 0.0),  # first and last responses keep their ranks; best and worst swap
        ([1, 9, 9], [1, 9, 9], 1.0),  # the same two are best
        ([1, 9, 9], [1, 8, 9], 0.0),  # two are best on one side, one on the other
    ],
)
def test_toporder_compares_best_and_worst_response(first, second, expected):
    """Best and worst of the ranking, not the ranks of the first and the last response."""
    result = run(first, second, measure="toporder")
    assert (result.value, result.consistency_rate) == (expected, expected)


# Independent scores


def test_mean_and_spread_under_independent_scores():
    """Over all 120 orders of 5 items: variance of tau 2 (2n + 5) / (9 n (n - 1)) = 1/6, sd 0.408.

    TopOrder: the same best with 1/5, then the same worst with 1/4: 1/20.
    """
    orders = list(itertools.permutations(range(5)))
    taus = [run(range(5), order).value for order in orders]
    assert np.mean(taus) == pytest.approx(0.0, abs=1e-12)
    assert np.std(taus) == pytest.approx(math.sqrt(1 / 6))
    assert np.mean([run(range(5), order, measure="toporder").value for order in orders]) == pytest.approx(1 / 20)


def test_spread_of_sampled_noise():
    """3000 draws: the standard error of the sd is below sd / sqrt(2 * 3000) = 0.0053; four of them allowed."""
    draws = np.random.default_rng(0).normal(size=(3000, 2, 5)).tolist()
    assert np.std([run(first, second).value for first, second in draws]) == pytest.approx(0.408, abs=0.021)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_null_distribution_equals_enumeration(n):
    values, probabilities = compute_tau_null(n)
    taus = [run(range(n), order).value for order in itertools.permutations(range(n))]
    assert values.tolist() == sorted(set(taus))
    assert probabilities == pytest.approx([taus.count(value) / len(taus) for value in values])


@pytest.mark.parametrize(("n", "sd"), [(4, 0.49), (5, 0.408), (8, 0.29), (16, 0.185), (40, None)])
def test_null_distribution_sums_to_one_with_the_known_spread(n, sd):
    values, probabilities = compute_tau_null(n)
    assert len(values) == n * (n - 1) // 2 + 1
    assert values[0] == -1
    assert values[-1] == 1
    assert (np.diff(values) > 0).all()
    assert probabilities.sum() == pytest.approx(1.0)
    spread = math.sqrt(probabilities @ values**2)
    assert spread == pytest.approx(math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1))))
    assert sd is None or spread == pytest.approx(sd, abs=0.005)


# Refusals


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_score_that_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="not finite"):
        run([1, bad], [1, 2])
    with pytest.raises(ValueError, match="not finite"):
        run([1, None], [1, bad])


@pytest.mark.parametrize("ties", agreement.TIES)
def test_equal_items_with_unequal_scores_are_refused(ties):
    with pytest.raises(ValueError, match="score it once"):
        run([1, 2, 3], [1, 1, 3], ["a", "a", "b"], ties=ties)


def test_unequal_lengths_and_unknown_names_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        run([1, 2], [1], [0, 1])
    with pytest.raises(ValueError, match="unknown measure 'tau'"):
        run([1, 2], [1, 2], measure="tau")
    with pytest.raises(ValueError, match="unknown ties 'none'"):
        run([1, 2], [1, 2], ties="none")
    with pytest.raises(ValueError, match="at least 2"):
        compute_tau_null(1)
