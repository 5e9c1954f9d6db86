"""Two rankings of the same things side by side, with a line from each place to the other.

Knows ranks, cells and Textual. Must not know models or responses. Pure: `lay_out_slope`; the widget shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from rich.cells import cell_len
from textual.reactive import var

from cream_tui.charts.frame import Frame
from cream_tui.charts.frame_view import FrameView
from cream_tui.charts.layers import Area, paint_dots
from cream_tui.charts.raster import ModeName, fill_runs, trace_line
from cream_tui.charts.scales import Scale
from cream_tui.charts.series import reduce_to_envelope
from cream_tui.text import make_visible
from cream_tui.units import MISSING

Role: TypeAlias = Literal["", "chosen", "rejected"]

_LEAST_LINES = 8  # cells between the two rankings; with fewer a table is clearer
_SIGNS: dict[Role, str] = {"": " ", "chosen": "+", "rejected": "-"}


@dataclass(frozen=True, slots=True)
class SlopeItem:
    """One thing in both rankings.

    Attributes:
        letter: What it is called.
        left_rank, right_rank: From 1, the best; equal for ties; None where it has none.
        left_text, right_text: Written beside it, as its reward.
        role: Whether it is a side of the pair.
    """

    letter: str
    left_rank: float | None
    right_rank: float | None
    left_text: str = ""
    right_text: str = ""
    role: Role = ""


def lay_out_slope(
    items: Sequence[SlopeItem],
    width: int,
    height: int,
    *,
    titles: tuple[str, str] = ("current", "previous"),
    mode: ModeName = "braille",
) -> Frame:
    """Both rankings in a frame of this size; in narrow room a table of ranks."""
    frame = Frame(width, height)
    left = sorted(items, key=lambda item: _sort_key(item.left_rank, item.letter))
    right = sorted(items, key=lambda item: _sort_key(item.right_rank, item.letter))
    left_cells = [f"{_format_rank(i.left_rank):>2} {_SIGNS[i.role]}{i.letter} {i.left_text}".rstrip() for i in left]
    right_cells = [f"{_SIGNS[i.role]}{i.letter} {_format_rank(i.right_rank):>2} {i.right_text}" for i in right]
    left_width = max(map(cell_len, (titles[0], *left_cells)))
    right_width = max(map(cell_len, (titles[1], *right_cells)))
    lines_width = width - left_width - right_width - 2
    n_rows = height - 1
    if lines_width < _LEAST_LINES or n_rows < len(items):
        _write_table(frame, left, titles)
    else:
        spacing = 2 if n_rows >= 2 * len(items) - 1 else 1
        frame.write(0, 0, titles[0], "label")
        frame.write(0, width - right_width, titles[1], "label")
        for slot, (item, text) in enumerate(zip(left, left_cells, strict=True)):
            frame.write(1 + slot * spacing, 0, text, item.role or "value")
        for slot, (item, text) in enumerate(zip(right, right_cells, strict=True)):
            frame.write(1 + slot * spacing, width - right_width, text, item.role or "value")
        area = Area(left_width + 1, 1, lines_width, n_rows, mode)
        _draw_lines(frame, area, spacing, left, right)
    if mode == "ascii":
        frame.to_plain()
    return frame


def _draw_lines(frame: Frame, area: Area, spacing: int, left: Sequence[SlopeItem], right: Sequence[SlopeItem]) -> None:
    """The line of each item that has both ranks; those of the pair over the others."""
    x, y = Scale(0.0, 1.0), Scale(1.0 - area.n_rows, 0.0)
    slots = {item.letter: slot for slot, item in enumerate(right)}
    middle = (area.dots.n_rows - 1) // 2
    ends = [
        (item, slot, slots[item.letter])
        for slot, item in enumerate(left)
        if item.left_rank is not None and item.right_rank is not None
    ]
    for item, *pair in sorted(ends, key=lambda end: ("", "rejected", "chosen").index(end[0].role)):
        rows = [-float(slot * spacing * area.dots.n_rows + middle) for slot in pair]
        envelope = reduce_to_envelope(np.array([0.0, 1.0]), np.array(rows), x, area.n_columns)
        dots = fill_runs(trace_line(envelope, y, area.n_columns, area.n_rows), area.n_columns, area.n_rows)
        paint_dots(frame, area, dots, item.role or "axis")


def _write_table(frame: Frame, items: Sequence[SlopeItem], titles: tuple[str, str]) -> None:
    """Letter, both ranks and both texts in columns; the rightmost go where room is short."""
    columns: list[list[str]] = [
        ["", *(f"{_SIGNS[item.role]}{item.letter}" for item in items)],
        [titles[0][:3], *(_format_rank(item.left_rank) for item in items)],
        [titles[1][:4], *(_format_rank(item.right_rank) for item in items)],
        ["", *(item.left_text for item in items)],
        ["", *(item.right_text for item in items)],
        ["", *(item.role for item in items)],
    ]
    styles: list[str] = ["label", *(item.role or "value" for item in items)]
    start = 0
    for column in columns:
        width = max(cell_len(make_visible(text)) for text in column)
        if not width or start + width > frame.width:
            continue
        for row, (text, style) in enumerate(zip(column, styles, strict=True)):
            frame.write(row, start, text, style)
        start += width + 2


def _sort_key(rank: float | None, letter: str) -> tuple[float, str]:
    return (float("inf") if rank is None else rank, letter)


def _format_rank(rank: float | None) -> str:
    return MISSING if rank is None else f"{rank:g}"


class SlopeChart(FrameView, can_focus=False):
    """Two rankings side by side."""

    mode: var[ModeName] = var("braille", init=False)

    def __init__(self, *, name: str | None = None, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._items: tuple[SlopeItem, ...] = ()
        self._titles = ("current", "previous")

    def set_items(self, items: Sequence[SlopeItem], titles: tuple[str, str] = ("current", "previous")) -> None:
        """Show these; letters tell them apart."""
        self._items = tuple(items)
        self._titles = titles
        self.redraw()

    def on_mount(self) -> None:
        """From now on an attribute that is set draws anew."""
        self.watch(self, "mode", self.redraw, init=False)

    def draw(self, width: int, height: int) -> Frame:
        """Both rankings in this size."""
        return lay_out_slope(self._items, width, height, titles=self._titles, mode=self.mode)
