"""Points of metrics as numpy arrays, and where each lies on the four x axes that all charts share.

Pure: rows and columns in, arrays out; no store, no Textual. On every axis the models M0, M1, ... stand at fixed places
and a training leads from one to the next, so that a loss and an accuracy can stand over one another:

step        optimiser updates, counted over the trainings of all iterations
iteration   M_t at t; step s of n in the training of iteration t at t + s/n
tokens      sampled, scored and trained, up to there; evaluations aside, since they make no model
wall        seconds since the first stage began
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cream_tui.results import find_evaluated_model
from db.rows import StageRow
from db.run_series import SeriesColumns, SeriesInfo

AXES = ("step", "iteration", "tokens", "wall")
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Points:
    """Points of one series by position of the stage in the plan and step; ``cursor`` is where a later read goes on."""

    position: Ints
    iteration: Ints
    step: Ints
    value: Floats
    at: Floats
    cursor: int

    def __len__(self) -> int:
        return len(self.value)

    def take(self, places: Ints) -> Points:
        """The points at these places."""
        return Points(
            self.position[places],
            self.iteration[places],
            self.step[places],
            self.value[places],
            self.at[places],
            self.cursor,
        )


def build_points(columns: SeriesColumns) -> Points:
    """The columns as arrays."""
    return Points(
        np.array(columns.position, dtype=np.int64),
        np.array(columns.iteration, dtype=np.int64),
        np.array(columns.step, dtype=np.int64),
        np.array(columns.value, dtype=np.float64),
        np.array(columns.at, dtype=np.float64),
        columns.cursor,
    )


def merge_points(old: Points | None, new: SeriesColumns) -> Points:
    """The points with what a later read brought; a step that comes again takes the place of the old one."""
    if old is None or len(old) == 0:
        return build_points(new)
    if len(new) == 0:
        return old
    added = build_points(new)
    joined = Points(
        np.concatenate([old.position, added.position]),
        np.concatenate([old.iteration, added.iteration]),
        np.concatenate([old.step, added.step]),
        np.concatenate([old.value, added.value]),
        np.concatenate([old.at, added.at]),
        max(old.cursor, added.cursor),
    )
    if (added.position[0], added.step[0]) > (old.position[-1], old.step[-1]):
        return joined
    order = np.lexsort((np.arange(len(joined)), joined.step, joined.position))
    is_last = np.ones(len(order), dtype=bool)
    is_last[:-1] = (np.diff(joined.position[order]) != 0) | (np.diff(joined.step[order]) != 0)
    return joined.take(order[is_last])


@dataclass(frozen=True, slots=True)
class StageSpan:
    """Where a stage lies on each axis: its steps in (``low``, ``high``]; the two are equal for all but trainings."""

    position: int
    iteration: int
    name: str
    label: str
    n_steps: int
    low: Mapping[str, float]
    high: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The places of a run's stages and models on the axes.

    Attributes:
        spans: By position in the plan.
        models: For M0, M1, ... as far as they exist or are in training, their places by axis.
        started_at: Origin of the wall axis, seconds since the epoch; None before anything began.
    ended_at: When the last stage ended so far.
    """

    spans: Mapping[int, StageSpan]
    models: tuple[Mapping[str, float], ...]
    started_at: float | None
    ended_at: float | None = None

    def place(self, points: Points, axis: str) -> Floats:
        """The x of each point."""
        if axis == "wall":
            return np.asarray(points.at - (self.started_at or 0.0))
        n = max([*self.spans, -1]) + 1
        low, width, n_steps = np.zeros(n + 1), np.zeros(n + 1), np.ones(n + 1)
        for position, span in self.spans.items():
            low[position] = span.low[axis]
            width[position] = span.high[axis] - span.low[axis]
            n_steps[position] = max(1, span.n_steps)
        where = np.minimum(points.position, n)
        # A training's step 0 holds what is known of it as a whole: it stands where the model is done.
        share = np.where(points.step > 0, points.step / n_steps[where], 1.0)
        return np.asarray(low[where] + width[where] * share)

    def list_marks(self, axis: str) -> list[tuple[float, str]]:
        """The places of the models that stand apart, with their names."""
        marks: dict[float, str] = {}
        for index, model in enumerate(self.models):
            if axis in model:
                marks[model[axis]] = f"M{index}"
        return sorted(marks.items())

    def find_end(self, axis: str) -> float:
        """Where the axis ends as far as the stages tell: at the model that is done or in training."""
        end = max((model[axis] for model in self.models if axis in model), default=0.0)
        if axis == "wall" and self.started_at is not None and self.ended_at is not None:
            end = max(end, self.ended_at - self.started_at)
        return end

    def find_iteration(self, axis: str, x: float) -> int:
        """The iteration in which an x lies: that of the last model at or before it."""
        before = [index for index, model in enumerate(self.models) if axis in model and model[axis] <= x]
        return max(before, default=0)

    def find_step(self, axis: str, x: float) -> tuple[StageSpan, int] | None:
        """The training in which an x lies, and its nearest step; None outside of any, and on the wall axis."""
        for span in self.spans.values():
            low, high = span.low.get(axis), span.high.get(axis)
            if span.name == "train" and low is not None and high is not None and low < x <= high:
                return span, max(1, round(span.n_steps * (x - low) / (high - low)))
        return None


def build_timeline(
    stages: Sequence[StageRow],
    series: Sequence[SeriesInfo] = (),
    trained_tokens: Mapping[int, float] | None = None,
) -> Timeline:
    """The places of these stages.

    Args:
        stages: The run's, in the order of its plan.
        series: What there are metrics of: says how many steps a training has where its counters do not.
        trained_tokens: By iteration, where the train stage itself counts none.
    """
    trained_tokens = trained_tokens or {}
    seen = {info.position: 0 for info in series}
    for info in series:
        seen[info.position] = max(seen[info.position], info.last_step)
    starts = [stage.started_at for stage in stages if stage.started_at is not None]
    origin = min(starts, default=None)
    trainings = [stage for stage in stages if stage.name == "train"]
    models: list[dict[str, float]] = [{"step": 0.0, "iteration": 0.0, "tokens": 0.0, "wall": 0.0}]
    if trainings and trainings[0].iteration > 0:
        models.append({**models[0], "iteration": 1.0})
    spans: dict[int, StageSpan] = {}
    tokens = 0.0
    for stage in stages:
        if stage.name == "train":
            n_steps = max(seen.get(stage.position, 0), stage.n_done, stage.n_total or 0)
            low = _place_model(models, stage.iteration) | {"tokens": tokens}
            own = stage.n_tokens if stage.n_tokens is not None else trained_tokens.get(stage.iteration, 0.0)
            tokens += own if n_steps else 0.0
            high = {"step": low["step"] + n_steps, "iteration": stage.iteration + 1.0, "tokens": tokens}
            is_begun = n_steps > 0 or stage.state == "done"
            if is_begun and len(models) == stage.iteration + 1:
                ended = stage.finished_at if stage.state == "done" else None
                wall = {} if ended is None or origin is None else {"wall": ended - origin}
                models.append({**high, **wall})
        else:
            n_steps = 0
            index = int(find_evaluated_model(stage)[1:]) if stage.name == "evaluate" else stage.iteration
            low = high = _place_model(models, index)
            tokens += 0 if stage.name == "evaluate" else stage.n_tokens or 0
        spans[stage.position] = StageSpan(
            stage.position, stage.iteration, stage.name, stage.label, n_steps, low=low, high=high
        )
    ends = [stage.finished_at for stage in stages if stage.finished_at is not None]
    return Timeline(spans, tuple(models), origin, max(ends, default=None))


def count_trained_tokens(measures: Mapping[int, Mapping[str, float]], epochs: float) -> dict[int, float]:
    """Response tokens that each iteration's training goes over: of its pairs, both sides, as often as it does.

    Args:
        measures: By iteration, the metrics of its pairs.
        epochs: Passes over the pairs.
    """
    wanted = ("n_pairs", "chosen_n_tokens", "rejected_n_tokens")
    return {
        iteration: epochs * found["n_pairs"] * (found["chosen_n_tokens"] + found["rejected_n_tokens"])
        for iteration, found in measures.items()
        if all(name in found for name in wanted)
    }


def find_epochs(config: Mapping[str, Any]) -> float:
    """``training.epochs`` of a resolved configuration; 1 where it has none."""
    training = config.get("training")
    epochs = training.get("epochs") if isinstance(training, Mapping) else None
    return float(epochs) if isinstance(epochs, (int, float)) else 1.0


def compute_wilson_bounds(n_right: Floats, n: Floats) -> tuple[Floats, Floats]:
    """95 % Wilson intervals of these shares, element by element."""
    from engine.method.statistics import compute_wilson_interval

    bounds = [compute_wilson_interval(int(right), int(total)) for right, total in zip(n_right, n, strict=True)]
    return np.array([low for low, _ in bounds], dtype=float), np.array([high for _, high in bounds], dtype=float)


def _place_model(models: Sequence[Mapping[str, float]], index: int) -> dict[str, float]:
    """Where a model stands; one that does not exist yet stands behind the last."""
    last = {axis: models[min(index, len(models) - 1)].get(axis, 0.0) for axis in ("step", "iteration", "tokens")}
    return {**last, "iteration": float(index)}
