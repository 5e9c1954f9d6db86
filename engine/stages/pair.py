"""Stage pair: scores -> the reward that ranks (``aggregate``) -> chosen and rejected -> confidence C of each pair."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from db.queries import read_agreements, read_scores
from db.rows import AgreementRow, MetricRow, PairRow, ResponseRow, ScoreRow
from engine.config.scorers import VOTES
from engine.errors import TrainingError
from engine.keys import derive_seed
from engine.method.aggregation import compute_rewards, penalise_length
from engine.method.confidence import (
    LOW_AGREEMENT,
    UNDEFINED_AGREEMENT,
    Confidence,
    UndefinedConfidence,
    compute_confidences,
    permute_confidences,
)
from engine.method.correction import Correction, correct_pair
from engine.method.pairing import SMALL_MARGIN, PairChoice, select_pair
from engine.method.statistics import compute_label_accuracy
from engine.method.voting import EQUAL_VOTES, MISSING_VOTES, compute_vote_confidence
from engine.plan import list_scorers, name_scorers
from engine.records import PairVerdict
from engine.stages.agree import list_standing, name_measure
from engine.stages.context import Samples, StageContext
from engine.stages.measures import measure_pairs

AGGREGATE = "aggregate"
MISSING_SCORE = "a scorer has no score"
PERSON_SAID = "a person said: "
_THRESHOLDS = {LOW_AGREEMENT: "method.pairs.min_consistency", SMALL_MARGIN: "method.pairs.min_margin"}


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What the pairs of an iteration are made from.

    Attributes:
        rewards: by prompt, one per response.
        rates: the agreement that C is made of, by prompt; empty where the first iteration skips it.
        confidence: C by prompt; None where every pair has 1, or one of its own.
        votes: by prompt and k; empty unless C is made of them.
    """

    rewards: Mapping[str, Sequence[float | None]]
    rates: Mapping[str, AgreementRow]
    confidence: Confidence | None
    votes: Mapping[tuple[str, int], float | None]


def run_pair(context: StageContext) -> None:
    """Write the aggregate rewards and one row per prompt: a pair, or why there is none."""
    samples = context.read_samples()
    rewards = _aggregate(context, samples)
    rates = _read_rates(context)
    evidence = _Evidence(
        rewards, rates, _compute_confidence(context, list(samples.groups), rates), _read_votes(context)
    )
    pairs = [_build_pair(context, evidence, prompt_id, group) for prompt_id, group in samples.groups.items()]
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
        [*scores, *pairs, *_build_metrics(pairs, samples), *_measure(context, pairs, rewards, samples), *corrections],
        n_done=len(pairs),
        n_total=len(pairs),
        unit="prompts",
    )


def _aggregate(context: StageContext, samples: Samples) -> dict[str, list[float | None]]:
    method = context.config.method
    wanted = list_scorers(context.config, context.spec.iteration, method.aggregate.scorers)
    rows = read_scores(context.reader, context.list_score_ids())
    scores = {(row.scorer, row.prompt_id, row.k): row.score for row in rows}
    found = {}
    for prompt_id, group in samples.groups.items():
        columns = {name: [scores[name, prompt_id, response.k] for response in group] for name in wanted}
        rewards = compute_rewards(columns, kind=method.aggregate.kind, k=method.aggregate.k)
        n_tokens = [response.n_tokens for response in group]
        found[prompt_id] = penalise_length(rewards, n_tokens, penalty=method.aggregate.length_penalty)
    return found


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
    """Return the confidences, or None where votes give them, or the first iteration skips the agreement: C = 1."""
    settings = context.config.method.confidence
    if settings.kind == VOTES:
        return None
    if not rates and context.spec.iteration == 1 and settings.kind in ("mean", "per_prompt"):
        return None
    try:
        confidence = compute_confidences(
            {p: rates[p].consistency_rate if p in rates else None for p in prompt_ids},
            kind=settings.kind,
            value=settings.value,
            shrinkage=settings.shrinkage,
            c_map=settings.c_map,
        )
        return permute_confidences(confidence, seed=context.spec.seed) if settings.permuted else confidence
    except UndefinedConfidence as error:
        raise TrainingError(
            f"iteration {context.spec.iteration}: {error}" + _list_missing(context),
            hint="the responses of each prompt are all equal (raise sampling.temperature or n), or training left the "
            "model as it was (metric changed_share: raise the learning rate, or use model.dtype: float32)",
        ) from error


def _read_votes(context: StageContext) -> dict[tuple[str, int], float | None]:
    """Return the votes of each response, where C is made of them."""
    if context.config.method.confidence.kind != VOTES:
        return {}
    rows = read_scores(context.reader, [context.get_input_id(VOTES)])
    return {(row.prompt_id, row.k): row.score for row in rows}


def _build_pair(context: StageContext, evidence: _Evidence, prompt_id: str, group: Sequence[ResponseRow]) -> PairRow:
    rewards, agreement = evidence.rewards[prompt_id], evidence.rates.get(prompt_id)
    rate = None if agreement is None else agreement.consistency_rate
    rules = context.config.method.pairs
    choice = select_pair(
        rewards,
        [response.token_ids for response in group],
        n_own=context.config.sampling.n,
        rng=random.Random(derive_seed(context.spec.seed, prompt_id)) if rules.strategy == "max_random" else None,
        min_margin=rules.min_margin,
    )
    own, reason = _find_confidence(context, evidence, prompt_id, choice)
    if own is None or choice.chosen_k is None or choice.rejected_k is None:
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


def _find_confidence(
    context: StageContext, evidence: _Evidence, prompt_id: str, choice: PairChoice
) -> tuple[float | None, str | None]:
    """Return C of a pair, or None and why there is no pair."""
    if choice.chosen_k is None or choice.rejected_k is None:
        return None, choice.skip_reason
    threshold = context.config.method.pairs.min_consistency
    if threshold and evidence.rates:  # none where the first iteration skips the agreement
        rate = evidence.rates[prompt_id].consistency_rate
        if rate is None or rate < threshold:
            return None, UNDEFINED_AGREEMENT if rate is None else LOW_AGREEMENT
    if context.config.method.confidence.kind == VOTES:
        chosen, rejected = (evidence.votes[prompt_id, k] for k in (choice.chosen_k, choice.rejected_k))
        if chosen is None or rejected is None:
            return None, MISSING_VOTES
        return (None, EQUAL_VOTES) if chosen == rejected else (compute_vote_confidence(chosen, rejected), None)
    own = 1.0 if evidence.confidence is None else evidence.confidence.by_prompt.get(prompt_id)
    return own, UNDEFINED_AGREEMENT if own is None else None


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
    hint = "more diverse responses (sampling.temperature, sampling.n) or other scorers may help"
    if missing:
        hint = "other scorers, or settings of theirs, may help"
    thresholds = [key for reason, key in _THRESHOLDS.items() if reason in reasons]
    if thresholds:
        hint = f"lower {' or '.join(thresholds)}"
    return TrainingError(
        f"iteration {context.spec.iteration} has no pair to train on ({counts} of {len(pairs)} prompts){missing}",
        hint=hint,
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


def _measure(
    context: StageContext, pairs: Sequence[PairRow], rewards: Mapping[str, Sequence[float | None]], samples: Samples
) -> list[MetricRow]:
    return measure_pairs(
        pairs,
        samples.groups,
        rewards,
        scores=read_scores(context.reader, [context.get_input_id("score")]),
        taus=list_standing(
            read_agreements(context.reader, [context.get_input_id("agree")]),
            name_scorers(context.config, context.spec.iteration),
        ),
        n_own=context.config.sampling.n,
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
