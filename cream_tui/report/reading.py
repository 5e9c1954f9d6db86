"""Reads all that a report is made of, in one state of the store.

Knows db and what runs and studies are. Must not know how anything is shown.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cream_tui.readers.compared_runs import read_compared_arms
from cream_tui.report.series import Counts, index_counts
from cream_tui.results import ModelResult, ResultReader
from cream_tui.views.compare import SeedArm
from db.compare_reads import RunCost, read_run_costs
from db.errors import RunNotFoundError
from db.reading import snapshot
from db.report_reads import StageCost, read_stage_costs, read_tau_labels
from db.rows import RunRow
from db.studies import StudyArm, StudyRow
from engine.config.shipped import list_shipped, read_purpose


@dataclass(frozen=True, slots=True)
class ReportData:
    """What a report is of.

    Attributes:
        studies: Those that were named; their runs are among ``runs``.
        arms: Runs that differ only in the seed: the baseline, then the others in the order of the study's matrix.
        missing: What the studies ask for and no run has begun.
        lacking_baseline: The arm that a study compares with, where it has no run yet.
        results: By run id.
        purposes: What each method is, by its name, where it is a shipped one.
        own_baseline: The arm that the first study compares with, where another one was chosen.
        sources: By arm, the study that it is of.
    """

    studies: tuple[StudyRow, ...]
    runs: tuple[RunRow, ...]
    arms: tuple[SeedArm, ...]
    missing: tuple[StudyArm, ...]
    lacking_baseline: str | None
    results: Mapping[str, Sequence[ModelResult]]
    counts: Counts
    stage_costs: tuple[StageCost, ...]
    run_costs: Mapping[str, RunCost]
    purposes: Mapping[str, str]
    own_baseline: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def last_index(self) -> int:
        """Of the last model that any run has something of."""
        return max((model.index for models in self.results.values() for model in models), default=0)


def read_report_data(c: sqlite3.Connection, references: Sequence[str], *, baseline: str | None = None) -> ReportData:
    """What these studies and runs have.

    Raises:
        RunNotFoundError: A name is none of a study or a run, or none of the named studies has a run.
        UsageProblem: No arm is the baseline.
    """
    with snapshot(c):
        compared = read_compared_arms(c, references, baseline=baseline)
        if not compared.arms:
            names = ", ".join(study.name for study in compared.studies)
            raise RunNotFoundError(f"{names}: no run has begun yet", hint="cream-tui sweep starts them")
        reader = ResultReader()
        run_ids = [run.run_id for run in compared.runs]
        return ReportData(
            studies=compared.studies,
            runs=compared.runs,
            arms=compared.arms,
            missing=compared.missing,
            lacking_baseline=compared.lacking_baseline,
            own_baseline=compared.own_baseline,
            sources=compared.sources,
            results={run_id: reader.read(c, run_id) for run_id in run_ids},
            counts=index_counts(read_tau_labels(c, run_ids)),
            stage_costs=tuple(read_stage_costs(c, run_ids)),
            run_costs=read_run_costs(c, run_ids),
            purposes=_read_purposes({run.method for run in compared.runs}),
        )


def _read_purposes(methods: Iterable[str]) -> dict[str, str]:
    shipped = list_shipped("methods")
    return {name: read_purpose(shipped[name]) for name in methods if name in shipped}
