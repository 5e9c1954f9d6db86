"""Votes for a final answer, and the confidence of a pair that they give."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.method.voting import compute_vote_confidence, compute_vote_shares


def test_a_response_has_the_share_of_those_with_its_answer() -> None:
    """Of five responses two say 7, one says 8, one nothing and one 9."""
    assert compute_vote_shares(["7", "8", None, "7", "9"]) == [0.4, 0.2, None, 0.4, 0.2]
    assert compute_vote_shares([None, None]) == [None, None]
    assert compute_vote_shares([]) == []


def test_responses_of_another_model_are_voted_on_and_do_not_vote() -> None:
    """Three voters: 7 has two votes, 8 one; the others say 8 and 5."""
    assert compute_vote_shares(["7", "8", "7", "8", "5"], n_voters=3) == [2 / 3, 1 / 3, 2 / 3, 1 / 3, 0.0]


@given(st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=1, max_size=9))
def test_the_distinct_answers_shares_sum_to_the_share_of_those_who_answered(answers: list[int | None]) -> None:
    shares = compute_vote_shares(answers)
    by_answer = {answer: share for answer, share in zip(answers, shares, strict=True) if share is not None}
    assert sum(by_answer.values()) == pytest.approx(sum(answer is not None for answer in answers) / len(answers))
    assert all(share == pytest.approx(answers.count(answer) / len(answers)) for answer, share in by_answer.items())


def test_confidence_is_the_chosen_sides_part_of_both_sides_votes() -> None:
    """3 of 5 against 1 of 5 is 3/4, whether votes or shares are given; against an answer nobody gave it is 1."""
    assert compute_vote_confidence(3, 1) == 0.75
    assert compute_vote_confidence(0.6, 0.2) == pytest.approx(0.75)
    assert compute_vote_confidence(0.4, 0.0) == 1.0
    for chosen, rejected in ((0, 0), (-1, 2), (2, -1), (float("nan"), 1)):
        with pytest.raises(ValueError, match="votes must not be negative"):
            compute_vote_confidence(chosen, rejected)
