"""What a run may use of the machine. How, not what: nothing here enters a stage's key."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from engine.config.section import Count, PlainText, Section, Size

LAUNCHERS = ("single", "ddp", "fsdp", "deepspeed")
LAUNCHER_FILES = (".yaml", ".yml", ".json")


def _check_launcher(name: str) -> str:
    if name not in LAUNCHERS and not name.endswith(LAUNCHER_FILES):
        raise ValueError(f"{name!r} is neither one of {', '.join(LAUNCHERS)} nor a configuration file of accelerate")
    return name


class RayConfig(Section):
    """A Ray cluster that samples and scores; training and the store stay with the run's own processes."""

    address: Annotated[
        PlainText | None,
        Field(
            description="null: no Ray; local: a cluster of its own on this machine; auto: the one that this machine "
            "belongs to; else HOST:PORT"
        ),
    ] = None
    actors: Annotated[Count, Field(description="processes that each hold the model and take batches in turn")] = 1
    gpus_per_actor: Annotated[Size, Field(description="GPUs of each actor; 0: its threads alone")] = 1


class ResourcesConfig(Section):
    """What a run may use of the machine."""

    threads: Annotated[Count, Field(description="torch threads per process")] = 1
    device: Annotated[Literal["auto", "cpu", "cuda"], Field(description="auto: a CUDA GPU where there is one")] = "auto"
    launcher: Annotated[
        PlainText,
        AfterValidator(_check_launcher),
        Field(
            description="how training is spread over processes: single, ddp, fsdp, deepspeed, or a configuration file "
            "of accelerate (.yaml)"
        ),
    ] = "single"
    processes: Annotated[
        Count | None, Field(description="processes of a training; null: those of the launcher's file, else a GPU each")
    ] = None
    ray: Annotated[RayConfig, Field(description="a Ray cluster that samples and scores")] = RayConfig()
