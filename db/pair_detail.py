"""One pair with all that is known of its prompt, and how the prompt was answered elsewhere.

Light: plain sqlite3, no sqlmodel. Knows rows. Must not know how they are drawn.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from db.labels import find_model_name
from db.pair_browse import PairView, read_pair_rows
from db.pair_links import AGGREGATE, ANCHOR, MEASURE, PairLink, read_pair_links
from db.queries import as_bool
from db.reading import fetch_rows, snapshot


@dataclass(frozen=True, slots=True)
class ScoredResponse:
    """A response of the group with its scores, None where there is none.

    Attributes:
        item: k of the first response with the same tokens; equal responses are one item in a tau. Tokens and all that
            comes of them are unknown of an imported response: its text is the item.
        reward: what ranked: chosen has the highest, rejected the lowest.
        current, previous: implicit rewards under both models; previous under what stands in for M0 in iteration 1.
        anchor: mean log-likelihood under the base model.
        is_policy: False for a response of M1, which is there only to be rejected.
    """

    k: int
    text: str
    n_tokens: int | None
    finish_reason: str | None
    correct: bool | None
    extracted: str | None
    item: int
    reward: float | None
    current: float | None
    previous: float | None
    anchor: float | None
    is_policy: bool = True


@dataclass(frozen=True, slots=True)
class PairDetail:
    """A pair with its whole texts, the gold answer and all responses by k.

    Attributes:
        current_scorer, previous_scorer: names of the scores, as implicit:M2.
        tau_reason: why the tau to the previous model is undefined; None where it is defined or was not computed.
    """

    view: PairView
    answer: str | None
    responses: tuple[ScoredResponse, ...]
    current_scorer: str
    previous_scorer: str | None
    tau_reason: str | None


@dataclass(frozen=True, slots=True)
class PromptAnswer:
    """How one model answered a prompt: by a group that was sampled for training, or greedily in an evaluation.

    Attributes:
        run_names: the runs that share this answer, the asked one first; is_own: whether it is among them.
        iteration: of a sampled group; None for an evaluation.
        n, n_right: responses, and how many are right; n_right is None where gold is unknown.
        text: what was chosen, of a group without a pair its first response, of an evaluation the response.
        rejected: the other side of the pair.
    """

    model: str
    iteration: int | None
    run_names: tuple[str, ...]
    is_own: bool
    n: int
    n_right: int | None
    text: str | None
    rejected: str | None
    tau: float | None
    skip_reason: str | None


def read_pair_detail(c: sqlite3.Connection, run_id: str, pair_id: int) -> PairDetail | None:
    """The pair; None where the run has no such pair (any more)."""
    with snapshot(c):
        views = read_pair_rows(c, run_id, [pair_id])
        if not views:
            return None
        (view,) = views
        (link,) = read_pair_links(c, run_id, view.iteration)
        answer = fetch_rows(c, "SELECT answer FROM prompt WHERE prompt_id = ?", (view.prompt_id,))[0][0]
        reasons = fetch_rows(
            c,
            "SELECT undefined_reason FROM agreement "
            "WHERE stage_id = ? AND measure = ? AND scorer = ? AND against = ? AND prompt_id = ?",
            (link.agree_stage, MEASURE, link.current, link.previous, view.prompt_id),
        )
        return PairDetail(
            view=view,
            answer=answer,
            responses=_read_responses(c, link, view.prompt_id),
            current_scorer=link.current,
            previous_scorer=link.previous,
            tau_reason=reasons[0][0] if reasons else None,
        )


def read_prompt_history(c: sqlite3.Connection, run_id: str, prompt_id: str) -> list[PromptAnswer]:
    """Every answer to this prompt: of this run by model, then those that other runs of the store sampled.

    A run asks fresh prompts in each iteration, so that most prompts have one answer of their own run. Evaluations are
    looked through by item id and by text, of this run only.
    """
    with snapshot(c):
        answers = [*_read_sampled_answers(c, run_id, prompt_id), *_read_greedy_answers(c, run_id, prompt_id)]
    return sorted(answers, key=lambda a: (not a.is_own, int(a.model[1:]), a.iteration is None, a.run_names))


def _read_responses(c: sqlite3.Connection, link: PairLink, prompt_id: str) -> tuple[ScoredResponse, ...]:
    scores: dict[tuple[str, int], float | None] = {
        (row["scorer"], row["k"]): row["score"]
        for row in fetch_rows(
            c,
            "SELECT scorer, k, score FROM score WHERE prompt_id = :prompt AND "
            "((stage_id = :score AND scorer IN (:current, :previous, :anchor)) "
            "OR (stage_id = :pair AND scorer = :aggregate))",
            {
                "prompt": prompt_id,
                "score": link.score_stage,
                "pair": link.pair_stage,
                "current": link.current,
                "previous": link.previous,
                "anchor": ANCHOR,
                "aggregate": AGGREGATE,
            },
        )
    }
    items: dict[str, int] = {}
    rows = fetch_rows(
        c,
        "SELECT k, text, n_tokens, finish_reason, correct, extracted, token_ids_json FROM response "
        "WHERE stage_id = ? AND prompt_id = ? ORDER BY k",
        (link.sample_stage, prompt_id),
    )
    return tuple(
        ScoredResponse(
            k=row["k"],
            text=row["text"],
            n_tokens=row["n_tokens"],
            finish_reason=row["finish_reason"],
            correct=as_bool(row["correct"]),
            extracted=row["extracted"],
            item=items.setdefault(row["token_ids_json"] or row["text"], row["k"]),
            reward=scores.get((AGGREGATE, row["k"])),
            current=scores.get((link.current, row["k"])),
            previous=None if link.previous is None else scores.get((link.previous, row["k"])),
            anchor=scores.get((ANCHOR, row["k"])),
            is_policy=link.n_policy is None or row["k"] < link.n_policy,
        )
        for row in rows
    )


def _read_sampled_answers(c: sqlite3.Connection, run_id: str, prompt_id: str) -> list[PromptAnswer]:
    """One answer for each sample stage that has responses to the prompt, paired as the asked run or the oldest does."""
    found = fetch_rows(
        c,
        "SELECT s.stage_id, l.run_id, l.iteration, r.name FROM stage s "
        "JOIN sampled_prompt d ON d.stage_id = s.stage_id AND d.prompt_id = ? "
        "JOIN run_stage l ON l.stage_id = s.stage_id JOIN run r ON r.run_id = l.run_id "
        "WHERE s.name = 'sample' ORDER BY s.stage_id, l.run_id <> ?, r.created_at, r.rowid",
        (prompt_id, run_id),
    )
    sharing: dict[int, list[sqlite3.Row]] = {}
    for row in found:
        sharing.setdefault(row["stage_id"], []).append(row)
    answers = (_read_group(c, rows, run_id, prompt_id) for rows in sharing.values())
    return [answer for answer in answers if answer.n]


def _read_group(c: sqlite3.Connection, rows: Sequence[sqlite3.Row], run_id: str, prompt_id: str) -> PromptAnswer:
    first = rows[0]
    responses = fetch_rows(
        c,
        "SELECT text, correct FROM response WHERE stage_id = ? AND prompt_id = ? ORDER BY k",
        (first["stage_id"], prompt_id),
    )
    links = read_pair_links(c, first["run_id"], first["iteration"])
    responses = responses[: links[0].n_policy] if links else responses
    pair_ids = [
        row[0]
        for link in links
        for row in fetch_rows(
            c, "SELECT pair_id FROM pair WHERE stage_id = ? AND prompt_id = ?", (link.pair_stage, prompt_id)
        )
    ]
    view = next(iter(read_pair_rows(c, first["run_id"], pair_ids)), None)
    known = [row["correct"] for row in responses if row["correct"] is not None]
    opening = responses[0]["text"] if responses else None
    return PromptAnswer(
        model=f"M{first['iteration']}",
        iteration=first["iteration"],
        run_names=tuple(dict.fromkeys(row["name"] for row in rows)),
        is_own=first["run_id"] == run_id,
        n=len(responses),
        n_right=sum(known) if known else None,
        text=opening if view is None or view.chosen is None else view.chosen,
        rejected=None if view is None else view.rejected,
        tau=None if view is None else view.tau_previous,
        skip_reason=None if view is None else view.skip_reason,
    )


def _read_greedy_answers(c: sqlite3.Connection, run_id: str, prompt_id: str) -> list[PromptAnswer]:
    rows = fetch_rows(
        c,
        "SELECT l.label, l.iteration, r.name, e.response, e.correct FROM run_stage l "
        "JOIN run r ON r.run_id = l.run_id JOIN stage s ON s.stage_id = l.stage_id AND s.name = 'evaluate' "
        "JOIN prompt p ON p.prompt_id = :prompt "
        "JOIN evaluation e ON e.stage_id = s.stage_id AND (e.item_id = :prompt OR e.prompt = p.text) "
        "WHERE l.run_id = :run ORDER BY l.position",
        {"run": run_id, "prompt": prompt_id},
    )
    return [
        PromptAnswer(
            model=find_model_name(row["label"]) or f"M{row['iteration'] + 1}",
            iteration=None,
            run_names=(row["name"],),
            is_own=True,
            n=1,
            n_right=row["correct"],
            text=row["response"],
            rejected=None,
            tau=None,
            skip_reason=None,
        )
        for row in rows
    ]
