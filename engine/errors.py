"""Errors that a user may meet, by area, each with the exit code it leads to.

Knows nothing else of the project. An error is one message that names the key or file, and a hint: the way out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum


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
    """A setting is unknown, missing or not allowed; `key` is dotted, `value` is what was given."""

    exit_code = ExitCode.CONFIGURATION

    def __init__(
        self, message: str, *, hint: str | None = None, key: str | None = None, value: object | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.key = key
        self.value = value


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


def find_nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice most like `name`, letter case aside, or None when none is alike."""
    by_fold = {choice.casefold(): choice for choice in choices}
    found = difflib.get_close_matches(name.casefold(), by_fold, n=1, cutoff=0.5)
    return by_fold[found[0]] if found else None
