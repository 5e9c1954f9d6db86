"""How printed commands name the program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cream_tui.stores import format_command


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "env" / "bin" / "cream-tui"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(path)])
    return path


def test_program_off_the_path_is_named_by_its_place(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    assert format_command("ls", None) == "env/bin/cream-tui ls"


def test_program_on_the_path_is_named_plainly(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(program.parent))
    assert format_command("ls", "my store") == "cream-tui ls --store 'my store'"


def test_module_run_names_the_console_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/cream_tui/__main__.py"])
    assert format_command("show a", None) == "cream-tui show a"
