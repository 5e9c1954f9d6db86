"""What a person changed of runs and no reading has shown yet: tags, notes, the baseline.

Pure: records in, records out; no store, no Textual.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from cream_tui.readers.run_records import RunRecord

# An edit that no reading has confirmed for so long was undone by somebody else.
_LASTS_S = 5.0


@dataclass(frozen=True, slots=True)
class Edit:
    """What a person changed and no reading has shown yet; None: as it was read."""

    at: float
    tags: tuple[str, ...] | None = None
    note: str | None = None
    is_baseline: bool | None = None


class PendingEdits:
    """The edits by run."""

    def __init__(self) -> None:
        self._edits: dict[str, Edit] = {}

    def add(self, run_ids: Collection[str], edit: Edit) -> None:
        """Join a change with what was changed before."""
        for run_id in run_ids:
            former = self._edits.get(run_id, Edit(edit.at))
            self._edits[run_id] = Edit(
                edit.at,
                former.tags if edit.tags is None else edit.tags,
                former.note if edit.note is None else edit.note,
                former.is_baseline if edit.is_baseline is None else edit.is_baseline,
            )

    def forget(self, run_ids: Collection[str]) -> None:
        """Take changes back that could not be written."""
        for run_id in run_ids:
            self._edits.pop(run_id, None)

    def expire(self, now: float) -> None:
        """Drop what a reading should have shown by now."""
        self._edits = {run_id: edit for run_id, edit in self._edits.items() if now - edit.at < _LASTS_S}

    def apply(self, records: Iterable[RunRecord]) -> tuple[RunRecord, ...]:
        """The records with what was changed of them."""
        return tuple(self._apply_to(record) for record in records)

    def _apply_to(self, record: RunRecord) -> RunRecord:
        edit = self._edits.get(record.run.run_id)
        if edit is None:
            return record
        changes: dict[str, Any] = {
            name: value
            for name, value in (("tags", edit.tags), ("note", edit.note), ("is_baseline", edit.is_baseline))
            if value is not None
        }
        return replace(record, run=replace(record.run, **changes))
