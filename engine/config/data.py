"""Where supervised examples and prompts come from."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from engine.config.section import Count, PlainText, Section, refuse

SANDBOX = "sandbox"
SANDBOX_SFT_EXAMPLES = 200
_OTHER_FILES = {".json", ".csv", ".tsv", ".txt", ".parquet", ".gz", ".yaml", ".yml"}


class SourceConfig(Section):
    """One source of examples: the sandbox, a JSONL file or a `datasets` name."""

    path: Annotated[
        PlainText, Field(description="sandbox, a .jsonl file, or a name or folder that the datasets library loads")
    ]
    split: Annotated[PlainText, Field(description="split of a datasets source")] = "train"
    subset: Annotated[PlainText | None, Field(description="subset (configuration) of a datasets source")] = None

    @property
    def kind(self) -> Literal["sandbox", "jsonl", "datasets"]:
        """Which reader this source needs."""
        if self.path == SANDBOX:
            return "sandbox"
        return "jsonl" if PurePath(self.path).suffix == ".jsonl" else "datasets"

    @model_validator(mode="after")
    def _check_kind(self) -> SourceConfig:
        if PurePath(self.path).suffix.lower() in _OTHER_FILES:
            refuse("path", self.path, "is no .jsonl file: write one JSON object per line")
        if self.kind != "datasets" and self.subset is not None:
            refuse("subset", self.subset, "is only for a datasets source")
        if self.kind != "datasets" and self.split != "train":
            refuse("split", self.split, "is only for a datasets source")
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
