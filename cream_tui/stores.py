"""Opening the store for reading, and whether a run's supervisor lives.

Knows db.queries and db.paths. Must not know how anything is shown.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from db.errors import StoreError
from db.paths import find_store_root
from db.rows import Lease

# Above this age of the heartbeat the process itself is looked at.
FRESH_HEARTBEAT_S = 5.0


@contextmanager
def open_run_reader(option: str | None) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """The store's folder and a connection that only reads.

    Raises:
        StoreError: There is no store, or it cannot be read.
    """
    from db.queries import open_reader

    root = find_store_root(option)
    connection = open_reader(root)
    try:
        yield root, connection
    finally:
        connection.close()


def is_stale(state: str, lease: Lease | None) -> bool:
    """Whether a run that should be going on has lost its process; one that is queued may yet get its process."""
    if state not in ("queued", "running"):
        return False
    if lease is None:
        return state == "running"
    return abs(time.time() - lease.heartbeat_at) >= FRESH_HEARTBEAT_S and not is_lease_alive(lease)


def is_lease_alive(lease: Lease) -> bool:
    """Whether the process of a lease exists."""
    from engine.runtime.process import is_alive

    return is_alive(lease)


def list_run_names(option: str | None) -> list[str]:
    """Names of all studies and runs, the newest first; empty where there is no store."""
    from db.queries import read_runs
    from db.studies import list_studies

    try:
        with open_run_reader(option) as (_, connection):
            studies = [study.name for study in reversed(list_studies(connection))]
            return studies + [run.name for run in reversed(read_runs(connection))]
    except (StoreError, OSError, sqlite3.Error):
        return []


def format_command(words: str, store: str | None) -> str:
    """A command line of ours that runs exactly as printed, with the store where one was given."""
    command = f"{name_program()} {words}".rstrip()
    return command + (f" --store {shlex.quote(store)}" if store else "")


def name_program() -> str:
    """How this program was called, so that a printed command works in the same shell: `make demo` is not on PATH."""
    called, on_path = Path(sys.argv[0]), shutil.which("cream-tui")
    if called.name != "cream-tui" or not called.is_file() or (on_path is not None and Path(on_path).samefile(called)):
        return "cream-tui"
    relative = os.path.relpath(called)
    return shlex.quote(min(relative, str(called.absolute()), key=len))
