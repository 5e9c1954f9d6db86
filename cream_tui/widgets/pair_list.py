"""A list of pairs of any length: one line each, rows asked for page by page as they come into sight.

Knows ids, the records of a page and how a line is laid out. Must not know the store: it says which rows it lacks
(``RowsWanted``) and is given them (``put_rows``). In blind mode nothing is drawn that tells what the model preferred.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from cream_tui.text import make_visible
from cream_tui.units import MISSING, format_number, format_signed
from cream_tui.views.pair_judging import NO_MARK, VERDICT_LETTERS, Mark
from db.pair_browse import PairView

N_CHARACTERS = 160  # of a prompt, more than any line shows
_N_KEPT = 1000
_LABELS = {"right": "right", "wrong": "wrong", "both_right": "both ✓", "both_wrong": "both ✗", "unknown": "?"}
_JUDGED = "✓"


@dataclass(frozen=True, slots=True)
class PairColumn:
    """A column: shown from a width of the list on; a telling one is left out in blind mode."""

    key: str
    title: str
    width: int
    from_width: int = 0
    is_telling: bool = True


COLUMNS = (
    PairColumn("iteration", "t", 2, 70, is_telling=False),
    PairColumn("tau", "tau", 6),
    PairColumn("confidence", "C", 4, 70),
    PairColumn("margin", "margin", 7, 58),
    PairColumn("previous_margin", "before", 7, 88),
    PairColumn("length_ratio", "length", 6, 52),
    PairColumn("label", "label", 6, 40),
)


class PairList(ScrollView, can_focus=True):
    """The list. ``place`` is the cursor's, from 0; ``ids`` the pair ids in order."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "pair-list--head",
        "pair-list--cursor",
        "pair-list--dim",
        "pair-list--good",
        "pair-list--bad",
        "pair-list--flag",
    }
    DEFAULT_CSS = """
    PairList { height: 1fr; overflow-x: hidden; scrollbar-gutter: stable; scrollbar-size-vertical: 1; }
    PairList > .pair-list--head { color: $foreground 60%; }
    PairList > .pair-list--cursor { background: $primary 30%; text-style: bold; }
    PairList:focus > .pair-list--cursor { background: $primary; color: $background; text-style: bold; }
    PairList > .pair-list--dim { color: $foreground 60%; }
    PairList > .pair-list--good { color: $success; }
    PairList > .pair-list--bad { color: $error; }
    PairList > .pair-list--flag { color: $warning; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Previous pair", show=False, id="pairs.up"),
        Binding("down", "move(1)", "Next pair", show=False, id="pairs.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="pairs.page_up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="pairs.page_down"),
        Binding("home", "go(0)", "First pair", show=False, id="pairs.first"),
        Binding("end", "go(-1)", "Last pair", show=False, id="pairs.last"),
        Binding("enter", "choose", "Read the pair", show=False, id="pairs.open"),
    ]

    class Chosen(Message):
        """Enter or a second click on the pair under the cursor."""

    class RowsWanted(Message):
        """These pairs are in sight, or nearly so, and their rows are not here."""

        def __init__(self, pair_ids: tuple[int, ...]) -> None:
            super().__init__()
            self.pair_ids = pair_ids

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.ids: array[int] = array("q")
        self.place = 0
        self.is_blind = False
        self.sort = "position"
        self.is_descending = False
        self.mark_of: Callable[[int], Mark] = lambda _: NO_MARK
        self.number_of: Callable[[int], int | None] = lambda _: None
        # Called at once, not by a message, so that list and pair change in one frame.
        self.on_move: Callable[[], None] = lambda: None
        self._rows: OrderedDict[int, PairView] = OrderedDict()
        self._asked: tuple[int, ...] = ()

    @property
    def cursor_id(self) -> int | None:
        """The pair under the cursor."""
        return self.ids[self.place] if self.place < len(self.ids) else None

    @property
    def cursor_row(self) -> PairView | None:
        """Its row, as far as it is here."""
        return None if self.cursor_id is None else self._rows.get(self.cursor_id)

    def find_row(self, pair_id: int) -> PairView | None:
        """The row of a pair, as far as it is here."""
        return self._rows.get(pair_id)

    def set_head(self, sort: str, is_descending: bool, *, is_blind: bool) -> None:
        """Which column the head marks, and whether telling ones are shown."""
        self.sort, self.is_descending, self.is_blind = sort, is_descending, is_blind

    def set_order(self, ids: array[int], place: int) -> None:
        """Show these pairs with the cursor at a place; rows that are here stay."""
        top = self.place - round(self.scroll_y)
        self.ids, self.place = ids, max(0, min(place, len(ids) - 1))
        self.virtual_size = Size(1, len(ids) + 1)
        self._show_cursor(top=self.place - top)
        self._ask()
        self.refresh()

    def put_rows(self, rows: Sequence[PairView]) -> None:
        """Take rows that were asked for."""
        for row in rows:
            self._rows[row.pair_id] = row
            self._rows.move_to_end(row.pair_id)
        while len(self._rows) > _N_KEPT:
            self._rows.popitem(last=False)
        self._asked = ()
        self._ask()
        first, last = self._find_sight()
        came = {row.pair_id for row in rows}
        for place in range(first, last):
            if self.ids[place] in came:
                self.refresh_place(place)

    def forget_rows(self) -> None:
        """Drop all rows: another run is shown."""
        self._rows.clear()
        self._asked = ()

    def move_to(self, place: int) -> None:
        """Put the cursor on a place and bring it into sight; outside of the list nothing happens."""
        if not 0 <= place < len(self.ids) or place == self.place:
            return
        old, self.place = self.place, place
        before = self.scroll_offset
        self._show_cursor()
        if self.scroll_offset == before:
            self.refresh_place(old)
            self.refresh_place(place)
        else:
            self.refresh()
        self._ask()
        self.on_move()

    def list_next_places(self) -> list[int]:
        """Where the next keys may lead: a line or a page on, a line back."""
        steps = (1, self._page, -1)
        return [self.place + step for step in steps if 0 <= self.place + step < len(self.ids)]

    def refresh_place(self, place: int) -> None:
        """Draw one line anew."""
        y = place + 1 - round(self.scroll_y)
        if 1 <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    def refresh_pair(self, pair_id: int) -> None:
        """Draw the line of a pair anew if it is in sight."""
        first, last = self._find_sight()
        for place in range(first, last):
            if self.ids[place] == pair_id:
                self.refresh_place(place)

    def action_move(self, step: int) -> None:
        """Move by lines."""
        self.move_to(max(0, min(self.place + step, len(self.ids) - 1)))

    def action_page(self, step: int) -> None:
        """Move by what is in sight."""
        self.action_move(step * self._page)

    def action_go(self, place: int) -> None:
        """Move to a place; below 0 counts from the end."""
        self.move_to(place if place >= 0 else len(self.ids) + place)

    def action_choose(self) -> None:
        """Open the pair."""
        if self.cursor_id is not None:
            self.post_message(self.Chosen())

    def on_click(self, event: events.Click) -> None:
        """The first click moves the cursor, the second opens."""
        offset = event.get_content_offset(self)
        if offset is None or offset.y < 1:
            return
        place = offset.y - 1 + round(self.scroll_y)
        if place == self.place:
            self.action_choose()
        else:
            self.move_to(place)

    def on_resize(self) -> None:
        """The cursor stays in sight."""
        self.virtual_size = Size(1, len(self.ids) + 1)
        self._show_cursor()
        self._ask()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Ask for what came into sight by scrolling."""
        super().watch_scroll_y(old_value, new_value)
        self._ask()

    def render_line(self, y: int) -> Strip:
        """The head, then one pair a line."""
        width = self.size.width
        columns = self.choose_columns(width)
        if y == 0:
            return self._render_head(columns, width)
        place = y - 1 + round(self.scroll_y)
        if place >= len(self.ids):
            return Strip.blank(width, self.rich_style)
        cells = self._build_cells(self.ids[place], columns, width)
        style = self.rich_style
        if place == self.place:
            cursor = self.get_component_rich_style("pair-list--cursor")
            # The cursor's own colours: a coloured word on a coloured bar is hard to read.
            segments = [Segment(text, cursor) for text, _ in cells]
        else:
            segments = [
                Segment(
                    text, style + self.get_component_rich_style(f"pair-list--{name}", partial=True) if name else style
                )
                for text, name in cells
            ]
        return Strip(segments).adjust_cell_length(width, cursor if place == self.place else style)

    def choose_columns(self, width: int) -> list[PairColumn]:
        """The columns that fit, without telling ones in blind mode."""
        return [c for c in COLUMNS if width >= c.from_width and not (self.is_blind and c.is_telling)]

    @property
    def _page(self) -> int:
        return max(1, self.size.height - 2)

    @property
    def _number_width(self) -> int:
        return max(4, len(str(len(self.ids))) + 1)

    def _render_head(self, columns: Sequence[PairColumn], width: int) -> Strip:
        arrow = "▼" if self.is_descending else "▲"
        titles = [(f"   {'#':>{self._number_width}}", self.sort == "position")]
        titles += [(f" {column.title:>{column.width}}", column.key == self.sort) for column in columns]
        titles.append(("  prompt", False))
        text = "".join(title[1:] + arrow if is_sorted else title for title, is_sorted in titles)
        style = self.rich_style + self.get_component_rich_style("pair-list--head", partial=True)
        return Strip([Segment(set_cell_size(text, width), style)])

    def _build_cells(self, pair_id: int, columns: Sequence[PairColumn], width: int) -> list[tuple[str, str]]:
        """Texts of a line, each with the name of its style."""
        mark, number, row = self.mark_of(pair_id), self.number_of(pair_id), self._rows.get(pair_id)
        said = VERDICT_LETTERS.get(mark.verdict or "", " ")
        cells = [
            ("⚑" if mark.is_flagged else " ", "flag"),
            (_JUDGED if self.is_blind and mark.verdict else said, ""),
            ("✎" if mark.note else " ", "dim"),
            (f"{MISSING if number is None else number:>{self._number_width}}", "dim"),
        ]
        if row is None:
            return [*cells, ("  …", "dim")]
        if row.skip_reason is not None:
            cells.append((f"  no pair: {make_visible(row.skip_reason)}  ", "flag"))
        else:
            for column in columns:
                text, style = _format_cell(row, column.key)
                cells.append((f" {text:>{column.width}}", style))
        room = width - sum(cell_len(text) for text, _ in cells) - 2
        prompt = make_visible(row.prompt)
        return [*cells, ("  ", ""), (set_cell_size(prompt, max(0, room)), "")]

    def _find_sight(self) -> tuple[int, int]:
        """The first place in sight and the one behind the last."""
        first = round(self.scroll_y)
        return min(first, len(self.ids)), min(first + max(0, self.size.height - 1), len(self.ids))

    def _show_cursor(self, *, top: int | None = None) -> None:
        """Scroll so far that the cursor is in sight; with ``top`` begin there if that shows it."""
        height = self.size.height - 1
        if height < 1:
            return
        first = round(self.scroll_y) if top is None else top
        first = max(self.place - height + 1, min(first, self.place))
        first = max(0, min(first, len(self.ids) - height))
        if first != round(self.scroll_y):
            self.scroll_to(y=first, animate=False, immediate=True, force=True)

    def _ask(self) -> None:
        """Ask for the rows in sight and a page to either side, as soon as one of them is missing."""
        first, last = self._find_sight()
        page = max(1, last - first)
        near = self.ids[max(0, first - page) : min(len(self.ids), last + page)]
        missing = tuple(pair_id for pair_id in near if pair_id not in self._rows)
        if missing and missing != self._asked:
            self._asked = missing
            self.post_message(self.RowsWanted(missing))


def _format_cell(row: PairView, key: str) -> tuple[str, str]:
    """The text of a column and the name of its style."""
    match key:
        case "iteration":
            return str(row.iteration), "dim"
        case "tau":
            return format_signed(row.tau_previous) + ("!" if row.is_flipped else " "), "flag" if row.is_flipped else ""
        case "confidence":
            return format_number(row.confidence), ""
        case "margin":
            return format_signed(row.margin), ""
        case "previous_margin":
            return format_signed(row.previous_margin), "flag" if row.is_flipped else ""
        case "length_ratio":
            ratio = row.length_ratio
            return (MISSING if ratio is None else f"x{ratio:.1f}"), ""
        case "label":
            style = {"right": "good", "wrong": "bad"}.get(row.label or "", "dim")
            return _LABELS.get(row.label or "", MISSING), style
    raise ValueError(f"no column {key}")
