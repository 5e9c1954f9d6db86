"""What stands beside the form of a new run: differences, checks, the queue, the command, a dry run.

Knows what they show as values of ``views``. Must not know drafts or the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from cream_tui.text import make_visible
from cream_tui.units import MISSING, format_duration, format_percent
from cream_tui.views.launch import Difference
from cream_tui.views.launch_checks import Check
from cream_tui.views.launch_reader import LaunchData, Waiting
from cream_tui.views.preview import describe_headline, describe_status, list_facts
from cream_tui.widgets.steady_list import SteadyList

if TYPE_CHECKING:
    from engine.runtime.preview import RunPreview

_MARKS = {
    "good": ("✓", "$success"),
    "warning": ("!", "$warning"),
    "bad": ("✗", "$error"),
    "note": ("·", "$foreground 60%"),
}


def describe_check(check: Check) -> Content:
    """A check as one line: mark, name, words."""
    mark, style = _MARKS[check.status]
    text_style = style if check.status in ("bad", "warning") else ""
    return Content.assemble((f"{mark} ", f"{style} bold"), f"{check.name:<10} ", (make_visible(check.text), text_style))


def summarise_checks(checks: Sequence[Check]) -> Content:
    """All checks in one line; the words only of those that are not good."""
    parts = []
    for check in checks:
        mark, style = _MARKS[check.status]
        words = f"{check.name}: {make_visible(check.text)}" if check.status in ("bad", "warning") else check.name
        parts.append(Content.assemble((f"{mark} ", f"{style} bold"), words))
    return Content("  ").join(parts)


def summarise(data: LaunchData) -> list[Content]:
    """Changes, checks and queue in a line each, for a terminal without room beside the form."""
    differences = data.review.differences
    changed = Content("  ").join(describe_difference(difference, 0) for difference in differences)
    first = Content.assemble(("changed  ", "$foreground 70%"), changed if differences else "nothing")
    return [first, summarise_checks(data.checks), summarise_queue(data.queue)]


def describe_difference(difference: Difference, width: int) -> Content:
    """A changed setting: key, before, after."""
    before, after = (make_visible(text) or MISSING for text in (difference.before, difference.after))
    key = Content(f"{difference.key:<{width}}  ")
    return Content.assemble(key, (before, "$foreground 60%"), (" → ", "$foreground 60%"), (after, "$warning"))


def _is_same(first: Content, second: Content) -> bool:
    """Whether texts and styles are equal; Content compares texts alone."""
    return first == second and first.spans == second.spans


class Lines(Static):
    """Lines that are drawn as they are, cut at the edge."""

    _shown: Content | None = None

    def set_lines(self, lines: Sequence[Content]) -> None:
        """Show these; the same again cost nothing."""
        content = Content("\n").join(lines)
        if self._shown is None or not _is_same(content, self._shown):
            self._shown = content
            self.update(content)


class QueuePane(SteadyList):
    """The runs that compute and those that wait; J and K move one that waits."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("J", "reorder(1)", "Later in the queue", show=False, id="launch.later"),
        Binding("K", "reorder(-1)", "Earlier in the queue", show=False, id="launch.earlier"),
        Binding("x", "stop", "Stop the run", show=False, id="launch.stop"),
        Binding("j", "cursor_down", "Down", show=False),
        Binding("k", "cursor_up", "Up", show=False),
    ]

    class Reordered(Message):
        """A run that waits is to go before another one; None: last."""

        def __init__(self, run: Waiting, before: Waiting | None) -> None:
            super().__init__()
            self.run = run
            self.before = before

    class StopAsked(Message):
        """A run is to be stopped, or taken out of the queue."""

        def __init__(self, run: Waiting) -> None:
            super().__init__()
            self.run = run

    class Opened(Message):
        """A run is to be shown."""

        def __init__(self, run: Waiting) -> None:
            super().__init__()
            self.run = run

    def __init__(self) -> None:
        super().__init__(id="launch-queue", classes="pane", markup=False, compact=True)
        self.border_title = "queue  nobody waits"
        self._runs: tuple[Waiting, ...] = ()

    def set_runs(self, runs: Sequence[Waiting]) -> None:
        """Show these; the highlight stays on its run."""
        if tuple(runs) == self._runs:
            return
        held = self.chosen
        self._runs = tuple(runs)
        self.clear_options()
        self.add_options([Option(describe_waiting(run), id=run.run_id) for run in runs])
        places = [place for place, run in enumerate(runs) if held is not None and run.run_id == held.run_id]
        self.highlighted = places[0] if places else None
        n_waiting = sum(run.place is not None for run in runs)
        self.border_title = f"queue  {n_waiting} waiting" if n_waiting else "queue  nobody waits"
        self.border_subtitle = "J K move, x stop" if runs else ""

    @property
    def chosen(self) -> Waiting | None:
        """The highlighted run."""
        place = self.highlighted
        return self._runs[place] if place is not None and place < len(self._runs) else None

    def action_reorder(self, step: int) -> None:
        """Ask for another place for the highlighted run."""
        run = self.chosen
        waiting = [other for other in self._runs if other.place is not None]
        if run is None or run.place is None:
            return
        place = waiting.index(run) + step
        if not 0 <= place < len(waiting):
            return
        rest = [other for other in waiting if other is not run]
        self.post_message(self.Reordered(run, rest[place] if place < len(rest) else None))

    def action_stop(self) -> None:
        """Ask for the end of the highlighted run."""
        if self.chosen is not None:
            self.post_message(self.StopAsked(self.chosen))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Ask to see it."""
        event.stop()
        if self.chosen is not None:
            self.post_message(self.Opened(self.chosen))


def describe_waiting(run: Waiting) -> Content:
    """One run of the queue."""
    name = make_visible(run.name)
    if run.place is None:
        return Content.assemble(("● runs    ", "$primary"), name, f"  {format_percent(run.fraction_done, 0)} %")
    return Content.assemble((f"○ next {run.place:<2} ", "$foreground 70%"), name)


def summarise_queue(runs: Sequence[Waiting]) -> Content:
    """The queue in one line."""
    if not runs:
        return Content.styled("queue  empty: this run starts at once", "$foreground 70%")
    parts = [f"{make_visible(run.name)} {format_percent(run.fraction_done, 0)} %" for run in runs if run.place is None]
    parts += [f"{run.place}. {make_visible(run.name)}" for run in runs if run.place is not None]
    return Content.styled(f"queue  {'   '.join(parts)}", "$foreground 70%")


def lay_out_previews(previews: Sequence[RunPreview]) -> list[Content]:
    """A dry run: of one run its stages and what they cost, of several what each costs."""
    lines: list[Content] = []
    for preview in previews:
        lines.append(Content.styled(make_visible(describe_headline(preview)), "bold"))
        lines += [
            Content.assemble((f"{name:<8} ", "$foreground 60%"), make_visible(text))
            for name, text in list_facts(preview)
            if len(previews) == 1 or name in ("stages", "time")
        ]
        lines.append(Content(""))
    if len(previews) > 1:
        words = "each as if it ran alone: runs of a sweep that start alike compute that start once"
        return [*lines, Content.styled(words, "$foreground 60%")]
    width = max((len(stage.label) for stage in previews[0].stages), default=0)
    for stage in previews[0].stages:
        is_reused = stage.status == "reused"
        about = MISSING if stage.seconds is None else "" if is_reused else format_duration(stage.seconds)
        mark, style = ("✓", "$success") if is_reused else ("○", "$foreground 70%")
        status = make_visible(describe_status(stage))
        lines.append(Content.assemble((f"{mark} ", style), f"{stage.label:<{width}}  ", (f"{status}  ", style), about))
    return lines
