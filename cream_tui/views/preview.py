"""A run's preview in words: its headline, the state of a stage, what it costs.

Pure. Knows the engine's preview. Must not know whether a command or a screen shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cream_tui.stage_view import REMOVED_RUN
from cream_tui.units import format_bytes, format_count, format_duration

if TYPE_CHECKING:
    from engine.runtime.memory import StageMemory
    from engine.runtime.preview import RunPreview, StagePreview


def describe_headline(preview: RunPreview) -> str:
    """The run in one line: its name, method, seed and models."""
    last = preview.iterations + 1
    models = f"M1 to M{last}" if preview.iterations else "M1"
    return f"{preview.name}  {preview.method}, seed {preview.seed}, {models}"


def describe_status(stage: StagePreview) -> str:
    """Whether a stage is computed, and by whom."""
    run = stage.run or REMOVED_RUN
    words = {"reused": f"reused from {run}", "shared": f"{run} computes it now", "begun": "goes on from its rows"}
    return words.get(stage.status, stage.status)


def list_facts(preview: RunPreview) -> Sequence[tuple[str, str]]:
    """What the run costs, by name."""
    n_open = len(preview.stages) - preview.n_computed
    samples = (
        f"{format_count(preview.n_prompts)} prompts, {format_count(preview.n_responses)} responses, "
        f"at most {format_count(preview.max_tokens)} tokens"
    )
    return [
        ("stages", f"{n_open} to compute, {preview.n_computed} reused"),
        ("samples", samples if preview.n_responses else "none to sample"),
        ("disk", describe_disk(preview)),
        *([("memory", describe_memory(preview.memory))] if preview.memory else []),
        ("time", describe_time(preview)),
        *([] if preview.base_folder else [("model", "not on this machine yet: fetched at the start")]),
    ]


def describe_disk(preview: RunPreview) -> str:
    """Room for the checkpoints, and what is free."""
    free = f"{format_bytes(preview.free_bytes)} free"
    if not preview.n_models:
        return f"no new model; {free}"
    models = f"{preview.n_models} model{'s' if preview.n_models > 1 else ''}"
    if preview.checkpoint_bytes is None:
        return f"{models} of unknown size; {free}"
    snapshots = f", and up to {format_bytes(preview.snapshot_bytes)} while training" if preview.snapshot_bytes else ""
    return f"{models}, about {format_bytes(preview.checkpoint_bytes)}{snapshots}; {free}"


def describe_memory(stage: StageMemory) -> str:
    """The stage that takes most memory."""
    return f"at most about {format_bytes(stage.total)}, in stage {stage.name}"


def describe_time(preview: RunPreview) -> str:
    """How long it takes, or why that is unknown."""
    if preview.seconds is None:
        n_unknown = sum(stage.seconds is None for stage in preview.stages)
        return f"unknown: {n_unknown} stages have no finished one of their kind in this store"
    if not preview.seconds:
        return "none: everything is computed"
    return f"about {format_duration(preview.seconds)}, by finished stages of the same kind"
