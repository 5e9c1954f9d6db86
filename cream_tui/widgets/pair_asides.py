"""What is shown in place of the pair: all responses with both rankings, and tau over the pairs.

Knows charts and texts. Must not know the store. Charts bring numpy, so that this module is imported when the first of
these views is opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from cream_tui.charts.histogram import Histogram, build_bins
from cream_tui.charts.slope import SlopeChart, SlopeItem
from cream_tui.units import format_signed
from cream_tui.views.pair_ranks import STAND_IN_ITERATION, RankRow, build_rank_rows, name_ranker
from cream_tui.widgets.content_pane import ContentPane
from cream_tui.widgets.pair_text import Look, build_responses
from db.pair_detail import PairDetail
from engine.method.agreement import compute_tau_null

_BAR_HINT = "left and right choose a bar, enter keeps its pairs; ─ is what chance would give"


class ResponsesAside(Vertical):
    """Both rankings as a slope chart, and every response in full below it."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, classes="aside")
        self._shown: int | None = None
        self.slope = SlopeChart(id="pair-slope")
        self.texts = ContentPane(id="pair-responses-text", classes="pane")

    def compose(self) -> Iterable[Widget]:
        """From top to bottom."""
        yield self.slope
        yield self.texts

    def show_detail(self, detail: PairDetail, look: Look) -> None:
        """Show a pair's responses; in blind mode without their rankings."""
        rows = build_rank_rows(detail)
        is_other, self._shown = self._shown != detail.view.pair_id, detail.view.pair_id
        self.slope.display = not look.is_blind and any(row.current_rank is not None for row in rows)
        if self.slope.display:
            items = _list_slopes(rows)
            previous = (
                "M0 (log-lik)" if detail.view.iteration == STAND_IN_ITERATION else f"M{detail.view.iteration - 1}"
            )
            if self.slope.styles.height is None or self.slope.styles.height.value != len(items) + 1:
                self.slope.styles.height = len(items) + 1
            self.slope.set_items(items, (previous, name_ranker(detail)))
        self.texts.border_title = f"{len(rows)} responses to this prompt"
        self.texts.show(build_responses(detail, rows, look), to_top=is_other)

    def focus_text(self) -> None:
        """Let the arrow keys scroll the texts."""
        self.texts.focus()


class TauAside(Vertical):
    """How tau is distributed over the pairs shown; enter on a bar keeps its pairs."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, classes="pane aside")
        self.border_title = "tau to the previous model, over the pairs shown"
        self.histogram = Histogram(id="pair-histogram")
        self.hint = Static(Content(_BAR_HINT), classes="dim")

    def compose(self) -> Iterable[Widget]:
        """The histogram and what the keys do."""
        yield self.histogram
        yield self.hint

    def show_hidden(self, text: str | None) -> None:
        """Say why nothing is shown; None shows it again."""
        self.histogram.display = text is None
        self.hint.update(Content(text or _BAR_HINT))

    def show_counts(self, counts: Sequence[tuple[float, int]], n_responses: int) -> None:
        """Show how many pairs have which tau, by the levels that tau of so many responses has."""
        total = sum(n for _, n in counts)
        mean = sum(tau * n for tau, n in counts) / total if total else None
        if n_responses < 2:
            self.histogram.set_bins(build_bins([tau for tau, _ in counts], [n for _, n in counts], mean=mean))
            return
        levels, null = (values.tolist() for values in compute_tau_null(n_responses))
        at_level = [0] * len(levels)
        for tau, n in counts:  # fewer distinct responses have levels of their own: the nearest takes them
            at_level[round((tau + 1) / 2 * (len(levels) - 1))] += n
        self.histogram.set_bins(build_bins(levels, at_level, null, mean=mean))

    def highlight(self, tau: float | None) -> None:
        """Point at the bar of the pair under the cursor."""
        self.histogram.highlighted = tau

    def focus_text(self) -> None:
        """Let the arrow keys choose a bar."""
        self.histogram.focus()


def write_tau_filter(low: float, high: float) -> str:
    """The filter that keeps the pairs of a bar; neighbouring bars share no pair."""
    lower = "" if low <= -1 else f"tau>{low:.4g} "
    upper = "" if high >= 1 else f"tau<={high:.4g}"
    return f"{lower}{upper}".strip() or "has:tau"


def _list_slopes(rows: Sequence[RankRow]) -> list[SlopeItem]:
    return [
        SlopeItem(
            letter=row.letter,
            left_rank=row.previous_rank,
            right_rank=row.current_rank,
            left_text=format_signed(row.previous),
            right_text=format_signed(row.current),
            role=row.role,
        )
        for row in rows
        if row.same_as is None
    ]
