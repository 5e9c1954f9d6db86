"""Which two responses of a prompt become its pair."""

import math
import random
from collections import Counter

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


def test_a_random_rejected_is_drawn_evenly_among_the_lower_ones():
    """Of rewards 5 2 5 1 missing 3, responses 1, 3 and 5 can be rejected; of 3000 draws each has 1000 +- 26."""
    rewards, items = [5.0, 2.0, 5.0, 1.0, None, 3.0], "abcdef"
    choices = [select_pair(rewards, items, rng=random.Random(seed)) for seed in range(3000)]
    assert {choice.chosen_k for choice in choices} == {0}
    counts = Counter(choice.rejected_k for choice in choices)
    assert set(counts) == {1, 3, 5} and min(counts.values()) > 890
    assert all(choice.margin == 5.0 - rewards[choice.rejected_k] for choice in choices)


def test_a_random_rejected_is_never_a_copy_of_chosen():
    assert select_pair([2.0, 1.0, 0.0], [(5,), (5,), (7,)], rng=random.Random(0)) == PairChoice(0, 2, 2.0, None)
    copies = select_pair([2.0, 1.0], [(5,), (5,)], rng=random.Random(0))
    assert copies == skipped(pairing.CHOSEN_EQUALS_REJECTED)
    assert select_pair([1.0, 1.0], "ab", rng=random.Random(0)) == skipped(pairing.ALL_REWARDS_EQUAL)


def test_a_margin_below_the_threshold_makes_no_pair():
    assert select_pair([1.0, 3.0], "ab", min_margin=2.0) == PairChoice(1, 0, 2.0, None)
    assert select_pair([1.0, 3.0], "ab", min_margin=2.1) == skipped(pairing.SMALL_MARGIN)


def test_rejected_comes_from_the_other_model_where_there_is_one():
    """The first three are the policy's: chosen among 1 4 2, rejected among 9 0 3, whatever is lower or higher."""
    rewards, items = [1.0, 4.0, 2.0, 9.0, 0.0, 3.0], "abcdef"
    assert select_pair(rewards, items, n_own=3) == PairChoice(1, 4, 4.0, None)
    drawn = {select_pair(rewards, items, n_own=3, rng=random.Random(seed)).rejected_k for seed in range(50)}
    assert drawn == {4, 5}
    assert select_pair([1.0, 2.0, 2.0, 3.0], "abcd", n_own=2) == skipped(pairing.NO_LOWER_REWARD)
    assert select_pair([1.0, 2.0, None, None], "abcd", n_own=2) == skipped(pairing.FEWER_THAN_2_REWARDS)
    assert select_pair([1.0, 2.0], "ab", n_own=2) == PairChoice(1, 0, 1.0, None)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_reward_that_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="response 1 is not finite"):
        select_pair([1.0, bad, 2.0], "abc")


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        select_pair([1.0, 2.0], "a")
