"""Each kind of figure drawn from numbers made by hand: what stands in the SVG, and where."""

from __future__ import annotations

import re
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from cream_tui.report import figures
from cream_tui.report.drawings import (
    BarGrid,
    Bars,
    Curve,
    CurvePanel,
    CurvePoint,
    Curves,
    Drawing,
    Path,
    Paths,
    PathStep,
    ReliabilityGrid,
    ReliabilityLine,
)
from engine.errors import BackendError

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>&\"'$x$\x1b[2J"
COLOURS = {colour: f"var(--arm-{k})" for k, colour in enumerate(figures.ARM_COLOURS)}
MODELS = ("M1", "M2", "M3")


def make_curves(n: int, title: str = "arm") -> Curves:
    curves = tuple(
        Curve(
            f"{title} {k}",
            k,
            tuple(
                CurvePoint(x, y - k / 50, y - k / 50 - 0.05, y - k / 50 + 0.05, 3)
                for x, y in zip((1, 2, 3), YS, strict=True)
            ),
        )
        for k in range(n)
    )
    return Curves((CurvePanel("", curves),), MODELS, 1, "model", "accuracy %", is_percent=True)


YS = (0.7, 0.8, 0.5)
BARS = Bars((-1.0, 0.0, 1.0), (0.5, 0.25, 0.25), (0.25, 0.5, 0.25), -0.25, 80)
POINT = CurvePoint(0.5, 0.6, 0.5, 0.7, 40)
DRAWINGS: dict[str, Drawing] = {
    "curves": make_curves(3),
    "multiples": make_curves(9),
    "panels": Curves(
        tuple(CurvePanel(f"task {k}", make_curves(2).panels[0].curves) for k in range(3)), MODELS, 1, "", ""
    ),
    "bars": BarGrid(("arm 0", "arm 1"), ("t = 1", "t = 2"), ((BARS, None), (BARS, BARS)), "tau"),
    "reliability": ReliabilityGrid((("arm 0", (ReliabilityLine("t = 1", (POINT,)),)),), "C_x", "labels right %"),
    "paths": Paths((Path("arm 0", 0, (PathStep("M1", 2.0, 0.7), PathStep("M2", 5.0, 0.5))),), "nats", "accuracy %"),
}


def draw(drawing: Drawing, key: str = "key") -> ElementTree.Element:
    return ElementTree.fromstring(figures.draw(drawing, key=key, label="what it shows", colours=COLOURS))


def list_texts(svg: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()).strip() for text in svg.iter(f"{SVG}text")]


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_is_small_keeps_its_text_and_has_no_address(name: str) -> None:
    text = figures.draw(DRAWINGS[name], key=name, label="what it shows", colours=COLOURS)
    svg = ElementTree.fromstring(text)
    assert len(text) < 80_000
    assert any("arm 0" in shown or "t = 1" in shown for shown in list_texts(svg))
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
    assert (svg.get("role"), svg.get("aria-label")) == ("img", "what it shows")
    ids = [element.get("id") for element in svg.iter() if element.get("id")]
    assert len(ids) == len(set(ids)) and all(str(found).startswith(f"{name}-") for found in ids)
    pointed = re.findall(r"url\(#([^)]*)\)", text) + re.findall(r'href="#([^"]*)"', text)
    assert set(pointed) == set(ids)
    assert not list(svg.iter(f"{SVG}style")) and not list(svg.iter(f"{SVG}metadata"))


def test_a_figure_is_the_same_every_time() -> None:
    texts = {figures.draw(DRAWINGS["curves"], key="k", label="", colours={}) for _ in range(2)}
    assert len(texts) == 1


def test_points_stand_where_their_values_are() -> None:
    """The markers of one curve lie on a line in (value, y of the picture), falling, and at even steps in x."""
    drawing = make_curves(1)
    svg = draw(drawing)
    (colour,) = {"var(--arm-0)"}
    marks = [use for use in svg.iter(f"{SVG}use") if colour in use.get("style", "")][-3:]
    xs, ys = np.array([[float(use.get(axis, "nan")) for use in marks] for axis in "xy"])
    slope, intercept = np.polyfit(YS, ys, 1)
    assert slope < 0 and np.allclose(slope * np.array(YS) + intercept, ys, atol=0.02)
    assert np.isclose(xs[1] - xs[0], xs[2] - xs[1], atol=0.02)


def test_names_at_the_ends_of_lines_do_not_meet() -> None:
    curves = tuple(Curve(f"arm {k}", k, (CurvePoint(1, 0.5, None, None, 1),)) for k in range(8))
    svg = draw(Curves((CurvePanel("", curves),), ("M1",), 1, "model", "accuracy %"))
    places = [
        float(t.get("y", "nan"))
        for t in svg.iter(f"{SVG}text")
        if "".join(t.itertext()).strip() in {c.title for c in curves}
    ]
    assert len(places) == 8 and np.diff(np.sort(places)).min() > 8


def test_more_than_eight_lines_become_small_multiples() -> None:
    """Nine panels with an x axis each show M1 nine times; eight lines share one."""
    assert list_texts(draw(make_curves(8))).count("M1") == 1
    assert list_texts(draw(make_curves(9))).count("M1") == 9


def test_names_are_foreign_text() -> None:
    svg = draw(make_curves(2, HOSTILE))
    assert [text for text in list_texts(svg) if text.endswith(" 0")] == ["<script>&\"'$x$␛[2J 0"]
    assert not list(svg.iter(f"{SVG}script"))


def test_paper_is_drawn_where_the_page_has_none() -> None:
    text = figures.draw(DRAWINGS["bars"], key="k", label="", colours={}, background="#ffffff")
    first = ElementTree.fromstring(text)[0]
    assert (first.tag, first.get("fill")) == (f"{SVG}rect", "#ffffff")


def test_without_the_library_one_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BackendError, match="matplotlib") as caught:
        figures.check_library()
    assert caught.value.hint == "install it with: pip install 'cream-tui[report]'"
