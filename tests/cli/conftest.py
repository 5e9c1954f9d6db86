"""Recorded stores and ways to call the command line."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from recording import NASTY, Recorder
from typer.main import get_command
from typer.testing import CliRunner

from cream_tui.cli import app, run_command
from db.annotations import write_verdict
from db.queries import find_pairs, open_reader, read_runs
from db.session import open_store


@dataclass(frozen=True)
class Called:
    """What a call of the command line left."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def store_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs on shared stages, SRLM first; read only."""
    root = tmp_path_factory.mktemp("recorded") / "store"
    recorder = Recorder(open_store(root))
    recorder.record("demo-srlm", "srlm", tags=("demo",), accuracies=(0.5, 0.7, 0.8, 0.4))
    recorder.record("demo-cream", "cream", tags=("demo",))
    return root


@pytest.fixture(scope="session")
def nasty_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run whose every text is hostile, its name too; read only."""
    root = tmp_path_factory.mktemp("nasty") / "store"
    recorder = Recorder(open_store(root))
    recorder.record("a\x1b[2Jb\u202ec [red]x[/]", "cream", tags=("t\x9b31m",), texts=NASTY)
    recorder.record("other", "srlm", texts=NASTY)
    with closing(open_reader(root)) as connection:
        for _, stage_id, prompt_id in find_pairs(connection, read_runs(connection)[0].run_id, "p1-0"):
            write_verdict(root, stage_id, prompt_id, verdict="swap", is_flagged=True, note=NASTY[0] + NASTY[2])
    return root


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(open_store(tmp_path / "store"))


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Called]:
    """Calls a command in this process, through the same entry as the console script."""

    def call_command(*arguments: str, env: dict[str, str] | None = None) -> Called:
        runner = CliRunner()
        with runner.isolation(env=env) as (stdout, stderr, _):
            code = run_command(arguments)
            sys.stdout.flush()
            sys.stderr.flush()
            return Called(code, stdout.getvalue().decode(), stderr.getvalue().decode())

    return call_command


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Calls a command in this process on a terminal without colours; what it drew there."""

    def draw_command(width: int, *arguments: str) -> str:
        screen, terminal = pty.openpty()
        drawn: list[bytes] = []
        reader = threading.Thread(target=_read_to_the_end, args=(screen, drawn))
        reader.start()
        with monkeypatch.context() as patch, os.fdopen(terminal, "w", encoding="utf-8") as stdout:
            patch.setenv("COLUMNS", str(width))
            patch.setenv("NO_COLOR", "1")
            patch.setattr(sys, "stdout", stdout)
            code = run_command(arguments)
        reader.join()
        os.close(screen)
        assert code == 0
        return b"".join(drawn).decode().replace("\r\n", "\n")

    return draw_command


def _read_to_the_end(screen: int, drawn: list[bytes]) -> None:
    """A terminal takes 4 KiB until somebody reads; a read of one that is closed fails."""
    with contextlib.suppress(OSError):
        while chunk := os.read(screen, 65536):
            drawn.append(chunk)


@pytest.fixture
def spawn() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Calls a command in a process of its own."""

    def call_process(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "cream_tui", *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env=os.environ | (env or {}),
            check=False,
            timeout=300,
        )

    return call_process


@pytest.fixture(scope="session")
def all_commands() -> list[str]:
    """Every command of the table, as it is typed."""
    found: list[str] = []
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", None)
        found += [f"{name} {child}" for child in below] if below else [name]
    return found
