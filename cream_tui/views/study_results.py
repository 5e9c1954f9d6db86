"""What a study shows over its seeds, as a person looks at it: one measure at a time, a line for each arm, words on one.

Pure: a comparison in, lines, cells and curves out; no store, no Textual. Numbers, tests and sentences are those of
``cream_tui.comparison``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from cream_tui.comparison.arms import sort_models
from cream_tui.comparison.estimates import Estimate, estimate_accuracy
from cream_tui.comparison.formats import ComparedStudy
from cream_tui.comparison.paired import Comparison
from cream_tui.comparison.sentences import tell_arms, tell_missing, tell_models
from cream_tui.comparison.table import AVERAGE, MEASURES, SHARED, Change, StudyTable
from cream_tui.comparison.wording import (
    MEASURE_TITLES,
    RATES,
    format_accuracy_interval,
    format_change,
    format_measure,
    list_table_notes,
    list_test_cells,
)
from cream_tui.health.verdict import Verdict
from cream_tui.output import measure as measure_width
from cream_tui.readers.study_reader import StudyResults
from cream_tui.text import make_visible
from cream_tui.units import MISSING, format_percent, format_quantity
from cream_tui.views.columns import Cell, Column, RowCells

_TITLE_WIDTH = 26
_MODEL_WIDTH = 6  # 73.5 with its arrow and star
Span: TypeAlias = tuple[str, str]
_Estimates: TypeAlias = dict[str, Estimate]  # by model
_Changes: TypeAlias = dict[str, Change]


@dataclass(frozen=True, slots=True)
class Measure:
    """What is looked at: the accuracy on a task or over all, else one of MEASURES; ``title`` names it with its unit."""

    key: str
    title: str
    is_accuracy: bool

    @property
    def is_percent(self) -> bool:
        """Whether its values are rates that are written in percent."""
        return self.is_accuracy or self.key in RATES

    def write(self, estimate: Estimate | None, change: Change | None = None) -> str:
        """The mean, an accuracy with its arrow."""
        if estimate is None:
            return ""
        if not self.is_accuracy:
            return format_measure(self.key, estimate.mean)
        return f"{format_percent(estimate.mean)}{format_change(change).ljust(2)}"

    def write_interval(self, estimate: Estimate | None) -> str:
        """The interval without its mean."""
        if estimate is None or estimate.interval is None:
            return MISSING
        if self.is_percent:
            return format_accuracy_interval(estimate)
        return "–".join(format_measure(self.key, end) for end in estimate.interval)


@dataclass(frozen=True, slots=True)
class ArmLine:
    """An arm and one measure of its models.

    Attributes:
        place: In the order of the study; the baseline is first, arms that have not begun are last.
        n_seeds: Runs that have begun.
        estimates, changes: By model; what all arms share stands at each of them.
        test: Against the baseline; None for itself.
        verdicts: On the health of its runs.
    """

    title: str
    place: int
    n_seeds: int
    estimates: Mapping[str, Estimate]
    changes: Mapping[str, Change]
    test: Comparison | None
    verdicts: Sequence[Verdict] = ()
    is_selected: bool = False

    @property
    def key(self) -> str:
        """What tells it from all others."""
        return self.title

    @property
    def last(self) -> tuple[str, Estimate] | None:
        """Its newest model that has a value."""
        names = sort_models(self.estimates)
        return (names[-1], self.estimates[names[-1]]) if names else None


@dataclass(frozen=True, slots=True)
class ArmCurve:
    """The means of an arm by the number of the model, with the ends of their intervals; NaN where there is none."""

    line: ArmLine
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def list_measures(table: StudyTable) -> list[Measure]:
    """What there is to look at, the mean accuracy first."""
    columns = sorted(table.columns, key=lambda column: column != AVERAGE)
    found = [
        Measure(name, f"accuracy on {name} %" if place else "accuracy %", True) for place, name in enumerate(columns)
    ]
    known = {name for row in table.measures for name, value in zip(MEASURES, row.estimates, strict=True) if value}
    return found + [Measure(name, MEASURE_TITLES[name], False) for name in MEASURES if name in known]


def build_lines(
    results: StudyResults, measure: Measure, *, selected: frozenset[str] = frozenset(), is_by_value: bool = False
) -> list[ArmLine]:
    """A line for each arm, those that have not begun last.

    Args:
        selected: Titles of the arms that a person has marked.
        is_by_value: Order them by their newest value, the highest first; else as the study does, the baseline first.
    """
    tests = {test.first: test for test in results.comparison.arm_tests}
    lines = []
    for place, arm in enumerate(results.compared.arms):
        collect = _collect_accuracies if measure.is_accuracy else _collect_measures
        estimates, changes = collect(results, arm.title, measure.key)
        test, verdicts = tests.get(arm.title), results.verdicts[arm.title]
        is_selected = arm.title in selected
        lines.append(ArmLine(arm.title, place, arm.n_seeds, estimates, changes, test, verdicts, is_selected))
    begun = {line.title for line in lines}
    for title in dict.fromkeys(part.arm for part in results.compared.missing if part.arm not in begun):
        lines.append(ArmLine(title, len(lines), 0, {}, {}, None))
    if is_by_value:
        lines.sort(key=lambda line: (line.last is None, -line.last[1].mean if line.last is not None else 0.0))
    return lines


def _collect_accuracies(results: StudyResults, arm: str, task: str) -> tuple[_Estimates, _Changes]:
    """What all arms share is of all seeds: an arm that lacks some of them has its own mean."""
    table, models = results.comparison.table, results.models[arm]
    place = table.columns.index(task)
    estimates: _Estimates = {}
    changes: _Changes = {}
    for row in table.rows:
        own = models.find_evaluated(row.model)
        cell = row.cells[place]
        if row.arm not in (SHARED, arm) or not own or cell is None:
            continue
        if len(own) == row.n_seeds:
            estimates[row.model] = cell.estimate
            if cell.change is not None:
                changes[row.model] = cell.change
        else:
            estimate = estimate_accuracy(own, None if task == AVERAGE else task)
            if estimate is not None:
                estimates[row.model] = estimate
    return estimates, changes


def _collect_measures(results: StudyResults, arm: str, name: str) -> tuple[_Estimates, _Changes]:
    place = MEASURES.index(name)
    rows = [row for row in results.comparison.table.measures if row.arm == arm]
    return {row.model: estimate for row in rows if (estimate := row.estimates[place]) is not None}, {}


def has_unlike_seeds(lines: Sequence[ArmLine]) -> bool:
    """Whether arms that have begun have different numbers of seeds."""
    return len({line.n_seeds for line in lines if line.n_seeds}) > 1


def list_models(lines: Sequence[ArmLine]) -> list[str]:
    """M0, M1, ... as far as any arm has a value."""
    return sort_models({name for line in lines for name in line.estimates})


def build_columns(lines: Sequence[ArmLine], models: Sequence[str], *, has_seeds: bool) -> list[Column]:
    """Arm, models, the newest interval, the test, health; where the room is short details and earlier models go.

    Args:
        has_seeds: Whether each arm tells how many seeds it has.
    """
    width = min(_TITLE_WIDTH, max((measure_width(make_visible(line.title)) for line in lines), default=0))
    named = [Column("", name, _MODEL_WIDTH, "right", rank=20 if name == "M0" else 0) for name in models]
    for k, column in enumerate(named[:-2]):
        if column.rank == 0:  # the first models say least of where an arm ends
            named[k] = Column("", column.title, _MODEL_WIDTH, "right", rank=len(named) - k)
    return [
        Column("", "", 1),
        Column("", "arm", 12, most=width, is_cut_in_middle=True, wish=width),
        *([Column("", "seeds", 5, "right", rank=23)] if has_seeds else []),
        *named,
        Column("", "95 %", 11, "right", rank=25),
        Column("", "Δ acc", 6, "right"),
        Column("", "95 %", 14, "right", rank=21),
        Column("", "p", 7, "right", rank=24),
        Column("", "fell", 6, "right", rank=max(1, len(models) - 2)),
        Column("", "early", 5, "right", rank=22),
    ]


def build_cells(line: ArmLine, measure: Measure, models: Sequence[str], *, has_seeds: bool) -> RowCells:
    """The cells of a line."""
    if not line.n_seeds:
        seeds = [Cell(MISSING, "dim")] if has_seeds else []
        values = [Cell(MISSING, "dim") for _ in models]
        others = [Cell(MISSING if k == 1 else "", "dim") for k in range(6)]
        return RowCells((Cell(" "), Cell(make_visible(line.title), "dim"), *seeds, *values, *others))
    test = line.test
    if line.place == 0:
        difference = [Cell("base", "dim"), Cell(""), Cell("")]
    elif test is None or test.difference is None:
        difference = [Cell(MISSING, "dim")] * 3
    else:
        _, _, mean, interval, p_value, *_ = list_test_cells(test)
        style = {1: "good", -1: "bad", 0: ""}[test.direction]
        difference = [
            Cell(mean.ljust(len(mean) + (not mean.endswith("*"))), style),
            Cell(interval, "dim"),
            Cell(p_value),
        ]
    return RowCells(
        (
            Cell("■" if line.is_selected else " ", "accent"),
            Cell(make_visible(line.title), "bold" if line.place == 0 else ""),
            *([Cell(str(line.n_seeds), "dim")] if has_seeds else []),
            *(_build_value(line, measure, name) for name in models),
            Cell(measure.write_interval(line.last[1]) if line.last is not None else "", "dim"),
            *difference,
            Cell(_count_falls(line.verdicts), "bad"),
            Cell(_count_warned(line.verdicts), "warn"),
        )
    )


def _count_falls(verdicts: Sequence[Verdict]) -> str:
    """In how many runs accuracy fell, and the first model at which it did in one of them."""
    models = sort_models({verdict.fell_at for verdict in verdicts if verdict.fell_at is not None})
    return f"{sum(verdict.has_fallen for verdict in verdicts)} {models[0]}" if models else ""


def _count_warned(verdicts: Sequence[Verdict]) -> str:
    n_warned = sum(verdict.is_warned for verdict in verdicts)
    return str(n_warned) if n_warned else ""


def _build_value(line: ArmLine, measure: Measure, name: str) -> Cell:
    change = line.changes.get(name)
    style = ""
    if change is not None and change.is_significant:
        style = "good" if change.mean > 0 else "bad"
    estimate = line.estimates.get(name)
    if estimate is not None and estimate.n_seeds < line.n_seeds:
        style = "dim"
    return Cell(measure.write(estimate, change), style)


def build_curves(lines: Sequence[ArmLine], measure: Measure) -> list[ArmCurve]:
    """A curve for each arm that has a value."""
    scale = 100.0 if measure.is_percent else 1.0
    curves = []
    for line in lines:
        found = [(float(name[1:]), line.estimates[name]) for name in sort_models(line.estimates)]
        ends = [estimate.interval or (float("nan"), float("nan")) for _, estimate in found]
        if found:
            curves.append(
                ArmCurve(
                    line,
                    tuple(x for x, _ in found),
                    tuple(scale * estimate.mean for _, estimate in found),
                    tuple(scale * low for low, _ in ends),
                    tuple(scale * high for _, high in ends),
                )
            )
    return curves


def describe_line(line: ArmLine, measure: Measure) -> str:
    """An arm's values with their intervals in one line, the newest first."""
    values = [
        f"{name} {measure.write(estimate, line.changes.get(name)).strip()} ({measure.write_interval(estimate)}"
        + (")" if estimate.n_seeds == line.n_seeds else f", {format_quantity(estimate.n_seeds, 'seed')})")
        for name in reversed(sort_models(line.estimates))
        if (estimate := line.estimates[name])
    ]
    return f"{line.title}  {measure.title}:  {'  '.join(values) or 'no value yet'}"


def explain(results: StudyResults, line: ArmLine) -> list[Span]:
    """What the data say of an arm and what warns in it, of the baseline what they say of all; a style for each text."""
    if not line.n_seeds:
        return [(make_visible(line.title), "bold"), ("\nNone of its runs has begun.", "dim")]
    comparison = results.comparison
    told = tell_arms([line.test]) if line.test is not None else []
    told += tell_models([found for found in comparison.model_tests if found.first == line.title])
    if line.place == 0:
        told = [*comparison.sentences]
        if len(results.compared.arms) > 1:
            told.insert(0, "The other arms are compared with this one.")
    spans = [(make_visible(line.title), "bold"), *_list_paragraphs(told)]
    spans += _explain_health(line, results.warned.get(line.title, {}))
    notes: list[str] = []
    if line.place == 0:
        lacking = results.compared.lacking_baseline
        notes = tell_missing(results.compared.missing, lacking_baseline=lacking, first=line.title)
        notes += list_table_notes(comparison.table)
    return spans + [(f"\n{make_visible(note)}", "dim") for note in notes]


def _explain_health(line: ArmLine, others: Mapping[str, int]) -> list[Span]:
    """In how many runs accuracy fell, the early warning fires and other diagnostics warn."""
    spans, n_runs = [], format_quantity(line.n_seeds, "run")
    counts = Counter(verdict.fell_at for verdict in line.verdicts if verdict.fell_at is not None)
    if counts:
        first = ", ".join(f"{name} ({counts[name]})" for name in sort_models(counts))
        fell = f"{counts.total()} of {n_runs}, first at {first}"
        words = f"Accuracy fell significantly (below M1 or the model before) in {fell}."
        spans.append((f"\n{words}", "bad"))
    if n_warned := _count_warned(line.verdicts):
        spans.append((f"\nThe early warning fires at the newest model of {n_warned} of {n_runs}.", "warn"))
    if others:
        words = ", ".join(f"{title} ({n})" for title, n in others.items())
        spans.append((f"\nWhat else warns, in how many of {n_runs}: {words}.", "dim"))
    return spans


def _list_paragraphs(sentences: Sequence[str]) -> list[Span]:
    return [(f"\n{make_visible(sentence)}", "") for sentence in sentences]


def tabulate(study: ComparedStudy) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Every accuracy of the table, raw."""
    columns = ("arm", "model", "task", "mean", "low", "high", "n_seeds")
    rows = [
        (row.arm, row.model, task, cell.estimate.mean, cell.estimate.low, cell.estimate.high, cell.estimate.n_seeds)
        for row in study.table.rows
        for task, cell in zip(study.table.columns, row.cells, strict=True)
        if cell is not None
    ]
    return columns, rows
