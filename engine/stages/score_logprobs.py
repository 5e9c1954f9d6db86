"""Scores that are log-probs: one pass per model over the distinct responses of an iteration.

The shared part has log pi_0, log pi_{t-1} and log pi_t, which all methods use and, later, the DPO reference. A model
further back, for an ensemble, has a part of its own, taken against the same log pi_0.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from db.queries import read_scores
from db.rows import MetricRow, ResponseRow, ScoreRow
from engine.compute.logprobs import plan_buckets
from engine.plan import BASE, name_scorers
from engine.records import TokenSequence
from engine.stages.context import StageContext
from engine.stages.measures import measure_scores

NOT_FINITE = "log-probability is not finite"
COMMIT_EVERY = 8  # buckets
_ANCHOR = f"mean_loglik:{BASE}"


def score_by_shared_models(context: StageContext) -> None:
    """Make the passes of M0, M_{t-1} and M_t."""
    passes, t = _Passes(context), context.spec.iteration
    models = list(dict.fromkeys([BASE, f"M{t - 1}", f"M{t}"]))
    passes.begin(models)
    base: Mapping[TokenSequence, float] = {}
    for model in models:
        sums = passes.make(model, base)
        base = sums if model == BASE else base
    passes.end()
    groups, n = context.read_policy_samples().groups, context.config.sampling.n
    rows = [row for row in read_scores(context.reader, [context.task.stage_id]) if row.k < n]
    context.write(measure_scores(groups, rows, policy=f"M{t}", previous=f"M{t - 1}"))


def score_by_model(context: StageContext, model: str) -> None:
    """Make the pass of one model; log pi_0 comes from the shared part."""
    passes = _Passes(context)
    passes.begin([model])
    passes.make(model, passes.read_sums(BASE, stage_id=context.get_input_id("score")))
    passes.end()


class _Passes:
    """The distinct sequences of an iteration in buckets; counts over all passes and commits rows with the counts."""

    def __init__(self, context: StageContext) -> None:
        self.context = context
        samples = context.read_samples()
        self.by_sequence: dict[TokenSequence, list[ResponseRow]] = {}
        for response in samples.list_responses():
            self.by_sequence.setdefault(samples.get_sequence(response), []).append(response)
        batch_tokens = max(1, context.config.scoring.batch_tokens // context.task.shrink)
        self.buckets = plan_buckets(list(self.by_sequence), batch_tokens=batch_tokens)
        self.n_done = self.n_tokens = 0

    def begin(self, models: Sequence[str]) -> None:
        """Say how much there is to do."""
        self.context.write([], n_done=0, n_total=len(self.by_sequence) * len(models), unit="log-probs", n_tokens=0)

    def make(self, model: str, base: Mapping[TokenSequence, float]) -> dict[TokenSequence, float]:
        """Return log pi of every sequence, and write its rows; what an earlier attempt committed is not redone.

        Args:
            base: log pi_0 of every sequence; of no use for M0 itself.
        """
        sums = self.read_sums(model, stage_id=self.context.task.stage_id)
        self._count(sums)
        missing = [bucket for bucket in self.buckets if any(sequence not in sums for sequence in bucket)]
        if not missing:
            return sums
        rows: list[ScoreRow] = []
        for index, (bucket, values) in enumerate(self.context.iterate_sum_logprobs(model, missing), start=1):
            for sequence, value in zip(bucket, values, strict=True):
                sums[sequence] = value
                under_base = value if model == BASE else base.get(sequence, math.nan)
                for response in self.by_sequence[sequence]:
                    rows += _build_rows(self.context, model, response, value, under_base)
            self._count(bucket)
            if index % COMMIT_EVERY == 0 or index == len(missing):
                self.context.write(rows, n_done=self.n_done, n_tokens=self.n_tokens)
                rows = []
        return sums

    def end(self) -> None:
        """Write the metrics of the part."""
        rows = read_scores(self.context.reader, [self.context.task.stage_id])
        self.context.write(
            [
                MetricRow("n_distinct_responses", 0, float(len(self.by_sequence))),
                MetricRow("n_missing", 0, float(sum(row.score is None for row in rows))),
            ]
        )

    def read_sums(self, model: str, *, stage_id: int) -> dict[TokenSequence, float]:
        """Return the finite sums that a stage has committed for a model; buckets are whole, the rest recomputes."""
        scorer = _ANCHOR if model == BASE else f"implicit:{model}"
        rows = read_scores(self.context.reader, [stage_id])
        found = {(row.prompt_id, row.k): row.sum_logprob for row in rows if row.scorer == scorer}
        return {
            sequence: value
            for sequence, responses in self.by_sequence.items()
            if (value := found.get((responses[0].prompt_id, responses[0].k))) is not None
        }

    def _count(self, sequences: Collection[TokenSequence]) -> None:
        self.n_done += len(sequences)
        self.n_tokens += sum(map(len, sequences))


def _build_rows(context: StageContext, model: str, response: ResponseRow, value: float, base: float) -> list[ScoreRow]:
    """Return the scores that a model's log-prob completes: the anchor for M0, the implicit reward for others."""
    prompt_id, k, n = response.prompt_id, response.k, response.n_tokens
    if not (math.isfinite(value) and math.isfinite(base)):
        scorers = [f"implicit:{model}"] if model != BASE else _list_base_scorers(context)
        return [ScoreRow(prompt_id, k, s, model, None, None, None, n, None, NOT_FINITE) for s in scorers]
    if model != BASE:
        return [ScoreRow(prompt_id, k, f"implicit:{model}", model, BASE, value, base, n, value - base, None)]
    scores = {_ANCHOR: base / n, f"sum_loglik:{BASE}": base}
    return [ScoreRow(prompt_id, k, s, BASE, None, base, None, n, scores[s], None) for s in _list_base_scorers(context)]


def _list_base_scorers(context: StageContext) -> list[str]:
    """Return the anchor, and the summed log-likelihood of M0 where something ranks by it."""
    names = name_scorers(context.config, context.spec.iteration)
    roles = [role for role in (*context.config.method.scorers, "implicit:previous") if role in names]
    needs_sum = f"sum_loglik:{BASE}" in {names[role] for role in roles}
    return [_ANCHOR, *([f"sum_loglik:{BASE}"] if needs_sum else [])]
