"""What a person should look at in a run: rules on its numbers, one line each with the place where it shows.

Pure: results in, alerts out; no store, no Textual. A rule fires only on what the data can tell from chance or what a
person can see at once; each line says the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from cream_tui.narrative import tell_judge, tell_small_changes
from cream_tui.readers.snapshots import RunSnapshot
from cream_tui.results import ModelResult
from cream_tui.targets import PairsTarget, RunTarget, Target
from cream_tui.units import format_number, format_signed
from cream_tui.views.panels import NORMAL_95
from db.run_series import TauCount

LEAST_CONSISTENCY_DROP = 0.1
LEAST_LENGTH_DRIFT = 0.5
# Below this, numerics alone reorder responses often enough to be seen in the other taus.
LEAST_REPEAT_TAU = 0.95


@dataclass(frozen=True, slots=True)
class RunAlert:
    """``severity`` is warning or error; ``target`` is where it shows."""

    text: str
    severity: str
    target: Target


def find_alerts(snapshot: RunSnapshot, anchors: Mapping[int, Sequence[TauCount]]) -> list[RunAlert]:
    """The run's alerts, errors first, then by model.

    Args:
        anchors: By iteration, the taus to the anchor.
    """
    run_id, results = snapshot.run.run_id, snapshot.results
    alerts: list[RunAlert] = []
    if snapshot.run.state == "failed":
        message = (snapshot.run.error or "the run failed").strip().split("\n")[0]
        alerts.append(RunAlert(f"failed: {message}", "error", RunTarget(run_id)))
    if snapshot.stale:
        alerts.append(
            RunAlert("its process is gone; R goes on from the last committed row", "error", RunTarget(run_id))
        )
    alerts += [RunAlert(text, "warning", RunTarget(run_id)) for text in tell_small_changes(results)]
    alerts += [RunAlert(text, "warning", RunTarget(run_id)) for text in tell_judge(results)]
    alerts += _find_lost_anchors(run_id, results, anchors)
    alerts += _find_noise(run_id, results)
    alerts += _find_consistency_drops(run_id, results)
    alerts += _find_length_drifts(run_id, results)
    return alerts


def compute_null_error(counts: Sequence[TauCount]) -> float | None:
    """Standard error of the mean tau if all rankings were independent: each prompt by its number of responses.

    Source: Kendall 1938: the variance of tau between two rankings of n items is 2 (2n + 5) / (9 n (n - 1)).
    """
    n = sum(count.n_prompts for count in counts)
    if n == 0:
        return None
    variance = sum(
        count.n_prompts * 2 * (2 * count.n_distinct + 5) / (9 * count.n_distinct * (count.n_distinct - 1))
        for count in counts
        if count.n_distinct > 1
    )
    return math.sqrt(variance) / n


def _find_lost_anchors(
    run_id: str, results: Sequence[ModelResult], anchors: Mapping[int, Sequence[TauCount]]
) -> list[RunAlert]:
    found = []
    for model in results:
        tau = model.get("tau_anchor")
        error = compute_null_error(anchors.get(model.index, ()))
        if tau is None or error is None or tau > NORMAL_95 * error:
            continue
        bound = format_number(NORMAL_95 * error)
        text = f"{model.name}: tau to the anchor is {format_signed(tau)}, which chance gives too (0 ± {bound})"
        found.append(RunAlert(text, "warning", PairsTarget(run_id, model.index, filter_text="anchor<=0")))
    return found


def _find_noise(run_id: str, results: Sequence[ModelResult]) -> list[RunAlert]:
    ways = {"noise_floor_tau": "with other batches", "noise_floor_tau_float32": "in float32"}
    return [
        RunAlert(
            f"{model.name}: scored again {way}, it agrees with itself to tau {format_signed(tau)} only",
            "warning",
            RunTarget(run_id),
        )
        for model in results
        for name, way in ways.items()
        if (tau := model.get(name)) is not None and tau < LEAST_REPEAT_TAU
    ]


def _find_consistency_drops(run_id: str, results: Sequence[ModelResult]) -> list[RunAlert]:
    # At M1 a stand-in ranks for the previous model: what it agrees with is no measure for later ones.
    known = [
        (model, rate) for model in results if model.index >= 2 and (rate := model.get("consistency_rate")) is not None
    ]
    found = []
    for (_, before), (model, after) in pairwise(known):
        if before - after > LEAST_CONSISTENCY_DROP:
            text = f"{model.name}: consistency fell from {format_number(before)} to {format_number(after)}"
            found.append(RunAlert(text, "warning", PairsTarget(run_id, model.index, filter_text="tau<=0")))
    return found


def _find_length_drifts(run_id: str, results: Sequence[ModelResult]) -> list[RunAlert]:
    known = [
        (model, length) for model in results if (length := model.get("chosen_n_tokens")) is not None and length > 0
    ]
    if len(known) < 2:
        return []
    (first, start), found = known[0], []
    for model, length in known[1:]:
        share = length / start - 1
        if abs(share) > LEAST_LENGTH_DRIFT:
            verb = "grew" if share > 0 else "shrank"
            text = (
                f"{model.name}: chosen responses {verb} from {start:.1f} ({first.name}) to {length:.1f} tokens "
                f"({format_signed(100 * share, 0)} %)"
            )
            found.append(RunAlert(text, "warning", PairsTarget(run_id, model.index, filter_text="length_ratio>1")))
    return found


def summarise_alerts(alerts: Sequence[RunAlert]) -> str:
    """One line: the first alert and how many more there are; empty without any."""
    if not alerts:
        return ""
    more = f"  (+{len(alerts) - 1}: !)" if len(alerts) > 1 else "  (! opens it)"
    return f"! {alerts[0].text}{more}"
