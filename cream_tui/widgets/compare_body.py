"""The charts of a comparison with their panes, and the keys that say how both are looked at.

Knows the selection, what was read, and its parts. Must not know the store: it tells when something else is to be read.
"""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from cream_tui.readers.compare_reader import CompareData
from cream_tui.screens.dialogs import Choose
from cream_tui.views.compare import Metric
from cream_tui.views.compare_selection import Selection
from cream_tui.views.compare_series import CHARTED, order_chart_metrics
from cream_tui.views.compare_text import filter_metrics, list_names
from cream_tui.widgets.compare_charts import CompareCharts
from cream_tui.widgets.compare_panes import KINDS, ComparePanes, describe_look, read_out
from cream_tui.widgets.comparison_table import ComparisonTable

_N_FIRST_CHARTS = 3


class CompareBody(Vertical):
    """Charts above, panes below."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "next_kind", "Last, best, at the cursor", show=False, id="compare.kind"),
        Binding("u", "all_settings", "All settings, or those that differ", show=False, id="compare.settings"),
        Binding("slash", "search", "Filter", id="compare.filter"),
        Binding("m", "pick_metric", "Metrics", id="compare.metrics"),
        Binding("X", "next_axis", "X axis", show=False, id="compare.axis"),
        Binding("s", "next_scale", "Scale", show=False, id="compare.scale"),
        Binding("plus,equals_sign", "smooth(1)", "Smoother", show=False, id="compare.smoother"),
        Binding("minus", "smooth(-1)", "Less smooth", show=False, id="compare.rougher"),
        Binding("o", "outliers", "Leave outliers out, or not", show=False, id="compare.outliers"),
        Binding("z", "zoom", "One chart", show=False, id="compare.zoom"),
        Binding("tab", "next_pane(1)", "Next pane", show=False, id="compare.next_pane"),
        Binding("shift+tab", "next_pane(-1)", "Previous pane", show=False, id="compare.previous_pane"),
    ]

    class Turned(Message):
        """Something else is to be read."""

    class Looked(Message):
        """The same is looked at in another way."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.kind = next(iter(KINDS))
        self.charts = CompareCharts(id="compare-charts")
        self.charts.set_metrics(CHARTED[:_N_FIRST_CHARTS])
        self.panes = ComparePanes(id="compare-bottom")
        self._line = Static(id="compare-look")
        self._line_text = ""
        self._input = Input(placeholder="metrics whose name holds one of these words", id="compare-filter")
        self._selection: Selection | None = None
        self._data: CompareData | None = None
        self._is_grouped = True

    def compose(self) -> ComposeResult:
        """How it is looked at, the charts, the panes."""
        yield self._line
        yield self._input
        yield self.charts
        yield self.panes

    def show_data(self, selection: Selection, data: CompareData, *, is_grouped: bool) -> None:
        """Show these."""
        self._selection, self._data, self._is_grouped = selection, data, is_grouped
        if data.last is not None:
            self.charts.set_metrics(filter_metrics(order_chart_metrics(data.metrics), self._input.value))
        self.charts.show_curves(selection, data.points, data.timelines)
        self._show_panes()

    def _show_panes(self) -> None:
        if self._selection is not None and self._data is not None:
            if self._data.last is not None:
                self.panes.show_data(self._selection, self._data, self.charts, self.kind)
            line = describe_look(self._selection, self.charts, self._input.value, is_grouped=self._is_grouped)
            if line != self._line_text:  # a Static that is updated lays the screen out anew
                self._line_text = line
                self._line.update(Content(line))

    def read_out(self) -> Content:
        """The values of the chart with the focus."""
        return Content("") if self._selection is None else read_out(self._selection, self.charts)

    def read_row(self) -> str | None:
        """The row under the cursor of the table that has the focus."""
        tables = (self.panes.summary, self.panes.settings)
        return next((table.read_row() for table in tables if table.has_focus), None)

    # Charts ----------------------------------------------------------------------------------------------------------

    def on_compare_charts_turned(self, event: CompareCharts.Turned) -> None:
        """Other metrics are in sight."""
        event.stop()
        self._show_panes()
        self.post_message(self.Turned())

    def on_compare_charts_looked(self, event: CompareCharts.Looked) -> None:
        """Another cursor, scale or focus."""
        event.stop()
        self._show_panes()
        self.post_message(self.Looked())

    def action_next_axis(self) -> None:
        """Step, iteration, tokens, wall."""
        self.charts.next_axis()

    def action_next_scale(self) -> None:
        """Linear, log y, log x, both."""
        self.charts.next_scale()

    def action_smooth(self, step: int) -> None:
        """More or less."""
        self.charts.smooth(step)

    def action_outliers(self) -> None:
        """In or out of the y range."""
        is_left_out = self.charts.toggle_outliers()
        self.notify("outliers are left out" if is_left_out else "outliers are shown", markup=False)

    def action_zoom(self) -> None:
        """Give the focused chart the whole place, or take it back."""
        self.charts.toggle_zoom()
        self.set_class(self.charts.is_zoomed, "-zoomed")

    def action_pick_metric(self) -> None:
        """Bring any metric into sight."""
        if self._data is not None:
            metrics = {"/".join(metric): metric for metric in order_chart_metrics(self._data.metrics)}
            choices = [(key, list_names(metric)) for key, metric in metrics.items()]
            self.app.push_screen(
                Choose("Show a chart of", choices), lambda key: self.show_metric(metrics[key]) if key else None
            )

    def show_metric(self, metric: Metric) -> None:
        """Bring a metric into sight; a filter that leaves it out is taken away."""
        if metric not in self.charts.metrics and self._data is not None:
            self._input.value = ""
            self.charts.set_metrics(order_chart_metrics(self._data.metrics))
        self.charts.show_metric(metric)

    def action_search(self) -> None:
        """Offer only charts of some metrics."""
        self._input.add_class("-open")
        self._input.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Take the words as they are typed."""
        event.stop()
        if self._data is not None and self._data.last is not None:
            self.charts.set_metrics(filter_metrics(order_chart_metrics(self._data.metrics), event.value))
            self._show_panes()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Back to the charts."""
        event.stop()
        self._close_search()

    def _close_search(self) -> None:
        self._input.remove_class("-open")
        self.charts.focused_chart.focus()

    # Panes -----------------------------------------------------------------------------------------------------------

    def action_next_kind(self) -> None:
        """Last, best, at the cursor."""
        kinds = list(KINDS)
        self.kind = kinds[(kinds.index(self.kind) + 1) % len(kinds)]
        self._show_panes()
        self.post_message(self.Turned())

    def action_all_settings(self) -> None:
        """All of them, or those that differ."""
        self.panes.is_all_settings = not self.panes.is_all_settings
        self._show_panes()

    def action_next_pane(self, step: int) -> None:
        """The charts, the summary, the settings, the prompts."""
        stops = [self.charts.focused_chart, *self.panes.stops]
        here = next((k for k, stop in enumerate(stops) if stop.has_focus), 0)
        stop = stops[(here + step) % len(stops)]
        self.panes.bring_forward(stop)
        stop.focus()

    def on_comparison_table_chosen(self, event: ComparisonTable.Chosen) -> None:
        """A metric of the summary gets its chart."""
        event.stop()
        stage, _, name = event.key.partition("/")
        if event.table is self.panes.summary and stage != "cost":
            self.show_metric((stage, name))

    def close_inner(self) -> bool:
        """Close what is open, from the inside out; whether there was anything."""
        if self._input.has_class("-open"):
            self._input.value = ""
            self._close_search()
        elif self.charts.is_zoomed:
            self.action_zoom()
        else:
            return self.charts.clear_cursor()
        return True
