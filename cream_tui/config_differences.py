"""In which settings configurations differ, key by key.

Pure: knows nested mappings. Must not know which keys a configuration has, nor how a difference is shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

# What a run is called is no setting.
_NAME_KEY = "name"


def load_config(config_json: str) -> dict[str, Any]:
    """A stored configuration; empty where the text is none."""
    try:
        content = json.loads(config_json)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def flatten_config(value: Any, at: str = "") -> dict[str, Any]:
    """Dotted keys with their values; lists and empty sections are values."""
    if isinstance(value, Mapping) and value:
        return {
            key: item
            for name, child in value.items()
            for key, item in flatten_config(child, f"{at}.{name}" if at else name).items()
        }
    return {at: value}


def list_settings(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Every dotted key, the name aside, with its value in each configuration; None where one has no such key."""
    flat = [flatten_config(config) for config in configs]
    keys = dict.fromkeys(key for config in flat for key in config if key)
    return {key: [config.get(key) for config in flat] for key in keys if key != _NAME_KEY}


def find_differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The settings whose values differ between the configurations."""
    return {key: values for key, values in list_settings(configs).items() if is_different(values)}


def is_different(values: Sequence[Any]) -> bool:
    """Whether the values are not all the same."""
    return any(value != values[0] for value in values)


def format_setting(value: Any) -> str:
    """A value as a reader writes it: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
