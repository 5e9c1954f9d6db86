"""The views that take the place of the pair: all responses, the prompt's history, tau over the pairs, agreement.

Knows the Pairs screen and the views' widgets, which are built at their first visit. Must not know SQL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from textual.content import Content

from cream_tui.readers.pair_reader import PairsData
from cream_tui.views.pair_judging import JudgingSummary
from cream_tui.widgets.content_pane import ContentPane
from cream_tui.widgets.pair_text import DIM, Look, build_history, build_summary
from cream_tui.widgets.pair_view import LoadedPair
from db.errors import StoreError
from db.pair_browse import read_tau_counts
from db.pair_detail import read_prompt_history

if TYPE_CHECKING:
    from cream_tui.screens.pairs import PairsScreen
    from cream_tui.widgets.pair_asides import ResponsesAside, TauAside

NAMES = ("pair", "responses", "history", "tau", "verdicts")
_HIDDEN = "This is hidden in blind mode: it would tell what the model chose. B shows it."


class PairViews:
    """Which view is open, and what it shows."""

    def __init__(self, screen: PairsScreen) -> None:
        self.name = "pair"
        self._screen = screen
        self._responses: ResponsesAside | None = None
        self._history: ContentPane | None = None
        self._tau: TauAside | None = None
        self._verdicts: ContentPane | None = None
        self._data: PairsData | None = None
        self._summary: JudgingSummary | None = None
        self._pair: LoadedPair | None = None

    async def open(self, name: str) -> None:
        """Show this view; the same one again shows the pair."""
        screen = self._screen
        self.name = "pair" if name == self.name else name
        await self._build(self.name)
        for other in NAMES:
            screen.set_class(other == self.name, f"-view-{other}")
        if self.name != "pair":
            screen.set_class(True, "-reading")
        self.update()
        if screen.has_class("-reading"):
            self.focus_text()

    def focus_text(self) -> None:
        """Let the arrow keys belong to what is open."""
        match self.name:
            case "responses" if self._responses is not None:
                self._responses.focus_text()
            case "tau" if self._tau is not None:
                self._tau.focus_text()
            case "history" if self._history is not None:
                self._history.focus()
            case "verdicts" if self._verdicts is not None:
                self._verdicts.focus()
            case _:
                self._screen.pair.focus_text()

    def show_data(self, data: PairsData, summary: JudgingSummary) -> None:
        """Take what was read of all pairs."""
        is_other = self._data is None or data.ids is not self._data.ids or data.run_id != self._data.run_id
        self._data, self._summary = data, summary
        if self.name == "verdicts" or (self.name == "tau" and is_other):
            self.update()

    def show_pair(self, pair: LoadedPair) -> None:
        """Take the pair under the cursor."""
        is_other = self._pair is None or self._pair.detail.view.pair_id != pair.detail.view.pair_id
        self._pair = pair
        if self.name in ("responses", "history"):
            self.update()
        elif self.name == "tau" and is_other and self._tau is not None:
            self._highlight()

    def update(self) -> None:
        """Show the open view anew."""
        match self.name:
            case "responses":
                self._update_responses()
            case "history":
                self._update_history()
            case "tau":
                self._update_tau()
            case "verdicts":
                self._update_verdicts()

    @property
    def _is_blind(self) -> bool:
        return self._screen.wishes.is_blind

    async def _build(self, name: str) -> None:
        main = self._screen.main
        if name == "responses" and self._responses is None:
            from cream_tui.widgets.pair_asides import ResponsesAside

            self._responses = ResponsesAside(id="pairs-responses")
            await main.mount(self._responses)
        elif name == "tau" and self._tau is None:
            from cream_tui.widgets.pair_asides import TauAside

            self._tau = TauAside(id="pairs-tau")
            await main.mount(self._tau)
        elif name == "history" and self._history is None:
            self._history = ContentPane(id="pairs-history", classes="pane aside")
            self._history.border_title = "how models answered this prompt"
            await main.mount(self._history)
        elif name == "verdicts" and self._verdicts is None:
            self._verdicts = ContentPane(id="pairs-verdicts", classes="pane aside")
            self._verdicts.border_title = "your verdicts"
            await main.mount(self._verdicts)

    def _update_responses(self) -> None:
        if self._responses is not None and self._pair is not None:
            look = Look(is_blind=self._is_blind, has_color=self._screen.cream.has_color)
            self._responses.show_detail(self._pair.detail, look)

    def _update_verdicts(self) -> None:
        if self._verdicts is not None and self._data is not None and self._summary is not None:
            self._verdicts.show(build_summary(self._summary, self._data.n_pairs, is_blind=self._is_blind))

    def _update_history(self) -> None:
        history, pair, data = self._history, self._pair, self._data
        if history is None or pair is None or data is None:
            return
        if self._is_blind:
            history.show(Content.styled(_HIDDEN, DIM))
            return
        run_id, prompt_id = data.run_id, pair.detail.view.prompt_id

        def finish(answers: Any) -> None:
            is_wanted = self.name == "history" and self._pair is pair and not self._is_blind
            if answers is not None and is_wanted:
                history.show(build_history(answers, pair.detail), to_top=True)

        self._read(lambda connection: read_prompt_history(connection, run_id, prompt_id), finish)

    def _update_tau(self) -> None:
        tau, data = self._tau, self._data
        if tau is None or data is None:
            return
        tau.show_hidden(_HIDDEN if self._is_blind else None)
        if self._is_blind:
            return
        run_id, query = data.run_id, data.query

        def finish(counts: Any) -> None:
            if counts is not None and self._data is not None and self._data.query == query:
                n = 0 if self._pair is None else sum(response.is_policy for response in self._pair.detail.responses)
                tau.show_counts(counts, n)
                self._highlight()

        self._read(lambda connection: read_tau_counts(connection, run_id, query), finish)

    def _highlight(self) -> None:
        if self._tau is not None and self._pair is not None:
            self._tau.highlight(self._pair.detail.view.tau_previous)

    def _read(self, work: Callable[[Any], Any], finish: Callable[[Any], None]) -> None:
        services = self._screen.cream

        def read() -> Any:
            try:
                with services.reader() as connection:
                    return None if connection is None else work(connection)
            except StoreError:  # the screen's own reading tells of it
                return None

        services.in_background(read, finish)
