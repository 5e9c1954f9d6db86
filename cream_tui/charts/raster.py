"""From an envelope to dots, and from dots to characters.

Knows grids of dots, row 0 at the top. Must not know axes, styles or widgets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cream_tui.charts.scales import FloatArray, Scale
from cream_tui.charts.series import BoolArray, Envelope

ModeName: TypeAlias = Literal["braille", "block", "ascii"]
IntArray: TypeAlias = NDArray[np.intp]

_BORDER = 1e-6  # rows


@dataclass(frozen=True, slots=True, eq=False)
class DotMode:
    """How many dots a cell has, and the character of each pattern of them, dots counted row by row from bit 0."""

    n_columns: int
    n_rows: int
    glyphs: NDArray[np.uint32]


@dataclass(frozen=True, slots=True, eq=False)
class VerticalRuns:
    """Dots from ``tops`` down to ``bottoms``, both included, in ``columns``; any may lie outside of the grid."""

    columns: IntArray
    tops: IntArray
    bottoms: IntArray


def _list_braille() -> NDArray[np.uint32]:
    # Unicode numbers the dots of a Braille cell down the left column, down the right one, then the lowest row.
    unicode_bits = (0, 3, 1, 4, 2, 5, 6, 7)
    return np.array(
        [
            0x2800 + sum(1 << bit for dot, bit in enumerate(unicode_bits) if pattern >> dot & 1)
            for pattern in range(256)
        ],
        np.uint32,
    )


MODES: Mapping[ModeName, DotMode] = {
    "braille": DotMode(2, 4, _list_braille()),
    "block": DotMode(2, 2, np.array([ord(c) for c in " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"], np.uint32)),
    "ascii": DotMode(1, 2, np.array([ord(c) for c in " '.:"], np.uint32)),
}


def trace_line(
    envelope: Envelope, scale: Scale, n_columns: int, n_rows: int, *, is_joined: bool = True
) -> VerticalRuns:
    """The dots of a line through an envelope.

    Args:
        envelope: Reduced to the same columns.
        scale: Of the values; its ends are the centres of the lowest and the highest row.
        n_columns: Dots in a row.
        n_rows: Dots in a column.
        is_joined: False leaves out what leads from one column to the next.
    """
    is_inside = envelope.places == np.clip(np.rint(envelope.places), 0, n_columns - 1)
    columns = envelope.places[is_inside].astype(np.intp)
    tops = _find_rows(envelope.high[is_inside], scale, n_rows)
    bottoms = _find_rows(envelope.low[is_inside], scale, n_rows)
    if is_joined and envelope.is_joined.any():
        bridges = _trace_bridges(envelope, scale, n_columns, n_rows)
        columns = np.concatenate((columns, bridges[0]))
        tops, bottoms = np.concatenate((tops, bridges[1])), np.concatenate((bottoms, bridges[2]))
    is_placed = ~(np.isnan(tops) | np.isnan(bottoms))
    return build_runs(columns[is_placed], tops[is_placed], bottoms[is_placed], n_rows)


def build_runs(columns: IntArray, tops: FloatArray, bottoms: FloatArray, n_rows: int) -> VerticalRuns:
    """Runs over the rows that stretches from top to bottom pass through, at least one each.

    A stretch that ends on the border of a row leaves it to the neighbour that goes on from there, so that slanted
    lines are one dot thick. What lies above or below the grid is moved to one row away from it.
    """
    first = np.ceil(np.clip(tops, -1.0, n_rows) - 0.5 + _BORDER).astype(np.intp)
    last = np.floor(np.clip(bottoms, -1.0, n_rows) + 0.5 - _BORDER).astype(np.intp)
    return VerticalRuns(columns, np.minimum(first, last), last)


def trace_area(low: Envelope, high: Envelope, scale: Scale, n_columns: int, n_rows: int) -> VerticalRuns:
    """The dots between two lines, of which both have points in the same columns."""
    lower = fill_runs(trace_line(low, scale, n_columns, n_rows), n_columns, n_rows, is_open=True)
    upper = fill_runs(trace_line(high, scale, n_columns, n_rows), n_columns, n_rows, is_open=True)
    columns = np.flatnonzero(lower.any(axis=0) & upper.any(axis=0))
    tops = upper[:, columns].argmax(axis=0) - 1
    bottoms = n_rows - lower[::-1][:, columns].argmax(axis=0)
    return VerticalRuns(columns, tops, bottoms)


def fill_runs(runs: VerticalRuns, n_columns: int, n_rows: int, *, is_open: bool = False) -> BoolArray:
    """The grid with the dots set, ``[n_rows, n_columns]``; an open one has a further row above and one below it."""
    first, last = (-1, n_rows) if is_open else (0, n_rows - 1)
    height = last - first + 1
    is_inside = (runs.bottoms >= first) & (runs.tops <= last) & (runs.columns >= 0) & (runs.columns < n_columns)
    columns = runs.columns[is_inside]
    tops = np.maximum(runs.tops[is_inside], first) - first
    bottoms = np.minimum(runs.bottoms[is_inside], last) - first
    n_cells = (height + 1) * n_columns
    edges = np.bincount(tops * n_columns + columns, minlength=n_cells)
    edges -= np.bincount((bottoms + 1) * n_columns + columns, minlength=n_cells)
    return edges.reshape(height + 1, n_columns)[:height].cumsum(axis=0) > 0


def find_patterns(dots: BoolArray, mode: DotMode) -> NDArray[np.uint8]:
    """For each cell of a grid of dots the number of its pattern; 0 is empty."""
    n_rows, n_columns = dots.shape[0] // mode.n_rows, dots.shape[1] // mode.n_columns
    bits = dots.view(np.uint8)
    patterns = np.zeros((n_rows, n_columns), np.uint8)
    for dot in range(mode.n_rows * mode.n_columns):
        row, column = divmod(dot, mode.n_columns)
        patterns |= bits[row :: mode.n_rows, column :: mode.n_columns] << np.uint8(dot)
    return patterns


def _trace_bridges(
    envelope: Envelope, scale: Scale, n_columns: int, n_rows: int
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Columns, tops and bottoms of the straight lines between joined entries, each cut into its columns."""
    ends = np.flatnonzero(envelope.is_joined)
    x0, x1 = envelope.places[ends - 1], envelope.places[ends]
    y0 = _find_rows(envelope.last[ends - 1], scale, n_rows)
    y1 = _find_rows(envelope.first[ends], scale, n_rows)
    starts = np.maximum(np.ceil(x0), 0).astype(np.intp)
    counts = np.maximum(np.minimum(np.floor(x1), n_columns - 1).astype(np.intp) - starts + 1, 0)
    owners = np.repeat(np.arange(len(ends)), counts)
    offsets = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    columns = starts[owners] + offsets
    x0, x1, y0, y1 = x0[owners], x1[owners], y0[owners], y1[owners]
    slope = (y1 - y0) / np.maximum(x1 - x0, 1e-12)
    left = y0 + slope * (np.maximum(columns - 0.5, x0) - x0)
    right = y0 + slope * (np.minimum(columns + 0.5, x1) - x0)
    return columns, np.minimum(left, right), np.maximum(left, right)


def _find_rows(values: FloatArray, scale: Scale, n_rows: int) -> FloatArray:
    return (1.0 - scale.to_unit(values)) * (n_rows - 1)
