"""How often 95 % intervals of a difference between two methods hold the truth, on simulated answers.

Student's t over seeds, percentiles of seeds and items drawn together, and what `compare` prints. Prints a Markdown
table. Takes about two minutes: python benchmarks/coverage.py
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.method.comparison import compute_paired_bootstrap
from engine.method.statistics import compute_mean_interval

N_STUDIES, N_PERCENTILE_STUDIES, N_ITEMS, N_RESAMPLES = 1500, 400, 200, 2000
ABILITY_SD, EASE, SHIFT = 1.5, 0.8, 0.3
# Standard deviations of what a seed adds to all answers, and of what a method changes at single items; log-odds.
CASES = [(seeds, items) for items in (0.3, 1.0) for seeds in (0.0, 0.4)]

Array = NDArray[np.float64]


def simulate(n_seeds: int, seed_sd: float, item_sd: float) -> tuple[Array, float]:
    """Differences, studies by seeds by items, and their expectation."""
    rng = np.random.default_rng(1)
    abilities = rng.normal(0, ABILITY_SD, (N_STUDIES, N_ITEMS))
    changed = abilities + SHIFT + rng.normal(0, item_sd, abilities.shape)

    def answer(items: Array) -> Array:
        seeds = rng.normal(0, seed_sd, (N_STUDIES, n_seeds, 1))
        shape = (N_STUDIES, n_seeds, N_ITEMS)
        return np.asarray(rng.random(shape) < 1 / (1 + np.exp(-(items[:, None] + EASE + seeds))), float)

    points, weights = np.polynomial.hermite_e.hermegauss(80)
    spreads = [(ABILITY_SD**2 + seed_sd**2 + item_sd**2) ** 0.5, (ABILITY_SD**2 + seed_sd**2) ** 0.5]
    means = [
        float(weights @ (1 / (1 + np.exp(-(EASE + shift + spread * points)))) / weights.sum())
        for shift, spread in zip((SHIFT, 0.0), spreads, strict=True)
    ]
    return answer(changed) - answer(abilities), means[0] - means[1]


def draw_percentiles(differences: Array, rng: np.random.Generator) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of means over drawn seeds and drawn items."""
    n_seeds, n_items = differences.shape
    seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), N_RESAMPLES) / n_seeds
    items = rng.multinomial(n_items, np.full(n_items, 1 / n_items), N_RESAMPLES) / n_items
    low, high = np.quantile(np.einsum("bs,bs->b", seeds, items @ differences.T), [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(2)
    print("| seeds | sd of seeds | sd of items | Student's t over seeds | percentiles | as compare does |")
    print("|---|---|---|---|---|---|")
    for n_seeds in (2, 3, 5, 10):
        for seed_sd, item_sd in CASES:
            studies, truth = simulate(n_seeds, seed_sd, item_sd)
            by_t = [compute_mean_interval(one.mean(axis=1).tolist()) for one in studies]
            drawn = [draw_percentiles(one, rng) for one in studies[:N_PERCENTILE_STUDIES]]
            ours = [(found.low, found.high) for one in studies for found in [compute_paired_bootstrap([one])]]
            shares = [np.mean([low <= truth <= high for low, high in ends]) for ends in (by_t, drawn, ours)]
            print(f"| {n_seeds} | {seed_sd} | {item_sd} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |")


if __name__ == "__main__":
    main()
