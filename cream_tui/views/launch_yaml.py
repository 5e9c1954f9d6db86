"""A draft as a YAML document, to be edited or kept, and back.

Knows how a configuration is written. Must not know where the text comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cream_tui.views.launch import Base, Draft
from cream_tui.views.launch_fields import encode_setting, flatten, format_setting, list_fields

# What the short form of a mapping stands for.
_NAMES = {"method": "name", "data.sft": "path", "data.prompts": "path"}


def encode_yaml(content: Mapping[str, Any]) -> str:
    """A configuration as YAML, in its own order."""
    import yaml

    text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=False, default_flow_style=None, width=100)
    return str(text)


def write_document(draft: Draft, base: Base) -> str:
    """Every setting of a draft as YAML; one that is not sound, or holds a sweep, as it was typed."""
    from engine.config.yaml_loader import parse_yaml
    from engine.errors import ConfigError

    fields = {f.key: f for f in list_fields()}
    values: dict[str, Any] = {}
    for key, text in (dict(base.texts) | dict(draft.values)).items():
        is_sweep = text.strip().startswith("[") and key in fields and fields[key].kind != "list"
        try:
            values[key] = parse_yaml(text if is_sweep else encode_setting(fields.get(key), text), key)
        except ConfigError:
            values[key] = text
    return encode_yaml(_nest(values, list(type(base.config).model_fields)))


def read_document(text: str, draft: Draft, base: Base) -> Draft:
    """The draft with the settings of a document; what the document leaves out stays as it is in the base.

    Raises:
        ConfigError: The text is no YAML, or no mapping.
    """
    from engine.config.yaml_loader import parse_yaml
    from engine.errors import ConfigError

    content = parse_yaml(text, "the document")
    if not isinstance(content, dict):
        raise ConfigError("the document holds no `key: value` lines")
    fields = {f.key: f for f in list_fields()}
    values: dict[str, str] = {}
    for key, value in flatten({str(name): item for name, item in content.items()}).items():
        shown = format_setting(value)
        if isinstance(value, list) and key in fields and fields[key].kind != "list":
            shown = f"[{shown}]"
        if shown != base.texts.get(key, "") or (key == "method" and shown != base.config.method.name):
            values[key] = shown
    return replace(draft, values=values)


def _nest(values: Mapping[str, Any], sections: Sequence[str]) -> dict[str, Any]:
    """Sections in this order from dotted keys; of a source that is none, nothing else is written."""
    nested: dict[str, Any] = {}
    order = {name: place for place, name in enumerate(sections)}
    for key in sorted(values, key=lambda key: order.get(key.split(".")[0], len(order))):
        value = values[key]
        parts = key.split(".")
        source = ".".join(parts[:2])
        if source in _NAMES and source != key and values.get(source) is None:
            continue
        if key in _NAMES and value is not None:
            parts.append(_NAMES[key])
        place = nested
        for part in parts[:-1]:
            below = place.get(part)
            if not isinstance(below, dict):
                below = place[part] = {}
            place = below
        place[parts[-1]] = value
    return _drop_empty(nested)


def _drop_empty(nested: dict[str, Any]) -> dict[str, Any]:
    """Without sections that hold nothing: an agreement that the method has not, a source that is none."""
    for key, value in list(nested.items()):
        if isinstance(value, dict):
            nested[key] = None if all(item is None for item in value.values()) else _drop_empty(value)
    return nested
