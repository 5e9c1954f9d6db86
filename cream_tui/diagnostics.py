"""The only writer of stderr: narration, warnings, and one message with an exit code for whatever went wrong.

Knows the errors of engine and db by their base classes, and what the exit codes mean. Must not know commands. Errors of
heavy libraries are recognised by name, so that none is imported here.
"""

from __future__ import annotations

import os
import sys
import traceback
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

from cream_tui.text import make_visible
from db import errors as store_errors
from engine.errors import CreamError, ExitCode

if TYPE_CHECKING:
    from rich.console import Console

DEBUG_VARIABLE = "CREAM_DEBUG"


class ViewExit(IntEnum):
    """Exit codes of the command line alone, beside those of a run."""

    CLOSED = 130


EXIT_CODES: tuple[tuple[int, str], ...] = (
    (ExitCode.DONE, "done"),
    (ExitCode.UNEXPECTED, "something unexpected, or the run failed"),
    (ExitCode.CONFIGURATION, "configuration or usage: the message names the key, file or option"),
    (ExitCode.INTERRUPTED, "the run stopped and can be resumed"),
    (ExitCode.OUT_OF_MEMORY, "out of memory"),
    (ExitCode.BACKEND_UNAVAILABLE, "a backend or device is not available"),
    (ExitCode.LEASE_LOST, "another process took the run over"),
    (ViewExit.CLOSED, "the view was closed by Ctrl-C; the run goes on"),
)

# A store error is the user's to mend, save these two.
_STORE_EXIT_CODES: tuple[tuple[type[store_errors.StoreError], ExitCode], ...] = (
    (store_errors.LeaseLostError, ExitCode.LEASE_LOST),
    (store_errors.StoreFullError, ExitCode.INTERRUPTED),
)


class UsageProblem(Exception):
    """A command was used wrongly, in a way that Typer cannot see; one message and exit code 2."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def narrate(text: str = "") -> None:
    """Write lines that accompany the data."""
    _write(make_visible(text, keep_newlines=True))


def warn(text: str) -> None:
    """Write a warning."""
    _write(f"{_paint('warning:', '33')} {make_visible(text, keep_newlines=True)}")


def fail(message: str, hint: str | None = None) -> None:
    """Write what went wrong and, below it, the way out."""
    _write(f"{_paint('error:', '1;31')} {make_visible(message, keep_newlines=True)}")
    if hint:
        _write("\n".join(f"  {line}" for line in make_visible(hint, keep_newlines=True).split("\n")))


def report(error: BaseException) -> int:
    """Write the one message that an error deserves and return the exit code; never a traceback unless asked for."""
    if is_debugging():
        _write(make_visible("".join(traceback.format_exception(error)), keep_newlines=True).rstrip("\n"))
    if isinstance(error, (CreamError, store_errors.StoreError, UsageProblem)):
        fail(error.message, error.hint)
        return _find_exit_code(error)
    if isinstance(error, KeyboardInterrupt):
        return ViewExit.CLOSED
    if isinstance(error, MemoryError):
        fail("the machine is out of memory")
        return ExitCode.OUT_OF_MEMORY
    if isinstance(error, OSError) and error.filename is not None:
        fail(f"{os.fsdecode(error.filename)}: {error.strerror or error}")
        return ExitCode.CONFIGURATION
    if isinstance(error, OSError) and error.strerror:
        fail(error.strerror)
        return ExitCode.CONFIGURATION
    if type(error).__module__.partition(".")[0] == "sqlite3":
        fail(f"the store cannot be read: {error}", "cream-tui doctor says more about it.")
        return ExitCode.CONFIGURATION
    return _report_bug(error)


def is_debugging() -> bool:
    """Whether tracebacks are asked for."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def is_terminal() -> bool:
    """Whether stderr is a terminal that understands cursor movements."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def build_console() -> Console:
    """A rich console on stderr, for the live view; markup and highlighting off, NO_COLOR honoured."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=False)


def _find_exit_code(error: CreamError | store_errors.StoreError | UsageProblem) -> int:
    if isinstance(error, CreamError):
        return int(error.exit_code)
    for kind, code in _STORE_EXIT_CODES:
        if isinstance(error, kind):
            return int(code)
    return int(ExitCode.CONFIGURATION)


def _report_bug(error: BaseException) -> int:
    import tempfile

    text = "".join(traceback.format_exception(error))
    try:
        handle, path = tempfile.mkstemp(prefix="cream-tui-", suffix=".log", text=True)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        where = f"The log is {path}"
    except OSError:
        where = f"Set {DEBUG_VARIABLE}=1 to see where"
    fail(
        f"this is a bug: {type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}",
        where,
    )
    return int(ExitCode.UNEXPECTED)


def _paint(text: str, code: str) -> str:
    has_colour = is_terminal() and not os.environ.get("NO_COLOR")
    return f"\x1b[{code}m{text}\x1b[0m" if has_colour else text


def _write(text: str) -> None:
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        # Nobody listens any more; what was asked for goes on.
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
