"""What runs have in common, for a comparison: last values, costs, and prompts that two runs sampled in one iteration.

Light: plain sqlite3, no sqlmodel. ``c`` comes from ``open_reader``. Prompts are joined by their id, a digest of the
prompt. Runs with the same sample stage have the same responses; others have answered the same prompt anew.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from db.queries import as_bool
from db.reading import fetch_rows, snapshot
from db.run_series import parse_numbers

# Of a prompt in a list.
_N_SHOWN_CHARACTERS = 200
# Fine-tuning has a loss of another kind and no preference pairs.
_NOT_SFT = "NOT (s.name = 'train' AND l.iteration = 0)"


@dataclass(frozen=True, slots=True)
class LastValue:
    """The last step of a metric in the last iteration that has it; ``stage`` tells metrics of one name apart."""

    run_id: str
    stage: str
    name: str
    iteration: int
    value: float


@dataclass(frozen=True, slots=True)
class ValueRange:
    """The least and the greatest value of a metric of a run."""

    run_id: str
    stage: str
    name: str
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class Curve:
    """The points of a metric of one run by stage and step, SFT left out.

    Attributes:
        stages: position, iteration and number of points of each stage.
        at: seconds since the epoch; empty where times were not asked for.
        cursor: the highest metric_id of the store, above which all later points lie.
    """

    stages: tuple[tuple[int, int, int], ...]
    step: array[int]
    value: array[float]
    at: array[float]
    cursor: int


@dataclass(frozen=True, slots=True)
class RunCost:
    """What a run took.

    Attributes:
        wall_s: from its start to its end, or to its newest sign of life; None before it started.
        compute_s: of the attempts of all its stages, whoever computed them; None where none is known.
        peak_rss_bytes, peak_gpu_bytes: the highest of those attempts; None where none is known.
        n_reused: stages that another run computed, so that ``wall_s`` leaves them out.
    """

    run_id: str
    wall_s: float | None
    compute_s: float | None
    peak_rss_bytes: int | None
    peak_gpu_bytes: int | None
    n_reused: int


@dataclass(frozen=True, slots=True)
class SharedIteration:
    """An iteration in which two runs sampled prompts, and how many of them both did.

    ``has_same_responses``: the runs share the sample stage.
    """

    iteration: int
    sample_stage_id: int
    other_sample_stage_id: int
    pair_stage_id: int | None
    other_pair_stage_id: int | None
    n_prompts: int

    @property
    def has_same_responses(self) -> bool:
        return self.sample_stage_id == self.other_sample_stage_id


@dataclass(frozen=True, slots=True)
class PromptSide:
    """What one run made of one sampled prompt.

    Attributes:
        n_right: of its responses, among ``n_known`` whose correctness is known.
        chosen_k: None where there is no pair: none yet, or skipped.
    """

    prompt_id: str
    position: int
    n_right: int
    n_known: int
    chosen_k: int | None
    rejected_k: int | None
    chosen_correct: bool | None
    rejected_correct: bool | None
    confidence: float | None
    skip_reason: str | None


@dataclass(frozen=True, slots=True)
class SharedPrompt:
    """A prompt that two runs sampled in one iteration, as each of them has it; ``text`` is its beginning."""

    first: PromptSide
    second: PromptSide
    text: str

    @property
    def prompt_id(self) -> str:
        return self.first.prompt_id


@dataclass(frozen=True, slots=True)
class SampledText:
    """A response of a sampled prompt, by k."""

    k: int
    text: str
    n_tokens: int | None
    correct: bool | None


@dataclass(frozen=True, slots=True)
class PromptText:
    """A prompt with its gold answer, where there is one."""

    text: str
    answer: str | None


def read_last_values(c: sqlite3.Connection, run_ids: Sequence[str]) -> list[LastValue]:
    """The last value of every metric of these runs, by run, stage and name; SFT is left out."""
    rows = fetch_rows(
        c,
        # The index of (stage, name, step) ends at the last step, so that nothing else is read.
        "SELECT l.run_id, s.name AS stage, n.name, l.iteration, l.position, (SELECT m.value FROM metric m "
        "WHERE m.stage_id = s.stage_id AND m.name_id = n.name_id ORDER BY m.step DESC LIMIT 1) AS value "
        "FROM run_stage l CROSS JOIN stage s ON s.stage_id = l.stage_id CROSS JOIN metric_name n "
        f"WHERE l.run_id IN (SELECT value FROM json_each(?)) AND {_NOT_SFT} AND value IS NOT NULL "
        "ORDER BY l.run_id, s.name, n.name, l.iteration, l.position",
        (json.dumps(list(run_ids)),),
    )
    last = {(row["run_id"], row["stage"], row[2]): row for row in rows}
    return [
        LastValue(run_id, stage, name, row["iteration"], row["value"]) for (run_id, stage, name), row in last.items()
    ]


def read_value_ranges(
    c: sqlite3.Connection, run_ids: Sequence[str], metrics: Sequence[tuple[str, str]]
) -> list[ValueRange]:
    """The extremes of these metrics, each a (stage, name), in these runs; SFT is left out."""
    ranges = []
    for stage, name in metrics:
        rows = fetch_rows(
            c,
            "SELECT l.run_id, min(m.value), max(m.value) FROM run_stage l CROSS JOIN stage s ON s.stage_id = l.stage_id"
            " CROSS JOIN metric_name n CROSS JOIN metric m ON m.stage_id = s.stage_id AND m.name_id = n.name_id "
            "WHERE l.run_id IN (SELECT value FROM json_each(?)) AND s.name = ? AND n.name = ? "
            f"AND {_NOT_SFT} GROUP BY l.run_id ORDER BY l.run_id",
            (json.dumps(list(run_ids)), stage, name),
        )
        ranges += [ValueRange(run_id, stage, name, lowest, highest) for run_id, lowest, highest in rows]
    return ranges


def read_curve(c: sqlite3.Connection, run_id: str, stage: str, name: str, *, has_times: bool) -> Curve:
    """A metric of a run, whole, to 15 digits; ``db.run_series.read_series`` tells where to go on.

    SQLite gathers each column into one JSON text: Python's lock is let go and taken again for every fetched row,
    so that, while another thread draws, 100,000 rows take 0.6 s and these texts 0.3 s.

    Args:
        stage: the kind of stage.
        has_times: whether the times are read, too.
    """
    found: list[tuple[int, int, int]] = []
    step, value, at = array("q"), array("d"), array("d")
    with snapshot(c):
        (cursor,) = fetch_rows(c, "SELECT coalesce(max(metric_id), 0) FROM metric")[0]
        stages = fetch_rows(
            c,
            "SELECT l.position, l.iteration, s.stage_id, n.name_id FROM metric_name n CROSS JOIN run_stage l "
            "CROSS JOIN stage s ON s.stage_id = l.stage_id "
            f"WHERE n.name = ? AND l.run_id = ? AND s.name = ? AND {_NOT_SFT} ORDER BY l.position",
            (name, run_id, stage),
        )
        for position, iteration, stage_id, name_id in stages:
            n, first, last, values, times = _gather(c, stage_id, name_id, "value", "at" if has_times else "NULL")
            if n:
                found.append((position, iteration, n))
                is_whole = last - first + 1 == n
                step.extend(
                    range(first, last + 1) if is_whole else json.loads(_gather(c, stage_id, name_id, "step")[3])
                )
                value.extend(parse_numbers(values))
                at.extend(parse_numbers(times) if has_times else ())
    return Curve(tuple(found), step, value, at, int(cursor))


def _gather(c: sqlite3.Connection, stage_id: int, name_id: int, column: str, other: str = "NULL") -> sqlite3.Row:
    """Number of steps, first and last, and two columns by step as JSON."""
    wanted = (
        f"SELECT step, {column} AS own, {other} AS other FROM metric WHERE stage_id = ? AND name_id = ? ORDER BY step"
    )
    second = "NULL" if other == "NULL" else "json_group_array(other)"
    (row,) = fetch_rows(
        c,
        f"SELECT count(*), min(step), max(step), json_group_array(own), {second} FROM ({wanted})",
        (stage_id, name_id),
    )
    return row


def read_run_costs(c: sqlite3.Connection, run_ids: Sequence[str]) -> dict[str, RunCost]:
    """What each of these runs took."""
    rows = fetch_rows(
        c,
        "SELECT r.run_id, coalesce(r.finished_at, w.heartbeat_at, max(a.finished_at)) - r.started_at, "
        "sum(a.compute_s), max(a.peak_rss_bytes), max(a.peak_gpu_bytes), "
        "count(DISTINCT CASE WHEN s.owner_run_id IS NOT r.run_id AND s.state = 'done' THEN s.stage_id END) "
        "FROM run r LEFT JOIN lease w ON w.run_id = r.run_id LEFT JOIN run_stage l ON l.run_id = r.run_id "
        "LEFT JOIN stage s ON s.stage_id = l.stage_id LEFT JOIN attempt a ON a.stage_id = s.stage_id "
        "WHERE r.run_id IN (SELECT value FROM json_each(?)) GROUP BY r.run_id",
        (json.dumps(list(run_ids)),),
    )
    return {row[0]: RunCost(*row) for row in rows}


def read_shared_iterations(c: sqlite3.Connection, run_id: str, other_run_id: str) -> list[SharedIteration]:
    """The iterations in which both runs have sampled prompts that the other has, too."""
    rows = fetch_rows(
        c,
        "WITH link AS (SELECT l.run_id, l.iteration, s.name, s.stage_id FROM run_stage l "
        "JOIN stage s ON s.stage_id = l.stage_id WHERE s.state = 'done' AND s.name IN ('sample', 'pair')) "
        "SELECT a.iteration, a.stage_id, b.stage_id, p.stage_id, q.stage_id, (SELECT count(*) FROM sampled_prompt d "
        "JOIN sampled_prompt e ON e.stage_id = b.stage_id AND e.prompt_id = d.prompt_id WHERE d.stage_id = a.stage_id) "
        "AS n FROM link a JOIN link b ON b.run_id = :other AND b.name = 'sample' AND b.iteration = a.iteration "
        "LEFT JOIN link p ON p.run_id = :run AND p.name = 'pair' AND p.iteration = a.iteration "
        "LEFT JOIN link q ON q.run_id = :other AND q.name = 'pair' AND q.iteration = a.iteration "
        "WHERE a.run_id = :run AND a.name = 'sample' AND n > 0 ORDER BY a.iteration",
        {"run": run_id, "other": other_run_id},
    )
    return [SharedIteration(*row) for row in rows]


def read_shared_prompts(c: sqlite3.Connection, shared: SharedIteration) -> list[SharedPrompt]:
    """The prompts that both runs sampled in this iteration, by their position in the first one."""
    with snapshot(c):
        sides = _read_sides(c, shared.sample_stage_id, shared.pair_stage_id)
        others = _read_sides(c, shared.other_sample_stage_id, shared.other_pair_stage_id)
        texts = fetch_rows(
            c,
            "SELECT p.prompt_id, substr(p.text, 1, ?) FROM sampled_prompt d JOIN prompt p ON p.prompt_id = d.prompt_id "
            "WHERE d.stage_id = ?",
            (_N_SHOWN_CHARACTERS, shared.sample_stage_id),
        )
    found = {side.prompt_id: side for side in others}
    beginnings = {row["prompt_id"]: row[1] for row in texts}
    return [
        SharedPrompt(side, found[side.prompt_id], beginnings[side.prompt_id])
        for side in sides
        if side.prompt_id in found
    ]


def read_sampled_texts(c: sqlite3.Connection, sample_stage_id: int, prompt_id: str) -> list[SampledText]:
    """The responses to one prompt in a sample stage, by k."""
    rows = fetch_rows(
        c,
        "SELECT k, text, n_tokens, correct FROM response WHERE stage_id = ? AND prompt_id = ? ORDER BY k",
        (sample_stage_id, prompt_id),
    )
    return [SampledText(k, text, n_tokens, as_bool(correct)) for k, text, n_tokens, correct in rows]


def read_prompt_text(c: sqlite3.Connection, prompt_id: str) -> PromptText | None:
    """The prompt's text and gold answer."""
    rows = fetch_rows(c, "SELECT text, answer FROM prompt WHERE prompt_id = ?", (prompt_id,))
    return PromptText(*rows[0]) if rows else None


def _read_sides(c: sqlite3.Connection, sample_stage_id: int, pair_stage_id: int | None) -> list[PromptSide]:
    rows = fetch_rows(
        c,
        "SELECT d.prompt_id, d.position, coalesce(g.n_right, 0), coalesce(g.n_known, 0), p.chosen_k, p.rejected_k, "
        "rc.correct, rr.correct, p.confidence, coalesce(p.skip_reason, d.skip_reason) "
        "FROM sampled_prompt d LEFT JOIN (SELECT prompt_id, sum(correct) AS n_right, count(correct) AS n_known "
        "FROM response WHERE stage_id = :sample GROUP BY prompt_id) g ON g.prompt_id = d.prompt_id "
        "LEFT JOIN pair p ON p.stage_id = :pair AND p.prompt_id = d.prompt_id "
        "LEFT JOIN response rc ON rc.stage_id = d.stage_id AND rc.prompt_id = d.prompt_id AND rc.k = p.chosen_k "
        "LEFT JOIN response rr ON rr.stage_id = d.stage_id AND rr.prompt_id = d.prompt_id AND rr.k = p.rejected_k "
        "WHERE d.stage_id = :sample ORDER BY d.position, d.prompt_id",
        {"sample": sample_stage_id, "pair": pair_stage_id},
    )
    return [
        PromptSide(
            prompt_id=row[0],
            position=row[1],
            n_right=row[2],
            n_known=row[3],
            chosen_k=row[4],
            rejected_k=row[5],
            chosen_correct=as_bool(row[6]),
            rejected_correct=as_bool(row[7]),
            confidence=row[8],
            skip_reason=row[9],
        )
        for row in rows
    ]
