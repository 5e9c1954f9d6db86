"""The sections of a report that compare: findings in sentences, the paper's table, and the tests behind them.

Pure: data in, blocks out. Numbers, tests and sentences are those of ``cream_tui.comparison``, as `compare` prints them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cream_tui.comparison.paired import Comparison, compare_arms, compare_models
from cream_tui.comparison.sentences import tell_study
from cream_tui.comparison.table import StudyTable, TableCell, build_study_table
from cream_tui.comparison.wording import (
    TEST_TITLES,
    format_accuracy_interval,
    format_change,
    list_table_notes,
    list_test_cells,
    list_test_notes,
)
from cream_tui.report.blocks import NOT_COMPUTABLE, Block, Bullets, Fold, Paragraph, Table
from cream_tui.report.reading import ReportData
from cream_tui.units import MISSING, format_percent


@dataclass(frozen=True, slots=True)
class Compared:
    """The comparisons of a report, made once: arms against the first, and models of an arm against one another."""

    table: StudyTable
    arms: tuple[Comparison, ...]
    models: tuple[Comparison, ...]


def compare(data: ReportData) -> Compared:
    """All tests and the table."""
    return Compared(
        build_study_table(data.arms, data.results),
        tuple(compare_arms(data.arms, data.results)),
        tuple(compare_models(data.arms, data.results)),
    )


def build_finding_blocks(data: ReportData, compared: Compared) -> list[Block]:
    """What the data carry, one sentence each; then what a reader must know of them."""
    told = tell_study(data.arms, data.results, compared.arms, compared.models)
    if not told:
        return [Paragraph(f"Findings: {NOT_COMPUTABLE}no model after M0 was evaluated.")]
    blocks: list[Block] = [Bullets(tuple(told))]
    if len(data.arms) > 1:
        blocks.append(Paragraph(f"Arms are compared with the first one, {data.arms[0].title}."))
    return blocks


def build_table_blocks(compared: Compared) -> list[Block]:
    """The paper's table: arms and their models by tasks."""
    table = compared.table
    if not table.rows:
        return [Paragraph(f"Accuracy: {NOT_COMPUTABLE}no model was evaluated.")]
    rows = tuple(
        (row.arm, row.model, str(row.n_seeds), *(MISSING if cell is None else _format_cell(cell) for cell in row.cells))
        for row in table.rows
    )
    strong = frozenset(
        (i, 3 + k)
        for i, row in enumerate(table.rows)
        for k, cell in enumerate(row.cells)
        if cell is not None and cell.change is not None and cell.change.is_significant
    )
    titles = ("arm", "model", "seeds", *(f"{column} %" for column in table.columns))
    return [Table(titles, rows, " ".join(list_table_notes(table)), 2, strong)]


def build_test_blocks(compared: Compared) -> list[Block]:
    """The tests, folded: every comparison with its interval and p-value, or why it has none."""
    families = (
        ("Tests of arms against the first one", compared.arms),
        ("Tests of an arm's last model against its M1 and its best model", compared.models),
    )
    return [Fold(title, (_build_tests(title, found),)) for title, found in families if found]


def _build_tests(title: str, found: Sequence[Comparison]) -> Table:
    rows = tuple(tuple(list_test_cells(one)) for one in found)
    caption = " ".join([f"{title}.", *list_test_notes(found)])
    return Table(
        tuple(TEST_TITLES), rows, caption, 2, frozenset((i, 2) for i, one in enumerate(found) if one.direction)
    )


def _format_cell(cell: TableCell) -> str:
    interval, mark = format_accuracy_interval(cell.estimate), format_change(cell.change)
    return " ".join(filter(None, [format_percent(cell.estimate.mean), f"[{interval}]", mark]))
