"""From arguments to an exit code: one place where every error ends.

Knows the three packages. Must not know commands, nor Typer: the bare program, the app, starts without.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import NoReturn, TextIO

from cream_tui import diagnostics, output
from engine.errors import ExitCode


def run_guarded(call: Callable[[], object]) -> int:
    """Call and return its exit code; every error becomes a message."""
    if sys.stdout is None:  # closed by the caller: what is said then is said to nobody
        sys.stdout = _open_nothing()
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open until the process ends
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        check_install()
        code = call()
        output.flush()
    except output.ReaderGone:
        sys.stdout = _open_nothing()
        return int(ExitCode.DONE)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the one place where every error ends
        return diagnostics.report(error)
    return code if isinstance(code, int) else int(ExitCode.DONE)


def check_install() -> None:
    """Check that the three packages come from one install: their names are common ones.

    Raises:
        diagnostics.UsageProblem: They do not; the message names the folders.
    """
    own = Path(__file__).resolve().parent.parent
    for name in ("engine", "db"):
        spec = util.find_spec(name)
        places = [Path(place).resolve() for place in (spec.submodule_search_locations or [])] if spec else []
        if places != [own / name]:
            found = places[0] if places else "nowhere"
            raise diagnostics.UsageProblem(
                f"the package {name} comes from {found}, not from {own / name}",
                "Another package of this name hides it: install cream-tui with pipx, in an environment of its own.",
            )


def leave(code: int) -> NoReturn:
    """End the process."""
    try:
        output.flush()
    except (output.ReaderGone, OSError):
        sys.stdout = _open_nothing()
    sys.exit(code)


def _open_nothing() -> TextIO:
    """A stdout for what is left to say; Python would complain while it closes the old one."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return Path(os.devnull).open("w", encoding="utf-8")
