"""The verdicts on runs, each worked out once for as long as the run stands as it does.

Knows db's reads and the rules of health. Must not know how anything is shown. A run takes some milliseconds, a store
has hundreds: a reader that comes again does as many as its time allows. Not for two threads at a time.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable

from cream_tui.health.verdict import Verdict, judge
from cream_tui.results import read_results
from db.overview import RunOverview


class RunExaminer:
    """Keeps the verdicts of a store."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[object, Verdict]] = {}

    def examine(
        self, c: sqlite3.Connection, runs: Iterable[RunOverview], *, within_s: float
    ) -> tuple[dict[str, Verdict], bool]:
        """The verdicts by run id, and whether that is all of them; the first runs come first.

        Args:
            within_s: No run is begun after so many seconds.
        """
        until = time.monotonic() + within_s
        verdicts, is_whole = {}, True
        for run in runs:
            if run.n_stages_done == 0:
                continue
            mark = run.state, run.n_stages_done, run.finished_at
            known = self._known.get(run.run_id)
            if known is None or known[0] != mark:
                if time.monotonic() < until:
                    known = self._known[run.run_id] = mark, judge(read_results(c, run.run_id))
                else:
                    is_whole = False
            if known is not None:
                verdicts[run.run_id] = known[1]
        return verdicts, is_whole
