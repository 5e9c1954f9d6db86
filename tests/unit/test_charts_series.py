"""Envelope, smoothing, extents and search of series, against hand-derived numbers and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cream_tui.charts.scales import Scale
from cream_tui.charts.series import (
    Series,
    find_nearest,
    find_step,
    find_x_extent,
    find_y_extent,
    reduce_to_envelope,
    smooth,
    with_smoothing,
)

values = st.floats(-1e6, 1e6) | st.just(math.nan)


def build(ys, xs=None, **more):
    return Series("loss", np.arange(len(ys)) if xs is None else xs, np.array(ys, float), **more)


# Series


def test_points_are_sorted_and_lose_those_without_a_place():
    series = Series("a", [3, 1, math.nan, 2], [30, 10, 0, math.inf], low=[29, 9, 0, 1], high=[31, 11, 0, 3])
    assert series.xs.tolist() == [1, 2, 3]
    assert series.ys[[0, 2]].tolist() == [10, 30] and math.isnan(series.ys[1])
    assert series.low.tolist() == [9, 1, 29]


def test_columns_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="low has shape"):
        Series("a", [1, 2], [1, 2], low=[1])


# Envelope


def test_a_spike_is_kept_in_every_reduction():
    """One point of 10,000 is 100 times the others: the column it falls into reaches it, however few there are."""
    ys = np.ones(10_000)
    ys[6_543] = 100.0
    for n_columns in (2, 7, 240):
        envelope = reduce_to_envelope(np.arange(10_000.0), ys, Scale(0, 9_999), n_columns)
        assert envelope.high.max() == 100.0
        column = round(6_543 / 9_999 * (n_columns - 1))
        assert envelope.high[envelope.places == column] == 100.0


def test_columns_by_hand():
    """Five points at 0..4 on three columns with centres 0, 2, 4: borders at 1 and 3 belong to the right."""
    envelope = reduce_to_envelope(np.arange(5.0), np.array([5.0, 1.0, 9.0, 2.0, 3.0]), Scale(0, 4), 3)
    assert envelope.places.tolist() == [0, 1, 2]
    assert envelope.first.tolist() == [5, 1, 2]
    assert envelope.last.tolist() == [5, 9, 3]
    assert envelope.low.tolist() == [5, 1, 2]
    assert envelope.high.tolist() == [5, 9, 3]
    assert envelope.is_joined.tolist() == [False, True, True]


def test_a_gap_joins_nothing_and_poisons_nothing():
    envelope = reduce_to_envelope(np.arange(5.0), np.array([1.0, 2.0, math.nan, 3.0, 4.0]), Scale(0, 4), 5)
    assert envelope.places.tolist() == [0, 1, 3, 4]
    assert envelope.is_joined.tolist() == [False, True, False, True]
    assert envelope.high.tolist() == [1, 2, 3, 4]


def test_a_window_keeps_the_neighbours_outside():
    """A window from 2 to 3 of 0..5 on three columns: 1 stands two columns left of it, 4 two right of its end."""
    envelope = reduce_to_envelope(np.arange(6.0), np.arange(6.0), Scale(2, 3), 3)
    assert envelope.places.tolist() == [-2, 0, 2, 4]
    assert envelope.first.tolist() == [1, 2, 3, 4]
    assert envelope.is_joined.tolist() == [False, True, True, True]


def test_a_window_between_two_points_is_crossed_by_their_line():
    envelope = reduce_to_envelope(np.array([0.0, 10.0]), np.array([0.0, 1.0]), Scale(4, 6), 5)
    assert envelope.is_joined.tolist() == [False, True]
    assert envelope.places[0] < 0 and envelope.places[1] > 4


def test_a_logarithmic_axis_has_no_place_for_zero():
    envelope = reduce_to_envelope(np.array([0.0, 1.0, 10.0, 100.0]), np.arange(4.0), Scale(1, 100, is_log=True), 3)
    assert envelope.places[~np.isnan(envelope.places)].tolist() == [0, 1, 2]
    assert envelope.is_joined.tolist() == [False, False, True, True]


@given(st.lists(values, max_size=200), st.integers(2, 40), st.floats(-20, 200), st.floats(0.5, 200))
@settings(max_examples=150)
def test_envelope_equals_a_plain_loop(ys, n_columns, low, span):
    scale = Scale(low, low + span)
    envelope = reduce_to_envelope(np.arange(len(ys), dtype=float), np.array(ys, float), scale, n_columns)
    edges = [low + (k - 0.5) / (n_columns - 1) * span for k in range(n_columns + 1)]
    for column in range(n_columns):
        inside = [y for x, y in enumerate(ys) if edges[column] <= x < edges[column + 1] and not math.isnan(y)]
        found = np.flatnonzero(envelope.places == column)
        assert len(found) == bool(inside)
        for k in found:
            assert (envelope.low[k], envelope.high[k]) == (min(inside), max(inside))
            assert (envelope.first[k], envelope.last[k]) == (inside[0], inside[-1])


# Smoothing


def test_smoothing_starts_at_the_first_value_and_does_not_pull_to_zero():
    """Weight 1/2 of 4, 8: 4 / 1 = (1/2 4) / (1 - 1/2); then (1/2 2 + 1/2 8) / (1 - 1/4) = 5 / 0.75."""
    assert smooth(np.array([4.0, 8.0]), 0.5).tolist() == pytest.approx([4.0, 20 / 3])
    assert smooth(np.full(500, 3.0), 0.99).tolist() == pytest.approx([3.0] * 500)


@given(st.lists(values, max_size=300), st.floats(0.01, 0.99))
@settings(max_examples=80)
def test_smoothing_equals_a_plain_loop(ys, weight):
    expected, average, n = [], 0.0, 0
    for y in ys:
        if math.isnan(y):
            expected.append(math.nan)
            continue
        average, n = weight * average + (1 - weight) * y, n + 1
        expected.append(average / (1 - weight**n))
    assert smooth(np.array(ys, float), weight).tolist() == pytest.approx(expected, rel=1e-6, abs=1e-6, nan_ok=True)


def test_points_with_markers_and_pale_series_are_not_smoothed():
    assert with_smoothing(build([1, 2, 3]), 0.5).smooth_ys is not None
    assert with_smoothing(build([1, 2, 3], is_points=True), 0.5).smooth_ys is None
    assert with_smoothing(build([1, 2, 3], is_faint=True), 0.5).smooth_ys is None
    assert with_smoothing(build([1, 2, 3]), 0.0).smooth_ys is None


# Extents


def test_extent_takes_bands_and_leaves_out_gaps():
    series = build([1.0, math.inf, 3.0], low=[0, 0, -2], high=[1, 1, 4])
    assert find_y_extent([series], (0, 2)) == (-2, 4)
    assert find_y_extent([series], (0, 1)) == (0, 1)
    assert find_y_extent([build([math.nan])], (0, 1)) is None
    assert find_y_extent([], (0, 1)) is None


def test_extent_between_two_points_is_that_of_their_line():
    assert find_y_extent([build([5.0, 7.0], xs=[0, 10])], (4, 6)) == (5, 7)


def test_extent_on_a_logarithmic_axis_is_of_positive_values():
    assert find_y_extent([build([-1.0, 0.0, 0.5, 2.0])], (0, 3), is_log=True) == (0.5, 2.0)
    assert find_y_extent([build([-1.0, 0.0])], (0, 3), is_log=True) is None
    assert find_x_extent([build([1, 1, 1])], is_log=True) == (1, 2)
    assert find_x_extent([build([1])], is_log=True) is None


def test_clipping_leaves_out_an_outlier():
    """101 values 0..100 and their percentiles 1 and 99; one of them is 1e9 instead of 100."""
    ys = [*range(100), 1e9]
    assert find_y_extent([build(ys)], (0, 100), is_clipped=True) == (1.0, 99.0)
    assert find_y_extent([build(ys)], (0, 100)) == (0.0, 1e9)


# Search


def test_nearest_point_has_a_value():
    series = build([1.0, math.nan, 3.0, 4.0], xs=[0, 10, 20, 30])
    assert [find_nearest(series, x) for x in (-5, 9, 11, 25, 26, math.inf)] == [0, 0, 2, 2, 3, 3]
    assert find_nearest(build([math.nan]), 0) is None


def test_steps_go_by_points_from_wherever_the_cursor_is():
    series = build([1.0, math.nan, 3.0, 4.0], xs=[0, 10, 20, 30])
    window = (0, 25)
    assert find_step(series, None, -1, window) == 20  # the last in sight
    assert [find_step(series, x, 1, window) for x in (0, 5, 20, 30)] == [20, 20, 30, 30]
    assert [find_step(series, x, -1, window) for x in (30, 25, 20, 0)] == [20, 20, 0, 0]
    assert find_step(series, 0, 2, window) == 30
    assert find_step(series, 12, 0, window) == 20
    assert find_step(build([math.nan]), 0, 1, window) is None
