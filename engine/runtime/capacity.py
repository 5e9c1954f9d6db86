"""How many runs this machine can work on at once, and which GPU is free for the next. Torch-free.

Knows cores, GPUs and ``$CREAM_SLOTS``. Must not know studies.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from db.rows import Lease
from engine.backends import VISIBLE_DEVICES, list_gpus
from engine.config.run import RunConfig
from engine.runtime.process import SLOTS_VARIABLE, read_slots


def count_slots(configs: Iterable[RunConfig], *, asked: int = 1) -> int:
    """Return how many runs may work on this machine at once: ``$CREAM_SLOTS``, else what it has room for.

    That is a GPU each, or ``resources.threads`` cores each without GPUs or with device cpu. A run that spreads over
    all GPUs is alone.

    Args:
        configs: of runs; the one that leaves least room counts.
        asked: a person wants so many; only ``$CREAM_SLOTS`` says no.

    Raises:
        ConfigError: ``$CREAM_SLOTS`` is no whole number above 0.
    """
    if os.environ.get(SLOTS_VARIABLE):
        return read_slots()
    return max(asked, min((_count_for(config) for config in configs), default=1))


def uses_gpu(config: RunConfig) -> bool:
    """Whether a run with this configuration computes on a GPU of this machine."""
    return config.resources.device != "cpu" and config.resources.ray.address is None and bool(list_gpus())


def spreads_over_gpus(config: RunConfig) -> bool:
    """Whether a run with this configuration takes several GPUs, or may."""
    vllm = config.sampling.vllm
    is_spread = config.sampling.backend != "hf" and vllm.tensor_parallel * vllm.data_parallel > 1
    return config.resources.launcher != "single" or is_spread


def find_free_gpu(gpus: Sequence[str], leases: Iterable[Lease]) -> str | None:
    """Return the first of these GPUs that no holder of the leases has for itself; None where there is none.

    A holder that was given no GPU of its own counts as on the first.
    """
    taken = {name.strip() for lease in leases for name in (_read_gpus(lease.pid) or gpus[0]).split(",")} if gpus else ()
    return next((gpu for gpu in gpus if gpu not in taken), None)


def _count_for(config: RunConfig) -> int:
    if uses_gpu(config):
        return 1 if spreads_over_gpus(config) else len(list_gpus())
    return max(1, len(os.sched_getaffinity(0)) // config.resources.threads)


def _read_gpus(pid: int) -> str | None:
    """Return the GPUs that a process of ours was started with; None where it was given none or is gone."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    values = dict(entry.decode(errors="replace").partition("=")[::2] for entry in entries if b"=" in entry)
    return values.get(VISIBLE_DEVICES) or None
