"""The app on a recorded store, through its keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from driving import OpenApp, copy_store, settle
from textual.pilot import Pilot

from cream_tui.app import CreamApp
from cream_tui.shell import actions
from cream_tui.targets import Target

SIZES = ((120, 40), (80, 24))


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings and files of the app stay inside the test; colours are on."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("COLORFGBG", raising=False)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A copy of the recorded store, to write to."""
    return copy_store(tmp_path)


@pytest.fixture
def open_app(store: Path) -> OpenApp:
    """Opens the app on the recorded store: ``async with open_app(target, size=(80, 24)) as (app, pilot)``."""

    @asynccontextmanager
    async def opened(
        target: Target | None = None, *, size: tuple[int, int] = (120, 40), root: Path | None = None
    ) -> AsyncIterator[tuple[CreamApp, Pilot[int]]]:
        app = CreamApp(root or store, target)
        async with app.run_test(size=size) as pilot:
            await settle(pilot)
            yield app, pilot

    return opened


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that the app calls; they end well and do nothing."""
    calls: list[list[str]] = []

    def note(words: list[str], root: Path, **_: object) -> actions.Outcome:
        calls.append(list(words))
        return actions.Outcome(0, "", "")

    monkeypatch.setattr("cream_tui.services.call_command", note)
    return calls


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    """Where the app was asked to go."""
    targets: list[Target] = []
    monkeypatch.setattr(CreamApp, "go_to", lambda self, target: targets.append(target))
    return targets
