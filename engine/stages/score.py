"""Stage score: responses -> one finite score or a named reason per response and scorer.

Part "" makes one pass per model over the distinct responses; log pi_0 and log pi_t are shared by all rewards and,
later, by the DPO reference. Parts "oracle" and "random" need no model.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence

from db.queries import read_scores
from db.rows import MetricRow, ResponseRow, ScoreRow
from engine.compute.logprobs import iterate_sum_logprobs, plan_buckets
from engine.keys import derive_seed
from engine.plan import BASE, name_scorers
from engine.records import TokenSequence
from engine.stages.context import Samples, StageContext

NO_GOLD = "no gold answer"
NOT_FINITE = "log-probability is not finite"
COMMIT_EVERY = 8  # buckets


def run_score(context: StageContext) -> None:
    """Score every response by the scorers of this part."""
    part = context.spec.part
    samples = context.read_samples()
    responses = [response for group in samples.groups.values() for response in group]
    if part == "oracle":
        rows = [_score_by_oracle(response) for response in responses]
    elif part == "random":
        rows = [_score_at_random(response, context.spec.seed) for response in responses]
    else:
        _score_by_logprob(context, samples, responses)
        return
    n_missing = MetricRow("n_missing", 0, float(sum(row.score is None for row in rows)))
    context.write([*rows, n_missing], n_done=len(rows), n_total=len(rows), unit="responses")


def _score_by_logprob(context: StageContext, samples: Samples, responses: list[ResponseRow]) -> None:
    iteration = context.spec.iteration
    by_sequence: dict[TokenSequence, list[ResponseRow]] = {}
    for response in responses:
        by_sequence.setdefault(samples.get_sequence(response), []).append(response)
    batch_tokens = max(1, context.config.scoring.batch_tokens // context.task.shrink)
    buckets = plan_buckets(list(by_sequence), batch_tokens=batch_tokens)
    models = list(dict.fromkeys([BASE, f"M{iteration - 1}", f"M{iteration}"]))
    progress = _Progress(context, n_total=len(by_sequence) * len(models))
    base_sums: dict[TokenSequence, float] = {}
    for name in models:
        known = _read_known_sums(context, name, by_sequence)
        progress.add(known)
        sums = base_sums if name == BASE else {}
        sums.update(known)
        missing = [bucket for bucket in buckets if any(sequence not in known for sequence in bucket)]
        if not missing:
            continue
        model = context.load_model(name)
        rows: list[ScoreRow] = []
        for index, (bucket, values) in enumerate(iterate_sum_logprobs(model, missing), start=1):
            sums.update(zip(bucket, values, strict=True))
            for sequence in bucket:
                for response in by_sequence[sequence]:
                    rows.extend(_build_rows(context, name, response, sums[sequence], base_sums[sequence]))
            progress.add(bucket)
            if index % COMMIT_EVERY == 0 or index == len(missing):
                progress.commit(rows)
                rows = []
        del model
        context.free_memory()
    n_missing = sum(row.score is None for row in read_scores(context.reader, [context.task.stage_id]))
    context.write(
        [
            MetricRow("n_distinct_responses", 0, float(len(by_sequence))),
            MetricRow("n_missing", 0, float(n_missing)),
        ]
    )


def _build_rows(context: StageContext, model: str, response: ResponseRow, value: float, base: float) -> list[ScoreRow]:
    """Return the scores that a model's log-prob completes: the anchor for M0, the implicit reward for others."""
    prompt_id, k, n = response.prompt_id, response.k, response.n_tokens
    if not (math.isfinite(value) and math.isfinite(base)):
        scorers = [f"implicit:{model}"] if model != BASE else _list_base_scorers(context)
        return [ScoreRow(prompt_id, k, s, model, None, None, None, n, None, NOT_FINITE) for s in scorers]
    if model != BASE:
        return [ScoreRow(prompt_id, k, f"implicit:{model}", model, BASE, value, base, n, value - base, None)]
    scores = {f"mean_loglik:{BASE}": base / n, f"sum_loglik:{BASE}": base}
    return [ScoreRow(prompt_id, k, s, BASE, None, base, None, n, scores[s], None) for s in _list_base_scorers(context)]


def _list_base_scorers(context: StageContext) -> list[str]:
    """Return the anchor, and the summed log-likelihood of M0 where something ranks by it."""
    needs_sum = f"sum_loglik:{BASE}" in _list_needed(context)
    return [f"mean_loglik:{BASE}", *([f"sum_loglik:{BASE}"] if needs_sum else [])]


def _read_known_sums(
    context: StageContext, model: str, by_sequence: Mapping[TokenSequence, list[ResponseRow]]
) -> dict[TokenSequence, float]:
    """Return what an earlier attempt committed for a model; buckets are whole, so the rest recomputes equally."""
    scorer = f"mean_loglik:{BASE}" if model == BASE else f"implicit:{model}"
    rows = read_scores(context.reader, [context.task.stage_id])
    found = {(row.prompt_id, row.k): row.sum_logprob for row in rows if row.scorer == scorer}
    return {
        sequence: value
        for sequence, responses in by_sequence.items()
        if (value := found.get((responses[0].prompt_id, responses[0].k))) is not None
    }


class _Progress:
    """Counts sequences over all passes and commits rows together with the counts."""

    def __init__(self, context: StageContext, *, n_total: int) -> None:
        self.context = context
        self.n_done = self.n_tokens = 0
        context.write([], n_done=0, n_total=n_total, unit="log-probs", n_tokens=0)

    def add(self, sequences: Collection[TokenSequence]) -> None:
        self.n_done += len(sequences)
        self.n_tokens += sum(map(len, sequences))

    def commit(self, rows: Sequence[ScoreRow]) -> None:
        self.context.write(rows, n_done=self.n_done, n_tokens=self.n_tokens)


def _list_needed(context: StageContext) -> set[str | None]:
    names = name_scorers(context.config, context.spec.iteration)
    return {names[role] for role in (*context.config.method.scorers, "implicit:previous")}


def _score_by_oracle(response: ResponseRow) -> ScoreRow:
    score = None if response.correct is None else float(response.correct)
    reason = NO_GOLD if score is None else None
    return ScoreRow(response.prompt_id, response.k, "oracle", None, None, None, None, None, score, reason)


def _score_at_random(response: ResponseRow, seed: int) -> ScoreRow:
    # By content: equal responses are one item and get one score.
    score = random.Random(derive_seed(seed, response.prompt_id, list(response.token_ids))).random()
    return ScoreRow(response.prompt_id, response.k, "random", None, None, None, None, None, score, None)
