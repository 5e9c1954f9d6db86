"""From a name or a path to a checked RunConfig, and back to JSON.

Order, later ones win: the parent that a file `extends`, the file, the arguments `method`, `seed` and `name`, the
overrides. Knows files and mappings; what a section may hold is up to its own module. Never looks whether data files
exist before `check_files` is asked to.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.config.data import is_data_file
from engine.config.explain import NameSource, explain
from engine.config.merge import expand_short_form, list_leaves, merge, parse_overrides, resolve_paths
from engine.config.method import MethodConfig
from engine.config.run import RunConfig
from engine.config.shipped import find_file, list_shipped, list_shipped_methods, list_shipped_runs, show_name
from engine.config.yaml_loader import load_mapping
from engine.errors import ConfigError, find_nearest, join_errors

__all__ = [
    "Patch",
    "apply_overrides",
    "check_files",
    "compute_config_digest",
    "config_from_json",
    "dump",
    "find_config",
    "list_shipped_methods",
    "list_shipped_runs",
    "load_method",
    "load_patched_configs",
    "load_run_config",
    "schema",
]
_STUDY_PARTS = {"config", "methods"}
_METHOD_PARTS = {"name", "scorers", "aggregate", "confidence"}


@dataclass(frozen=True, slots=True)
class Patch:
    """Nested settings that win over a file's.

    Attributes:
        source: Where they were written, for messages.
        folder: What their relative paths mean first, before the current folder.
    """

    values: Mapping[str, Any]
    source: str
    folder: Path


def find_config(name_or_path: str, folder: Path = Path()) -> Path:
    """Return the file of a run configuration: a path, or a shipped name.

    Args:
        folder: What a relative path means.

    Raises:
        ConfigError: there is neither; the message lists the shipped names.
    """
    try:
        return find_file(name_or_path, "runs", folder)
    except ConfigError:
        if name_or_path not in list_shipped("sweeps"):
            raise
    raise ConfigError(
        f"{name_or_path} is a study, not a run", hint=f"cream-tui sweep {name_or_path} runs it.", value=name_or_path
    )


def load_run_config(
    name_or_path: str,
    *,
    overrides: Sequence[str] = (),
    method: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> RunConfig:
    """Return the checked configuration of a file or shipped name.

    Relative paths in a file mean the file's folder if they exist there, else the current folder; in overrides, the
    current folder. All are absolute in the result.

    Raises:
        ConfigError: anything is unknown, missing or not allowed.
    """
    path = find_config(name_or_path)
    raw = _load_file(path)
    return _build(raw, str(path), overrides, {"method": method, "seed": seed, "name": name})


def load_patched_configs(path: Path, patches: Sequence[Sequence[Patch]]) -> list[RunConfig]:
    """Return a configuration of one file for each list of patches, of which later ones win.

    Raises:
        ConfigError: as ``load_run_config``, of all of them; it names the patch that holds the wrong key.
    """
    raw, configs, errors = _load_file(path), [], []
    for given in patches:
        try:
            configs.append(_build_patched(raw, str(path), given))
        except ConfigError as error:
            errors.append(error)
    if errors:
        raise join_errors(errors)
    return configs


def apply_overrides(
    config: RunConfig,
    *,
    overrides: Sequence[str] = (),
    method: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> RunConfig:
    """Return a changed copy of a configuration, as for a fork.

    Raises:
        ConfigError: an override is unknown or not allowed.
    """
    return _build(dump(config), f"run {config.name}", overrides, {"method": method, "seed": seed, "name": name})


def load_method(name: str) -> MethodConfig:
    """Return a shipped method.

    Raises:
        ConfigError: there is none of this name.
    """
    raw = _expand_method({"name": name}, lambda keys: "method")
    return _validate_method(raw, lambda keys: "method")


def dump(config: RunConfig) -> dict[str, Any]:
    """Return the fully resolved configuration, ready for JSON."""
    return config.model_dump(mode="json")


def config_from_json(text: str) -> RunConfig:
    """Return the configuration that a store holds; needs no other file.

    Raises:
        ConfigError: the text is no such configuration.
    """
    source = "stored configuration"
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigError(f"{source}: is no JSON") from None
    return _validate(raw, lambda keys: source)


def compute_config_digest(config: RunConfig) -> str:
    """Return 12 hex digits that differ where anything but the name differs."""
    content = dump(config)
    del content["name"]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:12]


def schema() -> dict[str, Any]:
    """Return the JSON schema of a configuration file, with descriptions and the shipped methods' names."""
    result = RunConfig.model_json_schema()
    sections = result["$defs"]
    short = {"type": "string", "description": "sandbox, a data file or a datasets name"}
    for key in ("sft", "prompts"):
        field = sections["DataConfig"]["properties"][key]
        options = field.pop("anyOf", None) or [{"$ref": field.pop("$ref")}]
        field["anyOf"] = [short, *options]
    overrides = {**sections["MethodConfig"], "required": ["name"]}
    sections["MethodConfig"] = overrides
    method = result["properties"]["method"]
    method["anyOf"] = [{"type": "string", "enum": list_shipped_methods()}, {"$ref": method.pop("$ref")}]
    result["properties"]["extends"] = {
        "type": "string",
        "description": "a shipped name or a file whose settings hold where this file has none",
    }
    return result


def check_files(config: RunConfig) -> None:
    """Check that every file and folder that the configuration names is there.

    Raises:
        ConfigError: the first that is missing, with its key.
    """
    prompts = config.data.prompts
    iterations = range(1, config.iterations + 1) if prompts.is_per_iteration else [1]
    named = [("data.prompts", prompts.choose(t).path) for t in iterations]
    if config.data.sft is not None:
        named.insert(0, ("data.sft", config.data.sft.path))
    named += config.evaluation.files
    for key, name in named:
        if is_data_file(name) and not Path(name).is_file():
            raise ConfigError(f"{key}: {name} is no file", hint=f"Create it, or set {key}.", key=key, value=name)
    path = config.model.path
    if path is not None and Path(path).is_absolute() and not Path(path).is_dir():
        raise ConfigError(f"model.path: {path} is no folder", key="model.path", value=path)


def _load_file(path: Path, *, is_parent: bool = False) -> dict[str, Any]:
    raw = load_mapping(path)
    if raw.keys() >= _STUDY_PARTS:
        raise ConfigError(f"{path} is a study file", hint=f"start it with: cream-tui sweep {shlex.quote(str(path))}")
    parent = raw.pop("extends", None)
    raw = resolve_paths(raw, path.absolute().parent)
    if parent is None:
        return raw
    if is_parent:
        raise ConfigError(f"{path}: is extended itself and cannot extend another", key="extends", value=parent)
    if not isinstance(parent, str):
        raise ConfigError(f"{path}: extends takes one shipped name or path", key="extends", value=parent)
    try:
        found = find_config(parent, path.absolute().parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: extends: {error.message}", hint=error.hint, key="extends", value=parent) from None
    merged: dict[str, Any] = merge(_load_file(found, is_parent=True), raw)
    return merged


def _build(raw: dict[str, Any], source: str, overrides: Sequence[str], arguments: dict[str, Any]) -> RunConfig:
    given = {key: value for key, value in arguments.items() if value is not None}
    options = [Patch({key: value}, f"--{key}", Path.cwd()) for key, value in given.items()]
    return _build_patched(raw, source, [*options, Patch(parse_overrides(overrides), "--set", Path.cwd())])


def _build_patched(raw: dict[str, Any], source: str, patches: Sequence[Patch]) -> RunConfig:
    merged, leaves = raw, []
    for patch in patches:
        values = resolve_paths(dict(patch.values), patch.folder)
        merged = merge(merged, values)
        leaves += [(leaf, patch.source) for leaf in list_leaves(values)]

    def name_source(keys: tuple[str, ...]) -> str:
        for leaf, name in reversed(leaves):
            if keys[: len(leaf)] == leaf or leaf[: len(keys)] == keys:
                return name
        return source

    method = expand_short_form(merged.get("method"), ("method",))
    if isinstance(method, dict):
        merged = {**merged, "method": _expand_method(method, name_source)}
    return _validate(merged, name_source)


def _expand_method(given: dict[str, Any], name_source: NameSource) -> dict[str, Any]:
    """Return a method's file with `given` over it; a mapping that has all parts needs no file."""
    name = given.get("name")
    if not isinstance(name, str):
        return given  # validation names the key
    shipped = list_shipped("methods")
    if name in shipped:
        raw = load_mapping(shipped[name])
        _validate_method(raw, lambda keys: str(shipped[name]))
        merged: dict[str, Any] = merge(raw, given)
        return merged
    if set(given) >= _METHOD_PARTS:
        return given
    nearest = find_nearest(name, shipped)
    raise ConfigError(
        f"{name_source(('method', 'name'))}: unknown method {show_name(name)}"
        + (f"; did you mean {nearest}?" if nearest else ""),
        hint=f"Methods: {', '.join(shipped)}",
        key="method",
        value=name,
    )


def _validate(raw: Any, name_source: NameSource) -> RunConfig:
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        raise explain(error, RunConfig, name_source) from None


def _validate_method(raw: Any, name_source: NameSource) -> MethodConfig:
    try:
        return MethodConfig.model_validate(raw)
    except ValidationError as error:
        raise explain(error, MethodConfig, name_source) from None
