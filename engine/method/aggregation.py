"""From the scores of one or several scorers to one reward per response.

Knows the scores of one prompt, by scorer. Must not know what produced them, nor any other prompt. The main path enters
at compute_rewards, once per prompt.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

KINDS = ("single", "mean", "min")


def compute_rewards(scores: Mapping[str, Sequence[float | None]], *, kind: str) -> list[float | None]:
    """Reward of each response of one prompt, None where any of the scorers has no score.

    "single" passes the scores of the only scorer through, in its unit. "mean" and "min" first standardise each scorer
    to mean 0 and (population) standard deviation 1 over the responses that every scorer has scored, so their rewards
    have no unit; a scorer that is constant there contributes 0.

    Args:
        scores: Scores by scorer, one entry per response; None where the scorer failed.
        kind: One of KINDS.

    Raises:
        ValueError: No scorer, more than one for "single", lengths that differ, a score that is not finite, or an
            unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown aggregate {kind!r}, expected one of {', '.join(KINDS)}")
    if not scores or (kind == "single" and len(scores) != 1):
        wanted = "exactly one scorer" if kind == "single" else "at least one scorer"
        raise ValueError(f"aggregate {kind!r} needs {wanted}, got {len(scores)}: {', '.join(scores) or 'none'}")
    if len({len(column) for column in scores.values()}) != 1:
        sizes = ", ".join(f"{name} {len(column)}" for name, column in scores.items())
        raise ValueError(f"scorers differ in their number of responses: {sizes}")
    for name, column in scores.items():
        if any(score is not None and not math.isfinite(score) for score in column):
            raise ValueError(f"scorer {name!r} gave a score that is not finite; a missing score is None")
    if kind == "single":
        return list(next(iter(scores.values())))
    rows = list(zip(*scores.values(), strict=True))
    complete = [k for k, row in enumerate(rows) if None not in row]
    columns = [_standardise([column[k] for k in complete]) for column in scores.values()]
    rewards: list[float | None] = [None] * len(rows)
    for k, row in zip(complete, zip(*columns, strict=True), strict=True):
        rewards[k] = min(row) if kind == "min" else math.fsum(row) / len(row)  # fsum: any order of scorers
    return rewards


def _standardise(column: Sequence[float | None]) -> list[float]:
    values = np.array(column, dtype=np.float64)
    if values.size == 0 or values.min() == values.max():  # before the division: a mean of equal numbers can round
        return [0.0] * values.size
    scaled = (values - values.min()) / (values.max() - values.min())  # so that squares neither overflow nor vanish
    centred = scaled - scaled.mean()
    standard: list[float] = (centred / np.sqrt(np.mean(centred**2))).tolist()
    return standard
