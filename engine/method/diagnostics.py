"""What can be told of an iteration from its responses, rewards and pairs, as plain numbers.

Knows groups: one sequence per prompt, of its responses. Must not know where they come from, nor when a number is worth
a warning. A measure of which the groups say nothing is None, never 0. One function per measure; no main path.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import pairwise

from engine.method.statistics import compute_correlation


def compute_repeat_rate(groups: Sequence[Sequence[Hashable]]) -> float | None:
    """Share of the groups, in [0, 1], in which some item occurs twice or more."""
    return sum(len(set(group)) < len(group) for group in groups) / len(groups) if groups else None


def compute_distinct_share(groups: Sequence[Sequence[Hashable]]) -> float | None:
    """Distinct items of each group over all items, summed over the groups."""
    n = sum(map(len, groups))
    return sum(len(set(group)) for group in groups) / n if n else None


def compute_top_share(groups: Sequence[Sequence[Hashable]]) -> float | None:
    """Mean over the groups of the share of the most frequent item; empty groups are left out."""
    shares = [max(Counter(group).values()) / len(group) for group in groups if group]
    return statistics.fmean(shares) if shares else None


def compute_distinct_bigrams(groups: Sequence[Sequence[Sequence[Hashable]]]) -> float | None:
    """Distinct over all neighbouring tokens of a group's responses, as a mean over the groups.

    Within a group, so that neither the number of prompts nor what they have in common moves it.
    """
    shares = []
    for group in groups:
        bigrams = [bigram for response in group for bigram in pairwise(response)]
        if bigrams:
            shares.append(len(set(bigrams)) / len(bigrams))
    return statistics.fmean(shares) if shares else None


def compute_within_correlation(groups: Sequence[Sequence[tuple[float, float]]]) -> float | None:
    """Pearson correlation of two numbers per response, each less its group's mean; None if a side is constant."""
    firsts: list[float] = []
    seconds: list[float] = []
    for group in groups:
        for values, centred in (([x for x, _ in group], firsts), ([y for _, y in group], seconds)):
            centred += _centre(values)
    return compute_correlation(firsts, seconds)


def _centre(values: Sequence[float]) -> list[float]:
    """Values less their mean; exactly 0 where all are equal, of which the rounded mean need not be."""
    if not values or min(values) == max(values):
        return [0.0] * len(values)
    mean = statistics.fmean(values)
    return [value - mean for value in values]


def compute_within_sd(groups: Sequence[Sequence[float]]) -> float | None:
    """Standard deviation of the values around their group's mean, pooled over the groups of two and more."""
    n_free = sum(len(group) - 1 for group in groups if group)
    if n_free == 0:
        return None
    squares = [value**2 for group in groups for value in _centre(group)]
    return math.sqrt(math.fsum(squares) / n_free)


def compute_within_auc(groups: Sequence[Sequence[tuple[float, bool]]]) -> float | None:
    """Share of the pairs of a right and a wrong response of one prompt in which the right one scores higher.

    Equal scores count half; None where no prompt has both.
    """
    n_pairs, n_higher = 0, 0.0
    for group in groups:
        right = [score for score, is_right in group if is_right]
        wrong = [score for score, is_right in group if not is_right]
        n_pairs += len(right) * len(wrong)
        n_higher += sum((high > low) + 0.5 * (high == low) for high in right for low in wrong)
    return n_higher / n_pairs if n_pairs else None


def compute_top_gap(values: Sequence[float]) -> float | None:
    """Highest minus second highest value; None below two values."""
    if len(values) < 2:
        return None
    first, second = sorted(values, reverse=True)[:2]
    return first - second
