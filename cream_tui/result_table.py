"""Results as table rows: the same columns in `show`, the live view and the demo.

Knows results and output cells. Must not know where they are printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cream_tui.output import Cell, Column
from cream_tui.results import ModelResult, compute_accuracy_interval
from cream_tui.units import MISSING, format_count, format_interval, format_number, format_percent, format_signed
from engine.config.benchmarks import BENCHMARKS

RESULT_COLUMNS = (
    Column("model"),
    Column("accuracy\n%", "right"),
    Column("95 %\ninterval", "right", rank=3),
    Column("tau to\nprevious", "right"),
    Column("tau to\nanchor", "right"),
    Column("C in\nloss", "right", rank=2),
    Column("labels\nright %", "right", rank=1),
    Column("tokens\nchosen", "right", rank=4),
    Column("\nrejected", "right", rank=5),
)
N_TITLE_LINES = 2
_LONG_NAME = 8
_IN_DISTRIBUTION = "Where data.prompts holds train splits of these benchmarks, gains on them are in-distribution."
PREFERENCE_COLUMNS = (
    Column("model"),
    Column("preference set", is_flexible=True),
    Column("chosen first %", "right"),
    Column("95 % interval", "right"),
    Column("pairs", "right"),
)
PREFERENCE_LEGEND = (
    "chosen first: pairs whose preferred response has the higher implicit reward; ties are not right. In no accuracy "
    "above. * M0 has no implicit reward: by its mean log-likelihood."
)
_LEGEND = (
    "tau, C, labels, tokens: of the pairs that this model made for the next one; labels: of those whose sides differ "
    "in correctness."
)
STAND_IN_LEGEND = "* tau to M0's log-likelihood: M0 has no implicit reward."
# The iteration in which the previous model is M0, the reference of all rewards.
STAND_IN_ITERATION = 1


def build_result_row(model: ModelResult) -> list[str | Cell]:
    """The cells of one model, in the order of RESULT_COLUMNS."""
    return [
        Cell(model.name, "bold"),
        format_percent(model.accuracy),
        Cell(format_interval(model.interval), "dim"),
        format_signed(model.get("tau_previous")) + ("*" if has_stand_in(model) else " "),
        format_signed(model.get("tau_anchor")),
        format_number(model.get("confidence")),
        format_percent(model.get("label_accuracy")),
        format_number(model.get("chosen_n_tokens"), 1),
        format_number(model.get("rejected_n_tokens"), 1),
    ]


def build_legend(results: Iterable[ModelResult]) -> list[str]:
    """What a reader of the rows must know."""
    return [_LEGEND, STAND_IN_LEGEND] if any(map(has_stand_in, results)) else [_LEGEND]


def build_result_rows(results: Iterable[ModelResult]) -> list[list[str | Cell]]:
    """One row for each model that has anything to say."""
    return [build_result_row(model) for model in results if model.tasks or model.measures]


def build_record(model: ModelResult) -> dict[str, Any]:
    """A model for JSON, numbers in full."""
    return {
        "model": model.name,
        "accuracy": model.accuracy,
        "interval": None if model.interval is None else list(model.interval),
        "tasks": [
            {"task": task.task, "n_correct": task.n_correct, "n_items": task.n_items, "accuracy": task.accuracy}
            for task in model.tasks
        ],
        "preferences": [
            {"set": task.task, "n_correct": task.n_correct, "n_pairs": task.n_items, "accuracy": task.accuracy}
            for task in model.preferences
        ],
        "changed_share": model.changed_share,
        **{name: model.get(name) for name in sorted(model.measures)},
    }


def describe_result(model: ModelResult) -> str:
    """A model in one line of text, for a log."""
    parts = []
    if model.tasks:
        parts.append(f"accuracy {format_percent(model.accuracy)} % ({format_interval(model.interval)})")
    for title, name in (("tau to previous", "tau_previous"), ("tau to anchor", "tau_anchor")):
        if model.get(name) is not None and not (name == "tau_previous" and has_stand_in(model)):
            parts.append(f"{title} {format_signed(model.get(name))}")
    if model.get("label_accuracy") is not None:
        parts.append(f"labels right {format_percent(model.get('label_accuracy'))} %")
    return f"{model.name}  " + ("  ".join(parts) or MISSING)


def has_stand_in(model: ModelResult) -> bool:
    """Whether its tau to the previous model is one to M0's log-likelihood."""
    return model.index == STAND_IN_ITERATION and model.get("tau_previous") is not None


def build_task_rows(results: Sequence[ModelResult]) -> list[list[str | Cell]]:
    """Accuracy by task, one row per model; empty where no model has more than one task."""
    if not any(len(model.tasks) > 1 for model in results):
        return []
    names = list_tasks(results)
    rows: list[list[str | Cell]] = []
    for model in results:
        by_name = {task.task: task.accuracy for task in model.tasks}
        if by_name:
            rows.append([Cell(model.name, "bold"), *(format_percent(by_name.get(name)) for name in names)])
    return rows


def build_task_columns(results: Sequence[ModelResult]) -> list[Column]:
    """The columns of ``build_task_rows``; long names stand in two lines."""
    return [Column("model"), *(Column(f"{_break_name(name)} %", "right") for name in list_tasks(results))]


def build_task_notes(results: Sequence[ModelResult]) -> list[str]:
    """What a reader of accuracies by task must know."""
    known = [name for name in list_tasks(results) if name.removeprefix("lm_eval:") in BENCHMARKS]
    return [_IN_DISTRIBUTION] if known else []


def build_preference_rows(results: Sequence[ModelResult]) -> list[list[str | Cell]]:
    """Accuracy on each preference set with its interval, one row per model and set; M0 marked as judged otherwise."""
    rows: list[list[str | Cell]] = []
    for model in results:
        for k, task in enumerate(model.preferences):
            mark = "*" if model.index == 0 else " "
            rows.append(
                [
                    Cell("" if k else model.name, "bold"),
                    task.task,
                    format_percent(task.accuracy) + mark,
                    Cell(format_interval(compute_accuracy_interval([task])), "dim"),
                    format_count(task.n_items),
                ]
            )
    return rows


def _break_name(name: str) -> str:
    if ":" in name:
        return name.replace(":", ":\n", 1)
    return name.replace("_", "_\n", 1) if len(name) > _LONG_NAME else name


def list_tasks(results: Sequence[ModelResult]) -> list[str]:
    """Names of all tasks in the order of their first appearance."""
    return list(dict.fromkeys(task.task for model in results for task in model.tasks))
