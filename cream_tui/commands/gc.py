"""`gc`: what no run of the store needs any more, and its removal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cream_tui import diagnostics, output
from cream_tui.output import Column
from cream_tui.stores import open_run_reader
from cream_tui.units import format_bytes, format_count
from engine.errors import ExitCode

if TYPE_CHECKING:
    from db.garbage import Garbage

_WORDS = {
    "stages": "stages of removed runs",
    "prompts": "prompts that nobody asks",
    "checkpoints": "models of removed runs",
    "work": "snapshots of finished trainings",
    "runs": "folders of removed runs",
    "left": "left by an interrupted gc",
}


def collect(store: str | None, *, is_dry: bool, as_json: bool) -> int:
    """Remove it and say what it was, or only say so."""
    with open_run_reader(store) as (root, _):
        pass
    from db.garbage import collect_garbage, find_garbage
    from db.session import open_store
    from engine.runtime.process import is_alive

    opened = open_store(root)
    before = _measure(root)
    found = find_garbage(opened) if is_dry else collect_garbage(opened, is_alive=is_alive)
    freed = before - _measure(root)
    if as_json:
        kinds = [{"kind": garbage.kind, "n": garbage.n, "bytes": garbage.n_bytes} for garbage in found]
        output.print_json({"is_dry_run": is_dry, "garbage": kinds, "freed_bytes": None if is_dry else freed})
        return ExitCode.DONE
    output.print_table(
        (Column("", is_flexible=True), Column("count", "right"), Column("about", "right")),
        [(_WORDS[garbage.kind], format_count(garbage.n), format_bytes(garbage.n_bytes)) for garbage in found],
    )
    diagnostics.narrate(_conclude(found, freed, is_dry=is_dry))
    return ExitCode.DONE


def _conclude(found: list[Garbage], freed: int, *, is_dry: bool) -> str:
    if not any(garbage.n for garbage in found):
        return "every row and folder belongs to a run"
    if is_dry:
        total = sum(garbage.n_bytes for garbage in found)
        return f"about {format_bytes(total)} would be freed; nothing was removed"
    return f"{format_bytes(max(freed, 0))} are free again"


def _measure(root: Path) -> int:
    """Bytes of all files of the store."""
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())
