"""Measures of arms over their models, with intervals: what curves, bars and reliability lines are made of.

Pure: results and counts in, drawings out; no store. Over seeds an interval is Student's, of the mean of one value per
seed; a single seed has that of its own items, which says nothing of other seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from cream_tui.comparison.arms import Results, collect_models
from cream_tui.comparison.estimates import Estimate, estimate_accuracy, estimate_over_seeds
from cream_tui.report.drawings import BarGrid, Bars, Curve, CurvePoint, ReliabilityGrid, ReliabilityLine
from cream_tui.results import NORMAL_95, Interval, ModelResult
from cream_tui.views.compare import SeedArm
from cream_tui.views.taus import count_taus
from db.pair_links import ANCHOR
from db.report_reads import TauLabels
from db.run_series import TauCount
from engine.method.statistics import compute_auc, compute_wilson_interval

Read = Callable[[ModelResult], float | None]
OwnInterval = Callable[[ModelResult], Interval | None]
Estimator = Callable[[Mapping[int, ModelResult]], Estimate | None]
# By run, iteration and the scorer of the other ranking.
Counts = Mapping[tuple[str, int, str], Sequence[TauLabels]]
# Of C_x = (tau + 1) / 2; between the borders lie the values that it has for 2 to 5 distinct responses, 1 alone.
CONSISTENCY_BINS = (0.0, 0.15, 0.4, 0.62, 0.85, 0.95, 1.0)
# A share of fewer labels has an interval as wide as the axis.
LEAST_LABELS = 10


def build_curves(arms: Sequence[SeedArm], results: Results, estimate: Estimator) -> tuple[Curve, ...]:
    """One curve for each arm that has a value at any model, from M0 on."""
    curves = []
    for slot, arm in enumerate(arms):
        models = collect_models(arm, results)
        found = [(int(name[1:]), estimate(models.find(name))) for name in models.names]
        points = tuple(_build_point(x, value) for x, value in found if value is not None)
        if points:
            curves.append(Curve(arm.title, slot, points))
    return tuple(curves)


def estimate_mean_accuracy(models: Mapping[int, ModelResult]) -> Estimate | None:
    """The mean over tasks, as every comparison has it."""
    return estimate_accuracy(models, None)


def estimate_task(task: str) -> Estimator:
    """Estimates the accuracy on one task."""
    return lambda models: estimate_accuracy(models, task)


def estimate_over(read: Read, *, own: OwnInterval | None = None, bounds: Interval | None = None) -> Estimator:
    """Estimates what ``read`` finds in a model.

    Args:
        own: The interval of one seed by itself.
        bounds: Between which the measure lies; an interval over seeds ends there.
    """

    def estimate(models: Mapping[int, ModelResult]) -> Estimate | None:
        known = {seed: value for seed, model in models.items() if (value := read(model)) is not None}
        found = estimate_over_seeds(list(known.values()), bounds=bounds)
        if found is None or found.n_seeds > 1 or own is None:
            return found
        interval = own(models[next(iter(known))])
        return found if interval is None else replace(found, low=interval[0], high=interval[1], kind="items")

    return estimate


def read_label_interval(model: ModelResult) -> Interval | None:
    """Wilson's, of right among right and inverted labels."""
    n_right, n_inverted = model.get("n_right"), model.get("n_inverted")
    if n_right is None or n_inverted is None or n_right + n_inverted == 0:
        return None
    return compute_wilson_interval(int(n_right), int(n_right + n_inverted))


def read_error_interval(name: str) -> OwnInterval:
    """Reads the normal interval of a mean over prompts whose standard error is stored as ``NAME_se``."""

    def read(model: ModelResult) -> Interval | None:
        mean, error = model.get(name), model.get(f"{name}_se")
        return None if mean is None or error is None else (mean - NORMAL_95 * error, mean + NORMAL_95 * error)

    return read


def index_counts(rows: Iterable[TauLabels]) -> Counts:
    """The rows by run, iteration and other ranking."""
    found: dict[tuple[str, int, str], list[TauLabels]] = {}
    for row in rows:
        found.setdefault((row.run_id, row.iteration, row.against), []).append(row)
    return found


def list_iterations(counts: Counts) -> list[int]:
    """The iterations that have taus."""
    return sorted({iteration for _, iteration, _ in counts})


def select_counts(run_ids: Iterable[str], counts: Counts, iteration: int, *, is_anchor: bool) -> list[TauLabels]:
    """The taus of an iteration to the anchor, or to the previous model's reward, which begins at t = 2."""
    if not is_anchor and iteration < 2:
        return []
    against = ANCHOR if is_anchor else f"implicit:M{iteration - 1}"
    return [row for run_id in run_ids for row in counts.get((run_id, iteration, against), ())]


def build_tau_bars(counts: Sequence[TauLabels]) -> Bars | None:
    """The distribution of tau beside the exact null; None without prompts."""
    taus = count_taus([TauCount(c.tau, c.n_distinct, c.n_prompts) for c in counts])
    n = sum(taus.counts)
    if taus.mean is None:
        return None
    return Bars(taus.centres, tuple(count / n for count in taus.counts), taus.null, taus.mean, n)


def build_tau_grid(arms: Sequence[SeedArm], counts: Counts, *, is_anchor: bool) -> BarGrid | None:
    """Arms by iterations; None where no arm has taus."""
    iterations = [t for t in list_iterations(counts) if is_anchor or t > 1]
    rows = [
        tuple(build_tau_bars(select_counts(arm.run_ids, counts, t, is_anchor=is_anchor)) for t in iterations)
        for arm in arms
    ]
    shown = [k for k, row in enumerate(rows) if any(row)]
    if not shown:
        return None
    titles = tuple(arms[k].title for k in shown)
    columns = tuple(f"t = {t}" for t in iterations)
    return BarGrid(titles, columns, tuple(rows[k] for k in shown), "tau")


def build_reliability(arms: Sequence[SeedArm], counts: Counts, *, is_anchor: bool) -> ReliabilityGrid | None:
    """Share of right labels by bin of C_x, Wilson's intervals; None where no labels are known."""
    panels = []
    for arm in arms:
        lines = []
        for t in list_iterations(counts):
            points = _bin_labels(select_counts(arm.run_ids, counts, t, is_anchor=is_anchor))
            if points:
                lines.append(ReliabilityLine(f"t = {t}", points))
        if lines:
            panels.append((arm.title, tuple(lines)))
    name = "the anchor" if is_anchor else "the previous model"
    return ReliabilityGrid(tuple(panels), f"C_x to {name}", "labels right %") if panels else None


def compute_label_auc(counts: Iterable[TauLabels]) -> float | None:
    """Probability that a right label has a higher tau than an inverted one; None without one of each."""
    taus: list[float] = []
    labels: list[bool] = []
    for count in counts:
        taus += [count.tau] * (count.n_right + count.n_inverted)
        labels += [True] * count.n_right + [False] * count.n_inverted
    return compute_auc(taus, labels) if taus else None


def summarise_label_auc(arm: SeedArm, counts: Counts, iteration: int, *, is_anchor: bool) -> CurvePoint | None:
    """The AUC of tau for a label being right, over the seeds of an arm; None where no seed has it."""
    by_seed = {
        run.seed: auc
        for run in reversed(arm.runs)
        if (auc := compute_label_auc(select_counts([run.run_id], counts, iteration, is_anchor=is_anchor))) is not None
    }
    found = estimate_over_seeds(list(by_seed.values()), bounds=(0.0, 1.0))
    return None if found is None else _build_point(iteration, found)


def _build_point(x: float, found: Estimate) -> CurvePoint:
    return CurvePoint(x, found.mean, found.low, found.high, found.n_seeds)


def _bin_labels(counts: Sequence[TauLabels]) -> tuple[CurvePoint, ...]:
    """Points at the mean C_x of each bin that has enough labels."""
    borders = CONSISTENCY_BINS
    found: dict[int, list[tuple[float, int, int]]] = {}
    for count in counts:
        rate, n = (count.tau + 1) / 2, count.n_right + count.n_inverted
        place = next((k for k in range(1, len(borders) - 1) if rate < borders[k]), len(borders) - 1)
        found.setdefault(place, []).append((rate, count.n_right, n))
    points = []
    for _, members in sorted(found.items()):
        n = sum(member[2] for member in members)
        if n >= LEAST_LABELS:
            n_right = sum(member[1] for member in members)
            x = math.fsum(rate * size for rate, _, size in members) / n
            points.append(CurvePoint(x, n_right / n, *compute_wilson_interval(n_right, n), n))
    return tuple(points)
