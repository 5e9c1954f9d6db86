"""What of a run's plan is kept in its row beside its own configuration.

The configurations that were in force before a fork, the verdicts that correct its pairs, and the salt of a run that
reuses nothing. Frozen when the run is created: a resume plans the same stages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from db.labels import IMPORTED
from db.rows import RunRow
from engine.config.load import config_from_json, dump
from engine.errors import ConfigError
from engine.plan import JudgedPairs, Segment, StageSpec, plan_run
from engine.records import PairVerdict


@dataclass(frozen=True, slots=True)
class Lineage:
    """``earlier`` are the segments before the run's own configuration; ``judged`` are verdicts by iteration."""

    earlier: Sequence[Segment] = ()
    judged: Mapping[int, JudgedPairs] = field(default_factory=dict)
    salt: str | None = None


def write_lineage(lineage: Lineage) -> str:
    """Return the row's JSON."""
    segments = [{"last_iteration": s.last_iteration, "config": dump(s.config)} for s in lineage.earlier]
    record: dict[str, Any] = {"segments": segments, "salt": lineage.salt}
    if lineage.judged:
        record["verdicts"] = [
            {
                "iteration": iteration,
                "sample": judged.sample_key,
                "pairs": [[v.prompt_id, v.verdict, v.chosen_k, v.rejected_k] for v in judged.verdicts],
            }
            for iteration, judged in sorted(lineage.judged.items())
        ]
    return json.dumps(record)


def read_lineage(run: RunRow) -> Lineage:
    """Return what ``write_lineage`` wrote."""
    record = json.loads(run.lineage_json)
    earlier = [
        Segment(config_from_json(json.dumps(segment["config"])), segment["last_iteration"])
        for segment in record["segments"]
    ]
    judged = {
        entry["iteration"]: JudgedPairs(entry["sample"], tuple(PairVerdict(*pair) for pair in entry["pairs"]))
        for entry in record.get("verdicts", ())
    }
    return Lineage(earlier, judged, record["salt"])


def read_segments(run: RunRow) -> list[Segment]:
    """Return all configurations of a run in order; the last one is its own."""
    return [*read_lineage(run).earlier, Segment(config_from_json(run.config_json), None)]


def plan_row(run: RunRow) -> list[StageSpec]:
    """Return the stages of a stored run."""
    lineage = read_lineage(run)
    return plan_run(read_segments(run), base_digest=run.base_digest, salt=lineage.salt, judged=lineage.judged)


def refuse_imported(run: RunRow, what: str) -> None:
    """Raise a ConfigError where a run was imported: it has neither models nor the settings that made it.

    Args:
        what: What was asked for, as "resume".
    """
    if IMPORTED in json.loads(run.provenance_json):
        raise ConfigError(
            f"{run.name} was imported from files: there is nothing to {what}",
            hint="read, judge, compare and export it; a run of your own starts with `cream-tui run`",
        )
