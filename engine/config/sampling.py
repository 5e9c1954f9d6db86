"""How responses are sampled."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.config.section import MAX_COUNT, Count, Positive, Section


class SamplingConfig(Section):
    """How the policy samples the group of responses of a prompt."""

    n: Annotated[int, Field(ge=2, le=MAX_COUNT, description="responses per prompt")] = 5
    temperature: Annotated[Positive, Field(description="sampling temperature")] = 0.8
    top_p: Annotated[float, Field(gt=0, le=1, description="nucleus: probability mass kept; 1 keeps all")] = 0.95
    max_new_tokens: Annotated[Count, Field(description="tokens; a longer response is cut and marked truncated")] = 768
    backend: Annotated[
        Literal["auto", "hf"], Field(description="what generates; auto takes the fastest one installed")
    ] = "auto"
    batch_tokens: Annotated[
        Count, Field(description="tokens of one batch, prompts and responses, padding included")
    ] = 32768
