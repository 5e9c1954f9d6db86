"""Tasks of EleutherAI's lm-evaluation-harness on a model that is already loaded. The only place that knows lm_eval.

Its own prompts, few-shot examples and metrics are used as they are; its chat templates are not. Main path:
``run_lm_eval_task``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.errors import BackendError, CreamError, TaskError, find_nearest

# The metrics that say of one item whether it is right, the first that a task has counts.
_RIGHT_OR_WRONG = ("exact_match", "acc", "em")
_MAX_BATCH = 256
_CONTEXT = 2048  # few tasks have longer prompts, and none fills the contexts of newer models


@dataclass(frozen=True, slots=True)
class LmEvalItem:
    """One item. ``extracted`` is what the task's filter made of the response, or the choice that was most likely."""

    item_id: str
    prompt: str
    response: str
    extracted: str | None
    gold: str
    correct: bool


@dataclass(frozen=True, slots=True)
class LmEvalResult:
    """Items, empty where no metric of the task is right or wrong; ``metrics`` are the task's own, by name."""

    items: tuple[LmEvalItem, ...]
    metrics: Mapping[str, float]


def choose_batch_size(context: int | None, batch_tokens: int) -> int:
    """Return how many sequences of a full context fit a batch: lm_eval counts sequences, not tokens."""
    return max(1, min(_MAX_BATCH, batch_tokens // min(context or _CONTEXT, _CONTEXT)))


def run_lm_eval_task(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    *,
    batch_size: int,
    limit: int | None,
    folder: str | None,
) -> LmEvalResult:
    """Return what a task, or a group of tasks together, says of a model.

    ``folder`` holds task files of one's own, which name their data from there; for as long as this runs it is the
    process's current folder.

    Raises:
        BackendError: lm_eval is not installed.
        TaskError: it knows no such task, or cannot run it; carries the library's own reason.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise BackendError(
            f"lm_eval:{name} needs lm_eval, which is not installed", hint="pip install 'cream-tui[lm-eval]'"
        ) from error
    try:
        # Its index of 14,000 tasks takes seconds; a task of one's own does without it.
        manager = TaskManager(include_path=folder, include_defaults=False) if folder is not None else None
        if manager is None or name not in manager.all_tasks:
            manager = TaskManager(include_path=folder)
        check_task_name(name, manager.all_tasks)
        with chdir(folder or Path.cwd()):
            found: dict[str, Any] = simple_evaluate(
                model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, backend="causal"),
                tasks=[name],
                limit=limit,
                task_manager=manager,
                bootstrap_iters=0,
                log_samples=True,
            )
    except (CreamError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a task file, its data set and the hub client raise almost anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TaskError(
            f"lm_eval cannot run {name}: {reason}", hint="check the task's file and its data, and the network"
        ) from error
    return LmEvalResult(_collect_items(found["samples"]), _collect_metrics(found["results"], name))


def check_task_name(name: str, known: Sequence[str]) -> None:
    """Raise a TaskError with the nearest name where lm_eval does not know a task."""
    if name not in known:
        nearest = find_nearest(name, known)
        raise TaskError(
            f"evaluation.tasks: lm_eval has no task {name}" + (f"; did you mean {nearest}?" if nearest else ""),
            hint="own task files lie in evaluation.lm_eval_tasks; `lm-eval ls tasks` lists the others",
        )


def _collect_items(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[LmEvalItem, ...]:
    """Return each item once: of several filters the first counts; items of a group carry their task's name."""
    items: dict[str, LmEvalItem] = {}
    for task, rows in samples.items():
        for row in rows:
            item_id = str(row["doc_id"]) if len(samples) == 1 else f"{task}/{row['doc_id']}"
            is_right = _read_correct(row)
            if is_right is not None and item_id not in items:
                items[item_id] = _build_item(item_id, row, is_right)
    return tuple(items.values())


def _read_correct(row: Mapping[str, Any]) -> bool | None:
    metric = next((name for name in _RIGHT_OR_WRONG if name in row["metrics"]), None)
    value = None if metric is None else row[metric]
    return bool(value) if isinstance(value, bool | int | float) and value in (0, 1) else None


def _build_item(item_id: str, row: Mapping[str, Any], correct: bool) -> LmEvalItem:
    arguments, filtered = row["arguments"], row["filtered_resps"]
    prompt = str(arguments[0][0])
    if len(arguments) > 1 and isinstance(filtered[0], tuple | list):  # a choice by its log-likelihood
        choices = [str(argument[1]).strip() for argument in arguments]
        best = max(range(len(filtered)), key=lambda k: filtered[k][0])
        target = row["target"]
        gold = choices[target] if isinstance(target, int) and target < len(choices) else str(target)
        return LmEvalItem(item_id, prompt, choices[best], choices[best], gold, correct)
    extracted = str(filtered[0])
    return LmEvalItem(item_id, prompt, str(row["resps"][0][0]), extracted, str(row["target"]), correct)


def _collect_metrics(results: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, float]:
    """Return the metrics of the task or group itself, without the name of a filter that does nothing."""
    found = {}
    for key, value in results.get(name, {}).items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and "_stderr" not in key and key not in ("alias", "sample_len"):
            found[key.replace(",none", "").replace(",", ":")] = float(value)
    return found
