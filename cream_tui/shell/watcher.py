"""Notices commits of other processes: a thread that asks SQLite for its data version and tells the app when it moved.

Knows the store's file and two callbacks. Must not know what is read then, nor screens. A store that does not exist yet
is waited for; a fault is told once until it goes away. A file that was moved or deleted can still be read by who has
it open, and nothing happens to it any more: so the file behind the name is looked at too.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from cream_tui.pacing import Pace
from db.errors import StoreError
from db.paths import StorePaths
from db.reading import open_reader, read_data_version

# A poll takes a tenth of a millisecond; what follows it is what costs.
POLL_S = 0.1
LEAST_GAP_S = 0.25
# Ages and lost processes change without a commit.
TICK_S = 5.0


FileIdentity: TypeAlias = tuple[int, int]


class Watcher(threading.Thread):
    """Calls ``on_change`` after a commit and every few seconds, ``on_fault`` with a message or None when it is gone.

    ``on_change`` may raise a StoreError, which is a fault too.
    """

    def __init__(self, root: Path, on_change: Callable[[], None], on_fault: Callable[[str | None], None]) -> None:
        super().__init__(name="store-watcher", daemon=True)
        self.root = root
        self._on_change = on_change
        self._on_fault = on_fault
        self._ended = threading.Event()
        self._connection: sqlite3.Connection | None = None
        self._file: FileIdentity | None = None
        self._fault: str | None = None

    def run(self) -> None:
        """Poll until ``end``."""
        version: int | None = None
        told_at = time.monotonic()
        pace = Pace(LEAST_GAP_S)
        pace.rest(0.0)
        is_due = False
        while not self._ended.wait(POLL_S):
            newest = self._read_version()
            is_due = is_due or newest != version
            version = newest
            if (is_due and pace.wait_s == 0) or time.monotonic() - told_at >= TICK_S:
                is_due, told_at = False, time.monotonic()
                with pace.measure():
                    self._tell_change()
        self._let_go()

    def end(self) -> None:
        """Stop at the next poll."""
        self._ended.set()

    def _read_version(self) -> int | None:
        database = StorePaths(self.root).database
        file = identify_file(database)
        if file != self._file:
            self._let_go()
        if file is None:
            if self._file is not None:
                self._tell_fault(describe_gone(database).message)
            return None
        self._file = file
        try:
            if self._connection is None:
                self._connection = open_reader(self.root)
            return read_data_version(self._connection)
        except StoreError as error:
            self._tell_fault(error.message)
            self._let_go()
            return None

    def _tell_change(self) -> None:
        try:
            self._on_change()
        except StoreError as error:
            self._tell_fault(error.message)
        except sqlite3.Error as error:  # a store that does not fit: the screens' own reading says more
            self._tell_fault(f"the store cannot be read: {error}")
        else:
            self._tell_fault(None)

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _tell_fault(self, message: str | None) -> None:
        if message != self._fault:
            self._fault = message
            self._on_fault(message)


def identify_file(path: Path) -> FileIdentity | None:
    """Which file is behind this name now; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def describe_gone(database: Path) -> StoreError:
    """What to say of a store that was there."""
    return StoreError(f"{database} was moved or deleted", hint="start again on the place where the store is now")
