"""Round ticks, their labels, ranges that are kept, and windows that are moved."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cream_tui.charts.scales import Axis, Scale, find_ticks, fit_range, format_ticks, keep_range
from cream_tui.charts.window import follow, pan_window, zoom_window
from cream_tui.units import format_compact

finite = st.floats(-1e12, 1e12)


def label(low, high, n_max, is_log=False):
    return format_ticks(find_ticks(Scale(low, high, is_log), n_max), is_log=is_log)


# Ticks


@pytest.mark.parametrize(
    ("low", "high", "n_max", "expected"),
    [
        (0, 1420, 4, ["0", "500", "1000"]),
        (0.4667, 1.1, 4, ["0.6", "0.8", "1.0"]),
        (-1, 1, 8, ["−1.0", "−0.5", "0", "0.5", "1.0"]),
        (0, 1e-5, 4, ["0", "5e-6", "1e-5"]),
        (9.5e-6, 1.05e-5, 4, ["9.5e-6", "1e-5", "1.05e-5"]),
        (0, 100_000, 4, ["0", "50k", "100k"]),
        (0, 1.5e6, 4, ["0", "500k", "1M", "1.5M"]),
        (0, 14_200, 4, ["0", "5000", "10000"]),
    ],
)
def test_linear_labels(low, high, n_max, expected):
    assert label(low, high, n_max) == expected


@pytest.mark.parametrize(
    ("low", "high", "n_max", "expected"),
    [
        (1e-6, 1e-3, 8, ["1e-6", "1e-5", "1e-4", "0.001"]),
        (0.4, 30, 8, ["0.5", "1", "2", "5", "10", "20"]),
        (1e-9, 1e3, 4, ["1e-8", "1e-4", "1"]),
        (1.1e-7, 1.1e-5, 2, ["1e-6", "1e-5"]),
        (2.1, 4.9, 4, ["3", "4"]),  # no power of ten nor its double or fivefold: round values as on a linear axis
    ],
)
def test_logarithmic_labels(low, high, n_max, expected):
    assert label(low, high, n_max, is_log=True) == expected


@given(finite, finite, st.integers(2, 12))
def test_ticks_are_round_few_ascending_and_inside(low, high, n_max):
    assume(high - low > 1e-6 * max(abs(low), abs(high), 1e-6))
    ticks = find_ticks(Scale(low, high), n_max)
    slack = 1e-5 * (high - low)
    assert 1 <= len(ticks) <= n_max + 1
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    for a, b in pairwise(ticks):
        step = b - a
        mantissa = step / 10 ** math.floor(math.log10(step) + 1e-6)
        assert any(mantissa == pytest.approx(factor, rel=1e-3) for factor in (1, 2, 5, 10))
    assert len(set(format_ticks(ticks))) == len(ticks)


def test_models_have_whole_numbers_only():
    models = Axis("model", prefix="M", min_step=1)
    assert models.find_labels(Scale(0, 3), 9) == [(0, "M0"), (1, "M1"), (2, "M2"), (3, "M3")]
    assert models.find_labels(Scale(0, 0.5), 9) == [(0, "M0")]
    assert models.format_value(2.0) == "M2"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (45, ["0", "0:10", "0:20", "0:30", "0:40"]),
        (130, ["0", "0:30", "1:00", "1:30", "2:00"]),
        (700, ["0", "2m", "4m", "6m", "8m", "10m"]),
        (5000, ["0", "15m", "30m", "45m", "1h", "1h15"]),
        (20_000, ["0", "1h", "2h", "3h", "4h", "5h"]),
        (400_000, ["0", "1d", "2d", "3d", "4d"]),
    ],
)
def test_durations_are_labelled_as_a_clock_counts(seconds, expected):
    assert [text for _, text in Axis(kind="duration").find_labels(Scale(0, seconds), 6)] == expected


@pytest.mark.parametrize(
    ("value", "room", "expected"),
    [
        (0.48112, 6, "0.4811"),
        (-0.48112, 6, "−0.481"),
        (9.99999999e-6, 6, "1e-5"),
        (1e-5, 6, "1e-5"),
        (2.5e-5, 6, "2.5e-5"),
        (1420, 6, "1420"),
        (12_345, 4, "12k"),
        (1_234_567, 6, "1.23M"),
        (999_960, 5, "1M"),
        (63.0, 6, "63"),
        (0, 6, "0"),
        (math.nan, 6, "–"),
        (None, 6, "–"),
    ],
)
def test_compact_numbers(value, room, expected):
    assert format_compact(value, room) == expected


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=1e-30, max_value=1e14))
def test_a_compact_number_is_near_its_value(value):
    text = format_compact(value, 8)
    factor = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}.get(text[-1], 1.0)
    assert float(text.rstrip("kMGT")) * factor == pytest.approx(value, rel=6e-3)
    assert len(text) <= 8


# Ranges


def test_a_fitted_range_ends_on_round_numbers():
    """A span of 0.62 in twentieths is 0.031; the next round step is 0.05."""
    assert fit_range(0.48, 1.1) == (0.45, 1.1)
    assert fit_range(48.1, 63.0) == (48.0, 63.0)
    assert fit_range(0, 0) == (-1, 1)
    assert fit_range(2, 2) == (1.8, 2.2)


@given(finite, finite)
def test_a_fitted_range_holds_the_data_closely(low, high):
    low, high = min(low, high), max(low, high)
    first, last = fit_range(low, high)
    assert first < last
    slack = 1e-6 * max(abs(low), abs(high))
    assert first <= low + slack and high <= last + slack
    if high - low > 1e-6 * max(abs(low), abs(high), 1):
        assert (last - first) <= 1.3 * (high - low)


def test_a_kept_range_serves_until_the_data_leave_it():
    first = keep_range(None, 0, 100, is_exact=True)
    assert first == (0, 100)
    grown = keep_range(first, 0, 101, is_exact=True)
    assert grown == (0, 130)  # 101 and a fifth of it, rounded up to a multiple of 10
    assert all(keep_range(grown, 0, end, is_exact=True) == grown for end in range(102, 131))
    assert keep_range(grown, 0, 131, is_exact=True) != grown


def test_data_that_fill_too_little_get_a_range_of_their_own():
    assert keep_range((0, 100), 0, 30) == fit_range(0, 30)
    assert keep_range((0, 1), 100, 101) == fit_range(100, 101)
    assert keep_range((0, 100), 50, 50) == (0, 100)


def test_a_live_axis_changes_rarely():
    """2,000 points arriving one by one, from the first on: fewer ranges than twice the logarithm base 1.2 of 2,000."""
    kept, ranges = None, set()
    for end in range(1, 2001):
        kept = keep_range(kept, 0, end, is_exact=True)
        assert kept[0] <= 0 and end <= kept[1] <= max(1.4 * end, end + 2)
        ranges.add(kept)
    assert len(ranges) < 2 * math.log(2000, 1.2)


def test_a_logarithmic_range_is_kept_too():
    kept = keep_range(None, 1e-5, 1e-2, is_log=True)
    assert kept[0] < 1e-5 and kept[1] > 1e-2
    assert keep_range(kept, 1e-5, 1.05e-2, is_log=True) == kept
    grown = keep_range(kept, 1e-5, 1.0, is_log=True)
    assert grown[0] == kept[0] and grown[1] > 1.0
    assert keep_range((-1.0, 1.0), 1e-5, 1e-2, is_log=True) == keep_range(None, 1e-5, 1e-2, is_log=True)


# Scales


@given(st.floats(-1e6, 1e6), st.floats(0.1, 1e6), st.floats(0, 1))
def test_a_place_leads_back_to_its_value(low, span, unit):
    scale = Scale(low, low + span)
    assert scale.place(scale.pick(unit)) == pytest.approx(unit, abs=1e-6)


def test_a_logarithmic_scale():
    scale = Scale(1, 100, is_log=True)
    assert scale.to_unit(np.array([1.0, 10.0, 100.0])).tolist() == [0, 0.5, 1]
    assert scale.pick(0.5) == pytest.approx(10)
    assert np.isnan(scale.to_unit(np.array([0.0, -1.0]))).all()


# Windows


def test_zoom_keeps_the_cursor_where_it_was():
    """From 0..100 around 20 by 2: half as wide, 20 still at a fifth."""
    assert zoom_window((0, 100), 2, 20, (0, 100)) == (10, 60)
    assert zoom_window((10, 60), 0.5, 20, (0, 100)) is None
    assert zoom_window((0, 100), 2, 100, (0, 100)) == (50, 100)


def test_zoom_of_a_logarithmic_axis_is_even():
    low, high = zoom_window((1, 10_000), 2, 1, (1, 10_000), is_log=True)
    assert (low, high) == (1, pytest.approx(100))


def test_panning_stops_at_the_ends():
    assert pan_window((20, 40), 0.5, (0, 100)) == pytest.approx((30, 50))
    assert pan_window((90, 100), 0.5, (0, 100)) == pytest.approx((90, 100))
    assert pan_window((5, 15), -1, (0, 100)) == pytest.approx((0, 10))


def test_a_window_follows_the_cursor_only_when_it_must():
    assert follow((20, 40), 30, (0, 100)) == (20, 40)
    assert follow((20, 40), 50, (0, 100)) == pytest.approx((32, 52))
    assert follow((20, 40), 10, (0, 100)) == pytest.approx((8, 28))
    assert follow((20, 40), 100, (0, 100)) == pytest.approx((80, 100))


@given(st.floats(0, 90), st.floats(1, 10), st.floats(0.1, 8), st.floats(0, 100))
def test_a_zoomed_window_stays_inside(start, width, factor, x):
    window = zoom_window((start, start + width), factor, x, (0, 100))
    if window is not None:
        assert -1e-9 <= window[0] < window[1] <= 100 + 1e-9
