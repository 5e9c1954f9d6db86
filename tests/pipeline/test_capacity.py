"""How many runs may work at once, and which GPU is free: read from the environment of real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from small_runs import build_config

from db.rows import Lease
from engine.errors import ConfigError
from engine.runtime.capacity import count_slots, find_free_gpu


@pytest.fixture
def hold() -> Iterator[Callable[[str | None], Lease]]:
    """Starts a process that was given these GPUs; a lease names it."""
    started: list[subprocess.Popen[str]] = []

    def start(gpus: str | None) -> Lease:
        environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        environment |= {} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus}
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", "print('up', flush=True); input()"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return Lease("run", "token", process.pid, 0.0, "here", 0.0)

    yield start
    for process in started:
        process.communicate("\n", timeout=30)


def test_a_gpu_is_free_that_no_live_run_was_given(hold: Callable[[str | None], Lease]) -> None:
    assert find_free_gpu([], []) is None
    assert find_free_gpu(["0", "1", "2"], []) == "0"
    first, second, spread = hold("0"), hold("1"), hold("1,2")
    assert find_free_gpu(["0", "1", "2"], [first, second]) == "2"
    assert find_free_gpu(["0", "1", "2"], [first, spread]) is None
    assert find_free_gpu(["GPU-a", "GPU-b"], [hold("GPU-a")]) == "GPU-b"
    assert find_free_gpu(["0", "1"], [hold(None)]) == "1"


def test_cores_are_shared_out_by_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREAM_SLOTS", raising=False)
    n_cores = len(os.sched_getaffinity(0))
    one, wide = (build_config("resources.device=cpu", f"resources.threads={n}") for n in (1, n_cores))
    assert count_slots([one]) == n_cores
    assert count_slots([one, wide]) == 1
    assert count_slots([wide], asked=3) == 3


def test_the_limit_of_the_machine_goes_before_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREAM_SLOTS", "2")
    assert count_slots([build_config()], asked=5) == 2
    monkeypatch.setenv("CREAM_SLOTS", "many")
    with pytest.raises(ConfigError, match="CREAM_SLOTS"):
        count_slots([build_config()])
