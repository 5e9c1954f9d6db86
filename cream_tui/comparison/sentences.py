"""What a comparison of arms says, in plain sentences chosen by the numbers.

Pure: tests in, sentences out. Better and worse are said only of a difference whose p-value, corrected for all that are
shown with it, is below 0.05 and whose interval leaves 0 out. What the data cannot tell is said to be just that. Claims
come first; where more than two arms say the same, they share a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from cream_tui.comparison.arms import ArmModels, Results, collect_models
from cream_tui.comparison.estimates import estimate_over_seeds
from cream_tui.comparison.paired import MCNEMAR, Comparison, Difference, compare_arms
from cream_tui.results import SIGNIFICANCE, adjust_by_holm, find_last_evaluated
from cream_tui.units import format_p_value, format_percent, format_quantity, format_seeds, format_signed
from cream_tui.views.compare import SeedArm
from db.studies import StudyArm

_LEAST_SEEDS = 2
_MOST_ALONE = 2  # so many arms that say the same have a sentence each
_MOST_TOLD = 8  # so many arms of which nothing is known have their points in it
_ONCE_CORRECTED = ": no claim once corrected, though this interval leaves 0 out"
_ONCE_CORRECTED_EACH = ": no claim once corrected, though each interval leaves 0 out"
_Found = TypeVar("_Found")
_ONE_SEED_EACH = " with this one seed of each, which says nothing about the methods"
RUNS_NOT_METHODS = "These are runs, not methods: repeat them with other seeds before you conclude."
RUN_NOT_METHOD = "one seed, which speaks of runs, not of methods: repeat it with other seeds before you conclude."


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
    n_family: int = 1

    @property
    def is_claim(self) -> bool:
        return self.p_value < SIGNIFICANCE and not self.low <= 0.0 <= self.high

    @property
    def verb(self) -> str:
        return ("rose" if self.mean > 0 else "fell") if self.is_claim else "moved"


def tell_study(
    arms: Sequence[SeedArm], results: Results, arm_tests: Sequence[Comparison], model_tests: Sequence[Comparison]
) -> list[str]:
    """What the arms say against the baseline, over their own models and of their labels, what failed, and what not."""
    return [
        *tell_arms(arm_tests),
        *tell_models(model_tests),
        *tell_labels(arms, results),
        *tell_failures(arms, results),
        *tell_cautions(arms),
    ]


def tell_seeds(arms: Sequence[SeedArm], results: Results, *, baseline: int) -> list[str]:
    """How arms of several seeds differ from the baseline."""
    base = arms[baseline]
    others = [arm for k, arm in enumerate(arms) if k != baseline and min(arm.n_seeds, base.n_seeds) >= _LEAST_SEEDS]
    return tell_arms(compare_arms([base, *others], results))


def tell_failures(arms: Sequence[SeedArm], results: Results) -> list[str]:
    """One sentence on the runs that failed, and how far each came."""
    told = []
    for arm in arms:
        seeds: dict[str, list[int]] = {}
        for run in arm.runs:
            if run.state == "failed":
                last = find_last_evaluated(results.get(run.run_id, ()))
                seeds.setdefault("before any evaluation" if last is None else f"after {last.name}", []).append(run.seed)
        told += [
            f"{arm.title} {where} ({'seed' if len(own) == 1 else 'seeds'} {format_seeds(own)})"
            for where, own in seeds.items()
        ]
    return [f"Failed: {', '.join(told)}."] if told else []


def tell_cautions(arms: Sequence[SeedArm]) -> list[str]:
    """One sentence where arms have a single seed."""
    single = [arm.title for arm in arms if arm.n_seeds < _LEAST_SEEDS]
    if len(single) == len(arms):
        return [RUNS_NOT_METHODS]
    return [f"{', '.join(single)}: {RUN_NOT_METHOD}"] if single else []


def tell_missing(missing: Sequence[StudyArm], *, lacking_baseline: str | None, first: str) -> list[str]:
    """What studies ask for and have not: a line for each run that could not start, one for all that wait.

    Args:
        lacking_baseline: The arm that a study compares with, where it has no run yet.
        first: The arm that the others are compared with instead.
    """
    told = []
    waiting: dict[str, int] = {}
    for part in missing:
        if part.error is None:
            waiting[part.arm] = waiting.get(part.arm, 0) + 1
        else:
            told.append(f"{part.arm}, seed {part.seed}: {' '.join(part.error.splitlines())}")
    if waiting:
        arms = ", ".join(f"{arm} ({n})" for arm, n in waiting.items())
        told.append(f"not begun yet: {format_quantity(sum(waiting.values()), 'run')}: {arms}")
    if lacking_baseline is not None:
        told.append(f"the baseline {lacking_baseline} has no run yet: arms are compared with {first}")
    return told


def tell_arms(comparisons: Sequence[Comparison]) -> list[str]:
    """Arms that differ from the baseline, then those without a claim; one sentence more where none has any.

    Of those without, the ones that would have a claim without the correction come first.
    """
    silent = [found for found in comparisons if _is_silent(found)]
    claims = [found for found in comparisons if found.direction]
    told = _tell_alike(
        claims,
        tell_comparison,
        _tell_loud_arms,
        key=lambda found: (found.direction, found.first_model, found.beside, _name_test(found)),
    )
    told += [tell_comparison(found) for found in comparisons if not found.direction and found not in silent]
    for alike in (_sort_hints(silent), [found for found in silent if not found.is_hint]):
        told += _tell_alike(
            alike,
            tell_comparison,
            _tell_silent_arms,
            key=lambda found: (found.first_model, found.beside, _name_test(found)),
        )
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
    if difference.is_none:
        return (
            f"At {found.first_model} {found.first} and {found.second} are right on the same of the "
            f"{difference.n_items} items, {format_percent(difference.first_mean)} %: nothing tells them apart."
        )
    figures = (
        f"At {found.first_model} {found.first} has {format_percent(difference.first_mean)} % and {found.second} "
        f"{format_percent(difference.second_mean)} %: {_describe_difference(found)}"
    )
    if found.direction:
        side = f"{found.first} is {'better' if found.direction > 0 else 'worse'} than {_name_second(found)}"
        return f"{figures}: {side}{_ONE_SEED_EACH if difference.method == MCNEMAR else ''}."
    if difference.is_split:
        return f"{figures}: the tasks disagree, so neither is better."
    tail = f" to {_name_second(found)}" if found.beside else ""
    if found.is_hint:
        return f"{figures}: no claim of a difference{tail} once corrected, though this interval leaves 0 out."
    return f"{figures}: the data carries no claim of a difference{tail}."


def tell_models(comparisons: Sequence[Comparison]) -> list[str]:
    """Where each arm ended against its M1 and against its best model, if that carries a claim; then those without.

    Of an arm without, the greatest change is told that would be a claim without the correction, else that since M1.
    """
    claims = [found for found in comparisons if found.direction]
    told = _tell_alike(
        claims,
        _tell_change,
        _tell_changes,
        key=lambda found: (found.direction, found.first_model, found.second_model, _name_test(found)),
    )
    loud = {found.first for found in claims}
    hints: dict[str, Comparison] = {}
    for found in _sort_hints([found for found in comparisons if found.first not in loud]):
        hints.setdefault(found.first, found)
    told += _tell_alike(
        list(hints.values()),
        _tell_change,
        _tell_changes,
        key=lambda found: (
            found.difference is not None and found.difference.mean > 0,
            found.first_model,
            found.second_model,
            _name_test(found),
        ),
    )
    silent: dict[str, Comparison] = {}
    for found in comparisons:
        if found.first not in loud and found.first not in hints:
            silent.setdefault(found.first, found)
    return [*told, _tell_unchanged(list(silent.values()))] if silent else told


def tell_labels(arms: Sequence[SeedArm], results: Results) -> list[str]:
    """Where the share of right labels went from the first to the last iteration, by Student's t over seeds."""
    found = [change for arm in arms if (change := _measure_label_change(collect_models(arm, results))) is not None]
    if not found:
        return []
    adjusted = adjust_by_holm([change.p_value for change in found])
    corrected = [replace(change, p_value=p, n_family=len(found)) for change, p in zip(found, adjusted, strict=True)]
    return _tell_alike(
        sorted(corrected, key=lambda change: not change.is_claim),
        _tell_label_change,
        _tell_label_changes,
        key=lambda change: (change.verb, change.first, change.last),
    )


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


def _tell_alike(
    found: Sequence[_Found],
    tell_one: Callable[[_Found], str],
    tell_many: Callable[[Sequence[_Found]], str],
    *,
    key: Callable[[_Found], Hashable],
) -> list[str]:
    """A sentence for each, or one for all that have the same key where those are many."""
    groups: dict[Hashable, list[_Found]] = {}
    for one in found:
        groups.setdefault(key(one), []).append(one)
    told = []
    for alike in groups.values():
        told += [tell_many(alike)] if len(alike) > _MOST_ALONE else [tell_one(one) for one in alike]
    return told


def _sort_hints(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Those that the correction left without a claim, the greatest difference first."""
    found = [(abs(one.difference.mean), one) for one in comparisons if one.is_hint and one.difference is not None]
    return [one for _, one in sorted(found, key=lambda pair: -pair[0])]


def _is_silent(found: Comparison) -> bool:
    return found.difference is not None and not found.direction and not found.difference.is_split


def _tell_loud_arms(comparisons: Sequence[Comparison]) -> str:
    one = comparisons[0]
    assert one.difference is not None
    side = "better" if one.direction > 0 else "worse"
    one_seed = _ONE_SEED_EACH if one.difference.method == MCNEMAR else ""
    return (
        f"At {one.first_model} {side} than {_name_second(one)}{one_seed}: {_list_differences(comparisons)} "
        f"({_describe_tests(comparisons, max)})."
    )


def _tell_silent_arms(comparisons: Sequence[Comparison]) -> str:
    one = comparisons[0]
    second = f"{_name_second(one)}," if one.beside else one.second
    if one.is_hint:
        what = f"no claim of a difference to {second} once corrected, though each interval leaves 0 out, for"
    else:
        what = f"the data carries no claim of a difference to {second} for"
    return f"At {one.first_model} {what} {_list_unknown(comparisons)} ({_describe_tests(comparisons, min)})."


def _tell_changes(comparisons: Sequence[Comparison]) -> str:
    one = comparisons[0]
    extreme, tail = (min, _ONCE_CORRECTED_EACH) if one.is_hint else (max, "")
    return (
        f"{one.first_model} is {_name_side(one)} {_name_earlier(one)} in {_list_differences(comparisons)} "
        f"({_describe_tests(comparisons, extreme)}){tail}."
    )


def _tell_unchanged(comparisons: Sequence[Comparison]) -> str:
    """One sentence on all arms of which it is not known whether they changed, with a test of each."""
    tested = [found for found in comparisons if found.difference is not None]
    names = ", ".join(found.first for found in comparisons if found.difference is None)
    firsts = {found.second_model for found in tested}
    points = _list_unknown(tested) + (
        f" since {firsts.pop()}" if len(tested) <= _MOST_TOLD and len(firsts) == 1 else ""
    )
    return (
        f"{', '.join(filter(None, [points, names]))}: the data carries no claim that the last model is better or worse "
        "than M1 or than the best one, which does not say that nothing changed: the intervals tell how much may have."
    )


def _list_unknown(comparisons: Sequence[Comparison]) -> str:
    """Arms with their points, or where those whose interval holds 0 are many, their names alone."""
    if len(comparisons) <= _MOST_TOLD or comparisons[0].is_hint:
        return _list_differences(comparisons)
    return ", ".join(found.first for found in comparisons)


def _list_differences(comparisons: Sequence[Comparison]) -> str:
    """Each arm with its points and their interval; what they are is said at the first."""
    told: list[str] = []
    for found in comparisons:
        difference = found.difference
        assert difference is not None
        unit, interval = (" points", "95 % interval ") if not told else ("", "")
        told.append(
            f"{found.first} {_points(difference.mean)}{unit} ({interval}{_points(difference.low)} to "
            f"{_points(difference.high)})"
        )
    return ", ".join(told)


def _describe_tests(comparisons: Sequence[Comparison], extreme: Callable[[Iterable[float]], float]) -> str:
    """Their test, and the p-value that bounds all of them: the least, or the greatest where each carries a claim."""
    word = "least" if extreme is min else "greatest"
    differences = [found.difference for found in comparisons if found.difference is not None]
    p_value = extreme(found.p_holm for found in comparisons if found.p_holm is not None)
    return f"{_describe_test(*differences)}; {word} {format_p_value(p_value)}{_describe_holm(comparisons[0].n_family)}"


def _tell_label_change(change: _LabelChange) -> str:
    tail = "" if change.is_claim else ": the data carries no claim of a change"
    return (
        f"{change.title}: the share of right labels {change.verb} from {format_percent(change.start)} % "
        f"({change.first}) to {format_percent(change.end)} % ({change.last}; {_points(change.mean)} points, 95 % "
        f"interval {_points(change.low)} to {_points(change.high)}, Student's t over {change.n_seeds} seeds, "
        f"{format_p_value(change.p_value)}{_describe_holm(change.n_family)}){tail}."
    )


def _tell_label_changes(changes: Sequence[_LabelChange]) -> str:
    one = changes[0]
    told = [
        f"{change.title} {format_percent(change.start)} to {format_percent(change.end)} % "
        f"({'95 % interval of the change ' if change is one else ''}{_points(change.low)} to {_points(change.high)})"
        for change in changes
    ]
    word, extreme = ("greatest", max) if one.is_claim else ("least", min)
    tail = "" if one.is_claim else ": the data carries no claim of a change"
    return (
        f"The share of right labels {one.verb} from {one.first} to {one.last} in {', '.join(told)} (Student's t over "
        f"{_describe_range(change.n_seeds for change in changes)} seeds; {word} "
        f"{format_p_value(extreme(change.p_value for change in changes))}{_describe_holm(one.n_family)}){tail}."
    )


def _describe_range(values: Iterable[int]) -> str:
    found = sorted(set(values))
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _tell_change(found: Comparison) -> str:
    difference = found.difference
    assert difference is not None
    first, second = (format_percent(mean) for mean in (difference.first_mean, difference.second_mean))
    whose = "its " if found.second_model == "M1" else ""
    tail = _ONCE_CORRECTED if found.is_hint else ""
    return (
        f"{found.first}: {found.first_model} with {first} % is {_name_side(found)} {whose}{_name_earlier(found)} with "
        f"{second} % ({_describe_difference(found)}){tail}."
    )


def _name_second(found: Comparison) -> str:
    """The other side, with what sets it apart beside its method."""
    return f"{found.second}, which has {found.beside}" if found.beside else found.second


def _name_side(found: Comparison) -> str:
    assert found.difference is not None
    return "above" if found.difference.mean > 0 else "below"


def _name_earlier(found: Comparison) -> str:
    return found.second_model if found.second_model == "M1" else f"the best before it, {found.second_model},"


def _describe_difference(found: Comparison) -> str:
    difference = found.difference
    assert difference is not None and found.p_holm is not None
    return (
        f"{_points(difference.mean)} points, 95 % interval {_points(difference.low)} to {_points(difference.high)}, "
        f"{_describe_test(difference)}, {format_p_value(found.p_holm)}{_describe_holm(found.n_family)}"
    )


def _describe_test(*differences: Difference) -> str:
    """The test that all of these have, with its seeds and items."""
    n_items = _describe_range(found.n_items for found in differences)
    items = f"{n_items} shared item{'' if n_items == '1' else 's'}"
    if differences[0].method == MCNEMAR:
        is_same = all(len(found.seeds) == 1 for found in differences)
        return f"exact McNemar on {items} of {'one seed' if is_same else 'runs with other seeds'}"
    return f"paired bootstrap over {_describe_range(len(found.seeds) for found in differences)} seeds and {items}"


def _name_test(found: Comparison) -> tuple[str, bool]:
    assert found.difference is not None
    return found.difference.method, len(found.difference.seeds) == 1


def _describe_holm(n_tests: int) -> str:
    return f" by Holm over {n_tests} comparisons" if n_tests > 1 else ""


def _points(value: float) -> str:
    return format_signed(100 * value, 1)
