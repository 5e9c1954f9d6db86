"""Votes of a prompt's responses for a final answer, and the confidence that they give a pair.

Knows the answers of one prompt, each in one spelling. Must not know how an answer is found in a response, nor any other
prompt. The main path enters at compute_vote_shares, once per prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

EQUAL_VOTES = "equal votes"
MISSING_VOTES = "a side has no final answer"


def compute_vote_shares(answers: Sequence[Hashable | None], *, n_voters: int | None = None) -> list[float | None]:
    """Share of the voters that have the same final answer as each response, in [0, 1]; None without an answer.

    Voters without an answer vote for nothing and stay in the denominator.

    Args:
        answers: Final answer of each response; equal ones are the same.
        n_voters: The first n responses vote, the others are only voted on; None: all vote.

    Source: Prasad et al. 2024, self-consistency preference optimisation (ScPO), arXiv 2411.04109.
    """
    voters = answers if n_voters is None else answers[:n_voters]
    votes = Counter(answer for answer in voters if answer is not None)
    return [None if answer is None else votes[answer] / len(voters) for answer in answers]


def compute_vote_confidence(chosen: float, rejected: float) -> float:
    """C = votes(chosen) / (votes(chosen) + votes(rejected)), in [0, 1].

    Args:
        chosen: Votes, or their share, of the chosen response's answer; not below 0.
        rejected: The same of the rejected response's.

    Raises:
        ValueError: A number is below 0, or both are 0.
    """
    if not (chosen >= 0 and rejected >= 0 and chosen + rejected > 0):
        raise ValueError(f"votes must not be negative, nor both be 0, got {chosen} and {rejected}")
    return chosen / (chosen + rejected)
