"""Studies within the list of runs: which rows one has, how far it is, how long it takes, told in words.

Pure: records in, rows and words out; no store, no Textual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from cream_tui.filtering.runs import compute_means
from cream_tui.readers.run_records import RunRecord
from cream_tui.readers.study_records import WAITING, StudyRecord
from cream_tui.units import format_quantity
from cream_tui.views.run_rows import ArmRow, Arrangement, Row, StudyLine, key_study
from db.studies import StudyArm

# In the order in which they are told, each with its word.
_TOLD = {"failed": "failed", "stale": "stale", "stopped": "stopped", "running": "running", "queued": "queued"}
_TOLD |= {WAITING: "to go"}
_BY_URGENCY = ("failed", "stale", "running", "queued", "stopped", WAITING)
Member: TypeAlias = tuple[StudyArm, str]  # a run of a study, and how it stands
LIVE = ("running", "queued")


def arrange_studies(view: Arrangement) -> list[Row]:
    """The rows: runs, and in the place of a study's first run the study with what is unfolded of it.

    A study without a run stands by its age in a list by age, else at the end; a filter leaves it out.
    """
    members: dict[str, list[RunRecord]] = {study.study.name: [] for study in view.studies}
    for record in view.records:
        if record.study in members:
            members[record.study].append(record)
    lines = {study.study.name: _build_line(study, members[study.study.name], view) for study in view.studies}
    empty = [] if view.is_filtered else [line for line in lines.values() if not line.runs]
    is_newest_first = view.has_own_order and not view.is_descending
    rows: list[Row] = []
    for record in view.records:
        while is_newest_first and empty and empty[0].study.study.created_at >= record.run.created_at:
            rows += _unfold(empty.pop(0), view)
        if record.study not in members:
            rows.append(view.build_row(record, 0))
        elif record is members[record.study][0]:
            rows += _unfold(lines[record.study], view)
    return rows + [row for line in empty for row in _unfold(line, view)]


def _unfold(line: StudyLine, view: Arrangement) -> list[Row]:
    """The study's row and those below it; an arm of one seed is its run."""
    rows: list[Row] = [line]
    for arm in () if line.is_folded else line.shown_arms:
        if len(arm.states) == 1 and arm.runs:
            rows.append(view.build_row(arm.runs[0], 1, label=_shorten(arm.runs[0], line.study)))
            continue
        rows.append(arm)
        if not arm.is_folded:
            rows += [view.build_row(record, 2, label=_tell_seed(record)) for record in arm.runs]
    return rows


def _shorten(record: RunRecord, study: StudyRecord) -> str:
    """A run's name without that of its study."""
    return record.run.name.removeprefix(f"{study.study.name}-")


def _tell_seed(record: RunRecord) -> str:
    """The end of a run's name that tells it from the others of its arm; empty where it has none such."""
    seed = f"s{record.run.seed}"
    return seed if record.run.name.endswith(f"-{seed}") else ""


def _build_line(study: StudyRecord, members: Sequence[RunRecord], view: Arrangement) -> StudyLine:
    places = {record.run.run_id: place for place, record in enumerate(members)}
    by_title: dict[str, list[Member]] = {}
    for member in zip(study.arms, study.states, strict=True):
        by_title.setdefault(member[0].arm, []).append(member)
    arms = [_build_arm(own, places, members, view) for own in by_title.values()]
    if not view.has_own_order:
        arms = _sort_arms(arms, places, view)
    return StudyLine(
        study,
        tuple(arms),
        sum(_list_fractions(study.run_ids, view.runs)) / max(1, len(study.arms)),
        estimate_study_left(study, view.runs, view.left_s),
        view.is_folded(key_study(study.study.study_id)),
        view.is_all_selected(members),
        view.is_filtered,
    )


def _build_arm(
    own: Sequence[Member], places: Mapping[str, int], members: Sequence[RunRecord], view: Arrangement
) -> ArmRow:
    run_ids = [arm.run_id for arm, _ in own if arm.run_id is not None]
    found = [places[run_id] for run_id in run_ids if run_id in places]
    runs = tuple(members[place] for place in (found if view.has_own_order else sorted(found)))
    first = own[0][0]
    begun = [view.runs[run_id] for run_id in run_ids if run_id in view.runs]
    row = ArmRow(
        first.study_id,
        first.arm,
        tuple(state for _, state in own),
        runs,
        len(begun),
        compute_means(begun),
        sum(_list_fractions(run_ids, view.runs)) / len(own),
        is_folded=True,
        is_selected=view.is_all_selected(runs),
        error=next((arm.error for arm, _ in own if arm.run_id is None and arm.error), None),
    )
    return replace(row, is_folded=view.is_folded(row.key))


def _sort_arms(arms: Sequence[ArmRow], places: Mapping[str, int], view: Arrangement) -> list[ArmRow]:
    """The arms by their mean where that is what the list is sorted by, else by their first run; those without last."""
    key, sign = view.mean_key, -1 if view.is_descending else 1

    def rank(arm: ArmRow) -> tuple[bool, float]:
        if key is not None:
            return key not in arm.means, sign * arm.means.get(key, 0.0)
        return not arm.runs, float(places[arm.runs[0].run.run_id]) if arm.runs else 0.0

    return sorted(arms, key=rank)


def _list_fractions(run_ids: Sequence[str], runs: Mapping[str, RunRecord]) -> list[float]:
    return [runs[run_id].run.fraction_done for run_id in run_ids if run_id in runs]


def estimate_study_left(study: StudyRecord, runs: Mapping[str, RunRecord], left_s: Mapping[str, float]) -> float | None:
    """Seconds until a study that goes on ends, by the runs that it has finished; None where none tells.

    What is left of runs that work and what those that wait take is shared out over as many as work at once.
    """
    if study.state != "running":
        return None
    known = [runs[run_id] for run_id in study.run_ids if run_id in runs]
    spans = [
        record.run.finished_at - record.run.started_at
        for record in known
        if record.state == "done" and record.run.finished_at is not None and record.run.started_at is not None
    ]
    one_s = sum(spans) / len(spans) if spans else None
    lefts: list[float] = []
    for record in known:
        if record.state not in LIVE:
            continue
        left = left_s.get(record.run.run_id)
        if left is None and one_s is not None:
            left = one_s * (1.0 - record.run.fraction_done)
        if left is None:
            return None
        lefts.append(left)
    n_waiting = study.states.count(WAITING)
    if n_waiting and one_s is None:
        return None
    total = sum(lefts) + n_waiting * (one_s or 0.0)
    return max([total / max(1, min(study.study.jobs, len(lefts) + n_waiting)), *lefts])


def tell_counts(states: Sequence[str]) -> str:
    """How many runs are done of how many, and how the others stand: 7/10 done, 1 failed."""
    counts = [f"{states.count('done')}/{len(states)} done"]
    counts += [f"{n} {word}" for state, word in _TOLD.items() if (n := states.count(state))]
    return ", ".join(counts)


def tell_size(study: StudyRecord) -> str:
    """Arms times seeds: 9 arms × 5 seeds; the number of runs where that is no product."""
    n_arms, n_seeds, n_runs = len(study.titles), len(study.seeds), len(study.arms)
    if n_arms * n_seeds != n_runs:
        return f"{n_runs} runs"
    return f"{format_quantity(n_arms, 'arm')} × {format_quantity(n_seeds, 'seed')}"


def find_arm_state(states: Sequence[str]) -> str:
    """How several runs stand in one word: what asks for a person first, then what goes on, then done."""
    return next((state for state in _BY_URGENCY if state in states), "done")
