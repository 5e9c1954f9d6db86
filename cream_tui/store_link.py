"""The app's link to its store: connections for its threads, and messages when somebody committed.

Knows db.reading and the watcher. Must not know screens.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from textual.message import Message

from cream_tui.notices import RunState, StoreChanged, StoreFault
from cream_tui.watcher import Watcher
from db.errors import StoreError
from db.paths import StorePaths
from db.reading import fetch_rows, open_reader


class StoreLink:
    """Lends readers to threads and posts StoreChanged and StoreFault."""

    def __init__(self, root: Path, post: Callable[[Message], None]) -> None:
        self._root = root
        self._post = post
        self._free: list[sqlite3.Connection] = []
        self._is_open = True
        self._watcher = Watcher(root, self._notice_change, lambda fault: post(StoreFault(fault)))

    def start(self) -> None:
        """Notice commits from now on."""
        self._watcher.start()

    def close(self) -> None:
        """Let go of the store; connections still lent are closed when they come back."""
        self._is_open = False
        self._watcher.end()
        while self._free:
            self._free.pop().close()

    @contextmanager
    def borrow(self) -> Iterator[sqlite3.Connection | None]:
        """A connection for this thread until the block ends; None while there is no store.

        Raises:
            StoreError: The store is there and cannot be read.
        """
        try:
            connection = self._free.pop()
        except IndexError:
            if not StorePaths(self._root).database.is_file():
                yield None
                return
            connection = open_reader(self._root)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        if self._is_open:
            self._free.append(connection)
        else:
            connection.close()

    def _notice_change(self) -> None:
        """In the watcher's thread: read the states of all runs and tell the app."""
        states: dict[str, RunState] | None = None
        try:
            with self.borrow() as connection:
                if connection is not None:
                    rows = fetch_rows(connection, "SELECT run_id, name, state, error FROM run")
                    states = {row[0]: RunState(row[1], row[2], row[3]) for row in rows}
        except StoreError as error:
            self._post(StoreFault(error.message))
            return
        self._post(StoreChanged(states))
