"""What a run was forked from, in words: its parent, the model, how many verdicts corrected its pairs.

Knows the stored lineage as JSON. Must not know configurations: this is told without loading their classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cream_tui.config_differences import load_config


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
