"""The sections of a report that compare: findings in sentences, the paper's table, and the tests behind them.

Pure: data in, blocks out. Numbers, tests and sentences are those of ``cream_tui.comparison``, as `compare` prints them.
"""

from __future__ import annotations

from collections.abc import Sequence

from cream_tui.comparison.arms import sort_models
from cream_tui.comparison.formats import ComparedStudy
from cream_tui.comparison.paired import Comparison
from cream_tui.comparison.table import StudyTable, TableCell, TableRow
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
from cream_tui.units import MISSING, format_percent, format_range


def build_finding_blocks(data: ReportData, compared: ComparedStudy) -> list[Block]:
    """What the data carry, one sentence each; then what a reader must know of them."""
    if not compared.sentences:
        return [Paragraph(f"Findings: {NOT_COMPUTABLE}no model after M0 was evaluated.")]
    blocks: list[Block] = [Bullets(tuple(compared.sentences))]
    if len(data.arms) > 1:
        lacking = data.lacking_baseline
        why = "" if lacking is None else f", since the baseline {lacking} has no run yet"
        blocks.append(Paragraph(f"Arms are compared with the first one, {data.arms[0].title}{why}."))
    return blocks


def build_table_blocks(compared: ComparedStudy) -> list[Block]:
    """Arms by models; where there are several tasks, of their average, and folded the paper's table of each task."""
    table = compared.table
    if not table.rows:
        return [Paragraph(f"Accuracy: {NOT_COMPUTABLE}no model was evaluated.")]
    caption = " ".join(list_table_notes(table))
    if len(table.columns) == 1:
        return [_build_model_table(table, caption)]
    average = _build_model_table(table, f"Mean over {len(table.columns) - 1} tasks. {caption}")
    rows = tuple((row.arm, row.model, str(row.n_seeds), *map(_format_cell, row.cells)) for row in table.rows)
    strong = frozenset(
        (i, 3 + k) for i, row in enumerate(table.rows) for k, cell in enumerate(row.cells) if _is_claim(cell)
    )
    titles = ("arm", "model", "seeds", *(f"{column} %" for column in table.columns))
    by_task = Table(titles, rows, "Accuracy by task, to be read as the table of means.", 2, strong)
    return [average, Fold("Accuracy by task", (by_task,))]


def _build_model_table(table: StudyTable, caption: str) -> Table:
    """A row for each arm, a column for each model: of the only task, or of the average, which stands last."""
    names = sort_models({row.model for row in table.rows})
    arms: dict[str, dict[str, TableRow]] = {}
    for row in table.rows:
        arms.setdefault(row.arm, {})[row.model] = row
    rows, strong = [], set()
    for i, (title, by_model) in enumerate(arms.items()):
        cells = [by_model[name].cells[-1] if name in by_model else None for name in names]
        rows.append((title, format_range(row.n_seeds for row in by_model.values()), *map(_format_cell, cells)))
        strong |= {(i, 2 + k) for k, cell in enumerate(cells) if _is_claim(cell)}
    return Table(("arm", "seeds", *names), tuple(rows), caption, 1, frozenset(strong))


def build_test_blocks(compared: ComparedStudy) -> list[Block]:
    """The tests, folded: every comparison with its interval and p-value, or why it has none."""
    families = (
        ("Tests of arms against the first one", compared.arm_tests),
        ("Tests of an arm's last model against its M1 and its best model", compared.model_tests),
    )
    return [Fold(title, (_build_tests(title, found),)) for title, found in families if found]


def _build_tests(title: str, found: Sequence[Comparison]) -> Table:
    rows = tuple(tuple(list_test_cells(one)) for one in found)
    caption = " ".join([f"{title}.", *list_test_notes(found)])
    return Table(
        tuple(TEST_TITLES), rows, caption, 2, frozenset((i, 2) for i, one in enumerate(found) if one.direction)
    )


def _is_claim(cell: TableCell | None) -> bool:
    return cell is not None and cell.change is not None and cell.change.is_significant


def _format_cell(cell: TableCell | None) -> str:
    if cell is None:
        return MISSING
    interval, mark = format_accuracy_interval(cell.estimate), format_change(cell.change)
    return " ".join(filter(None, [format_percent(cell.estimate.mean), f"[{interval}]", mark]))
