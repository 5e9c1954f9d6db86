"""What tests of the real vLLM share: its interpreter, and a small Llama that vLLM takes, whole and with an adapter.

Not part of `make test`: they need an environment of their own, which `make test-vllm` makes. Without it they fail.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_runs import find_processes
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from engine.backends import VLLM_PYTHON, find_vllm
from engine.compute.adapters import AdapterSettings, attach_adapter, save_adapter
from engine.compute.models import load_model, load_tokenizer, save_model
from engine.config.shipped import find_configs_folder

# vLLM's attention on CPUs takes no smaller heads.
HEAD_DIM = 32


@pytest.fixture(scope="session", autouse=True)
def python() -> str:
    """vLLM's interpreter; without one nothing here says anything, so it fails."""
    found = find_vllm()
    assert found is not None, f"set {VLLM_PYTHON} to an interpreter with vLLM, as `make test-vllm` does"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    return found.python


@pytest.fixture(scope="session")
def policy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama with random weights and the sandbox's tokenizer, whose embeddings are padded."""
    folder = tmp_path_factory.mktemp("policy")
    tokenizer = load_tokenizer(find_configs_folder() / "models" / "sandbox")
    config = LlamaConfig(
        vocab_size=max(tokenizer.get_vocab().values()) + 17,
        hidden_size=2 * HEAD_DIM,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=HEAD_DIM,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.5 if "embed" in name else 0.15)
    save_model(model, tokenizer, folder)
    return folder


@pytest.fixture(scope="session")
def policy(policy_folder: Path) -> PreTrainedModel:
    return load_model(policy_folder, dtype="float32", device=torch.device("cpu"))


@pytest.fixture(scope="session")
def adapter_folder(policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that changes the model clearly."""
    folder = tmp_path_factory.mktemp("adapter")
    base = load_model(policy_folder, dtype="float32", device=torch.device("cpu"))
    settings = AdapterSettings(rank=4, alpha=8, dropout=0.0, targets=("all-linear",))
    adapted = attach_adapter(base, settings, parent=None, seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.1)
    save_adapter(adapted, load_tokenizer(policy_folder), folder, base_name="M0")
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 4
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A store; no process of its runs is left, engines included."""
    store = tmp_path / "store"
    yield store
    deadline = time.monotonic() + 10
    while (left := find_processes(store)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in left:
        process.kill()
    assert not left, "a process outlived its run"
