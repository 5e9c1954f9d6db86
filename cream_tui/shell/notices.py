"""What the app hears of the store: commits, faults, runs that ended.

Knows messages. Must not know screens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

from cream_tui.targets import RunsTarget, RunTarget, Target
from db.studies import StudyCount

if TYPE_CHECKING:
    from cream_tui.views.run_alerts import RunAlert

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
    """What the app itself keeps of a run, to notice that it ended; ``study``: the one that it belongs to."""

    name: str
    state: str
    error: str | None
    study: str | None = None


class StoreChanged(Message):
    """Somebody committed to the store, or a few seconds have passed."""

    def __init__(self, states: Mapping[str, RunState] | None, studies: Sequence[StudyCount] = ()) -> None:
        super().__init__()
        self.states = states
        self.studies = studies

    def can_replace(self, message: Message) -> bool:
        """Only the newest counts."""
        return isinstance(message, StoreChanged)


class WarningsFound(Message):
    """Diagnostics of a run that goes on began to warn; ``is_quiet``, of a study's runs: there may be many."""

    def __init__(self, run_id: str, name: str, warnings: Sequence[RunAlert], *, is_quiet: bool = False) -> None:
        super().__init__()
        self.is_quiet = is_quiet
        self.run_id = run_id
        self.name = name
        self.warnings = warnings


class StoreFault(Message):
    """The store cannot be read, or can again (None)."""

    def __init__(self, fault: str | None) -> None:
        super().__init__()
        self.fault = fault


def tell_warning(name: str, warning: RunAlert) -> str:
    """A warning of a run as it stands in the inbox."""
    return f"{name}: {warning.text}"


def list_ended(
    before: Mapping[str, RunState] | None, after: Mapping[str, RunState] | None
) -> Iterator[tuple[str, RunState]]:
    """Runs that were open the last time and are not any more."""
    for run_id, run in (after or {}).items():
        old = (before or {}).get(run_id)
        if old is not None and old.state in _OPEN and run.state in _ENDED:
            yield run_id, run


def describe_run_end(run_id: str, run: RunState) -> Alert:
    """What is told of a run that ended; its time is left open."""
    text = f"{run.name} is {run.state}" + (f": {run.error}" if run.error else "")
    severity = {"failed": "error", "stopped": "warning"}.get(run.state, "information")
    return Alert("", text, severity, RunTarget(run_id))


def list_ended_studies(before: Sequence[StudyCount], after: Sequence[StudyCount]) -> Iterator[Alert]:
    """What is told of studies whose process ended since the last time."""
    live = {study.study_id for study in before if study.has_lease}
    for study in after:
        if study.study_id in live and not study.has_lease:
            failed = f", {study.n_failed} failed" if study.n_failed else ""
            error = f": {study.error}" if study.error else ""
            text = f"the study {study.name} has ended, {study.n_done} of {study.n_runs} runs done{failed}{error}"
            severity = "error" if study.n_failed or study.error else "information"
            yield Alert("", text, severity, RunsTarget(study_id=study.study_id))
