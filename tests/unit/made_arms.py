"""Made-up runs and models that answered made-up items, for the tests of comparisons."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from cream_tui.results import ModelResult, TaskCount
from db.rows import RunRow


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
