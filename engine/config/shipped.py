"""Where the shipped configuration files are, and what they are called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from engine.errors import ConfigError, find_nearest

VARIABLE = "CREAM_CONFIGS"
Kind = Literal["runs", "methods", "sweeps"]
_NOUNS: dict[Kind, str] = {"runs": "configuration", "methods": "method", "sweeps": "study"}
_SUFFIXES = (".yaml", ".yml", ".json")


def find_configs_folder() -> Path:
    """Return the folder with `runs/` and `methods/`: $CREAM_CONFIGS, else the packaged copy, else the checkout's.

    Raises:
        ConfigError: the variable names no such folder, or the installation has none.
    """
    named = os.environ.get(VARIABLE)
    if named:
        folder = Path(named).expanduser().absolute()
        if not (folder / "methods").is_dir():
            raise ConfigError(
                f"{VARIABLE}={named} is no configuration folder",
                hint="It needs the folders runs and methods. Unset the variable to use the shipped files.",
            )
        return folder
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_configs", package.parent / "configs"):
        if (folder / "methods").is_dir():
            return folder
    raise ConfigError("the shipped configuration files are missing", hint="Install cream-tui again.")


def list_shipped(kind: Kind) -> dict[str, Path]:
    """Return the shipped files of one kind by name, sorted."""
    return {
        path.stem: path for path in sorted((find_configs_folder() / kind).glob("*.yaml"), key=lambda path: path.stem)
    }


def find_file(name_or_path: str, kind: Kind, folder: Path = Path()) -> Path:
    """Return the file of a shipped name, or of a path.

    Args:
        folder: What a relative path means.

    Raises:
        ConfigError: There is neither; the hint lists the shipped names.
    """
    shipped = list_shipped(kind)
    if name_or_path in shipped:
        return shipped[name_or_path]
    shown, is_folder = show_name(name_or_path), False
    try:
        path = folder / Path(name_or_path).expanduser()
        if name_or_path.strip():
            if path.is_file():
                return path
            is_folder = path.is_dir()
    except (OSError, ValueError, RuntimeError):  # no name of a file, or no home folder
        path = Path(name_or_path)
    hint = f"Name a YAML file, or one of the shipped: {', '.join(shipped)}."
    if is_folder:
        message = f"{shown} is a folder, not a {_NOUNS[kind]} file"
    elif os.sep in name_or_path or name_or_path.endswith(_SUFFIXES):
        message = f"no such file: {show_name(str(path))}"
    else:
        message, nearest = f"no {_NOUNS[kind]} {shown}", find_nearest(name_or_path, shipped)
        hint += f" Did you mean {nearest}?" if nearest else ""
    raise ConfigError(message, hint=hint, value=name_or_path)


def show_name(name: str) -> str:
    """Return a name as a message can hold it."""
    name = name if len(name) <= 200 else name[:197] + "..."
    return name if name.isprintable() and name.strip() else ascii(name)


def read_purpose(path: Path) -> str:
    """Return the first comment of a file, which says what it is; empty without one."""
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def list_shipped_runs() -> list[str]:
    """Return the names that `run CONFIG` takes."""
    return list(list_shipped("runs"))


def list_shipped_methods() -> list[str]:
    """Return the names that `method: NAME` takes."""
    return list(list_shipped("methods"))
