"""Session-wide tiny models, only for reading (whoever trains builds a new one), and a folder for a store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_runs import find_processes
from tiny_models import CONFIGS, build_model
from transformers import PreTrainedModel


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="session", params=list(CONFIGS))
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """Each architecture in turn."""
    return build_model(request.param)


@pytest.fixture(scope="session")
def llama() -> PreTrainedModel:
    """The tiny Llama alone."""
    return build_model("llama")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    store = tmp_path / "store"
    yield store
    deadline = time.monotonic() + 60
    while (left := find_processes(store)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in left:
        process.kill()
    assert not left, "a process outlived its run"
