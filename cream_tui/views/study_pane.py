"""What the list of runs says of a study or an arm under its cursor: a pane of lines, or one line.

Pure: rows in, lines of styled texts out. Foreign texts are made visible here.
"""

from __future__ import annotations

import textwrap

from cream_tui.output import cut
from cream_tui.styles import RUN_MARKS
from cream_tui.text import make_visible
from cream_tui.units import format_left, format_number, format_percent, format_signed
from cream_tui.views.columns import Cell, cut_middle
from cream_tui.views.run_columns import STATE_STYLES
from cream_tui.views.run_pane import PaneLine
from cream_tui.views.run_rows import ArmRow, StudyLine
from cream_tui.views.studies import find_arm_state, tell_counts, tell_size
from cream_tui.views.study_account import tell_failures

_TITLE_WIDTH = 10
_MOST_ERROR_LINES = 4
_FORMATS = {"accuracy": format_percent, "labels": format_percent, "C": format_number, "consistency": format_number}
_BAD = ("failed", "stale")


def build_head_pane(row: StudyLine | ArmRow, width: int, height: int) -> list[PaneLine]:
    """What is said of a study or an arm."""
    return build_arm_pane(row, width, height) if isinstance(row, ArmRow) else build_study_pane(row, width, height)


def build_study_pane(row: StudyLine, width: int, height: int) -> list[PaneLine]:
    """How far the study is, its arms with their mean accuracies, and what went wrong."""
    study = row.study
    facts = [("size", tell_size(study)), ("at once", f"{study.study.jobs}")]
    facts += [("left", f"about {format_left(row.left_s)}")] if row.left_s is not None else []
    facts += [("c", "curves, table and tests")] if row.runs else []
    counts = textwrap.wrap(tell_counts(study.states), width)
    lines = [_tell_state(study.state, row.fraction_done), *((Cell(text),) for text in counts), ()]
    lines += [(Cell(title.ljust(_TITLE_WIDTH), "dim"), Cell(text)) for title, text in facts]
    if study.state == "stale":
        lines.append((Cell("its process is gone; R goes on", "bad"),))
    lines += _tell_error(study.study.error, width)
    lines += _tell_hidden(row)
    lines += [(), (Cell("arm, runs done, mean accuracy in %", "dim"),)]
    room = max(6, width - 15)
    for arm in row.arms[: max(1, height - len(lines) - _MOST_ERROR_LINES)]:
        is_bad = any(state in _BAD for state in arm.states)
        done = f"{arm.states.count('done')}/{len(arm.states)}"
        name = cut_middle(make_visible(arm.title), room)
        accuracy = format_percent(arm.means.get("accuracy"))
        style = "bad" if is_bad else "dim" if row.is_filtered and not arm.runs else ""
        lines.append((Cell(name.ljust(room), style), Cell(f"{done:>7}", "dim"), Cell(f"{accuracy:>7}")))
    for names, error in tell_failures(study.arms):
        lines += [(), (Cell(cut(make_visible(names), width), "bad"),), *_tell_error(error, width)]
    return lines[:height]


def build_arm_pane(row: ArmRow, width: int, height: int) -> list[PaneLine]:
    """The arm's means, and each of its runs with its accuracy."""
    state = find_arm_state(row.states)
    lines = [_tell_state(state, row.fraction_done), (Cell(tell_counts(row.states)),), *_tell_error(row.error, width)]
    lines += _tell_hidden(row)
    lines += [(), (Cell(f"means over {row.n_begun} of {len(row.states)} seeds", "dim"),)]
    lines += [
        (Cell(name.ljust(_TITLE_WIDTH + 3), "dim"), Cell(_FORMATS.get(name, format_signed)(value)))
        for name, value in row.means.items()
    ]
    lines += [(), (Cell("seed, accuracy in %", "dim"),)]
    for record in row.runs:
        mark = Cell(RUN_MARKS.get(record.state, "·") + " ", STATE_STYLES.get(record.state, ""))
        lines.append((mark, Cell(f"{record.run.seed:<8}"), Cell(f"{format_percent(record.run.accuracy):>6}")))
    return lines[:height]


def build_head_summary(row: StudyLine | ArmRow) -> PaneLine:
    """A study or an arm in one line, the most important first."""
    if isinstance(row, ArmRow):
        accuracy = format_percent(row.means.get("accuracy"))
        shown = f" of all, {row.shown}" if row.shown else ""
        words = f"{tell_counts(row.states)}  mean accuracy {accuracy} %{shown}"
        return (Cell(make_visible(row.title), "bold"), Cell(f"  {words}"), Cell("  enter unfolds or folds", "dim"))
    study = row.study
    cells = [Cell(make_visible(study.study.name), "bold")]
    cells += [Cell(f"  {format_left(row.left_s)} left", "live")] if row.left_s is not None else []
    cells += [Cell(f"  {make_visible(study.study.error)}", "bad")] if study.study.error else []
    return (*cells, Cell(f"  {tell_counts(study.states)}  {tell_size(study)}, {study.study.jobs} at once"))


def _tell_state(state: str, fraction: float) -> PaneLine:
    cells = [Cell(f"{RUN_MARKS.get(state, '·')} {state}", STATE_STYLES.get(state, ""))]
    return (*cells, *([Cell(f"  {int(100 * fraction)} %")] if state != "done" else []))


def _tell_hidden(row: StudyLine | ArmRow) -> list[PaneLine]:
    """How many runs the filter leaves; numbers are of all."""
    return [(Cell(f"filter: {row.shown}; means of all", "dim"),)] if row.shown else []


def _tell_error(error: str | None, width: int) -> list[PaneLine]:
    told = make_visible(error or "", keep_newlines=True).split("\n")
    wrapped = [part for line in told for part in textwrap.wrap(line, width)]
    return [(Cell(text, "bad"),) for text in wrapped[:_MOST_ERROR_LINES]]
