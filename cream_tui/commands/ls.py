"""`ls`: the runs of a store. On the fast path: query modules only, no rich, no pydantic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cream_tui import diagnostics, output
from cream_tui.filtering.runs import (
    RunGroup,
    compile_run_filter,
    find_key,
    group_runs,
    list_other_keys,
    name_other_keys,
    sort_runs,
)
from cream_tui.output import Cell, Column
from cream_tui.readers.run_records import STATES, RunRecord
from cream_tui.readers.run_tables import RunTable, RunTableReader
from cream_tui.readers.study_records import StudyRecord
from cream_tui.result_table import STAND_IN_ITERATION, STAND_IN_LEGEND
from cream_tui.stores import open_run_reader
from cream_tui.styles import RUN_STYLES
from cream_tui.units import format_age, format_percent, format_signed
from cream_tui.views.studies import tell_size
from db.exports import format_time
from db.overview import RunOverview
from engine.errors import ExitCode, find_nearest

_COLUMNS = (
    Column("run"),
    Column("name", is_flexible=True),
    Column("method", rank=1),
    Column("seed", "right", rank=4),
    Column("state"),
    Column("stages", "right"),
    Column("accuracy", "right"),
    Column("tau", "right", rank=2),
    Column("created", "right", rank=3),
)


@dataclass(frozen=True, slots=True)
class Wish:
    """Which runs, in which order, in which groups; ``sort`` None means the newest first.

    A plain list has one row for each study, unless it ``is_flat``.
    """

    filter_text: str = ""
    tag: str | None = None
    state: str | None = None
    sort: str | None = None
    is_descending: bool = False
    group_keys: tuple[str, ...] = ()
    is_flat: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether nothing is asked for but the list."""
        return not (self.filter_text or self.tag or self.state or self.sort or self.group_keys)


def ls(store: str | None, wish: Wish, *, as_json: bool) -> int:
    """Print the runs."""
    if wish.state is not None and wish.state not in STATES:
        nearest = find_nearest(wish.state, STATES)
        raise diagnostics.UsageProblem(
            f"--state {wish.state}: no such state" + (f"; did you mean {nearest}?" if nearest else ""),
            f"There are {', '.join(STATES)}.",
        )
    asked = [*list_other_keys(wish.filter_text), *name_other_keys([*wish.group_keys, *filter(None, [wish.sort])])]
    needs_health = any("warning" in text for text in (wish.filter_text, wish.sort or "", *wish.group_keys))
    with open_run_reader(store) as (root, connection):
        table = RunTableReader().read(connection, asked, examine_s=math.inf if needs_health else None)
    records = _choose(table, wish)
    if wish.group_keys:
        keys = [find_key(name, table.facts, option="--group").name for name in wish.group_keys]
        groups = group_runs(records, keys, table.facts)
        if as_json:
            output.print_json([_build_group_record(group) for group in groups])
        else:
            _print_groups(root, groups, n_all=len(table.records))
    elif as_json:
        output.print_json([_build_record(record) for record in records])
    elif wish.is_plain and not wish.is_flat:
        _print(root, records, n_all=len(table.records), studies=table.studies)
    else:
        _print(root, records, n_all=len(table.records))
    return ExitCode.DONE


def _choose(table: RunTable, wish: Wish) -> list[RunRecord]:
    matches = compile_run_filter(wish.filter_text, table.facts)
    records = [
        record
        for record in table.records
        if matches(record)
        and (wish.tag is None or wish.tag in record.run.tags)
        and wish.state in (None, record.state, record.run.state)  # a stale run is still running by its row
    ]
    if wish.sort is not None:
        key = find_key(wish.sort, table.facts, option="--sort").name
        return sort_runs(records, key, table.facts, descending=wish.is_descending)
    return records[::-1] if wish.is_descending else records


def _print(root: Path, records: Sequence[RunRecord], n_all: int, studies: Sequence[StudyRecord] = ()) -> None:
    if not records and not studies:
        diagnostics.narrate("no run matches" if n_all else f"no runs in {root}; start one: cream-tui demo")
        return
    output.print_table(_COLUMNS, _fold(records, studies))
    _print_legend([record for record in records if record.study is None or not studies])
    if studies:
        diagnostics.narrate("a study is one row: `cream-tui show STUDY` has its arms, `ls --flat` all runs")


def _fold(records: Sequence[RunRecord], studies: Sequence[StudyRecord]) -> list[list[str | Cell]]:
    """A row for each run; a study has one in the place of its first, and above all where it has none."""
    left = {study.study.name: study for study in studies}
    with_runs = {record.study for record in records}
    rows = [_build_study_row(left.pop(name)) for name in list(left) if name not in with_runs]
    for record in records:
        if record.study in left:
            rows.append(_build_study_row(left.pop(record.study)))
        elif record.study is None or not studies:
            rows.append(_build_row(record))
    return rows


def _build_study_row(study: StudyRecord) -> list[str | Cell]:
    return [
        Cell(study.study.study_id, "dim"),
        Cell(study.study.name, "bold"),
        tell_size(study),
        "",
        Cell(study.state, RUN_STYLES.get(study.state, "")),
        f"{study.states.count('done')}/{len(study.states)} runs",
        "",
        "",
        format_age(study.age_s),
    ]


def _print_groups(root: Path, groups: Sequence[RunGroup], n_all: int) -> None:
    if not groups:
        _print(root, (), n_all)
        return
    rows: list[list[str | Cell]] = []
    for group in groups:
        rows += [_build_group_row(group), *(_build_row(record) for record in group.runs)]
    output.print_table(_COLUMNS, rows)
    _print_legend([record for group in groups for record in group.runs])


def _print_legend(records: Sequence[RunRecord]) -> None:
    if any(has_stand_in(record.run) for record in records):
        diagnostics.narrate(STAND_IN_LEGEND)
    if any(record.state == "stale" for record in records):
        diagnostics.narrate("stale: the process is gone; `cream-tui resume RUN` goes on where it ended")


def _build_row(record: RunRecord) -> list[str | Cell]:
    run = record.run
    return [
        Cell(run.run_id, "dim"),
        run.name,
        run.method,
        str(run.seed),
        Cell(record.state, RUN_STYLES.get(record.state, "")),
        f"{run.n_stages_done}/{run.n_stages}",
        format_percent(run.accuracy),
        format_signed(run.tau_previous) + ("*" if has_stand_in(run) else ""),
        format_age(record.age_s),
    ]


def _build_group_row(group: RunGroup) -> list[str | Cell]:
    """The group's values and its means, in the columns of its runs."""
    named = ", ".join(f"{key}={value}" for key, value in group.values)
    n_runs = len(group.runs)
    return [
        Cell("mean", "bold"),
        Cell(f"{named} ({n_runs} {'run' if n_runs == 1 else 'runs'})", "bold"),
        *("", "", "", ""),
        Cell(format_percent(group.means.get("accuracy")), "bold"),
        Cell(format_signed(group.means.get("tau")), "bold"),
        "",
    ]


def has_stand_in(run: RunOverview) -> bool:
    """Whether the newest tau is that of the first iteration, with the base model's likelihood as its other side."""
    return run.tau_iteration == STAND_IN_ITERATION


def _build_group_record(group: RunGroup) -> dict[str, Any]:
    return {
        "group": dict(group.values),
        "n_runs": len(group.runs),
        "means": dict(group.means),
        "runs": [_build_record(record) for record in group.runs],
    }


def _build_record(record: RunRecord) -> dict[str, Any]:
    run = record.run
    return {
        "run_id": run.run_id,
        "name": run.name,
        "method": run.method,
        "seed": run.seed,
        "state": run.state,
        "stale": record.state == "stale",
        "iterations": run.iterations,
        "iteration": run.iteration,
        "study": record.study,
        "tags": list(run.tags),
        "created_at": format_time(run.created_at),
        "started_at": format_time(run.started_at),
        "finished_at": format_time(run.finished_at),
        "n_stages": run.n_stages,
        "n_stages_done": run.n_stages_done,
        "current_stage": run.current_stage,
        "waiting_for": run.waiting_for,
        "accuracy": run.accuracy,
        "consistency_rate": run.consistency_rate,
        "tau_previous": run.tau_previous,
        "tau_anchor": run.tau_anchor,
        "confidence": run.confidence,
        "label_accuracy": run.label_accuracy,
        "note": run.note,
        "is_baseline": run.is_baseline,
        "queue_position": run.queue_position,
        "warnings": list(record.warnings),
        "parent_run_id": run.parent_run_id,
        "error": run.error,
    }
