"""Series of points: what is kept of them for a drawing, and how they are smoothed and searched.

Knows arrays. Must not know cells or styles. Values that are not finite are gaps: they join nothing and count nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cream_tui.charts.scales import FloatArray, Range, Scale

BoolArray: TypeAlias = NDArray[np.bool_]

_BLOCK = 64
_CLIPPED_PERCENT = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Points sorted by x.

    Attributes:
        name: What the legend calls it; untrusted.
        xs: Where the points stand; those that are not finite are left out.
        ys: Values; what is not finite becomes a gap.
        low: Lower ends of a band, or of the whiskers where ``is_points``; None without.
        high: Upper ends.
        marker: One character that tells the series apart without colour; "" takes the next letter.
        colour: From 1 to `frame.N_COLOURS`; 0 takes the next one.
        is_points: Each point gets a marker and its whisker.
        is_joined: A line leads from point to point.
        is_faint: Drawn pale, behind the others, and left out of legends and cursors.
        smooth_ys: Smoothed values, drawn in front of pale raw ones; None shows the values as they are.
    """

    name: str
    xs: FloatArray
    ys: FloatArray
    low: FloatArray | None = None
    high: FloatArray | None = None
    marker: str = ""
    colour: int = 0
    is_points: bool = False
    is_joined: bool = True
    is_faint: bool = False
    smooth_ys: FloatArray | None = None

    def __post_init__(self) -> None:
        xs = np.asarray(self.xs, np.float64)
        order: NDArray[np.intp] | None = None
        if not np.isfinite(xs).all():
            order = np.flatnonzero(np.isfinite(xs))
        if len(xs) > 1 and not (np.diff(xs) >= 0).all():
            order = np.argsort(xs, kind="stable")
            order = order[np.isfinite(xs[order])]
        for name in ("xs", "ys", "low", "high", "smooth_ys"):
            given: ArrayLike | None = getattr(self, name)
            if given is None:
                continue
            values = np.asarray(given, np.float64)
            if values.shape != xs.shape or values.ndim != 1:
                raise ValueError(f"{name} has shape {values.shape}, xs has {xs.shape}")
            if order is not None:
                values = values[order]
            is_finite = np.isfinite(values)
            if not is_finite.all():
                values = np.where(is_finite, values, np.nan)
            object.__setattr__(self, name, values)

    @property
    def shown_ys(self) -> FloatArray:
        """The values of the line in front."""
        return self.ys if self.smooth_ys is None else self.smooth_ys


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """What a drawing needs of a series: for each column with points their extremes and ends, left to right.

    The neighbours just outside come along as entries of their own, so that lines lead out of the picture.

    Attributes:
        places: Columns; whole numbers inside, fractions for the neighbours.
        first, last, low, high: Of the values that fall into the column.
        is_joined: Whether a line leads to the entry from the one before it.
    """

    places: FloatArray
    first: FloatArray
    last: FloatArray
    low: FloatArray
    high: FloatArray
    is_joined: BoolArray


def reduce_to_envelope(xs: FloatArray, ys: FloatArray, scale: Scale, n_columns: int) -> Envelope:
    """The envelope of a series on an axis of columns; the centres of the outer ones are the ends of the scale.

    A line through it covers the same cells as a line through all points: no spike is lost, however many points there
    are. The cost grows with the columns, not with the points outside of the scale.

    Source: Jugel et al. 2014, M4, a visualization-oriented time series data aggregation, PVLDB 7(10).
    """
    is_finite = np.isfinite(ys)
    if is_finite.all():
        is_after_gap = np.zeros(len(ys), np.bool_)
    else:
        kept = np.flatnonzero(is_finite)
        xs, ys = xs[kept], ys[kept]
        is_after_gap = np.diff(kept, prepend=kept[:1]) > 1
    n_steps = max(n_columns - 1, 1)
    edges = scale.from_unit((np.arange(n_columns + 1) - 0.5) / n_steps)
    bounds = np.searchsorted(xs, edges)
    columns = np.flatnonzero(bounds[1:] > bounds[:-1])
    starts, ends = bounds[:-1][columns], bounds[1:][columns]
    first, last = ys[starts], ys[ends - 1]
    inside = ys[: bounds[-1]]
    low = np.minimum.reduceat(inside, starts) if len(starts) else first
    high = np.maximum.reduceat(inside, starts) if len(starts) else last
    neighbours = np.array([k for k in (bounds[0] - 1, bounds[-1]) if 0 <= k < len(xs)], np.intp)
    n_before = int(bounds[0] > 0)
    outer_places, outer_ys = scale.to_unit(xs[neighbours]) * n_steps, ys[neighbours]

    def frame(inner: FloatArray, outer: FloatArray) -> FloatArray:
        return np.concatenate((outer[:n_before], inner, outer[n_before:]))

    places = frame(columns.astype(np.float64), outer_places)
    is_joined = ~np.concatenate(
        (is_after_gap[neighbours[:n_before]], is_after_gap[starts], is_after_gap[neighbours[n_before:]])
    )
    is_joined[:1] = False
    is_placed = np.isfinite(places)
    is_joined[1:] &= is_placed[:-1] & is_placed[1:]
    return Envelope(
        places, frame(first, outer_ys), frame(last, outer_ys), frame(low, outer_ys), frame(high, outer_ys), is_joined
    )


def smooth(ys: FloatArray, weight: float) -> FloatArray:
    """Exponential moving average without the pull towards zero at its start; gaps stay and are passed over.

    Args:
        ys: Values.
        weight: Of the past, from 0 (no smoothing) to below 1.

    Source: TensorBoard's scalar smoothing.
    """
    is_finite = np.isfinite(ys)
    values = ys[is_finite]
    n = len(values)
    if not (n and weight > 0):
        return ys
    blocks = np.zeros((-(-n // _BLOCK), _BLOCK))
    blocks.ravel()[:n] = values
    lags = np.subtract.outer(np.arange(_BLOCK), np.arange(_BLOCK))
    kernel = np.where(lags >= 0, (1 - weight) * weight ** np.abs(lags), 0.0)
    averages = blocks @ kernel.T
    decay = weight ** np.arange(1, _BLOCK + 1)
    for before, block in pairwise(averages):
        block += decay * before[-1]
    smoothed = np.full(len(ys), np.nan)
    smoothed[is_finite] = averages.ravel()[:n] / (1 - weight ** np.arange(1, n + 1))
    return smoothed


def with_smoothing(series: Series, weight: float) -> Series:
    """The series with its smoothed values; points with markers and pale series are left as they are."""
    if weight <= 0 or series.is_points or series.is_faint:
        return series
    return replace(series, smooth_ys=smooth(series.ys, weight))


def find_x_extent(series: Sequence[Series], *, is_log: bool = False) -> Range | None:
    """First and last x of all series; of the positive ones where the axis is logarithmic. None without points."""
    ends: list[float] = []
    for each in series:
        start = int(np.searchsorted(each.xs, 0.0, "right")) if is_log else 0
        ends += each.xs[start : start + 1].tolist() + each.xs[start:][-1:].tolist()
    return (min(ends), max(ends)) if ends else None


def find_y_extent(
    series: Sequence[Series], window: Range, *, is_log: bool = False, is_clipped: bool = False
) -> Range | None:
    """Lowest and highest value within a window of x, bands and whiskers included. None without any.

    Args:
        series: All that is drawn.
        window: Range of x, ends included.
        is_log: Leaves out what is not positive.
        is_clipped: From the first to the last but one percentile of the points, so that outliers do not flatten all.
    """
    parts: list[FloatArray] = []
    for each in series:
        start, end = (
            int(k) for k in (np.searchsorted(each.xs, window[0]), np.searchsorted(each.xs, window[1], "right"))
        )
        if start == end:  # only a line from a point before to one after
            start, end = max(start - 1, 0), end + 1
        parts += [values[start:end] for values in (each.ys, each.low, each.high) if values is not None]
    values = np.concatenate(parts) if parts else np.zeros(0)
    values = values[values > 0] if is_log else values[~np.isnan(values)]
    if not len(values):
        return None
    if is_clipped:
        low, high = np.percentile(values, (_CLIPPED_PERCENT, 100 - _CLIPPED_PERCENT))
        return float(low), float(high)
    return float(values.min()), float(values.max())


def find_step(series: Series, x: float | None, n: int, window: Range) -> float | None:
    """The x that is n points right of x, left if n is negative, at most at the outermost point. None without points.

    From nowhere (None) the step is to the last point of the window.
    """
    xs = series.xs[~np.isnan(series.ys)]
    if not len(xs):
        return None
    if x is None:
        place = int(np.searchsorted(xs, window[1], "right")) - 1
    elif n == 0:
        k = find_nearest(series, x)
        return None if k is None else float(series.xs[k])
    else:
        place = int(np.searchsorted(xs, x, "right")) + n - 1 if n > 0 else int(np.searchsorted(xs, x)) + n
    return float(xs[min(max(place, 0), len(xs) - 1)])


def find_nearest(series: Series, x: float) -> int | None:
    """Index of the point with a value that is nearest to x; of equally near ones the left. None without points."""
    indices = np.flatnonzero(~np.isnan(series.ys))
    if not len(indices):
        return None
    xs = series.xs[indices]
    right = min(int(np.searchsorted(xs, x)), len(xs) - 1)
    left = max(right - 1, 0)
    return int(indices[left if x - xs[left] <= xs[right] - x else right])
