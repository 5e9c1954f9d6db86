"""The tables of a comparison as the terminal shows them. Pure: tables and tests in, cells out.

Where the terminal is narrow, intervals give way first, those of the average last.
"""

from __future__ import annotations

from collections.abc import Sequence

from cream_tui.comparison.estimates import Estimate
from cream_tui.comparison.paired import Comparison
from cream_tui.comparison.table import MEASURES, StudyTable, TableCell
from cream_tui.comparison.wording import (
    MEASURE_TITLES,
    format_accuracy_interval,
    format_change,
    format_measure,
    format_measure_estimate,
    list_test_cells,
)
from cream_tui.output import Cell, Column, lay_out_table, measure
from cream_tui.units import MISSING, format_percent

_TEST_COLUMNS = (
    Column("first", is_flexible=True),
    Column("second", is_flexible=True),
    Column("difference\npoints", "right"),
    Column("95 %\ninterval", "right"),
    Column("p by\nHolm", "right"),
    Column("t over\nseeds", "right", rank=3),
    Column("seeds", "right", rank=1),
    Column("items", "right", rank=2),
)
_STYLES = {1: "green", -1: "red", 0: ""}


def build_accuracy_columns(table: StudyTable) -> list[Column]:
    """Method and model, then two columns for each task: accuracy with its arrow, and the interval."""
    columns = [Column("method", is_flexible=True), Column("model")]
    for k, name in enumerate(table.columns):
        columns += [Column(f"{name}\n%", "right"), Column("95 %\ninterval", "right", rank=len(table.columns) - k)]
    return [*columns, Column("seeds", "right")]


def build_accuracy_rows(table: StudyTable) -> list[list[str | Cell]]:
    """One row for each model; a method's name stands at its first."""
    rows: list[list[str | Cell]] = []
    before = None
    for row in table.rows:
        cells: list[str | Cell] = [Cell(row.arm if row.arm != before else "", "bold"), row.model]
        for cell in row.cells:
            cells += _build_accuracy_cells(cell)
        rows.append([*cells, str(row.n_seeds)])
        before = row.arm
    return rows


def build_test_columns() -> list[Column]:
    """The columns of a family of tests."""
    return list(_TEST_COLUMNS)


def build_test_rows(comparisons: Sequence[Comparison]) -> list[list[str | Cell]]:
    """One row for each test that could be made; what could not is told in sentences."""
    rows: list[list[str | Cell]] = []
    for found in comparisons:
        if found.difference is not None:
            first, second, mean, *rest = list_test_cells(found)
            rows.append([first, second, Cell(mean, _STYLES[found.direction]), *rest])
    return rows


def build_measure_columns(table: StudyTable) -> list[Column]:
    """Method and model, then the measures; lengths give way first, then tau to the anchor and to the previous model."""
    ranks = dict(zip(reversed(MEASURES), (5, 4, 1, 2, 3, 0), strict=True))
    titles = {name: title.replace(" ", "\n", 1) for name, title in MEASURE_TITLES.items()}
    measures = [Column(titles[name], "right", rank=ranks[name]) for name in MEASURES]
    return [Column("method", is_flexible=True), Column("model"), *measures, Column("seeds", "right")]


def build_measure_rows(table: StudyTable, *, has_intervals: bool = True) -> list[list[str | Cell]]:
    """One row for each iteration of an arm."""
    show = format_measure_estimate if has_intervals else _format_mean
    rows: list[list[str | Cell]] = []
    before = None
    for row in table.measures:
        cells = [
            MISSING if found is None else show(name, found) for name, found in zip(MEASURES, row.estimates, strict=True)
        ]
        rows.append([Cell(row.arm if row.arm != before else "", "bold"), row.model, *cells, str(row.n_seeds)])
        before = row.arm
    return rows


def has_room_for_intervals(table: StudyTable, width: int | None) -> bool:
    """Whether the measures fit a terminal of this width with their intervals; None is wide enough."""
    if width is None:
        return True
    lines = lay_out_table(build_measure_columns(table), build_measure_rows(table))
    return max(sum(measure(cell.text) for cell in line) for line in lines) <= width


def _format_mean(name: str, estimate: Estimate) -> str:
    return format_measure(name, estimate.mean)


def _build_accuracy_cells(cell: TableCell | None) -> list[str | Cell]:
    if cell is None:
        return [MISSING, ""]
    mark = format_change(cell.change)
    style = "" if cell.change is None or not cell.change.is_significant else "green" if cell.change.mean > 0 else "red"
    text = f"{format_percent(cell.estimate.mean)} {mark.ljust(2)}"
    return [Cell(text, style), Cell(format_accuracy_interval(cell.estimate), "dim")]
