"""Keys that a person chose: what is taken, what is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from cream_tui.shell.keymap import read_keys

KNOWN = ("runs.stop", "runs.open", "app.quit")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "keys.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_no_file_means_no_choice(tmp_path: Path) -> None:
    assert read_keys(tmp_path / "keys.yaml", KNOWN).keys == {}


def test_chosen_keys_are_read(tmp_path: Path) -> None:
    chosen = read_keys(write(tmp_path, "runs.stop: ctrl+x\napp.quit: ' f10 '\n"), KNOWN)
    assert chosen.keys == {"runs.stop": "ctrl+x", "app.quit": "f10"}
    assert chosen.problems == ()


def test_an_unknown_action_is_told_with_the_nearest_and_the_rest_counts(tmp_path: Path) -> None:
    chosen = read_keys(write(tmp_path, "runs.stpo: x\nruns.open: o\n"), KNOWN)
    assert chosen.keys == {"runs.open": "o"}
    assert len(chosen.problems) == 1
    assert "runs.stpo" in chosen.problems[0] and "did you mean runs.stop?" in chosen.problems[0]


@pytest.mark.parametrize("text", ["runs.stop: [x]", "runs.stop: 5", "runs.stop: ''", "- runs.stop", "a: b: c", "\x00"])
def test_a_broken_file_is_told_and_changes_nothing(tmp_path: Path, text: str) -> None:
    chosen = read_keys(write(tmp_path, text), KNOWN)
    assert chosen.keys == {}
    assert len(chosen.problems) == 1 and "keys.yaml" in chosen.problems[0]


def test_an_empty_file_is_fine(tmp_path: Path) -> None:
    assert read_keys(write(tmp_path, "# nothing yet\n"), KNOWN).problems == ()
