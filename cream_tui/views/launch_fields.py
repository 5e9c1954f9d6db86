"""The settings of a run as fields of a form, made from the configuration's classes; between typed text and YAML.

Knows the configuration's schema and how a value is written. Must not know drafts, the store or Textual. pydantic is
imported when the fields are asked for, not with this module.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel

Kind = Literal["text", "int", "float", "bool", "list"]

RUN_SECTION = "run"
# Of fields that are no settings: what the run comes from, its tags, and how it is started.
FORM_SECTION = "form"
# What most runs change, in the order of the form; the rest follows by section.
BASIC_KEYS = (
    "name",
    "method",
    "seed",
    "iterations",
    "model.kind",
    "model.path",
    "data.sft",
    "data.prompts",
    "data.prompts_per_iteration",
    "sampling.n",
    "sampling.temperature",
    "training.beta",
    "training.learning_rate",
)
# Sources have a short form: their path alone.
_SOURCES = ("data.sft", "data.prompts")
_LEAST_PLAIN = Decimal("0.001")
_RANGE = re.compile(r"(\d{1,9})\s*\.\.\s*(\d{1,9})")
MAX_SWEEP = 64


@dataclass(frozen=True, slots=True)
class Field:
    """One setting.

    Attributes:
        key: Dotted, as --set takes it.
        choices: The only values, where there are few.
        default: As text; None where a value is needed.
        is_optional: Whether no value (empty text) is allowed.
    """

    key: str
    section: str
    kind: Kind
    help: str
    choices: tuple[str, ...] = ()
    default: str | None = None
    is_optional: bool = False

    @property
    def is_basic(self) -> bool:
        """Whether the form shows it first."""
        return self.key in BASIC_KEYS or self.section == FORM_SECTION

    @property
    def label(self) -> str:
        """Its key without the section."""
        return self.key.removeprefix(f"{self.section}.")


@cache
def list_fields() -> tuple[Field, ...]:
    """Every setting: the basic ones in their order, then all others by section."""
    from engine.config.load import list_shipped_methods
    from engine.config.run import RunConfig

    found = {field.key: field for field in _walk(RunConfig, "", RUN_SECTION)}
    found["method"] = Field(
        "method", RUN_SECTION, "text", RunConfig.model_fields["method"].description or "", tuple(list_shipped_methods())
    )
    del found["method.name"]
    return tuple([found[key] for key in BASIC_KEYS] + [f for key, f in found.items() if key not in BASIC_KEYS])


def find_fields(fields: Sequence[Field], words: str) -> list[Field]:
    """The fields whose key holds every word; where there is none, those whose key or help does."""
    wanted = words.casefold().split()
    named = [f for f in fields if all(word in f.key.casefold() for word in wanted)]
    return named or [f for f in fields if all(word in f"{f.key} {f.help}".casefold() for word in wanted)]


def flatten(content: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """A configuration's values by dotted key, with a source under its short form and a method under ``method``."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        key = f"{at}.{name}" if at else name
        if key in _SOURCES and isinstance(value, Mapping):
            flat[key] = value.get("path")
            flat |= flatten({part: item for part, item in value.items() if part != "path"}, key)
        elif key == "method.name":
            flat["method"] = value
        elif isinstance(value, Mapping):
            flat |= flatten(value, key)
        else:
            flat[key] = value
    return flat


def format_setting(value: object) -> str:
    """A value as it is typed; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        exact = Decimal(repr(value))
        return f"{exact.normalize():e}" if 0 < abs(exact) < _LEAST_PLAIN else repr(value)
    if isinstance(value, Mapping):
        return json.dumps({name: item for name, item in value.items() if item is not None}, ensure_ascii=False)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(format_setting, value))
    return str(value)


def encode_setting(field: Field | None, text: str) -> str:
    """A typed text as the YAML value that --set takes; an unknown key's text is taken as YAML."""
    text = text.strip()
    if field is not None and field.kind == "list":
        inner = text.removeprefix("[").removesuffix("]") if text.startswith("[") and text.endswith("]") else text
        if "{" in inner:  # mappings among the texts: YAML as it stands
            return f"[{inner}]"
        return "[" + ", ".join(_quote(part.strip()) for part in inner.split(",") if part.strip()) + "]"
    if not text:
        return "null" if field is None or field.is_optional or field.kind in ("int", "float", "bool") else "''"
    if field is None or field.kind in ("int", "float", "bool"):
        return text
    return _quote(text)


def expand_sweep(field: Field | None, text: str) -> list[str]:
    """The values that a text stands for: ``[0.1, 0.5]`` for each of a list, ``1..3`` for each of a range.

    Raises:
        ValueError: It stands for more values than a sweep takes, or for none.
    """
    text = text.strip()
    if field is None or field.kind == "list":
        return [text]
    is_list = text.startswith("[") and text.endswith("]")
    parts = [part.strip() for part in text[1:-1].split(",")] if is_list else [text]
    values = list(dict.fromkeys(value for part in parts for value in _expand_range(field, part)))
    if is_list and not any(parts):
        raise ValueError("names no value")
    if len(values) > MAX_SWEEP:
        raise ValueError(f"stands for {len(values)} runs; at most {MAX_SWEEP}")
    return values


def _expand_range(field: Field, text: str) -> Iterable[str]:
    found = _RANGE.fullmatch(text) if field.kind == "int" else None
    if found is None:
        return [text]
    first, last = int(found[1]), int(found[2])
    if last < first:
        raise ValueError(f"{text} runs backwards")
    if last - first >= MAX_SWEEP:
        raise ValueError(f"{text} stands for {last - first + 1} runs; at most {MAX_SWEEP}")
    return map(str, range(first, last + 1))


def _quote(text: str) -> str:
    """The text as YAML that reads as this very text."""
    from engine.config.yaml_loader import parse_yaml
    from engine.errors import ConfigError

    try:
        if parse_yaml(text, "value") == text and "," not in text:
            return text
    except ConfigError:
        pass
    return json.dumps(text, ensure_ascii=False)


def _walk(model: type[BaseModel], at: str, section: str) -> Iterator[Field]:
    for name, info in model.model_fields.items():
        key = f"{at}.{name}" if at else name
        annotation, is_optional = _unwrap(info.annotation)
        if get_origin(annotation) is dict:
            continue  # named by the person: no form knows how many; the YAML beside it does
        default = None if info.is_required() else format_setting(info.get_default(call_default_factory=True))
        if key in _SOURCES:
            yield Field(key, section, "text", info.description or "", is_optional=is_optional)
            yield from (f for f in _walk(annotation, key, section) if f.label.split(".")[-1] != "path")
        elif isinstance(annotation, type) and hasattr(annotation, "model_fields"):
            yield from _walk(annotation, key, section if at else name)
        else:
            kind, choices = _classify(annotation)
            choices = choices or _list_known(info.json_schema_extra)
            yield Field(key, section, kind, info.description or "", choices, default, is_optional)


def _unwrap(annotation: Any) -> tuple[Any, bool]:
    """The type without ``| None`` and Annotated, and whether None is allowed."""
    if get_origin(annotation) in (Union, types.UnionType):
        options = [option for option in get_args(annotation) if option is not type(None)]
        return _unwrap(options[0])[0], len(options) < len(get_args(annotation))
    if hasattr(annotation, "__metadata__"):
        return _unwrap(get_args(annotation)[0])
    return annotation, False


def _classify(annotation: Any) -> tuple[Kind, tuple[str, ...]]:
    if get_origin(annotation) is Literal:
        return "text", tuple(map(str, get_args(annotation)))
    if get_origin(annotation) is tuple:
        inner = get_args(annotation)[0]
        known = (_list_known(getattr(part, "json_schema_extra", None)) for part in getattr(inner, "__metadata__", ()))
        return "list", next(filter(None, known), _classify(_unwrap(inner)[0])[1])
    if annotation is bool:
        return "bool", ("true", "false")
    kinds: Sequence[tuple[type, Kind]] = ((int, "int"), (float, "float"))
    return next((kind for cls, kind in kinds if annotation is cls), "text"), ()


def _list_known(schema_extra: Any) -> tuple[str, ...]:
    """The names that a text of checked form is mostly one of."""
    options = schema_extra.get("anyOf", ()) if isinstance(schema_extra, dict) else ()
    return tuple(str(name) for option in options for name in option.get("enum", ()))
