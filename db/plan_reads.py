"""What the store already has of a plan: known stages by key, how long finished ones took, whether a name is free.

Light: plain sqlite3, no sqlmodel. Knows keys and rows, must not know how a plan comes about.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass

from db.reading import fetch_rows

RESERVED_NAMES = frozenset({"latest"})


@dataclass(frozen=True, slots=True)
class KnownStage:
    """A stage with this key; ``run`` is the name of the run that computes or computed it, None where it was removed."""

    key: str
    state: str
    n_done: int
    run: str | None


@dataclass(frozen=True, slots=True)
class FinishedStage:
    """How long a stage took, and in which run: ``config_json`` is that of its owner."""

    label: str
    iteration: int
    seconds: float
    finished_at: float
    n_tokens: int | None
    n_done: int
    config_json: str


def read_known_stages(c: sqlite3.Connection, keys: Collection[str]) -> dict[str, KnownStage]:
    """The stages of the store that have one of these keys, by key."""
    rows = fetch_rows(
        c,
        "SELECT s.key, s.state, s.n_done, r.name FROM stage s LEFT JOIN run r ON r.run_id = s.owner_run_id "
        "WHERE s.key IN (SELECT value FROM json_each(?))",
        (json.dumps(sorted(keys)),),
    )
    return {row["key"]: KnownStage(row["key"], row["state"], row["n_done"], row["name"]) for row in rows}


def read_finished_stages(c: sqlite3.Connection, base_digest: str) -> list[FinishedStage]:
    """The finished stages that runs on this base computed themselves, in one attempt, newest last."""
    rows = fetch_rows(
        c,
        "SELECT l.label, l.iteration, s.finished_at - s.started_at AS seconds, s.finished_at, s.n_tokens, s.n_done, "
        "r.config_json FROM run r JOIN run_stage l ON l.run_id = r.run_id "
        "JOIN stage s ON s.stage_id = l.stage_id AND s.owner_run_id = r.run_id "
        "WHERE r.base_digest = ? AND s.state = 'done' AND s.started_at IS NOT NULL AND s.finished_at IS NOT NULL "
        "AND (SELECT count(*) FROM attempt a WHERE a.stage_id = s.stage_id) <= 1 "
        "ORDER BY s.finished_at, s.stage_id",
        (base_digest,),
    )
    return [FinishedStage(*row) for row in rows]


def find_free_name(c: sqlite3.Connection, name: str) -> str:
    """The name that a new run gets: this one, or with the first free suffix -2, -3, ..."""
    rows = fetch_rows(
        c,
        "SELECT name FROM (SELECT name FROM run UNION SELECT name FROM study) WHERE substr(name, 1, length(?1)) = ?1",
        (name,),
    )
    taken = {row["name"] for row in rows} | RESERVED_NAMES
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}-{number}", number + 1
    return candidate
