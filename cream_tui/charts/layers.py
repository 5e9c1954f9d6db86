"""The drawing inside the axes: bands, lines, whiskers, markers and the letters at the ends of lines.

Knows series, scales and cells. Must not know titles, legends or labels of axes. In each cell one series is seen, the
one drawn last, so that no line takes the colour of another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cream_tui.charts.frame import N_COLOURS, STYLE_IDS, Frame
from cream_tui.charts.raster import (
    MODES,
    DotMode,
    ModeName,
    VerticalRuns,
    build_runs,
    fill_runs,
    find_patterns,
    trace_area,
    trace_line,
)
from cream_tui.charts.scales import FloatArray, Scale
from cream_tui.charts.series import BoolArray, Envelope, Series, reduce_to_envelope

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LETTER_SPACING = 6  # cells between the letters on a line that has no colour, times the number of lines
_NOBODY = -1


@dataclass(frozen=True, slots=True)
class Area:
    """The cells of a frame that the axes span, and how they are drawn on."""

    left: int
    top: int
    width: int
    height: int
    mode: ModeName = "braille"
    is_monochrome: bool = False

    @property
    def dots(self) -> DotMode:
        """The kind of dots in a cell."""
        return MODES[self.mode]

    @property
    def n_columns(self) -> int:
        """Dots in a row."""
        return self.width * self.dots.n_columns

    @property
    def n_rows(self) -> int:
        """Dots in a column."""
        return self.height * self.dots.n_rows

    def find_column(self, scale: Scale, x: float) -> int | None:
        """The frame's column where x stands; None outside."""
        dot = _place(scale.place(x), self.n_columns)
        return None if dot is None else self.left + dot // self.dots.n_columns

    def find_row(self, scale: Scale, y: float) -> int | None:
        """The frame's row where y stands; None outside."""
        dot = _place(1.0 - scale.place(y), self.n_rows)
        return None if dot is None else self.top + dot // self.dots.n_rows

    def find_x(self, scale: Scale, column: int) -> float:
        """The x in the middle of a column of the frame; beyond the edges that of the edge."""
        dot = (min(max(column - self.left, 0), self.width - 1) + 0.5) * self.dots.n_columns - 0.5
        return scale.pick(dot / max(self.n_columns - 1, 1))


@dataclass(frozen=True, slots=True)
class Identity:
    """By what a series is told from others: a letter and a colour."""

    letter: str
    colour: int

    @property
    def style(self) -> str:
        """Style of its line."""
        return f"series-{self.colour}"

    @property
    def faint_style(self) -> str:
        """Style of its band and of values behind its line."""
        return f"faint-{self.colour}"


Scales: TypeAlias = tuple[Scale, Scale]


def identify(series: Sequence[Series]) -> tuple[Identity, ...]:
    """Letters and colours of series; pale ones take those of the next that is not."""
    identities, n = [], 0
    for each in series:
        letter = each.marker or _LETTERS[n % len(_LETTERS)]
        identities.append(Identity(letter, each.colour or n % N_COLOURS + 1))
        n += not each.is_faint
    return tuple(identities)


def draw_series(
    frame: Frame, area: Area, series: Sequence[Series], identities: Sequence[Identity], scales: Scales, active: str = ""
) -> BoolArray:
    """Draw all series into their area; return which of its cells show one of them."""
    n_rows, n_columns = area.n_rows, area.n_columns
    owners = np.full((area.height, area.width), _NOBODY, np.int16)
    order = sorted(range(len(series)), key=lambda k: (not series[k].is_faint, series[k].name == active))
    shifts = _find_shifts(area, series, scales[0])
    for k in order:
        if series[k].low is not None and not series[k].is_points:
            paint_dots(frame, area, _fill_band(area, series[k], scales), identities[k].faint_style)
    for k in order:
        each, identity = series[k], identities[k]
        if each.smooth_ys is not None:
            runs = trace_line(_reduce(area, each.xs, each.ys, scales), scales[1], n_columns, n_rows)
            owners[paint_dots(frame, area, fill_runs(runs, n_columns, n_rows), identity.faint_style)] = k
        envelope = _reduce(area, each.xs, each.shown_ys, scales, shifts[k])
        dots = fill_runs(
            trace_line(envelope, scales[1], n_columns, n_rows, is_joined=each.is_joined), n_columns, n_rows
        )
        if each.is_points:
            dots |= fill_runs(_trace_whiskers(area, each, scales, shifts[k]), n_columns, n_rows)
        style = identity.faint_style if each.is_faint else identity.style
        owners[paint_dots(frame, area, dots, style)] = k
    named = [k for k in order if not series[k].is_faint]
    for k in named:
        if series[k].is_points:
            glyph = identities[k].letter if area.is_monochrome and len(named) > 1 else "●"
            _put_markers(frame, area, series[k], scales, shifts[k], (glyph, identities[k].style))
    if len(named) > 1 and (area.is_monochrome or area.mode == "ascii"):
        _put_letters(frame, area, owners, {k: identities[k].letter for k in named})
    is_data: BoolArray = owners != _NOBODY
    return is_data


def write_line_ends(
    frame: Frame, area: Area, series: Sequence[Series], identities: Sequence[Identity], scales: Scales
) -> None:
    """Put each line's letter right of its last point in sight, or above or below where another is."""
    taken: set[tuple[int, int]] = set()
    shifts = _find_shifts(area, series, scales[0])
    for each, identity in zip(series, identities, strict=True):
        if each.is_faint:
            continue
        end = np.searchsorted(each.xs, scales[0].high, "right")
        ys = each.shown_ys[:end]
        is_shown = ~np.isnan(ys) & (each.xs[:end] >= scales[0].low)
        if not is_shown.any():
            continue
        last = int(np.flatnonzero(is_shown)[-1])
        column = area.find_column(scales[0], float(each.xs[last]))
        y = min(max(float(ys[last]), scales[1].low), scales[1].high)
        row = area.find_row(scales[1], y)
        if row is None or column is None:
            continue
        column += 1 + (max(shifts) if each.is_points else 0) // area.dots.n_columns
        place = next((place for place in _list_rows(row, area) if (place, column) not in taken), row)
        taken.add((place, column))
        frame.put(place, column, identity.letter, identity.style)


def put_cursor_dot(frame: Frame, area: Area, point: tuple[float, float], scales: Scales, style: str) -> None:
    """Mark the point that the cursor stands on."""
    column, row = area.find_column(scales[0], point[0]), area.find_row(scales[1], point[1])
    if column is not None and row is not None:
        frame.put(row, column, "●", style)


def paint_dots(frame: Frame, area: Area, dots: BoolArray, style: str) -> BoolArray:
    """Write the cells of an area that have dots; return which."""
    patterns = find_patterns(dots, area.dots)
    is_set: BoolArray = patterns > 0
    rows, columns = slice(area.top, area.top + area.height), slice(area.left, area.left + area.width)
    frame.chars[rows, columns][is_set] = area.dots.glyphs[patterns[is_set]]
    frame.styles[rows, columns][is_set] = STYLE_IDS[style]
    return is_set


def _list_rows(row: int, area: Area) -> Iterator[int]:
    """Rows of the area by their distance from one of them."""
    for distance in range(area.height):
        for place in dict.fromkeys((row - distance, row + distance)):
            if area.top <= place < area.top + area.height:
                yield place


def _place(unit: float, n_dots: int) -> int | None:
    dot = unit * max(n_dots - 1, 1)
    return round(dot) if -0.5 <= dot <= n_dots - 0.5 else None


def _reduce(area: Area, xs: FloatArray, ys: FloatArray, scales: Scales, shift: int = 0) -> Envelope:
    if scales[1].is_log:
        ys = np.where(ys > 0, ys, np.nan)
    envelope = reduce_to_envelope(xs, ys, scales[0], area.n_columns)
    return replace(envelope, places=envelope.places + shift) if shift else envelope


def _fill_band(area: Area, series: Series, scales: Scales) -> BoolArray:
    """A thin pattern of dots between the lower and the upper ends."""
    assert series.low is not None and series.high is not None
    low, high = (_reduce(area, series.xs, ys, scales) for ys in (series.low, series.high))
    runs = trace_area(low, high, scales[1], area.n_columns, area.n_rows)
    rows, columns = np.indices((area.n_rows, area.n_columns), sparse=True)
    is_in_pattern = (rows % 2 == 0) & ((columns + rows // 2) % 2 == 0)
    is_inside: BoolArray = fill_runs(runs, area.n_columns, area.n_rows) & is_in_pattern
    return is_inside


def _trace_whiskers(area: Area, series: Series, scales: Scales, shift: int) -> VerticalRuns:
    """One run a point from its upper to its lower end; columns of points that have both."""
    empty = np.zeros(0, np.intp)
    if series.low is None or series.high is None:
        return VerticalRuns(empty, empty, empty)
    places = scales[0].to_unit(series.xs) * (area.n_columns - 1)
    tops = (1.0 - scales[1].to_unit(series.high)) * (area.n_rows - 1)
    bottoms = (1.0 - scales[1].to_unit(series.low)) * (area.n_rows - 1)
    is_placed = np.isfinite(places) & np.isfinite(tops) & np.isfinite(bottoms)
    is_placed &= (places > -1) & (places < area.n_columns)
    columns = np.rint(places[is_placed]).astype(np.intp) + shift
    return build_runs(columns, tops[is_placed], bottoms[is_placed], area.n_rows)


def _put_markers(frame: Frame, area: Area, series: Series, scales: Scales, shift: int, look: tuple[str, str]) -> None:
    start, end = np.searchsorted(series.xs, scales[0].low), np.searchsorted(series.xs, scales[0].high, "right")
    for x, y in zip(series.xs[start:end].tolist(), series.ys[start:end].tolist(), strict=True):
        column, row = area.find_column(scales[0], x), None if y != y else area.find_row(scales[1], y)
        if column is not None and row is not None:
            column += shift // area.dots.n_columns
            if area.left <= column < area.left + area.width:
                frame.put(row, column, *look)


def _put_letters(frame: Frame, area: Area, owners: NDArray[np.int16], letters: dict[int, str]) -> None:
    """Write each line's letter on it, everywhere among ASCII dots, else at distances that differ from line to line."""
    n = len(letters)
    for place, (k, letter) in enumerate(letters.items()):
        is_own = owners == k
        if area.mode != "ascii":
            is_spot = np.zeros_like(is_own)
            for column in range(place * _LETTER_SPACING + _LETTER_SPACING // 2, area.width, n * _LETTER_SPACING):
                rows = np.flatnonzero(is_own[:, column])
                if len(rows):
                    is_spot[rows[len(rows) // 2], column] = True
            is_own = is_spot
        frame.chars[area.top : area.top + area.height, area.left : area.left + area.width][is_own] = ord(letter)


def _find_shifts(area: Area, series: Sequence[Series], scale: Scale) -> list[int]:
    """Dots by which series of points are moved aside, a cell each, where they stand at the same x and there is room."""
    with_points = [k for k, each in enumerate(series) if each.is_points and not each.is_faint]
    shifts = [0] * len(series)
    n = len(with_points)
    xs = np.unique(np.concatenate([series[k].xs for k in with_points])) if with_points else np.zeros(0)
    places = np.unique(np.rint(scale.to_unit(xs) * (area.width - 1)))
    places = places[np.isfinite(places)]
    if n < 2 or (len(places) > 1 and np.diff(places).min() < n + 2):
        return shifts
    for place, k in enumerate(with_points):
        shifts[k] = (place - (n - 1) // 2) * area.dots.n_columns
    return shifts
