"""Histograms, slope charts and sparks."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from cream_tui.charts.histogram import Bins, Look, bin_taus, build_bins, lay_out_histogram, merge_bins
from cream_tui.charts.raster import MODES
from cream_tui.charts.slope import SlopeItem, lay_out_slope
from cream_tui.charts.spark import spark

BINS = build_bins((-1.0, 0.0, 1.0), (0, 4, 8), (0.25, 0.5, 0.25))
RANKED = (
    SlopeItem("A", 1, 3, "+1.84", "−0.31", "chosen"),
    SlopeItem("B", 2, 2, "+0.90", "+0.88"),
    SlopeItem("C", 3, 1, "−1.10", "+1.20", "rejected"),
)


def show(bins, width, height, **look):
    return lay_out_histogram(bins, Look("tau", **look), width, height)[0].read_text().splitlines()


# Bins


def test_bins_end_in_the_middle_between_levels_and_at_the_limits():
    assert BINS.edges == (-1, -0.5, 0.5, 1)
    assert build_bins((2.0, 4.0), (1, 1), limits=(0, 10)).edges == (1, 3, 5)
    assert BINS.mean == pytest.approx(8 / 12) and BINS.null_mean == 0 and BINS.total == 12
    assert [BINS.find(value) for value in (-1, -0.4, 0.6, 1, 1.1)] == [0, 1, 2, 2, None]
    assert build_bins((), ()).total == 0 and build_bins((), ()).mean is None


def test_uneven_columns_are_refused():
    with pytest.raises(ValueError, match="2 levels"):
        Bins((0, 1, 2), (0.5, 1.5), (1,))


def test_taus_of_five_responses_have_eleven_levels():
    """Of 120 rankings 1 has tau 1; a tau of 1/3, of four distinct responses, is nearest to 0.4."""
    bins = bin_taus([1.0, 1 / 3, 0.0, -1.0], 5)
    assert [round(level, 1) for level in bins.levels] == [-1, -0.8, -0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6, 0.8, 1]
    assert bins.counts == (1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 1)
    assert bins.null[-1] == pytest.approx(1 / 120) and sum(bins.null) == pytest.approx(1)
    assert bins.mean == pytest.approx(1 / 12)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(1, 40))
def test_merging_loses_no_value(counts, n_most):
    bins = build_bins([float(k) for k in range(len(counts))], counts, [1 / len(counts)] * len(counts), limits=(0, 40))
    merged = merge_bins(bins, n_most)
    assert len(merged.levels) <= n_most
    assert merged.total == bins.total and sum(merged.null) == pytest.approx(1)
    assert (merged.edges[0], merged.edges[-1]) == (bins.edges[0], bins.edges[-1])


# The histogram


def test_bars_are_as_high_as_their_counts():
    """12 rows for up to 8.4: 8 fill 11.43 rows (11 and 4 eighths), 4 fill 5.71 (5 and 6 eighths), rounded up."""
    lines = show(replace(BINS, null=()), 40, 15)
    bars = [line[6:] for line in lines[1:-2]]
    assert len(bars) == 12
    columns = {k: "".join(bar[k] if len(bar) > k else " " for bar in bars) for k in (2, 13, 24)}
    assert columns[2].strip() == ""
    assert columns[13].strip() == "▆█████"
    assert columns[24].strip() == "▄███████████"


def test_chance_is_drawn_over_the_bars():
    """By chance 3, 6 and 3 of 12: beside the empty bar, above the middle one, inside the last."""
    frame = lay_out_histogram(BINS, Look("tau"), 40, 15)[0]
    found = {}
    for row in range(15):
        for text, style in frame.read_line(row):
            if "null" in style and "─" in text:
                found.setdefault(style, []).append(row)
    assert len(found["null"]) == 2 and len(found["null-on-bar"]) == 1
    assert found["null-on-bar"][0] == max(found["null"])  # both stand for 3
    assert min(found["null"]) < found["null-on-bar"][0]  # 6 is higher


def test_means_stand_on_the_axis_and_in_the_head():
    lines = show(BINS, 60, 12)
    assert "12 pairs" in lines[0] and "▲ mean 0.67" in lines[0] and "△ chance 0.00" in lines[0]
    assert lines[-2].index("△") < lines[-2].index("▲")


def test_the_chosen_bin_is_told_in_the_head():
    lines = show(BINS, 60, 12, cursor=0.9)
    assert "tau 1: 8 pairs, 66.7 % (chance 25.0 %)" in lines[0]
    frame = lay_out_histogram(BINS, Look("tau", cursor=0.9), 60, 12)[0]
    assert any(style == "bar-chosen" for row in range(12) for _, style in frame.read_line(row))


def test_a_value_gets_an_arrow_over_its_bin():
    lines = show(BINS, 60, 12, highlighted=0.1)
    row = next(k for k, line in enumerate(lines) if "▼" in line)
    column = lines[row].index("▼")
    assert lines[row + 1][column] not in " " and 6 + 18 <= column < 6 + 36


def test_an_empty_histogram_says_so():
    assert any("no values yet" in line for line in show(build_bins((), ()), 40, 8))


@given(st.integers(0, 60), st.integers(0, 14), st.sampled_from(sorted(MODES)), st.integers(2, 16))
@settings(max_examples=80)
def test_every_size_of_histogram_is_drawn(width, height, mode, n):
    bins = bin_taus([1.0, 0.0, 0.0, -1.0], n)
    frame, shown, bars = lay_out_histogram(bins, Look("tau", cursor=0.0, highlighted=1.0, mode=mode), width, height)
    assert all(cell_len("".join(text for text, _ in frame.read_line(row))) == width for row in range(height))
    assert shown.total == 4
    assert bars is None or bars.slot >= 1
    if mode == "ascii":
        assert frame.read_text().isascii()


# Slopes


def test_lines_lead_from_rank_to_rank():
    lines = lay_out_slope(RANKED, 50, 6).read_text().splitlines()
    assert lines[0].split() == ["current", "previous"]
    assert lines[1].startswith(" 1 +A +1.84") and lines[1].endswith("-C  1 +1.20")
    assert lines[3].startswith(" 2  B +0.90") and lines[3].endswith("B  2 +0.88")
    assert lines[5].startswith(" 3 -C −1.10") and lines[5].endswith("+A  3 −0.31")


def test_the_pair_is_drawn_over_the_others_and_crosses_in_the_middle():
    """All three meet in the middle of row 3, at cell 24 of 12 to 37; the chosen one is seen there."""
    look = [style for text, style in lay_out_slope(RANKED, 50, 6).read_line(3) for _ in text]
    assert look[24] == look[25] == "chosen"
    assert look[14] == look[35] == "axis"
    assert "rejected" not in look[23:27]


def test_narrow_room_gets_a_table():
    lines = lay_out_slope(RANKED, 24, 4).read_text().splitlines()
    assert [line.split() for line in lines] == [
        ["cur", "prev"],
        ["+A", "1", "3", "+1.84"],
        ["B", "2", "2", "+0.90"],
        ["-C", "3", "1", "−1.10"],
    ]
    assert lay_out_slope(RANKED, 60, 3).read_text().splitlines()[0].split() == ["cur", "prev"]


def test_what_has_no_rank_has_no_line():
    items = (SlopeItem("A", 1, None), SlopeItem("B", 2, 1))
    lines = lay_out_slope(items, 40, 4).read_text().splitlines()
    assert lines[3].rstrip().endswith("A  –")
    assert any(0x2800 < ord(c) < 0x2900 for line in lines for c in line)
    alone = lay_out_slope(items[:1], 40, 4).read_text()
    assert not any(0x2800 < ord(c) < 0x2900 for c in alone)


@given(st.integers(0, 60), st.integers(0, 14), st.integers(0, 10), st.sampled_from(sorted(MODES)))
def test_every_size_of_slope_is_drawn(width, height, n, mode):
    items = [SlopeItem(chr(65 + k), k + 1, n - k, "+1.0", "日") for k in range(n)]
    frame = lay_out_slope(items, width, height, mode=mode)
    assert all(cell_len("".join(text for text, _ in frame.read_line(row))) == width for row in range(height))


# Sparks


@pytest.mark.parametrize(
    ("values", "width", "expected"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], 8, "▁▂▃▄▅▆▇█"),
        ([0, 7], 8, "▁█"),
        ([0, None, 7, math.nan], 8, "▁ █ "),
        ([5, 5], 8, "▅▅"),
        ([1, 1, 1, 1, 9, 1, 1, 1], 2, "▁█"),
        ([], 8, ""),
        ([None], 8, ""),
        ([1], 0, ""),
    ],
)
def test_sparks(values, width, expected):
    assert spark(values, width) == expected


def test_sparks_have_ascii_and_limits():
    assert spark([0, 7], 8, is_ascii=True) == "_#"
    assert spark([50], 1, low=0, high=100) == "▅"
    assert spark([-5, 500], 2, low=0, high=100) == "▁█"


@given(st.lists(st.none() | st.floats(allow_nan=True), max_size=60), st.integers(0, 20))
def test_sparks_never_exceed_their_width(values, width):
    assert len(spark(values, width)) <= width


def test_sparks_load_no_arrays():
    """Tables with sparks stand before the first chart is loaded."""
    code = "import sys, cream_tui.charts.spark; print('numpy' in sys.modules, 'textual' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() == [
        "False",
        "False",
    ]
