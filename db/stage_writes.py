"""What changes a stage: claim, rows, end, attempts. Each function is one transaction.

A worker writes under the token with which the stage was claimed: once another run has taken the stage over, or its run
has ended, the old worker's writes are refused.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from sqlalchemy import func
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session, SQLModel, col, select

from db import models
from db.errors import LeaseLostError
from db.models import Attempt, Metric, MetricName, Stage
from db.paths import StorePaths
from db.rows import (
    AgreementRow,
    AttemptRow,
    CheckpointRow,
    Claim,
    EvaluationRow,
    MetricRow,
    PairRow,
    PromptRow,
    ResponseRow,
    SampledPromptRow,
    ScoreRow,
    StageDataRow,
    TextPromptRow,
    TextResponseRow,
)
from db.run_writes import IsAlive, load_lease
from db.session import Store

# In the order of writing: what others refer to comes first. The columns are the table's unique key.
_TABLES: dict[type, tuple[type[SQLModel], tuple[str, ...]]] = {
    PromptRow: (models.Prompt, ("prompt_id",)),
    SampledPromptRow: (models.SampledPrompt, ("stage_id", "prompt_id")),
    TextPromptRow: (models.SampledPrompt, ("stage_id", "prompt_id")),
    ResponseRow: (models.Response, ("stage_id", "prompt_id", "k")),
    TextResponseRow: (models.Response, ("stage_id", "prompt_id", "k")),
    ScoreRow: (models.Score, ("stage_id", "scorer", "prompt_id", "k")),
    AgreementRow: (models.Agreement, ("stage_id", "measure", "scorer", "against", "prompt_id")),
    PairRow: (models.Pair, ("stage_id", "prompt_id")),
    CheckpointRow: (models.Checkpoint, ("stage_id",)),
    EvaluationRow: (models.Evaluation, ("stage_id", "task", "item_id")),
}


def claim_stage(store: Store, stage_id: int, *, run_id: str, token: str, is_alive: IsAlive) -> Claim:
    """Takes the stage for this run, or says who has it; a dead or stopped owner's stage is taken over with its rows.

    Raises:
        LeaseLostError: the run's own lease is not this token's.
    """
    with store.begin() as session:
        lease = load_lease(session, run_id)
        if lease is None or lease.token != token:
            raise LeaseLostError(f"this process no longer owns run {run_id}")
        stage = _load_stage(session, stage_id)
        if stage.state == "done":
            return Claim("done", stage.owner_run_id)
        is_ours = (stage.owner_run_id, stage.owner_token) == (run_id, token)
        if stage.state == "running" and not is_ours and _has_live_owner(session, stage, is_alive):
            return Claim("wait", stage.owner_run_id)
        if stage.started_at is None or (stage.n_done == 0 and not is_ours):
            stage.started_at = time.time()
        stage.state, stage.owner_run_id, stage.owner_token = "running", run_id, token
        stage.finished_at = stage.error = None
        session.add(stage)
        return Claim("claimed", run_id)


def write_stage_rows(
    store: Store,
    stage_id: int,
    token: str,
    rows: Sequence[StageDataRow],
    *,
    n_done: int | None = None,
    n_total: int | None = None,
    unit: str | None = None,
    n_tokens: int | None = None,
) -> None:
    """Adds rows of any kinds and moves the counters; rows already there stay as they are, metrics are replaced.

    Args:
        n_done: absolute, like the other counters; None leaves a counter alone.

    Raises:
        LeaseLostError: the stage is not running under this token.
        ValueError: a number is NaN or infinite; nothing was written.
    """
    prepared = _prepare(stage_id, rows)
    with store.begin() as session:
        stage = _load_own_stage(session, stage_id, token)
        _insert(session, stage_id, prepared)
        counters = {"n_done": n_done, "n_total": n_total, "unit": unit, "n_tokens": n_tokens}
        for name, value in counters.items():
            if value is not None:
                setattr(stage, name, value)
        session.add(stage)


def insert_rows(session: Session, stage_id: int, rows: Sequence[StageDataRow]) -> None:
    """Adds rows to a stage within the caller's transaction, as ``write_stage_rows`` does.

    Raises:
        ValueError: a number is NaN or infinite; nothing was written.
    """
    _insert(session, stage_id, _prepare(stage_id, rows))


def finish_stage(store: Store, stage_id: int, token: str) -> None:
    """Makes the stage done."""
    with store.begin() as session:
        stage = _load_own_stage(session, stage_id, token)
        stage.state, stage.finished_at, stage.error = "done", time.time(), None
        if stage.n_total is None:
            stage.n_total = stage.n_done
        session.add(stage)


def fail_stage(store: Store, stage_id: int, token: str, error: str) -> None:
    """Makes the stage failed; its rows stay for a resume."""
    with store.begin() as session:
        stage = _load_own_stage(session, stage_id, token)
        stage.state, stage.finished_at, stage.error = "failed", time.time(), error
        session.add(stage)


def release_stage(store: Store, stage_id: int, token: str) -> None:
    """Makes the stage pending again, as on a stop; its rows stay."""
    with store.begin() as session:
        stage = _load_own_stage(session, stage_id, token)
        stage.state, stage.owner_token = "pending", None
        session.add(stage)


def start_attempt(store: Store, stage_id: int, run_id: str, log_path: str | None = None) -> AttemptRow:
    """The new attempt; without a path its log is the one that the layout gives to the attempt's number."""
    with store.begin() as session:
        number = session.exec(select(func.count()).select_from(Attempt).where(col(Attempt.run_id) == run_id)).one() + 1
        if log_path is None:
            log_path = StorePaths(store.paths.root).attempt_log(run_id, number).relative_to(store.paths.root).as_posix()
        attempt = Attempt(stage_id=stage_id, run_id=run_id, number=number, log_path=log_path, started_at=time.time())
        session.add(attempt)
        session.flush()
        return AttemptRow(**attempt.model_dump())


def set_attempt_pid(store: Store, attempt_id: int, pid: int) -> None:
    with store.begin() as session:
        attempt = _load_attempt(session, attempt_id)
        attempt.pid = pid
        session.add(attempt)


def finish_attempt(
    store: Store,
    attempt_id: int,
    *,
    exit_code: int | None,
    error: str | None = None,
    peak_rss_bytes: int | None = None,
    peak_gpu_bytes: int | None = None,
    compute_s: float | None = None,
) -> None:
    with store.begin() as session:
        attempt = _load_attempt(session, attempt_id)
        attempt.finished_at, attempt.exit_code, attempt.error = time.time(), exit_code, error
        attempt.peak_rss_bytes, attempt.peak_gpu_bytes = peak_rss_bytes, peak_gpu_bytes
        attempt.compute_s = compute_s
        session.add(attempt)


def _load_stage(session: Session, stage_id: int) -> Stage:
    stage = session.get(Stage, stage_id)
    if stage is None:
        raise LeaseLostError(f"stage {stage_id} is no longer in the store")
    return stage


def _load_own_stage(session: Session, stage_id: int, token: str) -> Stage:
    stage = _load_stage(session, stage_id)
    if stage.state != "running" or stage.owner_token != token:
        raise LeaseLostError(
            f"this process no longer owns stage {stage_id} ({stage.name}): it is {stage.state}"
            + (f", owned by run {stage.owner_run_id}" if stage.owner_run_id else "")
        )
    return stage


def _load_attempt(session: Session, attempt_id: int) -> Attempt:
    attempt = session.get(Attempt, attempt_id)
    if attempt is None:
        raise LeaseLostError(f"attempt {attempt_id} is no longer in the store")
    return attempt


def _has_live_owner(session: Session, stage: Stage, is_alive: IsAlive) -> bool:
    lease = load_lease(session, stage.owner_run_id)
    return lease is not None and lease.token == stage.owner_token and is_alive(lease)


def _prepare(stage_id: int, rows: Sequence[StageDataRow]) -> tuple[dict[type, list[dict[str, Any]]], list[MetricRow]]:
    """The column values of rows of any kinds, checked, and the metrics among them."""
    values = {kind: _collect_values(stage_id, kind, rows) for kind in _TABLES}
    metrics = [row for row in rows if isinstance(row, MetricRow)]
    _refuse_not_finite(metrics)
    if sum(map(len, values.values())) + len(metrics) != len(rows):
        raise TypeError(f"no table for {sorted({type(row).__name__ for row in rows if type(row) not in _TABLES})}")
    return values, metrics


def _insert(
    session: Session, stage_id: int, prepared: tuple[dict[type, list[dict[str, Any]]], list[MetricRow]]
) -> None:
    values, metrics = prepared
    for kind, (table, key) in _TABLES.items():
        if values[kind]:
            # Not INSERT OR IGNORE: that would also drop rows that break a CHECK.
            statement = insert(table).on_conflict_do_nothing(index_elements=key)
            session.connection().execute(statement, values[kind])
    _replace_metrics(session, stage_id, metrics)


def _collect_values(stage_id: int, kind: type, rows: Iterable[StageDataRow]) -> list[dict[str, Any]]:
    """The column values of the rows of one kind, checked."""
    chosen = [row for row in rows if type(row) is kind]
    if not chosen:
        return []
    _refuse_not_finite(chosen)
    names = [field.name for field in fields(kind)]
    extra: dict[str, Any] = {} if kind is PromptRow else {"stage_id": stage_id}
    if kind is CheckpointRow:
        extra["created_at"] = time.time()
    values = [dict(zip(names, getter(row), strict=True)) | extra for getter in [attrgetter(*names)] for row in chosen]
    for row, value in zip(chosen, values, strict=True):
        if isinstance(row, (SampledPromptRow, ResponseRow)):
            value["token_ids_json"] = json.dumps(list(value.pop("token_ids")), separators=(",", ":"))
        if isinstance(row, ResponseRow):
            value["n_tokens"] = row.n_tokens
    return values


def _refuse_not_finite(rows: Iterable[StageDataRow]) -> None:
    for row in rows:
        for name in row.__slots__:
            value = getattr(row, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{type(row).__name__}.{name} is {value}; a missing number needs a reason: {row}")


def _replace_metrics(session: Session, stage_id: int, metrics: Sequence[MetricRow]) -> None:
    """Inserts; a step that is already there loses its row, so that its new metric_id tells readers of the change."""
    if not metrics:
        return
    names = sorted({row.name for row in metrics})
    connection = session.connection()
    new_names = insert(MetricName).on_conflict_do_nothing(index_elements=["name"])
    connection.execute(new_names, [{"name": name} for name in names])
    ids = dict(session.exec(select(MetricName.name, MetricName.name_id).where(col(MetricName.name).in_(names))).all())
    now = time.time()
    connection.execute(
        insert(Metric).prefix_with("OR REPLACE"),
        [
            {"stage_id": stage_id, "name_id": ids[row.name], "step": row.step, "value": row.value, "at": now}
            for row in metrics
        ],
    )
