"""A comparison as a file: Markdown, tidy CSV, LaTeX, and records for JSON.

Pure: tables and tests in, text out. Titles are foreign text: each format escapes them in its own way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cream_tui.cards.markdown import build_table, escape
from cream_tui.comparison.arms import Results
from cream_tui.comparison.estimates import Estimate
from cream_tui.comparison.paired import Comparison, compare_arms, compare_models
from cream_tui.comparison.premises import Sources, mark_premises, tell_premises
from cream_tui.comparison.sentences import tell_study
from cream_tui.comparison.table import MEASURES, StudyTable, TableCell, TableRow, build_study_table
from cream_tui.comparison.wording import (
    MEASURE_TITLES,
    TEST_TITLES,
    format_accuracy_interval,
    format_change,
    format_measure_estimate,
    list_measure_notes,
    list_table_notes,
    list_test_cells,
    list_test_notes,
)
from cream_tui.export_formats import encode_csv
from cream_tui.text import make_visible
from cream_tui.units import MISSING, format_percent
from cream_tui.views.compare import SeedArm

CSV_COLUMNS = (
    "arm", "model", "measure", "task", "mean", "low", "high", "interval", "n_seeds",
    "change", "change_low", "change_high", "change_p_holm",
)  # fmt: skip
_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': "{''}", "–": "--",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}  # fmt: skip
_ARROWS = {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "=": "$=$", "": ""}


@dataclass(frozen=True, slots=True)
class ComparedStudy:
    """A whole comparison, to be written.

    Attributes:
        arm_tests, model_tests: The two families of tests.
        premises: The first of the sentences: what must be known before the verdicts.
    """

    title: str
    table: StudyTable
    arm_tests: Sequence[Comparison]
    model_tests: Sequence[Comparison]
    sentences: Sequence[str]
    premises: Sequence[str] = ()


def compare_study(
    title: str,
    arms: Sequence[SeedArm],
    results: Results,
    *,
    own_baseline: str | None = None,
    sources: Sources | None = None,
    at: str | None = None,
) -> ComparedStudy:
    """Tables, tests and sentences of these arms, the first one being the baseline.

    Args:
        own_baseline: The arm that the study compares with, where another one was chosen.
        sources: The studies that arms are of.
        at: The model at which arms are compared; None for the last that both sides have.
    """
    sources = sources or {}
    arm_tests = mark_premises(compare_arms(arms, results, at=at), arms, sources)
    model_tests = compare_models(arms, results)
    premises = tell_premises(arms, sources, own_baseline=own_baseline, at=at)
    sentences = [*premises, *tell_study(arms, results, arm_tests, model_tests)]
    return ComparedStudy(title, build_study_table(arms, results), arm_tests, model_tests, sentences, premises)


def encode_markdown(study: ComparedStudy) -> Iterator[str]:
    """Headings, tables and sentences as GitHub shows them."""
    yield f"# {escape(study.title)}\n\n"
    yield from (f"- {escape(sentence)}\n" for sentence in study.sentences)
    yield "\n## Accuracy\n\n"
    titles = ["method", "model", *map(escape, study.table.columns), "seeds"]
    yield build_table(titles, [_list_markdown_cells(row) for row in study.table.rows])
    yield _encode_notes(list_table_notes(study.table))
    for heading, tests in (("Against the baseline", study.arm_tests), ("Over iterations", study.model_tests)):
        if tests:
            yield f"\n## {heading}\n\n"
            yield build_table(TEST_TITLES, [[escape(cell) for cell in list_test_cells(found)] for found in tests])
    yield _encode_notes(list_test_notes(study.arm_tests, study.model_tests))
    if study.table.measures:
        yield "\n## Labels, agreement and length\n\n"
        titles = ["method", "model", *(MEASURE_TITLES[name] for name in MEASURES), "seeds"]
        yield build_table(titles, [_list_measure_cells(study.table, k) for k in range(len(study.table.measures))])
        yield _encode_notes(list_measure_notes(study.table))


def encode_summary_csv(table: StudyTable) -> Iterator[str]:
    """One line for each arm, model and measure; rates in full, empty where there is no value."""
    return encode_csv(CSV_COLUMNS, _list_csv_rows(table))


def encode_latex(study: ComparedStudy) -> Iterator[str]:
    """The table of accuracies for booktabs, with its notes below."""
    table = study.table
    yield "% \\usepackage{booktabs}\n\\begin{table}\n\\centering\n"
    yield f"\\caption{{Accuracy of {escape_latex(study.title)}}}\n"
    yield f"\\begin{{tabular}}{{ll{'c' * len(table.columns)}}}\n\\toprule\n"
    yield " & ".join(["method", "model", *map(escape_latex, table.columns)]) + " \\\\\n"
    before = None
    for row in table.rows:
        if row.arm != before:
            yield "\\midrule\n"
        name = escape_latex(row.arm) if row.arm != before else ""
        cells = [_encode_latex_cell(cell) for cell in row.cells]
        yield " & ".join([name, escape_latex(row.model), *cells]) + " \\\\\n"
        before = row.arm
    yield "\\bottomrule\n\\end{tabular}\n\n\\smallskip\n"
    notes = " ".join(escape_latex(note) for note in list_table_notes(table))
    yield f"\\begin{{minipage}}{{\\linewidth}}\\footnotesize {notes}\\end{{minipage}}\n\\end{{table}}\n"


def escape_latex(text: str) -> str:
    """The text as LaTeX sets it letter by letter; what a plain installation has no glyph for is named by its code."""
    escaped = "".join(_LATEX.get(character, character) for character in make_visible(text))
    return re.sub(r"[«»ÐÞðþ]|[^\x00-\xff]", lambda found: f"\\texttt{{U+{ord(found[0]):04X}}}", escaped)


def build_study_records(study: ComparedStudy) -> dict[str, Any]:
    """Everything for JSON, numbers in full."""
    table = study.table
    return {
        "table": [
            {
                "arm": row.arm,
                "model": row.model,
                "n_seeds": row.n_seeds,
                "cells": {
                    column: _build_cell_record(cell)
                    for column, cell in zip(table.columns, row.cells, strict=True)
                    if cell is not None
                },
            }
            for row in table.rows
        ],
        "measures": [
            {
                "arm": row.arm,
                "model": row.model,
                "n_seeds": row.n_seeds,
                **{
                    name: _build_estimate_record(estimate)
                    for name, estimate in zip(MEASURES, row.estimates, strict=True)
                    if estimate is not None
                },
            }
            for row in table.measures
        ],
        "comparisons": [_build_test_record(found) for found in (*study.arm_tests, *study.model_tests)],
        "notes": [*study.premises, *table.notes],
    }


def _list_markdown_cells(row: TableRow) -> list[str]:
    cells = []
    for cell in row.cells:
        if cell is None:
            cells.append(MISSING)
            continue
        mark = format_change(cell.change)
        mean = format_percent(cell.estimate.mean) + (f" {mark}" if mark else "")
        is_marked = cell.change is not None and cell.change.is_significant
        mean = escape(mean)
        cells.append(f"{f'**{mean}**' if is_marked else mean} ({format_accuracy_interval(cell.estimate)})")
    return [escape(row.arm), row.model, *cells, str(row.n_seeds)]


def _list_measure_cells(table: StudyTable, k: int) -> list[str]:
    row = table.measures[k]
    cells = [format_measure_estimate(name, found) for name, found in zip(MEASURES, row.estimates, strict=True)]
    return [escape(row.arm), row.model, *map(escape, cells), str(row.n_seeds)]


def _encode_notes(notes: Sequence[str]) -> str:
    return "".join(f"\n{escape(note)}\n" for note in notes)


def _encode_latex_cell(cell: TableCell | None) -> str:
    if cell is None:
        return "--"
    arrow = "" if cell.change is None else _ARROWS[cell.change.arrow]
    mean = format_percent(cell.estimate.mean)
    if cell.change is not None and cell.change.is_significant:
        mean, arrow = f"\\textbf{{{mean}}}", f"{arrow}*"
    interval = escape_latex(format_accuracy_interval(cell.estimate))
    return f"{mean} {arrow} {{\\scriptsize ({interval})}}".replace("  ", " ")


def _list_csv_rows(table: StudyTable) -> Iterator[tuple[str | float | int | None, ...]]:
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            if cell is not None:
                change = cell.change
                changes = (None,) * 4 if change is None else (change.mean, change.low, change.high, change.p_holm)
                yield (row.arm, row.model, "accuracy", column, *_list_csv_estimate(cell.estimate), *changes)
    for measured in table.measures:
        for name, estimate in zip(MEASURES, measured.estimates, strict=True):
            if estimate is not None:
                yield (measured.arm, measured.model, name, None, *_list_csv_estimate(estimate), *(None,) * 4)


def _list_csv_estimate(found: Estimate) -> tuple[float | str | int | None, ...]:
    return found.mean, found.low, found.high, found.kind, found.n_seeds


def _build_cell_record(cell: TableCell) -> dict[str, Any]:
    change = cell.change
    return {
        **_build_estimate_record(cell.estimate),
        "change": None
        if change is None
        else {
            "mean": change.mean,
            "low": change.low,
            "high": change.high,
            "p_value": change.p_value,
            "p_value_holm": change.p_holm,
            "is_significant": change.is_significant,
        },
    }


def _build_estimate_record(found: Estimate) -> dict[str, Any]:
    return {
        "mean": found.mean,
        "low": found.low,
        "high": found.high,
        "interval": found.kind,
        "n_seeds": found.n_seeds,
        "reason": found.reason,
    }


def _build_test_record(found: Comparison) -> dict[str, Any]:
    difference = found.difference
    record: dict[str, Any] = {
        "family": found.family,
        "first": found.first,
        "first_model": found.first_model,
        "second": found.second,
        "second_model": found.second_model,
        "p_value_holm": found.p_holm,
        "n_family": found.n_family,
        "direction": found.direction,
        "reason": found.reason,
        "beside": found.beside,
    }
    if difference is not None:
        record |= {
            "difference": difference.mean,
            "low": difference.low,
            "high": difference.high,
            "first_accuracy": difference.first_mean,
            "second_accuracy": difference.second_mean,
            "p_value": difference.p_value,
            "method": difference.method,
            "t_p_value": difference.seed_p_value,
            "seeds": list(difference.seeds),
            "n_items": difference.n_items,
        }
    return record
