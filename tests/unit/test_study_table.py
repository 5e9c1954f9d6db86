"""Tables, tests and sentences of a comparison on hand-made models; every figure derived by hand or by scipy."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from made_arms import N_ITEMS, STUDY, build_model, build_right, build_run, build_two_tasks, make_study
from scipy import stats

from cream_tui.comparison.arms import NO_SPREAD, ONE_MODEL, ONE_SEED, collect_models, list_notes
from cream_tui.comparison.estimates import estimate_accuracy, estimate_over_seeds
from cream_tui.comparison.formats import (
    CSV_COLUMNS,
    ComparedStudy,
    encode_latex,
    encode_markdown,
    encode_summary_csv,
    escape_latex,
)
from cream_tui.comparison.paired import BOOTSTRAP, MCNEMAR, compare_arms, compare_models, compute_difference
from cream_tui.comparison.sentences import (
    RUN_NOT_METHOD,
    RUNS_NOT_METHODS,
    tell_arms,
    tell_cautions,
    tell_comparison,
    tell_labels,
    tell_missing,
    tell_models,
    tell_seeds,
    tell_study,
)
from cream_tui.comparison.table import AVERAGE, SHARED, build_study_table
from cream_tui.comparison.wording import list_table_notes
from cream_tui.results import ModelResult, TaskCount, adjust_by_holm, compute_accuracy_interval
from cream_tui.units import format_p_value
from cream_tui.views.compare import SeedArm, group_by_seed
from db.studies import StudyArm

# Tables --------------------------------------------------------------------------------------------------------------


def test_the_table_has_shared_models_once_and_then_each_arm() -> None:
    arms, results = make_study(STUDY)
    table = build_study_table(arms, results)
    assert [(row.arm, row.model, row.n_seeds) for row in table.rows] == [
        (SHARED, "M0", 3),
        (SHARED, "M1", 3),
        ("srlm", "M2", 3),
        ("srlm", "M3", 3),
        ("cream", "M2", 3),
        ("cream", "M3", 3),
    ]
    assert table.columns == ("t",)
    cell = table.rows[1].cells[0]
    assert cell is not None and cell.change is not None
    expected = stats.t.interval(0.95, 2, 21 / 40, stats.sem([20 / 40, 22 / 40, 21 / 40]))
    assert cell.estimate.mean == pytest.approx(21 / 40)
    assert cell.estimate.interval == pytest.approx(expected)
    assert (cell.change.arrow, cell.change.mean) == ("↑", pytest.approx(11 / 40))


def test_arrows_are_of_the_mean_and_marked_only_where_they_carry_a_claim() -> None:
    """M1 to M2 of cream: +6, +2, +4 of 40; M2 to M3 of srlm: -10, -13, -13 of 40; five arrows in all."""
    arms, results = make_study(STUDY)
    table = build_study_table(arms, results)
    changes = {
        (row.arm, row.model): cell.change
        for row in table.rows
        for cell in row.cells
        if cell is not None and cell.change
    }
    assert table.n_arrows == len(changes) == 5
    small, great = changes["cream", "M2"], changes["srlm", "M3"]
    assert (small.arrow, small.is_significant) == ("↑", False)
    assert (great.arrow, great.is_significant) == ("↓", True)
    assert [change.p_holm for change in changes.values()] == adjust_by_holm([one.p_value for one in changes.values()])


def test_a_model_that_is_the_same_for_every_seed_has_its_items_interval() -> None:
    arms, results = make_study(STUDY)
    cell = build_study_table(arms, results).rows[0].cells[0]
    assert cell is not None
    assert cell.change is None
    assert (cell.estimate.kind, cell.estimate.n_seeds, cell.estimate.reason) == ("items", 3, ONE_MODEL)
    assert cell.estimate.interval == compute_accuracy_interval([TaskCount("t", 100, 400)])


def test_one_seed_has_wilsons_interval_and_says_so() -> None:
    models = {0: build_model("M1", build_right(30))}
    found = estimate_accuracy(models, None)
    assert found is not None
    assert (found.kind, found.n_seeds, found.reason) == ("items", 1, ONE_SEED)
    assert found.interval == models[0].interval
    alone = estimate_over_seeds([0.5])
    assert alone is not None and (alone.interval, alone.reason) == (None, ONE_SEED)
    assert estimate_over_seeds([]) is None


def test_an_interval_ends_where_its_values_must() -> None:
    found = estimate_over_seeds([0.9, 1.0], bounds=(0.0, 1.0))
    assert found is not None and found.interval == (pytest.approx(0.95 - 12.706 * 0.05, abs=1e-3), 1.0)


def test_the_average_is_over_all_tasks_or_not_at_all() -> None:
    runs = [build_run("a"), build_run("b", method="srlm")]
    both = build_two_tasks("M1", [True] * 3 + [False], [True] * 5 + [False] * 5)
    results = {"id-a": [both], "id-b": [build_model("M1", [True, False])]}
    results["id-b"] = [
        replace(results["id-b"][0], tasks=(TaskCount("a", 1, 2),), items={("a", "0"): True, ("a", "1"): False})
    ]
    table = build_study_table(group_by_seed(runs), results)
    assert table.columns == ("a", "b", AVERAGE)
    means = [[None if cell is None else cell.estimate.mean for cell in row.cells] for row in table.rows]
    assert means == [[0.75, 0.5, 0.625], [0.5, None, None]]


def test_measures_are_means_of_iterations() -> None:
    arms, results = make_study(STUDY, {"srlm": (0.8, 0.9, 0.7)})
    rows = build_study_table(arms, results).measures
    assert [(row.arm, row.model, row.n_seeds) for row in rows] == [("srlm", "M1", 3), ("srlm", "M2", 3)]
    labels, tau = rows[1].estimates[:2]
    assert labels is not None and tau is not None
    assert (labels.mean, tau.mean) == (pytest.approx(0.4), 0.9)
    assert labels.interval is not None
    assert (tau.interval, tau.n_seeds, tau.reason) == (None, 3, NO_SPREAD)
    assert rows[0].estimates[1] is None


def test_seeds_of_one_accuracy_with_other_answers_have_no_interval() -> None:
    """Student's would have no width: two seeds that happen to agree are not certain."""
    models = {0: build_model("M1", [True, False]), 1: build_model("M1", [False, True])}
    found = estimate_accuracy(models, None)
    assert found is not None
    assert (found.mean, found.interval, found.kind, found.reason) == (0.5, None, None, NO_SPREAD)
    runs = [build_run(f"srlm-{seed}", method="srlm", seed=seed) for seed in models]
    results = {run.run_id: [model] for run, model in zip(runs, models.values(), strict=True)}
    notes = list_table_notes(build_study_table(group_by_seed(runs), results))
    assert "Without an interval: every seed has the same accuracy, so there is no spread to see." in notes


# Tests ---------------------------------------------------------------------------------------------------------------


def test_arms_are_compared_over_seeds_at_their_last_common_model() -> None:
    """cream minus srlm at M3 by seed: 18, 19, 20 of 40."""
    arms, results = make_study(STUDY)
    (found,) = compare_arms(arms, results)
    assert (found.first, found.second, found.first_model) == ("cream", "srlm", "M3")
    difference = found.difference
    assert difference is not None
    assert (difference.method, difference.seeds, difference.n_items) == (BOOTSTRAP, (0, 1, 2), N_ITEMS)
    assert difference.mean == pytest.approx(19 / 40)
    assert difference.seed_p_value == pytest.approx(stats.ttest_1samp([18, 19, 20], 0).pvalue)
    assert difference.low <= stats.t.interval(0.95, 2, 19 / 40, stats.sem([18 / 40, 19 / 40, 20 / 40]))[0]
    assert found.direction == 1
    (other,) = compare_arms(arms, results, baseline=1)
    assert (other.first, other.direction) == ("srlm", -1)


def test_p_values_are_corrected_for_all_that_are_shown() -> None:
    arms, results = make_study(STUDY | {"random": [(10, 20, 20, 20), (10, 22, 22, 25), (10, 21, 21, 13)]})
    found = compare_arms(arms, results)
    p_values = sorted(one.difference.p_value for one in found if one.difference)
    assert [one.n_family for one in found] == [2, 2]
    assert sorted(one.p_holm for one in found if one.p_holm is not None) == pytest.approx(
        [2 * p_values[0], max(2 * p_values[0], p_values[1])]
    )


def test_two_single_models_get_the_exact_test_whatever_their_seeds() -> None:
    """10 of 40 only the first gets right, nested: p = 2 / 2^10."""
    found = compute_difference({3: build_model("M1", build_right(30))}, {5: build_model("M1", build_right(20))})
    assert not isinstance(found, str)
    assert (found.method, found.seed_p_value) == (MCNEMAR, None)
    assert found.p_value == pytest.approx(2 / 2**10)
    assert found.low < 0.25 < found.high


def test_what_cannot_be_compared_says_why() -> None:
    first, second = build_model("M1", [True] * 4), build_model("M1", [False] * 4)
    foreign = replace(second, items={("u", key): ok for (_, key), ok in second.items.items()})
    assert compute_difference({0: first}, {0: foreign}) == "not computable, because they answered no item in common"
    assert compute_difference({0: first, 1: first}, {2: second, 3: second}) == (
        "not computable, because they share no seed"
    )
    arms, results = make_study({"srlm": [(1, 2), (1, 3)], "cream": [(1,), (1,)]})
    (found,) = compare_arms(arms, results)
    assert (found.p_holm, found.direction) == (None, 0)
    assert tell_arms([found]) == ["cream against srlm: not computable, because they have no evaluated model in common."]


def test_the_last_model_that_two_seeds_reached_is_compared() -> None:
    """One seed of srlm stopped at M2, one of cream at M1: M3 has two seeds of srlm and one that both share."""
    arms, results = make_study(STUDY)
    results["id-srlm-0"] = results["id-srlm-0"][:3]
    results["id-cream-1"] = results["id-cream-1"][:2]
    (found,) = compare_arms(arms, results)
    assert found.first_model == "M2"
    assert found.difference is not None and found.difference.seeds == (0, 2)


def test_an_arm_is_compared_with_its_first_and_its_best_model() -> None:
    """srlm: M3 against M1 (-6, -10, -8) and against M2 (-10, -13, -13), which was the best of two."""
    arms, results = make_study(STUDY)
    found = compare_models(arms, results)
    assert [(one.first, one.first_model, one.second_model, one.n_family) for one in found] == [
        ("srlm", "M3", "M1", 4),
        ("srlm", "M3", "M2", 4),
        ("cream", "M3", "M1", 4),
        ("cream", "M3", "M2", 4),
    ]
    best = next(one for one in found if (one.first, one.second_model) == ("srlm", "M2"))
    models = collect_models(arms[0], results)
    plain = compute_difference(models.find("M3"), models.find("M2"))
    assert best.difference is not None and not isinstance(plain, str)
    assert best.difference.p_value == pytest.approx(2 * plain.p_value)


# Sentences -----------------------------------------------------------------------------------------------------------


def test_a_single_item_carries_no_claim() -> None:
    """The sign test of eight seeds alone would give p = 0.008."""
    runs, results = [], {}
    for method in ("srlm", "cream"):
        for seed in range(8):
            run = build_run(f"{method}-{seed}", method=method, seed=seed)
            runs.append(run)
            results[run.run_id] = [build_model("M1", [method == "cream"])]
    (found,) = compare_arms(group_by_seed(runs), results)
    assert (found.difference, found.direction) == (None, 0)
    assert found.reason is not None
    assert found.reason.startswith("not computable, because they answered a single item of ")


def test_single_runs_of_other_seeds_are_not_called_one_seed() -> None:
    runs = [build_run("srlm", method="srlm", seed=3), build_run("cream", method="cream", seed=1)]
    results = {run.run_id: [build_model("M1", build_right(10 + k))] for k, run in enumerate(runs)}
    (found,) = compare_arms(group_by_seed(runs), results)
    assert found.difference is not None
    assert (found.difference.method, found.difference.seeds) == (MCNEMAR, (1, 3))
    (sentence,) = tell_arms([found])
    assert "exact McNemar on 40 shared items of runs with other seeds, p = 1.00" in sentence


def test_better_is_said_only_of_what_carries_it() -> None:
    arms, results = make_study(STUDY | {"random": [(10, 20, 20, 20), (10, 22, 22, 9), (10, 21, 21, 13)]})
    cream, random = tell_arms(compare_arms(arms, results))
    assert cream.startswith("At M3 cream has 80.0 % and srlm 32.5 %: +47.5 points, 95 % interval ")
    assert cream.endswith("by Holm over 2 comparisons: cream is better than srlm.")
    assert random.endswith("the data carries no claim of a difference.")


def tell_all(arms: Sequence[SeedArm], results: Mapping[str, Sequence[ModelResult]]) -> list[str]:
    return tell_study(arms, results, compare_arms(arms, results), compare_models(arms, results))


def test_a_study_without_a_claim_says_so() -> None:
    arms, results = make_study(
        {"srlm": [(5, 20, 21), (5, 22, 20)], "a": [(5, 20, 19), (5, 22, 22)], "b": [(5, 20, 20), (5, 22, 21)]}
    )
    first, second, last, over_models = tell_all(arms, results)
    assert first.endswith(": the data carries no claim of a difference.")
    assert second.endswith(": the data carries no claim of a difference.")
    assert last == (
        "None of the 2 differences to srlm carries a claim: the data does not say that any of these methods is better "
        "or worse."
    )
    points = [f"{name} −1.3" for name in ("a", "b")]
    assert over_models.startswith("srlm −1.3 points (95 % interval ") and all(one in over_models for one in points)
    assert " since M1: the data carries no claim that the last model is better or worse" in over_models


def test_claims_come_first_and_many_arms_that_say_the_same_share_a_sentence() -> None:
    """Differences to srlm: 0, 0, 0 for a; 1, 1, 1 of 40 right, a tenth each, for b and 1, 0, 0 for c; cream leads."""
    base = [(5, 20), (5, 22), (5, 21)]
    arms, results = make_study(
        {"srlm": base, "a": base, "b": [(5, 21), (5, 20), (5, 22)], "c": [(5, 21), (5, 22), (5, 21)]}
        | {"cream": [(5, 36), (5, 38), (5, 37)]}
    )
    tests = compare_arms(arms, results)
    claim, silence = tell_arms(tests)
    assert claim.endswith("cream is better than srlm.")
    silent = [found for found in tests if found.first != "cream"]
    assert all(found.first in silence and found.p_holm is not None for found in silent)
    least = min(found.p_holm or 0.0 for found in silent)
    assert silence.startswith(
        "At M1 the data carries no claim of a difference to srlm for a 0.0 points (95 % interval "
    )
    assert silence.endswith(
        f"(paired bootstrap over 3 seeds and 400 shared items; least p = {least:.2f} by Holm over 4 comparisons)."
    )


def test_arms_that_fall_alike_share_a_sentence() -> None:
    falls = [(10, 20 + k, 24 + k, 12 + k + d) for k, d in enumerate((0, -1, 0, 1, 0))]
    titles = ("srlm", "a", "b")
    shares = (0.8, 0.9, 0.7, 0.8, 0.8)
    arms, results = make_study(dict.fromkeys(titles, falls), dict.fromkeys(titles, shares))
    tests = compare_models(arms, results)
    against_first, against_best = tell_models(tests)
    greatest = max(found.p_holm or 1.0 for found in tests if found.second_model == "M1")
    assert against_first.startswith("M3 is below M1 in srlm −20.0 points (95 % interval ")
    assert ", a −20.0 (" in against_first and ", b −20.0 (" in against_first
    assert against_first.endswith(f"; greatest p = {greatest:.3f} by Holm over 6 comparisons).")
    assert against_best.startswith("M3 is below the best before it, M2, in srlm −30.0 points (95 % interval ")
    (labels,) = tell_labels(arms, results)
    assert labels.startswith(
        "The share of right labels fell from M1 to M2 in srlm 80.0 to 40.0 % (95 % interval of the change "
    )
    assert labels.count("80.0 to 40.0 %") == 3


def test_what_the_correction_took_is_told_first_with_points_and_intervals() -> None:
    """M2 above srlm and M1 by 1.5, 2.5, 3.5 of 40; nine arms move by a quarter of one: 12 tests, none with a claim."""
    ups = {f"up{n}": [(5, 20 + k, 20 + k + n + k % 2) for k in range(4)] for n in (1, 2, 3)}
    flat = {
        f"flat{n}": [(5, 20 + k, 20 + k + d) for k, d in enumerate((n % 3 - 1, 0, 1 - n % 3, (-1) ** n))]
        for n in range(9)
    }
    arms, results = make_study({"srlm": [(5, 20 + k, 20 + k) for k in range(4)], **ups, **flat})
    against_srlm, over_models = compare_arms(arms, results), compare_models(arms, results)
    assert not any(found.direction for found in (*against_srlm, *over_models))
    hints, rest, _ = tell_arms(against_srlm)
    opening = "At M2 no claim of a difference to srlm once corrected, though each interval leaves 0 out, for "
    order = r"up3 \+8\.8 points \(95 % interval \+.* to \+.*\), up2 \+6\.2 \(.*\), up1 \+3\.7 \(\+.* to \+[^)]*\)"
    assert re.match(rf"{opening}{order} \(paired", hints)
    assert f"srlm for {', '.join(flat)} (paired" in rest
    hints, rest = tell_models(over_models)
    assert re.match(rf"M2 is above M1 in {order} \(paired", hints)
    assert hints.endswith(": no claim once corrected, though each interval leaves 0 out.")
    assert rest.startswith(f"srlm, {', '.join(flat)}: the data carries no claim")
    few = [arm for arm in arms if not arm.title.startswith("flat")]
    assert "flat0 +0.6 points (" in " ".join(tell_arms(compare_arms([*few, *arms[4:9]], results)))


@pytest.mark.parametrize(
    ("state", "reason"), [("failed", "cream failed before M2"), ("running", "cream has not come to M2")]
)
def test_arms_that_have_done_nothing_yet_are_not_compared(state: str, reason: str) -> None:
    """cream has the M1 that all have and no more: the same answers there are no verdict."""
    arms, results = make_study({"srlm": STUDY["srlm"], "cream": [seed[:2] for seed in STUDY["srlm"]]})
    assert [found.difference is not None for found in compare_arms(arms, results)] == [True]  # it was to end there
    stopped = [arms[0], replace(arms[1], runs=tuple(replace(run, state=state) for run in arms[1].runs))]
    for pair in (stopped, stopped[::-1]):
        (found,) = compare_arms(pair, results)
        assert (found.difference, found.p_holm, found.reason) == (None, None, f"not computable, because {reason}")
    told = tell_all(stopped, results)
    assert told[0] == f"cream against srlm: not computable, because {reason}."
    assert ("Failed: cream after M1 (seeds 0–2)." in told) == (state == "failed")


def test_a_seed_that_went_on_is_compared_where_the_others_failed() -> None:
    """Seeds 0 and 1 of cream have M1 alone, which is that of srlm: seed 2 is compared at M3."""
    arms, results = make_study(STUDY)
    for seed in (0, 1):
        results[f"id-cream-{seed}"] = results[f"id-srlm-{seed}"][:2]
    runs = tuple(replace(run, state="failed" if run.seed < 2 else "done") for run in arms[1].runs)
    (found,) = compare_arms([arms[0], replace(arms[1], runs=runs)], results)
    assert (found.first_model, found.difference and found.difference.seeds) == ("M3", (2,))


def test_arms_can_be_compared_at_a_model() -> None:
    arms, results = make_study(STUDY | {"vote": [seed[:2] for seed in STUDY["srlm"]]})
    cream, vote = compare_arms(arms, results, at="M2")
    assert (cream.first_model, cream.difference and cream.difference.mean) == ("M2", 0.0)
    assert (vote.difference, vote.reason) == (None, "not computable, because vote has not come to M2")


def test_a_collapse_is_told_and_silence_too() -> None:
    """M1 to M3: -8, -9, -8, -7, -8 of 40 with srlm; +1, -1, 0, 1, 0 with cream, whose M2 is as good as M1."""
    falls = [(10, 20 + k, 24 + k, 12 + k + d) for k, d in enumerate((0, -1, 0, 1, 0))]
    stays = [(10, 20 + k, 20 + k, 20 + k + d) for k, d in enumerate((1, -1, 0, 1, 0))]
    arms, results = make_study({"srlm": falls, "cream": stays})
    against_first, against_best, silence = tell_models(compare_models(arms, results))
    assert against_first.startswith("srlm: M3 with 35.0 % is below its M1 with 55.0 % (−20.0 points, 95 % interval ")
    assert "paired bootstrap over 5 seeds and 400 shared items" in against_first
    assert against_best.startswith("srlm: M3 with 35.0 % is below the best before it, M2, with 65.0 % (−30.0 points")
    interval = r"\(95 % interval −\d\.\d to \+\d\.\d\)"
    assert re.match(rf"cream \+0\.5 points {interval} since M1: the data carries no claim that the last", silence)


def test_labels_are_told_by_student() -> None:
    """Halved from .8 .9 .7: differences -.4 -.45 -.35, mean -.4, standard error .05 / sqrt(3), t = 13.9."""
    arms, results = make_study(STUDY, {"srlm": (0.8, 0.9, 0.7)})
    (told,) = tell_labels(arms, results)
    p_value = stats.ttest_1samp([-0.4, -0.45, -0.35], 0).pvalue
    assert told == (
        "srlm: the share of right labels fell from 80.0 % (M1) to 40.0 % (M2; −40.0 points, 95 % interval −52.4 to "
        f"−27.6, Student's t over 3 seeds, p = {p_value:.3f})."
    )


def test_arms_that_are_better_share_a_sentence_from_three_on() -> None:
    """Three seeds each; About +10, +15 and +18 of 40 at M1 beside an arm that is 12 worse."""
    base = [(5, 15 + k) for k in range(3)]
    ups = {f"up{n}": [(5, 15 + k + n + d) for k, d in enumerate((0, 1, 0))] for n in (10, 15, 18)}
    study = {"srlm": base, **ups, "down": [(5, 3 + k + d) for k, d in enumerate((0, -1, 0))]}
    arms, results = make_study(study)
    tests = compare_arms(arms, results)
    assert [found.direction for found in tests] == [1, 1, 1, -1]
    together, alone = tell_arms(tests)
    assert together.startswith("At M1 better than srlm: up10 +25.8 points (95 % interval ")
    assert ", up15 +38.3 (" in together and ", up18 +45.8 (" in together
    greatest = max(found.p_holm or 1.0 for found in tests[:3])
    assert together.endswith(f"; greatest {format_p_value(greatest)} by Holm over 4 comparisons).")
    assert alone.endswith(": down is worse than srlm.")


def test_one_seed_that_is_better_says_nothing_about_methods() -> None:
    """30 of 40 items more: exact McNemar carries the claim, of the runs; two seeds each do not say it."""
    arms, results = make_study({"srlm": [(1, 5)], "cream": [(1, 35)]})
    (told,) = tell_arms(compare_arms(arms, results))
    remark = " with this one seed of each, which says nothing about the methods"
    assert told.endswith(f": cream-0 is better than srlm-0{remark}.")
    arms, results = make_study({"srlm": [(1, 5)], **{name: [(1, 35)] for name in ("a", "b", "c")}})
    (told,) = tell_arms(compare_arms(arms, results))
    assert told.startswith(f"At M1 better than srlm-0{remark}: a-0 +75.0 points (")
    arms, results = make_study({"srlm": [(1, 5), (1, 6)], "cream": [(1, 35), (1, 36)]})
    assert "one seed" not in " ".join(tell_arms(compare_arms(arms, results)))


def test_the_order_of_items_changes_no_test() -> None:
    arms, results = make_study(STUDY)
    turned = {
        run_id: [replace(model, items=dict(reversed(model.items.items()))) for model in models]
        for run_id, models in results.items()
    }
    mixed = {**results, "id-cream-1": turned["id-cream-1"]}
    assert compare_arms(arms, mixed) == compare_arms(arms, results)
    assert compare_models(arms, mixed) == compare_models(arms, results)


def test_one_of_two_tasks_is_tested_on_its_own_items() -> None:
    """Of a 8 then 2 of 10 are right, of b 3 then 9: each task has its own side, together they are split."""
    first, second = (
        build_two_tasks(name, build_right(a, 10), build_right(b, 10)) for name, a, b in (("M1", 8, 3), ("M2", 2, 9))
    )
    for task, mean, n_items in (("a", 0.6, 10), ("b", -0.6, 10), (None, 0.0, 20)):
        found = compute_difference({0: first}, {0: second}, task)
        assert not isinstance(found, str)
        assert (found.mean, found.n_items, found.is_split) == (pytest.approx(mean), n_items, False)


def test_what_a_study_lacks_is_told_by_arm() -> None:
    missing = [
        StudyArm("s", k, arm, arm, seed, f"{arm}-{seed}", None, None, error)
        for k, (arm, seed, error) in enumerate(
            [("a", 0, None), ("a", 1, None), ("b", 0, None), ("b", 1, "no file x\nname another")]
        )
    ]
    assert tell_missing(missing, lacking_baseline="b", first="c") == [
        "b, seed 1: no file x name another",
        "not begun yet: 3 runs: a (2), b (1)",
        "the baseline b has no run yet: arms are compared with c",
    ]
    assert tell_missing([], lacking_baseline=None, first="c") == []


def test_single_runs_are_called_runs() -> None:
    arms, results = make_study({"srlm": [(1, 2)], "cream": [(1, 3)]})
    assert tell_seeds(arms, results, baseline=0) == []
    assert tell_cautions(arms) == [RUNS_NOT_METHODS]
    assert tell_all(arms, results)[-1] == RUNS_NOT_METHODS


def test_a_single_run_among_arms_of_seeds_is_named() -> None:
    arms, _ = make_study({"srlm": [(1, 2), (1, 2)], "cream": [(1, 3)], "vote": [(1, 3), (1, 2)]})
    assert tell_cautions(arms) == [f"cream-0: {RUN_NOT_METHOD}"]
    assert tell_cautions(arms[::2]) == []


def test_arms_that_are_right_on_the_same_items_are_said_to_be() -> None:
    arms, results = make_study({"srlm": [(1, 2), (1, 2)], "cream": [(1, 2), (1, 2)]})
    (found,) = compare_arms(arms, results)
    words = tell_comparison(found)
    assert "srlm are right on the same of the" in words and words.endswith("nothing tells them apart.")
    assert "bootstrap" not in words


def test_arms_with_other_seeds_are_compared_on_those_they_share() -> None:
    arms, results = make_study({"srlm": STUDY["srlm"], "cream": STUDY["cream"][:2]})
    (found,) = compare_arms(arms, results)
    assert found.difference is not None and found.difference.seeds == (0, 1)
    assert build_study_table(arms, results).notes == (
        "The arms have different seeds (srlm: 0–2; cream: 0, 1); a test takes those that both sides have.",
    )


def test_runs_that_are_not_done_and_seeds_that_repeat_are_named() -> None:
    runs = [build_run("a"), build_run("b", seed=1, state="failed"), build_run("c", seed=1)]
    results = {"id-a": [build_model("M1", [True])], "id-b": [], "id-c": [build_model("M1", [False])]}
    arms = group_by_seed(runs)
    assert list_notes(arms, results) == [
        "cream: b (seed 1) is failed; it has no evaluated model.",
        "cream: 2 runs have seed 1; the one that came furthest counts.",
    ]
    more = [*runs[:1], *(build_run(f"r{seed}", seed=seed, state="stopped") for seed in (1, 2, 3))]
    found = {"id-a": [], "id-r1": results["id-a"], "id-r2": results["id-a"], "id-r3": []}
    assert list_notes(group_by_seed(more), found) == [
        "cream: seeds 1, 2 are stopped; M1 is their last evaluated model.",
        "cream: r3 (seed 3) is stopped; it has no evaluated model.",
    ]
    assert collect_models(arms[0], results).find("M1")[1].items == results["id-c"][0].items


# Formats -------------------------------------------------------------------------------------------------------------


def build_compared(title: str = "a study") -> ComparedStudy:
    arms, results = make_study(STUDY, {"srlm": (0.8, 0.9, 0.7)})
    tests = compare_arms(arms, results), compare_models(arms, results)
    return ComparedStudy(title, build_study_table(arms, results), *tests, tell_all(arms, results))


def test_markdown_has_the_table_and_escapes_titles() -> None:
    text = "".join(encode_markdown(build_compared("a|b *c*")))
    assert text.startswith("# a\\|b \\*c\\*\n")
    assert "| srlm | M3 | **32.5 ↓\\*** (26.3–38.7) | 3 |\n" in text
    tables = [line for line in text.splitlines() if line.startswith("| ")]
    assert len({line.count("|") - line.count("\\|") for line in tables if line.startswith("| srlm | M")}) == 2


def test_csv_is_tidy_and_in_full() -> None:
    lines = list(csv.DictReader("".join(encode_summary_csv(build_compared().table)).splitlines()))
    assert tuple(lines[0]) == CSV_COLUMNS
    (found,) = [line for line in lines if (line["arm"], line["model"], line["measure"]) == ("cream", "M3", "accuracy")]
    expected = stats.t.interval(0.95, 2, 0.8, stats.sem([32 / 40, 31 / 40, 33 / 40]))
    assert (float(found["mean"]), found["interval"], found["n_seeds"]) == (pytest.approx(0.8), "seeds", "3")
    assert (float(found["low"]), float(found["high"])) == pytest.approx(expected)
    (labels,) = [line for line in lines if (line["model"], line["measure"]) == ("M1", "label_accuracy")]
    assert (float(labels["mean"]), labels["task"], labels["change"]) == (pytest.approx(0.8), "", "")


def test_latex_sets_every_title_letter_by_letter() -> None:
    assert escape_latex("50% of a_b & c#1 ~ {x} ^2 $ \\input|<>") == (
        r"50\% of a\_b \& c\#1 \textasciitilde{} \{x\} \textasciicircum{}2 \$ \textbackslash{}input\textbar{}"
        r"\textless{}\textgreater{}"
    )
    assert escape_latex('"na\u00efve" \u4e2d\x1b\u00fe') == (
        "{''}na\u00efve{''} \\texttt{U+4E2D}\\texttt{U+241B}\\texttt{U+00FE}"
    )


def test_latex_is_one_booktabs_table_with_as_many_cells_in_every_row() -> None:
    text = "".join(encode_latex(build_compared("50% & more")))
    assert r"\caption{Accuracy of 50\% \& more}" in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + 6
    assert {line.replace(r"\&", "").count("&") for line in rows} == {2}
    assert r"\textbf{32.5} $\downarrow$* {\scriptsize (26.3--38.7)}" in text
    for opening in ("table", "tabular", "minipage"):
        assert text.count(f"\\begin{{{opening}}}") == text.count(f"\\end{{{opening}}}") == 1
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 3, 1]
