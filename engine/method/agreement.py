"""How far two rankings of one prompt's responses agree.

Knows scores and which responses are the same item. Must not know what produced the scores, nor any other prompt.
The main path enters at compute_agreement, once per prompt and pair of scorers.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.method.statistics import compute_spearman

MEASURES = ("kendall", "spearman", "toporder")
TIES = ("distinct", "tau_a", "tau_b", "ordinal")

FEWER_THAN_2_DISTINCT = "fewer than 2 distinct responses"
ALL_EQUAL_FIRST = "all scores equal under first"
ALL_EQUAL_SECOND = "all scores equal under second"
UNDEFINED_REASONS = (FEWER_THAN_2_DISTINCT, ALL_EQUAL_FIRST, ALL_EQUAL_SECOND)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of two rankings of one prompt's responses.

    Attributes:
        value: tau or rho in [-1, 1]; for TopOrder 0 or 1. None if undefined.
        consistency_rate: (value + 1) / 2 for tau and rho, the value itself for TopOrder; in [0, 1]. None if undefined.
        n: Responses with both scores, repeated items counted each time.
        n_distinct: Distinct items among those.
        undefined_reason: One of UNDEFINED_REASONS; None if and only if value is a number.
    """

    value: float | None
    consistency_rate: float | None
    n: int
    n_distinct: int
    undefined_reason: str | None


def compute_agreement(
    first: Sequence[float | None],
    second: Sequence[float | None],
    items: Sequence[Hashable],
    *,
    measure: str = "kendall",
    ties: str = "distinct",
) -> Agreement:
    """Agreement between two scorings of the same responses.

    A response without a score on either side is left out of both. Raw scores are compared, never rounded.

    Departs: the authors' code takes ordinal ranks over all responses, which lets position decide between equal scores;
    ties="ordinal" restores that, constant scores and repeated responses included.

    Args:
        first: Scores under the first model, higher is better.
        second: Scores under the second model, of the same responses in the same order.
        items: Identity of each response (its token ids); equal items are the same response.
        measure: One of MEASURES. toporder is 1 if both rankings have the same best and the same worst response (with
            equal scores: the same set of them), else 0.
        ties: "distinct" takes equal items as one; "tau_a" and "tau_b" keep all responses and name the tau that kendall
            then uses (spearman always takes average ranks); "ordinal" breaks equal scores by position. Between
            distinct items, kendall is tau-a: an equal pair counts 0 and stays in the denominator.

    Raises:
        ValueError: Lengths differ, a score is not finite, equal items have unequal scores, or a name is unknown.

    Source: Wang et al. 2025, CREAM, consistency rate, arXiv 2410.12735.
    """
    if measure not in MEASURES:
        raise ValueError(f"unknown measure {measure!r}, expected one of {', '.join(MEASURES)}")
    if ties not in TIES:
        raise ValueError(f"unknown ties {ties!r}, expected one of {', '.join(TIES)}")
    kept, distinct = _collect_scored(first, second, items)
    n, n_distinct = len(kept), len(distinct)
    if n < 2 or (n_distinct < 2 and ties != "ordinal"):
        return Agreement(None, None, n, n_distinct, FEWER_THAN_2_DISTINCT)
    pairs = distinct if ties == "distinct" else kept
    xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
    if ties == "ordinal":
        xs, ys = _rank_by_position(xs), _rank_by_position(ys)
    elif min(xs) == max(xs):
        return Agreement(None, None, n, n_distinct, ALL_EQUAL_FIRST)
    elif min(ys) == max(ys):
        return Agreement(None, None, n, n_distinct, ALL_EQUAL_SECOND)
    if measure == "toporder":
        value = _compute_toporder(xs, ys)
        return Agreement(value, value, n, n_distinct, None)
    value = _compute_tau(xs, ys, is_tau_b=ties == "tau_b") if measure == "kendall" else _compute_rho(xs, ys)
    return Agreement(value, (value + 1.0) / 2.0, n, n_distinct, None)


def compute_tau_null(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Exact distribution of Kendall's tau between two independent rankings of n items without ties.

    Returns:
        The n(n-1)/2 + 1 values tau can take, ascending from -1 to 1, and their probabilities, which sum to 1.

    Raises:
        ValueError: n is below 2.
    """
    if n < 2:
        raise ValueError(f"tau needs at least 2 items, got {n}")
    counts = [1]  # permutations of `size` items by number of inversions
    for size in range(2, n + 1):
        running, grown = 0, []
        for inversions in range(len(counts) + size - 1):
            running += counts[inversions] if inversions < len(counts) else 0
            running -= counts[inversions - size] if inversions >= size else 0
            grown.append(running)
        counts = grown
    n_pairs, total = n * (n - 1) // 2, math.factorial(n)
    values = np.array([(2 * k - n_pairs) / n_pairs for k in range(n_pairs + 1)])
    return values, np.array([count / total for count in counts])


def _collect_scored(
    first: Sequence[float | None], second: Sequence[float | None], items: Sequence[Hashable]
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Score pairs of all responses with both scores, and of the distinct items among them, in order."""
    kept: list[tuple[float, float]] = []
    by_item: dict[Hashable, tuple[float, float]] = {}
    for x, y, item in zip(first, second, items, strict=True):
        for score in (x, y):
            if score is not None and not math.isfinite(score):
                raise ValueError(f"score {score} is not finite; a missing score is None")
        if x is None or y is None:
            continue
        pair = (x, y)
        known = by_item.setdefault(item, pair)
        if known != pair:
            raise ValueError(f"the same response has scores {known} and {pair}: score it once")
        kept.append(pair)
    return kept, list(by_item.values())


def _rank_by_position(values: Sequence[float]) -> list[float]:
    """Ranks from 1, ascending; of equal values the earlier one ranks lower."""
    ranks = [0.0] * len(values)
    for rank, k in enumerate(sorted(range(len(values)), key=values.__getitem__), start=1):
        ranks[k] = float(rank)
    return ranks


def _compute_tau(xs: Sequence[float], ys: Sequence[float], *, is_tau_b: bool) -> float:
    """Kendall's tau by a count over all pairs; neither side may be constant for tau-b.

    Counted here because scipy.stats.kendalltau has no tau-a, and spends most of its time on a p-value that nobody
    reads, once for every prompt. The tests hold it to scipy's tau-b.
    """
    n = len(xs)
    balance = n_tied_x = n_tied_y = 0
    for i in range(1, n):
        x, y = xs[i], ys[i]
        for j in range(i):
            sign_x = (x > xs[j]) - (x < xs[j])
            sign_y = (y > ys[j]) - (y < ys[j])
            balance += sign_x * sign_y
            n_tied_x += not sign_x
            n_tied_y += not sign_y
    n_pairs = n * (n - 1) // 2
    if is_tau_b:
        return balance / math.sqrt((n_pairs - n_tied_x) * (n_pairs - n_tied_y))
    return balance / n_pairs


def _compute_rho(xs: Sequence[float], ys: Sequence[float]) -> float:
    rho = compute_spearman(xs, ys)
    if rho is None:
        raise AssertionError("constant scores are turned away before any measure")
    return rho


def _compute_toporder(xs: Sequence[float], ys: Sequence[float]) -> float:
    """1 if the responses ranked best are the same on both sides, and those ranked worst too; else 0."""
    is_same_best = _find_all(xs, max(xs)) == _find_all(ys, max(ys))
    is_same_worst = _find_all(xs, min(xs)) == _find_all(ys, min(ys))
    return float(is_same_best and is_same_worst)


def _find_all(values: Sequence[float], wanted: float) -> list[int]:
    return [k for k, value in enumerate(values) if value == wanted]
