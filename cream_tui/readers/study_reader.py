"""Reads what a study shows over its seeds again and again, but what a run has found only when its stages move.

Knows db's reads, the comparison and the rules of health. Must not know how anything is shown. Not for two threads at a
time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cream_tui.comparison.arms import ArmModels, collect_models
from cream_tui.comparison.formats import ComparedStudy, compare_study
from cream_tui.diagnostics import UsageProblem
from cream_tui.health.early_warning import predict
from cream_tui.health.rules import examine_run
from cream_tui.health.verdict import FALLS, Verdict, conclude
from cream_tui.readers.compared_runs import ComparedArms, read_compared_arms
from cream_tui.readers.study_records import WAITING
from cream_tui.results import ModelResult, ResultReader
from db.queries import read_run_stages
from db.reading import snapshot
from db.rows import RunRow
from db.studies import StudyArm, StudyRow, list_studies, read_study_arms


@dataclass(frozen=True, slots=True)
class StudyWant:
    """What to read.

    Attributes:
        study_id: None for the newest study, which also stands in for one that is gone.
        baseline: The title of an arm; None for the one that the study names.
    """

    study_id: str | None
    baseline: str | None


@dataclass(frozen=True, slots=True)
class StudyResults:
    """A study as it is now.

    Attributes:
        compared: Its arms that have runs, the baseline first.
        states: How each run of its matrix stands.
        models: By arm, its models by seed.
        comparison: Tables, tests and sentences, as `compare` has them.
        verdicts: By arm, those on its runs.
        warned: By arm, the titles of other diagnostics that warn, with the number of runs in which they do.
    """

    study: StudyRow
    compared: ComparedArms
    states: tuple[str, ...]
    models: Mapping[str, ArmModels]
    comparison: ComparedStudy
    verdicts: Mapping[str, Sequence[Verdict]]
    warned: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class _Known:
    """What a run had when its stages stood so."""

    signature: object
    models: tuple[ModelResult, ...]
    verdict: Verdict
    warnings: tuple[str, ...]


class StudyReader:
    """Reads one study after the other."""

    def __init__(self) -> None:
        self._results = ResultReader()
        self._known: dict[str, _Known] = {}
        self._last: tuple[object, StudyResults] | None = None

    def read(self, c: sqlite3.Connection, want: StudyWant) -> StudyResults | None:
        """The study now, the same object as long as nothing has moved; None where there is no study."""
        with snapshot(c):
            studies = list_studies(c)
            if not studies:
                return None
            study = next((found for found in studies if found.study_id == want.study_id), studies[-1])
            compared = _read_arms(c, study, want.baseline)
            states = tuple(_find_state(arm) for arm in read_study_arms(c, study.study_id))
            known = {run.run_id: self._read_run(c, run) for run in compared.runs}
        arms = tuple((arm.title, arm.run_ids) for arm in compared.arms)
        moved = tuple((run_id, found.signature) for run_id, found in known.items())
        signature = (study.study_id, study.name, arms, compared.missing, compared.lacking_baseline, states, moved)
        if self._last is None or self._last[0] != signature:
            self._known = known
            results = {run_id: found.models for run_id, found in known.items()}
            models = {arm.title: collect_models(arm, results) for arm in compared.arms}
            comparison = compare_study(
                study.name, compared.arms, results, own_baseline=compared.own_baseline, sources=compared.sources
            )
            runs = {arm.title: [known[run_id] for run_id in arm.run_ids] for arm in compared.arms}
            verdicts = {title: [run.verdict for run in own] for title, own in runs.items()}
            warned = {title: _count(own) for title, own in runs.items()}
            self._last = signature, StudyResults(study, compared, states, models, comparison, verdicts, warned)
        return self._last[1]

    def _read_run(self, c: sqlite3.Connection, run: RunRow) -> _Known:
        known = self._known.get(run.run_id)
        if run.state == "done":
            signature: tuple[object, ...] = (run.state, run.finished_at)
        else:  # the stages of a stopped one go on where another run shares them
            signature = tuple((stage.stage_id, stage.state) for stage in read_run_stages(c, run.run_id))
        if known is not None and known.signature == signature:
            return known
        models = tuple(self._results.read(c, run.run_id))
        found = examine_run(models) if models else []
        others = tuple(one.title for one in found if one.status == "warn" and one.key not in FALLS)
        return _Known(signature, models, conclude(found, predict(models)), others)


def _read_arms(c: sqlite3.Connection, study: StudyRow, baseline: str | None) -> ComparedArms:
    try:
        return read_compared_arms(c, [study.study_id], baseline=baseline)
    except UsageProblem:  # the arm is gone: the study was changed meanwhile
        return read_compared_arms(c, [study.study_id])


def _find_state(arm: StudyArm) -> str:
    return arm.state or ("failed" if arm.error else WAITING)


def _count(runs: Sequence[_Known]) -> dict[str, int]:
    """In how many runs each diagnostic warns, those of most runs first."""
    counts: dict[str, int] = {}
    for run in runs:
        for title in run.warnings:
            counts[title] = counts.get(title, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
