"""The live view of a study: redrawn in place on a terminal, one line for each arm that begins or ends elsewhere.

Knows records of studies. Must not know how a study is started or stopped: it reads the store until its process is gone.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path

from cream_tui import diagnostics
from cream_tui.output import Cell, Line, cut
from cream_tui.pacing import Pace
from cream_tui.progress import TICK_S, join_lines
from cream_tui.readers.run_records import RunRecord
from cream_tui.readers.run_tables import RunTable, RunTableReader
from cream_tui.readers.study_records import StudyRecord
from cream_tui.styles import RUN_MARKS, RUN_STYLES
from cream_tui.text import make_visible
from cream_tui.units import format_duration, format_left
from cream_tui.views.studies import estimate_study_left, find_arm_state, tell_counts
from cream_tui.views.study_account import name_arm
from db.errors import RunNotFoundError
from db.queries import open_reader
from db.studies import StudyArm

_NOT_YET = "·"
_TOLD_STATES = ("running", "done", "failed", "stopped", "stale")


def follow_study(root: Path, study_id: str) -> StudyRecord:
    """Show a study until its process has ended or is lost; its last state."""
    connection = open_reader(root)
    try:
        with _LiveView() if diagnostics.is_terminal() else _PlainView() as view:
            return _follow(connection, study_id, view)
    finally:
        connection.close()


def _follow(connection: sqlite3.Connection, study_id: str, view: _LiveView | _PlainView) -> StudyRecord:
    reader = RunTableReader()
    pace = Pace(TICK_S)
    while True:
        with pace.measure():
            table = reader.read(connection, with_time_left=diagnostics.is_terminal())
            study = find_record(table, study_id)
            view.update(study, table)
        if study.state != "running":
            return study
        time.sleep(pace.wait_s)


def find_record(table: RunTable, study_id: str) -> StudyRecord:
    """The study of this id.

    Raises:
        RunNotFoundError: It is gone.
    """
    for study in table.studies:
        if study.study.study_id == study_id:
            return study
    raise RunNotFoundError(f"study {study_id} is not in the store", hint="`cream-tui ls` lists the studies")


class _PlainView:
    """One line for each arm whose state changes."""

    def __init__(self) -> None:
        self._told: dict[int, str] = {}

    def __enter__(self) -> _PlainView:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def update(self, study: StudyRecord, table: RunTable) -> None:
        """Tell what is new."""
        runs = {record.run.run_id: record for record in table.records}
        is_first = not self._told
        for arm, state in zip(study.arms, study.states, strict=True):
            is_new = self._told.get(arm.position) != state
            self._told[arm.position] = state
            if is_new and state in _TOLD_STATES and not (is_first and state != "running"):
                diagnostics.narrate(f"{name_arm(arm)}: {_describe_end(arm, state, runs.get(arm.run_id or ''))}")


def _describe_end(arm: StudyArm, state: str, record: RunRecord | None) -> str:
    if state == "failed":
        return f"failed: {(arm.error or 'without a message').splitlines()[0]}"
    if record is None or state != "done":
        return f"{state} as {arm.run_name}" if arm.run_id is not None else state
    run = record.run
    took = (
        ""
        if run.started_at is None or run.finished_at is None
        else f" in {format_duration(run.finished_at - run.started_at)}"
    )
    return f"done{took}"


class _LiveView:
    """The study's head and a line for each arm, redrawn in place."""

    def __init__(self) -> None:
        from rich.live import Live

        self._began = time.time()
        self._live = Live(console=diagnostics.build_console(), auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> _LiveView:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def update(self, study: StudyRecord, table: RunTable) -> None:
        """Draw the study as it is."""
        size = shutil.get_terminal_size()
        lines = lay_out_study(
            study, table, seconds=time.time() - self._began, width=size.columns, height=size.lines - 1
        )
        self._live.update(join_lines(lines), refresh=True)


def lay_out_study(study: StudyRecord, table: RunTable, *, seconds: float, width: int, height: int) -> list[Line]:
    """The study's head, a line for each arm with a mark for each seed, and what its live runs do.

    Arms that do not fit give way, those that are done first.
    """
    runs = {record.run.run_id: record for record in table.records}
    by_title: dict[str, list[tuple[StudyArm, str]]] = {}
    for member in zip(study.arms, study.states, strict=True):
        by_title.setdefault(member[0].arm, []).append(member)
    title_width = min(max(map(len, by_title)), max(8, width // 2))
    arms = {
        title: _lay_out_arm(title, [state for _, state in own], title_width, width) for title, own in by_title.items()
    }
    working = [
        _lay_out_run(arm, runs, width)
        for arm, state in zip(study.arms, study.states, strict=True)
        if state == "running"
    ]
    room = max(1, height - 1 - len(working))
    states = {title: find_arm_state([state for _, state in own]) for title, own in by_title.items()}
    for title in [title for title, state in states.items() if state == "done"] + list(reversed(states)):
        if len(arms) <= room:
            break
        arms.pop(title, None)
    return [_lay_out_head(study, runs, table, seconds), *arms.values(), *working]


def _lay_out_head(study: StudyRecord, runs: Mapping[str, RunRecord], table: RunTable, seconds: float) -> Line:
    facts = [tell_counts(study.states), format_duration(seconds)]
    left = estimate_study_left(study, runs, table.left_s)
    if left is not None:
        facts.append(f"about {format_left(left)} left")
    return [
        Cell(make_visible(study.study.name), "bold"),
        Cell("  "),
        Cell(study.state, RUN_STYLES.get(study.state, "")),
        Cell("  " + "  ".join(facts), "dim"),
    ]


def _lay_out_arm(title: str, states: list[str], title_width: int, width: int) -> Line:
    line = [Cell("  " + cut(make_visible(title), title_width).ljust(title_width) + "  ")]
    for state in states[: max(1, width - title_width - 4)]:
        line.append(Cell(RUN_MARKS.get(state, _NOT_YET), RUN_STYLES.get(state, "dim")))
    return line


def _lay_out_run(arm: StudyArm, runs: Mapping[str, RunRecord], width: int) -> Line:
    record = runs.get(arm.run_id or "")
    words = name_arm(arm)
    if record is not None:
        run = record.run
        words += f"  {run.n_stages_done} of {run.n_stages} stages"
        if run.waiting_for is not None:
            words += f"  {run.current_stage}: waits for {run.waiting_for}"
        elif run.current_stage is not None:
            words += f"  {run.current_stage}"
    return [Cell("  ▸ ", "cyan"), Cell(cut(make_visible(words), max(1, width - 5)), "dim")]
