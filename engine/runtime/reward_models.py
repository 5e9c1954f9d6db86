"""What a method's scorers need beside the run's own models, before it starts: reward models, the judge's prompt.

Light: reads files, and the hub only in ``resolve_reward_models``. Must not load weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.artifacts import check_model_folder, find_base_folder, is_adapter_folder, resolve_base
from engine.config.run import RunConfig
from engine.config.scorers import list_reward_models
from engine.config.scoring import RewardModelConfig
from engine.config.shipped import find_configs_folder
from engine.errors import CheckpointError, ConfigError
from engine.runtime.model_checks import check_tokenizer
from engine.tasks.judge_prompt import read_judge_prompt

_CLASSIFIER = "ForSequenceClassification"
_DEFAULT_LABELS = 2  # of transformers, where config.json names none


def check_scorers(config: RunConfig) -> None:
    """Check all that is needed and lies on this machine.

    Raises:
        ConfigError, CheckpointError: a judge's prompt, or a reward model, that is missing or unusable.
    """
    if any(scorer.startswith("judge:") for scorer in config.method.scorers):
        read_judge_prompt(config)
    for name in list_reward_models(config.method.scorers):
        model, key = config.scoring.find_reward_model(name), _name_key(name)
        if Path(model.path).is_absolute() and not Path(model.path).is_dir():
            raise ConfigError(f"{key}: {model.path} is no folder", key=key, value=model.path)
        folder = find_base_folder("hf", model.path, model.revision, configs_folder=find_configs_folder())
        if folder is not None:
            _check_folder(folder, model, key)


def resolve_reward_models(config: RunConfig) -> RunConfig:
    """Return the config with its reward models on this machine, those of the hub pinned to the commit that was fetched.

    Raises:
        CheckpointError: one cannot be fetched, or is no reward model.
    """
    models = dict(config.scoring.reward_models)
    for name in list_reward_models(config.method.scorers):
        model, key = config.scoring.find_reward_model(name), _name_key(name)
        try:
            base = resolve_base("hf", model.path, model.revision, configs_folder=find_configs_folder())
        except CheckpointError as error:
            raise _rename(error, key) from error
        _check_folder(base.folder, model, key)
        models[name] = model.model_copy(update={"revision": base.commit or model.revision})
    scoring = config.scoring.model_copy(update={"reward_models": models})
    return config.model_copy(update={"scoring": scoring})


def _check_folder(folder: Path, model: RewardModelConfig, key: str) -> None:
    if is_adapter_folder(folder):
        raise CheckpointError(f"{key}: {folder} holds an adapter", hint="merge it into its model and save that")
    try:
        check_model_folder(folder)
    except CheckpointError as error:
        raise _rename(error, key) from error
    described = _read_description(folder, key)
    architectures = described.get("architectures") or []
    if architectures and not any(str(name).endswith(_CLASSIFIER) for name in architectures):
        raise CheckpointError(
            f"{key}: {folder} is {', '.join(map(str, architectures))}, no sequence classifier: its reward head would "
            "be made up at random",
            hint="name a reward model that was saved as a sequence classifier",
        )
    n_logits = len(described.get("id2label") or ()) or int(described.get("num_labels", _DEFAULT_LABELS))
    if n_logits != 1 and model.logit is None:
        raise CheckpointError(
            f"{key}: {folder} gives {n_logits} numbers, not one reward",
            hint=f"set {key.removesuffix('.path')}.logit to the one that is the reward, from 0 to {n_logits - 1}",
        )

    check_tokenizer(folder, key=key)


def _read_description(folder: Path, key: str) -> Mapping[str, Any]:
    try:
        described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{key}: {folder}/config.json cannot be read", hint="bring the whole model") from error
    return described if isinstance(described, dict) else {}


def _rename(error: CheckpointError, key: str) -> CheckpointError:
    """Return an error about a model folder as one about the setting that names it here."""
    hint = None if error.hint is None else error.hint.replace("model.path", key)
    return CheckpointError(error.message.replace("model.path", key), hint=hint)


def _name_key(name: str) -> str:
    return f"scoring.reward_models.{name}.path"
