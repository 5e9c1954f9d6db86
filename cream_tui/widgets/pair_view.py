"""One pair to read and to judge: facts, the prompt, both sides beside each other or in one text, the verdict line.

Knows the widgets and where each text goes. Must not know the store nor what a verdict does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from cream_tui.views.pair_judging import NO_MARK, Mark
from cream_tui.views.pair_ranks import build_rank_rows
from cream_tui.widgets import pair_text
from cream_tui.widgets.pair_text import Look
from cream_tui.word_diff import WordDiff, turn
from db.pair_detail import PairDetail

MODES = ("side", "unified", "plain")
NO_WRAP = "-no-wrap"


@dataclass(frozen=True, slots=True)
class LoadedPair:
    """A pair with the difference of chosen (first) and rejected (second); None for a prompt without a pair."""

    detail: PairDetail
    diff: WordDiff | None


class ResponsePane(VerticalScroll):
    """A bordered text that scrolls, together with the pane that it is tied to."""

    def __init__(self, *, id: str, title: str = "") -> None:
        super().__init__(id=id, classes="pane text-pane")
        self.border_title = title
        self.text = Static(classes="text")
        self.tied: ResponsePane | None = None

    def compose(self) -> Iterable[Widget]:
        """The text."""
        yield self.text

    def set_text(self, content: Content, *, to_top: bool) -> None:
        """Show a text, from its beginning if it is another one."""
        self.text.update(content)
        if to_top:
            self.scroll_home(animate=False, immediate=True)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Take the tied pane along."""
        super().watch_scroll_y(old_value, new_value)
        if self.tied is not None and self.has_focus and self.tied.scroll_y != new_value:
            self.tied.scroll_to(y=new_value, animate=False, immediate=True)


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
        self.facts, self.orders = Static(id="pair-facts"), Static(id="pair-orders")
        self.prompt = ResponsePane(id="pair-prompt", title="prompt")
        self.gold = Static(id="pair-gold")
        self.left, self.right = ResponsePane(id="pair-left"), ResponsePane(id="pair-right")
        self.left.tied, self.right.tied = self.right, self.left
        self.unified = ResponsePane(id="pair-unified")
        self.verdict, self.warnings, self.keys = (Static(id=f"pair-{name}") for name in ("verdict", "warnings", "keys"))

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
            self.verdict.update(pair_text.build_verdict(self._pair.detail, mark, self._look))

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
            pane.set_class(not is_wrapped, NO_WRAP)

    def scroll_texts(self, share: float) -> None:
        """Scroll the response texts by a share of their height."""
        panes = (self.unified,) if self.shown_mode != "side" else (self.left, self.right)
        for pane in panes:
            pane.scroll_relative(y=round(share * max(2, pane.size.height)), animate=False, immediate=True)

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
            for widget in (self.facts, self.orders, self.gold, self.verdict, self.warnings, self.keys):
                widget.update("")
            for pane in (self.prompt, self.left, self.right, self.unified):
                pane.set_text(Content(""), to_top=True)
            self._shown = None
            return
        detail = pair.detail
        is_other, self._shown = detail.view.pair_id != self._shown, detail.view.pair_id
        self._show_numbers(detail, look)
        self.prompt.set_text(pair_text.build_plain(detail.view.prompt.strip()), to_top=is_other)
        self._show_sides(pair, look, to_top=is_other)

    def _show_numbers(self, detail: PairDetail, look: Look) -> None:
        is_short = self.is_narrow
        self.facts.update(pair_text.build_facts(detail, self._number, look, is_short=is_short))
        rows = build_rank_rows(detail)
        self.orders.update(Content("") if look.is_blind else pair_text.build_order_line(rows, detail))
        self.orders.display = is_short and not look.is_blind
        gold = pair_text.build_gold(detail, look)
        self.gold.update(gold)
        self.gold.display = bool(gold.plain)
        self.verdict.update(pair_text.build_verdict(detail, self._mark, look))
        warnings = pair_text.build_warnings(detail, look)
        self.warnings.update(warnings)
        self.warnings.display = bool(warnings.plain)
        self.keys.update(pair_text.build_keys(look))

    def _show_sides(self, pair: LoadedPair, look: Look, *, to_top: bool) -> None:
        sides = pair_text.order_sides(pair.detail, is_blind=look.is_blind)
        if sides is None or pair.diff is None:
            self.unified.border_title = "responses"
            rows = build_rank_rows(pair.detail)
            self.unified.set_text(pair_text.build_responses(pair.detail, rows, look), to_top=to_top)
            return
        titles = [pair_text.describe_side(side, look, is_left=side is sides[0]) for side in sides]
        diff = pair.diff if sides[0].is_chosen else turn(pair.diff)
        self.left.border_title, self.right.border_title = titles
        self.left.border_subtitle = pair_text.build_diff_facts(diff)
        if look.mode == "side":
            self.left.set_text(pair_text.build_side(diff.first, look), to_top=to_top)
            self.right.set_text(pair_text.build_side(diff.second, look), to_top=to_top)
        elif look.mode == "unified":
            words = ("left", "right") if look.is_blind else ("chosen", "rejected")
            self.unified.border_title = f"both in one: {words[0]} (+, underlined) {words[1]} (-, struck out)"
            self.unified.border_subtitle = pair_text.build_diff_facts(diff)
            self.unified.set_text(pair_text.build_unified(diff, look), to_top=to_top)
        else:
            self.unified.border_title = "one below the other"
            self.unified.border_subtitle = pair_text.build_diff_facts(diff)
            blocks = [
                Content.assemble((title, "bold"), "\n", pair_text.build_plain(side.response.text.strip()), "\n")
                for title, side in zip(titles, sides, strict=True)
            ]
            self.unified.set_text(Content("\n").join(blocks), to_top=to_top)
