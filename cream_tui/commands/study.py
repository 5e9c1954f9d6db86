"""What `watch`, `stop`, `resume`, `rm` and `show` do with a study instead of a run.

Changes studies through engine.runtime.study_control only.
"""

from __future__ import annotations

import shlex
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cream_tui import diagnostics, output
from cream_tui.charts.spark import spark
from cream_tui.commands.sweep import announce, build_record, follow_to_end
from cream_tui.comparison.arms import sort_models
from cream_tui.filtering.parser import quote
from cream_tui.output import Cell, Column
from cream_tui.readers.run_tables import RunTableReader
from cream_tui.readers.study_records import StudyRecord
from cream_tui.stores import format_command, open_run_reader
from cream_tui.study_progress import find_record
from cream_tui.styles import RUN_STYLES
from cream_tui.text import make_visible
from cream_tui.units import format_age, format_interval, format_percent, format_quantity
from cream_tui.views.studies import LIVE, tell_counts, tell_size
from cream_tui.views.study_account import build_account, tell_account, tell_failures
from cream_tui.views.study_arms import ArmSummary, list_open_runs, summarise_arms
from db.errors import LeaseHeldError
from db.exports import format_time
from db.studies import StudyRow, read_study_accuracies, read_study_stages
from engine.errors import ExitCode

_N_NAMES = 6
_OPEN = (*LIVE, "stale")
_ACCURACY = "accuracy: of the newest evaluated model, mean and Student's interval over the seeds that have it"


def watch(root: Path, store: str | None, study: StudyRow) -> int:
    """Follow a study to its end."""
    return follow_to_end(root, store, study)


def stop(root: Path, store: str | None, study: StudyRow) -> int:
    """Stop a study and all its runs."""
    from engine.runtime.study_control import stop_study

    record = _read_record(root, study)
    if record.state in ("done", "failed", "stopped") and not any(state in _OPEN for state in record.states):
        diagnostics.narrate(f"{study.name} is {record.state} already")
        return ExitCode.DONE
    diagnostics.narrate(f"stopping {study.name} and its runs ...")
    stop_study(root, study)
    record = _read_record(root, study)
    words = f"{study.name} is {record.state} ({tell_counts(record.states)})"
    if record.state != "done":
        words += f"; go on with: {format_command(f'resume {shlex.quote(study.name)}', store)}"
    diagnostics.narrate(words)
    return ExitCode.DONE


def _read_record(root: Path, study: StudyRow) -> StudyRecord:
    with open_run_reader(str(root)) as (_, connection):
        return find_record(RunTableReader().read(connection), study.study_id)


def resume(root: Path, store: str | None, study: StudyRow, *, is_detached: bool) -> int:
    """Go on with a study, or find it going on, and follow it."""
    from engine.runtime.study_control import resume_study

    since, word = time.time(), "resumed"
    if _read_record(root, study).state == "done":
        diagnostics.narrate(f"{study.name} is done already")
        return ExitCode.DONE
    try:
        resume_study(root, study)
    except LeaseHeldError:
        word = "is running already"
    if is_detached:
        return announce(root, store, study, word)
    diagnostics.narrate(f"{study.name} ({study.study_id}) {word}; store {root}")
    return follow_to_end(root, store, study, since=since)


def remove(root: Path, study: StudyRow) -> int:
    """Remove a study and its runs; the person was asked before."""
    from engine.runtime.study_control import delete_study

    removed = delete_study(root, study)
    diagnostics.narrate(f"removed {study.name} and {format_quantity(len(removed), 'run')}")
    return ExitCode.DONE


def show(connection: sqlite3.Connection, store: str | None, study: StudyRow, *, as_json: bool) -> int:
    """Print a study: its arms, how their runs stand, how accurate they are, and its account."""
    record = find_record(RunTableReader().read(connection), study.study_id)
    account = build_account(record.arms, read_study_stages(connection, study.study_id))
    summaries = summarise_arms(record, read_study_accuracies(connection, study.study_id))
    if as_json:
        content = build_record(record, account)
        output.print_json({**content, "by_arm": [_build_summary_record(summary) for summary in summaries]})
        return ExitCode.DONE
    _print_head(record)
    output.print_text()
    _print_arms(summaries)
    for state, names in list_open_runs(record).items():
        more = f" and {len(names) - _N_NAMES} more" if len(names) > _N_NAMES else ""
        output.print_paragraph(f"{state}: {', '.join(names[:_N_NAMES])}{more}")
    output.print_text()
    output.print_paragraph(tell_account(account))
    own = shlex.quote(f"study={quote(study.name, is_word=False)}")
    output.print_text(f"Its runs: {format_command(f'ls --filter {own}', store)}", "dim")
    _print_end(record, store)
    return ExitCode.DONE


def _print_arms(summaries: Sequence[ArmSummary]) -> None:
    """A row for each arm; all curves are drawn on one scale."""
    means = [mean for summary in summaries for mean in summary.curve]
    trained = sort_models({name for summary in summaries for name in summary.models if name != "M0"})
    n_models = len(trained)
    columns = [
        Column("arm", is_flexible=True),
        Column("runs\ndone", "right"),
        Column("state"),
        Column("model"),
        Column("seeds", "right", rank=1),
        Column("accuracy\n%", "right"),
        Column("95 %\ninterval", "right"),
        *([Column(f"{trained[0]} to\n{trained[-1]}", rank=2)] if n_models > 1 else []),
    ]
    rows: list[list[str | Cell]] = []
    for summary in summaries:
        model, found = summary.newest or ("", None)
        state = "" if summary.state == "done" else summary.state
        row: list[str | Cell] = [
            summary.title,
            f"{summary.n_done}/{summary.n_runs}",
            Cell(state, RUN_STYLES.get(state, "dim")),
            model,
            "" if found is None else str(found.n_seeds),
            format_percent(None if found is None else found.mean),
            format_interval(None if found is None else found.interval),
        ]
        if n_models > 1:
            row.append(spark(summary.curve, n_models, low=min(means), high=max(means)))
        rows.append(row)
    output.print_table(columns, rows)
    if means:
        scale = f"; the curves go from {format_percent(min(means))} to {format_percent(max(means))} %"
        output.print_paragraph(f"{_ACCURACY}{scale if n_models > 1 else ''}", "dim")


def _build_summary_record(summary: ArmSummary) -> dict[str, Any]:
    return {
        "arm": summary.title,
        "n_runs": summary.n_runs,
        "n_done": summary.n_done,
        "state": summary.state,
        "models": {
            name: {"accuracy": found.mean, "low": found.low, "high": found.high, "n_seeds": found.n_seeds}
            for name, found in summary.models.items()
        },
    }


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
