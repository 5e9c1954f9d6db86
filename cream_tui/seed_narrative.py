"""What seeds say of a difference between arms, in plain sentences.

Pure: results in, sentences out. A test on the items of two runs says whether these two models differ; only other seeds
say whether the methods do.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from cream_tui.results import ModelResult
from cream_tui.units import format_number, format_percent, format_signed
from cream_tui.views.compare import SeedArm, Spread, compute_spread

_LEVEL = 0.95
_LEAST_SEEDS = 2
RUNS_NOT_METHODS = "These are runs, not methods: repeat them with other seeds before you conclude."

Results = Mapping[str, Sequence[ModelResult]]


def tell_seeds(arms: Sequence[SeedArm], results: Results, *, baseline: int) -> list[str]:
    """How the arms differ over their seeds; one sentence of caution where an arm has a single one."""
    others = [arm for k, arm in enumerate(arms) if k != baseline and min(arm.n_seeds, arms[baseline].n_seeds) > 1]
    sentences = [tell_seed_difference(arm, arms[baseline], results, n_comparisons=len(others)) for arm in others]
    told = [sentence for sentence in sentences if sentence is not None]
    if any(arm.n_seeds < _LEAST_SEEDS for arm in arms):
        told.append(RUNS_NOT_METHODS)
    return told


def tell_seed_difference(arm: SeedArm, baseline: SeedArm, results: Results, *, n_comparisons: int = 1) -> str | None:
    """How two arms differ at the last model that all their runs evaluated; None without such a model.

    The interval is Student's, of the differences by seed, over seeds that both have, at 1 - 0.05 / ``n_comparisons``.
    """
    name = find_last_common_model([results.get(run_id, ()) for run_id in (*arm.run_ids, *baseline.run_ids)])
    if name is None:
        return None
    own, other = _average_by_seed(arm, results, name), _average_by_seed(baseline, results, name)
    spreads = [_format_spread(compute_spread(found.items())) for found in (own, other)]
    figures = f"At {name} {arm.title} has {spreads[0]} and {baseline.title} {spreads[1]}"
    shared = sorted(own.keys() & other.keys())
    if len(shared) < _LEAST_SEEDS:
        return f"{figures}; they share fewer than two seeds, so no interval is given."
    from engine.method.statistics import compute_mean_interval

    differences = [own[seed] - other[seed] for seed in shared]
    interval = compute_mean_interval(differences, 1 - (1 - _LEVEL) / n_comparisons)
    assert interval is not None
    low, high = (format_signed(100 * end, 1) for end in interval)
    claim = f"{arm.title} is better" if interval[0] > 0 else f"{baseline.title} is better"
    if interval[0] <= 0 <= interval[1]:
        claim = "the data carries no claim of a difference"
    level = "95 % interval" if n_comparisons == 1 else f"95 % intervals for {n_comparisons} comparisons"
    mean = format_signed(100 * statistics.fmean(differences), 1)
    return (
        f"{figures}; by seed the difference is {mean} points ({level}: {low} to {high}, {len(shared)} seeds): {claim}."
    )


def find_last_common_model(results: Sequence[Sequence[ModelResult]]) -> str | None:
    """The last model that every run has evaluated, M0 aside."""
    names = [{model.name for model in models if model.tasks and model.index > 0} for models in results]
    shared = set.intersection(*names) if names else set()
    return max(shared, key=lambda name: int(name[1:]), default=None)


def _average_by_seed(arm: SeedArm, results: Results, name: str) -> dict[int, float]:
    found: dict[int, list[float]] = {}
    for run in arm.runs:
        for model in results.get(run.run_id, ()):
            if model.name == name and model.accuracy is not None:
                found.setdefault(run.seed, []).append(model.accuracy)
    return {seed: statistics.fmean(values) for seed, values in found.items()}


def _format_spread(spread: Spread | None) -> str:
    if spread is None:
        return "nothing"
    std = "" if spread.std is None else f" ± {format_number(100 * spread.std, 1)}"
    return f"{format_percent(spread.mean)}{std} % ({spread.n} seed{'s' if spread.n > 1 else ''})"
