"""What a card says of a run, read in one go. Knows the store and configurations. Must not know Markdown."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cream_tui.cards.markdown import hide_places
from cream_tui.config_differences import load_config
from cream_tui.results import ModelResult, read_results
from db.queries import read_run_checkpoints, read_run_metrics, read_run_stages, snapshot
from db.rows import RunCheckpoint, RunRow

_COUNTS = ("n_examples", "n_prompts", "n_responses", "n_pairs")


@dataclass(frozen=True, slots=True)
class CardFacts:
    """A run as its cards tell it.

    Attributes:
        config: Without places of this machine.
        counts: By iteration: n_examples (of SFT, at 0), n_prompts, n_responses, n_pairs.
        base_model: The hub name of M0; None where it is a folder or the sandbox's.
        sampled_seconds: When the run began, seconds since the epoch.
    """

    run: RunRow
    config: Mapping[str, Any]
    packages: Mapping[str, str]
    results: tuple[ModelResult, ...]
    checkpoints: tuple[RunCheckpoint, ...]
    counts: Mapping[int, Mapping[str, int]]
    base_model: str | None
    base_title: str

    def list_models(self, last: str) -> list[RunCheckpoint]:
        """The models up to one, by name."""
        return [checkpoint for checkpoint in self.checkpoints if int(checkpoint.name[1:]) <= int(last[1:])]


def read_card_facts(connection: sqlite3.Connection, run: RunRow, root: Path) -> CardFacts:
    """All that a card of this run says."""
    with snapshot(connection):
        counts: dict[int, dict[str, int]] = {}
        for metric in read_run_metrics(connection, run.run_id, names=_COUNTS):
            counts.setdefault(metric.iteration, {})[metric.name] = int(metric.value)
        results = read_results(connection, run.run_id)
        checkpoints = read_run_checkpoints(connection, run.run_id, root)
        has_sft = any(
            stage.name == "train" and stage.iteration == 0 for stage in read_run_stages(connection, run.run_id)
        )
    config = load_config(run.config_json)
    model = config.get("model", {})
    base_model = find_hub_name(config)
    return CardFacts(
        run=run,
        config=hide_places(config),
        packages={name: found for name, found in _read_packages(run).items() if found},
        results=tuple(results),
        checkpoints=tuple(checkpoints),
        counts=counts if has_sft else {t: found for t, found in counts.items() if t},
        base_model=base_model,
        base_title=base_model
        or (str(hide_places(model.get("path"))) if model.get("path") else "the model of the sandbox"),
    )


def find_hub_name(config: Mapping[str, Any]) -> str | None:
    """The hub name of M0, as USER/NAME or NAME; None where M0 is a folder or the sandbox's."""
    path = config.get("model", {}).get("path")
    is_name = isinstance(path, str) and path == hide_places(path) and path.count("/") < 2 and not Path(path).is_dir()
    return path if is_name else None


def _read_packages(run: RunRow) -> dict[str, str]:
    packages = json.loads(run.provenance_json).get("packages", {})
    return packages if isinstance(packages, dict) else {}
