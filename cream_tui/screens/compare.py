"""Runs side by side: charts with seed bands, a summary with deltas to the baseline, settings, answers to prompts.

Knows the view models and the widgets. Must not know SQL: ``CompareReader`` reads, and only what is in sight.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Static

from cream_tui.charts.chart import Chart
from cream_tui.readers.compare_reader import CompareData, CompareReader, CompareWant
from cream_tui.screens.base import Copied, StoreScreen, Table
from cream_tui.screens.compare_actions import ask_run, build_command, pin, tabulate_summary
from cream_tui.targets import CompareTarget, PairsTarget, Target
from cream_tui.views.compare_selection import Selection, select
from cream_tui.views.compare_series import order_chart_metrics
from cream_tui.views.compare_text import title_metric
from cream_tui.widgets.compare_body import CompareBody
from cream_tui.widgets.compare_panes import lay_out_empty

if TYPE_CHECKING:
    from cream_tui.screens.compare_shared import SharedPrompts
    from cream_tui.widgets.answers_view import AnswersView


class CompareScreen(StoreScreen[CompareWant, CompareData]):
    """The compared runs."""

    MODE = "compare"
    CSS_PATH = "compare.tcss"
    HELP = (
        "Runs side by side. Left and right choose a run: space hides it, p pins it as the baseline of all deltas, "
        "backspace takes it away, a adds another. Runs that differ only in the seed stand together as mean ± standard "
        "deviation; g takes them apart. All charts share one cursor; t shows the values at it in the table. "
        "d shows what two runs answered to the same prompts."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move_run(-1)", "Run to the left", show=False, id="compare.run_left"),
        Binding("right", "move_run(1)", "Run to the right", show=False, id="compare.run_right"),
        Binding("space", "hide", "Hide", id="compare.hide"),
        Binding("p", "pin", "Pin", id="compare.pin"),
        Binding("a", "add", "Add", id="compare.add"),
        Binding("backspace", "remove", "Take the run away", show=False, id="compare.remove"),
        Binding("g", "bands", "Seeds", id="compare.bands"),
        Binding("d", "answers", "Answers", id="compare.answers"),
        Binding("enter", "take_newest", "Compare the two newest", id="compare.newest"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._reader = CompareReader()  # only touched by the thread that reads
        self._run_ids: tuple[str, ...] = ()
        self._hidden_ids: frozenset[str] = frozenset()
        self._cursor_id: str | None = None
        self._pinned_id: str | None = None  # what was pinned last, until the rows say so, too; "": nothing
        self._is_grouped = True
        self._has_table = False
        self.selection: Selection | None = None
        self.body = CompareBody(id="compare-body")
        self._prompts: SharedPrompts | None = None
        self._empty = Static(id="compare-empty")

    def compose_body(self) -> Iterable[Widget]:
        """Charts and panes, or what to do without runs."""
        yield self.body
        yield self._empty

    @property
    def prompts(self) -> SharedPrompts:
        """What runs say on the same prompts, with the view of it; loaded once the charts stand."""
        if self._prompts is None:
            from cream_tui.screens.compare_shared import SharedPrompts

            self._prompts = SharedPrompts(self.body.panes)
            self.mount(self._prompts.answers, after=self.body)
        return self._prompts

    # Reading and showing ---------------------------------------------------------------------------------------------

    def want(self) -> CompareWant:
        """The runs, and the metrics in sight; at first no more than a first chart needs."""
        shown = self.body.charts.shown_metrics
        return CompareWant(
            self._run_ids,
            shown if self._has_table else shown[:1],
            has_times=self.body.charts.axis == "wall",
            has_table=self._has_table,
            has_best=self.body.kind == "best",
            has_models=self.body.kind == "cursor",
        )

    def read(self, connection: sqlite3.Connection, want: CompareWant) -> CompareData:
        """Read on from the last time."""
        return self._reader.read(connection, want)

    def show(self, data: CompareData) -> None:
        """Show what is new."""
        if len(data.runs) < 2:
            self._show_empty(data)
            return
        self.remove_class("-empty")
        if (data.pinned_id or "") == self._pinned_id:
            self._pinned_id = None
        was_empty = self.selection is None
        self._draw()
        if was_empty:
            self.refresh_bindings()
            self.body.charts.focused_chart.focus()
        if not self._has_table:
            self._has_table = True
            self.refresh_data()

    def show_nothing(self) -> None:
        """There is no store yet."""
        self._show_empty(None)

    def _show_empty(self, data: CompareData | None) -> None:
        self.selection = None
        self.set_focus(None)  # what is hidden would keep the keys
        self.refresh_bindings()
        self.add_class("-empty")
        self.remove_class("-answers")
        self.top_bar.set_texts("no comparison")
        self.status_line.set_text("")
        self._empty.update(lay_out_empty(data, self._run_ids))

    def open_target(self, target: Target) -> None:
        """Compare these runs."""
        if isinstance(target, CompareTarget):
            self._choose(target.run_ids)
            if not self.is_mounted:  # the curves are read while Textual lays out its first frame
                self._reader.read_ahead(self.cream.reader, self.want())

    def _choose(self, run_ids: Iterable[str]) -> None:
        self._run_ids = tuple(dict.fromkeys(run_ids))
        self._cursor_id = None
        self._hidden_ids &= frozenset(self._run_ids)
        self.refresh_data()

    def _draw(self) -> None:
        data = self.data
        if data is None or len(data.runs) < 2:
            return
        selection = self.selection = select(
            data.runs,
            is_grouped=self._is_grouped,
            cursor_id=self._cursor_id,
            hidden_ids=self._hidden_ids,
            pinned_id=self._pinned_id,
        )
        self.body.show_data(selection, data, is_grouped=self._is_grouped)
        letter = selection.find_letter(selection.baseline_run.run_id)
        self.top_bar.set_texts(f"{len(data.runs)} runs", f"baseline {letter}")
        self._tell()
        if data.last is not None:
            self.prompts.read_shared(self.cream, data, selection, self._read_answers)
            self._read_answers()

    def _read_answers(self) -> None:
        if self.selection is not None and self.data is not None and self.has_class("-answers"):
            self.prompts.read_answers(self.cream, self.data, self.selection)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys for charts do nothing where there are none."""
        if action in ("hide", "bands") and self.has_class("-answers"):
            return False
        if action in ("hide", "bands", "pin", "answers", "remove", "move_run") and self.selection is None:
            return False
        return action != "take_newest" or self.selection is None

    def _tell(self) -> None:
        answers = "left and right choose the run, { and } the model or iteration, J and K scroll"
        self.status_line.set_text(answers if self.has_class("-answers") else self.body.read_out())

    # Runs ------------------------------------------------------------------------------------------------------------

    def action_move_run(self, step: int) -> None:
        """Choose another run for the keys to act on."""
        if self.selection is not None:
            arms = self.selection.arms
            self._cursor_id = arms[(self.selection.cursor + step) % len(arms)].run_ids[0]
            self._draw()

    def action_hide(self) -> None:
        """Take its curves away, or draw them again."""
        if self.selection is not None:
            own = frozenset(self.selection.current.run_ids)
            self._hidden_ids = self._hidden_ids - own if own <= self._hidden_ids else self._hidden_ids | own
            self._draw()

    def action_pin(self) -> None:
        """Make it the baseline, of this comparison and everywhere; the baseline itself is let go."""
        if self.selection is not None and self.data is not None:
            pinned = self.data.pinned_id if self._pinned_id is None else self._pinned_id or None
            pin(self.cream, self.selection.current.runs[0], pinned, self._take_pin)

    def _take_pin(self, run_id: str | None) -> None:
        self._pinned_id = run_id or ""
        self._draw()

    def action_add(self) -> None:
        """Choose one more run."""
        if self.data is not None:
            ask_run(self.cream, self.data.newest, self._run_ids, lambda run_id: self._choose((*self._run_ids, run_id)))

    def action_remove(self) -> None:
        """Leave the run under the cursor out."""
        if self.selection is not None:
            gone = self.selection.current.run_ids
            self._choose(run_id for run_id in self._run_ids if run_id not in gone)

    def action_take_newest(self) -> None:
        """Compare the two newest runs, the older one first."""
        if self.data is not None and len(self.data.newest) > 1 and self.selection is None:
            newer, older = self.data.newest[:2]
            self._choose((older.run_id, newer.run_id))

    def action_bands(self) -> None:
        """Take runs that differ only in the seed together, or apart."""
        self._is_grouped = not self._is_grouped
        self._draw()

    def on_chart_point_chosen(self, event: Chart.PointChosen) -> None:
        """Open the pairs of the iteration in which the point lies."""
        event.stop()
        if self.selection is not None and self.data is not None:
            run = self.selection.current.runs[0]
            iteration = self.data.timelines[run.run_id].find_iteration(self.body.charts.axis, event.x)
            self.cream.go_to(PairsTarget(run.run_id, max(1, min(iteration, run.iterations))))

    def on_compare_body_turned(self) -> None:
        """Read what came into sight."""
        self._tell()
        self.refresh_data()

    def on_compare_body_looked(self) -> None:
        """Say where the cursor is."""
        self._tell()

    # Answers ---------------------------------------------------------------------------------------------------------

    def action_answers(self) -> None:
        """What two runs answered to the same prompts, or back."""
        if self.selection is None:
            return
        self.toggle_class("-answers")
        self._tell()
        self.refresh_bindings()
        if self.has_class("-answers"):
            self.prompts.answers.focus_list()
            self._read_answers()
        else:
            self.body.charts.focused_chart.focus()

    def on_answers_view_source_wanted(self, event: AnswersView.SourceWanted) -> None:
        """The next model or iteration."""
        self.prompts.step_source(event.step)
        self._read_answers()

    def on_answers_view_detail_wanted(self, event: AnswersView.DetailWanted) -> None:
        """The texts of a sampled prompt."""
        self.prompts.read_detail(self.cream, event.prompt_id)

    def on_answers_view_pairs_wanted(self, event: AnswersView.PairsWanted) -> None:
        """The pair that the run made of a prompt."""
        rival = self.selection.rival if self.selection is not None else None
        if event.prompt_id is None:
            self.cream.tell("an evaluation item has no pair; { and } step to the sampled prompts")
        elif rival is not None:
            self.cream.go_to(PairsTarget(rival.run_id, event.iteration, prompt_id=event.prompt_id))

    def action_back(self) -> None:
        """Close what is open, from the inside out; then the list of runs."""
        if self.has_class("-answers"):
            self.action_answers()
        elif not self.body.close_inner():
            super().action_back()

    # What others take from here --------------------------------------------------------------------------------------

    def list_palette(self) -> Iterator[tuple[str, str, Callable[[], Any]]]:
        """Every metric."""
        for metric in order_chart_metrics(self.data.metrics if self.data is not None else ()):
            yield f"Chart {title_metric(metric)}", "/".join(metric), partial(self.body.show_metric, metric)

    def get_command(self) -> str | None:
        """The command that prints the same."""
        if self.selection is None:
            return None
        options = self.prompts.answers.list_options() if self.has_class("-answers") else None
        return build_command(self.selection, options)

    def get_copy(self) -> Copied | None:
        """Both answers, the row under the cursor, or the values at the cursor."""
        if self.has_class("-answers"):
            return self.prompts.get_copy()
        row = self.body.read_row()
        if row is not None:
            return Copied(row, "row")
        return Copied(self.body.read_out().plain, "values") if self.selection is not None else None

    def get_table(self) -> Table | None:
        """The answers, or the summary."""
        if self.selection is None:
            return None
        if self.has_class("-answers"):
            return self.prompts.get_table(self.selection)
        return tabulate_summary(self.selection.arms, self.body.panes.summary_rows)

    def save_view(self) -> dict[str, Any]:
        """What is compared and how it is looked at."""
        look = {"axis": self.body.charts.axis, "smoothing": self.body.charts.smoothing, "grouped": self._is_grouped}
        return {"runs": list(self._run_ids), **look}

    def restore_view(self, view: dict[str, Any]) -> None:
        """Compare the same as the last time."""
        run_ids, smoothing = view.get("runs"), view.get("smoothing")
        if isinstance(run_ids, list):
            self._run_ids = tuple(run_id for run_id in run_ids if isinstance(run_id, str))
        if isinstance(smoothing, (int, float)) and 0 <= smoothing < 1:
            self.body.charts.smoothing = float(smoothing)
        self.body.charts.set_axis(str(view.get("axis")))
        self._is_grouped = view.get("grouped") is not False
