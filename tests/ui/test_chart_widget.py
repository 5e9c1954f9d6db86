"""The chart widgets in a running app: keys, messages, and that only what changed goes to the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyte
import pytest
from textual.app import App, ComposeResult
from textual.drivers.headless_driver import HeadlessDriver
from textual.events import MouseScrollUp
from textual.message import Message
from textual.pilot import Pilot
from textual.screen import Screen

from cream_tui.charts.axes import Guide, Mark
from cream_tui.charts.chart import Chart
from cream_tui.charts.histogram import Histogram, bin_taus
from cream_tui.charts.scales import Axis
from cream_tui.charts.series import Series
from cream_tui.charts.slope import SlopeChart, SlopeItem
from cream_tui.shell.span_updates import SpanCompositor

SIZE = (80, 24)


class RecordingDriver(HeadlessDriver):
    """Keeps what would go to the terminal."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.written: list[str] = []

    @property
    def is_headless(self) -> bool:
        return False

    def write(self, data: str) -> None:
        self.written.append(data)


class Stage(App[None]):
    """Two charts, the first with the focus."""

    CSS = "Screen { layout: vertical; overflow: hidden; }"

    def __init__(self, *, compositor: Callable[[], Any] | None = None, ansi_color: bool | None = None) -> None:
        super().__init__(driver_class=RecordingDriver, ansi_color=ansi_color)
        self.messages: list[Message] = []
        self.compositor = compositor

    def compose(self) -> ComposeResult:
        yield Chart("loss", id="first")
        yield Chart("accuracy", id="second")

    def get_default_screen(self) -> Screen[None]:
        screen: Screen[None] = Screen(id="_default")
        if self.compositor is not None:
            screen._compositor = self.compositor()
        return screen

    def on_mount(self) -> None:
        self.first.focus()
        for chart in (self.first, self.second):
            chart.x_axis = Axis("step", min_step=1)

    @property
    def first(self) -> Chart:
        return self.query_one("#first", Chart)

    @property
    def second(self) -> Chart:
        return self.query_one("#second", Chart)

    def on_chart_cursor_moved(self, event: Chart.CursorMoved) -> None:
        self.messages.append(event)
        for chart in (self.first, self.second):
            chart.cursor_x = event.x

    def on_chart_point_chosen(self, event: Chart.PointChosen) -> None:
        self.messages.append(event)

    def on_chart_window_changed(self, event: Chart.WindowChanged) -> None:
        self.messages.append(event)


def line(n: int = 11, name: str = "loss") -> Series:
    return Series(name, np.arange(n), np.arange(n) / 2)


def read(app: App[Any]) -> list[str]:
    return ["".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips()]


async def drive(app: Stage, use: Callable[[Pilot[None]], Any], size: tuple[int, int] = SIZE) -> None:
    """Run the app on a driver that writes, which ``run_test`` does not."""
    done: list[bool] = []

    async def pilot_in(pilot: Pilot[None]) -> None:
        await pilot.pause()
        await use(pilot)
        done.append(True)
        app.exit()

    await app.run_async(size=size, auto_pilot=pilot_in)
    assert done


# Keys and messages


async def test_the_cursor_goes_by_points_and_tells_so() -> None:
    app = Stage()
    async with app.run_test(size=SIZE) as pilot:
        app.first.set_series([line()])
        app.second.set_series([Series("acc", [0, 5, 10], [1, 2, 3])])
        await pilot.press("[", "[", "]", "[")
        assert [event.x for event in app.messages] == [10, 9, 10, 9]  # type: ignore[attr-defined]
        assert app.first.cursor_x == app.second.cursor_x == 9
        assert app.first.value_at_cursor() == 4.5
        assert app.second.value_at_cursor() == 3
        assert [(one.name, one.x, one.y) for one in app.second.read_values()] == [("acc", 10, 3)]
        lines = read(app)
        assert lines[0].split() == ["loss", "4.5"]
        assert lines[12].split() == ["accuracy", "3", "at", "10"]


async def test_setting_the_cursor_tells_nobody() -> None:
    app = Stage()
    async with app.run_test(size=SIZE) as pilot:
        app.first.set_series([line()])
        app.first.cursor_x = 3
        app.first.x_window = (2, 8)
        await pilot.pause()
        assert app.messages == []
        assert "●" in "".join(read(app))


async def test_the_cursor_jumps_to_marks() -> None:
    app = Stage()
    async with app.run_test(size=SIZE) as pilot:
        app.first.set_series([line()])
        app.first.set_marks([Mark(7, "M2"), Mark(3, "M1"), Mark(99, "M9")])
        await pilot.press("{", "{", "{", "{", "}")
        assert [event.x for event in app.messages] == [10, 7, 3, 0, 3]  # type: ignore[attr-defined]


async def test_zoom_pan_and_reset() -> None:
    app = Stage()
    async with app.run_test(size=SIZE) as pilot:
        app.first.set_series([line(101)])
        app.first.cursor_x = 50.0
        await pilot.press(")", ")")
        assert app.first.x_window == pytest.approx((37.5, 62.5))
        await pilot.press(">")
        assert app.first.x_window == pytest.approx((43.75, 68.75))
        await pilot.press("<", "<")
        assert app.first.x_window == pytest.approx((31.25, 56.25))
        await pilot.press("(", "(")
        assert app.first.x_window is None
        await pilot.press(")", "0")
        assert app.first.x_window is None
        windows = [event.window for event in app.messages if isinstance(event, Chart.WindowChanged)]
        assert len(windows) == 9 and windows[-1] is None


async def test_the_window_follows_the_cursor() -> None:
    app = Stage()
    async with app.run_test(size=SIZE) as pilot:
        app.first.set_series([line(101)])
        app.first.x_window = (20.0, 40.0)
        app.first.cursor_x = 40.0
        await pilot.press("]")
        assert app.first.x_window == pytest.approx((23, 43))
        assert [type(event) for event in app.messages] == [Chart.WindowChanged, Chart.CursorMoved]


async def test_enter_names_the_point_behind_the_cursor() -> None:
    app = Stage()
    async with app.run_test(size=SIZE) as pilot:
        app.first.set_series([line(), line(6, "other")])
        app.first.cursor_x = 8.0
        await pilot.press("enter")
        app.first.active_series = "other"
        await pilot.press("enter")
        chosen = [event for event in app.messages if isinstance(event, Chart.PointChosen)]
        assert [(event.series_name, event.x, event.chart) for event in chosen] == [
            ("loss", 8, app.first),
            ("other", 5, app.first),
        ]


async def test_the_mouse_places_the_cursor_and_zooms_a_focused_chart() -> None:
    app = Stage()
    async with app.run_test(size=SIZE) as pilot:
        app.first.set_series([line()])
        await pilot.pause()
        await pilot.click("#first", offset=(43, 5))
        assert app.first.cursor_x == 5
        app.second.set_series([line()])
        await pilot.pause()
        await pilot._post_mouse_events([MouseScrollUp], "#second", offset=(43, 5))
        assert app.second.x_window is None
        await pilot._post_mouse_events([MouseScrollUp], "#first", offset=(43, 5))
        assert app.first.x_window is not None


async def test_nothing_happens_on_an_empty_chart() -> None:
    app = Stage()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("[", "]", "{", "}", "<", ">", "(", ")", "0", "enter")
        await pilot.click("#first", offset=(20, 5))
        assert app.messages == []
        assert "no points yet" in "".join(read(app))


# Scales


async def test_scales_smoothing_and_clipping_are_attributes() -> None:
    app = Stage()
    async with app.run_test(size=SIZE) as pilot:
        ys = np.concatenate(([1e6], np.full(998, 2.0), [1e-3]))
        app.first.set_series([Series("loss", np.arange(1000), ys)])
        await pilot.pause()
        assert "1M" in "".join(read(app)[:12])
        app.first.is_clipped = True
        await pilot.pause()
        assert "1M" not in "".join(read(app)[:12])
        app.first.is_clipped, app.first.y_log = False, True
        await pilot.pause()
        labels = [text.split("┤")[0].strip() for text in read(app)[:12] if "┤" in text]
        assert labels == ["10000", "1"]
        app.first.y_log, app.first.y_range = False, (0.0, 4.0)
        await pilot.pause()
        assert read(app)[1].split("┤")[0].strip() == "4"
        app.first.smoothing = 7.0
        assert app.first.smoothing == 0.99
        await pilot.pause()
        assert "~" in read(app)[0]


async def test_a_logarithmic_axis_without_positive_values_is_empty_not_broken() -> None:
    app = Stage()
    async with app.run_test(size=SIZE) as pilot:
        app.first.set_series([Series("z", [0, 1], [-1, -2])])
        app.first.y_log = True
        app.first.set_guides([Guide(-3, "target")])
        await pilot.pause()
        assert "no points yet" in "".join(read(app)[:12])


@pytest.mark.parametrize("window", [(0.0, 5.0), (-3.0, -1.0), (4.0, 4.0)])
async def test_windows_without_a_place_on_the_axis_do_no_harm(window: tuple[float, float]) -> None:
    app = Stage()
    async with app.run_test(size=SIZE) as pilot:
        app.first.set_series([line()])
        app.first.set_guides([Guide(float("nan"), "undefined")])
        app.first.x_log = app.first.y_log = True
        app.first.x_window, app.first.y_range = window, (0.0, 0.0)
        await pilot.press("[", "]", ")", "(", ">", "{", "enter")
        assert "┤" in "".join(read(app)[:12])


# What goes to the terminal


async def test_a_live_chart_sends_only_what_changed() -> None:
    """Of 12 lines of 80 cells a further point at the right end changes some cells of few lines."""
    app = Stage(compositor=SpanCompositor)

    async def use(pilot: Pilot[None]) -> None:
        curve = 5 + np.sin(np.arange(400) / 25)
        app.first.set_series([Series("loss", np.arange(300), curve[:300])])
        await pilot.pause()
        app.first.set_series([Series("loss", np.arange(301), curve[:301])])  # the axis grows by a large step
        await pilot.pause()
        driver = app._driver
        assert isinstance(driver, RecordingDriver)
        changed, n_bytes = [], []
        for n in range(302, 342):
            before = app.first._frame
            driver.written.clear()
            app.first.set_series([Series("loss", np.arange(n), curve[:n])])
            await pilot.pause()
            assert before is not None and app.first._frame is not None
            spans = list(app.first._frame.find_changes(before))
            changed.append(sum(end - start for _, start, end in spans))
            n_bytes.append(sum(len(text.encode()) for text in driver.written))
        assert 0 < max(changed) <= 40
        assert max(n_bytes) < 600

        driver.written.clear()
        app.first.set_series([Series("loss", np.arange(n), curve[:n])])
        await pilot.pause()
        assert "".join(driver.written) == ""

    await drive(app, use)


@pytest.mark.parametrize("compositor", [None, SpanCompositor])
async def test_the_terminal_ends_up_with_what_is_drawn(compositor: Callable[[], Any] | None) -> None:
    """A terminal emulator that only saw the changes shows the same as a whole drawing."""
    app = Stage(compositor=compositor)

    async def use(pilot: Pilot[None]) -> None:
        driver = app._driver
        assert isinstance(driver, RecordingDriver)
        terminal = pyte.Screen(*SIZE)
        stream = pyte.Stream(terminal)
        random = np.random.default_rng(0)
        app.second.set_series([line()])
        app.second.title = "日本語 title"
        for n in range(2, 40):
            ys = random.normal(0, 1, n)
            app.first.set_series([Series("one", np.arange(n), ys), Series("two", np.arange(n), -ys)])
            app.first.cursor_x = float(n // 2)
            app.second.title = f"日本{'語' * (n % 3)} {n}"
            await pilot.pause()
        stream.feed("".join(driver.written))
        seen = [line.rstrip() for line in terminal.display]
        assert seen == [line.rstrip() for line in read(app)]

    await drive(app, use)


async def test_many_changes_make_one_drawing() -> None:
    app = Stage()
    async with app.run_test(size=SIZE) as pilot:
        app.first.set_series([line()])
        await pilot.pause()
        drawings = []
        draw = app.first.draw
        app.first.draw = lambda width, height: (drawings.append(1), draw(width, height))[1]  # type: ignore[method-assign, func-returns-value]
        app.first.title, app.first.cursor_x, app.first.smoothing = "z", 3.0, 0.5
        app.first.set_marks([Mark(1, "M1")])
        await pilot.pause()
        assert len(drawings) == 1


async def test_a_chart_out_of_sight_is_not_drawn_until_it_is_back() -> None:
    app = Stage()
    async with app.run_test(size=SIZE) as pilot:
        app.first.set_series([line()])
        await pilot.pause()
        app.first.display = False
        await pilot.pause()
        app.first.title = "changed meanwhile"
        await pilot.pause()
        assert app.first._frame is None
        app.first.display = True
        await pilot.pause()
        assert any("changed meanwhile" in text for text in read(app))


# Without colour


async def test_without_colour_lines_carry_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = Stage(ansi_color=True)
    app.theme = "ansi-dark"
    ys = np.linspace(0, 1, 100)
    async with app.run_test(size=SIZE) as pilot:
        assert app.no_color
        app.first.set_series([Series("up", np.arange(100), ys), Series("down", np.arange(100), 1 - ys)])
        await pilot.pause()
        drawn = "".join(text[6:78] for text in read(app)[2:10])
        assert drawn.count("A") >= 2 and drawn.count("B") >= 2
        for strip in app.screen._compositor.render_strips():
            assert all(not style.color or style.color.is_default for _, style, _ in strip if style)


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "ansi-dark", "ansi-light"])
async def test_series_have_different_colours_in_every_theme(theme: str) -> None:
    app = Stage()
    app.theme = theme
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        colours = {app.first.get_component_rich_style(f"chart--series-{k}").color for k in range(1, 9)}
        assert len(colours) == 8
        pale = app.first.get_component_rich_style("chart--faint-1")
        full = app.first.get_component_rich_style("chart--series-1")
        assert pale != full


async def test_another_theme_repaints() -> None:
    app = Stage()
    async with app.run_test(size=SIZE) as pilot:
        app.first.set_series([line()])
        await pilot.pause()

        def find_colour() -> Any:
            strips = app.screen._compositor.render_strips()[:12]
            found = [style.color for strip in strips for text, style, _ in strip if style and "⠤" in text]
            return found[0]

        before = find_colour()
        app.theme = "textual-light"
        await pilot.pause()
        assert find_colour() != before


# The small ones


class Small(App[None]):
    """A histogram and a slope chart."""

    def __init__(self) -> None:
        super().__init__()
        self.chosen: list[tuple[float, float]] = []

    def compose(self) -> ComposeResult:
        yield Histogram("tau")
        yield SlopeChart()

    def on_histogram_bin_chosen(self, event: Histogram.BinChosen) -> None:
        self.chosen.append((round(event.low, 3), round(event.high, 3)))


async def test_bins_are_chosen_by_keys_and_mouse() -> None:
    app = Small()
    async with app.run_test(size=SIZE) as pilot:
        histogram = app.query_one(Histogram)
        histogram.set_bins(bin_taus([1.0, 1.0, 0.8], 5))
        histogram.focus()
        await pilot.pause()
        await pilot.press("enter")
        assert app.chosen == [] and histogram.cursor == pytest.approx(1.0)  # the bin with the mean, 0.93
        await pilot.press("enter", "left", "enter", "right", "right", "enter")
        assert app.chosen == [(0.9, 1.0), (0.7, 0.9), (0.9, 1.0)]
        await pilot.click(Histogram, offset=(8, 5))
        assert histogram.cursor == pytest.approx(-1.0)
        await pilot.press("left", "enter")
        assert app.chosen[-1] == (-1.0, -0.9)


async def test_counts_can_be_set_by_level() -> None:
    app = Small()
    async with app.run_test(size=SIZE) as pilot:
        histogram = app.query_one(Histogram)
        histogram.set_counts([0.0, 1.0], [3, 1], mean=0.3, limits=(0, 1))
        histogram.highlighted = 1.0
        await pilot.pause()
        shown = "\n".join(read(app))
        assert "4 pairs" in shown and "▲ mean 0.30" in shown and "▼" in shown


async def test_rankings_are_shown_beside_one_another() -> None:
    app = Small()
    async with app.run_test(size=SIZE) as pilot:
        app.query_one(SlopeChart).set_items([SlopeItem("A", 1, 2), SlopeItem("B", 2, 1)], ("M2", "M1"))
        await pilot.pause()
        lines = read(app)[12:]
        assert lines[0].split() == ["M2", "M1"]
        assert lines[1].split()[:2] == ["1", "A"] and lines[1].split()[-2:] == ["B", "1"]
