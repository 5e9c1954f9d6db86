"""What a person said of pairs: marks that stand before they are stored, and how far person, model and gold agree.

Pure: records in, plain values out; no store, no Textual. The ledger is shared by the event loop, which sets marks, and
by the threads that write them.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from db.pair_browse import PairView
from db.pair_counts import JudgedPair

AGREE, SWAP = "agree", "swap"
VERDICT_LETTERS = {"agree": "a", "swap": "s", "tie": "t", "both_bad": "x", "unsure": "u"}
VERDICT_WORDS = {"agree": "agree", "swap": "swap", "tie": "tie", "both_bad": "both bad", "unsure": "unsure"}
LEFT, RIGHT = "left is better", "right is better"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a person says of one pair; an empty one is not stored."""

    verdict: str | None = None
    is_flagged: bool = False
    is_blind: bool = False
    note: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said."""
        return self.verdict is None and not self.is_flagged and not self.note


NO_MARK = Mark()


@dataclass(frozen=True, slots=True)
class PairKey:
    """A pair by its row and by what a verdict is stored under."""

    pair_id: int
    stage_id: int
    prompt_id: str


class MarkLedger:
    """Marks that were set and may not be stored yet, over those that were read.

    Writers go one after the other (``writing``) and each takes the newest mark of its pair, so that quick changes of
    mind end in the last one, whichever thread runs last. No mark is dropped before it was stored or its writer failed.
    """

    def __init__(self) -> None:
        self.writing = threading.Lock()
        self._lock = threading.Lock()  # held for a moment only: the event loop waits for it
        self._read: dict[int, Mark] = {}
        self._set: dict[int, tuple[int, Mark]] = {}
        self._written: dict[int, int] = {}
        self._last_ticket = 0

    def get(self, pair_id: int) -> Mark:
        """The mark as the person sees it."""
        entry = self._set.get(pair_id)
        return self._read.get(pair_id, NO_MARK) if entry is None else entry[1]

    def set(self, pair_id: int, mark: Mark) -> int:
        """Let the mark stand at once; returns a ticket."""
        with self._lock:
            self._last_ticket += 1
            self._set[pair_id] = (self._last_ticket, mark)
            return self._last_ticket

    def find_newest(self, pair_id: int) -> tuple[int, Mark] | None:
        """Ticket and mark to be stored; None where another writer has stored it."""
        with self._lock:
            entry = self._set.get(pair_id)
            return None if entry is None or self._written.get(pair_id, 0) >= entry[0] else entry

    def note_written(self, pair_id: int, ticket: int) -> None:
        """Remember that this ticket's mark is stored."""
        with self._lock:
            self._written[pair_id] = ticket

    def list_unsettled(self) -> dict[int, Mark]:
        """Marks that stand over what was read, by pair id."""
        with self._lock:
            return {pair_id: mark for pair_id, (_, mark) in self._set.items()}

    def take_back(self, pair_id: int, ticket: int) -> bool:
        """After a failed write: show again what was read, unless the person went on; whether it did."""
        with self._lock:
            entry = self._set.get(pair_id)
            if entry is None or entry[0] != ticket:
                return False
            del self._set[pair_id]
            return True

    def list_written(self) -> dict[int, int]:
        """Pair ids with the newest ticket that is stored; taken before a reading begins, given to ``settle`` after."""
        with self._lock:
            return dict(self._written)

    def settle(self, judged: Iterable[JudgedPair], written: Mapping[int, int]) -> None:
        """Take what was read; marks that were stored before the reading began are no longer needed."""
        read = {pair.pair_id: Mark(pair.verdict, pair.is_flagged, pair.is_blind, pair.note) for pair in judged}
        with self._lock:
            self._read = read
            for pair_id, ticket in written.items():
                entry = self._set.get(pair_id)
                if entry is not None and entry[0] <= ticket:
                    del self._set[pair_id]
                if self._written.get(pair_id) == ticket:
                    del self._written[pair_id]


def apply_mark(judged: dict[int, JudgedPair], row: PairView, mark: Mark) -> None:
    """Count this mark of a pair as if it had been read."""
    if mark.is_empty:
        judged.pop(row.pair_id, None)
        return
    judged[row.pair_id] = JudgedPair(
        pair_id=row.pair_id,
        stage_id=row.stage_id,
        prompt_id=row.prompt_id,
        iteration=row.iteration,
        verdict=mark.verdict,
        is_flagged=mark.is_flagged,
        is_blind=mark.is_blind,
        note=mark.note,
        label=row.label,
        confidence=row.confidence,
        consistency_rate=row.consistency_rate,
    )


@dataclass(frozen=True, slots=True)
class Share:
    """How often of how many, with Wilson's 95 % interval; None for none."""

    n: int
    n_total: int

    @property
    def rate(self) -> float | None:
        """n / n_total."""
        return self.n / self.n_total if self.n_total else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval of the rate."""
        from engine.method.statistics import compute_wilson_interval  # brings numpy

        return compute_wilson_interval(self.n, self.n_total) if self.n_total else None


@dataclass(frozen=True, slots=True)
class JudgingSummary:
    """How far a person agrees.

    Attributes:
        n_by_verdict: judged pairs by verdict.
        model: agree over agree and swap; blind and sighted: of the verdicts given so.
        gold: verdicts on the side of the right response, of those on pairs of which one side is right.
        model_gold: the model's labels on the same pairs.
        halves: the share of agreement in the lower and in the upper half of ``halved_by``; None where it has one value.
        halved_by: "C", or "consistency" where all pairs have the same C.
        border: of the halves: the lower one is below.
    """

    n_judged: int
    n_flagged: int
    n_by_verdict: Mapping[str, int]
    model: Share
    blind: Share
    sighted: Share
    gold: Share
    model_gold: Share
    halves: tuple[Share, Share] | None
    halved_by: str
    border: float | None


def summarise(judged: Sequence[JudgedPair]) -> JudgingSummary:
    """The counts of these pairs."""
    decided = [pair for pair in judged if pair.verdict in (AGREE, SWAP)]
    known = [pair for pair in decided if pair.label in ("right", "wrong")]
    halved_by, halves, border = _halve(decided)
    return JudgingSummary(
        n_judged=sum(pair.verdict is not None for pair in judged),
        n_flagged=sum(pair.is_flagged for pair in judged),
        n_by_verdict={verdict: sum(pair.verdict == verdict for pair in judged) for verdict in VERDICT_WORDS},
        model=_share(decided),
        blind=_share([pair for pair in decided if pair.is_blind]),
        sighted=_share([pair for pair in decided if not pair.is_blind]),
        gold=Share(sum((pair.verdict == AGREE) == (pair.label == "right") for pair in known), len(known)),
        model_gold=Share(sum(pair.label == "right" for pair in known), len(known)),
        halves=halves,
        halved_by=halved_by,
        border=border,
    )


def _share(pairs: Sequence[JudgedPair]) -> Share:
    return Share(sum(pair.verdict == AGREE for pair in pairs), len(pairs))


def _halve(pairs: Sequence[JudgedPair]) -> tuple[str, tuple[Share, Share] | None, float | None]:
    """By C where it differs between pairs, else by the consistency that it is made of."""
    for name, attribute in (("C", "confidence"), ("consistency", "consistency_rate")):
        valued = [(getattr(pair, attribute), pair) for pair in pairs if getattr(pair, attribute) is not None]
        values = sorted({value for value, _ in valued})
        if len(values) < 2:
            continue
        # Of values that repeat, half of the pairs would lie on the median: the border is always one that parts them.
        border = max(statistics.median(value for value, _ in valued), values[1])
        low = [pair for value, pair in valued if value < border]
        high = [pair for value, pair in valued if value >= border]
        return name, (_share(low), _share(high)), border
    return "C", None, None


def turn_verdict(key: str, *, is_left_chosen: bool) -> str:
    """What is stored when a person prefers a side: left is the key of ``agree``, right that of ``swap``."""
    if key not in (AGREE, SWAP) or is_left_chosen:
        return key
    return SWAP if key == AGREE else AGREE


def describe_mark(mark: Mark, *, is_blind: bool, is_left_chosen: bool) -> str:
    """The verdict in words; in blind mode nothing that tells which side the model chose."""
    if mark.verdict is None:
        return ""
    if not is_blind:
        return VERDICT_WORDS[mark.verdict] + (" (blind)" if mark.is_blind else "")
    if mark.verdict not in (AGREE, SWAP):
        return VERDICT_WORDS[mark.verdict]
    if not mark.is_blind:
        return "judged"
    return LEFT if turn_verdict(mark.verdict, is_left_chosen=is_left_chosen) == AGREE else RIGHT
