"""What `watch`, `stop`, `resume`, `rm` and `show` do with a study instead of a run.

Changes studies through engine.runtime.study_control only.
"""

from __future__ import annotations

import shlex
import sqlite3
import time
from pathlib import Path

from cream_tui import diagnostics, output
from cream_tui.commands.sweep import announce, build_record, follow_to_end
from cream_tui.output import Cell, Column
from cream_tui.readers.run_tables import RunTableReader
from cream_tui.readers.study_records import StudyRecord
from cream_tui.stores import format_command, open_run_reader
from cream_tui.study_progress import find_record
from cream_tui.styles import RUN_STYLES
from cream_tui.text import make_visible
from cream_tui.units import MISSING, format_age, format_percent, format_quantity
from cream_tui.views.studies import LIVE, tell_counts, tell_size
from cream_tui.views.study_account import build_account, tell_account, tell_failures
from db.exports import format_time
from db.studies import StudyRow, read_study_stages
from engine.errors import ExitCode

_ARM_COLUMNS = (
    Column("arm", is_flexible=True),
    Column("seed", "right"),
    Column("run", is_flexible=True),
    Column("state"),
    Column("stages", "right"),
    Column("accuracy\n%", "right"),
)


def watch(root: Path, store: str | None, study: StudyRow) -> int:
    """Follow a study to its end."""
    return follow_to_end(root, store, study)


def stop(root: Path, store: str | None, study: StudyRow) -> int:
    """Stop a study and all its runs."""
    from engine.runtime.study_control import stop_study

    with open_run_reader(str(root)) as (_, connection):
        record = find_record(RunTableReader().read(connection), study.study_id)
    if record.state in ("done", "failed", "stopped") and not any(state in LIVE for state in record.states):
        diagnostics.narrate(f"{study.name} is {record.state} already")
        return ExitCode.DONE
    diagnostics.narrate(f"stopping {study.name} and its runs ...")
    stop_study(root, study)
    again = format_command(f"resume {shlex.quote(study.name)}", store)
    diagnostics.narrate(f"{study.name} is stopped; go on with: {again}")
    return ExitCode.DONE


def resume(root: Path, store: str | None, study: StudyRow, *, is_detached: bool) -> int:
    """Go on with a study and follow it."""
    from engine.runtime.study_control import resume_study

    since = time.time()
    resumed = resume_study(root, study)
    if resumed.lease is None and resumed.finished_at == study.finished_at:
        diagnostics.narrate(f"{study.name} is done already")
        return ExitCode.DONE
    if is_detached:
        return announce(root, store, resumed, "resumed")
    diagnostics.narrate(f"{study.name} ({study.study_id}) resumed; store {root}")
    return follow_to_end(root, store, resumed, since=since)


def remove(root: Path, study: StudyRow) -> int:
    """Remove a study and its runs; the person was asked before."""
    from engine.runtime.study_control import delete_study

    removed = delete_study(root, study)
    diagnostics.narrate(f"removed {study.name} and {format_quantity(len(removed), 'run')}")
    return ExitCode.DONE


def show(connection: sqlite3.Connection, store: str | None, study: StudyRow, *, as_json: bool) -> int:
    """Print a study: its arms, how their runs stand, and its account."""
    table = RunTableReader().read(connection)
    record = find_record(table, study.study_id)
    account = build_account(record.arms, read_study_stages(connection, study.study_id))
    if as_json:
        output.print_json(build_record(record, account))
        return ExitCode.DONE
    runs = {run.run.run_id: run.run for run in table.records}
    _print_head(record)
    output.print_text()
    rows: list[list[str | Cell]] = []
    for arm, state in zip(record.arms, record.states, strict=True):
        run = runs.get(arm.run_id or "")
        rows.append(
            [
                arm.arm,
                str(arm.seed),
                arm.run_name if run is not None else "",
                Cell(state, RUN_STYLES.get(state, "dim")),
                f"{run.n_stages_done}/{run.n_stages}" if run is not None else "",
                format_percent(run.accuracy if run is not None else None),
            ]
        )
    output.print_table(_ARM_COLUMNS, rows)
    if any(state != "done" and row[-1] != MISSING for state, row in zip(record.states, rows, strict=True)):
        output.print_paragraph(
            "accuracy: of the newest evaluated model, in a run that is not done an earlier one than in the others"
        )
    output.print_text()
    output.print_paragraph(tell_account(account))
    _print_end(record, store)
    return ExitCode.DONE


def _print_head(record: StudyRecord) -> None:
    study = record.study
    output.print_lines([[Cell(make_visible(study.name), "bold")]])
    created = (format_time(study.created_at) or "")[:19].replace("T", " ")
    output.print_facts(
        [
            ("study", study.study_id),
            ("state", Cell(record.state, RUN_STYLES.get(record.state, ""))),
            ("runs", f"{tell_size(record)}: {tell_counts(record.states)}"),
            ("at once", str(study.jobs)),
            ("created", f"{created} UTC ({format_age(record.age_s)})"),
        ]
    )


def _print_end(record: StudyRecord, store: str | None) -> None:
    study = record.study
    for names, message in tell_failures(record.arms):
        diagnostics.fail(f"{names}: {message}")
    if study.error is not None:
        diagnostics.fail(study.error)
    if record.state in ("failed", "stopped", "stale", "queued"):
        diagnostics.narrate(f"\nGo on with: {format_command(f'resume {shlex.quote(study.name)}', store)}")
