"""Measures of an iteration: hand-derived numbers, and silence where the groups say nothing."""

from __future__ import annotations

import math
import random

import pytest

from engine.method.diagnostics import (
    compute_distinct_bigrams,
    compute_distinct_share,
    compute_repeat_rate,
    compute_top_gap,
    compute_top_share,
    compute_within_auc,
    compute_within_correlation,
    compute_within_sd,
)


def test_repeats_are_counted_by_group_and_distinct_items_by_item() -> None:
    """Two of four groups repeat an item; 2 + 3 + 1 + 1 distinct of 3 + 3 + 3 + 1 items."""
    groups = ["aab", "abc", "ccc", "a"]
    assert compute_repeat_rate(groups) == 0.5
    assert compute_distinct_share(groups) == 0.7


def test_the_top_share_is_a_mean_over_groups_that_have_items() -> None:
    """2/3, 1/3 and 1, whose mean is 2/3."""
    assert compute_top_share(["aab", "abc", "", "cc"]) == pytest.approx(2 / 3)


def test_bigrams_are_distinct_within_a_group_only() -> None:
    """(12 23) and (12 24): 3 of 4 distinct; the second group repeats one bigram: 1 of 2; a single token has none."""
    assert compute_distinct_bigrams([[(1, 2, 3), (1, 2, 4)], [(1, 2), (1, 2)], [(7,)]]) == (0.75 + 0.5) / 2


def test_correlation_within_groups_ignores_what_differs_between_them() -> None:
    """Within each group y falls by 1 where x rises by 1; between the groups both rise together."""
    groups = [[(0.0, 1.0), (1.0, 0.0)], [(10.0, 21.0), (11.0, 20.0)]]
    assert compute_within_correlation(groups) == pytest.approx(-1)


def test_correlation_within_groups_by_hand() -> None:
    """Centred x: -1 0 1, -1 1; y: -1 1 0, 1 -1. Sum of products 1 - 2 = -1, squares 4 and 4: -1/4."""
    groups = [[(1.0, 0.0), (2.0, 2.0), (3.0, 1.0)], [(5.0, 8.0), (7.0, 6.0)]]
    assert compute_within_correlation(groups) == pytest.approx(-0.25)


def test_equal_values_have_no_spread_whatever_their_mean_is_rounded_to() -> None:
    """The mean of three 0.1 is not 0.1."""
    groups = [[(0.1, 1.0), (0.1, 2.0), (0.1, 5.0)]]
    assert compute_within_correlation(groups) is None
    assert compute_within_sd([[0.1] * 3]) == 0.0


def test_spread_within_groups_is_pooled() -> None:
    """Squares 1 + 1 and 4 + 4 with 1 + 1 degrees of freedom: sqrt(5); a group of one says nothing."""
    assert compute_within_sd([[0.0, 2.0], [10.0, 14.0], [99.0]]) == pytest.approx(math.sqrt(5))


def test_auc_compares_responses_of_one_prompt_alone() -> None:
    """First: 3 above 1, below 4: 1 of 2. Second: a tie, half of 1. The third has no wrong one. 1.5 of 3."""
    groups = [[(3.0, True), (1.0, False), (4.0, False)], [(2.0, True), (2.0, False)], [(9.0, True)]]
    assert compute_within_auc(groups) == 0.5


def test_auc_of_a_single_group_is_that_of_the_ranks() -> None:
    """Against the rank-sum formula of the Mann-Whitney statistic, on 40 distinct scores."""
    rng = random.Random(3)
    group = [(float(score), rng.random() < 0.4) for score in rng.sample(range(1000), 40)]
    ranks = {score: rank for rank, (score, _) in enumerate(sorted(group), start=1)}
    right = [ranks[score] for score, is_right in group if is_right]
    n, m = len(right), len(group) - len(right)
    assert compute_within_auc([group]) == pytest.approx((sum(right) - n * (n + 1) / 2) / (n * m))


def test_the_top_gap_is_between_the_two_highest() -> None:
    assert compute_top_gap([1.0, 5.0, 3.5]) == 1.5
    assert compute_top_gap([2.0, 2.0]) == 0.0


def test_what_says_nothing_has_no_measure() -> None:
    assert compute_repeat_rate([]) is None
    assert compute_distinct_share([[], []]) is None
    assert compute_top_share([[]]) is None
    assert compute_distinct_bigrams([[(1,), (2,)]]) is None
    assert compute_within_correlation([[(1.0, 2.0), (1.0, 3.0)]]) is None
    assert compute_within_sd([[1.0], [2.0]]) is None
    assert compute_within_auc([[(1.0, True)], [(0.0, False)]]) is None
    assert compute_top_gap([1.0]) is None
