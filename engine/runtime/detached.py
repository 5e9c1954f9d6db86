"""Processes of ours that outlive who starts them: how one is started, and how it keeps its lease. Torch-free.

Knows processes and logs. Must not know what they work on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from db.errors import LeaseLostError, StoreError
from engine.errors import BackendError
from engine.runtime.process import HEARTBEAT_S

START_TIMEOUT_S = 30.0
POLL_S = 0.05


class Flag:
    """Something that has happened: a signal handler or a thread says so, others look.

    Not an Event: whoever waits for that holds its lock now and then, and a handler that interrupts him would wait for
    it for ever.
    """

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        """Say that it has happened."""
        self._is_set = True

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._is_set

    def wait(self, timeout_s: float) -> bool:
        """Return whether it has happened: at once then, or in the end."""
        deadline = time.monotonic() + timeout_s
        while not self._is_set and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(POLL_S, left))
        return self._is_set


def start_detached(
    module: str, arguments: Sequence[str], *, log: Path, environment: Mapping[str, str], has_begun: Callable[[], bool]
) -> None:
    """Start ``python -P -m module`` in a session of its own and wait until it has begun.

    Args:
        log: Where its output goes; also its folder.
        environment: Variables beside those of this process.
        has_begun: Whether it works already, or has ended by itself as it should.

    Raises:
        BackendError: It ended before, or did not begin in time; the message carries the end of its log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env=os.environ | dict(environment),
            start_new_session=True,
        )
    what = module.rpartition(".")[2].replace("_", " ")
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        is_over = process.poll() is not None
        if has_begun():
            return
        if is_over:
            raise BackendError(f"the {what} ended at once: {_read_last_line(log)}", hint=f"its log: {log}")
        time.sleep(POLL_S)
    raise BackendError(f"the {what} did not start within {START_TIMEOUT_S:.0f} s", hint=f"its log: {log}")


def keep_lease(renew: Callable[[], bool], *, stop: Flag, lost: Flag) -> None:
    """Renew a lease every second until it is lost; set ``stop`` or ``lost`` when the store says so.

    Args:
        renew: Moves the heartbeat; whether a stop was requested.
    """
    while not lost.is_set():
        try:
            if renew():
                stop.set()
        except LeaseLostError:
            lost.set()
        except StoreError as error:  # a busy or full disk for a moment; the lease itself is still ours
            print(f"heartbeat: {error.message}", file=sys.stderr, flush=True)
        time.sleep(HEARTBEAT_S)


def _read_last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
