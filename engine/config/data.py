"""Where supervised examples and prompts come from."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from engine.config.section import Count, PlainText, Section, refuse

SANDBOX = "sandbox"
SANDBOX_SFT_EXAMPLES = 200
FILE_ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
# Stands for the number of an iteration, 1, 2, ..., in the path or split of the prompts.
ITERATION = "{t}"
_OTHER_FILES = {".txt", ".gz", ".zip", ".yaml", ".yml", ".xlsx", ".arrow"}


def is_data_file(name: str) -> bool:
    """Return whether a name is that of a file we read ourselves, by its ending."""
    return PurePath(name).suffix.lower() in FILE_ENDINGS


class ColumnsConfig(Section):
    """Which columns of a source hold what; a dot leads into nested ones."""

    prompt: Annotated[PlainText | None, Field(description="column of the prompt's text; null: prompt")] = None
    messages: Annotated[
        PlainText | None, Field(description="column of the chat messages; null: messages, else conversations")
    ] = None
    response: Annotated[PlainText | None, Field(description="column of the response; null: response")] = None
    answer: Annotated[PlainText | None, Field(description="column of the gold answer; null: answer")] = None

    def list_named(self) -> list[tuple[str, str]]:
        """Return what is mapped as (field, column)."""
        return [(field, column) for field, column in self.model_dump().items() if column is not None]


class SourceConfig(Section):
    """One source of examples: the sandbox, a file or a `datasets` name."""

    path: Annotated[
        PlainText,
        Field(
            description="sandbox, a file (.jsonl, .json, .csv, .tsv, .parquet), or a name or folder that the datasets "
            "library loads; in prompts, {t} stands for the iteration: one source each"
        ),
    ]
    split: Annotated[PlainText, Field(description="split of a datasets source")] = "train"
    subset: Annotated[PlainText | None, Field(description="subset (configuration) of a datasets source")] = None
    revision: Annotated[
        PlainText | None, Field(description="branch, tag or commit of a data set of the hub; null: its default branch")
    ] = None
    columns: Annotated[
        ColumnsConfig,
        BeforeValidator(lambda value: {} if value is None else value),
        Field(description="columns that are called otherwise"),
    ] = ColumnsConfig()

    @property
    def kind(self) -> Literal["sandbox", "file", "datasets"]:
        """Which reader this source needs."""
        if self.path == SANDBOX:
            return "sandbox"
        return "file" if is_data_file(self.path) else "datasets"

    @property
    def is_per_iteration(self) -> bool:
        """Whether each iteration has a source of its own."""
        return ITERATION in self.path or ITERATION in self.split

    def choose(self, iteration: int) -> SourceConfig:
        """Return the source of an iteration >= 1: itself where all share it."""
        t = str(iteration)
        update = {"path": self.path.replace(ITERATION, t), "split": self.split.replace(ITERATION, t)}
        return self.model_copy(update=update)

    @model_validator(mode="after")
    def _check_kind(self) -> SourceConfig:
        if PurePath(self.path).suffix.lower() in _OTHER_FILES:
            refuse("path", self.path, f"is none of the files that are read: {', '.join(FILE_ENDINGS)}")
        for key in ("subset", "revision"):
            value = getattr(self, key)
            if self.kind != "datasets" and value is not None:
                refuse(key, value, "is only for a datasets source")
        if self.kind != "datasets" and self.split != "train":
            refuse("split", self.split, "is only for a datasets source")
        if self.kind == "sandbox" and self.columns.list_named():
            refuse("columns", dict(self.columns.list_named()), "is not for the sandbox, which has no columns")
        return self


def read_source(value: Any) -> Any:
    """Return the long form of a source given as plain text."""
    return {"path": value} if isinstance(value, str) else value


def _read_optional_source(value: Any) -> Any:
    return None if value == "none" else read_source(value)


class DataConfig(Section):
    """Examples for SFT and prompts for the iterations."""

    sft: Annotated[
        SourceConfig | None,
        BeforeValidator(_read_optional_source),
        Field(description="examples that turn M0 into M1; null or none: M1 is M0"),
    ]
    prompts: Annotated[
        SourceConfig, BeforeValidator(read_source), Field(description="prompts that the iterations share out")
    ]
    prompts_per_iteration: Annotated[Count, Field(description="fresh prompts per iteration")]
    sft_examples: Annotated[
        Count | None, Field(description="SFT examples taken, from the first; null: all (sandbox: 200)")
    ] = None
    max_prompt_tokens: Annotated[Count, Field(description="tokens; longer prompts are left out and counted")] = 2048

    @model_validator(mode="before")
    @classmethod
    def _fill_sandbox_examples(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("sft_examples") is not None:
            return value
        source = read_source(value.get("sft"))
        path = source.get("path") if isinstance(source, dict) else getattr(source, "path", None)
        if path == SANDBOX:
            return {**value, "sft_examples": SANDBOX_SFT_EXAMPLES}
        return value

    @model_validator(mode="after")
    def _check_iterations(self) -> DataConfig:
        if self.sft is not None and self.sft.is_per_iteration:
            refuse("sft", self.sft.path, "has {t}, and SFT comes before the iterations; {t} is for data.prompts")
        return self
