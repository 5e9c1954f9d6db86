"""What of a run's plan is kept in its row: the configurations in force, and the salt of a run that reuses nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence

from db.rows import RunRow
from engine.config.load import config_from_json, dump
from engine.plan import Segment, StageSpec, plan_run


def write_lineage(earlier: Sequence[Segment], *, salt: str | None) -> str:
    """Return the row's JSON: the segments before the run's own configuration."""
    segments = [{"last_iteration": s.last_iteration, "config": dump(s.config)} for s in earlier]
    return json.dumps({"segments": segments, "salt": salt})


def read_segments(run: RunRow) -> list[Segment]:
    """Return all configurations of a run in order; the last one is its own."""
    earlier = [
        Segment(config_from_json(json.dumps(segment["config"])), segment["last_iteration"])
        for segment in json.loads(run.lineage_json)["segments"]
    ]
    return [*earlier, Segment(config_from_json(run.config_json), None)]


def read_salt(run: RunRow) -> str | None:
    """Return what makes the keys of a run its own; None where it shares stages."""
    salt: str | None = json.loads(run.lineage_json)["salt"]
    return salt


def plan_row(run: RunRow) -> list[StageSpec]:
    """Return the stages of a stored run."""
    return plan_run(read_segments(run), base_digest=run.base_digest, salt=read_salt(run))
