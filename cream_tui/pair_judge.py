"""Saying something of a pair: it stands at once, is stored beside the event loop, and can be taken back.

Knows the app's services, the ledger of marks and the store's annotations. Must not know widgets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cream_tui.views.pair_judging import Mark, MarkLedger, PairKey
from db.annotations import delete_verdict, write_verdict

if TYPE_CHECKING:
    from cream_tui.services import ServiceApp


class PairJudge:
    """Sets marks.

    Args:
        on_change: called in the loop with the pair whose mark is another one now.
        on_undo: called in the loop with the pair whose former mark is back.
    """

    def __init__(
        self,
        services: Callable[[], ServiceApp],
        ledger: MarkLedger,
        on_change: Callable[[int], None],
        on_undo: Callable[[int], object],
    ) -> None:
        self._services = services
        self._ledger = ledger
        self._on_change = on_change
        self._on_undo = on_undo

    def say(self, key: PairKey, mark: Mark, what: str) -> None:
        """Let this mark stand for the pair; ``what`` names it for the undo, without telling which verdict it is."""
        former = self._ledger.get(key.pair_id)
        if mark == former:
            return
        self._set(key, mark)

        def undo() -> None:
            self._set(key, former)
            self._on_undo(key.pair_id)

        self._services().push_undo(what, undo)

    def _set(self, key: PairKey, mark: Mark) -> None:
        services = self._services()
        ticket = self._ledger.set(key.pair_id, mark)
        self._on_change(key.pair_id)

        def take_back() -> None:
            if self._ledger.take_back(key.pair_id, ticket):
                self._on_change(key.pair_id)

        services.annotate(lambda: self._write(key), on_failure=take_back)

    def _write(self, key: PairKey) -> None:
        """Store the newest mark of the pair, in a thread."""
        with self._ledger.writing:
            newest = self._ledger.find_newest(key.pair_id)
            if newest is None:
                return
            ticket, mark = newest
            root = self._services().root
            if mark.is_empty:
                delete_verdict(root, key.stage_id, key.prompt_id)
            else:
                write_verdict(
                    root,
                    key.stage_id,
                    key.prompt_id,
                    verdict=mark.verdict,
                    is_flagged=mark.is_flagged,
                    is_blind=mark.is_blind,
                    note=mark.note,
                )
            self._ledger.note_written(key.pair_id, ticket)
