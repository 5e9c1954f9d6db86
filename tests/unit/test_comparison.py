"""Paired differences over seeds and items: numbers derived by hand, scipy and plain resampling as oracles."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from engine.method.comparison import compute_paired_bootstrap, compute_paired_t
from engine.method.statistics import compute_t_p_value


@pytest.mark.parametrize("n_degrees", [1, 2, 3, 4, 9, 40])
@pytest.mark.parametrize("t", [0.0, 0.3, 2.0, 7.5])
def test_t_p_value_equals_scipy(t: float, n_degrees: int) -> None:
    assert compute_t_p_value(t, n_degrees) == pytest.approx(2 * stats.t.sf(t, n_degrees), abs=1e-12)
    assert compute_t_p_value(-t, n_degrees) == compute_t_p_value(t, n_degrees)


def test_paired_t_equals_scipy() -> None:
    first, second = np.array([0.71, 0.68, 0.74, 0.70]), np.array([0.69, 0.69, 0.70, 0.66])
    assert compute_paired_t((first - second).tolist()) == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert compute_paired_t([0.1]) is None


def test_items_that_agree_leave_the_paired_t_over_seeds() -> None:
    """Every item differs alike within a seed: no item adds variance, and the interval is Student's over seeds."""
    by_seed = np.array([0.0, 1.0, 0.0, 1.0, 1.0])
    found = compute_paired_bootstrap([np.tile(by_seed[:, None], (1, 7))])
    expected = stats.ttest_1samp(by_seed, 0)
    interval = expected.confidence_interval(0.95)
    assert (found.mean, found.n_seeds, found.n_items) == (0.6, 5, 7)
    assert found.p_value == found.seed_p_value == pytest.approx(expected.pvalue)
    assert found.low == pytest.approx(interval.low) and found.high == min(1.0, interval.high)


def test_seeds_that_agree_leave_the_spread_of_the_items() -> None:
    """Differences 1 0 0 -1 1 0 1 0 in both seeds: mean 1/4, variance 3.5/7 = 1/2, over 8 items (1/4)^2."""
    found = compute_paired_bootstrap([np.tile([1.0, 0, 0, -1, 1, 0, 1, 0], (2, 1))])
    assert found.standard_error == pytest.approx(0.25)
    assert found.p_value == pytest.approx(2 * stats.t.sf(1.0, 1))


def test_one_seed_draws_items_alone() -> None:
    found = compute_paired_bootstrap([np.array([1.0, 0, 0, -1, 1, 0, 1, 0])])
    assert (found.n_seeds, found.seed_p_value) == (1, None)
    assert (found.low, found.high) == pytest.approx((0.25 - 1.959964 * 0.25, 0.25 + 1.959964 * 0.25))
    assert found.p_value == pytest.approx(2 * stats.norm.sf(1.0))


def test_each_part_of_the_variance_equals_10000_resamples() -> None:
    """Seeds drawn (S - 1 of S), items drawn, less their shared noise: the closed form is what resampling tends to."""
    rng = np.random.default_rng(5)
    n_seeds, n_items, n_resamples = 4, 60, 10_000
    differences = np.sign(rng.normal(0.2, 1, n_items) + rng.normal(0, 0.7, (n_seeds, 1)) + rng.normal(0, 1, (4, 60)))
    by_seed, by_item = differences.mean(axis=1), differences.mean(axis=0)
    seeds = by_seed[rng.integers(0, n_seeds, (n_resamples, n_seeds - 1))].mean(axis=1).var()
    items = by_item[rng.integers(0, n_items, (n_resamples, n_items))].mean(axis=1).var()
    rest = differences - by_item - by_seed[:, None] + differences.mean()
    noise = np.array([rng.choice(rest.ravel(), rest.size).mean() for _ in range(n_resamples)]).var()
    # The bootstrap of single answers loses the degrees of freedom that its rows and columns took.
    noise *= rest.size / ((n_seeds - 1) * (n_items - 1))
    assert compute_paired_bootstrap([differences]).standard_error ** 2 == pytest.approx(seeds + items - noise, rel=0.04)


def test_a_task_counts_as_a_task_whatever_its_size() -> None:
    """Task means 1/2 and 0: mean 1/4. One seed: variances (1/3)/4 and 0, over two tasks 1/4 of their sum."""
    found = compute_paired_bootstrap([np.array([[1.0, 0.0, 1.0, 0.0]]), np.zeros((1, 400))])
    assert (found.mean, found.n_items) == (0.25, 404)
    assert found.standard_error == pytest.approx((1 / 12 / 4) ** 0.5)


def test_seeds_that_gain_alike_by_chance_are_no_certainty() -> None:
    """Two seeds gain one item of 60 each, another one: means of items are 1/2, 1/2 and 58 zeros."""
    found = compute_paired_bootstrap([np.eye(2, 60)])
    assert found.mean == pytest.approx(1 / 60)
    assert found.standard_error == pytest.approx(np.std([0.5, 0.5, *[0.0] * 58], ddof=1) / 60**0.5)
    assert found.low < 0 < found.high
    assert compute_paired_bootstrap([np.eye(6, 60)]).p_value > 0.01


def test_without_any_spread_seeds_are_counted_by_sign() -> None:
    same = compute_paired_bootstrap([np.zeros((3, 5))])
    assert (same.p_value, same.low, same.high) == (1.0, 0.0, 0.0)
    always = compute_paired_bootstrap([np.ones((3, 5))])
    assert (always.p_value, always.low, always.high) == (0.25, 1.0, 1.0)  # three of three signs: 2 / 2^3


@pytest.mark.parametrize("arrays", [[], [np.zeros((2, 0))], [np.zeros((2, 3)), np.zeros((3, 3))]])
def test_what_is_no_table_of_outcomes_is_refused(arrays: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="same seeds"):
        compute_paired_bootstrap(arrays)


@pytest.mark.parametrize(
    ("n_seeds", "seed_sd", "item_sd"), [(2, 0.4, 0.3), (3, 0.1, 1.0), (5, 0.0, 0.3), (5, 0.4, 0.3), (10, 0.0, 1.0)]
)
def test_intervals_hold_the_truth_about_as_often_as_they_say(n_seeds: int, seed_sd: float, item_sd: float) -> None:
    """500 simulated comparisons of answers with seed, item and single noise; 95 % +- 3 standard errors is 92 % to 98 %.

    Items that matter more than seeds make Student's t with few degrees of freedom cautious, never bold.
    """
    rng = np.random.default_rng(11)
    n_items, n_studies, shift = 150, 500, 0.3

    def answer(items: np.ndarray, size: int) -> np.ndarray:
        seeds = rng.normal(0, seed_sd, (n_studies, size, 1))
        return rng.random((n_studies, size, items.shape[-1])) < 1 / (1 + np.exp(-(items[:, None] + 0.8 + seeds)))

    abilities = rng.normal(0, 1.5, (n_studies, n_items))
    changed = abilities + shift + rng.normal(0, item_sd, abilities.shape)
    differences = answer(changed, n_seeds).astype(float) - answer(abilities, n_seeds)
    truth = _compute_true_difference(seed_sd, item_sd, shift)
    found = [compute_paired_bootstrap([one]) for one in differences]
    coverage = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.92 <= coverage <= 0.995


def _compute_true_difference(seed_sd: float, item_sd: float, shift: float) -> float:
    """E of a logistic of normals, by Gauss-Hermite quadrature."""
    points, weights = np.polynomial.hermite_e.hermegauss(60)
    spreads = [(1.5**2 + seed_sd**2 + item_sd**2) ** 0.5, (1.5**2 + seed_sd**2) ** 0.5]
    means = [
        float(weights @ (1 / (1 + np.exp(-(0.8 + move + spread * points))))) / weights.sum()
        for move, spread in zip((shift, 0.0), spreads, strict=True)
    ]
    return means[0] - means[1]
