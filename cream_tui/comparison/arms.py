"""The models of an arm by seed: what tables and tests of a comparison are made of.

Pure: arms of runs and their results in, models by seed out. An arm counts each seed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cream_tui.results import ModelResult
from cream_tui.units import format_seeds
from cream_tui.views.compare import SeedArm
from db.rows import RunRow

Results: TypeAlias = Mapping[str, Sequence[ModelResult]]
BySeed: TypeAlias = Mapping[int, ModelResult]

ONE_SEED = "interval over seeds not computable, because there is one seed"
ONE_MODEL = "interval over seeds not computable, because every seed has the same answers: it is one model"
NO_SPREAD = "interval over seeds not computable, because every seed has the same value: there is no spread to see"


@dataclass(frozen=True, slots=True)
class ArmModels:
    """The models of an arm: by name, then by seed; ``states`` are those of its runs."""

    title: str
    seeds: tuple[int, ...]
    models: Mapping[str, BySeed]
    states: frozenset[str]

    @property
    def is_done(self) -> bool:
        """Whether no model is still to come."""
        return self.states == {"done"}

    @property
    def names(self) -> list[str]:
        """M0, M1, ... as far as any seed has them."""
        return sort_models(self.models)

    def find(self, name: str) -> BySeed:
        """This model by seed; empty where no seed has it."""
        return self.models.get(name, {})

    def find_evaluated(self, name: str) -> BySeed:
        """This model by seed, where it was evaluated."""
        return {seed: model for seed, model in self.find(name).items() if model.tasks}

    def list_evaluated(self) -> list[str]:
        """Models from M1 on that any seed evaluated."""
        return [name for name in self.names if name != "M0" and self.find_evaluated(name)]


def collect_models(arm: SeedArm, results: Results) -> ArmModels:
    """The models of an arm; of several runs of one seed those of the run that came furthest."""
    runs: dict[int, RunRow] = {}
    for run in arm.runs:
        known = runs.get(run.seed)
        if known is None or _measure_progress(run, results) > _measure_progress(known, results):
            runs[run.seed] = run
    models: dict[str, dict[int, ModelResult]] = {}
    for seed in sorted(runs):
        for model in results.get(runs[seed].run_id, ()):
            models.setdefault(model.name, {})[seed] = model
    return ArmModels(arm.title, tuple(sorted(runs)), models, frozenset(run.state for run in runs.values()))


def sort_models(names: Iterable[str]) -> list[str]:
    """M0, M1, ..., M10."""
    return sorted(names, key=lambda name: int(name[1:]))


def list_shared_models(arms: Sequence[ArmModels]) -> list[str]:
    """Models whose every answer is the same in all arms, seed by seed: what methods have in common, as M0 and M1."""
    if len(arms) < 2:
        return []
    shared = []
    for name in sort_models({name for arm in arms for name in arm.models}):
        found = [arm.find_evaluated(name) for arm in arms]
        by_seed: dict[int, list[ModelResult]] = {}
        for models in found:
            for seed, model in models.items():
                by_seed.setdefault(seed, []).append(model)
        has_company = any(len(models) > 1 for models in by_seed.values())
        is_same = all(model.items == models[0].items for models in by_seed.values() for model in models)
        if not (all(found) and has_company and is_same):
            break  # what comes after a difference is not shared, even if its answers are
        shared.append(name)
    return shared


def pool_models(arms: Sequence[ArmModels], name: str) -> dict[int, ModelResult]:
    """A shared model by seed, of all seeds that any arm has."""
    pooled: dict[int, ModelResult] = {}
    for arm in arms:
        pooled = {**arm.find_evaluated(name), **pooled}
    return dict(sorted(pooled.items()))


def list_notes(arms: Sequence[SeedArm], results: Results) -> list[str]:
    """What a reader must know of the runs: those that are not done, seeds that repeat, seeds that differ."""
    notes = []
    for arm in arms:
        notes += _tell_open_runs(arm, results)
        seeds = [run.seed for run in arm.runs]
        for seed in sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            notes.append(f"{arm.title}: {seeds.count(seed)} runs have seed {seed}; the one that came furthest counts.")
    titles_of: dict[tuple[int, ...], list[str]] = {}
    for arm in arms:
        if arm.n_seeds > 1:
            titles_of.setdefault(tuple(sorted({run.seed for run in arm.runs})), []).append(arm.title)
    if len(titles_of) > 1:
        words = "; ".join(f"{', '.join(titles)}: {format_seeds(seeds)}" for seeds, titles in titles_of.items())
        notes.append(f"The arms have different seeds ({words}); a test takes those that both sides have.")
    return notes


def _tell_open_runs(arm: SeedArm, results: Results) -> list[str]:
    """One line for all runs of an arm that stand alike."""
    alike: dict[tuple[str, str | None], list[RunRow]] = {}
    for run in arm.runs:
        if run.state != "done":
            last = next((model.name for model in reversed(results.get(run.run_id, ())) if model.tasks), None)
            alike.setdefault((run.state, last), []).append(run)
    return [f"{arm.title}: {_tell_alike(runs, state, last)}." for (state, last), runs in alike.items()]


def _tell_alike(runs: Sequence[RunRow], state: str, last: str | None) -> str:
    if len(runs) == 1:
        who, whose, have = f"{runs[0].name} (seed {runs[0].seed}) is", "its", "it has"
    else:
        who, whose, have = f"seeds {format_seeds([run.seed for run in runs])} are", "their", "they have"
    so_far = f"{have} no evaluated model" if last is None else f"{last} is {whose} last evaluated model"
    return f"{who} {state}; {so_far}"


def _measure_progress(run: RunRow, results: Results) -> tuple[int, bool]:
    return sum(bool(model.tasks) for model in results.get(run.run_id, ())), run.state == "done"
