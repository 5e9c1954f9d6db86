"""Points and the x axes: every place is worked out by hand from the plan of ``STAGES``."""

from __future__ import annotations

from array import array
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cream_tui.views.series import (
    Points,
    build_points,
    build_timeline,
    compute_wilson_bounds,
    count_trained_tokens,
    find_epochs,
    merge_points,
)
from db.rows import StageRow
from db.run_series import SeriesColumns, SeriesInfo
from engine.method.statistics import compute_wilson_interval


def describe_stage(position: int, name: str, iteration: int, label: str, **changes: object) -> StageRow:
    row = StageRow(
        run_id="r",
        position=position,
        stage_id=position + 1,
        key=f"k{position}",
        name=name,
        iteration=iteration,
        label=label,
        state="done",
        owner_run_id="r",
        n_done=0,
        n_total=None,
        unit=None,
        n_tokens=None,
        started_at=100.0 + 10 * position,
        finished_at=108.0 + 10 * position,
        error=None,
        n_attempts=1,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


# SFT has 4 steps, the training of iteration 1 has 10, that of iteration 2 has come to step 3 of 10.
STAGES = [
    describe_stage(0, "evaluate", 0, "evaluate M0", n_tokens=7),
    describe_stage(1, "train", 0, "train M1 (SFT)", n_done=4, n_total=4),
    describe_stage(2, "evaluate", 0, "evaluate M1", n_tokens=9),
    describe_stage(3, "sample", 1, "sample t=1", n_tokens=100),
    describe_stage(4, "score", 1, "score t=1", n_tokens=300),
    describe_stage(5, "agree", 1, "agree t=1"),
    describe_stage(6, "train", 1, "train M2", n_done=10, n_total=10),
    describe_stage(7, "evaluate", 1, "evaluate M2", n_tokens=9),
    describe_stage(8, "sample", 2, "sample t=2", n_tokens=200),
    describe_stage(9, "train", 2, "train M3", n_done=3, n_total=10, state="running", finished_at=None),
    describe_stage(10, "evaluate", 2, "evaluate M3", state="pending", started_at=None, finished_at=None),
    describe_stage(11, "sample", 3, "sample t=3", state="pending", started_at=None, finished_at=None),
]


def make_columns(rows: list[tuple[int, int, float]], first_id: int = 1) -> SeriesColumns:
    """Rows of (position, step, value); metric_ids rise from ``first_id``."""
    return SeriesColumns(
        "loss",
        "train",
        array("q", [position for position, _, _ in rows]),
        array("q", [0 for _ in rows]),
        array("q", [step for _, step, _ in rows]),
        array("d", [value for _, _, value in rows]),
        array("d", [1000.0 + k for k in range(len(rows))]),
        array("q", range(first_id, first_id + len(rows))),
    )


def make_points(rows: list[tuple[int, int]]) -> Points:
    return build_points(make_columns([(position, step, 0.0) for position, step in rows]))


def test_steps_run_over_the_trainings_of_all_iterations() -> None:
    """SFT ends at 4, iteration 1 at 4 + 10; a step s of the third training lies at 14 + s."""
    xs = build_timeline(STAGES).place(make_points([(1, 1), (1, 4), (6, 1), (6, 10), (9, 3)]), "step")
    assert xs.tolist() == [1, 4, 5, 14, 17]


def test_iterations_go_from_model_to_model() -> None:
    """Step 1 of 4 of iteration 0 is at 1/4; step 5 of 10 of iteration 1 at 1.5; step 3 of 10 of iteration 2 at 2.3."""
    xs = build_timeline(STAGES).place(make_points([(1, 1), (1, 4), (6, 5), (9, 3)]), "iteration")
    assert xs.tolist() == pytest.approx([0.25, 1.0, 1.5, 2.3])


@pytest.mark.parametrize(("axis", "places"), [("step", [0, 4, 4, 4, 14, 14]), ("iteration", [0, 1, 1, 1, 2, 2])])
def test_other_stages_stand_where_their_model_does(axis: str, places: list[float]) -> None:
    """Evaluations at the model that they evaluate, stages of iteration t at M_t; what there is of M3 lies in step 0."""
    points = make_points([(0, 0), (2, 0), (3, 0), (5, 0), (7, 0), (8, 0)])
    assert build_timeline(STAGES).place(points, axis).tolist() == places


def test_what_is_known_of_a_training_as_a_whole_stands_at_its_end() -> None:
    assert build_timeline(STAGES).place(make_points([(6, 0)]), "step").tolist() == [14]


def test_tokens_count_all_but_evaluations() -> None:
    """100 + 300 before the training of iteration 1, which goes over 50 and ends at 450; 200 more before the next."""
    timeline = build_timeline(STAGES, trained_tokens={1: 50.0, 2: 80.0})
    xs = timeline.place(make_points([(0, 0), (3, 0), (6, 5), (6, 10), (7, 0), (9, 5)]), "tokens")
    assert xs.tolist() == [0, 0, 425, 450, 450, 690]


def test_the_wall_axis_begins_with_the_first_stage() -> None:
    timeline = build_timeline(STAGES)
    assert timeline.started_at == 100.0
    assert timeline.place(make_points([(1, 1), (1, 2)]), "wall").tolist() == [900, 901]


def test_marks_stand_at_the_models_that_exist_or_train() -> None:
    """M3 is in training: its place on the step axis is known from the number of steps, its time is not."""
    timeline = build_timeline(STAGES)
    assert timeline.list_marks("step") == [(0, "M0"), (4, "M1"), (14, "M2"), (24, "M3")]
    assert timeline.list_marks("wall") == [(0, "M0"), (18, "M1"), (68, "M2")]


def test_an_axis_ends_where_the_stages_do() -> None:
    """The training that goes on has 10 steps after step 14; the last stage to end did so 88 s after the beginning."""
    timeline = build_timeline(STAGES)
    assert [timeline.find_end(axis) for axis in ("step", "iteration", "wall")] == [24, 3, 88]
    assert build_timeline([]).find_end("wall") == 0


def test_without_sft_the_first_training_begins_at_m1() -> None:
    stages = [
        describe_stage(0, "evaluate", 0, "evaluate M0"),
        describe_stage(1, "sample", 1, "sample t=1"),
        describe_stage(2, "train", 1, "train M2", n_done=10, n_total=10),
    ]
    timeline = build_timeline(stages)
    assert timeline.place(make_points([(1, 0), (2, 10)]), "step").tolist() == [0, 10]
    assert timeline.list_marks("step") == [(0, "M1"), (10, "M2")]


def test_steps_are_counted_from_the_metrics_where_the_stage_does_not() -> None:
    stages = [describe_stage(0, "train", 0, "train M1"), describe_stage(1, "train", 1, "train M2")]
    series = [
        SeriesInfo("loss", "train", 0, 0, "train M1", 1, 6),
        SeriesInfo("z", "train", 0, 0, "train M1", 1, 2),
    ]
    assert build_timeline(stages, series).place(make_points([(1, 2)]), "step").tolist() == [6]


def test_an_x_names_its_iteration_and_step() -> None:
    timeline = build_timeline(STAGES)
    found = timeline.find_step("step", 17.0)
    assert found is not None
    assert (found[0].label, found[1]) == ("train M3", 3)
    assert timeline.find_iteration("step", 17.0) == 2
    assert timeline.find_iteration("step", 4.0) == 1
    assert timeline.find_step("step", 0.0) is None


def test_a_point_of_an_unknown_stage_does_no_harm() -> None:
    assert len(build_timeline(STAGES).place(make_points([(40, 1)]), "step")) == 1


def test_later_points_are_added() -> None:
    points = merge_points(build_points(make_columns([(1, 1, 0.5), (1, 2, 0.4)])), make_columns([(1, 3, 0.3)], 3))
    assert points.step.tolist() == [1, 2, 3]
    assert points.cursor == 3


def test_a_replayed_step_takes_the_place_of_the_old_one() -> None:
    old = build_points(make_columns([(1, 1, 0.5), (1, 2, 0.4), (6, 1, 0.2)]))
    points = merge_points(old, make_columns([(1, 2, 9.0), (1, 3, 8.0)], 10))
    assert list(zip(points.position, points.step, points.value, strict=True)) == [
        (1, 1, 0.5),
        (1, 2, 9.0),
        (1, 3, 8.0),
        (6, 1, 0.2),
    ]
    assert points.cursor == 11


def test_nothing_new_leaves_the_points_as_they_are() -> None:
    old = build_points(make_columns([(1, 1, 0.5)]))
    assert merge_points(old, make_columns([])) is old
    assert len(merge_points(None, make_columns([(1, 1, 0.5)]))) == 1


keys = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), unique=True, max_size=12).map(sorted)


@given(keys, keys)
def test_merging_equals_a_dictionary(old: list[tuple[int, int]], new: list[tuple[int, int]]) -> None:
    """The oracle is a dictionary by (position, step) that takes the old rows, then the new ones."""
    first = make_columns([(position, step, 1.0) for position, step in old])
    second = make_columns([(position, step, 2.0) for position, step in new], 100)
    points = merge_points(build_points(first), second)
    expected = dict.fromkeys(old, 1.0) | dict.fromkeys(new, 2.0)
    found = dict(zip(zip(points.position.tolist(), points.step.tolist(), strict=True), points.value, strict=True))
    assert found == expected
    assert list(found) == sorted(found)


def test_trained_tokens_are_both_sides_of_all_pairs_of_every_epoch() -> None:
    """Two epochs over 10 pairs of 3 + 5 tokens: 2 x 10 x 8 = 160."""
    known = {"n_pairs": 10.0, "chosen_n_tokens": 3.0, "rejected_n_tokens": 5.0}
    assert count_trained_tokens({1: known, 2: {"n_pairs": 10.0}}, 2.0) == {1: 160.0}


@pytest.mark.parametrize(
    ("config", "epochs"), [({"training": {"epochs": 3}}, 3.0), ({}, 1.0), ({"training": None}, 1.0)]
)
def test_epochs_come_from_the_configuration(config: dict[str, object], epochs: float) -> None:
    assert find_epochs(config) == epochs


def test_bounds_are_wilsons() -> None:
    low, high = compute_wilson_bounds(np.array([3.0, 0.0]), np.array([10.0, 5.0]))
    assert (low[0], high[0]) == compute_wilson_interval(3, 10)
    assert (low[1], high[1]) == compute_wilson_interval(0, 5)
