"""Stage agree: how far two rankings of the same responses agree, prompt by prompt.

Whatever the method, the current reward is compared with the previous model's and with the anchor; the method's own
agreement, if it is another one, comes on top. Part "matrix" compares it with those of all earlier models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from db.queries import read_scores
from db.rows import AgreementRow, MetricRow, ResponseRow
from engine.config.method import AgreementConfig
from engine.method.agreement import compute_agreement
from engine.plan import MATRIX, name_scorers
from engine.stages.context import StageContext
from engine.stages.measures import ANCHOR, measure_previous_taus


def run_agree(context: StageContext) -> None:
    """Write one row per prompt and comparison, and their means."""
    if context.spec.part == MATRIX:
        _compare_with_earlier(context)
        return
    rows = _compare_all(context, _list_comparisons(context))
    metrics = _build_metrics(rows, name_scorers(context.config, context.spec.iteration))
    context.write([*rows, *metrics], n_done=len(rows), n_total=len(rows), unit="rankings")


def _compare_with_earlier(context: StageContext) -> None:
    """Write the mean tau of the current model with each earlier one; rows only where part "" has none."""
    t = context.spec.iteration
    rows = _compare_all(context, [("kendall", f"implicit:M{t}", f"implicit:M{k}", "distinct") for k in range(1, t)])
    metrics = []
    for k in range(1, t):
        taus = [row.value for row in rows if row.against == f"implicit:M{k}" and row.value is not None]
        if taus:
            metrics.append(MetricRow(f"tau_M{k}", 0, math.fsum(taus) / len(taus)))
    own = [row for row in rows if row.against != f"implicit:M{t - 1}"]
    context.write([*own, *metrics], n_done=len(rows), n_total=len(rows), unit="rankings")


def _compare_all(context: StageContext, comparisons: Sequence[tuple[str, str, str, str]]) -> list[AgreementRow]:
    """Return a row per prompt and comparison, over the policy's responses."""
    groups = context.read_policy_samples().groups
    scores: dict[tuple[str, str, int], float | None] = {
        (row.scorer, row.prompt_id, row.k): row.score for row in read_scores(context.reader, context.list_score_ids())
    }
    return [
        _compare(prompt_id, group, scores, measure=measure, ties=ties, first=first, second=second)
        for measure, first, second, ties in comparisons
        for prompt_id, group in groups.items()
    ]


def name_measure(agreement: AgreementConfig) -> str:
    """Return how a measure is stored: with its rule for ties unless that is the default."""
    return agreement.measure if agreement.ties == "distinct" else f"{agreement.measure}:{agreement.ties}"


def _list_comparisons(context: StageContext) -> list[tuple[str, str, str, str]]:
    """Return (measure, scorer, against, ties), each once; what the first iteration skips is left out."""
    names = name_scorers(context.config, context.spec.iteration)
    current = names["implicit:current"]
    wanted: list[tuple[str, str | None, str | None, str]] = [
        ("kendall", current, names["implicit:previous"], "distinct"),
        ("kendall", current, ANCHOR, "distinct"),
    ]
    own = context.config.method.agreement
    if own is not None:
        wanted.append((own.measure, names[own.scorer], names[own.against], own.ties))
    found = [
        (measure, first, second, ties)
        for measure, first, second, ties in wanted
        if first is not None and second is not None
    ]
    return list(dict.fromkeys(found))


def _compare(
    prompt_id: str,
    group: Sequence[ResponseRow],
    scores: Mapping[tuple[str, str, int], float | None],
    *,
    measure: str,
    ties: str,
    first: str,
    second: str,
) -> AgreementRow:
    agreement = compute_agreement(
        [scores[first, prompt_id, response.k] for response in group],
        [scores[second, prompt_id, response.k] for response in group],
        [response.token_ids for response in group],
        measure=measure,
        ties=ties,
    )
    return AgreementRow(
        prompt_id=prompt_id,
        measure=measure if ties == "distinct" else f"{measure}:{ties}",
        scorer=first,
        against=second,
        value=agreement.value,
        consistency_rate=agreement.consistency_rate,
        n=agreement.n,
        n_distinct=agreement.n_distinct,
        undefined_reason=agreement.undefined_reason,
    )


def _build_metrics(rows: Sequence[AgreementRow], names: Mapping[str, str | None]) -> list[MetricRow]:
    metrics: dict[str, float] = {}
    shares: list[MetricRow] = []
    for label, values in list_standing(rows, names).items():
        taus = [value for value in values.values() if value is not None]
        if not taus:
            continue
        mean = math.fsum(taus) / len(taus)
        metrics[f"tau_{label}"] = mean
        if len(taus) > 1:
            variance = math.fsum((tau - mean) ** 2 for tau in taus) / (len(taus) - 1)
            metrics[f"tau_{label}_se"] = math.sqrt(variance / len(taus))
        if label == "previous":
            metrics["consistency_rate"] = (mean + 1) / 2
            metrics["n_defined"] = float(len(taus))
            metrics["n_undefined"] = float(len(values) - len(taus))
            shares = measure_previous_taus(taus)
    return [*(MetricRow(name, 0, value) for name, value in metrics.items()), *shares]


def list_standing(rows: Sequence[AgreementRow], names: Mapping[str, str | None]) -> dict[str, dict[str, float | None]]:
    """Return the taus that every method has, with the previous model and with the anchor, by prompt."""
    standing = {"previous": names["implicit:previous"], "anchor": ANCHOR}
    keys = {label: ("kendall", names["implicit:current"], against) for label, against in standing.items()}
    return {
        label: {row.prompt_id: row.value for row in rows if (row.measure, row.scorer, row.against) == key}
        for label, key in keys.items()
    }
