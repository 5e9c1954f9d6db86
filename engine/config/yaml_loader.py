"""YAML as people mean it: `1e-4` is a number, a key stands once, an error is one line with the file and the line.

Numbers are those of YAML 1.2, with `_` between digits; `no`, `on` and dates are text; anchors are refused (they make a
small file as large as it likes). Infinite and undefined numbers parse, so that validation can name their key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode

from engine.errors import ConfigError

_BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float"))
_REPLACED = {_BOOL, _INT, _FLOAT, "tag:yaml.org,2002:timestamp"}
_INT_PATTERN = re.compile(r"[-+]?(?:0x[0-9a-fA-F]+|0o[0-7]+|[0-9]+(?:_[0-9]+)*)$")
_FLOAT_PATTERN = re.compile(
    r"[-+]?(?:(?:[0-9]+(?:_[0-9]+)*)(?:\.(?:[0-9]+(?:_[0-9]+)*)?)?|\.[0-9]+(?:_[0-9]+)*)(?:[eE][-+]?[0-9]+)?$"
    r"|[-+]?\.?(?:inf|Inf|INF)$|\.?(?:nan|NaN|NAN)$"
)
_MAX_DIGITS = 100
_BOOL_PATTERN = re.compile(r"(?:true|True|TRUE|false|False|FALSE)$")


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 numbers, unique text keys and no aliases."""

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        if self.check_event(AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise ConstructorError(None, None, "anchors and aliases (&, *) are not supported", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise ConstructorError(None, None, f"the key {key!r} is no text; put it in quotes", key_node.start_mark)
            if key in seen:
                raise ConstructorError(None, None, f"the key {key!r} stands here twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _construct_int(loader: _Loader, node: ScalarNode) -> int:
    digits = str(loader.construct_scalar(node)).replace("_", "")
    try:
        if len(digits) > _MAX_DIGITS:
            raise ValueError
        return int(digits, 0) if digits.lstrip("+-")[:2] in ("0x", "0o") else int(digits)
    except ValueError as error:  # a tag on what is no number, or thousands of digits
        raise ConstructorError(None, None, f"{digits[:40]!r} is no whole number", node.start_mark) from error


def _construct_float(loader: _Loader, node: ScalarNode) -> float:
    digits = str(loader.construct_scalar(node)).replace("_", "").lower()
    if digits.lstrip("+-").lstrip(".") in ("inf", "nan"):
        return math.nan if "nan" in digits else -math.inf if digits.startswith("-") else math.inf
    try:
        return float(digits)
    except ValueError as error:
        raise ConstructorError(None, None, f"{digits[:40]!r} is no number", node.start_mark) from error


def _construct_bool(loader: _Loader, node: ScalarNode) -> bool:
    text = str(loader.construct_scalar(node))
    if not _BOOL_PATTERN.match(text):
        raise ConstructorError(None, None, f"{text[:40]!r} is neither true nor false", node.start_mark)
    return text.lower() == "true"


def _construct_str(loader: _Loader, node: ScalarNode) -> str:
    text = str(loader.construct_scalar(node))
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ConstructorError(None, None, f"{text[:40]!a} is no valid text (half a character)", node.start_mark)
    return text


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, _BOOL_PATTERN, list("tTfF"))
_Loader.add_implicit_resolver(_INT, _INT_PATTERN, list("-+0123456789"))
_Loader.add_implicit_resolver(_FLOAT, _FLOAT_PATTERN, list("-+.0123456789iInN"))
_Loader.add_constructor(_BOOL, _construct_bool)
_Loader.add_constructor(_INT, _construct_int)
_Loader.add_constructor(_FLOAT, _construct_float)
_Loader.add_constructor("tag:yaml.org,2002:str", _construct_str)


def parse_yaml(text: str, source: str) -> Any:
    """Return the value that `text` stands for; `source` names it in errors.

    Raises:
        ConfigError: the text is no YAML, or has a key twice; the message names source and line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = source if mark is None else f"{source}, line {mark.line + 1}"
        raise ConfigError(f"{where}: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{source}, line {line}: holds a character that YAML does not allow") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{source}: is nested too deeply") from None
    except (ValueError, LookupError, TypeError, AttributeError):  # PyYAML leaks these on malformed tagged values
        raise ConfigError(f"{source}: is no valid YAML") from None


def load_mapping(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises:
        ConfigError: the file cannot be read, is empty, or holds anything but a mapping.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder", hint="Name a YAML file.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ConfigError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    value = parse_yaml(text, str(path))
    if value is None:
        raise ConfigError(f"{path} is empty", hint="A configuration starts with `name: ...` on its first line.")
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds no mapping: write `key: value` lines")
    return value
