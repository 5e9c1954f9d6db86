"""Made-up runs and models that answered made-up items, for the tests of comparisons."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cream_tui.results import ModelResult, TaskCount
from cream_tui.views.compare import SeedArm, group_by_seed
from db.rows import RunRow

N_ITEMS = 400
# How many of 40 items M0, M1, ... get right, by method and seed.
STUDY = {
    "srlm": [(10, 20, 24, 14), (10, 22, 25, 12), (10, 21, 26, 13)],
    "cream": [(10, 20, 26, 32), (10, 22, 24, 31), (10, 21, 25, 33)],
}


def build_run(name: str, *, method: str = "cream", seed: int = 0, beta: float = 0.1, **changes: object) -> RunRow:
    config = {
        "name": name,
        "seed": seed,
        "method": {"name": method},
        "training": {"beta": beta},
        "resources": {"threads": seed + 1},
    }
    run = RunRow(
        run_id=f"id-{name}", name=name, method=method, seed=seed, iterations=2, state="done", created_at=1.0,
        started_at=1.0, finished_at=2.0, config_json=json.dumps(config), config_digest="d",
        lineage_json='{"segments": [], "salt": null}', base_folder="/m0", base_digest="m0", parent_run_id=None,
        fork_at=None, reuse=True, provenance_json="{}", stop_requested_at=None, exit_code=0, error=None, note="",
        is_baseline=False, queue_position=None, tags=(),
    )  # fmt: skip
    return replace(run, **changes)  # type: ignore[arg-type]


def build_model(name: str, right: Sequence[bool]) -> ModelResult:
    items = {("t", str(k)): is_right for k, is_right in enumerate(right)}
    return ModelResult(name, (TaskCount("t", sum(right), len(right)),), {}, items)


def build_right(n_right: int, n_items: int = 40) -> list[bool]:
    return [k < n_right for k in range(n_items)]


def make_study(
    n_right: Mapping[str, Sequence[Sequence[int]]], labels: Mapping[str, Sequence[float]] | None = None
) -> tuple[list[SeedArm], dict[str, list[ModelResult]]]:
    """Arms and results from how many of 40 items in a row M0, M1, ... get right, by method and seed; 400 items."""
    runs, results = [], {}
    for method, seeds in n_right.items():
        for seed, counts in enumerate(seeds):
            run = build_run(f"{method}-{seed}", method=method, seed=seed)
            runs.append(run)
            models = [build_model(f"M{k}", build_right(10 * n, N_ITEMS)) for k, n in enumerate(counts)]
            shares = (labels or {}).get(method)
            if shares is not None:
                models[1] = replace(models[1], measures={"label_accuracy": shares[seed]})
                models[2] = replace(models[2], measures={"label_accuracy": shares[seed] / 2, "tau_previous": 0.9})
            results[run.run_id] = models
    return group_by_seed(runs), results


def build_two_tasks(name: str, first: Sequence[bool], second: Sequence[bool]) -> ModelResult:
    items = {("a", str(k)): ok for k, ok in enumerate(first)} | {("b", str(k)): ok for k, ok in enumerate(second)}
    tasks = (TaskCount("a", sum(first), len(first)), TaskCount("b", sum(second), len(second)))
    return ModelResult(name, tasks, {}, items)
