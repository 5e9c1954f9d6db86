"""Numbers, times and sizes as a reader wants them; text only, no colour.

Knows how things are written. Must not know where they come from. A missing number is a dash.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

MISSING = "–"
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_LEFT_STEPS = ((_HOUR, 300), (600, 60), (_MINUTE, 10), (20, 5), (0, 1))


def format_percent(rate: float | None, digits: int = 1) -> str:
    """A rate in [0, 1] as percent without the sign: 75.2."""
    return MISSING if rate is None or not math.isfinite(rate) else f"{100 * rate:.{digits}f}"


def format_interval(interval: tuple[float, float] | None) -> str:
    """Both ends of an interval of rates as percent: 71.2–78.8."""
    return MISSING if interval is None else f"{100 * interval[0]:.1f}–{100 * interval[1]:.1f}"


def format_signed(value: float | None, digits: int = 2) -> str:
    """A number with its sign, zero without: +0.51, with a real minus."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "−")


def format_number(value: float | None, digits: int = 2) -> str:
    """A number with a fixed count of decimals."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:.{digits}f}".replace("-", "−")


def format_p_value(p_value: float) -> str:
    """A p-value as an equation: p = 0.013, or p < 0.001; below 0.05 it is not rounded up to it."""
    if p_value < 0.001:
        return "p < 0.001"
    if 0.0495 <= p_value < 0.05:
        return "p < 0.05"
    return f"p = {p_value:.3f}" if p_value < 0.1 else f"p = {p_value:.2f}"


def format_duration(seconds: float | None) -> str:
    """A duration: 4.1 s, 1:05, 2:03:20."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}:{whole % _MINUTE:02d}"
    return f"{whole // _HOUR}:{whole % _HOUR // _MINUTE:02d}:{whole % _MINUTE:02d}"


def format_left(seconds: float) -> str:
    """A time that is an estimate anyway, in steps that grow with it: a clock that ticks is a redraw for nothing."""
    step = next(step for least, step in _LEFT_STEPS if seconds >= least)
    rounded = step * round(seconds / step)
    return format_duration(float(rounded)) if rounded >= _MINUTE else f"{max(1, rounded)} s"


def format_age(seconds: float) -> str:
    """How long ago, in one unit: now, 5 min ago, 3 days ago."""
    if seconds < _MINUTE:
        return "now"
    for size, unit in ((_DAY, "day"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= size:
            n = int(seconds // size)
            return f"{n} {unit}{'s' if unit == 'day' and n > 1 else ''} ago"
    return "now"


def format_short_age(seconds: float) -> str:
    """How long ago, in four characters at most: now, 5m, 3h, 12d, 3y."""
    for size, unit in ((365 * _DAY, "y"), (_DAY, "d"), (_HOUR, "h"), (_MINUTE, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return "now"


def format_bytes(n_bytes: float) -> str:
    """A size in binary units: 1.6 MiB."""
    size = float(n_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def format_count(count: int | None) -> str:
    """A count with its thousands apart: 3,000."""
    return MISSING if count is None else f"{count:,}"


def format_quantity(n: int, noun: str) -> str:
    """A count with what is counted: 1 run, 3,000 runs."""
    return f"{n} {noun}" if n == 1 else f"{n:,} {noun}s"


def format_seeds(seeds: Sequence[int]) -> str:
    """Seeds as a reader writes them: 0–4, or 0, 2, 5."""
    is_run = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]}–{seeds[-1]}" if is_run else ", ".join(map(str, seeds))


def format_range(numbers: Iterable[int]) -> str:
    """The least and the greatest of several counts: 5, or 3 to 5; 0 where there are none."""
    known = sorted(set(numbers))
    if not known:
        return "0"
    return f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,}"


def format_tokens(n_tokens: int | None) -> str:
    """The length of a response; an imported one's is not known."""
    return "length unknown" if n_tokens is None else f"{n_tokens} tokens"


def format_rate(per_second: float) -> str:
    """Items per second with about three digits."""
    if per_second >= 100:
        return f"{per_second:,.0f}/s"
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{per_second:.2f}/s"


def format_compact(value: float | None, room: int = 6) -> str:
    """A number in about ``room`` characters, with up to four significant digits: 0.4811, 1420, 14.2k, 1e-5."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    for n_digits in (4, 3, 2, 1):
        text = _round_compactly(value, n_digits, room)
        if len(text) <= room:
            break
    return f"−{text[1:]}" if value < 0 else text


def _round_compactly(value: float, n_digits: int, room: int) -> str:
    mantissa, _, exponent = f"{value:.{n_digits - 1}e}".partition("e")
    power = int(exponent)
    if value == round(value) and abs(value) < 10 ** min(room, 15) and len(text := f"{value:.0f}") <= room:
        return text
    if -3 <= power < 4:
        return _strip_zeros(f"{value:.{max(n_digits - 1 - power, 0)}f}")
    if 4 <= power < 15:
        steps = power // 3
        return _strip_zeros(f"{value / 1000**steps:.{max(min(n_digits, 3) - 1 - power % 3, 0)}f}") + " kMGT"[steps]
    return f"{_strip_zeros(mantissa)}e{power}"


def _strip_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
