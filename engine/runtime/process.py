"""Facts about processes: who I am, is a lease's holder alive, how many may work at once. Torch-free."""

from __future__ import annotations

import os
import signal
import socket
import time
import uuid
from contextlib import suppress
from pathlib import Path

from db.rows import Lease
from engine.errors import ConfigError

SLOTS_VARIABLE = "CREAM_SLOTS"
HEARTBEAT_S = 1.0
STALE_S = 60.0  # a holder on another host, whose process cannot be looked up, counts as dead after this silence


def build_lease(run_id: str) -> Lease:
    """Return a lease of this process with a fresh token."""
    return Lease(
        run_id=run_id,
        token=uuid.uuid4().hex,
        pid=os.getpid(),
        pid_started_at=read_start_ticks(os.getpid()) or 0,
        host=socket.gethostname(),
        heartbeat_at=time.time(),
    )


def is_alive(lease: Lease) -> bool:
    """Return whether the holder still runs: by pid and start time here, by its heartbeat elsewhere."""
    if lease.host != socket.gethostname():
        return time.time() - lease.heartbeat_at < STALE_S
    return _is_here(lease)


def read_slots() -> int:
    """Return how many runs of this machine may work before a queued one waits: ``$CREAM_SLOTS``, else 1.

    Raises:
        ConfigError: it is no whole number above 0.
    """
    text = os.environ.get(SLOTS_VARIABLE) or "1"
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(
            f"${SLOTS_VARIABLE} = {text!r}: is no whole number above 0",
            hint="unset it to let one run work at a time",
            key=SLOTS_VARIABLE,
            value=text,
        )
    return int(text)


def signal_holder(lease: Lease, signal_number: int) -> bool:
    """Send a signal to the holder's process group; False where it is gone, another user's, or on another host."""
    if lease.host != socket.gethostname() or not _is_here(lease):
        return False
    try:
        os.killpg(lease.pid, signal_number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def ask_holder_to_stop(lease: Lease) -> None:
    """Send SIGTERM to a holder on this host, the process alone: it ends its workers itself, in their order.

    Another user's process cannot be told so: it finds the request in its row.
    """
    if lease.host == socket.gethostname() and _is_here(lease):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(lease.pid, signal.SIGTERM)


def name_signal(exit_code: int) -> str:
    """Return what a negative exit code of a child means."""
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


def read_start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None where it is gone or a zombie.

    Not a time of day: that moves when the clock is set, and a live holder would seem another process.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # what follows the name, which may hold anything
    return None if fields[0] == "Z" else int(fields[19])


def _is_here(lease: Lease) -> bool:
    return read_start_ticks(lease.pid) == lease.pid_started_at
