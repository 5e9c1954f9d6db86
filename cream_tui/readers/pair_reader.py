"""Reads what the Pairs screen shows, each part only when it can have changed.

Knows the store's reads and the stamp that tells of changes. Must not know the screen. One reading at a time.
"""

from __future__ import annotations

import sqlite3
from array import array
from dataclasses import dataclass, replace

from cream_tui.views.pair_judging import MarkLedger
from cream_tui.views.pairs import Numbers, depends_on_verdicts
from db.errors import RunNotFoundError
from db.pair_browse import PairQuery, read_pair_ids
from db.pair_counts import JudgedPair, PairCounts, PairStamp, read_judged_pairs, read_pair_counts, read_pair_stamp
from db.queries import find_run, snapshot


@dataclass(frozen=True, slots=True)
class PairsWant:
    """Which pairs of which run; without a run the newest one's. ``prompt_id`` is looked up besides."""

    run_id: str | None
    query: PairQuery
    prompt_id: str | None = None


@dataclass(frozen=True, slots=True)
class PairsData:
    """The pairs of a run in the order asked for.

    Attributes:
        ids: in that order; ``numbers`` are those of all pairs of the run.
        judged: of all iterations.
        written: tickets that were stored before this reading, for the ledger.
        found_id: the first pair of the prompt that was looked up.
    """

    run_id: str
    run_name: str
    run_state: str
    query: PairQuery
    ids: array[int]
    numbers: Numbers
    counts: PairCounts
    judged: tuple[JudgedPair, ...]
    written: dict[int, int]
    found_id: int | None

    @property
    def n_pairs(self) -> int:
        """Pairs of the iteration that is shown, or of all."""
        if self.query.iteration is None:
            return self.counts.n_pairs
        return self.counts.n_by_iteration.get(self.query.iteration, 0)


class PairsReader:
    """Reads again and again, and keeps the last answer."""

    def __init__(self, ledger: MarkLedger) -> None:
        self._ledger = ledger
        self._last: tuple[PairStamp, PairsData] | None = None

    def read(self, connection: sqlite3.Connection, want: PairsWant) -> PairsData | None:
        """The pairs; None where the store has no run, or not this one any more."""
        written = self._ledger.list_written()
        with snapshot(connection):
            try:
                run = find_run(connection, want.run_id or "latest")
            except RunNotFoundError:
                return None
            stamp = read_pair_stamp(connection, run.run_id)
            last = self._last[1] if self._last is not None and self._last[1].run_id == run.run_id else None
            old = self._last[0] if self._last is not None and last is not None else None
            has_same_pairs = old is not None and old.pairs == stamp.pairs
            has_same_verdicts = has_same_pairs and old is not None and old.verdicts == stamp.verdicts
            numbers = last.numbers if last is not None and has_same_pairs else None
            if numbers is None:
                numbers = Numbers(read_pair_ids(connection, run.run_id, PairQuery()))
            if want.query == PairQuery():
                ids = numbers.ids
            elif (
                last is not None
                and last.query == want.query
                and (has_same_verdicts or (has_same_pairs and not depends_on_verdicts(want.query)))
            ):
                ids = last.ids
            else:
                ids = read_pair_ids(connection, run.run_id, want.query)
            data = PairsData(
                run_id=run.run_id,
                run_name=run.name,
                run_state=run.state,
                query=want.query,
                ids=ids,
                numbers=numbers,
                # What is waited for changes with every stage, not only with the pairs'.
                counts=read_pair_counts(connection, run.run_id)
                if last is None or not has_same_pairs or last.counts.waiting_for is not None
                else last.counts,
                judged=last.judged
                if last is not None and has_same_verdicts
                else tuple(read_judged_pairs(connection, run.run_id)),
                written=written,
                found_id=_find_prompt(connection, run.run_id, want.prompt_id),
            )
        self._last = (stamp, replace(data, found_id=None))
        return data


def _find_prompt(connection: sqlite3.Connection, run_id: str, prompt_id: str | None) -> int | None:
    if prompt_id is None:
        return None
    query = PairQuery(where="prompt_id = ?", parameters=(prompt_id,), with_skipped=True)
    return next(iter(read_pair_ids(connection, run_id, query, limit=1)), None)
