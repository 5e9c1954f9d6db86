"""What processes take: a real child that burns and holds, and GPUs as NVIDIA's library tells them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import types
from collections.abc import Iterator

import psutil
import pytest

from engine.runtime.usage import UsageMeter

MEBIBYTE = 2**20
_BURN = (
    "held = bytearray(150 * 2**20); print('ready', flush=True)\n"
    "import time; end = time.process_time() + 60\n"
    "while time.process_time() < end: pass\n"
)


@pytest.fixture
def burner() -> Iterator[subprocess.Popen[str]]:
    """A grandchild that keeps a core busy and 150 MiB: its parent only waits for it."""
    command = [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_BURN!r}])"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    os.killpg(process.pid, 9)
    process.wait()


def test_the_whole_tree_below_a_process_counts(burner: subprocess.Popen[str]) -> None:
    (child,) = psutil.Process(burner.pid).children()

    def look() -> tuple[float, float]:
        times = child.cpu_times()
        return times.user + times.system, time.monotonic()

    before = look()
    meter = UsageMeter(burner.pid, has_gpu=False)
    after_start = look()
    while look()[0] - after_start[0] < 0.3:  # however little of a core other work on this machine leaves it
        time.sleep(0.05)
    before_end = look()
    sample = meter.sample()
    after = look()
    least = (before_end[0] - after_start[0]) / (after[1] - before[1])
    most = (after[0] - before[0] + 0.1) / (before_end[1] - after_start[1])  # and what the parent takes
    assert 100 * least - 1 <= sample.cpu_percent <= 100 * most + 1
    assert sample.rss_bytes > 150 * MEBIBYTE
    assert (sample.gpu_percent, sample.gpu_bytes, sample.gpu_total_bytes) == (None, None, None)


def test_sampling_costs_little() -> None:
    """Every two seconds: 1 % of a core are 20 ms."""
    meter = UsageMeter(os.getpid(), has_gpu=False)
    started = time.process_time()
    for _ in range(20):
        meter.sample()
    assert (time.process_time() - started) / 20 < 0.02


class NVMLError(Exception):
    """What the library raises."""


def build_library(loads: dict[str, int | None], *, is_installed: bool = True) -> types.ModuleType:
    """NVIDIA's library as far as it is used: devices by index and by UUID, each with 10 of 80 bytes taken."""

    def check() -> None:
        if not is_installed:
            raise NVMLError("library not found")

    def read_load(handle: str) -> object:
        if loads[handle] is None:
            raise NVMLError("not supported")
        return types.SimpleNamespace(gpu=loads[handle])

    library = types.ModuleType("pynvml")
    for name, value in {
        "NVMLError": NVMLError,
        "nvmlInit": check,
        "nvmlDeviceGetCount": lambda: sum(name.isdecimal() for name in loads),
        "nvmlDeviceGetHandleByIndex": str,
        "nvmlDeviceGetHandleByUUID": str,
        "nvmlDeviceGetMemoryInfo": lambda _: types.SimpleNamespace(used=10, total=80),
        "nvmlDeviceGetUtilizationRates": read_load,
    }.items():
        setattr(library, name, value)
    return library


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, (40.0, 20, 160)),
        ("1", (60.0, 10, 80)),
        ("0, 1", (40.0, 20, 160)),
        ("", (None, None, None)),
        ("-1", (None, None, None)),
        ("MIG-a", (None, 10, 80)),
    ],
)
def test_gpus_that_the_run_may_use_count(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: tuple[float | None, int | None, int | None]
) -> None:
    """Two devices, 20 % and 60 % busy, and a slice of a divided one, whose load nobody tells."""
    monkeypatch.setitem(sys.modules, "pynvml", build_library({"0": 20, "1": 60, "MIG-a": None}))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    sample = UsageMeter(os.getpid(), has_gpu=True).sample()
    assert (sample.gpu_percent, sample.gpu_bytes, sample.gpu_total_bytes) == expected


def test_without_the_library_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", build_library({"0": 20}, is_installed=False))
    assert UsageMeter(os.getpid(), has_gpu=True).sample().gpu_bytes is None
