"""Which two responses of a prompt become its preference pair.

Knows the rewards of one prompt and which responses are the same item. Must not know scorers, confidences or other
prompts. The main path enters at select_pair, once per prompt.
"""

import math
import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

FEWER_THAN_2_REWARDS = "fewer than 2 rewards"
ALL_REWARDS_EQUAL = "all rewards equal"
CHOSEN_EQUALS_REJECTED = "chosen equals rejected"
NO_LOWER_REWARD = "no response to reject has a lower reward"
SMALL_MARGIN = "margin below the threshold"
SKIP_REASONS = (FEWER_THAN_2_REWARDS, ALL_REWARDS_EQUAL, CHOSEN_EQUALS_REJECTED, NO_LOWER_REWARD, SMALL_MARGIN)


@dataclass(frozen=True, slots=True)
class PairChoice:
    """The pair of one prompt, or why it has none.

    Attributes:
        chosen_k: Index in the group of the response with the highest reward.
        rejected_k: Index in the group of the response with the lowest reward, or of one drawn among the lower ones.
        margin: Reward of chosen minus reward of rejected, above 0, in the unit of the rewards.
        skip_reason: One of SKIP_REASONS; then the other three are None.
    """

    chosen_k: int | None
    rejected_k: int | None
    margin: float | None
    skip_reason: str | None


def select_pair(
    rewards: Sequence[float | None],
    items: Sequence[Hashable],
    *,
    n_own: int | None = None,
    rng: random.Random | None = None,
    min_margin: float = 0.0,
) -> PairChoice:
    """The responses with the highest and the lowest reward; of equal rewards the lowest index.

    Args:
        rewards: Reward per response; a response with None is never picked.
        items: Identity of each response (its token ids).
        n_own: Where there are more responses than these, chosen is one of the first n_own and rejected one of the rest.
        rng: Draws rejected among the responses of lower reward than chosen, copies of chosen aside, instead of the
            lowest.
        min_margin: A pair with a smaller margin is none.

    Raises:
        ValueError: Lengths differ, or a reward is not finite.
    """
    present = _collect_present(rewards, items)
    split = len(rewards) if n_own is None else n_own
    own = [k for k in present if k < split]
    others = [k for k in present if k >= split] if split < len(rewards) else own
    if len(present) < 2 or not own or not others:
        return _skip(FEWER_THAN_2_REWARDS)
    chosen_k = max(own, key=present.__getitem__)  # max and min keep the first of equals
    lower = [k for k in others if present[k] < present[chosen_k]]
    if not lower:
        return _skip(ALL_REWARDS_EQUAL if others is own else NO_LOWER_REWARD)
    candidates = [min(lower, key=present.__getitem__)] if rng is None else lower
    candidates = [k for k in candidates if items[k] != items[chosen_k]]
    if not candidates:
        return _skip(CHOSEN_EQUALS_REJECTED)
    rejected_k = candidates[0] if rng is None else rng.choice(candidates)
    margin = present[chosen_k] - present[rejected_k]
    return _skip(SMALL_MARGIN) if margin < min_margin else PairChoice(chosen_k, rejected_k, margin, None)


def _collect_present(rewards: Sequence[float | None], items: Sequence[Hashable]) -> dict[int, float]:
    """Return the rewards that are there, by index."""
    present: dict[int, float] = {}
    for k, (reward, _) in enumerate(zip(rewards, items, strict=True)):
        if reward is None:
            continue
        if not math.isfinite(reward):
            raise ValueError(f"reward {reward} of response {k} is not finite; a missing reward is None")
        present[k] = reward
    return present


def _skip(reason: str) -> PairChoice:
    return PairChoice(None, None, None, reason)
