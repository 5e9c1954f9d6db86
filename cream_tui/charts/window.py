"""What part of both axes is seen: fitted to the series, kept while it serves, moved by pan and zoom.

Knows ranges and series. Must not know widgets. Fractions are of the window as it is seen, also on a logarithmic axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from cream_tui.charts.axes import Guide
from cream_tui.charts.scales import Range, Scale, keep_range
from cream_tui.charts.series import Series, find_x_extent, find_y_extent

_POINT_MARGIN = 0.04  # of the x range, kept free beside the first and the last marker
_SMALLEST = 1e-6  # of the whole range
_EDGE = 0.1  # of the window, that is kept between its edge and a cursor that would leave it


def pan_window(window: Range, fraction: float, whole: Range, *, is_log: bool = False) -> Range:
    """The window moved by a fraction of itself, not beyond the whole range."""
    scale = Scale(*whole, is_log)
    low, high = scale.place(window[0]), scale.place(window[1])
    shift = fraction * (high - low)
    shift = min(max(shift, -low), 1.0 - high) if low >= 0.0 and high <= 1.0 else shift
    return scale.pick(low + shift), scale.pick(high + shift)


def zoom_window(window: Range, factor: float, x: float, whole: Range, *, is_log: bool = False) -> Range | None:
    """The window made smaller by a factor, with x where it was; None once it would show the whole range."""
    scale = Scale(*whole, is_log)
    low, high, centre = (scale.place(value) for value in (*window, x))
    width = max((high - low) / factor, _SMALLEST)
    if width >= 1.0:
        return None
    share = min(max((centre - low) / (high - low), 0.0), 1.0)
    start = min(max(low + share * (high - low - width), 0.0), 1.0 - width)
    return scale.pick(start), scale.pick(start + width)


def follow(window: Range, x: float, whole: Range, *, is_log: bool = False) -> Range:
    """The window moved no farther than is needed to show x; the same one if it does."""
    if window[0] <= x <= window[1]:
        return window
    scale = Scale(*whole, is_log)
    low, high, place = (scale.place(value) for value in (*window, x))
    edge = _EDGE * (high - low)
    shift = place - edge - low if place < low else place + edge - high
    return pan_window(window, shift / (high - low), whole, is_log=is_log)


def find_whole_x(kept: Range | None, series: Sequence[Series], *, is_log: bool = False) -> Range | None:
    """The range of all points, the one kept so far as long as it serves; None without points."""
    extent = find_x_extent(series, is_log=is_log)
    if extent is None:
        return None
    if any(each.is_points for each in series) and not is_log:
        margin = _POINT_MARGIN * (extent[1] - extent[0])
        extent = extent[0] - margin, extent[1] + margin
    return keep_range(kept, *extent, is_log=is_log, is_exact=True)


def find_y_range(
    kept: Range | None,
    series: Sequence[Series],
    window: Range,
    guides: Sequence[Guide],
    *,
    is_log: bool = False,
    is_clipped: bool = False,
) -> Range | None:
    """A range for the values within a window and for the guides, the kept one as long as it serves."""
    extent = find_y_extent(series, window, is_log=is_log, is_clipped=is_clipped)
    if extent is None:
        return None
    values = [*extent, *(guide.y for guide in guides if math.isfinite(guide.y) and (guide.y > 0 or not is_log))]
    return keep_range(kept, min(values), max(values), is_log=is_log)
