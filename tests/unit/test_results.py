"""Results: intervals over tasks, paired tests, and which evaluation belongs to which model."""

from __future__ import annotations

import pytest

from cream_tui.results import (
    ModelResult,
    TaskCount,
    adjust_by_holm,
    build_results,
    compute_accuracy_interval,
    compute_paired_test,
    find_evaluated_model,
)
from cream_tui.units import format_age, format_bytes, format_duration, format_p_value, format_signed
from db.rows import RunMetric, StageRow
from engine.method.statistics import compute_wilson_interval


def build_stage(name: str, label: str, iteration: int, state: str = "done") -> StageRow:
    return StageRow(
        run_id="r", position=0, stage_id=1, key="k", name=name, iteration=iteration, label=label, state=state,
        owner_run_id="r", n_done=1, n_total=1, unit="", n_tokens=None, started_at=1.0, finished_at=2.0, error=None,
        n_attempts=1,
    )  # fmt: skip


def test_interval_of_one_task_is_wilsons() -> None:
    assert compute_accuracy_interval([TaskCount("a", 70, 100)]) == compute_wilson_interval(70, 100)


def test_interval_of_two_equal_tasks_is_narrower_by_the_root_of_two() -> None:
    """Two tasks of equal counts: half = sqrt(2 h^2) / 2 = h / sqrt(2), around the same mean."""
    low, high = compute_wilson_interval(50, 100)
    found = compute_accuracy_interval([TaskCount("a", 50, 100), TaskCount("b", 50, 100)])
    assert found == pytest.approx((0.5 - (0.5 - low) / 2**0.5, 0.5 + (high - 0.5) / 2**0.5))


def test_paired_test_counts_shared_items_only() -> None:
    """Shared a, b, c; b only the first, c only the second: exact McNemar of 1 against 1 is p = 1."""
    first = ModelResult("M1", items={("t", "a"): True, ("t", "b"): True, ("t", "c"): False, ("t", "x"): True})
    second = ModelResult("M2", items={("t", "a"): True, ("t", "b"): False, ("t", "c"): True, ("t", "y"): True})
    test = compute_paired_test(first, second)
    assert test is not None
    assert (test.n_items, test.n_first_only, test.n_second_only, test.p_value) == (3, 1, 1, 1.0)
    assert (test.first_accuracy, test.second_accuracy) == (2 / 3, 2 / 3)
    assert compute_paired_test(first, ModelResult("M3")) is None


def test_holm_keeps_the_order_and_never_falls() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1: 0.04, 0.06, 0.06 and 0.5; 0.06 again, as it may not fall."""
    assert adjust_by_holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert adjust_by_holm([0.6, 0.7]) == [1.0, 1.0]
    assert adjust_by_holm([]) == []


def test_evaluations_of_iteration_0_are_told_apart_by_their_label() -> None:
    assert find_evaluated_model(build_stage("evaluate", "evaluate M0", 0)) == "M0"
    assert find_evaluated_model(build_stage("evaluate", "evaluate M1", 0)) == "M1"
    assert find_evaluated_model(build_stage("evaluate", "evaluate", 3)) == "M4"


def test_without_sft_m1_has_the_evaluation_of_m0() -> None:
    rows = {("b", "1"): True}
    sft = build_stage("train", "train M1 (SFT)", 0, state="running")
    later = build_stage("train", "train M2", 1, state="pending")
    assert [model.name for model in build_results([sft, later], [], {"M0": rows})] == ["M0"]
    m0, m1 = build_results([later], [], {"M0": rows})
    assert (m1.name, m1.tasks, m1.items) == ("M1", m0.tasks, m0.items)


def test_changed_share_belongs_to_the_model_that_was_trained() -> None:
    metrics = [RunMetric(1, 1, "train", 0, "changed_share", 0.5, 1.0), RunMetric(2, 1, "train", 1, "loss", 0.7, 1.0)]
    results = build_results([build_stage("train", "train M2", 1)], metrics, {})
    assert [(model.name, model.changed_share) for model in results] == [("M0", None), ("M2", 0.5)]


def test_measures_of_iteration_t_belong_to_the_model_that_sampled() -> None:
    stages = [build_stage("train", "train M1 (SFT)", 0), build_stage("train", "train M2", 1, state="running")]
    metrics = [
        RunMetric(1, 1, "agree", 0, "tau_previous", 0.5, 1.0),
        RunMetric(2, 1, "train", 0, "tau_previous", 9.0, 1.0),
        RunMetric(3, 1, "pair", 4, "confidence", 9.0, 1.0),
    ]
    rows = {("b", "1"): True}
    results = build_results(stages, metrics, {"M0": rows})
    assert [model.name for model in results] == ["M0", "M1"]
    assert results[0].accuracy == 1.0
    assert results[1].measures == {"tau_previous": 0.5}
    assert results[1].accuracy is None


def test_measures_of_an_evaluation_belong_to_the_model_it_evaluates() -> None:
    rows = {"M2": {("b", "1"): False}}
    metrics = [
        RunMetric(1, 1, "sample", 0, "extraction_failure_rate", 0.1, 1.0, "sample t=1"),
        RunMetric(2, 1, "evaluate", 0, "extraction_failure_rate", 0.5, 1.0, "evaluate M2"),
        RunMetric(3, 1, "evaluate", 0, "truncated_rate", 0.2, 1.0, "evaluate M2"),
    ]
    measures = {model.name: model.measures for model in build_results([], metrics, rows)}
    assert measures["M1"] == {"extraction_failure_rate": 0.1}
    assert measures["M2"] == {"evaluation_extraction_failure_rate": 0.5, "evaluation_truncated_rate": 0.2}


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (format_duration(4.12), "4.1 s"),
        (format_duration(65), "1:05"),
        (format_duration(7384), "2:03:04"),
        (format_duration(59.7), "1:00"),
        (format_duration(None), "–"),
        (format_bytes(1.6 * 2**20), "1.6 MiB"),
        (format_bytes(512), "512 B"),
        (format_age(3 * 86400), "3 days ago"),
        (format_age(90), "1 min ago"),
        (format_signed(-0.001), "0.00"),
        (format_signed(-0.5), "−0.50"),
        (format_p_value(0.0004), "p < 0.001"),
        (format_p_value(0.043), "p = 0.043"),
        (format_p_value(0.0497), "p < 0.05"),
        (format_p_value(0.0501), "p = 0.050"),
        (format_p_value(0.34), "p = 0.34"),
    ],
)
def test_numbers_as_they_are_written(shown: str, expected: str) -> None:
    assert shown == expected
