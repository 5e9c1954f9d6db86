"""A text that scrolls and never asks the screen for a new layout: another text only draws its changed lines anew.

Knows Textual's Line API and its Content. Must not know what the text says. Static inside a scrolling container costs a
layout of the whole screen for each text, which is most of the time between a key and the next pair.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.content import Content
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual
from textual.widgets import Static


class ContentPane(ScrollView, can_focus=True):
    """A text that scrolls, together with the pane that it is tied to."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    ContentPane { height: 1fr; overflow-x: hidden; overflow-y: auto; scrollbar-gutter: stable; }
    ContentPane.-no-wrap { overflow-x: auto; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.tied: ContentPane | None = None
        self._content = Content("")
        self._strips: list[Strip] | None = None
        self._width = 0
        self._is_wrapped = True
        self._height: int | None = None

    @property
    def text(self) -> str:
        """What is shown, without styles."""
        return self._content.plain

    def show(self, content: Content, *, to_top: bool = False) -> None:
        """Show a text, from its beginning if asked for."""
        if to_top and self.scroll_offset != (0, 0):
            self.scroll_to(0, 0, animate=False, immediate=True, force=True)
        if content.is_same(self._content):
            return
        before, self._content, self._strips = self._strips, content, None
        if self.size.width:
            self._refresh_changes(before or [], self._lay_out())

    def set_titles(self, title: str, subtitle: str = "") -> None:
        """Words of ours on the border; the same ones again cost nothing."""
        if (title, subtitle) != (self.border_title or "", self.border_subtitle or ""):
            self.border_title, self.border_subtitle = title, subtitle

    def set_height(self, height: int) -> None:
        """Another height moves what is around; the same one again costs nothing."""
        if height != self._height:
            self._height = height
            self.styles.height = height

    def wrap(self, is_wrapped: bool) -> None:
        """Break long lines, or let the text scroll sideways."""
        if is_wrapped != self._is_wrapped:
            self._is_wrapped, self._strips = is_wrapped, None
            self.set_class(not is_wrapped, "-no-wrap")
            self.refresh()

    def count_lines(self, width: int) -> int:
        """Lines that the text has at a width."""
        return self._content.get_height({}, width) if width > 0 else 1

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Take the tied pane along."""
        super().watch_scroll_y(old_value, new_value)
        if self.tied is not None and self.has_focus and self.tied.scroll_y != new_value:
            self.tied.scroll_to(y=new_value, animate=False, immediate=True)

    def notify_style_update(self) -> None:
        """Another theme: the same text looks different."""
        super().notify_style_update()
        self._strips = None

    def render_line(self, y: int) -> Strip:
        """One line of what is in sight."""
        width, strips = self.size.width, self._lay_out()
        left, top = self.scroll_offset
        if top + y >= len(strips):
            return Strip.blank(width, self.rich_style)
        return strips[top + y].crop_extend(left, left + width, self.rich_style)

    def _lay_out(self) -> list[Strip]:
        """The lines for the width, from before where that is the same."""
        width = self.scrollable_content_region.width
        if self._strips is None or self._width != width:
            self._width = width
            widest = max(cell_len(line) for line in self._content.plain.split("\n"))
            room = width if self._is_wrapped else max(width, widest)
            self._strips = Visual.to_strips(self, self._content, max(1, room), None, self.visual_style)
            # A virtual size that changes costs a layout: as long as all is in sight, it is the pane's own.
            self.virtual_size = Size(1 if self._is_wrapped else widest, max(len(self._strips), self.size.height))
        return self._strips

    def _refresh_changes(self, before: Sequence[Strip], after: Sequence[Strip]) -> None:
        top = self.scroll_offset.y
        for y in range(self.size.height):
            at = top + y
            old = before[at] if at < len(before) else None
            new = after[at] if at < len(after) else None
            if old != new:
                self.refresh(Region(0, y, self.size.width, 1))


class ContentLine(Static):
    """A text in a place of fixed height."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes, markup=False)
        self._shown = Content("")

    def show(self, content: Content) -> None:
        """Show a text; the same one again costs nothing."""
        if not content.is_same(self._shown):
            self._shown = content
            self.update(content, layout=False)
