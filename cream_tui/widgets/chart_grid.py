"""The charts of a run, a page at a time, with one cursor and one window for all of them.

Knows panels and the chart widgets. Must not know the store. Which panels are in sight decides what the screen reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, Vertical
from textual.message import Message
from textual.widgets import Static

from cream_tui.charts.chart import Chart
from cream_tui.charts.histogram import Histogram
from cream_tui.readers.run_reader import PREVIOUS, RunData
from cream_tui.views.pages import Pages
from cream_tui.views.panels import (
    HISTOGRAMS,
    DrawnLine,
    Key,
    Panel,
    draw_panel,
    find_pair_iteration,
    find_point,
    list_figures,
    list_panels,
    read_out,
)
from cream_tui.views.series import AXES
from cream_tui.views.taus import count_taus
from cream_tui.widgets.chart_look import SCALES, ChartLook
from cream_tui.widgets.figures import lay_out_figures


class ChartGrid(Vertical):
    """As many charts as fit, or one with its figures."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h", "move_focus(-1, 0)", "Chart to the left", show=False, id="run.left"),
        Binding("l", "move_focus(1, 0)", "Chart to the right", show=False, id="run.right"),
        Binding("j,down", "move_focus(0, 1)", "Chart below", show=False, id="run.down"),
        Binding("k,up", "move_focus(0, -1)", "Chart above", show=False, id="run.up"),
        Binding("s", "next_scale", "Scale", id="run.scale"),
        Binding("o", "toggle_outliers", "Leave outliers out, or not", show=False, id="run.outliers"),
        Binding("pagedown", "turn(1)", "Next page of charts", show=False, id="run.next_page"),
        Binding("pageup", "turn(-1)", "Previous page of charts", show=False, id="run.previous_page"),
    ]

    class Turned(Message):
        """Other panels are in sight."""

    class Looked(Message):
        """The cursor, the window, a scale or the focus is another."""

    class PairsWanted(Message):
        """The pairs behind a point or a bar; ``iteration`` 0 has none."""

        def __init__(self, iteration: int, filter_text: str) -> None:
            super().__init__()
            self.iteration = iteration
            self.filter_text = filter_text

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.panels: dict[str, Panel] = {panel.key: panel for panel in list_panels()}
        self.pages = Pages(tuple(self.panels))
        self.look = ChartLook()
        self._wished_iteration: int | None = None
        self._data: RunData | None = None
        self._cells: dict[str, Chart | Histogram] = {}
        self._drawn: dict[str, list[DrawnLine]] = {}
        self._grid = Grid()
        self._figures = Static(classes="figures")

    def compose(self) -> ComposeResult:
        """The charts, below them the figures of the one that has the whole place."""
        yield self._grid
        yield self._figures

    def on_mount(self) -> None:
        """The first page, empty."""
        self._arrange()

    def on_resize(self, event: events.Resize) -> None:
        """As many charts as fit."""
        if self.pages.zoomed is None:
            self._turn(self.pages.fit(event.size.width, event.size.height))

    def on_descendant_focus(self) -> None:
        """Another chart's scale and values are told."""
        self.post_message(self.Looked())

    # What is in sight ------------------------------------------------------------------------------------------------

    @property
    def focused_key(self) -> str | None:
        """The panel that has the focus; the first in sight where none has."""
        visible = self.pages.visible
        focused = (key for key in visible if key in self._cells and self._cells[key].has_focus)
        return next(focused, visible[0] if visible else None)

    def get_focused(self) -> tuple[Panel, list[DrawnLine]] | None:
        """The panel that has the focus, with its lines."""
        key = self.focused_key
        return None if key is None else (self.panels[key], self._drawn.get(key, []))

    def show_panel(self, key: str) -> None:
        """Bring a panel into sight and give it the focus."""
        if key in self.panels:
            self._turn(self.pages.show(key))
            self._cells[key].focus()

    def find_panel(self, metric: Key) -> str | None:
        """The first panel that is drawn from a metric, or that has its name: an accuracy is drawn task by task."""
        found = (panel.key for panel in self.panels.values() if metric in panel.needed)
        return next(found, metric[1] if metric[1] in self.panels else None)

    def focus_panel(self) -> None:
        """Give the focus to the first panel in sight."""
        if self.pages.visible:
            self._cells[self.pages.visible[0]].focus()

    def toggle_zoom(self) -> None:
        """Give the focused panel the whole place, or all of them theirs again."""
        key = self.focused_key
        self._turn(self.pages.zoom(key if self.pages.zoomed is None else None))
        if key is not None:
            self._cells[key].focus()

    def action_turn(self, step: int) -> None:
        """Turn the page."""
        self._turn(self.pages.turn(step))
        self._cells[self.pages.visible[0]].focus()

    def action_move_focus(self, columns: int, rows: int) -> None:
        """Go to a neighbour, on other pages too."""
        if self.focused_key is not None:
            self.show_panel(self.pages.find_neighbour(self.focused_key, columns, rows))

    def _turn(self, pages: Pages) -> None:
        if pages != self.pages:
            self.pages = pages
            self._arrange()
            self.post_message(self.Turned())

    def _arrange(self) -> None:
        if not self.is_attached:
            return
        visible = self.pages.visible
        places = {key: place for place, key in enumerate(self.panels)}
        for key in self._cells.keys() - self.panels.keys():
            self._cells.pop(key).remove()
        for key in visible:
            if key not in self._cells:
                self._cells[key] = Histogram(name=key) if key in HISTOGRAMS else Chart(name=key)
                self._grid.mount(self._cells[key])
        self._grid.sort_children(key=lambda cell: places.get(cell.name or "", len(places)))
        for key, cell in self._cells.items():
            cell.display = key in visible
        self._grid.styles.grid_size_columns, self._grid.styles.grid_size_rows = self.pages.shape
        self._figures.display = self.pages.zoomed is not None
        if self.screen.focused is None and visible:
            self._cells[visible[0]].focus()
        self.draw()

    # Drawing ---------------------------------------------------------------------------------------------------------

    def show_data(self, data: RunData) -> None:
        """Draw what was read."""
        if self._data is None or self._data.snapshot.run.run_id != data.snapshot.run.run_id:
            self.look.forget_run()
            self._drawn.clear()
        self._data = data
        self.set_panels(data.panels)

    def set_panels(self, panels: Iterable[Panel]) -> None:
        """These are the run's panels now."""
        keys = tuple(self.panels)
        self.panels = {panel.key: panel for panel in panels}
        if keys != tuple(self.panels):
            self.pages = self.pages.with_keys(tuple(self.panels))
            self._arrange()
        else:
            self.draw()

    def draw(self) -> None:
        """Draw what is in sight as it is looked at now."""
        data = self._data
        if data is None:
            return
        visible = self.pages.visible
        for key in visible:
            self._drawn[key] = draw_panel(self.panels[key], data.points, data.timeline, self.look.axis)
        self.look.fit(data.timeline, (line for key in visible for line in self._drawn[key]))
        for key in visible:
            cell = self._cells[key]
            if isinstance(cell, Histogram):
                self._draw_histogram(cell, key)
            else:
                self.look.draw(cell, self.panels[key], self._drawn[key], data.timeline)
        self._write_figures()

    def _write_figures(self) -> None:
        key = self.pages.zoomed
        if self._data is None or key is None:
            return
        figures = list_figures(self._drawn.get(key, []), self._data.timeline, self.look.cursor_x)
        self._figures.update(
            lay_out_figures(figures, self.panels[key].note, self._figures.content_size.width or self.size.width)
        )

    def read_out(self) -> str:
        """The values of the focused chart at the cursor; empty without one."""
        found = self.get_focused()
        if found is None or self._data is None or self.look.cursor_x is None:
            return ""
        return read_out(found[0], found[1], self._data.timeline, self.look.cursor_x)

    def describe(self) -> str:
        """Which charts are in sight, and how they are looked at."""
        look, pages = self.look, self.pages
        parts = ["one chart (z shows all)" if pages.zoomed else f"charts {pages.page + 1}/{pages.n_pages} (PgDn)"]
        parts += [f"x {look.axis}"]
        parts += [f"smooth {look.smoothing:g}"] if look.smoothing else []
        parts += ["zoomed (0 shows all)"] if look.window else []
        return "   ".join([*parts, "[ ] move the cursor"])

    # The histogram ---------------------------------------------------------------------------------------------------

    @property
    def iteration(self) -> int | None:
        """The iteration looked at, of those whose taus are known: that under the cursor, else the last."""
        known = sorted({t for t, _ in self._data.taus}) if self._data is not None else []
        if not known or self._wished_iteration is None:
            return known[-1] if known else None
        wished = self._wished_iteration
        return max((t for t in known if t <= wished), default=known[0])

    def choose_iteration(self, iteration: int) -> None:
        """Look at an iteration: its histogram, and the cursor at its model."""
        self._wished_iteration = iteration
        models = self._data.timeline.models if self._data is not None else ()
        if iteration < len(models):
            self.look.cursor_x = models[iteration].get(self.look.axis)
        self.draw()
        self.post_message(self.Looked())

    def _draw_histogram(self, cell: Histogram, key: str) -> None:
        against, taus = HISTOGRAMS[key], self._data.taus if self._data is not None else {}
        bars = count_taus(taus.get((self.iteration or 0, against), ()))
        is_stand_in = self.iteration == 1 and against == PREVIOUS
        title = "tau to stand-in" if is_stand_in else self.panels[key].title
        cell.title = f"M{self.iteration}: {title}" if self.iteration else title
        cell.unit, cell.empty_text = "prompts", self.panels[key].empty
        cell.set_counts(bars.centres, bars.counts, bars.null, mean=bars.mean)

    def on_histogram_bin_chosen(self, event: Histogram.BinChosen) -> None:
        """Its pairs."""
        event.stop()
        if self.iteration is not None:
            name = "tau" if HISTOGRAMS[event.histogram.name or ""] == PREVIOUS else "anchor"
            self.post_message(self.PairsWanted(self.iteration, f"{name}>={event.low:.4g} {name}<={event.high:.4g}"))

    # One cursor, one window ------------------------------------------------------------------------------------------

    def on_chart_cursor_moved(self, event: Chart.CursorMoved) -> None:
        """All charts stand there, the histogram shows the iteration."""
        event.stop()
        self.look.cursor_x = event.x
        for cell in self._cells.values():
            if isinstance(cell, Chart):
                cell.cursor_x = event.x
        if self._data is not None:
            self._wished_iteration = self._data.timeline.find_iteration(self.look.axis, event.x)
        for key in self.pages.visible:
            cell = self._cells[key]
            if isinstance(cell, Histogram):
                self._draw_histogram(cell, key)
        self._write_figures()
        self.post_message(self.Looked())

    def on_chart_window_changed(self, event: Chart.WindowChanged) -> None:
        """All charts show that."""
        event.stop()
        self.look.set_window(event.window)
        self.draw()
        self.post_message(self.Looked())

    def on_chart_point_chosen(self, event: Chart.PointChosen) -> None:
        """The pairs behind it."""
        event.stop()
        panel = self.panels.get(event.chart.name or "")
        if panel is None or self._data is None:
            return
        drawn = next((line for line in self._drawn[panel.key] if line.line.label == event.series_name), None)
        if drawn is not None:
            iteration = find_pair_iteration(drawn, find_point(drawn, event.x), self._data.timeline)
            self.post_message(self.PairsWanted(iteration, panel.pair_filter))

    def clear_cursor(self) -> bool:
        """Take the cursor away; whether there was one."""
        had_cursor = self.look.cursor_x is not None
        self.look.cursor_x = self._wished_iteration = None
        self.draw()
        self.post_message(self.Looked())
        return had_cursor

    def next_axis(self) -> None:
        """Take the next x axis; the cursor goes along to the same model."""
        had_cursor, iteration = self.look.cursor_x is not None, self._wished_iteration
        self.look.set_axis(AXES[(AXES.index(self.look.axis) + 1) % len(AXES)])
        if had_cursor and iteration is not None:
            self.choose_iteration(iteration)
        self.draw()

    def action_next_scale(self) -> None:
        """Take the next scale for the focused chart."""
        key = self.focused_key
        if key is not None:
            self.look.scales[key] = (self.look.scales.get(key, 0) + 1) % len(SCALES)
            self.draw()

    def action_toggle_outliers(self) -> None:
        """Leave outliers of the focused chart out, or not."""
        cell = self._cells.get(self.focused_key or "")
        if isinstance(cell, Chart):
            cell.is_clipped = not cell.is_clipped
            self.notify("outliers are left out" if cell.is_clipped else "outliers are shown", timeout=2)
