"""Plain mappings before validation: deep merge, `key=value` overrides, paths made absolute.

Knows the few keys that have a short form (a method's name, a source's path) and nothing else of the sections.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.config.data import ITERATION, is_data_file
from engine.config.resources import LAUNCHER_FILES
from engine.config.section import find_hidden_character
from engine.config.yaml_loader import parse_yaml
from engine.errors import ConfigError

# The key that says what a mapping is about. A mapping that says otherwise replaces its parent instead of joining it.
_IDENTITY = {("model",): "kind", ("method",): "name", ("data", "sft"): "path", ("data", "prompts"): "path"}
_REWARD_MODELS = ("scoring", "reward_models")
_SHORT_FORMS = {("method",), ("data", "sft"), ("data", "prompts")}
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*){0,7}")


def expand_short_form(value: Any, at: tuple[str, ...]) -> Any:
    """Return the mapping that a short form at these keys stands for, anything else unchanged."""
    if at in _SHORT_FORMS and isinstance(value, str) and value != "none":
        return {_IDENTITY[at]: value}
    return value


def merge(parent: Any, child: Any, at: tuple[str, ...] = ()) -> Any:
    """Return `parent` with `child` over it; mappings merge by key, anything else is replaced. Changes neither."""
    parent, child = expand_short_form(parent, at), expand_short_form(child, at)
    if not isinstance(parent, dict) or not isinstance(child, dict):
        return child
    identity = "path" if at[:-1] == _REWARD_MODELS else _IDENTITY.get(at)
    if identity in parent and identity in child and parent[identity] != child[identity]:
        return child
    merged = dict(parent)
    for key, value in child.items():
        merged[key] = merge(parent[key], value, (*at, key)) if key in parent else expand_short_form(value, (*at, key))
    return merged


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the nested mapping of `dotted.key=value` texts; values are YAML, the last of equal keys counts.

    Raises:
        ConfigError: a text is no `key=value`, or its value is no YAML.
    """
    patch: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not _KEY.fullmatch(key):
            raise ConfigError(
                f"--set {override}: is no key=value",
                hint="For example: --set training.learning_rate=1e-4",
                value=override,
            )
        if not text.strip():
            raise ConfigError(f"--set {override}: has no value", hint=f"Write {key}=null for none.", key=key)
        value = parse_yaml(text, f"--set {key}")
        for part in reversed(key.split(".")):
            value = {part: value}
        patch = merge(patch, value)
    return patch


def list_leaves(patch: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the key tuple of every value in `patch` that is no mapping."""
    for key, value in patch.items():
        if isinstance(value, Mapping) and value:
            yield from list_leaves(value, (*at, key))
        else:
            yield (*at, key)


def resolve_paths(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return `raw` with file and folder names made absolute.

    A relative name means the file in `folder` if it is there, else the one in the current folder. Names of models and
    data sets that are no existing file or folder stay as they are.
    """
    patch: dict[str, Any] = {}
    data = raw.get("data")
    data = data if isinstance(data, dict) else {}
    for key in ("sft", "prompts"):
        source = expand_short_form(data.get(key), ("data", key))
        if isinstance(source, dict) and isinstance(source.get("path"), str) and source["path"] != "sandbox":
            path = _resolve(source["path"], folder, is_file=is_data_file(source["path"]))
            patch.setdefault("data", {})[key] = {**source, "path": path}
    model = raw.get("model")
    if isinstance(model, dict) and isinstance(model.get("path"), str):
        patch["model"] = {**model, "path": _resolve(model["path"], folder)}
    evaluation = raw.get("evaluation")
    if isinstance(evaluation, dict):
        patch["evaluation"] = _resolve_evaluation(evaluation, folder)
    resources = raw.get("resources")
    launcher = resources.get("launcher") if isinstance(resources, dict) else None
    if isinstance(launcher, str) and launcher.endswith(LAUNCHER_FILES):
        patch["resources"] = {"launcher": _resolve(launcher, folder, is_file=True)}
    scoring = raw.get("scoring")
    if isinstance(scoring, dict):
        patch["scoring"] = _resolve_scoring(scoring, folder)
    merged: dict[str, Any] = merge(raw, patch)
    return merged


def _resolve_evaluation(evaluation: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Only files and folders have places; all else is a name."""
    patch: dict[str, Any] = {}
    for key in ("tasks", "preference_sets"):
        if isinstance(evaluation.get(key), list):
            patch[key] = [_resolve_task(task, folder) for task in evaluation[key]]
    if isinstance(evaluation.get("lm_eval_tasks"), str):
        patch["lm_eval_tasks"] = _resolve(evaluation["lm_eval_tasks"], folder, is_file=True)
    return patch


def _resolve_task(task: Any, folder: Path) -> Any:
    if isinstance(task, dict) and isinstance(task.get("path"), str):
        return {**task, "path": _resolve(task["path"], folder, is_file=is_data_file(task["path"]))}
    return _resolve(task, folder, is_file=True) if isinstance(task, str) and is_data_file(task) else task


def _resolve_scoring(scoring: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    patch: dict[str, Any] = {}
    judge, models = scoring.get("judge"), scoring.get("reward_models")
    if isinstance(judge, dict) and isinstance(judge.get("prompt"), str):
        patch["judge"] = {"prompt": _resolve(judge["prompt"], folder, is_file=True)}
    if isinstance(models, dict):
        named = {
            name: model
            for name, model in models.items()
            if isinstance(model, dict) and isinstance(model.get("path"), str)
        }
        patch["reward_models"] = {
            name: {**model, "path": _resolve(model["path"], folder)} for name, model in named.items()
        }
    return patch


def _resolve(name: str, folder: Path, *, is_file: bool = False) -> str:
    if not name.strip() or find_hidden_character(name):
        return name  # validation names the key
    looks_like_path = is_file or name.startswith(("./", "../", "~", "/")) or name in (".", "..")
    try:
        path = Path(name).expanduser()
        for candidate in (folder / path, Path.cwd() / path):
            if candidate.exists():
                return str(candidate.resolve())
            if Path(str(candidate).replace(ITERATION, "1")).exists():  # a source for each iteration
                return str(candidate.absolute())
        return str(path.absolute()) if looks_like_path else name
    except (OSError, RuntimeError):  # a name too long for a path, or no home folder
        return name
