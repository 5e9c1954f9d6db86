"""The charts of a comparison, a page at a time: one metric each, a line for every arm, one cursor and one window.

Knows arms, curves and the chart widget. Must not know the store. Which metrics are in sight decides what the screen
reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message

from cream_tui.charts.axes import Mark
from cream_tui.charts.chart import Chart
from cream_tui.charts.scales import Range
from cream_tui.charts.series import Series
from cream_tui.views.compare import Metric
from cream_tui.views.compare_selection import N_COLOURS, Selection
from cream_tui.views.compare_series import ArmCurve, build_arm_curve, is_pointwise
from cream_tui.views.compare_text import title_metric
from cream_tui.views.series import AXES, Points, Timeline
from cream_tui.widgets.chart_look import SCALES, SMOOTHINGS, X_AXES

# Below the first width one chart, below the second three.
_WIDTHS = ((100, 1), (160, 3))
_MOST_CHARTS = 4
_GROWTH = 1.2


class CompareCharts(Horizontal):
    """A row of charts."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "step(1)", "Next chart", show=False, id="compare.next_chart"),
        Binding("h", "step(-1)", "Previous chart", show=False, id="compare.previous_chart"),
        Binding("pagedown", "turn(1)", "Next charts", show=False, id="compare.next_page"),
        Binding("pageup", "turn(-1)", "Previous charts", show=False, id="compare.previous_page"),
    ]

    class Turned(Message):
        """Other metrics are in sight."""

    class Looked(Message):
        """Cursor, window, scale, smoothing, axis or focus is another."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.axis = AXES[0]
        self.smoothing = 0.0
        self.cursor_x: float | None = None
        self.is_zoomed = False
        self._window: Range | None = None
        self._scales: dict[Metric, int] = {}
        self._metrics: tuple[Metric, ...] = ()
        self._first = 0
        self._charts = [Chart(classes="first-focus")]
        self._drawn: dict[Metric, list[ArmCurve]] = {}
        self._ends: dict[str, float] = {}
        self._selection: Selection | None = None
        self._points: Mapping[tuple[str, Metric], Points] = {}
        self._timelines: Mapping[str, Timeline] = {}

    def compose(self) -> ComposeResult:
        """As many charts as fit; more come where there is room for them."""
        self._charts += [Chart() for _ in range(self.n_shown - len(self._charts))]
        yield from self._charts

    def on_mount(self) -> None:
        """The first page."""
        self._arrange()

    def on_resize(self) -> None:
        """As many charts as fit."""
        self._arrange()

    def on_descendant_focus(self) -> None:
        """Another chart's values are read out."""
        self.post_message(self.Looked())

    # What is in sight ------------------------------------------------------------------------------------------------

    @property
    def n_shown(self) -> int:
        """Charts side by side."""
        if self.is_zoomed:
            return 1
        width = self.size.width or self.app.size.width
        return next((n for limit, n in _WIDTHS if width < limit), _MOST_CHARTS)

    @property
    def shown_metrics(self) -> tuple[Metric, ...]:
        """The metrics in sight."""
        return self._metrics[self._first : self._first + self.n_shown]

    @property
    def focused_metric(self) -> Metric | None:
        """The metric of the chart with the focus, else of the first."""
        shown = self.shown_metrics
        found = (metric for metric, chart in zip(shown, self._charts, strict=False) if chart.has_focus)
        return next(found, shown[0] if shown else None)

    @property
    def focused_chart(self) -> Chart:
        """The chart with the focus, else the first."""
        return next((chart for chart in self._charts if chart.has_focus), self._charts[0])

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All metrics that there is a chart of, in their order."""
        return self._metrics

    @property
    def first(self) -> int:
        """The place of the first one in sight."""
        return self._first

    def set_metrics(self, metrics: Sequence[Metric]) -> None:
        """Offer charts of these; the first in sight stays there if it is among them."""
        if tuple(metrics) == self._metrics:
            return
        first = self.shown_metrics[0] if self.shown_metrics else None
        self._metrics = tuple(metrics)
        self._first = self._metrics.index(first) if first in self._metrics else 0
        self._settle()

    def show_metric(self, metric: Metric) -> None:
        """Bring a metric into sight and give its chart the focus."""
        if metric not in self._metrics:
            return
        if metric not in self.shown_metrics:
            self._first = self._metrics.index(metric)
            self._settle()
        place = self.shown_metrics.index(metric)
        self._charts[place].focus()

    def action_step(self, step: int) -> None:
        """Go to a neighbour, on other pages too."""
        metric = self.focused_metric
        if metric is not None:
            place = self._metrics.index(metric) + step
            if 0 <= place < len(self._metrics):
                if self._metrics[place] not in self.shown_metrics:
                    self._first = max(0, self._first + step)
                    self._settle()
                self.show_metric(self._metrics[place])

    def action_turn(self, pages: int) -> None:
        """Turn the page, around the ends."""
        n = self.n_shown
        n_pages = max(1, -(-len(self._metrics) // n))
        self._first = (self._first // n + pages) % n_pages * n
        self._settle()

    def toggle_zoom(self) -> None:
        """Give the focused chart the whole row, or all of them theirs again."""
        metric = self.focused_metric
        self.is_zoomed = not self.is_zoomed
        if metric is not None:
            self._first = self._metrics.index(metric)
        self._settle()
        self._charts[0].focus()

    def _settle(self) -> None:
        self._first = max(0, min(self._first, len(self._metrics) - self.n_shown))
        self._arrange()
        self.post_message(self.Turned())

    def _arrange(self) -> None:
        n = max(1, min(self.n_shown, len(self._metrics)))
        if self.is_mounted and n > len(self._charts):
            more = [Chart() for _ in range(n - len(self._charts))]
            for chart in more:
                chart.is_clipped = self._charts[0].is_clipped
            self._charts += more
            self.mount(*more)
        for k, chart in enumerate(self._charts):
            chart.display = k < n
        self.draw()

    # How it is looked at ---------------------------------------------------------------------------------------------

    def next_axis(self) -> None:
        """Take the next x axis; cursor and window have no place on it."""
        self.set_axis(AXES[(AXES.index(self.axis) + 1) % len(AXES)])

    def set_axis(self, axis: str) -> None:
        """Take an x axis."""
        if axis in AXES and axis != self.axis:
            self.axis = axis
            self.cursor_x = self._window = None
            self.draw()
            self.post_message(self.Turned())

    def smooth(self, step: int) -> None:
        """Smooth more or less."""
        place = min(range(len(SMOOTHINGS)), key=lambda k: abs(SMOOTHINGS[k] - self.smoothing))
        self.smoothing = SMOOTHINGS[max(0, min(len(SMOOTHINGS) - 1, place + step))]
        self._look()

    def next_scale(self) -> None:
        """Take the next scale for the focused chart."""
        metric = self.focused_metric
        if metric is not None:
            self._scales[metric] = (self._scales.get(metric, 0) + 1) % len(SCALES)
            self._look()

    def toggle_outliers(self) -> bool:
        """Leave outliers out of all charts, or not; whether they are left out now."""
        is_clipped = not self._charts[0].is_clipped
        for chart in self._charts:
            chart.is_clipped = is_clipped
        return is_clipped

    def clear_cursor(self) -> bool:
        """Take the cursor away; whether there was one."""
        had_cursor, self.cursor_x = self.cursor_x is not None, None
        self._look()
        return had_cursor

    @property
    def scale_name(self) -> str:
        """Of the focused chart."""
        metric = self.focused_metric
        return (SCALES[self._scales.get(metric, 0)][2] if metric is not None else "") or "linear"

    @property
    def is_magnified(self) -> bool:
        """Whether the charts show a part of their x axis."""
        return self._window is not None

    @property
    def cursor_place(self) -> str:
        """Where the cursor stands, as the axis writes it."""
        return "" if self.cursor_x is None else X_AXES[self.axis].format_value(self.cursor_x)

    def _look(self) -> None:
        self.draw()
        self.post_message(self.Looked())

    def on_chart_cursor_moved(self, event: Chart.CursorMoved) -> None:
        """All charts stand there."""
        event.stop()
        self.cursor_x = event.x
        for chart in self._charts:
            chart.cursor_x = event.x
        self.post_message(self.Looked())

    def on_chart_window_changed(self, event: Chart.WindowChanged) -> None:
        """All charts show that."""
        event.stop()
        self._window = event.window
        self._look()

    # Drawing ---------------------------------------------------------------------------------------------------------

    def show_curves(
        self, selection: Selection, points: Mapping[tuple[str, Metric], Points], timelines: Mapping[str, Timeline]
    ) -> None:
        """Draw these, the models of the baseline marked."""
        self._selection, self._points, self._timelines = selection, points, timelines
        self.draw()

    def draw(self) -> None:
        """Draw what is in sight as it is looked at now."""
        selection = self._selection
        if selection is None or not self.is_mounted:
            return
        self._drawn = {metric: self._build_curves(metric, selection) for metric in self.shown_metrics}
        timeline = self._timelines.get(selection.baseline_run.run_id)
        marks = [Mark(x, name) for x, name in timeline.list_marks(self.axis)] if timeline is not None else []
        extent = self._find_extent()
        for metric, chart in zip(self.shown_metrics, self._charts, strict=False):
            is_y_log, is_x_log, scale = SCALES[self._scales.get(metric, 0)]
            curves = self._drawn[metric]
            chart.title = f"{title_metric(metric).removesuffix(' %')}  {scale}".rstrip()
            chart.x_axis = X_AXES[self.axis]
            chart.x_log, chart.y_log = is_x_log, is_y_log
            chart.smoothing = 0.0 if any(curve.is_points for curve in curves) else self.smoothing
            chart.x_window = self._window
            chart.cursor_x = self.cursor_x
            active = selection.current.letter
            chart.active_series = next((curve.title for curve in curves if curve.letter == active), "")
            chart.set_marks(marks)
            series = [_build_series(curve, selection.colours) for curve in curves]
            chart.set_series([_span(extent), *series] if series and extent is not None else series)

    def read_values(self, metric: Metric) -> list[tuple[ArmCurve, float | None]]:
        """The values at the cursor, of the arms that are drawn."""
        return [(curve, curve.find_value(self.cursor_x)) for curve in self._drawn.get(metric, ())]

    def _build_curves(self, metric: Metric, selection: Selection) -> list[ArmCurve]:
        own = {run_id: found for (run_id, known), found in self._points.items() if known == metric}
        by_model = is_pointwise(metric, list(own.values()))
        curves = [
            build_arm_curve(arm, own, self._timelines, axis=self.axis, is_pointwise=by_model)
            for arm in selection.arms
            if arm.letter not in selection.hidden
        ]
        return [curve for curve in curves if curve is not None]

    def _find_extent(self) -> Range | None:
        """The same for all charts, so that one cursor means one place."""
        models = [model.get(self.axis, 0.0) for timeline in self._timelines.values() for model in timeline.models]
        ends = [float(curve.xs[-1]) for curves in self._drawn.values() for curve in curves if len(curve.xs)]
        end, kept = max([*models, *ends], default=0.0), self._ends.get(self.axis)
        if kept is None or end < kept / _GROWTH:
            kept = end
        elif end > kept:  # in steps, so that a live run does not move the axis with every point
            kept = end if self.axis == "iteration" else end * _GROWTH
        self._ends[self.axis] = kept
        return (0.0, kept) if kept > 0 else None


def _build_series(curve: ArmCurve, colours: Mapping[str, int]) -> Series:
    return Series(
        curve.title,
        curve.xs,
        curve.ys,
        curve.low,
        curve.high,
        marker=curve.letter[-1],
        colour=colours[curve.letter],
        is_points=curve.is_points,
    )


def _span(extent: Range) -> Series:
    """Nothing to see: gives all charts the same x axis, so that one cursor and one window mean one place."""
    return Series("", np.array(extent), np.full(2, np.nan), is_faint=True, marker=" ", colour=N_COLOURS)
