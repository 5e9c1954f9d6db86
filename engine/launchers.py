"""How a training is spread over processes: accelerate's configuration file, how many there are, what they need.

Light: imports neither torch nor accelerate. The main path enters at ``check_training`` before a run starts, and at
``find_launcher`` in a train stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from engine.artifacts import find_base_folder, read_tensors
from engine.backends import list_gpus
from engine.config.adapter import ALL_LINEAR, QLORA_HINT, AdapterConfig
from engine.config.resources import ResourcesConfig
from engine.config.run import RunConfig
from engine.config.shipped import find_configs_folder
from engine.config.training import OptimiserConfig
from engine.config.yaml_loader import load_mapping
from engine.errors import BackendError, CheckpointError, ConfigError, find_nearest

SINGLE = "single"
SHARDED = ("FSDP", "DEEPSPEED")
OUTPUT_HEADS = frozenset({"lm_head", "embed_out"})


@dataclass(frozen=True, slots=True)
class Launcher:
    """A configuration file of accelerate, its ``distributed_type``, and the processes on all its machines."""

    file: Path
    kind: str
    n_processes: int
    n_machines: int

    @property
    def is_sharded(self) -> bool:
        """Whether the processes split the model among them."""
        return self.kind in SHARDED


def check_training(config: RunConfig) -> None:
    """Refuse what a training of this run would fail of, as far as this machine knows it.

    Raises:
        ConfigError, BackendError: a batch cannot be shared by the processes, or something is not installed or not here.
    """
    if config.adapter is not None:
        _check_adapter(config, config.adapter)
    launcher = find_launcher(config.resources)
    if launcher is None:
        return
    if launcher.is_sharded and config.adapter is not None:
        raise ConfigError(
            f"resources.launcher = {config.resources.launcher} splits a model whose weights are all trained; with an "
            "adapter every process needs M0 whole",
            hint="use resources.launcher=ddp or single",
            key="resources.launcher",
            value=config.resources.launcher,
        )
    sections: list[tuple[str, OptimiserConfig]] = [("sft", config.sft)] if config.data.sft is not None else []
    sections += [("training", config.training)] if config.iterations else []
    for name, section in sections:
        if section.count_passes(launcher.n_processes) is None:
            raise ConfigError(
                f"{name}.batch_size = {section.batch_size} cannot be shared by {launcher.n_processes} processes with "
                f"{name}.gradient_accumulation_steps = {section.gradient_accumulation_steps}",
                hint=f"make {name}.batch_size a multiple of both, or set resources.processes to a divisor of it",
                key=f"{name}.batch_size",
                value=section.batch_size,
            )


def find_launcher(resources: ResourcesConfig) -> Launcher | None:
    """Return how training is launched; None where the stage's own process trains alone.

    Raises:
        ConfigError, BackendError: the file is no such configuration, or it asks for what is not here.
    """
    name = resources.launcher
    if name == SINGLE:
        if resources.processes not in (None, 1):
            raise _refuse_processes(resources, f"needs a launcher, and resources.launcher is {SINGLE}", "use ddp")
        return None
    is_shipped = Path(name).suffix == ""
    file = find_configs_folder() / "accelerate" / f"{name}.yaml" if is_shipped else Path(name)
    if not file.is_file():
        raise ConfigError(f"resources.launcher: {file} is no file", key="resources.launcher", value=name)
    content = load_mapping(file)
    kind, n_machines = str(content.get("distributed_type")), content.get("num_machines", 1)
    if kind == "None" or not isinstance(n_machines, int):
        raise ConfigError(
            f"resources.launcher: {file} is no configuration of accelerate: it names no distributed_type",
            hint="write one with `accelerate config --config_file FILE`",
            key="resources.launcher",
            value=name,
        )
    gpus = [] if resources.device == "cpu" else list_gpus()
    _check_kind(resources, kind, gpus)
    return Launcher(file, kind, _count_processes(resources, content.get("num_processes"), gpus, n_machines), n_machines)


def _check_kind(resources: ResourcesConfig, kind: str, gpus: Sequence[str]) -> None:
    if kind == "DEEPSPEED" and find_spec("deepspeed") is None:
        raise BackendError(
            f"resources.launcher = {resources.launcher} needs deepspeed, which is not installed",
            hint="pip install deepspeed; or use resources.launcher=fsdp",
        )
    if kind in SHARDED and not gpus:
        raise BackendError(
            f"resources.launcher = {resources.launcher} splits a model over GPUs, and there is none to use here",
            hint="use resources.launcher=single, or ddp with resources.processes",
        )


def _count_processes(resources: ResourcesConfig, in_file: object, gpus: Sequence[str], n_machines: int) -> int:
    n_processes = resources.processes
    if n_processes is None and isinstance(in_file, int) and in_file > 0:
        n_processes = in_file
    if n_processes is None and n_machines == 1:
        n_processes = len(gpus) or None
    if n_processes is None:
        here = "there are no GPUs to count; set it" if n_machines == 1 else "set it to the processes of all machines"
        raise _refuse_processes(resources, "tells not how many there are", here)
    if n_processes % n_machines:
        raise _refuse_processes(resources, f"is no multiple of num_machines = {n_machines}", "set a multiple")
    if gpus and n_processes // n_machines > len(gpus):
        raise _refuse_processes(
            resources,
            f"takes a GPU for each of {n_processes // n_machines} processes, and {len(gpus)} can be used here",
            "lower it, or show more GPUs in CUDA_VISIBLE_DEVICES",
        )
    return n_processes


def _refuse_processes(resources: ResourcesConfig, reason: str, hint: str) -> ConfigError:
    shown = "null" if resources.processes is None else resources.processes
    return ConfigError(
        f"resources.processes = {shown} {reason}", hint=hint, key="resources.processes", value=resources.processes
    )


def _check_adapter(config: RunConfig, adapter: AdapterConfig) -> None:
    if adapter.is_quantised and find_spec("bitsandbytes") is None:
        raise BackendError("adapter.kind = qlora needs bitsandbytes, which is not installed", hint=QLORA_HINT)
    if adapter.targets == (ALL_LINEAR,):
        return
    model = config.model
    base = find_base_folder(model.kind, model.path, model.revision, configs_folder=find_configs_folder())
    try:
        names = {tensor.name for tensor in read_tensors(base)} if base is not None else set()
    except CheckpointError:  # told by the checks of the model
        return
    layers = {name.split(".")[-2] for name in names if name.endswith(".weight") and "." in name} - OUTPUT_HEADS
    for target in adapter.targets:
        if target in OUTPUT_HEADS:
            raise ConfigError(
                f"adapter.targets: {target} is the output head, which cannot be adapted",
                hint="leave it out",
                key="adapter.targets",
                value=target,
            )
        if names and target.split(".")[-1] not in layers:
            nearest = find_nearest(target, layers)
            raise ConfigError(
                f"adapter.targets: the model has no layer {target}" + (f"; did you mean {nearest}?" if nearest else ""),
                hint=f"its layers: {', '.join(sorted(layers))}",
                key="adapter.targets",
                value=target,
            )
