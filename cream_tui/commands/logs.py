"""`logs`: what a run's processes printed.

Knows attempts and log files. Must not know stages beyond their labels. What a log holds is untrusted.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from cream_tui import diagnostics, output
from cream_tui.readers.log_tail import LogTail
from cream_tui.stores import open_run_reader
from db.paths import StorePaths
from db.queries import find_run, read_attempts, read_run_stages
from db.rows import RunRow
from engine.errors import ExitCode, find_nearest

SUPERVISOR = "supervisor"
POLL_S = 0.25
_OPEN_STATES = ("queued", "running")


@dataclass(frozen=True, slots=True)
class Log:
    """A log file and what it is of."""

    title: str
    path: Path


def logs(store: str | None, run: str, stage: str | None, *, is_followed: bool) -> int:
    """Print the newest log of a run or of one of its stages; followed: also what comes, until the run is over."""
    with open_run_reader(store) as (root, connection):
        found = find_run(connection, run)
        _check_stage(connection, found, stage)
        if is_followed:
            return _follow(root, connection, found, stage)
        log = find_newest_log(root, connection, found, stage)
    if log is None:
        diagnostics.narrate(f"{found.name}: no log yet" + (f" of {stage}" if stage else ""))
        return ExitCode.DONE
    if not _Printer(log).print_new(is_over=True):
        diagnostics.narrate("it is empty")
    return ExitCode.DONE


def find_newest_log(root: Path, connection: sqlite3.Connection, run: RunRow, stage: str | None) -> Log | None:
    """The log of the newest attempt (of the stage with this label), else the supervisor's; None where there is none."""
    labels = {row.stage_id: row.label for row in read_run_stages(connection, run.run_id)}
    supervisor = Log(SUPERVISOR, StorePaths(root).supervisor_log(run.run_id))
    found = [] if stage not in (None, SUPERVISOR) else [supervisor]
    if stage != SUPERVISOR:
        found += [
            Log(f"{labels.get(attempt.stage_id, 'stage')}, attempt {attempt.number}", root / attempt.log_path)
            for attempt in read_attempts(connection, run.run_id)
            if attempt.log_path is not None and stage in (None, labels.get(attempt.stage_id))
        ]
    return next((log for log in reversed(found) if log.path.is_file()), None)


def _follow(root: Path, connection: sqlite3.Connection, run: RunRow, stage: str | None) -> int:
    printer: _Printer | None = None
    try:
        while True:
            is_over = find_run(connection, run.run_id).state not in _OPEN_STATES
            log = find_newest_log(root, connection, run, stage)
            if log is not None and (printer is None or printer.log != log):
                if printer is not None:
                    printer.print_new(is_over=True)
                printer = _Printer(log)
            if printer is not None:
                printer.print_new(is_over=is_over)
                output.flush()
            if is_over:
                return ExitCode.DONE
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        return diagnostics.ViewExit.CLOSED


def _check_stage(connection: sqlite3.Connection, run: RunRow, stage: str | None) -> None:
    labels = [*(row.label for row in read_run_stages(connection, run.run_id)), SUPERVISOR]
    if stage is not None and stage not in labels:
        nearest = find_nearest(stage, labels)
        raise diagnostics.UsageProblem(
            f"--stage {stage}: {run.name} has no such stage" + (f"; did you mean {nearest}?" if nearest else ""),
            f"There are {', '.join(labels)}.",
        )


class _Printer:
    """Prints what is new in one log."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._tail = LogTail(log.path)
        self._next = 0
        diagnostics.narrate(f"{log.title}: {log.path}")

    def print_new(self, *, is_over: bool) -> bool:
        """Print the lines that came, one that may still change only where nothing more comes; whether there is any."""
        tail = self._tail
        tail.read()
        n_lines = len(tail.lines) - (tail.has_open_line and not is_over)
        if tail.first_number + n_lines < self._next:  # the file was truncated
            self._next = 0
        for line in list(tail.lines)[max(0, self._next - tail.first_number) : n_lines]:
            output.print_text(line)
        self._next = tail.first_number + n_lines
        return n_lines > 0
