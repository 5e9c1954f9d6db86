"""A series in a few characters of one line, for cells of tables.

Knows numbers and characters. Must not know arrays: tables stand before the first chart is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN = "_.-:=+*#"


def spark(
    values: Sequence[float | None],
    width: int,
    *,
    low: float | None = None,
    high: float | None = None,
    is_ascii: bool = False,
) -> str:
    """At most ``width`` characters, one for each value or group of values; missing ones are blank.

    A group shows its value farthest from the median of all, so that a spike is not averaged away.

    Args:
        values: Oldest first; None and what is not finite is missing.
        width: Room in cells.
        low: Value of the lowest level; by default the lowest value.
        high: Value of the highest level.
        is_ascii: Levels of ASCII characters instead of blocks.
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known or width < 1:
        return ""
    levels = _PLAIN if is_ascii else _BLOCKS
    low, high = min(known) if low is None else low, max(known) if high is None else high
    centre = median(known)
    n = min(width, len(values))
    characters = []
    for k in range(n):
        group = values[k * len(values) // n : (k + 1) * len(values) // n]
        inside = [value for value in group if value is not None and math.isfinite(value)]
        if not inside:
            characters.append(" ")
            continue
        value = max(inside, key=lambda value: abs(value - centre))
        # Halves: the distance of the largest numbers is none.
        share = (value / 2 - low / 2) / (high / 2 - low / 2) if high / 2 > low / 2 else 0.5
        characters.append(levels[min(max(int(share * len(levels)), 0), len(levels) - 1)])
    return "".join(characters)
