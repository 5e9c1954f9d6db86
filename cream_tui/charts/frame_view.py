"""The widget below all charts: shows a frame, and sends only what changed in it to the terminal.

Knows Textual's Line API and what the styles of a frame look like. Must not know what is drawn. Subclasses give `draw`
and call `redraw` whenever something they show has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from cream_tui.charts.frame import STYLES, Frame

# Okabe and Ito's hues, their lightness changed so that they are far apart for the colour-blind too; the first six of
# the dark ones are nearest to different colours of a terminal that has sixteen.
DARK = ("#4FC3F7", "#E69F00", "#4BE38F", "#E255B0", "#F0E442", "#D9604F", "#9A7BFF", "#B9CDCB")
LIGHT = ("#007FA8", "#B96A00", "#0A8A4E", "#8E24AA", "#7A4300", "#E0144C", "#5E5CE0", "#4A4A55")
ANSI = tuple(
    f"ansi_{name}" for name in ("bright_cyan", "yellow", "green", "magenta", "bright_blue", "red", "blue", "default")
)


def _style_series(colours: Sequence[str], faint: str) -> str:
    """Rules for lines and for what is pale behind them."""
    rules = [f".chart--series-{k} {{ color: {colour}; }}" for k, colour in enumerate(colours, start=1)]
    rules += [f".chart--faint-{k} {{ {faint.format(colour)} }}" for k, colour in enumerate(colours, start=1)]
    rules.append(f".chart--bar {{ color: {colours[0]}; }} .chart--null-on-bar {{ background: {colours[0]}; }}")
    return "\n".join(rules)


class FrameView(Widget, can_focus=True):
    """A frame in a widget."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"chart--{style}" for style in STYLES if style}
    DEFAULT_CSS = f"""
    FrameView {{
        width: 1fr;
        height: 1fr;
        .chart--title {{ color: $foreground; text-style: bold; }}
        .chart--value {{ color: $foreground; }}
        .chart--label {{ color: $foreground 70%; }}
        .chart--axis {{ color: $foreground 40%; }}
        .chart--mark {{ color: $foreground 50%; }}
        .chart--guide {{ color: $foreground 70%; }}
        .chart--cursor {{ color: $accent; text-style: bold; }}
        .chart--null {{ color: $foreground; text-style: bold; }}
        .chart--null-on-bar {{ color: $background; text-style: bold; }}
        .chart--bar-chosen {{ color: $accent; }}
        .chart--null-on-chosen {{ color: $background; background: $accent; text-style: bold; }}
        .chart--chosen {{ color: $success; text-style: bold; }}
        .chart--rejected {{ color: $error; text-style: bold; }}
        {_style_series(DARK, "color: {} 45%;")}
        &:light {{ {_style_series(LIGHT, "color: {} 45%;")} }}
        &:ansi {{
            {_style_series(ANSI, "color: {}; text-style: dim;")}
            .chart--axis, .chart--mark {{ color: ansi_default; text-style: dim; }}
            .chart--label, .chart--guide {{ color: ansi_default; }}
            .chart--null-on-bar, .chart--null-on-chosen {{ color: ansi_black; }}
        }}
        &:focus .chart--title {{ text-style: bold reverse; }}
    }}
    """

    def __init__(
        self, *, name: str | None = None, id: str | None = None, classes: str | None = None, disabled: bool = False
    ) -> None:
        super().__init__(name=name, id=id, classes=classes, disabled=disabled)
        self._frame: Frame | None = None
        self._strips: dict[int, Strip] = {}
        self._looks: dict[str, Style] = {}
        self._is_waiting = False

    def draw(self, width: int, height: int) -> Frame:
        """Return what is shown, in this size."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw anew once all that is going on now has been done; many calls make one drawing."""
        if self.is_running and not self._is_waiting:
            self._is_waiting = True
            self.call_later(self._draw_changes)

    def _draw_changes(self) -> None:
        self._is_waiting = False
        before, size = self._frame, self.size
        if before is None or (before.width, before.height) != size or not self.is_on_screen:
            self._forget()
            self.refresh()
            return
        after = self.draw(*size)
        changes = list(after.find_changes(before))
        self._frame = after
        for row, _, _ in changes:
            self._strips.pop(row, None)
        if changes:
            self.refresh(*(Region(start, row, end - start, 1) for row, start, end in changes))

    def _forget(self) -> None:
        self._frame = None
        self._strips.clear()

    def notify_style_update(self) -> None:
        """Another theme or state: the same cells look different."""
        super().notify_style_update()
        self._looks.clear()
        self._strips.clear()

    def render_line(self, y: int) -> Strip:
        """One line of the frame."""
        width, height = self.size
        if self._frame is None or (self._frame.width, self._frame.height) != (width, height):
            self._strips.clear()
            self._frame = self.draw(width, height)
        if y >= height:
            return Strip.blank(width, self.rich_style)
        strip = self._strips.get(y)
        if strip is None:
            segments = [Segment(text, self._look_up(style)) for text, style in self._frame.read_line(y)]
            strip = self._strips[y] = Strip(segments, width)
        return strip

    def _look_up(self, style: str) -> Style:
        look = self._looks.get(style)
        if look is None:
            look = self.get_component_rich_style(f"chart--{style}") if style else self.rich_style
            self._looks[style] = look
        return look
