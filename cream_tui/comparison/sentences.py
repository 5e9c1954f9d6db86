"""What a comparison of arms says, in plain sentences chosen by the numbers.

Pure: tests in, sentences out. Better and worse are said only of a difference whose p-value, corrected for all that are
shown with it, is below 0.05 and whose interval leaves 0 out. What the data cannot tell is said to be just that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cream_tui.comparison.arms import ArmModels, Results, collect_models
from cream_tui.comparison.estimates import estimate_over_seeds
from cream_tui.comparison.paired import MCNEMAR, Comparison, Difference, compare_arms
from cream_tui.results import SIGNIFICANCE, adjust_by_holm
from cream_tui.units import format_p_value, format_percent, format_signed
from cream_tui.views.compare import SeedArm

_LEAST_SEEDS = 2
RUNS_NOT_METHODS = "These are runs, not methods: repeat them with other seeds before you conclude."


@dataclass(frozen=True, slots=True)
class _LabelChange:
    """How the share of right labels moved between two iterations, on the seeds that know both."""

    title: str
    first: str
    last: str
    start: float
    end: float
    mean: float
    low: float
    high: float
    p_value: float
    n_seeds: int


def tell_study(
    arms: Sequence[SeedArm], results: Results, arm_tests: Sequence[Comparison], model_tests: Sequence[Comparison]
) -> list[str]:
    """What the arms say against the baseline, over their own models, of their labels; and what they do not."""
    return [*tell_arms(arm_tests), *tell_models(model_tests), *tell_labels(arms, results), *tell_cautions(arms)]


def tell_seeds(arms: Sequence[SeedArm], results: Results, *, baseline: int) -> list[str]:
    """How arms of several seeds differ from the baseline; one sentence of caution where an arm has a single one."""
    base = arms[baseline]
    others = [arm for k, arm in enumerate(arms) if k != baseline and min(arm.n_seeds, base.n_seeds) >= _LEAST_SEEDS]
    return [*tell_arms(compare_arms([base, *others], results)), *tell_cautions(arms)]


def tell_cautions(arms: Sequence[SeedArm]) -> list[str]:
    """One sentence where an arm has a single seed."""
    return [RUNS_NOT_METHODS] if any(arm.n_seeds < _LEAST_SEEDS for arm in arms) else []


def tell_arms(comparisons: Sequence[Comparison]) -> list[str]:
    """A sentence for each arm; one more where none of several carries a claim."""
    told = [tell_comparison(found) for found in comparisons]
    tested = [found for found in comparisons if found.difference is not None]
    if len(tested) > 1 and not any(found.direction for found in tested):
        told.append(
            f"None of the {len(tested)} differences to {tested[0].second} carries a claim: the data does not say that "
            "any of these methods is better or worse."
        )
    return told


def tell_comparison(found: Comparison) -> str:
    """How an arm differs from the baseline."""
    difference = found.difference
    if difference is None:
        return f"{found.first} against {found.second}: {found.reason}."
    figures = (
        f"At {found.first_model} {found.first} has {format_percent(difference.first_mean)} % and {found.second} "
        f"{format_percent(difference.second_mean)} %: {_describe_difference(found)}"
    )
    if found.direction:
        return f"{figures}: {found.first} is {'better' if found.direction > 0 else 'worse'} than {found.second}."
    if difference.is_split:
        return f"{figures}: the tasks disagree, so neither is better."
    return f"{figures}: the data carries no claim of a difference."


def tell_models(comparisons: Sequence[Comparison]) -> list[str]:
    """Where each arm ended against its M1 and against its best model, if that carries a claim; then those without."""
    told: list[str] = []
    silent: list[str] = []
    titles = list(dict.fromkeys(found.first for found in comparisons))
    for title in titles:
        own = [found for found in comparisons if found.first == title]
        claims = [found for found in own if found.direction]
        told += [_tell_change(found) for found in claims]
        if not claims:
            silent.append(title)
    if silent:
        told.append(
            f"{', '.join(silent)}: the data carries no claim that the last model is better or worse than M1 or than "
            "the best one."
        )
    return told


def tell_labels(arms: Sequence[SeedArm], results: Results) -> list[str]:
    """Where the share of right labels went from the first to the last iteration, by Student's t over seeds."""
    found = [change for arm in arms if (change := _measure_label_change(collect_models(arm, results))) is not None]
    if not found:
        return []
    adjusted = adjust_by_holm([change.p_value for change in found])
    told = []
    for change, p_value in zip(found, adjusted, strict=True):
        is_claim = p_value < SIGNIFICANCE and not change.low <= 0.0 <= change.high
        verb = ("rose" if change.mean > 0 else "fell") if is_claim else "moved"
        tail = "" if is_claim else ": the data carries no claim of a change"
        told.append(
            f"{change.title}: the share of right labels {verb} from {format_percent(change.start)} % "
            f"({change.first}) to {format_percent(change.end)} % ({change.last}; {_points(change.mean)} points, 95 % "
            f"interval {_points(change.low)} to {_points(change.high)}, Student's t over {change.n_seeds} seeds, "
            f"{format_p_value(p_value)}{_describe_holm(len(found))}){tail}."
        )
    return told


def _measure_label_change(arm: ArmModels) -> _LabelChange | None:
    """None where fewer than two seeds know the labels of two iterations."""
    from engine.method.comparison import compute_paired_t

    shares = {
        name: {
            seed: value for seed, model in arm.find(name).items() if (value := model.get("label_accuracy")) is not None
        }
        for name in arm.names
    }
    known = [name for name, values in shares.items() if len(values) >= _LEAST_SEEDS]
    if len(known) < 2:
        return None
    first, last = shares[known[0]], shares[known[-1]]
    seeds = sorted(first.keys() & last.keys())
    differences = [last[seed] - first[seed] for seed in seeds]
    change, p_value = estimate_over_seeds(differences, bounds=(-1.0, 1.0)), compute_paired_t(differences)
    if change is None or change.low is None or change.high is None or p_value is None:
        return None
    start, end = (sum(found[seed] for seed in seeds) / len(seeds) for found in (first, last))
    return _LabelChange(
        arm.title, known[0], known[-1], start, end, change.mean, change.low, change.high, p_value, len(seeds)
    )


def _tell_change(found: Comparison) -> str:
    difference = found.difference
    assert difference is not None
    verb = "above" if found.direction > 0 else "below"
    earlier = (
        f"its {found.second_model}" if found.second_model == "M1" else f"the best before it, {found.second_model},"
    )
    return (
        f"{found.first}: {found.first_model} with {format_percent(difference.first_mean)} % is {verb} {earlier} with "
        f"{format_percent(difference.second_mean)} % ({_describe_difference(found)})."
    )


def _describe_difference(found: Comparison) -> str:
    difference = found.difference
    assert difference is not None and found.p_holm is not None
    return (
        f"{_points(difference.mean)} points, 95 % interval {_points(difference.low)} to {_points(difference.high)}, "
        f"{_describe_test(difference)}, {format_p_value(found.p_holm)}{_describe_holm(found.n_family)}"
    )


def _describe_test(difference: Difference) -> str:
    items = f"{difference.n_items} shared item{'s' if difference.n_items > 1 else ''}"
    if difference.method == MCNEMAR:
        return f"exact McNemar on {items} of {'one seed' if len(difference.seeds) == 1 else 'runs with other seeds'}"
    return f"paired bootstrap over {len(difference.seeds)} seeds and {items}"


def _describe_holm(n_tests: int) -> str:
    return f" by Holm over {n_tests} comparisons" if n_tests > 1 else ""


def _points(value: float) -> str:
    return format_signed(100 * value, 1)
