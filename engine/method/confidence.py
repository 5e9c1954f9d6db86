"""From agreements to the confidence C that the loss puts on each prompt's pair.

Knows the consistency rates of one iteration, by prompt. Must not know scores, pairs or the loss. The main path enters
at compute_confidences, once per iteration.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

KINDS = ("one", "fixed", "mean", "per_prompt")
C_MAPS = ("linear", "exact", "clamp")

UNDEFINED_AGREEMENT = "agreement undefined"
LOW_AGREEMENT = "agreement below the threshold"


class UndefinedConfidence(ValueError):
    """No prompt has a defined agreement, so there is nothing to take a confidence from."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """Confidence of every prompt of an iteration.

    Attributes:
        by_prompt: C in [0, 1], with the keys of the consistency rates in their order. None where the prompt has no
            confidence (UNDEFINED_AGREEMENT, only with kind "per_prompt"): no pair is made of it.
        mean: Mean consistency rate over the prompts that have one, before any map; None if no prompt has.
        n_defined: Prompts with a consistency rate.
        n_undefined: Prompts without.
    """

    by_prompt: dict[str, float | None]
    mean: float | None
    n_defined: int
    n_undefined: int


def compute_confidences(
    consistency_rates: Mapping[str, float | None],
    *,
    kind: str,
    value: float | None = None,
    shrinkage: float = 0.0,
    c_map: str = "linear",
) -> Confidence:
    """Confidence C of every prompt, joined by prompt key.

    The map is applied last: to the mean rate with kind "mean", to the shrunk rate with kind "per_prompt". Linear
    commutes with the mean; exact and clamp do not, and the map of the mean is what a single C of that agreement means.
    A fixed C is taken as given, never mapped, so that 0 and values below 1/2 can serve as controls.

    Args:
        consistency_rates: Rate in [0, 1] by prompt; None where the agreement is undefined.
        kind: "one": C = 1. "fixed": C = value. "mean": the mean over prompts with a rate, for every prompt.
            "per_prompt": each prompt's own rate.
        value: C of kind "fixed", in [0, 1]; other kinds do not read it.
        shrinkage: Weight of the mean in [0, 1], 0 = own rate, 1 = mean. Only kind "per_prompt" reads it.
        c_map: "linear": C = rate. "exact": C = (3 - tau) / (2 (2 - tau)) with tau = 2 rate - 1, in [2/3, 1].
            "clamp": C = max(rate, 1/2).

    Raises:
        UndefinedConfidence: The kind needs a rate and no prompt has one.
        ValueError: A number is outside its range, or a name is unknown.

    Source: Wang et al. 2025, CREAM, consistency-regularised loss, arXiv 2410.12735.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of confidence {kind!r}, expected one of {', '.join(KINDS)}")
    if c_map not in C_MAPS:
        raise ValueError(f"unknown c_map {c_map!r}, expected one of {', '.join(C_MAPS)}")
    defined = {key: rate for key, rate in consistency_rates.items() if rate is not None}
    for key, rate in defined.items():
        _check_unit(rate, f"consistency rate of prompt {key!r}")
    mean = math.fsum(defined.values()) / len(defined) if defined else None  # fsum: the same in any order of prompts
    by_prompt: dict[str, float | None]
    if kind == "one":
        by_prompt = dict.fromkeys(consistency_rates, 1.0)
    elif kind == "fixed":
        if value is None:
            raise ValueError("a fixed confidence needs a value")
        by_prompt = dict.fromkeys(consistency_rates, _check_unit(value, "fixed confidence"))
    elif mean is None:
        raise UndefinedConfidence(
            f"confidence {kind!r} needs an agreement, and none of {len(consistency_rates)} prompts has a defined one"
        )
    elif kind == "mean":
        by_prompt = dict.fromkeys(consistency_rates, _map_rate(mean, c_map))
    else:
        _check_unit(shrinkage, "shrinkage")
        by_prompt = dict.fromkeys(consistency_rates)
        for key, rate in defined.items():
            by_prompt[key] = _map_rate(_shrink(rate, mean, shrinkage), c_map)
    return Confidence(by_prompt, mean, len(defined), len(consistency_rates) - len(defined))


def permute_confidences(confidence: Confidence, *, seed: int) -> Confidence:
    """The same values of C, dealt out anew among the prompts that have one: a control for C per prompt.

    What is left of an effect of C then does not come from which prompts it lowers. The result depends on the values
    by prompt key and on the seed, not on the order of the prompts.
    """
    keys = sorted(key for key, c in confidence.by_prompt.items() if c is not None)
    dealt = keys.copy()
    random.Random(seed).shuffle(dealt)
    source = dict(zip(keys, dealt, strict=True))
    by_prompt = {key: confidence.by_prompt[source.get(key, key)] for key in confidence.by_prompt}
    return replace(confidence, by_prompt=by_prompt)


def _shrink(rate: float, mean: float, shrinkage: float) -> float:
    """Convex combination, exactly the rate at 0 and the mean at 1, and never outside them by rounding."""
    shrunk = (1.0 - shrinkage) * rate + shrinkage * mean
    return min(max(shrunk, min(rate, mean)), max(rate, mean))


def _map_rate(rate: float, c_map: str) -> float:
    if c_map == "linear":
        return rate
    if c_map == "clamp":
        return max(rate, 0.5)
    tau = 2.0 * rate - 1.0
    return (3.0 - tau) / (2.0 * (2.0 - tau))


def _check_unit(number: float, name: str) -> float:
    if not 0.0 <= number <= 1.0:  # also turns away NaN
        raise ValueError(f"{name} must be in [0, 1], got {number}")
    return number
