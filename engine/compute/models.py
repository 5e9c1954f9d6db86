"""Loading and saving of transformers folders. The only place that calls ``from_pretrained``."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from engine.errors import BackendError, CheckpointError

# glibc's mallopt parameters and our values in bytes; 32 MiB is the largest threshold it accepts.
MALLOPT_SETTINGS = {-1: 2**29, -3: 2**25}  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD


def choose_device(setting: str) -> torch.device:
    """Return the device of ``resources.device``; ``auto`` takes a CUDA GPU where there is one."""
    available = torch.cuda.is_available() if setting != "cpu" else False
    if setting == "cuda" and not available:
        raise BackendError("resources.device is cuda, and torch sees no CUDA GPU", hint="use auto or cpu")
    return torch.device("cuda" if available else "cpu")


def load_model(folder: str | Path, *, dtype: str, device: torch.device) -> PreTrainedModel:
    """Return the causal LM of a folder in evaluation mode; safetensors only, no code from the folder is run."""
    try:
        model, loading = AutoModelForCausalLM.from_pretrained(
            folder,
            output_loading_info=True,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except MemoryError:
        raise
    except Exception as error:  # a broken folder makes transformers raise almost anything
        raise CheckpointError(
            f"cannot load a causal LM from {folder}: {_first_line(error)}",
            hint="model.path must name a transformers folder with config.json and *.safetensors",
        ) from error
    broken = sorted(loading["missing_keys"]) + sorted(str(name) for name in loading["mismatched_keys"])
    if broken:
        raise CheckpointError(
            f"{folder} lacks weights that its config.json asks for: {broken[0]}"
            + f" and {len(broken) - 1} more" * (len(broken) > 1),
            hint="they would be made up at random: bring the whole model, or the config.json that belongs to it",
        )
    if device.type == "cpu":
        _keep_freed_memory()
    return model.to(device).eval()


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """Return the folder's tokenizer; a missing pad token becomes the end token (masks go by position)."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as above
        raise CheckpointError(
            f"cannot load a tokenizer from {folder}: {_first_line(error)}",
            hint="the model folder must hold tokenizer.json or another tokenizer that transformers can read",
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


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
        if name not in before:
            n_changed += tensor.numel()
            continue
        with safe_open(before[name], "pt") as weights:
            n_changed += int((tensor != weights.get_tensor(name).to(tensor.dtype)).sum())
    return n_changed / n_total


def _index_tensors(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in sorted(folder.glob("*.safetensors")):
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
