"""The stages of a run in two lines: all of them, and what goes on with its rate and time left.

Knows ``cream_tui.views.run``. Must not know the store. Drawn again only where its words changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget

from cream_tui.readers.snapshots import RunSnapshot
from cream_tui.text import make_visible
from cream_tui.views.run import Span, describe_current, lay_out_stages

STATE_STYLES: Mapping[str, str] = {
    "done": "$success",
    "reused": "$success",
    "running": "$primary bold",
    "waiting": "$warning",
    "failed": "$error bold",
    "interrupted": "$error",
    "pending": "$foreground 50%",
    "": "$foreground",
}


class StageTimeline(Widget):
    """Two lines."""

    DEFAULT_CSS = "StageTimeline { height: 2; padding: 0 1; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._snapshot: RunSnapshot | None = None
        self._lines: tuple[Content, ...] = (Content(""), Content(""))

    def set_snapshot(self, snapshot: RunSnapshot | None) -> None:
        """Show this run; only the part of a line that changed goes to the terminal."""
        self._snapshot = snapshot
        before, self._lines = self._lines, self._lay_out()
        regions = [
            Region(start, y, max(old.cell_length, new.cell_length) - start, 1)
            for y, (old, new) in enumerate(zip(before, self._lines, strict=True))
            if old != new
            for start in [_find_change(old, new)]
        ]
        if regions:
            self.refresh(*regions)

    def on_resize(self) -> None:
        """Lay out anew."""
        self._lines = self._lay_out()
        self.refresh()

    def render(self) -> Content:
        """The lines."""
        return Content("\n").join(self._lines)

    def _lay_out(self) -> tuple[Content, ...]:
        snapshot, width = self._snapshot, self.content_size.width
        if snapshot is None or width <= 0:
            return Content(""), Content("")
        stages = lay_out_stages(snapshot.rows, snapshot.stages, width)
        return paint(stages), paint(describe_current(snapshot, width))


def _find_change(old: Content, new: Content) -> int:
    """The first cell that differs; the first at all where only styles do."""
    if old.plain == new.plain:
        return 0
    pairs = zip(old.plain, new.plain, strict=False)
    n_same = next((k for k, (a, b) in enumerate(pairs) if a != b), min(len(old.plain), len(new.plain)))
    return cell_len(new.plain[:n_same])


def paint(spans: Sequence[Span]) -> Content:
    """Spans of a state's text in its colour; whatever they hold is shown as text."""
    return Content.assemble(*((make_visible(text), STATE_STYLES.get(style, "")) for text, style in spans))
