"""The pairs of a run to browse: whole orders as row ids, pages of them as records. Light: plain sqlite3, no sqlmodel.

One view serves the command line and the app. An order is read at once, so that a list of any length knows its length
and every place in it; texts and numbers are read for the page that is looked at. One iteration of a run has at most one
sample, one agree and one pair stage; they are joined by prompt. Knows rows; must not know how a filter is written (it
comes as SQL over PAIR_COLUMNS) nor how a pair is drawn.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from db.pair_links import ANCHOR, MEASURE, PairLink, read_pair_links
from db.queries import as_bool
from db.reading import fetch_rows
from db.rows import VERDICTS

# What a filter or an order may name, and of which kind it is: number, word, flag or text. Missing values are NULL: no
# verdict, no note, no label of a prompt without a pair.
PAIR_COLUMNS: dict[str, str] = {
    "iteration": "number",
    "position": "number",
    "prompt_id": "word",
    "tau": "number",
    "anchor": "number",
    "consistency": "number",
    "confidence": "number",
    "margin": "number",
    "previous_margin": "number",
    "chosen_reward": "number",
    "rejected_reward": "number",
    "length_ratio": "number",
    "length_difference": "number",
    "chosen_length": "number",
    "rejected_length": "number",
    "label": "word",
    "task": "word",
    "verdict": "word",
    "flagged": "flag",
    "blind": "flag",
    "note": "text",
    "text": "text",
    "skip_reason": "text",
}
LABELS = ("right", "wrong", "both_right", "both_wrong", "unknown")

# As a person wants to go through them: wrong labels first, judged ones by what was said.
_RANKS = {
    "label": "CASE label WHEN 'wrong' THEN 0 WHEN 'right' THEN 1 WHEN 'both_right' THEN 2 WHEN 'both_wrong' THEN 3 "
    "WHEN 'unknown' THEN 4 END",
    "verdict": "CASE verdict " + " ".join(f"WHEN '{verdict}' THEN {n}" for n, verdict in enumerate(VERDICTS)) + " END",
    "flagged": "nullif(flagged, 0)",
}
PAIR_SORTS = tuple(name for name in PAIR_COLUMNS if name not in ("text", "note", "skip_reason", "blind"))

_LINKS = """
WITH link AS MATERIALIZED (
  SELECT json_extract(value, '$[0]') AS iteration, json_extract(value, '$[1]') AS pair_stage,
    json_extract(value, '$[2]') AS sample_stage, json_extract(value, '$[3]') AS agree_stage,
    json_extract(value, '$[4]') AS score_stage, json_extract(value, '$[5]') AS current,
    json_extract(value, '$[6]') AS previous
  FROM json_each(?)
)"""
# Joins whose columns a statement does not use are left out by SQLite: each finds at most one row by a unique index.
_JOINS = f"""
  LEFT JOIN prompt q ON q.prompt_id = p.prompt_id
  LEFT JOIN sampled_prompt d ON d.stage_id = l.sample_stage AND d.prompt_id = p.prompt_id
  LEFT JOIN response rc ON rc.stage_id = l.sample_stage AND rc.prompt_id = p.prompt_id AND rc.k = p.chosen_k
  LEFT JOIN response rr ON rr.stage_id = l.sample_stage AND rr.prompt_id = p.prompt_id AND rr.k = p.rejected_k
  LEFT JOIN agreement tp ON tp.stage_id = l.agree_stage AND tp.measure = '{MEASURE}' AND tp.scorer = l.current
    AND tp.against = l.previous AND tp.prompt_id = p.prompt_id
  LEFT JOIN agreement ta ON ta.stage_id = l.agree_stage AND ta.measure = '{MEASURE}' AND ta.scorer = l.current
    AND ta.against = '{ANCHOR}' AND ta.prompt_id = p.prompt_id
  LEFT JOIN score sc ON sc.stage_id = l.score_stage AND sc.scorer = l.previous AND sc.prompt_id = p.prompt_id
    AND sc.k = p.chosen_k
  LEFT JOIN score sr ON sr.stage_id = l.score_stage AND sr.scorer = l.previous AND sr.prompt_id = p.prompt_id
    AND sr.k = p.rejected_k
  LEFT JOIN verdict w ON w.stage_id = p.stage_id AND w.prompt_id = p.prompt_id"""
_VALUES = """
  p.pair_id, l.iteration, d.position, p.prompt_id, tp.value AS tau, ta.value AS anchor,
  p.consistency_rate AS consistency, p.confidence, p.margin, sc.score - sr.score AS previous_margin,
  p.chosen_reward, p.rejected_reward, 1.0 * rc.n_tokens / rr.n_tokens AS length_ratio,
  rc.n_tokens - rr.n_tokens AS length_difference, rc.n_tokens AS chosen_length, rr.n_tokens AS rejected_length,
  CASE WHEN p.skip_reason IS NOT NULL THEN NULL WHEN rc.correct IS NULL OR rr.correct IS NULL THEN 'unknown'
    WHEN rc.correct > rr.correct THEN 'right' WHEN rc.correct < rr.correct THEN 'wrong'
    WHEN rc.correct THEN 'both_right' ELSE 'both_wrong' END AS label,
  q.task, w.verdict, coalesce(w.is_flagged, 0) AS flagged, coalesce(w.is_blind, 0) AS blind,
  nullif(w.note, '') AS note, p.skip_reason"""
_SEARCHED = (
    "q.text || char(10) || coalesce(rc.text, '') || char(10) || coalesce(rr.text, '') || char(10) || "
    "coalesce(w.note, '') AS text"
)
_TEXTS = (("q", "prompt"), ("rc", "chosen"), ("rr", "rejected"))
_BY_STAGE = "link l CROSS JOIN pair p ON p.stage_id = l.pair_stage"
_BY_ID = "json_each(?) i CROSS JOIN pair p ON p.pair_id = i.value CROSS JOIN link l ON l.pair_stage = p.stage_id"


@dataclass(frozen=True, slots=True)
class PairView:
    """A pair with what a reader wants beside it, or a skipped prompt (``skip_reason`` set, no sides).

    Attributes:
        stage_id: of the pair stage; with ``prompt_id`` it names the pair for a verdict.
        position: of the prompt in its sample stage.
        margin: in nats, before training; the rewards likewise.
        previous_margin: what the previous model's scores say of the same two sides, below 0 where it would swap them.
            In iteration 1 by what stands in for M0's reward.
        tau_previous: Kendall between the current reward and the previous model's, None where undefined. In iteration 1
            between the current reward and what stands in for M0's, None where nothing does.
        tau_anchor: Kendall between the current reward and the base model's mean log-likelihood.
        label: one of LABELS; None for a skipped prompt.
        verdict: one of VERDICTS, or None where nobody judged.
    """

    pair_id: int
    stage_id: int
    iteration: int
    position: int | None
    prompt_id: str
    task: str | None
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
    previous_margin: float | None
    consistency_rate: float | None
    confidence: float | None
    tau_previous: float | None
    tau_anchor: float | None
    label: str | None
    skip_reason: str | None
    verdict: str | None
    is_flagged: bool
    is_blind: bool
    note: str

    @property
    def length_ratio(self) -> float | None:
        """Tokens of chosen over tokens of rejected."""
        if self.chosen_n_tokens is None or not self.rejected_n_tokens:
            return None
        return self.chosen_n_tokens / self.rejected_n_tokens

    @property
    def is_flipped(self) -> bool:
        """Whether the previous model ranks the two sides the other way round."""
        return self.previous_margin is not None and self.previous_margin < 0


@dataclass(frozen=True, slots=True)
class PairQuery:
    """Which pairs of a run, in which order.

    Attributes:
        where: SQL over PAIR_COLUMNS, its values as ``?``; empty: all.
        sort: one of PAIR_SORTS; missing values come last either way.
        iteration: None: all.
        with_skipped: whether prompts without a pair are among them.
    """

    where: str = ""
    parameters: tuple[Any, ...] = ()
    sort: str = "position"
    is_descending: bool = False
    iteration: int | None = None
    with_skipped: bool = False


def read_pair_ids(c: sqlite3.Connection, run_id: str, query: PairQuery, *, limit: int | None = None) -> array[int]:
    """The pair ids in the order asked for.

    Raises:
        ValueError: the order has no such name.
    """
    if query.sort not in PAIR_SORTS:
        raise ValueError(f"no order {query.sort!r}; there are {', '.join(PAIR_SORTS)}")
    direction = "DESC" if query.is_descending else "ASC"
    if query.sort in ("position", "iteration"):
        order = f"iteration {direction}, position {direction}, prompt_id"
    else:
        key = _RANKS.get(query.sort, query.sort)
        order = f"({key}) IS NULL, ({key}) {direction}, iteration, position, prompt_id"
    rows = fetch_rows(
        c,
        f"{_LINKS} SELECT pair_id FROM (SELECT {_VALUES}, {_SEARCHED} FROM {_BY_STAGE} {_JOINS}) "
        f"WHERE {_where(query)} ORDER BY {order} LIMIT ?",
        (
            _dump_links(read_pair_links(c, run_id, query.iteration)),
            *query.parameters,
            -1 if limit is None else limit,
        ),
    )
    return array("q", (row[0] for row in rows))


def read_pair_rows(
    c: sqlite3.Connection, run_id: str, pair_ids: Sequence[int], *, n_characters: int | None = None
) -> list[PairView]:
    """The pairs with these ids, in their order; ids that the run does not have are left out.

    Args:
        n_characters: of each text at most, and none behind a NUL; None: whole texts.
    """
    links = read_pair_links(c, run_id)
    form = "{}.text" if n_characters is None else "substr({}.text, 1, ?)"
    texts = ", ".join(f"{form.format(table)} AS {name}" for table, name in _TEXTS)
    lengths = () if n_characters is None else (n_characters,) * len(_TEXTS)
    rows = fetch_rows(
        c,
        f"{_LINKS} SELECT p.stage_id, p.chosen_k, p.rejected_k, rc.correct AS chosen_correct, "
        f"rr.correct AS rejected_correct, rc.finish_reason AS chosen_finish, rr.finish_reason AS rejected_finish, "
        f"{texts}, {_VALUES} FROM {_BY_ID} {_JOINS} ORDER BY i.key",
        (_dump_links(links), *lengths, json.dumps(list(pair_ids))),
    )
    return [_build_view(row) for row in rows]


def read_tau_counts(c: sqlite3.Connection, run_id: str, query: PairQuery) -> list[tuple[float, int]]:
    """How many of the pairs have which tau to the previous model, ascending; undefined ones are left out."""
    rows = fetch_rows(
        c,
        f"{_LINKS} SELECT tau, count(*) FROM (SELECT {_VALUES}, {_SEARCHED} FROM {_BY_STAGE} {_JOINS}) "
        f"WHERE {_where(query)} AND tau IS NOT NULL GROUP BY tau ORDER BY tau",
        (_dump_links(read_pair_links(c, run_id, query.iteration)), *query.parameters),
    )
    return [(float(tau), int(n)) for tau, n in rows]


def _where(query: PairQuery) -> str:
    parts = [] if query.with_skipped else ["skip_reason IS NULL"]
    parts += [f"({query.where})"] if query.where else []
    return " AND ".join(parts) or "1"


def _dump_links(links: Sequence[PairLink]) -> str:
    return json.dumps(
        [
            (k.iteration, k.pair_stage, k.sample_stage, k.agree_stage, k.score_stage, k.current, k.previous)
            for k in links
        ]
    )


def _build_view(row: sqlite3.Row) -> PairView:
    return PairView(
        pair_id=row["pair_id"],
        stage_id=row["stage_id"],
        iteration=row["iteration"],
        position=row["position"],
        prompt_id=row["prompt_id"],
        task=row["task"],
        prompt=row["prompt"],
        chosen_k=row["chosen_k"],
        rejected_k=row["rejected_k"],
        chosen=row["chosen"],
        rejected=row["rejected"],
        chosen_correct=as_bool(row["chosen_correct"]),
        rejected_correct=as_bool(row["rejected_correct"]),
        chosen_n_tokens=row["chosen_length"],
        rejected_n_tokens=row["rejected_length"],
        chosen_finish_reason=row["chosen_finish"],
        rejected_finish_reason=row["rejected_finish"],
        chosen_reward=row["chosen_reward"],
        rejected_reward=row["rejected_reward"],
        margin=row["margin"],
        previous_margin=row["previous_margin"],
        consistency_rate=row["consistency"],
        confidence=row["confidence"],
        tau_previous=row["tau"],
        tau_anchor=row["anchor"],
        label=row["label"],
        skip_reason=row["skip_reason"],
        verdict=row["verdict"],
        is_flagged=bool(row["flagged"]),
        is_blind=bool(row["blind"]),
        note=row["note"] or "",
    )
