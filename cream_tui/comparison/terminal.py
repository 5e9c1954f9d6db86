"""The tables of a comparison as the terminal shows them: short ones. Pure: tables and tests in, cells and notes out.

Of one task, arms by models; of several, the paper's table. What would take more than MOST_ROWS rows beyond a row for
each arm is left to files and the app. Where the terminal is narrow, details give way first, then names; a matrix is cut
into blocks of models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cream_tui.comparison.arms import NO_SPREAD, ONE_MODEL, ONE_SEED, sort_models
from cream_tui.comparison.estimates import Estimate
from cream_tui.comparison.paired import BOOTSTRAP, MCNEMAR, Comparison
from cream_tui.comparison.table import MEASURES, MeasureRow, StudyTable, TableCell, TableRow
from cream_tui.comparison.wording import (
    format_accuracy_interval,
    format_change,
    format_measure,
    format_measure_estimate,
    list_test_cells,
)
from cream_tui.output import Cell, Column, cut, measure_table
from cream_tui.text import make_visible
from cream_tui.units import MISSING, format_percent, format_range

MOST_ROWS = 12
_NAME = Column("", is_flexible=True, readable=26)
_MODEL_COLUMN = Column("model")
_STYLES = {1: "green", -1: "red", 0: ""}
_MEASURE_COLUMNS = (
    Column("labels\nright %", "right"),
    Column("tau to\nprevious", "right", rank=3),
    Column("tau to\nanchor", "right", rank=2),
    Column("C", "right", rank=1),
    Column("tokens\nchosen", "right", rank=4),
    Column("tokens\nrejected", "right", rank=5),
)
_TESTED = (Column("seeds", "right", rank=3), Column("items", "right", rank=4))

Rows = list[list[str | Cell]]


def has_matrix(table: StudyTable, *, are_runs: bool) -> bool:
    """Whether accuracies are shown as arms by models: of one task, and of the average of single runs that have it."""
    return len(table.columns) == 1 or (are_runs and any(row.cells and row.cells[-1] for row in table.rows))


def tell_matrix(table: StudyTable) -> list[str]:
    """What the matrix is of, and what stands in no row of it: models that are the same in all arms."""
    *tasks, last = table.columns
    told = [f"Accuracy in %, mean over {len(tasks)} tasks" if tasks else f"Accuracy on {last} in %"]
    shared = [(row, cell) for row in table.rows if row.is_shared and (cell := row.cells[-1])]
    if shared:
        values = ", ".join(f"{row.model} {_write_accuracy(cell)} ({_write_interval(cell)})" for row, cell in shared)
        seeds = "" if has_like_seeds(table.rows) else f", over {format_range(row.n_seeds for row, _ in shared)} seeds"
        told.append(f"The same in all{seeds}: {values}.")
    return told


def build_matrices(table: StudyTable, width: int | None) -> list[tuple[list[Column], Rows]]:
    """Arms by models, in as few blocks of models as a terminal of this width needs; None is wide enough."""
    by_arm: dict[str, dict[str, TableRow]] = {title: {} for title in table.arms}
    for row in table.rows:
        if not row.is_shared:
            by_arm[row.arm][row.model] = row
    models = sort_models({name for rows in by_arm.values() for name in rows})
    blocks: list[tuple[list[Column], Rows]] = []
    for size in range(len(models), 0, -1):
        parts = [models[k : k + size] for k in range(0, len(models), size)]
        blocks = [_build_block(table, by_arm, part) for part in parts]
        if all(fits(*block, width) for block in blocks):
            break
    return blocks


def build_accuracy_columns(table: StudyTable) -> list[Column]:
    """Method and model, then two columns for each task: accuracy with its arrow, and the interval."""
    columns = [Column("method", is_flexible=True), _MODEL_COLUMN]
    for k, name in enumerate(table.columns):
        columns += [Column(f"{name}\n%", "right"), Column("95 %\ninterval", "right", rank=len(table.columns) - k)]
    return [*columns, Column("seeds", "right")]


def build_accuracy_rows(table: StudyTable) -> Rows:
    """One row for each model; a method's name stands at its first."""
    rows: Rows = []
    before = None
    for row in table.rows:
        cells: list[str | Cell] = [Cell(row.arm if row.arm != before else "", "bold"), row.model]
        for cell in row.cells:
            cells += _build_accuracy_cells(cell)
        rows.append([*cells, str(row.n_seeds)])
        before = row.arm
    return rows


def build_arm_test_columns() -> list[Column]:
    """Arm and model, then its test against the baseline."""
    return [_NAME, _MODEL_COLUMN, *_build_test_columns(interval=0, t=5), *_TESTED]


def build_arm_test_rows(comparisons: Sequence[Comparison]) -> Rows:
    """One row for each arm that could be tested; what could not is told in sentences."""
    return [
        [Cell(found.first, "bold"), found.first_model or "", *_build_test_cells(found), *_describe_tested([found])]
        for found in comparisons
        if found.difference is not None
    ]


def build_model_test_columns() -> list[Column]:
    """Arm and last model, then its tests against the first model and against the best before it."""
    test = _build_test_columns(interval=1, t=5)
    return [_NAME, _MODEL_COLUMN, Column("to\nfirst"), *test, Column("to\nbest"), *test, *_TESTED]


def choose_model_tests(comparisons: Sequence[Comparison]) -> Sequence[Comparison]:
    """The tests of arms against themselves where they take few rows, else none: their claims are told in sentences."""
    return comparisons if len({found.first for found in comparisons}) <= MOST_ROWS else ()


def build_model_test_rows(comparisons: Sequence[Comparison]) -> Rows:
    """One row for each arm; where the first model is the best one, that is named and its test stands once."""
    by_arm: dict[str, list[Comparison]] = {}
    for found in comparisons:
        if found.difference is not None:
            by_arm.setdefault(found.first, []).append(found)
    rows: Rows = []
    for title, tests in by_arm.items():
        first, best = tests[0], tests[-1]
        cells = _build_test_cells(best) if best is not first else [""] * len(_build_test_cells(best))
        rows.append(
            [
                Cell(title, "bold"), first.first_model or "",
                first.second_model or "", *_build_test_cells(first),
                best.second_model or "", *cells,
                *_describe_tested(tests),
            ]
        )  # fmt: skip
    return rows


def choose_measures(table: StudyTable) -> Sequence[MeasureRow]:
    """Every iteration where those are few, else of each arm the newest that two seeds have, or the newest."""
    if len(table.measures) <= MOST_ROWS:
        return table.measures
    by_arm: dict[str, list[MeasureRow]] = {}
    for row in table.measures:
        by_arm.setdefault(row.arm, []).append(row)
    return [_find_newest(rows) for rows in by_arm.values()]


def build_measure_columns(rows: Sequence[MeasureRow]) -> list[Column]:
    """Arm and model, then the measures; lengths give way first, then the taus."""
    seeds = [] if has_like_seeds(rows) else [Column("seeds", "right")]
    return [_NAME, _MODEL_COLUMN, *_MEASURE_COLUMNS, *seeds]


def build_measure_rows(measures: Sequence[MeasureRow], *, has_intervals: bool = True) -> Rows:
    """One row for each iteration of an arm."""
    show = format_measure_estimate if has_intervals else _format_mean
    is_like = has_like_seeds(measures)
    rows: Rows = []
    before = None
    for row in measures:
        cells = [
            MISSING if found is None else show(name, found) for name, found in zip(MEASURES, row.estimates, strict=True)
        ]
        seeds = [] if is_like else [str(row.n_seeds)]
        rows.append([Cell(row.arm if row.arm != before else "", "bold"), row.model, *cells, *seeds])
        before = row.arm
    return rows


def has_like_seeds(rows: Sequence[TableRow] | Sequence[MeasureRow]) -> bool:
    """Whether all rows are of as many seeds, so that no column says it."""
    return len({row.n_seeds for row in rows}) < 2


def fits(columns: Sequence[Column], rows: Rows, width: int | None) -> bool:
    """Whether every column has its place in a terminal of this width, and the name as much as is readable."""
    if width is None:
        return True
    cut_rows = [[cut(make_visible(_get_text(name)), columns[0].readable), *cells] for name, *cells in rows]
    return measure_table(columns, cut_rows) <= width


def list_matrix_notes(table: StudyTable) -> list[str]:
    """What a reader of the matrix must know."""
    estimates = [(row.model, cell.estimate) for row in table.rows for cell in row.cells if cell]
    of_items = []
    if models := sort_models({model for model, found in estimates if found.reason == ONE_MODEL}):
        of_items.append(f"of {', '.join(models)}, one model for all seeds")
    if any(found.reason == ONE_SEED for _, found in estimates):
        of_items.append("of one seed, which says nothing of other seeds")
    intervals = ["Student's t over seeds"] if table.has_seeds else []
    if of_items:
        intervals.append(f"Wilson's over items {' and '.join(of_items)}")
    mean = _name_mean(table.rows)
    notes = [f"{mean}{mean and '; '}95 % interval: {', '.join(intervals)}."] if intervals else []
    if any(found.reason == NO_SPREAD for _, found in estimates):
        notes.append("Without an interval: every seed has the same accuracy, so there is no spread to see.")
    if table.n_arrows:
        notes.append(
            "Arrow: above or below the previous model, on seeds and items that both have; * p < 0.05 by Holm over "
            f"{table.n_arrows} arrows, and an interval without 0 ({_name_tests(table)})."
        )
    return [*notes, *table.notes]


def list_test_notes(*families: Sequence[Comparison]) -> list[str]:
    """What a reader of the tests must know."""
    tested = [found for family in families for found in family if found.difference is not None]
    if not tested:
        return []
    methods = {found.difference.method for found in tested if found.difference is not None}
    by = ["by paired bootstrap over both"] if BOOTSTRAP in methods else []
    if MCNEMAR in methods:
        by.append("of one seed by exact McNemar and with an interval over items, which says nothing of other seeds")
    t = "; t: Student's paired t over seeds, as it is" if BOOTSTRAP in methods else ""
    notes = [
        "Points of accuracy on the seeds and items that both have, with the 95 % interval of this difference alone, "
        f"{', '.join(by)}; p by Holm over the tests of its table; * p < 0.05, and an interval without 0{t}."
    ]
    if any(found.family == "models" for found in tested):
        notes.append(
            "Best: the best before the last. Which that is is chosen by the same data: that p is multiplied by how "
            "many it could have been."
        )
    return notes


def list_measure_notes(rows: Sequence[MeasureRow], *, has_intervals: bool = True) -> list[str]:
    """What a reader of these measures must know."""
    if not rows:
        return []
    mean = _name_mean(rows)
    if has_intervals and any(found and found.interval for row in rows for found in row.estimates):
        mean += " with its 95 % interval by Student's t over them"
    notes = [
        f"{mean}{mean and '. '}Of the pairs that this model made for the next one; labels: of those whose sides differ "
        "in correctness; C: its mean in the loss."
    ]
    if any(row.model == "M1" and row.estimates[MEASURES.index("tau_previous")] for row in rows):
        notes.append("M1: tau to previous is to M0's log-likelihood, because M0 has no implicit reward.")
    return notes


def _build_block(
    table: StudyTable, by_arm: Mapping[str, Mapping[str, TableRow]], models: Sequence[str]
) -> tuple[list[Column], Rows]:
    """A row for each arm: its accuracies, then the interval and the seeds of the last one."""
    is_like = has_like_seeds(table.rows)
    rows: Rows = []
    for title, by_model in by_arm.items():
        known = [by_model[name] for name in models if name in by_model]
        cells = [by_model[name].cells[-1] if name in by_model else None for name in models]
        last = next((cell for cell in reversed(cells) if cell), None)
        seeds = [] if is_like else [format_range(row.n_seeds for row in known) if known else ""]
        rows.append(
            [
                Cell(title, "bold"),
                *(_build_accuracy_cell(cell) for cell in cells),
                Cell(_write_interval(last) if last else "", "dim"),
                *seeds,
            ]
        )
    values = [Column(name, "right") for name in models]
    seeds_column = [] if is_like else [Column("seeds", "right", rank=2)]
    return [_NAME, *values, Column("95 % of\nthe last", "right", rank=1), *seeds_column], rows


def _build_test_columns(*, interval: int, t: int) -> list[Column]:
    """The columns of one test; interval and t are their ranks."""
    return [
        Column("points", "right"),
        Column("95 %\ninterval", "right", rank=interval),
        Column("p by\nHolm", "right"),
        Column("t over\nseeds", "right", rank=t),
    ]


def _build_test_cells(found: Comparison) -> list[str | Cell]:
    """Difference, interval, p-values."""
    _, _, mean, interval, p_value, seed_p_value, *_ = list_test_cells(found)
    is_marked = mean.endswith("*")
    return [Cell(mean if is_marked else f"{mean} ", _STYLES[found.direction]), interval, p_value, seed_p_value]


def _describe_tested(tests: Sequence[Comparison]) -> list[str]:
    """Seeds and items of these tests."""
    *_, seeds, items = zip(*(list_test_cells(found) for found in tests), strict=True)
    return [format_range(map(int, seeds)), format_range(map(int, items))]


def _find_newest(rows: Sequence[MeasureRow]) -> MeasureRow:
    n_least = min(2, max(row.n_seeds for row in rows))
    return next(row for row in reversed(rows) if row.n_seeds >= n_least)


def _name_tests(table: StudyTable) -> str:
    has_seeds = any(row.n_seeds > 1 for row in table.rows)
    return "paired bootstrap over seeds and items; exact McNemar for one seed" if has_seeds else "exact McNemar"


def _name_mean(rows: Sequence[TableRow] | Sequence[MeasureRow]) -> str:
    """Over what a value is a mean; empty for single runs."""
    n_seeds = {row.n_seeds for row in rows}
    if max(n_seeds) == 1:
        return ""
    return f"Mean over {n_seeds.pop()} seeds" if len(n_seeds) == 1 else "Mean over seeds"


def _get_text(cell: str | Cell) -> str:
    return cell if isinstance(cell, str) else cell.text


def _format_mean(name: str, estimate: Estimate) -> str:
    return format_measure(name, estimate.mean)


def _write_accuracy(cell: TableCell) -> str:
    return format_percent(cell.estimate.mean) + format_change(cell.change)


def _write_interval(cell: TableCell) -> str:
    return format_accuracy_interval(cell.estimate)


def _find_style(cell: TableCell) -> str:
    if cell.change is None or not cell.change.is_significant:
        return ""
    return "green" if cell.change.mean > 0 else "red"


def _build_accuracy_cell(cell: TableCell | None) -> Cell:
    """75.2↑*, the digits below one another."""
    if cell is None:
        return Cell(f"{MISSING}  ", "dim")
    return Cell(format_percent(cell.estimate.mean) + format_change(cell.change).ljust(2), _find_style(cell))


def _build_accuracy_cells(cell: TableCell | None) -> list[str | Cell]:
    if cell is None:
        return [MISSING, ""]
    text = f"{format_percent(cell.estimate.mean)} {format_change(cell.change).ljust(2)}"
    return [Cell(text, _find_style(cell)), Cell(_write_interval(cell), "dim")]
