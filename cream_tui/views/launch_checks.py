"""What a run would meet on this machine: model, data, disk, memory, its name, the runs beside it.

Knows the engine's readers of files and the store's names. Must not know Textual. Each check is one line; a fault of the
settings themselves is found by ``views.launch`` and only told here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cream_tui.units import format_bytes, format_count
from cream_tui.views.launch import Review
from db.overview import RunOverview
from engine.errors import CreamError

if TYPE_CHECKING:
    from engine.artifacts import ModelSize
    from engine.config.data import SourceConfig
    from engine.config.evaluation import EvaluationConfig
    from engine.config.run import RunConfig

Status = Literal["good", "warning", "bad", "note"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line; a note only tells, a warning lets the run start after a second look, a bad one does not."""

    name: str
    status: Status
    text: str


@dataclass(frozen=True, slots=True)
class Machine:
    """What is free: bytes of the store's disk, of memory, and of the emptiest GPU (None without one)."""

    disk_bytes: int
    memory_bytes: int
    gpu_bytes: int | None = None


def read_machine(root: Path) -> Machine:
    """What is free now."""
    import psutil

    from engine.runtime.preview import find_free_bytes

    return Machine(find_free_bytes(root), psutil.virtual_memory().available, _read_free_gpu_bytes())


def list_checks(
    review: Review, machine: Machine, connection: sqlite3.Connection | None, runs: Sequence[RunOverview]
) -> tuple[Check, ...]:
    """All checks of a draft, the settings first; the others only where those are sound."""
    if not review.is_sound:
        n = len(review.problems)
        words = (
            review.problems[0].message if n == 1 else f"{n} settings are wrong; the first: {review.problems[0].message}"
        )
        return (Check("settings", "bad", words),)
    config = review.configs[0]
    n_changed = len(review.differences)
    size, model = _check_model(config)
    checks = [
        Check("settings", "good", f"{n_changed} changed" if n_changed else "those of the base"),
        model,
        *_check_data(config),
        _check_disk(review, size, machine),
        *_check_memory(config, size, machine),
        *_check_names(review, connection),
        *_check_others(runs),
    ]
    return tuple(checks)


def _check_model(config: RunConfig) -> tuple[ModelSize | None, Check]:
    from engine.artifacts import measure_model

    model, folder = config.model, _find_folder(config)
    if folder is None:
        return None, Check("model", "warning", f"{model.path} is not on this machine: fetched at the start")
    try:
        size = measure_model(folder)
    except CreamError as error:
        return None, Check("model", "bad", error.message)
    has_tokenizer = any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json"))
    words = f"{_format_parameters(size.n_parameters)} parameters in {model.dtype}"
    if not has_tokenizer:
        return size, Check("model", "warning", f"{words}, and no tokenizer.json beside them")
    return size, Check("model", "good", words)


def _check_data(config: RunConfig) -> list[Check]:
    data = config.data
    n = config.iterations * data.prompts_per_iteration
    checks = []
    if data.prompts.is_per_iteration:
        checks.append(Check("prompts", "good", f"{format_count(n)} needed, from a source for each iteration"))
    elif data.prompts.kind == "file":
        n_found = _count_prompts(data.prompts, _stamp(Path(data.prompts.path)))
        checks.append(Check("prompts", "good", f"{format_count(n_found)} distinct, {format_count(n)} needed"))
    elif data.prompts.kind == "sandbox":
        checks.append(Check("prompts", "good", f"{format_count(n)} problems of the sandbox"))
    else:
        checks.append(Check("prompts", "note", f"{data.prompts.path}: loaded by the run itself"))
    if not config.evaluation.tasks:
        checks.append(Check("evaluation", "warning", "no task: the models will have no accuracy"))
    else:
        checks += _check_tasks(config.evaluation)
    return checks


def _check_tasks(evaluation: EvaluationConfig) -> list[Check]:
    """Items of the tasks that lie in files, and the names of those that the run itself loads."""
    tasks = [(task.name, task.rows) for task in evaluation.sources if task.rows is None or task.rows.kind != "sandbox"]
    counts = [
        f"{name} {format_count(_count_items(Path(rows.path), _stamp(Path(rows.path))))}"
        for name, rows in tasks
        if rows is not None and rows.kind == "file"
    ]
    loaded = [name for name, rows in tasks if rows is None or rows.kind == "datasets"]
    checks = [Check("evaluation", "good", f"items: {', '.join(counts)}")] if counts else []
    return checks + ([Check("evaluation", "note", f"{', '.join(loaded)}: loaded by the run itself")] if loaded else [])


def _check_disk(review: Review, size: ModelSize | None, machine: Machine) -> Check:
    """Every checkpoint of every run, as if nothing were reused; the dry run counts exactly."""
    from engine.runtime.memory import count_checkpoint_bytes, count_snapshot_bytes, read_shape

    free = f"{format_bytes(machine.disk_bytes)} free"
    folder = _find_folder(review.configs[0])
    if size is None or folder is None:
        return Check("disk", "note", free)
    shape = read_shape(folder)
    models = sum(
        (config.iterations + 1) * (count_checkpoint_bytes(shape, config) + size.other_bytes)
        for config in review.configs
    )
    need = models + 2 * max(count_snapshot_bytes(shape, config) for config in review.configs)
    words = f"at most {format_bytes(need)}, {free}"
    if need > machine.disk_bytes:
        return Check("disk", "warning", f"{words}: too little if nothing is reused")
    return Check("disk", "good", words)


def _check_memory(config: RunConfig, size: ModelSize | None, machine: Machine) -> list[Check]:
    from engine.runtime.preview import find_largest_stage

    folder = _find_folder(config)
    stage = None if size is None or folder is None else find_largest_stage(folder, config)
    if stage is None:
        return []
    is_gpu = config.resources.device != "cpu" and machine.gpu_bytes is not None
    free = machine.gpu_bytes if is_gpu and machine.gpu_bytes is not None else machine.memory_bytes
    if config.resources.device == "cuda" and machine.gpu_bytes is None:
        return [Check("memory", "warning", "resources.device is cuda, and no GPU is seen")]
    words = f"~{format_bytes(stage.total)} ({stage.name}), {format_bytes(free)} free"
    return [Check("memory", "warning" if stage.total > free else "good", words + " on a GPU" * is_gpu)]


def _find_folder(config: RunConfig) -> Path | None:
    from engine.artifacts import find_base_folder
    from engine.config.shipped import find_configs_folder

    model = config.model
    return find_base_folder(model.kind, model.path, model.revision, configs_folder=find_configs_folder())


def _check_names(review: Review, connection: sqlite3.Connection | None) -> list[Check]:
    from db.plan_reads import find_free_name

    if connection is None:
        return [Check("name", "good", "the first run of a new store")]
    renamed = [
        (config.name, free)
        for config in review.configs
        if (free := find_free_name(connection, config.name)) != config.name
    ]
    if not renamed:
        return [Check("name", "good", "free" if len(review.configs) == 1 else "all free")]
    name, free = renamed[0]
    more = f", and {len(renamed) - 1} more" if len(renamed) > 1 else ""
    return [Check("name", "note", f"taken: {name} becomes {free}{more}")]


def _check_others(runs: Sequence[RunOverview]) -> list[Check]:
    n = sum(run.state == "running" for run in runs)
    if not n:
        return []
    words = "1 run computes" if n == 1 else f"{n} runs compute"
    return [Check("machine", "note", f"{words} now; a queued run waits")]


@lru_cache(maxsize=64)
def _count_prompts(source: SourceConfig, stamp: object) -> int:
    """Distinct prompts of a file that was found sound."""
    from engine.tasks.sources import parse_prompts, read_source_rows

    return len(parse_prompts(read_source_rows(source, "data.prompts")))


@lru_cache(maxsize=64)
def _count_items(path: Path, stamp: object) -> int:
    """Distinct items of a file that was found sound."""
    from engine.tasks.benchmarks import parse_items
    from engine.tasks.files import read_rows

    return len(parse_items(read_rows(path)))


def _stamp(path: Path) -> object:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def _read_free_gpu_bytes() -> int | None:
    """Free bytes of the emptiest NVIDIA GPU; None where there is none, or no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
        devices = [pynvml.nvmlDeviceGetHandleByIndex(k) for k in range(pynvml.nvmlDeviceGetCount())]
        return max((int(pynvml.nvmlDeviceGetMemoryInfo(device).free) for device in devices), default=None)
    except pynvml.NVMLError:
        return None


def _format_parameters(n: int) -> str:
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return str(n)
