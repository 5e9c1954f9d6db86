"""The help of a screen, made from its bindings, and the inbox of alerts.

Knows bindings and alerts. Must not know screens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from cream_tui.screens.dialogs import Dialog
from cream_tui.text import make_visible
from cream_tui.widgets.steady_list import SteadyList

if TYPE_CHECKING:
    from cream_tui.shell.notices import Alert

_KEY_WIDTH = 16
_WIDTH_WITH_IDS = 100  # of the terminal; in a narrower one the names of keys.yaml would break the lines


@dataclass(frozen=True, slots=True)
class KeyHelp:
    """One action: where it lives, its keys, what it does, its id in keys.yaml."""

    section: str
    keys: str
    description: str
    binding_id: str


class HelpScreen(Dialog[None]):
    """All keys of the screen below; typing finds."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark", "leave", "Close"),
        Binding("down", "scroll(1)", show=False),
        Binding("up", "scroll(-1)", show=False),
        Binding("pagedown", "scroll(10)", show=False),
        Binding("pageup", "scroll(-10)", show=False),
    ]

    def __init__(self, intro: str, keys: Sequence[KeyHelp], keys_file: str) -> None:
        super().__init__()
        self._intro, self._keys, self._keys_file = intro.strip(), keys, keys_file

    def compose(self) -> ComposeResult:
        """A line to find, and the keys."""
        with Vertical(classes="dialog-box help-box"):
            yield Input(placeholder="type to find a key or an action; escape closes", classes="dialog-input")
            with VerticalScroll(can_focus=False):
                yield Static(id="help-text")

    def on_mount(self) -> None:
        """All of them."""
        self._draw("")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Only what holds the typed words."""
        event.stop()
        self._draw(event.value)

    def action_scroll(self, lines: int) -> None:
        """Move while the line has the focus."""
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_leave(self) -> None:
        """Close."""
        self.dismiss(None)

    def _draw(self, wanted: str) -> None:
        words = wanted.casefold().split()
        parts: list[Content | str | tuple[str, str]] = []
        if self._intro and not words:
            parts.append(self._intro + "\n")
        section = ""
        has_room = self.app.size.width >= _WIDTH_WITH_IDS
        for key in self._keys:
            line = f"{key.section} {key.keys} {key.description} {key.binding_id}".casefold()
            if not all(word in line for word in words):
                continue
            if key.section != section:
                section = key.section
                parts.append(("\n" + section + "\n", "$primary bold"))
            parts += [
                (f"  {key.keys:<{_KEY_WIDTH}}", "bold"),
                f"{key.description:<38}",
                (f" {key.binding_id}\n" if has_room else "\n", "dim"),
            ]
        if not section:
            parts.append("\nNo such key.")
        parts.append(("\nOther keys: a line such as  " + (self._example()) + f"  in {self._keys_file}", "dim"))
        self.query_one("#help-text", Static).update(Content.assemble(*parts))

    def _example(self) -> str:
        named = [key.binding_id for key in self._keys if key.binding_id]
        return f"{named[0]}: ctrl+x" if named else "app.quit: ctrl+x"


class AlertsScreen(Dialog["Alert | None"]):
    """What happened: runs that ended or failed, commands that were refused. Enter goes to the place."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,exclamation_mark", "leave", "Close")]

    def __init__(self, alerts: Sequence[Alert]) -> None:
        super().__init__()
        self._alerts = alerts

    def compose(self) -> ComposeResult:
        """The newest first."""
        with Vertical(classes="dialog-box"):
            yield Static(Content.styled("Alerts of this session, the newest first", "bold"))
            if self._alerts:
                yield SteadyList(*[Option(self._describe(alert)) for alert in self._alerts], classes="dialog-list")
            else:
                yield Static("Nothing happened so far.", classes="dialog-detail")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Go there."""
        event.stop()
        self.dismiss(self._alerts[event.option_index])

    def action_leave(self) -> None:
        """Close."""
        self.dismiss(None)

    def _describe(self, alert: Alert) -> Content:
        style = {"error": "$error", "warning": "$warning"}.get(alert.severity, "$success")
        mark = {"error": "✗", "warning": "!"}.get(alert.severity, "✓")
        where = "" if alert.target is None else "  (enter goes there)"
        return Content.assemble(
            (f"{mark} ", style),
            (f"{alert.time}  ", "dim"),
            make_visible(alert.text, keep_newlines=True),
            (where, "dim"),
        )
