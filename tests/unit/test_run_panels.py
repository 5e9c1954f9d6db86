"""Panels, pages, bars of tau and figures: what the Run screen draws, worked out by hand."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from cream_tui.views.pages import Pages
from cream_tui.views.panels import (
    HISTOGRAMS,
    Line,
    Panel,
    draw_panel,
    find_pair_iteration,
    find_point,
    list_figures,
    list_needed,
    list_panels,
    name_metric,
    name_point,
    read_out,
)
from cream_tui.views.series import Points, build_points, build_timeline
from cream_tui.views.taus import count_taus
from cream_tui.widgets.chart_look import _build_series
from cream_tui.widgets.figures import lay_out_figures
from db.rows import StageRow
from db.run_series import SeriesColumns, SeriesInfo, TauCount
from engine.method.agreement import compute_tau_null
from engine.method.statistics import compute_wilson_interval


def make_stage(position: int, name: str, iteration: int, label: str, n_steps: int = 0) -> StageRow:
    begin = 100.0 + position
    return StageRow(
        run_id="r", position=position, stage_id=position, key=str(position), name=name, iteration=iteration,
        label=label, state="done", owner_run_id="r", n_done=n_steps, n_total=n_steps, unit=None, n_tokens=None,
        started_at=begin, finished_at=begin + 1, error=None, n_attempts=1,
    )  # fmt: skip


TIMELINE = build_timeline(
    [
        make_stage(0, "evaluate", 0, "evaluate M0"),
        make_stage(1, "train", 0, "train M1 (SFT)", 4),
        make_stage(2, "evaluate", 0, "evaluate M1"),
        make_stage(3, "agree", 1, "agree t=1"),
        make_stage(4, "pair", 1, "pair t=1"),
        make_stage(5, "train", 1, "train M2", 10),
        make_stage(6, "evaluate", 1, "evaluate M2"),
    ]
)


def make_points(*rows: tuple[int, int, float], at: float = 0.0) -> Points:
    """Rows of (position, step, value)."""
    positions, steps, values = zip(*rows, strict=True)
    n = len(rows)
    return build_points(
        SeriesColumns(
            "", "", array("q", positions), array("q", [0] * n), array("q", steps), array("d", values),
            array("d", [at + k for k in range(n)]), array("q", range(1, n + 1)),
        )
    )  # fmt: skip


def test_keys_of_panels_do_not_depend_on_what_there_is() -> None:
    series = [SeriesInfo("accuracy/gsm8k", "evaluate", 0, 0, "evaluate M0", 0, 0)]
    keys = [panel.key for panel in list_panels()]
    assert [panel.key for panel in list_panels(series)] == keys
    assert keys[:4] == ["loss", "z", "accuracy", "tau"]
    assert [panel.key for panel in list_panels(series, ["train:grad_norm"])] == [*keys, "train:grad_norm"]


def test_each_task_has_a_line() -> None:
    names = ("accuracy", "accuracy/gsm8k", "accuracy/arc", "n_items/arc")
    series = [SeriesInfo(name, "evaluate", 0, 0, "evaluate M0", 0, 0) for name in names]
    (panel,) = (panel for panel in list_panels(series) if panel.key == "accuracy")
    assert [line.label for line in panel.lines] == ["gsm8k", "arc"]
    assert ("evaluate", "n_correct/arc") in panel.needed


def test_scales_that_differ_never_share_a_panel() -> None:
    """z is beta-scaled and against the DPO reference, a margin is not."""
    for panel in list_panels():
        metrics = {metric for _, metric in panel.needed}
        assert not ({"z", "target_z"} & metrics and {"median_margin", "loss", "chosen_logprob"} & metrics)


def test_only_what_is_visible_is_needed() -> None:
    (loss, z) = list_panels()[:2]
    assert list_needed([loss]) == {("train", "loss")}
    assert list_needed([loss, z]) == {("train", "loss"), ("train", "z"), ("train", "target_z")}
    assert name_metric("train", "z") == "train:z"


def test_an_accuracy_has_wilsons_interval_of_its_own_counts() -> None:
    line = Line("gsm8k", "evaluate", "accuracy/gsm8k", right="n_correct/gsm8k", total=("n_items/gsm8k",))
    points = {
        ("evaluate", "accuracy/gsm8k"): make_points((0, 0, 0.3), (2, 0, 0.7)),
        ("evaluate", "n_correct/gsm8k"): make_points((0, 0, 3.0), (2, 0, 14.0)),
        ("evaluate", "n_items/gsm8k"): make_points((0, 0, 10.0), (2, 0, 20.0)),
    }
    (drawn,) = draw_panel(Panel("a", "a", (line,)), points, TIMELINE, "step")
    assert drawn.xs.tolist() == [0, 4]
    assert drawn.low is not None and drawn.high is not None
    assert (drawn.low[1], drawn.high[1]) == compute_wilson_interval(14, 20)


def test_the_total_of_labels_is_right_and_inverted_together() -> None:
    (panel,) = (panel for panel in list_panels() if panel.key == "labels")
    points = {
        ("pair", "label_accuracy"): make_points((4, 0, 0.75)),
        ("pair", "n_right"): make_points((4, 0, 30.0)),
        ("pair", "n_inverted"): make_points((4, 0, 10.0)),
    }
    (drawn,) = draw_panel(panel, points, TIMELINE, "step")
    assert drawn.low is not None and drawn.high is not None
    assert (drawn.low[0], drawn.high[0]) == compute_wilson_interval(30, 40)


def test_a_tau_has_its_standard_error_on_both_sides() -> None:
    line = Line("previous", "agree", "tau_previous", error="tau_previous_se")
    points = {
        ("agree", "tau_previous"): make_points((3, 0, 0.5)),
        ("agree", "tau_previous_se"): make_points((3, 0, 0.1)),
    }
    (drawn,) = draw_panel(Panel("t", "t", (line,)), points, TIMELINE, "step")
    assert drawn.low is not None and drawn.high is not None
    assert drawn.low[0] == pytest.approx(0.5 - 0.1959964)
    assert drawn.high[0] == pytest.approx(0.5 + 0.1959964)


def test_a_missing_count_leaves_the_interval_open() -> None:
    line = Line("gsm8k", "evaluate", "accuracy/gsm8k", right="n_correct/gsm8k", total=("n_items/gsm8k",))
    points = {("evaluate", "accuracy/gsm8k"): make_points((0, 0, 0.3))}
    (drawn,) = draw_panel(Panel("a", "a", (line,)), points, TIMELINE, "step")
    assert drawn.low is not None and np.isnan(drawn.low[0])


def test_by_the_clock_points_are_sorted() -> None:
    """A shared stage was computed before the own one that precedes it in the plan."""
    points = {("train", "loss"): make_points((1, 1, 0.9), (5, 1, 0.1))}
    points["train", "loss"].at[:] = [300.0, 200.0]
    (drawn,) = draw_panel(list_panels()[0], points, TIMELINE, "wall")
    assert drawn.xs.tolist() == [100, 200]
    assert drawn.points.value.tolist() == [0.1, 0.9]


LOSS = {("train", "loss"): make_points((1, 1, 0.9), (1, 4, 0.7), (5, 2, 0.8), (5, 10, 0.2))}


def test_a_point_says_where_it_is() -> None:
    (drawn,) = draw_panel(list_panels()[0], LOSS, TIMELINE, "step")
    assert drawn.xs.tolist() == [1, 4, 6, 14]
    assert [name_point(drawn, k, TIMELINE) for k in range(4)] == [
        "M1 step 1/4",
        "M1 step 4/4",
        "M2 step 2/10",
        "M2 step 10/10",
    ]


@pytest.mark.parametrize(("x", "place"), [(-5, 0), (1, 0), (2.4, 0), (2.6, 1), (5.2, 2), (6, 2), (99, 3)])
def test_the_nearest_point_is_found(x: float, place: int) -> None:
    (drawn,) = draw_panel(list_panels()[0], LOSS, TIMELINE, "step")
    assert find_point(drawn, x) == place


def test_the_pairs_behind_a_point() -> None:
    """Steps of iteration 1 train on its pairs; M2's accuracy is what they led to; M1 was trained on demonstrations."""
    (loss,) = draw_panel(list_panels()[0], LOSS, TIMELINE, "step")
    assert [find_pair_iteration(loss, k, TIMELINE) for k in range(4)] == [0, 0, 1, 1]
    accuracy = Panel("a", "a", (Line("all", "evaluate", "accuracy"),))
    points = {("evaluate", "accuracy"): make_points((0, 0, 0.1), (2, 0, 0.2), (6, 0, 0.3))}
    (drawn,) = draw_panel(accuracy, points, TIMELINE, "step")
    assert [find_pair_iteration(drawn, k, TIMELINE) for k in range(3)] == [-1, 0, 1]
    tau = Panel("t", "t", (Line("previous", "agree", "tau_previous"),))
    (drawn,) = draw_panel(tau, {("agree", "tau_previous"): make_points((3, 0, 0.5))}, TIMELINE, "step")
    assert find_pair_iteration(drawn, 0, TIMELINE) == 1


def test_figures_name_their_places() -> None:
    panel = list_panels()[0]
    drawn = draw_panel(panel, LOSS, TIMELINE, "step")
    (found,) = list_figures(drawn, TIMELINE, 5.9)
    assert (found.n, found.last, found.last_at) == (4, 0.2, "M2 step 10/10")
    assert (found.least, found.least_at) == (0.2, "M2 step 10/10")
    assert (found.greatest, found.greatest_at) == (0.9, "M1 step 1/4")
    assert (found.at_cursor, found.cursor_at) == (0.8, "M2 step 2/10")
    assert read_out(panel, drawn, TIMELINE, 5.9) == "M2 step 2/10: loss 0.8"
    assert read_out(panel, [], TIMELINE, 5.9) == ""


def test_a_table_of_figures_fits_its_width() -> None:
    figures = list_figures(draw_panel(list_panels()[0], LOSS, TIMELINE, "step"), TIMELINE, 5.9)
    for width in (120, 78, 50, 30):
        table, _, note = lay_out_figures(figures, "a note", width).plain.rpartition("\n")
        assert all(len(line.rstrip()) <= width for line in table.split("\n"))
        assert note == "a note"
        assert "0.8" in table
        assert "last" in table


def test_pages_hold_all_panels_once() -> None:
    pages = Pages(tuple("abcdefghij"))
    seen: list[str] = []
    for _ in range(pages.n_pages):
        seen += pages.visible
        pages = pages.turn(1)
    assert seen == list("abcdefghij")
    assert pages.page == 0
    assert pages.turn(-1).visible == ("i", "j")


def test_a_page_that_is_not_full_has_larger_cells() -> None:
    pages = Pages(tuple("abcdef"))
    assert pages.shape == (2, 2)
    assert pages.turn(1).shape == (2, 1)
    assert Pages(("a",)).shape == (1, 1)


@pytest.mark.parametrize(
    ("size", "cells"), [((118, 26), (2, 2)), ((78, 11), (2, 1)), ((50, 30), (1, 2)), ((20, 3), (1, 1))]
)
def test_a_page_holds_what_fits(size: tuple[int, int], cells: tuple[int, int]) -> None:
    pages = Pages(tuple("abcdef")).fit(*size)
    assert (pages.columns, pages.rows) == cells


def test_a_smaller_page_keeps_the_first_panel_in_sight() -> None:
    pages = Pages(tuple("abcdefgh")).turn(1)
    assert pages.visible[0] == "e"
    assert "e" in pages.fit(78, 11).visible


def test_one_panel_on_its_own_and_back() -> None:
    pages = Pages(tuple("abcdef")).zoom("b")
    assert pages.visible == ("b",)
    assert pages.turn(1).visible == ("c",)
    assert pages.turn(-2).visible == ("f",)
    assert pages.turn(-2).zoom(None).visible == ("e", "f")
    assert pages.show("d").visible == ("d",)
    assert pages.with_keys(("a", "c")).zoomed is None


def test_neighbours_lie_on_other_pages_too() -> None:
    pages = Pages(tuple("abcdef"))
    assert [pages.find_neighbour("b", *step) for step in ((1, 0), (-1, 0), (0, 1), (0, -1))] == ["c", "a", "d", "b"]
    assert pages.find_neighbour("d", 0, 1) == "f"
    assert pages.find_neighbour("f", 1, 0) == "f"


def test_taus_are_counted_in_the_bins_of_the_largest_group() -> None:
    """Five responses: 11 values a fifth apart. A tau of 1/3 (three responses) is nearest to 0.4."""
    bars = count_taus([TauCount(1 / 3, 3, 7), TauCount(0.4, 5, 2), TauCount(-1.0, 5, 1)])
    assert len(bars.centres) == 11
    assert bars.counts[7] == 9
    assert bars.counts[0] == 1
    assert bars.mean == pytest.approx((7 / 3 + 0.8 - 1) / 10)


def test_the_null_counts_each_prompt_with_its_own_number_of_responses() -> None:
    """Three prompts of 5 responses and one of 2, whose tau is 1 or -1 with probability 1/2 each."""
    bars = count_taus([TauCount(0.2, 5, 3), TauCount(1.0, 2, 1)])
    _, probabilities = compute_tau_null(5)
    assert sum(bars.null) == pytest.approx(1.0)
    assert bars.null[5] == pytest.approx(0.75 * probabilities[5])
    assert bars.null[10] == pytest.approx(0.75 * probabilities[10] + 0.25 * 0.5)


def test_many_responses_share_bins() -> None:
    bars = count_taus([TauCount(0.5, 12, 10)])
    assert len(bars.centres) == 21
    assert sum(bars.counts) == 10
    assert sum(bars.null) == pytest.approx(1.0)


def test_without_taus_there_are_no_bars() -> None:
    assert count_taus([]).counts == ()
    assert set(HISTOGRAMS.values()) == {"previous", "anchor"}


def test_each_training_is_a_curve_of_its_own() -> None:
    """A gap parts two trainings, and the smoothed line of the second begins at its own first value."""
    (drawn,) = draw_panel(list_panels()[0], LOSS, TIMELINE, "step")
    series = _build_series(list_panels()[0], drawn, 0.6)
    assert series.xs.tolist() == [1, 4, 6, 6, 14]
    assert np.isnan(series.ys[2])
    assert series.smooth_ys is not None
    assert series.smooth_ys[[0, 3]].tolist() == pytest.approx([0.9, 0.8])
    assert _build_series(list_panels()[0], drawn, 0.0).smooth_ys is None
