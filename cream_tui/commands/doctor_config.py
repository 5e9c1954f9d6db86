"""`doctor CONFIG`: what a run would meet on this machine, before hours are spent on it.

Knows the engine's checks, previews and estimates, and what a process with the tokenizer says. Must not load torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cream_tui.commands.doctor import Finding
from cream_tui.commands.run import Changes
from cream_tui.engine_call import call_engine
from cream_tui.units import format_bytes, format_count
from db.paths import find_store_root
from engine.errors import CreamError

if TYPE_CHECKING:
    from engine.artifacts import Base
    from engine.config.run import RunConfig
    from engine.runtime.machine import Gpu
    from engine.runtime.memory import StageMemory
    from engine.runtime.preview import RunPreview

T = TypeVar("T")
_EXAMINER = "engine.stages.examine"
_MEND = "Mend it in the model folder or the data file."
# Of a GPU, the driver and torch take so much before the first tensor.
_GPU_RESERVE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Place:
    """Where stages compute: cpu or cuda, the GPUs, and the processes of this machine that share a training."""

    device: str
    gpus: Sequence[Gpu]
    available_bytes: int
    n_processes: int
    is_sharded: bool


def examine_config(store: str | None, name: str, changes: Changes) -> list[Finding]:
    """What speaks for and against a run with this configuration; every problem is one of its findings.

    Raises:
        ConfigError: The configuration itself is wrong.
    """
    from engine.config.load import load_run_config

    config = load_run_config(name, overrides=changes.overrides, method=changes.method)
    findings = [Finding("run", "config", f"{config.name}  {config.method.name}, {config.iterations} iterations")]
    findings += _check(config)
    base, place = _attempt(_find_base, config), _attempt(_find_place, config)
    preview = _attempt(_preview, find_store_root(store), config)
    facts = {} if base is None else _examine(config, base)
    findings += _describe_model(config, base, facts)
    findings += _describe_data(facts)
    if place is not None:
        findings += _describe_place(config, place, preview)
        findings += [] if base is None else _describe_memory(config, base, facts, place)
    return findings + ([] if preview is None else _describe_disk(preview))


def _attempt(work: Callable[..., T], *arguments: Any) -> T | None:
    """What cannot be told is left out: why is among the checks."""
    try:
        return work(*arguments)
    except CreamError:
        return None


def _check(config: RunConfig) -> list[Finding]:
    from engine.runtime.intent import find_problems

    problems = [_complain("run", "checks", error) for error in find_problems(config)]
    return problems or [Finding("run", "checks", "files, counts and settings fit each other")]


def _find_base(config: RunConfig) -> Base | None:
    from engine.artifacts import find_base
    from engine.config.shipped import find_configs_folder

    model = config.model
    return find_base(model.kind, model.path, model.revision, configs_folder=find_configs_folder())


def _preview(root: Path, config: RunConfig) -> RunPreview:
    from engine.runtime.preview import preview_run

    return preview_run(root, config)


def _examine(config: RunConfig, base: Base) -> dict[str, Any]:
    from engine.config.load import dump

    try:
        return call_engine(_EXAMINER, json.dumps(dump(config)), str(base.folder))
    except CreamError as error:
        return {"problems": [{"name": "tokenizer", "message": error.message, "hint": error.hint}]}


def _describe_model(config: RunConfig, base: Base | None, facts: dict[str, Any]) -> list[Finding]:
    name = config.model.path or config.model.kind
    if base is None:
        return [Finding("model", "folder", f"{name} is not on this machine yet: fetched at the start (hf download)")]
    from engine.runtime.memory import read_shape

    shape, at = read_shape(base.folder), f" at commit {base.commit[:12]}" if base.commit else ""
    findings = [
        Finding("model", "folder", str(base.folder) if name == str(base.folder) else f"{name}{at}  {base.folder}"),
        Finding("model", "size", f"{shape.n_parameters / 1e6:,.1f}M parameters, {config.model.dtype}"),
    ]
    found = facts.get("tokenizer") or {}
    if found:
        context = found["context"]
        template = "the model's own" if found["has_template"] else "none: plain roles (User:, Assistant:)"
        clock = ", with a date: it stands still at 26 Jul 2024" if found["has_clock"] else ""
        findings += [
            Finding(
                "model", "tokens", f"{_count(found['n_tokens'])} known, {_count(found['n_embeddings'])} embeddings"
            ),
            Finding("model", "context", f"{_count(context)} tokens" if context else "no limit"),
            Finding("model", "template", template + clock),
            Finding("model", "special", _describe_special(found, facts)),
        ]
    if "first_prompt" in facts:
        findings.append(Finding("model", "prompt", facts["first_prompt"]))
    problems = facts.get("problems") or []
    return findings + [
        Finding("model", problem["name"], problem["message"], problem["hint"] or _MEND) for problem in problems
    ]


def _describe_special(found: dict[str, Any], facts: dict[str, Any]) -> str:
    ends = ", ".join(found["ends"]) or "none"
    begin = (
        f"{found['begin']} {facts.get('n_begin_tokens', 0)} times in a prompt" if found["begin"] else "no begin token"
    )
    return f"{begin}; ends: {ends}; pad: {found['pad']}"


def _describe_data(facts: dict[str, Any]) -> list[Finding]:
    findings = []
    for source in facts.get("sources") or []:
        left_out = f", {_count(source['n_too_long'])} longer than {source['limit']}" if source["n_too_long"] else ""
        value = f"{_count(source['n'])}, the longest {_count(source['longest'])} tokens{left_out}"
        problem = None
        if source["n_too_long"] == source["n"]:
            problem = f"Raise {source['limit']}: nothing is left." if source["limit"] else "Name another file."
        findings.append(Finding("data", source["name"], value, problem))
    return findings


def _find_place(config: RunConfig) -> Place:
    from engine.launchers import find_launcher
    from engine.runtime.machine import read_gpus, read_memory

    gpus = read_gpus() if config.resources.device != "cpu" else []
    _, available = read_memory()
    launcher = find_launcher(config.resources)
    n_processes = 1 if launcher is None else launcher.n_processes // launcher.n_machines
    is_sharded = launcher is not None and launcher.is_sharded
    return Place("cuda" if gpus else "cpu", gpus, available, n_processes, is_sharded)


def _describe_place(config: RunConfig, place: Place, preview: RunPreview | None) -> list[Finding]:
    resources, n_gpus = config.resources, len(place.gpus)
    names = ", ".join(f"{gpu.name} ({format_bytes(gpu.total_bytes)})" for gpu in place.gpus) or "none: the CPU computes"
    asks_in_vain = resources.device == "cuda" and not place.gpus
    findings = [
        Finding("resources", "gpus", names, "Set resources.device to auto or cpu." if asks_in_vain else None),
        *([Finding("resources", "sampling", f"{preview.backend}: {preview.backend_reason}")] if preview else []),
    ]
    n_processes = place.n_processes
    too_many = place.device == "cuda" and n_processes > n_gpus
    adapter = config.adapter
    trained = "all weights" if adapter is None else f"{adapter.kind}, rank {adapter.rank}"
    findings.append(
        Finding(
            "resources",
            "training",
            f"{trained}; {resources.launcher}, {n_processes} process{'es' if n_processes > 1 else ''} here",
            f"Set resources.processes to at most {n_gpus}." if too_many else None,
        )
    )
    return findings


def _describe_memory(config: RunConfig, base: Base, facts: dict[str, Any], place: Place) -> list[Finding]:
    from engine.runtime.memory import estimate_stages, read_shape

    lengths = _find_lengths(facts.get("sources") or [], config)
    if lengths is None:
        return []
    stages = estimate_stages(
        config,
        read_shape(base.folder),
        lengths,
        device=place.device,
        n_processes=place.n_processes,
        is_sharded=place.is_sharded,
    )
    stages += _estimate_reward_models(config, lengths.prompt + config.sampling.max_new_tokens, place)
    return [_judge_memory(stage, config, place) for stage in stages]


def _estimate_reward_models(config: RunConfig, length: int, place: Place) -> list[StageMemory]:
    """Those on this machine; their conversations are counted by M0's tokenizer, which is near enough."""
    from engine.artifacts import find_base_folder
    from engine.config.scorers import REWARD_MODEL, list_reward_models
    from engine.runtime.memory import estimate_reward_model, read_shape

    stages = []
    for name in list_reward_models(config.method.scorers):
        settings = config.scoring.find_reward_model(name)
        folder = find_base_folder("hf", settings.path, settings.revision, configs_folder=Path())
        if folder is not None and (folder / "config.json").is_file():
            shape = read_shape(folder)
            stages.append(
                estimate_reward_model(REWARD_MODEL + name, settings, shape, length=length, device=place.device)
            )
    return stages


def _name_batch_tokens(stage: str) -> str:
    _, is_reward_model, name = stage.partition("reward_model:")
    if is_reward_model:
        return f"scoring.reward_models.{name}.batch_tokens"
    return f"{'scoring' if stage == 'score' else 'sampling'}.batch_tokens"


def _find_lengths(sources: Sequence[dict[str, Any]], config: RunConfig) -> Any:
    from engine.runtime.memory import Lengths

    longest: dict[str, int] = {}
    for source in sources:
        kind = source["name"].split()[0]
        longest[kind] = max(longest.get(kind, 0), source["longest"])
    if "data.prompts" not in longest and "data.sft" not in longest:
        return None
    judge = longest["judge"] + config.sampling.max_new_tokens if "judge" in longest else 0
    return Lengths(longest.get("data.prompts", 0), longest.get("evaluation", 0), longest.get("data.sft", 0), judge)


def _judge_memory(stage: StageMemory, config: RunConfig, place: Place) -> Finding:
    parts = f"weights {format_bytes(stage.weights)}"
    parts += f", Adam {format_bytes(stage.optimiser)}" if stage.optimiser else ""
    parts += f", batch {format_bytes(stage.other)}"
    parts += f", process {format_bytes(stage.process)}" if stage.process else ""
    is_training = stage.name.startswith("train")
    if place.device == "cuda":
        room, where = min(gpu.total_bytes for gpu in place.gpus) - _GPU_RESERVE_BYTES, "on each GPU"
        needed = stage.total
    else:
        room, where = place.available_bytes, "of memory"
        needed = stage.total * (place.n_processes if is_training else 1)
    if stage.name in ("sample", "evaluate", "judge") and _samples_elsewhere(config):
        return Finding("memory", stage.name, f"{config.sampling.backend} holds the model")
    hint = None
    if needed > room:
        hint = f"{format_bytes(room)} {where} can be had. " + (
            "More gradient_accumulation_steps, gradient_checkpointing, an adapter or more GPUs need less."
            if is_training
            else f"A smaller {_name_batch_tokens(stage.name)} needs less."
        )
    return Finding("memory", stage.name, f"{format_bytes(needed)} {where} ({parts})", hint)


def _samples_elsewhere(config: RunConfig) -> bool:
    from engine.runtime.sampling_backend import choose_backend

    return choose_backend(config).name != "hf"


def _describe_disk(preview: RunPreview) -> list[Finding]:
    from cream_tui.views.preview import describe_disk

    needed = (preview.checkpoint_bytes or 0) + (preview.snapshot_bytes or 0)
    problem = "Free some space, or name another store with --store DIR." if needed > preview.free_bytes else None
    return [Finding("disk", "models", describe_disk(preview), problem)]


def _complain(section: str, name: str, error: CreamError) -> Finding:
    return Finding(section, name, error.message, error.hint or "Mend the configuration.")


def _count(number: int | None) -> str:
    return format_count(number)
