"""Studies put into a copy of the recorded store, around its runs: the rows that a study's process writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from db.reading import open_reader

Arm = tuple[str, int, str | None]


def add_study(
    store: Path,
    name: str,
    arms: Sequence[Arm],
    *,
    jobs: int = 2,
    created_at: float | None = None,
    finished_at: float | None = None,
    error: str | None = None,
) -> str:
    """Add a study and return its id.

    Args:
        arms: Of each run its arm, its seed and the name of the run in the store; None for one that waits.
        created_at: None: a minute before its first run.
    """
    study_id = f"id-{name}"
    open_reader(store).close()  # the recorded store may be of an older version
    with closing(sqlite3.connect(store / "cream.db")) as connection, connection:
        runs = dict(connection.execute("SELECT name, run_id FROM run").fetchall())
        if created_at is None:
            marks = ", ".join("?" * len(arms))
            (first,) = connection.execute(
                f"SELECT min(created_at) FROM run WHERE name IN ({marks})", [arm[2] for arm in arms]
            ).fetchone()
            created_at = float(first) - 60.0
        connection.execute(
            "INSERT INTO study (study_id, name, config_json, jobs, created_at, finished_at, error) "
            "VALUES (?, ?, '{}', ?, ?, ?, ?)",
            (study_id, name, jobs, created_at, finished_at, error),
        )
        connection.executemany(
            "INSERT INTO study_arm (study_id, position, arm, method, seed, run_name, config_json, run_id) "
            "VALUES (?, ?, ?, ?, ?, ?, '{}', ?)",
            [
                (study_id, place, arm, arm.split()[0], seed, run or f"{name}-{arm}-seed{seed}", runs.get(run or ""))
                for place, (arm, seed, run) in enumerate(arms)
            ],
        )
    return study_id


def add_lease(store: Path, study_id: str, *, pid: int, started_at: int, host: str, heartbeat_at: float) -> None:
    """Give a study a process."""
    with closing(sqlite3.connect(store / "cream.db")) as connection, connection:
        connection.execute(
            "INSERT INTO study_lease (study_id, token, pid, pid_started_at, host, heartbeat_at) "
            "VALUES (?, 'token', ?, ?, ?, ?)",
            (study_id, pid, started_at, host, heartbeat_at),
        )


SEEDS = [(method, seed, f"{method}-seed{seed}") for method in ("srlm", "cream") for seed in (0, 1, 2)]
WAITING: list[Arm] = [("oracle", seed, None) for seed in (0, 1, 2)]
