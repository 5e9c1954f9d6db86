"""A grid of styled cells that charts are drawn on.

Knows cells: one character and one style each. Must not know charts, widgets or colours. A style is a name of `STYLES`;
what it looks like is decided where the frame is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len

from cream_tui.text import make_visible

Span: TypeAlias = tuple[str, str]

N_COLOURS = 8
STYLES: tuple[str, ...] = (
    "",
    "title",
    "value",
    "label",
    "axis",
    "cursor",
    "mark",
    "guide",
    *(f"series-{k}" for k in range(1, N_COLOURS + 1)),
    *(f"faint-{k}" for k in range(1, N_COLOURS + 1)),
    "bar",
    "bar-chosen",
    "null",
    "null-on-bar",
    "null-on-chosen",
    "chosen",
    "rejected",
)
STYLE_IDS = {name: index for index, name in enumerate(STYLES)}

_BLANK = ord(" ")
_COVERED = 0  # the second cell of a wide character
_SPAN_GAP = 16  # cells between two changed spans from which on they are sent apart
_PLAIN = str.maketrans(
    {
        "│": "|", "┤": "|", "┼": "+", "─": "-", "└": "+", "┬": "+", "┴": "+", "╎": ":", "╌": "-", "…": "~", "−": "-",
        "–": "-", "●": "o", "○": "o", "▲": "^", "△": "o", "▼": "v", "█": "#", "·": ".",
        **dict.fromkeys("▁▂▃▄▅▆▇", "#"),
    }
)  # fmt: skip


class Frame:
    """A rectangle of cells to write to, compare and read out as styled lines."""

    __slots__ = ("chars", "styles")

    def __init__(self, width: int, height: int) -> None:
        self.chars: NDArray[np.uint32] = np.full((height, width), _BLANK, np.uint32)
        self.styles: NDArray[np.uint8] = np.zeros((height, width), np.uint8)

    @property
    def width(self) -> int:
        """Cells in a line."""
        return len(self.chars[0]) if len(self.chars) else 0

    @property
    def height(self) -> int:
        """Number of lines."""
        return len(self.chars)

    def write(self, row: int, column: int, text: str, style: str = "") -> int:
        """Write text from a cell on, cut where the frame ends; return the column after it.

        The text may be untrusted: control characters are shown, characters without width are left out.
        """
        text = make_visible(text)
        if not 0 <= row < self.height or column < 0:
            return column
        if text.isascii():
            text = text[: max(self.width - column, 0)]
            codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
        else:
            codes = np.array(list(_split_cells(text, self.width - column)), np.uint32)
        end = column + len(codes)
        if end > column:
            self._split_wide(row, column, end)
            self.chars[row, column:end] = codes
            self.styles[row, column:end] = STYLE_IDS[style]
        return end

    def put(self, row: int, column: int, character: str, style: str) -> None:
        """Set one cell; outside of the frame nothing happens."""
        if 0 <= row < self.height and 0 <= column < self.width:
            self._split_wide(row, column, column + 1)
            self.chars[row, column] = ord(character)
            self.styles[row, column] = STYLE_IDS[style]

    def is_blank(self, row: int, start: int, end: int) -> bool:
        """Whether the cells of a row from start to before end all lie inside and hold nothing."""
        return (
            0 <= row < self.height
            and 0 <= start <= end <= self.width
            and bool((self.chars[row, start:end] == _BLANK).all())
        )

    def _split_wide(self, row: int, start: int, end: int) -> None:
        """Blank the halves of wide characters that would be left beside cells that are written."""
        if self.chars[row, start] == _COVERED:
            self.chars[row, start - 1] = _BLANK
        if end < self.width and self.chars[row, end] == _COVERED:
            self.chars[row, end] = _BLANK

    def to_plain(self) -> None:
        """Replace the line and block characters of charts by ASCII."""
        for code in np.unique(self.chars[self.chars > 127]):
            plain = _PLAIN.get(int(code))
            if plain is not None:
                self.chars[self.chars == code] = ord(plain)

    def read_line(self, row: int) -> list[Span]:
        """One line as runs of text with the name of their style."""
        styles = self.styles[row]
        starts = [0, *(np.flatnonzero(np.diff(styles)) + 1).tolist(), self.width]
        text = self.chars[row].astype("<u4").tobytes().decode("utf-32-le")
        return [
            (text[start:end].replace("\0", ""), STYLES[styles[start]]) for start, end in pairwise(starts) if end > start
        ]

    def read_text(self) -> str:
        """All lines without styles, blanks at their ends cut."""
        return "\n".join("".join(text for text, _ in self.read_line(row)).rstrip() for row in range(self.height))

    def find_changes(self, other: Frame) -> Iterator[tuple[int, int, int]]:
        """Spans that differ from another frame of the same size: row, first cell, cell after the last.

        Spans of a row with little between them are one, as each costs a movement of the cursor and its colours.
        """
        is_changed = (self.chars != other.chars) | (self.styles != other.styles)
        # The second cell of a wide character changes with the first.
        is_changed[:, 1:] |= is_changed[:, :-1] & (self.chars[:, 1:] == _COVERED)
        for row in np.flatnonzero(is_changed.any(axis=1)).tolist():
            cells = np.flatnonzero(is_changed[row])
            breaks = np.flatnonzero(np.diff(cells) > _SPAN_GAP) + 1
            for part in np.split(cells, breaks):
                yield row, int(part[0]), int(part[-1]) + 1


# Beyond so many (combining ones lie on top of each other) a name is cut without counting, which is slow.
_CHARACTERS_PER_CELL = 4


def shorten(text: str, width: int) -> str:
    """The text in at most ``width`` cells; what is left out is the middle, as names differ at their ends."""
    text = make_visible(text)
    if cell_len(text) <= width:
        return text
    if width < 2:
        return "…"[:width]
    n_tail = (width - 1) // 2
    n_most = _CHARACTERS_PER_CELL * width
    head, tail = text[:n_most], text[-n_most:][::-1]
    while cell_len(head) > width - 1 - n_tail:
        head = head[:-1]
    while cell_len(tail) > n_tail:
        tail = tail[:-1]
    return f"{head}…{tail[::-1]}"


def _split_cells(text: str, room: int) -> Iterator[int]:
    """Code points by cell, a wide one followed by the mark of its second cell, as long as there is room."""
    for character in text:
        width = cell_len(character)
        if width > room:
            return
        if width:
            room -= width
            yield ord(character)
            yield from (_COVERED for _ in range(width - 1))
