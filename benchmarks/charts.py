"""Redrawing a chart of 120x30 cells with 10 series, and what a live chart sends to the terminal.

    python benchmarks/charts.py

Each redraw shows other data, from setting them until Textual has handed the frame to the terminal; CPU time, medians,
the ways in turn. textual-plot and textual-plotext take part where installed; the ratio is their time over ours.
Traffic: a chart of 3 series that grows by a point a tick, 4 ticks a second, once as it is and once with the widget
refreshed as a whole. Half a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from textual.app import App, ComposeResult
from textual.drivers.headless_driver import HeadlessDriver
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget

from cream_tui.charts.chart import Chart
from cream_tui.charts.scales import Axis
from cream_tui.charts.series import Series
from cream_tui.shell.span_updates import SpanCompositor

SIZE = (120, 30)
N_SERIES = 10
N_LIVE = 3
TICKS_A_SECOND = 4
COLOURS = ("red", "green", "blue", "yellow", "cyan") * 2
TARGET_MS, TARGET_BYTES = 10.0, 3000

Curves = Sequence[NDArray[np.float64]]


class CountingDriver(HeadlessDriver):
    """Counts what would go to the terminal."""

    n_bytes = 0

    @property
    def is_headless(self) -> bool:
        """Textual writes nothing to a driver that is."""
        return False

    def write(self, data: str) -> None:
        """Count."""
        self.n_bytes += len(data.encode())


class Stage(App[None]):
    """One widget on the whole screen."""

    CSS = "Screen { overflow: hidden; } Screen > * { width: 100%; height: 100%; }"

    def __init__(self, widget: Widget) -> None:
        super().__init__(driver_class=CountingDriver)
        self.animation_level = "none"
        self.widget = widget

    def compose(self) -> ComposeResult:
        """The widget."""
        yield self.widget

    def get_default_screen(self) -> Screen[None]:
        """A screen that sends changed spans, as those of the app do."""
        screen: Screen[None] = Screen(id="_default")
        screen._compositor = SpanCompositor()
        return screen

    @property
    def n_bytes(self) -> int:
        """Bytes sent so far."""
        assert isinstance(self._driver, CountingDriver)
        return self._driver.n_bytes


def make_curves(n_points: int, *, seed: int, n_series: int = N_SERIES) -> list[NDArray[np.float64]]:
    """Losses that fall, with noise."""
    random = np.random.default_rng(seed)
    fall = np.exp(-4 * np.arange(n_points) / n_points)
    return [0.5 + k / 20 + 0.7 * fall + random.normal(0, 0.02, n_points) for k in range(n_series)]


def build_ours() -> tuple[Widget, Callable[[Curves], None]]:
    """Our chart, and how it is given data."""
    chart = Chart("loss")

    def show(curves: Curves) -> None:
        chart.set_series([Series(f"run-{k}", np.arange(len(ys)), ys) for k, ys in enumerate(curves)])

    return chart, show


def build_textual_plot() -> tuple[Widget, Callable[[Curves], None]]:
    """textual-plot's widget with Braille lines."""
    from textual_plot import HiResMode, PlotWidget

    plot = PlotWidget()

    def show(curves: Curves) -> None:
        plot.clear()
        for ys, colour in zip(curves, COLOURS, strict=True):
            plot.plot(np.arange(len(ys)), ys, line_style=colour, hires_mode=HiResMode.BRAILLE)

    return plot, show


def build_textual_plotext() -> tuple[Widget, Callable[[Curves], None]]:
    """textual-plotext's widget with Braille lines."""
    from textual_plotext import PlotextPlot

    plot = PlotextPlot()

    def show(curves: Curves) -> None:
        plot.plt.clear_data()
        for ys, colour in zip(curves, COLOURS, strict=True):
            plot.plt.plot(list(range(len(ys))), ys.tolist(), marker="braille", color=colour)
        plot.refresh()

    return plot, show


PEERS: dict[str, Callable[[], tuple[Widget, Callable[[Curves], None]]]] = {
    "textual_plot": build_textual_plot,
    "textual_plotext": build_textual_plotext,
}


def run(widget: Widget, use: Callable[[Stage, Pilot[Any]], Any]) -> Any:
    """The result of ``use`` in a running app."""
    app, results = Stage(widget), []

    async def drive(pilot: Pilot[Any]) -> None:
        await pilot.pause()
        results.append(await use(app, pilot))
        app.exit()

    asyncio.run(app.run_async(size=SIZE, auto_pilot=drive))
    return results[0]


def measure_redraw(name: str, n_points: int, n_redraws: int) -> float:
    """Median CPU milliseconds of a redraw."""
    widget, show = {"ours": build_ours, **PEERS}[name]()
    data = [make_curves(n_points, seed=seed) for seed in range(2)]

    async def use(app: Stage, pilot: Pilot[Any]) -> float:
        times = []
        for k in range(n_redraws + 2):
            start, sent = time.process_time(), app.n_bytes
            show(data[k % 2])
            await pilot.pause()
            times.append(time.process_time() - start)
            assert app.n_bytes > sent, f"{name} has not drawn"
        return 1000 * statistics.median(times[2:])

    return float(run(widget, use))


def measure_traffic(n_ticks: int, *, is_whole: bool) -> float:
    """Bytes a second of a live chart at 4 ticks a second."""
    chart = Chart("loss")
    curves = make_curves(1000 + n_ticks, seed=0, n_series=N_LIVE)

    async def use(app: Stage, pilot: Pilot[Any]) -> float:
        chart.x_axis = Axis("step", min_step=1)
        sent = 0
        for tick in range(n_ticks):
            n = 1000 + tick
            chart.set_series([Series(f"run-{k}", np.arange(n), ys[:n]) for k, ys in enumerate(curves)])
            if is_whole:
                chart.refresh()
            await pilot.pause()
            if tick == 0:  # the first one draws everything
                sent = app.n_bytes
        return (app.n_bytes - sent) / (n_ticks - 1) * TICKS_A_SECOND

    return float(run(chart, use))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--redraws", type=int, default=12)
    arguments = parser.parse_args()
    ways = ["ours", *(name for name in PEERS if importlib.util.find_spec(name))]
    facts: dict[str, Any] = {}
    for n_points in (1000, 10_000):
        rounds = [
            {way: measure_redraw(way, n_points, arguments.redraws) for way in ways} for _ in range(arguments.repeats)
        ]
        for way in ways:
            milliseconds = statistics.median(one[way] for one in rounds)
            ratio = statistics.median(one[way] / one["ours"] for one in rounds)
            print(f"{way:16} {n_points:6} points x {N_SERIES}  {milliseconds:8.1f} ms CPU  ratio {ratio:5.1f}")
            facts[f"{way}_{n_points}_ms"] = round(milliseconds, 2)
            facts[f"{way}_{n_points}_ratio"] = round(ratio, 2)
    spans, whole = measure_traffic(200, is_whole=False), measure_traffic(50, is_whole=True)
    print(f"live, {N_LIVE} series: {spans:,.0f} B/s, refreshed as a whole {whole:,.0f} B/s, ratio {spans / whole:.3f}")
    facts |= {"live_bytes_s": round(spans), "whole_bytes_s": round(whole), "traffic_ratio": round(spans / whole, 4)}
    is_met = facts["ours_10000_ms"] <= TARGET_MS and spans <= TARGET_BYTES
    load = round(os.getloadavg()[0], 1)
    print(json.dumps({"benchmark": "charts", **facts, "is_met": is_met, "load": load, "n_cpus": os.cpu_count()}))


if __name__ == "__main__":
    main()
