"""What to look at in a run: its diagnostics, one of them explained, and the way to where it shows.

Knows the view model and the widgets. Must not know rules: ``HealthReader`` examines.
"""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from cream_tui.readers.health_reader import HealthData, HealthReader
from cream_tui.screens.base import Copied, StoreScreen, Table
from cream_tui.targets import HealthTarget, Target
from cream_tui.views.health import (
    COLUMNS,
    HealthRow,
    build_cells,
    build_rows,
    count_statuses,
    describe_place,
    explain,
    find_place,
    tabulate,
)
from cream_tui.views.run import describe_state
from cream_tui.widgets.content_pane import ContentPane
from cream_tui.widgets.row_table import RowTable

_STYLES = {"warn": "$warning", "good": "$success", "dim": "$foreground 60%", "bold": "bold", "": ""}


class HealthScreen(StoreScreen[str, HealthData]):
    """The diagnostics of the current run."""

    MODE = "health"
    CSS_PATH = "health.tcss"
    HELP = (
        "What to look at in the current run: ! warns, ✓ is well, ? cannot be computed and says why. The early warning "
        "comes first: how probable it is that the next model is worse, from measures that need no gold answers; it "
        "was fitted on the sandbox. The diagnostic under the cursor is explained, with its value for each model; "
        "enter opens the pairs or the chart that show it. The list is live while the run goes on."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Where it shows", id="health.open"),
        Binding("J", "scroll(1)", "Scroll the words down", show=False, id="health.scroll_down"),
        Binding("K", "scroll(-1)", "Scroll the words up", show=False, id="health.scroll_up"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._reader: HealthReader | None = None  # only touched by the reading thread
        self._wished_key: str | None = None
        self.table = RowTable(COLUMNS, build_cells, id="health-table", classes="pane first-focus")
        self.words = ContentPane(id="health-words", classes="pane")
        self._empty = Static(Content("No run is chosen. 1 lists the runs, 5 starts a new one."), id="health-empty")

    def compose_body(self) -> Iterable[Widget]:
        """The list and the words; or what to do without a run."""
        with Horizontal(id="health-body"):
            yield self.table
            yield self.words
        yield self._empty

    # Reading and showing ---------------------------------------------------------------------------------------------

    def want(self) -> str | None:
        """The current run."""
        return self.cream.current_run_id

    def read(self, connection: sqlite3.Connection, want: str) -> HealthData:
        """Read on from the last time."""
        if self._reader is None or self._reader.run_id != want:
            self._reader = HealthReader(want)
        return self._reader.read(connection)

    def show(self, data: HealthData) -> None:
        """Show what is new."""
        self.remove_class("-empty")
        self.refresh_bindings()
        if self.table.border_title != "diagnostics":
            self.table.border_title = "diagnostics"
        snapshot = data.snapshot
        self.top_bar.set_texts(f"{snapshot.run.name}  {describe_state(snapshot)}")
        self.table.set_rows(build_rows(data.diagnosis))
        if self._wished_key is not None:
            self.table.put_cursor(self._wished_key)
            self._wished_key = None
        self._explain()

    def show_nothing(self) -> None:
        """There is no run to show."""
        self.add_class("-empty")
        self.top_bar.set_texts("no run")
        self.status_line.set_text("")

    def open_target(self, target: Target) -> None:
        """The diagnostics of a run, one of them in front."""
        if isinstance(target, HealthTarget) and target.key is not None:
            self._wished_key = target.key

    def on_row_table_moved(self) -> None:
        """Another diagnostic is looked at."""
        self._explain(to_top=True)

    def _explain(self, *, to_top: bool = False) -> None:
        row = self._row
        if row is None or self.data is None:
            return
        self.words.set_titles("in words")
        self.words.show(Content.assemble(*((text, _STYLES[style]) for text, style in explain(row))), to_top=to_top)
        counts, place = count_statuses(self.data.diagnosis), describe_place(self._find_place())
        self.status_line.set_text(f"{counts}   {place}".rstrip())

    @property
    def _row(self) -> HealthRow | None:
        row = self.table.cursor_row
        return row if isinstance(row, HealthRow) else None

    def _find_place(self) -> Target | None:
        if self._row is None or self.data is None:
            return None
        run = self.data.snapshot.run
        return find_place(self._row, run.run_id, run.iterations)

    # Keys ------------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without a run there is nothing to open."""
        return self.data is not None or action not in ("open", "scroll")

    def action_open(self) -> None:
        """Go to the pairs or the chart that show it."""
        place = self._find_place()
        if place is not None:
            self.cream.go_to(place)
        elif self._row is not None:
            self.cream.tell("nothing is known of it, so nothing shows it")

    def on_row_table_chosen(self) -> None:
        """A double click opens."""
        self.action_open()

    def action_scroll(self, step: int) -> None:
        """Scroll the words while the list has the keys."""
        self.words.scroll_relative(y=step, animate=False)

    # What others take from here --------------------------------------------------------------------------------------

    def list_palette(self) -> Iterator[tuple[str, str, Callable[[], Any]]]:
        """Every diagnostic."""
        for found in self.data.diagnosis.findings if self.data is not None else ():
            yield f"Diagnostic {found.title}", found.shown, partial(self.table.put_cursor, found.key)

    def get_command(self) -> str | None:
        """The command that prints the same."""
        return None if self.data is None else f"health {shlex.quote(self.data.snapshot.run.name)}"

    def get_copy(self) -> Copied | None:
        """The words on the diagnostic under the cursor."""
        return None if self._row is None else Copied(self.words.text, "diagnostic")

    def get_table(self) -> Table | None:
        """All diagnostics, raw."""
        if self.data is None:
            return None
        columns, rows = tabulate(self.data.diagnosis)
        return Table(f"{self.data.snapshot.run.name}-health", columns, rows)
