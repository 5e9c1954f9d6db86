"""Which runs a command line compares, by run or by study, and opening the app at them. Light: on the way to the app.

Knows db.queries, db.studies and targets. Must not know how a comparison is shown.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cream_tui.diagnostics import UsageProblem
from cream_tui.stores import open_run_reader
from cream_tui.targets import CompareTarget, StudyTarget
from cream_tui.views.compare import SeedArm, group_by_seed, letter
from db.queries import read_runs
from db.reading import snapshot
from db.rows import RunRow
from db.studies import StudyArm, StudyRow, find_run_or_study, read_study_arms
from engine.errors import find_nearest


@dataclass(frozen=True, slots=True)
class ComparedArms:
    """What was asked to be compared; nothing twice.

    Attributes:
        studies: Those that were named; their runs are among the arms.
        runs: Those of the studies, then single ones in the order in which they were named.
        arms: Runs that differ only in the seed: of a study as its matrix has them, then of single runs.
        missing: What the studies ask for and no run has begun.
        lacking_baseline: The arm that a study compares with, where it has no run yet.
        own_baseline: The arm that the first study compares with, where another one was chosen.
        sources: By arm, the study that it is of.

    The baseline and its runs stand first.
    """

    studies: tuple[StudyRow, ...]
    runs: tuple[RunRow, ...]
    arms: tuple[SeedArm, ...]
    missing: tuple[StudyArm, ...]
    lacking_baseline: str | None = None
    own_baseline: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


def read_compared_arms(
    c: sqlite3.Connection, references: Sequence[str], *, baseline: str | None = None
) -> ComparedArms:
    """The arms of studies and runs.

    Args:
        baseline: The title of an arm, or a run of it; None for that of the first study, which may be its first arm.

    Raises:
        RunNotFoundError: No run or study, or several, answer to a name.
        UsageProblem: No arm is the baseline.
    """
    with snapshot(c):
        studies, single = _find_references(c, references)
        by_id = {run.run_id: run for run in read_runs(c)}
        parts = [(study, part) for study in studies for part in read_study_arms(c, study.study_id)]
    groups: dict[tuple[str, str], list[RunRow]] = {}
    taken: set[str] = set()
    missing = []
    for study, part in parts:
        run = by_id.get(part.run_id or "")
        if run is None:
            missing.append(part)
        elif run.run_id not in taken:
            groups.setdefault((study.name, part.arm), []).append(run)
            taken.add(run.run_id)
    titles = [title for _, title in groups]
    arms = [
        SeedArm(letter(k), f"{study}: {title}" if titles.count(title) > 1 else title, tuple(runs))
        for k, ((study, title), runs) in enumerate(groups.items())
    ]
    runs = [run for group in groups.values() for run in group]
    alone = [run for run in single if run.run_id not in taken]
    for arm in group_by_seed(alone):
        arms.append(SeedArm(letter(len(arms)), arm.title, arm.runs))
    sources = {arm.title: study for arm, (study, _) in zip(arms, groups, strict=False)}
    found = ComparedArms(tuple(studies), (*runs, *alone), tuple(arms), tuple(missing), sources=sources)
    own = _find_own(studies, list(groups))
    if baseline is not None and arms:
        chosen = _find_arm(arms, baseline)
        if studies and chosen != own:
            found = replace(found, own_baseline=studies[0].baseline if own is None else arms[own].title)
        return _put_first(found, chosen)
    return replace(found, lacking_baseline=studies[0].baseline) if own is None else _put_first(found, own)


def _find_own(studies: Sequence[StudyRow], groups: Sequence[tuple[str, str]]) -> int | None:
    """The place of the arm that the first study compares with, without a study the first; None where it has no run."""
    wished = studies[0].baseline if studies else None
    if wished is None:
        return 0
    key = (studies[0].name, wished)
    return groups.index(key) if key in groups else None


def _find_arm(arms: Sequence[SeedArm], baseline: str) -> int:
    """The arm of this title, or that has the run of this name."""
    for k, arm in enumerate(arms):
        if baseline == arm.title or baseline in {run.name for run in arm.runs}:
            return k
    titles = [arm.title for arm in arms]
    nearest = find_nearest(baseline, titles)
    guess = f"; did you mean {nearest}?" if nearest else ""
    raise UsageProblem(f"--baseline {baseline}: no arm is called so{guess}", f"There are {', '.join(titles)}.")


def _put_first(found: ComparedArms, first: int) -> ComparedArms:
    """The same with this arm and its runs before all others."""
    if first == 0:
        return found
    baseline = found.arms[first]
    return replace(
        found,
        arms=(baseline, *found.arms[:first], *found.arms[first + 1 :]),
        runs=tuple(sorted(found.runs, key=lambda run: run.run_id not in baseline.run_ids)),
    )


def find_runs(connection: sqlite3.Connection, references: Sequence[str]) -> list[RunRow]:
    """The runs, and those of studies, each once.

    Raises:
        RunNotFoundError: No run or study, or several, answer to a name.
        UsageProblem: There are fewer than two.
    """
    studies, single = _find_references(connection, references)
    runs = single if not studies else list(read_compared_arms(connection, references).runs)
    check_enough(runs)
    return runs


def check_enough(runs: Sequence[RunRow]) -> None:
    """Refuse to compare fewer than two runs.

    Raises:
        UsageProblem: There are fewer.
    """
    if len(runs) < 2:
        raise UsageProblem(
            "compare takes two different runs or more, or a study with two that have begun", "cream-tui ls names them."
        )


def open_comparison(store: str | None, references: Sequence[str]) -> int:
    """Open the app at these runs, or at what a study shows."""
    from cream_tui.app_start import check_terminal, start_app

    check_terminal()
    with open_run_reader(store) as (_, connection):
        studies, single = _find_references(connection, references)
        if len(studies) == 1 and not single:
            return start_app(store, StudyTarget(studies[0].study_id))
        target = CompareTarget(tuple(run.run_id for run in find_runs(connection, references)))
    return start_app(store, target)


def _find_references(c: sqlite3.Connection, references: Sequence[str]) -> tuple[list[StudyRow], list[RunRow]]:
    """Studies and single runs, each once, in the order in which they were named."""
    found = [find_run_or_study(c, reference) for reference in references]
    studies = {study.study_id: study for study in found if isinstance(study, StudyRow)}
    runs = {run.run_id: run for run in found if isinstance(run, RunRow)}
    return list(studies.values()), list(runs.values())
