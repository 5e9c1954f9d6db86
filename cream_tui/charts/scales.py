"""Where values stand on an axis, and which round numbers it is labelled with.

Knows ranges, linear and logarithmic. Must not know series or cells. A range is (low, high) in the values' own unit.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cream_tui.units import format_compact

FloatArray: TypeAlias = NDArray[np.float64]
Range: TypeAlias = tuple[float, float]
AxisKind: TypeAlias = Literal["number", "duration"]

_FACTORS = (1, 2, 5)
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_DURATION_STEPS = (
    *(1, 2, 5, 10, 15, 30),
    *(n * _MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * _HOUR for n in (1, 2, 3, 6, 12)),
    *(n * _DAY for n in (1, 2, 5, 10, 20, 50, 100)),
)
_PADDING_STEPS = 20  # a fitted range ends on a multiple of about its span over this
_GROWTH = 0.2  # room that a range gains beyond what it needs when it has to grow
_MOST = 1e150  # larger numbers would overflow in a span
_MOST_EXPONENT = 150.0
_LEAST_FILLED = 0.4  # below this share of a kept range the data get a range of their own


@dataclass(frozen=True, slots=True)
class Scale:
    """A range on an axis. Its unit interval runs from 0 at ``low`` to 1 at ``high``."""

    low: float
    high: float
    is_log: bool = False

    def to_unit(self, values: FloatArray) -> FloatArray:
        """Places of values; not a number for those that a logarithmic axis has no place for."""
        if not self.is_log:
            return (values - self.low) / (self.high - self.low)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.where(values > 0, np.log10(values), np.nan)
        low, high = math.log10(self.low), math.log10(self.high)
        return (logs - low) / (high - low)

    def place(self, value: float) -> float:
        """Place of one value."""
        return float(self.to_unit(np.array([value]))[0])

    def from_unit(self, units: FloatArray) -> FloatArray:
        """Values at places."""
        if not self.is_log:
            return self.low + units * (self.high - self.low)
        low, high = math.log10(self.low), math.log10(self.high)
        return np.power(10.0, low + units * (high - low))

    def pick(self, unit: float) -> float:
        """Value at one place."""
        return float(self.from_unit(np.array([unit]))[0])


@dataclass(frozen=True, slots=True)
class Axis:
    """How the values of an axis are written.

    Attributes:
        name: What the axis shows, as "step".
        kind: "duration" takes values as seconds.
        prefix: Stands before each label, as "M" before the number of a model.
        min_step: Labels are not closer than this: 1 where only whole numbers exist.
    """

    name: str = ""
    kind: AxisKind = "number"
    prefix: str = ""
    min_step: float = 0.0

    def format_value(self, value: float) -> str:
        """One value of this axis."""
        if self.kind == "duration":
            return _format_duration(value, 1)
        return self.prefix + format_compact(value, 7)

    def find_labels(self, scale: Scale, n_max: int) -> list[tuple[float, str]]:
        """At most about ``n_max`` round values within the scale, with their labels."""
        if self.kind == "duration" and not scale.is_log:
            step = next((s for s in _DURATION_STEPS if (scale.high - scale.low) / s < n_max), _DURATION_STEPS[-1])
            ticks = _list_multiples(scale.low, scale.high, step, 0)
            return [(tick, _format_duration(tick, step)) for tick in ticks]
        ticks = find_ticks(scale, n_max, min_step=self.min_step)
        return [
            (tick, self.prefix + text)
            for tick, text in zip(ticks, format_ticks(ticks, is_log=scale.is_log), strict=True)
        ]


def find_ticks(scale: Scale, n_max: int, *, min_step: float = 0.0) -> list[float]:
    """Round values within a scale, 1, 2 or 5 times a power of ten apart, at most ``n_max`` where two fit at all."""
    if scale.is_log:
        ticks = _find_log_ticks(scale, n_max)
        if len(ticks) >= 2:
            return ticks
    span = scale.high - scale.low
    if not (math.isfinite(span) and span > 0):
        return []
    least = max(span / max(n_max, 1), min_step)
    exponent = math.floor(math.log10(least)) - 1
    best: list[float] = []
    for step in (factor * 10.0**e for e in range(exponent, exponent + 4) for factor in _FACTORS):
        if step < min_step * (1 - 1e-9):
            continue
        factor, power = _split_step(step)
        if span / step > 4 * n_max + 8:
            continue
        ticks = _list_multiples(scale.low, scale.high, factor, power)
        if len(ticks) <= n_max:
            return ticks if len(ticks) >= 2 or not 2 <= len(best) <= n_max + 1 else best
        best = ticks
    return best[:n_max]


def format_ticks(ticks: list[float], *, is_log: bool = False, room: int = 5) -> list[str]:
    """Labels of round numbers, exact and as short as fits; on a linear axis all have as many decimals as the finest."""
    exact = [Decimal(repr(tick)).normalize() for tick in ticks]
    n_decimals = [max(0, -int(number.as_tuple().exponent)) for number in exact]
    n_most = max(n_decimals, default=0)
    labels = [f"{tick:.{n if is_log else n_most}f}" for tick, n in zip(ticks, n_decimals, strict=True)]
    if n_most > 4 or max(map(len, labels), default=0) > room:
        labels = [_format_exactly(number) for number in exact]
    return [
        "0" if tick == 0 else f"−{label[1:]}" if tick < 0 else label for tick, label in zip(ticks, labels, strict=True)
    ]


def fit_range(low: float, high: float, *, is_log: bool = False) -> Range:
    """The range widened outwards to round numbers, by a twentieth at most on each side; never empty."""
    if is_log:
        low, high = (math.log10(low), math.log10(high))
        low, high = max(low, -_MOST_EXPONENT), min(high, _MOST_EXPONENT)
        if high - low < 1e-9:
            low, high = min(low, high) - 0.5, max(low, high) + 0.5
        step = 0.05 * (high - low)
        return _raise(low - step), _raise(high + step)
    low, high = open_range(low, high)
    step = _find_step((high - low) / _PADDING_STEPS)
    factor, power = _split_step(step)
    return (
        _multiply(math.floor(low / step + 1e-9), factor, power),
        _multiply(math.ceil(high / step - 1e-9), factor, power),
    )


def keep_range(kept: Range | None, low: float, high: float, *, is_log: bool = False, is_exact: bool = False) -> Range:
    """The range for data from low to high: the kept one as long as it serves, else one grown by a large step.

    A live chart thus repaints wholly only now and then. Data that fill too little of the kept range get a new one.

    Args:
        kept: The range shown so far; None at first.
        is_exact: A new range ends where the data end, instead of at a round number beyond.
    """
    if kept is not None and not (is_log and kept[0] <= 0):
        start, end = (math.log10(v) if is_log else v for v in kept)
        first, last = (math.log10(v) if is_log else v for v in (low, high))
        if last - first >= _LEAST_FILLED * (end - start) or (last == first and start <= first <= end):
            if start <= first and last <= end:
                return kept
            room = _GROWTH * (max(last, end) - min(first, start))
            wide = (start if start <= first else first - room, end if last <= end else last + room)
            if last - first >= _LEAST_FILLED * (wide[1] - wide[0]):
                grown = (_raise(wide[0]), _raise(wide[1])) if is_log else fit_range(*wide)
                return (kept[0] if start <= first else grown[0], kept[1] if last <= end else grown[1])
    return open_range(low, high, is_log=is_log) if is_exact else fit_range(low, high, is_log=is_log)


def open_range(low: float, high: float, *, is_log: bool = False) -> Range:
    """The range, opened around its value if it has but one, so that a scale can be made of it."""
    low, high = max(low, -_MOST), min(high, _MOST)
    if high > low and math.isfinite(1 / (high - low)):
        return low, high
    if is_log:
        return max(low / 2, 1 / _MOST), max(high * 2, 4 / _MOST)
    around = abs(low) / 10 or 1.0
    return low - around, high + around


def _raise(exponent: float) -> float:
    """The power of ten, within what spans can be made of."""
    return float(10 ** min(max(exponent, -_MOST_EXPONENT), _MOST_EXPONENT))


def _find_step(least: float) -> float:
    """The smallest 1, 2 or 5 times a power of ten that is at least this large."""
    exponent = math.floor(math.log10(least))
    return next(
        step
        for e in range(exponent - 1, exponent + 3)
        for factor in _FACTORS
        if (step := float(f"{factor}e{e}")) >= least * (1 - 1e-9)
    )


def _split_step(step: float) -> tuple[int, int]:
    """Factor and power of ten of a 1-2-5 step."""
    factor, _, exponent = f"{step:.0e}".partition("e")
    return int(factor), int(exponent)


def _multiply(n: int, factor: int, power: int) -> float:
    """``n * factor * 10**power`` as the float nearest to the decimal number: 1e-5, never 9.99e-06."""
    return float(f"{n * factor}e{power}")


def _list_multiples(low: float, high: float, factor: int, power: int) -> list[float]:
    step = float(f"{factor}e{power}")
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [_multiply(n, factor, power) for n in range(first, last + 1)]


def _find_log_ticks(scale: Scale, n_max: int) -> list[float]:
    """Powers of ten, every second or third where they are many, their double and fivefold where they are few."""
    least = sys.float_info.min  # below, powers of ten are zero
    first, last = math.floor(math.log10(max(scale.low, least))), math.ceil(math.log10(max(scale.high, least)))
    fine = [
        tick
        for e in range(first, last + 1)
        for f in _FACTORS
        if scale.low <= (tick := _multiply(1, f, e)) <= scale.high
    ]
    if len(fine) <= n_max:
        return fine
    coarse = [tick for e in range(first, last + 1) if scale.low <= (tick := _multiply(1, 1, e)) <= scale.high]
    stride = math.ceil(len(coarse) / max(n_max, 1))
    spread = [tick for tick in coarse if round(math.log10(tick)) % stride == 0]
    if len(spread) >= 2:
        return spread
    ends = coarse if len(coarse) >= 2 else fine
    return [ends[0], ends[-1]] if ends else []


def _format_duration(seconds: float, step: float) -> str:
    """A time on an axis, as fine as its step: 0:30, 5m, 1h05, 2h, 3d."""
    sign, whole = ("−" if seconds < 0 else ""), round(abs(seconds))
    if not whole:
        return "0"
    if step >= _DAY:
        return f"{sign}{whole // _DAY}d"
    hours, minutes = whole // _HOUR, whole % _HOUR // _MINUTE
    if step >= _HOUR or (step >= _MINUTE and hours and not minutes):
        return f"{sign}{hours}h"
    if step >= _MINUTE or hours:
        return f"{sign}{hours}h{minutes:02d}" if hours else f"{sign}{minutes}m"
    return f"{sign}{minutes}:{whole % _MINUTE:02d}"


def _format_exactly(number: Decimal) -> str:
    """A round number without leading or trailing zeros: 1e-5, 0.001, 1.4k, 20M."""
    power = number.adjusted()
    if 3 <= power < 15:
        steps = power // 3
        return f"{(number / 1000**steps).normalize():f}{' kMGT'[steps]}"
    if -4 < power < 3:
        return f"{number:f}"
    return f"{number.scaleb(-power).normalize():f}e{power}"
