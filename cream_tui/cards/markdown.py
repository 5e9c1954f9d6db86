"""Markdown that holds foreign text, and configurations without what only this machine knows. Pure.

A name may be hostile and a path private: every text passes `escape`, every setting `hide_places`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from cream_tui.text import make_visible
from cream_tui.views.launch_yaml import encode_yaml

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#!|~&$])")
_ADDRESS = re.compile(r"^\w[\w+.-]*://")
HIDDEN_ADDRESS = "(an address of its own)"


def escape(text: str) -> str:
    """The text as Markdown shows it letter by letter, on one line."""
    return _SPECIAL.sub(r"\\\1", make_visible(text))


def build_head(facts: Mapping[str, Any]) -> str:
    """The YAML that a hub reads; what is None or empty is left out."""
    return f"---\n{encode_yaml({key: value for key, value in facts.items() if value})}---\n"


def build_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts that are escaped already."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def build_fence(text: str, language: str) -> str:
    """The text as it is; the fence is longer than any inside."""
    longest = max((len(found) for found in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{make_visible(text, keep_newlines=True).rstrip()}\n{fence}\n"


def hide_places(value: Any) -> Any:
    """A setting without folders of this machine and addresses: of a path its last part stays."""
    if isinstance(value, Mapping):
        return {hide_places(key): hide_places(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [hide_places(item) for item in value]
    if not isinstance(value, str):
        return value
    if _ADDRESS.match(value):
        return HIDDEN_ADDRESS
    for path in (PurePosixPath(value), PureWindowsPath(value)):
        if path.is_absolute() or value.startswith(("~", "./", "../")):
            return path.name
    return value
