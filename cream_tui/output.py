"""The only writer of stdout: tables, JSON and text.

Knows how data is laid out. Must not know commands. Every text of a table passes `make_visible`; JSON is ASCII, so no
control character of a text reaches a terminal. Tables are laid out here and not by rich, which needs 0.4 s for the
1,000 rows of a long `ls`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from cream_tui.text import make_visible

_GAP = 2
_TEXT_WIDTH = 78
_LEAST_FLEXIBLE_WIDTH = 6
_READABLE_WIDTH = 12
_NO_BREAK = "\xa0"
# Spaces at which a line does not end: 75.0 %, p = 0.013, a star and what it means.
_KEPT_TOGETHER = re.compile(
    r"(?<=\*) |(?<=\d) (?=%)|(?<=\bp) (?=[=<])|(?<=\bp [=<]) (?=\d)|(?<=C) (?==)|(?<=C =) (?=\d)"
)
_SGR = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}


@dataclass(frozen=True, slots=True)
class Column:
    """How a column is drawn; a title may have lines.

    Where the terminal is narrow, flexible columns give way, with …, down to ``readable``; then those with a ``rank``
    go, the highest first, those of one rank together; then flexible ones give all they can.
    """

    title: str
    align: Literal["left", "right"] = "left"
    is_flexible: bool = False
    rank: int = 0
    readable: int = _READABLE_WIDTH


@dataclass(frozen=True, slots=True)
class Cell:
    """A text with a style: bold, dim, a colour, or several apart by spaces."""

    text: str
    style: str = ""


Line = list[Cell]


class ReaderGone(Exception):
    """Nobody reads stdout any more, as in `| head`."""


def is_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def find_width() -> int | None:
    """Columns of the terminal; None for a pipe or a file, where nothing is cut."""
    return shutil.get_terminal_size().columns if is_terminal() else None


def lay_out_table(
    columns: Sequence[Column], rows: Iterable[Sequence[str | Cell]], *, width: int | None = None, indent: int = 0
) -> list[Line]:
    """The lines of a table without rules, its titles first; texts are made visible here."""
    titles = [make_visible(column.title, keep_newlines=True).split("\n") for column in columns]
    n_title_lines = max(map(len, titles))
    padded = [[""] * (n_title_lines - len(lines)) + lines for lines in titles]
    table = [[Cell(lines[k], "bold") for lines in padded] for k in range(n_title_lines)]
    table += [[_as_visible(cell) for cell in row] for row in rows]
    widths = [max(measure(row[k].text) for row in table) for k in range(len(columns))]
    shown = list(range(len(columns)))
    if width is not None:
        _shrink(widths, columns, width - indent, [column.readable for column in columns])
        shown = _choose_columns(widths, columns, width - indent)
    columns, widths = [columns[k] for k in shown], [widths[k] for k in shown]
    if width is not None:
        _shrink(widths, columns, width - indent, [_LEAST_FLEXIBLE_WIDTH] * len(columns))
    return [_lay_out_row([row[k] for k in shown], columns, widths, indent) for row in table]


def measure_table(columns: Sequence[Column], rows: Iterable[Sequence[str | Cell]]) -> int:
    """Columns of a terminal that has room for all of a table."""
    return max(sum(measure(cell.text) for cell in line) for line in lay_out_table(columns, rows))


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str | Cell]], *, indent: int = 0) -> None:
    """Write a table."""
    print_lines(lay_out_table(columns, rows, width=find_width(), indent=indent))


def print_lines(lines: Iterable[Line]) -> None:
    """Write lines whose texts were made visible before; in colour on a terminal that has it."""
    has_colour = is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in ("dumb", "unknown")
    _write("".join("".join(_paint(cell, has_colour) for cell in line).rstrip() + "\n" for line in lines))


def print_text(text: str = "", style: str = "") -> None:
    """Write lines of text, made visible."""
    print_lines([Cell(line, style)] for line in make_visible(text, keep_newlines=True).split("\n"))


def print_paragraph(text: str, style: str = "") -> None:
    """Write a text, made visible, in lines of at most 78 columns and those of the terminal."""
    import textwrap

    width = min(_TEXT_WIDTH, find_width() or _TEXT_WIDTH)
    glued = _KEPT_TOGETHER.sub(_NO_BREAK, make_visible(text))
    lines = textwrap.wrap(glued, width, subsequent_indent="  ", break_on_hyphens=False)
    print_text("\n".join(lines).replace(_NO_BREAK, " "), style)


def print_facts(facts: Iterable[tuple[str, str | Cell]], *, indent: int = 0) -> None:
    """Write names with their values, aligned; values are made visible."""
    pairs = [(name, _as_visible(value)) for name, value in facts]
    name_width = max((len(name) for name, _ in pairs), default=0)
    print_lines([Cell(" " * indent + name.ljust(name_width + _GAP), "dim"), value] for name, value in pairs)


def print_json(value: Any) -> None:
    """Write a value as ASCII JSON; numbers in full, what is no finite number as null."""
    _write(encode_json(value, indent=2) + "\n")


def print_raw(text: str) -> None:
    """Write a text that holds nothing foreign, as our own help or an ASCII dump."""
    _write(text)


def print_stream(chunks: Iterable[str]) -> None:
    """Write an export in UTF-8 with its line ends as they are; made visible only where a terminal would obey it."""
    if is_terminal():
        for chunk in chunks:
            _write(make_visible(chunk, keep_newlines=True, keep_tabs=True))
        return
    with _noticing_a_closed_pipe():
        sys.stdout.flush()
        for chunk in chunks:
            sys.stdout.buffer.write(chunk.encode("utf-8"))
        sys.stdout.buffer.flush()


def encode_json(value: Any, *, indent: int | None = None) -> str:
    """ASCII JSON without NaN or control characters."""
    text = json.dumps(_drop_non_finite(value), indent=indent, ensure_ascii=True, allow_nan=False)
    return text.replace("\x7f", "\\u007f")


def flush() -> None:
    """Hand everything to the reader; a closed pipe shows here and not at exit."""
    with _noticing_a_closed_pipe():
        sys.stdout.flush()


def measure(text: str) -> int:
    """Columns that a visible text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int) -> str:
    """A visible text in at most so many columns, with … where it was cut."""
    if measure(text) <= width:
        return text
    if not text.isascii():
        from rich.cells import set_cell_size

        return set_cell_size(text, max(0, width - 1)).rstrip() + "…"
    return text[: max(0, width - 1)] + "…"


def _as_visible(cell: str | Cell) -> Cell:
    return Cell(make_visible(cell)) if isinstance(cell, str) else Cell(make_visible(cell.text), cell.style)


def _shrink(widths: list[int], columns: Sequence[Column], room: int, least: Sequence[int]) -> None:
    """Narrow the flexible columns, the widest first, until the table fits or none can give more."""
    flexible = [k for k, column in enumerate(columns) if column.is_flexible]
    excess = sum(widths) + _GAP * (len(widths) - 1) - room
    while excess > 0 and flexible:
        widest = max(flexible, key=lambda k: widths[k])
        if widths[widest] <= max(least[widest], len(columns[widest].title)):
            return
        widths[widest] -= 1
        excess -= 1


def _choose_columns(widths: Sequence[int], columns: Sequence[Column], room: int) -> list[int]:
    """Places of the columns that fit; those without a rank always stay."""
    shown = list(range(len(columns)))
    for rank in sorted({column.rank for column in columns} - {0}, reverse=True):
        if sum(widths[k] for k in shown) + _GAP * (len(shown) - 1) <= room:
            break
        shown = [k for k in shown if columns[k].rank != rank]
    return shown


def _lay_out_row(row: Sequence[Cell], columns: Sequence[Column], widths: Sequence[int], indent: int) -> Line:
    line = [Cell(" " * indent)] if indent else []
    for k, (cell, column, width) in enumerate(zip(row, columns, widths, strict=True)):
        text = cut(cell.text, width)
        space = " " * (width - measure(text))
        gap = " " * _GAP if k + 1 < len(columns) else ""
        if column.align == "right":
            line += [Cell(space), Cell(text, cell.style), Cell(gap)]
        else:
            line += [Cell(text, cell.style), Cell(space + gap)]
    return line


def _paint(cell: Cell, has_colour: bool) -> str:
    if not has_colour or not cell.style or not cell.text:
        return cell.text
    codes = ";".join(_SGR[word] for word in cell.style.split())
    return f"\x1b[{codes}m{cell.text}\x1b[0m"


def _write(text: str) -> None:
    with _noticing_a_closed_pipe():
        sys.stdout.write(text)


@contextmanager
def _noticing_a_closed_pipe() -> Iterator[None]:
    """Typer would end the process with code 1 on a BrokenPipeError, so that it becomes an error of another kind."""
    try:
        yield
    except BrokenPipeError:
        raise ReaderGone from None


def _drop_non_finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {str(key): _drop_non_finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_drop_non_finite(item) for item in value]
    return value
