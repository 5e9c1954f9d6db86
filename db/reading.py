"""Opening a store for reading, in plain sqlite3. Light: on the path of ``ls`` and of the app."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from db.errors import StoreError
from db.faults import BUSY_TIMEOUT_S, store_faults, translate_os_error, translate_sqlite_error
from db.paths import StorePaths, check_filesystem
from db.schema import is_current, migrate

Parameters = Sequence[Any] | Mapping[str, Any]


def open_reader(root: Path) -> sqlite3.Connection:
    """A read-only connection that sees each commit of others; for one thread at a time.

    A store of an older version is migrated first.

    Raises:
        StoreError: no store there, a newer version, a network file system, a folder that cannot be used.
    """
    paths = StorePaths(Path(root).absolute())
    database = paths.database
    if not database.is_file():
        raise StoreError(
            f"no store at {paths.root}", hint="start one with `cream-tui demo` or name one with --store DIR"
        )
    check_filesystem(paths.root)
    with store_faults(database):
        connection = connect(database, "ro")
        try:
            connection.execute("PRAGMA query_only = ON")
            if not is_current(connection, database):
                with closing(connect(database, "rw")) as writer:
                    migrate(writer, database)
        except BaseException:
            connection.close()
            raise
    return connection


def has_store(root: Path) -> bool:
    """Whether there is a store in this folder; where there is none yet, one can be made.

    Raises:
        StoreError: a file is in the way of the folder, or no permission to make it.
    """
    paths = StorePaths(Path(root).absolute())
    if paths.database.is_file():
        return True
    check_filesystem(paths.root)
    nearest = next(folder for folder in (paths.root, *paths.root.parents) if folder.exists())
    if not nearest.is_dir():
        raise translate_os_error(NotADirectoryError(), paths.root)
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise translate_os_error(PermissionError(), paths.root)
    return False


def read_data_version(c: sqlite3.Connection) -> int:
    """A number that differs from the last one if another connection committed in between."""
    return int(fetch_rows(c, "PRAGMA data_version")[0][0])


def fetch_rows(c: sqlite3.Connection, sql: str, parameters: Parameters = ()) -> list[sqlite3.Row]:
    """All rows of a statement.

    Raises:
        StoreError: the file is locked, damaged or gone.
    """
    try:
        return c.execute(sql, parameters).fetchall()
    except sqlite3.Error as error:
        _raise_fault(c, error)
        raise


def stream_rows(c: sqlite3.Connection, sql: str, parameters: Parameters = ()) -> Iterator[sqlite3.Row]:
    """The rows of a statement one by one, for results that need not fit into memory."""
    try:
        yield from c.execute(sql, parameters)
    except sqlite3.Error as error:
        _raise_fault(c, error)
        raise


@contextmanager
def snapshot(c: sqlite3.Connection) -> Iterator[None]:
    """One state of the store for all statements of the block; nested blocks join the outer one."""
    if c.in_transaction:
        yield
        return
    c.execute("BEGIN")
    try:
        yield
    finally:
        c.rollback()


def connect(database: Path, mode: str) -> sqlite3.Connection:
    """A connection (``ro`` or ``rw``) whose transactions begin where the caller says so; checks no version."""
    connection = sqlite3.connect(
        f"{database.as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.row_factory = sqlite3.Row
    return connection


def _raise_fault(c: sqlite3.Connection, error: sqlite3.Error) -> None:
    """Raises what a user can act on; returns where the error is a defect of the program."""
    try:
        database = Path(c.execute("PRAGMA database_list").fetchone()[2])
    except sqlite3.Error:
        database = StorePaths(Path()).database
    fault = translate_sqlite_error(error, database)
    if fault is not None:
        raise fault from error
