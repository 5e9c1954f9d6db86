"""The pairs that a run labelled for itself: found, read and judged one after the other.

Knows widgets, the reader and the judge. Must not know SQL: a filter is compiled elsewhere, and a verdict is stored by
the judge. A pair that is judged gives way to the next one that is not.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable, Sequence
from inspect import isawaitable
from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from cream_tui.filtering.pairs import PAIR_VOCABULARY
from cream_tui.pair_judge import PairJudge
from cream_tui.pair_wishes import PairWishes
from cream_tui.readers.pair_reader import PairsData, PairsReader, PairsWant
from cream_tui.screens import pair_actions
from cream_tui.screens.base import Copied, StoreScreen, Table
from cream_tui.screens.pair_loading import PairLoader
from cream_tui.screens.pair_views import PairViews
from cream_tui.targets import PairsTarget, Target
from cream_tui.views.pair_judging import NO_MARK, MarkLedger, PairKey, apply_mark, summarise
from cream_tui.views.pair_ranks import build_rank_rows
from cream_tui.views.pairs import follow_cursor
from cream_tui.widgets.content_pane import ContentPane
from cream_tui.widgets.filter_bar import FilterBar
from cream_tui.widgets.pair_list import PairList
from cream_tui.widgets.pair_text import build_nothing_found, build_progress, build_rank_table
from cream_tui.widgets.pair_view import MODES, LoadedPair, PairView
from db.pair_browse import PairView as PairRow
from db.pair_counts import JudgedPair

_EXAMPLE = "label:wrong tau<0 C<0.7 margin>1 length_ratio>1.5 -has:verdict or words; F offers filters"
_BINDINGS: list[BindingType] = [
    Binding("a", "act('judge', 'agree')", "Agree", id="pairs.agree"),
    Binding("s", "act('judge', 'swap')", "Swap", id="pairs.swap"),
    Binding("t", "act('judge', 'tie')", "Tie", show=False, id="pairs.tie"),
    Binding("x", "act('judge', 'both_bad')", "Both bad", show=False, id="pairs.both_bad"),
    Binding("u", "act('judge', 'unsure')", "Unsure", show=False, id="pairs.unsure"),
    Binding("backspace", "act('clear')", "Forget the verdict", show=False, id="pairs.clear"),
    Binding("f", "act('flag')", "Flag", show=False, id="pairs.flag"),
    Binding("e", "act('note')", "Note", show=False, id="pairs.note"),
    Binding("j", "act('next_pair', 1)", "Next pair", show=False, id="pairs.next"),
    Binding("k", "act('next_pair', -1)", "Previous pair", show=False, id="pairs.previous"),
    Binding("J", "act('low', 1)", "Next of low consistency", show=False, id="pairs.next_low"),
    Binding("K", "act('low', -1)", "Previous of low consistency", show=False, id="pairs.previous_low"),
    Binding("n", "act('unjudged', 1)", "Next not judged", show=False, id="pairs.next_unjudged"),
    Binding("N", "act('unjudged', -1)", "Previous not judged", show=False, id="pairs.previous_unjudged"),
    Binding("i", "act('jump')", "Jump to a number", show=False, id="pairs.jump"),
    Binding("tab", "act('swap_panes')", "Text", id="pairs.panes"),
    Binding("d", "act('next_mode')", "Diff", id="pairs.diff"),
    Binding("w", "act('wrap')", "Wrap long lines, or not", show=False, id="pairs.wrap"),
    Binding("ctrl+d", "act('scroll_texts', 0.5)", "Scroll the texts down", show=False, id="pairs.scroll_down"),
    Binding("ctrl+u", "act('scroll_texts', -0.5)", "Scroll the texts up", show=False, id="pairs.scroll_up"),
    Binding("r", "act('view', 'responses')", "Responses", id="pairs.responses"),
    Binding("h", "act('view', 'history')", "History of the prompt", show=False, id="pairs.history"),
    Binding("H", "act('view', 'tau')", "Histogram of tau", show=False, id="pairs.tau"),
    Binding("v", "act('view', 'verdicts')", "How far you agree", show=False, id="pairs.verdicts"),
    Binding("B", "act('blind')", "Blind", id="pairs.blind"),
    Binding("slash", "act('filter')", "Filter", id="pairs.filter"),
    Binding("F", "act('quick_filter')", "Ready filters", show=False, id="pairs.quick_filter"),
    Binding("o", "act('next_order')", "Sort", id="pairs.sort"),
    Binding("O", "act('reverse')", "Reverse the order", show=False, id="pairs.reverse"),
    Binding("left_square_bracket", "act('iteration', -1)", "Previous iteration", show=False, id="pairs.iteration_back"),
    Binding("right_square_bracket", "act('iteration', 1)", "Next iteration", show=False, id="pairs.iteration_on"),
]


class PairsScreen(StoreScreen[PairsWant, PairsData]):
    """The pairs of the current run."""

    MODE = "pairs"
    CSS_PATH = "pairs.tcss"
    HELP = (
        "What the model preferred, to read and to judge. a agrees with its label, s swaps the sides, and the next pair "
        "that is not judged comes by itself. In blind mode nothing tells which side the model chose: a says that the "
        "left one is better, s the right one. Verdicts are exported by `export --what verdicts` and used by "
        "`fork --use-verdicts`. ! behind a tau: the previous model prefers the rejected response. * at M1: M0 has no "
        "reward of its own, its log-likelihood ranks in its place."
    )
    BINDINGS: ClassVar[list[BindingType]] = _BINDINGS

    def __init__(self) -> None:
        super().__init__()
        self.wishes = PairWishes()
        self.ledger = MarkLedger()
        self._reader = PairsReader(self.ledger)  # only touched by the reading thread
        self.judge = PairJudge(lambda: self.cream, self.ledger, self._show_mark, self.go_to_pair)
        self.loader = PairLoader(lambda: self.cream, self._take_rows, self._take_pair)
        self._judged: dict[int, JudgedPair] = {}
        self._target: PairsTarget | None = None
        self._restored: tuple[str, int] | None = None
        self.filter_bar = FilterBar(lambda: (PAIR_VOCABULARY, {}), example=_EXAMPLE)
        self.list = PairList(id="pairs-list", classes="pane first-focus")
        self.list.mark_of, self.list.on_move = self.ledger.get, self.show_pair
        self.ranks = ContentPane(id="pairs-ranks", classes="pane")
        self.pair = PairView(id="pairs-pair")
        self.main = Vertical(self.pair, id="pairs-main")
        self.empty = Static(id="pairs-empty")
        self.views = PairViews(self)

    def compose_body(self) -> Iterable[Widget]:
        """The filter, the list with the ranks below it, and the pair or what stands in its place."""
        self.list.border_title = "pairs"
        yield self.filter_bar
        yield self.empty
        with Horizontal(id="pairs-body"):
            with Vertical(id="pairs-left"):
                yield self.list
                yield self.ranks
            yield self.main

    def on_mount(self) -> None:
        """Begin with the pair in view."""
        self.set_class(True, "-view-pair")
        self.filter_bar.set_text(self.wishes.filter_text)
        self.filter_bar.set_problem(self.wishes.set_filter(self.wishes.filter_text))

    # Reading and showing ---------------------------------------------------------------------------------------------

    def want(self) -> PairsWant:
        """The current run's pairs, and the prompt that a link named."""
        prompt_id = None if self._target is None else self._target.prompt_id
        return PairsWant(self.cream.current_run_id, self.wishes.query, prompt_id)

    def read(self, connection: sqlite3.Connection, want: PairsWant) -> PairsData | None:  # type: ignore[override]
        """Read what can have changed."""
        return self._reader.read(connection, want)

    def show(self, data: PairsData) -> None:
        """Show the order; the cursor stays on its pair."""
        self.ledger.settle(data.judged, data.written)
        self._judged = {pair.pair_id: pair for pair in data.judged}
        for pair_id in self.ledger.list_unsettled():
            self._count_mark(pair_id)
        is_other_run = self.loader.set_run(data.run_id)
        if is_other_run:
            self.list.forget_rows()
        self.list.number_of = data.numbers.get
        place = 0 if is_other_run else follow_cursor(self.list.ids, self.list.place, data.ids)
        self.list.set_head(self.wishes.sort, self.wishes.is_descending, is_blind=self.wishes.is_blind)
        self.list.set_order(data.ids, place)
        self._show_frame(data)
        self._follow_target(data)
        self.show_pair()

    def show_nothing(self) -> None:
        """No store, no run in it, or not this one any more: nothing is left to judge."""
        self.data, self._judged = None, {}
        self.list.set_order(array("q"), 0)
        self.show_pair()
        self.top_bar.set_texts("no pairs")
        self.status_line.set_text("")
        self.filter_bar.set_facts("")
        text = "There are no runs yet. 5 starts one; in the empty list of runs (1) one key starts the demo."
        if self.cream.current_run_id is not None:
            text = "The run is not in the store any more. 1 lists the runs that are."
        self._set_empty(Content(text))

    def _show_frame(self, data: PairsData) -> None:
        """Everything around the pair."""
        wishes = self.wishes
        shown = [pair for pair in self._judged.values() if wishes.iteration in (None, pair.iteration)]
        summary = summarise(shown)
        which = "" if wishes.iteration is None else f"  M{wishes.iteration}"
        flagged = f"  ⚑ {summary.n_flagged}" if summary.n_flagged else ""
        self.top_bar.set_texts(f"{data.run_name}{which}", f"{summary.n_judged:,} of {data.n_pairs:,} judged{flagged}")
        is_empty = not len(data.ids)
        progress = build_progress(summary, data.n_pairs, is_blind=wishes.is_blind)
        narrowed = "" if wishes.iteration is None else f"only M{wishes.iteration}'s pairs, [ ] others   "
        self.status_line.set_text(narrowed + (build_nothing_found() if is_empty and data.n_pairs else progress))
        self.filter_bar.set_facts(f"{len(data.ids):,} of {data.n_pairs:,}   by {wishes.describe_order()}")
        self.list.border_title = "pairs, blind" if wishes.is_blind else "pairs"
        self.views.show_data(data, summary)
        self.set_class(is_empty, "-nothing-found")
        self._set_empty(pair_actions.describe_absence(data) if is_empty and not data.n_pairs else None)

    def _set_empty(self, content: Content | None) -> None:
        self.set_class(content is not None, "-no-pairs")
        if content is not None:
            self.empty.update(content)

    def _follow_target(self, data: PairsData) -> None:
        """Go where a link, or the last session, pointed."""
        (target, self._target), (restored, self._restored) = (self._target, None), (self._restored, None)
        if target is None:
            if restored is not None and restored[0] == data.run_id:
                self.go_to_pair(restored[1])
            return
        if target.number is None and target.prompt_id is None:
            return
        wanted = data.found_id if target.number is None else data.numbers.find(target.number)
        if wanted is None or not self.go_to_pair(wanted):
            self.cream.tell("there is no such pair among those shown")
        else:
            self.set_class(True, "-reading")

    def show_pair(self) -> None:
        """Show the pair under the cursor as soon as it is here, and read ahead what comes next."""
        pair_id = self.list.cursor_id
        if pair_id is None:
            self.pair.show_pair(None, None, NO_MARK, is_blind=self.wishes.is_blind)
            self.ranks.show(Content(""))
            return
        self._take_pair(pair_id, self.loader.find_pair(pair_id))
        unjudged = pair_actions.find_unjudged(self, 1)
        near = [self.list.place, *([] if unjudged is None else [unjudged]), *self.list.list_next_places()]
        self.loader.load_pairs(list(dict.fromkeys(self.list.ids[place] for place in near)))

    def _take_rows(self, rows: Sequence[PairRow]) -> None:
        self.list.put_rows(rows)

    def _take_pair(self, pair_id: int, pair: LoadedPair | None) -> None:
        if pair is None or pair_id != self.list.cursor_id:
            return
        mark, is_blind = self.ledger.get(pair_id), self.wishes.is_blind
        self.pair.show_pair(pair, self.list.number_of(pair_id), mark, is_blind=is_blind)
        rows = build_rank_rows(pair.detail)
        self.ranks.display = not is_blind
        table = build_rank_table(rows, pair.detail)
        self.ranks.show(table)
        self.ranks.set_height(table.plain.count("\n") + 3)
        self.ranks.set_titles(f"ranks of the {len(rows)} responses")
        self.views.show_pair(pair)

    def _show_mark(self, pair_id: int) -> None:
        """A mark is another one: at once, in the list, below the pair and in what is counted."""
        self._count_mark(pair_id)
        if self.data is not None:
            self._show_frame(self.data)
        self.list.refresh_pair(pair_id)
        if pair_id == self.list.cursor_id:
            self.pair.show_mark(self.ledger.get(pair_id))

    def _count_mark(self, pair_id: int) -> None:
        row = self.list.find_row(pair_id)
        if row is not None:
            apply_mark(self._judged, row, self.ledger.get(pair_id))

    # Going about -----------------------------------------------------------------------------------------------------

    def go_to_pair(self, pair_id: int) -> bool:
        """Put the cursor on a pair; whether it is among those shown."""
        try:
            self.list.move_to(self.list.ids.index(pair_id))
        except ValueError:
            return False
        return True

    @property
    def cursor_key(self) -> PairKey | None:
        """The pair under the cursor, as a verdict names it; None until its row is here, and for a skipped prompt."""
        row = self.list.cursor_row
        if row is None or row.skip_reason is not None:
            return None
        return PairKey(row.pair_id, row.stage_id, row.prompt_id)

    def set_filter(self, text: str) -> None:
        """Filter by this text; one without meaning is told and leaves the filter as it was."""
        self.filter_bar.set_problem(self.wishes.set_filter(text))
        self.refresh_data()

    def on_pair_list_chosen(self) -> None:
        """Read it: on a narrow screen in place of the list."""
        self.set_class(True, "-reading")
        self.views.focus_text()

    def on_pair_list_rows_wanted(self, event: PairList.RowsWanted) -> None:
        """Read them."""
        self.loader.load_rows(event.pair_ids)

    def on_filter_bar_changed(self, event: FilterBar.Changed) -> None:
        """Filter while it is typed."""
        self.set_filter(event.text)

    def on_filter_bar_left(self) -> None:
        """Back to the list, which a narrow screen may hide."""
        self.set_class(False, "-reading")
        self.list.focus()

    def on_histogram_bin_chosen(self, event: Any) -> None:
        """Keep the pairs of a bar."""
        from cream_tui.widgets.pair_asides import write_tau_filter

        text = write_tau_filter(event.low, event.high)
        self.filter_bar.set_text(text)
        self.set_filter(text)

    def open_target(self, target: Target) -> None:
        """Show the pairs that a link or another screen named; one that names only the run leaves the rest as it was."""
        if not isinstance(target, PairsTarget):
            return
        is_one_pair = target.number is not None or target.prompt_id is not None
        if is_one_pair or target.iteration is not None or target.filter_text is not None:
            self._target, self.wishes.iteration = target, target.iteration
        # A link to one pair must find it.
        text = "" if target.filter_text is None and is_one_pair else target.filter_text
        if text is not None:
            problem = self.wishes.set_filter(text)
            if self.is_mounted:  # else ``on_mount`` puts it there
                self.filter_bar.set_text(text)
                self.filter_bar.set_problem(problem)

    async def action_act(self, name: str, *words: Any) -> None:
        """What a key does; see ``pair_actions``."""
        outcome = pair_actions.ACTIONS[name](self, *words)
        if isawaitable(outcome):
            await outcome

    async def action_back(self) -> None:  # type: ignore[override]
        """Back to the pair, then to the list, then to the pairs without a filter, then to the runs."""
        if self.views.name != "pair":
            await self.views.open("pair")
        elif self.has_class("-reading"):
            pair_actions.leave_text(self)
        elif self.wishes.filter_text.strip():
            self.filter_bar.set_text("")
            self.set_filter("")
        else:
            super().action_back()

    def get_command(self) -> str | None:
        """The command that prints these pairs."""
        return None if self.data is None else self.wishes.write_command(self.data.run_name)

    def get_copy(self) -> Copied | None:
        """The pair under the cursor."""
        return pair_actions.build_copied(self)

    def get_table(self) -> Table | None:
        """The pairs that are shown."""
        return pair_actions.tabulate(self)

    def save_view(self) -> dict[str, Any]:
        """Wishes, the way both sides are shown, and the pair under the cursor."""
        run_id = None if self.data is None else self.data.run_id
        view = {"mode": self.pair.mode, "wrap": self.pair.is_wrapped, "run_id": run_id, "pair_id": self.list.cursor_id}
        return self.wishes.save() | view

    def restore_view(self, view: dict[str, Any]) -> None:
        """Take up what ``save_view`` gave."""
        self.wishes.restore(view)
        if view.get("mode") in MODES:
            self.pair.mode = view["mode"]
        self.pair.wrap(view.get("wrap") is not False)
        match view:
            case {"run_id": str(run_id), "pair_id": int(pair_id)}:
                self._restored = run_id, pair_id
