"""Which pairs are shown, in which order, and the ways through them.

Pure: ids and words in, plain values out; no store, no Textual. A pair's number is its place in the run, from 1 in the
order of iterations and positions; skipped prompts have none.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from db.pair_browse import PAIR_SORTS, PairQuery


@dataclass(frozen=True, slots=True)
class Order:
    """A way to sort: the store's name of it, what a reader calls it, and the direction in which it is of use."""

    sort: str
    word: str
    is_descending: bool = False


ORDERS = (
    Order("position", "number"),
    Order("tau", "tau"),
    Order("consistency", "consistency"),
    Order("confidence", "C"),
    Order("margin", "margin"),
    Order("previous_margin", "previous margin"),
    Order("length_ratio", "length ratio", is_descending=True),
    Order("label", "label"),
    Order("verdict", "verdict"),
    Order("flagged", "flag"),
)

# Python refuses to read numbers of thousands of digits.
_MOST_DIGITS = 18

# Filters that are often wanted, as a person could type them.
QUICK_FILTERS = (
    ("label:wrong", "wrong labels: the rejected response is right"),
    ("-has:verdict", "not yet judged"),
    ("flagged:yes", "flagged"),
    ("verdict:swap", "you would swap them"),
    ("tau<0", "low consistency: models rank against each other"),
    ("C<0.75", "low C"),
    ("previous_margin<0", "rank flips: previous model prefers the rejected"),
    ("length_ratio>=1.5", "length bias: chosen is much longer"),
    ("label:both_wrong", "both responses wrong"),
    ("has:note", "with a note"),
    ("has:skipped", "prompts without a pair, and why"),
)
# Columns that tell something of the labels, rewards or agreement: not shown, nor sorted by, in blind mode. A verdict is
# stored by what the model chose, so that it tells, too.
TELLING = frozenset(PAIR_SORTS) - {"position", "iteration", "prompt_id", "task", "flagged"}
# So many neighbours are looked for when a pair is gone: each search walks the whole order.
_N_NEAR = 20
_BY_PERSON = ("verdict", "flagged", "blind", "note", "text")


def find_order(sort: str) -> Order:
    """The order of this name; the first one for a name that is none."""
    return next((order for order in ORDERS if order.sort == sort), ORDERS[0])


def next_order(sort: str) -> Order:
    """The one behind it, in a circle."""
    return ORDERS[(ORDERS.index(find_order(sort)) + 1) % len(ORDERS)]


def depends_on_verdicts(query: PairQuery) -> bool:
    """Whether another verdict, flag or note can change which pairs there are or their order."""
    return query.sort in _BY_PERSON or any(name in query.where for name in _BY_PERSON)


class Numbers:
    """The numbers of a run's pairs.

    Pairs are written in their order, so that their ids rise with their numbers and nothing more is kept; where they do
    not, a map is.
    """

    def __init__(self, ids: array[int]) -> None:
        self.ids = ids
        self._map: dict[int, int] | None = None
        if any(ids[k] > ids[k + 1] for k in range(len(ids) - 1)):
            self._map = {pair_id: place + 1 for place, pair_id in enumerate(ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def get(self, pair_id: int) -> int | None:
        """The number of a pair; None for a prompt without one."""
        if self._map is not None:
            return self._map.get(pair_id)
        place = find_sorted(self.ids, pair_id)
        return None if place is None else place + 1

    def find(self, number: int) -> int | None:
        """The id of the pair with this number."""
        return self.ids[number - 1] if 0 < number <= len(self.ids) else None


def find_sorted(ids: Sequence[int], pair_id: int) -> int | None:
    """The place of an id among rising ones."""
    place = bisect_left(ids, pair_id)
    return place if place < len(ids) and ids[place] == pair_id else None


def find_next(ids: Sequence[int], place: int, is_wanted: Callable[[int], bool], step: int = 1) -> int | None:
    """The next place, from the one behind ``place`` on in a circle, whose pair is wanted; None if none is."""
    n = len(ids)
    for distance in range(1, n + 1):
        at = (place + step * distance) % n
        if is_wanted(ids[at]):
            return at
    return None


def follow_cursor(old: Sequence[int], place: int, new: array[int]) -> int:
    """Where the cursor goes when the order changes: with its pair, else with the nearest one that is still there.

    What stands behind it goes before what stands above: a person would have come to that next.
    """
    near = [*old[place : place + _N_NEAR], *reversed(old[max(0, place - _N_NEAR) : place])]
    for pair_id in near:
        try:
            return new.index(pair_id)
        except ValueError:
            continue
    return max(0, min(place, len(new) - 1))


def check_number(text: str, n: int) -> str | None:
    """What is wrong with a number to jump to, or None."""
    if not text.strip().isascii() or not text.strip().isdigit():
        return "type the number of a pair" if text.strip() else None
    return None if len(text) < _MOST_DIGITS and 1 <= int(text) <= n else f"there are {n:,} pairs"
