"""`export`: a table of a run as CSV, JSON lines or Parquet."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from cream_tui import diagnostics, output
from cream_tui.export_formats import encode_csv, encode_jsonl, encode_preferences, replacing, write_whole, writing
from cream_tui.stores import open_run_reader
from db.exports import (
    EXPORT_COLUMNS,
    PREFERENCE_COLUMNS,
    Value,
    has_conversations,
    iterate_export,
    iterate_preferences,
)
from db.queries import find_run, read_runs
from engine.errors import ExitCode, find_nearest

FORMATS = ("csv", "jsonl", "parquet")
FOLDERS = ("checkpoint", "dataset")  # of cream_tui.commands.export_folder
_STDOUT = "-"


def export(store: str | None, run: str | None, *, what: str, format_name: str | None, target: str | None) -> int:
    """Write the rows; without a run, those of the latest, or all runs where the runs themselves are asked for."""
    _check_choice("--what", what, (*EXPORT_COLUMNS, *FOLDERS))
    format_name = _choose_format(format_name, target)
    to_stdout = target in (None, _STDOUT)
    with open_run_reader(store) as (_, connection):
        runs = read_runs(connection) if what == "runs" and run is None else [find_run(connection, run or "latest")]
        is_preferences = what == "pairs" and format_name == "jsonl"
        source = iterate_preferences(connection, runs) if is_preferences else iterate_export(connection, what, runs)
        with closing(_Counted(source)) as rows:
            if format_name == "parquet":
                _write_parquet(target, what, rows)
            elif is_preferences:
                has_messages = has_conversations(connection, runs)
                _write_text(target, encode_preferences(PREFERENCE_COLUMNS, rows, has_messages=has_messages))
            else:
                _write_text(target, _encode(what, format_name, rows, is_for_eyes=to_stdout and output.is_terminal()))
    names = ", ".join(found.name for found in runs) if len(runs) <= 3 else f"{len(runs)} runs"
    if rows.n == 0 and what != "runs":
        diagnostics.warn(f"{names}: no {what} yet")
    elif not to_stdout:
        diagnostics.narrate(f"{names}: {rows.n:,} {what} in {target}")
    return ExitCode.DONE


def refuse_folder_options(what: str, *, is_merged: bool, hub: str | None) -> None:
    """Refuse options that only folders have.

    Raises:
        UsageProblem: One was given.
    """
    if is_merged or hub is not None:
        option = "--merge" if is_merged else "--push-to-hub"
        raise diagnostics.UsageProblem(
            f"{option}: --what {what} is a table", f"It is for --what {' and '.join(FOLDERS)}."
        )


def _write_text(target: str | None, chunks: Iterator[str]) -> None:
    if target is None or target == _STDOUT:
        output.print_stream(chunks)
    else:
        path = Path(target).expanduser()
        with writing(path):
            write_whole(path, chunks)


def _write_parquet(target: str | None, what: str, rows: Iterable[tuple[Value, ...]]) -> None:
    """Write the columns of CSV, typed."""
    if target in (None, _STDOUT):
        raise diagnostics.UsageProblem("--format parquet is no text for stdout", "Name a file: -o pairs.parquet.")
    from cream_tui.parquet_files import write_parquet
    from db.export_types import find_kind

    columns = EXPORT_COLUMNS[what]
    records = (dict(zip(columns, row, strict=True)) for row in rows)
    path = Path(str(target)).expanduser()
    with writing(path), replacing(path) as file:
        write_parquet(file, records, {name: find_kind(name) for name in columns})


def _encode(what: str, format_name: str, rows: Iterable[tuple[Value, ...]], *, is_for_eyes: bool) -> Iterator[str]:
    columns = EXPORT_COLUMNS[what]
    if format_name == "csv":
        return encode_csv(columns, rows, line_end="\n" if is_for_eyes else "\r\n")
    return encode_jsonl(columns, rows)


def _choose_format(format_name: str | None, target: str | None) -> str:
    if format_name is not None:
        return _check_choice("--format", format_name, FORMATS)
    ending = Path(target or "").suffix.lower()
    return {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}.get(ending, "csv")


def _check_choice(option: str, value: str, choices: tuple[str, ...]) -> str:
    if value in choices:
        return value
    nearest = find_nearest(value, choices)
    raise diagnostics.UsageProblem(
        f"{option} {value}: there is no such choice" + (f"; did you mean {nearest}?" if nearest else ""),
        f"There are {', '.join(choices)}.",
    )


class _Counted:
    """Rows, and how many went by."""

    def __init__(self, rows: Iterator[tuple[Value, ...]]) -> None:
        self._rows = rows
        self.n = 0

    def __iter__(self) -> Iterator[tuple[Value, ...]]:
        return self

    def __next__(self) -> tuple[Value, ...]:
        row = next(self._rows)
        self.n += 1
        return row

    def close(self) -> None:
        """Let go of the store, also in the middle."""
        if isinstance(self._rows, Generator):
            self._rows.close()
