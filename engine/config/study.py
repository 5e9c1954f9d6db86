"""A study: methods x seeds x settings from one file, and the runs that come of it.

Knows the file and how its parts make configurations; what a setting may hold is up to a run's configuration. Must not
know stores. The main path enters at ``load_study``.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from engine.config.explain import explain
from engine.config.load import Patch, compute_config_digest, find_config, load_patched_configs
from engine.config.merge import merge, parse_overrides
from engine.config.run import MAX_SEED, RunConfig, check_name
from engine.config.section import PlainText, Section, refuse
from engine.config.shipped import find_file
from engine.config.yaml_loader import load_mapping
from engine.errors import ConfigError, find_nearest, join_errors
from engine.keys import compute_key

MAX_RUNS = 2000
MAX_NAME = 40  # of a study: its runs' names start with it
_MAX_RUN_NAME = 80
_DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_SEEDS = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")
_OWN_KEYS = {"seed": "seeds", "method": "methods", "method.name": "methods", "name": "name"}
# By the part of the file that it replaces, an option and an example of its value.
_OPTIONS = {"seeds": ("--seeds", "0-4"), "name": ("--name", "NAME"), "config": ("--config", "CONFIG")}
# Last words of a dotted key that say little alone.
_VAGUE_WORDS = {"kind", "value", "n", "name", "path"}


class ArmMethod(Section):
    """A method of a study, with settings that hold for it alone."""

    name: Annotated[PlainText, Field(max_length=80, description="name of a shipped method")]
    set: Annotated[dict[str, Any], Field(description="settings of its runs", default_factory=dict)]


def _expand_method(value: Any) -> Any:
    """Return the mapping that a method's name stands for, a mapping unchanged."""
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, dict):
        reason = "is neither a method's name nor a mapping with name and set"
        raise PydanticCustomError("refused", "{reason}", {"reason": reason, "hint": "For example: methods: [srlm]"})
    return value


def _expand_seeds(value: Any) -> Any:
    """Return the list that ``{from: 0, count: 5}`` stands for, a list unchanged."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise PydanticCustomError(
            "refused", "{reason}", {"reason": "is neither a list nor a mapping with from and count"}
        )
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
        tuple[Annotated[ArmMethod, BeforeValidator(_expand_method)], ...],
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
        source: The path of its file, for messages.
        config: The file's content, with what was changed at the command line.
    """

    source: str
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
    return find_file(name_or_path, "sweeps")


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
        ConfigError: a key, method or setting is unknown or not allowed, nothing would run, or something twice; all
            that is found is told.
    """
    path = find_study_file(name_or_path)
    given = parse_overrides(overrides)
    raw = _rename(load_mapping(path), config, name)
    problems = _Problems(str(path))
    study = _validate(raw if seeds is None else {**raw, "seeds": list(seeds)}, problems, is_named=name is not None)
    # A configuration that was named at the command line means a file of the current folder.
    folder = path.absolute().parent if config is None else Path.cwd()
    base = _find_base(study, folder, problems, is_option=config is not None)
    arms = _build_arms(study, base, folder, given, problems)
    problems.refuse()
    return Study(str(path), study.model_copy(update={"set": {**study.set, **dict(_walk(given))}}), arms)


class _Problems:
    """What is wrong with a study, collected, so that all of it is told at once."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.found: list[ConfigError] = []

    def add(self, message: str, key: str, hint: str | None = None) -> None:
        """Note what is wrong with the file, or with an option, which the message then begins with."""
        place = "" if message.startswith("--") else f"{self.source}: "
        self.found.append(ConfigError(f"{place}{message}", hint=hint, key=key))

    def refuse(self) -> None:
        """Raise what was found, if anything was."""
        if self.found:
            raise join_errors(self.found)


def _rename(raw: dict[str, Any], config: str | None, name: str | None) -> dict[str, Any]:
    """Return the file's content with what the command line says of it."""
    if config is not None:
        raw = {**raw, "config": config, "name": f"{raw.get('name')}-{Path(config).stem}"}
    return raw if name is None else {**raw, "name": name}


def _validate(raw: dict[str, Any], problems: _Problems, *, is_named: bool) -> StudyConfig:
    """Return the checked file; where parts of it are wrong, what is left without them and the baseline."""
    try:
        return StudyConfig.model_validate(raw)
    except ValidationError as error:

        def name_source(keys: tuple[str, ...]) -> str:
            return "--name" if is_named and keys == ("name",) else problems.source

        problems.found.append(explain(error, StudyConfig, name_source))
        wrong = {"baseline", *(problem["loc"][0] for problem in error.errors())}
    try:
        return StudyConfig.model_validate({key: value for key, value in raw.items() if key not in wrong})
    except ValidationError:
        raise join_errors(problems.found) from None


def _find_base(study: StudyConfig, folder: Path, problems: _Problems, *, is_option: bool) -> Path | None:
    try:
        return find_config(study.config, folder)
    except ConfigError as error:
        problems.add(f"{'--config' if is_option else 'config'}: {error.message}", "config", error.hint)
        return None


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


def _build_arms(
    config: StudyConfig, base: Path | None, folder: Path, overrides: Mapping[str, Any], problems: _Problems
) -> tuple[PlannedArm, ...]:
    """Return the arms, without those that something is wrong with."""
    given, recipes = _flatten(overrides, "--set", problems), _list_recipes(config, problems)
    words = _name_keys([key for recipe in recipes for key in (*recipe.own, *recipe.varied)])
    titles = [recipe.name_arm(words, given) for recipe in recipes]
    if (twice := _find_repeated(titles)) is not None:
        problems.add(f"two arms are called `{twice}`", "methods", "Take one of them out.")
    _check_baseline(config.baseline, titles, problems)
    common, seeds = _nest(_flatten(config.set, "set", problems)), _check_seeds(config, problems)
    source, patches = problems.source, []
    for title, recipe in zip(titles, recipes, strict=True):
        for seed in seeds:
            own = {"method": {"name": recipe.method}, "seed": seed, "name": _name_run(config.name, title, seed)}
            settings = (common, own, _nest(recipe.own), _nest(recipe.varied))
            in_file = [Patch(part, source, folder) for part in settings]
            patches.append([*in_file, Patch(_nest(given), "--set", Path.cwd())])
    if base is None:
        return ()
    try:
        configs = load_patched_configs(base, patches)
    except ConfigError as error:
        problems.found.append(error)
        return ()
    arms = [PlannedArm(title, made) for title, made in zip(_repeat(titles, len(seeds)), configs, strict=True)]
    _refuse_equal_arms(arms, problems)
    return tuple(arms)


def _repeat(titles: Sequence[str], n_seeds: int) -> list[str]:
    return [title for title in titles for _ in range(n_seeds)]


def _check_baseline(baseline: str | None, titles: Sequence[str], problems: _Problems) -> None:
    """Nothing is said where what is wrong elsewhere may have changed the titles."""
    if baseline is not None and baseline not in titles and not problems.found:
        nearest = find_nearest(baseline, titles)
        guess = f"; did you mean {nearest}?" if nearest else ""
        problems.add(f"baseline {baseline}: no arm is called so{guess}", "baseline", f"There are {', '.join(titles)}.")


def _check_size(config: StudyConfig, varied: Mapping[str, Sequence[Any]], problems: _Problems) -> None:
    """Refuse a matrix before it is spelled out, which may take longer than anybody waits."""
    n_runs = math.prod([len(config.methods), len(config.seeds), *map(len, varied.values())])
    if n_runs > MAX_RUNS:
        problems.add(f"makes {n_runs} runs; at most {MAX_RUNS} are one study", "vary")
        problems.refuse()


def _check_seeds(config: StudyConfig, problems: _Problems) -> Sequence[int]:
    """Return the seeds, each once."""
    if not config.seeds:
        problems.add("seeds is empty: no run would start", "seeds", "For example: seeds: [0, 1]")
    if (repeated := _find_repeated(config.seeds)) is not None:
        problems.add(f"seeds: {repeated} stands there twice", "seeds", "The same seed again says nothing new.")
    return list(dict.fromkeys(config.seeds))


def _find_repeated(values: Sequence[Any]) -> Any:
    """Return the first value that stands there twice, None where there is none."""
    return next((value for place, value in enumerate(values) if value in values[:place]), None)


def _list_recipes(config: StudyConfig, problems: _Problems) -> list[_Recipe]:
    if not config.methods:
        problems.add("methods is empty: no run would start", "methods", "For example: methods: [srlm, cream]")
    varied = _check_varied(_flatten(config.vary, "vary", problems), problems)
    _check_size(config, varied, problems)
    own = [_flatten(method.set, f"methods ({method.name}): set", problems) for method in config.methods]
    return [
        _Recipe(method.name, settings, dict(zip(varied, choice, strict=True)))
        for method, settings in zip(config.methods, own, strict=True)
        for choice in itertools.product(*varied.values())
    ]


def _check_varied(varied: Mapping[str, Any], problems: _Problems) -> dict[str, Sequence[Any]]:
    """Return the keys that have a list of values, with each of these once."""
    found: dict[str, Sequence[Any]] = {}
    for key, values in varied.items():
        place = f"vary.{key}"
        if not isinstance(values, list):
            hint = f"Write [{_show(values)}], or move it to set."
            problems.add(f"{place} = {_show(values)}: expected a list of values", place, hint)
        elif not values:
            problems.add(f"{place} is empty: no run would start", place)
        else:
            found[key] = [value for n, value in enumerate(values) if value not in values[:n]]
            if len(found[key]) < len(values):
                repeated = _find_repeated(values)
                problems.add(f"{place}: {_show(repeated)} stands there twice", place)
    return found


def _flatten(settings: Mapping[str, Any], place: str, problems: _Problems) -> dict[str, Any]:
    """Return settings by dotted key; they may be written nested or dotted. What is wrong is left out."""
    found: dict[str, Any] = {}
    for key, value in _walk(settings):
        if not _DOTTED.fullmatch(key):
            problems.add(f"{place}: {key!a} is no key", place, "For example: training.beta")
        elif (owner := _find_owner(key)) is not None:
            hint = _name_option(owner, value) if place == "--set" else None
            hint = hint or f"Write it as {owner} into the study's file."
            problems.add(f"{place}.{key}: a study has `{owner}` for that", f"{place}.{key}", hint)
        elif key in found:
            problems.add(f"{place}: {key} stands there twice", f"{place}.{key}")
        else:
            found[key] = value
    return found


def _name_option(owner: str, value: Any) -> str | None:
    """Return how the command line says a part of the file, None where only the file does."""
    if owner not in _OPTIONS:
        return None
    option, example = _OPTIONS[owner]
    return f"Write {option} {shlex.quote(_show(value)) if isinstance(value, int | str) else example}."


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


def _refuse_equal_arms(arms: Sequence[PlannedArm], problems: _Problems) -> None:
    """One pair of them is enough; arms of one title are another problem."""
    seen: dict[str, PlannedArm] = {}
    for arm in arms:
        other = seen.setdefault(compute_config_digest(arm.config), arm)
        if other.title != arm.title:
            message = f"the arms `{other.title}` and `{arm.title}` are the same run with seed {arm.seed}"
            problems.add(message, "methods", "Take one of them out, or give one other settings.")
            return
