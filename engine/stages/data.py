"""Prompts, examples and items of a stage, from whatever source the configuration names."""

from __future__ import annotations

import json
from pathlib import Path

from db.rows import PromptRow
from engine.compute.hub_datasets import read_hub_rows
from engine.config.data import SourceConfig
from engine.config.run import RunConfig
from engine.errors import TaskError
from engine.keys import derive_seed
from engine.records import Prompt, SftExample
from engine.tasks import sources


def load_examples(config: RunConfig) -> list[SftExample]:
    """Return the demonstrations for SFT, at most ``data.sft_examples``."""
    source, limit = config.data.sft, config.data.sft_examples
    if source is None:
        return []
    if source.kind == "sandbox":
        return sources.read_sandbox_examples(derive_seed(config.seed, "sft examples"), limit or 200)
    return sources.parse_examples(_read_rows(source))[:limit]


def load_prompts(config: RunConfig, iteration: int) -> list[Prompt]:
    """Return the fresh prompts of an iteration."""
    source, n = config.data.prompts, config.data.prompts_per_iteration
    if source.kind == "sandbox":
        drawn = sources.read_sandbox_prompts(derive_seed(config.seed, "prompts"), "prompts", iteration * n)
        return drawn[-n:]
    prompts = sources.parse_prompts(_read_rows(source))
    sources.check_enough(len(prompts), iterations=config.iterations, n=n)
    return sources.slice_iteration(prompts, iteration=iteration, n=n)


def load_items(task: str, *, n: int | None) -> list[Prompt]:
    """Return the evaluation items of a task; the sandbox's are one fixed set, never among the prompts."""
    if task == sources.SANDBOX:
        return sources.read_sandbox_prompts(0, "test", n or 500)
    items = sources.parse_prompts(sources.read_jsonl(Path(task)), need_answer=True)
    if not items:
        raise TaskError(f"evaluation.tasks: {task} holds no items")
    return items[:n]


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


def _read_rows(source: SourceConfig) -> list[tuple[str, dict[str, object]]]:
    if source.kind == "jsonl":
        return [(place, dict(row)) for place, row in sources.read_jsonl(Path(source.path))]
    return read_hub_rows(source.path, split=source.split, subset=source.subset)
