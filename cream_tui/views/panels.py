"""The charts of a run: which lines each has, and the lines' points, bounds and figures.

Pure: series in, arrays out; no store, no Textual. A panel names the metrics that it needs, so that only those of the
visible ones are read. Quantities on different scales never share a panel: margins (rewards, nats, against M0) stay away
from z (beta-scaled, against the DPO reference).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cream_tui.results import NORMAL_95
from cream_tui.units import format_compact
from cream_tui.views.series import Floats, Ints, Points, Timeline, compute_wilson_bounds
from db.run_series import SeriesInfo

Key = tuple[str, str]  # stage and metric
HISTOGRAMS = {"taus-previous": "previous", "taus-anchor": "anchor"}  # by key, which ranking tau compares with
_TASK_PREFIX = "accuracy/"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a panel.

    Attributes:
        label: What the legend calls it.
        error: Metric with the standard error of each value: bounds are 1.96 of it to either side.
        right, total: Metrics whose quotient the value is, those of ``total`` added up: bounds are Wilson's.
    """

    label: str
    stage: str
    metric: str
    error: str = ""
    right: str = ""
    total: tuple[str, ...] = ()

    @property
    def needed(self) -> tuple[Key, ...]:
        """The series that it is drawn from, its own first."""
        names = [self.metric, *(name for name in (self.error, self.right, *self.total) if name)]
        return tuple((self.stage, name) for name in names)


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart.

    Attributes:
        y_range: Fixed ends of the y axis; None fits the values.
        guides: Values with a label to draw a line at.
        note: What a reader should know of the numbers; stands under the chart where it has the whole screen.
        empty: What stands in its place as long as there are no values.
        pair_filter: Which of the pairs behind a point are opened.
    """

    key: str
    title: str
    lines: tuple[Line, ...]
    y_range: tuple[float, float] | None = None
    guides: tuple[tuple[float, str], ...] = ()
    note: str = ""
    empty: str = "no values yet"
    pair_filter: str = ""

    @property
    def is_by_step(self) -> bool:
        """Whether its values come step by step: those are smoothed."""
        return any(line.stage == "train" for line in self.lines)

    @property
    def needed(self) -> tuple[Key, ...]:
        """The series that it is drawn from."""
        return tuple(key for line in self.lines for key in line.needed)


@dataclass(frozen=True, slots=True)
class DrawnLine:
    """A line with its places on an axis, in their order; ``low`` and ``high`` are its bounds, None without any."""

    line: Line
    points: Points
    xs: Floats
    low: Floats | None = None
    high: Floats | None = None


_LOSS = Panel("loss", "loss", (Line("loss", "train", "loss"),), empty="no training yet")
_Z = Panel(
    "z",
    "z and its target logit(C)",
    (Line("z", "train", "z"), Line("target", "train", "target_z")),
    note="z is the beta-scaled log-ratio difference in the loss; training leads it towards logit(C). Where C is 0 or 1 "
    "there is no target.",
    empty="no preference training yet",
)
_LOGPROB = Panel(
    "logprob",
    "log-prob of chosen and rejected",
    (Line("chosen", "train", "chosen_logprob"), Line("rejected", "train", "rejected_logprob")),
    note="Summed over a response's tokens, mean of the batch, nats.",
    empty="no preference training yet",
)
_TAU = Panel(
    "tau",
    "tau of the rankings",
    (
        Line("previous", "agree", "tau_previous", error="tau_previous_se"),
        Line("anchor", "agree", "tau_anchor", error="tau_anchor_se"),
    ),
    y_range=(-1.0, 1.0),
    guides=((0.0, "chance"),),
    note="Kendall's tau to the previous model and to the base model's likelihood (the anchor), mean over prompts with "
    "1.96 standard errors. At M1 a likelihood of M0 stands in for the previous model's reward.",
    empty="no rankings compared yet",
)
_CONFIDENCE = Panel(
    "confidence",
    "C and consistency",
    (Line("C in the loss", "pair", "confidence"), Line("consistency", "agree", "consistency_rate")),
    y_range=(0.0, 1.0),
    guides=((0.5, "a coin"),),
    note="consistency = (tau to the previous model + 1) / 2; C is what the method makes of it, 1 for plain DPO.",
    empty="no pairs yet",
)
_LABELS = Panel(
    "labels",
    "labels right",
    (Line("right", "pair", "label_accuracy", right="n_right", total=("n_right", "n_inverted")),),
    y_range=(0.0, 1.0),
    guides=((0.5, "a coin"),),
    note="Share of right labels among pairs whose sides differ in correctness, with Wilson's 95 % interval.",
    empty="no gold answers: nothing is known of the labels",
    pair_filter="label:wrong",
)
_LENGTHS = Panel(
    "lengths",
    "tokens of chosen and rejected",
    (Line("chosen", "pair", "chosen_n_tokens"), Line("rejected", "pair", "rejected_n_tokens")),
    note="Mean number of tokens of a pair's sides.",
    empty="no pairs yet",
)
_TAU_PREVIOUS, _TAU_ANCHOR = (
    Panel(
        key,
        f"tau to {against}",
        (),
        note=f"Prompts by Kendall's tau of their rewards to {ranking}. The line over the bars is what independent "
        "rankings would give, each prompt counted with its own number of distinct responses. Left and right choose a "
        "bar, enter opens its pairs.",
        empty="no rankings compared yet",
    )
    for (key, against), ranking in zip(
        HISTOGRAMS.items(), ("the previous model's", "the base model's likelihood"), strict=True
    )
)


def build_accuracy_panel(series: Iterable[SeriesInfo]) -> Panel:
    """Accuracy with an interval, a line for each task."""
    names = dict.fromkeys(info.name for info in series if info.stage == "evaluate")
    tasks = [name.removeprefix(_TASK_PREFIX) for name in names if name.startswith(_TASK_PREFIX)]
    lines = [
        Line(task, "evaluate", _TASK_PREFIX + task, right=f"n_correct/{task}", total=(f"n_items/{task}",))
        for task in tasks
    ]
    return Panel(
        "accuracy",
        "accuracy",
        tuple(lines) or (Line("accuracy", "evaluate", "accuracy"),),
        note="Of greedy answers to held-out items, with Wilson's 95 % interval.",
        empty="no evaluation yet",
    )


def list_panels(series: Iterable[SeriesInfo] = (), picked: Iterable[str] = ()) -> list[Panel]:
    """The panels of a run in their order, those that a person picked last; their keys depend on the picked ones alone.

    Args:
        series: What the run has metrics of: names its tasks.
        picked: Keys of other metrics, as ``name_metric`` gives them.
    """
    panels = [
        _LOSS,
        _Z,
        build_accuracy_panel(series),
        _TAU,
        _LOGPROB,
        _CONFIDENCE,
        _LABELS,
        _LENGTHS,
        _TAU_PREVIOUS,
        _TAU_ANCHOR,
    ]
    for key in picked:
        stage, _, name = key.partition(":")
        panels.append(Panel(key, f"{name} ({stage})", (Line(name, stage, name),)))
    return panels


def name_metric(stage: str, metric: str) -> str:
    """The key of a panel with one metric."""
    return f"{stage}:{metric}"


def list_needed(panels: Iterable[Panel]) -> frozenset[Key]:
    """The series that these panels are drawn from."""
    return frozenset(key for panel in panels for key in panel.needed)


def draw_panel(panel: Panel, points: Mapping[Key, Points], timeline: Timeline, axis: str) -> list[DrawnLine]:
    """The panel's lines that have points, in its order."""
    drawn = []
    for line in panel.lines:
        found = points.get((line.stage, line.metric))
        if found is None or len(found) == 0:
            continue
        xs = timeline.place(found, axis)
        low, high = _find_bounds(line, found, points)
        if np.any(np.diff(xs) < 0):  # by the clock a shared stage may come before an own one
            order = np.argsort(xs, kind="stable")
            found, xs = found.take(order), xs[order]
            low, high = (None if bound is None else bound[order] for bound in (low, high))
        drawn.append(DrawnLine(line, found, xs, low, high))
    return drawn


def find_point(drawn: DrawnLine, x: float) -> int:
    """The place of the point nearest to an x; of equally near ones the last."""
    right = int(np.searchsorted(drawn.xs, x, side="right"))
    if right == 0:
        return 0
    if right == len(drawn.xs):
        return right - 1
    return right - 1 if x - drawn.xs[right - 1] <= drawn.xs[right] - x else right


def name_point(drawn: DrawnLine, place: int, timeline: Timeline) -> str:
    """Where a point lies, in words: M2 step 12/38, or the model alone where it is no training's."""
    position, step = int(drawn.points.position[place]), int(drawn.points.step[place])
    span = timeline.spans.get(position)
    if span is None:
        return f"step {step}"
    if span.name == "train":
        return f"M{span.iteration + 1} step {step}/{span.n_steps}" if step else f"M{span.iteration + 1}"
    return next((word for word in span.label.split() if word[0] == "M"), f"M{span.iteration}")


def find_pair_iteration(drawn: DrawnLine, place: int, timeline: Timeline) -> int:
    """The iteration whose pairs stand behind a point: for an accuracy those that its model was trained on; 0: none."""
    span = timeline.spans.get(int(drawn.points.position[place]))
    if span is None:
        return 0
    if span.name != "evaluate":
        return span.iteration
    model = name_point(drawn, place, timeline)
    return int(model[1:]) - 1 if model[1:].isdigit() else 0


@dataclass(frozen=True, slots=True)
class Figures:
    """A line in numbers: its last, least and greatest value with their places, and the value at the cursor."""

    label: str
    n: int
    last: float
    last_at: str
    least: float
    least_at: str
    greatest: float
    greatest_at: str
    at_cursor: float | None = None
    bounds_at_cursor: tuple[float, float] | None = None
    cursor_at: str = ""


def list_figures(drawn: Sequence[DrawnLine], timeline: Timeline, cursor: float | None) -> list[Figures]:
    """The lines in numbers."""
    found = []
    for line in drawn:
        values = line.points.value
        last, least, greatest = len(values) - 1, int(np.argmin(values)), int(np.argmax(values))
        here = None if cursor is None else find_point(line, cursor)
        bounds = None
        if here is not None and line.low is not None and line.high is not None:
            bounds = (float(line.low[here]), float(line.high[here]))
        found.append(
            Figures(
                line.line.label,
                len(values),
                float(values[last]),
                name_point(line, last, timeline),
                float(values[least]),
                name_point(line, least, timeline),
                float(values[greatest]),
                name_point(line, greatest, timeline),
                None if here is None else float(values[here]),
                bounds,
                "" if here is None else name_point(line, here, timeline),
            )
        )
    return found


def read_out(panel: Panel, drawn: Sequence[DrawnLine], timeline: Timeline, cursor: float) -> str:
    """The panel's values at the cursor in one line."""
    figures = list_figures(drawn, timeline, cursor)
    if not figures:
        return ""
    values = "  ".join(f"{found.label} {format_compact(found.at_cursor or 0.0)}" for found in figures)
    return f"{figures[0].cursor_at}: {values}"


def _find_bounds(line: Line, found: Points, points: Mapping[Key, Points]) -> tuple[Floats | None, Floats | None]:
    if line.error:
        errors = _align(found, points.get((line.stage, line.error)))
        return found.value - NORMAL_95 * errors, found.value + NORMAL_95 * errors
    if not line.right:
        return None, None
    right = _align(found, points.get((line.stage, line.right)))
    total = np.sum([_align(found, points.get((line.stage, name))) for name in line.total], axis=0)
    is_known = np.isfinite(right) & np.isfinite(total)
    low, high = np.full(len(found), np.nan), np.full(len(found), np.nan)
    low[is_known], high[is_known] = compute_wilson_bounds(right[is_known], total[is_known])
    return low, high


def _align(found: Points, other: Points | None) -> Floats:
    """The other series' values at the same stages and steps; not a number where it has none."""
    values = np.full(len(found), np.nan)
    if other is not None and len(other):
        known = dict(zip(_list_keys(other.position, other.step), other.value, strict=True))
        for place, key in enumerate(_list_keys(found.position, found.step)):
            values[place] = known.get(key, np.nan)
    return values


def _list_keys(position: Ints, step: Ints) -> list[tuple[int, int]]:
    return list(zip(position.tolist(), step.tolist(), strict=True))
