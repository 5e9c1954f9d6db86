"""Notices commits of other processes: a thread that asks SQLite for its data version and tells the app when it moved.

Knows the store's file and two callbacks. Must not know what is read then, nor screens. A store that does not exist yet
is waited for; a fault is told once until it goes away.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from db.errors import StoreError
from db.paths import StorePaths
from db.reading import open_reader, read_data_version

# A poll takes a tenth of a millisecond; what follows it is what costs, and comes at most so often.
POLL_S = 0.1
LEAST_GAP_S = 0.25
# Ages and lost processes change without a commit.
TICK_S = 5.0


class Watcher(threading.Thread):
    """Calls ``on_change`` after a commit and every few seconds, ``on_fault`` with a message or None when it is gone."""

    def __init__(self, root: Path, on_change: Callable[[], None], on_fault: Callable[[str | None], None]) -> None:
        super().__init__(name="store-watcher", daemon=True)
        self.root = root
        self._on_change = on_change
        self._on_fault = on_fault
        self._ended = threading.Event()
        self._connection: sqlite3.Connection | None = None
        self._fault: str | None = None

    def run(self) -> None:
        """Poll until ``end``."""
        version: int | None = None
        told_at = time.monotonic()
        is_due = False
        while not self._ended.wait(POLL_S):
            newest = self._read_version()
            is_due = is_due or newest != version
            version = newest
            now = time.monotonic()
            if (is_due and now - told_at >= LEAST_GAP_S) or now - told_at >= TICK_S:
                is_due, told_at = False, now
                self._on_change()
        if self._connection is not None:
            self._connection.close()

    def end(self) -> None:
        """Stop at the next poll."""
        self._ended.set()

    def _read_version(self) -> int | None:
        try:
            if self._connection is None:
                if not StorePaths(self.root).database.is_file():
                    return None
                self._connection = open_reader(self.root)
            version = read_data_version(self._connection)
        except StoreError as error:
            self._tell_fault(error.message)
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            return None
        self._tell_fault(None)
        return version

    def _tell_fault(self, message: str | None) -> None:
        if message != self._fault:
            self._fault = message
            self._on_fault(message)
