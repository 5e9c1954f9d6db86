"""LoRA: one adapter beside M0. Attaching, training further and saving it; M_t is M0 and the adapter of M_t.

An adapter is kept in float32 whatever M0's number format is, and is never merged: in bfloat16 its updates would be lost
to rounding. An adapter folder names no path of this machine, so that equal adapters have equal digests everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.artifacts import is_adapter_folder
from engine.compute.models import load_model
from engine.config.adapter import ALL_LINEAR
from engine.errors import CheckpointError, ConfigError

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BASE_NAME = "M0"  # of a base that has no name on the hub


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """A new adapter: updates of a rank scaled by alpha / rank, dropout in SFT, its layers, and if M0 is in 4 bits."""

    rank: int
    alpha: int
    dropout: float
    targets: tuple[str, ...]
    is_quantised: bool = False


def load_policy(
    folder: Path, *, base_folder: Path, dtype: str, device: torch.device, is_quantised: bool = False
) -> PreTrainedModel:
    """Return a model of a run in evaluation mode: of a whole folder, or M0 with the folder's adapter in its layers."""
    if not is_adapter_folder(folder):
        return load_model(folder, dtype=dtype, device=device, is_quantised=is_quantised)
    base = load_model(base_folder, dtype=dtype, device=device, is_quantised=is_quantised)
    model = _attach(base, _read_config(folder), folder)
    return model.get_base_model().requires_grad_(False).eval()


def attach_adapter(base: PreTrainedModel, settings: AdapterSettings, *, parent: Path | None, seed: int) -> PeftModel:
    """Return M0 with an adapter to train: a new one that changes nothing yet, or the one in the folder ``parent``.

    Equal seeds give equal new adapters.

    Raises:
        ConfigError: no layer of the model has the name of a target.
        CheckpointError: the folder's adapter does not fit the model.
    """
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=ALL_LINEAR if settings.targets == (ALL_LINEAR,) else list(settings.targets),
        task_type="CAUSAL_LM",
    )
    if parent is not None:
        config = _read_config(parent)
        config.inference_mode, config.lora_dropout = False, settings.dropout
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _attach(base, config, parent)
    if isinstance(base.get_output_embeddings(), BaseTunerLayer):
        raise ConfigError(
            "adapter.targets: names the output head, which is computed together with the loss and cannot be adapted",
            hint="leave it out",
            key="adapter.targets",
        )
    return model.train()


def save_adapter(model: PeftModel, tokenizer: PreTrainedTokenizerBase, folder: Path, *, base_name: str) -> None:
    """Write the adapter alone, and the tokenizer: safetensors and a config that names M0 by ``base_name``."""
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / ADAPTER_CONFIG).read_text())
    (folder / ADAPTER_CONFIG).write_text(json.dumps(_make_portable(config, base_name), indent=2, sort_keys=True))
    tokenizer.save_pretrained(folder)


def _make_portable(config: Mapping[str, Any], base_name: str) -> dict[str, Any]:
    """Return an adapter's config without a path, and with its sets of layers in order: they follow the hash seed."""
    ordered = {name: sorted(value) if isinstance(value, list) else value for name, value in config.items()}
    return {**ordered, "base_model_name_or_path": base_name}


def _read_config(folder: Path) -> LoraConfig:
    try:
        config: LoraConfig = LoraConfig.from_pretrained(str(folder))
    except Exception as error:  # peft reads JSON and builds a class of it; what it raises depends on what is broken
        raise CheckpointError(f"{folder / ADAPTER_CONFIG} is no config of a LoRA adapter: {error}") from error
    config.base_model_name_or_path = None  # peft would compare it with where M0 lies
    return config


def _attach(base: PreTrainedModel, config: LoraConfig, folder: Path | None) -> PeftModel:
    try:
        model = get_peft_model(base, config)
    except ValueError as error:
        raise ConfigError(
            f"adapter.targets: {str(error).splitlines()[0]}",
            hint="name layers of the model, such as [q_proj, v_proj], or all-linear",
            key="adapter.targets",
        ) from error
    if folder is None:
        return model
    try:
        found: Any = set_peft_model_state_dict(model, load_file(folder / ADAPTER_WEIGHTS))
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"the adapter in {folder} does not fit its base: {str(error).splitlines()[0]}") from error
    missing = [name for name in found.missing_keys if "lora_" in name]
    if missing or found.unexpected_keys:
        raise CheckpointError(f"the adapter in {folder} does not fit its base: {[*missing, *found.unexpected_keys][0]}")
    return model
