"""Session-wide tiny models; only for reading, whoever trains builds a new one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
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
