"""A pane of lines of cells that sends only what changed to the terminal.

Knows Textual's Line API. Must not know what the lines say: a function gives them for a width and a height.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from cream_tui.views.columns import Cell, Spans, find_difference
from cream_tui.widgets.cell_styles import build_rules, list_classes

BuildLines = Callable[[int, int], Sequence[Sequence[Cell]]]


class LinePane(Widget):
    """The pane."""

    DEFAULT_CSS = build_rules("LinePane", "line-pane")
    COMPONENT_CLASSES: ClassVar[set[str]] = list_classes("line-pane")

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._build: BuildLines = lambda width, height: ()
        self._lines: list[Spans] = []
        self._built_for: tuple[int, int] | None = None

    def set_lines(self, build: BuildLines) -> None:
        """Show what this gives for the pane's size, now and when the size changes."""
        self._build = build
        if not self.size or self._built_for != (self.size.width, self.size.height):
            self._built_for = None
            self.refresh()
            return
        before, self._lines = self._lines, self._build_lines()
        for y in range(self.size.height):
            old, new = _get(before, y), _get(self._lines, y)
            if old != new:
                start, end = find_difference(old, new, self.size.width)
                self.refresh(Region(start, y, end - start, 1))

    def get_text(self) -> str:
        """What is shown, as plain text."""
        return "\n".join("".join(text for text, _ in line) for line in self._lines)

    def render_line(self, y: int) -> Strip:
        """One line of the pane."""
        if self._built_for != (self.size.width, self.size.height):
            self._lines = self._build_lines()
        segments = [Segment(text, self._find_style(style)) for text, style in _get(self._lines, y)]
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def _build_lines(self) -> list[Spans]:
        self._built_for = self.size.width, self.size.height
        return [tuple((cell.text, cell.style) for cell in line) for line in self._build(*self._built_for)]

    def _find_style(self, style: str) -> Style:
        return self.get_component_rich_style(f"line-pane--{style}") if style else self.rich_style


def _get(lines: Sequence[Spans], y: int) -> Spans:
    return lines[y] if y < len(lines) else ()
