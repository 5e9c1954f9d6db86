"""What each model is evaluated on."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated

from pydantic import Field, field_validator

from engine.config.section import Count, PlainText, Section


class EvaluationConfig(Section):
    """Held-out tasks, answered greedily by every model of the run."""

    tasks: Annotated[
        tuple[PlainText, ...], Field(strict=False, description="each sandbox, or a .jsonl file with answers")
    ] = ()
    items: Annotated[Count | None, Field(description="items per task, from the first; null: all")] = None
    max_new_tokens: Annotated[Count | None, Field(description="tokens per response; null: as in sampling")] = None
    batch_tokens: Annotated[
        Count, Field(description="tokens of one batch, prompts and responses, padding included")
    ] = 32768

    @field_validator("tasks")
    @classmethod
    def _check_tasks(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        stems = [PurePath(task).stem for task in tasks]
        for task, stem in zip(tasks, stems, strict=True):
            if task != "sandbox" and PurePath(task).suffix != ".jsonl":
                raise ValueError(f"{task!r} is neither sandbox nor a .jsonl file with answers")
            if stems.count(stem) > 1:
                raise ValueError(f"two tasks are named {stem!r}; rename one file")
        return tasks
