"""Draws the figures of a report as SVG, with matplotlib: the only module that imports it.

Knows drawings. Must not know stores, runs or pages. Colours are named by number and chosen by the page, so that one
picture is readable on light and dark; every arm has a marker and a dash of its own beside its colour.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from cream_tui.report.drawings import (
    BarGrid,
    Bars,
    Curve,
    CurvePanel,
    Curves,
    Drawing,
    Path,
    Paths,
    ReliabilityGrid,
    ReliabilityLine,
)
from cream_tui.report.svg import refine_svg
from cream_tui.text import make_visible
from engine.errors import BackendError

# Stand for the page's colours until the picture is refined; the arms' are distinguishable with colour-blind eyes
# (after Okabe and Ito 2008, their yellow left out, which white paper swallows).
INK, FAINT, RULE, PAPER = "#101010", "#6a6a6b", "#d3d3d4", "#fefefe"
ARM_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#a8518a", "#b77d00", "#2f8fc4", "#6e6e00", "#5b5b5c")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))
MOST_LINES = 8
_WIDTH = 7.4
_TITLE_LENGTH = 34
_SETTINGS: Mapping[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "font.size": 8.5,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "text.color": INK,
    "axes.facecolor": "none",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 8.5,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "axes.prop_cycle": "cycler('color', ['#101010'])",
}
# A matplotlib object: its types are not looked at, the library being optional.
Axes = Any
Plot = Any


def check_library() -> None:
    """Check that figures can be drawn.

    Raises:
        BackendError: matplotlib is not installed; the hint says how it gets there.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise BackendError(
            "a report needs matplotlib, which is not installed",
            hint="install it with: pip install 'cream-tui[report]'",
        ) from error


def draw(drawing: Drawing, *, key: str, label: str, colours: Mapping[str, str], background: str | None = None) -> str:
    """The drawing as one ``svg`` element.

    Args:
        key: Begins the ids inside; no other picture of the page may have it.
        label: What it shows, in words.
        colours: What the page says for each of the colours above.
        background: The paper's colour; None: that of the page.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # a font that lacks a letter of a name is no news
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": key}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plot = Figure(layout="constrained", facecolor="none")
        FigureCanvasSVG(plot)
        _draw_on(plot, drawing)
        text = io.StringIO()
        plot.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return refine_svg(text.getvalue(), key=key, label=label, colours=colours, background=background)


def _draw_on(plot: Plot, drawing: Drawing) -> None:
    if isinstance(drawing, Curves):
        _draw_curves(plot, drawing)
    elif isinstance(drawing, BarGrid):
        _draw_bar_grid(plot, drawing)
    elif isinstance(drawing, ReliabilityGrid):
        _draw_reliability(plot, drawing)
    else:
        _draw_paths(plot, drawing)


def _draw_curves(plot: Plot, drawing: Curves) -> None:
    """One panel with names at the ends of its lines, or a panel for each arm where there are too many."""
    if len(drawing.panels) == 1 and len(drawing.panels[0].curves) > MOST_LINES:
        _draw_small_multiples(plot, drawing)
        return
    grid = _lay_out(plot, len(drawing.panels), most_columns=2, height=2.9 if len(drawing.panels) > 1 else 3.5)
    for axes, panel in zip(grid, drawing.panels, strict=True):
        for curve in panel.curves:
            _draw_curve(axes, curve, drawing)
        _finish_curves(axes, drawing, panel.title)
        _name_lines(axes, panel, drawing)


def _draw_small_multiples(plot: Plot, drawing: Curves) -> None:
    curves = drawing.panels[0].curves
    grid = _lay_out(plot, len(curves), most_columns=4, height=1.65)
    for k, (axes, curve) in enumerate(zip(grid, curves, strict=True)):
        for other in curves:
            if other is not curve:
                axes.plot(*_list_points(other, drawing), color=RULE, linewidth=0.8, zorder=1)
        _draw_curve(axes, curve, drawing, slot=0)
        _finish_curves(axes, drawing, _cut(curve.title, 22), has_y_title=k % 4 == 0)
    _share_limits(grid, 4)


def _draw_curve(axes: Axes, curve: Curve, drawing: Curves, *, slot: int | None = None) -> None:
    slot = curve.slot if slot is None else slot
    colour = ARM_COLOURS[slot % len(ARM_COLOURS)]
    xs, ys = _list_points(curve, drawing)
    scale = 100 if drawing.is_percent else 1
    known = [point for point in curve.points if point.low is not None and point.high is not None]
    if known:
        axes.fill_between(
            [point.x for point in known],
            [scale * (point.low or 0.0) for point in known],
            [scale * (point.high or 0.0) for point in known],
            color=colour,
            alpha=0.15,
            linewidth=0,
        )
    axes.plot(xs, ys, color=colour, linestyle=_DASHES[slot // 2 % len(_DASHES)], marker=_MARKERS[slot % len(_MARKERS)])


def _list_points(curve: Curve, drawing: Curves) -> tuple[list[float], list[float]]:
    scale = 100 if drawing.is_percent else 1
    return [point.x for point in curve.points], [scale * point.y for point in curve.points]


def _finish_curves(axes: Axes, drawing: Curves, title: str, *, has_y_title: bool = True) -> None:
    ticks = range(drawing.first_x, drawing.first_x + len(drawing.x_titles))
    axes.set_xticks(list(ticks), list(drawing.x_titles))
    axes.set_xlim(drawing.first_x - 0.15, drawing.first_x + max(len(drawing.x_titles) - 1, 1) + 0.15)
    if has_y_title:
        axes.set_ylabel(drawing.y_title)
    axes.set_xlabel(drawing.x_title)
    if title:
        axes.set_title(_cut(title), loc="left")


def _name_lines(axes: Axes, panel: CurvePanel, drawing: Curves) -> None:
    """Write each curve's name at its last point, moved apart where two would meet."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    room = (high - low) * 0.062 * (3.5 / 2.9 if len(drawing.panels) > 1 else 1)
    ends = sorted((_list_points(curve, drawing)[1][-1], k) for k, curve in enumerate(panel.curves))
    places = _spread([y for y, _ in ends], room, low, high)
    right = axes.get_xlim()[1]
    for place, (_, k) in zip(places, ends, strict=True):
        curve = panel.curves[k]
        axes.annotate(
            _cut(curve.title),
            (right, place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=ARM_COLOURS[curve.slot % len(ARM_COLOURS)],
            annotation_clip=False,
        )


def _spread(wanted: Sequence[float], room: float, low: float, high: float) -> list[float]:
    """Ascending places near the wanted ones, at least ``room`` apart, inside the axis as far as there is space."""
    places: list[float] = []
    for y in wanted:
        places.append(max(y, places[-1] + room) if places else max(y, low))
    top = high
    for k in reversed(range(len(places))):
        places[k] = min(places[k], top)
        top = places[k] - room
    return places


def _draw_bar_grid(plot: Plot, drawing: BarGrid) -> None:
    n_rows, n_columns = len(drawing.row_titles), len(drawing.column_titles)
    plot.set_size_inches(_WIDTH, 0.55 + 0.95 * n_rows)
    grid = plot.subplots(n_rows, n_columns, squeeze=False)
    known = [bars for row in drawing.cells for bars in row if bars is not None]
    top = 1.05 * max((max(*bars.shares, *bars.null) for bars in known), default=1.0)
    for i, row in enumerate(drawing.cells):
        for j, bars in enumerate(row):
            axes = grid[i][j]
            axes.grid(False)
            axes.set(xlim=(-1.15, 1.15), ylim=(0, top), yticks=[], xticks=[-1, 0, 1])
            axes.spines["left"].set_visible(False)
            if i == 0:
                axes.set_title(drawing.column_titles[j])
            if j == 0:
                axes.set_ylabel(_cut(drawing.row_titles[i], 22), rotation=0, ha="right", va="center")
            axes.tick_params(labelbottom=i == n_rows - 1)
            if i == n_rows - 1:
                axes.set_xlabel(drawing.x_title)
            if bars is not None:
                _draw_bars(axes, bars)


def _draw_bars(axes: Axes, bars: Bars) -> None:
    n = len(bars.centres)
    half = 1 / (n - 1) if n > 1 else 0.5
    edges = [bars.centres[0] - half + 2 * half * k for k in range(n + 1)]
    axes.stairs(bars.shares, edges, fill=True, color=ARM_COLOURS[5], linewidth=0)
    axes.stairs(bars.null, edges, color=ARM_COLOURS[1], linewidth=1.1)
    axes.axvline(bars.mean, color=INK, linewidth=0.9, linestyle=(0, (2, 1.5)))


def _draw_reliability(plot: Plot, drawing: ReliabilityGrid) -> None:
    grid = _lay_out(plot, len(drawing.panels), most_columns=3, height=2.3)
    for k, (axes, (title, lines)) in enumerate(zip(grid, drawing.panels, strict=True)):
        axes.plot([0, 1], [0, 100], color=FAINT, linewidth=0.7, linestyle=(0, (1, 2)))
        for j, line in enumerate(lines):
            _draw_reliability_line(axes, line, j, len(lines))
        axes.set_title(_cut(title), loc="left")
        axes.set_xlabel(drawing.x_title)
        if k % 3 == 0:
            axes.set_ylabel(drawing.y_title)
        axes.set(xlim=(-0.05, 1.12), ylim=(-3, 103))
        axes.tick_params(labelleft=k % 3 == 0)


def _draw_reliability_line(axes: Axes, line: ReliabilityLine, k: int, n: int) -> None:
    xs, ys = [point.x for point in line.points], [100 * point.y for point in line.points]
    below = [100 * (point.y - (point.low or 0.0)) for point in line.points]
    above = [100 * ((point.high or 0.0) - point.y) for point in line.points]
    # One hue, later iterations stronger: an order shows as an order, in black and white too.
    strength = 1.0 if n == 1 else 0.35 + 0.65 * k / (n - 1)
    axes.errorbar(
        xs,
        ys,
        yerr=[below, above],
        color=ARM_COLOURS[0],
        alpha=strength,
        marker=_MARKERS[k % len(_MARKERS)],
        markersize=3.5,
        linewidth=1.1,
        elinewidth=0.6,
    )
    axes.annotate(
        line.title.removeprefix("t = "),
        (xs[-1], ys[-1]),
        xytext=(4, 0),
        textcoords="offset points",
        fontsize=7,
        va="center",
        color=ARM_COLOURS[0],
        alpha=strength,
    )


def _draw_paths(plot: Plot, drawing: Paths) -> None:
    n = len(drawing.paths)
    n_columns = min(3, n)
    grid = _lay_out(plot, n, most_columns=3, height=2.3)
    for k, (axes, path) in enumerate(zip(grid, drawing.paths, strict=True)):
        _draw_path(axes, path)
        axes.set_title(_cut(path.title), loc="left")
        axes.set_xlabel(drawing.x_title)
        if k % n_columns == 0:
            axes.set_ylabel(drawing.y_title)
        axes.margins(x=0.12, y=0.2)
    _share_limits(grid, n_columns)


def _draw_path(axes: Axes, path: Path) -> None:
    axes.plot(
        [step.x for step in path.steps],
        [100 * step.y for step in path.steps],
        color=ARM_COLOURS[0],
        marker="o",
        markersize=3.5,
        linewidth=1.1,
    )
    for step in path.steps:
        axes.annotate(step.title, (step.x, 100 * step.y), xytext=(3, 4), textcoords="offset points", fontsize=7.5)


def _lay_out(plot: Plot, n: int, *, most_columns: int, height: float) -> list[Axes]:
    """Axes for ``n`` panels, each so many inches high."""
    n_columns = min(most_columns, n)
    n_rows = -(-n // n_columns)
    is_narrow = n == 1 and most_columns > 2
    plot.set_size_inches(_WIDTH * (0.55 if is_narrow else 1), height * n_rows)
    axes = [found for row in plot.subplots(n_rows, n_columns, squeeze=False) for found in row]
    for unused in axes[n:]:
        unused.set_visible(False)
    return axes[:n]


def _share_limits(grid: Sequence[Axes], n_columns: int) -> None:
    """Give all panels the same limits, and numbers at the left only. The library's own sharing costs far more time."""
    xs, ys = [axes.get_xlim() for axes in grid], [axes.get_ylim() for axes in grid]
    for k, axes in enumerate(grid):
        axes.set_xlim(min(x[0] for x in xs), max(x[1] for x in xs))
        axes.set_ylim(min(y[0] for y in ys), max(y[1] for y in ys))
        axes.tick_params(labelleft=k % n_columns == 0)


def _cut(title: str, length: int = _TITLE_LENGTH) -> str:
    title = make_visible(title)
    return title if len(title) <= length else f"{title[: length - 1]}…"
