"""Pairs with their texts and agreements, sorted for browsing. Light: plain sqlite3, no sqlmodel.

One iteration of a run has at most one sample, one agree and one pair stage; they are joined by prompt.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from db.queries import as_bool
from db.reading import fetch_rows

# The rate is undefined where the measure is; an inverted pair prefers a wrong response to a right one.
_SORTS = {
    "position": "v.position",
    "confidence": "v.confidence",
    "consistency_rate": "v.consistency_rate",
    "margin": "v.margin",
    "chosen_reward": "v.chosen_reward",
    "rejected_reward": "v.rejected_reward",
    "tau_previous": "v.tau_previous",
    "tau_anchor": "v.tau_anchor",
    "inverted": "coalesce(v.rejected_correct, 0) - coalesce(v.chosen_correct, 0)",
    "chosen_length": "v.chosen_n_tokens",
    "rejected_length": "v.rejected_n_tokens",
    "length_difference": "v.chosen_n_tokens - v.rejected_n_tokens",
}
PAIR_SORTS = tuple(_SORTS)

_DEFAULT_FIRST_ITERATION = "mean_loglik"
# previous: what the ranking of an iteration is compared with. In iteration 1 the previous model has no implicit reward;
# a log-likelihood of the base model stands in its place, or nothing, as the configuration of that iteration says.
_STAND_INS = {"mean_loglik": "mean_loglik:M0", "sum_loglik": "sum_loglik:M0", "skip": None}
_VIEW = """
WITH link AS (
  SELECT l.iteration, s.name, s.stage_id,
    'implicit:M' || l.iteration AS current,
    CASE l.iteration WHEN 1 THEN :stand_in ELSE 'implicit:M' || (l.iteration - 1) END AS previous
  FROM run_stage l JOIN stage s ON s.stage_id = l.stage_id
  WHERE l.run_id = :run AND s.name IN ('sample', 'agree', 'pair') AND (:iteration IS NULL OR l.iteration = :iteration)
), v AS (
  SELECT
    lp.iteration, d.position, p.prompt_id, t.text AS prompt, p.chosen_k, p.rejected_k,
    rc.text AS chosen, rr.text AS rejected, rc.correct AS chosen_correct, rr.correct AS rejected_correct,
    rc.n_tokens AS chosen_n_tokens, rr.n_tokens AS rejected_n_tokens,
    rc.finish_reason AS chosen_finish_reason, rr.finish_reason AS rejected_finish_reason,
    p.chosen_reward, p.rejected_reward, p.margin, p.consistency_rate, p.confidence,
    tp.value AS tau_previous, ta.value AS tau_anchor,
    p.skip_reason
  FROM link lp
  JOIN pair p ON p.stage_id = lp.stage_id
  JOIN prompt t ON t.prompt_id = p.prompt_id
  LEFT JOIN link ls ON ls.name = 'sample' AND ls.iteration = lp.iteration
  LEFT JOIN link la ON la.name = 'agree' AND la.iteration = lp.iteration
  LEFT JOIN sampled_prompt d ON d.stage_id = ls.stage_id AND d.prompt_id = p.prompt_id
  LEFT JOIN response rc ON rc.stage_id = ls.stage_id AND rc.prompt_id = p.prompt_id AND rc.k = p.chosen_k
  LEFT JOIN response rr ON rr.stage_id = ls.stage_id AND rr.prompt_id = p.prompt_id AND rr.k = p.rejected_k
  LEFT JOIN agreement tp ON tp.stage_id = la.stage_id AND tp.measure = 'kendall' AND tp.prompt_id = p.prompt_id
    AND tp.scorer = la.current AND tp.against = la.previous
  LEFT JOIN agreement ta ON ta.stage_id = la.stage_id AND ta.measure = 'kendall' AND ta.prompt_id = p.prompt_id
    AND ta.scorer = la.current AND ta.against = 'mean_loglik:M0'
  WHERE lp.name = 'pair'
)
SELECT * FROM v WHERE (:skipped OR v.skip_reason IS NULL)
"""


@dataclass(frozen=True, slots=True)
class PairView:
    """A pair with what a reader wants beside it, or a skipped prompt (``skip_reason`` set, no sides).

    Attributes:
        position: of the prompt in its sample stage.
        margin: in nats, before training; the rewards likewise.
        tau_previous: Kendall between the current reward and the previous model's, None where undefined. In iteration 1
            between the current reward and what stands in for M0's, None where nothing does.
        tau_anchor: Kendall between the current reward and the base model's mean log-likelihood.
    """

    iteration: int
    position: int | None
    prompt_id: str
    prompt: str
    chosen_k: int | None
    rejected_k: int | None
    chosen: str | None
    rejected: str | None
    chosen_correct: bool | None
    rejected_correct: bool | None
    chosen_n_tokens: int | None
    rejected_n_tokens: int | None
    chosen_finish_reason: str | None
    rejected_finish_reason: str | None
    chosen_reward: float | None
    rejected_reward: float | None
    margin: float | None
    consistency_rate: float | None
    confidence: float | None
    tau_previous: float | None
    tau_anchor: float | None
    skip_reason: str | None


def read_pairs_view(
    c: sqlite3.Connection,
    run_id: str,
    *,
    sort: str = "position",
    descending: bool = False,
    limit: int | None = None,
    iteration: int | None = None,
    skipped: bool = False,
) -> list[PairView]:
    """The run's pairs in this order; values that are missing come last either way.

    Args:
        sort: one of PAIR_SORTS.
        skipped: whether prompts without a pair are shown too.

    Raises:
        ValueError: the order has no such name.
    """
    if sort not in _SORTS:
        raise ValueError(f"no order {sort!r}; there are {', '.join(PAIR_SORTS)}")
    direction = "DESC" if descending else "ASC"
    order = f"v.iteration {direction}, v.position {direction}" if sort == "position" else f"{_SORTS[sort]} {direction}"
    rows = fetch_rows(
        c,
        f"{_VIEW} ORDER BY ({_SORTS[sort]}) IS NULL, {order}, v.iteration, v.position, v.prompt_id LIMIT :limit",
        {
            "run": run_id,
            "iteration": iteration,
            "skipped": skipped,
            "limit": -1 if limit is None else limit,
            "stand_in": _STAND_INS.get(_read_first_iteration(c, run_id)),
        },
    )
    views = []
    for row in rows:
        values = dict(zip(row.keys(), row, strict=True))
        for side in ("chosen_correct", "rejected_correct"):
            values[side] = as_bool(values[side])
        views.append(PairView(**values))
    return views


def _read_first_iteration(c: sqlite3.Connection, run_id: str) -> str:
    """``scoring.first_iteration`` as it was in iteration 1: a fork has that iteration from its parent."""
    for row in fetch_rows(c, "SELECT config_json, lineage_json FROM run WHERE run_id = ?", (run_id,)):
        lineage = json.loads(row["lineage_json"])
        segments = lineage["segments"] if isinstance(lineage, dict) else []
        earlier = (segment["config"] for segment in segments if segment["last_iteration"] >= 1)
        config = next(earlier, None) or json.loads(row["config_json"])
        return str(config.get("scoring", {}).get("first_iteration", _DEFAULT_FIRST_ITERATION))
    return _DEFAULT_FIRST_ITERATION
