"""Part "preference" of stage evaluate: how often a model's implicit reward ranks the preferred response first.

The implicit reward of M_t is log pi_t(response | prompt) - log pi_0(response | prompt), summed over response tokens,
as in training. M0 has 0 everywhere, so that it is judged by its mean log-likelihood, without a reference.
A pair counts as right only if the preferred side has strictly more; ties are counted beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from db.labels import find_model_name
from db.queries import read_evaluations
from db.rows import EvaluationRow, MetricRow
from engine.compute.logprobs import plan_buckets
from engine.compute.prompts import encode_example
from engine.config.evaluation import PREFERENCE, TaskSource
from engine.errors import TaskError
from engine.plan import BASE
from engine.records import TokenSequence
from engine.stages.context import StageContext
from engine.stages.data import load_pairs
from engine.tasks.preferences import PreferenceItem


@dataclass(frozen=True, slots=True)
class _Pair:
    """A pair as token sequences."""

    item: PreferenceItem
    chosen: TokenSequence
    rejected: TokenSequence


def run_preferences(context: StageContext) -> None:
    """Rank the pairs of every set, one set a transaction."""
    rows_before = read_evaluations(context.reader, context.task.stage_id)
    finished = {row.task for row in rows_before}
    sets = {source.name: _encode_pairs(context, source) for source in context.config.evaluation.preference_sources}
    n_total = sum(len(pairs) for pairs, _ in sets.values())
    n_done, n_tokens = len(rows_before), sum(row.n_tokens for row in rows_before)
    context.write([], n_done=n_done, n_total=n_total, unit="pairs", n_tokens=n_tokens)
    for name, (pairs, n_skipped) in sets.items():
        if PREFERENCE + name in finished:
            continue
        margins = _compute_margins(context, pairs)
        rows = [_build_row(name, pair, margin) for pair, margin in zip(pairs, margins, strict=True)]
        n_done, n_tokens = n_done + len(rows), n_tokens + sum(row.n_tokens for row in rows)
        context.write([*rows, *_build_metrics(name, pairs, margins, n_skipped)], n_done=n_done, n_tokens=n_tokens)


def _encode_pairs(context: StageContext, source: TaskSource) -> tuple[list[_Pair], int]:
    """Return the pairs that fit the model's context, and how many do not."""
    tokenizer, end_token_ids, limit = context.load_tokenizer(), context.outline.end_token_ids, context.outline.context
    items = load_pairs(source, n=context.config.evaluation.items)
    pairs = [
        _Pair(item, *(encode_example(tokenizer, item.messages, text, end_token_ids=end_token_ids) for text in sides))
        for item in items
        for sides in [(item.chosen, item.rejected)]
    ]
    fitting = [pair for pair in pairs if limit is None or max(len(pair.chosen), len(pair.rejected)) <= limit]
    if not fitting:
        raise TaskError(
            f"evaluation.preference_sets: all {len(pairs)} pairs of {source.name} are longer than the model's context "
            f"of {limit} tokens"
        )
    return fitting, len(pairs) - len(fitting)


def _compute_margins(context: StageContext, pairs: Sequence[_Pair]) -> list[float]:
    """Return reward(chosen) - reward(rejected) in nats; one model is in memory at a time."""
    model = find_model_name(context.spec.label) or BASE
    if model == BASE:
        sums = _compute_sums(context, BASE, pairs)
        means = {sequence: value / len(sequence.response) for sequence, value in sums.items()}
        return [means[pair.chosen] - means[pair.rejected] for pair in pairs]
    base, own = (_compute_sums(context, name, pairs) for name in (BASE, model))
    rewards = {sequence: value - base[sequence] for sequence, value in own.items()}
    return [rewards[pair.chosen] - rewards[pair.rejected] for pair in pairs]


def _compute_sums(context: StageContext, model: str, pairs: Sequence[_Pair]) -> Mapping[TokenSequence, float]:
    batch_tokens = max(1, context.config.scoring.batch_tokens // context.task.shrink)
    sequences = [sequence for pair in pairs for sequence in (pair.chosen, pair.rejected)]
    sums: dict[TokenSequence, float] = {}
    for bucket, values in context.iterate_sum_logprobs(model, plan_buckets(sequences, batch_tokens=batch_tokens)):
        sums.update(zip(bucket, values, strict=True))
        context.write([])  # a stage that was stopped ends here
    return sums


def _build_row(name: str, pair: _Pair, margin: float) -> EvaluationRow:
    is_right = margin > 0
    preferred = pair.chosen if is_right else pair.rejected
    has_preference = margin != 0 and math.isfinite(margin)
    return EvaluationRow(
        task=PREFERENCE + name,
        item_id=pair.item.item_id,
        prompt=pair.item.text,
        response=(pair.item.chosen if is_right else pair.item.rejected) if has_preference else "",
        extracted=("chosen" if is_right else "rejected") if has_preference else None,
        gold="chosen",
        correct=is_right,
        n_tokens=len(preferred.response),
        finish_reason="end",
    )


def _build_metrics(name: str, pairs: Sequence[_Pair], margins: Sequence[float], n_skipped: int) -> list[MetricRow]:
    """Return the accuracy of the set and of each subset, over pairs."""
    groups: dict[str, list[float]] = {name: list(margins)}
    for pair, margin in zip(pairs, margins, strict=True):
        if pair.item.subset is not None:
            groups.setdefault(f"{name}/{pair.item.subset}", []).append(margin)
    values = {f"n_skipped_pairs/{name}": float(n_skipped), f"n_ties/{name}": float(margins.count(0.0))}
    for group, own in groups.items():
        n_correct = sum(margin > 0 for margin in own)
        values[f"n_preference_pairs/{group}"] = float(len(own))
        values[f"n_preference_correct/{group}"] = float(n_correct)
        values[f"preference_accuracy/{group}"] = n_correct / len(own)
    return [MetricRow(metric, 0, value) for metric, value in values.items()]
