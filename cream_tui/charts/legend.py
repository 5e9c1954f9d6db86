"""The head of a chart: its title, the legend, and the values at the cursor or the newest ones.

Knows series and text. Must not know scales of a drawing or widgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from cream_tui.charts.frame import Frame, shorten
from cream_tui.charts.layers import Identity
from cream_tui.charts.scales import Axis
from cream_tui.charts.series import Series, find_nearest
from cream_tui.text import make_visible

_LEAST_HEIGHT = 7  # of a chart with a legend of its own
_LINES_A_ROW = 6  # lines of a chart for each row of its legend
_GAP = 2
_LEAST_NAME = 4
_NEAR = 1e-9


@dataclass(frozen=True, slots=True)
class Reading:
    """A point that a chart tells of: the nearest to the cursor, the newest without one."""

    name: str
    identity: Identity
    x: float
    y: float
    smooth_y: float | None

    @property
    def shown_y(self) -> float:
        """The value of the line in front."""
        return self.y if self.smooth_y is None else self.smooth_y

    def format_y(self, axis: Axis) -> str:
        """The value; a smoothed one is marked."""
        return axis.format_value(self.y) if self.smooth_y is None else f"~{axis.format_value(self.smooth_y)}"

    def format(self, y_axis: Axis, x_axis: Axis, cursor_x: float | None) -> str:
        """The value, the smoothed one after it, and where the point is, if not at the cursor."""
        text = y_axis.format_value(self.y)
        if self.smooth_y is not None:
            text += f" ~{y_axis.format_value(self.smooth_y)}"
        if cursor_x is not None and abs(self.x - cursor_x) > _NEAR * max(abs(cursor_x), 1.0):
            text += f" at {x_axis.format_value(self.x)}"
        return text


def read_values(
    series: Sequence[Series], identities: Sequence[Identity], cursor_x: float | None
) -> tuple[Reading, ...]:
    """One reading for each series that is not pale and has a point."""
    readings = []
    for each, identity in zip(series, identities, strict=True):
        if each.is_faint:
            continue
        k = find_nearest(each, float("inf") if cursor_x is None else cursor_x)
        if k is not None:
            smooth_y = None if each.smooth_ys is None else float(each.smooth_ys[k])
            readings.append(Reading(each.name, identity, float(each.xs[k]), float(each.ys[k]), smooth_y))
    return tuple(readings)


def list_values(readings: Sequence[Reading], axis: Axis, room: int) -> str:
    """Letters and values in one line, as many as fit into ``room`` cells."""
    text = ""
    for reading in readings:
        longer = f"{text} {reading.identity.letter} {reading.format_y(axis)}".lstrip()
        if len(longer) > room:
            return f"{text} …" if text else ""
        text = longer
    return text


def write_title(frame: Frame, title: str, right: str) -> None:
    """The title at the left, what is to be read at the right; the reading stays whole as long as it fits."""
    room = frame.width - cell_len(right)
    if right and room >= 0:
        frame.write(0, room, right, "value")
        room -= 1
    frame.write(0, 0, shorten(title, max(room if room >= 0 else frame.width, 0)), "title")


def count_legend_rows(readings: Sequence[Reading], axis: Axis, width: int, height: int) -> int:
    """Rows that the legend takes: none for one series or a low chart, more in a high one if names need them."""
    if len(readings) < 2 or height < _LEAST_HEIGHT:
        return 0
    n_most = max(1, height // _LINES_A_ROW)
    return next((n for n in range(1, n_most) if _fit_names(readings, axis, width, n) is None), n_most)


def write_legend(frame: Frame, top: int, n_rows: int, readings: Sequence[Reading], axis: Axis) -> None:
    """Letter, name and value of each series in columns; names are shortened alike, at last left out."""
    longest = _fit_names(readings, axis, frame.width, n_rows)
    names = [make_visible(reading.name) if longest is None else shorten(reading.name, longest) for reading in readings]
    values = [reading.format_y(axis) for reading in readings]
    column = 0
    for first in range(0, len(readings), n_rows):
        cells = range(first, min(first + n_rows, len(readings)))
        name_width = max(cell_len(names[k]) for k in cells)
        value_width = max(len(values[k]) for k in cells)
        width = 2 + (name_width + 1 if name_width else 0) + value_width
        if column + width > frame.width:
            frame.put(top, frame.width - 1, "…", "label")
            return
        for row, k in enumerate(cells):
            style = readings[k].identity.style
            frame.write(top + row, column, readings[k].identity.letter, style)
            frame.write(top + row, column + 2, names[k], style)
            frame.write(top + row, column + width - len(values[k]), values[k], "value")
        column += width + _GAP


def _fit_names(readings: Sequence[Reading], axis: Axis, width: int, n_rows: int) -> int | None:
    """Width that names may have so that all columns fit; None where they fit unshortened, 0 where none do."""
    n_columns = -(-len(readings) // n_rows)
    value_width = max(len(reading.format_y(axis)) for reading in readings)
    room = (width + _GAP) // n_columns - _GAP - 3 - value_width
    if all(cell_len(make_visible(reading.name)) <= room for reading in readings):
        return None
    return room if room >= _LEAST_NAME else 0
