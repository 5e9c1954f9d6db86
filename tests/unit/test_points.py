"""Metrics as points of a tracker: which names they get and what their steps count."""

from __future__ import annotations

from db.rows import RunMetric, StageRow
from engine.runtime.mirror import Progress
from engine.runtime.points import Point, build_points


def stage(name: str, iteration: int, label: str, n_total: int | None = None) -> StageRow:
    return StageRow(
        "r", 0, 1, "key", name, iteration, label, "done", "r", 0, n_total, "steps", None, None, None, None, 1
    )


def metric(name: str, step: int, *, stage: str, iteration: int, label: str, metric_id: int = 1) -> RunMetric:
    return RunMetric(metric_id, iteration, stage, step, name, 0.5, 7.0, label)


STAGES = [
    stage("train", 0, "train M1 (SFT)", 100),
    stage("train", 1, "train M2", 30),
    stage("train", 2, "train M3", 20),
    stage("train", 3, "train M4"),
]


def test_steps_of_a_training_have_an_axis_of_their_own_and_one_over_all_iterations() -> None:
    """M3 is trained after the 30 steps of M2: its step 4 is the 34th; SFT has another loss and is not counted."""
    asked = metric("loss", 4, stage="train", iteration=2, label="train M3")
    assert build_points([asked], STAGES) == [
        Point("train/M3/loss", "train/M3/step", 4, 0.5, 7.0),
        Point("train/loss", "train/step", 34, 0.5, 7.0),
    ]


def test_supervised_steps_stay_out_of_the_common_axis() -> None:
    asked = metric("loss", 4, stage="train", iteration=0, label="train M1 (SFT)")
    assert [point.name for point in build_points([asked], STAGES)] == ["train/M1/loss"]


def test_a_number_of_a_whole_stage_is_drawn_over_models() -> None:
    asked = [
        metric("tau_previous", 0, stage="agree", iteration=2, label="agree t=2"),
        metric("accuracy", 0, stage="evaluate", iteration=2, label="evaluate M3"),
        metric("accuracy", 0, stage="evaluate", iteration=0, label="evaluate M0"),
        metric("final_z", 0, stage="train", iteration=1, label="train M2"),
        metric("n_examples", 0, stage="train", iteration=0, label="train M1 (SFT)"),
    ]
    assert [(point.name, point.step) for point in build_points(asked, STAGES)] == [
        ("models/agree/tau_previous", 2),
        ("models/evaluate/accuracy", 3),
        ("models/evaluate/accuracy", 0),
        ("models/train/final_z", 2),
        ("models/train/n_examples", 1),
    ]


def test_stages_of_one_kind_and_iteration_do_not_share_a_series() -> None:
    asked = [
        metric("n_missing", 0, stage="score", iteration=1, label="score t=1"),
        metric("n_missing", 0, stage="score", iteration=1, label="score t=1 (judge:M1)"),
    ]
    names = [point.name for point in build_points(asked, STAGES)]
    assert names == ["models/score/n_missing", "models/score.judge_M1/n_missing"]


def test_no_series_is_a_folder_of_another() -> None:
    asked = [
        metric("accuracy", 0, stage="evaluate", iteration=0, label="evaluate M0"),
        metric("accuracy/gsm8k", 0, stage="evaluate", iteration=0, label="evaluate M0"),
    ]
    first, second = (point.name for point in build_points(asked, STAGES))
    assert not second.startswith(first + "/")


def test_a_replayed_step_is_taken_once() -> None:
    """A training that resumes from the snapshot of step 2 reports step 3 again, under a higher id, and goes on."""
    progress = Progress()
    steps = [(1, 1), (2, 2), (3, 3), (3, 4), (4, 5)]
    metrics = [
        metric("loss", step, stage="train", iteration=1, label="train M2", metric_id=metric_id)
        for step, metric_id in steps
    ]
    assert [found.metric_id for found in progress.take(metrics[:3])] == [1, 2, 3]
    assert [found.metric_id for found in progress.take(metrics[3:])] == [5]
    assert progress.metric_id == 5
