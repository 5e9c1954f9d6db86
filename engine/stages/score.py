"""Stage score: responses -> one finite score or a named reason per response and scorer.

Part "" makes the passes that every method shares; any other part is the stored name of one scorer. Knows which module
scores what. Must not know how.
"""

from __future__ import annotations

import random

from db.queries import read_prompts
from db.rows import MetricRow, ResponseRow, ScoreRow
from engine.config.scorers import REWARD_MODEL, VOTES
from engine.errors import TaskError
from engine.keys import derive_seed
from engine.method.voting import compute_vote_shares
from engine.stages.context import StageContext
from engine.stages.score_judge import score_by_judge
from engine.stages.score_logprobs import score_by_model, score_by_shared_models
from engine.stages.score_noise import score_noise
from engine.stages.score_reward_model import score_by_reward_model
from engine.tasks.sources import spell_answer

NO_GOLD = "no gold answer"
NO_ANSWER = "no final answer found"


def run_score(context: StageContext) -> None:
    """Score every response by the scorers of this part."""
    kind, _, name = context.spec.part.partition(":")
    if kind == "":
        score_by_shared_models(context)
    elif kind == "implicit":
        score_by_model(context, name)
    elif kind == "judge":
        score_by_judge(context, name)
    elif kind == "noise":
        score_noise(context)
    elif f"{kind}:" == REWARD_MODEL:
        score_by_reward_model(context, name)
    else:
        _score_without_model(context)


def _score_without_model(context: StageContext) -> None:
    responses = context.read_samples().list_responses()
    if context.spec.part == "oracle":
        rows = [_score_by_oracle(response) for response in responses]
    elif context.spec.part == VOTES:
        rows = _score_by_votes(context)
    else:
        rows = [_score_at_random(response, context.spec.seed) for response in responses]
    n_missing = MetricRow("n_missing", 0, float(sum(row.score is None for row in rows)))
    context.write([*rows, n_missing], n_done=len(rows), n_total=len(rows), unit="responses")


def _score_by_oracle(response: ResponseRow) -> ScoreRow:
    score = None if response.correct is None else float(response.correct)
    reason = NO_GOLD if score is None else None
    return ScoreRow(response.prompt_id, response.k, "oracle", None, None, None, None, None, score, reason)


def _score_by_votes(context: StageContext) -> list[ScoreRow]:
    """Return the share of the policy's responses to a prompt that end in the same final answer.

    Raises:
        TaskError: no response has a final answer, as with prompts that ask for free text.
    """
    tasks = {p.prompt_id: p.task for p, _ in read_prompts(context.reader, context.get_input_id("sample"))}
    rows = []
    for prompt_id, group in context.read_samples().groups.items():
        answers = [spell_answer(response.extracted, tasks[prompt_id]) for response in group]
        shares = compute_vote_shares(answers, n_voters=context.config.sampling.n)
        for response, share in zip(group, shares, strict=True):
            reason = NO_ANSWER if share is None else None
            rows.append(ScoreRow(prompt_id, response.k, VOTES, None, None, None, None, None, share, reason))
    if all(row.score is None for row in rows):
        raise TaskError(
            f"{VOTES}: {NO_ANSWER} in any of the {len(rows)} responses of iteration {context.spec.iteration}",
            hint="votes need prompts whose responses end with an answer, such as 'Answer: B' or '#### 42'; "
            "other scorers rank free text",
        )
    return rows


def _score_at_random(response: ResponseRow, seed: int) -> ScoreRow:
    # By content: equal responses are one item and get one score.
    score = random.Random(derive_seed(seed, response.prompt_id, list(response.token_ids))).random()
    return ScoreRow(response.prompt_id, response.k, "random", None, None, None, None, None, score, None)
