"""What stands above a run's stages: why it does not go on, or what to look at. Nothing where there is nothing to say.

Knows notices and alerts. Must not know the store.
"""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from cream_tui.text import make_visible
from cream_tui.views.run import Notice
from cream_tui.views.run_alerts import RunAlert, summarise_alerts

_STYLES = {"error": "$error", "warning": "$warning", "information": "$foreground 80%"}
_MARKS = {"error": "✗ ", "warning": "! "}


class RunNotice(Static):
    """A few lines."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shown = Content("")
        self.display = False

    def set_notice(self, notice: Notice | None, alerts: Sequence[RunAlert] = ()) -> None:
        """Show why the run does not go on; else the first of its alerts."""
        if notice is not None:
            style = _STYLES[notice.kind]
            first, *rest = (make_visible(line) for line in notice.lines)
            lines = [Content.styled(_MARKS.get(notice.kind, "") + first, f"{style} bold")]
            lines += [Content.styled("  " + line, style) for line in rest]
        else:
            lines = [Content.styled(make_visible(summarise_alerts(alerts)), "$warning")] if alerts else []
        content = Content("\n").join(lines)
        self.display = bool(lines)
        if content != self._shown:
            self._shown = content
            self.update(content)
