"""The inside of a stage's process: log, watchdog, outcome. Imports the heavy side only once it runs.

The process ends with its supervisor: a thread waits for the supervisor's end of a pipe to close, which also happens on
SIGKILL, since a single training step may outlast any check between batches.
"""

from __future__ import annotations

import importlib
import logging
import os
import resource
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path

from db.errors import LeaseLostError, StoreError, StoreFullError
from engine.errors import CreamError, ExitCode
from engine.plan import StageTask
from engine.runtime.redaction import hide_secrets

# torch raises RuntimeError for all of these; the last two are its allocator on the CPU.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """How a stage ended; ``error`` is one message for the user, with the way out behind it.

    ``compute_s`` is the time within the stage itself, without process start and imports.
    """

    exit_code: int
    error: str | None
    peak_rss_bytes: int | None = None
    peak_gpu_bytes: int | None = None
    compute_s: float | None = None


def report_import(module: str, outcome: Connection) -> None:
    """Import a module that the fork server should have loaded; send what went wrong, or None."""
    error = None
    try:
        importlib.import_module(module)
    except Exception as caught:
        traceback.print_exc()
        error = f"{type(caught).__name__}: {caught}"
    outcome.send(error)


def run_stage_process(task: StageTask, outcome: Connection) -> None:
    """Run the stage, send its outcome and end the process with its exit code."""
    _send_output_to(Path(task.log_path))
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    peak_gpu = None
    started = time.monotonic()
    try:
        from engine.stages.run import run_stage

        started = time.monotonic()
        peak_gpu = run_stage(task)
        code, error = ExitCode.DONE, None
    except BaseException as caught:
        sys.stderr.write(hide_secrets(traceback.format_exc()))
        code, message = _classify(caught)
        error = hide_secrets(message)
    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    outcome.send(StageOutcome(int(code), error, peak_rss, peak_gpu, time.monotonic() - started))
    outcome.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code))


def _classify(error: BaseException) -> tuple[ExitCode, str]:
    if isinstance(error, LeaseLostError):
        return ExitCode.LEASE_LOST, error.message
    if isinstance(error, StoreFullError):
        return ExitCode.INTERRUPTED, _join(error.message, error.hint)
    if isinstance(error, StoreError):
        return ExitCode.CONFIGURATION, _join(error.message, error.hint)
    if isinstance(error, CreamError):
        return error.exit_code, _join(error.message, error.hint)
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(words in text for words in OUT_OF_MEMORY):
        return ExitCode.OUT_OF_MEMORY, "memory ran out"
    if "no space left" in text:
        return ExitCode.INTERRUPTED, "the disk is full; nothing that was stored is lost\nfree some space, then resume"
    first_line = (str(error).strip() or "no message").splitlines()[0]
    return ExitCode.UNEXPECTED, f"unexpected {type(error).__name__}: {first_line}"


def _join(message: str, hint: str | None) -> str:
    return message if hint is None else f"{message}\n{hint}"


def _send_output_to(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("engine").setLevel(logging.INFO)


def _end_with_supervisor() -> None:
    supervisor = parent_process()
    if supervisor is not None:
        supervisor.join()
    os._exit(int(ExitCode.LEASE_LOST))
