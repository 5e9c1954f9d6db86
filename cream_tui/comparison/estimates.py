"""A value over seeds with its interval, and which interval it is. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cream_tui.comparison.arms import NO_SPREAD, ONE_MODEL, ONE_SEED
from cream_tui.results import ModelResult, TaskCount, compute_accuracy_interval

IntervalKind = Literal["seeds", "items"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds with its 95 % interval.

    Attributes:
        kind: seeds: Student's t over seeds. items: Wilson's over the items of one seed, or of a model that answers
            alike in all of them; it says nothing of other seeds.
        reason: Why there is no interval over seeds; None where there is one.
    """

    mean: float
    low: float | None
    high: float | None
    kind: IntervalKind | None
    n_seeds: int
    reason: str | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends; None where there are none."""
        return None if self.low is None or self.high is None else (self.low, self.high)


def estimate_accuracy(models: Mapping[int, ModelResult], task: str | None) -> Estimate | None:
    """The accuracy on a task, or the mean over tasks for None; None where no seed has it.

    Args:
        models: One for each seed.
    """
    counts: dict[int, Sequence[TaskCount]] = {}
    for seed, model in models.items():
        found = model.tasks if task is None else [count for count in model.tasks if count.task == task]
        if found:
            counts[seed] = found
    means = [statistics.fmean(count.accuracy for count in found) for found in counts.values()]
    if not means:
        return None
    first = models[next(iter(counts))]
    if all(models[seed].items == first.items for seed in counts):
        reason = ONE_SEED if len(means) == 1 else ONE_MODEL
        interval = compute_accuracy_interval(next(iter(counts.values())))
        return Estimate(means[0], *interval, "items", len(means), reason)
    return estimate_over_seeds(means, bounds=(0.0, 1.0))


def estimate_measure(
    models: Mapping[int, ModelResult], name: str, bounds: tuple[float, float] | None
) -> Estimate | None:
    """A measure of the iteration in which a model sampled; None where no seed has it."""
    return estimate_over_seeds(
        [value for model in models.values() if (value := model.get(name)) is not None], bounds=bounds
    )


def estimate_over_seeds(values: Sequence[float], *, bounds: tuple[float, float] | None = None) -> Estimate | None:
    """Mean and Student's interval of one value for each seed; an interval ends where values must, at ``bounds``."""
    from engine.method.statistics import compute_mean_interval

    if not values:
        return None
    mean, interval = statistics.fmean(values), compute_mean_interval(values)
    if interval is None:
        return Estimate(mean, None, None, None, 1, ONE_SEED)
    if min(values) == max(values):
        return Estimate(values[0], None, None, None, len(values), NO_SPREAD)
    low, high = interval
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Estimate(mean, low, high, "seeds", len(values))
