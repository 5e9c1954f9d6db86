"""Small windows: a question, a line of text, a list to choose from.

Knows Textual. Must not know what is asked. Escape always means no.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen, ScreenResultType
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from cream_tui.text import make_visible
from cream_tui.widgets.steady_list import SteadyList

NOTE_HINT = "Enter keeps it, escape leaves it as it was; an empty one is none."

_NEWLINE = "⏎"


class Dialog(ModalScreen[ScreenResultType]):
    """A window that is answered once: keys that are typed faster than it closes change nothing."""

    def __init__(self) -> None:
        super().__init__(classes="dialog")

    def dismiss(self, result: ScreenResultType | None = None) -> AwaitComplete:
        """Close with the result, unless it is closed already."""
        if self.is_active:
            return super().dismiss(result)
        return AwaitComplete.nothing()  # type: ignore[no-untyped-call, no-any-return]


class Confirm(Dialog[bool]):
    """Asks; with ``word`` the word must be typed, else ``y`` or enter says yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "answer(False)", "No"),
        Binding("y,enter", "answer(True)", "Yes"),
    ]

    def __init__(self, question: str, detail: str = "", *, word: str | None = None) -> None:
        super().__init__()
        self._question, self._detail, self._word = (
            make_visible(question),
            make_visible(detail, keep_newlines=True),
            word,
        )

    def compose(self) -> ComposeResult:
        """The question and the ways out."""
        with Vertical(classes="dialog-box"):
            yield Static(Content.styled(self._question, "bold"))
            if self._detail:
                yield Static(Content(self._detail), classes="dialog-detail")
            if self._word is None:
                yield Static(Content.assemble(("y", "$primary bold"), " yes   ", ("n", "$primary bold"), " no"))
            else:
                yield Static(Content(f"Type {make_visible(self._word)} and press enter; escape leaves it as it is."))
                yield Input(classes="dialog-input")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The typed word decides."""
        event.stop()
        if event.value.strip() == self._word:
            self.dismiss(True)
        else:
            event.input.value = ""

    def action_answer(self, is_yes: bool) -> None:
        """Close with the answer."""
        if not is_yes or self._word is None:
            self.dismiss(is_yes)


class AskText(Dialog[str | None]):
    """Asks for a text; None where it was left. It stands on one line, with its line breaks as a sign.

    ``check`` returns what is wrong with a text, or None; a wrong one cannot be entered.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave")]

    def __init__(
        self,
        question: str,
        value: str = "",
        *,
        hint: str = "",
        check: Callable[[str], str | None] | None = None,
    ) -> None:
        super().__init__()
        self._question, self._value, self._hint = make_visible(question), value, make_visible(hint, keep_newlines=True)
        self._check = check

    def compose(self) -> ComposeResult:
        """The question, the line, and what is wrong with it."""
        with Vertical(classes="dialog-box"):
            yield Static(Content.styled(self._question, "bold"))
            yield Input(self._value.replace("\n", _NEWLINE), classes="dialog-input")
            yield Static(Content(self._hint), classes="dialog-detail")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say at once what is wrong."""
        event.stop()
        problem = self._check(_read(event)) if self._check is not None else None
        detail = self.query_one(".dialog-detail", Static)
        detail.update(Content.styled(make_visible(problem), "$error") if problem else Content(self._hint))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Close with the text."""
        event.stop()
        if self._check is None or self._check(_read(event)) is None:
            self.dismiss(_read(event))

    def action_leave(self) -> None:
        """Close without one."""
        self.dismiss(None)


def _read(event: Input.Changed | Input.Submitted) -> str:
    """The text of the line, which cannot hold line breaks: Textual takes minutes for a long one with one in it."""
    return event.value.replace(_NEWLINE, "\n")


class Choose(Dialog[str | None]):
    """Asks for one of these; typing narrows the list. Choices are (value, shown text)."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave"),
        Binding("down", "move(1)", "Next", show=False),
        Binding("up", "move(-1)", "Previous", show=False),
    ]

    def __init__(self, question: str, choices: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._question = make_visible(question)
        self._choices = [(value, make_visible(text)) for value, text in choices]
        self._shown = self._choices

    def compose(self) -> ComposeResult:
        """The question, a line to narrow the list, the list."""
        with Vertical(classes="dialog-box"):
            yield Static(Content.styled(self._question, "bold"))
            yield Input(placeholder="type to find", classes="dialog-input")
            yield SteadyList(*[Option(Content(text)) for _, text in self._choices], classes="dialog-list")

    def on_mount(self) -> None:
        """The first is the one that enter takes."""
        self.query_one(OptionList).highlighted = 0 if self._choices else None

    def on_input_changed(self, event: Input.Changed) -> None:
        """Keep what holds all typed words."""
        event.stop()
        words = event.value.casefold().split()
        self._shown = [choice for choice in self._choices if all(word in choice[1].casefold() for word in words)]
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(Content(text)) for _, text in self._shown])
        options.highlighted = 0 if self._shown else None

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the highlighted one."""
        event.stop()
        self._take(self.query_one(OptionList).highlighted)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Take the clicked one."""
        event.stop()
        self._take(event.option_index)

    def action_move(self, step: int) -> None:
        """Move over the list while the line has the focus."""
        options = self.query_one(OptionList)
        if step > 0:
            options.action_cursor_down()
        else:
            options.action_cursor_up()

    def action_leave(self) -> None:
        """Close without one."""
        self.dismiss(None)

    def _take(self, place: int | None) -> None:
        if place is not None and place < len(self._shown):
            self.dismiss(self._shown[place][0])
