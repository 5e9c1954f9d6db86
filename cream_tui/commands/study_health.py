"""What `health` says of a study: the two sections of its report on health, for a terminal.

Counts nothing itself: what is warned of, and how often, is the report's.
"""

from __future__ import annotations

import sqlite3

from cream_tui import output
from cream_tui.output import Cell, Column
from cream_tui.readers.compared_runs import read_compared_arms
from cream_tui.report.blocks import Block, Bullets, Fold, Paragraph, Section, Table
from cream_tui.report.health_section import build_health_section, build_warning_section
from cream_tui.report.reading import read_report_data
from cream_tui.text import make_visible
from cream_tui.units import MISSING
from cream_tui.views.health import STATUS_MARKS
from db.rows import RunRow
from db.studies import StudyRow


def list_runs(connection: sqlite3.Connection, study: StudyRow) -> list[tuple[str, RunRow]]:
    """The runs of a study that have begun, each with its arm's title."""
    compared = read_compared_arms(connection, [study.study_id])
    return [(arm.title, run) for arm in compared.arms for run in arm.runs]


def print_study(connection: sqlite3.Connection, study: StudyRow) -> None:
    """Print which diagnostics warn in how many runs of which arms, and the early warning.

    Raises:
        RunNotFoundError: None of its runs has begun.
    """
    data = read_report_data(connection, [study.study_id])
    output.print_lines([[Cell(make_visible(study.name), "bold")]])
    for section in (build_warning_section(data), build_health_section(data)):
        _print_section(section)


def _print_section(section: Section) -> None:
    output.print_text()
    output.print_text(section.title, "bold")
    for block in section.blocks:
        _print_block(block)


def _print_block(block: Block) -> None:
    match block:
        case Paragraph(text):
            output.print_paragraph(text)
        case Bullets(items):
            for item in items:
                output.print_paragraph(f"- {item}", "dim")
        case Fold(title, blocks):
            output.print_text()
            output.print_text(f"{title}:", "dim")
            for inner in blocks:
                _print_block(inner)
        case Table(is_text=True):
            _print_texts(block)
        case Table():
            columns = [Column(title, is_flexible=k < block.n_heads) for k, title in enumerate(block.titles)]
            output.print_table(columns, block.rows)
            output.print_paragraph(block.caption, "dim")


def _print_texts(table: Table) -> None:
    """A paragraph for each cell: such texts are longer than a terminal is wide."""
    for name, *cells in table.rows:
        output.print_paragraph(f"{STATUS_MARKS['warn']} {name}", "yellow")
        for title, text in zip(table.titles[1:], cells, strict=True):
            if text != MISSING:
                output.print_paragraph(f"  {title}: {text}")
    output.print_paragraph(table.caption, "dim")
