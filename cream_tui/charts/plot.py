"""The layout of a chart: from series and scales to a frame of cells. Pure; enter at `lay_out`.

Knows what a chart consists of and in which order it is drawn. Must not know widgets or colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len

from cream_tui.charts.axes import (
    FULL_WIDTH,
    Guide,
    Mark,
    divide,
    draw_cursor,
    draw_guides,
    draw_marks,
    write_guide_labels,
    write_x_axis,
    write_y_axis,
)
from cream_tui.charts.frame import Frame
from cream_tui.charts.layers import Area, draw_series, identify, put_cursor_dot, write_line_ends
from cream_tui.charts.legend import Reading, count_legend_rows, list_values, read_values, write_legend, write_title
from cream_tui.charts.raster import ModeName
from cream_tui.charts.scales import Axis, Scale
from cream_tui.charts.series import Series

_MARGIN = 2  # cells for letters right of the lines, also where there are none, so that charts are aligned
_LEAST_TITLE = 16  # cells that values beside the title leave to it


@dataclass(frozen=True, slots=True, eq=False)
class Plot:
    """All that a chart shows.

    Attributes:
        series: Drawn in this order, so that of two series in one cell the later is seen.
        x, y: What part of the axes is seen; None without any points.
        active: Name of the series that is drawn last and carries the cursor's dot; "" takes the first.
    """

    series: tuple[Series, ...]
    x: Scale | None
    y: Scale | None
    title: str = ""
    x_axis: Axis = field(default_factory=Axis)
    y_axis: Axis = field(default_factory=Axis)
    marks: tuple[Mark, ...] = ()
    guides: tuple[Guide, ...] = ()
    cursor_x: float | None = None
    active: str = ""
    mode: ModeName = "braille"
    is_monochrome: bool = False
    empty_text: str = "no points yet"


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A drawn chart and where in it the axes span their area; None where there is nothing to draw."""

    frame: Frame
    area: Area | None


def lay_out(plot: Plot, width: int, height: int) -> Layout:
    """The chart in a frame of this size; what does not fit is left out, the drawing last."""
    frame = Frame(width, height)
    area = None
    if plot.x is None or plot.y is None:
        write_title(frame, plot.title, "")
        frame.write(height // 2, max((width - len(plot.empty_text)) // 2, 0), plot.empty_text, "label")
    else:
        area = _draw(frame, plot, plot.x, plot.y)
    if plot.mode == "ascii":
        frame.to_plain()
    return Layout(frame, area)


def _draw(frame: Frame, plot: Plot, x: Scale, y: Scale) -> Area | None:
    identities = identify(plot.series)
    readings = read_values(plot.series, identities, plot.cursor_x)
    n_legend_rows = count_legend_rows(readings, plot.y_axis, frame.width, frame.height)
    _write_head(frame, plot, readings, n_legend_rows)
    margin = _MARGIN if len(readings) > 1 or frame.width >= FULL_WIDTH else 0
    place = divide(frame, 1 + n_legend_rows, plot.y_axis, y, margin=margin)
    if place is None:
        return None
    area = Area(*place, plot.mode, plot.is_monochrome)
    draw_guides(frame, area, plot.guides, y)
    draw_marks(frame, area, plot.marks, x)
    is_data = draw_series(frame, area, plot.series, identities, (x, y), active=plot.active)
    if plot.cursor_x is not None:
        draw_cursor(frame, area, plot.cursor_x, x, is_data)
    write_guide_labels(frame, area, plot.guides, y)
    if len(readings) > 1:
        write_line_ends(frame, area, plot.series, identities, (x, y))
    if plot.cursor_x is not None and readings:
        reading = next((r for r in readings if r.name == plot.active), readings[0])
        put_cursor_dot(frame, area, (reading.x, reading.shown_y), (x, y), reading.identity.style)
    write_y_axis(frame, area, plot.y_axis, y)
    write_x_axis(frame, area, plot.x_axis, x, marks=plot.marks, cursor_x=plot.cursor_x)
    return area


def _write_head(frame: Frame, plot: Plot, readings: Sequence[Reading], n_legend_rows: int) -> None:
    """The title, the legend, and what the cursor stands on."""
    if len(readings) == 1:
        right = readings[0].format(plot.y_axis, plot.x_axis, plot.cursor_x)
    elif n_legend_rows or not readings:
        right = "" if plot.cursor_x is None else plot.x_axis.format_value(plot.cursor_x)
    else:
        room = frame.width - min(cell_len(plot.title), _LEAST_TITLE) - 3
        right = list_values(readings, plot.y_axis, room)
    write_title(frame, plot.title, right)
    if n_legend_rows:
        write_legend(frame, 1, n_legend_rows, readings, plot.y_axis)
