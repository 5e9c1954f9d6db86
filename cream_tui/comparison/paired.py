"""Paired tests between arms, and between the models of an arm.

Pure: models by seed in, tests out. Two single models: exact McNemar on the items that both answered. Several seeds:
paired bootstrap over seeds and items, with Student's paired t over seeds beside it. Every p-value that is shown
together is corrected together, by Holm.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cream_tui.comparison.arms import ArmModels, BySeed, Results, collect_models, list_shared_models
from cream_tui.results import (
    SIGNIFICANCE,
    Item,
    ModelResult,
    adjust_by_holm,
    compute_paired_test,
    restrict_items,
    restrict_to_shared,
)
from cream_tui.views.compare import SeedArm

Family = Literal["arms", "models"]
Method = Literal["paired bootstrap over seeds and items", "exact McNemar"]
BOOTSTRAP: Method = "paired bootstrap over seeds and items"
MCNEMAR: Method = "exact McNemar"
_LEAST_SEEDS = 2


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired test of two sides on the seeds and items that both have; ``first`` minus ``second`` is what it is about.

    Attributes:
        low, high: 95 % interval of this difference alone; over items where there is one seed.
        p_value: Of this test alone.
        seeds: Those that both sides have; of two single models those of both.
        seed_p_value: Of Student's paired t over seeds, as a cross-check; None for one seed.
        is_split: Whether tasks point to different sides, as far as one seed can tell.
    """

    first_mean: float
    second_mean: float
    low: float
    high: float
    p_value: float
    method: Method
    seeds: tuple[int, ...]
    n_items: int
    seed_p_value: float | None = None
    is_split: bool = False

    @property
    def mean(self) -> float:
        return self.first_mean - self.second_mean

    @property
    def is_none(self) -> bool:
        """Whether both sides are right on the same items with every seed."""
        return self.method == BOOTSTRAP and self.mean == self.low == self.high == 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of a table of tests.

    Attributes:
        family: arms: an arm against the baseline at one model. models: the last model of an arm against an earlier.
        first, second: Titles of the arms.
        first_model, second_model: Which models of them.
        p_holm: The p-value, corrected for all comparisons of its family; None with a reason.
        n_family: How many those are.
        reason: Why there is no test.
        beside: In what the sides differ beside the method, as "another base model".
    """

    family: Family
    first: str
    second: str
    first_model: str | None = None
    second_model: str | None = None
    difference: Difference | None = None
    p_holm: float | None = None
    n_family: int = 0
    reason: str | None = None
    beside: str | None = None

    @property
    def direction(self) -> int:
        """1 where the first side is better, -1 where it is worse, 0 where the data carries no claim."""
        found = self.difference
        if found is None or self.p_holm is None or found.is_split or self.p_holm >= SIGNIFICANCE:
            return 0
        return 1 if found.low > 0 else -1 if found.high < 0 else 0

    @property
    def is_hint(self) -> bool:
        """Whether it carries no claim although its own interval leaves 0 out: the correction took it."""
        found = self.difference
        return found is not None and not self.direction and not found.is_split and not found.low <= 0.0 <= found.high


def compare_arms(
    arms: Sequence[SeedArm], results: Results, *, baseline: int = 0, at: str | None = None
) -> list[Comparison]:
    """Each arm against the baseline at one model: ``at``, or the last that both have evaluated."""
    collected = [collect_models(arm, results) for arm in arms]
    found = [_compare_arm(arm, collected[baseline], at) for k, arm in enumerate(collected) if k != baseline]
    return correct_family(found)


def compare_models(arms: Sequence[SeedArm], results: Results) -> list[Comparison]:
    """The last model of each arm against its M1 and against the best one before it.

    Which is the best is chosen by the same data: that p-value is multiplied by the number of models it could have been.
    """
    found: list[Comparison] = []
    for arm in arms:
        found += _compare_own_models(collect_models(arm, results))
    return correct_family(found)


def correct_family(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with p-values corrected for their number."""
    p_values = [found.difference.p_value for found in comparisons if found.difference is not None]
    adjusted = iter(adjust_by_holm(p_values))
    return [
        replace(found, n_family=len(p_values), p_holm=None if found.difference is None else next(adjusted))
        for found in comparisons
    ]


def compute_difference(first: BySeed, second: BySeed, task: str | None = None) -> Difference | str:
    """The test of two sides, of one task or of the mean over tasks; else why there is none.

    Single models are compared whatever their seeds; of several seeds, those that both sides have.
    """
    if len(first) == len(second) == 1:
        pairs = {min(first): (next(iter(first.values())), next(iter(second.values())))}
    else:
        pairs = {seed: (first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())}
    if not pairs:
        return "not computable, because they share no seed"
    models = restrict_to_shared([model for pair in pairs.values() for model in pair])
    if task is not None and any(count.task != task for count in models[0].tasks):
        models = [restrict_items(model, {item for item in model.items if item[0] == task}) for model in models]
    if not models[0].tasks:
        return "not computable, because they answered no item in common"
    for count in models[0].tasks:
        if count.n_items == 1:
            return f"not computable, because they answered a single item of {count.task} in common"
    seeds = sorted({*first, *second} if len(first) == len(second) == 1 else pairs)
    return _test(models[::2], models[1::2], tuple(seeds))


def _test(firsts: Sequence[ModelResult], seconds: Sequence[ModelResult], seeds: tuple[int, ...]) -> Difference:
    """The test of models that answered the same items."""
    import numpy as np

    from engine.method.comparison import compute_paired_bootstrap

    items = list(firsts[0].items)
    by_task: dict[str, list[int]] = {}
    for place, (name, _) in enumerate(items):
        by_task.setdefault(name, []).append(place)
    first, second = (
        [outcomes[:, places] for places in by_task.values()]
        for models in (firsts, seconds)
        for outcomes in [np.array([_list_outcomes(model, items) for model in models], float)]
    )
    found = compute_paired_bootstrap([own - other for own, other in zip(first, second, strict=True)])
    difference = Difference(
        first_mean=statistics.fmean(float(outcomes.mean()) for outcomes in first),
        second_mean=statistics.fmean(float(outcomes.mean()) for outcomes in second),
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        method=BOOTSTRAP,
        seeds=seeds,
        n_items=found.n_items,
        seed_p_value=found.seed_p_value,
    )
    if len(firsts) > 1:
        return difference
    test = compute_paired_test(firsts[0], seconds[0])
    assert test is not None  # there are items
    return replace(difference, method=MCNEMAR, p_value=test.p_value, is_split=test.is_split)


def _list_outcomes(model: ModelResult, items: list[Item]) -> list[bool]:
    """Whether it got each of these right, in their order."""
    return list(model.items.values()) if list(model.items) == items else [model.items[item] for item in items]


def _compare_arm(arm: ArmModels, baseline: ArmModels, at: str | None) -> Comparison:
    sides = (arm, baseline)
    common = [name for name in arm.list_evaluated() if name in baseline.list_evaluated() and at in (None, name)]
    why = "they have no evaluated model in common" if at is None else _tell_behind(sides, at)
    if common and not (arm.is_done and baseline.is_done):
        shared = list_shared_models(sides)  # of which their methods have made nothing
        why = _tell_behind(sides, f"M{int(common[-1][1:]) + 1}")
        common = [name for name in common if name not in shared]
    name = _find_furthest(common, sides)
    if name is None:
        return Comparison("arms", arm.title, baseline.title, reason=f"not computable, because {why}")
    return _build("arms", (arm, name), (baseline, name))


def _tell_behind(sides: Sequence[ArmModels], name: str) -> str:
    """Why the sides have not both evaluated this model with one seed."""
    behind = [
        f"{side.title} {'failed before' if 'failed' in side.states else 'has not come to'} {name}"
        for side in sides
        if not side.find_evaluated(name)
    ]
    return " and ".join(behind) or f"they have no seed in common at {name}"


def _compare_own_models(arm: ArmModels) -> list[Comparison]:
    last = _find_furthest(arm.list_evaluated(), [arm])
    if last is None or last == "M1":
        return []
    own = arm.find_evaluated(last)
    # Only seeds that have the last model: a mean over others would be another one.
    earlier = {
        name: {seed: model for seed, model in arm.find_evaluated(name).items() if seed in own}
        for name in arm.list_evaluated()
        if int(name[1:]) < int(last[1:])
    }
    means = {
        name: statistics.fmean(model.accuracy or 0.0 for model in models.values())
        for name, models in earlier.items()
        if len(models) == len(own)
    }
    if not means:
        return []
    first, best = min(means, key=lambda name: int(name[1:])), max(means, key=lambda name: means[name])
    found = [_build("models", (arm, last), (arm, first))]
    if best != first:
        chosen = _build("models", (arm, last), (arm, best))
        if chosen.difference is not None:
            p_value = min(1.0, chosen.difference.p_value * len(means))
            chosen = replace(chosen, difference=replace(chosen.difference, p_value=p_value))
        found.append(chosen)
    return found


def _find_furthest(names: Sequence[str], arms: Sequence[ArmModels]) -> str | None:
    """The last model that two seeds of every arm have, where the arms share as many; else the last that one has."""
    shared = [set.intersection(*(set(arm.find_evaluated(name)) for arm in arms)) for name in names]
    n_most = max(map(len, shared), default=0)
    n_least = min(n_most, _LEAST_SEEDS)
    return next((name for name, seeds in zip(reversed(names), reversed(shared), strict=True) if len(seeds) >= n_least),
                None)  # fmt: skip


def _build(family: Family, first: tuple[ArmModels, str], second: tuple[ArmModels, str]) -> Comparison:
    found = compute_difference(first[0].find_evaluated(first[1]), second[0].find_evaluated(second[1]))
    reason = found if isinstance(found, str) else None
    return Comparison(
        family, first[0].title, second[0].title, first[1], second[1], None if isinstance(found, str) else found,
        reason=reason,
    )  # fmt: skip
