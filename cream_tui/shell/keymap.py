"""Keys that a person chose: keys.yaml, one line per action, as ``runs.stop: ctrl+x``.

Knows the file. Must not know screens. Ids of actions are those that the help screen and ``cream-tui keys`` show.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cream_tui.shell.session import KEYS_FILE, find_settings_folder
from engine.errors import find_nearest


@dataclass(frozen=True, slots=True)
class ChosenKeys:
    """Keys by the id of their action, and what was wrong with the file."""

    keys: dict[str, str]
    problems: tuple[str, ...] = ()


def find_keys_file() -> Path:
    """Where the file is looked for."""
    return find_settings_folder() / KEYS_FILE


def read_keys(path: Path, known_ids: Collection[str]) -> ChosenKeys:
    """The chosen keys; a line that names no action is left out and told."""
    if not path.is_file():
        return ChosenKeys({})
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        return ChosenKeys({}, (f"{path} cannot be read: {' '.join(str(error).split())}",))
    if not isinstance(content, dict):
        return ChosenKeys({}, (f"{path} holds no lines like runs.stop: ctrl+x",))
    keys, problems = {}, []
    for name, key in content.items():
        if name not in known_ids:
            nearest = find_nearest(str(name), known_ids)
            problems.append(f"{path}: no action {name}" + (f"; did you mean {nearest}?" if nearest else ""))
        elif not isinstance(key, str) or not key.strip():
            problems.append(f"{path}: {name} needs a key, as ctrl+x, not {key!r}")
        else:
            keys[name] = key.strip()
    return ChosenKeys(keys, tuple(problems))
