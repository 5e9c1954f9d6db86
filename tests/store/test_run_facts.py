"""Facts about all runs that are read only when someone asks for them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

from db.reading import open_reader
from db.rows import MetricRow
from db.run_facts import RunHealth, read_last_metrics, read_metric_names, read_run_configs, read_run_health
from db.session import Store


def test_configs_are_read_once(recorded: Any) -> None:
    first, second = recorded.first.run_id, recorded.second.run_id
    connection = open_reader(recorded.root)
    configs = read_run_configs(connection)
    assert set(configs) == {first, second}
    assert json.loads(configs[first]) == json.loads(recorded.first.config_json)
    assert set(read_run_configs(connection, {first})) == {second}


def test_the_last_metric_is_that_of_the_last_stage_and_step(recorded: Any) -> None:
    """evaluate M0, M1, M2 have accuracy 0.1, 0.2, 0.3; the second run shares M0 and M1 and has not got further."""
    connection = open_reader(recorded.root)
    assert "accuracy" in read_metric_names(connection)
    values = read_last_metrics(connection, "accuracy")
    assert values == {recorded.first.run_id: 0.3, recorded.second.run_id: 0.2}
    assert read_last_metrics(connection, "no such metric") == {}


def test_health(store: Store, record_store: Callable[..., Any]) -> None:
    """Trainings that changed 90 % and 0.4 % of the weights; 1 of 4 taus undefined."""
    recorded = record_store(store)
    connection = open_reader(recorded.root)
    before = read_run_health(connection).get(recorded.first.run_id, RunHealth())
    assert before.least_changed_share is None
    for label, rows in (
        ("train M1", [MetricRow("changed_share", 0, 0.9)]),
        ("train M2", [MetricRow("changed_share", 0, 0.004)]),
        ("agree M1", [MetricRow("n_defined", 0, 3.0), MetricRow("n_undefined", 0, 1.0)]),
    ):
        _add(recorded, label, rows)
    health = read_run_health(connection)
    assert health[recorded.first.run_id] == RunHealth(0.004, 0.25)
    assert health[recorded.second.run_id].least_changed_share == 0.9


def _add(recorded: Any, label: str, rows: list[MetricRow]) -> None:
    with closing(sqlite3.connect(recorded.root / "cream.db")) as connection, connection:
        for row in rows:
            connection.execute("INSERT INTO metric_name (name) VALUES (?) ON CONFLICT DO NOTHING", (row.name,))
            connection.execute(
                "INSERT INTO metric (stage_id, name_id, step, value, at) "
                "SELECT ?, name_id, ?, ?, 0 FROM metric_name WHERE name = ?",
                (recorded.stage_ids[label], row.step, row.value, row.name),
            )
