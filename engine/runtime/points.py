"""A run's metrics as points of a tracker: names, and the axes that they are drawn over. Pure.

The numbers of a whole stage are drawn over models, as ``models/agree/tau_previous``: step t is what M_t did. What a
training reports step by step is drawn over its own steps, as ``train/M2/loss``, and preference trainings also over all
steps of the run, as ``train/loss``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from db.labels import find_model_name
from db.rows import RunMetric, StageRow

_FORBIDDEN = re.compile(r"[^\w.-]+")
_PART = re.compile(r"\((.+)\)$")
_SFT_ITERATION = 0


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a tracker's series; ``axis`` names what ``step`` counts, ``at`` is in seconds since the epoch."""

    name: str
    axis: str
    step: int
    value: float
    at: float


def build_points(metrics: Iterable[RunMetric], stages: Sequence[StageRow]) -> list[Point]:
    """The points of these metrics, in their order."""
    offsets = _count_earlier_steps(stages)
    return [point for metric in metrics for point in _build(metric, offsets)]


def _build(metric: RunMetric, offsets: Mapping[str, int]) -> list[Point]:
    model = find_model_name(metric.label) or f"M{metric.iteration}"
    name = _FORBIDDEN.sub(
        "_", metric.name.replace("/", ".")
    )  # a tracker keeps series as files: none is a folder of another
    if metric.step == 0:
        part = _PART.search(metric.label) if metric.stage != "train" else None
        stage = metric.stage if part is None else f"{metric.stage}.{_FORBIDDEN.sub('_', part[1])}"
        return [Point(f"models/{stage}/{name}", "models/index", int(model[1:]), metric.value, metric.at)]
    own = f"{metric.stage}/{model}"
    points = [Point(f"{own}/{name}", f"{own}/step", metric.step, metric.value, metric.at)]
    if metric.label in offsets:
        step = offsets[metric.label] + metric.step
        points.append(Point(f"{metric.stage}/{name}", f"{metric.stage}/step", step, metric.value, metric.at))
    return points


def _count_earlier_steps(stages: Sequence[StageRow]) -> dict[str, int]:
    """The optimiser steps before each preference training, by its label: earlier ones are over by then."""
    offsets, n_steps = {}, 0
    for stage in stages:
        if stage.name == "train" and stage.iteration > _SFT_ITERATION:
            offsets[stage.label] = n_steps
            n_steps += stage.n_total or 0
    return offsets
