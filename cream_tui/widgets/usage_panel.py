"""CPU, memory and GPU of a run: a sparkline and a number each, and the most that a stage took.

Knows usage rows. Must not know the store.
"""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget

from cream_tui.charts.spark import spark
from cream_tui.text import make_visible
from cream_tui.units import format_bytes
from db.rows import UsageRow

_LABEL_WIDTH = 9
_NUMBER_WIDTH = 17
Peak = tuple[int, int | None, str]


class UsagePanel(Widget):
    """A few lines; says so where nothing was measured."""

    DEFAULT_CSS = "UsagePanel { height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, classes="pane")
        self._usage: Sequence[UsageRow] = ()
        self._peak: Peak | None = None
        self._lines: list[Content] = []

    def set_usage(self, usage: Sequence[UsageRow], peak: Peak | None) -> None:
        """Show these samples, the oldest first; lines that stay as they are are not drawn again."""
        if (usage, peak) == (self._usage, self._peak):
            return
        self._usage, self._peak = usage, peak
        before, self._lines = self._lines, lay_out_usage(usage, peak, self.content_size.width)
        self._show_title()
        if len(before) != len(self._lines):
            self.refresh()
            return
        rows = [y for y, (old, new) in enumerate(zip(before, self._lines, strict=True)) if old != new]
        if rows:
            self.refresh(*(Region(0, y, self.content_size.width, 1) for y in rows))

    def on_mount(self) -> None:
        """A title from the first frame on."""
        self._show_title()

    def on_resize(self) -> None:
        """Lay out anew."""
        self._lines = lay_out_usage(self._usage, self._peak, self.content_size.width)
        self.refresh()

    def render(self) -> Content:
        """The lines."""
        return Content("\n").join(self._lines)

    def _show_title(self) -> None:
        minutes = round((self._usage[-1].at - self._usage[0].at) / 60) if self._usage else 0
        title = f"system, last {minutes} min" if minutes else "system"
        if title != self.border_title:  # setting it draws the whole pane
            self.border_title = title


def lay_out_usage(usage: Sequence[UsageRow], peak: Peak | None, width: int) -> list[Content]:
    """The lines of the panel in this many columns."""
    lines: list[Content] = []
    room = max(4, width - _LABEL_WIDTH - _NUMBER_WIDTH - 1)
    for label, values, number in _list_measures(usage):
        drawn = spark(values, room)
        line = Content.assemble(
            (f"{label:<{_LABEL_WIDTH}}", "$foreground 70%"),
            (f"{drawn:<{room}}", "$primary"),
            f" {number:>{_NUMBER_WIDTH}}",
        )
        lines.append(line)
    if not lines:
        lines.append(Content.styled("not measured", "$foreground 60%"))
    if peak is not None:
        rss, gpu, label = peak
        most = format_bytes(rss) + (f", GPU {format_bytes(gpu)}" if gpu else "")
        lines.append(Content.styled(f"most      {most}  ({make_visible(label)} alone)", "$foreground 70%"))
    return [line.truncate(max(1, width), ellipsis=True) for line in lines]


def _list_measures(usage: Sequence[UsageRow]) -> list[tuple[str, list[float], str]]:
    """Label, values and the newest value in words of what was measured; of the GPU only where there is one."""
    if not usage:
        return []
    last = usage[-1]
    found: list[tuple[str, list[float], str]] = [
        ("CPU", [row.cpu_percent for row in usage], f"{last.cpu_percent:.0f} % of a core"),
        ("memory", [float(row.rss_bytes) for row in usage], f"{format_bytes(last.rss_bytes)} in all"),
    ]
    busy = [row.gpu_percent for row in usage if row.gpu_percent is not None]
    if busy:
        found.append(("GPU", busy, f"{busy[-1]:.0f} %"))
    held = [row.gpu_bytes for row in usage if row.gpu_bytes is not None]
    if held:
        total = f" of {format_bytes(last.gpu_total_bytes)}" if last.gpu_total_bytes else ""
        found.append(("GPU mem", [float(value) for value in held], format_bytes(held[-1]) + total))
    return found


def summarise_usage(usage: Sequence[UsageRow]) -> str:
    """The newest sample in a few words, for where there is no room for the panel."""
    if not usage:
        return ""
    last = usage[-1]
    gpu = "" if last.gpu_percent is None else f"  GPU {last.gpu_percent:.0f}%"
    return f"CPU {last.cpu_percent:.0f}%  {format_bytes(last.rss_bytes)}{gpu}"
