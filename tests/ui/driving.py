"""Ways to drive the app in a test and to read its screen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from textual.pilot import Pilot

from cream_tui.app import CreamApp

OpenApp = Callable[..., AbstractAsyncContextManager[tuple[CreamApp, Pilot[int]]]]


async def settle(pilot: Pilot[Any]) -> None:
    """Wait until no reading or writing is under way and every message was handled."""
    for _ in range(500):
        await pilot.pause()
        if all(worker.is_finished for worker in pilot.app.workers):
            await pilot.pause()
            if all(worker.is_finished for worker in pilot.app.workers):
                return
        await asyncio.sleep(0.01)
    raise TimeoutError(f"still working: {[worker for worker in pilot.app.workers if not worker.is_finished]}")


async def press(pilot: Pilot[Any], *keys: str) -> None:
    """Press keys one after the other, each to its end."""
    for key in keys:
        await pilot.press(key)
        await settle(pilot)


def read_screen(app: CreamApp) -> str:
    """What stands on the screen, line by line, without colours."""
    strips = app.screen._compositor.render_strips(app.size)
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)
