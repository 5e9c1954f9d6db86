"""The lines of a chart as a table: last, least and greatest value with their places, and the value at the cursor.

Knows figures. Must not know charts.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.content import Content

from cream_tui.text import make_visible
from cream_tui.units import format_compact
from cream_tui.views.panels import Figures

_COLUMNS = ("", "n", "last", "at", "least", "at", "greatest", "at", "cursor", "at", "interval")
_TEXTS = (0, 3, 5, 7, 9, 10)
# What is left out first where the table is too wide.
_SETS = ((*range(11),), (0, 2, 3, 4, 5, 6, 7, 8, 9, 10), (0, 2, 4, 6, 8, 9, 10), (0, 2, 4, 6, 8, 9), (0, 2, 8))
_GAP = "  "


def lay_out_figures(figures: Sequence[Figures], note: str, width: int) -> Content:
    """The table in this many columns, and below it what a reader should know of the numbers."""
    rows = [_COLUMNS, *(_list_cells(found) for found in figures)]
    widths = [max(cell_len(row[k]) for row in rows) for k in range(len(_COLUMNS))]
    filled = {k for k in range(len(_COLUMNS)) if any(row[k] for row in rows[1:])}
    sets = [[k for k in kept if k in filled] for kept in _SETS]
    kept = next((s for s in sets if sum(widths[k] + len(_GAP) for k in s) <= width + len(_GAP)), sets[-1])
    lines = []
    for number, row in enumerate(rows):
        text = _GAP.join(_pad(row[k], widths[k], is_text=k in _TEXTS) for k in kept)
        lines.append(Content.styled(text, "$foreground 60%" if number == 0 else ""))
    parts = [Content("\n").join(lines)] if figures else []
    if note:
        parts.append(Content.styled(make_visible(note), "$foreground 70%"))
    return Content("\n").join(parts)


def _list_cells(found: Figures) -> tuple[str, ...]:
    interval = ""
    if found.bounds_at_cursor is not None:
        low, high = (format_compact(bound) for bound in found.bounds_at_cursor)
        interval = f"{low} to {high}"
    return (
        make_visible(found.label),
        f"{found.n:,}",
        format_compact(found.last),
        found.last_at,
        format_compact(found.least),
        found.least_at,
        format_compact(found.greatest),
        found.greatest_at,
        "" if found.at_cursor is None else format_compact(found.at_cursor),
        found.cursor_at,
        interval,
    )


def _pad(text: str, width: int, *, is_text: bool) -> str:
    padding = " " * (width - cell_len(text))
    return text + padding if is_text else padding + text
