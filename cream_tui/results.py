"""What a run found out, model by model: the numbers that tables, comparisons and the demo's sentences share.

Knows rows. Must not know how anything is shown. Model M_t has its own evaluation and, where it sampled, the measures of
iteration t: its rankings, its pairs, its labels.
"""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from db.labels import PREFERENCE_TASK, find_model_name
from db.rows import RunMetric, StageRow

Interval = tuple[float, float]
Item = tuple[str, str]
SIGNIFICANCE = 0.05
# Standard errors to either side that hold 95 % of a normal distribution.
NORMAL_95 = 1.959964
# Which metric of which stage of iteration t describes model M_t.
_MEASURES: Mapping[str, tuple[str, ...]] = {
    "sample": (
        "n_responses",
        "truncated_rate",
        "empty_rate",
        "distinct_share",
        "duplicate_prompt_rate",
        "distinct_answers_share",
        "majority_answer_share",
        "distinct_2",
        "mean_token_logprob",
        "extraction_failure_rate",
        "mean_n_tokens",
        "correct_rate",
    ),
    "score": (
        "noise_floor_tau",
        "noise_floor_tau_float32",
        "judge_parse_failure_rate",
        "judge_self_agreement",
        "kl_base",
        "kl_base_token",
        "kl_previous",
        "kl_previous_token",
        "mean_loglik_base",
        "reward_sd",
        "reward_length_correlation",
        "tie_rate",
        "reward_auc",
        "anchor_auc",
    ),
    "agree": (
        "tau_previous",
        "tau_previous_se",
        "tau_anchor",
        "tau_anchor_se",
        "consistency_rate",
        "n_defined",
        "n_undefined",
        "tau_saturated_share",
        "low_consistency_share",
    ),
    "pair": (
        "n_pairs",
        "n_right",
        "n_inverted",
        "n_both_right",
        "n_both_wrong",
        "label_accuracy",
        "label_auc_previous",
        "label_auc_anchor",
        "anchor_agreement_share",
        "vote_agreement_share",
        "confidence",
        "low_confidence_share",
        "chosen_n_tokens",
        "rejected_n_tokens",
        "length_gap",
        "median_margin",
        "median_margin_top2",
    ),
    "train": ("final_z", "final_target_z", "final_bounded_z", "chosen_shift", "rejected_shift"),
}
# Which metric of a model's own evaluation, by the name that tells it from its samples' metric.
_EVALUATION_MEASURES: Mapping[str, str] = {
    "extraction_failure_rate": "evaluation_extraction_failure_rate",
    "truncated_rate": "evaluation_truncated_rate",
}
# The metric of the training that made a model.
_CHANGED_SHARE = "changed_share"
_WANTED = (
    frozenset(name for names in _MEASURES.values() for name in names) | _EVALUATION_MEASURES.keys() | {_CHANGED_SHARE}
)
# Two means of the same counts may differ in the last bits.
_LEAST_DIFFERENCE = 1e-9


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
        measures: Summaries of the iteration in which it sampled, by metric name, and of its evaluation; M0 and the last
            model have the latter alone.
        items: Whether it got each (task, item id) right.
        changed_share: Share of its saved weights that differ from those it was trained from; None where unknown.
        preferences: Its preference sets, which are in no mean and no test: they are ranked, not answered.
    """

    name: str
    tasks: tuple[TaskCount, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)
    items: Mapping[Item, bool] = field(default_factory=dict)
    changed_share: float | None = None
    preferences: tuple[TaskCount, ...] = ()

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
        n_first_only, n_second_only: Items that only one of them got right, of all tasks together.
        first_accuracy, second_accuracy: Mean over tasks, on the shared items.
    """

    n_items: int
    n_first_only: int
    n_second_only: int
    p_value: float
    first_accuracy: float
    second_accuracy: float

    @property
    def is_split(self) -> bool:
        """Whether the mean over tasks and all items together point to different sides: then tasks disagree."""
        difference = self.first_accuracy - self.second_accuracy
        by_task = 0 if abs(difference) < _LEAST_DIFFERENCE else math.copysign(1, difference)
        return by_task != (self.n_first_only > self.n_second_only) - (self.n_first_only < self.n_second_only)

    @property
    def is_significant(self) -> bool:
        """Whether it carries a claim."""
        return self.p_value < SIGNIFICANCE and not self.is_split

    @property
    def is_fall(self) -> bool:
        """Whether it carries the claim that the second is worse."""
        return self.is_significant and self.second_accuracy < self.first_accuracy


def compute_paired_test(first: ModelResult, second: ModelResult) -> PairedTest | None:
    """The test of two models; None where they share no items."""
    from engine.method.statistics import compute_mcnemar

    first, second = restrict_to_shared([first, second])
    if first.accuracy is None or second.accuracy is None:
        return None
    rights = [{item for item, is_right in model.items.items() if is_right} for model in (first, second)]
    n_first, n_second = len(rights[0] - rights[1]), len(rights[1] - rights[0])
    p_value = compute_mcnemar(n_first, n_second)
    return PairedTest(len(first.items), n_first, n_second, p_value, first.accuracy, second.accuracy)


def adjust_by_holm(p_values: Sequence[float]) -> list[float]:
    """The p-values, in their order, corrected for their number.

    Source: Holm 1979, a simple sequentially rejective multiple test procedure.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, k in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[k]))
        adjusted[k] = highest
    return adjusted


def restrict_to_shared(models: Sequence[ModelResult]) -> list[ModelResult]:
    """The models with no other items than those that all of them answered."""
    names = list(models[0].items)
    if all(list(model.items) == names for model in models):  # as most have: no need to look for each item in each
        return list(models)
    shared = set(names).intersection(*(model.items for model in models[1:]))
    return [model if len(model.items) == len(shared) else restrict_items(model, shared) for model in models]


def restrict_items(model: ModelResult, kept: Set[Item]) -> ModelResult:
    """The model with these items alone, its tasks counted anew."""
    items = {item: is_right for item, is_right in model.items.items() if item in kept}
    return replace(model, items=items, tasks=_count_tasks(items))


def build_results(
    stages: Iterable[StageRow], metrics: Iterable[RunMetric], evaluations: Mapping[str, Mapping[Item, bool]]
) -> list[ModelResult]:
    """The models of a run in order, as far as anything is known of them.

    Args:
        evaluations: Whether each item of every finished evaluation is right, by model name.
    """
    measures: dict[str, dict[str, float]] = {}
    changed: dict[str, float] = {}
    for metric in metrics:
        if metric.step == 0 and metric.name in _MEASURES.get(metric.stage, ()):
            measures.setdefault(f"M{metric.iteration}", {})[metric.name] = metric.value
        elif metric.step == 0 and metric.stage == "evaluate" and metric.name in _EVALUATION_MEASURES:
            model = find_model_name(metric.label) or f"M{metric.iteration + 1}"
            measures.setdefault(model, {})[_EVALUATION_MEASURES[metric.name]] = metric.value
        elif metric.step == 0 and (metric.stage, metric.name) == ("train", _CHANGED_SHARE):
            changed[f"M{metric.iteration + 1}"] = metric.value
    stages = list(stages)
    trainings = [stage for stage in stages if stage.name == "train"]
    trained = {f"M{stage.iteration + 1}" for stage in trainings if stage.state == "done"}
    if "M0" in evaluations and trainings and all(stage.iteration > 0 for stage in trainings):
        evaluations = {**evaluations, "M1": evaluations["M0"]}  # without SFT M1 is M0
    names = {"M0"} | trained | measures.keys() | evaluations.keys()
    return [
        _build_model(name, evaluations.get(name, {}), measures.get(name, {}), changed.get(name))
        for name in sorted(names, key=lambda name: int(name[1:]))
    ]


def read_results(connection: sqlite3.Connection, run_id: str) -> list[ModelResult]:
    """The models of a run in order."""
    return ResultReader().read(connection, run_id)


class ResultReader:
    """Reads results again and again, but the items of a finished evaluation only once."""

    def __init__(self) -> None:
        self._items: dict[str, dict[Item, bool]] = {}  # by the key of the stage: numbers of removed ones come again
        self._names: dict[Item, Item] = {}  # hundreds of evaluations have the same items: each is kept once

    def read(self, connection: sqlite3.Connection, run_id: str) -> list[ModelResult]:
        """The models of a run in order."""
        from db.queries import read_run_metrics, read_run_stages

        stages = read_run_stages(connection, run_id)
        evaluations: dict[str, Mapping[Item, bool]] = {}
        for stage in stages:
            if stage.name == "evaluate" and stage.state == "done":
                model = find_evaluated_model(stage)
                evaluations[model] = {**evaluations.get(model, {}), **self._read_items(connection, stage)}
        return build_results(stages, read_run_metrics(connection, run_id, names=_WANTED), evaluations)

    def _read_items(self, connection: sqlite3.Connection, stage: StageRow) -> dict[Item, bool]:
        from db.queries import read_outcomes

        if stage.key not in self._items:
            found = read_outcomes(connection, stage.stage_id)
            self._items[stage.key] = {self._names.setdefault(item, item): is_right for item, is_right in found.items()}
        return self._items[stage.key]


def find_evaluated_model(stage: StageRow) -> str:
    """The model that an evaluate stage evaluates, which its label names."""
    return find_model_name(stage.label) or f"M{stage.iteration + 1}"


def find_last_evaluated(results: Sequence[ModelResult]) -> ModelResult | None:
    """The last model that has an accuracy."""
    return next((model for model in reversed(results) if model.tasks), None)


def _build_model(
    name: str, found: Mapping[Item, bool], measures: Mapping[str, float], changed_share: float | None
) -> ModelResult:
    items = {item: is_right for item, is_right in found.items() if not item[0].startswith(PREFERENCE_TASK)}
    ranked = {(task.removeprefix(PREFERENCE_TASK), i): ok for (task, i), ok in found.items() if (task, i) not in items}
    return ModelResult(name, _count_tasks(items), dict(measures), items, changed_share, _count_tasks(ranked))


def _count_tasks(items: Mapping[Item, bool]) -> tuple[TaskCount, ...]:
    """Right and all items by task, in the order of their first appearance."""
    n_items = Counter(task for task, _ in items)
    n_correct = Counter(task for (task, _), is_right in items.items() if is_right)
    return tuple(TaskCount(task, n_correct[task], n) for task, n in n_items.items())
