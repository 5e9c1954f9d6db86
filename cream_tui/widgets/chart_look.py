"""How all charts of a run are looked at: one x axis, one cursor, one window, one smoothing; a scale for each.

Knows panels and the chart widget. Must not know which charts are in sight.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cream_tui.charts.axes import Guide, Mark
from cream_tui.charts.chart import Chart
from cream_tui.charts.scales import Axis, Range
from cream_tui.charts.series import Series, smooth
from cream_tui.views.panels import DrawnLine, Panel
from cream_tui.views.series import AXES, Timeline

SMOOTHINGS = (0.0, 0.3, 0.6, 0.8, 0.9, 0.95, 0.99)
SCALES = ((False, False, ""), (True, False, "log y"), (False, True, "log x"), (True, True, "log x and y"))
_GROWTH = 1.2
X_AXES = {
    "step": Axis("step", min_step=1),
    "iteration": Axis("model", prefix="M", min_step=1),
    "tokens": Axis("tokens"),
    "wall": Axis("time", kind="duration"),
}


@dataclass(slots=True)
class ChartLook:
    """Attributes:
    window: Range of x that all charts show; None is all of it.
    scales: By panel, a place in SCALES.
    """

    axis: str = AXES[0]
    smoothing: float = 0.0
    cursor_x: float | None = None
    window: Range | None = None
    scales: dict[str, int] = field(default_factory=dict)
    _ends: dict[str, float] = field(default_factory=dict)

    def forget_run(self) -> None:
        """Another run: its axes have other lengths."""
        self.cursor_x = self.window = None
        self._ends.clear()

    def save(self) -> dict[str, Any]:
        """What is to be found again, as JSON."""
        return {"axis": self.axis, "smoothing": self.smoothing}

    def restore(self, view: Mapping[str, Any]) -> None:
        """Take up what ``save`` gave; nonsense is ignored."""
        self.set_axis(str(view.get("axis")))
        smoothing = view.get("smoothing")
        if isinstance(smoothing, (int, float)) and 0 <= smoothing < 1:
            self.smoothing = float(smoothing)

    def set_axis(self, axis: str) -> None:
        """Take an x axis; cursor and window have no place on it."""
        if axis in AXES:
            self.axis = axis
            self.cursor_x = self.window = None

    def smooth(self, step: int) -> None:
        """Smooth more or less."""
        nearest = min(range(len(SMOOTHINGS)), key=lambda k: abs(SMOOTHINGS[k] - self.smoothing))
        self.smoothing = SMOOTHINGS[max(0, min(len(SMOOTHINGS) - 1, nearest + step))]

    def set_window(self, window: Range | None) -> None:
        """Show this range; as much as all of it is all of it."""
        end = self._ends.get(self.axis, 0.0)
        self.window = None if window is None or window[1] - window[0] >= 0.999 * end else window

    def fit(self, timeline: Timeline, drawn: Iterable[DrawnLine]) -> None:
        """Let the x axis hold these lines: the same for all charts, so that one cursor means one place.

        Its end moves in steps, not with every point.
        """
        known = timeline.find_end(self.axis)
        end = max([known, *(float(line.xs[-1]) for line in drawn)])
        if end > self._ends.get(self.axis, 0.0):
            is_first = self.axis not in self._ends
            self._ends[self.axis] = end if is_first or end <= known else end * _GROWTH

    def draw(self, chart: Chart, panel: Panel, drawn: Sequence[DrawnLine], timeline: Timeline) -> None:
        """Set a chart to show a panel's lines."""
        is_y_log, is_x_log, scale_name = SCALES[self.scales.get(panel.key, 0)]
        extent = (0.0, self._ends[self.axis]) if self.axis in self._ends else None
        chart.title = f"{panel.title}  {scale_name}".rstrip()
        chart.empty_text = panel.empty
        chart.x_axis = X_AXES[self.axis]
        chart.x_log, chart.y_log = is_x_log, is_y_log
        chart.y_range = None if is_y_log else panel.y_range
        chart.x_window = self.window or (None if is_x_log else extent)
        chart.cursor_x = self.cursor_x
        chart.set_marks([Mark(x, name) for x, name in timeline.list_marks(self.axis)])
        chart.set_guides([Guide(y, label) for y, label in panel.guides])
        chart.set_series([_build_series(panel, line, self.smoothing) for line in drawn])


def _build_series(panel: Panel, line: DrawnLine, smoothing: float) -> Series:
    ys = line.points.value
    if not panel.is_by_step:
        return Series(line.line.label, line.xs, ys, line.low, line.high, is_points=True)
    # Trainings of two iterations are two curves: a gap parts them, and none is smoothed into the next.
    ends = np.flatnonzero(np.diff(line.points.position)) + 1
    smooth_ys = None
    if smoothing > 0:
        smooth_ys = np.concatenate([smooth(part, smoothing) for part in np.split(ys, ends)])
        smooth_ys = np.insert(smooth_ys, ends, np.nan)
    xs, ys = np.insert(line.xs, ends, line.xs[ends]), np.insert(ys, ends, np.nan)
    return Series(line.line.label, xs, ys, smooth_ys=smooth_ys)
