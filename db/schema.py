"""The schema's version and its migrations. Light: plain sqlite3, so that readers share the same check."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from db.errors import StoreError
from db.faults import BUSY_TIMEOUT_S

MIGRATIONS_FOLDER = Path(__file__).parent / "migrations"
_RETRY_S = 0.02


def list_migrations() -> list[tuple[int, Path]]:
    """The versions and files NNNN_*.sql in order, from 1 without a gap."""
    files = sorted(MIGRATIONS_FOLDER.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    versions = [int(file.name[:4]) for file in files]
    if versions != list(range(1, len(files) + 1)) or not files:
        raise RuntimeError(f"broken installation: migrations {versions} in {MIGRATIONS_FOLDER}")
    return list(zip(versions, files, strict=True))


def read_version(connection: sqlite3.Connection) -> int:
    """The version of the schema; 0 before the first migration."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def is_current(connection: sqlite3.Connection, database: Path) -> bool:
    """Whether the store has this program's version; False where it must be migrated first.

    Raises:
        StoreError: the store comes from a newer program.
    """
    version, latest = read_version(connection), list_migrations()[-1][0]
    if version > latest:
        raise StoreError(
            f"the store {database} has version {version}, this cream-tui knows version {latest} at most",
            hint="upgrade cream-tui, or name another store with --store DIR",
        )
    return version == latest


def migrate(connection: sqlite3.Connection, database: Path) -> None:
    """Brings the store to this program's version; safe when several processes do it at once.

    Args:
        connection: in autocommit mode (``isolation_level=None``), without foreign keys.
        database: the file, for messages.
    """
    _use_write_ahead_log(connection, database)
    if is_current(connection, database):
        return
    connection.execute("BEGIN EXCLUSIVE")
    try:
        if not is_current(connection, database):  # nobody else was faster
            _apply_migrations(connection, database)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def split_statements(script: str) -> list[str]:
    """The statements of an SQL script; ``executescript`` would commit the open transaction."""
    statements, current = [], ""
    for line in script.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current.strip())
            current = ""
    if current.strip():
        raise ValueError(f"unfinished SQL statement: {current.strip()[:80]}")
    return statements


def _apply_migrations(connection: sqlite3.Connection, database: Path) -> None:
    version = read_version(connection)
    if version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StoreError(
            f"{database} is a database of another program", hint="name another folder with --store DIR or $CREAM_STORE"
        )
    for number, file in list_migrations():
        if number > version:
            for statement in split_statements(file.read_text(encoding="utf-8")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")


def _use_write_ahead_log(connection: sqlite3.Connection, database: Path) -> None:
    """Switches the journal; SQLite does not wait for locks here, so we do."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            if not str(getattr(error, "sqlite_errorname", "")).startswith("SQLITE_BUSY"):
                raise
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)
    if mode != "wal":
        raise StoreError(
            f"the file system of {database} has no write-ahead log (journal mode {mode})",
            hint="name a folder on a local disk with --store DIR or $CREAM_STORE",
        )
