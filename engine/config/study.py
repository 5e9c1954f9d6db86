"""A study: methods x seeds x settings from one file, and the runs that come of it.

Knows the file and how its parts make configurations; what a setting may hold is up to a run's configuration. Must not
know stores. The main path enters at ``load_study``.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from engine.config.explain import explain
from engine.config.load import Patch, compute_config_digest, load_patched_configs
from engine.config.merge import merge, parse_overrides
from engine.config.run import MAX_SEED, RunConfig, check_name
from engine.config.section import PlainText, Section, refuse
from engine.config.shipped import list_shipped
from engine.config.yaml_loader import load_mapping
from engine.errors import ConfigError, find_nearest
from engine.keys import compute_key

MAX_RUNS = 2000
MAX_NAME = 40  # of a study: its runs' names start with it
_MAX_RUN_NAME = 80
_DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_SEEDS = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")
_OWN_KEYS = {"seed": "seeds", "method": "methods", "method.name": "methods", "name": "name"}
# Last words of a dotted key that say little alone.
_VAGUE_WORDS = {"kind", "value", "n", "name", "path"}


class ArmMethod(Section):
    """A method of a study, with settings that hold for it alone."""

    name: Annotated[PlainText, Field(max_length=80, description="name of a shipped method")]
    set: Annotated[dict[str, Any], Field(description="settings of its runs", default_factory=dict)]


def _expand_methods(value: Any) -> Any:
    return (
        [{"name": entry} if isinstance(entry, str) else entry for entry in value] if isinstance(value, list) else value
    )


def _expand_seeds(value: Any) -> Any:
    """Return the list that ``{from: 0, count: 5}`` stands for, anything else unchanged."""
    if not isinstance(value, dict):
        return value
    unknown = next((key for key in value if key not in ("from", "count")), None)
    first, count = value.get("from", 0), value.get("count")
    if unknown is not None:
        refuse(unknown, None, "is no key here; seeds takes a list, or from and count")
    if type(first) is not int:
        refuse("from", first, "is no whole number")
    if type(count) is not int or not 1 <= count <= MAX_RUNS:
        refuse("count", count, f"is no whole number from 1 to {MAX_RUNS}")
    return list(range(first, first + count))


class StudyConfig(Section):
    """A study file."""

    name: Annotated[
        PlainText,
        AfterValidator(check_name),
        Field(max_length=MAX_NAME, description=f"name of the study, 1 to {MAX_NAME} characters"),
    ]
    config: Annotated[PlainText, Field(description="the run that all start from: a shipped name or a file")]
    methods: Annotated[
        tuple[ArmMethod, ...],
        BeforeValidator(_expand_methods),
        Field(strict=False, description="names of methods, or mappings: name, and in set what differs"),
    ]
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...],
        BeforeValidator(_expand_seeds),
        Field(strict=False, description="a list of seeds, or {from: 0, count: 5}"),
    ] = (0,)
    baseline: Annotated[
        PlainText | None,
        Field(max_length=200, description="the arm that all others are compared with, by its title; null: the first"),
    ] = None
    set: Annotated[dict[str, Any], Field(description="settings of every run", default_factory=dict)]
    vary: Annotated[
        dict[str, Any],
        Field(description="settings with a list of values each; every combination is an arm", default_factory=dict),
    ]


@dataclass(frozen=True, slots=True)
class PlannedArm:
    """One run of a study.

    Attributes:
        title: What sets it apart from others of its seed, as "cream beta=0.5".
        config: Its full configuration; its name is that of the run.
    """

    title: str
    config: RunConfig

    @property
    def method(self) -> str:
        return self.config.method.name

    @property
    def seed(self) -> int:
        return self.config.seed


@dataclass(frozen=True, slots=True)
class Study:
    """A checked study; its arms in the order in which they are started.

    Attributes:
        config: The file, with what was changed at the command line.
    """

    config: StudyConfig
    arms: tuple[PlannedArm, ...]

    @property
    def name(self) -> str:
        return self.config.name


def find_study_file(name_or_path: str) -> Path:
    """Return the file of a study: a path, or a shipped name.

    Raises:
        ConfigError: there is neither; the message lists the shipped names.
    """
    shipped = list_shipped("sweeps")
    if name_or_path in shipped:
        return shipped[name_or_path]
    try:
        path = Path(name_or_path).expanduser()
        if name_or_path.strip() and path.is_file():
            return path
        is_folder = bool(name_or_path.strip()) and path.is_dir()
    except (OSError, ValueError, RuntimeError):
        is_folder = False
    nearest = find_nearest(Path(name_or_path).stem, shipped)
    guess = f" Did you mean {nearest}?" if nearest else ""
    shown = name_or_path if name_or_path.isprintable() and name_or_path.strip() else ascii(name_or_path)
    raise ConfigError(
        f"{shown} is a folder, not a study file" if is_folder else f"no study {shown}",
        hint=f"Name a YAML file, or one of the shipped: {', '.join(shipped)}.{guess}",
        value=name_or_path,
    )


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of a text like 0-4 or 0,1,20-24, in its order.

    Raises:
        ConfigError: a part is neither a number nor a range, a seed stands there twice, or there are too many.
    """
    found: list[int] = []
    for part in text.split(","):
        match = _SEEDS.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise ConfigError(
                f"--seeds {text!a} are no seeds", hint="For example: --seeds 0-4, or 0,1,2", key="--seeds"
            )
        if len(found) + last - first >= MAX_RUNS:
            raise ConfigError(f"--seeds {text!a} are too many: a study has at most {MAX_RUNS} runs", key="--seeds")
        if last > MAX_SEED:
            raise ConfigError(f"--seeds {text!a}: the largest seed is {MAX_SEED}", key="--seeds")
        found += range(first, last + 1)
    if (repeated := _find_repeated(found)) is not None:
        raise ConfigError(f"--seeds {text!a}: {repeated} stands there twice", key="--seeds")
    return found


def load_study(
    name_or_path: str,
    *,
    overrides: Sequence[str] = (),
    config: str | None = None,
    name: str | None = None,
    seeds: Sequence[int] | None = None,
) -> Study:
    """Return the checked study of a file or shipped name, every arm's configuration included.

    Seeds are the inner loop: runs side by side then differ in their seed, and do not wait for each other's first
    stages. Relative paths mean the study's folder first, those of overrides the current folder.

    Args:
        overrides: ``key=value`` settings of every run; they win over all others.
        config: another run that all start from; the study's name then ends in its name, unless ``name`` is given.
        name: what the study is called.
        seeds: instead of those of the file.

    Raises:
        ConfigError: a key, method or setting is unknown or not allowed, nothing would run, or something twice.
    """
    path = find_study_file(name_or_path)
    given = parse_overrides(overrides)
    raw = _rename(load_mapping(path), config, name)
    study = _validate(raw if seeds is None else {**raw, "seeds": list(seeds)}, path, is_named=name is not None)
    # A configuration that was named at the command line means a file of the current folder.
    folder = path.absolute().parent if config is None else Path.cwd()
    try:
        arms = _build_arms(study, str(path), folder, given)
    except _Refused as problem:
        raise ConfigError(f"{path}: {problem}", hint=problem.hint, key=problem.key) from None
    return Study(study.model_copy(update={"set": {**study.set, **dict(_walk(given))}}), arms)


def _rename(raw: dict[str, Any], config: str | None, name: str | None) -> dict[str, Any]:
    """Return the file's content with what the command line says of it."""
    if config is not None:
        raw = {**raw, "config": config, "name": f"{raw.get('name')}-{Path(config).stem}"}
    return raw if name is None else {**raw, "name": name}


def _validate(raw: dict[str, Any], path: Path, *, is_named: bool) -> StudyConfig:
    try:
        return StudyConfig.model_validate(raw)
    except ValidationError as error:
        is_option = is_named and error.errors()[0]["loc"][:1] == ("name",)
        raise explain(error, StudyConfig, lambda keys: "--name" if is_option else str(path)) from None


class _Refused(Exception):
    """What is wrong with a study, without its file."""

    def __init__(self, message: str, key: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.key = key
        self.hint = hint


@dataclass(frozen=True, slots=True)
class _Recipe:
    """A row of the matrix: a method with its own settings and one choice of the varied ones, by dotted key."""

    method: str
    own: Mapping[str, Any]
    varied: Mapping[str, Any]

    def name_arm(self, words: Mapping[str, str], given: Mapping[str, Any]) -> str:
        """Return its title; ``words`` are what dotted keys are called there, ``given`` values win."""
        settings = {**self.own, **self.varied}
        settings |= {key: given[key] for key in settings if key in given}
        return " ".join([self.method, *(f"{words[key]}={_show(value)}" for key, value in settings.items())])


def _build_arms(config: StudyConfig, source: str, folder: Path, overrides: Mapping[str, Any]) -> tuple[PlannedArm, ...]:
    varied, given = _flatten(config.vary, "vary"), _flatten(overrides, "--set")
    _check_size(config, varied)
    recipes, seeds = _list_recipes(config, varied), _check_seeds(config)
    words = _name_keys([key for recipe in recipes for key in (*recipe.own, *recipe.varied)])
    twice = _find_repeated([recipe.name_arm(words, given) for recipe in recipes])
    if twice is not None:
        raise _Refused(f"two arms are called `{twice}`", "methods", "Take one of them out.")
    common = Patch(_nest(_flatten(config.set, "set")), source, folder)
    titles, patches = [], []
    for recipe in recipes:
        title = recipe.name_arm(words, given)
        for seed in seeds:
            own = {"method": {"name": recipe.method}, "seed": seed, "name": _name_run(config.name, title, seed)}
            settings = [Patch(_nest(part), source, folder) for part in (recipe.own, recipe.varied)]
            titles.append(title)
            patches.append([common, Patch(own, source, folder), *settings, Patch(overrides, "--set", Path.cwd())])
    configs = load_patched_configs(config.config, folder, patches)
    arms = [PlannedArm(title, made) for title, made in zip(titles, configs, strict=True)]
    _refuse_equal_arms(arms)
    _check_baseline(config.baseline, list(dict.fromkeys(titles)))
    return tuple(arms)


def _check_baseline(baseline: str | None, titles: Sequence[str]) -> None:
    if baseline is not None and baseline not in titles:
        nearest = find_nearest(baseline, titles)
        guess = f"; did you mean {nearest}?" if nearest else ""
        raise _Refused(
            f"baseline {baseline}: no arm is called so{guess}", "baseline", f"There are {', '.join(titles)}."
        )


def _check_size(config: StudyConfig, varied: Mapping[str, Any]) -> None:
    """Refuse a matrix before it is spelled out, which may take longer than anybody waits."""
    choices = [len(values) for values in varied.values() if isinstance(values, list) and values]
    n_runs = math.prod([len(config.methods), len(config.seeds), *choices])
    if n_runs > MAX_RUNS:
        raise _Refused(f"makes {n_runs} runs; at most {MAX_RUNS} are one study", "vary")


def _check_seeds(config: StudyConfig) -> Sequence[int]:
    seeds = config.seeds
    if not seeds:
        raise _Refused("seeds is empty: no run would start", "seeds", "For example: seeds: [0, 1]")
    repeated = _find_repeated(seeds)
    if repeated is not None:
        raise _Refused(f"seeds: {repeated} stands there twice", "seeds", "The same seed again says nothing new.")
    return seeds


def _find_repeated(values: Sequence[Any]) -> Any:
    """Return the first value that stands there twice, None where there is none."""
    return next((value for place, value in enumerate(values) if value in values[:place]), None)


def _list_recipes(config: StudyConfig, varied: Mapping[str, Any]) -> list[_Recipe]:
    if not config.methods:
        raise _Refused("methods is empty: no run would start", "methods", "For example: methods: [srlm, cream]")
    for key, values in varied.items():
        if not isinstance(values, list):
            raise _Refused(
                f"vary.{key} = {_show(values)}: expected a list of values",
                f"vary.{key}",
                f"Write [{_show(values)}], or move it to set.",
            )
        if not values:
            raise _Refused(f"vary.{key} is empty: no run would start", f"vary.{key}")
        if (repeated := _find_repeated(values)) is not None:
            raise _Refused(f"vary.{key}: {_show(repeated)} stands there twice", f"vary.{key}")
    own = [_flatten(method.set, f"methods ({method.name}): set") for method in config.methods]
    return [
        _Recipe(method.name, settings, dict(zip(varied, choice, strict=True)))
        for method, settings in zip(config.methods, own, strict=True)
        for choice in itertools.product(*varied.values())
    ]


def _flatten(settings: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return settings by dotted key; they may be written nested or dotted."""
    found: dict[str, Any] = {}
    for key, value in _walk(settings):
        if not _DOTTED.fullmatch(key):
            raise _Refused(f"{place}: {key!a} is no key", place, "For example: training.beta")
        owner = _find_owner(key)
        if owner is not None:
            raise _Refused(
                f"{place}.{key}: a study has `{owner}` for that",
                f"{place}.{key}",
                f"Write it as {owner} into the study's file.",
            )
        if key in found:
            raise _Refused(f"{place}: {key} stands there twice", f"{place}.{key}")
        found[key] = value
    return found


def _find_owner(key: str) -> str | None:
    """Return the part of a study's file that a dotted key belongs to, None where it is a setting of a run."""
    if key in _OWN_KEYS:
        return _OWN_KEYS[key]
    first = key.partition(".")[0]
    return first if first in StudyConfig.model_fields and first not in RunConfig.model_fields else None


def _walk(settings: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _walk(value, f"{at}{key}.")
        else:
            yield f"{at}{key}", value


def _nest(settings: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        for word in reversed(key.split(".")):
            value = {word: value}
        nested = merge(nested, value)
    return nested


def _name_keys(keys: Sequence[str]) -> dict[str, str]:
    """Return what dotted keys are called in titles: their last word, more where that is vague or another's too."""
    names = {}
    for key in dict.fromkeys(keys):
        words = key.split(".")
        n_words = 2 if words[-1] in _VAGUE_WORDS else 1
        while n_words < len(words) and any(
            other != key and other.split(".")[-n_words:] == words[-n_words:] for other in keys
        ):
            n_words += 1
        names[key] = ".".join(words[-n_words:])
    return names


def _show(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _name_run(study: str, title: str, seed: int) -> str:
    """Return the name of a run; a long one ends in its title's digest and seed."""
    slug = re.sub(r"[^\w.=+,-]+", "-", title)
    name = f"{study}-{slug}-s{seed}"
    if len(name) <= _MAX_RUN_NAME:
        return name
    end = f"-{compute_key(title)[:8]}-s{seed}"
    return name[: _MAX_RUN_NAME - len(end)] + end


def _refuse_equal_arms(arms: Sequence[PlannedArm]) -> None:
    seen: dict[str, PlannedArm] = {}
    for arm in arms:
        other = seen.setdefault(compute_config_digest(arm.config), arm)
        if other is not arm:
            raise _Refused(
                f"the arms `{other.title}` and `{arm.title}` are the same run with seed {arm.seed}",
                "methods",
                "Take one of them out, or give one other settings.",
            )
