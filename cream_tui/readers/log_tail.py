"""Log files as lines that grow: the tail of one file, and a run's attempts one after another.

Knows files. Must not know how lines are drawn, nor the store. Memory is bounded whatever a log holds: of a long file
the end is kept, of a long line the beginning. What a stage printed is untrusted: every line that leaves passes
``make_visible``.
"""

from __future__ import annotations

import codecs
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cream_tui.text import make_visible

MOST_BYTES = 1 << 20
MOST_LINES = 5_000
MOST_LINE_CHARACTERS = 2_000
TAB_WIDTH = 4


class LogTail:
    """The last lines of a file that others write to, rotate, truncate or have not made yet.

    A progress bar that returns its carriage is one line, as it was last. ``first_number`` counts the lines that were
    dropped, so that ``first_number + k`` names line k for good; ``is_cut`` says whether the beginning was left out.
    """

    def __init__(self, path: Path, *, most_lines: int = MOST_LINES, most_bytes: int = MOST_BYTES) -> None:
        self.path = path
        self.lines: deque[str] = deque()
        self.first_number = 0
        self.is_cut = False
        self._most_lines = most_lines
        self._most_bytes = most_bytes
        self._identity: tuple[int, int] | None = None
        self._restart()

    def read(self) -> bool:
        """Take in what was added; whether any line is new or another."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                identity = (status.st_dev, status.st_ino)
                is_other = identity != self._identity or status.st_size < self._offset
                if is_other:
                    self._identity = identity
                    had_lines = bool(self.lines)
                    self._restart()
                if status.st_size == self._offset:
                    return is_other and had_lines
                if status.st_size - self._offset > self._most_bytes:
                    self._restart(offset=status.st_size - self._most_bytes)
                file.seek(self._offset)
                content = file.read(self._most_bytes)
        except OSError:
            return False
        self._offset += len(content)
        self._take(self._decoder.decode(content))
        return True

    @property
    def has_open_line(self) -> bool:
        """Whether the last line may still change: no end of it has come yet."""
        return self._has_open_line

    def _restart(self, offset: int = 0) -> None:
        self.lines.clear()
        self.first_number = 0
        self._offset = offset
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._open = ""
        self._has_open_line = False
        self.is_cut = offset > 0
        self._is_mid_line = offset > 0  # the first line has lost its beginning

    def _take(self, text: str) -> None:
        *whole, rest = (self._open + text).split("\n")
        if self._has_open_line:
            self.lines.pop()
        if self._is_mid_line and whole:
            del whole[0]
            self._is_mid_line = False
        for line in whole[-self._most_lines :]:
            self._append(_fold(line))
        self.first_number += max(0, len(whole) - self._most_lines)
        self._open = _fold(rest) + ("\r" if rest.endswith("\r") else "")
        self._has_open_line = bool(self._open.rstrip("\r"))
        if self._has_open_line:
            self._append(self._open.rstrip("\r"))

    def _append(self, line: str) -> None:
        self.lines.append(_show_line(line))
        if len(self.lines) > self._most_lines:
            self.lines.popleft()
            self.first_number += 1
            self.is_cut = True


def _fold(line: str) -> str:
    """The line as a terminal would leave it, save that it clears what a shorter text does not cover."""
    line = line[: line.rfind("\r") + 1 + MOST_LINE_CHARACTERS + 1]
    return next((part for part in reversed(line.split("\r")) if part), "")[: MOST_LINE_CHARACTERS + 1]


def _show_line(line: str) -> str:
    is_long = len(line) > MOST_LINE_CHARACTERS
    return make_visible(line[:MOST_LINE_CHARACTERS].expandtabs(TAB_WIDTH)) + ("…" if is_long else "")


@dataclass(frozen=True, slots=True)
class LogSection:
    """One part of a run's log.

    Attributes:
        head: What stands above the file's lines; empty for nothing.
        path: The file; None where there is none.
        foot: What stands below them once the part is over.
        is_bad: Whether the foot tells of a failure.
    """

    key: str
    head: str
    path: Path | None
    foot: str = ""
    is_bad: bool = False


class LogLine(NamedTuple):
    """``kind`` is head, text, foot or error."""

    text: str
    kind: str = "text"


class RunLog:
    """The sections of a run's log as one list of lines, each file read on from where it ended."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self._tails: dict[str, LogTail] = {}
        self._known: dict[str, LogSection] = {}
        self._built: dict[str, list[LogLine]] = {}

    def read(self, sections: Sequence[LogSection]) -> int | None:
        """Take in what is new; the number of the first line that changed, None where none did.

        Args:
            sections: The run's, in order. One that has its foot does not grow any more.
        """
        for section in sections:
            is_known = self._known.get(section.key) == section
            if is_known and section.foot:
                continue
            if self._read_tail(section) or not is_known:
                self._known[section.key] = section
                self._built[section.key] = self._list_lines(section)
        before = self.lines
        self.lines = [line for section in sections for line in self._built[section.key]]
        return _find_first_difference(before, self.lines)

    def _read_tail(self, section: LogSection) -> bool:
        if section.path is None:
            return False
        tail = self._tails.get(section.key)
        if tail is None or tail.path != section.path:
            tail = self._tails[section.key] = LogTail(section.path)
        return tail.read()

    def _list_lines(self, section: LogSection) -> list[LogLine]:
        tail = self._tails.get(section.key)
        lines = [LogLine(make_visible(section.head), "head")] if section.head else []
        if tail is not None:
            lines += [LogLine("… the beginning is in the file", "foot")] if tail.is_cut else []
            lines += map(LogLine, tail.lines)
        kind = "error" if section.is_bad else "foot"
        return lines + [LogLine(make_visible(text), kind) for text in section.foot.splitlines()]


def find_line(lines: Sequence[LogLine], text: str, start: int, direction: int) -> int | None:
    """The nearest line that holds a text, upper and lower case alike; around the end too.

    Args:
        lines: Where to look.
        text: What is looked for.
        start: The number of the first line to look at.
        direction: 1 downwards, -1 upwards.
    """
    wanted, n = text.casefold(), len(lines)
    places = ((start + direction * k) % n for k in range(n))
    return next((place for place in places if wanted in lines[place].text.casefold()), None)


def _find_first_difference(before: Sequence[LogLine], after: Sequence[LogLine]) -> int | None:
    for place, (old, new) in enumerate(zip(before, after, strict=False)):
        if old is not new and old != new:
            return place
    return None if len(before) == len(after) else min(len(before), len(after))
