"""From the scores of one or several scorers to one reward per response.

Knows the scores of one prompt, by scorer. Must not know what produced them, nor any other prompt. The main path enters
at compute_rewards, once per prompt.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

KINDS = ("single", "mean", "min", "lcb", "uwo")


def compute_rewards(
    scores: Mapping[str, Sequence[float | None]], *, kind: str, k: float | None = None
) -> list[float | None]:
    """Reward of each response of one prompt, None where any of the scorers has no score.

    "single" passes the scores of the only scorer through, in its unit. The others first standardise each scorer to
    mean 0 and (population) standard deviation 1 over the responses that every scorer has scored, so their rewards have
    no unit; a scorer that is constant there contributes 0. Over the standardised scores of a response, "lcb" is the
    mean minus k (population) standard deviations, "uwo" the mean minus k variances; with two scorers, lcb is the mean
    at k = 0 and the minimum at k = 1.

    Args:
        scores: Scores by scorer, one entry per response; None where the scorer failed.
        kind: One of KINDS.
        k: Weight of the disagreement, at least 0; only "lcb" and "uwo" read it.

    Raises:
        ValueError: No scorer, more than one for "single", lengths that differ, a score that is not finite, an unknown
            kind, or no k where one is needed.

    Source: min and UWO: Coste et al. 2024, reward model ensembles, arXiv 2310.02743.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown aggregate {kind!r}, expected one of {', '.join(KINDS)}")
    if not scores or (kind == "single" and len(scores) != 1):
        wanted = "exactly one scorer" if kind == "single" else "at least one scorer"
        raise ValueError(f"aggregate {kind!r} needs {wanted}, got {len(scores)}: {', '.join(scores) or 'none'}")
    if len({len(column) for column in scores.values()}) != 1:
        sizes = ", ".join(f"{name} {len(column)}" for name, column in scores.items())
        raise ValueError(f"scorers differ in their number of responses: {sizes}")
    if kind in ("lcb", "uwo") and (k is None or not k >= 0):
        raise ValueError(f"aggregate {kind!r} needs a weight k of at least 0, got {k}")
    for name, column in scores.items():
        if any(score is not None and not math.isfinite(score) for score in column):
            raise ValueError(f"scorer {name!r} gave a score that is not finite; a missing score is None")
    if kind == "single":
        return list(next(iter(scores.values())))
    rows = list(zip(*scores.values(), strict=True))
    complete = [at for at, row in enumerate(rows) if None not in row]
    columns = [_standardise([column[at] for at in complete]) for column in scores.values()]
    rewards: list[float | None] = [None] * len(rows)
    for at, row in zip(complete, zip(*columns, strict=True), strict=True):
        rewards[at] = _combine(row, kind, 0.0 if k is None else k)
    return rewards


def penalise_length(rewards: Sequence[float | None], n_tokens: Sequence[int], *, penalty: float) -> list[float | None]:
    """Rewards less the penalty for each token of the response; None stays None.

    Raises:
        ValueError: Lengths differ, or the penalty is below 0.

    Source: Chen et al. 2024, DICE, length-regularised implicit rewards, arXiv 2406.09760.
    """
    if not penalty >= 0:
        raise ValueError(f"length penalty must be at least 0, got {penalty}")
    return [None if reward is None else reward - penalty * n for reward, n in zip(rewards, n_tokens, strict=True)]


def _combine(row: Sequence[float], kind: str, k: float) -> float:
    if kind == "min":
        return min(row)
    mean = math.fsum(row) / len(row)  # fsum: any order of scorers
    if kind == "mean":
        return mean
    variance = math.fsum((score - mean) ** 2 for score in row) / len(row)
    return mean - k * (math.sqrt(variance) if kind == "lcb" else variance)


def _standardise(column: Sequence[float | None]) -> list[float]:
    values = np.array(column, dtype=np.float64)
    if values.size == 0 or values.min() == values.max():  # before the division: a mean of equal numbers can round
        return [0.0] * values.size
    scaled = (values - values.min()) / (values.max() - values.min())  # so that squares neither overflow nor vanish
    centred = scaled - scaled.mean()
    standard: list[float] = (centred / np.sqrt(np.mean(centred**2))).tolist()
    return standard
