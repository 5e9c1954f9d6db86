"""Dots and characters of small rasters, drawn by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cream_tui.charts.raster import MODES, build_runs, fill_runs, find_patterns, trace_area, trace_line
from cream_tui.charts.scales import Scale
from cream_tui.charts.series import reduce_to_envelope


def draw(ys, n_columns, n_rows, *, xs=None, x=None, y=None, is_joined=True):
    """The dots of a line, as rows of # and blanks."""
    xs = np.arange(len(ys), dtype=float) if xs is None else np.array(xs, float)
    x = x or Scale(float(xs[0]), float(xs[-1]))
    envelope = reduce_to_envelope(xs, np.array(ys, float), x, n_columns)
    runs = trace_line(envelope, y or Scale(0, n_rows - 1), n_columns, n_rows, is_joined=is_joined)
    return show(fill_runs(runs, n_columns, n_rows))


def show(dots):
    return ["".join("#" if dot else "." for dot in row) for row in dots]


def glyphs(rows, mode):
    dots = np.array([[dot == "#" for dot in row] for row in rows])
    return ["".join(chr(code) for code in line) for line in MODES[mode].glyphs[find_patterns(dots, MODES[mode])]]


# Lines


def test_a_slanted_line_is_one_dot_thick():
    assert draw([0, 3], 4, 4, xs=[0, 3]) == ["...#", "..#.", ".#..", "#..."]


def test_a_steep_line_has_no_holes():
    """From row 6 up to row 0 in two columns: each has its half, and the line is in row 3 as it changes columns."""
    assert draw([0, 6], 2, 7) == [".#", ".#", ".#", "##", "#.", "#.", "#."]


def test_a_flat_line_between_two_rows_is_one_dot_thick():
    assert draw([0.5, 0.5], 3, 2, xs=[0, 2]) == ["###", "..."]


def test_a_spike_reaches_its_height_in_one_column():
    ys = [0] * 50 + [3] + [0] * 49
    assert draw(ys, 5, 4) == ["..#..", "..#..", "..#..", "#####"]


def test_a_gap_is_left_open():
    assert draw([0, 0, math.nan, 0, 0], 5, 1, y=Scale(0, 1)) == ["##.##"]
    assert draw([0, 1, 0], 5, 2, xs=[0, 2, 4], is_joined=False) == ["..#..", "#...#"]


def test_a_line_leaves_the_picture_at_its_edge():
    """y goes from 0 to 4 in a picture that ends at 2: half of the line is seen, nothing sticks to the upper edge."""
    assert draw([0, 4], 5, 3, xs=[0, 4], y=Scale(0, 2)) == ["..#..", ".#...", "#...."]
    assert draw([9, 9], 5, 3, xs=[0, 4], y=Scale(0, 2)) == ["....."] * 3


def test_a_line_enters_from_outside_of_the_window():
    assert draw([0, 8], 3, 3, xs=[0, 8], x=Scale(3, 5), y=Scale(3, 5)) == ["..#", ".#.", "#.."]


def test_a_logarithmic_line_is_straight():
    assert draw([1, 10, 100], 3, 3, y=Scale(1, 100, is_log=True)) == ["..#", ".#.", "#.."]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=300), st.integers(2, 30), st.integers(2, 30))
def test_a_joined_line_has_dots_in_every_column_without_a_hole(ys, n_columns, n_rows):
    envelope = reduce_to_envelope(
        np.arange(len(ys), dtype=float), np.array(ys), Scale(0, max(len(ys) - 1, 1)), n_columns
    )
    dots = fill_runs(trace_line(envelope, Scale(0, 10), n_columns, n_rows), n_columns, n_rows)
    last = n_columns if len(ys) > 1 else 1
    for column in range(last):
        rows = np.flatnonzero(dots[:, column])
        assert len(rows) and len(rows) == rows[-1] - rows[0] + 1
    for left, right in zip(dots.T[: last - 1], dots.T[1:last], strict=True):
        assert (np.flatnonzero(left)[:, None] - np.flatnonzero(right)[None, :]).__abs__().min() <= 1


# Areas


def test_an_area_lies_between_its_lines():
    low = reduce_to_envelope(np.array([0.0, 2.0]), np.array([0.0, 0.0]), Scale(0, 2), 3)
    high = reduce_to_envelope(np.array([0.0, 2.0]), np.array([0.0, 9.0]), Scale(0, 2), 3)
    dots = fill_runs(trace_area(low, high, Scale(0, 3), 3, 4), 3, 4)
    assert [column.sum() for column in dots.T] == [3, 4, 4]


# Runs


def test_runs_are_cut_at_the_grid():
    runs = build_runs(np.array([0, 1, 2]), np.array([-9.0, 1.0, 5.0]), np.array([0.0, 9.0, 9.0]), 3)
    assert show(fill_runs(runs, 3, 3)) == ["#..", ".#.", ".#."]


# Characters


@pytest.mark.parametrize(
    ("mode", "rows", "expected"),
    [
        ("braille", ["...#", "..#.", ".#..", "#..."], ["⡠⠊"]),
        ("braille", ["##", "##", "##", "##"], ["⣿"]),
        ("braille", ["#.", "#.", "#.", ".."], ["⠇"]),
        ("braille", ["..", "..", "..", ".#"], ["⢀"]),
        ("block", [".#", "#."], ["▞"]),
        ("block", ["##..", "..##"], ["▀▄"]),
        ("block", ["#.", "##"], ["▙"]),
        ("ascii", ["#.#.", "##.."], [":.' "]),
    ],
)
def test_glyphs(mode, rows, expected):
    assert glyphs(rows, mode) == expected


@pytest.mark.parametrize("mode", MODES)
def test_every_pattern_has_a_glyph_of_its_own(mode):
    dots = MODES[mode]
    assert len(set(dots.glyphs.tolist())) == 2 ** (dots.n_columns * dots.n_rows)
