"""Which pairs a preference training gets: this iteration's, earlier ones to replay, with the DPO reference's log-probs.

Knows the rows of pair, sample and score stages. Must not know how the pairs are trained on. The main path enters at
``list_training_pairs``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from db.queries import read_pairs, read_scores
from db.rows import MetricRow
from engine.compute.logprobs import compute_response_logprobs
from engine.errors import TrainingError
from engine.keys import derive_seed
from engine.plan import BASE, list_replayed, name_dpo_reference
from engine.records import PreferencePair, TokenSequence
from engine.stages.context import StageContext

TokenLogprobs = Mapping[TokenSequence, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class _StoredPair:
    """A pair as its stage wrote it, with C; both sides have the same prompt."""

    chosen: TokenSequence
    rejected: TokenSequence
    confidence: float

    @property
    def sides(self) -> tuple[TokenSequence, TokenSequence]:
        return self.chosen, self.rejected


def list_training_pairs(context: StageContext) -> list[PreferencePair]:
    """Return the pairs to train on in prompt order, replayed ones last; those that are too long are left out.

    Raises:
        TrainingError: no pair of this iteration is left.
    """
    limit, own = context.config.training.max_length, _read_pairs(context)
    fitting = [pair for pair in own if _fits(pair, limit)]
    if not fitting:
        raise TrainingError(f"all {len(own)} pairs exceed training.max_length = {limit} tokens")
    replayed = _draw_replayed(context, len(fitting), limit)
    found = [*fitting, *replayed]
    by_token, sums = _find_reference_logprobs(context, fitting, replayed)
    complete = [pair for pair in found if all(math.isfinite(sums.get(side, math.nan)) for side in pair.sides)]
    context.write(
        [
            MetricRow("n_too_long_pairs", 0, float(len(own) - len(fitting))),
            MetricRow("n_unreferenced_pairs", 0, float(len(found) - len(complete))),
        ]
    )
    if not complete:
        raise TrainingError(
            f"none of {len(found)} pairs has finite log-probs under the DPO reference",
            hint="try model.dtype: float32",
        )
    has_kl = context.config.method.loss.kl_weight > 0
    return [_refer(pair, sums, by_token if has_kl else {}) for pair in complete]


def _read_pairs(context: StageContext, iteration: int | None = None) -> list[_StoredPair]:
    """Return the pairs of an earlier iteration, or of this one, in the order of their prompts' ids."""
    suffix = "" if iteration is None else f":{iteration}"
    samples = context.read_samples(f"sample{suffix}")
    found = []
    for row in read_pairs(context.reader, context.get_input_id(f"pair{suffix}")):
        if row.chosen_k is None or row.rejected_k is None or row.confidence is None:
            continue
        by_k = {response.k: response for response in samples.groups[row.prompt_id]}
        chosen, rejected = (samples.get_sequence(by_k[k]) for k in (row.chosen_k, row.rejected_k))
        found.append(_StoredPair(chosen, rejected, row.confidence))
    return found


def _draw_replayed(context: StageContext, n_own: int, limit: int) -> list[_StoredPair]:
    """Return pairs of all earlier iterations, drawn without repetition: as many as the setting asks for, or all."""
    iterations = list_replayed(context.config, context.spec.iteration)
    earlier = [pair for t in iterations for pair in _read_pairs(context, t) if _fits(pair, limit)]
    n = min(len(earlier), round(context.config.training.replay * n_own))
    if iterations:
        context.write([MetricRow("n_replayed_pairs", 0, float(n))])
    return random.Random(derive_seed(context.spec.seed, "replay")).sample(earlier, n)


def _fits(pair: _StoredPair, limit: int) -> bool:
    return max(map(len, pair.sides)) <= limit


def _find_reference_logprobs(
    context: StageContext, own: Sequence[_StoredPair], replayed: Sequence[_StoredPair]
) -> tuple[TokenLogprobs, dict[TokenSequence, float]]:
    """Return the reference's log-probs by token, where a pass of it was made, and their sums.

    Scoring has the sums of this iteration's pairs under M_t and M0. What it has not takes one pass: replayed pairs, M1
    as the reference, and a KL term, which needs each token's.
    """
    reference, t = name_dpo_reference(context.config, context.spec.iteration), context.spec.iteration
    is_whole_pass = context.config.method.loss.kl_weight > 0 or reference not in (f"M{t}", BASE)
    passed = {side: None for pair in (own if is_whole_pass else ()) for side in pair.sides}
    passed |= {side: None for pair in replayed for side in pair.sides}
    by_token = _compute_under(context, reference, list(passed)) if passed else {}
    sums = {side: math.fsum(values) for side, values in by_token.items()}
    return by_token, sums if is_whole_pass else {**sums, **_read_scored(context, reference)}


def _read_scored(context: StageContext, reference: str) -> dict[TokenSequence, float]:
    """Return what scoring has computed of the responses of this iteration under M_t or M0."""
    samples, t = context.read_samples(), context.spec.iteration
    scores = {
        (row.prompt_id, row.k): row
        for row in read_scores(context.reader, [context.get_input_id("score")])
        if row.scorer == f"implicit:M{t}"
    }
    found = {}
    for response in samples.list_responses():
        row = scores[response.prompt_id, response.k]
        value = row.sum_logprob if reference == f"M{t}" else row.reference_sum_logprob
        if value is not None:
            found[samples.get_sequence(response)] = value
    return found


def _compute_under(context: StageContext, model: str, sequences: Sequence[TokenSequence]) -> TokenLogprobs:
    batch_tokens = max(1, context.config.scoring.batch_tokens // context.task.shrink)
    loaded = context.load_model(model)
    values = compute_response_logprobs(loaded, sequences, batch_tokens=batch_tokens)
    del loaded
    context.free_memory()
    return values


def _refer(pair: _StoredPair, sums: Mapping[TokenSequence, float], by_token: TokenLogprobs) -> PreferencePair:
    return PreferencePair(
        prompt=pair.chosen.prompt,
        chosen=pair.chosen.response,
        rejected=pair.rejected.response,
        reference_chosen_logprob=sums[pair.chosen],
        reference_rejected_logprob=sums[pair.rejected],
        confidence=pair.confidence,
        reference_chosen_token_logprobs=by_token.get(pair.chosen, ()),
        reference_rejected_token_logprobs=by_token.get(pair.rejected, ()),
    )
