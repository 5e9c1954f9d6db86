"""The form of a new run: one row a field, the basic ones first, all others folded by section, found by typing.

Knows fields, texts and problems. Must not know drafts, nor what a run is. Says ``LaunchForm.Edited`` when a person has
typed; what is shown is told by ``set_texts``, ``set_problems`` and ``set_changed``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.events import DescendantFocus, Key, Paste
from textual.message import Message
from textual.suggester import SuggestFromList
from textual.widget import Widget
from textual.widgets import Input

from cream_tui.text import make_visible
from cream_tui.views.launch_fields import Field

LABEL_WIDTH = 30
# Room to the right of the text: what it was.
_NOTE_WIDTH = 18


class FieldInput(Input):
    """The text of a field. In a field with few choices space takes the next one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "go(-1)", "Previous field", show=False),
        Binding("down,enter", "go(1)", "Next field", show=False),
    ]

    def __init__(self, field: Field, text: str) -> None:
        suggester = SuggestFromList(field.choices, case_sensitive=False) if field.choices else None
        super().__init__(text, compact=True, suggester=suggester, placeholder=field.default or "")
        self.field = field
        self.is_locked = False

    def action_go(self, step: int) -> None:
        """Move the focus to a neighbouring row."""
        _go(self, step)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A locked field only lets the focus go on."""
        return not self.is_locked or action == "go"

    def _on_paste(self, event: Paste) -> None:
        """Take it, save into a locked field."""
        if self.is_locked:
            event.stop()
            event.prevent_default()

    async def _on_key(self, event: Key) -> None:
        """Take the next choice on space, save inside a list of several; a locked field swallows what is typed."""
        if self.is_locked and event.is_printable:
            event.stop()
            event.prevent_default()
            return
        if event.key == "space" and self.field.choices and not self.value.startswith("[") and self.field.kind != "list":
            event.stop()
            event.prevent_default()
            choices = self.field.choices
            place = choices.index(self.value) if self.value in choices else -1
            self.value = choices[(place + 1) % len(choices)]
            self.cursor_position = len(self.value)
            return
        await super()._on_key(event)


class FieldRow(Widget):
    """Label, text, and what it was before it was changed; below it what is wrong, if anything."""

    def __init__(self, field: Field, text: str) -> None:
        super().__init__(classes="field-row")
        self.field = field
        self.input = FieldInput(field, text)
        self._was: str | None = None
        self._problem = ""

    def compose(self) -> ComposeResult:
        """Only the text is a widget; the rest is drawn by the row."""
        yield self.input

    def set_text(self, text: str) -> None:
        """Show a text that nobody typed."""
        if self.input.value != text:
            with self.input.prevent(Input.Changed):
                self.input.value = text
            if self.input.has_focus:
                self.input.action_select_all()

    def set_was(self, was: str | None) -> None:
        """Mark the field as changed from this text; None: it is not changed."""
        if was != self._was:
            self._was = was
            self.refresh()

    def set_problem(self, problem: str) -> None:
        """Tell what is wrong below the field; empty: nothing."""
        if problem != self._problem:
            self._problem = problem
            self.set_class(bool(problem), "-wrong")
            self.refresh(layout=True)

    def render(self) -> Content:
        """What stands around the text."""
        width = self.size.width
        is_changed = self._was is not None
        label = Content.assemble(
            ("*" if is_changed else " ", "$warning bold"),
            (
                self.field.key if self.field.is_basic else f"  {self.field.label}",
                "bold" if self.input.has_focus else "" if is_changed else "$foreground 80%",
            ),
        ).truncate(LABEL_WIDTH - 1, ellipsis=True)
        note = Content("")
        if is_changed and width >= 60:
            shown = f"was {make_visible(self._was or '') or 'none'}"
            note = Content.styled(shown, "$foreground 60%").truncate(_NOTE_WIDTH - 2, ellipsis=True)
        gap = max(1, width - label.cell_length - note.cell_length)
        line = Content.assemble(label, " " * gap, note)
        if not self._problem:
            return line
        problem = Content.styled(f"✗ {make_visible(self._problem)}", "$error").truncate(
            max(0, width - 3), ellipsis=True
        )
        return Content("\n").join([line, Content.assemble("   ", problem)])


class SectionRow(Widget, can_focus=True):
    """The header of a folded section."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "fold", "Fold or unfold", show=False),
        Binding("up", "go(-1)", "Previous field", show=False),
        Binding("down", "go(1)", "Next field", show=False),
    ]

    class Toggled(Message):
        """Somebody wants it folded, or unfolded."""

        def __init__(self, section: str) -> None:
            super().__init__()
            self.section = section

    def __init__(self, section: str, n_fields: int) -> None:
        super().__init__(classes="section-row")
        self.section = section
        self.n_fields = n_fields
        self.n_changed = 0
        self.is_open = False

    def render(self) -> Content:
        """Name, how many settings, how many changed."""
        words = f"  {self.n_fields} more settings" + (f", {self.n_changed} changed" if self.n_changed else "")
        mark = "▾" if self.is_open else "▸"
        return Content.assemble((f"{mark} {self.section}", "bold"), (words, "$foreground 60%"))

    def action_go(self, step: int) -> None:
        """Move the focus to a neighbouring row."""
        _go(self, step)

    def action_fold(self) -> None:
        """Ask for it."""
        self.post_message(self.Toggled(self.section))

    def on_click(self) -> None:
        """As enter."""
        self.action_fold()


def _go(row: Widget, step: int) -> None:
    """Move the focus inside the form: out of it, a letter that somebody types would be a command."""
    rows = [widget for widget in row.screen.focus_chain if isinstance(widget, (FieldInput, SectionRow))]
    if row not in rows:  # hidden since the key was pressed
        return
    place = rows.index(row) + step
    if 0 <= place < len(rows):
        rows[place].focus()


class LaunchForm(VerticalScroll, can_focus=False):
    """All fields of a new run."""

    class Edited(Message):
        """A person has typed: ``take_typed`` says what."""

    class Entered(Message):
        """A field has got the focus."""

        def __init__(self, field: Field) -> None:
            super().__init__()
            self.field = field

    def __init__(self, fields: Sequence[Field], texts: Mapping[str, str]) -> None:
        super().__init__(id="launch-form")
        self._fields = {field.key: field for field in fields}
        self._texts = dict(texts)
        self._was: dict[str, str] = {}
        self._problems: dict[str, str] = {}
        self._wanted: frozenset[str] | None = None
        self._hidden: frozenset[str] = frozenset()
        self._is_locked = False
        self.rows: dict[str, FieldRow] = {}
        self.sections: dict[str, SectionRow] = {}

    def compose(self) -> ComposeResult:
        """The basic fields; of the others only the headers, until one is opened or found."""
        for field in self._fields.values():
            if field.is_basic:
                yield self._build_row(field)
        for section, fields in self._list_sections().items():
            self.sections[section] = SectionRow(section, len(fields))
            yield self.sections[section]

    def set_texts(self, texts: Mapping[str, str]) -> None:
        """Show these texts, save where somebody has typed and the message of that is still on its way."""
        typed = {key for key, row in self.rows.items() if row.input.value != self._texts.get(key, "")}
        self._texts = {**texts, **{key: self._texts.get(key, "") for key in typed}}
        for key, row in self.rows.items():
            if key not in typed:
                row.set_text(texts.get(key, ""))

    def set_changed(self, was: Mapping[str, str]) -> None:
        """Mark the fields that are changed, with what they were."""
        self._was = dict(was)
        for key, row in self.rows.items():
            row.set_was(self._was.get(key))
        for section, fields in self._list_sections().items():
            header = self.sections[section]
            n_changed = sum(field.key in self._was for field in fields)
            if n_changed != header.n_changed:
                header.n_changed = n_changed
                header.refresh()

    def set_problems(self, problems: Mapping[str, str]) -> None:
        """Tell what is wrong at each field; a folded field with a problem is shown."""
        self._problems = dict(problems)
        self._mount_rows(key for key in problems if key in self._fields)
        for key, row in self.rows.items():
            row.set_problem(self._problems.get(key, ""))
        self._apply_display()

    def hide(self, keys: Collection[str]) -> None:
        """Leave these fields out: they mean nothing now."""
        if frozenset(keys) != self._hidden:
            self._hidden = frozenset(keys)
            self._apply_display()

    def set_locked(self, is_locked: bool) -> None:
        """Let nothing be typed, or again; the focus stays, so that no letter becomes a command."""
        self._is_locked = is_locked
        for row in self.rows.values():
            row.input.is_locked = is_locked

    def find(self, keys: Collection[str] | None) -> None:
        """Show only these fields; None: as it was before."""
        self._wanted = None if keys is None else frozenset(keys)
        if keys is not None:
            self._mount_rows(keys)
        self._apply_display()

    def focus_field(self, key: str) -> bool:
        """Put the cursor into a field; whether there is one."""
        row = self.rows.get(key)
        if row is None or not row.display:
            return False
        row.input.focus()
        return True

    def on_section_row_toggled(self, event: SectionRow.Toggled) -> None:
        """Fold or unfold; rows are made when they are first seen."""
        event.stop()
        header = self.sections[event.section]
        header.is_open = not header.is_open
        if header.is_open:
            self._mount_rows(field.key for field in self._list_sections()[event.section])
        header.refresh()
        self._apply_display()

    def take_typed(self) -> dict[str, str]:
        """The texts that were typed since this was last asked, by key."""
        found = {k: row.input.value for k, row in self.rows.items() if row.input.value != self._texts.get(k, "")}
        self._texts |= found
        return found

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say that a person has typed."""
        if isinstance(event.input, FieldInput):
            event.stop()
            self.post_message(self.Edited())

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """Say which field is being typed into."""
        focused = self.screen.focused
        if isinstance(focused, FieldInput):
            self.post_message(self.Entered(focused.field))
            for row in self.rows.values():
                row.refresh()

    def _build_row(self, field: Field) -> FieldRow:
        row = self.rows[field.key] = FieldRow(field, self._texts.get(field.key, ""))
        row.set_was(self._was.get(field.key))
        row.input.is_locked = self._is_locked
        return row

    def _list_sections(self) -> dict[str, list[Field]]:
        sections: dict[str, list[Field]] = {}
        for field in self._fields.values():
            if not field.is_basic:
                sections.setdefault(field.section, []).append(field)
        return sections

    def _mount_rows(self, keys: Iterable[str]) -> None:
        """Make the rows of these fields below their headers, in the order of the section."""
        wanted = set(keys)
        for section, fields in self._list_sections().items():
            place: Widget = self.sections[section]
            missing = []
            for field in fields:
                if field.key in self.rows:
                    place = self.rows[field.key]
                elif field.key in wanted:
                    missing.append((self._build_row(field), place))
                    place = missing[-1][0]
            for row, after in missing:
                self.mount(row, after=after)

    def _apply_display(self) -> None:
        for key, row in self.rows.items():
            field = self._fields[key]
            is_open = field.is_basic or self.sections[field.section].is_open or key in self._problems
            is_shown = key not in self._hidden and (key in self._wanted if self._wanted is not None else is_open)
            if row.display != is_shown:
                row.display = is_shown
        for section, fields in self._list_sections().items():
            found = self._wanted is None or any(field.key in self._wanted for field in fields)
            if self.sections[section].display != found:
                self.sections[section].display = found
