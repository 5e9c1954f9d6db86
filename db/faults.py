"""SQLite and file errors as one message each, with the way out. Light: no sqlmodel, no sqlalchemy."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from db.errors import StoreError, StoreFullError

BUSY_TIMEOUT_S = 10.0
_FULL_BYTES = 1 << 20  # SQLite reports some writes to a full disk as plain input/output errors
_FULL_HINT = "free some space, then `cream-tui resume RUN`: no committed row is lost"
_READ_ONLY_HINT = "make it writable or name another folder with --store DIR"


@contextmanager
def store_faults(database: Path) -> Iterator[None]:
    """Turns SQLite's errors within the block into store errors, where a user can act on them."""
    try:
        yield
    except sqlite3.Error as error:
        fault = translate_sqlite_error(error, database)
        if fault is None:
            raise
        raise fault from error


def translate_sqlite_error(error: sqlite3.Error, database: Path) -> StoreError | None:
    """The fault that a user can act on, or None where the error is a defect of the program."""
    name = getattr(error, "sqlite_errorname", None) or ""
    text = str(error)
    if name == "SQLITE_FULL":
        return StoreFullError(f"the disk is full: {database} could not grow", hint=_FULL_HINT)
    if name == "SQLITE_READONLY_DBMOVED":
        return StoreError(f"the store's file {database} was moved or deleted while it was open", hint="start again")
    if name in ("SQLITE_READONLY_DIRECTORY", "SQLITE_READONLY_CANTINIT", "SQLITE_READONLY_RECOVERY"):
        return StoreFullError(_describe_folder(database), hint=_READ_ONLY_HINT)
    if name.startswith("SQLITE_READONLY"):
        return StoreFullError(f"the store's file {database} is read-only", hint=_READ_ONLY_HINT)
    if name.startswith("SQLITE_IOERR"):
        return _translate_input_output(database, text, name)
    if name.startswith("SQLITE_CANTOPEN"):
        if _is_read_only(database.parent):
            return StoreFullError(
                f"{database} lies on a read-only file system. {_describe_folder(database)}", hint=_READ_ONLY_HINT
            )
        return StoreError(
            f"the store's file {database} cannot be opened. {_describe_folder(database)}", _READ_ONLY_HINT
        )
    if name in ("SQLITE_PERM", "SQLITE_AUTH"):
        return StoreError(f"no permission to use the store's file {database}", hint=_READ_ONLY_HINT)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreError(
            f"another process has kept {database} locked for more than {BUSY_TIMEOUT_S:.0f} s",
            hint="wait for it or end it (`fuser` on the file names it), then try again",
        )
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return StoreError(
            f"the store's file {database} is damaged or no SQLite database ({text})",
            hint="restore it from a copy, or start a new store with --store DIR",
        )
    return None


def translate_os_error(error: OSError, path: Path) -> StoreError:
    """The fault behind a failed file operation on the store."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFullError(f"the disk is full: {path} could not be written", hint=_FULL_HINT)
    if error.errno == errno.EROFS:
        return StoreFullError(f"{path} lies on a read-only file system", hint=_READ_ONLY_HINT)
    if isinstance(error, PermissionError):
        return StoreError(f"no permission to write {path}", hint=_READ_ONLY_HINT)
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return StoreError(f"{path} cannot be a store: a file is in the way", hint="name a folder with --store DIR")
    return StoreError(f"{path} cannot be used: {error.strerror or error}", hint=_READ_ONLY_HINT)


def _is_read_only(folder: Path) -> bool:
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _describe_folder(database: Path) -> str:
    return (
        f"The folder {database.parent} must exist and be writable, even for reading: "
        f"SQLite keeps {database.name}-shm and {database.name}-wal there"
    )


def _translate_input_output(database: Path, text: str, name: str) -> StoreError:
    try:
        is_full = shutil.disk_usage(database.parent).free < _FULL_BYTES
    except OSError:
        is_full = False
    if is_full:
        return StoreFullError(f"the disk is full: {database} could not grow", hint=_FULL_HINT)
    return StoreError(f"{text} ({name}) on {database}", hint="look at the disk, then `cream-tui resume RUN`")
