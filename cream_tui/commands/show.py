"""`show`: one run, or a study, everything that fits a page."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cream_tui import diagnostics, output
from cream_tui.narrative import tell_judge, tell_small_changes
from cream_tui.output import Cell, Column
from cream_tui.readers.run_forks import count_fork_verdicts, describe_fork, describe_import
from cream_tui.readers.snapshots import RunSnapshot, read_snapshot
from cream_tui.result_table import (
    PREFERENCE_COLUMNS,
    PREFERENCE_LEGEND,
    RESULT_COLUMNS,
    build_legend,
    build_preference_rows,
    build_record,
    build_result_rows,
    build_task_columns,
    build_task_notes,
    build_task_rows,
)
from cream_tui.stage_view import StageView, describe_stage
from cream_tui.stores import format_command, open_run_reader
from cream_tui.styles import RUN_STYLES, STAGE_STYLES
from cream_tui.text import make_visible
from cream_tui.units import format_age, format_duration
from db.exports import format_time
from db.queries import read_attempts, read_lease, read_run_checkpoints, read_run_metrics
from db.rows import RunCheckpoint, RunMetric, RunRow
from db.studies import StudyRow, find_run_or_study
from engine.errors import ExitCode

_STAGE_COLUMNS = (Column("stage"), Column("state"), Column("", is_flexible=True))


def show(store: str | None, run: str, *, as_json: bool) -> int:
    """Print a run, or a study."""
    with open_run_reader(store) as (root, connection):
        found = find_run_or_study(connection, run)
        if isinstance(found, StudyRow):
            from cream_tui.commands import study

            return study.show(connection, store, found, as_json=as_json)
        snapshot = read_snapshot(connection, found.run_id)
        checkpoints = read_run_checkpoints(connection, found.run_id, root)
        log = find_log(connection, root, found.run_id)
        missing = read_run_metrics(connection, found.run_id, names=("n_missing", "n_skipped_prompts"))
        if as_json:
            output.print_json(_build_record(connection, snapshot, checkpoints, log))
            return ExitCode.DONE
    _print_head(snapshot)
    _print_stages(snapshot)
    _print_results(snapshot)
    _print_preferences(snapshot)
    _print_models(checkpoints)
    _print_warnings(snapshot, missing)
    _print_end(snapshot, log, store)
    return ExitCode.DONE


def find_log(connection: sqlite3.Connection, root: Path, run_id: str) -> Path | None:
    """The log that tells most about a run's end: its last attempt's, else its supervisor's."""
    from db.paths import StorePaths

    logs = [root / attempt.log_path for attempt in reversed(read_attempts(connection, run_id)) if attempt.log_path]
    logs.append(StorePaths(root).supervisor_log(run_id))
    return next((log for log in logs if log.is_file()), None)


def _print_head(snapshot: RunSnapshot) -> None:
    run = snapshot.run
    output.print_lines([[Cell(make_visible(run.name), "bold")]])
    facts: list[tuple[str, str | Cell]] = [
        ("run", run.run_id),
        ("state", Cell(snapshot.state, RUN_STYLES.get(snapshot.state, ""))),
        ("method", f"{run.method}, seed {run.seed}, {run.iterations} iterations"),
        ("created", f"{(format_time(run.created_at) or '')[:19].replace('T', ' ')} UTC ({_describe_age(run)})"),
    ]
    model = _describe_model(run)
    if model:
        facts.append(("model", model))
    if run.parent_run_id:
        facts.append(("fork of", describe_fork(run.parent_run_id, run.fork_at, run.lineage_json)))
    files = describe_import(run.provenance_json)
    if files:
        facts.append(("imported", f"from {files}"))
    if run.tags:
        facts.append(("tags", ", ".join(run.tags)))
    if run.started_at is not None and run.finished_at is not None:
        facts.append(("took", format_duration(run.finished_at - run.started_at)))
    output.print_facts(facts)


def _describe_model(run: RunRow) -> str | None:
    """M0's name, and the commit of the hub that it was; None for a run that was stored without them."""
    provenance = _load_json(run.provenance_json)
    model = provenance.get("model") if isinstance(provenance, dict) else None
    if not isinstance(model, dict) or not model.get("commit"):
        return None
    return f"{model.get('name')} at commit {model['commit']}"


def _describe_age(run: RunRow) -> str:
    age = format_age(max(0.0, time.time() - run.created_at))
    return "just now" if age == "now" else age


def _print_stages(snapshot: RunSnapshot) -> None:
    output.print_text()
    rows = [
        (stage.label, Cell(stage.status, STAGE_STYLES.get(stage.status, "")), Cell(describe_stage(stage), "dim"))
        for stage in snapshot.stages
    ]
    output.print_table(_STAGE_COLUMNS, rows)


def _print_results(snapshot: RunSnapshot) -> None:
    rows = build_result_rows(snapshot.results)
    if not rows:
        return
    output.print_text()
    output.print_table(RESULT_COLUMNS, rows)
    for line in build_legend(snapshot.results):
        output.print_paragraph(line, "dim")
    _print_tasks(snapshot)


def _print_tasks(snapshot: RunSnapshot) -> None:
    task_rows = build_task_rows(snapshot.results)
    if task_rows:
        output.print_text()
        output.print_table(build_task_columns(snapshot.results), task_rows)
        for line in build_task_notes(snapshot.results):
            output.print_paragraph(line, "dim")


def _print_preferences(snapshot: RunSnapshot) -> None:
    rows = build_preference_rows(snapshot.results)
    if rows:
        output.print_text()
        output.print_table(PREFERENCE_COLUMNS, rows)
        output.print_paragraph(PREFERENCE_LEGEND, "dim")


def _print_models(checkpoints: list[RunCheckpoint]) -> None:
    if not checkpoints:
        return
    output.print_text()
    output.print_table((Column("model"), Column("folder")), [(model.name, model.folder) for model in checkpoints])


_LEFT_OUT = {
    "n_missing": "responses have no score",
    "n_skipped_prompts": "prompts are longer than data.max_prompt_tokens and were left out",
}


def _print_warnings(snapshot: RunSnapshot, missing: Sequence[RunMetric]) -> None:
    lines = [*tell_small_changes(snapshot.results), *tell_judge(snapshot.results)]
    lines += [f"{metric.label}: {metric.value:,.0f} {_LEFT_OUT[metric.name]}" for metric in missing if metric.value > 0]
    if lines:
        diagnostics.narrate()
    for line in lines:
        diagnostics.warn(make_visible(line))


def _print_end(snapshot: RunSnapshot, log: Path | None, store: str | None) -> None:
    run = snapshot.run
    if snapshot.stale:
        diagnostics.narrate(f"\nIts process is gone. Go on with: {format_command(f'resume {run.run_id}', store)}")
    elif run.state == "stopped":
        diagnostics.narrate(f"\nIt was stopped. Go on with: {format_command(f'resume {run.run_id}', store)}")
    elif run.state == "failed":
        diagnostics.narrate()
        error = run.error or "the run failed"
        diagnostics.fail(error, f"The log is {log}" if log and str(log) not in error else None)


def _build_record(
    connection: sqlite3.Connection, snapshot: RunSnapshot, checkpoints: list[RunCheckpoint], log: Path | None
) -> dict[str, Any]:
    run = snapshot.run
    lease = read_lease(connection, run.run_id)
    return {
        "run_id": run.run_id,
        "name": run.name,
        "method": run.method,
        "seed": run.seed,
        "state": run.state,
        "stale": snapshot.stale,
        "iterations": run.iterations,
        "tags": list(run.tags),
        "created_at": format_time(run.created_at),
        "started_at": format_time(run.started_at),
        "finished_at": format_time(run.finished_at),
        "parent_run_id": run.parent_run_id,
        "fork_at": run.fork_at,
        "n_fork_verdicts": count_fork_verdicts(run.lineage_json),
        "exit_code": run.exit_code,
        "error": run.error,
        "log": None if log is None else str(log),
        "process": None if lease is None else {"pid": lease.pid, "host": lease.host},
        "checkpoints": [{"name": model.name, "folder": model.folder, "digest": model.digest} for model in checkpoints],
        "stages": [_build_stage_record(stage) for stage in snapshot.stages],
        "models": [build_record(model) for model in snapshot.results],
        "metrics": _collect_metrics(connection, snapshot),
        "config_digest": run.config_digest,
        "config": _load_json(run.config_json),
        "provenance": _load_json(run.provenance_json),
    }


def _build_stage_record(stage: StageView) -> dict[str, Any]:
    return {
        "label": stage.label,
        "stage": stage.name,
        "state": stage.status,
        "other_run": stage.other,
        "n_done": stage.n_done,
        "n_total": stage.n_total,
        "unit": stage.unit,
        "elapsed_s": stage.elapsed_s,
        "error": stage.error,
    }


def _collect_metrics(connection: sqlite3.Connection, snapshot: RunSnapshot) -> list[dict[str, Any]]:
    """Summaries by stage; evaluations stand with their models."""
    collected: dict[tuple[int, str, str], dict[str, float]] = {}
    for metric in read_run_metrics(connection, snapshot.run.run_id):
        if metric.step == 0 and metric.stage not in ("evaluate", "train"):
            collected.setdefault((metric.iteration, metric.stage, metric.label), {})[metric.name] = metric.value
    return [
        {"iteration": iteration, "stage": stage, "label": label, **values}
        for (iteration, stage, label), values in collected.items()
    ]


def _load_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
