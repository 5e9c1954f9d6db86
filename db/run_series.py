"""The metrics of a run as columns, and what else charts draw. Light: plain sqlite3, no sqlmodel, no numpy.

A series is one metric of one kind of stage over all iterations of a run. It is read by the index of its stages, so that
nothing but what is shown is touched, and again from a cursor: a replayed step comes with a higher metric_id and takes
the place of the row with the same position and step. ``c`` comes from ``open_reader``.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from dataclasses import dataclass

from db.reading import fetch_rows
from db.rows import UsageRow

__all__ = [
    "SeriesColumns",
    "SeriesInfo",
    "TauCount",
    "list_series",
    "parse_numbers",
    "read_recent_usage",
    "read_series",
    "read_tau_counts",
]


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """One metric of one stage of a run.

    Attributes:
        position: of the stage in the run's plan.
        first_step, last_step: between which its steps lie; a summary of a whole stage has step 0.
    """

    name: str
    stage: str
    position: int
    iteration: int
    label: str
    first_step: int
    last_step: int


@dataclass(frozen=True, slots=True)
class SeriesColumns:
    """Points of one series by position of the stage and step, each field as long as the others.

    ``at`` is in seconds since the epoch; ``array`` gives numpy a view without a copy.
    """

    name: str
    stage: str
    position: array[int]
    iteration: array[int]
    step: array[int]
    value: array[float]
    at: array[float]
    metric_id: array[int]

    def __len__(self) -> int:
        return len(self.value)

    @property
    def cursor(self) -> int:
        """The highest metric_id, from which a later read goes on; 0 without points."""
        return max(self.metric_id, default=0)


@dataclass(frozen=True, slots=True)
class TauCount:
    """How many prompts of an iteration have this tau among this many distinct responses."""

    tau: float
    n_distinct: int
    n_prompts: int


def list_series(c: sqlite3.Connection, run_id: str) -> list[SeriesInfo]:
    """What the run's stages have metrics of, by position and name."""
    rows = fetch_rows(
        c,
        # The ends by two looks into the index of each stage and name: counting would step through every point.
        "SELECT n.name, s.name, l.position, l.iteration, l.label, "
        "(SELECT min(step) FROM metric m WHERE m.stage_id = l.stage_id AND m.name_id = n.name_id) AS first_step, "
        "(SELECT max(step) FROM metric m WHERE m.stage_id = l.stage_id AND m.name_id = n.name_id) "
        "FROM run_stage l CROSS JOIN stage s ON s.stage_id = l.stage_id CROSS JOIN metric_name n "
        "WHERE l.run_id = ? AND first_step IS NOT NULL ORDER BY l.position, n.name",
        (run_id,),
    )
    return [SeriesInfo(*row) for row in rows]


def read_series(c: sqlite3.Connection, run_id: str, name: str, *, stage: str, after: int = 0) -> SeriesColumns:
    """The points of a series whose metric_id is above the cursor, values and times to 15 digits.

    Args:
        name: of the metric.
        stage: the kind of stage: ``mean_n_tokens`` is a metric of sample and of evaluate.
        after: 0 reads all.
    """
    stages = fetch_rows(
        c,
        "SELECT l.position, l.iteration, l.stage_id, n.name_id FROM metric_name n CROSS JOIN run_stage l "
        "CROSS JOIN stage s ON s.stage_id = l.stage_id WHERE n.name = ? AND l.run_id = ? AND s.name = ? "
        "ORDER BY l.position",
        (name, run_id, stage),
    )
    columns = SeriesColumns(name, stage, array("q"), array("q"), array("q"), array("d"), array("d"), array("q"))
    for position, iteration, stage_id, name_id in stages:
        # One text for each column: Python's lock is let go and taken again for every fetched row, which takes a
        # thousand times as long while another thread draws.
        (texts,) = fetch_rows(
            c,
            "SELECT json_group_array(step), json_group_array(value), json_group_array(at), json_group_array(metric_id) "
            "FROM (SELECT step, value, at, metric_id FROM metric "
            "WHERE stage_id = ? AND name_id = ? AND metric_id > ? ORDER BY step)",
            (stage_id, name_id, after),
        )
        step, value, at, metric_id = map(parse_numbers, texts)
        columns.position.extend([position] * len(step))
        columns.iteration.extend([iteration] * len(step))
        columns.step.extend(map(int, step))
        columns.value.extend(value)
        columns.at.extend(at)
        columns.metric_id.extend(map(int, metric_id))
    return columns


def parse_numbers(text: str) -> list[float]:
    """The numbers of a JSON list; SQLite writes an infinite one, as of a diverged training, in its own way."""
    numbers: list[float] = json.loads(text.replace("Inf", "Infinity"))
    return numbers


def read_tau_counts(c: sqlite3.Connection, run_id: str, iteration: int, *, against: str) -> list[TauCount]:
    """Kendall's tau of the iteration's current reward with another ranking, counted by value; undefined ones left out.

    Args:
        against: the scorer of the other ranking, as ``mean_loglik:M0``.
    """
    rows = fetch_rows(
        c,
        "SELECT a.value, a.n_distinct, count(*) FROM run_stage l JOIN stage s ON s.stage_id = l.stage_id "
        "JOIN agreement a ON a.stage_id = s.stage_id "
        "WHERE l.run_id = ? AND s.name = 'agree' AND l.iteration = ? AND a.measure = 'kendall' AND a.scorer = ? "
        "AND a.against = ? AND a.value IS NOT NULL GROUP BY a.value, a.n_distinct ORDER BY a.value, a.n_distinct",
        (run_id, iteration, f"implicit:M{iteration}", against),
    )
    return [TauCount(*row) for row in rows]


def read_recent_usage(c: sqlite3.Connection, run_id: str, n: int) -> list[UsageRow]:
    """The newest ``n`` samples of what the run's processes took, the oldest of them first."""
    rows = fetch_rows(
        c,
        "SELECT usage_id, run_id, at, cpu_percent, rss_bytes, gpu_percent, gpu_bytes, gpu_total_bytes "
        "FROM usage WHERE run_id = ? ORDER BY usage_id DESC LIMIT ?",
        (run_id, n),
    )
    return [UsageRow(*row) for row in reversed(rows)]
