"""The noise floor of scoring: rewards of the current model computed again, and how far they rank alike.

Other buckets change the order of sums, half precision rounds more coarsely; what either does to a ranking is the least
that any tau of this run is uncertain by. Its numbers are metrics; nothing is computed from them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from db.queries import read_scores
from db.rows import MetricRow, ResponseRow
from engine.compute.logprobs import plan_buckets
from engine.method.agreement import compute_agreement
from engine.plan import BASE
from engine.records import TokenSequence
from engine.stages.context import Samples, StageContext


def score_noise(context: StageContext) -> None:
    """Write how far the stored rewards rank as recomputed ones: with halved buckets, and half formats in float32."""
    samples = context.read_policy_samples()
    groups = dict(list(samples.groups.items())[: context.config.scoring.noise_floor])
    policy, batch_tokens = f"M{context.spec.iteration}", context.config.scoring.batch_tokens
    stored = {
        (row.prompt_id, row.k): row.score
        for row in read_scores(context.reader, [context.get_input_id("score")])
        if row.scorer == f"implicit:{policy}"
    }
    repeats = {"": (max(1, batch_tokens // 2), context.config.model.dtype)}
    if context.config.model.dtype != "float32":
        repeats["_float32"] = (batch_tokens, "float32")
    sequences = {samples.get_sequence(response) for group in groups.values() for response in group}
    context.write([], n_done=0, n_total=2 * len(repeats) * len(sequences), unit="log-probs", n_tokens=0)
    rows = [MetricRow("noise_floor_n_prompts", 0, float(len(groups)))]
    for index, (suffix, (tokens, dtype)) in enumerate(repeats.items(), start=1):
        sums = {
            model: dict(_compute_sums(context, model, sequences, batch_tokens=tokens, dtype=dtype))
            for model in (BASE, policy)
        }
        again = {sequence: sums[policy][sequence] - sums[BASE][sequence] for sequence in sequences}
        rows += _compare(samples, groups, stored, again, suffix)
        n_done, n_tokens = 2 * index * len(sequences), 2 * index * sum(map(len, sequences))
        context.write([], n_done=n_done, n_tokens=n_tokens)
    context.write(rows)


def _compute_sums(
    context: StageContext, model: str, sequences: set[TokenSequence], *, batch_tokens: int, dtype: str
) -> list[tuple[TokenSequence, float]]:
    buckets = plan_buckets(list(sequences), batch_tokens=max(1, batch_tokens // context.task.shrink))
    return [
        pair
        for bucket, values in context.iterate_sum_logprobs(model, buckets, dtype=dtype)
        for pair in zip(bucket, values, strict=True)
    ]


def _compare(
    samples: Samples,
    groups: Mapping[str, list[ResponseRow]],
    stored: Mapping[tuple[str, int], float | None],
    again: Mapping[TokenSequence, float],
    suffix: str,
) -> list[MetricRow]:
    """Return the mean tau over prompts where it is defined, and the largest difference of a reward in nats."""
    taus, differences = [], []
    for prompt_id, group in groups.items():
        first = [stored[prompt_id, response.k] for response in group]
        second = [_keep_finite(again[samples.get_sequence(response)]) for response in group]
        differences += [abs(a - b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
        tau = compute_agreement(first, second, [response.token_ids for response in group]).value
        taus += [] if tau is None else [tau]
    rows = [MetricRow(f"noise_floor_tau{suffix}", 0, math.fsum(taus) / len(taus))] if taus else []
    if differences:
        rows.append(MetricRow(f"noise_floor_nats{suffix}", 0, max(differences)))
    return rows


def _keep_finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
