"""Loading and saving of transformers folders. The only place that calls ``from_pretrained``."""

from __future__ import annotations

import ctypes
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from engine.artifacts import list_weight_files
from engine.config.adapter import QLORA_HINT
from engine.errors import BackendError, CheckpointError

# glibc's mallopt parameters and our values in bytes; 32 MiB is the largest threshold it accepts.
MALLOPT_SETTINGS = {-1: 2**29, -3: 2**25}  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD


def choose_device(setting: str) -> torch.device:
    """Return the device of ``resources.device``; ``auto`` takes a CUDA GPU where there is one."""
    available = torch.cuda.is_available() if setting != "cpu" else False
    if setting == "cuda" and not available:
        raise BackendError("resources.device is cuda, and torch sees no CUDA GPU", hint="use auto or cpu")
    return torch.device("cuda" if available else "cpu")


def load_model(folder: str | Path, *, dtype: str, device: torch.device, is_quantised: bool = False) -> PreTrainedModel:
    """Return the causal LM of a folder in evaluation mode; safetensors only, no code from the folder is run.

    Quantised: linear layers in 4 bits (NF4, the scales quantised too) that compute in ``dtype``.
    """
    options: dict[str, Any] = {}
    if is_quantised:
        options = {"quantization_config": _build_four_bits(dtype), "device_map": {"": str(device)}}
    model = _read_weights(
        AutoModelForCausalLM,
        folder,
        dtype,
        what="causal LM",
        hint="model.path must name a transformers folder with config.json and *.safetensors",
        **options,
    )
    if device.type == "cpu":
        _keep_freed_memory()
    if is_quantised:
        return _keep_to_one_kernel(model).eval()
    return model.to(device).eval()


def load_classifier(folder: str | Path, *, dtype: str, device: torch.device, key: str) -> PreTrainedModel:
    """Return the sequence classifier of a folder, as ``load_model``; ``key`` is the setting that names the folder.

    Raises:
        CheckpointError: it cannot be loaded, or has no trained head, as a causal LM has none.
    """
    model = _read_weights(
        AutoModelForSequenceClassification,
        folder,
        dtype,
        what="sequence classifier",
        hint=f"{key} must name a transformers folder with a trained sequence classifier",
    )
    if device.type == "cpu":
        _keep_freed_memory()
    return model.to(device).eval()


def _read_weights(
    loader: Any, folder: str | Path, dtype: str, *, what: str, hint: str, **options: Any
) -> PreTrainedModel:
    try:
        model, loading = loader.from_pretrained(
            folder,
            output_loading_info=True,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            **options,
        )
    except MemoryError:
        raise
    except Exception as error:  # a broken folder makes transformers raise almost anything
        raise CheckpointError(f"cannot load a {what} from {folder}: {_first_line(error)}", hint=hint) from error
    broken = sorted(loading["missing_keys"]) + sorted(str(found[0]) for found in loading["mismatched_keys"])
    if broken:
        raise CheckpointError(
            f"{folder} lacks weights that a {what} with its config.json has: {broken[0]}"
            + f" and {len(broken) - 1} more" * (len(broken) > 1),
            hint="they would be made up at random: bring the whole model, or the config.json that belongs to it",
        )
    loaded: PreTrainedModel = model
    return loaded


def _keep_to_one_kernel(model: PreTrainedModel) -> PreTrainedModel:
    """Have bitsandbytes compute on a CPU as it does in training; its kernel for inference there rounds to bfloat16."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def _build_four_bits(dtype: str) -> BitsAndBytesConfig:
    if find_spec("bitsandbytes") is None:
        raise BackendError("adapter.kind = qlora needs bitsandbytes", hint=QLORA_HINT)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """Return the folder's tokenizer; a missing pad token becomes the end or first token (masks go by position)."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as above
        raise CheckpointError(
            f"cannot load a tokenizer from {folder}: {_first_line(error)}",
            hint="the model folder must hold tokenizer.json or another tokenizer that transformers can read",
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def load_config(folder: str | Path) -> PreTrainedConfig:
    """Return the configuration of a folder's language model, without its weights."""
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as above
        raise CheckpointError(
            f"cannot read the configuration of {folder}: {_first_line(error)}", hint="bring the whole model"
        ) from error
    return config.get_text_config()


def load_generation_config(folder: str | Path) -> GenerationConfig:
    """Return what a model of this folder would have as its generation config, without loading it."""
    try:
        if (Path(folder) / "generation_config.json").is_file():
            return GenerationConfig.from_pretrained(folder, local_files_only=True)
        config = PreTrainedConfig.get_config_dict(folder, local_files_only=True)[0]
        return GenerationConfig.from_model_config(PreTrainedConfig.from_dict(config))
    except Exception as error:  # as above
        raise CheckpointError(
            f"cannot read the configuration of {folder}: {_first_line(error)}", hint="bring the whole model"
        ) from error


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a plain transformers folder: safetensors, config, generation config, tokenizer."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def compute_changed_share(folder: Path, parent: Path) -> float:
    """Return the share of weights that differ from the parent's, in [0, 1].

    Near 0 in half precision: the updates were smaller than the format's steps, and the checkpoint forgot them.
    """
    before = _index_tensors(parent)
    n_changed = n_total = 0
    for name, file in _index_tensors(folder).items():
        with safe_open(file, "pt") as weights:
            tensor = weights.get_tensor(name)
        n_total += tensor.numel()
        former = _find_former_name(name, before)
        if former is None:
            n_changed += tensor.numel()
            continue
        with safe_open(before[former], "pt") as weights:
            n_changed += int((tensor != weights.get_tensor(former).to(tensor.dtype)).sum())
    return n_changed / n_total


def _find_former_name(name: str, before: Collection[str]) -> str | None:
    """Return what a tensor is called in another folder; some hub models leave the model's own name out, as GPT-2's."""
    short = name.partition(".")[2]
    return next((known for known in (name, short) if known in before), None)


def _index_tensors(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in list_weight_files(folder):
        with safe_open(file, "pt") as weights:
            found.update(dict.fromkeys(weights.keys(), file))
    return found


def _keep_freed_memory() -> None:
    """Have this process keep the memory of freed tensors; a C library without mallopt stays as it is.

    By default glibc returns it to the kernel after every forward pass and faults it in again page by page: a third of
    the CPU time of scoring a small model.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, n_bytes in MALLOPT_SETTINGS.items():
            mallopt(parameter, n_bytes)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
