"""A table whose columns are runs: the first column stays, the others move so that the chosen one is in sight.

Knows spans and cells. Must not know runs or metrics. Drawn as a frame, so that only changed cells reach the terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from cream_tui.charts.frame import Frame, shorten
from cream_tui.charts.frame_view import FrameView
from cream_tui.text import make_visible
from cream_tui.views.compare_text import Cell, TableColumn, TableRow

_GAP = 2
_LEAST_WIDTH, _MOST_WIDTH = 10, 28
_CURSOR = "▸"
_MORE_LEFT, _MORE_RIGHT = "‹", "›"


class ComparisonTable(FrameView):
    """The table; ``cursor`` is the place of the row that keys act on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "Next row", show=False, id="comparison.down"),
        Binding("up,k", "move(-1)", "Previous row", show=False, id="comparison.up"),
        Binding("pagedown,ctrl+d", "move_page(1)", "Page down", show=False, id="comparison.page_down"),
        Binding("pageup,ctrl+u", "move_page(-1)", "Page up", show=False, id="comparison.page_up"),
        Binding("home", "move(-100000)", "First row", show=False, id="comparison.first"),
        Binding("end,G", "move(100000)", "Last row", show=False, id="comparison.last"),
        Binding("enter", "choose", "Choose the row", show=False, id="comparison.choose"),
    ]

    class Chosen(Message):
        """Enter on a row."""

        def __init__(self, table: ComparisonTable, key: str) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> ComparisonTable:
            """The table."""
            return self.table

    def __init__(
        self, *, id: str | None = None, classes: str | None = None, empty_text: str = "", is_text: bool = False
    ) -> None:
        """``is_text``: cells may be shortened; a number that is cut would be another number."""
        super().__init__(id=id, classes=classes)
        self._is_text = is_text
        self._columns: tuple[TableColumn, ...] = ()
        self._rows: tuple[TableRow, ...] = ()
        self._widths: tuple[int, ...] = ()
        self._active = self._kept = 0
        self._n_left = self._n_right = 0  # columns out of sight
        self._top = 0
        self._wanted: str | None = None
        self._empty_text = empty_text
        self.cursor = 0

    def set_table(
        self, columns: Sequence[TableColumn], rows: Sequence[TableRow], *, active: int, kept: int = 0
    ) -> None:
        """Show these rows; the cursor stays on its row.

        Args:
            active: The column that is to be in sight, from 1.
            kept: The column that stays in sight beside the first; 0: none does.
        """
        self._columns, self._rows, self._active, self._kept = tuple(columns), tuple(rows), active, kept
        self._widths = tuple(_measure(column, [row.cells[k] for row in rows]) for k, column in enumerate(columns))
        known = [row.key for row in rows]
        if self._wanted in known:
            self.cursor = known.index(self._wanted)
        else:  # it may come back
            self.cursor = 0 if self._wanted is None else max(0, min(self.cursor, len(rows) - 1))
        self.redraw()

    @property
    def cursor_key(self) -> str | None:
        """The key of the row under the cursor."""
        return self._rows[self.cursor].key if self.cursor < len(self._rows) else None

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    def read_row(self) -> str:
        """The row under the cursor as text, each cell with its column's title."""
        if self.cursor >= len(self._rows):
            return ""
        (name, *cells), (_, *columns) = self._rows[self.cursor].cells, self._columns
        parts = [f"{_read(column.title)} {_read(cell)}" for column, cell in zip(columns, cells, strict=True)]
        return f"{_read(name)}: " + ", ".join(parts)

    def action_move(self, step: int) -> None:
        """Move the cursor by rows."""
        self.cursor = max(0, min(self.cursor + step, len(self._rows) - 1))
        self._wanted = self.cursor_key
        self.redraw()

    def action_move_page(self, pages: int) -> None:
        """Move the cursor by pages."""
        self.action_move(pages * max(1, self.size.height - self._n_head))

    def action_choose(self) -> None:
        """Choose the row under the cursor."""
        if self.cursor_key is not None:
            self.post_message(self.Chosen(self, self.cursor_key))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Move the cursor."""
        event.stop()
        self.action_move(1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Move the cursor."""
        event.stop()
        self.action_move(-1)

    def on_click(self, event: events.Click) -> None:
        """Put the cursor there."""
        row = self._top + event.get_content_offset_capture(self).y - self._n_head
        if self._top <= row < len(self._rows):
            self.action_move(row - self.cursor)

    def on_focus(self) -> None:
        """The cursor shows whether keys come here."""
        self.redraw()

    def on_blur(self) -> None:
        """The cursor shows whether keys come here."""
        self.redraw()

    @property
    def _n_head(self) -> int:
        if not any(column.title for column in self._columns):
            return 0
        return 2 if any(column.subtitle for column in self._columns) else 1

    def draw(self, width: int, height: int) -> Frame:
        """The table in this size."""
        frame = Frame(width, height)
        if not self._rows and self._empty_text:
            frame.write(0, 0, self._empty_text, "label")
            return frame
        n_head = self._n_head
        room = max(1, height - n_head)
        self._top = max(0, min(self._top, len(self._rows) - room))
        self._top = min(max(self._top, self.cursor - room + 1), self.cursor)
        places = self._find_places(width)
        for row, read in ((0, "title"), (1, "subtitle")):
            if row < n_head:
                for k, x, cell_width in places:
                    _write_cell(frame, row, x, cell_width, getattr(self._columns[k], read))
        if self._n_right:
            frame.put(0, width - 1, _MORE_RIGHT, "cursor")
        if self._n_left and len(places) > 2:
            frame.put(0, places[2][1] - 1, _MORE_LEFT, "cursor")
        for row, line in enumerate(self._rows[self._top : self._top + room], n_head):
            if self._top + row - n_head == self.cursor and self.has_focus:
                frame.put(row, 0, _CURSOR, "cursor")
            for k, x, cell_width in places:
                _write_cell(frame, row, x, cell_width, line.cells[k])
        return frame

    def _find_places(self, width: int) -> list[tuple[int, int, int]]:
        """Column, x and width of what is in sight: the first column, then from where the active one fits."""
        if not self._columns:
            return []
        first_width = min(self._widths[0], max(_LEAST_WIDTH, width // 3))
        left = 1 + first_width + _GAP
        widths = self._widths
        if self._is_text:
            n = len(widths) - 1
            widths = (first_width, *(min(w, max(_LEAST_WIDTH, (width - left) // max(1, n) - _GAP)) for w in widths[1:]))
        order = [k for k in range(1, len(widths)) if k != self._kept]
        places, x = [(0, 1, first_width)], left
        if self._kept:
            places.append((self._kept, x, min(widths[self._kept], width - x)))
            x += widths[self._kept] + _GAP
        last = order.index(self._active) if self._active in order else 0
        start = 0
        while start < last and x + _sum([widths[k] for k in order[start : last + 1]]) > width:
            start += 1
        self._n_left, self._n_right = start, 0
        for place, k in enumerate(order[start:], start):
            # A number that is cut is another number: only a column that stands alone may be.
            if x + widths[k] > width and place > start:
                self._n_right = len(order) - place
                break
            places.append((k, x, min(widths[k], width - x)))
            x += widths[k] + _GAP
        return places


def _sum(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _measure(column: TableColumn, cells: Sequence[Cell]) -> int:
    if column.width:
        return column.width
    widest = max((_length(cell) for cell in cells), default=0)
    return max(min(widest, _MOST_WIDTH), min(max(_length(column.title), _length(column.subtitle)), _MOST_WIDTH))


def _read(cell: Cell) -> str:
    return " ".join("".join(text for text, _ in cell).replace(_CURSOR, " ").split())


def _length(cell: Cell) -> int:
    return sum(cell_len(make_visible(text)) for text, _ in cell)


def _write_cell(frame: Frame, row: int, x: int, width: int, cell: Cell) -> None:
    end = x + width
    for text, style in cell:
        if x >= end:
            return
        x = frame.write(row, x, shorten(text, end - x), style)
