"""Reads what two runs say on the same prompts: counts and sentences, their answers, one prompt whole.

Knows db and the pure views. Must not know Textual. Not for two threads at a time. Imported once the charts stand.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from cream_tui.comparison.sentences import tell_cautions, tell_seeds
from cream_tui.narrative import Arm, find_last_common, tell_differences
from cream_tui.results import ResultReader
from cream_tui.views.compare import find_arm, group_by_seed
from cream_tui.views.shared_prompts import (
    AnsweredItem,
    OutcomeCount,
    SampledComparison,
    SampledItem,
    compare_sampled,
    count_greedy,
    join_answers,
    list_common_evaluations,
    summarise_sampled,
)
from db.compare_reads import (
    PromptText,
    SampledText,
    SharedIteration,
    read_prompt_text,
    read_sampled_texts,
    read_shared_iterations,
    read_shared_prompts,
)
from db.queries import read_evaluations, read_run_stages
from db.reading import snapshot
from db.rows import RunRow


@dataclass(frozen=True, slots=True)
class SharedData:
    """What a run and the baseline say on the same prompts, and in plain sentences.

    Attributes:
        sentences: How the run differs from the baseline, corrected for the number of runs; what seeds say.
        cautions: What must be said of it.
        models: Which evaluations both have, in order; the last is counted in ``greedy``.
        sampled: The iterations in which both sampled the same prompts.
    """

    sentences: tuple[str, ...]
    cautions: tuple[str, ...]
    models: tuple[str, ...]
    greedy: OutcomeCount
    sampled: tuple[SampledComparison, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Where answers come from: the greedy ones of a model, or the responses sampled at an iteration."""

    model: str | None = None
    iteration: int | None = None


@dataclass(frozen=True, slots=True)
class AnswersData:
    """The answers of a source; items of one kind."""

    source: Source
    greedy: tuple[AnsweredItem, ...] = ()
    sampled: tuple[SampledItem, ...] = ()
    shared: SharedIteration | None = None


@dataclass(frozen=True, slots=True)
class SampledDetail:
    """A sampled prompt whole, with the responses of the baseline and of the run."""

    prompt: PromptText | None
    baseline: tuple[SampledText, ...]
    run: tuple[SampledText, ...]


class SharedReader:
    """Reads the items of a finished evaluation only once."""

    def __init__(self) -> None:
        self._results = ResultReader()

    def read_shared(self, c: sqlite3.Connection, runs: Sequence[RunRow], baseline: RunRow, rival: RunRow) -> SharedData:
        """What the runs say on the same prompts; ``rival`` is the run that stands against the baseline."""
        with snapshot(c):
            results = {run.run_id: self._results.read(c, run.run_id) for run in runs}
            sampled = [
                summarise_sampled(shared, compare_sampled(shared, read_shared_prompts(c, shared)))
                for shared in read_shared_iterations(c, baseline.run_id, rival.run_id)
            ]
            evaluations = list_common_evaluations([read_run_stages(c, run.run_id) for run in (baseline, rival)])
        arms = group_by_seed(runs)
        seeds = tell_seeds(arms, results, baseline=find_arm(arms, baseline.run_id))
        others = [run for run in runs if run.run_id != baseline.run_id]
        told = [Arm(run.name, tuple(results[run.run_id])) for run in others]
        sentences = tell_differences(told, Arm(baseline.name, tuple(results[baseline.run_id])))
        own = sentences[[run.run_id for run in others].index(rival.run_id)]
        pair = find_last_common(results[rival.run_id], results[baseline.run_id])
        return SharedData(
            sentences=(*seeds, own),
            cautions=tuple(tell_cautions(arms)),
            models=tuple(evaluations),
            greedy=OutcomeCount() if pair is None else count_greedy(*pair),
            sampled=tuple(sampled),
        )

    def read_answers(self, c: sqlite3.Connection, baseline: RunRow, rival: RunRow, source: Source) -> AnswersData:
        """The answers of both runs; nothing where the source is not, or no longer, common to them."""
        with snapshot(c):
            if source.model is not None:
                stages = [read_run_stages(c, run.run_id) for run in (baseline, rival)]
                found = list_common_evaluations(stages).get(source.model, ())
                items = join_answers([read_evaluations(c, stage_id) for stage_id in found]) if found else []
                return AnswersData(source, greedy=tuple(items))
            for shared in read_shared_iterations(c, baseline.run_id, rival.run_id):
                if shared.iteration == source.iteration:
                    sampled = compare_sampled(shared, read_shared_prompts(c, shared))
                    return AnswersData(source, sampled=tuple(sampled), shared=shared)
        return AnswersData(source)


def read_sampled_detail(c: sqlite3.Connection, shared: SharedIteration, prompt_id: str) -> SampledDetail:
    """A prompt of a shared iteration, the baseline being the first run."""
    with snapshot(c):
        return SampledDetail(
            read_prompt_text(c, prompt_id),
            tuple(read_sampled_texts(c, shared.sample_stage_id, prompt_id)),
            tuple(read_sampled_texts(c, shared.other_sample_stage_id, prompt_id)),
        )
