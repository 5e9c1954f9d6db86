"""`mark`: what a person says of a run: tags, a note, whether it is the baseline.

Knows annotations. Must not know how the app shows them.
"""

from __future__ import annotations

from dataclasses import dataclass

from cream_tui import diagnostics, output
from cream_tui.stores import open_run_reader
from cream_tui.units import MISSING
from db.annotations import add_tags, remove_tags, set_baseline, set_note
from db.queries import find_run
from engine.errors import ExitCode


@dataclass(frozen=True, slots=True)
class Marks:
    """What is to change; None leaves it as it is."""

    added_tags: tuple[str, ...] = ()
    removed_tags: tuple[str, ...] = ()
    note: str | None = None
    is_baseline: bool | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to change."""
        return self == Marks()


def mark(store: str | None, run: str, marks: Marks, *, as_json: bool) -> int:
    """Change the marks of a run; print them where asked for, or where nothing changes."""
    if any(not tag.strip() for tag in marks.added_tags):
        raise diagnostics.UsageProblem("--tag: a tag is empty", "For example: --tag baseline-beta")
    with open_run_reader(store) as (root, connection):
        found = find_run(connection, run)
        if marks.added_tags:
            add_tags(root, [found.run_id], marks.added_tags)
        if marks.removed_tags:
            remove_tags(root, [found.run_id], marks.removed_tags)
        if marks.note is not None:
            set_note(root, found.run_id, marks.note)
        if marks.is_baseline or (marks.is_baseline is False and found.is_baseline):
            set_baseline(root, found.run_id if marks.is_baseline else None)
        found = find_run(connection, found.run_id)
    if as_json:
        names = ("run_id", "name", "note", "is_baseline")
        output.print_json({name: getattr(found, name) for name in names} | {"tags": list(found.tags)})
    elif marks.is_empty:
        output.print_facts(
            [
                ("run", f"{found.name} ({found.run_id})"),
                ("tags", ", ".join(found.tags) or MISSING),
                ("note", found.note or MISSING),
                ("baseline", "yes" if found.is_baseline else "no"),
            ]
        )
    else:
        tags = f"tags {', '.join(found.tags)}" if found.tags else "no tags"
        pinned = ", the baseline" if found.is_baseline else ""
        noted = f", note: {found.note}" if found.note else ""
        diagnostics.narrate(f"{found.name}: {tags}{pinned}{noted}")
    return ExitCode.DONE
