"""Tables for people and other programs: fixed column names, rows in an order that equal runs share. Light: no sqlmodel.

Values are Python's: bool, int, float, str or None; lists are JSON text and times ISO 8601 in UTC. Texts are raw. The
writer decides how a bool or a missing value looks.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from db.labels import find_model_name
from db.pair_links import ANCHOR, MEASURE, find_stand_in
from db.queries import as_bool
from db.reading import fetch_rows, snapshot, stream_rows
from db.rows import RunRow

Value: TypeAlias = bool | int | float | str | None

# The documented names come first, in the documented order.
EXPORT_COLUMNS: dict[str, tuple[str, ...]] = {
    "runs": (
        *("run_id", "name", "method", "seed", "state", "iterations", "created_at", "config_digest"),
        *("started_at", "finished_at", "base_digest", "parent_run_id", "fork_at", "tags", "exit_code", "error"),
        *("note", "is_baseline"),
    ),
    "responses": (
        *("run_id", "iteration", "prompt_id", "prompt", "k", "text", "prompt_token_ids", "token_ids", "finish_reason"),
        *("n_tokens", "sampled_logprob", "correct"),
        "extracted",
    ),
    "rewards": (
        *("run_id", "iteration", "prompt_id", "k", "scorer", "model", "reference", "sum_logprob"),
        *("reference_sum_logprob", "n_tokens", "score", "missing_reason"),
    ),
    "consistency": (
        *("run_id", "iteration", "prompt_id", "measure", "scorer", "against", "value", "consistency_rate", "n"),
        *("n_distinct", "undefined_reason"),
    ),
    "pairs": (
        *("run_id", "iteration", "prompt_id", "prompt", "chosen", "rejected", "chosen_k", "rejected_k"),
        *("chosen_reward", "rejected_reward", "margin", "consistency_rate", "confidence", "chosen_correct"),
        *("rejected_correct", "skip_reason"),
        *("tau_previous", "tau_anchor", "chosen_n_tokens", "rejected_n_tokens", "verdict", "flagged"),
    ),
    "verdicts": (  # what a person said, beside what it is held against
        *("run_id", "iteration", "prompt_id", "prompt", "chosen", "rejected", "verdict", "flagged", "blind", "note"),
        *("at", "consistency_rate", "confidence", "margin", "chosen_correct", "rejected_correct"),
    ),
    "metrics": (
        *("run_id", "iteration", "stage", "step", "name", "value", "at"),
        "model",  # what a train or evaluate stage is about: M0 and M1 are both evaluated in iteration 0
    ),
    "evaluations": (
        *("run_id", "model", "task", "item_id", "prompt", "response", "extracted", "gold", "correct"),
        *("n_tokens", "finish_reason"),
    ),
}

# Pairs for training: without skipped prompts, and each with the prompt's messages as JSON.
PREFERENCE_COLUMNS = (*EXPORT_COLUMNS["pairs"], "messages")

# Per table: the statement; :run is the run's id, and run_id, the first column, is left out. A link knows the sample
# and agree stages of its iteration: what lacks a position of its own is ordered by the prompt's.
_LINKS = """
WITH link AS (
  SELECT l.iteration, l.position, l.label, s.stage_id, s.name, m.sample_id, m.agree_id
  FROM run_stage l JOIN stage s ON s.stage_id = l.stage_id
  LEFT JOIN (
    SELECT x.iteration, min(iif(y.name = 'sample', x.stage_id, NULL)) AS sample_id,
      min(iif(y.name = 'agree', x.stage_id, NULL)) AS agree_id
    FROM run_stage x JOIN stage y ON y.stage_id = x.stage_id WHERE x.run_id = :run GROUP BY x.iteration
  ) m ON m.iteration = l.iteration
  WHERE l.run_id = :run
)
"""
_SIDES = """
LEFT JOIN sampled_prompt d ON d.stage_id = l.sample_id AND d.prompt_id = r.prompt_id
LEFT JOIN response a ON a.stage_id = l.sample_id AND a.prompt_id = r.prompt_id AND a.k = r.chosen_k
LEFT JOIN response b ON b.stage_id = l.sample_id AND b.prompt_id = r.prompt_id AND b.k = r.rejected_k
"""


def _select_pairs(*, is_for_training: bool) -> str:
    return f"""
SELECT l.iteration, r.prompt_id, p.text, a.text, b.text, r.chosen_k, r.rejected_k, r.chosen_reward, r.rejected_reward,
  r.margin, r.consistency_rate, r.confidence, a.correct, b.correct, r.skip_reason, tp.value, ta.value, a.n_tokens,
  b.n_tokens, w.verdict, w.is_flagged{", p.messages_json" if is_for_training else ""}
FROM link l JOIN pair r ON r.stage_id = l.stage_id JOIN prompt p ON p.prompt_id = r.prompt_id {_SIDES}
LEFT JOIN agreement tp ON tp.stage_id = l.agree_id AND tp.measure = '{MEASURE}' AND tp.prompt_id = r.prompt_id
  AND tp.scorer = 'implicit:M' || l.iteration
  AND tp.against = iif(l.iteration = 1, :stand_in, 'implicit:M' || (l.iteration - 1))
LEFT JOIN agreement ta ON ta.stage_id = l.agree_id AND ta.measure = '{MEASURE}' AND ta.prompt_id = r.prompt_id
  AND ta.scorer = 'implicit:M' || l.iteration AND ta.against = '{ANCHOR}'
LEFT JOIN verdict w ON w.stage_id = r.stage_id AND w.prompt_id = r.prompt_id
{"WHERE r.skip_reason IS NULL" if is_for_training else ""} ORDER BY l.iteration, d.position, r.prompt_id
"""


_STATEMENTS: dict[str, str] = {
    "responses": """
SELECT l.iteration, r.prompt_id, p.text, r.k, r.text, d.token_ids_json, r.token_ids_json, r.finish_reason, r.n_tokens,
  r.sampled_logprob, r.correct, r.extracted
FROM link l JOIN response r ON r.stage_id = l.stage_id JOIN prompt p ON p.prompt_id = r.prompt_id
LEFT JOIN sampled_prompt d ON d.stage_id = l.sample_id AND d.prompt_id = r.prompt_id
WHERE l.name = 'sample' ORDER BY l.iteration, d.position, r.prompt_id, r.k
""",
    "rewards": """
SELECT l.iteration, r.prompt_id, r.k, r.scorer, r.model, r.reference, r.sum_logprob, r.reference_sum_logprob,
  r.n_tokens, r.score, r.missing_reason
FROM link l JOIN score r ON r.stage_id = l.stage_id
LEFT JOIN sampled_prompt d ON d.stage_id = l.sample_id AND d.prompt_id = r.prompt_id
ORDER BY l.iteration, d.position, r.prompt_id, r.k, l.position, r.scorer
""",
    "consistency": """
SELECT l.iteration, r.prompt_id, r.measure, r.scorer, r.against, r.value, r.consistency_rate, r.n, r.n_distinct,
  r.undefined_reason
FROM link l JOIN agreement r ON r.stage_id = l.stage_id
LEFT JOIN sampled_prompt d ON d.stage_id = l.sample_id AND d.prompt_id = r.prompt_id
ORDER BY l.iteration, d.position, r.prompt_id, r.measure, r.scorer, r.against
""",
    "pairs": _select_pairs(is_for_training=False),
    "preferences": _select_pairs(is_for_training=True),
    "verdicts": f"""
SELECT l.iteration, r.prompt_id, p.text, a.text, b.text, w.verdict, w.is_flagged, w.is_blind, w.note, w.at,
  r.consistency_rate, r.confidence, r.margin, a.correct, b.correct
FROM link l JOIN verdict w ON w.stage_id = l.stage_id
JOIN pair r ON r.stage_id = w.stage_id AND r.prompt_id = w.prompt_id JOIN prompt p ON p.prompt_id = r.prompt_id {_SIDES}
ORDER BY l.iteration, d.position, r.prompt_id
""",
    "metrics": """
SELECT l.iteration, l.name, r.step, n.name, r.value, r.at, l.label
FROM link l JOIN metric r ON r.stage_id = l.stage_id JOIN metric_name n ON n.name_id = r.name_id
ORDER BY l.iteration, l.position, r.step, n.name
""",
    "evaluations": """
SELECT l.label, r.task, r.item_id, r.prompt, r.response, r.extracted, r.gold, r.correct, r.n_tokens, r.finish_reason
FROM link l JOIN evaluation r ON r.stage_id = l.stage_id
ORDER BY l.iteration, l.position, r.task, length(r.item_id), r.item_id
""",
}
_BOOLS = frozenset({"correct", "chosen_correct", "rejected_correct", "flagged", "blind"})


def iterate_export(c: sqlite3.Connection, what: str, runs: RunRow | Sequence[RunRow]) -> Iterator[tuple[Value, ...]]:
    """The rows of a table in the order of EXPORT_COLUMNS[what], run by run, from one state of the store.

    Raises:
        KeyError: there is no such table.
    """
    columns = EXPORT_COLUMNS[what]
    chosen = (runs,) if isinstance(runs, RunRow) else tuple(runs)
    if what == "runs":
        yield from map(_describe_run, chosen)
        return
    yield from _iterate(c, what, columns, chosen)


def iterate_preferences(c: sqlite3.Connection, runs: Sequence[RunRow]) -> Iterator[tuple[Value, ...]]:
    """The pairs of these runs in the order of PREFERENCE_COLUMNS, from one state of the store."""
    return _iterate(c, "preferences", PREFERENCE_COLUMNS, runs)


def has_conversations(c: sqlite3.Connection, runs: Sequence[RunRow]) -> bool:
    """Whether a prompt that has a pair is more than one message, so that no text alone says what it is."""
    sql = (
        "SELECT EXISTS (SELECT 1 FROM run_stage l JOIN pair r ON r.stage_id = l.stage_id JOIN prompt p "
        "ON p.prompt_id = r.prompt_id WHERE l.run_id = ? AND r.skip_reason IS NULL "
        "AND json_array_length(p.messages_json) > 1)"
    )
    return any(fetch_rows(c, sql, (run.run_id,))[0][0] for run in runs)


def _iterate(
    c: sqlite3.Connection, what: str, columns: Sequence[str], runs: Sequence[RunRow]
) -> Iterator[tuple[Value, ...]]:
    converters = [(place, convert) for place, name in enumerate(columns) if (convert := _find_converter(what, name))]
    with snapshot(c):
        for run in runs:
            parameters = {"run": run.run_id, "stand_in": find_stand_in(c, run.run_id)}
            for row in stream_rows(c, _LINKS + _STATEMENTS[what], parameters):
                values: list[Value] = [run.run_id, *row]
                for place, convert in converters:
                    values[place] = convert(values[place])
                yield tuple(values)


def format_time(seconds: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC, to the microsecond."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def _describe_run(run: RunRow) -> tuple[Value, ...]:
    values: dict[str, Value] = {
        name: format_time(getattr(run, name)) if name.endswith("_at") and name != "fork_at" else getattr(run, name)
        for name in EXPORT_COLUMNS["runs"]
    }
    values["tags"] = json.dumps(list(run.tags), ensure_ascii=False)
    return tuple(values.values())


def _find_converter(what: str, column: str) -> Callable[[Any], Value] | None:
    if column == "model" and what in ("evaluations", "metrics"):
        return find_model_name
    if column in _BOOLS:
        return as_bool
    if column == "at":
        return format_time
    return None
