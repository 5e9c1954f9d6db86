"""What a run may use of the machine. How, not what: nothing here enters a stage's key."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.config.section import Count, Section


class ResourcesConfig(Section):
    """What a run may use of the machine."""

    threads: Annotated[Count, Field(description="torch threads per process")] = 1
    device: Annotated[Literal["auto", "cpu", "cuda"], Field(description="auto: a CUDA GPU where there is one")] = "auto"
