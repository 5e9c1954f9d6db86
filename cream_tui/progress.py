"""The live view of runs: redrawn in place on a terminal, one line per event elsewhere.

Knows snapshots. Must not know how runs are started or stopped: it reads the store until every run is over.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cream_tui import diagnostics
from cream_tui.output import Cell, Line, cut, lay_out_table
from cream_tui.pacing import Pace
from cream_tui.readers.health_reader import HealthData, HealthReader
from cream_tui.readers.snapshots import RunSnapshot
from cream_tui.result_table import (
    N_TITLE_LINES,
    RESULT_COLUMNS,
    STAND_IN_LEGEND,
    build_result_rows,
    describe_result,
    has_stand_in,
)
from cream_tui.results import ModelResult
from cream_tui.stage_view import StageView, describe_stage, estimate_time_left
from cream_tui.styles import RUN_STYLES, STAGE_STYLES
from cream_tui.text import make_visible
from cream_tui.units import format_duration
from cream_tui.views.run_alerts import AlertOrder, RunAlert
from db.queries import open_reader, read_data_version

if TYPE_CHECKING:
    from rich.text import Text

POLL_S = 0.25
TICK_S = 1.0
BAR_WIDTH = 16
NARROW_WIDTH = 72
# A run shows so many stages before it shows results.
LEAST_STAGES = 3
MOST_WARNINGS = 3
WAITING = "waits for its turn (cream-tui queue)"
_MARKS = {"done": "✓", "reused": "✓", "failed": "✗", "interrupted": "✗", "running": "▸", "waiting": "…", "pending": "·"}


def follow(root: Path, run_ids: Sequence[str], *, is_kept: bool = True) -> list[RunSnapshot]:
    """Show the runs until each is over or has lost its process; their last state, in the same order.

    Args:
        run_ids: The runs.
        root: The store's folder.
        is_kept: Whether a view that is redrawn in place stays when it ends.
    """
    connection = open_reader(root)
    try:
        view = _LiveView(is_kept=is_kept) if diagnostics.is_terminal() else _PlainView()
        with view:
            return _follow(connection, [HealthReader(run_id) for run_id in run_ids], view)
    finally:
        connection.close()


def _follow(
    connection: sqlite3.Connection, readers: Sequence[HealthReader], view: _LiveView | _PlainView
) -> list[RunSnapshot]:
    version: int | None = None
    read_at = 0.0
    pace = Pace(0.0)
    while True:
        newest = read_data_version(connection)
        now = time.monotonic()
        if pace.wait_s == 0 and (newest != version or now - read_at >= TICK_S):
            version, read_at = newest, now
            with pace.measure():
                runs = [reader.read(connection) for reader in readers]
                view.update(runs)
            snapshots = [run.snapshot for run in runs]
            if all(snapshot.is_over or snapshot.stale for snapshot in snapshots):
                return snapshots
        time.sleep(POLL_S)


class _PlainView:
    """One line for each stage that starts or ends, each model, each diagnostic that warns, and each end of a run."""

    def __init__(self) -> None:
        self._told: set[tuple[str, ...]] = set()

    def __enter__(self) -> _PlainView:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def update(self, runs: Sequence[HealthData]) -> None:
        """Tell what is new."""
        for run in runs:
            snapshot = run.snapshot
            prefix = f"{snapshot.run.name}  " if len(runs) > 1 else ""
            for key, text in list_events(snapshot, run.warnings):
                if (snapshot.run.run_id, *key) not in self._told:
                    self._told.add((snapshot.run.run_id, *key))
                    diagnostics.narrate(make_visible(prefix + text))


def list_events(snapshot: RunSnapshot, warnings: Sequence[RunAlert] = ()) -> list[tuple[tuple[str, ...], str]]:
    """Everything that can be told of a run so far, each with a key that tells it from the others."""
    events: list[tuple[tuple[str, ...], str]] = []
    if snapshot.is_waiting:
        events.append((("queued",), WAITING))
    if snapshot.is_loading and snapshot.n_done == 0:
        events.append((("loading",), "loading libraries"))
    for stage in snapshot.stages:
        if stage.status in ("running", "waiting"):
            other = f", {stage.other} computes it" if stage.other else ""
            word = "waiting" if stage.other else "started"
            events.append(((stage.label, word), f"{stage.label}: {word}{other}"))
        elif stage.status == "failed" and not (snapshot.is_over or snapshot.stale):
            continue  # an earlier try failed; this run has not come to it yet
        elif stage.status != "pending":
            detail = describe_stage(stage)
            words = f"{stage.status} {detail}"
            events.append(((stage.label, stage.status), f"{stage.label}: {words}"))
    for model in _list_ready(snapshot):
        events.append(((model.name, "result"), describe_result(model)))
    events += [(("warning", warning.identity), f"! {warning.text}") for warning in warnings]
    if snapshot.is_over or snapshot.stale:
        events.append((("end", snapshot.state), f"run {snapshot.state}"))
    return events


def _list_ready(snapshot: RunSnapshot) -> list[ModelResult]:
    """Models of which nothing more is to come: evaluated, and their own pairs made."""
    is_over = snapshot.is_over
    last = f"M{snapshot.run.iterations + 1}"
    return [
        model
        for model in snapshot.results
        if model.tasks and (is_over or model.name in ("M0", last) or model.get("n_pairs") is not None)
    ]


class _LiveView:
    """A block for each run, redrawn in place."""

    def __init__(self, *, is_kept: bool) -> None:
        from rich.live import Live

        self._live = Live(
            console=diagnostics.build_console(),
            auto_refresh=False,
            vertical_overflow="crop",
            transient=not is_kept,
        )
        self._orders: dict[str, AlertOrder] = {}

    def __enter__(self) -> _LiveView:
        self._live.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.__exit__(None, None, None)

    def update(self, runs: Sequence[HealthData]) -> None:
        """Draw the runs as they are."""
        size = shutil.get_terminal_size()
        warnings = {
            run.snapshot.run.run_id: self._orders.setdefault(run.snapshot.run.run_id, AlertOrder()).sort(run.warnings)
            for run in runs
        }
        snapshots = [run.snapshot for run in runs]
        lines = lay_out_runs(snapshots, width=size.columns, height=size.lines - 1, warnings=warnings)
        self._live.update(join_lines(lines), refresh=True)


def lay_out_runs(
    snapshots: Sequence[RunSnapshot],
    *,
    width: int,
    height: int,
    warnings: Mapping[str, Sequence[RunAlert]] | None = None,
) -> list[Line]:
    """The blocks of all runs, within so many lines where that can be.

    Args:
        warnings: What warns, by run id, the newest first.
    """
    n_gaps = len(snapshots) - 1
    room = max(2, (height - n_gaps) // max(1, len(snapshots)))
    lines: list[Line] = []
    for snapshot in snapshots:
        block = _lay_out_run(snapshot, width, room, (warnings or {}).get(snapshot.run.run_id, ()))
        lines += [[], *block] if lines else block
    if len(lines) + 2 <= height and any(has_stand_in(model) for run in snapshots for model in run.results):
        lines += [[], [Cell(cut(STAND_IN_LEGEND, width), "dim")]]
    return lines


def _lay_out_run(snapshot: RunSnapshot, width: int, room: int, warnings: Sequence[RunAlert]) -> list[Line]:
    """One run: its head, what warns, the stages that fit and, where there is room for all, its newest models."""
    head = [_lay_out_head(snapshot), *_lay_out_warnings(warnings, width, room - 1 - LEAST_STAGES)]
    table = _lay_out_results(snapshot, width, room - len(head) - LEAST_STAGES)
    if table and len(head) + LEAST_STAGES + 1 + len(table) <= room:
        table.insert(0, [])
    return [*head, *_lay_out_stages(snapshot.stages, width, room - len(head) - len(table)), *table]


def _lay_out_warnings(warnings: Sequence[RunAlert], width: int, n_lines: int) -> list[Line]:
    """The newest that fit; the last line says how many there are more."""
    shown = warnings[: max(0, min(n_lines, MOST_WARNINGS))]
    n_more = len(warnings) - len(shown)
    lines: list[Line] = []
    for place, warning in enumerate(shown):
        more = f"  (+{n_more}: cream-tui health)" if n_more and place == len(shown) - 1 else ""
        text = cut(make_visible(warning.text), max(1, width - 4 - len(more)))
        lines.append([Cell("  ! ", "yellow"), Cell(text), Cell(more, "dim")])
    return lines


def _lay_out_head(snapshot: RunSnapshot) -> Line:
    run = snapshot.run
    facts = [f"{snapshot.n_done} of {len(snapshot.stages)} stages"]
    if run.started_at is not None:
        facts.append(f"{format_duration((run.finished_at or time.time()) - run.started_at)}")
    left = None if snapshot.is_over else estimate_time_left(snapshot.stages)
    if snapshot.is_waiting:
        facts.append(WAITING)
    if snapshot.is_loading and snapshot.n_done == 0:
        facts.append("loading libraries")
    if left is not None:
        facts.append(f"about {format_duration(left)} left")
    facts.append(run.method)
    style = RUN_STYLES.get(snapshot.state, "")
    return [
        Cell(make_visible(run.name), "bold"),
        Cell("  "),
        Cell(snapshot.state, style),
        Cell("  " + make_visible("  ".join(facts)), "dim"),
    ]


def _lay_out_stages(stages: Sequence[StageView], width: int, n_lines: int) -> list[Line]:
    """The stages that fit: what runs, what ended last, what comes next."""
    current = next((k for k, stage in enumerate(stages) if not stage.is_over), len(stages))
    start = max(0, min(current - max(1, n_lines - 2), len(stages) - n_lines))
    shown = stages[start : start + n_lines]
    label_width = max((len(stage.label) for stage in stages), default=0)
    return [_lay_out_stage(stage, label_width, width) for stage in shown]


def _lay_out_stage(stage: StageView, label_width: int, width: int) -> Line:
    style = STAGE_STYLES.get(stage.status, "")
    line: Line = [Cell(f"  {_MARKS.get(stage.status, ' ')} ", style)]
    line.append(Cell(make_visible(stage.label).ljust(label_width) + "  ", "dim" if stage.status == "pending" else ""))
    used = label_width + 6
    if stage.status in ("running", "waiting") and stage.fraction is not None:
        bar_width = BAR_WIDTH if width >= NARROW_WIDTH else BAR_WIDTH // 2
        n_full = round(bar_width * stage.fraction)
        line += [Cell("━" * n_full, style), Cell("─" * (bar_width - n_full) + "  ", "dim")]
        used += bar_width + 2
    detail = ("reused " if stage.status == "reused" else "") + describe_stage(stage)
    line.append(Cell(cut(make_visible(detail), max(1, width - used - 1)), "dim"))
    return line


def _lay_out_results(snapshot: RunSnapshot, width: int, n_lines: int) -> list[Line]:
    rows = build_result_rows(snapshot.results)
    n_rows = n_lines - N_TITLE_LINES
    if not rows or n_rows < 1:
        return []
    return lay_out_table(RESULT_COLUMNS, rows[-n_rows:], width=width, indent=2)


def join_lines(lines: Sequence[Line]) -> Text:
    """The lines as one text of rich, cut where the terminal ends."""
    from rich.text import Text

    text = Text(no_wrap=True, overflow="ellipsis")
    for k, line in enumerate(lines):
        if k:
            text.append("\n")
        for cell in line:
            text.append(cell.text, style=cell.style or None)
    return text
