"""Curves over seeds, values at a cursor, and how a comparison is written: figures derived by hand."""

from __future__ import annotations

import json
from array import array
from dataclasses import replace

import numpy as np
import pytest

from cream_tui.views.compare import MetricValue, SeedArm, Spread, SummaryCell, SummaryRow, split_runs
from cream_tui.views.compare_selection import select
from cream_tui.views.compare_series import (
    ArmCurve,
    build_arm_curve,
    build_curve_points,
    drop_sft,
    is_pointwise,
    order_chart_metrics,
    read_values_at,
)
from cream_tui.views.compare_text import (
    build_heads,
    build_settings_table,
    build_summary_table,
    describe_cell,
    describe_greedy,
    describe_sampled,
    filter_metrics,
    format_delta,
    format_metric,
    title_metric,
)
from cream_tui.views.series import Points, StageSpan, Timeline
from cream_tui.views.shared_prompts import OutcomeCount, Relation, SampledComparison
from db.compare_reads import Curve
from db.rows import RunRow

LOSS = ("train", "loss")


def build_run(name: str, seed: int = 0, method: str = "cream", state: str = "done") -> RunRow:
    config = json.dumps({"name": name, "seed": seed, "method": {"name": method}, "training": {"beta": 0.1}})
    return RunRow(
        run_id=f"id-{name}", name=name, method=method, seed=seed, iterations=2, state=state, created_at=1.0,
        started_at=1.0, finished_at=2.0, config_json=config, config_digest="d", lineage_json="{}", base_folder="/m0",
        base_digest="m0", parent_run_id=None, fork_at=None, reuse=True, provenance_json="{}", stop_requested_at=None,
        exit_code=0, error=None, note="", is_baseline=False, queue_position=None, tags=(),
    )  # fmt: skip


def build_timeline(n_steps: int) -> Timeline:
    """One training, of M2 from M1, that takes n steps and begins at step 0."""
    ends = {"step": float(n_steps), "iteration": 2.0}
    span = StageSpan(0, 1, "train", "train M2", n_steps, low={"step": 0.0, "iteration": 1.0}, high=ends)
    return Timeline({0: span}, ({"step": 0.0, "iteration": 0.0},), None)


def build_points(values: list[float], iteration: int = 1) -> Points:
    return build_curve_points(
        Curve(((0, iteration, len(values)),), array("q", range(1, len(values) + 1)), array("d", values), array("d"), 9)
    )


def build_arm(*seeds: int) -> SeedArm:
    return SeedArm("A", "arm", tuple(build_run(f"s{k}", seed) for k, seed in enumerate(seeds)))


def test_seeds_are_joined_at_equal_shares_of_training() -> None:
    """2 steps, at 1.5 and 2, against 4, at 1.25, 1.5, 1.75 and 2: both have 1.5 to 2, the longer one's grid.

    There the first has 1, 3, 5 and the second 2, 3, 4: means 1.5, 3, 4.5, deviations |1| / sqrt 2, 0, |1| / sqrt 2.
    On the step axis 1.5 is step 1 of the first and step 2 of the second: 1.5 on average.
    """
    points = {"id-s0": build_points([1.0, 5.0]), "id-s1": build_points([9.0, 2.0, 3.0, 4.0])}
    timelines = {"id-s0": build_timeline(2), "id-s1": build_timeline(4)}
    curve = build_arm_curve(build_arm(0, 1), points, timelines, axis="step", is_pointwise=False)
    assert curve is not None and curve.low is not None and curve.high is not None
    assert curve.xs.tolist() == [1.5, 2.25, 3.0]
    assert curve.ys.tolist() == [1.5, 3.0, 4.5]
    assert (curve.high - curve.ys).tolist() == pytest.approx([0.5**0.5, 0.0, 0.5**0.5])
    assert (curve.ys - curve.low).tolist() == pytest.approx([0.5**0.5, 0.0, 0.5**0.5])
    assert curve.n_seeds == 2
    iteration = build_arm_curve(build_arm(0, 1), points, timelines, axis="iteration", is_pointwise=False)
    assert iteration is not None and iteration.xs.tolist() == [1.5, 1.75, 2.0]


def test_one_seed_twice_has_a_mean_and_no_band() -> None:
    points = {"id-s0": build_points([1.0, 2.0]), "id-s1": build_points([3.0, 4.0])}
    timelines = {run_id: build_timeline(2) for run_id in points}
    curve = build_arm_curve(build_arm(7, 7), points, timelines, axis="step", is_pointwise=False)
    assert curve is not None
    assert (curve.ys.tolist(), curve.low, curve.n_seeds) == ([2.0, 3.0], None, 1)


def test_a_seed_without_points_leaves_the_other_as_it_is() -> None:
    points = {"id-s0": build_points([1.0, 2.0]), "id-s1": build_points([])}
    timelines = {run_id: build_timeline(2) for run_id in points}
    curve = build_arm_curve(build_arm(0, 1), points, timelines, axis="step", is_pointwise=True)
    assert curve is not None
    assert (curve.xs.tolist(), curve.ys.tolist(), curve.low, curve.is_points) == ([1.0, 2.0], [1.0, 2.0], None, True)
    assert build_arm_curve(build_arm(0), {}, timelines, axis="step", is_pointwise=True) is None


def test_the_value_at_a_place_is_that_of_the_nearest_point() -> None:
    curve = ArmCurve("A", "a", np.array([1.0, 2.0, 4.0]), np.array([5.0, 6.0, 7.0]), None, None, 1, False)
    assert [curve.find_value(x) for x in (0.9, 1.0, 1.6, 3.5, 4.1, None)] == [None, 5.0, 6.0, 7.0, None, 7.0]


def test_values_at_a_cursor_leave_out_who_has_not_come_so_far() -> None:
    points = {("r", LOSS): build_points([1.0, 2.0]), ("s", LOSS): build_points([1.0, 2.0, 3.0, 4.0])}
    timelines = {"r": build_timeline(2), "s": build_timeline(4)}
    assert read_values_at(points, timelines, "step", 3.2) == {"s": {LOSS: MetricValue(3.0, None)}}


def test_fine_tuning_is_no_part_of_a_curve() -> None:
    both = replace(build_points([1.0, 2.0, 3.0]), iteration=np.array([0, 1, 1]))
    assert drop_sft(both, "train").value.tolist() == [2.0, 3.0]
    assert drop_sft(both, "evaluate").value.tolist() == [1.0, 2.0, 3.0]


def test_metrics_of_models_are_points() -> None:
    steps = build_points([1.0, 2.0])
    assert not is_pointwise(LOSS, [steps])
    assert is_pointwise(("evaluate", "accuracy"), [steps])
    assert is_pointwise(("train", "final_z"), [replace(steps, step=np.zeros(2, dtype=np.int64))])


def test_charts_begin_with_what_tells_most() -> None:
    metrics = [("sample", "n_prompts"), ("train", "entropy"), ("evaluate", "accuracy"), LOSS]
    assert order_chart_metrics(metrics) == [
        LOSS,
        ("evaluate", "accuracy"),
        ("train", "entropy"),
        ("sample", "n_prompts"),
    ]


# How it is written ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "value", "text", "delta"),
    [
        (("evaluate", "accuracy"), 0.682, "68.2", "+68.2"),
        (("evaluate", "accuracy/gsm8k"), 0.5, "50.0", "+50.0"),
        (("agree", "tau_anchor"), -0.125, "−0.12", "−0.12"),
        (LOSS, 0.23511, "0.2351", "+0.235"),
        (("train", "learning_rate"), 1e-5, "1e-5", "+1e-5"),
        (("pair", "n_pairs"), 1234.0, "1,234", "+1234"),
        (("cost", "wall_s"), 75.0, "1:15", "+1:15"),
        (("cost", "peak_rss_bytes"), -3 * 2**20, None, "−3.0 MiB"),
    ],
)
def test_numbers_are_written_in_the_unit_of_their_metric(metric, value, text, delta) -> None:
    assert text is None or format_metric(metric, value) == text
    assert format_delta(metric, value) == delta


def test_titles_tell_metrics_of_one_name_apart() -> None:
    titles = [title_metric((stage, "mean_n_tokens")) for stage in ("sample", "evaluate")]
    assert titles == ["sample/mean_n_tokens", "evaluate/mean_n_tokens"]
    assert title_metric(("evaluate", "accuracy")) == "accuracy %"
    assert title_metric(("train", "learning_rate")) == "train/learning_rate"


def test_a_filter_takes_any_of_its_words() -> None:
    metrics = [LOSS, ("agree", "tau_anchor"), ("train", "entropy")]
    assert filter_metrics(metrics, "TAU entr") == metrics[1:]
    assert filter_metrics(metrics, " ") == metrics


def test_a_cell_of_another_iteration_says_so_instead_of_a_delta() -> None:
    metric = ("evaluate", "accuracy")
    assert describe_cell(metric, SummaryCell(Spread(0.7, 0.01, 3), 2, 0.1, True), 2) == ("70.0", "*", "±1.0", "+10.0")
    assert describe_cell(metric, SummaryCell(Spread(0.7, None, 1), 1), 2) == ("70.0", "", "", "t=1")
    assert describe_cell(metric, SummaryCell(Spread(0.7, None, 1), 1), None) == ("70.0", "", "", "")
    assert describe_cell(metric, None, 2) == ("–", "", "", "")


def test_the_summary_aligns_its_parts_and_lets_long_words_be() -> None:
    arms = split_runs([build_run("a"), build_run("b", method="srlm")])
    cells = (SummaryCell(Spread(0.5, None, 1), 1), SummaryCell(Spread(0.65, None, 1), 1, 0.15, True))
    seconds = (SummaryCell(Spread(36000.0, None, 1)), SummaryCell(Spread(1.0, None, 1), delta=-35999.0))
    rows = [SummaryRow("evaluate", "accuracy", cells), SummaryRow("cost", "wall_s", seconds)]
    heads = build_heads(arms, colours={"A": 1, "B": 2}, baseline=0, cursor=1)
    columns, lines = build_summary_table(arms, rows, heads, baseline=0)
    text = ["|".join("".join(span for span, _ in cell) for cell in line.cells) for line in lines]
    assert text == ["accuracy %|50.0|65.0* +15.0", "wall time|10:00:00|1.0 s −9:59:59"]
    titles = ["".join(span for span, _ in column.title) for column in columns]
    assert titles == ["metric", " A a", "▸B b"]
    assert [column.subtitle for column in columns[1:]] == [(("   baseline", "label"),), (("   ", "label"),)]


def test_settings_show_what_differs_from_the_baseline() -> None:
    runs = [build_run("a"), build_run("b", method="srlm", seed=1)]
    heads = build_heads(split_runs(runs), colours={"A": 1, "B": 2}, baseline=0, cursor=0)
    _, lines, n_differing, n = build_settings_table(runs, heads, baseline=0, is_all=False)
    assert [[cell[0][0] for cell in line.cells] for line in lines] == [
        ["seed", "0", "1"],
        ["method.name", "cream", "srlm"],
    ]
    assert (n_differing, n) == (2, 3)
    _, lines, *_ = build_settings_table(runs, heads, baseline=1, is_all=True)
    assert [cell[0][0] for cell in lines[-1].cells] == ["training.beta", "=", "0.1"]


def test_prompts_are_counted_in_words() -> None:
    assert describe_greedy("M2", OutcomeCount(5, 0, 3, 2)) == [
        "greedy answers of M2, 10 items",
        "  win 5   lose 0   tie 5   p = 0.062",
        "  3 both right, 2 both wrong",
    ]
    assert describe_greedy("M2", OutcomeCount()) == []
    same = SampledComparison(1, True, 60, 60, 0.5, 0.5, None, OutcomeCount(0, 0, 40, 20), {Relation.SAME: 60})
    assert describe_sampled(same) == ["sampled at t=1, 60 prompts, the same responses", "  same pair 60"]
    own = SampledComparison(2, False, 60, 60, 0.52, 0.5, (-0.01, 0.05), OutcomeCount(3, 2, 40, 15), {})
    assert describe_sampled(own) == [
        "sampled at t=2, 60 prompts, own responses",
        "  right 52.0 % against 50.0 %: +2.0 (−1.0 to +5.0)",
        "  chosen right: win 3   lose 2   tie 55   p = 1.00",
    ]


# Which runs ----------------------------------------------------------------------------------------------------------


def test_the_rival_is_the_arm_under_the_cursor_at_the_seed_of_the_baseline() -> None:
    runs = [build_run("b0", 0, "srlm"), build_run("c1", 1), build_run("c0", 0), build_run("r", 0, "random")]

    def choose(cursor: str | None, *, is_grouped: bool = True, pinned: str | None = None) -> tuple[str, str | None]:
        found = select(runs, is_grouped=is_grouped, cursor_id=cursor, hidden_ids=frozenset(), pinned_id=pinned)
        return found.baseline_run.name, None if found.rival is None else found.rival.name

    assert choose(None) == ("b0", "c0")
    assert choose("id-c1") == ("b0", "c0")
    assert choose("id-c1", is_grouped=False) == ("b0", "c1")
    assert choose("id-r") == ("b0", "r")
    assert choose("id-r", pinned="id-r") == ("r", "b0")
    assert choose("gone", pinned="") == ("b0", "c0")


def test_runs_of_one_arm_stand_against_each_other() -> None:
    found = select(
        [build_run("a", 0), build_run("b", 1)], is_grouped=True, cursor_id=None, hidden_ids=frozenset(), pinned_id=None
    )
    assert found.rival is not None
    assert (found.baseline_run.name, found.rival.name, len(found.arms)) == ("a", "b", 1)


def test_an_arm_is_hidden_with_its_last_run_and_keeps_its_colour() -> None:
    runs = [build_run("a", 0), build_run("b", 0, "srlm"), build_run("c", 1)]

    def hide(*names: str) -> frozenset[str]:
        ids = frozenset(f"id-{name}" for name in names)
        return select(runs, is_grouped=True, cursor_id=None, hidden_ids=ids, pinned_id=None).hidden

    assert (hide("a"), hide("a", "c"), hide("b")) == (frozenset(), {"A"}, {"B"})
    grouped = select(runs, is_grouped=True, cursor_id=None, hidden_ids=frozenset(), pinned_id=None)
    assert {letter: grouped.colours[letter] for letter in "AB"} == {"A": 1, "B": 2}
    assert grouped.find_letter("id-c") == "A"
