"""Runs an engine module in a process of its own and takes what it says: torch and trackers stay out of ours.

Knows that such a process prints one JSON object on stdout, with a message and a hint where it failed. Must not know
what a module does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from engine.errors import CreamError, ExitCode


def call_engine(module: str, *arguments: str) -> dict[str, Any]:
    """Run ``python -P -m MODULE`` to its end and return what it printed.

    Raises:
        CreamError: it failed; with its message and its exit code.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", module, *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    try:
        outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        outcome = {"message": _find_last_line(done.stderr) or f"{module} ended with exit code {done.returncode}"}
    if done.returncode == ExitCode.DONE:
        return outcome
    error = CreamError(str(outcome.get("message")), hint=outcome.get("hint"))
    known = done.returncode in set(ExitCode)
    error.exit_code = ExitCode(done.returncode) if known else ExitCode.UNEXPECTED
    raise error


def _find_last_line(stderr: bytes) -> str | None:
    lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else None
