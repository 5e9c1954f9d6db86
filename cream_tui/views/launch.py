"""A run before it is started: what was typed, what that makes of the base it comes from, the command that starts it.

Knows the configuration's loaders and the words of ``cream-tui run`` and ``fork``. Must not know Textual, nor how the
store is written. The engine's modules are imported when a draft is read, not with this module.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from cream_tui.views.launch_fields import (
    FORM_SECTION,
    MAX_SWEEP,
    Field,
    encode_setting,
    expand_sweep,
    flatten,
    format_setting,
    list_fields,
)
from db.errors import StoreError
from db.rows import RunRow
from engine.errors import CheckpointError, ConfigError, CreamError, TaskError

if TYPE_CHECKING:
    from engine.config.run import RunConfig
    from engine.runtime.lineage import Lineage

RUN_PREFIX = "run:"
DEFAULT_BASE = "sandbox"
# Keys of the form that are no settings.
BASE_KEY, AT_KEY, TAGS_KEY, REUSE_KEY, VERDICTS_KEY = "base", "at", "tags", "reuse", "verdicts"
_YES, _NO = "true", "false"
# Settings with an option of their own; all others go through --set.
_OPTIONS = ("name", "method", "seed")
_MAX_NAME = 80
_SOURCE = re.compile(r"^(--\S+|run .{1,80}?|/\S*|stored configuration): | \(and \d+ more\)$")
# A value that an empty text stands for, refused.
_EMPTY = re.compile(r"^\S+ = (?:null|'')(?:: | is empty.*)")
_NO_NAME = re.compile(r"[/\\\s]+")
# What is checked against files, libraries and the machine; everything else is checked by reading the settings.
_FILE_SECTIONS = frozenset(
    {"iterations", "model", "data", "sampling", "method", "scoring", "adapter", "evaluation", "resources", "report_to"}
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A run that is being written.

    Attributes:
        base: A shipped name or a file, or ``run:NAME`` for a stored run's configuration.
        values: Settings as typed, by key; only those that differ from the base.
        at: The model at which the stored run is forked; empty for a run of its own.
        tags: Apart by commas.
        uses_verdicts: A fork whose pairs a person's verdicts correct.
    """

    base: str = DEFAULT_BASE
    values: Mapping[str, str] = field(default_factory=dict)
    at: str = ""
    tags: str = ""
    is_reusing: bool = True
    uses_verdicts: bool = False

    @property
    def run_reference(self) -> str | None:
        """The stored run that it comes from."""
        return self.base.removeprefix(RUN_PREFIX).strip() if self.base.startswith(RUN_PREFIX) else None

    @property
    def is_fork(self) -> bool:
        """Whether it shares models with the run that it comes from."""
        return bool(self.at.strip()) and self.run_reference is not None

    def list_tags(self) -> list[str]:
        """The tags, each once."""
        return list(dict.fromkeys(tag.strip() for tag in self.tags.split(",") if tag.strip()))

    def change(self, key: str, text: str, base: Base | None) -> Draft:
        """The draft with another text in one field; a setting that is the base's again is no change."""
        if key == BASE_KEY:
            return replace(self, base=text.strip())
        if key == AT_KEY:
            return replace(self, at=text.strip())
        if key == TAGS_KEY:
            return replace(self, tags=text)
        if key in (REUSE_KEY, VERDICTS_KEY):
            is_on = text.strip() == _YES
            return replace(self, is_reusing=is_on) if key == REUSE_KEY else replace(self, uses_verdicts=is_on)
        values = {name: value for name, value in self.values.items() if name != key}
        if base is None or text.strip() != base.texts.get(key, ""):
            values[key] = text
        return replace(self, values=values)

    def list_hidden(self) -> list[str]:
        """Keys of fields that mean nothing for it."""
        if self.run_reference is None and not self.at:
            return [AT_KEY, VERDICTS_KEY]
        return [] if self.is_fork else [VERDICTS_KEY]

    def list_texts(self, base: Base | None) -> dict[str, str]:
        """What every field says."""
        own = {
            BASE_KEY: self.base,
            AT_KEY: self.at,
            TAGS_KEY: self.tags,
            REUSE_KEY: _YES if self.is_reusing else _NO,
            VERDICTS_KEY: _YES if self.uses_verdicts else _NO,
        }
        return {**({} if base is None else base.texts), **self.values, **own}


@dataclass(frozen=True, slots=True)
class Base:
    """What a draft comes from.

    Attributes:
        config: As it is stored or written, without the draft's changes.
        texts: Every setting under the draft's method, as it is typed.
        run: The stored run; None for a file.
    """

    config: RunConfig
    texts: Mapping[str, str]
    run: RunRow | None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a draft cannot start; ``key`` is the field to look at, empty where there is none."""

    key: str
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that is not the base's."""

    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Review:
    """A draft looked at: what is wrong, or the runs that it starts.

    Attributes:
        configs: One per run; several where a field holds a sweep. Empty where something is wrong.
        commands: The words of each run's command, without the program's name.
        swept: Keys of the fields that hold a sweep.
    """

    draft: Draft
    base: Base | None
    problems: tuple[Problem, ...] = ()
    configs: tuple[RunConfig, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    differences: tuple[Difference, ...] = ()
    swept: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether it can start."""
        return not self.problems and bool(self.configs)


def list_form_fields() -> list[Field]:
    """The fields of the form: what the run comes from, the basic settings, how it is started, all other settings."""
    from engine.config.load import list_shipped_runs

    def build(key: str, words: str, *choices: str) -> Field:
        return Field(key, FORM_SECTION, "bool" if choices == (_YES, _NO) else "text", words, choices, is_optional=True)

    settings = list_fields()
    return [
        build(BASE_KEY, f"what it starts from: a shipped name, a YAML file, or {RUN_PREFIX}NAME", *list_shipped_runs()),
        build(AT_KEY, "the model to fork that run at, as M2; empty: a run of its own"),
        build(VERDICTS_KEY, "whether your verdicts on the pairs of that model correct them", _YES, _NO),
        *(f for f in settings if f.is_basic),
        build(TAGS_KEY, "tags of the run, apart by commas"),
        build(REUSE_KEY, "whether stages that other runs have computed are taken over", _YES, _NO),
        *(f for f in settings if not f.is_basic),
    ]


def describe_draft(review: Review) -> str:
    """What it is in a few words."""
    draft, run = review.draft, None if review.base is None else review.base.run
    if run is None:
        return "new run"
    return f"fork of {run.name} at {draft.at.strip()}" if draft.is_fork else f"copy of {run.name}"


def list_rows(draft: Draft, base: Base | None) -> list[tuple[str, str, str | None]]:
    """Every field with its text and the base's."""
    texts, former = draft.list_texts(base), {} if base is None else base.texts
    return [(f.key, texts.get(f.key, ""), former.get(f.key)) for f in list_form_fields()]


def review_draft(draft: Draft, run: RunRow | None, root: Path) -> Review:
    """Look at a draft; ``run`` is the stored run that it comes from, None where there is none; ``root`` the store."""
    try:
        base = load_base(draft, run)
    except (CreamError, StoreError) as error:
        key = "method" if isinstance(error, ConfigError) and error.key == "method" else BASE_KEY
        first = _take_first(error)
        return Review(draft, None, (Problem(key, _strip_source(first.message), first.hint),))
    variants, problems = expand_draft(draft)
    if draft.at.strip() and draft.run_reference is None:
        problems.append(Problem(AT_KEY, "only a stored run is forked", f"write {RUN_PREFIX}NAME as its base"))
    if draft.uses_verdicts and not draft.is_fork:
        problems.append(Problem(AT_KEY, "verdicts correct the pairs of a fork", "name the model to fork at, as M2"))
    configs: list[RunConfig] = []
    commands: list[tuple[str, ...]] = []
    for variant in variants:
        found, config = find_problems(variant, base, root)
        told = {problem.key for problem in problems}
        problems += [problem for problem in found if problem.key not in told]
        if config is not None:
            configs.append(config)
            commands.append(tuple(build_command(variant)))
    swept = tuple(key for key, text in draft.values.items() if len({v.values.get(key) for v in variants}) > 1)
    if problems:
        typed = tuple(Difference(key, base.texts.get(key, ""), text) for key, text in draft.values.items())
        return Review(draft, base, tuple(problems), differences=typed, swept=swept)
    shown = {key: draft.values[key] for key in swept}
    if swept and "name" not in draft.values:
        shown["name"] = f"{configs[0].name} …"
    differences = tuple(find_differences(base, configs[0], shown))
    return Review(draft, base, (), tuple(configs), tuple(commands), differences, swept)


def load_base(draft: Draft, run: RunRow | None) -> Base:
    """What a draft comes from, under the draft's method.

    Raises:
        ConfigError: There is no such file or shipped name, or it is not sound, or there is no such method.
        StoreError: It comes from a stored run, which is not given.
    """
    from engine.config.load import apply_overrides, config_from_json, dump, load_run_config

    method = draft.values.get("method", "").strip() or None
    if method is not None and method.startswith("["):
        method = None
    if draft.run_reference is None:
        config = load_run_config(draft.base)
        own = config if method is None else load_run_config(draft.base, method=method)
        run = None
    elif run is None:
        raise StoreError(f"no run {draft.run_reference!r} in the store")
    else:
        config = config_from_json(run.config_json)
        own = config if method is None else apply_overrides(config, method=method)
    texts = {key: format_setting(value) for key, value in flatten(dump(own)).items()}
    return Base(config, {key: texts.get(key, "") for key in (f.key for f in list_fields())} | texts, run)


def expand_draft(draft: Draft) -> tuple[list[Draft], list[Problem]]:
    """One draft per run of a sweep, named apart by what differs, and fields whose sweep is none."""
    fields = {f.key: f for f in list_fields()}
    ways: dict[str, list[str]] = {}
    problems: list[Problem] = []
    for key, text in draft.values.items():
        try:
            ways[key] = expand_sweep(fields.get(key), text)
        except ValueError as error:
            problems.append(Problem(key, f"{key} = {text.strip()}: {error}"))
            ways[key] = [text]
    n_runs = 1
    for values in ways.values():
        n_runs *= len(values)
    if n_runs > MAX_SWEEP:
        return [], [*problems, Problem(BASE_KEY, f"this makes {n_runs} runs; at most {MAX_SWEEP} start at once")]
    swept = [key for key, values in ways.items() if len(values) > 1]
    order = {f.key: place for place, f in enumerate(list_fields())}
    keys = sorted(ways, key=lambda key: order.get(key, len(order)))
    variants = []
    for way in itertools.product(*(ways[key] for key in keys)):
        chosen = dict(zip(keys, way, strict=True))
        if swept and "name" not in swept:
            chosen["name"] = _name_variant(draft, {key: chosen[key] for key in keys if key in swept})
        variants.append(replace(draft, values=chosen))
    return variants, problems


def find_problems(draft: Draft, base: Base, root: Path) -> tuple[list[Problem], RunConfig | None]:
    """Everything wrong with the settings of one run, one problem a field, or its configuration.

    A setting that is refused is left out and the rest is looked at again.
    """
    problems: list[Problem] = []
    values = dict(draft.values)
    while True:
        try:
            config = _load(replace(draft, values=values), base)
            _check(replace(draft, values=values), base, config, root)
        except (CreamError, StoreError) as error:
            first = _take_first(error)
            key = _find_key(first, values, base)
            message = _strip_source(first.message)
            problems.append(Problem(key, _tell_empty(key, message, base) if key in values else message, first.hint))
            if key not in values:
                return problems, None
            del values[key]
        else:
            return problems, None if problems else config


def find_differences(base: Base, config: RunConfig, swept: Mapping[str, str]) -> list[Difference]:
    """The settings that are not the base's, in the form's order; a swept one shows what was typed."""
    from engine.config.load import dump

    before, after = flatten(dump(base.config)), flatten(dump(config))
    order = [f.key for f in list_fields()]
    keys = [*order, *sorted((before.keys() | after.keys()) - set(order))]
    return [
        Difference(key, format_setting(before.get(key)), swept.get(key) or format_setting(after.get(key)))
        for key in keys
        if before.get(key) != after.get(key) or key in swept
    ]


def build_command(draft: Draft) -> list[str]:
    """The words that start one run, without the program's name: what the app executes, and a shell can."""
    reference = draft.run_reference
    if reference is None:
        words = ["run", draft.base]
    else:
        words = ["fork", reference, "--at", draft.at.strip()] if draft.is_fork else ["run", "--from", reference]
    options = {key: draft.values[key].strip() for key in _OPTIONS if key in draft.values}
    if not options.get("seed", "").isdigit():
        options.pop("seed", None)
    for override in _list_overrides(draft, left_out=options):
        words += ["--set", override]
    for key, text in options.items():
        words += [f"--{key}", text]
    for tag in draft.list_tags():
        words += ["--tag", tag]
    if not draft.is_reusing and not draft.is_fork:
        words.append("--no-reuse")
    if draft.uses_verdicts and draft.is_fork:
        words.append("--use-verdicts")
    return words


def prepare(draft: Draft, run: RunRow, root: Path) -> tuple[RunConfig, Lineage]:
    """The configuration and the past of the fork that a draft describes.

    Raises:
        CreamError: The fork cannot start.
    """
    from engine.runtime.intent import prepare_fork

    method, name = _get_words(draft)
    return prepare_fork(
        root,
        run,
        at=draft.at.strip(),
        overrides=_list_overrides(draft, left_out=("name", "method")),
        method=method,
        name=name,
        use_verdicts=draft.uses_verdicts,
    )


def _list_overrides(draft: Draft, *, left_out: Container[str]) -> list[str]:
    """The changed settings as --set takes them, in the form's order."""
    fields = {f.key: f for f in list_fields()}
    keys = [*fields, *sorted(draft.values.keys() - fields.keys())]
    return [
        f"{key}={encode_setting(fields.get(key), draft.values[key])}"
        for key in keys
        if key in draft.values and key not in left_out
    ]


def _load(draft: Draft, base: Base) -> RunConfig:
    from engine.config.load import apply_overrides, load_run_config

    overrides = _list_overrides(draft, left_out=("name", "method"))
    method, name = _get_words(draft)
    if base.run is not None:
        if name is None and draft.is_fork:
            name = f"{base.run.name}-{draft.at.strip()}"
        return apply_overrides(base.config, overrides=overrides, method=method, name=name)
    return load_run_config(draft.base, overrides=overrides, method=method, name=name)


def _get_words(draft: Draft) -> tuple[str | None, str | None]:
    """Method and name where they are changed."""
    words = {key: draft.values[key].strip() for key in ("method", "name") if key in draft.values}
    return words.get("method"), words.get("name")


def _check(draft: Draft, base: Base, config: RunConfig, root: Path) -> None:
    """Check the files that the settings name, and what a fork may change.

    Raises:
        CreamError: What is wrong.
    """
    if draft.is_fork and base.run is not None:
        prepare(draft, base.run, root)
        return
    from engine.config.load import dump

    content = {key: value for key, value in dump(config).items() if key in _FILE_SECTIONS}
    fault = _find_fault(json.dumps({**content, "name": "draft"}), tuple(_stamp(path) for path in list_files(config)))
    if fault is not None:
        raise fault


@lru_cache(maxsize=64)
def _find_fault(settings: str, stamps: tuple[object, ...]) -> CreamError | None:
    """What is wrong with the files of a configuration; the same files are not read at every key press."""
    from engine.config.load import check_files, config_from_json
    from engine.runtime.intent import check_config

    config = config_from_json(settings)
    try:
        check_files(config)
        check_config(config)
    except CreamError as error:
        return error
    return None


def list_files(config: RunConfig) -> list[Path]:
    """The files and the model folder that a configuration names."""
    prompts = config.data.prompts
    sources = [config.data.sft, *(prompts.choose(t) for t in range(1, config.iterations + 1))]
    names = [source.path for source in sources if source is not None and source.kind == "file"]
    names += [path for _, path in config.evaluation.files]
    names += [model.path for model in config.scoring.reward_models.values()]
    names += filter(None, [config.scoring.judge.prompt])
    return [Path(name) for name in (*names, *filter(None, [config.model.path]))]


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size


def _find_key(error: CreamError | StoreError, values: Mapping[str, str], base: Base) -> str:
    """The field that an error is about: a changed one where it can be, empty where none is known."""
    named = getattr(error, "key", None)
    if isinstance(error, CheckpointError):  # its message begins with the key of the folder
        begin = error.message.partition(": ")[0]
        named = begin if begin.startswith("scoring.") else "model.path"
    if isinstance(error, TaskError):
        texts = {**base.texts, **values}
        sources = {"data.prompts", "data.sft", "evaluation.tasks", "evaluation.preference_sets"}
        named = next((key for key in sources if key in error.message), None) or next(
            (
                key
                for key in sources
                for name in texts.get(key, "").split(",")
                if name.strip() and Path(name.strip()).name in error.message
            ),
            None,
        )
    if named is None or named in values:
        return named or ""
    if named in ("at", "use-verdicts"):
        return AT_KEY if named == "at" else VERDICTS_KEY
    near = [key for key in values if key.startswith(f"{named}.") or named.startswith(f"{key}.")]
    return near[0] if near else named


def _take_first(error: CreamError | StoreError) -> CreamError | StoreError:
    """The first of several errors that are told as one."""
    return error.parts[0] if isinstance(error, ConfigError) else error


def _strip_source(message: str) -> str:
    """An error's message without the option that it came from: in a form the field says that."""
    return _SOURCE.sub("", message)


def _tell_empty(key: str, message: str, base: Base) -> str:
    """An error about a field that was emptied, in words for a form; any other as it is."""
    found = _EMPTY.match(message)
    if found is None:
        return message
    default = next((f.default for f in list_fields() if f.key == key), None)
    known = f"the default is {default}" if default else f"the base has {base.texts[key]}" if base.texts.get(key) else ""
    expected = message[found.end() :]
    return "; ".join(filter(None, [f"{key} is empty" + (f": {expected}" if expected else ""), known]))


def _name_variant(draft: Draft, chosen: Mapping[str, str]) -> str:
    """A name for one run of a sweep: the draft's, and what tells it from the others."""
    own = draft.values.get("name", "").strip() or draft.base.removeprefix(RUN_PREFIX)
    own = Path(own).stem if draft.run_reference is None and "name" not in draft.values else own
    parts = [value if key == "method" else f"{_abbreviate(key)}{value}" for key, value in chosen.items()]
    return _NO_NAME.sub("-", "-".join([own, *parts]))[:_MAX_NAME]


def _abbreviate(key: str) -> str:
    """The start of each word of a key's last part: learning_rate is lr, beta stays."""
    words = key.rpartition(".")[2].split("_")
    return words[0] if len(words) == 1 else "".join(word[0] for word in words)
