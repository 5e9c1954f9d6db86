"""The run under the cursor of a list, close up: a side pane, or one line where the room is short.

Knows the app's readers and how details are told. Must not know the list. Details are read in the background, one run at
a time; calls meanwhile are joined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.content import Content

from cream_tui.text import make_visible
from cream_tui.views.columns import Cell
from cream_tui.views.run_pane import build_group_pane, build_run_pane, build_summary
from cream_tui.views.run_rows import ArmRow, GroupRow, RunRow, StudyLine
from cream_tui.widgets.line_pane import LinePane
from db.errors import StoreError

if TYPE_CHECKING:
    from cream_tui.app import CreamApp
    from cream_tui.readers.run_details import RunDetail
    from cream_tui.widgets.row_table import Row

_NOTHING = (Cell("no run matches the filter", "dim"),)
_ON_GROUP = (Cell("enter folds or unfolds the group", "dim"),)


class RunCloseUp(LinePane):
    """The side pane; ``summary`` is the line that stands for it."""

    def __init__(self) -> None:
        super().__init__(id="runs-side", classes="pane side")
        self.summary = LinePane(id="runs-summary")
        self.detail: RunDetail | None = None
        self._row: Row | None = None
        self._baseline_id: str | None = None
        self._title = ""
        self._is_reading = False
        self._is_due = False

    def look_at(self, row: Row | None, baseline_id: str | None) -> None:
        """Show this row now, and its details as they are now as soon as they are read."""
        self._row, self._baseline_id = row, baseline_id
        if self.detail is not None and (row is None or self.detail.run.run_id != row.key):
            self.detail = None
        self._show()
        if not isinstance(row, RunRow) or self._is_reading:
            self._is_due = isinstance(row, RunRow)
            return
        self._is_reading, self._is_due = True, False
        app, run_id = cast("CreamApp", self.app), row.key
        app.in_background(lambda: _read(app, run_id, baseline_id), self._take)

    def _take(self, detail: RunDetail | None) -> None:
        self._is_reading = False
        if detail is not None and self._row is not None and detail.run.run_id == self._row.key:
            self.detail = detail
            self._show()
        if self._is_due:
            self.look_at(self._row, self._baseline_id)

    def _show(self) -> None:
        row, detail = self._row, self.detail
        if isinstance(row, RunRow):
            self._set_title(row.record.run.name)
            self.set_lines(lambda width, height: build_run_pane(row, detail, width, height))
            self.summary.set_lines(lambda width, _: [build_summary(row, detail)])
        elif isinstance(row, (StudyLine, ArmRow)):
            from cream_tui.views.study_pane import build_head_pane, build_head_summary  # not before there is a study

            self._set_title(row.title if isinstance(row, ArmRow) else f"study {row.study.study.name}")
            self.set_lines(lambda width, height: build_head_pane(row, width, height))
            self.summary.set_lines(lambda width, _: [build_head_summary(row)])
        elif isinstance(row, GroupRow):
            self._set_title("group")
            self.set_lines(lambda width, height: build_group_pane(row))
            self.summary.set_lines(lambda width, _: [_ON_GROUP])
        else:
            self._set_title("")
            self.set_lines(lambda width, height: [_NOTHING])
            self.summary.set_lines(lambda width, _: [_NOTHING])

    def _set_title(self, name: str) -> None:
        if name != self._title:  # setting it paints the whole pane anew
            self._title = name
            self.border_title = Content(make_visible(name))  # type: ignore[assignment]


def _read(app: CreamApp, run_id: str, baseline_id: str | None) -> RunDetail | None:
    from cream_tui.readers.run_details import read_run_detail  # here, so that the list of runs stands before

    try:
        with app.reader() as connection:
            return None if connection is None else read_run_detail(connection, app.root, run_id, baseline_id)
    except StoreError:  # the run was removed meanwhile, or the list itself tells the fault
        return None
