"""The line in which a filter is typed: live, completed by tab, with what is wrong below it.

Knows Textual and the grammar's completion. Must not know what is filtered: keys and values come from a function, and
whoever filters says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from cream_tui.filtering.grammar import Completion, Vocabulary, complete
from cream_tui.text import make_visible

Values = Mapping[str, Iterable[str]]
_N_OFFERED = 8


class FilterInput(Input):
    """The input: tab completes the term at the cursor, escape takes the text back to what it was."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", "Complete", id="filter.complete"),
        Binding("enter,down", "leave(True)", "Back to the list", id="filter.keep"),
        Binding("escape", "leave(False)", "As it was", id="filter.revert"),
    ]

    class CompletionAsked(Message):
        """Tab."""

    class Left(Message):
        """The person is done; with ``is_kept`` False the text is to be what it was."""

        def __init__(self, is_kept: bool) -> None:
            super().__init__()
            self.is_kept = is_kept

    def action_complete(self) -> None:
        """Ask for the first completion."""
        self.post_message(self.CompletionAsked())

    def action_leave(self, is_kept: bool) -> None:
        """Done."""
        self.post_message(self.Left(is_kept))


class FilterBar(Vertical):
    """The line, facts on its right, and a line below it while it is of use."""

    DEFAULT_CSS = """
    FilterBar { height: auto; }
    FilterBar > Horizontal { height: 1; }
    FilterBar .filter-mark { width: 3; padding: 0 0 0 1; color: $primary; text-style: bold; }
    FilterBar FilterInput { width: 1fr; padding: 0; background: $background; }
    FilterBar FilterInput:focus { background: $panel; }
    FilterBar .filter-facts { width: auto; padding: 0 1 0 2; color: $foreground 70%; }
    FilterBar .filter-help { height: 1; padding: 0 1 0 3; display: none; text-overflow: ellipsis; text-wrap: nowrap; }
    FilterBar.-with-help .filter-help { display: block; }
    """

    class Changed(Message):
        """The text is another one; it may be without meaning."""

        def __init__(self, bar: FilterBar, text: str) -> None:
            super().__init__()
            self.bar = bar
            self.text = text

    class Left(Message):
        """The keys belong to the list again."""

        def __init__(self, bar: FilterBar) -> None:
            super().__init__()
            self.bar = bar

    def __init__(self, list_words: Callable[[], tuple[Vocabulary, Values]], *, example: str) -> None:
        """``list_words`` gives the keys and the values on offer; ``example`` stands below an empty line."""
        super().__init__()
        self._list_words = list_words
        self._example = example
        self._before = ""
        self._problem = ""
        self._input = FilterInput(placeholder="filter", select_on_focus=False)
        self._facts = Static(classes="filter-facts", markup=False)
        self._help = Static(classes="filter-help", markup=False)

    def compose(self) -> ComposeResult:
        """The two lines."""
        with Horizontal():
            yield Static("/", classes="filter-mark")
            yield self._input
            yield self._facts
        yield self._help

    @property
    def text(self) -> str:
        """What stands in the line."""
        return self._input.value

    @property
    def is_open(self) -> bool:
        """Whether keys go into the line."""
        return self._input.has_focus

    def open(self) -> None:
        """Let keys go into the line."""
        self._before = self._input.value
        self._input.focus()
        self._input.cursor_position = len(self._input.value)
        self._update_help()

    def set_text(self, text: str) -> None:
        """Put a text there without telling anybody."""
        with self._input.prevent(Input.Changed):
            self._input.value = text
        self._update_help()

    def set_facts(self, text: str) -> None:
        """What stands on the right of the line."""
        content = Content(make_visible(text))
        if content != self._facts.content:
            self._facts.update(content)

    def set_problem(self, problem: str | None) -> None:
        """What is wrong with the text; None: nothing."""
        self._problem = problem or ""
        self._update_help()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter at once."""
        event.stop()
        self.post_message(self.Changed(self, event.value))
        self._update_help()

    def on_filter_input_completion_asked(self, event: FilterInput.CompletionAsked) -> None:
        """Take the first completion; without one leave the line."""
        event.stop()
        completion = self._complete()
        if completion.options:
            text, cursor = completion.apply(self._input.value, completion.options[0])
            self._input.value = text
            self._input.cursor_position = cursor
        else:
            self.post_message(self.Left(self))

    def on_filter_input_left(self, event: FilterInput.Left) -> None:
        """Give the keys back."""
        event.stop()
        if not event.is_kept:
            self._input.value = self._before
        self.post_message(self.Left(self))

    def on_descendant_focus(self) -> None:
        """Offer completions."""
        self._update_help()

    def on_descendant_blur(self) -> None:
        """Only what is wrong stays."""
        self._update_help()

    def _complete(self) -> Completion:
        vocabulary, values = self._list_words()
        return complete(self._input.value, self._input.cursor_position, vocabulary, values)

    def _update_help(self) -> None:
        content = Content.styled(make_visible(self._problem), "$error") if self._problem else Content("")
        if self.is_open:
            options = self._complete().options[:_N_OFFERED]
            if options:
                first, *others = map(make_visible, options)
                offered = Content.assemble(
                    ("tab ", "$foreground 60%"), (first, "$primary bold"), ("  " + "  ".join(others), "$foreground 80%")
                )
                content = Content.assemble(content, "   ", offered) if self._problem else offered
            elif not self._problem:
                content = Content.styled(self._example, "$foreground 60%")
        if content != self._help.content:
            self._help.update(content)
        self.set_class(bool(self._problem) or self.is_open, "-with-help")
