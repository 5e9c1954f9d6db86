"""Which two responses of a prompt become its pair."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.method import pairing
from engine.method.pairing import PairChoice, select_pair


def skipped(reason):
    return PairChoice(None, None, None, reason)


def test_highest_is_chosen_and_lowest_rejected():
    assert select_pair([0.5, 3.0, -1.0, 2.0], "abcd") == PairChoice(1, 2, 4.0, None)


def test_equal_rewards_go_to_the_lowest_index():
    assert select_pair([1.0, 5.0, 0.0, 5.0, 0.0], "abcde") == PairChoice(1, 2, 5.0, None)


def test_missing_reward_is_never_picked():
    assert select_pair([None, 1.0, None, 2.0], "abcd") == PairChoice(3, 1, 1.0, None)


@pytest.mark.parametrize("rewards", [[], [1.0], [None, None], [None, 1.0, None]])
def test_fewer_than_two_rewards(rewards):
    assert select_pair(rewards, range(len(rewards))) == skipped(pairing.FEWER_THAN_2_REWARDS)


def test_all_rewards_equal_makes_no_pair():
    """With argmax and argmin of equal rewards both sides would be response 0."""
    assert select_pair([0.0, 0.0, 0.0], "abc") == skipped(pairing.ALL_REWARDS_EQUAL)
    assert select_pair([2.0, None, 2.0], "abc") == skipped(pairing.ALL_REWARDS_EQUAL)


def test_same_response_on_both_sides_makes_no_pair():
    """A scorer that is not a function of the response, such as a random one, can reward two copies differently."""
    assert select_pair([2.0, 1.0, 0.0], [(5, 6), (7,), (5, 6)]) == skipped(pairing.CHOSEN_EQUALS_REJECTED)


@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(-3, 3)), st.integers(0, 3)), max_size=7))
def test_a_pair_or_a_reason(group):
    rewards, items = [reward for reward, _ in group], [item for _, item in group]
    choice = select_pair(rewards, items)
    present = [reward for reward in rewards if reward is not None]
    if choice.skip_reason is not None:
        assert choice == skipped(choice.skip_reason)
        assert choice.skip_reason in pairing.SKIP_REASONS
        assert len(set(present)) < 2 or len(set(items)) < len(items)
    else:
        assert choice.chosen_k == rewards.index(max(present))
        assert choice.rejected_k == rewards.index(min(present))
        assert choice.margin == max(present) - min(present) > 0
        assert items[choice.chosen_k] != items[choice.rejected_k]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_reward_that_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="response 1 is not finite"):
        select_pair([1.0, bad, 2.0], "abc")


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        select_pair([1.0, 2.0], "a")
