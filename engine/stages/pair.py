"""Stage pair: scores -> the reward that ranks (``aggregate``) -> chosen and rejected -> confidence C of each pair."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from db.queries import read_agreements, read_scores
from db.rows import AgreementRow, MetricRow, PairRow, ResponseRow, ScoreRow
from engine.errors import TrainingError
from engine.method.aggregation import compute_rewards
from engine.method.confidence import UNDEFINED_AGREEMENT, Confidence, UndefinedConfidence, compute_confidences
from engine.method.correction import Correction, correct_pair
from engine.method.pairing import select_pair
from engine.method.statistics import compute_label_accuracy
from engine.plan import list_scorers, name_scorers
from engine.records import PairVerdict
from engine.stages.agree import name_measure
from engine.stages.context import Samples, StageContext

AGGREGATE = "aggregate"
MISSING_SCORE = "a scorer has no score"
PERSON_SAID = "a person said: "


def run_pair(context: StageContext) -> None:
    """Write the aggregate rewards and one row per prompt: a pair, or why there is none."""
    samples = context.read_samples()
    rewards = _aggregate(context, samples)
    rates = _read_rates(context)
    confidence = _compute_confidence(context, list(samples.groups), rates)
    pairs = [
        _build_pair(prompt_id, samples.groups[prompt_id], rewards[prompt_id], rates.get(prompt_id), confidence)
        for prompt_id in samples.groups
    ]
    pairs, corrections = _apply_verdicts(pairs, context.spec.verdicts, samples)
    if all(pair.skip_reason for pair in pairs):
        raise _explain_no_pairs(context, pairs)
    scores = [
        ScoreRow(
            prompt_id, k, AGGREGATE, None, None, None, None, None, reward, None if reward is not None else MISSING_SCORE
        )
        for prompt_id, group in rewards.items()
        for k, reward in enumerate(group)
    ]
    context.write(
        [*scores, *pairs, *_build_metrics(pairs, samples), *corrections],
        n_done=len(pairs),
        n_total=len(pairs),
        unit="prompts",
    )


def _aggregate(context: StageContext, samples: Samples) -> dict[str, list[float | None]]:
    method = context.config.method
    wanted = list_scorers(context.config, context.spec.iteration, method.aggregate.scorers)
    rows = read_scores(context.reader, context.list_score_ids())
    scores = {(row.scorer, row.prompt_id, row.k): row.score for row in rows}
    return {
        prompt_id: compute_rewards(
            {name: [scores[name, prompt_id, response.k] for response in group] for name in wanted},
            kind=method.aggregate.kind,
        )
        for prompt_id, group in samples.groups.items()
    }


def _read_rates(context: StageContext) -> dict[str, AgreementRow]:
    """Return the agreement that C is made of, by prompt; the one with the previous model where the method has none."""
    names = name_scorers(context.config, context.spec.iteration)
    own = context.config.method.agreement
    measure = "kendall" if own is None else name_measure(own)
    scorer = names["implicit:current" if own is None else own.scorer]
    against = names["implicit:previous" if own is None else own.against]
    rows = read_agreements(context.reader, [context.get_input_id("agree")])
    return {r.prompt_id: r for r in rows if (r.measure, r.scorer, r.against) == (measure, scorer, against)}


def _compute_confidence(
    context: StageContext, prompt_ids: Sequence[str], rates: Mapping[str, AgreementRow]
) -> Confidence | None:
    """Return the confidences, or None where the first iteration skips the agreement: C = 1."""
    settings = context.config.method.confidence
    if not rates and context.spec.iteration == 1 and settings.kind in ("mean", "per_prompt"):
        return None
    try:
        return compute_confidences(
            {p: rates[p].consistency_rate if p in rates else None for p in prompt_ids},
            kind=settings.kind,
            value=settings.value,
            shrinkage=settings.shrinkage,
            c_map=settings.c_map,
        )
    except UndefinedConfidence as error:
        raise TrainingError(
            f"iteration {context.spec.iteration}: {error}" + _list_missing(context),
            hint="the responses of each prompt are all equal (raise sampling.temperature or n), or training left the "
            "model as it was (metric changed_share: raise the learning rate, or use model.dtype: float32)",
        ) from error


def _build_pair(
    prompt_id: str,
    group: Sequence[ResponseRow],
    rewards: Sequence[float | None],
    agreement: AgreementRow | None,
    confidence: Confidence | None,
) -> PairRow:
    rate = None if agreement is None else agreement.consistency_rate
    choice = select_pair(rewards, [response.token_ids for response in group])
    own = 1.0 if confidence is None else confidence.by_prompt.get(prompt_id)
    reason = choice.skip_reason or (UNDEFINED_AGREEMENT if own is None else None)
    if reason is not None or choice.chosen_k is None or choice.rejected_k is None:
        return PairRow(prompt_id, None, None, None, None, None, rate, None, reason)
    return PairRow(
        prompt_id=prompt_id,
        chosen_k=choice.chosen_k,
        rejected_k=choice.rejected_k,
        chosen_reward=rewards[choice.chosen_k],
        rejected_reward=rewards[choice.rejected_k],
        margin=choice.margin,
        consistency_rate=rate,
        confidence=own,
        skip_reason=None,
    )


def _apply_verdicts(
    pairs: Sequence[PairRow], verdicts: Sequence[PairVerdict], samples: Samples
) -> tuple[list[PairRow], list[MetricRow]]:
    """Return the pairs as a person wants them, and how many verdicts did what; no metrics without verdicts."""
    judged = {verdict.prompt_id: verdict for verdict in verdicts}
    counts: Counter[Correction] = Counter()
    corrected = []
    for pair in pairs:
        verdict = judged.pop(pair.prompt_id, None)
        if verdict is not None:
            correction = _find_correction(pair, verdict, samples.groups[pair.prompt_id])
            counts[correction] += 1
            pair = _correct(pair, correction, verdict.verdict)
        corrected.append(pair)
    values = {
        "n_verdict_swapped": counts[Correction.REVERSED],
        "n_verdict_dropped": counts[Correction.DROPPED],
        "n_verdict_unused": counts[Correction.UNUSED] + len(judged),
    }
    return corrected, [MetricRow(name, 0, float(value)) for name, value in values.items()] if verdicts else []


def _find_correction(pair: PairRow, verdict: PairVerdict, group: Sequence[ResponseRow]) -> Correction:
    items = {response.k: response.token_ids for response in group}
    now = None if pair.chosen_k is None or pair.rejected_k is None else (items[pair.chosen_k], items[pair.rejected_k])
    return correct_pair(now, (items[verdict.chosen_k], items[verdict.rejected_k]), verdict.verdict)


def _correct(pair: PairRow, correction: Correction, verdict: str) -> PairRow:
    if correction is Correction.DROPPED:
        reason = f"{PERSON_SAID}{verdict.replace('_', ' ')}"
        return PairRow(pair.prompt_id, None, None, None, None, None, pair.consistency_rate, None, reason)
    if correction is not Correction.REVERSED:
        return pair
    return replace(
        pair,
        chosen_k=pair.rejected_k,
        rejected_k=pair.chosen_k,
        chosen_reward=pair.rejected_reward,
        rejected_reward=pair.chosen_reward,
        margin=None if pair.margin is None else -pair.margin,
    )


def _explain_no_pairs(context: StageContext, pairs: Sequence[PairRow]) -> TrainingError:
    reasons = [pair.skip_reason or "" for pair in pairs]
    counts = ", ".join(f"{reason}: {reasons.count(reason)}" for reason in sorted(set(reasons)))
    missing = _list_missing(context)
    return TrainingError(
        f"iteration {context.spec.iteration} has no pair to train on ({counts} of {len(pairs)} prompts){missing}",
        hint="other scorers, or settings of theirs, may help"
        if missing
        else "more diverse responses (sampling.temperature, sampling.n) or other scorers may help",
    )


def _list_missing(context: StageContext) -> str:
    """Return a line for each scorer of the method that left responses without a score: how many, and why."""
    wanted = list_scorers(context.config, context.spec.iteration, context.config.method.scorers)
    rows = [row for row in read_scores(context.reader, context.list_score_ids()) if row.scorer in wanted]
    n_total = Counter(row.scorer for row in rows)
    missing = Counter((row.scorer, row.missing_reason) for row in rows if row.missing_reason is not None)
    return "".join(
        f"\n{scorer}: {reason}, {n} of {n_total[scorer]} responses" for (scorer, reason), n in sorted(missing.items())
    )


def _build_metrics(pairs: Sequence[PairRow], samples: Samples) -> list[MetricRow]:
    chosen, rejected, margins, confidences = [], [], [], []
    for pair in pairs:
        if pair.chosen_k is None or pair.rejected_k is None or pair.margin is None or pair.confidence is None:
            continue
        by_k = {response.k: response for response in samples.groups[pair.prompt_id]}
        chosen.append(by_k[pair.chosen_k])
        rejected.append(by_k[pair.rejected_k])
        margins.append(pair.margin)
        confidences.append(pair.confidence)
    values = {
        "n_pairs": float(len(chosen)),
        "n_skipped": float(len(pairs) - len(chosen)),
        "confidence": statistics.fmean(confidences),
        "chosen_n_tokens": statistics.fmean(response.n_tokens for response in chosen),
        "rejected_n_tokens": statistics.fmean(response.n_tokens for response in rejected),
        "median_margin": statistics.median(margins),
    }
    labels = compute_label_accuracy([r.correct for r in chosen], [r.correct for r in rejected])
    if labels.n_unknown < len(chosen):
        values["n_right"] = float(labels.n_right)
        values["n_inverted"] = float(labels.n_inverted)
        values["n_both_right"] = float(labels.n_both_right)
        values["n_both_wrong"] = float(labels.n_both_wrong)
        if labels.accuracy is not None:
            values["label_accuracy"] = labels.accuracy
    return [MetricRow(name, 0, value) for name, value in values.items()]
