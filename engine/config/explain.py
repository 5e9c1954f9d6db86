"""From pydantic's list of problems to one ConfigError that a person can act on: a line for each."""

from __future__ import annotations

import reprlib
import types
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from engine.errors import ConfigError, find_nearest, join_errors

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 80
_REPR.maxlevel = 3

_EXPECTED: dict[str, Callable[[dict[str, Any]], str]] = {
    "int_type": lambda _: "a whole number",
    "float_type": lambda _: "a number",
    "bool_type": lambda _: "true or false",
    "string_type": lambda _: "text",
    "model_type": lambda _: "a mapping of keys",
    "dict_type": lambda _: "a mapping of keys",
    "tuple_type": lambda _: "a list",
    "finite_number": lambda _: "a finite number",
    "greater_than": lambda ctx: f"a number above {ctx['gt']}",
    "greater_than_equal": lambda ctx: f"a number of at least {ctx['ge']}",
    "less_than": lambda ctx: f"a number below {ctx['lt']}",
    "less_than_equal": lambda ctx: f"a number of at most {ctx['le']}",
    "too_long": lambda ctx: f"at most {ctx['max_length']} characters",
    "too_short": lambda ctx: f"a list of at least {ctx['min_length']}",
    "literal_error": lambda ctx: f"one of {ctx['expected'].replace(' or ', ', ')}",
}


NameSource = Callable[[tuple[str, ...]], str]


def explain(error: ValidationError, root: type[BaseModel], name_source: NameSource) -> ConfigError:
    """Return one ConfigError for all problems, unknown keys before all others.

    `name_source` tells which file or option set a key.
    """
    problems = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
    return join_errors(_explain_one(problem, root, name_source) for problem in problems)


def _explain_one(problem: ErrorDetails, root: type[BaseModel], name_source: NameSource) -> ConfigError:
    keys = [str(part) for part in problem["loc"] if not str(part).startswith("<")]  # which form of a setting it is
    value = problem["input"]
    context: dict[str, Any] = problem.get("ctx", {})
    if "key" in context:
        keys += context["key"].split(".")
        value = context["value"]
    message, hint = _describe(problem, value, keys, root)
    return ConfigError(f"{name_source(tuple(keys))}: {message}", hint=hint, key=".".join(keys), value=value)


def _describe(
    problem: ErrorDetails, value: object, keys: Sequence[str], root: type[BaseModel]
) -> tuple[str, str | None]:
    key, kind, context = ".".join(keys) or "configuration", problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        choices = list_keys(root, keys[:-1])
        nearest = find_nearest(keys[-1], choices) or _find_by_initials(keys[-1], choices)
        place = f"Keys of {'.'.join(keys[:-1])}" if keys[:-1] else "Keys"
        found = _find_elsewhere(root, keys[-1]) or (".".join([*keys[:-1], nearest]) if nearest else None)
        guess = f"; did you mean {found}?" if found else ""
        return f"unknown key {key}{guess}", f"{place}: {', '.join(choices)}"
    if kind == "missing":
        return f"{key} is missing", _find_description(root, keys)
    shown = _show(value)
    if kind == "refused":
        return f"{key}{'' if value is None else f' = {shown}'} {context['reason']}", context.get("hint")
    if kind == "value_error":
        return f"{key}: {context['error']}", None
    expected = _EXPECTED[kind](context) if kind in _EXPECTED else problem["msg"]
    return f"{key} = {shown}: expected {expected}", _guess_remedy(kind, value, context)


def _guess_remedy(kind: str, value: object, context: dict[str, Any]) -> str | None:
    if kind == "tuple_type" and isinstance(value, str | int):
        return f"Write [{value}]."
    if not isinstance(value, str):
        if kind == "int_type" and isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            return f"Write {int(value)}."
        return "Put it in quotes." if kind == "string_type" and isinstance(value, int | float) else None
    if kind in ("int_type", "float_type"):
        try:
            float(value.replace("_", ""))
        except ValueError:
            return None
        return f"Text is no number: write {value} without quotes."
    if kind == "literal_error":
        choices = [choice.strip("'") for choice in context["expected"].replace(" or ", ", ").split(", ")]
        nearest = find_nearest(value, choices)
        return f"Did you mean {nearest}?" if nearest else None
    return None


def _show(value: object) -> str:
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else _REPR.repr(value)
    text = {"None": "null", "True": "true", "False": "false"}.get(text, text)
    return text if len(text) <= 80 else text[:77] + "..."


def list_keys(root: type[BaseModel], keys: Sequence[str]) -> list[str]:
    """Return the valid keys below the dotted place `keys`."""
    section = _find_section(root, keys)
    return [] if section is None else list(section.model_fields)


def _find_section(root: type[BaseModel], keys: Sequence[str]) -> type[BaseModel] | None:
    annotation: Any = root
    for key in keys:
        section = _get_model(annotation)
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        elif get_origin(annotation) is tuple:
            annotation = get_args(annotation)[0]
        elif section is not None and key in section.model_fields:
            annotation = section.model_fields[key].annotation
        else:
            return None
    return _get_model(annotation)


def _find_by_initials(name: str, choices: Sequence[str]) -> str | None:
    return next((choice for choice in choices if "".join(word[0] for word in choice.split("_")) == name), None)


def _find_elsewhere(root: type[BaseModel], key: str) -> str | None:
    """Return the dotted place where a key of this very name is valid."""
    sections = ((name, _get_model(field.annotation)) for name, field in root.model_fields.items())
    places = [""] if key in root.model_fields else []
    places += [f"{name}." for name, section in sections if section is not None and key in section.model_fields]
    return " or ".join(f"{place}{key}" for place in places) or None


def _find_description(root: type[BaseModel], keys: Sequence[str]) -> str | None:
    section = _find_section(root, keys[:-1])
    field = None if section is None else section.model_fields.get(keys[-1])
    return None if field is None or field.description is None else f"{keys[-1]}: {field.description}"


def _get_model(annotation: Any) -> type[BaseModel] | None:
    if get_origin(annotation) is Annotated:
        return _get_model(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return next(filter(None, map(_get_model, get_args(annotation))), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
