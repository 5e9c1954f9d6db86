"""The rules: which diagnostic of a run warns, at which model, and in which words.

Pure: results in, findings out; knows the catalogue. Must not know the store nor how anything is shown. A value that is
not there is never made up: the finding says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from cream_tui.health.catalogue import CATALOGUE, LEAST_LABELS, NEEDS_EVALUATION, Diagnostic
from cream_tui.health.findings import Finding
from cream_tui.results import NORMAL_95, ModelResult, compute_paired_test
from cream_tui.units import format_number, format_p_value, format_percent, format_signed
from db.run_series import TauCount

# Without a target (C = 1) the margin in the loss should at least leave 0.
LEAST_FINAL_Z = 0.05
UNKNOWN = "not computable, because "

Results: TypeAlias = Sequence[ModelResult]
Anchors: TypeAlias = Mapping[int, Sequence[TauCount]]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a diagnostic says of one model; ``why`` goes on after the model's name."""

    model: ModelResult
    value: float
    warns: bool
    why: str


Rule: TypeAlias = Callable[[Diagnostic, Results, Anchors], list[Reading]]


def examine_run(
    results: Results, anchors: Anchors | None = None, *, is_over: bool = True, keys: Collection[str] | None = None
) -> list[Finding]:
    """The findings, in the order of the catalogue.

    Args:
        results: The models of a run in order.
        anchors: By iteration, the taus to the anchor; without them chance is not told from a small tau.
        is_over: Whether the run has ended, so that what it lacks is not to come.
        keys: Of the diagnostics to look at; None: all.
    """
    chosen = [diagnostic for diagnostic in CATALOGUE if keys is None or diagnostic.key in keys]
    return [_conclude(diagnostic, results, anchors or {}, is_over=is_over) for diagnostic in chosen]


def show_value(diagnostic: Diagnostic, value: float) -> str:
    """A value of a diagnostic with its unit."""
    if diagnostic.unit == "share":
        return f"{format_percent(value)} %" if value == 0 or value >= 0.001 else f"{100 * value:.2g} %"
    if diagnostic.unit == "change":
        return f"{format_signed(100 * value, 0)} %"
    if diagnostic.unit == "tokens":
        return f"{value:.1f} tokens"
    return format_signed(value) if diagnostic.unit == "signed" else _format_short(value)


def compute_null_error(counts: Sequence[TauCount]) -> float | None:
    """Standard error of the mean tau if all rankings were independent: each prompt by its number of responses.

    Source: Kendall 1938: the variance of tau between two rankings of n items is 2 (2n + 5) / (9 n (n - 1)).
    """
    n = sum(count.n_prompts for count in counts)
    if n == 0:
        return None
    variance = sum(
        count.n_prompts * 2 * (2 * count.n_distinct + 5) / (9 * count.n_distinct * (count.n_distinct - 1))
        for count in counts
        if count.n_distinct > 1
    )
    return math.sqrt(variance) / n


def compute_auc_error(auc: float, n_right: int, n_wrong: int) -> float:
    """Standard error of an AUC of so many right and wrong ones.

    Source: Hanley and McNeil 1982, the meaning and use of the area under a ROC curve.
    """
    above_two_wrong, two_right_above = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    variance = (
        auc * (1 - auc) + (n_right - 1) * (above_two_wrong - auc * auc) + (n_wrong - 1) * (two_right_above - auc * auc)
    )
    return math.sqrt(variance / (n_right * n_wrong))


def _conclude(diagnostic: Diagnostic, results: Results, anchors: Anchors, *, is_over: bool) -> Finding:
    readings = _RULES[diagnostic.key](diagnostic, results, anchors)
    chosen = next((reading for reading in reversed(readings) if reading.warns), readings[-1] if readings else None)
    is_below = chosen is not None and chosen.value < 0 and diagnostic.filter_below is not None
    why = _find_reason(diagnostic, results, is_over=is_over) if chosen is None else ""
    shown = UNKNOWN + why if chosen is None else show_value(diagnostic, chosen.value)
    return Finding(
        key=diagnostic.key,
        title=diagnostic.title,
        model=None if chosen is None else chosen.model.name,
        value=None if chosen is None else chosen.value,
        shown=shown,
        threshold=diagnostic.threshold,
        status="unknown" if chosen is None else "warn" if chosen.warns else "ok",
        meaning=diagnostic.meaning,
        advice=diagnostic.advice,
        history=tuple((reading.model.name, reading.value) for reading in readings),
        sentence=f"{diagnostic.title}: {shown}" if chosen is None else f"{chosen.model.name}: {chosen.why}",
        filter_text=diagnostic.filter_below if is_below else diagnostic.filter_text,
        metric=diagnostic.chart,
        warned=tuple(reading.model.name for reading in readings if reading.warns),
    )


# By stage: what tells that one has ended, and what tells that its measures are all there, which older runs lack.
_MARKS = {
    "sample": ("n_responses", "distinct_2"),
    "score": ("tau_anchor", "kl_base"),
    "agree": ("tau_anchor", "tau_saturated_share"),
    "pair": ("n_pairs", "low_confidence_share"),
    "train": ("final_z", "chosen_shift"),
    "evaluate": ("accuracy", "evaluation_truncated_rate"),
}


def _find_reason(diagnostic: Diagnostic, results: Results, *, is_over: bool) -> str:
    """Why no model of the run has a value."""
    has_ended, is_measured = (
        any(_get(model, mark) is not None for model in results) for mark in _MARKS[diagnostic.stage]
    )
    if not has_ended:
        return "nothing was evaluated yet" if diagnostic.stage == "evaluate" else "no iteration has come so far yet"
    if diagnostic.needs and (is_measured or diagnostic.needs == NEEDS_EVALUATION):
        return diagnostic.needs
    needs = f", or {diagnostic.needs}" if diagnostic.needs else ""
    if is_measured or not is_over:
        return f"the run has not measured it so far{needs}"
    return f"the run was imported, or made before this was measured{needs}"


def _get(model: ModelResult, metric: str) -> float | None:
    own = {"changed_share": model.changed_share, "accuracy": model.accuracy}
    return own[metric] if metric in own else model.get(metric)


def _list_known(diagnostic: Diagnostic, results: Results) -> list[tuple[ModelResult, float]]:
    return [(model, value) for model in results if (value := _get(model, diagnostic.metric)) is not None]


def _read_above(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    return [
        Reading(model, value, value > diagnostic.limit, _tell(diagnostic, value))
        for model, value in _list_known(diagnostic, results)
    ]


def _read_beyond(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    return [
        Reading(model, value, abs(value) > diagnostic.limit, _tell(diagnostic, value))
        for model, value in _list_known(diagnostic, results)
    ]


def _read_below(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    return [
        Reading(model, value, value < diagnostic.limit, _tell(diagnostic, value))
        for model, value in _list_known(diagnostic, results)
    ]


def _read_shrunk(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    return _compare_with_first(diagnostic, _list_known(diagnostic, results))


def _read_entropy(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    return _compare_with_first(diagnostic, [(model, -value) for model, value in _list_known(diagnostic, results)])


def _compare_with_first(diagnostic: Diagnostic, known: Sequence[tuple[ModelResult, float]]) -> list[Reading]:
    if not known:
        return []
    first, start = known[0]
    readings = []
    for model, value in known:
        warns = start > 0 and value < diagnostic.limit * start
        why = f"{diagnostic.subject} fell from {show_value(diagnostic, start)} ({first.name}) to "
        readings.append(
            Reading(model, value, warns, why + show_value(diagnostic, value) if warns else _tell(diagnostic, value))
        )
    return readings


def _read_unread(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    """M0 may not know the format yet; from M1 on a rate is compared with M1's."""
    known = [(model, value) for model, value in _list_known(diagnostic, results) if model.index >= 1]
    return [
        Reading(
            model,
            value,
            value > diagnostic.limit or value > known[0][1] + diagnostic.limit / 2,
            _tell(diagnostic, value),
        )
        for model, value in known
    ]


def _read_accuracy_from_first(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    evaluated = [model for model in results if model.index >= 1 and model.tasks]
    return [reading for model in evaluated[1:] if (reading := _read_fall(diagnostic, evaluated[0], model)) is not None]


def _read_accuracy_from_previous(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    evaluated = [model for model in results if model.index >= 1 and model.tasks]
    return [
        reading
        for before, after in pairwise(evaluated)
        if (reading := _read_fall(diagnostic, before, after)) is not None
    ]


def _read_fall(diagnostic: Diagnostic, before: ModelResult, after: ModelResult) -> Reading | None:
    test = compute_paired_test(before, after)
    if test is None:
        return None
    verb = "fell" if test.is_fall else "went"
    why = (
        f"accuracy {verb} from {format_percent(test.first_accuracy)} ({before.name}) to "
        f"{format_percent(test.second_accuracy)} %, {format_p_value(test.p_value)}"
    )
    return Reading(after, test.second_accuracy, test.is_fall, why)


def _read_divergence(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    known = [(model, value) for model, value in _list_known(diagnostic, results) if model.tasks]
    readings = []
    for position, (model, value) in enumerate(known):
        earlier = [
            before
            for before, reward in known[:position]
            if reward < value and (test := compute_paired_test(before, model)) is not None and test.is_fall
        ]
        why = f"{diagnostic.subject} is {show_value(diagnostic, value)} nats"
        if earlier:
            best = max(earlier, key=lambda before: before.accuracy or 0.0)
            start = format_signed(best.get(diagnostic.metric))
            why = (
                f"{diagnostic.subject} rose from {start} ({best.name}) to {show_value(diagnostic, value)} nats while "
                f"accuracy fell from {format_percent(best.accuracy)} to {format_percent(model.accuracy)} %"
            )
        readings.append(Reading(model, value, bool(earlier), why))
    return readings


def _read_labels(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    readings = []
    for model, value in _list_known(diagnostic, results):
        right, inverted = model.get("n_right"), model.get("n_inverted")
        counts = "" if right is None or inverted is None else f", {right:.0f} right and {inverted:.0f} inverted"
        readings.append(Reading(model, value, value < diagnostic.limit, _tell(diagnostic, value) + counts))
    return readings


def _read_reward_auc(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    known = _list_known(diagnostic, results)
    readings = []
    for model, value in known:
        first, start = known[0]
        spread, first_spread = model.get("reward_sd"), first.get("reward_sd")
        is_wider = spread is not None and first_spread is not None and spread > first_spread
        warns = is_wider and value < start - diagnostic.limit
        why = (
            f"{diagnostic.subject} fell from {format_number(start)} ({first.name}) to {format_number(value)} while "
            "rewards spread apart"
        )
        readings.append(Reading(model, value, warns, why if warns else _tell(diagnostic, value)))
    return readings


def _read_label_auc(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    readings = []
    for model, value in _list_known(diagnostic, results):
        right, inverted = model.get("n_right"), model.get("n_inverted")
        if right is None or inverted is None or min(right, inverted) < LEAST_LABELS:
            continue
        error = compute_auc_error(value, int(right), int(inverted))
        why = f"{diagnostic.subject} is {format_number(value)} ± {format_number(NORMAL_95 * error)}; 0.5 is chance"
        readings.append(Reading(model, value, value - 2 * error <= diagnostic.limit, why))
    return readings


def _read_anchor(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    known = _list_known(diagnostic, results)
    readings = []
    for model, tau in known:
        first, start = known[0]
        why, shown = _tell(diagnostic, tau), format_signed(tau)
        error = compute_null_error(anchors.get(model.index, ()))
        is_chance = error is not None and tau <= NORMAL_95 * error
        is_halved = model is not first and start > 0 and tau < start / 2
        if is_chance and error is not None:
            bound = NORMAL_95 * error
            like = "which chance gives too" if tau >= -bound else "below what chance gives"
            why = f"{diagnostic.subject} is {shown}, {like} (0 ± {format_number(bound)})"
        elif is_halved:
            why = f"{diagnostic.subject} is {shown}, less than half of {first.name}'s {format_signed(start)}"
        readings.append(Reading(model, tau, is_chance or is_halved or tau < diagnostic.limit, why))
    return readings


def _read_previous(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    readings = []
    for model, tau in _list_known(diagnostic, results):
        error = model.get("tau_previous_se")
        if error is None:
            continue
        why = f"{diagnostic.subject} is {format_signed(tau)} ± {format_number(NORMAL_95 * error)}"
        readings.append(Reading(model, tau, tau <= diagnostic.limit * error, why))
    return readings


def _read_undefined(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    readings = []
    for model, n_undefined in _list_known(diagnostic, results):
        n = n_undefined + (model.get("n_defined") or 0.0)
        if n:
            share = n_undefined / n
            readings.append(Reading(model, share, share > diagnostic.limit, _tell(diagnostic, share)))
    return readings


def _read_consistency(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    # At M1 a stand-in ranks for the previous model: what it agrees with is no measure for later ones.
    known = [(model, rate) for model, rate in _list_known(diagnostic, results) if model.index >= 2]
    readings = [Reading(model, rate, False, _tell(diagnostic, rate)) for model, rate in known[:1]]
    for (_, before), (model, after) in pairwise(known):
        warns = before - after > diagnostic.limit
        why = f"consistency fell from {format_number(before)} to {format_number(after)}"
        readings.append(Reading(model, after, warns, why if warns else _tell(diagnostic, after)))
    return readings


def _read_noise(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    ways = {"noise_floor_tau": "with other batches", "noise_floor_tau_float32": "in float32"}
    readings = []
    for model in results:
        taus = [(tau, way) for name, way in ways.items() if (tau := model.get(name)) is not None]
        if taus:
            tau, way = min(taus)
            why = f"scored again {way}, it agrees with itself to tau {format_signed(tau)}"
            warns = tau < diagnostic.limit
            readings.append(Reading(model, tau, warns, f"{why} only" if warns else why))
    return readings


def _read_drift(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    known = [(model, length) for model, length in _list_known(diagnostic, results) if length > 0]
    readings = []
    for model, length in known:
        first, start = known[0]
        share = length / start - 1
        warns = abs(share) > diagnostic.limit
        verb = "grew" if share > 0 else "shrank"
        why = (
            f"chosen responses {verb} from {start:.1f} ({first.name}) to {length:.1f} tokens "
            f"({format_signed(100 * share, 0)} %)"
        )
        readings.append(Reading(model, length, warns, why if warns else _tell(diagnostic, length)))
    return readings


def _read_kl(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    # M1's step is that of SFT, on other data.
    known = [(model, value) for model, value in _list_known(diagnostic, results) if model.index >= 2]
    readings = [Reading(model, value, False, _tell(diagnostic, value)) for model, value in known[:1]]
    for (_, before), (model, after) in pairwise(known):
        warns = after > diagnostic.limit * before > 0
        why = f"{diagnostic.subject} rose from {_format_short(before)} to {_format_short(after)}"
        readings.append(Reading(model, after, warns, why if warns else _tell(diagnostic, after)))
    return readings


def _read_likelihoods(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    readings = []
    for model, chosen in _list_known(diagnostic, results):
        rejected = model.get("rejected_shift")
        if rejected is not None:
            why = (
                f"training on its pairs changed the log-prob of chosen by {format_signed(chosen)} and of rejected by "
                f"{format_signed(rejected)} nats"
            )
            readings.append(Reading(model, chosen, max(chosen, rejected) < diagnostic.limit, why))
    return readings


def _read_margin_target(diagnostic: Diagnostic, results: Results, anchors: Anchors) -> list[Reading]:
    readings = []
    for model, z in _list_known(diagnostic, results):
        target = model.get("final_target_z")
        if target is None:
            why = (
                f"training on its pairs ended with z at {format_number(z)}; its target has no bound, since C is 0 or 1 "
                "or a signed weight"
            )
            readings.append(Reading(model, z, z < LEAST_FINAL_Z, why))
        else:
            bounded = model.get("final_bounded_z")
            reached = z if bounded is None else bounded
            share = f"{format_number(reached)} of its target {format_number(target)}"
            why = f"training on its pairs ended with z at {share}"
            if reached != z:
                why += f", on the pairs that have one; on all at {format_number(z)}"
            readings.append(Reading(model, z, target > 0 and reached < diagnostic.limit * target, why))
    return readings


def _tell(diagnostic: Diagnostic, value: float) -> str:
    return f"{diagnostic.subject} is {show_value(diagnostic, value)}"


def _format_short(value: float) -> str:
    """Two decimals, or two digits where that would hide a small number."""
    return format_number(value) if abs(value) >= 0.1 or value == 0 else f"{value:.2g}".replace("-", "−")


_RULES: Mapping[str, Rule] = {
    "accuracy_from_first": _read_accuracy_from_first,
    "accuracy_from_previous": _read_accuracy_from_previous,
    "divergence": _read_divergence,
    "label_accuracy": _read_labels,
    "reward_auc": _read_reward_auc,
    "agreement_tells_labels": _read_label_auc,
    "anchor_tells_labels": _read_label_auc,
    "pairs_against_anchor": _read_below,
    "pairs_against_vote": _read_below,
    "tau_anchor": _read_anchor,
    "tau_previous": _read_previous,
    "consistency_drop": _read_consistency,
    "tau_saturation": _read_above,
    "undefined_tau": _read_undefined,
    "low_consistency": _read_above,
    "reversed_pairs": _read_above,
    "noise_floor": _read_noise,
    "margin": _read_shrunk,
    "margin_top2": _read_shrunk,
    "ties": _read_above,
    "length_gap": _read_beyond,
    "reward_length": _read_beyond,
    "length_drift": _read_drift,
    "duplicates": _read_above,
    "answer_variety": _read_shrunk,
    "entropy": _read_entropy,
    "bigram_variety": _read_shrunk,
    "truncated": _read_above,
    "empty": _read_above,
    "unread_samples": _read_unread,
    "unread_evaluation": _read_unread,
    "kl_jump": _read_kl,
    "likelihoods_fall": _read_likelihoods,
    "margin_target": _read_margin_target,
    "small_change": _read_below,
    "judge_failures": _read_above,
    "judge_agreement": _read_below,
}
