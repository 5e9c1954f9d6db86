"""What there is to browse: how many pairs, what they wait for, what a person judged, and whether any of it changed.

Light: plain sqlite3, no sqlmodel. Knows rows. Must not know how verdicts are counted up.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from db.pair_browse import read_pair_rows
from db.pair_links import PairLink, read_pair_links
from db.reading import fetch_rows, snapshot


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """A pair of which a person said something; ``verdict`` is None where it was only flagged or noted."""

    pair_id: int
    stage_id: int
    prompt_id: str
    iteration: int
    verdict: str | None
    is_flagged: bool
    is_blind: bool
    note: str
    label: str | None
    confidence: float | None
    consistency_rate: float | None


@dataclass(frozen=True, slots=True)
class PairCounts:
    """What there is to browse.

    Attributes:
        n_by_iteration: pairs of each iteration that has any, or any skipped prompt.
        n_skipped: prompts that made no pair.
        n_unsampled: prompts that were never answered (too long), and so have no row among the pairs.
        waiting_for: label of the first unfinished stage before the next pairs; None: all are there.
    """

    n_by_iteration: dict[int, int]
    n_skipped: int
    n_unsampled: int
    waiting_for: str | None

    @property
    def n_pairs(self) -> int:
        """Pairs of all iterations."""
        return sum(self.n_by_iteration.values())


@dataclass(frozen=True, slots=True)
class PairStamp:
    """To notice changes by: ``pairs`` differs once rows were added, ``verdicts`` once a person said something."""

    pairs: tuple[Any, ...]
    verdicts: tuple[Any, ...]


def read_pair_stamp(c: sqlite3.Connection, run_id: str) -> PairStamp:
    """The stamp of a run's pairs; cheap, whatever their number."""
    with snapshot(c):
        stages = fetch_rows(
            c,
            "SELECT s.stage_id, s.state, s.n_done FROM run_stage l JOIN stage s ON s.stage_id = l.stage_id "
            "WHERE l.run_id = ? AND s.name = 'pair' ORDER BY l.position",
            (run_id,),
        )
        verdicts = fetch_rows(
            c,
            "SELECT count(*), max(w.at), total(w.at) FROM run_stage l JOIN verdict w ON w.stage_id = l.stage_id "
            "WHERE l.run_id = ?",
            (run_id,),
        )
    return PairStamp(tuple(tuple(row) for row in stages), tuple(verdicts[0]))


def read_pair_counts(c: sqlite3.Connection, run_id: str) -> PairCounts:
    """How many pairs there are, and what is missing."""
    with snapshot(c):
        counted = [(link.iteration, _count(c, link)) for link in read_pair_links(c, run_id)]
        waiting = fetch_rows(
            c,
            "SELECT l.label FROM run_stage l JOIN stage s ON s.stage_id = l.stage_id "
            "WHERE l.run_id = :run AND s.state <> 'done' AND l.position <= ("
            "  SELECT min(x.position) FROM run_stage x JOIN stage y ON y.stage_id = x.stage_id "
            "  WHERE x.run_id = :run AND y.name = 'pair' AND y.state <> 'done') "
            "ORDER BY l.position LIMIT 1",
            {"run": run_id},
        )
    return PairCounts(
        n_by_iteration={iteration: row["n_pairs"] for iteration, row in counted if row["n_rows"]},
        n_skipped=sum(row["n_rows"] - row["n_pairs"] for _, row in counted),
        n_unsampled=sum(row["n_unsampled"] for _, row in counted),
        waiting_for=waiting[0][0] if waiting else None,
    )


def read_judged_pairs(c: sqlite3.Connection, run_id: str) -> list[JudgedPair]:
    """What a person judged, flagged or noted, by iteration and prompt id."""
    with snapshot(c):
        pair_ids = [
            row[0]
            for link in read_pair_links(c, run_id)
            for row in fetch_rows(
                c,
                "SELECT p.pair_id FROM verdict w JOIN pair p ON p.stage_id = w.stage_id AND p.prompt_id = w.prompt_id "
                "WHERE w.stage_id = ? ORDER BY w.prompt_id",
                (link.pair_stage,),
            )
        ]
        views = read_pair_rows(c, run_id, pair_ids, n_characters=1)
    return [
        JudgedPair(
            pair_id=view.pair_id,
            stage_id=view.stage_id,
            prompt_id=view.prompt_id,
            iteration=view.iteration,
            verdict=view.verdict,
            is_flagged=view.is_flagged,
            is_blind=view.is_blind,
            note=view.note,
            label=view.label,
            confidence=view.confidence,
            consistency_rate=view.consistency_rate,
        )
        for view in views
    ]


def _count(c: sqlite3.Connection, link: PairLink) -> sqlite3.Row:
    (row,) = fetch_rows(
        c,
        "SELECT count(*) AS n_rows, count(chosen_k) AS n_pairs, "
        "(SELECT count(*) FROM sampled_prompt WHERE stage_id = ? AND skip_reason IS NOT NULL) AS n_unsampled "
        "FROM pair WHERE stage_id = ?",
        (link.sample_stage, link.pair_stage),
    )
    return row
