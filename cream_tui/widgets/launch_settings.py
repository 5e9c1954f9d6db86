"""The left half of the Launch screen: the form, the line that narrows it, and what the field under the cursor means.

Knows fields, problems and the form. Must not know drafts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input

from cream_tui.text import make_visible
from cream_tui.views.launch_fields import Field, find_fields
from cream_tui.widgets.launch_form import LaunchForm
from cream_tui.widgets.launch_panes import Lines

_FIRST = "name"


class LaunchSettings(Vertical):
    """The form with its help and its search."""

    def __init__(self, fields: Sequence[Field], texts: Mapping[str, str]) -> None:
        super().__init__(id="launch-form-pane", classes="pane")
        self.border_title = "settings"
        self._fields = list(fields)
        self._field: Field | None = None
        self._hints: Mapping[str, str] = {}
        self.form = LaunchForm(fields, texts)
        self.find_line = Input(id="launch-find", placeholder="find a setting: type a part of its name or help")
        self.help_line = Lines(id="launch-help")

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield self.find_line
        yield self.form
        yield self.help_line

    @property
    def is_finding(self) -> bool:
        """Whether the form may be narrowed."""
        return self.has_class("-finding")

    def set_hints(self, hints: Mapping[str, str]) -> None:
        """The ways out of what is wrong, by field."""
        self._hints = hints
        self._show_help()

    def focus_form(self) -> None:
        """Put the cursor into the field that had it last, at first where most begin."""
        if self._field is None or not self.form.focus_field(self._field.key):
            self.form.focus_field(_FIRST)

    def start_finding(self) -> None:
        """Open the line that narrows the form."""
        self.add_class("-finding")
        self.find_line.focus()

    def stop_finding(self) -> None:
        """Show the form as it was."""
        self.remove_class("-finding")
        self.find_line.value = ""
        self.focus_form()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Narrow the form."""
        if event.input is self.find_line:
            event.stop()
            found = find_fields(self._fields, event.value) if event.value.strip() else None
            self.form.find(None if found is None else [field.key for field in found])

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go to the first that was found."""
        if event.input is self.find_line:
            event.stop()
            found = find_fields(self._fields, event.value)
            any(self.form.focus_field(field.key) for field in found)

    def on_launch_form_entered(self, event: LaunchForm.Entered) -> None:
        """Tell what the field means and takes."""
        event.stop()
        self._field = event.field
        self._show_help()

    def _show_help(self) -> None:
        if self._field is not None:
            self.help_line.set_lines([describe_field(self._field, self._hints.get(self._field.key))])


def describe_field(field: Field, hint: str | None = None) -> Content:
    """What a field means and takes, or the way out of what is wrong with it."""
    if hint is not None:
        return Content.assemble((field.key, "bold"), "  ", (make_visible(hint), "$warning"))
    ways = ""
    if field.choices and field.kind != "list":
        ways = f"space: next of {', '.join(field.choices)}"
    elif field.kind in ("int", "float"):
        ways = "several runs: [1, 2]" + (" or 1..3" if field.kind == "int" else "")
    elif field.kind == "list":
        ways = "apart by commas" + (f"; of {', '.join(field.choices)}" if field.choices else "")
    return Content.assemble((field.key, "bold"), f"  {field.help}", (f"  {ways}" if ways else "", "$primary"))
