"""Errors that a user may meet, by area, each with the exit code it leads to.

Knows nothing else of the project. An error is one message that names the key or file, and a hint: the way out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum

_MAX_TOLD = 10  # of several errors


class ExitCode(IntEnum):
    """Exit code of every process of the project."""

    DONE = 0
    UNEXPECTED = 1
    CONFIGURATION = 2
    INTERRUPTED = 3
    OUT_OF_MEMORY = 4
    BACKEND_UNAVAILABLE = 5
    LEASE_LOST = 6


class CreamError(Exception):
    """Base of all errors that are shown as a message, without a traceback."""

    exit_code: ExitCode = ExitCode.UNEXPECTED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


class ConfigError(CreamError):
    """A setting is unknown, missing or not allowed.

    Attributes:
        key: Dotted; None where it is about none.
        value: What was given.
    """

    exit_code = ExitCode.CONFIGURATION

    def __init__(
        self, message: str, *, hint: str | None = None, key: str | None = None, value: object | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.key = key
        self.value = value
        self._parts: tuple[ConfigError, ...] = ()

    @property
    def parts(self) -> tuple[ConfigError, ...]:
        """Each of several that are told as one; else the error itself."""
        return self._parts or (self,)


class TaskError(CreamError):
    """A prompt or data file is missing, empty or broken."""

    exit_code = ExitCode.CONFIGURATION


class CheckpointError(CreamError):
    """A model folder or checkpoint is missing, incomplete or not usable."""

    exit_code = ExitCode.CONFIGURATION


class SamplingError(CreamError):
    """Sampling failed as a whole."""


class TrainingError(CreamError):
    """Training failed."""


class BackendError(CreamError):
    """A backend or device that was asked for is not available."""

    exit_code = ExitCode.BACKEND_UNAVAILABLE


class Interrupted(CreamError):
    """The run was asked to stop and can be resumed."""

    exit_code = ExitCode.INTERRUPTED


def join_errors(errors: Iterable[ConfigError]) -> ConfigError:
    """Return one error that tells each of at least one in a line of its own; the first has the key and value.

    A line has its hint unless an earlier one has it, or a nearest choice is named.
    """
    parts = tuple({part.message: part for error in errors for part in error.parts}.values())
    if len(parts) == 1:
        return parts[0]
    told: set[str | None] = {None}
    lines = []
    for part in parts[:_MAX_TOLD]:
        line = part.message
        if part.hint not in told and not line.endswith("?"):
            told.add(part.hint)
            line += f". {part.hint}"
        lines.append(line)
    if len(parts) > _MAX_TOLD:
        lines.append(f"and {len(parts) - _MAX_TOLD} more")
    joined = ConfigError("\n".join(lines), key=parts[0].key, value=parts[0].value)
    joined._parts = parts
    return joined


def find_nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice most like `name`, letter case aside, or None when none is alike."""
    by_fold = {choice.casefold(): choice for choice in choices}
    found = difflib.get_close_matches(name.casefold(), by_fold, n=1, cutoff=0.5)
    return by_fold[found[0]] if found else None
