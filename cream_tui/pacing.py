"""How often what stands by may read the store: so seldom that watching costs a tenth of a core at most.

Pure but for the clock. A store of hundreds of runs takes a tenth of a second to read, and a run that goes on commits
many times a second: read after every commit, the view would take the time that the run needs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

# Rest after a reading, in times that it took, and no longer than this.
REST = 9.0
MOST_GAP_S = 3.0


class Pace:
    """When the next reading is due, by what the last one took.

    Args:
        least_gap_s: Between the end of a reading and the next, however quick it was.
    """

    def __init__(self, least_gap_s: float) -> None:
        self._least_gap_s = least_gap_s
        self._due_at = 0.0

    @property
    def wait_s(self) -> float:
        """Seconds until the next reading is due; 0 when it is."""
        return max(0.0, self._due_at - time.monotonic())

    def rest(self, took_s: float) -> None:
        """A reading has just ended that took so long."""
        self._due_at = time.monotonic() + max(self._least_gap_s, min(REST * took_s, MOST_GAP_S))

    @contextmanager
    def measure(self) -> Iterator[None]:
        """What happens inside is a reading."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.rest(time.monotonic() - began)
