"""One pair to read and to judge: facts, the prompt, both sides beside each other or in one text, the verdict line.

Knows the widgets and where each text goes. Must not know the store nor what a verdict does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget

from cream_tui.views.pair_judging import NO_MARK, Mark
from cream_tui.views.pair_ranks import build_rank_rows
from cream_tui.widgets import pair_text
from cream_tui.widgets.content_pane import ContentLine, ContentPane
from cream_tui.widgets.pair_text import Look
from cream_tui.word_diff import WordDiff, turn
from db.pair_detail import PairDetail

MODES = ("side", "unified", "plain")
# Of the height, for the prompt with its border.
_PROMPT_SHARE = 0.25
_BORDERS = 2


@dataclass(frozen=True, slots=True)
class LoadedPair:
    """A pair with the difference of chosen (first) and rejected (second); None for a prompt without a pair."""

    detail: PairDetail
    diff: WordDiff | None


class PairView(Vertical):
    """The pair under the cursor."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.mode = "side"
        self.is_wrapped = True
        self._pair: LoadedPair | None = None
        self._number: int | None = None
        self._mark: Mark = NO_MARK
        self._is_blind = False
        self._shown: int | None = None
        self.facts, self.orders = ContentLine(id="pair-facts"), ContentLine(id="pair-orders")
        self.prompt = ContentPane(id="pair-prompt", classes="pane")
        self.prompt.border_title = "prompt"
        self.gold = ContentLine(id="pair-gold")
        self.left, self.right = (ContentPane(id=f"pair-{side}", classes="pane") for side in ("left", "right"))
        self.left.tied, self.right.tied = self.right, self.left
        self.unified = ContentPane(id="pair-unified", classes="pane")
        self.verdict, self.warnings, self.keys = (
            ContentLine(id=f"pair-{name}") for name in ("verdict", "warnings", "keys")
        )

    def compose(self) -> Iterable[Widget]:
        """From top to bottom."""
        yield self.facts
        yield self.orders
        yield self.prompt
        yield self.gold
        with Horizontal(id="pair-sides"):
            yield self.left
            yield self.right
        yield self.unified
        yield self.verdict
        yield self.warnings
        yield self.keys

    @property
    def is_narrow(self) -> bool:
        """Whether there is room for one text only."""
        return not self.screen.has_class("-wide")

    @property
    def shown_mode(self) -> str:
        """The mode as far as there is room: beside each other needs a wide screen."""
        return "unified" if self.mode == "side" and self.is_narrow else self.mode

    def show_pair(self, pair: LoadedPair | None, number: int | None, mark: Mark, *, is_blind: bool) -> None:
        """Show this pair; None: nothing yet."""
        self._pair, self._number, self._mark, self._is_blind = pair, number, mark, is_blind
        self.redraw()

    def show_mark(self, mark: Mark) -> None:
        """Only the verdict line."""
        self._mark = mark
        if self._pair is not None:
            self.verdict.show(pair_text.build_verdict(self._pair.detail, mark, self._look))

    def next_mode(self) -> str:
        """Take the next way to show both sides that there is room for."""
        modes = [mode for mode in MODES if mode != "side" or not self.is_narrow]
        self.mode = modes[(modes.index(self.shown_mode) + 1) % len(modes)]
        self.redraw()
        return self.mode

    def wrap(self, is_wrapped: bool) -> None:
        """Break long lines, or let the texts scroll sideways."""
        self.is_wrapped = is_wrapped
        for pane in (self.prompt, self.left, self.right, self.unified):
            pane.wrap(is_wrapped)

    def scroll_texts(self, share: float) -> None:
        """Scroll the response texts by a share of their height."""
        panes = (self.unified,) if self.shown_mode != "side" else (self.left, self.right)
        y = panes[0].scroll_target_y + round(share * max(2, panes[0].size.height))
        for pane in panes:
            pane.scroll_to(y=y, animate=False, immediate=True)

    def focus_text(self) -> None:
        """Put the focus on the text of a response."""
        (self.left if self.shown_mode == "side" else self.unified).focus()

    def on_resize(self) -> None:
        """Another width may have room for another mode."""
        self.redraw()

    @property
    def _look(self) -> Look:
        app = self.app
        return Look(is_blind=self._is_blind, mode=self.shown_mode, has_color=not app.no_color)

    def redraw(self) -> None:
        """Put every text in its place."""
        if not self.is_mounted:
            return
        pair, look = self._pair, self._look
        has_sides = pair is not None and pair.diff is not None
        self.query_one("#pair-sides").display = has_sides and look.mode == "side"
        self.unified.display = not has_sides or look.mode != "side"
        if pair is None:
            for line in (self.facts, self.orders, self.gold, self.verdict, self.warnings, self.keys):
                line.show(Content(""))
            for pane in (self.prompt, self.left, self.right, self.unified):
                pane.show(Content(""))
            self._shown = None
            return
        detail = pair.detail
        is_other, self._shown = detail.view.pair_id != self._shown, detail.view.pair_id
        self._show_numbers(detail, look)
        self.prompt.show(pair_text.build_plain(detail.view.prompt.strip()), to_top=is_other)
        self._fit_prompt()
        self._show_sides(pair, look, to_top=is_other)

    def _fit_prompt(self) -> None:
        """As high as the prompt, up to a share; another height is the only thing that moves the rest."""
        most = max(3, round(_PROMPT_SHARE * self.size.height))
        width = self.prompt.scrollable_content_region.width
        self.prompt.set_height(min(most, self.prompt.count_lines(width) + _BORDERS))

    def _show_numbers(self, detail: PairDetail, look: Look) -> None:
        is_short = self.is_narrow
        self.facts.show(pair_text.build_facts(detail, self._number, look, is_short=is_short))
        rows = build_rank_rows(detail)
        self.orders.show(Content("") if look.is_blind else pair_text.build_order_line(rows, detail))
        self.orders.display = is_short and not look.is_blind
        self.gold.show(pair_text.build_gold(detail, look))
        self.verdict.show(pair_text.build_verdict(detail, self._mark, look))
        self.warnings.show(pair_text.build_warnings(detail, look))
        self.keys.show(pair_text.build_keys(look))

    def _show_sides(self, pair: LoadedPair, look: Look, *, to_top: bool) -> None:
        sides = pair_text.order_sides(pair.detail, is_blind=look.is_blind)
        if sides is None or pair.diff is None:
            self.unified.set_titles("responses")
            rows = build_rank_rows(pair.detail)
            self.unified.show(pair_text.build_responses(pair.detail, rows, look), to_top=to_top)
            return
        titles = [pair_text.describe_side(side, look, is_left=side is sides[0]) for side in sides]
        diff = pair.diff if sides[0].is_chosen else turn(pair.diff)
        facts = pair_text.build_diff_facts(diff)
        if look.mode == "side":
            self.left.set_titles(titles[0], facts)
            self.right.set_titles(titles[1])
            self.left.show(pair_text.build_side(diff.first, look), to_top=to_top)
            self.right.show(pair_text.build_side(diff.second, look), to_top=to_top)
        elif look.mode == "unified":
            words = ("left", "right") if look.is_blind else ("chosen", "rejected")
            self.unified.set_titles(f"both in one: {words[0]} (+, underlined) {words[1]} (-, struck out)", facts)
            self.unified.show(pair_text.build_unified(diff, look), to_top=to_top)
        else:
            self.unified.set_titles("one below the other", facts)
            blocks = [
                Content.assemble((title, "bold"), "\n", pair_text.build_plain(side.response.text.strip()), "\n")
                for title, side in zip(titles, sides, strict=True)
            ]
            self.unified.show(Content("\n").join(blocks), to_top=to_top)
