"""Opening a store for writing: schema, pragmas and transactions, through SQLModel.

No connection outlives its transaction (NullPool), so that nothing open is carried over a fork. Even so, open a Store in
the process that uses it. SQLite folds the log into the file when the last connection closes; who writes often
keeps a reader (``db.reading``) open meanwhile, which spares each transaction that work.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool
from sqlmodel import Session

from db.faults import BUSY_TIMEOUT_S, store_faults, translate_os_error
from db.paths import StorePaths, check_filesystem
from db.schema import migrate


class Store:
    """A store open for writing; build it with ``open_store``."""

    def __init__(self, paths: StorePaths, bind: Engine) -> None:
        self.paths = paths
        self.bind = bind

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A session in one immediate transaction, committed at the end of the block and rolled back on an error.

        Raises:
            StoreFullError: the disk is full or read-only.
            StoreError: the file is locked, damaged or gone.
        """
        with store_faults(self.paths.database):
            try:
                with Session(self.bind, expire_on_commit=False) as session, session.begin():
                    session.connection()  # takes the write lock now, not at the first statement
                    yield session
            except DBAPIError as error:
                if isinstance(error.orig, sqlite3.Error):
                    raise error.orig from error
                raise

    def close(self) -> None:
        """Lets go of the database; nothing is open between transactions anyway."""
        self.bind.dispose()


def open_store(root: Path) -> Store:
    """The store in this folder, created or migrated where needed.

    Raises:
        StoreFullError: the disk is full or read-only.
        StoreError: a network file system, a newer version, a file in the way, no permission.
    """
    paths = StorePaths(Path(root).absolute())
    check_filesystem(paths.root)
    try:
        paths.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise translate_os_error(error, paths.root) from error
    with store_faults(paths.database), closing(_connect(paths.database, "rwc")) as connection:
        migrate(connection, paths.database)
    return Store(paths, _build_bind(paths.database))


def _connect(database: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{database.as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,  # transactions begin where we say so
        check_same_thread=False,
    )


def _build_bind(database: Path) -> Engine:
    def connect() -> sqlite3.Connection:
        connection = _connect(database, "rw")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    bind = create_engine("sqlite://", creator=connect, poolclass=NullPool)

    @event.listens_for(bind, "begin")
    def begin_immediate(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return bind
