"""Facts about processes: who I am, is a lease's holder alive, end a process group. Torch-free."""

from __future__ import annotations

import os
import signal
import socket
import time
import uuid

import psutil

from db.rows import Lease

HEARTBEAT_S = 1.0
STALE_S = 60.0  # a holder on another host, whose process cannot be looked up, counts as dead after this silence
_START_TOLERANCE_S = 1.0  # create_time is rounded to the kernel's clock tick


def build_lease(run_id: str) -> Lease:
    """Return a lease of this process with a fresh token."""
    return Lease(
        run_id=run_id,
        token=uuid.uuid4().hex,
        pid=os.getpid(),
        pid_started_at=psutil.Process().create_time(),
        host=socket.gethostname(),
        heartbeat_at=time.time(),
    )


def is_alive(lease: Lease) -> bool:
    """Return whether the holder still runs: by pid and start time here, by its heartbeat elsewhere."""
    if lease.host != socket.gethostname():
        return time.time() - lease.heartbeat_at < STALE_S
    process = _find(lease)
    return process is not None


def signal_holder(lease: Lease, signal_number: int) -> bool:
    """Send a signal to the holder's process group; False where it is gone or lives on another host."""
    if lease.host != socket.gethostname() or _find(lease) is None:
        return False
    try:
        os.killpg(lease.pid, signal_number)
    except ProcessLookupError:
        return False
    return True


def name_signal(exit_code: int) -> str:
    """Return what a negative exit code of a child means."""
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


def _find(lease: Lease) -> psutil.Process | None:
    try:
        process = psutil.Process(lease.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process if abs(process.create_time() - lease.pid_started_at) < _START_TOLERANCE_S else None
    except psutil.NoSuchProcess:
        return None
