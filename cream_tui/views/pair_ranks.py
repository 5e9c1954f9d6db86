"""The responses of a prompt ranked by both models, and what a reader should beware of before judging.

Pure: records in, plain values out; no store, no Textual. Responses are named A, B, C, ... by their place in the group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from db.pair_browse import PairView
from db.pair_detail import PairDetail

# From here on a longer chosen response is warned of: length is what self-given rewards like too much.
LENGTH_WARNING = 1.5
STAND_IN_ITERATION = 1
Role: TypeAlias = Literal["", "chosen", "rejected"]


@dataclass(frozen=True, slots=True)
class RankRow:
    """One response with its places, 1 is best; None where a score is missing.

    Attributes:
        current, current_rank: by the current model's implicit reward, or by what ranks where that is another reward.
        role: chosen, rejected or nothing.
        is_policy: False for a response of M1, which is there only to be rejected and has no place.
        same_as: the letter of an earlier response with the same tokens.
    """

    letter: str
    k: int
    role: Role
    current_rank: int | None
    previous_rank: int | None
    current: float | None
    previous: float | None
    anchor: float | None
    correct: bool | None
    n_tokens: int | None
    same_as: str | None
    is_policy: bool = True


def name_response(k: int) -> str:
    """The letter of the k-th response: A, B, ..., Z, A1, B1, ..."""
    return chr(ord("A") + k % 26) + (str(k // 26) if k >= 26 else "")


def compute_ranks(scores: Sequence[float | None]) -> list[int | None]:
    """Places from 1, the highest score first; equal scores share the best place of theirs."""
    present = [score for score in scores if score is not None]
    return [None if score is None else 1 + sum(other > score for other in present) for score in scores]


def is_ranked_otherwise(detail: PairDetail) -> bool:
    """Whether the reward that ranks is not the current model's implicit one: a judge's, say, or of several models."""
    return any(response.reward is not None and response.reward != response.current for response in detail.responses)


def name_ranker(detail: PairDetail) -> str:
    """What the current ranking is by."""
    return "reward" if is_ranked_otherwise(detail) else f"M{detail.view.iteration}"


def build_rank_rows(detail: PairDetail) -> list[RankRow]:
    """The responses by k; places are counted over the policy's distinct responses, as tau counts them."""
    now = "reward" if is_ranked_otherwise(detail) else "current"
    distinct = [response for response in detail.responses if response.item == response.k and response.is_policy]
    ranks = {
        name: dict(
            zip(
                (response.k for response in distinct),
                compute_ranks([getattr(response, name) for response in distinct]),
                strict=True,
            )
        )
        for name in (now, "previous")
    }
    roles: dict[int | None, Role] = {detail.view.chosen_k: "chosen", detail.view.rejected_k: "rejected"}
    return [
        RankRow(
            letter=name_response(response.k),
            k=response.k,
            role=roles.get(response.k, ""),
            current_rank=ranks[now].get(response.item),
            previous_rank=ranks["previous"].get(response.item),
            current=getattr(response, now),
            previous=response.previous,
            anchor=response.anchor,
            correct=response.correct,
            n_tokens=response.n_tokens,
            same_as=None if response.item == response.k else name_response(response.item),
            is_policy=response.is_policy,
        )
        for response in detail.responses
    ]


def format_orders(rows: Sequence[RankRow]) -> str:
    """Both rankings of the distinct responses in one line, as A>B=C | B>A>C; without a previous one only the first."""
    orders = [_format_order(rows, "current_rank"), _format_order(rows, "previous_rank")]
    return " | ".join(order for order in orders if order)


def list_warnings(view: PairView) -> list[str]:
    """What speaks for a second look at the label, in a few words each."""
    warnings = []
    ratio = view.length_ratio
    if ratio is not None and ratio >= LENGTH_WARNING:
        warnings.append(f"length bias: chosen is {ratio:.1f}x longer")
    if view.is_flipped:
        who = "M0" if view.iteration == STAND_IN_ITERATION else f"M{view.iteration - 1}"
        warnings.append(f"rank flip: {who} prefers the rejected one")
    cut = [
        side
        for side, reason in (("chosen", view.chosen_finish_reason), ("rejected", view.rejected_finish_reason))
        if reason == "length"
    ]
    if cut:
        warnings.append(f"cut at the token limit: {' and '.join(cut)}")
    return warnings


def is_turned(prompt_id: str, iteration: int) -> bool:
    """Whether the rejected response stands left in blind mode: half of the pairs, always the same ones."""
    return bool(hashlib.sha256(f"{prompt_id}/{iteration}".encode()).digest()[0] & 1)


def _format_order(rows: Sequence[RankRow], name: str) -> str:
    ranked = sorted(
        (getattr(row, name), row.k, row.letter)
        for row in rows
        if row.same_as is None and getattr(row, name) is not None
    )
    text, last = "", None
    for rank, _, letter in ranked:
        text += ("" if last is None else "=" if rank == last else ">") + letter
        last = rank
    return text
