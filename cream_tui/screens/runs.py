"""The list of runs: live, filtered, sorted, grouped; what a person marks, notes, starts, stops and opens from there.

Knows the state of the list and its widgets. What is done to runs is in ``run_actions``; must not know SQL.
"""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from cream_tui.filtering.grammar import Vocabulary
from cream_tui.readers.run_records import RunRecord, build_vocabulary
from cream_tui.readers.run_tables import RunTable, RunTableReader
from cream_tui.readers.study_records import StudyRecord
from cream_tui.screens import run_actions, study_actions
from cream_tui.screens.base import Copied, StoreScreen, Table
from cream_tui.stores import format_command
from cream_tui.targets import LaunchTarget, RunsTarget, RunTarget, Target
from cream_tui.views.run_columns import COLUMNS, LEGEND, build_cells, build_columns
from cream_tui.views.run_rows import ArmRow, Row, RunRow, StudyLine
from cream_tui.views.runs import RunList
from cream_tui.widgets.filter_bar import FilterBar
from cream_tui.widgets.row_table import RowTable
from cream_tui.widgets.run_close_up import RunCloseUp

_EXAMPLE = 'method:cream beta<=1 tag:x accuracy>70% -state:failed age<2d has:note "words" (a or b)'
_EXAMINE_S = 0.5  # of each reading, on the health of runs that are new to it
_WITHOUT_RUNS = frozenset({"new", "sweep", "demo", "back"})

_BINDINGS: list[BindingType] = [
    Binding("enter", "open", "Open", id="runs.open"),
    Binding("enter,D", "demo", "Start the demo", id="runs.demo"),
    Binding("space", "select", "Select", id="runs.select"),
    Binding("slash", "filter", "Filter", id="runs.filter"),
    Binding("g", "group", "Group", id="runs.group"),
    Binding("s", "sort_next", "Sort", id="runs.sort"),
    Binding("S", "reverse", "Reverse the order", show=False, id="runs.reverse"),
    Binding("n", "new", "New", id="runs.new"),
    Binding("c", "compare", "Compare", id="runs.compare"),
    Binding("x", "stop", "Stop", id="runs.stop"),
    Binding("w", "sweep", "New study: methods × seeds from one file", show=False, id="runs.sweep"),
    Binding("N", "new_from", "New run with the settings of this one", show=False, id="runs.new_from"),
    Binding("R", "resume", "Resume", show=False, id="runs.resume"),
    Binding("F", "fork", "Fork from one of its models", show=False, id="runs.fork"),
    Binding("d", "delete", "Delete", show=False, id="runs.delete"),
    Binding("p", "pin", "Pin as baseline, or unpin", show=False, id="runs.pin"),
    Binding("number_sign", "tags", "Edit tags", show=False, id="runs.tags"),
    Binding("e", "note", "Edit the note", show=False, id="runs.note"),
    Binding("ctrl+a", "select_all", "Select all that the filter leaves", show=False, id="runs.select_all"),
    Binding("v", "side", "Show or hide the side pane", show=False, id="runs.side"),
]

_HELP = (
    "Every run of the store, the newest first. The list is live; runs go on when you leave.\n"
    "A study is one row: enter unfolds it into arms, with means over their seeds, and an arm into its runs; stop, "
    "resume, delete and compare on it mean the whole study. A filter leaves means as they are and says how many "
    "runs it shows.\n"
    f"{LEGEND}: its accuracy fell or its early warning fires, as its Health screen says, or it failed, lost its "
    "process, or hardly changed its weights; the pane beside the list has the words. "
    "acc %: accuracy of the newest model; C: mean confidence in the labels of its newest pairs; tau and "
    "anchor: how far its ranking agrees with that of the previous model and of the base model; label %: labels "
    "known to be right. * a likelihood of M0 stands in for the previous model.\n"
    "Filters: key:text contains, key=value equals, < <= > >= != compare, has:key, bare words search; or, not, "
    "parentheses. Keys are columns, settings (beta, training.beta) and metrics (loss)."
)


@dataclass(frozen=True, slots=True)
class RunsWant:
    """What is to be read: the runs, and facts for these keys.

    Attributes:
        with_facts: For what a person may yet type.
        with_health: After the first list, which stands at once.
    """

    keys: tuple[str, ...]
    with_facts: bool
    with_health: bool


class RunsScreen(StoreScreen[RunsWant, RunTable]):
    """The list of runs."""

    MODE = "runs"
    HELP = _HELP
    CSS_PATH = "runs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = _BINDINGS

    def __init__(self) -> None:
        super().__init__()
        self.list = RunList()
        self.table = RowTable(COLUMNS, build_cells, id="runs-table", classes="pane first-focus")
        self.filter_bar = FilterBar(self._list_words, example=_EXAMPLE)
        self.close_up = RunCloseUp()
        self.has_demo_started = False
        self._reader = RunTableReader()
        self._is_empty: bool | None = None
        self._with_facts = False
        self.after_facts: Callable[[], None] | None = None

    # The frame of the app -------------------------------------------------------------------------------------------

    def compose_body(self) -> Iterable[Widget]:
        """Filter, list and side pane; or what to do where there is no run."""
        yield self.filter_bar
        with Horizontal(id="runs-body"):
            yield self.table
            yield self.close_up
        yield self.close_up.summary
        yield Static(id="runs-empty")

    def on_mount(self) -> None:
        """Show what was restored."""
        self.table.border_title = "runs"
        self.filter_bar.set_text(self.list.filter_text)
        if self.list.filter_text or self.list.group_keys:
            self._with_facts = True

    def on_screen_resume(self) -> None:
        """Go to the run that another screen showed meanwhile, or to the folded study that has it."""
        if self.cream.current_run_id is not None:
            self.table.put_cursor(self.list.find_place(self.cream.current_run_id))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Where there is no run, there is only the demo to start and a run to write."""
        if action == "demo":
            return self.list.is_empty
        is_own = action in {binding.action for binding in self.BINDINGS if isinstance(binding, Binding)}
        return not self.list.is_empty or not is_own or action in _WITHOUT_RUNS

    def want(self) -> RunsWant:
        """The runs, with what filter, order and groups need."""
        return RunsWant(self.list.other_keys, self._with_facts, with_health=self._is_empty is not None)

    def read(self, connection: sqlite3.Connection, want: RunsWant) -> RunTable:
        """The runs now."""
        examine_s = _EXAMINE_S if want.with_health else None
        return self._reader.read(
            connection, want.keys, with_facts=want.with_facts, with_time_left=True, examine_s=examine_s
        )

    def show(self, data: RunTable) -> None:
        """Take the runs in."""
        self.list.take(data)
        if self.list.facts.settings is not None and self.after_facts is not None:
            then, self.after_facts = self.after_facts, None
            then()
        self.update()
        if not data.is_whole:
            self.refresh_data()

    def show_nothing(self) -> None:
        """There is no store yet."""
        self.list.take(RunTable((), self.list.facts, 0.0))
        self.update()

    def open_target(self, target: Target) -> None:
        """A filter or a study that somebody named."""
        if not isinstance(target, RunsTarget):
            return
        if target.filter_text is not None:
            self.list.set_filter(target.filter_text)
        if target.study_id is not None:
            self.table.put_cursor(self.list.show_study(target.study_id))
        if self.is_mounted:
            self.filter_bar.set_text(self.list.filter_text)
            self.update()

    def get_command(self) -> str | None:
        """`ls` with the same filter, order and groups."""
        return self.list.describe_command()

    def get_copy(self) -> Copied | None:
        """Names of the chosen runs, or of the study under the cursor."""
        names = [shlex.quote(name) for name in run_actions.list_names(self)]
        return Copied(" ".join(names), "the name" if len(names) == 1 else f"{len(names)} names") if names else None

    def get_table(self) -> Table | None:
        """Every field of the runs that the filter leaves, and the keys they are grouped by."""
        keys, rows = self.list.tabulate()
        return Table("runs", keys, rows) if rows else None

    def save_view(self) -> dict[str, Any]:
        """Filter, order, groups and whether the side pane is hidden."""
        return self.list.save() | {"side": not self.has_class("-without-side")}

    def restore_view(self, view: dict[str, Any]) -> None:
        """Take them up again."""
        self.list.restore(view)
        self.set_class(view.get("side") is False, "-without-side")

    def list_palette(self) -> Iterable[tuple[str, str, Callable[[], Any]]]:
        """Orders, groups and ready filters."""
        return run_actions.list_palette(self)

    # Showing --------------------------------------------------------------------------------------------------------

    def update(self) -> None:
        """Draw what has changed."""
        is_empty = self.list.is_empty
        if is_empty != self._is_empty:
            self._is_empty = is_empty
            self.set_class(is_empty, "-empty")
            self.refresh_bindings()
            if not is_empty:
                self.table.focus()
        if is_empty:
            self.query_one("#runs-empty", Static).update(tell_start(self.has_demo_started, self.cream.store_option))
        self.table.set_sorted(self.list.sort_key, is_descending=self.list.is_descending)
        self.table.set_columns(build_columns(self.list.rows))
        self.table.set_rows(self.list.rows)
        self.filter_bar.set_problem(self.list.problem.message if self.list.problem is not None else None)
        self.filter_bar.set_facts(self.list.describe_view())
        self.top_bar.set_texts(self.list.describe_states(), str(self.cream.root))
        self.status_line.set_text(self.list.describe_marks() or ("" if is_empty else LEGEND))
        self.close_up.look_at(self.table.cursor_row, self.list.baseline_id)

    def _list_words(self) -> tuple[Vocabulary, Mapping[str, Sequence[str]]]:
        return build_vocabulary(self.list.facts), self.list.list_values()

    # Filter, order, groups, selection -------------------------------------------------------------------------------

    def filter_by(self, text: str) -> None:
        """Filter by this text."""
        self.filter_bar.set_text(text)
        self._apply_filter(text)

    def sort_by(self, key: str) -> None:
        """Sort by this column; again turns it round."""
        self.list.sort_by(key)
        self.update()

    def group_by(self, names: Sequence[str]) -> None:
        """Group by these keys."""
        self.list.group_by(names)
        self.update()
        self.refresh_data()

    def action_filter(self) -> None:
        """Type a filter."""
        self.ask_for_facts()
        self.filter_bar.open()

    def action_sort_next(self) -> None:
        """Sort by the next column that is shown."""
        keys = [column.key for column in self.table.shown_columns if column.key]
        place = keys.index(self.list.sort_key) if self.list.sort_key in keys else -1
        self.sort_by(keys[(place + 1) % len(keys)])

    def action_reverse(self) -> None:
        """Turn the order round."""
        self.sort_by(self.list.sort_key)

    def action_select(self) -> None:
        """Select the row under the cursor, of a group, a study or an arm all runs, and go on to the next one."""
        row = self.row
        if isinstance(row, RunRow):
            self.list.toggle([row.key])
        elif row is not None and row.runs:
            self.list.toggle(record.run.run_id for record in row.runs)
        self.update()
        self.table.action_move(1)

    def action_select_all(self) -> None:
        """Select every run that the filter leaves."""
        self.list.select_all()
        self.update()

    def action_back(self) -> None:
        """Drop the selection, else the filter."""
        if self.list.selected:
            self.list.select_none()
            self.update()
        elif self.list.filter_text:
            self.filter_by("")

    def action_side(self) -> None:
        """Show or hide the side pane."""
        self.toggle_class("-without-side")

    def on_filter_bar_changed(self, event: FilterBar.Changed) -> None:
        """Filter at once."""
        self.list.is_typing = self.filter_bar.is_open
        self._apply_filter(event.text)

    def on_filter_bar_left(self) -> None:
        """Keys go to the list again, and every word of the filter counts."""
        self.list.is_typing = False
        self._apply_filter(self.filter_bar.text)
        self.table.focus()

    def on_row_table_moved(self, event: RowTable.Moved) -> None:
        """Another run or study is looked at."""
        row = self.row
        if isinstance(row, RunRow):
            self.cream.current_run_id = event.key
        elif isinstance(row, (StudyLine, ArmRow)):
            self.cream.current_study_id = row.study_id
        self.close_up.look_at(self.table.cursor_row, self.list.baseline_id)

    def on_row_table_chosen(self) -> None:
        """A double click opens."""
        self.action_open()

    def on_row_table_header_clicked(self, event: RowTable.HeaderClicked) -> None:
        """A click on a title sorts."""
        self.sort_by(event.column_key)

    def _apply_filter(self, text: str) -> None:
        self.list.set_filter(text)
        self.update()
        if self.list.is_waiting:
            self.refresh_data()

    def ask_for_facts(self) -> bool:
        """Whether settings are known; else they are read now."""
        if not self._with_facts:
            self._with_facts = True
            self.refresh_data()
        return self.list.facts.settings is not None

    # What is done to runs -------------------------------------------------------------------------------------------

    @property
    def row(self) -> Row | None:
        """The row under the cursor."""
        return cast("Row | None", self.table.cursor_row)

    @property
    def chosen(self) -> list[RunRecord]:
        """The selected runs, else the one under the cursor, or those of the study or the arm."""
        return self.list.list_chosen(self.row)

    @property
    def study(self) -> StudyRecord | None:
        """The study under the cursor, unless runs are selected: what is done is then done to the whole of it."""
        return self.row.study if isinstance(self.row, StudyLine) and not self.list.selected else None

    @property
    def under_cursor(self) -> RunRecord | None:
        """The run under the cursor."""
        return self.row.record if isinstance(self.row, RunRow) else None

    def action_open(self) -> None:
        """Open the run; fold or unfold the group, the study or the arm."""
        row = self.row
        if isinstance(row, RunRow):
            self.cream.go_to(RunTarget(row.key))
        elif row is not None:
            self.list.toggle_fold(row.key)
            self.update()

    def action_new(self) -> None:
        """Write a run."""
        self.cream.go_to(LaunchTarget())

    def action_new_from(self) -> None:
        """Write a run that begins with the settings of this one."""
        if self.under_cursor is not None:
            self.cream.go_to(LaunchTarget(source_run_id=self.under_cursor.run.run_id))
        else:
            self.cream.tell(run_actions.NO_RUN)

    def action_sweep(self) -> None:
        """Choose a study to start."""
        study_actions.choose_study(self.cream)

    action_demo = run_actions.start_demo
    action_compare = run_actions.compare
    action_group = run_actions.ask_group
    action_stop = run_actions.stop
    action_resume = run_actions.resume
    action_fork = run_actions.fork
    action_delete = run_actions.delete
    action_pin = run_actions.pin
    action_tags = run_actions.edit_tags
    action_note = run_actions.edit_note


def tell_start(has_demo_started: bool, store_option: str | None) -> Content:
    """What an empty store says: what this is, and how to begin."""
    if has_demo_started:
        return Content("Starting the demo: it opens here in a few seconds.")
    return Content.assemble(
        ("No runs yet\n\n", "$primary bold"),
        "cream-tui runs experiments in which a model answers prompts, ranks its own answers and learns from the pairs. "
        "It keeps every answer, and shows whether the labels that the model gave itself were right.\n\n",
        ("  enter ", "$primary bold"),
        " start the demo: two short runs, nothing to download\n",
        ("  n     ", "$primary bold"),
        " write a run of your own\n",
        ("  w     ", "$primary bold"),
        " run a study: several methods and seeds from one file\n",
        ("  ?     ", "$primary bold"),
        " all keys\n\n",
        ("The same from a shell:  ", "$foreground 60%"),
        format_command("demo --quick", store_option),
    )
