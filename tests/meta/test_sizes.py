"""The house rules that a machine can check: module and function sizes, names of files."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for package in ("cream_tui", "engine", "db") for path in (ROOT / package).rglob("*.py"))
MAX_MODULE, MAX_CLASS, MAX_FUNCTION = 600, 300, 60
VAGUE = {"utils", "helpers", "common", "tools", "misc"}


def test_modules_are_found() -> None:
    assert len(MODULES) > 60


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_is_small_and_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert path.stem not in VAGUE
    assert text.count("\n") <= MAX_MODULE
    assert ast.get_docstring(tree), "no module docstring"
    for node in ast.walk(tree):
        length = getattr(node, "end_lineno", 0) - getattr(node, "lineno", 0) + 1
        if isinstance(node, ast.ClassDef):
            assert length <= MAX_CLASS, f"class {node.name} has {length} lines"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert length <= MAX_FUNCTION, f"{node.name} has {length} lines"
