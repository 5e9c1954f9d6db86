"""What a person wants to see of a run's pairs: filter, order, iteration, blind mode.

Knows the grammar of filters and the command that shows the same. Must not know widgets. Plain values that can be kept
and taken up again.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from cream_tui.filtering.grammar import HAS, FilterError, parse
from cream_tui.filtering.pairs import PairFilter, compile_pairs, find_column
from cream_tui.filtering.parser import list_terms
from cream_tui.views.pairs import ORDERS, TELLING, find_order, next_order
from db.pair_browse import PAIR_SORTS, PairQuery


class PairWishes:
    """The wishes; ``filter_text`` is what was typed, with or without meaning."""

    def __init__(self) -> None:
        self.filter_text = ""
        self.sort = ORDERS[0].sort
        self.is_descending = ORDERS[0].is_descending
        self.iteration: int | None = None
        self.is_blind = False
        self._filter = PairFilter()

    @property
    def query(self) -> PairQuery:
        """The pairs wanted; of a filter without meaning the last one that had one."""
        return PairQuery(
            where=self._filter.where,
            parameters=self._filter.parameters,
            sort=self.sort,
            is_descending=self.is_descending,
            iteration=self.iteration,
            with_skipped=self._filter.asks_for_skipped,
        )

    def set_filter(self, text: str) -> str | None:
        """Take a filter; what is wrong with it, or None."""
        self.filter_text = text
        try:
            self._filter = compile_pairs(text)
        except FilterError as error:
            return error.message if error.hint is None else f"{error.message} ({error.hint})"
        return None

    def next_order(self) -> None:
        """Take the next order, in blind mode one that tells nothing."""
        for _ in ORDERS:
            order = next_order(self.sort)
            self.sort, self.is_descending = order.sort, order.is_descending
            if not (self.is_blind and self.sort in TELLING):
                return

    def set_blind(self, is_blind: bool) -> None:
        """Hide what tells of the labels, or show it; an order by something hidden gives way."""
        self.is_blind = is_blind
        if is_blind and self.sort in TELLING:
            self.sort, self.is_descending = ORDERS[0].sort, ORDERS[0].is_descending

    @property
    def is_filter_telling(self) -> bool:
        """Whether the filter itself says something of the labels of what is shown; whether one was judged does not."""
        try:
            terms = list(list_terms(parse(self.filter_text)))
        except FilterError:
            return False
        compared = {find_column(term.key) for term in terms if term.key is not None and term.key.casefold() != HAS}
        present = {find_column(term.values[0]) for term in terms if term.key is not None and term.key.casefold() == HAS}
        return bool(TELLING & (compared | (present - {"verdict"})))

    def write_command(self, run_name: str) -> str:
        """The words of the command that prints the same pairs."""
        words = ["pairs", run_name]
        if self.filter_text.strip():
            words += ["--filter", self.filter_text]
        if self.iteration is not None:
            words += ["--iteration", str(self.iteration)]
        words += ["--sort", self.sort]
        if self.is_descending:
            words.append("--descending")
        return shlex.join(words)

    def describe_order(self) -> str:
        """The order in a word and its direction."""
        return find_order(self.sort).word + (" ▼" if self.is_descending else " ▲")

    def save(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "filter": self.filter_text,
            "sort": self.sort,
            "descending": self.is_descending,
            "iteration": self.iteration,
            "blind": self.is_blind,
        }

    def restore(self, view: Mapping[str, Any]) -> None:
        """Take up what ``save`` gave, as far as it makes sense."""
        match view.get("filter"):
            case str(text) if self.set_filter(text) is not None:
                self.set_filter("")
        match view.get("sort"):
            case str(sort) if sort in PAIR_SORTS:
                self.sort = sort
        match view.get("iteration"):
            case int(iteration) if iteration > 0:
                self.iteration = iteration
        self.is_descending = view.get("descending") is True
        self.set_blind(view.get("blind") is True)
