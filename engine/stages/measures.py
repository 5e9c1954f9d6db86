"""Rows of a stage -> the metrics that tell how it went, beside those that the method itself is about.

Knows rows. Must not know what a value means or when it is worth a warning. One function per stage; a measure of which
the rows say nothing has no metric.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from db.rows import EvaluationRow, MetricRow, PairRow, ResponseRow, ScoreRow
from engine.method.diagnostics import (
    compute_distinct_bigrams,
    compute_distinct_share,
    compute_repeat_rate,
    compute_top_gap,
    compute_top_share,
    compute_within_auc,
    compute_within_correlation,
    compute_within_sd,
)
from engine.method.statistics import compute_auc
from engine.plan import BASE

ANCHOR = f"mean_loglik:{BASE}"
Scores = Mapping[tuple[str, int], float]


def measure_samples(responses: Sequence[ResponseRow]) -> list[MetricRow]:
    """Variety of the responses, and how often no answer can be read where one is known."""
    groups: dict[str, list[ResponseRow]] = {}
    for response in responses:
        groups.setdefault(response.prompt_id, []).append(response)
    answers = [[r.extracted for r in group if r.extracted is not None] for group in groups.values()]
    judged = [response for response in responses if response.correct is not None]
    n_tokens = sum(response.n_tokens for response in responses)
    return _build_rows(
        {
            "duplicate_prompt_rate": compute_repeat_rate([[r.token_ids for r in g] for g in groups.values()]),
            "distinct_2": compute_distinct_bigrams([[r.token_ids for r in g] for g in groups.values()]),
            "distinct_answers_share": compute_distinct_share(answers),
            "majority_answer_share": compute_top_share(answers),
            "extraction_failure_rate": _compute_share(response.extracted is None for response in judged),
            "mean_token_logprob": sum(r.sampled_logprob for r in responses) / n_tokens if n_tokens else None,
        }
    )


def measure_scores(
    groups: Mapping[str, Sequence[ResponseRow]], rows: Iterable[ScoreRow], *, policy: str, previous: str
) -> list[MetricRow]:
    """How far the policy has moved from M0 and from the previous model, and what its implicit reward follows.

    KL estimates are means over the sampled responses, hence of the sampling distribution, not of temperature 1.
    Rankings are taken over distinct responses.
    """
    sums: dict[str, dict[tuple[str, int], float]] = {}
    for row in rows:
        if row.sum_logprob is not None and (row.scorer == ANCHOR or row.scorer.startswith("implicit:")):
            sums.setdefault(row.model or BASE, {})[row.prompt_id, row.k] = row.sum_logprob
    current, base = sums.get(policy, {}), sums.get(BASE, {})
    rewards = _subtract(current, base)
    distinct = [_drop_repeats(group) for group in groups.values()]
    lengths = {(r.prompt_id, r.k): r.n_tokens for group in groups.values() for r in group}
    anchors = {key: value / lengths[key] for key, value in base.items()}
    ranked = [_pick(group, rewards) for group in distinct]
    return _build_rows(
        {
            **_measure_kl("kl_base", rewards, lengths),
            **_measure_kl("kl_previous", _subtract(current, sums.get(previous, {})), lengths),
            "mean_loglik_base": statistics.fmean(anchors.values()) if anchors else None,
            "reward_sd": compute_within_sd([[score for _, score in group] for group in ranked]),
            "reward_length_correlation": compute_within_correlation(
                [[(score, response.n_tokens) for response, score in group] for group in ranked]
            ),
            "tie_rate": compute_repeat_rate([[score for _, score in group] for group in ranked if len(group) > 1]),
            "reward_auc": _compute_auc(ranked),
            "anchor_auc": _compute_auc([_pick(group, anchors) for group in distinct]),
        }
    )


def measure_previous_taus(taus: Sequence[float]) -> list[MetricRow]:
    """Shares of the prompts that the previous model ranks just alike, and rather the other way round."""
    return _build_rows(
        {
            "tau_saturated_share": _compute_share(tau == 1 for tau in taus),
            "low_consistency_share": _compute_share(tau < 0 for tau in taus),
        }
    )


def measure_pairs(
    pairs: Sequence[PairRow],
    groups: Mapping[str, Sequence[ResponseRow]],
    rewards: Mapping[str, Sequence[float | None]],
    *,
    scores: Iterable[ScoreRow],
    taus: Mapping[str, Mapping[str, float | None]],
    n_own: int | None = None,
) -> list[MetricRow]:
    """What the pairs teach beside their labels, and whether agreement tells right labels from inverted ones.

    Args:
        rewards: By prompt, the rewards of its group in k order.
        scores: Those of the anchor are used.
        taus: By label (previous, anchor) and prompt; None where undefined.
        n_own: Responses of the policy, the first of each group; others are there only to be rejected. None: all.
    """
    likelihoods = {(r.prompt_id, r.k): r.score for r in scores if r.scorer == ANCHOR and r.score is not None}
    own = {prompt_id: group[:n_own] for prompt_id, group in groups.items()}
    sides = [
        (pair, _find(groups, pair.prompt_id, pair.chosen_k), _find(groups, pair.prompt_id, pair.rejected_k))
        for pair in pairs
        if pair.skip_reason is None
    ]
    found = [
        (pair, chosen, rejected) for pair, chosen, rejected in sides if chosen is not None and rejected is not None
    ]
    gaps = [
        gap
        for pair, _, _ in found
        if (gap := compute_top_gap(_list_distinct_rewards(own[pair.prompt_id], rewards[pair.prompt_id][:n_own])))
        is not None
    ]
    n_rejected = sum(rejected.n_tokens for _, _, rejected in found)
    anchored = [
        (likelihoods[chosen.prompt_id, chosen.k], likelihoods[rejected.prompt_id, rejected.k])
        for _, chosen, rejected in found
        if {(chosen.prompt_id, chosen.k), (rejected.prompt_id, rejected.k)} <= likelihoods.keys()
    ]
    voted = [_count_votes(own[pair.prompt_id], chosen, rejected) for pair, chosen, rejected in found]
    labels = {
        pair.prompt_id: bool(chosen.correct)
        for pair, chosen, rejected in found
        if chosen.correct is not None and rejected.correct is not None and chosen.correct != rejected.correct
    }
    return _build_rows(
        {
            "median_margin_top2": statistics.median(gaps) if gaps else None,
            "low_confidence_share": _compute_share(p.confidence < 0.5 for p, *_ in found if p.confidence is not None),
            "length_gap": sum(chosen.n_tokens for _, chosen, _ in found) / n_rejected - 1 if n_rejected else None,
            "anchor_agreement_share": _compute_share(chosen > rejected for chosen, rejected in anchored),
            "vote_agreement_share": _compute_share(votes[0] > votes[1] for votes in voted if votes[0] != votes[1]),
            **{f"label_auc_{name}": _compute_label_auc(values, labels) for name, values in taus.items()},
        }
    )


def measure_evaluations(rows: Sequence[EvaluationRow]) -> list[MetricRow]:
    """How often no answer was read, and how often the limit cut one off."""
    return _build_rows(
        {
            "extraction_failure_rate": _compute_share(row.extracted is None for row in rows),
            "truncated_rate": _compute_share(row.finish_reason == "length" for row in rows),
        }
    )


def _measure_kl(name: str, differences: Scores, lengths: Mapping[tuple[str, int], int]) -> dict[str, float | None]:
    """Return the mean difference of two sums per response, and that per token."""
    if not differences:
        return {}
    total = sum(differences.values())
    return {name: total / len(differences), f"{name}_token": total / sum(lengths[key] for key in differences)}


def _subtract(first: Scores, second: Scores) -> dict[tuple[str, int], float]:
    return {key: value - second[key] for key, value in first.items() if key in second}


def _drop_repeats(group: Sequence[ResponseRow]) -> list[ResponseRow]:
    by_item: dict[tuple[int, ...], ResponseRow] = {}
    for response in group:
        by_item.setdefault(response.token_ids, response)
    return list(by_item.values())


def _pick(group: Sequence[ResponseRow], scores: Scores) -> list[tuple[ResponseRow, float]]:
    return [(r, scores[r.prompt_id, r.k]) for r in group if (r.prompt_id, r.k) in scores]


def _compute_auc(groups: Sequence[Sequence[tuple[ResponseRow, float]]]) -> float | None:
    return compute_within_auc(
        [[(score, response.correct) for response, score in group if response.correct is not None] for group in groups]
    )


def _find(groups: Mapping[str, Sequence[ResponseRow]], prompt_id: str, k: int | None) -> ResponseRow | None:
    return next((response for response in groups[prompt_id] if response.k == k), None)


def _list_distinct_rewards(group: Sequence[ResponseRow], rewards: Sequence[float | None]) -> list[float]:
    by_item = {r.token_ids: reward for r, reward in zip(group, rewards, strict=True) if reward is not None}
    return list(by_item.values())


def _count_votes(group: Sequence[ResponseRow], chosen: ResponseRow, rejected: ResponseRow) -> tuple[int, int]:
    """Return how many responses have the answer of chosen, and of rejected; no answer is nobody's vote."""
    votes = Counter(response.extracted for response in group if response.extracted is not None)
    chosen_votes, rejected_votes = (
        0 if side.extracted is None else votes[side.extracted] for side in (chosen, rejected)
    )
    return chosen_votes, rejected_votes


def _compute_label_auc(taus: Mapping[str, float | None], labels: Mapping[str, bool]) -> float | None:
    known = [(tau, is_right) for prompt_id, is_right in labels.items() if (tau := taus.get(prompt_id)) is not None]
    return compute_auc([tau for tau, _ in known], [is_right for _, is_right in known])


def _compute_share(flags: Iterable[bool]) -> float | None:
    found = list(flags)
    return sum(found) / len(found) if found else None


def _build_rows(values: Mapping[str, float | None]) -> list[MetricRow]:
    return [MetricRow(name, 0, float(value)) for name, value in values.items() if value is not None]
