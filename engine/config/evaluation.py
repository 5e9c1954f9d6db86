"""What each model is evaluated on: tasks that are answered, and preference sets that are ranked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from engine.config.benchmarks import BENCHMARKS, PREFERENCE_BENCHMARKS, Benchmark
from engine.config.data import FILE_ENDINGS, SANDBOX, SourceConfig, is_data_file
from engine.config.section import Count, PlainText, Section, refuse
from engine.errors import find_nearest

LM_EVAL = "lm_eval:"
PREFERENCE = "preference:"


@dataclass(frozen=True, slots=True)
class TaskSource:
    """Where the rows of a task lie.

    Attributes:
        name: What rows and metrics call the task.
        rows: None for a task of lm_eval, whose rows are that library's own affair.
        n_rows: How many rows there must be; None where nothing is known of it.
    """

    name: str
    rows: SourceConfig | None
    n_rows: int | None = None

    @property
    def lm_eval_name(self) -> str:
        """The name by which lm_eval knows a task of its own."""
        return self.name.removeprefix(LM_EVAL)


class TaskConfig(Section):
    """A benchmark, or a task of one's own, with rows in another place than the default one."""

    task: Annotated[PlainText, Field(description="the task's name, such as arc_easy")]
    path: Annotated[PlainText, Field(description="a file of rows, or a folder or name that the datasets library loads")]
    split: Annotated[PlainText | None, Field(description="split of a datasets source; null: the benchmark's")] = None
    subset: Annotated[PlainText | None, Field(description="subset of a datasets source")] = None

    @model_validator(mode="after")
    def _check(self) -> TaskConfig:
        if self.task == SANDBOX or self.task.startswith((LM_EVAL, PREFERENCE)) or "/" in self.task:
            refuse("task", self.task, "is no name for a task with a path")
        if is_data_file(self.path) and (self.split or self.subset):
            refuse("path", self.path, "is a file and has no splits or subsets")
        return self


def _tag(value: Any) -> str:
    return "<mapping>" if isinstance(value, Mapping | TaskConfig) else "<text>"


Task = Annotated[Annotated[PlainText, Tag("<text>")] | Annotated[TaskConfig, Tag("<mapping>")], Discriminator(_tag)]


class EvaluationConfig(Section):
    """Held-out tasks, answered greedily by every model of the run, and pairs that its implicit reward ranks."""

    tasks: Annotated[
        tuple[Task, ...],
        Field(
            strict=False,
            description=f"each sandbox, a benchmark ({', '.join(BENCHMARKS)}), a file of rows "
            f"({', '.join(FILE_ENDINGS)}), lm_eval:NAME, or a mapping {{task, path, split, subset}}",
        ),
    ] = ()
    items: Annotated[Count | None, Field(description="items per task or set, from the first; null: all")] = None
    max_new_tokens: Annotated[Count | None, Field(description="tokens per response; null: as in sampling")] = None
    batch_tokens: Annotated[
        Count, Field(description="tokens of one batch, prompts and responses, padding included")
    ] = 32768
    preference_sets: Annotated[
        tuple[PlainText, ...],
        Field(
            strict=False,
            description=f"each {', '.join(PREFERENCE_BENCHMARKS)} or a file of rows with prompt, chosen, rejected and, "
            "if there are any, subset",
        ),
    ] = ()
    lm_eval_tasks: Annotated[
        PlainText | None, Field(description="folder with own task files (YAML) for lm_eval:NAME")
    ] = None

    @property
    def sources(self) -> tuple[TaskSource, ...]:
        """Where the rows of each task lie, in order."""
        return tuple(map(find_task_source, self.tasks))

    @property
    def preference_sources(self) -> tuple[TaskSource, ...]:
        """Where the rows of each preference set lie, in order."""
        return tuple(map(_find_preference_source, self.preference_sets))

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """The files that it reads, each with the key that names it."""
        named = (("evaluation.tasks", self.sources), ("evaluation.preference_sets", self.preference_sources))
        rows = ((key, source.rows) for key, sources in named for source in sources)
        return tuple((key, source.path) for key, source in rows if source is not None and source.kind == "file")

    @field_validator("tasks")
    @classmethod
    def _check_tasks(cls, tasks: tuple[str | TaskConfig, ...]) -> tuple[str | TaskConfig, ...]:
        for task in tasks:
            if isinstance(task, str) and not _is_known(task):
                nearest = find_nearest(task, [SANDBOX, *BENCHMARKS])
                guess = f"; did you mean {nearest}?" if nearest else ""
                raise ValueError(
                    f"{task!r} is neither sandbox nor a .jsonl file with answers, nor one of {', '.join(BENCHMARKS)}, "
                    f"lm_eval:NAME or another file of rows ({', '.join(FILE_ENDINGS[1:])}){guess}"
                )
        _refuse_equal_names([source.name for source in map(find_task_source, tasks)], "tasks")
        return tasks

    @field_validator("preference_sets")
    @classmethod
    def _check_preference_sets(cls, sets: tuple[str, ...]) -> tuple[str, ...]:
        for name in sets:
            if name not in PREFERENCE_BENCHMARKS and not is_data_file(name):
                raise ValueError(f"{name!r} is neither reward_bench nor a file of rows ({', '.join(FILE_ENDINGS)})")
        _refuse_equal_names([source.name for source in map(_find_preference_source, sets)], "preference sets")
        return sets

    @model_validator(mode="after")
    def _check_lm_eval(self) -> EvaluationConfig:
        if self.lm_eval_tasks is not None and not any(source.rows is None for source in self.sources):
            refuse("lm_eval_tasks", self.lm_eval_tasks, "is only for a task lm_eval:NAME, and there is none")
        return self


def find_task_source(task: str | TaskConfig) -> TaskSource:
    """Return where the rows of a valid task lie."""
    if isinstance(task, TaskConfig):
        return _find_own_source(task)
    if task in BENCHMARKS:
        return _find_benchmark(task, BENCHMARKS[task])
    if task.startswith(LM_EVAL):
        return TaskSource(task, None)
    return TaskSource(PurePath(task).stem, SourceConfig(path=task))


def _find_own_source(task: TaskConfig) -> TaskSource:
    if is_data_file(task.path):
        return TaskSource(task.task, SourceConfig(path=task.path))
    known = BENCHMARKS.get(task.task)
    split = task.split or (known.split if known else "test")
    if known is None or task.path != known.path:
        return TaskSource(task.task, SourceConfig(path=task.path, split=split, subset=task.subset))
    subset = task.subset or known.subset
    rows = SourceConfig(path=task.path, split=split, subset=subset, revision=known.revision)
    return TaskSource(task.task, rows, known.n_rows if (split, subset) == (known.split, known.subset) else None)


def _find_preference_source(name: str) -> TaskSource:
    if name in PREFERENCE_BENCHMARKS:
        return _find_benchmark(name, PREFERENCE_BENCHMARKS[name])
    return TaskSource(PurePath(name).stem, SourceConfig(path=name))


def _find_benchmark(name: str, known: Benchmark) -> TaskSource:
    rows = SourceConfig(path=known.path, split=known.split, subset=known.subset, revision=known.revision)
    return TaskSource(name, rows, known.n_rows)


def _is_known(task: str) -> bool:
    is_lm_eval = task.startswith(LM_EVAL) and bool(task.removeprefix(LM_EVAL).strip())
    return task == SANDBOX or task in BENCHMARKS or is_lm_eval or is_data_file(task)


def _refuse_equal_names(names: list[str], what: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two {what} are named {name!r}; rename one file")
