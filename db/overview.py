"""All runs at a glance, in a handful of statements whatever their number. Light: plain sqlite3, no sqlmodel."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from db.queries import read_tags
from db.reading import fetch_rows, snapshot

# The newest value of each, by the stage that writes it.
_HEADLINES = {
    "evaluate": ("accuracy",),
    "agree": ("consistency_rate", "tau_previous", "tau_anchor"),
    "pair": ("confidence", "label_accuracy"),
}


@dataclass(frozen=True, slots=True)
class RunOverview:
    """One line of the list of runs.

    Attributes:
        iteration: of the first stage that is not done; of the last one where all are.
        fraction_done: finished stages, the running one in part, over all stages; in [0, 1].
        accuracy: of the newest evaluation that has one; consistency_rate and the taus likewise of the newest agree.
        confidence: mean C of the newest pairs; label_accuracy likewise, where gold is known.
        queue_position: of a run that waits for its turn; the lowest goes first.
        tau_iteration: of the taus; at 1 the previous model is M0, for which a stand-in ranks.
        waiting_for: the run that computes the stage this run needs next.
        pid: of the lease's holder; None without a lease, as are host, pid_started_at and heartbeat_at.
    """

    run_id: str
    name: str
    method: str
    seed: int
    state: str
    iterations: int
    created_at: float
    started_at: float | None
    finished_at: float | None
    stop_requested_at: float | None
    error: str | None
    parent_run_id: str | None
    tags: tuple[str, ...]
    iteration: int
    n_stages: int
    n_stages_done: int
    fraction_done: float
    current_stage: str | None
    waiting_for: str | None
    accuracy: float | None
    consistency_rate: float | None
    tau_previous: float | None
    tau_anchor: float | None
    tau_iteration: int | None
    confidence: float | None
    label_accuracy: float | None
    note: str
    is_baseline: bool
    queue_position: float | None
    pid: int | None
    pid_started_at: float | None
    host: str | None
    heartbeat_at: float | None


@dataclass(frozen=True, slots=True)
class _Progress:
    iteration: int = 0
    n_stages: int = 0
    n_stages_done: int = 0
    fraction_done: float = 0.0
    current_stage: str | None = None
    waiting_for: str | None = None


def read_run_overview(c: sqlite3.Connection) -> list[RunOverview]:
    """One line per run, newest last."""
    with snapshot(c):
        runs = fetch_rows(
            c,
            "SELECT r.run_id, r.name, r.method, r.seed, r.state, r.iterations, r.created_at, r.started_at, "
            "r.finished_at, r.stop_requested_at, r.error, r.parent_run_id, r.note, r.is_baseline, r.queue_position, "
            "w.pid, w.pid_started_at, w.host, w.heartbeat_at "
            "FROM run r LEFT JOIN lease w ON w.run_id = r.run_id ORDER BY r.created_at, r.rowid",
        )
        tags = read_tags(c)
        headlines = _read_headlines(c)
        progress: dict[str, _Progress] = {}
        newest: dict[str, dict[str, float]] = {}
        links = fetch_rows(
            c,
            "SELECT l.run_id, l.iteration, l.label, s.stage_id, s.state, s.owner_run_id, s.n_done, s.n_total "
            "FROM run_stage l JOIN stage s ON s.stage_id = l.stage_id ORDER BY l.run_id, l.position",
        )
    for run_id, group in groupby(links, key=itemgetter(0)):
        stages = list(group)
        progress[run_id] = _compute_progress(run_id, stages)
        newest[run_id] = {}
        for stage in stages:
            found = headlines.get(stage["stage_id"], {})
            newest[run_id].update(found)
            if "tau_previous" in found:
                newest[run_id]["tau_iteration"] = stage["iteration"]
    return [
        _build_overview(
            row, tags.get(row["run_id"], ()), progress.get(row["run_id"], _Progress()), newest.get(row["run_id"], {})
        )
        for row in runs
    ]


def _read_headlines(c: sqlite3.Connection) -> dict[int, dict[str, float]]:
    """The last value of each headline metric of each stage."""
    headlines: dict[int, dict[str, float]] = {}
    for stage, names in _HEADLINES.items():
        marks = ", ".join("?" * len(names))
        for row in fetch_rows(
            c,
            # From the stages to their metrics: a store has far more metrics than stages.
            "SELECT s.stage_id, n.name, m.value FROM stage s CROSS JOIN metric_name n "
            "CROSS JOIN metric m ON m.stage_id = s.stage_id AND m.name_id = n.name_id "
            f"WHERE s.name = ? AND n.name IN ({marks}) ORDER BY s.stage_id, n.name, m.step",
            (stage, *names),
        ):
            headlines.setdefault(row["stage_id"], {})[row["name"]] = row["value"]
    return headlines


def _compute_progress(run_id: str, stages: list[sqlite3.Row]) -> _Progress:
    open_stages = [stage for stage in stages if stage["state"] != "done"]
    n_done = len(stages) - len(open_stages)
    share = sum(min(stage["n_done"] / stage["n_total"], 1.0) for stage in open_stages if stage["n_total"])
    current = open_stages[0] if open_stages else None
    is_waiting = current is not None and current["state"] == "running" and current["owner_run_id"] != run_id
    return _Progress(
        iteration=(current or stages[-1])["iteration"],
        n_stages=len(stages),
        n_stages_done=n_done,
        fraction_done=(n_done + share) / len(stages),
        current_stage=None if current is None else current["label"],
        waiting_for=current["owner_run_id"] if current is not None and is_waiting else None,
    )


def _build_overview(
    row: sqlite3.Row, tags: Iterable[str], progress: _Progress, newest: dict[str, float]
) -> RunOverview:
    return RunOverview(
        run_id=row["run_id"],
        name=row["name"],
        method=row["method"],
        seed=row["seed"],
        state=row["state"],
        iterations=row["iterations"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        stop_requested_at=row["stop_requested_at"],
        error=row["error"],
        parent_run_id=row["parent_run_id"],
        tags=tuple(tags),
        iteration=progress.iteration,
        n_stages=progress.n_stages,
        n_stages_done=progress.n_stages_done,
        fraction_done=progress.fraction_done,
        current_stage=progress.current_stage,
        waiting_for=progress.waiting_for,
        accuracy=newest.get("accuracy"),
        consistency_rate=newest.get("consistency_rate"),
        tau_previous=newest.get("tau_previous"),
        tau_anchor=newest.get("tau_anchor"),
        tau_iteration=None if "tau_iteration" not in newest else int(newest["tau_iteration"]),
        confidence=newest.get("confidence"),
        label_accuracy=newest.get("label_accuracy"),
        note=row["note"],
        is_baseline=bool(row["is_baseline"]),
        queue_position=row["queue_position"],
        pid=row["pid"],
        pid_started_at=row["pid_started_at"],
        host=row["host"],
        heartbeat_at=row["heartbeat_at"],
    )
