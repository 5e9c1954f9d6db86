"""Prompts, examples and items of a stage, from whatever source the configuration names."""

from __future__ import annotations

import json

from db.rows import PromptRow
from engine.compute.hub_datasets import read_hub_rows
from engine.config.data import SourceConfig
from engine.config.evaluation import TaskConfig, TaskSource, find_task_source
from engine.config.run import RunConfig
from engine.errors import TaskError
from engine.keys import derive_seed
from engine.records import Prompt, SftExample
from engine.tasks import sources
from engine.tasks.benchmarks import parse_items
from engine.tasks.files import PlacedRow
from engine.tasks.preferences import PreferenceItem, parse_preferences
from engine.tasks.shares import Share, share_prompts


def load_examples(config: RunConfig) -> list[SftExample]:
    """Return the demonstrations for SFT, at most ``data.sft_examples``."""
    source, limit = config.data.sft, config.data.sft_examples
    if source is None:
        return []
    if source.kind == "sandbox":
        return sources.read_sandbox_examples(derive_seed(config.seed, "sft examples"), limit or 200)
    return sources.parse_examples(read_any_rows(source, "data.sft"))[:limit]


def load_prompts(config: RunConfig, iteration: int) -> list[Prompt]:
    """Return the fresh prompts of an iteration."""
    return list(load_share(config, iteration).prompts)


def load_share(config: RunConfig, iteration: int) -> Share:
    """Return the fresh prompts of an iteration and what its source held."""
    data, n = config.data, config.data.prompts_per_iteration
    if data.prompts.kind == "sandbox":
        drawn = sources.read_sandbox_prompts(derive_seed(config.seed, "prompts"), "prompts", iteration * n)
        return Share(tuple(drawn[-n:]), n, 0, 0)
    # A source of one iteration says nothing of later ones; one that all share must have enough for all.
    iterations = iteration if data.prompts.is_per_iteration else config.iterations
    return share_prompts(data, lambda source: read_any_rows(source, "data.prompts"), iterations=iterations)[
        iteration - 1
    ]


def load_items(task: str | TaskConfig, *, n: int | None) -> list[Prompt]:
    """Return the evaluation items of a task; the sandbox's are one fixed set, never among the prompts."""
    source = find_task_source(task)
    if source.rows is None or source.rows.kind == "sandbox":
        return sources.read_sandbox_prompts(0, "test", n or 500)
    return parse_items(read_task_rows(source, "evaluation.tasks"))[:n]


def load_pairs(source: TaskSource, *, n: int | None) -> list[PreferenceItem]:
    """Return the pairs of a preference set."""
    return parse_preferences(read_task_rows(source, "evaluation.preference_sets"))[:n]


def read_task_rows(source: TaskSource, key: str) -> list[PlacedRow]:
    """Return the rows of a task that is not lm_eval's.

    Raises:
        TaskError: they cannot be read, or a benchmark of the hub has not the rows that it is known to have.
    """
    assert source.rows is not None
    rows = read_any_rows(source.rows, key)
    if source.n_rows is not None and len(rows) != source.n_rows:
        raise TaskError(
            f"{key}: {source.name} has {source.n_rows} rows in {source.rows.path}, split {source.rows.split}, and "
            f"{len(rows)} were found",
            hint=f"the data set was changed: name a copy of it, as {{task: {source.name}, path: FILE}}",
        )
    return rows


def build_prompt_row(prompt: Prompt) -> PromptRow:
    """Return the row of a prompt."""
    turns = [{"role": message.role, "content": message.content} for message in prompt.messages]
    return PromptRow(
        prompt_id=prompt.prompt_id,
        text=prompt.text,
        messages_json=json.dumps(turns, ensure_ascii=False),
        answer=prompt.answer,
        task=prompt.task,
    )


def read_any_rows(source: SourceConfig, key: str) -> list[PlacedRow]:
    """Return the rows of a file or of a ``datasets`` source with their columns under our names."""
    if source.kind == "file":
        return sources.read_source_rows(source, key)
    return sources.name_columns(read_hub_rows(source), source.columns, key)
