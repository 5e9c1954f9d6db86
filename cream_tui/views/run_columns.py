"""The columns of the list of runs and their cells.

Pure: rows in, texts and style names out. Foreign texts (names, tags, settings) are made visible here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cream_tui.output import measure
from cream_tui.result_table import STAND_IN_ITERATION
from cream_tui.styles import RUN_MARKS
from cream_tui.text import make_visible
from cream_tui.units import MISSING, format_left, format_number, format_percent, format_short_age, format_signed
from cream_tui.views.columns import Cell, Column, RowCells
from cream_tui.views.run_rows import ArmRow, GroupRow, Row, RunRow, StudyLine
from cream_tui.views.studies import find_arm_state, tell_counts, tell_size

_WORDS = {
    "running": "run",
    "done": "done",
    "failed": "fail",
    "stopped": "stop",
    "queued": "queue",
    "stale": "stale",
    "waiting": "to go",
}
STATE_STYLES = {"running": "live", "done": "good", "failed": "bad", "stopped": "warn", "stale": "bad", "queued": "dim"}
_BAR_WIDTH = 6
_SELECTED, _PINNED, _WARNING = "■", "◆", "!"
LEGEND = f"{_SELECTED} selected  {_PINNED} pinned as baseline  {_WARNING} warning"

_NAME_WIDTH = 36
COLUMNS: tuple[Column, ...] = (
    Column("", "", 3),
    Column("state", "state", 7),
    Column("name", "name", 12, most=_NAME_WIDTH, is_cut_in_middle=True),
    Column("method", "method", 8, rank=9),
    Column("seed", "seed", 4, "right", rank=10),
    Column("iteration", "it", 3, "right", rank=2),
    Column("progress", "done", 4, "right"),
    Column("", "", _BAR_WIDTH, rank=12),
    Column("", "left", 7, "right", rank=8),
    Column("accuracy", "acc %", 5, "right"),
    Column("C", "C", 4, "right", rank=5),
    Column("tau", "tau", 6, "right", rank=4),
    Column("anchor", "anchor", 6, "right", rank=6),
    Column("labels", "label%", 6, "right", rank=7),
    Column("age", "age", 4, "right", rank=3),
    Column("tag", "tags", 8, rank=11, most=24),
)
_MEANS = {
    "accuracy": format_percent,
    "C": format_number,
    "tau": format_signed,
    "anchor": format_signed,
    "labels": format_percent,
}


def build_columns(rows: Sequence[Row]) -> tuple[Column, ...]:
    """The columns, that of the names as wide as studies need it: there it is names that tell arms apart."""
    longest = max((measure(_name_arm(row)) for row in rows if isinstance(row, ArmRow)), default=0)
    return tuple(
        replace(column, wish=min(longest, _NAME_WIDTH)) if column.key == "name" else column for column in COLUMNS
    )


def build_cells(row: Row) -> RowCells:
    """The cells of a row, one for each column."""
    match row:
        case StudyLine():
            return _build_study_cells(row)
        case ArmRow():
            return _build_arm_cells(row)
        case GroupRow():
            return _build_group_cells(row)
        case RunRow():
            return _build_run_cells(row)


def name_group(row: GroupRow) -> str:
    """The group's values, in words."""
    return make_visible(", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in row.group.values))


def describe_model(row: RunRow) -> str:
    """The newest model that the run has: M_t in iteration t, the last one where it is done."""
    run = row.record.run
    if row.record.state == "done":
        return f"M{run.iterations + 1}"
    return f"M{run.iteration}" if run.n_stages_done or run.current_stage else MISSING


def describe_state(state: str) -> str:
    """Mark and short word of a state."""
    return f"{RUN_MARKS.get(state, '·')} {_WORDS.get(state, state)}"


def draw_bar(fraction: float, width: int = _BAR_WIDTH) -> str:
    """A share as a bar."""
    n_full = int(fraction * width + 0.5)
    return "▆" * n_full + "▁" * (width - n_full)


def _build_run_cells(row: RunRow) -> RowCells:
    record = row.record
    run = record.run
    marks = (
        (_SELECTED if row.is_selected else " ")
        + (_PINNED if run.is_baseline else " ")
        + (_WARNING if record.is_marked else " ")
    )
    mark_style = "accent" if row.is_selected or run.is_baseline else "warn"
    name = make_visible(row.label or run.name)
    left = "" if row.left_s is None else format_left(row.left_s)
    has_stand_in = run.tau_iteration == STAND_IN_ITERATION and run.tau_previous is not None
    return RowCells(
        (
            Cell(marks, mark_style),
            _build_state(record.state),
            Cell("  " * row.depth + name, "bold" if run.is_baseline else ""),
            Cell(make_visible(run.method)),
            Cell(str(run.seed)),
            Cell(describe_model(row)),
            Cell(f"{int(100 * run.fraction_done)}%", _choose_style(record.state)),
            Cell(draw_bar(run.fraction_done), "dim" if record.state == "done" else "live"),
            Cell(left),
            Cell(format_percent(run.accuracy)),
            Cell(format_number(run.confidence)),
            Cell(format_signed(run.tau_previous) + ("*" if has_stand_in else " ")),
            Cell(format_signed(run.tau_anchor)),
            Cell(format_percent(run.label_accuracy)),
            Cell(format_short_age(record.age_s), "dim"),
            Cell(make_visible(" ".join(run.tags)), "dim"),
        )
    )


def _build_group_cells(row: GroupRow) -> RowCells:
    group = row.group
    label = f"{_mark_fold(row.is_folded)} {name_group(row)} ({len(group.runs)})"
    return RowCells(_place(_write_means(group.means)), Cell(label, "group"), "accuracy")


def _build_study_cells(row: StudyLine) -> RowCells:
    study = row.study
    words = [f"{_mark_fold(row.is_folded)} {make_visible(study.study.name)}", tell_counts(study.states)]
    words += [] if study.state == "done" else [f"{int(100 * row.fraction_done)} %"]
    words += [] if row.left_s is None else [f"{format_left(row.left_s)} left"]
    words += [row.shown] if row.shown else []
    cells = _place(
        {"state": _build_state(study.state), "age": Cell(format_short_age(study.age_s), "dim")},
        _mark_selection(row.is_selected),
    )
    return RowCells(cells, Cell("  ".join([*words, tell_size(study)]), "group"), "age", "name")


def _build_arm_cells(row: ArmRow) -> RowCells:
    state = find_arm_state(row.states)
    cells = {
        "state": _build_state(state),
        "name": Cell(_name_arm(row), "group"),
        "seed": Cell(f"×{len(row.states)}", "group"),
        "progress": Cell(f"{int(100 * row.fraction_done)}%", _choose_style(state)),
        **_write_means(row.means),
    }
    bar = Cell(draw_bar(row.fraction_done), "dim" if state == "done" else "live")
    return RowCells(_place(cells, _mark_selection(row.is_selected), bar))


def _name_arm(row: ArmRow) -> str:
    name = f"  {_mark_fold(row.is_folded)} {make_visible(row.title)}"
    return f"{name} ({row.shown.removesuffix(' shown')})" if row.shown else name


def _build_state(state: str) -> Cell:
    return Cell(describe_state(state), STATE_STYLES.get(state, ""))


def _mark_selection(is_selected: bool) -> Cell:
    return Cell(_SELECTED if is_selected else "", "accent")


def _write_means(means: Mapping[str, float]) -> dict[str, Cell]:
    texts = {key: write(means.get(key)) for key, write in _MEANS.items()}
    texts["tau"] += " "  # where runs have the mark of a stand-in
    return {key: Cell(text, "group") for key, text in texts.items()}


def _place(cells: Mapping[str, Cell], *unnamed: Cell) -> tuple[Cell, ...]:
    """The cells in the order of the columns; ``unnamed`` go into the columns without a key: marks, bar, time left."""
    others = iter(unnamed)
    return tuple(cells.get(column.key, Cell("")) if column.key else next(others, Cell("")) for column in COLUMNS)


def _choose_style(state: str) -> str:
    return "dim" if state == "done" else "live" if state == "running" else ""


def _mark_fold(is_folded: bool) -> str:
    return "▶" if is_folded else "▼"
