"""Rows of data files: JSON lines, JSON, CSV, TSV and Parquet, each row with its place for messages.

Knows formats. Must not know what a row means. pyarrow is loaded by the first Parquet file only. Main path: `read_rows`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from engine.errors import TaskError

# A row with its place, as ``FILE, line 3``.
PlacedRow: TypeAlias = tuple[str, Mapping[str, Any]]

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_MAX_CELL = 1 << 28


def read_rows(path: Path) -> list[PlacedRow]:
    """Return every row with its place; which format it is says the file's ending.

    A JSON file holds a list of objects, or an object whose values are objects or lists of chat messages: what stands
    under a name is a row, the list its ``messages``.

    Raises:
        TaskError: no such file, no rows, or a row that cannot be read; names file and row.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise TaskError(f"{path} is none of the files that are read: {', '.join(_READERS)}")
    rows = list(reader(path))
    if not rows:
        raise TaskError(f"{path} holds no rows", hint='write one JSON object per line, such as {"prompt": "..."}')
    return rows


def load_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        TaskError: no such file, or no JSON; names file, line and column.
    """
    text = _read_text(path)
    value = _parse_json(text, str(path), is_file=True)
    _refuse_surrogates(str(path), text, value)
    return value


def _read_jsonl(path: Path) -> Iterator[PlacedRow]:
    """One object a line; blank lines are passed over."""
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        row = _parse_json(line, place, is_file=False)
        if not isinstance(row, dict):
            raise TaskError(f"{place}: expected a JSON object, found {type(row).__name__}")
        _refuse_surrogates(place, line, row)
        yield place, row


def _read_json(path: Path) -> Iterator[PlacedRow]:
    content = load_json(path)
    if isinstance(content, dict):
        named = [(f"{path}, item {name!r}", item) for name, item in content.items()]
    elif isinstance(content, list):
        named = [(f"{path}, item {number}", item) for number, item in enumerate(content, start=1)]
    else:
        raise TaskError(f"{path}: expected a list or an object of rows, found {type(content).__name__}")
    for place, item in named:
        if isinstance(item, list):  # the authors' files: a name and its chat messages
            item = {"messages": item}
        if not isinstance(item, dict):
            raise TaskError(
                f"{place}: expected an object, found {type(item).__name__}",
                hint="a .json file holds a list of rows, or rows by name",
            )
        yield place, item


def _read_csv(path: Path) -> Iterator[PlacedRow]:
    yield from _read_separated(path, ",")


def _read_tsv(path: Path) -> Iterator[PlacedRow]:
    yield from _read_separated(path, "\t")


def _read_separated(path: Path, separator: str) -> Iterator[PlacedRow]:
    """Rows below a header, as RFC 4180 quotes them; an empty field is a missing value."""
    csv.field_size_limit(_MAX_CELL)
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), delimiter=separator, strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            place = f"{path}, line {reader.line_num}"
            if not cells:
                continue
            if header is None:
                header = _check_header(path, cells)
            elif len(cells) != len(header):
                raise TaskError(
                    f"{place}: {len(cells)} fields, and the header has {len(header)}",
                    hint="quote fields that hold separators or line ends",
                )
            else:
                yield place, {name: cell if cell != "" else None for name, cell in zip(header, cells, strict=True)}
    except csv.Error as error:
        raise TaskError(f"{path}, line {reader.line_num}: {error}") from error


def _check_header(path: Path, names: list[str]) -> list[str]:
    names = [name.strip() for name in names]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or "" in names:
        what = "a column without a name" if "" in names else f"two columns named {twice!r}"
        raise TaskError(f"{path}, line 1: the header has {what}", hint="the first line names each column, once")
    return names


def _read_parquet(path: Path) -> Iterator[PlacedRow]:
    if not path.is_file():
        raise _explain_missing(path)
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    yield f"{path}, row {number}", row
                    number += 1
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TaskError(f"{path}: not readable as Parquet: {reason}") from error


_READERS: dict[str, Callable[[Path], Iterator[PlacedRow]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
}


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")  # read_text would change the line ends inside of CSV fields
    except FileNotFoundError as error:
        raise _explain_missing(path) from error
    except UnicodeDecodeError as error:
        raise TaskError(f"{path} is not UTF-8 (byte {error.start})", hint="save it as UTF-8") from error
    except OSError as error:
        raise TaskError(f"cannot read {path}: {error.strerror}") from error


def _explain_missing(path: Path) -> TaskError:
    if path.exists():
        return TaskError(f"cannot read {path}: it is no file")
    return TaskError(f"{path} does not exist", hint="check the path in the config")


def _parse_json(text: str, place: str, *, is_file: bool) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f" of line {error.lineno}" if is_file else ""
        raise TaskError(f"{place}: not valid JSON: {error.msg} at column {error.colno}{line}") from error
    except (RecursionError, ValueError) as error:
        raise TaskError(f"{place}: not readable as JSON: nested too deeply, or a number too long") from error


def _refuse_surrogates(place: str, text: str, value: Any) -> None:
    if not _SURROGATE.search(text):
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise TaskError(f"{place}: half a surrogate pair ({error.object[error.start]!r}) is no text") from error
