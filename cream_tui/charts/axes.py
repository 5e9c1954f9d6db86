"""What stands around and behind a drawing: labels of the axes, marks, guides and the cursor's line.

Knows scales and cells. Must not know series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.cells import cell_len

from cream_tui.charts.frame import STYLE_IDS, Frame
from cream_tui.charts.layers import Area
from cream_tui.charts.scales import Axis, Scale
from cream_tui.charts.series import BoolArray
from cream_tui.text import make_visible

_LABEL_WIDTH = 5  # the gutter does not get narrower, so that charts over one another are aligned
_LEAST_WIDTH, _LEAST_HEIGHT = 12, 3  # of labelled axes
FULL_WIDTH = 24  # narrower charts have no room to spare for being aligned with others
_LABEL_GAP = 5  # cells from one x label to the next
_LINE_HEIGHT = 8  # lower axes go without the line of the x axis


@dataclass(frozen=True, slots=True)
class Mark:
    """A labelled vertical line, as the start of an iteration."""

    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Guide:
    """A labelled horizontal line, as a target."""

    y: float
    label: str


def count_y_ticks(n_rows: int) -> int:
    """How many labels a y axis of this height has room for."""
    return max(2, (n_rows + 1) // 3)


def divide(frame: Frame, top: int, y_axis: Axis, scale: Scale, margin: int) -> tuple[int, int, int, int] | None:
    """Left, top, width and height of the drawing below ``top``; None where nothing of it is left."""
    height = frame.height - top
    gutter = n_below = 0
    if frame.width >= _LEAST_WIDTH and height >= _LEAST_HEIGHT:
        n_below = 2 if height >= _LINE_HEIGHT else 1
        longest = max(
            (len(label) for _, label in y_axis.find_labels(scale, count_y_ticks(height - n_below))), default=0
        )
        gutter = 1 + (max(longest, _LABEL_WIDTH) if frame.width >= FULL_WIDTH else longest)
    else:
        margin = 0
    width, height = frame.width - gutter - margin, height - n_below
    return (gutter, top, width, height) if width >= 1 and height >= 1 else None


def write_y_axis(frame: Frame, area: Area, axis: Axis, scale: Scale) -> None:
    """Labels and line left of the drawing."""
    if not area.left:
        return
    for row in range(area.top, area.top + area.height):
        frame.put(row, area.left - 1, "│", "axis")
    for tick, label in axis.find_labels(scale, count_y_ticks(area.height)):
        row_ = area.find_row(scale, tick)
        if row_ is not None:
            frame.write(row_, area.left - 1 - len(label), label, "label")
            frame.put(row_, area.left - 1, "┤", "axis")


def write_x_axis(
    frame: Frame, area: Area, axis: Axis, scale: Scale, *, marks: Sequence[Mark], cursor_x: float | None
) -> None:
    """Below the drawing: where the cursor is, marks, round values and the axis' name, the earlier before the later."""
    bottom = area.top + area.height
    if bottom >= frame.height:
        return
    row = frame.height - 1
    ticks = _find_x_labels(axis, scale, area.width)
    if bottom < row:
        frame.put(bottom, area.left - 1, "└", "axis")
        for column in range(area.left, area.left + area.width):
            frame.put(bottom, column, "─", "axis")
    if cursor_x is not None and (column_ := area.find_column(scale, cursor_x)) is not None:
        label = axis.format_value(cursor_x)
        start = min(max(column_ - len(label) // 2, area.left), frame.width - len(label))
        frame.write(row, max(start, 0), label, "cursor")
        frame.put(bottom if bottom < row else -1, column_, "┴", "cursor")
    for mark in marks:
        column_ = area.find_column(scale, mark.x)
        if column_ is not None:
            _write_mark(frame, row, column_, make_visible(mark.label))
    for tick, label in ticks:
        column_ = area.find_column(scale, tick)
        if column_ is None:
            continue
        start = min(max(column_ - len(label) // 2, 0), frame.width - len(label))
        if frame.is_blank(row, max(start - 1, 0), min(start + len(label) + 1, frame.width)):
            frame.write(row, start, label, "label")
            if bottom < row:
                frame.put(bottom, column_, "┬", "axis")
    _write_axis_name(frame, area, axis.name)


def _write_mark(frame: Frame, row: int, column: int, label: str) -> None:
    """Right of its line, at the right edge left of it, if there is room."""
    width = cell_len(label)
    if column + width < frame.width:
        if frame.is_blank(row, column, min(column + width + 2, frame.width)):
            frame.write(row, column, "╎" + label, "mark")
    elif frame.is_blank(row, column - width - 1, column + 1):
        frame.write(row, column - width, label + "╎", "mark")


def _find_x_labels(axis: Axis, scale: Scale, width: int) -> list[tuple[float, str]]:
    """As many as stand apart from one another."""
    labels = axis.find_labels(scale, max(2, width // (_LABEL_GAP + 2)))
    longest = max((len(label) for _, label in labels), default=0)
    n_most = max(2, width // (_LABEL_GAP + longest))
    return labels if len(labels) <= n_most else axis.find_labels(scale, n_most)


def _write_axis_name(frame: Frame, area: Area, name: str) -> None:
    """Left of the labels, else right of them."""
    row = frame.height - 1
    for start in (area.left - 1 - len(name), frame.width - len(name)):
        if name and frame.is_blank(row, start, start + len(name) + (start < area.left)):
            frame.write(row, start, name, "axis")
            return


def draw_guides(frame: Frame, area: Area, guides: Sequence[Guide], scale: Scale) -> None:
    """Broken horizontal lines, to be drawn over."""
    for guide in guides:
        row = area.find_row(scale, guide.y)
        for column in range(area.left, area.left + area.width) if row is not None else ():
            frame.put(row if row is not None else -1, column, "╌", "guide")


def write_guide_labels(frame: Frame, area: Area, guides: Sequence[Guide], scale: Scale) -> None:
    """On their lines, where no series is: at the right end, the left end or in the middle; else over the left end."""
    for guide in guides:
        row = area.find_row(scale, guide.y)
        label = f" {make_visible(guide.label)} "
        width = cell_len(label)
        if row is None or width + 2 > area.width:
            continue
        is_free = np.isin(frame.styles[row], (STYLE_IDS["guide"], STYLE_IDS["mark"]))
        left, right = area.left + 1, area.left + area.width - width - 1
        places = (right, left, (left + right) // 2)
        column = next((c for c in places if is_free[c : c + width].all()), left)
        frame.write(row, column, label, "guide")


def draw_marks(frame: Frame, area: Area, marks: Sequence[Mark], scale: Scale) -> None:
    """Broken vertical lines, to be drawn over."""
    for mark in marks:
        column = area.find_column(scale, mark.x)
        for row in range(area.top, area.top + area.height) if column is not None else ():
            frame.put(row, column if column is not None else -1, "╎", "mark")


def draw_cursor(frame: Frame, area: Area, x: float, scale: Scale, is_data: BoolArray) -> None:
    """The cursor's line, where no series is drawn."""
    column = area.find_column(scale, x)
    for row in range(area.height) if column is not None else ():
        if column is not None and not is_data[row, column - area.left]:
            frame.put(area.top + row, column, "│", "cursor")
