"""Whole charts as text: what stands where, what goes when room is short, and which cells change."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.color import Color, ColorSystem

from cream_tui.charts.axes import Guide, Mark
from cream_tui.charts.frame import Frame, shorten
from cream_tui.charts.frame_view import DARK, LIGHT
from cream_tui.charts.plot import Plot, lay_out
from cream_tui.charts.raster import MODES
from cream_tui.charts.scales import Axis, Scale
from cream_tui.charts.series import Series, with_smoothing

STEPS = np.arange(11.0)
RISE = Series("rise", STEPS, STEPS)
FALL = Series("fall", STEPS, 10 - STEPS)
PLOT = Plot((RISE,), Scale(0, 10), Scale(0, 10), title="loss", x_axis=Axis("step"))
HOSTILE = "\x1b]52;c;eA==\x07[red]\x9b2J\u202eab\n"


def text(plot, width, height):
    return lay_out(plot, width, height).frame.read_text()


def styles(plot, width, height, style):
    """All text in one style."""
    frame = lay_out(plot, width, height).frame
    return [part for row in range(height) for part, name in frame.read_line(row) if name == style]


# A chart by hand


def test_a_rising_line():
    """20 cells: 2 of labels, 1 of the axis, 17 times 2 dots. 6 lines: title, 4 times 4 dots, labels.

    15 rows over 33 columns are 5 columns and a bit for each quarter of the height, cells 0-4, 4-8, 8-12, 12-16.
    """
    shown = "".join("#" if 0x2800 < ord(c) < 0x2900 else c for c in text(PLOT, 20, 6))
    assert shown.splitlines() == [
        "loss              10",
        "10┤            #####",
        "  │        #####",
        "  │    #####",
        " 0┤#####",
        "   0              10",
    ]


def test_lines_have_the_width_of_the_chart():
    frame = lay_out(PLOT, 57, 12).frame
    assert [cell_len("".join(part for part, _ in frame.read_line(row))) for row in range(12)] == [57] * 12


def test_gutters_of_charts_over_one_another_are_equal():
    areas = [lay_out(replace(PLOT, y=Scale(0, top)), 60, 10).area for top in (1e-5, 1, 900)]
    assert {area.left for area in areas} == {6}


# The head


def test_the_title_tells_the_newest_value_or_the_one_under_the_cursor():
    plot = replace(PLOT, series=(Series("loss", STEPS, STEPS / 8),))
    assert text(plot, 40, 8).splitlines()[0].split() == ["loss", "1.25"]
    assert text(replace(plot, cursor_x=3.0), 40, 8).splitlines()[0].split() == ["loss", "0.375"]
    assert text(replace(plot, cursor_x=3.4), 40, 8).splitlines()[0].split() == ["loss", "0.375", "at", "3"]


def test_smoothed_values_are_marked():
    plot = replace(PLOT, series=(with_smoothing(Series("loss", STEPS[:2], [4.0, 8.0]), 0.5),))
    assert text(plot, 40, 8).splitlines()[0].split() == ["loss", "8", "~6.667"]


def test_a_legend_names_each_series_with_its_value():
    plot = replace(PLOT, series=(RISE, FALL), cursor_x=2.0)
    head, legend = text(plot, 40, 10).splitlines()[:2]
    assert head.split() == ["loss", "2"]
    assert legend == "A rise 2  B fall 8"


def test_a_low_chart_has_the_values_beside_its_title():
    plot = replace(PLOT, series=(RISE, FALL))
    assert text(plot, 40, 6).splitlines()[0].split() == ["loss", "A", "10", "B", "0"]
    many = replace(PLOT, title="a title", series=tuple(replace(RISE, name=str(k)) for k in range(20)))
    head = text(many, 40, 6).splitlines()[0]
    assert head.startswith("a title ") and head.endswith("…")


def test_names_in_a_legend_are_cut_in_the_middle():
    series = tuple(replace(RISE, name=f"cream-llama-7b-seed-{k}") for k in range(3))
    legend = text(replace(PLOT, series=series), 48, 10).splitlines()[1]
    assert legend.count("…") == 3 and all(f"d-{k}" in legend for k in range(3))


def test_a_legend_takes_more_rows_of_a_high_chart():
    series = tuple(replace(RISE, name=f"cream-llama-7b-seed-{k}") for k in range(6))
    lines = text(replace(PLOT, series=series), 60, 24).splitlines()
    assert all(any(f"cream-llama-7b-seed-{k} " in line for line in lines[1:5]) for k in range(6))


# Axes, marks, guides, cursor


def test_marks_are_labelled_before_round_values():
    plot = replace(PLOT, marks=(Mark(0, "M0"), Mark(5, "M1")))
    last = text(plot, 40, 8).splitlines()[-1]
    assert "╎M0" in last and "╎M1" in last and last.split()[0] == "step"
    assert lay_out(plot, 40, 8).frame.read_text().count("╎") > 4


def test_a_mark_at_the_right_edge_is_labelled_too():
    for width, label in ((40, "╎M4"), (20, "M4╎")):
        assert text(replace(PLOT, marks=(Mark(10, "M4"),)), width, 8).splitlines()[-1].endswith(label)


def test_charts_over_one_another_are_aligned_whatever_they_show():
    areas = [lay_out(replace(PLOT, series=series), 60, 20).area for series in ((RISE,), (RISE, FALL))]
    assert len({(area.left, area.width) for area in areas}) == 1


def test_the_cursor_is_labelled_and_dots_its_point():
    lines = text(replace(PLOT, cursor_x=5.0), 40, 12).splitlines()
    column = lines[-3].index("│", 7)
    assert lines[-1][column - 1 : column + 2].strip() == "5"
    assert sum(line.count("●") for line in lines) == 1
    assert "┴" in lines[-2] and lines[-2].index("┴") == column


def test_the_dot_is_on_the_nearest_point_when_the_cursor_is_between():
    lines = text(replace(PLOT, cursor_x=4.4), 60, 12).splitlines()
    row = next(line for line in lines if "●" in line)
    exact = lay_out(replace(PLOT, cursor_x=4.0), 60, 12).frame.read_text().splitlines()
    assert row.index("●") == next(line for line in exact if "●" in line).index("●")


def test_guides_are_labelled_where_no_line_is():
    plot = replace(PLOT, guides=(Guide(1, "null"), Guide(9, "target")))
    lines = text(plot, 60, 14).splitlines()
    null, target = (next(line for line in lines if name in line) for name in ("null", "target"))
    assert null.index("null") > 40 and target.index("target") < 20
    assert "╌" in null


def test_what_lies_outside_is_not_drawn():
    plot = replace(PLOT, x=Scale(0, 4), marks=(Mark(5, "M1"),), guides=(Guide(99, "far"),), cursor_x=8.0)
    shown = text(plot, 60, 14)
    assert "M1" not in shown and "far" not in shown and "●" not in shown and "┴" not in shown


# Series in one another's way


def test_the_later_series_takes_the_cell_and_its_colour():
    flat = Series("flat", STEPS, np.full(11, 5.0))
    assert styles(replace(PLOT, series=(RISE, flat)), 40, 10, "series-2")[-1]
    over = "".join(styles(replace(PLOT, series=(RISE, flat)), 40, 10, "series-2"))
    under = "".join(styles(replace(PLOT, series=(RISE, flat), active="rise"), 40, 10, "series-2"))
    assert len(over) > len(under)


def test_letters_stand_at_the_ends_of_lines_and_not_in_one_another():
    same = tuple(Series(f"s{k}", STEPS, STEPS) for k in range(3))
    lines = text(replace(PLOT, series=same), 40, 12).splitlines()
    assert [line[38:] for line in lines[2:5]] == ["A", "B", "C"]


def test_without_colour_letters_stand_on_the_lines():
    plot = replace(PLOT, series=(RISE, FALL), is_monochrome=True)
    lines = text(plot, 60, 14).splitlines()[2:-2]
    inside = "".join(line[6:58] for line in lines)
    assert inside.count("A") >= 2 and inside.count("B") >= 2
    coloured = "".join(line[6:58] for line in text(replace(plot, is_monochrome=False), 60, 14).splitlines()[2:-2])
    assert "A" not in coloured and "B" not in coloured


def test_ascii_is_ascii():
    plot = replace(
        PLOT,
        series=(RISE, FALL, Series("p", STEPS, STEPS / 2, low=STEPS / 3, high=STEPS, is_points=True)),
        mode="ascii",
        marks=(Mark(5, "M1"),),
        guides=(Guide(3, "null"),),
        cursor_x=4.0,
    )
    assert text(plot, 70, 16).isascii()
    assert text(replace(plot, series=(RISE,)), 70, 16).isascii()


def test_pale_series_have_no_letter_and_no_value():
    plot = replace(PLOT, series=(replace(FALL, is_faint=True), RISE))
    assert text(plot, 40, 10).splitlines()[0].split() == ["loss", "10"]
    assert styles(plot, 40, 10, "faint-1") and styles(plot, 40, 10, "series-1")


def test_raw_values_lie_pale_behind_smoothed_ones():
    noisy = Series("loss", np.arange(200.0), np.resize([0.0, 10.0], 200))
    plot = replace(PLOT, series=(with_smoothing(noisy, 0.9),), x=Scale(0, 199))
    assert styles(plot, 40, 12, "faint-1") and styles(plot, 40, 12, "series-1")
    assert not styles(replace(plot, series=(noisy,)), 40, 12, "faint-1")


def test_bands_are_pale_and_whiskers_are_not():
    band = replace(RISE, low=RISE.ys - 2, high=RISE.ys + 2)
    assert styles(replace(PLOT, series=(band,)), 40, 12, "faint-1")
    whiskers = replace(band, is_points=True)
    plot = replace(PLOT, series=(whiskers,))
    assert not styles(plot, 40, 12, "faint-1")
    assert text(plot, 60, 12).count("●") == 11


def test_points_at_the_same_place_stand_side_by_side():
    points = tuple(Series(name, np.arange(3.0), np.full(3, 5.0), is_points=True) for name in ("a", "b", "c"))
    row = next(
        line for line in text(replace(PLOT, series=points, x=Scale(-0.5, 2.5)), 60, 10).splitlines() if "●" in line
    )
    assert "●●●" in row and row.count("●") == 9


def test_a_gap_is_seen():
    """Values at 0..3 and 7..10 of 0..10 on 52 cells, 103 steps of a dot: dots 0-31 and 72-103 are cells 0-15, 36-51."""
    ys = np.where((STEPS > 3) & (STEPS < 7), math.nan, 5.0)
    shown = text(replace(PLOT, series=(Series("x", STEPS, ys),)), 60, 9).splitlines()
    [row] = [line[6:] for line in shown[1:-2] if line[6:].strip()]
    assert [k for k in range(len(row.rstrip())) if row[k] != " "] == [*range(16), *range(36, 52)]


# Nothing there, little room, foreign text


def test_an_empty_chart_says_so():
    plot = Plot((), None, None, title="loss", empty_text="training has not begun")
    assert "training has not begun" in text(plot, 40, 8) and "loss" in text(plot, 40, 8)


@given(
    st.integers(0, 70),
    st.integers(0, 20),
    st.sampled_from(sorted(MODES)),
    st.booleans(),
    st.sampled_from([None, -1.0, 0.0, 5.5, 10.0]),
)
@settings(max_examples=150)
def test_every_size_is_drawn(width, height, mode, is_monochrome, cursor_x):
    points = Series("日本語", STEPS, STEPS, low=STEPS - 1, high=STEPS + 1, is_points=True)
    plot = replace(
        PLOT,
        series=(RISE, FALL, points),
        title="損失 train/loss",
        marks=(Mark(0, "M0"), Mark(5, "M1")),
        guides=(Guide(3, "null"),),
        mode=mode,
        is_monochrome=is_monochrome,
        cursor_x=cursor_x,
    )
    frame = lay_out(plot, width, height).frame
    for row in range(height):
        line = "".join(part for part, _ in frame.read_line(row))
        assert cell_len(line) == width


def test_a_small_chart_still_has_title_axes_and_line():
    shown = text(PLOT, 20, 5)
    assert (
        "loss" in shown
        and "┤" in shown
        and "0" in shown.splitlines()[-1]
        and any(0x2800 < ord(c) < 0x2900 for c in shown)
    )


def test_foreign_text_is_shown_and_not_obeyed():
    plot = replace(
        PLOT,
        title=HOSTILE,
        series=(replace(RISE, name=HOSTILE), FALL),
        marks=(Mark(2, HOSTILE),),
        guides=(Guide(5, HOSTILE),),
    )
    shown = text(plot, 200, 16)
    assert "␛]52" in shown and "[red]" in shown and "<U+202E>" in shown
    assert not any(character in shown for character in "\x1b\x07\x9b\u202e")


# Frames


def test_wide_characters_take_two_cells_and_are_never_cut():
    frame = Frame(5, 1)
    assert frame.write(0, 0, "日本語", "title") == 4
    assert frame.read_line(0) == [("日本", "title"), (" ", "")]
    assert frame.write(0, 4, "日") == 4


def test_changes_are_spans():
    before, after = Frame(60, 3), Frame(60, 3)
    after.write(1, 10, "ab")
    after.write(1, 14, "c")
    after.write(1, 50, "d", "title")
    after.write(2, 0, " ", "title")
    assert list(after.find_changes(before)) == [(1, 10, 15), (1, 50, 51), (2, 0, 1)]
    assert list(after.find_changes(after)) == []


def test_both_cells_of_a_wide_character_change_together():
    before, after = Frame(10, 1), Frame(10, 1)
    before.write(0, 2, "日")
    after.write(0, 2, "本")
    assert list(after.find_changes(before)) == [(0, 2, 4)]


@pytest.mark.parametrize(("column", "expected"), [(1, " x  "), (2, "  x ")])
def test_half_of_a_wide_character_is_never_left(column, expected):
    frame = Frame(4, 1)
    frame.write(0, 1, "日")
    frame.put(0, column, "x", "")
    assert frame.read_line(0) == [(expected, "")]


def test_a_frame_obeys_no_text():
    frame = Frame(40, 1)
    frame.write(0, 0, HOSTILE)
    assert frame.read_text() == "␛]52;c;eA==␇[red]<U+009B>2J<U+202E>ab⏎"


@given(st.text(max_size=30), st.integers(0, 20))
def test_shortened_text_fits(name, width):
    assert cell_len(shorten(name, width)) <= width


def test_shortening_keeps_both_ends():
    assert shorten("cream-7b-lr5e-7", 9) == "crea…5e-7"


# Colours


def test_six_series_have_different_colours_of_sixteen():
    numbers = [Color.parse(colour).downgrade(ColorSystem.STANDARD).number for colour in DARK[:6]]
    assert len(set(numbers)) == 6


@pytest.mark.parametrize(("colours", "background"), [(DARK, (18, 18, 18)), (LIGHT, (255, 255, 255))])
def test_colours_are_seen_on_their_background(colours, background):
    """Contrast of at least 3, what WCAG asks of graphics."""

    def luminance(rgb):
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in rgb)]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))

    for colour in colours:
        light, dark = sorted((luminance(Color.parse(colour).triplet), luminance(background)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3


@pytest.mark.parametrize("colours", [DARK, LIGHT])
@pytest.mark.parametrize("matrix", ["deuteranopia", "protanopia"])
def test_colours_differ_for_the_colour_blind(colours, matrix):
    """Any two are at least 10 apart in CIELAB as seen by a dichromat.

    Source: Machado et al. 2009, a physiologically-based model for simulation of color vision deficiency, severity 1.
    """
    seen = {
        "deuteranopia": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        "protanopia": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
    }[matrix]
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])

    def lab(colour):
        rgb = np.array(Color.parse(colour).triplet) / 255
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        xyz = to_xyz @ np.clip(np.array(seen) @ linear, 0, 1) / np.array([0.9505, 1.0, 1.089])
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    for one, other in itertools.combinations(colours, 2):
        assert np.linalg.norm(lab(one) - lab(other)) >= 10, (one, other)
