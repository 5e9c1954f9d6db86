"""What a run's processes take of the machine, sampled beside the work. Torch-free.

Knows processes and GPUs. Must not know runs or the store. A machine without NVIDIA's library has no GPU here.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import psutil

from db.rows import UsageSample

SAMPLE_S = 2.0
_VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


class UsageMeter:
    """Measures one process and all below it; CPU time is counted from one sample to the next."""

    def __init__(self, pid: int, *, has_gpu: bool) -> None:
        self._root = psutil.Process(pid)
        self._devices = _Devices() if has_gpu else None
        self._cpu_s: dict[psutil.Process, float] = {}
        self._sampled_at = time.monotonic()
        self._count_processes()

    def sample(self) -> UsageSample:
        """Return what is taken now, and of the CPU since the last sample or the start."""
        before, since = self._cpu_s, self._sampled_at
        rss_bytes = self._count_processes()
        used_s = sum(max(0.0, total - before.get(process, 0.0)) for process, total in self._cpu_s.items())
        cpu_percent = 100.0 * used_s / max(self._sampled_at - since, 1e-3)
        gpu = _Reading() if self._devices is None else self._devices.read()
        return UsageSample(cpu_percent, rss_bytes, gpu.percent, gpu.used_bytes, gpu.total_bytes)

    def _count_processes(self) -> int:
        """Note the CPU seconds of each live process, return the memory of all."""
        cpu_s, rss_bytes = {}, 0
        for process in [self._root, *self._root.children(recursive=True)]:
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    rss_bytes += process.memory_info().rss
            except psutil.Error:  # it has ended meanwhile
                continue
            cpu_s[process] = times.user + times.system
        self._cpu_s, self._sampled_at = cpu_s, time.monotonic()
        return rss_bytes


@dataclass(frozen=True, slots=True)
class _Reading:
    percent: float | None = None
    used_bytes: int | None = None
    total_bytes: int | None = None


class _Devices:
    """The GPUs that the run may use, through NVML; none where its library is not installed."""

    def __init__(self) -> None:
        import pynvml

        self._nvml = pynvml
        self._handles: list[Any] = []
        try:
            pynvml.nvmlInit()
            self._handles = [self._find_handle(name) for name in self._list_names()]
        except pynvml.NVMLError:
            self._handles = []

    def read(self) -> _Reading:
        """Return the mean load and the summed memory; what a device does not tell is None."""
        if not self._handles:
            return _Reading()
        try:
            memory = [self._nvml.nvmlDeviceGetMemoryInfo(handle) for handle in self._handles]
        except self._nvml.NVMLError:
            return _Reading()
        try:
            loads = [self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu for handle in self._handles]
        except self._nvml.NVMLError:  # a slice of a divided GPU has memory and no load
            loads = []
        percent = sum(loads) / len(loads) if loads else None
        return _Reading(percent, sum(int(m.used) for m in memory), sum(int(m.total) for m in memory))

    def _list_names(self) -> list[str]:
        chosen = os.environ.get(_VISIBLE_DEVICES)
        if chosen is None:
            return [str(index) for index in range(self._nvml.nvmlDeviceGetCount())]
        return [name for part in chosen.split(",") if (name := part.strip()) and name != "-1"]

    def _find_handle(self, name: str) -> Any:
        if name.isdecimal():
            return self._nvml.nvmlDeviceGetHandleByIndex(int(name))
        return self._nvml.nvmlDeviceGetHandleByUUID(name)
