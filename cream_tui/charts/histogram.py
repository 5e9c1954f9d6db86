"""Counts of values by level, with the distribution they would have by chance drawn over them.

Knows bins, cells and Textual. Must not know pairs or models. Pure: `Bins`, `lay_out_histogram`; the widget shows them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import var

from cream_tui.charts.axes import divide
from cream_tui.charts.frame import Frame
from cream_tui.charts.frame_view import FrameView
from cream_tui.charts.legend import write_title
from cream_tui.charts.raster import ModeName
from cream_tui.charts.scales import Axis, Range, Scale
from cream_tui.units import format_compact, format_number, format_percent
from engine.method.agreement import compute_tau_null

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_GAP_WIDTH = 3  # bars of at least so many cells leave one of them free
_LEAST_EXPECTED = 0.125  # rows below which a bar by chance is not marked, as it would be none to see
_HEADROOM = 1.05  # of the y axis over the highest bar


@dataclass(frozen=True, slots=True)
class Bins:
    """Counts by level.

    Attributes:
        edges: Ends of the bins, one more than there are bins, ascending.
        levels: Values that the bins stand for, ascending.
        counts: How many values each bin has.
        null: Probability of each bin by chance; empty where that is unknown.
        mean: Of the values; None without any.
    """

    edges: tuple[float, ...]
    levels: tuple[float, ...]
    counts: tuple[int, ...]
    null: tuple[float, ...] = ()
    mean: float | None = None

    def __post_init__(self) -> None:
        n = len(self.levels)
        if len(self.edges) != n + 1 or len(self.counts) != n or len(self.null) not in (0, n):
            raise ValueError(
                f"{n} levels with {len(self.edges)} edges, {len(self.counts)} counts, {len(self.null)} null"
            )

    @property
    def total(self) -> int:
        """Number of values."""
        return sum(self.counts)

    @property
    def null_mean(self) -> float | None:
        """Mean by chance."""
        return sum(p * level for p, level in zip(self.null, self.levels, strict=True)) if self.null else None

    def find(self, value: float) -> int | None:
        """Index of the bin that has a value; None outside."""
        inside = [k for k, (low, high) in enumerate(pairwise(self.edges)) if low <= value <= high]
        return inside[0] if inside else None


def build_bins(
    levels: Sequence[float],
    counts: Sequence[int],
    null: Sequence[float] = (),
    *,
    mean: float | None = None,
    limits: Range = (-1.0, 1.0),
) -> Bins:
    """Bins around levels, with borders in the middle between two.

    Args:
        levels: Ascending.
        counts: Values at, or nearest to, each level.
        null: Probabilities of the levels by chance.
        mean: Of the values, where it is known better than from the levels.
        limits: Between which all values lie.
    """
    middles = [(a + b) / 2 for a, b in pairwise(levels)]
    first, last = (levels[0] - (middles[0] - levels[0]), levels[-1] + (levels[-1] - middles[-1])) if middles else limits
    edges = (max(first, limits[0]), *middles, min(last, limits[1])) if len(levels) else (limits[0],)
    total = sum(counts)
    if mean is None and total:
        mean = sum(level * count for level, count in zip(levels, counts, strict=True)) / total
    return Bins(edges, tuple(map(float, levels)), tuple(map(int, counts)), tuple(map(float, null)), mean)


def bin_taus(taus: Sequence[float], n: int) -> Bins:
    """Taus by the levels that Kendall's tau of n responses can take, with its distribution by chance.

    A tau of fewer distinct responses, which has levels of its own, counts at the nearest.

    Raises:
        ValueError: n is below 2.
    """
    levels, null = (values.tolist() for values in compute_tau_null(n))
    counts = [0] * len(levels)
    for tau in taus:
        counts[round((tau + 1) / 2 * (len(levels) - 1))] += 1
    mean = sum(taus) / len(taus) if taus else None
    return build_bins(levels, counts, null, mean=mean)


def merge_bins(bins: Bins, n_most: int) -> Bins:
    """The bins, so many neighbours taken together that at most ``n_most`` are left."""
    size = math.ceil(len(bins.levels) / max(n_most, 1))
    if size <= 1:
        return bins
    groups = [range(k, min(k + size, len(bins.levels))) for k in range(0, len(bins.levels), size)]
    return Bins(
        (*(bins.edges[group[0]] for group in groups), bins.edges[-1]),
        tuple((bins.levels[group[0]] + bins.levels[group[-1]]) / 2 for group in groups),
        tuple(sum(bins.counts[k] for k in group) for group in groups),
        tuple(sum(bins.null[k] for k in group) for group in groups) if bins.null else (),
        bins.mean,
    )


@dataclass(frozen=True, slots=True)
class Look:
    """What a histogram shows besides its bins.

    Attributes:
        unit: What is counted.
        value_name: What the levels are values of.
        cursor: A value whose bin is chosen.
        highlighted: A value whose bin gets an arrow.
    """

    title: str = ""
    unit: str = "pairs"
    value_name: str = "tau"
    cursor: float | None = None
    highlighted: float | None = None
    mode: ModeName = "braille"
    empty_text: str = "no values yet"


@dataclass(frozen=True, slots=True)
class Bars:
    """Where the bars of a drawn histogram stand."""

    left: int
    top: int
    height: int
    slot: int
    width: int

    def find_bin(self, column: int, n: int) -> int | None:
        """Index of the bar at a column; None beside them."""
        k = (column - self.left) // self.slot
        return k if 0 <= k < n else None


def lay_out_histogram(bins: Bins, look: Look, width: int, height: int) -> tuple[Frame, Bins, Bars | None]:
    """The histogram in a frame of this size, the bins as they were merged to fit, and where their bars stand."""
    frame = Frame(width, height)
    if bins.total:
        shown, bars = _draw(frame, bins, look)
    else:
        shown, bars = bins, None
        write_title(frame, look.title, "")
        frame.write(height // 2, max((width - len(look.empty_text)) // 2, 0), look.empty_text, "label")
    if look.mode == "ascii":
        frame.to_plain()
    return frame, shown, bars


def _draw(frame: Frame, bins: Bins, look: Look) -> tuple[Bins, Bars | None]:
    highest = max(*bins.counts, *(p * bins.total for p in bins.null))
    axis = Axis(min_step=1)
    place = divide(frame, 1, axis, Scale(0, highest * _HEADROOM), margin=0)
    if place is None:
        write_title(frame, look.title, "")
        return bins, None
    left, top, plot_width, plot_height = place
    shown = merge_bins(bins, plot_width)
    highest = max(*shown.counts, *(p * shown.total for p in shown.null)) * _HEADROOM
    slot = plot_width // len(shown.levels)
    bars = Bars(left, top, plot_height, slot, slot - (slot >= _GAP_WIDTH))
    _draw_bars(frame, shown, look, bars, highest)
    _write_counts(frame, bars, axis, highest)
    _write_levels(frame, shown, look, bars)
    _write_head(frame, shown, look)
    return shown, bars


def _draw_bars(frame: Frame, bins: Bins, look: Look, bars: Bars, highest: float) -> None:
    chosen = None if look.cursor is None else bins.find(look.cursor)
    bottom = bars.top + bars.height - 1
    for k, count in enumerate(bins.counts):
        eighths = math.ceil(count / highest * bars.height * 8 - 1e-9)
        style = "bar-chosen" if k == chosen else "bar"
        columns = range(bars.left + k * bars.slot, bars.left + k * bars.slot + bars.width)
        for row in range(math.ceil(eighths / 8)):
            glyph = _EIGHTHS[min(eighths - 8 * row, 8)]
            for column in columns:
                frame.put(bottom - row, column, glyph, style)
        expected = bins.null[k] * bins.total / highest * bars.height if bins.null else 0.0
        if expected >= _LEAST_EXPECTED:
            row = math.ceil(expected - 1e-9) - 1
            is_on_bar = eighths - 8 * row >= 4
            null_style = ("null-on-chosen" if k == chosen else "null-on-bar") if is_on_bar else "null"
            for column in columns:
                frame.put(bottom - row, column, "─", null_style)
    k_ = None if look.highlighted is None else bins.find(look.highlighted)
    if k_ is not None:
        column = bars.left + k_ * bars.slot + (bars.width - 1) // 2
        rows = [r for r in range(bars.top, bottom + 1) if not frame.is_blank(r, column, column + 1)]
        frame.put(max(min(rows, default=bottom + 1) - 1, bars.top), column, "▼", "cursor")


def _write_counts(frame: Frame, bars: Bars, axis: Axis, highest: float) -> None:
    """The y axis: counts, each at the row in which a bar of that height ends."""
    if not bars.left:
        return
    for row in range(bars.top, bars.top + bars.height):
        frame.put(row, bars.left - 1, "│", "axis")
    for tick, label in axis.find_labels(Scale(0, highest), max(2, (bars.height + 1) // 3)):
        row = bars.top + bars.height - max(math.ceil(tick / highest * bars.height), 1)
        frame.write(row, bars.left - 1 - len(label), label, "label")
        frame.put(row, bars.left - 1, "┤", "axis")


def _write_levels(frame: Frame, bins: Bins, look: Look, bars: Bars) -> None:
    """The x axis: the line with both means on it, and levels as far as there is room, the middle one for certain."""
    line, row = bars.top + bars.height, frame.height - 1
    if line >= frame.height:
        return
    n = len(bins.levels)
    if line < row:
        frame.put(line, bars.left - 1, "└", "axis")
        for column in range(bars.left, bars.left + n * bars.slot):
            frame.put(line, column, "─", "axis")
        for value, glyph, style in ((bins.null_mean, "△", "null"), (bins.mean, "▲", "bar")):
            if value is not None:
                frame.put(line, _find_column(bins, bars, value), glyph, style)
    labels = [format_compact(round(level, 6), 4) for level in bins.levels]
    stride = math.ceil((max(map(len, labels)) + 1) / bars.slot)
    chosen = None if look.cursor is None else bins.find(look.cursor)
    for k in (chosen, *range(n // 2 % stride, n, stride)):
        if k is None:
            continue
        start = max(bars.left + k * bars.slot + (bars.width - len(labels[k])) // 2, 0)
        end = start + len(labels[k])
        if frame.is_blank(row, max(start - 1, 0), min(end + 1, frame.width)):
            frame.write(row, start, labels[k], "cursor" if k == chosen else "label")
    start = bars.left - 1 - len(look.value_name)
    if frame.is_blank(row, start, bars.left):
        frame.write(row, start, look.value_name, "axis")


def _find_column(bins: Bins, bars: Bars, value: float) -> int:
    """Where a value stands among the bars, levels standing in their middles."""
    levels = bins.levels
    if len(levels) < 2:
        return bars.left + bars.width // 2
    k = min(max(sum(level <= value for level in levels) - 1, 0), len(levels) - 2)
    place = k + (value - levels[k]) / (levels[k + 1] - levels[k])
    place = min(max(place, 0.0), len(levels) - 1.0)
    return bars.left + round(place * bars.slot + (bars.width - 1) / 2)


def _write_head(frame: Frame, bins: Bins, look: Look) -> None:
    """The title and, as much of it as fits, the chosen bin or both means."""
    k = None if look.cursor is None else bins.find(look.cursor)
    if k is not None:
        count, share = bins.counts[k], format_percent(bins.counts[k] / bins.total)
        texts = [f"{count:,} {look.unit}, {share} %", f"{count:,}"]
        if bins.null:
            texts.insert(0, f"{texts[0]} (chance {format_percent(bins.null[k])} %)")
        texts = [f"{look.value_name} {format_compact(round(bins.levels[k], 6), 4)}: {text}" for text in texts]
    else:
        means = f"▲ mean {format_number(bins.mean)}"
        texts = [f"{bins.total:,} {look.unit}  {means}", means]
        if bins.null_mean is not None:
            null = f"△ chance {format_number(round(bins.null_mean, 9) + 0.0)}"
            texts = [f"{bins.total:,} {look.unit}  {means}  {null}", f"{means}  {null}", means]
    room = frame.width - min(cell_len(look.title), frame.width // 3) - 1
    write_title(frame, look.title, next((text for text in texts if cell_len(text) <= room), ""))


class Histogram(FrameView):
    """Counts by level.

    Attributes:
        title, unit, value_name, mode, empty_text: As of `Look`.
        cursor: A value whose bin is chosen; None is none.
        highlighted: A value whose bin gets an arrow.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move_cursor(-1)", "Bin to the left", show=False, id="histogram.previous"),
        Binding("right", "move_cursor(1)", "Bin to the right", show=False, id="histogram.next"),
        Binding("enter", "choose_bin", "Open what is in the bin", show=False, id="histogram.choose"),
    ]

    title: var[str] = var("", init=False)
    unit: var[str] = var("pairs", init=False)
    value_name: var[str] = var("tau", init=False)
    cursor: var[float | None] = var(None, init=False)
    highlighted: var[float | None] = var(None, init=False)
    mode: var[ModeName] = var("braille", init=False)
    empty_text: var[str] = var("no values yet", init=False)

    class BinChosen(Message):
        """What is in a bin is wanted: values from low to high."""

        def __init__(self, histogram: Histogram, low: float, high: float) -> None:
            super().__init__()
            self.histogram = histogram
            self.low = low
            self.high = high

        @property
        def control(self) -> Histogram:
            """The histogram."""
            return self.histogram

    def __init__(
        self, title: str = "", *, name: str | None = None, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._bins = build_bins((), ())
        self._shown = self._bins
        self._bars: Bars | None = None
        self.set_reactive(Histogram.title, title)

    def set_counts(
        self,
        levels: Sequence[float],
        counts: Sequence[int],
        null: Sequence[float] = (),
        *,
        mean: float | None = None,
        limits: Range = (-1.0, 1.0),
    ) -> None:
        """Show these; see `build_bins`."""
        self.set_bins(build_bins(levels, counts, null, mean=mean, limits=limits))

    def set_bins(self, bins: Bins) -> None:
        """Show these."""
        self._bins = bins
        self.redraw()

    @property
    def bins(self) -> Bins:
        """The bins as they were set."""
        return self._bins

    def move_cursor(self, n: int) -> None:
        """Choose the n-th bin to the right of the chosen one; from none the one with the mean."""
        shown = self._shown
        if not shown.total:
            return
        here = None if self.cursor is None else shown.find(self.cursor)
        if here is None:
            place = (None if shown.mean is None else shown.find(shown.mean)) or 0
        else:
            place = min(max(here + n, 0), len(shown.levels) - 1)
        self.cursor = shown.levels[place]

    def choose_bin(self) -> None:
        """Ask for what is in the chosen bin; without one choose the bin with the mean first."""
        k = None if self.cursor is None else self._shown.find(self.cursor)
        if k is None:
            self.move_cursor(0)
        else:
            self.post_message(self.BinChosen(self, self._shown.edges[k], self._shown.edges[k + 1]))

    action_move_cursor = move_cursor
    action_choose_bin = choose_bin

    def on_click(self, event: events.Click) -> None:
        """Choose the bin there."""
        offset = event.get_content_offset(self)
        k = None if offset is None or self._bars is None else self._bars.find_bin(offset.x, len(self._shown.levels))
        if k is not None:
            self.cursor = self._shown.levels[k]

    def on_mount(self) -> None:
        """From now on an attribute that is set draws anew."""
        for name in ("title", "unit", "value_name", "cursor", "highlighted", "mode", "empty_text"):
            self.watch(self, name, self.redraw, init=False)

    def draw(self, width: int, height: int) -> Frame:
        """The histogram in this size."""
        look = Look(self.title, self.unit, self.value_name, self.cursor, self.highlighted, self.mode, self.empty_text)
        frame, self._shown, self._bars = lay_out_histogram(self._bins, look, width, height)
        return frame
