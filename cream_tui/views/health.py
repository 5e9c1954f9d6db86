"""The diagnostics of a run as a list, one of them explained, and where each shows.

Pure: findings in, rows, spans and targets out; no store, no Textual. Must not know rules nor thresholds. The early
warning is the first row, then what warns, what is well, and what cannot be computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from cream_tui.charts.spark import spark
from cream_tui.health.briefs import BRIEFS, MOST_CHARACTERS
from cream_tui.health.catalogue import CATALOGUE
from cream_tui.health.early_warning import FEATURES
from cream_tui.health.findings import EarlyWarning, Finding, Status
from cream_tui.health.rules import show_value
from cream_tui.targets import PairsTarget, RunTarget, Target
from cream_tui.text import make_visible
from cream_tui.units import format_compact, format_percent
from cream_tui.views.columns import Cell, Column, RowCells

Span = tuple[str, str]  # text and the name of its style
EARLY_WARNING = "early_warning"
ORIGIN = "fitted on the sandbox"
STATUS_MARKS: Mapping[Status, str] = {"warn": "!", "ok": "✓", "unknown": "?"}
_STYLES: Mapping[Status, str] = {"warn": "warn", "ok": "good", "unknown": "dim"}
_WORDS: Mapping[Status, str] = {"warn": "to look at", "ok": "well", "unknown": "not computable"}
_SPARK_WIDTH = 8
_MOST_SURE = 0.99
COLUMNS: tuple[Column, ...] = (
    Column("status", "", 1),
    Column("title", "diagnostic", 30, most=44, is_cut_in_middle=True),
    Column("value", "value", 11, "right"),
    Column("history", "models", _SPARK_WIDTH, rank=2),
    Column("model", "at", 3, rank=1),
    Column("threshold", "warns", MOST_CHARACTERS, rank=3),
)
_EARLY_MEANING = (
    "How probable it is that training on the labels that {model} gave itself makes {next} significantly worse (exact "
    "McNemar test, p < 0.05). It is computed from measures that need no gold answers, and was fitted on runs of the "
    "sandbox: on other models and tasks take it as a hint."
)
_EARLY_ADVICE = (
    "Look at the diagnostics that warn and at the pairs of {model}; {model} may be the model to keep. A fork from it "
    "(F on the Run screen) with another method or a smaller step is compared with going on as it is."
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found of a run.

    Attributes:
        early: The early warning, or why there is none.
        probabilities: What the early warning said after each model, in their order.
    """

    findings: tuple[Finding, ...] = ()
    early: EarlyWarning | str = ""
    probabilities: tuple[tuple[str, float], ...] = ()

    @property
    def n_models(self) -> int:
        """Models from M0 to the newest of which anything is known."""
        names = [name for found in self.findings for name, _ in found.history]
        return max((int(name[1:]) + 1 for name in names), default=0)


@dataclass(frozen=True, slots=True)
class HealthRow:
    """A row of the list; ``finding`` is None for the early warning."""

    key: str
    status: Status
    diagnosis: Diagnosis
    finding: Finding | None = None


def build_rows(diagnosis: Diagnosis) -> list[HealthRow]:
    """The early warning, then what warns, what is well and what is not known, each in the order of the catalogue."""
    rows = [HealthRow(EARLY_WARNING, find_early_status(diagnosis.early), diagnosis)]
    for status in STATUS_MARKS:
        rows += [
            HealthRow(found.key, status, diagnosis, found) for found in diagnosis.findings if found.status == status
        ]
    return rows


def find_early_status(early: EarlyWarning | str) -> Status:
    """Whether the early warning warns."""
    if isinstance(early, str):
        return "unknown"
    return "warn" if early.is_fired else "ok"


def count_statuses(diagnosis: Diagnosis) -> str:
    """How many diagnostics warn, are well, are not known, in one line."""
    counts = Counter(found.status for found in diagnosis.findings)
    return "  ".join(f"{mark} {counts[status]} {_WORDS[status]}" for status, mark in STATUS_MARKS.items())


def build_cells(row: HealthRow) -> RowCells:
    """The cells of a row, one for each column."""
    style = _STYLES[row.status]
    mark = Cell(STATUS_MARKS[row.status], style)
    found = row.finding
    if found is None:
        label = Cell(tell_early_warning(row.diagnosis.early), style)
        return RowCells((mark, *(Cell("") for _ in COLUMNS[1:])), label, label_end="end", label_start="title")
    why_not = Cell(make_visible(found.shown), "dim") if found.value is None else None
    return RowCells(
        (
            mark,
            Cell(make_visible(found.title), "dim" if row.status == "unknown" else ""),
            Cell(make_visible(found.shown), style if row.status == "warn" else ""),
            Cell(draw_history(found.history, row.diagnosis.n_models), "dim"),
            Cell(found.model or ""),
            Cell(make_visible(BRIEFS.get(found.key, found.threshold.removeprefix("when "))), "dim"),
        ),
        why_not,
        label_end="end",
        label_start="value",
    )


def tell_early_warning(early: EarlyWarning | str) -> str:
    """The early warning in one line."""
    if isinstance(early, str):
        return f"early warning: {early}"
    share, model = _show_probability(early.probability), _name_next(early.model)
    outcome = "" if early.outcome is None else " (it did fall)" if early.outcome else " (it did not fall)"
    return f"early warning: {model} falls, probability {share}, {ORIGIN}{outcome}"


def draw_history(history: Sequence[tuple[str, float]], n_models: int) -> str:
    """A value for each model from M1 on, blank where there is none, in a few characters."""
    known = {int(name[1:]): value for name, value in history}
    first = 0 if 0 in known else 1
    return spark([known.get(index) for index in range(first, n_models)], _SPARK_WIDTH)


def explain(row: HealthRow) -> list[Span]:
    """What the row says, in full: its value, what it means, what to try, its value by model."""
    return _explain_early(row.diagnosis) if row.finding is None else _explain_finding(row.finding)


def find_place(row: HealthRow, run_id: str, iterations: int) -> Target | None:
    """Where a row shows; None where nothing is known."""
    if row.finding is not None:
        return find_evidence(row.finding, run_id, iterations)
    return None if isinstance(row.diagnosis.early, str) else RunTarget(run_id, row.diagnosis.early.model)


def find_evidence(found: Finding, run_id: str, iterations: int) -> Target | None:
    """The model's pairs, where it made some and they show it, else the chart of the metric; None: nothing is known."""
    if found.model is None:
        return None
    index = int(found.model[1:])
    if found.filter_text is not None and 1 <= index <= iterations:
        return PairsTarget(run_id, index, filter_text=found.filter_text)
    return RunTarget(run_id, found.model, found.metric)


def describe_place(place: Target | None) -> str:
    """What enter opens, in words."""
    if isinstance(place, PairsTarget):
        return f"enter opens the pairs of M{place.iteration} that show it"
    if isinstance(place, RunTarget):
        return "enter opens its chart" if place.metric is not None else "enter opens the run"
    return ""


def show_as(key: str, value: float) -> str:
    """A value of a diagnostic with its unit, as the rules show it."""
    diagnostic = next((found for found in CATALOGUE if found.key == key), None)
    return format_compact(value) if diagnostic is None else show_value(diagnostic, value)


def tabulate(diagnosis: Diagnosis) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Columns and rows of what was found, raw."""
    columns = ("key", "title", "status", "model", "value", "shown", "threshold", "meaning", "advice")
    return columns, [tuple(getattr(found, name) for name in columns) for found in diagnosis.findings]


def _explain_finding(found: Finding) -> list[Span]:
    style, mark = _STYLES[found.status], STATUS_MARKS[found.status]
    value = found.shown if found.value is None else found.sentence
    spans = [(make_visible(found.title) + "\n", "bold"), (f"{mark} {make_visible(value)}\n", style)]
    if found.threshold:
        spans.append((f"warns {make_visible(found.threshold)}\n", "dim"))
    spans += [("\n", ""), (found.meaning + "\n", "")]
    if found.advice:
        words = "What to try" if found.status == "warn" else "What to try where it warns"
        spans += [(f"\n{words}: ", "bold"), (found.advice + "\n", "")]
    return [*spans, *_list_history(found.history, found.model, style, partial(show_as, found.key))]


def _explain_early(diagnosis: Diagnosis) -> list[Span]:
    early, status = diagnosis.early, find_early_status(diagnosis.early)
    spans = [(f"{STATUS_MARKS[status]} {make_visible(tell_early_warning(early))}\n", _STYLES[status])]
    if isinstance(early, str):
        return spans
    names = {"model": early.model, "next": _name_next(early.model)}
    spans += [
        (f"warns from {format_percent(early.threshold, 0)} % on\n", "dim"),
        ("\n" + _EARLY_MEANING.format_map(names) + "\n", ""),
    ]
    if early.is_fired:
        spans += [("\nWhat to try: ", "bold"), (_EARLY_ADVICE.format_map(names) + "\n", "")]
    history = diagnosis.probabilities
    spans += _list_history(history, early.model, _STYLES[status], _show_probability, title="probability by model")
    told = {FEATURES[name].title: value for name, value in early.features.items() if value}
    width = max(map(len, told), default=0)
    lines = [f"  {title:<{width}}  {format_compact(value)}\n" for title, value in told.items()]
    return [*spans, ("\nfrom\n", "dim"), *((line, "") for line in lines)]


def _list_history(
    history: Sequence[tuple[str, float]],
    model: str | None,
    style: str,
    show: Callable[[float], str],
    *,
    title: str = "by model",
) -> list[Span]:
    if not history:
        return []
    spans: list[Span] = [(f"\n{title}  ", "dim"), (draw_history(history, int(history[-1][0][1:]) + 1) + "\n", "")]
    for name, value in history:
        spans.append((f"  {name:<4}{show(value):>11}\n", style if name == model else ""))
    return spans


def _show_probability(probability: float) -> str:
    """In per cent; nothing is certain."""
    if probability > _MOST_SURE:
        return "over 99 %"
    return "under 1 %" if probability < 1 - _MOST_SURE else f"{format_percent(probability, 0)} %"


def _name_next(model: str) -> str:
    return f"M{int(model[1:]) + 1}"
