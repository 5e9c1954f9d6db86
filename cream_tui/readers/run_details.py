"""What the list tells of the run under its cursor: how its models did, how its settings differ, where it is, its log.

Knows db's reads and log files. Must not know how anything is drawn. Reads by the index of each series, so that a run of
any length costs the same.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cream_tui.config_differences import find_differences, load_config
from cream_tui.readers.log_tail import LogTail
from cream_tui.readers.run_records import load_settings
from cream_tui.stage_view import build_stage_view, describe_stage
from db.errors import RunNotFoundError
from db.labels import find_model_name
from db.paths import StorePaths
from db.queries import find_run, read_attempts, read_run_checkpoints, read_run_stages
from db.reading import snapshot
from db.rows import RunRow
from db.run_series import read_series

N_LOG_LINES = 40
_LOG_BYTES = 1 << 14
# Stage and metric of what each model is told by.
_SERIES = {
    "accuracy": "evaluate",
    "tau_previous": "agree",
    "tau_anchor": "agree",
    "confidence": "pair",
    "label_accuracy": "pair",
}


@dataclass(frozen=True, slots=True)
class RunDetail:
    """One run, close up.

    Attributes:
        figures: by metric, the value of each model by its index.
        models: names of the models that exist.
        stage: the first stage that is not done, in words; may hold the name of the run that it waits for.
        differences: settings whose value differs from the baseline's: (key, the baseline's value, this run's).
        baseline: name of the baseline; None where there is none or this run is it.
        log: its last lines, made visible.
    """

    run: RunRow
    figures: Mapping[str, Mapping[int, float]]
    models: tuple[str, ...]
    stage: str
    settings: Mapping[str, Any]
    differences: tuple[tuple[str, Any, Any], ...]
    baseline: str | None
    log: tuple[str, ...]


def read_run_detail(
    connection: sqlite3.Connection, root: Path, run_id: str, baseline_id: str | None = None
) -> RunDetail:
    """The run close up.

    Raises:
        RunNotFoundError: it was removed.
    """
    with snapshot(connection):
        run = find_run(connection, run_id)
        figures = {name: _read_figures(connection, run_id, name, stage) for name, stage in _SERIES.items()}
        models = tuple(model.name for model in read_run_checkpoints(connection, run_id, root))
        stage = _describe_open_stage(connection, run)
        log = _find_log(connection, root, run_id)
        baseline = None
        if baseline_id is not None and baseline_id != run_id:
            baseline = find_run(connection, baseline_id)
    differences: dict[str, list[Any]] = {}
    if baseline is not None:
        differences = find_differences([load_config(baseline.config_json), load_config(run.config_json)])
    return RunDetail(
        run,
        figures,
        models,
        stage,
        load_settings(run.config_json),
        tuple((key, theirs, own) for key, (theirs, own) in differences.items()),
        None if baseline is None else baseline.name,
        _read_log(log),
    )


def _read_figures(connection: sqlite3.Connection, run_id: str, name: str, stage: str) -> dict[int, float]:
    """The value of each model: an evaluation names its model, what an iteration measures belongs to the one it has."""
    points = read_series(connection, run_id, name, stage=stage)
    if stage != "evaluate":
        return dict(zip(points.iteration, points.value, strict=True))
    labels = {row.position: row.label for row in read_run_stages(connection, run_id)}
    named = (
        (find_model_name(labels[position]), value)
        for position, value in zip(points.position, points.value, strict=True)
    )
    return {int(model[1:]): value for model, value in named if model is not None}


def _describe_open_stage(connection: sqlite3.Connection, run: RunRow) -> str:
    for row in read_run_stages(connection, run.run_id):
        if row.state != "done":
            view = build_stage_view(row, _read_owner_name(connection, row.owner_run_id), time.time())
            return f"{row.label}  {describe_stage(view)}".strip()
    return ""


def _read_owner_name(connection: sqlite3.Connection, run_id: str | None) -> dict[str, str]:
    if run_id is None:
        return {}
    try:
        return {run_id: find_run(connection, run_id).name}
    except RunNotFoundError:
        return {}


def _find_log(connection: sqlite3.Connection, root: Path, run_id: str) -> Path:
    logs = [root / attempt.log_path for attempt in reversed(read_attempts(connection, run_id)) if attempt.log_path]
    written = (log for log in logs if log.is_file() and log.stat().st_size)
    return next(written, StorePaths(root).supervisor_log(run_id))


def _read_log(path: Path) -> tuple[str, ...]:
    tail = LogTail(path, most_lines=N_LOG_LINES, most_bytes=_LOG_BYTES)
    tail.read()
    return tuple(line for line in tail.lines if line.strip())
