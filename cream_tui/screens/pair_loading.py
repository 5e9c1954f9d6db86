"""Rows and whole pairs for the Pairs screen, read beside the event loop, the newest wish first.

Knows the app's services and the store's reads. Must not know widgets. At most one reading of each kind is under way;
wishes that come meanwhile are joined into the last one. A pair that was read is kept: rows of pairs never change.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cream_tui.widgets.pair_list import N_CHARACTERS
from cream_tui.widgets.pair_view import LoadedPair
from cream_tui.word_diff import compute_word_diff
from db.errors import StoreError
from db.pair_browse import PairView, read_pair_rows
from db.pair_detail import read_pair_detail

if TYPE_CHECKING:
    from cream_tui.services import ServiceApp

_N_KEPT = 64


class PairLoader:
    """Reads rows and pairs of one run after the other."""

    def __init__(
        self,
        services: Callable[[], ServiceApp],
        on_rows: Callable[[Sequence[PairView]], None],
        on_pair: Callable[[int, LoadedPair], None],
    ) -> None:
        self._services = services
        self._on_rows = on_rows
        self._on_pair = on_pair
        self._run_id = ""
        self._pairs: OrderedDict[int, LoadedPair] = OrderedDict()
        self._next_rows: tuple[int, ...] = ()
        self._next_pairs: tuple[int, ...] = ()
        self._is_reading_rows = self._is_reading_pairs = False

    def set_run(self, run_id: str) -> bool:
        """Read of this run from now on; whether it is another one."""
        if run_id == self._run_id:
            return False
        self._run_id = run_id
        self._pairs.clear()
        self._next_rows, self._next_pairs = (), ()
        return True

    def find_pair(self, pair_id: int) -> LoadedPair | None:
        """The pair if it is here."""
        pair = self._pairs.get(pair_id)
        if pair is not None:
            self._pairs.move_to_end(pair_id)
        return pair

    def load_pairs(self, pair_ids: Sequence[int]) -> None:
        """Read these, the first one first; replaces an earlier wish that was not begun."""
        self._next_pairs = tuple(pair_id for pair_id in pair_ids if pair_id not in self._pairs)
        self._read_pair()

    def load_rows(self, pair_ids: tuple[int, ...]) -> None:
        """Read the rows of these; replaces an earlier wish that was not begun."""
        self._next_rows = pair_ids
        self._read_rows()

    def _read_rows(self) -> None:
        if self._is_reading_rows or not self._next_rows:
            return
        pair_ids, self._next_rows = self._next_rows, ()
        run_id, services = self._run_id, self._services()
        self._is_reading_rows = True

        def work() -> list[PairView] | None:
            try:
                with services.reader() as connection:
                    if connection is None:
                        return None
                    return read_pair_rows(connection, run_id, pair_ids, n_characters=N_CHARACTERS)
            except StoreError:  # the screen's own reading tells of it
                return None

        def finish(rows: list[PairView] | None) -> None:
            self._is_reading_rows = False
            if rows is not None and run_id == self._run_id:
                self._on_rows(rows)
            self._read_rows()

        services.in_background(work, finish)

    def _read_pair(self) -> None:
        if self._is_reading_pairs or not self._next_pairs:
            return
        (pair_id, *rest), run_id, services = self._next_pairs, self._run_id, self._services()
        self._next_pairs = tuple(rest)
        self._is_reading_pairs = True

        def work() -> LoadedPair | None:
            try:
                with services.reader() as connection:
                    detail = None if connection is None else read_pair_detail(connection, run_id, pair_id)
            except StoreError:
                return None
            if detail is None:
                return None
            chosen, rejected = detail.view.chosen, detail.view.rejected
            is_pair = chosen is not None and rejected is not None
            return LoadedPair(detail, compute_word_diff(chosen or "", rejected or "") if is_pair else None)

        def finish(pair: LoadedPair | None) -> None:
            self._is_reading_pairs = False
            if pair is not None and run_id == self._run_id:
                self._pairs[pair_id] = pair
                while len(self._pairs) > _N_KEPT:
                    self._pairs.popitem(last=False)
                self._on_pair(pair_id, pair)
            self._read_pair()

        services.in_background(work, finish)
