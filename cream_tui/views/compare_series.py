"""Curves of several runs on shared axes, and the bands of runs that differ only in the seed.

Pure: columns in, arrays out; no store, no Textual. Seeds are joined at equal places of training, counted in iterations,
since their trainings may have different numbers of steps; a band spans what every seed has, so that its mean never
changes its company.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cream_tui.views.compare import Metric, MetricValue, SeedArm, order_metrics
from cream_tui.views.series import Points, Timeline
from db.compare_reads import Curve
from db.rows import RunRow

Floats = NDArray[np.float64]
CHARTED: tuple[Metric, ...] = (
    ("train", "loss"),
    ("evaluate", "accuracy"),
    ("agree", "tau_anchor"),
    ("pair", "label_accuracy"),
    ("agree", "tau_previous"),
    ("train", "z"),
    ("pair", "confidence"),
    ("train", "chosen_logprob"),
    ("train", "rejected_logprob"),
    ("pair", "chosen_n_tokens"),
)
# Stages whose metrics describe a model, so that there is one point for each.
_POINT_STAGES = frozenset({"evaluate", "agree", "pair", "sample", "score"})


@dataclass(frozen=True, slots=True)
class ArmCurve:
    """What a chart draws of one arm.

    Attributes:
        low, high: Mean less and plus one standard deviation; None for a single seed.
        n_seeds: How many the mean is of.
        is_points: Whether the metric has one value for each model.
    """

    letter: str
    title: str
    xs: Floats
    ys: Floats
    low: Floats | None
    high: Floats | None
    n_seeds: int
    is_points: bool

    def find_value(self, x: float | None) -> float | None:
        """The value at the point nearest to x, the newest where x is None; None beyond the curve's ends."""
        if not len(self.xs) or (x is not None and not self.xs[0] <= x <= self.xs[-1]):
            return None
        right = len(self.xs) if x is None else int(np.searchsorted(self.xs, x))
        near = [k for k in (right - 1, right) if 0 <= k < len(self.xs)]
        value = float(self.ys[near[0] if x is None else min(near, key=lambda k: abs(float(self.xs[k]) - x))])
        return value if np.isfinite(value) else None


def build_curve_points(curve: Curve) -> Points:
    """The columns as arrays; times that were not read are zero."""
    numbers = [n for *_, n in curve.stages]
    return Points(
        position=np.repeat(np.array([position for position, *_ in curve.stages], dtype=np.int64), numbers),
        iteration=np.repeat(np.array([iteration for _, iteration, _ in curve.stages], dtype=np.int64), numbers),
        step=np.array(curve.step, dtype=np.int64),
        value=np.array(curve.value, dtype=np.float64),
        at=np.array(curve.at, dtype=np.float64) if curve.at else np.zeros(len(curve.value)),
        cursor=curve.cursor,
    )


def drop_sft(points: Points, stage: str) -> Points:
    """The points without those of the fine-tuning, whose loss is another one."""
    if stage != "train" or not len(points) or points.iteration[0] > 0:
        return points
    return points.take(np.flatnonzero(points.iteration > 0))


def is_pointwise(metric: Metric, points: Sequence[Points]) -> bool:
    """Whether a metric has one value for each model rather than one for each step."""
    if metric[0] in _POINT_STAGES:
        return True
    return all(bool((found.step == 0).all()) for found in points if len(found))


def build_arm_curve(
    arm: SeedArm, points: Mapping[str, Points], timelines: Mapping[str, Timeline], *, axis: str, is_pointwise: bool
) -> ArmCurve | None:
    """The curve of an arm on an axis; None where no run of it has points.

    Args:
        points: Of the metric, by run id.
        timelines: By run id.
    """
    found = [
        (run, points[run.run_id], timelines[run.run_id])
        for run in arm.runs
        if run.run_id in timelines and len(points.get(run.run_id, ())) > 0
    ]
    if not found:
        return None
    if len(found) == 1:
        _, own, timeline = found[0]
        xs, ys = timeline.place(own, axis), own.value
        return ArmCurve(arm.letter, arm.title, xs, ys, None, None, 1, is_pointwise)
    return _join_seeds(arm, found, axis, is_pointwise)


def _join_seeds(
    arm: SeedArm, found: Sequence[tuple[RunRow, Points, Timeline]], axis: str, is_pointwise: bool
) -> ArmCurve | None:
    places = [timeline.place(points, "iteration") for _, points, timeline in found]
    first, last = max(place[0] for place in places), min(place[-1] for place in places)
    longest = max(range(len(places)), key=lambda k: len(places[k]))
    grid = places[longest][(places[longest] >= first) & (places[longest] <= last)]
    if not len(grid):
        return None
    xs = [
        np.interp(grid, place, timeline.place(points, axis))
        for place, (_, points, timeline) in zip(places, found, strict=True)
    ]
    by_seed: dict[int, list[Floats]] = {}
    for place, (run, points, _) in zip(places, found, strict=True):
        by_seed.setdefault(run.seed, []).append(np.interp(grid, place, points.value))
    values = np.array([np.mean(same, axis=0) for same in by_seed.values()])
    mean, low, high = values.mean(axis=0), None, None
    if len(values) > 1:
        std = values.std(axis=0, ddof=1)
        low, high = mean - std, mean + std
    x = grid if axis == "iteration" else np.mean(xs, axis=0)
    return ArmCurve(arm.letter, arm.title, x, mean, low, high, len(values), is_pointwise)


def order_chart_metrics(metrics: Iterable[Metric]) -> list[Metric]:
    """Metrics in the order of their charts: what tells most first, counts last."""
    ranks = {metric: rank for rank, metric in enumerate(CHARTED)}
    return sorted(order_metrics(metrics), key=lambda metric: ranks.get(metric, len(ranks)))


def read_values_at(
    points: Mapping[tuple[str, Metric], Points], timelines: Mapping[str, Timeline], axis: str, x: float
) -> dict[str, dict[Metric, MetricValue]]:
    """The values nearest to a place on an axis, by run and metric; a run that has not come so far has none."""
    found: dict[str, dict[Metric, MetricValue]] = {}
    for (run_id, metric), own in points.items():
        xs = timelines[run_id].place(own, axis)
        value = ArmCurve("", "", xs, own.value, None, None, 1, False).find_value(x)
        if value is not None:
            found.setdefault(run_id, {})[metric] = MetricValue(value, None)
    return found
