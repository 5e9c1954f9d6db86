"""What a person writes beside the rows: notes, tags, the baseline, verdicts on pairs. Light: plain sqlite3.

A key press writes here, and importing sqlmodel would cost it 0.3 s. Each function is one immediate transaction, so that
writers in other processes wait for each other. Must not know who shows or asks.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from db.errors import RunNotFoundError, StoreError
from db.faults import store_faults
from db.paths import StorePaths
from db.queries import build_verdict, open_reader
from db.reading import connect
from db.rows import VERDICTS, VerdictRow


@contextmanager
def open_annotator(root: Path) -> Iterator[sqlite3.Connection]:
    """A connection in one immediate transaction, committed at the end of the block and rolled back on an error.

    Raises:
        StoreFullError: the disk is full or read-only.
        StoreError: no store there, a newer version, the file is locked, damaged or gone.
    """
    open_reader(root).close()  # makes all checks, migrates an older store
    database = StorePaths(Path(root).absolute()).database
    with store_faults(database), closing(connect(database, "rw")) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.rollback()
            raise
        connection.commit()


def set_note(root: Path, run_id: str, text: str) -> None:
    """Replaces the run's note.

    Raises:
        RunNotFoundError: the run is gone.
    """
    with open_annotator(root) as c:
        _check_runs(c, (run_id,))
        c.execute("UPDATE run SET note = ? WHERE run_id = ?", (text, run_id))


def add_tags(root: Path, run_ids: Sequence[str], tags: Iterable[str]) -> None:
    """Gives each of the runs each of the tags; those it has stay.

    Raises:
        RunNotFoundError: one of the runs is gone; nothing was written.
    """
    with open_annotator(root) as c:
        _check_runs(c, run_ids)
        c.executemany(
            "INSERT INTO run_tag (run_id, tag) VALUES (?, ?) ON CONFLICT DO NOTHING", _cross(run_ids, tuple(tags))
        )


def remove_tags(root: Path, run_ids: Sequence[str], tags: Iterable[str]) -> None:
    """Takes each of the tags from each of the runs that has it.

    Raises:
        RunNotFoundError: one of the runs is gone; nothing was written.
    """
    with open_annotator(root) as c:
        _check_runs(c, run_ids)
        c.executemany("DELETE FROM run_tag WHERE run_id = ? AND tag = ?", _cross(run_ids, tuple(tags)))


def set_baseline(root: Path, run_id: str | None) -> None:
    """Makes the run the only baseline of the store; None leaves it without one.

    Raises:
        RunNotFoundError: the run is gone; the old baseline stays.
    """
    with open_annotator(root) as c:
        c.execute("UPDATE run SET is_baseline = 0 WHERE is_baseline = 1")
        if run_id is not None:
            _check_runs(c, (run_id,))
            c.execute("UPDATE run SET is_baseline = 1 WHERE run_id = ?", (run_id,))


def write_verdict(
    root: Path,
    stage_id: int,
    prompt_id: str,
    *,
    verdict: str | None,
    is_flagged: bool = False,
    is_blind: bool = False,
    note: str = "",
) -> VerdictRow | None:
    """Replaces what a person says of a pair; returns what was there before, for an undo.

    Args:
        stage_id: the pair stage.
        verdict: one of VERDICTS, or None for a flag or note alone.

    Raises:
        StoreError: the stage has no pair for this prompt.
        ValueError: there is no such verdict.
    """
    if verdict is not None and verdict not in VERDICTS:
        raise ValueError(f"no verdict {verdict!r}; there are {', '.join(VERDICTS)}")
    with open_annotator(root) as c:
        _check_pair(c, stage_id, prompt_id, needs_sides=verdict is not None)
        previous = _read_verdict(c, stage_id, prompt_id)
        c.execute(
            "INSERT INTO verdict (stage_id, prompt_id, verdict, is_flagged, is_blind, note, at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (stage_id, prompt_id) DO UPDATE SET verdict = excluded.verdict, "
            "is_flagged = excluded.is_flagged, is_blind = excluded.is_blind, note = excluded.note, at = excluded.at",
            (stage_id, prompt_id, verdict, is_flagged, is_blind, note, time.time()),
        )
        return previous


def delete_verdict(root: Path, stage_id: int, prompt_id: str) -> VerdictRow | None:
    """Forgets what a person said of a pair, flag and note too; returns what was there, for an undo."""
    with open_annotator(root) as c:
        previous = _read_verdict(c, stage_id, prompt_id)
        c.execute("DELETE FROM verdict WHERE stage_id = ? AND prompt_id = ?", (stage_id, prompt_id))
        return previous


def _cross(run_ids: Sequence[str], tags: Sequence[str]) -> list[tuple[str, str]]:
    return [(run_id, tag) for run_id in run_ids for tag in tags]


def _check_runs(c: sqlite3.Connection, run_ids: Iterable[str]) -> None:
    for run_id in run_ids:
        if c.execute("SELECT 1 FROM run WHERE run_id = ?", (run_id,)).fetchone() is None:
            raise RunNotFoundError(f"run {run_id} is not in the store", hint="`cream-tui ls` lists the runs")


def _check_pair(c: sqlite3.Connection, stage_id: int, prompt_id: str, *, needs_sides: bool) -> None:
    row = c.execute(
        "SELECT skip_reason FROM pair WHERE stage_id = ? AND prompt_id = ?", (stage_id, prompt_id)
    ).fetchone()
    if row is None:
        raise StoreError(f"stage {stage_id} has no pair for prompt {prompt_id}")
    if needs_sides and row["skip_reason"] is not None:
        raise StoreError(f"prompt {prompt_id} has no pair to judge: {row['skip_reason']}")


def _read_verdict(c: sqlite3.Connection, stage_id: int, prompt_id: str) -> VerdictRow | None:
    row = c.execute(
        "SELECT stage_id, prompt_id, verdict, is_flagged, is_blind, note, at FROM verdict "
        "WHERE stage_id = ? AND prompt_id = ?",
        (stage_id, prompt_id),
    ).fetchone()
    return None if row is None else build_verdict(row)
