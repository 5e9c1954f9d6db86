"""The app's link to its store: connections for its threads, and messages when somebody committed.

Knows db.reading and the watcher. Must not know screens.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from textual.message import Message

from cream_tui.shell.notices import RunState, StoreChanged, StoreFault
from cream_tui.shell.warning_watch import WarningWatch
from cream_tui.shell.watcher import FileIdentity, Watcher, describe_gone, identify_file
from db.paths import StorePaths
from db.reading import fetch_rows, open_reader
from db.studies import StudyCount, count_study_runs, read_studies_of_runs


class StoreLink:
    """Lends readers to threads and posts StoreChanged, WarningsFound and StoreFault."""

    def __init__(self, root: Path, post: Callable[[Message], None]) -> None:
        self._root = root
        self._post = post
        self._database = StorePaths(root).database
        self._lock = threading.Lock()
        self._free: list[sqlite3.Connection] = []
        self._file: FileIdentity | None = None  # that the free connections have open
        self._is_open = True
        self._warnings = WarningWatch()
        self._watcher = Watcher(root, self._notice_change, lambda fault: post(StoreFault(fault)))

    def start(self) -> None:
        """Notice commits from now on."""
        self._watcher.start()

    def close(self) -> None:
        """Let go of the store; connections still lent are closed when they come back."""
        self._is_open = False
        self._watcher.end()
        self._drop_free()

    @contextmanager
    def borrow(self) -> Iterator[sqlite3.Connection | None]:
        """A connection for this thread until the block ends; None while there is no store.

        Raises:
            StoreError: The store is there and cannot be read, or was there and is gone.
        """
        file = identify_file(self._database)
        if file != self._file:  # an open file that was moved or deleted would be read on, and nobody writes to it
            self._drop_free()
        if file is None:
            if self._file is not None:
                raise describe_gone(self._database)
            yield None
            return
        self._file = file
        with self._lock:
            connection = self._free.pop() if self._free else None
        connection = open_reader(self._root) if connection is None else connection
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            is_kept = self._is_open and file == self._file
            if is_kept:
                self._free.append(connection)
        if not is_kept:
            connection.close()

    def _drop_free(self) -> None:
        with self._lock:
            dropped, self._free = self._free, []
        for connection in dropped:
            connection.close()

    def _notice_change(self) -> None:
        """In the watcher's thread: read the states of all runs and tell the app, then what newly warns in them.

        Raises:
            StoreError: The store cannot be read.
        """
        states: dict[str, RunState] | None = None
        studies: list[StudyCount] = []
        with self.borrow() as connection:
            if connection is not None:
                rows = fetch_rows(connection, "SELECT run_id, name, state, error FROM run")
                members = read_studies_of_runs(connection)
                states = {row[0]: RunState(row[1], row[2], row[3], members.get(row[0])) for row in rows}
                studies = count_study_runs(connection)
            self._post(StoreChanged(states, studies))
            if connection is not None and states is not None:
                for found in self._warnings.look(connection, states):
                    self._post(found)
