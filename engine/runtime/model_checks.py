"""Whether M0's files fit each other, the settings and the disk, before anything is computed.

Light: reads JSON and the headers of weights; loads neither tokenizer nor model, which ``engine.stages.examine`` does.
The main path enters at ``check_model``.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.artifacts import (
    check_model_folder,
    find_base_folder,
    find_context_length,
    is_adapter_folder,
    read_model_config,
    read_tensors,
)
from engine.config.run import RunConfig
from engine.config.shipped import find_configs_folder
from engine.errors import CheckpointError, ConfigError
from engine.runtime.memory import count_embeddings

# A tokenizer without one of these is none that transformers could read.
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json", "spiece.model")


def check_model(config: RunConfig) -> None:
    """Check what of M0 lies on this machine; a hub model that is not here yet is checked once it is fetched.

    Raises:
        CheckpointError, ConfigError: name the file or key, and the way out.
    """
    model = config.model
    if (
        model.kind == "hf"
        and model.path is not None
        and Path(model.path).is_absolute()
        and not Path(model.path).is_dir()
    ):
        raise ConfigError(
            f"model.path: {model.path} is no folder", hint="check the path", key="model.path", value=model.path
        )
    folder = find_base_folder(model.kind, model.path, model.revision, configs_folder=find_configs_folder())
    if folder is not None:
        check_base(config, folder)


def check_base(config: RunConfig, folder: Path) -> None:
    """Check M0's folder against itself and the settings.

    Raises:
        CheckpointError, ConfigError: as ``check_model``.
    """
    if is_adapter_folder(folder) and not (folder / "config.json").is_file():
        raise CheckpointError(
            f"model.path: {folder} holds a LoRA adapter and no model",
            hint="name the model that it was trained beside, or merge it into that model first",
        )
    check_model_folder(folder)
    check_tokenizer(folder)
    _check_context(config, folder)


def check_tokenizer(folder: Path, *, key: str = "model.path") -> None:
    """Check that a folder has a tokenizer, and none of more tokens than its model knows; ``key`` names the folder.

    Raises:
        CheckpointError, ConfigError: it has none, or one of another model.
    """
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise CheckpointError(
            f"{key}: {folder} holds no tokenizer ({_TOKENIZER_FILES[0]})",
            hint="bring the tokenizer that belongs to the model",
        )
    path = folder / "tokenizer.json"
    largest = _find_largest_token(path, path.stat().st_mtime_ns) if path.is_file() else None
    n_rows = count_embeddings(read_tensors(folder))
    if largest is not None and n_rows is not None and largest >= n_rows:
        raise ConfigError(
            f"{key}: the tokenizer of {folder} does not fit its model: it has token ids up to {largest}, the "
            f"model {n_rows} embeddings",
            hint="bring the model and the tokenizer that belong together, or resize the embeddings first",
            key=key,
        )


def _check_context(config: RunConfig, folder: Path) -> None:
    limit = find_context_length(read_model_config(folder))
    asked = [("sampling.max_new_tokens", config.sampling.max_new_tokens)] if config.iterations else []
    if config.evaluation.tasks:
        asked.append(("evaluation.max_new_tokens", config.evaluation_max_new_tokens))
    for key, value in asked:
        if limit is not None and value >= limit:
            raise ConfigError(
                f"{key} = {value} leaves no room for a prompt: the model's context is {limit} tokens",
                hint=f"set {key} below {limit}",
                key=key,
                value=value,
            )


@lru_cache(maxsize=8)  # a form checks its model again after every key, and some of these files have 10 MB
def _find_largest_token(path: Path, changed_at: int) -> int | None:
    """Return the largest token id of a ``tokenizer.json``; None where its layout is another one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        vocabulary: Any = found["model"]["vocab"]
        ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
        return max([*ids, *(token["id"] for token in found.get("added_tokens") or [])], default=None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
