"""What a run and the baseline answered to the same prompts: a list by outcome, beside it both answers.

Knows items and Textual. Must not know the store: what is under the cursor is asked for by a message and handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeAlias

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from cream_tui.readers.shared_reader import AnswersData, SampledDetail, Source
from cream_tui.text import make_visible
from cream_tui.units import format_count, format_number, format_tokens
from cream_tui.views.columns import Cell, Column, RowCells
from cream_tui.views.shared_prompts import SIDES, AnsweredItem, Outcome, Relation, SampledItem, count_outcomes
from cream_tui.widgets.row_table import RowTable
from db.compare_reads import PromptSide, SampledText, SharedIteration

Item: TypeAlias = AnsweredItem | SampledItem
_COLUMNS = (Column("", "outcome", 12), Column("", "prompt", 12, most=400))
_WORDS = {
    Outcome.WIN: ("▲ win", "good"),
    Outcome.LOSE: ("▼ lose", "bad"),
    Outcome.BOTH_RIGHT: ("● both right", ""),
    Outcome.BOTH_WRONG: ("○ both wrong", "dim"),
    None: ("· unknown", "dim"),
}
_RIGHT = {
    True: ("✓ right", "$success"),
    False: ("✗ wrong", "$error"),
    None: ("right or wrong unknown", "$foreground 60%"),
}


class AnswersView(Vertical):
    """The list and both answers."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "next_side", "Outcome", id="answers.filter"),
        Binding("right_curly_bracket", "step_source(1)", "Source", id="answers.next_source"),
        Binding("left_curly_bracket", "step_source(-1)", "Model or iteration before", show=False, id="answers.source"),
        Binding("enter", "open_pairs", "Pair", id="answers.pairs"),
        Binding("J", "scroll_texts(1)", "Scroll the texts down", show=False, id="answers.down"),
        Binding("K", "scroll_texts(-1)", "Scroll the texts up", show=False, id="answers.up"),
    ]

    class SourceWanted(Message):
        """Another source of answers is wanted."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    class DetailWanted(Message):
        """A sampled prompt came under the cursor."""

        def __init__(self, prompt_id: str) -> None:
            super().__init__()
            self.prompt_id = prompt_id

    class PairsWanted(Message):
        """The pair of a sampled prompt is to be opened; None: the item under the cursor has none."""

        def __init__(self, prompt_id: str | None, iteration: int | None) -> None:
            super().__init__()
            self.prompt_id = prompt_id
            self.iteration = iteration

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.side: str | None = None
        self._data = AnswersData(Source())
        self._titles = ("", "")
        self._head = Static(classes="answers-head")
        self._list = RowTable(_COLUMNS, _build_cells, classes="pane answers-list")
        self._prompt = Static(classes="answers-prompt")
        self._baseline = Static(classes="answer")
        self._run = Static(classes="answer")
        self._texts = VerticalScroll(classes="pane answers-texts")

    def compose(self) -> ComposeResult:
        """Head, list, texts."""
        yield self._head
        with Horizontal(classes="answers-body"):
            yield self._list
            with self._texts:
                yield self._prompt
                with Horizontal(classes="answers-pair"):
                    yield self._baseline
                    yield self._run

    def focus_list(self) -> None:
        """Give the list the focus."""
        self._list.focus()

    def show_answers(self, data: AnswersData, baseline_title: str, run_title: str) -> None:
        """Show these; the cursor stays on its prompt."""
        self._data, self._titles = data, (baseline_title, run_title)
        self._list.border_title = "prompts"
        self._fill()

    @property
    def items(self) -> Sequence[Item]:
        """The items of the source, all of them."""
        return self._data.greedy or self._data.sampled

    @property
    def shown_items(self) -> list[Item]:
        """The items that are listed."""
        return [item for item in self.items if self.side is None or _is_on(item, self.side)]

    @property
    def current(self) -> Item | None:
        """The item under the cursor."""
        row = self._list.cursor_row
        return row if isinstance(row, AnsweredItem | SampledItem) else None

    @property
    def current_sampled(self) -> SampledItem | None:
        """The sampled prompt under the cursor."""
        return self.current if isinstance(self.current, SampledItem) else None

    @property
    def shared(self) -> SharedIteration | None:
        """The iteration of the sampled prompts that are listed."""
        return self._data.shared

    def show_detail(self, item: SampledItem, detail: SampledDetail) -> None:
        """The texts of a sampled prompt, if it still is under the cursor."""
        if self.current != item or detail.prompt is None:
            return
        prompt = _lay_out_prompt(detail.prompt.text, detail.prompt.answer)
        if item.relation is not None:
            prompt = Content.assemble(prompt, ("pairs  ", "$foreground 60%"), (item.relation.value, "bold"), "\n")
        self._prompt.update(prompt)
        self._baseline.update(_lay_out_side(self._titles[0], item.baseline, detail.baseline))
        self._run.update(_lay_out_side(self._titles[1], item.run, detail.run))

    def list_options(self) -> list[str]:
        """The options of the command that lists the same greedy answers."""
        model = self._data.source.model
        return [
            "--answers",
            *(["--model", model] if model is not None else []),
            *(["--only", str(self.side)] if self.side in SIDES else []),
        ]

    def action_next_side(self) -> None:
        """Wins, losses, ties; where pairs are compared, the pairs that are alike; all."""
        relations = {item.relation.value for item in self.items if isinstance(item, SampledItem) and item.relation}
        ways = [None, *SIDES, *(relation.value for relation in Relation if relation.value in relations)]
        self.side = ways[(ways.index(self.side) + 1) % len(ways)] if self.side in ways else None
        self._fill()

    def action_step_source(self, step: int) -> None:
        """Ask for the answers of another model or iteration."""
        self.post_message(self.SourceWanted(step))

    def action_open_pairs(self) -> None:
        """Ask for the pair of the prompt under the cursor."""
        item = self.current
        if isinstance(item, SampledItem):
            self.post_message(self.PairsWanted(item.prompt_id, self._data.source.iteration))
        elif item is not None:
            self.post_message(self.PairsWanted(None, None))

    def action_scroll_texts(self, direction: int) -> None:
        """Scroll the answers."""
        self._texts.scroll_relative(y=direction * max(1, self._texts.size.height // 2), animate=False)

    def on_row_table_moved(self, event: RowTable.Moved) -> None:
        """Show what the cursor stands on."""
        event.stop()
        self._show_current()

    def on_row_table_chosen(self, event: RowTable.Chosen) -> None:
        """A double click opens the pair."""
        event.stop()
        self.action_open_pairs()

    def _fill(self) -> None:
        shown = self.shown_items
        self._list.set_rows(shown)
        self._list.border_subtitle = f"{format_count(len(shown))} of {format_count(len(self.items))}"
        self._head.update(self._describe())
        self._show_current()

    def _describe(self) -> Content:
        source = self._data.source
        where = f"greedy answers of {source.model}" if source.model is not None else f"sampled at t={source.iteration}"
        if self._data.shared is not None:
            where += ", the same responses" if self._data.shared.has_same_responses else ", own responses"
        count = count_outcomes(_get_outcome(item) for item in self.items)
        parts = [
            Content.styled(where, "bold"),
            Content(f"   {self._letter(1)} against {self._letter(0)}:  "),
            Content.styled(f"▲ win {count.n_win}", "$success"),
            Content.styled(f"  ▼ lose {count.n_lose}", "$error"),
            Content(f"  tie {count.n_tie}"),
            Content.styled(f"   shown: {self.side or 'all'}", "$primary" if self.side else "$foreground 60%"),
        ]
        return Content.assemble(*parts)

    def _letter(self, side: int) -> str:
        return self._titles[side].partition(" ")[0]

    def _show_current(self) -> None:
        item = self.current
        if item is None:
            text = "no prompt came out so" if self.items else "nothing that both have answered"
            self._prompt.update(Content.styled(text, "$foreground 60%"))
            self._baseline.update("")
            self._run.update("")
        elif isinstance(item, AnsweredItem):
            self._prompt.update(_lay_out_prompt(item.prompt, item.gold))
            for view, title, answer in zip((self._baseline, self._run), self._titles, item.answers, strict=True):
                view.update(_lay_out_text(title, answer.text, answer.is_right, f"{answer.n_tokens} tokens"))
        else:
            self._prompt.update(_lay_out_prompt(item.prompt, None))
            self.post_message(self.DetailWanted(item.prompt_id))


def _get_outcome(item: Item) -> Outcome | None:
    return item.outcomes[0] if isinstance(item, AnsweredItem) else item.outcome


def _is_on(item: Item, side: str) -> bool:
    outcome = _get_outcome(item)
    if side in SIDES:
        return outcome is not None and outcome.side == side
    return isinstance(item, SampledItem) and item.relation is not None and item.relation.value == side


def _build_cells(item: Item) -> RowCells:
    word, style = _WORDS[_get_outcome(item)]
    return RowCells((Cell(word, style), Cell(make_visible(item.prompt))))


def _lay_out_prompt(text: str, gold: str | None) -> Content:
    shown = [Content.styled("prompt\n", "$foreground 60%"), Content(make_visible(text.strip(), keep_newlines=True))]
    if gold is not None:
        shown += [Content.styled("\ngold  ", "$foreground 60%"), Content.styled(make_visible(gold), "bold")]
    return Content.assemble(*shown, "\n")


def _lay_out_text(title: str, text: str, is_right: bool | None, note: str) -> Content:
    word, style = _RIGHT[is_right]
    return Content.assemble(
        (make_visible(title), "bold"),
        "  ",
        (word, style),
        (f"  {note}\n", "$foreground 60%"),
        Content(make_visible(text.strip(), keep_newlines=True)),
        "\n",
    )


def _lay_out_side(title: str, side: PromptSide, responses: Sequence[SampledText]) -> Content:
    """The chosen and the rejected response, then the others."""
    facts = [f"{side.n_right} of {side.n_known} right"] if side.n_known else []
    facts += [f"C={format_number(side.confidence)}"] if side.confidence is not None else []
    facts += [side.skip_reason] if side.skip_reason else []
    parts = [
        Content.assemble((make_visible(title), "bold"), (f"  {make_visible('  '.join(facts))}\n", "$foreground 60%"))
    ]
    names = {side.chosen_k: "chosen", side.rejected_k: "rejected"} if side.chosen_k is not None else {}
    for response in sorted(
        responses, key=lambda found: (list(names).index(found.k) if found.k in names else 2, found.k)
    ):
        name = names.get(response.k, f"response {response.k + 1}")
        parts.append(_lay_out_text(name, response.text, response.correct, format_tokens(response.n_tokens)))
    return Content("\n").join(parts)
