"""What the list of runs says of the run under its cursor: a pane of lines, or one line where the room is short.

Pure: a record and its details in, lines of styled texts out. Foreign texts are made visible here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from cream_tui.charts.spark import spark
from cream_tui.config_differences import format_setting
from cream_tui.output import cut
from cream_tui.readers.run_forks import describe_fork
from cream_tui.styles import RUN_MARKS
from cream_tui.text import make_visible
from cream_tui.units import format_compact, format_left, format_number, format_percent, format_signed
from cream_tui.views.columns import Cell, cut_middle
from cream_tui.views.run_columns import STATE_STYLES, describe_model
from cream_tui.views.run_rows import GroupRow, RunRow

if TYPE_CHECKING:
    from cream_tui.readers.run_details import RunDetail

PaneLine: TypeAlias = tuple[Cell, ...]
_TITLE_WIDTH = 10
_SUMMARY_NAME_WIDTH = 20
_MOST_DIFFERENCES = 8
_MOST_ERROR_LINES = 4
_MOST_NOTE_LINES = 3
# Settings that a reader asks for first, with what they are called.
_SETTINGS = (
    ("model", "model.path"),
    ("beta", "training.beta"),
    ("lr", "training.learning_rate"),
    ("N", "sampling.n"),
)
_FIGURES: tuple[tuple[str, str, Callable[[float | None], str]], ...] = (
    ("accuracy", "accuracy", format_percent),
    ("tau prev.", "tau_previous", format_signed),
    ("anchor", "tau_anchor", format_signed),
    ("C", "confidence", format_number),
    ("labels", "label_accuracy", format_percent),
)


def build_run_pane(row: RunRow, detail: RunDetail | None, width: int, height: int) -> list[PaneLine]:
    """The run's facts, figures by model, differences to the baseline, and its log in what room is left."""
    lines = [_tell_state(row), *_tell_facts(row, detail, width), *_tell_trouble(row, width)]
    if detail is None:
        return lines[:height]
    lines += _tell_figures(detail)
    lines += _tell_differences(detail, width)
    n_left = height - len(lines) - 2
    if detail.log and n_left > 0:
        lines += [(), (Cell("log", "dim"),)]
        lines += [(Cell(cut(line, width), "dim"),) for line in detail.log[-n_left:]]
    return lines[:height]


def build_group_pane(row: GroupRow) -> list[PaneLine]:
    """The group's values and means."""
    lines: list[PaneLine] = [(Cell(f"{name} ", "dim"), Cell(make_visible(value))) for name, value in row.group.values]
    lines += [(Cell(f"{len(row.group.runs)} runs; the means are over those that have a value", "dim"),), ()]
    formats = {"accuracy": format_percent, "labels": format_percent, "C": format_number, "consistency": format_number}
    lines += [
        (Cell(name.ljust(_TITLE_WIDTH + 3), "dim"), Cell(formats.get(name, format_signed)(value)))
        for name, value in row.group.means.items()
    ]
    return lines


def build_summary(row: RunRow, detail: RunDetail | None) -> PaneLine:
    """The run in one line, the most important first."""
    record = row.record
    cells = [Cell(cut_middle(make_visible(record.run.name), _SUMMARY_NAME_WIDTH), "bold")]
    if row.left_s is not None:
        cells.append(Cell(f"  {format_left(row.left_s)} left", "live"))
    if record.is_marked:
        cells.append(Cell("  ! " + ", ".join(record.tell_warnings()), "warn"))
    if record.run.error and record.state == "failed":
        return (*cells, Cell(f"  {make_visible(record.run.error)}", "bad"))
    if detail is not None:
        for title, name, write in _FIGURES[:3]:
            values = _order(detail.figures.get(name, {}))
            if values:
                cells.append(Cell(f"  {title.removesuffix(' prev.')} ", "dim"))
                cells.append(Cell(f"{_draw(values)} {write(values[-1])}"))
        for title, text in _list_settings(detail):
            cells += [Cell(f"  {title} ", "dim"), Cell(text)]
    return tuple(cells)


def _tell_state(row: RunRow) -> PaneLine:
    record = row.record
    style = STATE_STYLES.get(record.state, "")
    cells = [Cell(f"{RUN_MARKS.get(record.state, '·')} {record.state}", style)]
    cells.append(Cell(f"  {describe_model(row)} of M{record.run.iterations + 1}"))
    if record.state != "done":
        cells.append(Cell(f"  {int(100 * record.run.fraction_done)} %"))
    if row.left_s is not None:
        cells.append(Cell(f"  {format_left(row.left_s)} left"))
    return tuple(cells)


def _tell_facts(row: RunRow, detail: RunDetail | None, width: int) -> list[PaneLine]:
    run = row.record.run
    facts = [("method", f"{make_visible(run.method)}, seed {run.seed}")]
    if detail is not None:
        settings = _list_settings(detail)
        facts += [("config", "  ".join(f"{title} {text}" for title, text in settings))] if settings else []
        facts += [("stage", make_visible(detail.stage))] if detail.stage and row.record.state != "failed" else []
    if row.record.parent is not None:
        parent = make_visible(row.record.parent)
        told = parent if detail is None else describe_fork(parent, detail.run.fork_at, detail.run.lineage_json)
        parts = textwrap.wrap(told, max(8, width - _TITLE_WIDTH), break_on_hyphens=False)
        facts += zip(("fork of", ""), parts, strict=False)
    if run.queue_position is not None and run.state == "queued":
        facts.append(("queue", "waits for its turn"))
    facts += [("tags", make_visible(", ".join(run.tags)))] if run.tags else []
    lines = [(Cell(title.ljust(_TITLE_WIDTH), "dim"), Cell(cut(text, width - _TITLE_WIDTH))) for title, text in facts]
    for k, text in enumerate(textwrap.wrap(make_visible(run.note), width - _TITLE_WIDTH)[:_MOST_NOTE_LINES]):
        lines.append((Cell(("note" if k == 0 else "").ljust(_TITLE_WIDTH), "dim"), Cell(text)))
    return [*lines]


def _tell_trouble(row: RunRow, width: int) -> list[PaneLine]:
    record = row.record
    lines: list[PaneLine] = []
    for text in record.tell_warnings():
        if text != record.state:
            lines += [(Cell(part, "warn"),) for part in textwrap.wrap(f"! {text}", width, subsequent_indent="  ")]
    lines += [(Cell(text, "dim"),) for text in record.tell_minor_warnings()]
    if record.state == "stale":
        lines.append((Cell("its process is gone; R goes on", "bad"),))
    if record.run.error and record.state in ("failed", "stopped"):
        told = make_visible(record.run.error, keep_newlines=True).split("\n")
        wrapped = [part for line in told for part in textwrap.wrap(line, width)]
        lines += [(Cell(text, "bad"),) for text in wrapped[:_MOST_ERROR_LINES]]
    return lines


def _tell_figures(detail: RunDetail) -> list[PaneLine]:
    lines: list[PaneLine] = []
    n_most = max((len(by_model) for by_model in detail.figures.values()), default=0)
    for title, name, write in _FIGURES:
        by_model = detail.figures.get(name, {})
        values = _order(by_model)
        if not values:
            continue
        first, last = min(by_model), max(by_model)
        cells = [Cell(title.ljust(_TITLE_WIDTH), "dim"), Cell(_draw(values).ljust(n_most), "live")]
        if first == last:
            cells.append(Cell(f"  {write(values[-1])}"))
        else:
            cells.append(Cell(f"  {write(values[0])} → {write(values[-1])}"))
        cells.append(Cell(f"  M{first}" if first == last else f"  M{first}–M{last}", "dim"))
        lines.append(tuple(cells))
    return [(), *lines] if lines else []


def _tell_differences(detail: RunDetail, width: int) -> list[PaneLine]:
    if detail.baseline is None:
        return []
    name = cut_middle(make_visible(detail.baseline), max(8, width - 22))
    n = len(detail.differences)
    head = f"{n} {'setting differs' if n == 1 else 'settings differ'} from " if n else "the same settings as "
    lines: list[PaneLine] = [(), (Cell(head, "dim"), Cell(name, "accent"))]
    for key, theirs, own in detail.differences[:_MOST_DIFFERENCES]:
        text = f"{_write(theirs)} → {_write(own)}"
        title = cut_middle(".".join(key.split(".")[-2:]), max(8, width // 2))
        lines.append((Cell(f"{title} ", "dim"), Cell(cut(text, max(6, width - len(title) - 1)))))
    if n > _MOST_DIFFERENCES:
        lines.append((Cell(f"and {n - _MOST_DIFFERENCES} more; c compares", "dim"),))
    return lines


def _list_settings(detail: RunDetail) -> list[tuple[str, str]]:
    found = ((title, detail.settings.get(key)) for title, key in _SETTINGS)
    return [(title, _write(value)) for title, value in found if value is not None]


def _write(value: object) -> str:
    if isinstance(value, float):
        return format_compact(value)
    return "–" if value is None else make_visible(format_setting(value))


def _order(by_model: Mapping[int, float]) -> list[float]:
    return [by_model[model] for model in sorted(by_model)]


def _draw(values: list[float]) -> str:
    """A character per model from 0 to 1: of its own range every small change would look like a great one."""
    return spark(values, len(values), low=0.0, high=1.0)
