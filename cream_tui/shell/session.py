"""What the app remembers: the last view, per store, and what a person prefers, for all stores.

Knows two small JSON files. Must not know screens. A file that cannot be read or written costs the memory, not the app.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from cream_tui.targets import HealthTarget, PairsTarget, RunsTarget, RunTarget, StudyTarget, Target
from db.errors import StoreError
from db.reading import fetch_rows, open_reader

VIEW_FILE = "view.json"
SETTINGS_FILE = "settings.json"
KEYS_FILE = "keys.yaml"


def find_settings_folder() -> Path:
    """The folder of keys.yaml and settings.json: $XDG_CONFIG_HOME/cream-tui or its like."""
    from platformdirs import user_config_path

    return user_config_path("cream-tui")


def read_view(root: Path) -> dict[str, Any]:
    """The last view of this store; empty where there is none."""
    return _read(root / VIEW_FILE)


def write_view(root: Path, view: Mapping[str, Any]) -> None:
    """Keep the view; where the store does not exist there is nothing to keep."""
    if root.is_dir():
        _write(root / VIEW_FILE, view)


def restore_target(root: Path, view: Mapping[str, Any]) -> Target:
    """Where the person was; the list of runs where that is gone."""
    run_id, study_id = view.get("run_id"), view.get("study_id")
    if view.get("mode") == "study" and isinstance(study_id, str) and _has(root, "study", study_id):
        return StudyTarget(study_id)
    if isinstance(run_id, str) and _has(root, "run", run_id):
        match view.get("mode"):
            case "run":
                return RunTarget(run_id)
            case "pairs":
                return PairsTarget(run_id)
            case "health":
                return HealthTarget(run_id)
    return RunsTarget()


def read_settings() -> dict[str, Any]:
    """What the person prefers."""
    return _read(find_settings_folder() / SETTINGS_FILE)


def write_settings(settings: Mapping[str, Any]) -> None:
    """Keep what the person prefers."""
    folder = find_settings_folder()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / SETTINGS_FILE, settings)


def _has(root: Path, table: str, row_id: str) -> bool:
    try:
        with closing(open_reader(root)) as connection:
            return bool(fetch_rows(connection, f"SELECT 1 FROM {table} WHERE {table}_id = ?", (row_id,)))
    except StoreError:
        return False


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with contextlib.suppress(OSError):
        part.write_text(json.dumps(content), encoding="utf-8")
        part.replace(path)
