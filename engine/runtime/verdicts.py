"""A person's verdicts on a run's pairs, frozen for a fork that trains on the corrected pairs.

Reads the store. Must not know how a verdict changes a pair: that is ``engine.method.correction``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from db.queries import read_pairs, read_run_stages, read_verdicts
from db.reading import open_reader, snapshot
from db.rows import RunRow
from engine.errors import ConfigError
from engine.method.correction import BINDING
from engine.plan import JudgedPairs, StageSpec
from engine.records import PairVerdict


def freeze_verdicts(root: Path, run: RunRow, iteration: int, inherited: JudgedPairs | None) -> JudgedPairs:
    """Return the verdicts on the run's pairs of an iteration, in the order of the prompt ids.

    Args:
        inherited: what had corrected these pairs already; it holds where there is no newer verdict.

    Raises:
        ConfigError: nobody has judged a pair of this iteration.
    """
    with closing(open_reader(root)) as reader, snapshot(reader):
        stages = {s.name: s for s in read_run_stages(reader, run.run_id) if s.iteration == iteration}
        pair, sample = stages.get("pair"), stages.get("sample")
        rows = [] if pair is None else read_pairs(reader, pair.stage_id)
        verdicts = {
            v.prompt_id: v.verdict
            for v in read_verdicts(reader, run.run_id)
            if pair is not None and v.stage_id == pair.stage_id and v.verdict in BINDING
        }
    fresh = {
        row.prompt_id: PairVerdict(row.prompt_id, str(verdicts[row.prompt_id]), row.chosen_k, row.rejected_k)
        for row in rows
        if row.prompt_id in verdicts and row.chosen_k is not None and row.rejected_k is not None
    }
    if not fresh or sample is None:
        raise ConfigError(
            f"--use-verdicts: no pair of {run.name} in iteration {iteration} has a verdict that could change it",
            hint=f"judge some: `cream-tui judge {run.run_id} PROMPT swap --iteration {iteration}`",
            key="use-verdicts",
        )
    kept = {v.prompt_id: v for v in inherited.verdicts} if inherited and inherited.sample_key == sample.key else {}
    merged = kept | fresh
    return JudgedPairs(sample.key, tuple(merged[prompt_id] for prompt_id in sorted(merged)))


def check_same_responses(stages: Sequence[StageSpec], iteration: int, judged: JudgedPairs) -> None:
    """Refuse a fork that would sample other responses than those that were judged.

    Raises:
        ConfigError: it would.
    """
    sampled = next(stage.key for stage in stages if (stage.name, stage.iteration) == ("sample", iteration))
    if sampled != judged.sample_key:
        raise ConfigError(
            f"--use-verdicts: the fork would sample other responses in iteration {iteration} than those that were "
            "judged",
            hint="leave seed, sampling and prompts as they are, or fork without --use-verdicts",
            key="use-verdicts",
        )
