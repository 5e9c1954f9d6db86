"""The read side stays light: it is on the path of ``ls`` and of the app."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import db

PROJECT = Path(db.__file__).parent.parent
HEAVY = ("sqlmodel", "sqlalchemy", "pydantic", "numpy", "scipy", "pandas", "torch", "textual", "typer", "click", "rich")
LIGHT = (
    *(
        "rows",
        "errors",
        "faults",
        "paths",
        "schema",
        "reading",
        "queries",
        "overview",
        "pair_browse",
        "pair_detail",
        "exports",
    ),
    *("annotations", "run_queue", "compare_reads", "plan_reads", "run_series", "studies"),
)


@pytest.mark.parametrize("module", LIGHT)
def test_module_brings_nothing_heavy(module: str) -> None:
    script = f"import sys, db.{module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PROJECT
    ).stdout.split()
    assert "db" in loaded
    assert set(HEAVY) & set(loaded) == set()
    assert {"engine", "cream_tui"} & set(loaded) == set()


def test_db_imports_neither_of_its_users() -> None:
    script = "import sys, db.writes, db.exports, db.overview; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PROJECT
    ).stdout.split()
    assert "sqlmodel" in loaded
    assert {"engine", "cream_tui", "torch", "textual"} & set(loaded) == set()
