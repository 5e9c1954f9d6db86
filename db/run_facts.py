"""Facts about all runs beyond their overview, read only when someone filters, sorts or groups by them.

Light: plain sqlite3, no sqlmodel. Each function is one statement; ``c`` comes from ``open_reader``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass

from db.reading import fetch_rows


@dataclass(frozen=True, slots=True)
class RunHealth:
    """What may be wrong with a run whose state says nothing of it; None where it is not known yet.

    Attributes:
        least_changed_share: of the weights that a training changed, the least over the run's trainings.
        undefined_share: of the prompts whose tau is undefined, in the newest agree stage.
    """

    least_changed_share: float | None = None
    undefined_share: float | None = None


def read_run_configs(c: sqlite3.Connection, known: Collection[str] = ()) -> dict[str, str]:
    """``config_json`` of each run whose id is not known; a run's configuration never changes."""
    rows = fetch_rows(
        c,
        "SELECT run_id, config_json FROM run WHERE run_id NOT IN (SELECT value FROM json_each(?))",
        (json.dumps(sorted(known)),),
    )
    return {row["run_id"]: row["config_json"] for row in rows}


def read_metric_names(c: sqlite3.Connection) -> list[str]:
    """Names of all metrics of the store."""
    return [row["name"] for row in fetch_rows(c, "SELECT name FROM metric_name ORDER BY name")]


def read_last_metrics(c: sqlite3.Connection, name: str) -> dict[str, float]:
    """The value of the last step of the last stage that has this metric, by run id."""
    rows = fetch_rows(
        c,
        # From the links to their metrics, whose index ends at the last step.
        "SELECT l.run_id, (SELECT m.value FROM metric m WHERE m.stage_id = l.stage_id AND m.name_id = n.name_id "
        "ORDER BY m.step DESC LIMIT 1) AS value FROM metric_name n CROSS JOIN run_stage l WHERE n.name = ? "
        "ORDER BY l.run_id, l.position",
        (name,),
    )
    return {row["run_id"]: row["value"] for row in rows if row["value"] is not None}


def read_run_health(c: sqlite3.Connection) -> dict[str, RunHealth]:
    """The health of each run that has finished a training or an agree stage."""
    rows = fetch_rows(
        c,
        "SELECT l.run_id, s.name AS stage, n.name, m.value FROM metric_name n CROSS JOIN run_stage l "
        "CROSS JOIN stage s ON s.stage_id = l.stage_id "
        "CROSS JOIN metric m ON m.stage_id = l.stage_id AND m.name_id = n.name_id "
        "WHERE (s.name = 'train' AND n.name = 'changed_share') "
        "OR (s.name = 'agree' AND n.name IN ('n_defined', 'n_undefined')) ORDER BY l.run_id, l.position",
    )
    changed: dict[str, float] = {}
    counts: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["stage"] == "train":
            changed[row["run_id"]] = min(row["value"], changed.get(row["run_id"], row["value"]))
        else:
            counts.setdefault(row["run_id"], {})[row["name"]] = row["value"]
    return {
        run_id: RunHealth(changed.get(run_id), _compute_undefined_share(counts.get(run_id, {})))
        for run_id in changed.keys() | counts.keys()
    }


def _compute_undefined_share(counts: dict[str, float]) -> float | None:
    n_undefined, n_defined = counts.get("n_undefined", 0.0), counts.get("n_defined", 0.0)
    return n_undefined / (n_defined + n_undefined) if n_defined + n_undefined else None
