"""`export`: a table of a run as CSV or JSON lines."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from cream_tui import diagnostics, output
from cream_tui.export_formats import encode_csv, encode_jsonl, encode_preferences, write_whole
from cream_tui.stores import open_run_reader
from db.exports import EXPORT_COLUMNS, Value, iterate_export
from db.queries import find_run, read_runs
from engine.errors import ExitCode, find_nearest

FORMATS = ("csv", "jsonl")
_STDOUT = "-"


def export(store: str | None, run: str | None, *, what: str, format_name: str | None, target: str | None) -> int:
    """Write the rows; without a run, those of the latest, or all runs where the runs themselves are asked for."""
    _check_choice("--what", what, tuple(EXPORT_COLUMNS))
    format_name = _choose_format(format_name, target)
    to_stdout = target in (None, _STDOUT)
    with open_run_reader(store) as (_, connection):
        runs = read_runs(connection) if what == "runs" and run is None else [find_run(connection, run or "latest")]
        with closing(_Counted(iterate_export(connection, what, runs))) as rows:
            chunks = _encode(what, format_name, rows, is_for_eyes=to_stdout and output.is_terminal())
            if target is None or to_stdout:
                output.print_stream(chunks)
            else:
                write_whole(Path(target).expanduser(), chunks)
    names = ", ".join(found.name for found in runs) if len(runs) <= 3 else f"{len(runs)} runs"
    if rows.n == 0 and what != "runs":
        diagnostics.warn(f"{names}: no {what} yet")
    elif not to_stdout:
        diagnostics.narrate(f"{names}: {rows.n:,} {what} in {target}")
    return ExitCode.DONE


def _encode(what: str, format_name: str, rows: Iterable[tuple[Value, ...]], *, is_for_eyes: bool) -> Iterator[str]:
    columns = EXPORT_COLUMNS[what]
    if format_name == "csv":
        return encode_csv(columns, rows, line_end="\n" if is_for_eyes else "\r\n")
    return encode_preferences(columns, rows) if what == "pairs" else encode_jsonl(columns, rows)


def _choose_format(format_name: str | None, target: str | None) -> str:
    if format_name is not None:
        return _check_choice("--format", format_name, FORMATS)
    ending = Path(target or "").suffix.lower()
    return "jsonl" if ending in (".jsonl", ".ndjson") else "csv"


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
