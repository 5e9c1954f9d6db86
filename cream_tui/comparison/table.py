"""The paper's table: rows are methods and their models, columns tasks and average; and the measures of iterations.

Pure: arms and results in, tables out; how they are written is another module's. What all arms share stands once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cream_tui.comparison.arms import (
    ArmModels,
    BySeed,
    Results,
    collect_models,
    list_notes,
    list_shared_models,
    pool_models,
    sort_models,
)
from cream_tui.comparison.estimates import Estimate, estimate_accuracy, estimate_measure
from cream_tui.comparison.paired import compute_difference
from cream_tui.results import SIGNIFICANCE, adjust_by_holm
from cream_tui.views.compare import SeedArm

AVERAGE = "average"
SHARED = "all"
# What is shown of an iteration: name, title, bounds. Rates and taus end where they must.
_MEASURES: tuple[tuple[str, tuple[float, float]], ...] = (
    ("label_accuracy", (0.0, 1.0)),
    ("tau_previous", (-1.0, 1.0)),
    ("tau_anchor", (-1.0, 1.0)),
    ("confidence", (0.0, 1.0)),
    ("chosen_n_tokens", (0.0, math.inf)),
    ("rejected_n_tokens", (0.0, math.inf)),
)
MEASURES = tuple(name for name, _ in _MEASURES)


@dataclass(frozen=True, slots=True)
class Change:
    """How a mean moved from the previous model on the seeds and items that both have; an arrow shows its direction.

    Attributes:
        p_holm: Corrected for all arrows of the table.
    """

    mean: float
    low: float
    high: float
    p_value: float
    p_holm: float = 1.0
    is_split: bool = False

    @property
    def is_significant(self) -> bool:
        """Whether it carries a claim."""
        return self.p_holm < SIGNIFICANCE and not self.is_split and not self.low <= 0.0 <= self.high

    @property
    def arrow(self) -> str:
        """↑, ↓ or = by the mean alone."""
        return "=" if abs(self.mean) < 1e-9 else "↑" if self.mean > 0 else "↓"


@dataclass(frozen=True, slots=True)
class TableCell:
    """One accuracy; ``change`` is None for M0, for the average of other tasks, and where no items are shared."""

    estimate: Estimate
    change: Change | None = None


@dataclass(frozen=True, slots=True)
class TableRow:
    """One model of one arm, or of all arms where every answer is the same.

    Attributes:
        arm: The arm's title; SHARED for all of them.
        cells: One for each column of the table; None where the model was not evaluated on it.
        is_shared: Whether it is of all arms; one of them may have the title SHARED.
    """

    arm: str
    model: str
    n_seeds: int
    cells: tuple[TableCell | None, ...]
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class MeasureRow:
    """What an iteration of an arm measured, in the order of MEASURES; the model is the one that sampled."""

    arm: str
    model: str
    n_seeds: int
    estimates: tuple[Estimate | None, ...]


@dataclass(frozen=True, slots=True)
class StudyTable:
    """All numbers of a comparison but its tests.

    Attributes:
        columns: Tasks, and AVERAGE behind them where there are several.
        n_arrows: For how many arrows the p-values are corrected.
        notes: What a reader must know: runs that are not done, seeds that differ.
    """

    arms: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    measures: tuple[MeasureRow, ...]
    n_arrows: int
    notes: tuple[str, ...]

    @property
    def has_one_seed(self) -> bool:
        """Whether some interval is one over items."""
        return any(cell.estimate.kind == "items" for row in self.rows for cell in row.cells if cell)

    @property
    def has_seeds(self) -> bool:
        """Whether some interval is one over seeds."""
        return any(cell.estimate.kind == "seeds" for row in self.rows for cell in row.cells if cell)


def build_study_table(arms: Sequence[SeedArm], results: Results) -> StudyTable:
    """The tables of these arms."""
    collected = [collect_models(arm, results) for arm in arms]
    tasks = list(
        dict.fromkeys(
            count.task
            for arm in collected
            for models in arm.models.values()
            for model in models.values()
            for count in model.tasks
        )
    )
    columns = (*tasks, AVERAGE) if len(tasks) > 1 else tuple(tasks)
    rows, n_arrows = _correct_arrows(_build_rows(collected, columns))
    return StudyTable(
        arms=tuple(arm.title for arm in collected),
        columns=columns,
        rows=tuple(rows),
        measures=tuple(row for arm in collected for row in _build_measures(arm)),
        n_arrows=n_arrows,
        notes=tuple(list_notes(arms, results)),
    )


def _build_rows(arms: Sequence[ArmModels], columns: Sequence[str]) -> list[TableRow]:
    shared = {name: pool_models(arms, name) for name in list_shared_models(arms)}
    rows = [replace(_build_row(SHARED, name, shared, columns), is_shared=True) for name in shared]
    for arm in arms:
        own = {name: found for name in sort_models(arm.models) if (found := arm.find_evaluated(name))}
        rows += [_build_row(arm.title, name, own, columns) for name in own if name not in shared]
    return rows


def _build_row(arm: str, name: str, models: Mapping[str, BySeed], columns: Sequence[str]) -> TableRow:
    before = models.get(f"M{int(name[1:]) - 1}")
    cells = tuple(_build_cell(models[name], before, column, columns) for column in columns)
    return TableRow(arm, name, len(models[name]), cells)


def _build_cell(models: BySeed, before: BySeed | None, column: str, columns: Sequence[str]) -> TableCell | None:
    is_average = column == AVERAGE and len(columns) > 1
    if is_average:
        n_tasks = len(columns) - 1  # the mean over fewer tasks is another quantity
        models = {seed: model for seed, model in models.items() if len(model.tasks) == n_tasks}
        before = {seed: model for seed, model in (before or {}).items() if len(model.tasks) == n_tasks}
    task = None if is_average else column
    estimate = estimate_accuracy(models, task)
    if estimate is None:
        return None
    found = compute_difference(models, before, task) if before else ""
    if isinstance(found, str):
        return TableCell(estimate)
    change = Change(found.mean, found.low, found.high, found.p_value, is_split=found.is_split)
    return TableCell(estimate, change)


def _correct_arrows(rows: Sequence[TableRow]) -> tuple[list[TableRow], int]:
    p_values = [cell.change.p_value for row in rows for cell in row.cells if cell and cell.change]
    adjusted = iter(adjust_by_holm(p_values))
    corrected = [
        replace(
            row,
            cells=tuple(
                replace(cell, change=replace(cell.change, p_holm=next(adjusted))) if cell and cell.change else cell
                for cell in row.cells
            ),
        )
        for row in rows
    ]
    return corrected, len(p_values)


def _build_measures(arm: ArmModels) -> list[MeasureRow]:
    rows = []
    for name in arm.names:
        models = arm.find(name)
        estimates = tuple(estimate_measure(models, measure, bounds) for measure, bounds in _MEASURES)
        if any(estimates):
            n_seeds = max(found.n_seeds for found in estimates if found)
            rows.append(MeasureRow(arm.title, name, n_seeds, estimates))
    return rows
