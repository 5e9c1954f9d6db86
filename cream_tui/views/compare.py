"""Runs side by side as numbers: arms of runs that differ only in the seed, their means and spreads, deltas, the best.

Pure: rows and results in, records out; no store, no Textual. A value of an arm counts each seed once, and one seed has
no spread. A delta is taken only between values of the same iteration, and nothing is called the best where runs mean
different things by a metric.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cream_tui.config_differences import find_differences, format_setting, load_config
from db.compare_reads import LastValue, RunCost, ValueRange
from db.rows import RunRow

if TYPE_CHECKING:
    from cream_tui.results import ModelResult

# What a run is called, how it is drawn at random, and how but not what it computes.
_ASIDE = frozenset({"name", "seed", "resources", "report_to"})
_N_TITLE_SETTINGS = 2
# Metrics of which more, or less, is better whatever the method; all others have no better side.
_HIGHER = frozenset({"accuracy", "label_accuracy", "correct_rate", "preference_accuracy"})
_LOWER = frozenset({"truncated_rate", "empty_rate", "extraction_failure_rate", "n_missing"})
# The loss is another function of the same pairs for every C and beta: less is better within one loss only.
_LOSSES = frozenset({"loss"})

Metric = tuple[str, str]
# What a comparison shows first: stage and name.
HEADLINES: tuple[Metric, ...] = (
    ("evaluate", "accuracy"),
    ("pair", "label_accuracy"),
    ("agree", "tau_previous"),
    ("agree", "tau_anchor"),
    ("pair", "confidence"),
    ("train", "loss"),
    ("train", "final_z"),
    ("train", "final_target_z"),
    ("pair", "chosen_n_tokens"),
    ("pair", "rejected_n_tokens"),
    ("sample", "correct_rate"),
    ("sample", "truncated_rate"),
    ("pair", "n_pairs"),
)


@dataclass(frozen=True, slots=True)
class SeedArm:
    """Runs with the same settings but for the seed, by their places among the compared runs.

    Attributes:
        letter: of its first run; runs are A, B, C, ... in the order in which they were chosen.
        title: The run's name where it is alone, else what sets the arm apart.
    """

    letter: str
    title: str
    runs: tuple[RunRow, ...]

    @property
    def run_ids(self) -> tuple[str, ...]:
        return tuple(run.run_id for run in self.runs)

    @property
    def n_seeds(self) -> int:
        """How many different seeds there are; the same seed again says nothing new."""
        return len({run.seed for run in self.runs})


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean over ``n`` seeds and its standard deviation (n - 1); None for one seed."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True, slots=True)
class SummaryCell:
    """What one arm has of one metric.

    Attributes:
        iteration: that the value belongs to; None where the runs of the arm are not at the same one, or it has none.
        delta: to the baseline, of the same iteration; None for the baseline itself.
        is_best: whether no other arm has a better value, where better has a meaning.
    """

    spread: Spread
    iteration: int | None = None
    delta: float | None = None
    is_best: bool = False


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One metric over all arms; None where an arm has no value."""

    stage: str
    name: str
    cells: tuple[SummaryCell | None, ...]

    @property
    def metric(self) -> Metric:
        return self.stage, self.name


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A metric of one run."""

    value: float
    iteration: int | None


Values = Mapping[str, Mapping[Metric, MetricValue]]


def letter(index: int) -> str:
    """A, B, ..., Z, AA, AB, ... for 0, 1, ..."""
    text = ""
    index += 1
    while index:
        index, place = divmod(index - 1, 26)
        text = chr(ord("A") + place) + text
    return text


def split_runs(runs: Sequence[RunRow]) -> list[SeedArm]:
    """Each run as an arm of its own."""
    return [SeedArm(letter(k), run.name, (run,)) for k, run in enumerate(runs)]


def group_by_seed(runs: Sequence[RunRow]) -> list[SeedArm]:
    """Arms of runs that differ only in the seed, in the order of their first runs."""
    found: dict[str, list[tuple[int, RunRow]]] = {}
    for k, run in enumerate(runs):
        found.setdefault(_compute_arm_key(run), []).append((k, run))
    members = [[run for _, run in group] for group in found.values()]
    titles = _title_arms(members)
    return [
        SeedArm(letter(group[0][0]), title, tuple(run for _, run in group))
        for group, title in zip(found.values(), titles, strict=True)
    ]


def find_baseline(runs: Sequence[RunRow]) -> RunRow:
    """The pinned run, else the first."""
    return next((run for run in runs if run.is_baseline), runs[0])


def find_arm(arms: Sequence[SeedArm], run_id: str) -> int:
    """The place of the arm that has this run."""
    return next(k for k, arm in enumerate(arms) if run_id in arm.run_ids)


def compute_spread(values: Iterable[tuple[int, float]]) -> Spread | None:
    """Mean and spread over seeds of (seed, value); runs of one seed are averaged first. None without values."""
    by_seed: dict[int, list[float]] = {}
    for seed, value in values:
        by_seed.setdefault(seed, []).append(value)
    means = [statistics.fmean(found) for found in by_seed.values()]
    if not means:
        return None
    return Spread(statistics.fmean(means), statistics.stdev(means) if len(means) > 1 else None, len(means))


def collect_last_values(rows: Iterable[LastValue]) -> dict[str, dict[Metric, MetricValue]]:
    """The last values by run and metric."""
    found: dict[str, dict[Metric, MetricValue]] = {}
    for row in rows:
        found.setdefault(row.run_id, {})[row.stage, row.name] = MetricValue(row.value, row.iteration)
    return found


def collect_best_values(rows: Iterable[ValueRange]) -> dict[str, dict[Metric, MetricValue]]:
    """The best values by run and metric, of metrics that have a better side."""
    found: dict[str, dict[Metric, MetricValue]] = {}
    for row in rows:
        direction = find_direction(row.name)
        if direction:
            best = row.highest if direction > 0 else row.lowest
            found.setdefault(row.run_id, {})[row.stage, row.name] = MetricValue(best, None)
    return found


def find_direction(name: str) -> int:
    """1 where more is better, -1 where less is, 0 where neither; a metric of one task goes as the mean over tasks."""
    stem = name.partition("/")[0]
    if stem in _HIGHER:
        return 1
    return -1 if stem in _LOWER or stem in _LOSSES else 0


def order_metrics(metrics: Iterable[Metric]) -> list[Metric]:
    """Headlines first, then the others by stage and name, at last counts."""
    ranks = {metric: rank for rank, metric in enumerate(HEADLINES)}
    stages = {name: k for k, name in enumerate(("evaluate", "train", "pair", "agree", "score", "sample"))}
    return sorted(
        set(metrics),
        key=lambda m: (ranks.get(m, len(ranks)), m[1].startswith("n_"), stages.get(m[0], len(stages)), m[1]),
    )


def build_summary(
    arms: Sequence[SeedArm], values: Values, *, baseline: int, metrics: Sequence[Metric] | None = None
) -> list[SummaryRow]:
    """One row per metric that any arm has.

    Args:
        values: By run id and metric.
        baseline: The place of the arm to which deltas are taken.
        metrics: Only these, in this order.
    """
    if metrics is None:
        metrics = order_metrics(metric for found in values.values() for metric in found)
    is_one_loss = not _find_loss_differences(arms)
    rows = []
    for stage, name in metrics:
        cells = [_build_cell(arm, values, (stage, name)) for arm in arms]
        if any(cells):
            direction = find_direction(name)
            if name in _LOSSES and not is_one_loss:
                direction = 0
            rows.append(SummaryRow(stage, name, _add_deltas(cells, baseline, direction)))
    return rows


def build_cost_rows(arms: Sequence[SeedArm], costs: Mapping[str, RunCost], *, baseline: int) -> list[SummaryRow]:
    """Wall time, computing time and peak memory, less being better; rows that no run has are left out."""
    rows = []
    for name in ("wall_s", "compute_s", "peak_rss_bytes", "peak_gpu_bytes"):
        found = {
            run_id: {("cost", name): MetricValue(float(value), None)}
            for run_id, cost in costs.items()
            if (value := getattr(cost, name)) is not None
        }
        cells = [_build_cell(arm, found, ("cost", name)) for arm in arms]
        if any(cells):
            # A run that took stages over from others has a shorter wall time for no merit of its own.
            rows.append(SummaryRow("cost", name, _add_deltas(cells, baseline, 0 if name == "wall_s" else -1)))
    return rows


def build_model_summary(
    arms: Sequence[SeedArm], results: Mapping[str, Sequence[ModelResult]], *, baseline: int
) -> dict[str, list[SummaryRow]]:
    """The accuracy and measures of every model, by its name, over the arms."""
    by_run = {run_id: {model.name: model for model in models} for run_id, models in results.items()}
    names = sorted({name for models in by_run.values() for name in models}, key=lambda name: int(name[1:]))
    summary = {}
    for name in names:
        values = {
            run_id: _list_measures(models[name], int(name[1:])) for run_id, models in by_run.items() if name in models
        }
        rows = build_summary(arms, values, baseline=baseline)
        if rows:
            summary[name] = rows
    return summary


def _list_measures(model: ModelResult, iteration: int) -> dict[Metric, MetricValue]:
    values = {("model", name): MetricValue(value, iteration) for name, value in model.measures.items()}
    if model.accuracy is not None:
        values["model", "accuracy"] = MetricValue(model.accuracy, iteration)
    return values


def _build_cell(arm: SeedArm, values: Values, metric: Metric) -> SummaryCell | None:
    found = [(run.seed, value) for run in arm.runs if (value := values.get(run.run_id, {}).get(metric)) is not None]
    spread = compute_spread((seed, value.value) for seed, value in found)
    if spread is None:
        return None
    iterations = {value.iteration for _, value in found}
    return SummaryCell(spread, iterations.pop() if len(iterations) == 1 else None)


def _add_deltas(cells: Sequence[SummaryCell | None], baseline: int, direction: int) -> tuple[SummaryCell | None, ...]:
    base = cells[baseline]
    known = [cell for cell in cells if cell is not None]
    is_comparable = len(known) > 1 and len({cell.iteration for cell in known}) == 1
    best = max((direction * cell.spread.mean for cell in known), default=0.0)
    has_best = bool(direction) and is_comparable and any(direction * cell.spread.mean != best for cell in known)
    added: list[SummaryCell | None] = []
    for k, cell in enumerate(cells):
        if cell is None:
            added.append(None)
            continue
        is_same = base is not None and k != baseline and cell.iteration == base.iteration
        delta = cell.spread.mean - base.spread.mean if base is not None and is_same else None
        is_best = has_best and direction * cell.spread.mean == best
        added.append(SummaryCell(cell.spread, cell.iteration, delta, is_best))
    return tuple(added)


def _compute_arm_key(run: RunRow) -> str:
    """The base model and the settings of a run and of what it was forked from, without what an arm may differ in."""
    config = load_config(run.config_json)
    settings = _strip(config) if config else run.config_json
    return json.dumps([run.base_digest, settings, _strip_lineage(run.lineage_json)], sort_keys=True)


def _strip(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _ASIDE}


def _strip_lineage(lineage_json: str) -> Any:
    lineage = load_config(lineage_json)
    segments = lineage.get("segments", [])
    rest = {key: value for key, value in lineage.items() if key not in ("segments", "salt")}
    stripped = [{**segment, "config": _strip(segment.get("config", {}))} for segment in segments]
    return [stripped, rest]


def _title_arms(groups: Sequence[Sequence[RunRow]]) -> list[str]:
    """The name of a run that is alone; of several runs the settings in which they differ from others together."""
    several = [group for group in groups if len(group) > 1]
    differences = find_differences([_strip(load_config(group[0].config_json)) for group in several])
    is_by_method = len({group[0].method for group in several}) > 1
    keys = [key for key in differences if not (is_by_method and key.startswith("method."))]
    titles = []
    for group in groups:
        if len(group) == 1:
            titles.append(group[0].name)
            continue
        words = [group[0].method] if is_by_method or not keys else []
        for key in keys[:_N_TITLE_SETTINGS]:
            words.append(f"{key.rpartition('.')[2]}={format_setting(differences[key][several.index(group)])}")
        titles.append(" ".join(words) + (" ..." if len(keys) > _N_TITLE_SETTINGS else ""))
    return [
        f"{title} ({group[0].name})" if titles.count(title) > 1 else title
        for title, group in zip(titles, groups, strict=True)
    ]


def _find_loss_differences(arms: Sequence[SeedArm]) -> dict[str, list[Any]]:
    settings = []
    for arm in arms:
        config = load_config(arm.runs[0].config_json)
        training = config.get("training") or {}
        settings.append(
            {key: training.get(key) for key in ("beta", "dpo_reference")} | {"method": config.get("method")}
        )
    return find_differences(settings)
