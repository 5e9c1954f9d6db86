"""Faults of the store that a caller can act on. Light: no sqlmodel, no sqlalchemy."""

from __future__ import annotations


class StoreError(Exception):
    """A fault of the store, with the way out as ``hint``; shown to the user as one message."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class StoreFullError(StoreError):
    """The disk is full or read-only: nothing was lost, the run can be resumed."""


class RunNotFoundError(StoreError):
    """No run, or more than one, answers to the given reference."""


class LeaseHeldError(StoreError):
    """Another live process works on this run."""


class LeaseLostError(StoreError):
    """The writer's token is no longer the owner's: it must stop without writing."""
