"""Intervals, tests and counts for what is reported about a run.

Knows plain numbers. Must not know where they come from, nor how they are drawn. What the app needs is counted here, for
scipy takes 24 MB to 70 MB and up to 0.4 s to import; elsewhere, and as the oracle of the tests, scipy it is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = Sequence[float] | NDArray[np.float64]

_MOST_NEWTON_STEPS = 60


@dataclass(frozen=True, slots=True)
class LabelAccuracy:
    """How the labels of pairs compare with known correctness.

    Attributes:
        n_right: Chosen correct, rejected not.
        n_inverted: Rejected correct, chosen not.
        n_both_right: Both correct.
        n_both_wrong: Neither correct.
        n_unknown: Correctness of at least one side unknown.
        accuracy: n_right / (n_right + n_inverted); None if both are 0.
    """

    n_right: int
    n_inverted: int
    n_both_right: int
    n_both_wrong: int
    n_unknown: int
    accuracy: float | None


def compute_wilson_interval(n_right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion, within [0, 1]; (0, 1) for n = 0.

    Raises:
        ValueError: Not 0 <= n_right <= n, or level outside (0, 1).
    """
    if not 0 <= n_right <= n:
        raise ValueError(f"need 0 <= n_right <= n, got {n_right} of {n}")
    z = NormalDist().inv_cdf((1.0 + _check_level(level)) / 2.0)
    if n == 0:
        return 0.0, 1.0
    p, scale = n_right / n, 1.0 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(p * (1.0 - p) / n + z * z / (4 * n * n))
    # The ends are exact at the borders, where the subtraction leaves rounding noise.
    return 0.0 if n_right == 0 else centre - half, 1.0 if n_right == n else centre + half


def compute_mcnemar(n_first_only: int, n_second_only: int) -> float:
    """Exact two-sided p-value that two systems are right equally often, from the items on which they differ.

    Args:
        n_first_only: Items that only the first gets right.
        n_second_only: Items that only the second gets right.

    Raises:
        ValueError: A count is negative.
    """
    if n_first_only < 0 or n_second_only < 0:
        raise ValueError(f"counts cannot be negative, got {n_first_only} and {n_second_only}")
    n = n_first_only + n_second_only
    ways = total = 1  # to choose k of n, and the sum up to k
    for k in range(min(n_first_only, n_second_only)):
        ways = ways * (n - k) // (k + 1)
        total += ways
    return min(1.0, total / 2 ** (n - 1)) if n else 1.0


def compute_mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Student t interval of the mean; None for fewer than 2 values.

    Raises:
        ValueError: A value is not finite, or level outside (0, 1).
    """
    _check_level(level)
    array = _as_finite(values)
    if array.size < 2:
        return None
    half = compute_t_quantile(level, array.size - 1) * float(array.std(ddof=1)) / math.sqrt(array.size)
    mean = float(array.mean())
    return mean - half, mean + half


def compute_t_quantile(level: float, n_degrees: int) -> float:
    """The t within which Student's distribution with ``n_degrees`` has this share of its mass, on both sides of 0.

    Newton's method on the finite sum for whole degrees of freedom; scipy's, which takes 0.1 s and 24 MB to import, is
    the oracle of the tests.

    Source: Abramowitz and Stegun 1964, 26.7.3 and 26.7.4.
    """
    normal = NormalDist().inv_cdf((1.0 + _check_level(level)) / 2.0)
    t = normal * (1.0 + (normal * normal + 1.0) / (4.0 * n_degrees))
    log_scale = math.lgamma((n_degrees + 1) / 2) - math.lgamma(n_degrees / 2) - 0.5 * math.log(n_degrees * math.pi)
    for _ in range(_MOST_NEWTON_STEPS):
        density = 2.0 * math.exp(log_scale - (n_degrees + 1) / 2 * math.log1p(t * t / n_degrees))
        step = (level - _compute_t_mass(t, n_degrees)) / density
        t += max(step, -t / 2.0)  # the sum is concave: from below Newton's method never goes too far
        if abs(step) <= 1e-12 * t:
            break
    return t


def compute_t_p_value(t: float, n_degrees: int) -> float:
    """Two-sided p-value of a t with whole degrees of freedom; below 1e-15 it is 0."""
    return max(0.0, 1.0 - _compute_t_mass(abs(t), n_degrees))


def _compute_t_mass(t: float, n_degrees: int) -> float:
    """The mass of Student's distribution within t on both sides of 0."""
    angle = math.atan(t / math.sqrt(n_degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    if n_degrees % 2:
        term = total = sine * cosine if n_degrees > 1 else 0.0
        for k in range(3, n_degrees - 1, 2):
            term *= cosine * cosine * (k - 1) / k
            total += term
        return 2.0 / math.pi * (angle + total)
    term = total = sine
    for k in range(2, n_degrees - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    return total


def compute_auc(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """Probability that a positive scores above a negative, equal scores counting half; None without one of each.

    Raises:
        ValueError: Lengths differ, or a score is not finite.
    """
    array, is_positive = _as_finite(scores), np.asarray(labels, dtype=np.bool_)
    if array.shape != is_positive.shape:
        raise ValueError(f"{array.size} scores for {is_positive.size} labels")
    positives, negatives = array[is_positive], np.sort(array[~is_positive])
    if positives.size == 0 or negatives.size == 0:
        return None
    n_below = int(np.searchsorted(negatives, positives, side="left").sum())
    n_not_above = int(np.searchsorted(negatives, positives, side="right").sum())
    return (n_below + n_not_above) / (2 * positives.size * negatives.size)


def compute_correlation(first: Values, second: Values) -> float | None:
    """Pearson correlation in [-1, 1]; None if a side is constant or has fewer than 2 values.

    Raises:
        ValueError: Lengths differ, or a value is not finite.
    """
    xs, ys = _as_finite(first), _as_finite(second)
    if xs.size != ys.size:
        raise ValueError(f"{xs.size} values against {ys.size}")
    if xs.size < 2 or xs.min() == xs.max() or ys.min() == ys.max():
        return None
    xs, ys = _centre(xs), _centre(ys)
    r = float(xs @ ys) / math.sqrt(float(xs @ xs) * float(ys @ ys))
    return min(1.0, max(-1.0, r))


def compute_spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rho in [-1, 1], equal values taking their average rank; None if a side is constant or below 2 values.

    Raises:
        ValueError: Lengths differ, or a value is not finite.
    """
    from scipy.stats import rankdata

    return compute_correlation(rankdata(_as_finite(first)), rankdata(_as_finite(second)))


def compute_label_accuracy(
    chosen_correct: Sequence[bool | None], rejected_correct: Sequence[bool | None]
) -> LabelAccuracy:
    """Counts of pairs by the correctness of their sides, and the label accuracy.

    Args:
        chosen_correct: Correctness of chosen, one entry per pair; None where unknown.
        rejected_correct: The same for rejected, in the same order of pairs.

    Raises:
        ValueError: Lengths differ.
    """
    n_by_sides = {(True, False): 0, (False, True): 0, (True, True): 0, (False, False): 0}
    n_unknown = 0
    for chosen, rejected in zip(chosen_correct, rejected_correct, strict=True):
        if chosen is None or rejected is None:
            n_unknown += 1
        else:
            n_by_sides[chosen, rejected] += 1
    n_right, n_inverted = n_by_sides[True, False], n_by_sides[False, True]
    return LabelAccuracy(
        n_right=n_right,
        n_inverted=n_inverted,
        n_both_right=n_by_sides[True, True],
        n_both_wrong=n_by_sides[False, False],
        n_unknown=n_unknown,
        accuracy=n_right / (n_right + n_inverted) if n_right + n_inverted else None,
    )


def _centre(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values of a non-constant array moved to mean 0, at a scale where squares neither overflow nor vanish."""
    scaled = (values - values.min()) / (values.max() - values.min())
    return np.asarray(scaled - scaled.mean())


def _as_finite(values: Values) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("a value is not finite; leave missing values out before")
    return array


def _check_level(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    return level
