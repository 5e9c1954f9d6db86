"""Which model M0 is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.config.section import PlainText, Section, refuse


class ModelConfig(Section):
    """The model that a run starts from."""

    kind: Annotated[
        Literal["sandbox", "hf"], Field(description="sandbox: the embedded tiny model; hf: a transformers causal LM")
    ]
    path: Annotated[
        PlainText | None, Field(description="hub name or folder of the model; only for kind hf, and needed there")
    ] = None
    revision: Annotated[
        PlainText | None, Field(description="branch, tag or commit of a hub model; null: its default branch")
    ] = None
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"], Field(description="number format of the forward pass")
    ] = "float32"

    @model_validator(mode="after")
    def _check_kind(self) -> ModelConfig:
        if self.kind == "hf" and self.path is None:
            refuse("path", None, "is needed for kind hf: a hub name or a model folder")
        for key in ("path", "revision"):
            value = getattr(self, key)
            if self.kind == "sandbox" and value is not None:
                refuse(key, value, "does not go with kind sandbox; use kind hf")
        return self
