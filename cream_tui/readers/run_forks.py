"""What a run was forked or imported from, in words: its parent, the model, corrected pairs; its files.

Knows the stored lineage as JSON. Must not know configurations: this is told without loading their classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cream_tui.config_differences import load_config
from db.labels import IMPORTED


def count_fork_verdicts(lineage_json: str) -> int:
    """How many verdicts were frozen into a run when it was forked, inherited ones among them."""
    return sum(len(pairs) for pairs in map(_get_pairs, load_config(lineage_json).get("verdicts") or ()))


def describe_fork(parent: str, fork_at: str | None, lineage_json: str) -> str:
    """As ``demo-cream at M2 with 12 verdicts``; the parent's name as it is given."""
    words = f"{parent} at {fork_at}" if fork_at else parent
    n = count_fork_verdicts(lineage_json)
    return f"{words} with {n:,} {'verdict' if n == 1 else 'verdicts'}" if n else words


def _get_pairs(entry: Any) -> list[Any]:
    pairs = entry.get("pairs") if isinstance(entry, Mapping) else None
    return pairs if isinstance(pairs, list) else []


def describe_import(provenance_json: str) -> str:
    """The files that a run was imported from; empty of a run that was computed here."""
    files = load_config(provenance_json).get(IMPORTED) or ()
    return ", ".join(f"{file['file']} ({file['kind']})" for file in files)
