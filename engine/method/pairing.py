"""Which two responses of a prompt become its preference pair.

Knows the rewards of one prompt and which responses are the same item. Must not know scorers, confidences or other
prompts. The main path enters at select_pair, once per prompt.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

FEWER_THAN_2_REWARDS = "fewer than 2 rewards"
ALL_REWARDS_EQUAL = "all rewards equal"
CHOSEN_EQUALS_REJECTED = "chosen equals rejected"
SKIP_REASONS = (FEWER_THAN_2_REWARDS, ALL_REWARDS_EQUAL, CHOSEN_EQUALS_REJECTED)


@dataclass(frozen=True, slots=True)
class PairChoice:
    """The pair of one prompt, or why it has none.

    Attributes:
        chosen_k: Index in the group of the response with the highest reward.
        rejected_k: Index in the group of the response with the lowest reward.
        margin: Reward of chosen minus reward of rejected, above 0, in the unit of the rewards.
        skip_reason: One of SKIP_REASONS; then the other three are None.
    """

    chosen_k: int | None
    rejected_k: int | None
    margin: float | None
    skip_reason: str | None


def select_pair(rewards: Sequence[float | None], items: Sequence[Hashable]) -> PairChoice:
    """The responses with the highest and the lowest reward; of equal rewards the lowest index.

    Args:
        rewards: Reward per response; a response with None is never picked.
        items: Identity of each response (its token ids).

    Raises:
        ValueError: Lengths differ, or a reward is not finite.
    """
    present: list[tuple[int, float]] = []
    item_by_k: dict[int, Hashable] = {}
    for k, (reward, item) in enumerate(zip(rewards, items, strict=True)):
        if reward is None:
            continue
        if not math.isfinite(reward):
            raise ValueError(f"reward {reward} of response {k} is not finite; a missing reward is None")
        present.append((k, reward))
        item_by_k[k] = item
    if len(present) < 2:
        return PairChoice(None, None, None, FEWER_THAN_2_REWARDS)
    chosen_k, highest = max(present, key=lambda entry: entry[1])  # max and min keep the first of equals
    rejected_k, lowest = min(present, key=lambda entry: entry[1])
    if highest == lowest:
        return PairChoice(None, None, None, ALL_REWARDS_EQUAL)
    if item_by_k[chosen_k] == item_by_k[rejected_k]:
        return PairChoice(None, None, None, CHOSEN_EQUALS_REJECTED)
    return PairChoice(chosen_k, rejected_k, highest - lowest, None)
