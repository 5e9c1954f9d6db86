"""Confidence of every prompt from the agreements of an iteration."""

import math
from statistics import correlation

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.method.confidence import (
    C_MAPS,
    Confidence,
    UndefinedConfidence,
    compute_confidences,
    permute_confidences,
)

RATES = {"a": 0.9, "b": 0.3, "c": None, "d": 0.6}  # mean of the three defined: 1.8 / 3 = 0.6

rates_by_prompt = st.dictionaries(
    st.sampled_from("abcdefgh"), st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=8
).filter(lambda rates: any(rate is not None for rate in rates.values()))


def test_one_and_fixed_give_every_prompt_the_value():
    assert compute_confidences(RATES, kind="one").by_prompt == dict.fromkeys(RATES, 1.0)
    assert compute_confidences(RATES, kind="fixed", value=0.75).by_prompt == dict.fromkeys(RATES, 0.75)


def test_mean_leaves_undefined_prompts_out_and_counts_them():
    result = compute_confidences(RATES, kind="mean")
    assert (result.mean, result.n_defined, result.n_undefined) == (pytest.approx(0.6), 3, 1)
    assert result.by_prompt == dict.fromkeys(RATES, pytest.approx(0.6))


def test_per_prompt_keeps_each_rate_and_gives_undefined_prompts_none():
    assert compute_confidences(RATES, kind="per_prompt").by_prompt == RATES


def test_shrinkage_moves_towards_the_mean():
    """Half way from 0.9 to the mean 0.6 is 0.75, from 0.3 it is 0.45; the mean itself stays."""
    result = compute_confidences(RATES, kind="per_prompt", shrinkage=0.5).by_prompt
    assert result == {"a": pytest.approx(0.75), "b": pytest.approx(0.45), "c": None, "d": pytest.approx(0.6)}


@given(rates_by_prompt, st.sampled_from(C_MAPS))
def test_full_shrinkage_is_the_mean_and_none_is_the_own_rate(rates, c_map):
    means = compute_confidences(rates, kind="mean", c_map=c_map).by_prompt
    shrunk = compute_confidences(rates, kind="per_prompt", shrinkage=1.0, c_map=c_map).by_prompt
    assert shrunk == {key: None if rate is None else means[key] for key, rate in rates.items()}
    own = compute_confidences(rates, kind="per_prompt", shrinkage=0.0)
    assert own.by_prompt == rates
    assert list(own.by_prompt) == list(rates)


@pytest.mark.parametrize(
    ("rate", "exact", "clamp"),
    [
        (0.0, 2 / 3, 0.5),  # tau -1: 4 / 6
        (0.25, 0.7, 0.5),  # tau -1/2: 3.5 / 5
        (0.5, 0.75, 0.5),  # tau 0: 3 / 4
        (0.75, 2.5 / 3, 0.75),  # tau 1/2: 2.5 / 3
        (1.0, 1.0, 1.0),  # tau 1: 2 / 2
    ],
)
def test_maps(rate, exact, clamp):
    """(3 - tau) / (2 (2 - tau)) with tau = 2 rate - 1, and the larger of rate and 1/2."""
    for c_map, expected in (("linear", rate), ("exact", exact), ("clamp", clamp)):
        for kind in ("mean", "per_prompt"):
            assert compute_confidences({"a": rate}, kind=kind, c_map=c_map).by_prompt["a"] == pytest.approx(expected)


@given(st.floats(0, 1))
def test_exact_map_is_the_confidence_of_its_regulariser_weight(rate):
    """C_l = (1 + l) / (1 + 2 l) at the weight l = (1 - tau) / 2 = 1 - rate."""
    weight = 1 - rate
    c = compute_confidences({"a": rate}, kind="per_prompt", c_map="exact").by_prompt["a"]
    assert c == pytest.approx((1 + weight) / (1 + 2 * weight))


def test_map_applies_to_the_mean_not_to_each_rate():
    """Rates 0 and 1 have mean 1/2, tau 0: exact gives 3/4, where the mean of 2/3 and 1 would be 5/6."""
    assert compute_confidences({"a": 0.0, "b": 1.0}, kind="mean", c_map="exact").by_prompt["a"] == pytest.approx(0.75)
    clamped = compute_confidences({"a": 0.2, "b": 1.0}, kind="mean", c_map="clamp")
    assert clamped.by_prompt["a"] == pytest.approx(0.6)
    assert clamped.mean == pytest.approx(0.6)


def test_map_applies_after_shrinkage():
    """Rate 0 shrunk half way to the mean 1/2 is 1/4, tau -1/2: 3.5 / 5."""
    result = compute_confidences({"a": 0.0, "b": 1.0}, kind="per_prompt", shrinkage=0.5, c_map="exact")
    assert result.by_prompt["a"] == pytest.approx(0.7)


def test_fixed_value_is_not_mapped():
    assert compute_confidences({"a": 0.9}, kind="fixed", value=0.0, c_map="clamp").by_prompt == {"a": 0.0}


@given(rates_by_prompt, st.data())
def test_dropping_a_prompt_leaves_all_others_unchanged(rates, data):
    dropped = data.draw(st.sampled_from(sorted(rates)))
    rest = {key: rate for key, rate in rates.items() if key != dropped}
    before = compute_confidences(rates, kind="per_prompt").by_prompt
    if any(rate is not None for rate in rest.values()):
        after = compute_confidences(rest, kind="per_prompt").by_prompt
        assert after == {key: before[key] for key in rest}


@given(rates_by_prompt, st.randoms(use_true_random=False), st.floats(0, 1), st.sampled_from(C_MAPS))
def test_independent_of_the_order_of_prompts(rates, random, shrinkage, c_map):
    keys = list(rates)
    random.shuffle(keys)
    shuffled = {key: rates[key] for key in keys}
    for kind in ("mean", "per_prompt"):
        options = {"kind": kind, "shrinkage": shrinkage, "c_map": c_map}
        assert compute_confidences(shuffled, **options) == compute_confidences(rates, **options)


@given(rates_by_prompt, st.floats(0, 1), st.sampled_from(C_MAPS))
def test_confidence_stays_in_its_range(rates, shrinkage, c_map):
    result = compute_confidences(rates, kind="per_prompt", shrinkage=shrinkage, c_map=c_map)
    lowest = {"linear": 0.0, "exact": 2 / 3 - 1e-12, "clamp": 0.5}[c_map]
    assert all(c is None or lowest <= c <= 1 for c in result.by_prompt.values())


@given(rates_by_prompt, st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_permuting_deals_the_same_values_to_the_same_prompts_anew(rates, seed, random):
    before = compute_confidences(rates, kind="per_prompt")
    after = permute_confidences(before, seed=seed)
    assert list(after.by_prompt) == list(rates)
    assert {key for key, c in after.by_prompt.items() if c is None} == {key for key in rates if rates[key] is None}
    assert sorted(c for c in after.by_prompt.values() if c is not None) == sorted(filter_defined(rates))
    assert (after.mean, after.n_defined, after.n_undefined) == (before.mean, before.n_defined, before.n_undefined)
    keys = list(rates)
    random.shuffle(keys)
    shuffled = compute_confidences({key: rates[key] for key in keys}, kind="per_prompt")
    assert permute_confidences(shuffled, seed=seed) == after


def filter_defined(rates):
    return [rate for rate in rates.values() if rate is not None]


def test_permuting_forgets_which_prompt_a_value_belonged_to():
    """Over 400 prompts the correlation of two random orders has standard deviation 1/20."""
    before = compute_confidences({f"p{i}": i / 400 for i in range(400)}, kind="per_prompt")
    after = [permute_confidences(before, seed=seed).by_prompt for seed in (0, 1)]
    assert after[0] != after[1]
    for by_prompt in after:
        assert abs(correlation(list(before.by_prompt.values()), list(by_prompt.values()))) < 0.2


def test_nothing_defined():
    rates = {"a": None, "b": None}
    assert compute_confidences(rates, kind="one") == Confidence({"a": 1.0, "b": 1.0}, None, 0, 2)
    for kind in ("mean", "per_prompt"):
        with pytest.raises(UndefinedConfidence, match="none of 2 prompts"):
            compute_confidences(rates, kind=kind)
        with pytest.raises(UndefinedConfidence, match="none of 0 prompts"):
            compute_confidences({}, kind=kind)


@pytest.mark.parametrize("bad", [-0.01, 1.01, math.nan])
def test_numbers_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match="rate of prompt 'a'"):
        compute_confidences({"a": bad}, kind="one")
    with pytest.raises(ValueError, match="fixed confidence"):
        compute_confidences({"a": 1.0}, kind="fixed", value=bad)
    with pytest.raises(ValueError, match="shrinkage"):
        compute_confidences({"a": 1.0}, kind="per_prompt", shrinkage=bad)


def test_unknown_names_and_a_missing_value_are_refused():
    with pytest.raises(ValueError, match="unknown kind of confidence 'average'"):
        compute_confidences(RATES, kind="average")
    with pytest.raises(ValueError, match="unknown c_map 'square'"):
        compute_confidences(RATES, kind="one", c_map="square")
    with pytest.raises(ValueError, match="needs a value"):
        compute_confidences(RATES, kind="fixed")
