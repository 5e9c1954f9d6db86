"""A table of one-line rows that keeps its cursor on a row, folds its columns and paints only what changed.

Knows Textual and columns. Must not know what a row is: rows have a key, and a function gives their cells. DataTable
needs 0.3 s for a thousand rows and loses the cursor when rows move; here only visible rows have cells at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from cream_tui.output import cut, measure
from cream_tui.views.columns import GAP, Cell, Column, Place, RowCells, Spans, find_difference, fit, lay_out
from cream_tui.widgets.cell_styles import build_rules, list_classes

_GUTTER = 1
_HEADER_LINES = 1
_CURSOR, _UP, _DOWN = "▸", "▲", "▼"


class Row(Protocol):
    """What a row must have."""

    @property
    def key(self) -> str:
        """What tells it from all other rows."""


class RowTable(ScrollView, can_focus=True):
    """The table."""

    DEFAULT_CSS = """
    RowTable { height: 1fr; overflow-x: hidden; }
    RowTable > .row-table--header { color: $foreground 70%; }
    RowTable > .row-table--sorted { color: $primary; text-style: bold; }
    RowTable > .row-table--cursor { background: $primary 20%; }
    RowTable > .row-table--rest { background: $panel; }
    RowTable:ansi > .row-table--cursor { text-style: reverse; }
    RowTable:ansi > .row-table--header { color: ansi_default; text-style: dim; }
    """ + build_rules("RowTable", "row-table")
    COMPONENT_CLASSES: ClassVar[set[str]] = list_classes("row-table", "header", "sorted", "cursor", "rest")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "Next row", show=False, id="table.down"),
        Binding("up,k", "move(-1)", "Previous row", show=False, id="table.up"),
        Binding("pagedown", "move_page(1)", "Page down", show=False, id="table.page_down"),
        Binding("pageup", "move_page(-1)", "Page up", show=False, id="table.page_up"),
        Binding("ctrl+d", "move_page(0.5)", "Half a page down", show=False, id="table.half_down"),
        Binding("ctrl+u", "move_page(-0.5)", "Half a page up", show=False, id="table.half_up"),
        Binding("home", "move_to(0)", "First row", show=False, id="table.first"),
        Binding("end,G", "move_to(-1)", "Last row", show=False, id="table.last"),
    ]

    class Moved(Message):
        """The cursor stands on another row, or on none."""

        def __init__(self, table: RowTable, key: str | None) -> None:
            super().__init__()
            self.table = table
            self.key = key

        def can_replace(self, message: Message) -> bool:
            """Only the newest counts."""
            return isinstance(message, RowTable.Moved)

    class Chosen(Message):
        """A row was double clicked."""

        def __init__(self, table: RowTable, key: str) -> None:
            super().__init__()
            self.table = table
            self.key = key

    class HeaderClicked(Message):
        """A title was clicked."""

        def __init__(self, table: RowTable, column_key: str) -> None:
            super().__init__()
            self.table = table
            self.column_key = column_key

    def __init__(
        self,
        columns: Sequence[Column],
        build_cells: Callable[[Any], RowCells],
        *,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._columns = tuple(columns)
        self._build_cells = build_cells
        self._rows: Sequence[Row] = ()
        self._at = 0
        self._wanted_key: str | None = None
        self._sorted: tuple[str, bool] | None = None
        self._places: tuple[int, list[Place]] = (-1, [])
        self._painted: dict[int, tuple[str, Spans]] = {}
        self._styles: dict[tuple[str, str], Style] = {}

    # What others ask ------------------------------------------------------------------------------------------------

    @property
    def cursor_key(self) -> str | None:
        """The key of the row under the cursor."""
        return self._rows[self._at].key if self._rows else None

    @property
    def cursor_row(self) -> Row | None:
        """The row under the cursor."""
        return self._rows[self._at] if self._rows else None

    @property
    def shown_columns(self) -> list[Column]:
        """The columns that fit now."""
        return [self._columns[place.index] for place in self._lay_out()]

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Have these columns; followed by their rows."""
        if tuple(columns) != self._columns:
            self._columns, self._places = tuple(columns), (-1, [])

    def set_rows(self, rows: Sequence[Row]) -> None:
        """Show these; the cursor stays on its row and, where rows came above it, in its line.

        A row that is gone for a while, as by a filter, has the cursor again when it comes back.
        """
        former, shown_key = self._at, self.cursor_key
        old_key = self._wanted_key or shown_key
        n_changed = len(rows) != len(self._rows)
        self._rows = rows
        found = next((at for at, row in enumerate(rows) if row.key == old_key), None)
        if found is not None:
            self._at, self._wanted_key = found, None
        else:
            self._at, self._wanted_key = max(0, min(former, len(rows) - 1)), old_key
        if n_changed:
            self.virtual_size = Size(self._width, len(rows) + _HEADER_LINES)
        if found is not None and self.scroll_offset.y > 0 and found != former:
            self.scroll_to(y=self.scroll_offset.y + found - former, animate=False, immediate=True)
        self._show_cursor()
        self._repaint()
        if self.cursor_key != shown_key:
            self.post_message(self.Moved(self, self.cursor_key))

    def put_cursor(self, key: str) -> None:
        """Put the cursor on this row, now or as soon as it is there."""
        self._wanted_key = key
        for at, row in enumerate(self._rows):
            if row.key == key:
                self._wanted_key = None
                self._move(at)

    def set_sorted(self, column_key: str, *, is_descending: bool) -> None:
        """Mark the column that the rows are sorted by."""
        self._sorted = (column_key, is_descending)
        self._repaint()

    # Keys and mouse -------------------------------------------------------------------------------------------------

    def action_move(self, step: int) -> None:
        """Move the cursor by rows."""
        self._move(self._at + step)

    def action_move_page(self, pages: float) -> None:
        """Move the cursor by pages."""
        self._move(self._at + int(pages * max(1, self._n_visible)))

    def action_move_to(self, at: int) -> None:
        """Move the cursor to the first or the last row."""
        self._move(at if at >= 0 else len(self._rows) - 1)

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor or names a column; a second one chooses the row."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y < _HEADER_LINES:
            for place in self._lay_out():
                key = self._columns[place.index].key
                if key and place.x - GAP <= offset.x - _GUTTER < place.x + place.width:
                    self.post_message(self.HeaderClicked(self, key))
            return
        at = self.scroll_offset.y + offset.y - _HEADER_LINES
        if at < len(self._rows):
            self._move(at)
            if event.chain == 2:
                self.post_message(self.Chosen(self, self._rows[at].key))

    # Painting -------------------------------------------------------------------------------------------------------

    def on_resize(self) -> None:
        """The columns fold anew."""
        self.virtual_size = Size(self._width, len(self._rows) + _HEADER_LINES)
        self._show_cursor()

    def on_focus(self) -> None:
        """The cursor shows whether keys come here."""
        self._repaint()

    def on_blur(self) -> None:
        """The cursor shows whether keys come here."""
        self._repaint()

    def notify_style_update(self) -> None:
        """Colours have changed."""
        self._styles.clear()
        super().notify_style_update()

    def render_line(self, y: int) -> Strip:
        """One line of the widget."""
        base, spans = self._painted[y] = self._build_line(y)
        segments = [Segment(text, self._find_style(base, style)) for text, style in spans]
        return Strip(segments).adjust_cell_length(self._width, self._find_style(base, ""))

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width  # that of ``size`` covers the scrollbar

    @property
    def _n_visible(self) -> int:
        return max(0, self.size.height - _HEADER_LINES)

    def _move(self, at: int) -> None:
        at = max(0, min(at, len(self._rows) - 1))
        if at != self._at and self._rows:
            self._at, self._wanted_key = at, None
            self._show_cursor()
            self._repaint()
            self.post_message(self.Moved(self, self.cursor_key))

    def _show_cursor(self) -> None:
        top, n_visible = self.scroll_offset.y, self._n_visible
        if n_visible and not top <= self._at < top + n_visible:
            y = self._at if self._at < top else self._at - n_visible + 1
            self.scroll_to(y=y, animate=False, immediate=True)

    def _repaint(self) -> None:
        """Refresh those parts of the visible lines that differ from what stands there."""
        for y in range(self.size.height):
            known, (base, spans) = self._painted.get(y), self._build_line(y)
            if known == (base, spans):
                continue
            start, end = 0, self._width
            if known is not None and known[0] == base:
                start, end = find_difference(known[1], spans, end)
            self.refresh(Region(start, y, end - start, 1))

    def _lay_out(self) -> list[Place]:
        if self._places[0] != self._width:
            self._places = self._width, lay_out(self._columns, self._width - _GUTTER)
        return self._places[1]

    def _build_line(self, y: int) -> tuple[str, Spans]:
        if y < _HEADER_LINES:
            return "", self._build_header()
        at = self.scroll_offset.y + y - _HEADER_LINES
        if at >= len(self._rows):
            return "", ()
        is_here = at == self._at
        base = ("cursor" if self.has_focus else "rest") if is_here else ""
        gutter = (_CURSOR if is_here else " ", "accent" if is_here else "")
        return base, (gutter, *self._build_row(self._build_cells(self._rows[at])))

    def _build_row(self, row: RowCells) -> Spans:
        places = self._lay_out()
        if row.label is None:
            return self._build_cell_spans(row, places)
        ends = {self._columns[place.index].key: place.x for place in places}
        start, end = ends.get(row.label_start, 0), ends.get(row.label_end, self._width - _GUTTER)
        text = cut(row.label.text, max(0, end - start - GAP))
        label = (text + " " * (end - start - measure(text)), row.label.style)
        before = [place for place in places if place.x < start]
        after = [place for place in places if place.x >= end]
        return (*self._build_cell_spans(row, before), label, *self._build_cell_spans(row, after))

    def _build_cell_spans(self, row: RowCells, places: Sequence[Place]) -> Spans:
        spans: list[tuple[str, str]] = []
        for place in places:
            cell: Cell = row.cells[place.index]
            spans.append((fit(cell.text, place.width, self._columns[place.index]) + " " * GAP, cell.style))
        return tuple(spans)

    def _build_header(self) -> Spans:
        key, is_descending = self._sorted or ("", False)
        spans: list[tuple[str, str]] = [(" " * _GUTTER, "header")]
        for place in self._lay_out():
            column = self._columns[place.index]
            is_sorted = bool(key) and column.key == key
            title = column.title
            if is_sorted:
                arrow = _DOWN if is_descending else _UP
                title = f"{arrow}{title}" if column.align == "right" else f"{title}{arrow}"
            if is_sorted and column.align == "right" and measure(title) > place.width and len(spans) > 1:
                before, style = spans[-1]  # the arrow stands in the gap
                spans[-1] = (before[:-GAP], style)
                spans.append((title + " " * GAP, "sorted"))
            else:
                spans.append((fit(title, place.width, column) + " " * GAP, "sorted" if is_sorted else "header"))
        return tuple(spans)

    def _find_style(self, base: str, style: str) -> Style:
        known = self._styles.get((base, style))
        if known is None:
            known = self.get_component_rich_style(f"row-table--{style}") if style else self.rich_style
            if base:
                row = self.get_component_rich_style(f"row-table--{base}")
                if row.reverse:  # the colours of cells would turn into blocks of colour
                    known = self.rich_style + known.without_color + Style(reverse=True, dim=False)
                else:
                    known += Style(bgcolor=row.bgcolor)
            self._styles[base, style] = known
        return known
