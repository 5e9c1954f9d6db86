"""Reading runs, stages and what they produced, as the records of ``db.rows``. Light: plain sqlite3, no sqlmodel.

Rows belong to stages and runs link to stages, so that a shared or forked stage reads like an own one. ``c`` comes from
``open_reader``; all orders are total and independent of row ids, save where a function says otherwise.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from db.errors import RunNotFoundError
from db.reading import fetch_rows, open_reader, read_data_version, snapshot
from db.references import Named, find_exact, find_starts, list_named, read_named, refuse
from db.rows import (
    AgreementRow,
    AttemptRow,
    CheckpointRow,
    EvaluationRow,
    Lease,
    PairRow,
    PromptRow,
    ResponseRow,
    RunCheckpoint,
    RunMetric,
    RunRow,
    SampledPromptRow,
    ScoreRow,
    StageRow,
    UsageRow,
    VerdictRow,
)

__all__ = [
    "build_verdict",
    "find_pairs",
    "find_run",
    "open_reader",
    "read_agreements",
    "read_attempts",
    "read_checkpoint",
    "read_data_version",
    "read_evaluations",
    "read_lease",
    "read_outcomes",
    "read_pairs",
    "read_prompts",
    "read_responses",
    "read_run_checkpoints",
    "read_run_metrics",
    "read_run_stages",
    "read_runs",
    "read_scores",
    "read_stage",
    "read_usage",
    "read_verdicts",
    "snapshot",
]

_RUN_COLUMNS = (
    "run_id, name, method, seed, iterations, state, created_at, started_at, finished_at, config_json, config_digest, "
    "lineage_json, base_folder, base_digest, parent_run_id, fork_at, reuse, provenance_json, stop_requested_at, "
    "exit_code, error, note, is_baseline, queue_position"
)
_STAGE_SELECT = (
    "SELECT l.run_id, l.position, s.stage_id, s.key, s.name, l.iteration, l.label, s.state, s.owner_run_id, s.n_done, "
    "s.n_total, s.unit, s.n_tokens, s.started_at, s.finished_at, s.error, "
    "(SELECT count(*) FROM attempt a WHERE a.stage_id = s.stage_id) AS n_attempts "
    "FROM run_stage l JOIN stage s ON s.stage_id = l.stage_id "
)
NO_RUNS = "the store has no runs"
HOW_TO_START = "start one with `cream-tui demo` or `cream-tui run CONFIG`"


def read_runs(c: sqlite3.Connection) -> list[RunRow]:
    """All runs, newest last."""
    with snapshot(c):
        rows = fetch_rows(c, f"SELECT {_RUN_COLUMNS} FROM run ORDER BY created_at, rowid")
        tags = read_tags(c)
    return [_build_run(row, tags.get(row["run_id"], ())) for row in rows]


def read_tags(c: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    """The tags of each run that has any."""
    tags: dict[str, list[str]] = {}
    for row in fetch_rows(c, "SELECT run_id, tag FROM run_tag ORDER BY run_id, tag"):
        tags.setdefault(row["run_id"], []).append(row["tag"])
    return {run_id: tuple(names) for run_id, names in tags.items()}


def find_run(c: sqlite3.Connection, reference: str) -> RunRow:
    """The run with this id, name, unique start of an id, unique start of a name, or the ``latest``.

    Raises:
        RunNotFoundError: none or several, or it is a study; the hint names the nearest or the candidates.
    """
    studies, runs = read_named(c)
    if not runs:
        raise RunNotFoundError(NO_RUNS, hint=HOW_TO_START)
    found = runs[-1] if reference == "latest" else find_exact(runs, reference)
    if found is None and (study := find_exact(studies, reference)) is not None:
        raise _refuse_study(c, study)
    if found is None:
        starts = find_starts(runs, reference)
        if len(starts) != 1:
            raise refuse(runs, reference, noun="run")
        found = starts[0]
    (row,) = fetch_rows(c, f"SELECT {_RUN_COLUMNS} FROM run WHERE run_id = ?", (found.key,))
    return _build_run(row, read_tags(c).get(found.key, ()))


def read_lease(c: sqlite3.Connection, run_id: str) -> Lease | None:
    rows = fetch_rows(
        c, "SELECT run_id, token, pid, pid_started_at, host, heartbeat_at FROM lease WHERE run_id = ?", (run_id,)
    )
    return Lease(**_values(rows[0])) if rows else None


def read_run_stages(c: sqlite3.Connection, run_id: str) -> list[StageRow]:
    """The run's stages in the order of its plan."""
    rows = fetch_rows(c, _STAGE_SELECT + "WHERE l.run_id = ? ORDER BY l.position", (run_id,))
    return [StageRow(**_values(row)) for row in rows]


def read_stage(c: sqlite3.Connection, stage_id: int, run_id: str | None = None) -> StageRow | None:
    """The stage as this run links it, else as its owner does, else as the first run that links it."""
    rows = fetch_rows(
        c,
        _STAGE_SELECT + "WHERE s.stage_id = ? "
        "ORDER BY l.run_id IS ? DESC, l.run_id IS s.owner_run_id DESC, l.run_id, l.position LIMIT 1",
        (stage_id, run_id),
    )
    return StageRow(**_values(rows[0])) if rows else None


def read_attempts(c: sqlite3.Connection, run_id: str) -> list[AttemptRow]:
    """The run's own attempts in order."""
    rows = fetch_rows(
        c,
        "SELECT attempt_id, stage_id, run_id, number, pid, log_path, started_at, finished_at, exit_code, error, "
        "peak_rss_bytes, peak_gpu_bytes, compute_s FROM attempt WHERE run_id = ? ORDER BY number",
        (run_id,),
    )
    return [AttemptRow(**_values(row)) for row in rows]


def read_run_checkpoints(c: sqlite3.Connection, run_id: str, root: Path) -> list[RunCheckpoint]:
    """The models that exist: M0, then M{t+1} from the finished training of iteration t; ``root`` is the store's.

    M1 is M0 where the run's plan has no SFT. An imported run has no models here.
    """
    base = fetch_rows(
        c,
        "SELECT r.base_folder, r.base_digest, "
        "count(l.stage_id) > 0 AND NOT total(s.name = 'train' AND l.iteration = 0) AS is_untuned "
        "FROM run r LEFT JOIN run_stage l ON l.run_id = r.run_id LEFT JOIN stage s ON s.stage_id = l.stage_id "
        "WHERE r.run_id = ? AND r.base_folder <> '' GROUP BY r.run_id",
        (run_id,),
    )
    trained = fetch_rows(
        c,
        "SELECT l.iteration, k.folder, k.digest FROM run_stage l JOIN stage s ON s.stage_id = l.stage_id "
        "JOIN checkpoint k ON k.stage_id = s.stage_id "
        "WHERE l.run_id = ? AND s.name = 'train' AND s.state = 'done' ORDER BY l.iteration, l.position",
        (run_id,),
    )
    named = [
        (name, row["base_folder"], row["base_digest"])
        for row in base
        for name in (("M0", "M1") if row["is_untuned"] else ("M0",))
    ]
    named += [(f"M{row['iteration'] + 1}", row["folder"], row["digest"]) for row in trained]
    return [RunCheckpoint(name, str(Path(root).absolute() / folder), digest) for name, folder, digest in named]


def read_checkpoint(c: sqlite3.Connection, stage_id: int) -> CheckpointRow | None:
    rows = fetch_rows(
        c,
        "SELECT digest, parent_digest, folder, n_parameters, n_bytes FROM checkpoint WHERE stage_id = ?",
        (stage_id,),
    )
    return CheckpointRow(**_values(rows[0])) if rows else None


def read_prompts(c: sqlite3.Connection, stage_id: int) -> list[tuple[PromptRow, SampledPromptRow]]:
    """The prompts of a sample stage in their order."""
    rows = fetch_rows(
        c,
        "SELECT p.prompt_id, p.text, p.messages_json, p.answer, p.task, d.position, d.token_ids_json, d.skip_reason "
        "FROM sampled_prompt d JOIN prompt p ON p.prompt_id = d.prompt_id "
        "WHERE d.stage_id = ? ORDER BY d.position, d.prompt_id",
        (stage_id,),
    )
    return [
        (
            PromptRow(row["prompt_id"], row["text"], row["messages_json"], row["answer"], row["task"]),
            SampledPromptRow(
                row["prompt_id"], row["position"], tuple(json.loads(row["token_ids_json"])), row["skip_reason"]
            ),
        )
        for row in rows
    ]


def read_responses(c: sqlite3.Connection, stage_id: int) -> list[ResponseRow]:
    """The responses of a sample stage by prompt position and k."""
    rows = fetch_rows(
        c,
        "SELECT r.prompt_id, r.k, r.text, r.token_ids_json, r.finish_reason, r.sampled_logprob, r.extracted, r.correct "
        "FROM response r LEFT JOIN sampled_prompt d ON d.stage_id = r.stage_id AND d.prompt_id = r.prompt_id "
        "WHERE r.stage_id = ? ORDER BY d.position, r.prompt_id, r.k",
        (stage_id,),
    )
    return [
        ResponseRow(
            prompt_id=row["prompt_id"],
            k=row["k"],
            text=row["text"],
            token_ids=tuple(json.loads(row["token_ids_json"])),
            finish_reason=row["finish_reason"],
            sampled_logprob=row["sampled_logprob"],
            extracted=row["extracted"],
            correct=as_bool(row["correct"]),
        )
        for row in rows
    ]


def read_scores(c: sqlite3.Connection, stage_ids: Sequence[int]) -> list[ScoreRow]:
    """The scores of these stages, in the order of the stages, then by scorer, prompt id and k."""
    sql = (
        "SELECT prompt_id, k, scorer, model, reference, sum_logprob, reference_sum_logprob, n_tokens, score, "
        "missing_reason FROM score WHERE stage_id = ? ORDER BY scorer, prompt_id, k"
    )
    return [ScoreRow(*row) for row in _read_stage_by_stage(c, sql, stage_ids)]


def read_agreements(c: sqlite3.Connection, stage_ids: Sequence[int]) -> list[AgreementRow]:
    """The agreements of these stages, in the order of the stages, then by measure, scorer, against and prompt id."""
    sql = (
        "SELECT prompt_id, measure, scorer, against, value, consistency_rate, n, n_distinct, undefined_reason "
        "FROM agreement WHERE stage_id = ? ORDER BY measure, scorer, against, prompt_id"
    )
    return [AgreementRow(*row) for row in _read_stage_by_stage(c, sql, stage_ids)]


def read_pairs(c: sqlite3.Connection, stage_id: int) -> list[PairRow]:
    """The pairs and skipped prompts of a pair stage, by prompt id."""
    rows = fetch_rows(
        c,
        "SELECT prompt_id, chosen_k, rejected_k, chosen_reward, rejected_reward, margin, consistency_rate, confidence, "
        "skip_reason FROM pair WHERE stage_id = ? ORDER BY prompt_id",
        (stage_id,),
    )
    return [PairRow(*row) for row in rows]


def find_pairs(
    c: sqlite3.Connection, run_id: str, reference: str, iteration: int | None = None
) -> list[tuple[int, int, str]]:
    """Iteration, pair stage and prompt id of the run's pairs whose prompt has this id, else an id that starts so."""
    rows = fetch_rows(
        c,
        "SELECT l.iteration, p.stage_id, p.prompt_id FROM run_stage l JOIN pair p ON p.stage_id = l.stage_id "
        "WHERE l.run_id = :run AND (:iteration IS NULL OR l.iteration = :iteration) "
        "AND substr(p.prompt_id, 1, length(:reference)) = :reference ORDER BY l.iteration, p.prompt_id",
        {"run": run_id, "iteration": iteration, "reference": reference},
    )
    found = [(row["iteration"], row["stage_id"], row["prompt_id"]) for row in rows]
    return [pair for pair in found if pair[2] == reference] or found


def read_evaluations(c: sqlite3.Connection, stage_id: int) -> list[EvaluationRow]:
    """The items of an evaluate stage by task and item id (numbers at the end of an id count as such)."""
    rows = fetch_rows(
        c,
        "SELECT task, item_id, prompt, response, extracted, gold, correct, n_tokens, finish_reason "
        "FROM evaluation WHERE stage_id = ? ORDER BY task, length(item_id), item_id",
        (stage_id,),
    )
    return [EvaluationRow(**{**_values(row), "correct": bool(row["correct"])}) for row in rows]


def read_outcomes(c: sqlite3.Connection, stage_id: int) -> dict[tuple[str, str], bool]:
    """Whether each (task, item id) of an evaluate stage was answered right, in the order of ``read_evaluations``."""
    rows = fetch_rows(
        c,
        "SELECT task, item_id, correct FROM evaluation WHERE stage_id = ? ORDER BY task, length(item_id), item_id",
        (stage_id,),
    )
    return {(task, item_id): bool(correct) for task, item_id, correct in rows}


def read_run_metrics(
    c: sqlite3.Connection, run_id: str, *, after_metric_id: int = 0, names: Iterable[str] | None = None
) -> list[RunMetric]:
    """The run's metrics above the cursor, by metric_id; a replayed step comes again with a higher id."""
    # With names: from each stage and name to its metrics by their index, past the steps of all other metrics.
    chosen = "" if names is None else "AND n.name IN (SELECT value FROM json_each(:names)) "
    join = "JOIN" if names is None else "CROSS JOIN"
    rows = fetch_rows(
        c,
        "SELECT m.metric_id, l.iteration, s.name, m.step, n.name, m.value, m.at, l.label FROM run_stage l "
        f"{join} stage s ON s.stage_id = l.stage_id {join} metric_name n "
        f"{join} metric m ON m.stage_id = s.stage_id AND m.name_id = n.name_id "
        f"WHERE l.run_id = :run AND m.metric_id > :after {chosen}ORDER BY m.metric_id, l.position",
        {"run": run_id, "after": after_metric_id, "names": json.dumps(sorted(set(names or ())))},
    )
    return [RunMetric(*row) for row in rows]


def read_verdicts(c: sqlite3.Connection, run_id: str) -> list[VerdictRow]:
    """What a person said of the run's pairs, by iteration and prompt id."""
    rows = fetch_rows(
        c,
        "SELECT v.stage_id, v.prompt_id, v.verdict, v.is_flagged, v.is_blind, v.note, v.at "
        "FROM run_stage l JOIN verdict v ON v.stage_id = l.stage_id WHERE l.run_id = ? "
        "ORDER BY l.iteration, v.prompt_id",
        (run_id,),
    )
    return [build_verdict(row) for row in rows]


def build_verdict(row: sqlite3.Row) -> VerdictRow:
    """The record of a row that has the columns of the table ``verdict``."""
    return VerdictRow(**{**_values(row), "is_flagged": bool(row["is_flagged"]), "is_blind": bool(row["is_blind"])})


def read_usage(c: sqlite3.Connection, run_id: str, *, after_usage_id: int = 0) -> list[UsageRow]:
    """What the run's processes took, above the cursor, by usage_id."""
    rows = fetch_rows(
        c,
        "SELECT usage_id, run_id, at, cpu_percent, rss_bytes, gpu_percent, gpu_bytes, gpu_total_bytes "
        "FROM usage WHERE run_id = ? AND usage_id > ? ORDER BY usage_id",
        (run_id, after_usage_id),
    )
    return [UsageRow(**_values(row)) for row in rows]


def as_bool(value: int | None) -> bool | None:
    """SQLite's 0, 1 or NULL as a bool or None."""
    return None if value is None else bool(value)


def _refuse_study(c: sqlite3.Connection, study: Named) -> RunNotFoundError:
    rows = fetch_rows(
        c,
        "SELECT r.run_id, r.name FROM study_arm a JOIN run r USING (run_id) WHERE a.study_id = ? ORDER BY a.position",
        (study.key,),
    )
    runs = [Named(key, name, is_study=False) for key, name in rows]
    return RunNotFoundError(
        f"{study.name} is a study, and this takes one run",
        hint=f"name one of its runs: {list_named(runs)}" if runs else "none of its runs has begun",
    )


def _build_run(row: sqlite3.Row, tags: tuple[str, ...]) -> RunRow:
    flags = {name: bool(row[name]) for name in ("reuse", "is_baseline")}
    return RunRow(**{**_values(row), **flags, "tags": tags})


def _read_stage_by_stage(c: sqlite3.Connection, sql: str, stage_ids: Sequence[int]) -> Iterable[sqlite3.Row]:
    with snapshot(c):
        return [row for stage_id in stage_ids for row in fetch_rows(c, sql, (stage_id,))]


def _values(row: sqlite3.Row) -> dict[str, Any]:
    return dict(zip(row.keys(), row, strict=True))
