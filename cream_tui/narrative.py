"""What happened in a set of runs, in plain sentences chosen by the numbers.

Pure: results in, sentences out; no store, no terminal. A difference that the data cannot tell from chance is said to be
just that. Accuracies are compared on shared items only, figures and exact McNemar test alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cream_tui.results import (
    ModelResult,
    PairedTest,
    adjust_by_holm,
    compute_paired_test,
    find_last_evaluated,
    restrict_to_shared,
)
from cream_tui.units import format_number, format_p_value, format_percent, format_signed

# A tau or a length has no test here; a change below these is called none.
LEAST_TAU_CHANGE = 0.1
LEAST_LENGTH_CHANGE = 0.1
# Above this the previous model ranks as the current one does, whatever the labels do.
SATURATED_TAU = 0.9
# Below this share of logit(C), the gradient sigmoid(z) - C is still near its start.
LEAST_MARGIN_SHARE = 0.5
# Above this the loss is plain DPO in all but name.
NEARLY_HARD_C = 0.95
# Below this a training has left the saved weights as they were.
LEAST_CHANGED_SHARE = 0.01
# Where more than a fifth of the rankings cannot be compared, the mean of the rest says little.
MOST_UNDEFINED_SHARE = 0.2
# A judge that fails more often, or agrees with itself less (Krippendorff's alpha), says little about a response.
MOST_PARSE_FAILURES = 0.05
LEAST_SELF_AGREEMENT = 0.3


@dataclass(frozen=True, slots=True)
class Arm:
    """One run of a comparison; ``title`` is what a sentence calls it."""

    title: str
    results: tuple[ModelResult, ...]

    @property
    def evaluated(self) -> list[ModelResult]:
        """Models from M1 on that have an accuracy."""
        return [model for model in self.results if model.tasks and model.index >= 1]

    def list_measured(self, name: str) -> list[tuple[ModelResult, float]]:
        """Models that have this measure, with it."""
        return [(model, value) for model in self.results if (value := model.get(name)) is not None]


def tell(arms: Sequence[Arm]) -> list[str]:
    """What happened: each arm's accuracy, labels, agreement and length, then the arms against the first."""
    sentences: list[str] = []
    for arm in arms:
        sentences += [sentence for sentence in _tell_arm(arm) if sentence]
    if arms:
        sentences += tell_differences(arms[1:], arms[0])
    if sentences and any(arm.evaluated for arm in arms):
        sentences.append("This is one seed: repeat it with another before believing a difference.")
    return sentences


def _tell_arm(arm: Arm) -> list[str | None]:
    return [
        tell_accuracy(arm),
        *(f"{arm.title}: {sentence}" for sentence in tell_small_changes(arm.results)),
        *(f"{arm.title}: {sentence}" for sentence in tell_judge(arm.results)),
        tell_labels(arm),
        tell_agreement(arm),
        tell_confidence(arm),
        tell_margin(arm),
        tell_length(arm),
    ]


def tell_small_changes(results: Sequence[ModelResult]) -> list[str]:
    """Which trainings left the saved weights almost as they were."""
    return [
        f"training changed {100 * model.changed_share:.2g} % of the weights of {model.name}: its updates were too few "
        "(the first of a warm-up has rate 0), too small, or rounded away in half precision."
        for model in results
        if model.changed_share is not None and model.changed_share < LEAST_CHANGED_SHARE
    ]


def tell_judge(results: Sequence[ModelResult]) -> list[str]:
    """Where a judge often gave no score, or judged the same response differently from one time to the next."""
    found = []
    for model in results:
        failures, agreement = model.get("judge_parse_failure_rate"), model.get("judge_self_agreement")
        if failures is not None and failures > MOST_PARSE_FAILURES:
            share = format_percent(failures)
            found.append(f"of the judgements that rank the responses of {model.name}, {share} % hold no score.")
        if agreement is not None and agreement < LEAST_SELF_AGREEMENT:
            found.append(
                f"the judge that ranks the responses of {model.name} hardly agrees with itself: Krippendorff's alpha "
                f"{format_signed(agreement)}, where 0 is chance."
            )
    return found


def tell_accuracy(arm: Arm) -> str | None:
    """Where the accuracy went from M1, by way of its best or worst model where that carries a claim."""
    models = arm.evaluated
    if not models:
        return f"{arm.title}: no model was evaluated, so nothing can be said of its accuracy."
    first, last = models[0], models[-1]
    if len(models) == 1:
        return f"{arm.title}: {first.name} has an accuracy of {_percent(first)}; there is no later model yet."
    shared = restrict_to_shared(models)
    first, last = shared[0], shared[-1]
    if first.accuracy is None:
        return f"{arm.title}: its models were evaluated on different items, so nothing can be said of its accuracy."
    tests = _test_changes(shared)
    whole = tests[first.name, last.name]
    best = max(shared, key=lambda model: (model.accuracy or 0.0, -model.index))
    worst = min(shared, key=lambda model: (model.accuracy or 0.0, -model.index))
    turn = next((model for model in (best, worst) if model.accuracy not in (first.accuracy, last.accuracy)), None)
    words = _describe_change(first, last, whole)
    if turn is not None:
        there, back = tests[first.name, turn.name], tests[turn.name, last.name]
        if there.is_significant or back.is_significant:
            words = f"{_describe_change(first, turn, there)}, then {_describe_change(turn, last, back, short=True)}"
    tail = "" if len(first.items) == max(len(model.items) for model in models) else " that all answered"
    tail = f"{len(first.items)} items{tail}" + (f", p by Holm over {len(tests)} comparisons" if len(tests) > 1 else "")
    return f"{arm.title}: accuracy {words}; {tail}."


def _test_changes(models: Sequence[ModelResult]) -> dict[tuple[str, str], PairedTest]:
    """The tests among which an arm's sentence picks, by names, their p-values corrected for that."""
    first, last = models[0], models[-1]
    pairs = [(first, model) for model in models[1:]] + [(model, last) for model in models[1:-1]]
    tests = [(a.name, b.name, test) for a, b in pairs if (test := compute_paired_test(a, b)) is not None]
    p_values = adjust_by_holm([test.p_value for *_, test in tests])
    return {(a, b): replace(test, p_value=p_value) for (a, b, test), p_value in zip(tests, p_values, strict=True)}


def tell_labels(arm: Arm) -> str | None:
    """Where the share of right labels went."""
    known = arm.list_measured("label_accuracy")
    if not known:
        if arm.list_measured("n_pairs"):
            return f"{arm.title}: no gold answers, so nothing can be said of its labels."
        return None
    (first, start), (last, end) = known[0], known[-1]
    warning = ", below chance: such pairs teach errors" if _is_below_chance(last) else ""
    if len(known) == 1:
        return f"{arm.title}: {format_percent(start)} % of the labels that {first.name} gave were right{warning}."
    verb = _choose_verb(end - start, ("rose", "fell", "stayed"))
    if verb == "stayed":
        return f"{arm.title}: the share of right labels stayed at {format_percent(end)} %{warning}."
    text = (
        f"{arm.title}: the share of right labels {verb} from {format_percent(start)} % ({first.name}) "
        f"to {format_percent(end)} % ({last.name})"
    )
    counts = _count_labels(first), _count_labels(last)
    if counts[0] is not None and counts[1] is not None and _do_intervals_meet(counts[0], counts[1]):
        n_known = f"{counts[0][1]} and {counts[1][1]}"
        return f"{text}{warning}: with {n_known} known labels the data carries no claim of a change."
    return f"{text}{warning}."


def tell_agreement(arm: Arm) -> str | None:
    """Where the agreement with the previous model and with the anchor went, and what it can still tell."""
    # At M1 the base model's log-likelihood, the anchor under another name, stands in for the previous model's reward.
    previous = [(model, tau) for model, tau in arm.list_measured("tau_previous") if model.index >= 2]
    anchor = arm.list_measured("tau_anchor")
    if not previous:
        return None
    text = f"{arm.title}: tau to the previous model {_describe_tau(previous)}"
    is_saturated = previous[-1][1] >= SATURATED_TAU
    if len(anchor) < 2:
        return text + (", so two models in a row rank alike whether right or wrong." if is_saturated else ".")
    falls = anchor[-1][1] - anchor[0][1] <= -LEAST_TAU_CHANGE
    text += f", tau to the anchor {_describe_tau(anchor)}"
    if is_saturated and falls:
        return text + ": two models in a row rank alike while both drift from where they began."
    if is_saturated:
        return text + ": two models in a row rank alike, so their agreement tells little."
    return text + "."


def tell_confidence(arm: Arm) -> str | None:
    """Whether C went to 1, where the loss is that of plain self-rewarding."""
    known = arm.list_measured("confidence")
    if len(known) < 2 or all(value == known[0][1] for _, value in known):
        return None
    (first, start), (last, end) = known[0], known[-1]
    tail = ", which is almost plain self-rewarding (C = 1)" if end >= NEARLY_HARD_C > start else ""
    return (
        f"{arm.title}: C went from {format_number(start)} at {first.name} to {format_number(end)} at {last.name}{tail}."
    )


def tell_margin(arm: Arm) -> str | None:
    """Whether training came to the margin that C asks for; before that a C only scales the steps."""
    targets = {model.name: value for model, value in arm.list_measured("final_target_z")}
    bounded = {model.name: value for model, value in arm.list_measured("final_bounded_z")}
    known = [
        (model.name, bounded.get(model.name, z), targets[model.name])
        for model, z in arm.list_measured("final_z")
        if model.name in targets
    ]
    if not known:
        return None
    figures = ", ".join(f"{z:.1f} of {target:.1f} ({name})" for name, z, target in known)
    far = [name for name, z, target in known if target > 0 and z < LEAST_MARGIN_SHARE * target]
    tail = f": at {', '.join(far)} C hardly did more than scale the steps" if far else ""
    return f"{arm.title}: training on its pairs ended with z at this much of its target logit(C): {figures}{tail}."


def tell_length(arm: Arm) -> str | None:
    """Whether the chosen responses grew."""
    known = arm.list_measured("chosen_n_tokens")
    if len(known) < 2 or known[0][1] <= 0:
        return None
    (first, start), (last, end) = known[0], known[-1]
    share = end / start - 1
    if abs(share) < LEAST_LENGTH_CHANGE:
        return f"{arm.title}: chosen responses kept their length ({start:.1f} and {end:.1f} tokens)."
    verb = "grew" if share > 0 else "shrank"
    return (
        f"{arm.title}: chosen responses {verb} from {start:.1f} tokens at {first.name} to {end:.1f} at {last.name} "
        f"({format_signed(100 * share, 0)} %)."
    )


def tell_differences(arms: Sequence[Arm], baseline: Arm) -> list[str]:
    """How each arm differs from the baseline, the p-values corrected for their number."""
    tests = [compute_last_test(arm.results, baseline.results) for arm in arms]
    p_values = adjust_by_holm([test.p_value for test in tests if test is not None])
    corrected = iter(p_values)
    return [
        tell_difference(arm, baseline)
        if test is None
        else tell_difference(arm, baseline, p_value=next(corrected), n_tests=len(p_values))
        for arm, test in zip(arms, tests, strict=True)
    ]


def tell_difference(arm: Arm, baseline: Arm, *, p_value: float | None = None, n_tests: int = 1) -> str:
    """How two arms differ at the last model that both evaluated, on the items that both answered.

    Args:
        p_value: That of the test, corrected for ``n_tests`` of them.
    """
    pair = find_last_common(arm.results, baseline.results)
    if pair is None:
        return f"{arm.title} and {baseline.title} have no evaluated model in common, so they cannot be compared."
    model, other = pair
    test = compute_paired_test(model, other)
    if test is None:
        figures = f"At {model.name} {arm.title} has {_percent(model)} and {baseline.title} {_percent(other)}"
        return f"{figures}, on different items, so no paired test can be made."
    if p_value is not None:
        test = replace(test, p_value=p_value)
    shares = [f"{format_percent(accuracy)} %" for accuracy in (test.first_accuracy, test.second_accuracy)]
    figures = f"At {model.name} {arm.title} has {shares[0]} and {baseline.title} {shares[1]}"
    if test.n_first_only == test.n_second_only == 0:
        return f"{figures}: they are right on the same of the {test.n_items} items."
    detail = f"exact McNemar on {test.n_items} shared items: {test.n_first_only} only {arm.title}, "
    detail += f"{test.n_second_only} only {baseline.title}, {format_p_value(test.p_value)}"
    if n_tests > 1:
        detail += f" by Holm over {n_tests} comparisons"
    if test.is_significant:
        better = arm.title if test.n_first_only > test.n_second_only else baseline.title
        return f"{figures}: {better} is better ({detail})."
    if test.is_split:
        return f"{figures}, but the tasks disagree, so neither is better ({detail})."
    return f"{figures}: the data carries no claim of a difference ({detail})."


def compute_last_test(first: Sequence[ModelResult], second: Sequence[ModelResult]) -> PairedTest | None:
    """The test of two runs at the last model that both evaluated; None where they share no items there."""
    pair = find_last_common(first, second)
    return None if pair is None else compute_paired_test(*pair)


def find_last_common(
    first: Sequence[ModelResult], second: Sequence[ModelResult]
) -> tuple[ModelResult, ModelResult] | None:
    """The last model that both runs evaluated, as each has it."""
    others = {model.name: model for model in second if model.tasks}
    common = [model for model in first if model.tasks and model.name in others]
    last = find_last_evaluated(common)
    return None if last is None else (last, others[last.name])


def _describe_change(first: ModelResult, last: ModelResult, test: PairedTest, *, short: bool = False) -> str:
    """From one model to another, both on the items of the test."""
    change = test.second_accuracy - test.first_accuracy
    if _choose_verb(change, ("rose", "fell", "stayed")) == "stayed" and not test.is_significant and not test.is_split:
        return f"stayed at {_percent(last)} ({last.name})"
    verb = ("rose" if change > 0 else "fell") if test.is_significant else "went"
    start = "" if short else f" from {_percent(first)} ({first.name})"
    p_value = format_p_value(test.p_value)
    claim = "" if test.is_significant else ": the tasks disagree" if test.is_split else ": no claim of a change"
    return f"{verb}{start} to {_percent(last)} ({last.name}, {p_value}{claim})"


def _describe_tau(known: Sequence[tuple[ModelResult, float]]) -> str:
    (first, start), (last, end) = known[0], known[-1]
    if len(known) == 1:
        return f"was {format_signed(end)} ({last.name})"
    if abs(end - start) < LEAST_TAU_CHANGE:
        return f"stayed near {format_signed(end)}"
    verb = "rose" if end > start else "fell"
    return f"{verb} from {format_signed(start)} ({first.name}) to {format_signed(end)} ({last.name})"


def _is_below_chance(model: ModelResult) -> bool:
    """Whether all of the 95 % interval of the share of right labels is below one half."""
    from engine.method.statistics import compute_wilson_interval

    counts = _count_labels(model)
    return counts is not None and compute_wilson_interval(*counts)[1] < 0.5


def _count_labels(model: ModelResult) -> tuple[int, int] | None:
    """Right labels, and all of which it is known; None where the counts are not."""
    n_right, n_inverted = model.get("n_right"), model.get("n_inverted")
    return None if n_right is None or n_inverted is None else (int(n_right), int(n_right + n_inverted))


def _do_intervals_meet(first: tuple[int, int], last: tuple[int, int]) -> bool:
    """Whether the 95 % intervals of two shares, given as counts, have a point in common."""
    from engine.method.statistics import compute_wilson_interval

    (low, high), (other_low, other_high) = compute_wilson_interval(*first), compute_wilson_interval(*last)
    return low <= other_high and other_low <= high


def _choose_verb(change: float, verbs: tuple[str, str, str]) -> str:
    if abs(change) < 5e-4:
        return verbs[2]
    return verbs[0] if change > 0 else verbs[1]


def _percent(model: ModelResult) -> str:
    return f"{format_percent(model.accuracy)} %"
