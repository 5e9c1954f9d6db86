"""Every diagnostic warns where it should and keeps still where it should; what is not known is said to be so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cream_tui.filtering.pairs import compile_pairs
from cream_tui.health.catalogue import CATALOGUE
from cream_tui.health.findings import EarlyWarning, Finding
from cream_tui.health.rules import UNKNOWN, compute_auc_error, compute_null_error, examine_run
from cream_tui.health.verdict import FALLS, Verdict, conclude, judge
from cream_tui.results import ModelResult, TaskCount
from db.run_series import TauCount

Values = Sequence[float | None]
N = 500
BOTH = "no gold answers are known, or no right and wrong response stand against each other"
OLD = "the run was imported, or made before this was measured"
YOUNG = "the run has not measured it so far"
RECENT_SCORES: Mapping[str, Values] = {"tau_anchor": [0.5], "kl_base": [0.1]}
RECENT_PAIRS: Mapping[str, Values] = {"n_pairs": [9], "low_confidence_share": [0.0]}


def build_results(
    correct: Values = (), changed: Values = (), *, first: int = 1, **measures: Values
) -> list[ModelResult]:
    """M1, M2, ... with these measures by model; the first ``correct`` of N items are right."""
    n = max(map(len, (correct, changed, *measures.values())))
    models = []
    for k in range(n):
        known = {
            name: value for name, values in measures.items() if k < len(values) and (value := values[k]) is not None
        }
        model = ModelResult(f"M{k + first}", measures=known)
        if k < len(changed) and changed[k] is not None:
            model = replace(model, changed_share=changed[k])
        if k < len(correct) and (n_right := correct[k]) is not None:
            items = {("sandbox", f"i{i}"): i < n_right for i in range(N)}
            model = replace(model, tasks=(TaskCount("sandbox", int(n_right), N),), items=items)
        models.append(model)
    return models


def find(results: Sequence[ModelResult], key: str, anchors: Mapping[int, Sequence[TauCount]] | None = None) -> Finding:
    return next(finding for finding in examine_run(results, anchors) if finding.key == key)


# By diagnostic: results at which it warns, what it then says, and results at which it does not.
CASES: Mapping[str, tuple[Mapping[str, Values], str, Mapping[str, Values]]] = {
    # 400 -> 380, nested: 20 only M1, p = 2 / 2^20; then 380 -> 378: 2 differ, p = 0.5.
    "accuracy_from_first": (
        {"correct": [400, 380, 378]},
        "M3: accuracy fell from 80.0 (M1) to 75.6 %, p < 0.001",
        {"correct": [400, 396, 420]},  # 4 differ: p = 0.125
    ),
    "accuracy_from_previous": (
        {"correct": [300, 400, 380, 378]},
        "M3: accuracy fell from 80.0 (M2) to 76.0 %, p < 0.001",
        {"correct": [400, 396, 392, 388]},  # each p = 0.125, though not together
    ),
    "divergence": (
        {"correct": [400, 420, 380], "kl_base": [0.1, 0.3, 0.9]},
        "M3: its mean reward for its own responses rose from +0.30 (M2) to +0.90 nats while accuracy fell from 84.0 "
        "to 76.0 %",
        {"correct": [400, 420, 380], "kl_base": [0.1, 0.9, 0.05]},
    ),
    "label_accuracy": (
        {"n_pairs": [9, 9], "label_accuracy": [0.8, 0.4], "n_right": [80, 40], "n_inverted": [20, 60]},
        "M2: the share of right labels is 40.0 %, 40 right and 60 inverted",
        {"label_accuracy": [0.8, 0.5], "n_right": [80, 50], "n_inverted": [20, 50]},
    ),
    "reward_auc": (
        {"reward_auc": [0.75, 0.69], "reward_sd": [0.3, 0.6]},
        "M2: the AUC of its reward for right responses fell from 0.75 (M1) to 0.69 while rewards spread apart",
        {"reward_auc": [0.75, 0.69, 0.71], "reward_sd": [0.3, 0.3, 0.6]},
    ),
    # Hanley and McNeil at 0.55 of 100 and 100: 0.041, so 0.55 - 0.082 is below one half; at 0.65 it is 0.039.
    "agreement_tells_labels": (
        {"label_auc_previous": [0.55], "n_right": [100], "n_inverted": [100]},
        "M1: the AUC of tau to the previous model for right labels is 0.55 ± 0.08; 0.5 is chance",
        {"label_auc_previous": [0.65], "n_right": [100], "n_inverted": [100]},
    ),
    "anchor_tells_labels": (
        {"label_auc_anchor": [0.7, 0.3], "n_right": [100, 100], "n_inverted": [100, 100]},
        "M2: the AUC of tau to the anchor for right labels is 0.30 ± 0.07; 0.5 is chance",
        {"label_auc_anchor": [0.65], "n_right": [100], "n_inverted": [100]},
    ),
    "pairs_against_anchor": (
        {"anchor_agreement_share": [0.9, 0.49]},
        "M2: the share of pairs that the base model orders alike is 49.0 %",
        {"anchor_agreement_share": [0.9, 0.5]},
    ),
    "pairs_against_vote": (
        {"vote_agreement_share": [0.9, 0.49]},
        "M2: the share of pairs that prefer the more frequent answer is 49.0 %",
        {"vote_agreement_share": [0.9, 0.5]},
    ),
    "tau_anchor": (
        {"tau_anchor": [0.5, 0.24]},
        "M2: tau to the anchor is +0.24, less than half of M1's +0.50",
        {"tau_anchor": [0.5, 0.26]},
    ),
    "tau_previous": (
        {"tau_previous": [0.03], "tau_previous_se": [0.015]},
        "M1: tau to the previous model is +0.03 ± 0.03",
        {"tau_previous": [0.031], "tau_previous_se": [0.015]},
    ),
    "consistency_drop": (
        {"consistency_rate": [0.5, 0.95, 0.8, 0.75]},
        "M3: consistency fell from 0.95 to 0.80",
        {"consistency_rate": [0.95, 0.7, 0.65]},  # at M1 a stand-in ranks for the previous model
    ),
    "tau_saturation": (
        {"tau_saturated_share": [0.3, 0.85]},
        "M2: the share of prompts with tau 1 to the previous model is 85.0 %",
        {"tau_saturated_share": [0.3, 0.75]},
    ),
    "undefined_tau": (
        {"n_undefined": [10, 21], "n_defined": [90, 79]},
        "M2: the share of prompts without a tau is 21.0 %",
        {"n_undefined": [10, 20, 0], "n_defined": [90, 80, 0]},  # without prompts there is no share
    ),
    "low_consistency": (
        {"low_consistency_share": [0.34]},
        "M1: the share of prompts with C below one half is 34.0 %",
        {"low_consistency_share": [0.33]},
    ),
    "reversed_pairs": (
        {"low_confidence_share": [0.34]},
        "M1: the share of pairs with confidence below one half is 34.0 %",
        {"low_confidence_share": [0.33]},
    ),
    "noise_floor": (
        {"noise_floor_tau": [1.0, 0.96], "noise_floor_tau_float32": [0.97, 0.9]},
        "M2: scored again in float32, it agrees with itself to tau +0.90 only",
        {"noise_floor_tau": [1.0, 0.96], "noise_floor_tau_float32": [0.97, 0.95]},
    ),
    "margin": (
        {"median_margin": [2.0, 0.9]},
        "M2: the median margin of its pairs fell from 2.00 (M1) to 0.90",
        {"median_margin": [2.0, 1.0]},
    ),
    "margin_top2": (
        {"median_margin_top2": [0.2, 0.09]},
        "M2: the median lead of its best response fell from 0.20 (M1) to 0.09",
        {"median_margin_top2": [0.2, 0.1]},
    ),
    "ties": (
        {"tie_rate": [0.0, 0.3]},
        "M2: the share of prompts with a tie of rewards is 30.0 %",
        {"tie_rate": [0.2]},
    ),
    "length_gap": (
        {"length_gap": [0.2, -0.15]},
        "M2: the length of chosen over rejected responses is −15 %",
        {"length_gap": [0.1, -0.1]},
    ),
    "reward_length": (
        {"reward_length_correlation": [0.1, -0.4]},
        "M2: the correlation of reward and length is −0.40",
        {"reward_length_correlation": [0.3, -0.3]},
    ),
    "length_drift": (
        {"chosen_n_tokens": [10.0, 14.0, 16.0]},
        "M3: chosen responses grew from 10.0 (M1) to 16.0 tokens (+60 %)",
        {"chosen_n_tokens": [10.0, 15.0, 5.0]},
    ),
    "duplicates": (
        {"duplicate_prompt_rate": [0.21]},
        "M1: the share of prompts with repeated responses is 21.0 %",
        {"duplicate_prompt_rate": [0.2]},
    ),
    "answer_variety": (
        {"distinct_answers_share": [0.6, 0.29]},
        "M2: the share of distinct final answers fell from 60.0 % (M1) to 29.0 %",
        {"distinct_answers_share": [0.6, 0.3]},
    ),
    "entropy": (
        {"mean_token_logprob": [-0.4, -0.19]},
        "M2: the entropy per token fell from 0.40 (M1) to 0.19",
        {"mean_token_logprob": [-0.4, -0.2, -0.9]},
    ),
    "bigram_variety": (
        {"distinct_2": [0.5, 0.2]},
        "M2: the share of distinct bigrams of a prompt's responses fell from 50.0 % (M1) to 20.0 %",
        {"distinct_2": [0.5, 0.25]},
    ),
    "truncated": (
        {"truncated_rate": [0.0, 0.06]},
        "M2: the share of truncated responses is 6.0 %",
        {"truncated_rate": [0.05]},
    ),
    "empty": ({"empty_rate": [0.06]}, "M1: the share of empty responses is 6.0 %", {"empty_rate": [0.05]}),
    "unread_samples": (
        {"extraction_failure_rate": [0.001, 0.012]},
        "M2: the share of samples without a readable answer is 1.2 %",
        {"extraction_failure_rate": [0.02, 0.01]},
    ),
    "unread_evaluation": (
        {"correct": [9, 9], "evaluation_extraction_failure_rate": [0.01, 0.021]},
        "M2: the share of evaluated items without a readable answer is 2.1 %",
        {"correct": [9, 9], "evaluation_extraction_failure_rate": [0.01, 0.02]},
    ),
    "kl_jump": (
        {"kl_previous_token": [0.01, 0.02, 0.041]},
        "M3: the KL per token from the previous model rose from 0.02 to 0.041",
        {"kl_previous_token": [0.001, 0.02, 0.04]},  # M1's step is that of SFT
    ),
    "likelihoods_fall": (
        {"chosen_shift": [0.5, -0.1], "rejected_shift": [-0.5, -2.0]},
        "M2: training on its pairs changed the log-prob of chosen by −0.10 and of rejected by −2.00 nats",
        {"chosen_shift": [0.1, -0.1], "rejected_shift": [-2.0, 0.2]},
    ),
    "margin_target": (
        {"final_z": [1.0, 0.8], "final_target_z": [1.2, 3.2]},
        "M2: training on its pairs ended with z at 0.80 of its target 3.20",
        {"final_z": [1.0, 1.6, 0.1], "final_target_z": [1.2, 3.2, None]},
    ),
    "small_change": (
        {"changed": [1.0, 0.0001]},
        "M2: the share of weights that training changed is 0.01 %",
        {"changed": [1.0, 0.01]},
    ),
    "judge_failures": (
        {"judge_parse_failure_rate": [0.25]},
        "M1: the share of judgements without a score is 25.0 %",
        {"judge_parse_failure_rate": [0.05]},
    ),
    "judge_agreement": (
        {"judge_self_agreement": [0.6, -0.04]},
        "M2: the judge's agreement with itself is −0.04",
        {"judge_self_agreement": [0.6, 0.3]},
    ),
}


def test_every_diagnostic_has_a_case() -> None:
    assert list(CASES) == [diagnostic.key for diagnostic in CATALOGUE]


@pytest.mark.parametrize("key", CASES)
def test_it_warns_where_it_should(key: str) -> None:
    warns, sentence, _ = CASES[key]
    found = find(build_results(**warns), key)
    assert (found.status, found.sentence) == ("warn", sentence)


@pytest.mark.parametrize("key", CASES)
def test_it_keeps_still_where_it_should(key: str) -> None:
    found = find(build_results(**CASES[key][2]), key)
    assert found.status == "ok", found.sentence
    assert found.value is not None and found.model == found.history[-1][0]


@pytest.mark.parametrize("key", CASES)
def test_without_values_it_says_why(key: str) -> None:
    for results in ([], [ModelResult("M0")]):
        found = find(results, key)
        assert (found.status, found.model, found.value, found.history) == ("unknown", None, None, ())
        assert found.shown.startswith(UNKNOWN) and len(found.shown) > len(UNKNOWN)


@pytest.mark.parametrize(
    ("key", "measures", "reason"),
    [
        ("duplicates", {"n_responses": [9]}, OLD),
        ("duplicates", {"tau_anchor": [0.1]}, "no iteration has come so far yet"),
        ("reward_auc", RECENT_SCORES, BOTH),
        ("reward_auc", {"tau_anchor": [0.5]}, f"{OLD}, or {BOTH}"),
        ("label_accuracy", RECENT_PAIRS, BOTH),
        (
            "tau_previous",
            {"tau_anchor": [0.5], "tau_saturated_share": [0.1]},
            "it begins with M2, which has not come so far yet",
        ),
        (
            "agreement_tells_labels",
            {**RECENT_PAIRS, "label_auc_previous": [0.7], "n_right": [90], "n_inverted": [9]},
            "no gold answers are known, or fewer than 10 labels are right or inverted",
        ),
        ("kl_jump", {**RECENT_SCORES, "kl_previous_token": [0.1]}, "it begins with M2, which has not come so far yet"),
        ("noise_floor", RECENT_SCORES, "scoring.noise_floor is not set, so nothing was scored twice"),
        ("accuracy_from_first", {"correct": [400]}, "no two of its models from M1 on were evaluated on the same items"),
        ("accuracy_from_first", {"tau_anchor": [0.4]}, "nothing was evaluated yet"),
        ("likelihoods_fall", {"final_z": [0.4]}, OLD),
    ],
)
def test_the_reason_is_the_right_one(key: str, measures: Mapping[str, Values], reason: str) -> None:
    assert find(build_results(**measures), key).shown == UNKNOWN + reason


@pytest.mark.parametrize(
    ("measures", "is_over", "reason"),
    [
        ({"correct": [200]}, False, YOUNG),  # M0 alone, from another run
        ({"correct": [200], "evaluation_truncated_rate": [0.0]}, True, YOUNG),  # it was stopped before M1
        ({"correct": [200]}, True, OLD),
    ],
)
def test_what_is_yet_to_come_is_not_blamed_on_the_age_of_the_run(
    measures: Mapping[str, Values], is_over: bool, reason: str
) -> None:
    found = examine_run(build_results(first=0, **measures), is_over=is_over)
    assert next(one for one in found if one.key == "unread_evaluation").shown == UNKNOWN + reason


def test_the_newest_model_that_warns_is_told_and_all_are_in_the_history() -> None:
    found = find(build_results(truncated_rate=[0.2, 0.1, 0.0]), "truncated")
    assert (found.model, found.shown, found.status) == ("M2", "10.0 %", "warn")
    assert found.history == (("M1", 0.2), ("M2", 0.1), ("M3", 0.0))


def test_models_on_different_items_are_not_compared() -> None:
    first, second = build_results(correct=[400, 300])
    items = {("sandbox", f"j{i}"): i < 300 for i in range(N)}
    assert find([first, replace(second, items=items)], "accuracy_from_first").status == "unknown"


def test_m0_is_not_what_self_rewarding_started_from() -> None:
    results = build_results(correct=[400, 300, 310], first=0)
    assert find(results, "accuracy_from_first").status == "ok"


def test_m0_may_not_know_the_format() -> None:
    results = build_results(correct=[9, 9], evaluation_extraction_failure_rate=[0.5, 0.0], first=0)
    assert find(results, "unread_evaluation").status == "ok"


def test_the_margin_is_judged_on_the_pairs_that_have_a_target() -> None:
    """All pairs together are past their target, those that have one are far from it."""
    results = build_results(final_z=[1.0, 3.0], final_bounded_z=[1.0, 0.4], final_target_z=[1.2, 2.0])
    found = find(results, "margin_target")
    assert found.status == "warn"
    assert found.sentence == (
        "M2: training on its pairs ended with z at 0.40 of its target 2.00, on the pairs that have one; on all at 3.00"
    )


def test_an_anchor_that_chance_explains_is_told_as_that() -> None:
    """600 prompts of 5 responses: 1.96 sqrt(1/6 / 600) = 0.033."""
    counts = {t: [TauCount(0.0, 5, 600)] for t in (1, 2)}
    found = find(build_results(tau_anchor=[0.5, 0.03]), "tau_anchor", counts)
    assert found.sentence == "M2: tau to the anchor is +0.03, which chance gives too (0 ± 0.03)"
    assert (
        find(build_results(tau_anchor=[0.15, 0.09]), "tau_anchor", counts).sentence == "M2: tau to the anchor is +0.09"
    )
    below = find(build_results(tau_anchor=[0.5, -0.2]), "tau_anchor", counts)
    assert below.sentence == "M2: tau to the anchor is −0.20, below what chance gives (0 ± 0.03)"


def test_the_null_of_a_mean_tau() -> None:
    """Of 5 responses tau has the variance 2 * 15 / (9 * 5 * 4) = 1/6, of 2 it is 1: the mean over 3 + 1 prompts has
    (3/6 + 1) / 16."""
    counts = [TauCount(0.2, 5, 3), TauCount(1.0, 2, 1)]
    assert compute_null_error(counts) == pytest.approx(math.sqrt(1.5 / 16))
    assert compute_null_error([]) is None


def test_the_error_of_an_auc_at_one_half_is_that_of_the_rank_sum() -> None:
    """Mann-Whitney under its null: variance (n + m + 1) / (12 n m)."""
    assert compute_auc_error(0.5, 30, 50) == pytest.approx(math.sqrt(81 / (12 * 30 * 50)), rel=0.01)


def test_pairs_that_show_a_finding_can_be_asked_for() -> None:
    filters = {text for d in CATALOGUE for text in (d.filter_text, d.filter_below) if text is not None}
    assert len(filters) >= 10
    for text in filters:
        assert compile_pairs(text).where
    assert find(build_results(length_gap=[-0.3]), "length_gap").filter_text == "length_ratio<0.9"
    assert find(build_results(length_gap=[0.3]), "length_gap").filter_text == "length_ratio>1.1"


def test_every_diagnostic_says_what_it_means_and_what_to_try() -> None:
    assert len({d.key for d in CATALOGUE}) == len(CATALOGUE) == len({d.title for d in CATALOGUE})
    for diagnostic in CATALOGUE:
        assert diagnostic.meaning.endswith(".") and diagnostic.advice.endswith(".")
        assert len(diagnostic.title) <= 44


def test_the_page_lists_every_diagnostic_as_it_is() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "health.md").read_text()
    assert f"{len(CATALOGUE)} diagnostics" in page
    for d in CATALOGUE:
        row = f"| {d.title} | `{'/'.join(d.chart)}` | {d.threshold} | {d.meaning} | {d.advice} |"
        assert row in page, d.key


# The verdict


@pytest.mark.parametrize(
    ("correct", "fell_at", "fall"),
    [
        ([400, 396, 392, 388], "M3", "M4: accuracy fell from 80.0 (M1) to 77.6 %, p < 0.001"),  # 8 differ: p = 0.008
        ([300, 400, 380, 400], "M3", "M3: accuracy fell from 80.0 (M2) to 76.0 %, p < 0.001"),  # never below M1
        ([400, 380, 370], "M2", "M3: accuracy fell from 80.0 (M1) to 74.0 %, p < 0.001"),  # told of the newest
        ([400, 396, 420], None, ""),
        ([400], None, ""),
    ],
)
def test_the_verdict_names_the_first_fall_and_tells_the_newest(
    correct: list[float], fell_at: str | None, fall: str
) -> None:
    results = build_results(correct)
    assert judge(results) == Verdict(fell_at, fall, None)
    assert judge(results).has_fallen == any(find(results, key).status == "warn" for key in FALLS)


@pytest.mark.parametrize(
    ("early", "is_warned", "words"),
    [
        (EarlyWarning("M2", 0.85, 0.5, {}, True), True, "early warning: M3 falls, 85 %"),
        (EarlyWarning("M2", 0.85, 0.5, {}, True, outcome=False), True, "early warning: M3 falls, 85 % (it did not)"),
        (EarlyWarning("M2", 0.25, 0.5, {}, False, outcome=True), False, "early warning: M3 falls, 25 % (it did)"),
        ("not computable, because", False, ""),
    ],
)
def test_the_verdict_has_the_early_warning(early: EarlyWarning | str, is_warned: bool, words: str) -> None:
    verdict = conclude([], early)
    assert (verdict.is_warned, verdict.tell_early(), verdict.has_fallen) == (is_warned, words, False)
