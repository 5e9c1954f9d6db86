"""Columns of a table that folds: which fit a width, where they stand, how a text is cut.

Pure: no Textual. Columns go by rank where the room is short; what is left goes to the flexible ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cream_tui.output import cut, measure

Spans: TypeAlias = tuple[tuple[str, str], ...]  # texts with the names of their styles

GAP = 1
_ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        key: what sorts by it; empty where nothing does.
        width: in cells; of a flexible one the least.
        rank: the highest leaves first; 0 never leaves.
        most: of a flexible column the greatest width; 0: it does not grow.
        wish: of a flexible column the width for which others leave; below its own width it has none.
        is_cut_in_middle: for names, whose ends tell them apart.
    """

    key: str
    title: str
    width: int
    align: Literal["left", "right"] = "left"
    rank: int = 0
    most: int = 0
    is_cut_in_middle: bool = False
    wish: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """A text, made visible, and the name of its style: dim, bold, live, good, warn, bad or none."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class RowCells:
    """A row: a cell for each column, and a label that covers the columns from ``label_start`` up to ``label_end``."""

    cells: tuple[Cell, ...]
    label: Cell | None = None
    label_end: str = ""
    label_start: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a column stands."""

    index: int
    x: int
    width: int


def lay_out(columns: Sequence[Column], width: int) -> list[Place]:
    """The columns that fit, from left to right."""
    shown = list(range(len(columns)))
    for index in sorted(shown, key=lambda index: -columns[index].rank):
        if columns[index].rank == 0 or _measure(columns, shown, with_wishes=True) <= width:
            break
        shown.remove(index)
    room = width - _measure(columns, shown)
    places, x = [], 0
    for index in shown:
        column = columns[index]
        grown = max(0, min(room, column.most - column.width))
        room -= grown
        places.append(Place(index, x, column.width + grown))
        x += column.width + grown + GAP
    return places


def fit(text: str, width: int, column: Column) -> str:
    """The text in exactly this many cells."""
    shown = cut_middle(text, width) if column.is_cut_in_middle else cut(text, width)
    space = " " * (width - measure(shown))
    return space + shown if column.align == "right" else shown + space


def cut_middle(text: str, width: int) -> str:
    """A text in at most so many cells, the middle left out: both ends of a name tell it from others."""
    if measure(text) <= width:
        return text
    if width <= 2:
        return cut(text, width)
    tail_room = (width - 1) // 2
    tail = ""
    for character in reversed(text):
        if measure(character + tail) > tail_room:
            break
        tail = character + tail
    head = ""
    for character in text:
        if measure(head + character) > width - 1 - measure(tail):
            break
        head += character
    return head + _ELLIPSIS + tail


def find_difference(old: Spans, new: Spans, width: int) -> tuple[int, int]:
    """The first and the after-last cell in which two lines differ, to repaint; for unlike lines the whole width."""
    if len(old) != len(new):
        return 0, width
    start, end, x = width, 0, 0
    for before, after in zip(old, new, strict=True):
        length = measure(after[0])
        if before != after:
            if measure(before[0]) != length:
                return min(start, x), width
            start, end = min(start, x), x + length
        x += length
    return min(start, width), max(start, min(end, width))


def _measure(columns: Sequence[Column], shown: Sequence[int], *, with_wishes: bool = False) -> int:
    widths = [max(columns[k].width, columns[k].wish if with_wishes else 0) for k in shown]
    return sum(widths) + GAP * max(0, len(shown) - 1)
