"""`health`: every diagnostic of a run with its value and threshold, what warns explained, and the early warning."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cream_tui import output
from cream_tui.health.findings import EarlyWarning, Finding, Status
from cream_tui.health.rules import UNKNOWN
from cream_tui.output import Cell, Column
from cream_tui.readers.health_reader import HealthData, HealthReader
from cream_tui.stores import open_run_reader
from cream_tui.text import make_visible
from cream_tui.units import MISSING, format_percent
from cream_tui.views.health import ORIGIN, STATUS_MARKS, count_statuses, find_early_status, tell_early_warning
from db.studies import StudyRow, find_run_or_study
from engine.errors import ExitCode

_COLUMNS = (
    Column(""),
    Column("diagnostic", is_flexible=True),
    Column("value", "right"),
    Column("of"),
    Column("warns", is_flexible=True, rank=1),
)
_STYLES: dict[Status, str] = {"warn": "yellow", "ok": "green", "unknown": "dim"}


def health(store: str | None, run: str, *, as_json: bool) -> int:
    """Print the diagnostics of a run, or those of a study by arm; what warns is no failure of the command."""
    with open_run_reader(store) as (_, connection):
        named = find_run_or_study(connection, run)
        if isinstance(named, StudyRow):
            return _show_study(connection, named, as_json=as_json)
        data = HealthReader(named.run_id).read(connection)
    if as_json:
        output.print_json(_build_record(data))
        return ExitCode.DONE
    snapshot, found = data.snapshot, data.diagnosis
    title = Cell(make_visible(snapshot.run.name), "bold")
    output.print_lines([[title, Cell(f"  {snapshot.state}  {count_statuses(found)}")]])
    _print_marked(find_early_status(found.early), _tell_early(found.early))
    ordered = [finding for status in STATUS_MARKS for finding in found.findings if finding.status == status]
    output.print_text()
    output.print_table(_COLUMNS, map(_build_row, ordered))
    for finding in ordered:
        if finding.status == "warn":
            output.print_text()
            _print_marked("warn", finding.sentence)
            output.print_paragraph(finding.meaning)
            output.print_paragraph(f"Try: {finding.advice}", "dim")
    _print_unknown([finding for finding in ordered if finding.status == "unknown"])
    return ExitCode.DONE


def _show_study(connection: sqlite3.Connection, study: StudyRow, *, as_json: bool) -> int:
    from cream_tui.commands import study_health

    if not as_json:
        study_health.print_study(connection, study)
        return ExitCode.DONE
    records = [
        {"arm": arm, "seed": run.seed, **_build_record(HealthReader(run.run_id).read(connection))}
        for arm, run in study_health.list_runs(connection, study)
    ]
    output.print_json({"study_id": study.study_id, "name": study.name, "runs": records})
    return ExitCode.DONE


def _tell_early(early: EarlyWarning | str) -> str:
    told = tell_early_warning(early)
    return told if isinstance(early, str) else f"{told}; it warns from {format_percent(early.threshold, 0)} % on"


def _build_row(finding: Finding) -> list[str | Cell]:
    style = _STYLES[finding.status]
    is_known = finding.value is not None
    return [
        Cell(STATUS_MARKS[finding.status], style),
        Cell(finding.title, "" if is_known else "dim"),
        Cell(finding.shown if is_known else MISSING, style if finding.status == "warn" else ""),
        finding.model or "",
        Cell(finding.threshold, "dim"),
    ]


def _print_marked(status: Status, text: str) -> None:
    output.print_paragraph(f"{STATUS_MARKS[status]} {text}", _STYLES[status])


def _print_unknown(findings: Sequence[Finding]) -> None:
    """Say why there is no value, once for each reason."""
    by_reason: dict[str, list[str]] = {}
    for finding in findings:
        by_reason.setdefault(finding.shown.removeprefix(UNKNOWN), []).append(finding.title)
    if by_reason:
        output.print_text()
    for reason, titles in by_reason.items():
        output.print_paragraph(f"{STATUS_MARKS['unknown']} {UNKNOWN}{reason}: {', '.join(titles)}", "dim")


def _build_record(data: HealthData) -> dict[str, Any]:
    return {
        "run_id": data.snapshot.run.run_id,
        "name": data.snapshot.run.name,
        "state": data.snapshot.state,
        "early_warning": _build_early_record(data.diagnosis.early),
        "findings": [
            {**asdict(finding), "history": [{"model": model, "value": value} for model, value in finding.history]}
            for finding in data.diagnosis.findings
        ],
    }


def _build_early_record(early: EarlyWarning | str) -> dict[str, Any]:
    if isinstance(early, str):
        return {"status": "unknown", "reason": early}
    return {
        "status": find_early_status(early),
        "origin": ORIGIN,
        "model": early.model,
        "probability": early.probability,
        "threshold": early.threshold,
        "features": dict(early.features),
        "did_fall": early.outcome,
    }
