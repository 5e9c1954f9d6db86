"""Where the shipped configuration files are, and what they are called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from engine.errors import ConfigError

VARIABLE = "CREAM_CONFIGS"
Kind = Literal["runs", "methods", "sweeps"]


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
