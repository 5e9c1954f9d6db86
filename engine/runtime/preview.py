"""What a run would do: its stages, what the store has of them, samples, disk and time. Starts nothing.

Reads the store and the files that the configuration names; reaches neither network nor torch. The main path enters at
``preview_run``.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from db.plan_reads import FinishedStage, KnownStage, find_free_name, read_finished_stages, read_known_stages
from db.reading import has_store, open_reader
from db.rows import RunRow
from engine.artifacts import Base, find_base, find_context_length, measure_model, read_model_config
from engine.backends import list_gpus
from engine.config.load import config_from_json
from engine.config.run import RunConfig
from engine.config.shipped import find_configs_folder
from engine.errors import ConfigError
from engine.plan import StageSpec, count_responses, list_replayed
from engine.runtime.intent import plan_stages
from engine.runtime.lineage import Lineage
from engine.runtime.memory import (
    Lengths,
    StageMemory,
    count_checkpoint_bytes,
    count_snapshot_bytes,
    estimate_stages,
    read_shape,
)
from engine.runtime.sampling_backend import choose_backend, resolve_backend

_MODEL_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class StagePreview:
    """Attributes:
    status: new, reused (another run computed it), shared (another run computes it now), or begun (rows are there).
    run: The other run's name; None where it is new or the run was removed.
    seconds: Expected time; None where no finished stage of the store is like it; 0 where it is reused.
    """

    label: str
    name: str
    iteration: int
    status: str
    run: str | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class RunPreview:
    """Attributes:
    name: What the run would be called.
    base_folder: M0; None where a hub model is not on this machine yet, which leaves what depends on it unknown.
    n_prompts, n_responses: Those that would be sampled; of these stages none is computed yet.
    n_models: Checkpoints that would be written.
    checkpoint_bytes: All of them; snapshot_bytes: at most, while a training goes on; free_bytes: of the store's disk.
    memory: The stage that takes most of it, at most; None where the model is not on this machine.
    backend, backend_reason: What samples, and why.
    seconds: Of all stages; None where one is unknown.
    """

    name: str
    method: str
    seed: int
    iterations: int
    base_folder: str | None
    stages: tuple[StagePreview, ...]
    n_prompts: int
    n_responses: int
    max_tokens: int
    n_models: int
    checkpoint_bytes: int | None
    snapshot_bytes: int | None
    free_bytes: int
    memory: StageMemory | None
    backend: str
    backend_reason: str
    seconds: float | None

    @property
    def n_computed(self) -> int:
        """Stages that another run has computed."""
        return sum(stage.status == "reused" for stage in self.stages)


def preview_run(root: Path, config: RunConfig, *, reuse: bool = True) -> RunPreview:
    """Return what ``start_run`` would do with this configuration; a store need not exist yet.

    Raises:
        ConfigError, CheckpointError: A file or the model's folder cannot be read.
    """
    choice, config, model = choose_backend(config), resolve_backend(config), config.model
    base = find_base(model.kind, model.path, model.revision, configs_folder=find_configs_folder())
    preview = preview_plan(root, config, base, Lineage(salt=None if reuse else "preview"))
    return replace(preview, backend_reason=choice.reason)


def preview_fork(root: Path, run: RunRow, config: RunConfig, lineage: Lineage) -> RunPreview:
    """Return what a fork would do; configuration and past are those of ``prepare_fork``."""
    return preview_plan(root, config, Base(Path(run.base_folder), run.base_digest), lineage)


def preview_plan(root: Path, config: RunConfig, base: Base | None, lineage: Lineage) -> RunPreview:
    """Return what a run with this configuration and past would do; ``base`` is None where M0 is not on this machine."""
    digest = "unknown" if base is None else base.digest
    specs = plan_stages(config, lineage, base or Base(Path(), "unknown"))
    known, finished, name = _read_store(root, specs, digest, config.name)
    clock = StageClock(finished)
    stages = tuple(_preview_stage(spec, known.get(spec.key), clock) for spec in specs)
    fresh = [spec for spec, stage in zip(specs, stages, strict=True) if stage.status in ("new", "begun")]
    samples = [spec for spec in fresh if spec.name == "sample"]
    n_models = sum(spec.name == "train" for spec in fresh)
    n_by_stage = [
        spec.config.data.prompts_per_iteration * count_responses(spec.config, spec.iteration) for spec in samples
    ]
    seconds = [stage.seconds for stage in stages]
    known_seconds = [value for value in seconds if value is not None]
    return RunPreview(
        name=name,
        method=config.method.name,
        seed=config.seed,
        iterations=config.iterations,
        base_folder=None if base is None else str(base.folder),
        stages=stages,
        n_prompts=sum(spec.config.data.prompts_per_iteration for spec in samples),
        n_responses=sum(n_by_stage),
        max_tokens=sum(n * spec.config.sampling.max_new_tokens for n, spec in zip(n_by_stage, samples, strict=True)),
        n_models=n_models,
        checkpoint_bytes=None if base is None else n_models * _count_checkpoint_bytes(base.folder, config),
        snapshot_bytes=None if base is None else _count_snapshot_bytes(fresh, base.folder, config),
        memory=None if base is None else find_largest_stage(base.folder, config),
        free_bytes=find_free_bytes(root),
        backend=config.sampling.backend,
        backend_reason=choose_backend(config).reason,
        seconds=sum(known_seconds) if len(known_seconds) == len(seconds) else None,
    )


def find_free_bytes(root: Path) -> int:
    """Return the free bytes of the disk that holds the store, or will hold it."""
    root = Path(root).absolute()
    return shutil.disk_usage(next(folder for folder in (root, *root.parents) if folder.exists())).free


def _count_checkpoint_bytes(folder: Path, config: RunConfig) -> int:
    return count_checkpoint_bytes(read_shape(folder), config) + measure_model(folder).other_bytes


def _count_snapshot_bytes(fresh: Sequence[StageSpec], folder: Path, config: RunConfig) -> int:
    """Return the bytes of two snapshots, since the next is whole before the last one goes; 0 without a training."""
    trains = any(spec.name == "train" for spec in fresh)
    return 2 * count_snapshot_bytes(read_shape(folder), config) if trains else 0


def find_largest_stage(folder: Path, config: RunConfig) -> StageMemory | None:
    """Return the stage that takes most memory, if texts are as long as the settings and the model allow."""
    limit = find_context_length(read_model_config(folder)) or config.data.max_prompt_tokens
    prompt = max(1, min(config.data.max_prompt_tokens, limit - config.sampling.max_new_tokens))
    lengths = Lengths(prompt, prompt if config.evaluation.tasks else 0, min(limit, config.sft.max_length))
    device = "cuda" if config.resources.device != "cpu" and list_gpus() else "cpu"
    stages = estimate_stages(config, read_shape(folder), lengths, device=device)
    return max(stages, key=lambda stage: stage.total, default=None)


def _read_store(
    root: Path, specs: Sequence[StageSpec], digest: str, name: str
) -> tuple[dict[str, KnownStage], list[FinishedStage], str]:
    if not has_store(root):
        return {}, [], name
    with closing(open_reader(root)) as c:
        return (
            read_known_stages(c, [spec.key for spec in specs]),
            read_finished_stages(c, digest),
            find_free_name(c, name),
        )


def _preview_stage(spec: StageSpec, known: KnownStage | None, clock: StageClock) -> StagePreview:
    status, run = "new", None
    if known is not None and known.state == "done":
        status, run = "reused", known.run
    elif known is not None and known.state == "running":
        status, run = "shared", known.run
    elif known is not None and known.n_done:
        status = "begun"
    seconds = 0.0 if status == "reused" else clock.estimate(spec)
    return StagePreview(spec.label, spec.name, spec.iteration, status, run, seconds)


class StageClock:
    """Expects of a stage the rate of a finished one of its kind: the most like it in work, then in iteration.

    Small stages are mostly overhead, so that the rate of one says little of a large one.
    """

    def __init__(self, finished: Sequence[FinishedStage]) -> None:
        self.rates: dict[object, dict[tuple[float, int], float]] = {}
        for stage in finished:  # newest last: it stays
            config = _parse_config(stage.config_json)
            if config is not None:
                kind, work = _classify(stage.label, stage.iteration, config)
                self.rates.setdefault(kind, {})[work, stage.iteration] = stage.seconds / work

    def estimate(self, spec: StageSpec) -> float | None:
        """Return the expected seconds of a stage; None where no finished one is like it."""
        kind, work = _classify(spec.label, spec.iteration, spec.config)
        known = self.rates.get(kind)
        if not known:
            return None
        nearest = min(known, key=lambda other: (abs(math.log(other[0] / work)), other[1] != spec.iteration))
        return known[nearest] * work


def _classify(label: str, iteration: int, config: RunConfig) -> tuple[tuple[object, ...], float]:
    """Return the kind of a stage and how much it has to do; stages of one kind differ in time by their work alone."""
    kind, data = _MODEL_NUMBER.sub("", label), config.data
    if kind.startswith("train") and "SFT" in kind:
        source = data.sft if data.sft_examples is None else None
        return (kind, source), config.sft.epochs * (data.sft_examples or 1)
    if kind.startswith("evaluate"):
        evaluation = config.evaluation
        tasks = evaluation.preference_sets if "preference" in kind else evaluation.tasks
        return (kind, tasks if evaluation.items is None else None), len(tasks) * (evaluation.items or 1)
    n, share = count_responses(config, iteration), 1 + config.training.replay * bool(list_replayed(config, iteration))
    factor = {"sample": n, "score": n, "train": share * config.training.epochs}
    return (kind,), data.prompts_per_iteration * factor.get(kind.split()[0], 1)


@cache
def _parse_config(text: str) -> RunConfig | None:
    try:
        return config_from_json(text)
    except ConfigError:  # of a version with other keys: no help here
        return None
