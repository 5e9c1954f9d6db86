"""The taus of an iteration's prompts by value, beside what independent rankings would give.

Pure: counts in, bars out; no store, no Textual. The null is exact: each prompt counts with the distribution of tau for
its own number of distinct responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from db.run_series import TauCount
from engine.method.agreement import compute_tau_null

_MOST_BINS = 21


@dataclass(frozen=True, slots=True)
class TauBars:
    """Attributes:
    centres: Of the bins, evenly spaced from -1 to 1: the values that tau has for the largest number of responses.
    counts: Prompts in each bin.
    null: Probability of each bin if the rankings were independent; sums to 1.
    mean: Of tau; None without prompts.
    """

    centres: tuple[float, ...]
    counts: tuple[int, ...]
    null: tuple[float, ...]
    mean: float | None


def count_taus(counts: Sequence[TauCount]) -> TauBars:
    """The bars of these taus."""
    n_prompts = sum(count.n_prompts for count in counts)
    if not n_prompts:
        return TauBars((), (), (), None)
    n = max(count.n_distinct for count in counts)
    n_bins = min(n * (n - 1) // 2 + 1, _MOST_BINS)
    found, null = np.zeros(n_bins, np.int64), np.zeros(n_bins)
    by_size: dict[int, int] = {}
    for count in counts:
        found[_find_bin(count.tau, n_bins)] += count.n_prompts
        by_size[count.n_distinct] = by_size.get(count.n_distinct, 0) + count.n_prompts
    for size, n_of_size in by_size.items():
        for value, probability in zip(*compute_tau_null(size), strict=True):
            null[_find_bin(float(value), n_bins)] += probability * n_of_size / n_prompts
    mean = sum(count.tau * count.n_prompts for count in counts) / n_prompts
    return TauBars(tuple(np.linspace(-1.0, 1.0, n_bins).tolist()), tuple(found.tolist()), tuple(null.tolist()), mean)


def _find_bin(tau: float, n_bins: int) -> int:
    return int(np.clip(np.floor((tau + 1.0) / 2.0 * (n_bins - 1) + 0.5), 0, n_bins - 1))
