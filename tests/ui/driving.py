"""Ways to drive the app in a test and to read its screen."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any

from textual.app import App
from textual.pilot import Pilot

from cream_tui.app import CreamApp
from cream_tui.screens.base import StoreScreen
from cream_tui.shell.actions import call_command
from engine.config.shipped import find_configs_folder

RECORDED = Path(__file__).parent / "recorded"
# Where the recorded store says that the program was installed.
INSTALLED = Path("/opt/cream-tui")

# A worker that has ended may be followed by another one message later.
N_QUIET = 3
# However slow the machine: whoever waits for so long waits in vain.
WAIT_S = 60.0

OpenApp = Callable[..., AbstractAsyncContextManager[tuple[CreamApp, Pilot[int]]]]


async def settle(pilot: Pilot[Any]) -> None:
    """Wait until no reading or writing is under way and every message was handled."""
    n_quiet, deadline = 0, time.monotonic() + WAIT_S
    while True:
        await pilot.pause()
        n_quiet = n_quiet + 1 if _is_quiet(pilot.app) else 0
        if n_quiet == N_QUIET:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"still working: {[worker for worker in pilot.app.workers if not worker.is_finished]}")
        await asyncio.sleep(0.0 if n_quiet else 0.01)


async def wait_until(pilot: Pilot[Any], is_so: Callable[[], bool]) -> None:
    """Wait for what a thread, a timer or another process brings about."""
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not come about; the screen:\n{read_screen(pilot.app)}")
        await pilot.pause(0.02)


async def wait_for_text(pilot: Pilot[Any], text: str) -> str:
    """Wait until it stands on the screen; return the screen."""
    await wait_until(pilot, lambda: text in read_screen(pilot.app))
    return read_screen(pilot.app)


def _is_quiet(app: App[Any]) -> bool:
    front = app.screen_stack[0] if app.screen_stack else None
    is_reading = isinstance(front, StoreScreen) and front.is_reading
    return not is_reading and all(worker.is_finished for worker in app.workers)


async def press(pilot: Pilot[Any], *keys: str) -> None:
    """Press keys one after the other, each to its end."""
    for key in keys:
        await pilot.press(key)
        await settle(pilot)


def read_screen(app: App[Any]) -> str:
    """What stands on the screen, line by line, without colours."""
    strips = app.screen._compositor.render_strips(app.size)
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


def ask(root: Path, *words: str) -> Any:
    """What a command prints of the store, as JSON: the twin of what a screen shows."""
    outcome = call_command([*words, "--json"], root)
    assert outcome.is_good, outcome.stderr
    return json.loads(outcome.stdout)


def copy_store(folder: Path, *, is_usable: bool = True) -> Path:
    """A copy of the recorded store; where it is to be usable, its runs find the base model of this program."""
    root = folder / "store"
    shutil.copytree(RECORDED, root)
    if is_usable:
        with closing(sqlite3.connect(root / "cream.db")) as connection, connection:
            places = str(INSTALLED / "configs"), str(find_configs_folder())
            connection.execute("UPDATE run SET base_folder = replace(base_folder, ?, ?)", places)
    return root
