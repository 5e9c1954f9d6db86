"""What this machine has for a run: memory, and GPUs with theirs. Reads, starts nothing, imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from engine.backends import list_gpus

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU that may be used, by NVML's name; bytes in all and free now."""

    name: str
    total_bytes: int
    free_bytes: int


def read_memory() -> tuple[int, int]:
    """Return total and available bytes of memory; a container has no more than its limit."""
    memory = psutil.virtual_memory()
    try:
        limit = int(_CGROUP_LIMIT.read_text())
    except (OSError, ValueError):  # no container, or one without a limit
        limit = memory.total
    return min(memory.total, limit), min(memory.available, limit)


def read_gpus() -> list[Gpu]:
    """Return the GPUs that ``CUDA_VISIBLE_DEVICES`` leaves; none without NVIDIA's driver."""
    names = list_gpus()
    if not names:
        return []
    import pynvml

    gpus = []
    try:
        for name in names:
            find = pynvml.nvmlDeviceGetHandleByIndex if name.isdecimal() else pynvml.nvmlDeviceGetHandleByUUID
            handle = find(int(name) if name.isdecimal() else name)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            gpus.append(Gpu(str(pynvml.nvmlDeviceGetName(handle)), int(memory.total), int(memory.free)))
    except pynvml.NVMLError:
        return gpus
    return gpus
