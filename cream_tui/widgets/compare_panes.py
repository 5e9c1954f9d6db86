"""The panes below the charts of a comparison: summary, what it says, settings, the same prompts; and the lines around.

Knows the selection, what was read, and Textual. Must not know the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from cream_tui.readers.compare_reader import CompareData, Values
from cream_tui.text import make_visible
from cream_tui.units import MISSING
from cream_tui.views.compare import SummaryRow, build_cost_rows, build_summary
from cream_tui.views.compare_selection import Selection
from cream_tui.views.compare_series import read_values_at
from cream_tui.views.compare_text import (
    build_heads,
    build_settings_table,
    build_summary_table,
    describe_greedy,
    describe_sampled,
    format_metric,
    title_metric,
)
from cream_tui.widgets.compare_charts import CompareCharts
from cream_tui.widgets.comparison_table import ComparisonTable

if TYPE_CHECKING:
    from cream_tui.readers.shared_reader import SharedData

KINDS: Mapping[str, str] = {"last": "last values", "best": "best values", "cursor": "values at the cursor"}
_N_NAMES_SHOWN = 4


class ComparePanes(Horizontal):
    """All panes side by side, or one at a time where the screen is narrow."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.summary_rows: tuple[SummaryRow, ...] = ()
        self.summary = ComparisonTable(id="compare-summary", classes="pane", empty_text="no values yet")
        self.settings = ComparisonTable(
            id="compare-settings", classes="pane", empty_text="The settings are the same.", is_text=True
        )
        self._sentences = Static(id="compare-sentences")
        self._told = Static()
        self._counts = Static()
        self._shared = VerticalScroll(self._told, self._counts, id="compare-shared", classes="pane")
        self._left = Vertical(self.summary, self._sentences, id="compare-left")
        self._right = Vertical(self.settings, self._shared, id="compare-right")
        self.is_all_settings = False
        self._front: Widget = self.summary

    def compose(self) -> ComposeResult:
        """Summary on the left, settings and prompts on the right."""
        yield self._left
        yield self._right

    @property
    def stops(self) -> tuple[Widget, ...]:
        """Where the focus can go, in order."""
        return (self.summary, self.settings, self._shared)

    def bring_forward(self, pane: Widget) -> None:
        """Show this pane where only one fits."""
        if pane in self.stops:
            self._front = pane
            self.lay_out_panes()

    def lay_out_panes(self) -> None:
        """All panes, or the one in front."""
        is_narrow = self.screen.has_class("-narrow") or self.screen.has_class("-tiny")
        for pane in self.stops:
            pane.display = not is_narrow or pane is self._front
        self._left.display = not is_narrow or self._front is self.summary
        self._right.display = not is_narrow or self._front is not self.summary
        self._told.display = is_narrow

    def on_resize(self) -> None:
        """Another width."""
        self.lay_out_panes()

    def show_data(self, selection: Selection, data: CompareData, charts: CompareCharts, kind: str) -> None:
        """The tables."""
        baseline = selection.baseline
        rows = build_summary(selection.arms, _choose_values(data, charts, kind), baseline=baseline)
        rows += build_cost_rows(selection.arms, data.costs or {}, baseline=baseline)
        self.summary_rows = tuple(rows)
        heads = build_heads(
            selection.arms,
            colours=selection.colours,
            baseline=baseline,
            cursor=selection.cursor,
            hidden=selection.hidden,
        )
        columns, lines = build_summary_table(selection.arms, rows, heads, baseline=baseline)
        self.summary.set_table(columns, lines, active=selection.cursor + 1, kept=baseline + 1)
        title = "last values: no cursor" if kind == "cursor" and charts.cursor_x is None else KINDS[kind]
        self.summary.border_title = f"summary   t {title}"
        self.summary.border_subtitle = f"* best   + − to the baseline {selection.arms[baseline].letter}"
        self._show_settings(selection)

    def _show_settings(self, selection: Selection) -> None:
        runs = selection.runs
        base, place = runs.index(selection.baseline_run), runs.index(selection.current.runs[0])
        heads = build_heads(selection.single_arms, colours=selection.colours, baseline=base, cursor=place)
        heads = [replace(head, subtitle=()) for head in heads]
        columns, lines, n_differing, n = build_settings_table(runs, heads, baseline=base, is_all=self.is_all_settings)
        self.settings.set_table(columns, lines, active=place + 1, kept=base + 1)
        self.settings.border_title = f"settings   {n_differing} of {n} differ"
        self.settings.border_subtitle = "u differences only" if self.is_all_settings else "u all"

    def show_shared(self, shared: SharedData, selection: Selection) -> None:
        """The sentences, and the same prompts counted."""
        told = [Content(make_visible(sentence)) for sentence in shared.sentences]
        told += [Content.styled(make_visible(caution), "$warning") for caution in shared.cautions]
        text = Content("\n").join(told)
        self._sentences.update(text)
        self._told.update(Content.assemble(text, "\n"))
        base, rival = selection.baseline_run, selection.rival
        if rival is None:
            return
        base_letter, letter = selection.find_letter(base.run_id), selection.find_letter(rival.run_id)
        title = f"same prompts   {letter} {make_visible(rival.name)} against {base_letter}"
        self._shared.border_title = Content(title)  # type: ignore[assignment]  # a str would be markup
        self._shared.border_subtitle = "d shows the answers"
        blocks = [describe_greedy(shared.models[-1], shared.greedy)] if shared.models else []
        blocks += [describe_sampled(found) for found in shared.sampled]
        lines = [
            Content.styled(line, "" if k == 0 else "$foreground 80%")
            for block in blocks
            for k, line in enumerate(block)
        ]
        self._counts.update(Content("\n").join(lines) if lines else "no prompt that both have answered")


def _choose_values(data: CompareData, charts: CompareCharts, kind: str) -> Values:
    if kind == "best":
        return data.best or {}
    if kind == "cursor" and charts.cursor_x is not None:
        return read_values_at(data.points, data.timelines, charts.axis, charts.cursor_x)
    return data.last or {}


def describe_look(selection: Selection, charts: CompareCharts, search: str, *, is_grouped: bool) -> str:
    """How the charts are looked at, in one line."""
    n, first = len(charts.metrics), charts.first
    last = min(first + charts.n_shown, n)
    parts = [f"charts {first + 1}–{last} of {n}" if n else "no chart", f"x {charts.axis}", f"y {charts.scale_name}"]
    parts += [f"smooth {charts.smoothing:g}"] if charts.smoothing else []
    parts += ["zoomed (0 shows all)"] if charts.is_magnified else []
    if selection.has_seeds:
        parts.append("seeds mean ± std")
    elif not is_grouped:
        parts.append("seeds apart")
    parts += [f"metrics / {search}"] if search else []
    return make_visible("   ".join(parts))


def read_out(selection: Selection, charts: CompareCharts) -> Content:
    """The values of the chart with the focus, of every run that is drawn, at the cursor or the newest."""
    metric = charts.focused_metric
    if metric is None:
        return Content("no metric has such a name")
    place = "newest" if charts.cursor_x is None else f"{charts.axis} {charts.cursor_place}"
    parts: list[Content | tuple[str, str]] = [(f"{title_metric(metric)}  {place}:  ", "$foreground 70%")]
    for curve, value in charts.read_values(metric):
        text = MISSING if value is None else format_metric(metric, value)
        parts += [(curve.letter, "bold"), Content(f" {text}  ")]
    if charts.cursor_x is None:
        parts.append(("[ ] move the cursor", "$foreground 60%"))
    return Content.assemble(*parts)


def lay_out_empty(data: CompareData | None, chosen: Sequence[str]) -> Content:
    """How to come to a comparison."""
    lines: list[Content] = [Content.styled("Compare takes two runs or more.", "bold"), Content("")]
    newest = [make_visible(run.name) for run in data.newest[:2]] if data is not None else []
    if data is not None and data.runs:
        lines += [Content(f"Chosen: {', '.join(make_visible(run.name) for run in data.runs)}"), Content("")]
    if len(newest) == 2:
        lines.append(_explain("enter", f"compares the two newest, {newest[1]} and {newest[0]}"))
        lines.append(_explain("a", "adds a run"))
        lines.append(_explain("1", "lists the runs: space selects there, c compares the selection"))
    elif newest:
        lines.append(Content(f"There is one run only, {newest[0]}."))
        lines.append(_explain("5", "starts another"))
    else:
        lines.append(Content("There are no runs yet."))
        lines.append(_explain("1", "says how to start"))
    if len(chosen) > len(data.runs if data is not None else ()):
        lines += [Content(""), Content.styled("Some of the chosen runs are no longer in the store.", "$warning")]
    return Content("\n").join(lines)


def _explain(key: str, what: str) -> Content:
    return Content.assemble((f"{key:>6}", "$primary bold"), f"  {what}")
