"""What a report counts over many runs at once. Light: plain sqlite3, no sqlmodel; each function is one statement.

Must not know how anything is shown. ``c`` comes from ``open_reader``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from db.reading import fetch_rows


@dataclass(frozen=True, slots=True)
class TauLabels:
    """Prompts of one iteration of a run with one value of tau, and whether their labels are right.

    Attributes:
        against: The scorer of the other ranking, as ``mean_loglik:M0``; the first is the current reward.
        n_distinct: Responses that were ranked.
        n_right, n_inverted: Pairs of which only chosen, only rejected is right.
    """

    run_id: str
    iteration: int
    against: str
    tau: float
    n_distinct: int
    n_prompts: int
    n_right: int
    n_inverted: int


@dataclass(frozen=True, slots=True)
class StageCost:
    """What one kind of stage took over a set of runs.

    Attributes:
        n_asked: How often a run has such a stage.
        n_stages: Different finished ones among those: each was computed once.
        compute_s: Of all their attempts; None where none is known.
        shared_s: What the runs that took a stage over would have spent on it.
    """

    stage: str
    n_asked: int
    n_stages: int
    compute_s: float | None
    shared_s: float | None
    n_tokens: int | None
    peak_rss_bytes: int | None
    peak_gpu_bytes: int | None


def read_tau_labels(c: sqlite3.Connection, run_ids: Sequence[str]) -> list[TauLabels]:
    """Kendall's tau of every iteration's current reward by value, with the correctness of the labels there."""
    rows = fetch_rows(
        c,
        "SELECT l.run_id, l.iteration, a.against, a.value, a.n_distinct, count(*), "
        "count(CASE WHEN chosen.correct = 1 AND rejected.correct = 0 THEN 1 END), "
        "count(CASE WHEN chosen.correct = 0 AND rejected.correct = 1 THEN 1 END) "
        "FROM run_stage l CROSS JOIN stage s ON s.stage_id = l.stage_id AND s.name = 'agree' "
        "CROSS JOIN agreement a ON a.stage_id = l.stage_id AND a.measure = 'kendall' "
        "AND a.scorer = 'implicit:M' || l.iteration AND a.value IS NOT NULL "
        "LEFT JOIN (SELECT l.run_id, l.iteration, l.stage_id FROM run_stage l JOIN stage s ON s.stage_id = l.stage_id "
        "WHERE s.name = 'pair') lp ON lp.run_id = l.run_id AND lp.iteration = l.iteration "
        "LEFT JOIN (SELECT l.run_id, l.iteration, l.stage_id FROM run_stage l JOIN stage s ON s.stage_id = l.stage_id "
        "WHERE s.name = 'sample') ls ON ls.run_id = l.run_id AND ls.iteration = l.iteration "
        "LEFT JOIN pair p ON p.stage_id = lp.stage_id AND p.prompt_id = a.prompt_id "
        "LEFT JOIN response chosen ON chosen.stage_id = ls.stage_id AND chosen.prompt_id = p.prompt_id "
        "AND chosen.k = p.chosen_k "
        "LEFT JOIN response rejected ON rejected.stage_id = ls.stage_id AND rejected.prompt_id = p.prompt_id "
        "AND rejected.k = p.rejected_k "
        "WHERE l.run_id IN (SELECT value FROM json_each(?)) "
        "GROUP BY l.run_id, l.iteration, a.against, a.value, a.n_distinct "
        "ORDER BY l.run_id, l.iteration, a.against, a.value, a.n_distinct",
        (json.dumps(list(run_ids)),),
    )
    return [TauLabels(*row) for row in rows]


def read_stage_costs(c: sqlite3.Connection, run_ids: Sequence[str]) -> list[StageCost]:
    """What the finished stages of these runs took, by kind, in the order of an iteration."""
    rows = fetch_rows(
        c,
        "WITH own AS (SELECT s.stage_id, s.name, s.n_tokens, count(*) AS n_links "
        "FROM run_stage l JOIN stage s ON s.stage_id = l.stage_id "
        "WHERE l.run_id IN (SELECT value FROM json_each(?)) AND s.state = 'done' GROUP BY s.stage_id), "
        "cost AS (SELECT stage_id, sum(compute_s) AS compute_s, max(peak_rss_bytes) AS rss, max(peak_gpu_bytes) AS gpu "
        "FROM attempt WHERE stage_id IN (SELECT stage_id FROM own) GROUP BY stage_id) "
        "SELECT own.name, sum(n_links), count(*), sum(compute_s), sum(compute_s * (n_links - 1)), sum(n_tokens), "
        "max(rss), max(gpu) FROM own LEFT JOIN cost ON cost.stage_id = own.stage_id GROUP BY own.name "
        "ORDER BY min(CASE own.name WHEN 'sample' THEN 0 WHEN 'score' THEN 1 WHEN 'agree' THEN 2 WHEN 'pair' THEN 3 "
        "WHEN 'train' THEN 4 ELSE 5 END)",
        (json.dumps(list(run_ids)),),
    )
    return [StageCost(*row) for row in rows]
