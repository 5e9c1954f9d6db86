"""What a run found out, model by model: the numbers that tables, comparisons and the demo's sentences share.

Knows rows. Must not know how anything is shown. Model M_t has its own evaluation and, where it sampled, the measures of
iteration t: its rankings, its pairs, its labels.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from db.rows import EvaluationRow, RunMetric, StageRow

Interval = tuple[float, float]
# Which metric of which stage of iteration t describes model M_t.
_MEASURES: Mapping[str, tuple[str, ...]] = {
    "sample": ("n_responses", "truncated_rate", "distinct_share", "mean_n_tokens", "correct_rate"),
    "agree": ("tau_previous", "tau_previous_se", "tau_anchor", "consistency_rate"),
    "pair": (
        "n_pairs",
        "n_right",
        "n_inverted",
        "label_accuracy",
        "confidence",
        "chosen_n_tokens",
        "rejected_n_tokens",
        "median_margin",
    ),
}
_WANTED = frozenset(name for names in _MEASURES.values() for name in names)


@dataclass(frozen=True, slots=True)
class TaskCount:
    """How many items of a task a model got right."""

    task: str
    n_correct: int
    n_items: int

    @property
    def accuracy(self) -> float:
        return self.n_correct / self.n_items


@dataclass(frozen=True, slots=True)
class ModelResult:
    """One model of a run.

    Attributes:
        name: M0, M1, ...
        tasks: Its evaluation; empty where there is none yet.
        measures: Summaries of the iteration in which it sampled, by metric name; empty for M0 and the last model.
        items: Whether it got each (task, item id) right.
    """

    name: str
    tasks: tuple[TaskCount, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)
    items: Mapping[tuple[str, str], bool] = field(default_factory=dict)

    @property
    def index(self) -> int:
        return int(self.name[1:])

    @property
    def accuracy(self) -> float | None:
        """Mean over tasks; None without an evaluation."""
        return sum(task.accuracy for task in self.tasks) / len(self.tasks) if self.tasks else None

    @property
    def interval(self) -> Interval | None:
        """95 % interval of the accuracy: Wilson's, put together over tasks."""
        return compute_accuracy_interval(self.tasks) if self.tasks else None

    def get(self, name: str) -> float | None:
        """A measure of its iteration."""
        return self.measures.get(name)


def compute_accuracy_interval(tasks: Sequence[TaskCount]) -> Interval:
    """95 % interval of the mean accuracy over tasks; for one task exactly Wilson's.

    Source: Zou and Donner 2008, interval of a sum from the intervals of its parts (MOVER).
    """
    from engine.method.statistics import compute_wilson_interval

    mean = sum(task.accuracy for task in tasks) / len(tasks)
    below = above = 0.0
    for task in tasks:
        low, high = compute_wilson_interval(task.n_correct, task.n_items)
        below += (task.accuracy - low) ** 2
        above += (high - task.accuracy) ** 2
    if len(tasks) == 1:
        return low, high
    return mean - math.sqrt(below) / len(tasks), mean + math.sqrt(above) / len(tasks)


@dataclass(frozen=True, slots=True)
class PairedTest:
    """An exact McNemar test of two models on the items that both answered.

    Attributes:
        n_items: Shared items.
        n_first_only, n_second_only: Items that only one of them got right.
    """

    n_items: int
    n_first_only: int
    n_second_only: int
    p_value: float

    @property
    def is_significant(self) -> bool:
        return self.p_value < 0.05


def compute_paired_test(first: ModelResult, second: ModelResult) -> PairedTest | None:
    """The test of two models; None where they share no items."""
    from engine.method.statistics import compute_mcnemar

    shared = first.items.keys() & second.items.keys()
    if not shared:
        return None
    n_first = sum(first.items[item] and not second.items[item] for item in shared)
    n_second = sum(second.items[item] and not first.items[item] for item in shared)
    return PairedTest(len(shared), n_first, n_second, compute_mcnemar(n_first, n_second))


def build_results(
    stages: Iterable[StageRow], metrics: Iterable[RunMetric], evaluations: Mapping[str, Sequence[EvaluationRow]]
) -> list[ModelResult]:
    """The models of a run in order, as far as anything is known of them.

    Args:
        evaluations: The items of every finished evaluation, by model name.
    """
    measures: dict[str, dict[str, float]] = {}
    for metric in metrics:
        if metric.step == 0 and metric.name in _MEASURES.get(metric.stage, ()):
            measures.setdefault(f"M{metric.iteration}", {})[metric.name] = metric.value
    trained = {f"M{stage.iteration + 1}" for stage in stages if stage.name == "train" and stage.state == "done"}
    names = {"M0"} | trained | measures.keys() | evaluations.keys()
    return [
        _build_model(name, evaluations.get(name, ()), measures.get(name, {}))
        for name in sorted(names, key=lambda name: int(name[1:]))
    ]


def read_results(connection: sqlite3.Connection, run_id: str) -> list[ModelResult]:
    """The models of a run in order."""
    return ResultReader().read(connection, run_id)


class ResultReader:
    """Reads results again and again, but the items of a finished evaluation only once."""

    def __init__(self) -> None:
        self._items: dict[int, list[EvaluationRow]] = {}

    def read(self, connection: sqlite3.Connection, run_id: str) -> list[ModelResult]:
        """The models of a run in order."""
        from db.queries import read_evaluations, read_run_metrics, read_run_stages

        stages = read_run_stages(connection, run_id)
        evaluations: dict[str, Sequence[EvaluationRow]] = {}
        for stage in stages:
            if stage.name == "evaluate" and stage.state == "done":
                if stage.stage_id not in self._items:
                    self._items[stage.stage_id] = read_evaluations(connection, stage.stage_id)
                evaluations[find_evaluated_model(stage)] = self._items[stage.stage_id]
        return build_results(stages, read_run_metrics(connection, run_id, names=_WANTED), evaluations)


def find_evaluated_model(stage: StageRow) -> str:
    """The model that an evaluate stage evaluates, which its label names."""
    name = stage.label.rsplit(" ", 1)[-1]
    return name if name[:1] == "M" and name[1:].isdigit() else f"M{stage.iteration + 1}"


def find_last_evaluated(results: Sequence[ModelResult]) -> ModelResult | None:
    """The last model that has an accuracy."""
    return next((model for model in reversed(results) if model.tasks), None)


def _build_model(name: str, rows: Sequence[EvaluationRow], measures: Mapping[str, float]) -> ModelResult:
    items = {(row.task, row.item_id): row.correct for row in rows}
    tasks = tuple(
        TaskCount(task, sum(row.correct for row in rows if row.task == task), sum(row.task == task for row in rows))
        for task in dict.fromkeys(row.task for row in rows)
    )
    return ModelResult(name, tasks, dict(measures), items)
