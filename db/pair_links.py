"""Which stages hold the pairs of each iteration of a run, and the names of the scores that rank them.

Light: plain sqlite3, no sqlmodel. Knows links and configurations. Must not know what a pair looks like.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from db.reading import fetch_rows

MEASURE = "kendall"
ANCHOR = "mean_loglik:M0"
AGGREGATE = "aggregate"  # the reward that ranks, written by the pair stage

_Segment: TypeAlias = tuple[float, dict[str, Any]]
_DEFAULT_FIRST_ITERATION = "mean_loglik"
# In iteration 1 the previous model has no implicit reward; a log-likelihood of the base model stands in its place, or
# nothing, as the configuration of that iteration says.
_STAND_INS = {"mean_loglik": "mean_loglik:M0", "sum_loglik": "sum_loglik:M0", "skip": None}


@dataclass(frozen=True, slots=True)
class PairLink:
    """One iteration that has pairs.

    Attributes:
        score_stage: the one with the models' scores, where there are several.
        n_policy: responses of the policy to a prompt, the first ones; None: all are, as everywhere but where M1 gives
            those to reject.
        current, previous: names of the scores under both models; previous is None where nothing stands in for M0's.
    """

    iteration: int
    pair_stage: int
    sample_stage: int | None
    agree_stage: int | None
    score_stage: int | None
    n_policy: int | None
    current: str
    previous: str | None


def read_pair_links(c: sqlite3.Connection, run_id: str, iteration: int | None = None) -> list[PairLink]:
    """The iterations of a run whose plan has a pair stage, in order; None: all of them."""
    stages: dict[int, dict[str, list[int]]] = {}
    for row in fetch_rows(
        c,
        "SELECT l.iteration, s.name, s.stage_id FROM run_stage l JOIN stage s ON s.stage_id = l.stage_id "
        "WHERE l.run_id = ? AND s.name IN ('sample', 'score', 'agree', 'pair') ORDER BY l.position",
        (run_id,),
    ):
        stages.setdefault(row["iteration"], {}).setdefault(row["name"], []).append(row["stage_id"])
    links, segments = [], _read_segments(c, run_id)
    for t, by_name in sorted(stages.items()):
        if "pair" not in by_name or (iteration is not None and t != iteration):
            continue
        current = f"implicit:M{t}"
        links.append(
            PairLink(
                iteration=t,
                pair_stage=by_name["pair"][0],
                sample_stage=next(iter(by_name.get("sample", ())), None),
                agree_stage=next(iter(by_name.get("agree", ())), None),
                score_stage=_find_score_stage(c, by_name.get("score", []), current),
                n_policy=_find_n_policy(segments, t),
                current=current,
                previous=_find_stand_in(segments) if t == 1 else f"implicit:M{t - 1}",
            )
        )
    return links


def find_stand_in(c: sqlite3.Connection, run_id: str) -> str | None:
    """The score that stands in for that of M0 in iteration 1; None where nothing does."""
    return _find_stand_in(_read_segments(c, run_id))


def _find_score_stage(c: sqlite3.Connection, stage_ids: list[int], scorer: str) -> int | None:
    """The stage that scores by models; others of the same iteration score by a verifier or at random."""
    if len(stage_ids) < 2:
        return next(iter(stage_ids), None)
    for stage_id in stage_ids:
        if fetch_rows(c, "SELECT 1 FROM score WHERE stage_id = ? AND scorer = ? LIMIT 1", (stage_id, scorer)):
            return stage_id
    return None


def _find_n_policy(segments: Sequence[_Segment], iteration: int) -> int | None:
    config = _choose(segments, iteration)
    takes_sft = config.get("method", {}).get("pairs", {}).get("rejected") == "sft" and iteration > 1
    return int(config["sampling"]["n"]) if takes_sft else None


def _find_stand_in(segments: Sequence[_Segment]) -> str | None:
    return _STAND_INS.get(_choose(segments, 1).get("scoring", {}).get("first_iteration", _DEFAULT_FIRST_ITERATION))


def _read_segments(c: sqlite3.Connection, run_id: str) -> list[_Segment]:
    """The configurations of a run with the last iteration of each: a fork has earlier ones from its parent."""
    for row in fetch_rows(c, "SELECT config_json, lineage_json FROM run WHERE run_id = ?", (run_id,)):
        lineage = json.loads(row["lineage_json"])
        segments = lineage["segments"] if isinstance(lineage, dict) else []
        earlier = [(segment["last_iteration"], segment["config"]) for segment in segments]
        return [*earlier, (math.inf, json.loads(row["config_json"]))]
    return []


def _choose(segments: Sequence[_Segment], iteration: int) -> dict[str, Any]:
    """The configuration in force in an iteration."""
    return next((config for last, config in segments if last >= iteration), {})
