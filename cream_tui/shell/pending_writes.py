"""What a person wrote and the store may not hold yet: written in the order of the key presses, each exactly once.

Knows the store's errors. Must not know what is written. The thread of a write and the app's end may both come to it:
whoever is second waits, and gets the outcome of the first.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from db.errors import StoreError

# A locked store keeps one write for ten seconds; more than that nobody waits for when the app ends.
PATIENCE_S = 12.0


class PendingWrite:
    """A write and what takes it back where it failed."""

    def __init__(self, write: Callable[[], object], on_failure: Callable[[], None] | None) -> None:
        self.on_failure = on_failure
        self._write = write
        self._lock = threading.Lock()
        self._has_run = False
        self._problem: str | None = None

    def run(self) -> str | None:
        """Write, if nobody has; what is wrong with the store, where it did not take it."""
        with self._lock:
            if not self._has_run:
                self._has_run = True
                try:
                    self._write()
                except StoreError as error:
                    self._problem = error.message
            return self._problem


def finish_all(pending: deque[PendingWrite]) -> str | None:
    """Write what is left, in this thread; what to tell of that which the store did not take."""
    n_lost, problem = 0, None
    deadline = time.monotonic() + PATIENCE_S
    while pending:
        write = pending.popleft()
        found = write.run() if time.monotonic() < deadline else problem or "there was no time left"
        if found is not None:
            n_lost, problem = n_lost + 1, found
    if problem is None:
        return None
    return f"not saved: {'the last change' if n_lost == 1 else f'{n_lost} changes'}: {problem}"
