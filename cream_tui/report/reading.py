"""Reads all that a report is made of, in one state of the store.

Knows db and what runs and studies are. Must not know how anything is shown.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cream_tui.report.series import Counts, index_counts
from cream_tui.results import ModelResult, ResultReader
from cream_tui.views.compare import SeedArm, group_by_seed, letter
from db.compare_reads import RunCost, read_run_costs
from db.errors import RunNotFoundError
from db.queries import read_runs, snapshot
from db.report_reads import StageCost, read_stage_costs, read_tau_labels
from db.rows import RunRow
from db.studies import StudyArm, StudyRow, find_run_or_study, read_study_arms


@dataclass(frozen=True, slots=True)
class ReportData:
    """What a report is of.

    Attributes:
        studies: Those that were named; their runs are among ``runs``.
        arms: Runs that differ only in the seed, in the order of the study's matrix.
        missing: What the studies ask for and no run has begun.
        results: By run id.
    """

    studies: tuple[StudyRow, ...]
    runs: tuple[RunRow, ...]
    arms: tuple[SeedArm, ...]
    missing: tuple[StudyArm, ...]
    results: Mapping[str, Sequence[ModelResult]]
    counts: Counts
    stage_costs: tuple[StageCost, ...]
    run_costs: Mapping[str, RunCost]

    @property
    def last_index(self) -> int:
        """Of the last model that any run has something of."""
        return max((model.index for models in self.results.values() for model in models), default=0)


def read_report_data(c: sqlite3.Connection, references: Sequence[str]) -> ReportData:
    """What these studies and runs have.

    Raises:
        RunNotFoundError: A name is none of a study or a run, or none of the named studies has a run.
    """
    with snapshot(c):
        studies, runs, arms, missing = _find_subject(c, references)
        reader = ResultReader()
        run_ids = [run.run_id for run in runs]
        return ReportData(
            studies=studies,
            runs=runs,
            arms=arms,
            missing=missing,
            results={run_id: reader.read(c, run_id) for run_id in run_ids},
            counts=index_counts(read_tau_labels(c, run_ids)),
            stage_costs=tuple(read_stage_costs(c, run_ids)),
            run_costs=read_run_costs(c, run_ids),
        )


def _find_subject(
    c: sqlite3.Connection, references: Sequence[str]
) -> tuple[tuple[StudyRow, ...], tuple[RunRow, ...], tuple[SeedArm, ...], tuple[StudyArm, ...]]:
    """Studies, runs, arms, and parts of studies that have no run; nothing twice."""
    by_id = {run.run_id: run for run in read_runs(c)}
    studies: dict[str, StudyRow] = {}
    single: dict[str, RunRow] = {}
    for reference in references:
        found = find_run_or_study(c, reference)
        if isinstance(found, StudyRow):
            studies[found.study_id] = found
        else:
            single[found.run_id] = found
    groups: dict[tuple[str, str], list[RunRow]] = {}
    missing: list[StudyArm] = []
    for study in studies.values():
        for part in read_study_arms(c, study.study_id):
            run = by_id.get(part.run_id or "")
            if run is None:
                missing.append(part)
            else:
                groups.setdefault((study.name, part.arm), []).append(run)
                single.pop(run.run_id, None)
    titles = [arm for _, arm in groups]
    arms = [
        SeedArm(letter(k), f"{study}: {arm}" if titles.count(arm) > 1 else arm, tuple(runs))
        for k, ((study, arm), runs) in enumerate(groups.items())
    ]
    for group in group_by_seed(list(single.values())):
        arms.append(SeedArm(letter(len(arms)), group.title, group.runs))
    if not arms:
        names = ", ".join(study.name for study in studies.values())
        raise RunNotFoundError(f"{names}: no run has begun yet", hint="cream-tui sweep starts them")
    runs = {run.run_id: run for arm in arms for run in arm.runs}
    return tuple(studies.values()), tuple(runs.values()), tuple(arms), tuple(missing)
