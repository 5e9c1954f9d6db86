"""CSV and JSON lines, and files that are written whole or not at all.

Knows formats. Must not know tables, save that pairs have a preference format of their own (TRL's).
"""

from __future__ import annotations

import csv
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cream_tui.diagnostics import UsageProblem

Row = Sequence[bool | int | float | str | None]

# Columns whose text is a JSON list: a list again where the format has lists.
_LISTS = frozenset({"prompt_token_ids", "token_ids", "tags"})
# The columns of TRL's preference format, which go first.
PREFERENCE = ("prompt", "chosen", "rejected")
# JSON may hold these unescaped, but a terminal obeys some and readers of lines split at others.
_TO_ESCAPE = re.compile("[\x7f-\x9f\u2028\u2029]")


def encode_csv(columns: Sequence[str], rows: Iterable[Row], *, line_end: str = "\r\n") -> Iterator[str]:
    """Lines of RFC 4180: None is an empty field, a flag True or False, a number in full."""
    lines = _Lines()
    writer = csv.writer(lines, lineterminator=line_end)
    writer.writerow(columns)
    yield lines.take()
    for row in rows:
        writer.writerow(row)
        yield lines.take()


def encode_jsonl(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """One JSON object per line, with lists where CSV has their text."""
    lists = [place for place, name in enumerate(columns) if name in _LISTS]
    for row in rows:
        values: list[Any] = list(row)
        for place in lists:
            if isinstance(values[place], str):
                values[place] = json.loads(values[place])
        yield _encode_line(dict(zip(columns, values, strict=True)))


def encode_preferences(columns: Sequence[str], rows: Iterable[Row], *, has_messages: bool) -> Iterator[str]:
    """Pairs in TRL's preference format with our columns behind.

    Args:
        columns: ``db.exports.PREFERENCE_COLUMNS``.
        has_messages: Whether prompts and responses are messages, not texts: a file has one kind.
    """
    for record in build_preferences(columns, rows, has_messages=has_messages):
        yield _encode_line(record)


def build_preferences(columns: Sequence[str], rows: Iterable[Row], *, has_messages: bool) -> Iterator[dict[str, Any]]:
    """The records of ``encode_preferences``."""
    messages = columns.index("messages")
    names = [*PREFERENCE, *(name for name in columns if name not in (*PREFERENCE, "skip_reason", "messages"))]
    places = [columns.index(name) for name in names]
    for row in rows:
        record: dict[str, Any] = {name: row[place] for name, place in zip(names, places, strict=True)}
        if has_messages:
            turns = json.loads(str(row[messages])) or [{"role": "user", "content": record["prompt"]}]
            answers = {side: [{"role": "assistant", "content": record[side]}] for side in PREFERENCE[1:]}
            record |= {"prompt": turns, **answers}
        yield record


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Say in one message why a file that a person named cannot be written.

    Raises:
        UsageProblem: It cannot; the message names it, or the folder that is in the way.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        path = Path(os.fsdecode(error.filename)) if error.filename is not None else target
        raise UsageProblem(f"{path}: {_tell_refusal(error, path)}", "Name another file with -o.") from error


def _tell_refusal(error: OSError, path: Path) -> str:
    if isinstance(error, FileNotFoundError) and not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    if isinstance(error, FileNotFoundError):
        return f"no file can be made in {path.parent}"
    if isinstance(error, NotADirectoryError):
        return "one of its folders is a file"
    if isinstance(error, FileExistsError):
        return "is a file; a folder is to be made there"
    return error.strerror or str(error)


def write_whole(target: Path, chunks: Iterable[str]) -> None:
    """Write a file beside the target and rename it there when it is complete; a device or pipe is written in place.

    Raises:
        OSError: It cannot be written; the target is as it was.
    """
    target = Path(os.path.realpath(target))
    try:
        old_mode: int | None = target.stat().st_mode
    except FileNotFoundError:
        old_mode = None
    if old_mode is not None and stat.S_ISDIR(old_mode):
        raise IsADirectoryError(21, "is a folder", str(target))
    if old_mode is not None and not stat.S_ISREG(old_mode):
        with target.open("w", encoding="utf-8", newline="") as stream:
            stream.writelines(chunks)
        return
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".tmp", dir=target.parent)
    except OSError as error:  # about the file that was asked for, not about the one beside it
        raise OSError(error.errno, error.strerror, str(target)) from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.writelines(chunks)
            stream.flush()
            os.fchmod(stream.fileno(), _find_mode(old_mode))
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink()
        raise
    _sync_folder(target.parent)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """The path of a new file beside the target, for a library to write; it takes the target's place in the end.

    Raises:
        OSError: It cannot be written; the target is as it was.
    """
    target = Path(os.path.realpath(target))
    if target.is_dir():
        raise IsADirectoryError(21, "is a folder", str(target))
    if not target.parent.is_dir():
        raise FileNotFoundError(2, "no such folder", str(target))
    old_mode = target.stat().st_mode if target.is_file() else None
    temporary = target.parent / f".{target.name[:100]}.{os.getpid()}.tmp"
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fchmod(stream.fileno(), _find_mode(old_mode))
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


class _Lines:
    """What csv.writer writes to."""

    def __init__(self) -> None:
        self._text = ""

    def write(self, text: str) -> int:
        self._text += text
        return len(text)

    def take(self) -> str:
        text, self._text = self._text, ""
        return text


def _encode_line(record: dict[str, Any]) -> str:
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    return _TO_ESCAPE.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def _find_mode(old_mode: int | None) -> int:
    if old_mode is not None:
        return stat.S_IMODE(old_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some file systems cannot; the rename stands
    finally:
        os.close(handle)
