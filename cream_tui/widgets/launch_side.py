"""The right half of the Launch screen: what is changed, the checks, a dry run, the queue.

Knows the panes and the app's commands. Must not know the form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content

from cream_tui.screens.dialogs import Confirm
from cream_tui.targets import RunTarget
from cream_tui.text import make_visible
from cream_tui.views.launch import Review
from cream_tui.views.launch_reader import LaunchData
from cream_tui.widgets.launch_panes import Lines, QueuePane, describe_check, describe_difference

if TYPE_CHECKING:
    from cream_tui.app import CreamApp


_KEY_WIDTH = 16


class LaunchSide(Vertical):
    """Shows what follows from a draft; moves and stops the runs of the queue."""

    def __init__(self) -> None:
        super().__init__(id="launch-side", classes="side")
        self.differences = Lines(id="launch-differences", classes="pane")
        self.checks = Lines(id="launch-checks", classes="pane")
        self.dry_run = Lines(id="launch-dry-run-text")
        self.dry_run_pane = VerticalScroll(self.dry_run, id="launch-dry-run", classes="pane")
        self.queue = QueuePane()
        self.differences.border_title, self.checks.border_title = "changed", "checks"
        self._title = ""

    def compose(self) -> ComposeResult:
        """The panes from top to bottom; the dry run takes the place of the first two."""
        yield self.differences
        yield self.checks
        yield self.dry_run_pane
        yield self.queue

    @property
    def has_dry_run(self) -> bool:
        """Whether a dry run is shown."""
        return self.has_class("-dry-run")

    def show(self, data: LaunchData) -> None:
        """Show what was found."""
        lines = list_differences(data.review)
        draft = data.review.draft
        title = f"changed from {make_visible(draft.run_reference or draft.base)}"
        if title != self._title:  # setting it draws the frame anew
            self._title = title
            self.differences.border_title = Content(title)  # type: ignore[assignment]  # a str would be markup
        self.differences.set_lines(lines or [Content.styled("nothing", "$foreground 60%")])
        self.checks.set_lines([describe_check(check) for check in data.checks])
        self.queue.set_runs(data.queue)

    def show_dry_run(self, lines: Sequence[Content]) -> None:
        """Show a dry run in the place of changes and checks."""
        self.dry_run_pane.border_title = "dry run: nothing was started"
        self.dry_run.set_lines(lines)
        self.dry_run_pane.scroll_home(animate=False)
        self.add_class("-dry-run")

    def mark_outdated(self) -> None:
        """Say that the draft is another one by now."""
        self.dry_run_pane.border_title = "dry run, before your last change"

    def close_dry_run(self) -> None:
        """Show changes and checks again."""
        self.remove_class("-dry-run")

    def on_queue_pane_reordered(self, event: QueuePane.Reordered) -> None:
        """Move a run that waits."""
        event.stop()
        where = ["--last"] if event.before is None else ["--before", event.before.run_id]
        name = event.run.name
        self._cream.perform(["queue", event.run.run_id, *where], doing=f"moving {name}", done=f"{name} moved")

    def on_queue_pane_stop_asked(self, event: QueuePane.StopAsked) -> None:
        """Stop a run, after a question."""
        event.stop()
        run = event.run
        what = f"Stop {run.name}?" if run.place is None else f"Take {run.name} out of the queue?"

        def stop(is_sure: bool | None) -> None:
            if is_sure:
                self._cream.perform(["stop", run.run_id], doing=f"stopping {run.name}", done=f"{run.name} is stopped")

        self.app.push_screen(Confirm(what, "It can be resumed and loses nothing."), stop)

    def on_queue_pane_opened(self, event: QueuePane.Opened) -> None:
        """Show a run."""
        event.stop()
        self._cream.go_to(RunTarget(event.run.run_id))

    @property
    def _cream(self) -> CreamApp:
        return cast("CreamApp", self.app)


def list_differences(review: Review) -> list[Content]:
    """What is changed, aligned."""
    width = min(_KEY_WIDTH, max((len(difference.key) for difference in review.differences), default=0))
    return [describe_difference(difference, width) for difference in review.differences]
