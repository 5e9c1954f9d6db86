"""One run, live: its stages, its charts, its log, what it takes, and what it was made of.

Knows the view model and the widgets. Must not know SQL: ``RunReader`` reads, and only what is in sight.
"""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget

from cream_tui.readers.run_reader import RunData, RunReader, RunWant
from cream_tui.screens.base import Copied, StoreScreen, Table
from cream_tui.screens.run_questions import (
    ask_fork,
    ask_metric,
    ask_stop,
    describe_metric,
    list_other_metrics,
    resume,
    show_alerts,
    tabulate,
)
from cream_tui.targets import PairsTarget, RunTarget, Target
from cream_tui.views.panels import Key, list_panels, name_metric
from cream_tui.views.run import Notice, describe_state, find_peak, tell_notice
from cream_tui.views.run_alerts import AlertOrder, RunAlert
from cream_tui.widgets.chart_grid import ChartGrid
from cream_tui.widgets.log_view import LogView
from cream_tui.widgets.run_notice import RunNotice
from cream_tui.widgets.run_panes import RunPanes
from cream_tui.widgets.stage_timeline import StageTimeline
from cream_tui.widgets.usage_panel import UsagePanel, summarise_usage

_STATUS = {
    "log": "/ searches, n and N go on, G follows; escape goes back to the charts",
    "config": "y copies the text; escape goes back to the charts",
    "stages": "y copies the table; escape goes back to the charts",
    "models": "enter opens a model's pairs, y copies its folder, F forks from it; escape goes back",
}


_BINDINGS: list[BindingType] = [
    Binding("z", "zoom", "One chart", id="run.zoom"),
    Binding("m", "pick_metric", "Metrics", id="run.metrics"),
    Binding("X", "next_axis", "X axis", id="run.axis"),
    Binding("plus,equals_sign", "smooth(1)", "Smoother", show=False, id="run.smoother"),
    Binding("minus", "smooth(-1)", "Less smooth", show=False, id="run.rougher"),
    Binding("O", "view('log')", "Log", id="run.log"),
    Binding("slash", "search", "Search the log", show=False, id="run.search"),
    Binding("n", "find(1)", "Next match", show=False, id="run.next_match"),
    Binding("N", "find(-1)", "Previous match", show=False, id="run.previous_match"),
    Binding("K", "view('config')", "Configuration", show=False, id="run.config"),
    Binding("T", "view('stages')", "Stages with times and memory", show=False, id="run.stages"),
    Binding("M", "view('models')", "Models", id="run.models"),
    Binding("v", "side", "System instead of log, or back", show=False, id="run.side"),
    Binding("x", "stop", "Stop", id="run.stop"),
    Binding("R", "resume", "Resume", id="run.resume"),
    Binding("F", "fork", "Fork", show=False, id="run.fork"),
    Binding("exclamation_mark", "alerts", "What to look at", show=False, id="run.alerts"),
]


class RunScreen(StoreScreen[RunWant, RunData]):
    """The current run."""

    MODE = "run"
    CSS_PATH = "run.tcss"
    HELP = (
        "One run as it goes. All charts share one x axis, one cursor and one window; enter opens the pairs behind the "
        "point under the cursor, or behind a bar of a histogram. Smoothing keeps the raw curve behind. PgDn turns to "
        "more charts, m finds any metric."
    )
    BINDINGS = _BINDINGS

    def __init__(self) -> None:
        super().__init__()
        self._reader: RunReader | None = None  # only touched by the reading thread
        self._view = "charts"
        self._picked: tuple[str, ...] = ()
        self._wished_model: str | None = None
        self._wished_metric: Key | None = None
        self._alert_order: tuple[str, AlertOrder] = ("", AlertOrder())
        self._alerts: list[RunAlert] = []
        self._notice = RunNotice(id="notice")
        self._stages = StageTimeline(id="stages")
        self.charts = ChartGrid(id="charts")
        self.log_view = LogView(id="log")
        self._usage = UsagePanel(id="usage")
        self._panes = RunPanes(id="panes")

    def compose_body(self) -> Iterable[Widget]:
        """What is wrong, the stages, the charts, the log and what it takes; full panes in their place."""
        yield self._notice
        yield self._stages
        yield self.charts
        with Horizontal(id="bottom"):
            yield self.log_view
            yield self._usage
        yield self._panes

    # Reading and showing ---------------------------------------------------------------------------------------------

    def want(self) -> RunWant | None:
        """The current run, the panels in sight; of a run that comes new the first alone, which then stands sooner."""
        run_id = self.cream.current_run_id
        if run_id is None:
            return None
        is_known = self.data is not None and self.data.snapshot.run.run_id == run_id
        visible = self.charts.pages.visible[: None if is_known else 1]
        return RunWant(run_id, visible, self._picked, has_config=self._view == "config")

    def read(self, connection: sqlite3.Connection, want: RunWant) -> RunData:
        """Read on from the last time."""
        if self._reader is None or self._reader.run_id != want.run_id:
            self._reader = RunReader(self.cream.root, want.run_id)
        return self._reader.read(connection, want)

    def show(self, data: RunData) -> None:
        """Show what is new."""
        snapshot = data.snapshot
        title = f"{snapshot.run.name}  {describe_state(snapshot)}"
        self.top_bar.set_texts(title, summarise_usage(data.usage) if not snapshot.is_over else "")
        if self._alert_order[0] != snapshot.run.run_id:
            self._alert_order = snapshot.run.run_id, AlertOrder()
        self._alerts = self._alert_order[1].sort(data.alerts)
        self._notice.set_notice(tell_notice(snapshot, data.waits_for), self._alerts)
        self._stages.set_snapshot(snapshot)
        self.charts.show_data(data)
        self.log_view.set_lines(data.log, data.log_changed)
        self._usage.set_usage(data.usage, find_peak(data.attempts, snapshot.rows))
        self._panes.show_data(data)
        if self._wished_model is not None:
            self.charts.choose_iteration(int(self._wished_model[1:]))
            self._wished_model = None
        if self._wished_metric is not None:
            self._show_metric(self._wished_metric)
            self._wished_metric = None
        self._show_status()

    def show_nothing(self) -> None:
        """There is no run to show."""
        self.top_bar.set_texts("no run")
        self._notice.set_notice(Notice("information", ("No run is chosen. 1 lists the runs, 5 starts a new one.",)))

    def show_fault(self, message: str) -> None:
        """The run is gone, or the store cannot be read."""
        self._notice.set_notice(Notice("error", (message,)))

    def open_target(self, target: Target) -> None:
        """A run, at the iteration of a model, with the chart of a metric."""
        if isinstance(target, RunTarget):
            self._wished_model, self._wished_metric = target.model, target.metric

    def _show_status(self) -> None:
        self.status_line.set_text(_STATUS.get(self._view) or self.charts.read_out() or self.charts.describe())

    # Charts ----------------------------------------------------------------------------------------------------------

    def on_chart_grid_turned(self) -> None:
        """Read what came into sight."""
        self._show_status()
        self.refresh_data()

    def on_chart_grid_looked(self) -> None:
        """Say where the cursor is."""
        self._show_status()

    def on_chart_grid_pairs_wanted(self, event: ChartGrid.PairsWanted) -> None:
        """Open the evidence."""
        if self.data is None:
            return
        if event.iteration < 1:
            self.cream.tell("no pairs stand behind this point: they begin with M1's responses")
        else:
            run_id = self.data.snapshot.run.run_id
            self.cream.go_to(PairsTarget(run_id, event.iteration, filter_text=event.filter_text))

    def action_zoom(self) -> None:
        """Give the focused chart the whole screen, or take it back."""
        self._set_view("charts")
        self.charts.toggle_zoom()
        self.set_class(self.charts.pages.zoomed is not None, "-zoomed")

    def action_next_axis(self) -> None:
        """Step, iteration, tokens, wall."""
        self.charts.next_axis()
        self._show_status()

    def action_smooth(self, step: int) -> None:
        """More or less."""
        self.charts.look.smooth(step)
        self.charts.draw()
        self._show_status()

    def action_pick_metric(self) -> None:
        """Choose a chart, or add any metric."""
        if self.data is not None:
            ask_metric(self.cream, self.data.panels, self.data.series, self._picked, self._take_metric)

    def _take_metric(self, key: str) -> None:
        self._set_view("charts")
        if key in self._picked:
            self._picked = tuple(other for other in self._picked if other != key)
            self.charts.set_panels(panel for panel in self.charts.panels.values() if panel.key != key)
        else:
            if key not in self.charts.panels:
                self._picked = (*self._picked, key)
                self.charts.set_panels([*self.charts.panels.values(), *list_panels(picked=[key])[-1:]])
            self.charts.show_panel(key)
        self.refresh_data()

    def _show_metric(self, metric: Key) -> None:
        key = self.charts.find_panel(metric)
        if key is None:
            self._take_metric(name_metric(*metric))
        else:
            self._set_view("charts")
            self.charts.show_panel(key)

    def list_palette(self) -> Iterator[tuple[str, str, Callable[[], Any]]]:
        """Every chart and metric of the run."""
        panels = tuple(self.charts.panels.values())
        for panel in panels:
            yield f"Chart {panel.title}", "Show this chart", partial(self.charts.show_panel, panel.key)
        for key in list_other_metrics(panels, self.data.series if self.data else ()):
            yield f"Metric {describe_metric(key)}", "Add its chart", partial(self._take_metric, key)

    # Panes -----------------------------------------------------------------------------------------------------------

    def action_view(self, view: str) -> None:
        """Open a full pane, or close it."""
        self._set_view("charts" if view == self._view else view)

    def _set_view(self, view: str) -> None:
        if view == self._view:
            return
        self.remove_class(f"-view-{self._view}")
        self.add_class(f"-view-{view}")
        self._view = view
        if view == "charts":
            self.charts.focus_panel()
        elif view == "log":
            self.log_view.lines.focus()
        else:
            self._panes.bring(view)
            if self.data is not None:
                self._panes.show_data(self.data)
        self._show_status()
        self.refresh_data()

    def action_search(self) -> None:
        """Look for a text in the log."""
        if self._view != "charts":
            self._set_view("log")
        self.log_view.start_search()

    def action_find(self, direction: int) -> None:
        """The next match."""
        if not self.log_view.find_next(direction):
            self.cream.tell("/ searches the log")

    def action_side(self) -> None:
        """On a narrow screen: the system's pane in the place of the log."""
        self.toggle_class("-system")

    def on_option_list_option_selected(self) -> None:
        """The pairs that the model made."""
        model = self._panes.get_model()
        if self.data is None or model is None:
            return
        iteration = int(model.name[1:])
        if 1 <= iteration <= self.data.snapshot.run.iterations:
            self.cream.go_to(PairsTarget(self.data.snapshot.run.run_id, iteration))
        else:
            self.cream.tell(f"{model.name} made no pairs")

    def action_back(self) -> None:
        """Close what is open, from the inside out; then the list of runs."""
        if self.log_view.is_searching:
            self.log_view.end_search()
        elif self._view != "charts":
            self._set_view("charts")
        elif self.charts.pages.zoomed is not None:
            self.action_zoom()
        elif not self.charts.clear_cursor():
            super().action_back()

    # The run ---------------------------------------------------------------------------------------------------------

    def action_stop(self) -> None:
        """Stop it."""
        if self.data is not None:
            ask_stop(self.cream, self.data.snapshot)

    def action_resume(self) -> None:
        """Go on."""
        if self.data is not None:
            resume(self.cream, self.data.snapshot)

    def action_fork(self) -> None:
        """Go on from one of its models with other settings."""
        if self.data is not None:
            model = self._panes.get_model() if self._view == "models" else None
            ask_fork(self.cream, self.data.snapshot, self.data.checkpoints, None if model is None else model.name)

    def action_alerts(self) -> None:
        """What to look at in this run, then what happened elsewhere."""
        if self.data is None:
            self.app.run_worker(self.cream.action_alerts())
        else:
            show_alerts(self.cream, self.data.snapshot.run, self._alerts, partial(self._set_view, "log"))

    # What others take from here --------------------------------------------------------------------------------------

    def get_command(self) -> str | None:
        """The command that prints the same."""
        if self.data is None:
            return None
        name = shlex.quote(self.data.snapshot.run.name)
        found = self.charts.get_focused()
        if self._view == "log":
            return f"logs {name}"
        if self._view != "charts" or found is None or not found[0].lines:
            return f"show {name}"
        return f"metrics {name} " + " ".join(dict.fromkeys(line.metric for line in found[0].lines))

    def get_copy(self) -> Copied | None:
        """The folder of the highlighted model, the configuration, the log, or the values at the cursor."""
        if self.data is None:
            return None
        if self._view in RunPanes.NAMES:
            return self._panes.get_copy()
        if self._view == "log" or self.log_view.lines.has_focus:
            return Copied("\n".join(line.text for line in self.data.log), "log")
        text = self.charts.read_out()
        return Copied(text, "values") if text else Copied(self.data.snapshot.run.name, "name")

    def get_table(self) -> Table | None:
        """The points of the focused chart."""
        found = self.charts.get_focused()
        return None if self.data is None or found is None else tabulate(self.data, *found, self.charts.look.axis)

    def save_view(self) -> dict[str, Any]:
        """How the charts are looked at."""
        return {**self.charts.look.save(), "picked": list(self._picked)}

    def restore_view(self, view: dict[str, Any]) -> None:
        """Look at the charts as the last time."""
        self.charts.look.restore(view)
        picked = view.get("picked")
        if isinstance(picked, list):
            self._picked = tuple(key for key in picked if isinstance(key, str) and ":" in key)
            self.charts.set_panels(list_panels(picked=self._picked))
