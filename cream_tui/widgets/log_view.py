"""The log of a run: its newest lines, followed until the reader scrolls away, and searched.

Knows the lines of ``log_tail``, which are harmless already. Must not know files. Only visible lines are drawn, and only
lines that changed are drawn again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Input

from cream_tui.readers.log_tail import LogLine, find_line

_CHUNK = 20  # columns of a sideways step


class LogLines(ScrollView, can_focus=True):
    """The lines; a virtual list."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "log--head",
        "log--text",
        "log--foot",
        "log--error",
        "log--match",
        "log--here",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Line down", show=False, id="log.down"),
        Binding("k", "scroll_up", "Line up", show=False, id="log.up"),
        Binding("g,home", "first", "First line", show=False, id="log.first"),
        Binding("G,end", "follow", "Last line, and follow", show=False, id="log.follow"),
        Binding("left", "sideways(-1)", "Left", show=False, id="log.left"),
        Binding("right", "sideways(1)", "Right", show=False, id="log.right"),
    ]

    class FollowChanged(Message):
        """The view follows the log, or does not any more."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: Sequence[LogLine] = ()
        self.wanted = ""
        self.here: int | None = None
        self._is_following = True
        self._width = 0

    @property
    def is_following(self) -> bool:
        """Whether new lines scroll into view."""
        return self._is_following

    def follow(self, is_on: bool) -> None:
        """Follow from now on, or stay."""
        if is_on != self._is_following:
            self._is_following = is_on
            self.post_message(self.FollowChanged())
        if is_on:
            self._scroll_to_last()

    def set_lines(self, lines: Sequence[LogLine], changed: int) -> None:
        """Show these; those before ``changed`` are as they were."""
        is_shorter, is_same = len(lines) < len(self.lines), len(lines) == len(self.lines) == changed
        self.lines = lines
        self.call_after_refresh(self._place_scrollbar)
        if is_same:
            return
        widest = max((cell_len(line.text) for line in lines[changed:]), default=0)
        self._width = widest if changed == 0 else max(self._width, widest)
        self.virtual_size = Size(self._width, len(lines))
        if self._is_following:
            self._scroll_to_last()
        top = changed - self.scroll_offset.y
        if is_shorter or top < self.size.height:
            self.refresh(Region(0, max(0, top), self.size.width, self.size.height))

    def mark(self, wanted: str, here: int | None) -> None:
        """Highlight a text, and bring the line where the search is into view."""
        self.wanted, self.here = wanted, here
        if here is not None:
            self.follow(False)
            middle = max(0, here - self.size.height // 2)
            self.scroll_to(y=middle, animate=False, immediate=True, force=True)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One visible line."""
        width = self.scrollable_content_region.width
        place = y + self.scroll_offset.y
        if place >= len(self.lines):
            return Strip.blank(width, self.rich_style)
        line = self.lines[place]
        style = self.get_component_rich_style(f"log--{line.kind}")
        match = self.get_component_rich_style("log--here" if place == self.here else "log--match")
        strip = Strip(
            [Segment(text, match if is_match else style) for text, is_match in _split(line.text, self.wanted)]
        )
        left = self.scroll_offset.x
        return strip.crop_extend(left, left + width, self.rich_style)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Following ends where the reader scrolls up and begins again at the end."""
        super().watch_scroll_y(old_value, new_value)
        is_at_end = new_value >= self.max_scroll_y
        if new_value < old_value and not is_at_end:
            self._set_following(False)
        elif is_at_end and new_value > old_value:
            self._set_following(True)

    def watch_show_vertical_scrollbar(self) -> None:
        """Place the bar, which may come to show long after the lines moved."""
        self._place_scrollbar()

    def on_resize(self) -> None:
        """Keep the end in view."""
        if self._is_following:
            self._scroll_to_last()

    def action_first(self) -> None:
        """Go to the first line."""
        self.scroll_home(animate=False, immediate=True, force=True)

    def action_follow(self) -> None:
        """Go to the last line and follow."""
        self.follow(True)

    def action_sideways(self, direction: int) -> None:
        """Move within long lines."""
        self.scroll_relative(x=direction * _CHUNK, animate=False)

    def _place_scrollbar(self) -> None:
        # Textual moves the bar with the lines only while it shows, and it may have come to show after they moved.
        if self.show_vertical_scrollbar:
            self.vertical_scrollbar.position = self.scroll_y

    def _scroll_to_last(self) -> None:
        # Forced: before the next layout Textual does not know that there is something to scroll.
        self.scroll_end(animate=False, immediate=True, force=True, x_axis=False)

    def _set_following(self, is_on: bool) -> None:
        if is_on != self._is_following:
            self._is_following = is_on
            self.post_message(self.FollowChanged())


class LogView(Vertical):
    """The lines with their title and, while one searches, an input."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, classes="pane")
        self.lines = LogLines()
        self._input = Input(placeholder="search the log; enter finds, n and N go on, escape ends", id="log-search")

    def compose(self) -> ComposeResult:
        """Lines above, input below."""
        yield self.lines
        yield self._input

    def on_mount(self) -> None:
        """No search at first."""
        self._input.display = False
        self._show_title()

    def set_lines(self, lines: Sequence[LogLine], changed: int | None) -> None:
        """Show the log; ``changed`` is the first line that is new or another, None where none is."""
        if changed is None and len(lines) == len(self.lines.lines):
            return
        self.lines.set_lines(lines, changed or 0)
        self._show_title()

    def start_search(self) -> None:
        """Open the input."""
        self._input.display = True
        self._input.focus()

    def find_next(self, direction: int) -> bool:
        """Go to the next match, 1 downwards, -1 upwards; whether there is one."""
        lines = self.lines
        if not lines.wanted:
            return False
        last = len(lines.lines) - 1 if direction < 0 else -1
        start = (last if lines.here is None else lines.here) + direction
        here = find_line(lines.lines, lines.wanted, start, direction)
        lines.mark(lines.wanted, here)
        self._show_title()
        return here is not None

    @property
    def is_searching(self) -> bool:
        """Whether the input is open or a text is highlighted."""
        return bool(self._input.display or self.lines.wanted)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Find the newest match first: what one looks for in a log is mostly at its end."""
        event.stop()
        self._input.display = False
        self.lines.mark(event.value.strip(), None)
        self.lines.focus()
        self.find_next(-1)

    def end_search(self) -> None:
        """Close the input and forget the text."""
        had_focus = self._input.has_focus
        self._input.display = False
        self.lines.mark("", None)
        if had_focus:
            self.lines.focus()
        self._show_title()

    def on_log_lines_follow_changed(self, event: LogLines.FollowChanged) -> None:
        """Say so."""
        event.stop()
        self._show_title()

    def _show_title(self) -> None:
        lines = self.lines
        title = "log  following ●" if lines.is_following else "log  staying ○ (G follows)"
        found = ""
        if lines.wanted:
            place = None if lines.here is None else lines.here + 1
            found = "not found" if place is None else f"line {place:,} of {len(lines.lines):,}  n N"
        if (title, found) != (self.border_title, self.border_subtitle):  # setting it draws the whole pane
            self.border_title, self.border_subtitle = title, found


def _split(text: str, wanted: str) -> Iterable[tuple[str, bool]]:
    """The text in parts, those that are wanted marked; upper and lower case alike."""
    folded, wanted = text.casefold(), wanted.casefold()
    if not wanted or len(folded) != len(text):
        return [(text, False)]
    parts, start = [], 0
    while (found := folded.find(wanted, start)) >= 0:
        parts += [(text[start:found], False), (text[found : found + len(wanted)], True)]
        start = found + len(wanted)
    return [*parts, (text[start:], False)]
