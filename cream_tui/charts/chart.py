"""The chart widget: series over a shared x axis with a cursor, zoom and scales.

Knows Textual and the pure layout. Must not know where series come from nor which charts stand beside it. Setting an
attribute redraws and tells nobody; keys, mouse and methods act as a person would and post a message. A screen that
links its charts listens to the messages of one and sets the attributes of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import var

from cream_tui.charts.axes import Guide, Mark
from cream_tui.charts.frame import Frame
from cream_tui.charts.frame_view import FrameView
from cream_tui.charts.layers import Area, identify
from cream_tui.charts.legend import Reading, read_values
from cream_tui.charts.plot import Plot, lay_out
from cream_tui.charts.raster import ModeName
from cream_tui.charts.scales import Axis, Range, Scale, open_range
from cream_tui.charts.series import Series, find_nearest, find_step, find_x_extent, with_smoothing
from cream_tui.charts.window import find_whole_x, find_y_range, follow, pan_window, zoom_window

_MOST_SMOOTHING = 0.99
_WHEEL_ZOOM = 2.0
_SHOWN = (
    *("x_window", "y_range", "x_log", "y_log", "smoothing", "is_clipped", "cursor_x", "active_series"),
    *("mode", "is_monochrome", "title", "x_axis", "y_axis", "empty_text"),
)


class ChartMessage(Message):
    """Something that a person did to a chart."""

    def __init__(self, chart: Chart) -> None:
        super().__init__()
        self.chart = chart

    @property
    def control(self) -> Chart:
        """The chart."""
        return self.chart


class Chart(FrameView):
    """Series over x.

    Attributes:
        x_window: Range of x that is seen; None follows all points.
        y_range: Fixed range of y; None fits the points in sight, in large steps.
        x_log, y_log: Whether an axis is logarithmic; what is not positive is left out.
        smoothing: Weight of the past in the line in front of the raw values, 0 to 0.99.
        is_clipped: Whether y leaves out the outermost percent on each side.
        cursor_x: Where the cursor stands; None is nowhere. It may lie between points.
        active_series: Name of the series that the cursor steps along; "" is the first that is not pale.
        mode: Braille, blocks or ASCII.
        is_monochrome: Whether lines carry letters; None does so where the app shows no colours.
        title, x_axis, y_axis, empty_text: As of `Plot`.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(key, action, description, show=False, id=f"chart.{name}")
        for key, action, description, name in (
            ("left_square_bracket", "move_cursor(-1)", "Cursor to the point before", "previous"),
            ("right_square_bracket", "move_cursor(1)", "Cursor to the next point", "next"),
            ("left_curly_bracket", "move_cursor_to_mark(-1)", "Cursor to the mark before", "previous_mark"),
            ("right_curly_bracket", "move_cursor_to_mark(1)", "Cursor to the next mark", "next_mark"),
            ("less_than_sign", "pan(-0.25)", "Pan left", "pan_left"),
            ("greater_than_sign", "pan(0.25)", "Pan right", "pan_right"),
            ("left_parenthesis", "zoom(0.5)", "Zoom out", "zoom_out"),
            ("right_parenthesis", "zoom(2)", "Zoom in", "zoom_in"),
            ("0", "reset_view", "Show everything", "reset"),
            ("enter", "choose_point", "Open what is behind the point", "choose"),
        )
    ]

    x_window: var[Range | None] = var(None, init=False)
    y_range: var[Range | None] = var(None, init=False)
    x_log: var[bool] = var(False, init=False)
    y_log: var[bool] = var(False, init=False)
    smoothing: var[float] = var(0.0, init=False)
    is_clipped: var[bool] = var(False, init=False)
    cursor_x: var[float | None] = var(None, init=False)
    active_series: var[str] = var("", init=False)
    mode: var[ModeName] = var("braille", init=False)
    is_monochrome: var[bool | None] = var(None, init=False)
    title: var[str] = var("", init=False)
    x_axis: var[Axis] = var(Axis(), init=False)
    y_axis: var[Axis] = var(Axis(), init=False)
    empty_text: var[str] = var("no points yet", init=False)

    class CursorMoved(ChartMessage):
        """The cursor was moved to x."""

        def __init__(self, chart: Chart, x: float) -> None:
            super().__init__(chart)
            self.x = x

    class PointChosen(ChartMessage):
        """What is behind a point is wanted."""

        def __init__(self, chart: Chart, series_name: str, x: float) -> None:
            super().__init__(chart)
            self.series_name = series_name
            self.x = x

    class WindowChanged(ChartMessage):
        """Another range of x is seen; None is all of it."""

        def __init__(self, chart: Chart, window: Range | None) -> None:
            super().__init__(chart)
            self.window = window

    def __init__(
        self, title: str = "", *, name: str | None = None, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._series: tuple[Series, ...] = ()
        self._drawn: tuple[Series, ...] = ()
        self._marks: tuple[Mark, ...] = ()
        self._guides: tuple[Guide, ...] = ()
        self._kept_x: Range | None = None
        self._kept_y: Range | None = None
        self._area: Area | None = None
        self._x_scale: Scale | None = None
        self.set_reactive(Chart.title, title)

    # What is shown ---------------------------------------------------------------------------------------------------

    def set_series(self, series: Sequence[Series]) -> None:
        """Show these series. With the same names as before the axes keep their ranges as long as they serve."""
        if [each.name for each in series] != [each.name for each in self._series]:
            self._release_ranges()
        self._series = tuple(series)
        self._smooth()
        self.redraw()

    def set_marks(self, marks: Sequence[Mark]) -> None:
        """Show these labelled vertical lines."""
        self._marks = tuple(sorted(marks, key=lambda mark: mark.x))
        self.redraw()

    def set_guides(self, guides: Sequence[Guide]) -> None:
        """Show these labelled horizontal lines."""
        self._guides = tuple(guides)
        self.redraw()

    @property
    def series(self) -> tuple[Series, ...]:
        """The series as they were set."""
        return self._series

    @property
    def x_range(self) -> Range | None:
        """The range of x that is seen; None without points. A window that a logarithmic axis has not is passed over."""
        window = self.x_window
        if window is None or (self.x_log and window[0] <= 0):
            return self._find_whole_x()
        return open_range(*window, is_log=self.x_log)

    def read_values(self) -> tuple[Reading, ...]:
        """One point of each series that is not pale: the nearest to the cursor, the newest without a cursor."""
        return read_values(self._drawn, identify(self._drawn), self.cursor_x)

    def value_at_cursor(self) -> float | None:
        """The value of the active series at the cursor, the newest without a cursor."""
        active = self._get_active()
        k = None if active is None else find_nearest(active, self._cursor_or_end())
        return None if active is None or k is None else float(active.ys[k])

    # What a person does ----------------------------------------------------------------------------------------------

    def move_cursor(self, n: int) -> None:
        """Move the cursor by n points of the active series; from nowhere to the newest in sight."""
        active, seen = self._get_active(), self.x_range
        x = None if active is None or seen is None else find_step(active, self.cursor_x, n, seen)
        if x is not None:
            self._place_cursor(x)

    def move_cursor_to_mark(self, direction: int) -> None:
        """Move the cursor to the next mark (1) or to the one before (-1); past the last to the end of the points."""
        whole = self._find_whole_x()
        if whole is None:
            return
        here = self._cursor_or_end()
        xs = sorted({mark.x for mark in self._marks if whole[0] <= mark.x <= whole[1]} | set(self._find_ends()))
        ahead = [x for x in xs if x > here] if direction > 0 else [x for x in reversed(xs) if x < here]
        if ahead:
            self._place_cursor(ahead[0])

    def pan(self, fraction: float) -> None:
        """Move the window by a fraction of itself."""
        whole, seen = self._find_whole_x(), self.x_range
        if whole is not None and seen is not None and self.x_window is not None:
            self._move_window(pan_window(seen, fraction, whole, is_log=self.x_log))

    def zoom(self, factor: float, x: float | None = None) -> None:
        """Make the window smaller by a factor, larger below 1, around x or the cursor."""
        whole, seen = self._find_whole_x(), self.x_range
        if whole is not None and seen is not None:
            centre = min(self._cursor_or_end(), seen[1]) if x is None else x
            self._move_window(zoom_window(seen, factor, centre, whole, is_log=self.x_log))

    def reset_view(self) -> None:
        """Show all points, without a cursor moved."""
        self._release_ranges()
        self._move_window(None)
        self.redraw()

    def choose_point(self) -> None:
        """Ask for what is behind the point at the cursor, the newest without a cursor."""
        active = self._get_active()
        k = None if active is None else find_nearest(active, self._cursor_or_end())
        if active is not None and k is not None:
            self.post_message(self.PointChosen(self, active.name, float(active.xs[k])))

    action_move_cursor = move_cursor
    action_move_cursor_to_mark = move_cursor_to_mark
    action_pan = pan
    action_zoom = zoom
    action_reset_view = reset_view
    action_choose_point = choose_point

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Put the cursor there."""
        self._follow_mouse(event)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Take the cursor along while the button is held."""
        if event.button:
            self._follow_mouse(event)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Zoom in, if the chart has the focus; else the wheel scrolls the page."""
        self._zoom_at_mouse(event, _WHEEL_ZOOM)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Zoom out."""
        self._zoom_at_mouse(event, 1 / _WHEEL_ZOOM)

    # Inside ----------------------------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """From now on an attribute that is set draws anew."""
        self.watch(self, "smoothing", self._smooth, init=False)
        for name in _SHOWN:
            self.watch(self, name, self.redraw, init=False)
        for name in ("x_window", "x_log", "y_log", "is_clipped"):
            self.watch(self, name, self._release_ranges, init=False)

    def validate_smoothing(self, smoothing: float) -> float:
        """Keep it within its limits."""
        return min(max(smoothing, 0.0), _MOST_SMOOTHING)

    def draw(self, width: int, height: int) -> Frame:
        """The chart in this size."""
        x, y = self._find_scales()
        self._x_scale = x
        plot = Plot(
            self._drawn,
            x,
            y,
            title=self.title,
            x_axis=self.x_axis,
            y_axis=self.y_axis,
            marks=self._marks,
            guides=self._guides,
            cursor_x=self.cursor_x,
            active=self.active_series,
            mode=self.mode,
            is_monochrome=self.app.no_color if self.is_monochrome is None else self.is_monochrome,
            empty_text=self.empty_text,
        )
        layout = lay_out(plot, width, height)
        self._area = layout.area
        return layout.frame

    def _smooth(self) -> None:
        self._drawn = tuple(with_smoothing(each, self.smoothing) for each in self._series)

    def _release_ranges(self) -> None:
        self._kept_x = self._kept_y = None

    def _find_scales(self) -> tuple[Scale | None, Scale | None]:
        seen = self.x_range
        if seen is None:
            return None, None
        self._kept_y = find_y_range(
            self._kept_y, self._series, seen, self._guides, is_log=self.y_log, is_clipped=self.is_clipped
        )
        y = self._kept_y
        if y is not None and self.y_range is not None and not (self.y_log and self.y_range[0] <= 0):
            y = open_range(*self.y_range, is_log=self.y_log)
        return Scale(*seen, self.x_log), None if y is None else Scale(*y, self.y_log)

    def _find_whole_x(self) -> Range | None:
        self._kept_x = find_whole_x(self._kept_x, self._series, is_log=self.x_log)
        return self._kept_x

    def _find_ends(self) -> Range | tuple[()]:
        return find_x_extent(self._series, is_log=self.x_log) or ()

    def _get_active(self) -> Series | None:
        named = [each for each in self._series if not each.is_faint]
        return next((each for each in named if each.name == self.active_series), named[0] if named else None)

    def _cursor_or_end(self) -> float:
        return float("inf") if self.cursor_x is None else self.cursor_x

    def _place_cursor(self, x: float) -> None:
        whole, seen = self._find_whole_x(), self.x_range
        if self.x_window is not None and whole is not None and seen is not None:
            self._move_window(follow(seen, x, whole, is_log=self.x_log))
        self.cursor_x = x
        self.post_message(self.CursorMoved(self, x))

    def _move_window(self, window: Range | None) -> None:
        if window != self.x_window:
            self.x_window = window
            self.post_message(self.WindowChanged(self, window))

    def _find_mouse_x(self, event: events.MouseEvent) -> float | None:
        offset, area, scale = event.get_content_offset(self), self._area, self._x_scale
        return None if offset is None or area is None or scale is None else area.find_x(scale, offset.x)

    def _follow_mouse(self, event: events.MouseEvent) -> None:
        x, active = self._find_mouse_x(event), self._get_active()
        k = None if x is None or active is None else find_nearest(active, x)
        if active is not None and k is not None:
            self._place_cursor(float(active.xs[k]))

    def _zoom_at_mouse(self, event: events.MouseEvent, factor: float) -> None:
        x = self._find_mouse_x(event)
        if self.has_focus and x is not None:
            event.stop()
            self.zoom(factor, x)
