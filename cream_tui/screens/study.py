"""A study over its seeds: learning curves of its arms, their table with tests, and what the data say.

Knows the view model and the widgets. Must not know statistics: ``StudyReader`` reads what `compare` prints.
"""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from cream_tui.charts.chart import Chart
from cream_tui.charts.scales import Axis
from cream_tui.charts.series import Series
from cream_tui.readers.study_reader import StudyReader, StudyResults, StudyWant
from cream_tui.screens.base import Copied, StoreScreen, Table
from cream_tui.targets import CompareTarget, StudyTarget, Target
from cream_tui.units import format_quantity
from cream_tui.views.columns import RowCells
from cream_tui.views.compare import letter
from cream_tui.views.studies import tell_counts
from cream_tui.views.study_results import (
    ArmCurve,
    ArmLine,
    Measure,
    build_cells,
    build_columns,
    build_curves,
    build_lines,
    describe_line,
    explain,
    has_unlike_seeds,
    list_measures,
    list_models,
    tabulate,
)
from cream_tui.widgets.content_pane import ContentPane
from cream_tui.widgets.row_table import RowTable

_STYLES = {"bad": "$error", "warn": "$warning", "dim": "$foreground 60%", "bold": "bold", "": ""}
_BASELINE_COLOUR, _CURSOR_COLOUR, _FIRST_COLOUR, _N_COLOURS = 1, 2, 3, 8
_FRAME_LINES = 3  # of a table: its border and its titles
_READING = "Reading what its runs have found …"  # seconds for a hundred runs
_NOTHING = "No study yet. 1 lists the runs: w there starts a study, several methods and seeds from one file."


class StudyScreen(StoreScreen[StudyWant, StudyResults | None]):
    """The current study."""

    MODE = "study"
    CSS_PATH = "study.tcss"
    HELP = (
        "What a study shows so far, over its seeds: the numbers, tests and sentences of `cream-tui compare STUDY`. "
        "Curves: the baseline, the arm under the cursor and marked ones with their 95 % intervals, all others pale. "
        "Table: the mean of each model, pale where not all seeds of the arm have it; ↑ ↓ against the model before, * "
        "where that carries a claim; Δ acc: points of accuracy to the baseline at the last model that both have, with "
        "its 95 % interval and p by Holm; fell: in how many runs accuracy fell significantly below that of M1 or of "
        "the model before, and the first model at which it did; early: in how many the early warning fires at the "
        "newest model. The words are of the arm under the cursor, on the baseline of the whole study; an arm that has "
        "not begun is pale and last. m shows another measure, space marks an arm, p takes it as "
        "the baseline, enter opens its runs beside those of the baseline, 2, 3 and 6 a run of it."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,c", "compare", "Its runs", id="study.compare"),
        Binding("m", "next_measure(1)", "Measure", id="study.measure"),
        Binding("M", "next_measure(-1)", "Measure before", show=False, id="study.measure_before"),
        Binding("space", "select", "Mark", id="study.select"),
        Binding("p", "take_baseline", "Baseline", id="study.baseline"),
        Binding("s", "sort", "Sort", id="study.sort"),
        Binding("J", "scroll(1)", "Words down", id="study.scroll_down"),
        Binding("K", "scroll(-1)", "Scroll the words up", show=False, id="study.scroll_up"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._reader = StudyReader()  # only touched by the reading thread
        self._chosen: tuple[str, str] | None = None  # a study, and the arm that a person takes as its baseline
        self._selected: frozenset[str] = frozenset()
        self._is_by_value = False
        self._measure: Measure | None = None
        self._lines: list[ArmLine] = []
        self._models: list[str] = []
        self._looked_at: tuple[ArmLine | None, StudyResults | None] = (None, None)
        self._has_seeds = False
        self._n_rows = -1
        self._shown: StudyResults | None = None
        self.chart = Chart(id="study-chart")
        self.chart.can_focus = False
        self.words = ContentPane(id="study-words", classes="pane")
        self.table = RowTable((), self._build_cells, id="study-arms", classes="pane first-focus")
        self._empty = Static(Content(_READING), id="study-empty")
        self.add_class("-empty")

    def compose_body(self) -> Iterable[Widget]:
        """Curves and words above, the arms below; or what to do without a study."""
        with Horizontal(id="study-top"):
            yield self.chart
            yield self.words
        yield self.table
        yield self._empty

    # Reading and showing ---------------------------------------------------------------------------------------------

    def want(self) -> StudyWant:
        """The current study."""
        return StudyWant(self.cream.current_study_id, self._baseline)

    @property
    def _baseline(self) -> str | None:
        """The arm that a person compares with; None: that of the study."""
        study_id, arm = self._chosen or (None, None)
        return arm if study_id == self.cream.current_study_id else None

    def read(self, connection: sqlite3.Connection, want: StudyWant) -> StudyResults | None:
        """Read on from the last time."""
        return self._reader.read(connection, want)

    def show(self, data: StudyResults | None) -> None:
        """Show what is new."""
        if data is None:
            self.show_nothing()
            return
        if data is self._shown:
            return
        if self.has_class("-empty"):
            self.remove_class("-empty")
            self.table.focus()
        if self._shown is None or self._shown.study.study_id != data.study.study_id:
            self._selected = frozenset()
            self.words.set_titles("in words")
        self._shown = data
        self.cream.current_study_id = data.study.study_id
        if [self._baseline] != [arm.title for arm in data.compared.arms[:1]]:  # an arm that is gone is none
            self._chosen = None
        measures = list_measures(data.comparison.table)
        if self._measure not in measures:
            self._measure = measures[0] if measures else None
        self.refresh_bindings()
        self._draw()

    def show_nothing(self) -> None:
        """There is no study to show."""
        self._shown = None
        self.add_class("-empty")
        self._empty.update(Content(_NOTHING))
        self.top_bar.set_texts("no study")
        self.status_line.set_text("")
        self.refresh_bindings()

    def open_target(self, target: Target) -> None:
        """A study; another one is read anew."""
        if isinstance(target, StudyTarget) and (self._shown is None or self._shown.study.study_id != target.study_id):
            self.top_bar.set_texts("reading …")

    @property
    def line(self) -> ArmLine | None:
        """The arm under the cursor."""
        row = self.table.cursor_row
        return row if isinstance(row, ArmLine) else None

    def _draw(self) -> None:
        data = self._shown
        if data is None:
            return
        measure = self._measure
        lines: list[ArmLine] = []
        if measure is not None:
            lines = build_lines(data, measure, selected=self._selected, is_by_value=self._is_by_value)
        self._lines = lines
        self._models = list_models(lines)
        self._has_seeds = has_unlike_seeds(lines)
        self.table.set_columns(build_columns(lines, self._models, has_seeds=self._has_seeds))
        titles = self._describe_arms(lines), tell_counts(data.states)
        if titles != (self.table.border_title, self.table.border_subtitle):  # setting them draws the whole table
            self.table.border_title, self.table.border_subtitle = titles
        if len(lines) != self._n_rows:  # another height lays the screen out anew
            self._n_rows = len(lines)
            self.table.styles.height = len(lines) + _FRAME_LINES
        self.table.set_rows(lines)
        base = next((f"baseline {line.title}" for line in lines if line.place == 0), "")
        self.top_bar.set_texts(data.study.name, base)
        self._look()

    def _look(self) -> None:
        """Show the arm under the cursor in the chart and in words."""
        line, measure, data = self.line, self._measure, self._shown
        if data is None or (self._looked_at[0] is line and self._looked_at[1] is data and line is not None):
            return
        is_another = self._looked_at[0] is None or line is None or self._looked_at[0].title != line.title
        self._looked_at = line, data
        if line is None or measure is None:
            self.chart.set_series(())
            self.words.show(Content("No model was evaluated yet."))
            self.status_line.set_text("")
            return
        self.chart.title = f"{measure.title}: mean over seeds, 95 % interval"
        self.chart.x_axis = Axis("model", prefix="M", min_step=1)
        curves = sorted(
            build_curves(self._lines, measure), key=lambda curve: (curve.line == line, curve.line.place == 0)
        )
        coloured = [curve.line.title for curve in curves if curve.line.is_selected]
        self.chart.set_series([_build_series(curve, line, coloured) for curve in curves])
        self.words.show(
            Content.assemble(*((text, _STYLES[style]) for text, style in explain(data, line))), to_top=is_another
        )
        self.status_line.set_text(describe_line(line, measure))
        if self.is_current_mode and line.n_seeds:  # what the digits open is of this arm
            self.cream.current_run_id = next(arm.run_ids[0] for arm in data.compared.arms if arm.title == line.title)

    def _describe_arms(self, lines: Sequence[ArmLine]) -> str:
        words = "arms by their newest value" if self._is_by_value else "arms"
        n_seeds = max((line.n_seeds for line in lines), default=0)
        if not n_seeds or self._has_seeds:
            return words
        return f"{words}   {format_quantity(n_seeds, 'seed')}{' each' if len(lines) > 1 else ''}"

    def _build_cells(self, line: ArmLine) -> RowCells:
        assert self._measure is not None
        return build_cells(line, self._measure, self._models, has_seeds=self._has_seeds)

    def on_row_table_moved(self) -> None:
        """Another arm is looked at."""
        self._look()

    # Keys ------------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without an arm there is nothing to look at."""
        own = {binding.action.partition("(")[0] for binding in self.BINDINGS if isinstance(binding, Binding)}
        return action not in own or bool(self._shown and self._shown.compared.arms)

    def action_next_measure(self, step: int) -> None:
        """Accuracy, labels, taus, C, lengths."""
        measures = list_measures(self._shown.comparison.table) if self._shown is not None else []
        if self._measure in measures:
            self._measure = measures[(measures.index(self._measure) + step) % len(measures)]
            self._draw()

    def action_select(self) -> None:
        """Mark the arm, or no longer, and go on to the next one."""
        if self.line is not None:
            self._selected ^= {self.line.title}
            self.table.action_move(1)
            self._draw()

    def action_take_baseline(self) -> None:
        """Compare all arms with the one under the cursor; again: with that of the study."""
        if self.line is not None and self._shown is not None:
            title = self.line.title
            if not self.line.n_seeds:
                self.cream.tell(f"no run of {title} has begun")
                return
            self._chosen = None if title == self._baseline else (self._shown.study.study_id, title)
            self.refresh_data()

    def action_sort(self) -> None:
        """By the newest value, or as the study has them."""
        self._is_by_value = not self._is_by_value
        self._draw()

    def action_compare(self) -> None:
        """Open the runs of the marked arms, else of the one under the cursor, beside those of the baseline."""
        if self._shown is None or self.line is None:
            return
        wanted = self._selected or {self.line.title}
        if not self._selected and not self.line.n_seeds:
            self.cream.tell(f"no run of {self.line.title} has begun")
            return
        arms = [arm for k, arm in enumerate(self._shown.compared.arms) if k == 0 or arm.title in wanted]
        run_ids = tuple(run_id for arm in arms for run_id in arm.run_ids)
        if len(run_ids) < 2:
            self.cream.tell("there is one run only: nothing to compare it with")
        else:
            self.cream.go_to(CompareTarget(run_ids))

    def on_row_table_chosen(self) -> None:
        """A double click opens."""
        self.action_compare()

    def action_scroll(self, step: int) -> None:
        """Scroll the words while the list has the keys."""
        self.words.scroll_relative(y=step, animate=False)

    # What others take from here --------------------------------------------------------------------------------------

    def list_palette(self) -> Iterator[tuple[str, str, Callable[[], Any]]]:
        """Every measure."""
        for measure in list_measures(self._shown.comparison.table) if self._shown is not None else ():
            yield f"Show {measure.title}", "Of every arm, over its seeds", partial(self.show_measure, measure)

    def show_measure(self, measure: Measure) -> None:
        """Look at this measure."""
        self._measure = measure
        self._draw()

    def get_command(self) -> str | None:
        """The command that prints the same."""
        if self._shown is None:
            return None
        name = shlex.quote(self._shown.study.name)
        if len(self._shown.compared.runs) < 2:
            return f"show {name}"
        return f"compare {name}" + (f" --baseline {shlex.quote(self._baseline)}" if self._baseline is not None else "")

    def get_copy(self) -> Copied | None:
        """The words."""
        return None if self.line is None else Copied(self.words.text, "words")

    def get_table(self) -> Table | None:
        """Every accuracy, raw."""
        if self._shown is None:
            return None
        columns, rows = tabulate(self._shown.comparison)
        return Table(f"{self._shown.study.name}-accuracy", columns, rows)


def _build_series(curve: ArmCurve, cursor: ArmLine, coloured: Sequence[str]) -> Series:
    """The baseline, the arm under the cursor and marked ones in colours of their own; others pale."""
    line = curve.line
    is_faint = not (line.place == 0 or line == cursor or line.is_selected)
    colour = _BASELINE_COLOUR if line.place == 0 else _CURSOR_COLOUR
    if line.title in coloured and line != cursor and line.place:
        colour = _FIRST_COLOUR + coloured.index(line.title) % (_N_COLOURS - _FIRST_COLOUR + 1)
    return Series(
        line.title,
        np.array(curve.xs),
        np.array(curve.ys),
        None if is_faint else np.array(curve.low),
        None if is_faint else np.array(curve.high),
        marker=letter(line.place)[-1],
        colour=colour,
        is_faint=is_faint,
    )
