"""What a run's metrics came to: count, range and last value of each. Light: plain sqlite3, no sqlmodel."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from db.reading import fetch_rows, snapshot

# From the run's stages to their metrics: a store has far more metrics than stages.
_FROM = (
    "FROM run_stage l CROSS JOIN metric m ON m.stage_id = l.stage_id JOIN stage s ON s.stage_id = l.stage_id "
    "JOIN metric_name n ON n.name_id = m.name_id WHERE l.run_id = ? GROUP BY n.name, s.name"
)


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """One metric of one kind of stage over all iterations of a run.

    Attributes:
        last: the value of the last step of the last stage that has it.
        label: of that stage.
    """

    name: str
    stage: str
    n: int
    last: float
    lowest: float
    highest: float
    label: str


def read_metric_summaries(c: sqlite3.Connection, run_id: str) -> list[MetricSummary]:
    """One line per name and kind of stage, by name."""
    with snapshot(c):
        ranges = fetch_rows(c, f"SELECT n.name, s.name, count(*), min(m.value), max(m.value) {_FROM}", (run_id,))
        # With one max() SQLite takes the other columns from the row that has it.
        last = fetch_rows(
            c, f"SELECT n.name, s.name, m.value, l.label, max(l.position * 1000000000 + m.step) {_FROM}", (run_id,)
        )
    ends = {(name, stage): (value, label) for name, stage, value, label, _ in last}
    return sorted(
        (
            MetricSummary(name, stage, n, ends[name, stage][0], lowest, highest, ends[name, stage][1])
            for name, stage, n, lowest, highest in ranges
        ),
        key=lambda summary: (summary.name, summary.stage),
    )
