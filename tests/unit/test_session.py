"""What the app remembers, and that nothing in its files can stop it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cream_tui.shell.session import read_settings, read_view, restore_target, write_settings, write_view
from cream_tui.shell.themes import ANSI_DARK, CONTRAST, DARK, LIGHT, choose_theme
from cream_tui.targets import RunsTarget


def test_a_view_comes_back(tmp_path: Path) -> None:
    write_view(tmp_path, {"mode": "pairs", "run_id": "abc"})
    assert read_view(tmp_path) == {"mode": "pairs", "run_id": "abc"}
    assert [path.name for path in tmp_path.iterdir()] == ["view.json"]


def test_a_view_makes_no_store(tmp_path: Path) -> None:
    write_view(tmp_path / "none", {"mode": "run"})
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("text", ["", "[1]", "{", "null", '"x"', "\ud800"])
def test_a_broken_view_is_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "view.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    assert read_view(tmp_path) == {}


def test_settings_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert read_settings() == {}
    write_settings({"theme": LIGHT})
    assert read_settings() == {"theme": LIGHT}


@pytest.mark.parametrize("run_id", ["gone", 5, None, ["a"]])
def test_a_run_that_is_gone_leads_to_the_list(tmp_path: Path, run_id: object) -> None:
    assert restore_target(tmp_path, {"mode": "run", "run_id": run_id}) == RunsTarget()


@pytest.mark.parametrize(
    ("wished", "environment", "theme"),
    [
        (None, {}, DARK),
        (None, {"COLORFGBG": "0;15"}, LIGHT),
        (None, {"COLORFGBG": "15;default;0"}, DARK),
        (CONTRAST, {"COLORFGBG": "0;15"}, CONTRAST),
        ("nonsense", {}, DARK),
        (LIGHT, {"NO_COLOR": "1"}, ANSI_DARK),
        (LIGHT, {"NO_COLOR": ""}, LIGHT),
    ],
)
def test_the_theme_to_begin_with(wished: str | None, environment: dict[str, str], theme: str) -> None:
    assert choose_theme(wished, environment) == theme
