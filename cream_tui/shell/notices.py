"""What the app hears of the store: commits, faults, runs that ended.

Knows messages. Must not know screens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from textual.message import Message

from cream_tui.targets import Target

_OPEN = ("queued", "running")
_ENDED = ("done", "failed", "stopped")


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that happened; ``severity`` is information, warning or error, ``target`` where it can be seen."""

    time: str
    text: str
    severity: str
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class RunState:
    """What the app itself keeps of a run, to notice that it ended."""

    name: str
    state: str
    error: str | None


class StoreChanged(Message):
    """Somebody committed to the store, or a few seconds have passed."""

    def __init__(self, states: Mapping[str, RunState] | None) -> None:
        super().__init__()
        self.states = states

    def can_replace(self, message: Message) -> bool:
        """Only the newest counts."""
        return isinstance(message, StoreChanged)


class StoreFault(Message):
    """The store cannot be read, or can again (None)."""

    def __init__(self, fault: str | None) -> None:
        super().__init__()
        self.fault = fault


def list_ended(
    before: Mapping[str, RunState] | None, after: Mapping[str, RunState] | None
) -> Iterator[tuple[str, RunState]]:
    """Runs that were open the last time and are not any more."""
    for run_id, run in (after or {}).items():
        old = (before or {}).get(run_id)
        if old is not None and old.state in _OPEN and run.state in _ENDED:
            yield run_id, run
