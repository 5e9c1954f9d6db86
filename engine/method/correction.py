"""What a person's verdict on a pair does to the pair that the rewards make.

Knows two sides and one verdict. Must not know rewards, confidences or where a verdict comes from. The main path enters
at correct_pair, once per judged prompt.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import StrEnum

AGREE, SWAP, TIE, BOTH_BAD = "agree", "swap", "tie", "both_bad"
# What changes a pair or fixes its direction; "unsure" leaves everything to the model.
BINDING = (AGREE, SWAP, TIE, BOTH_BAD)


class Correction(StrEnum):
    """What becomes of the pair. UNUSED: the verdict is about other responses."""

    KEPT = "kept"
    REVERSED = "reversed"
    DROPPED = "dropped"
    UNUSED = "unused"


def correct_pair(pair: tuple[Hashable, Hashable] | None, judged: tuple[Hashable, Hashable], verdict: str) -> Correction:
    """The person's preference decides the direction, whatever direction the pair has now.

    Args:
        pair: Identity of chosen and rejected now (their token ids); None where there is no pair.
        judged: The same of the pair that the person saw.
        verdict: One of BINDING.

    Raises:
        ValueError: The verdict is none of BINDING.
    """
    if verdict not in BINDING:
        raise ValueError(f"verdict {verdict!r} is none of {', '.join(BINDING)}")
    if pair is None or set(pair) != set(judged):
        return Correction.UNUSED
    if verdict in (TIE, BOTH_BAD):
        return Correction.DROPPED
    preferred = judged[0] if verdict == AGREE else judged[1]
    return Correction.KEPT if pair[0] == preferred else Correction.REVERSED
