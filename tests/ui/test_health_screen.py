"""The Health screen through its keys, and warnings that come up while a run goes on, whatever screen is in front."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from driving import ask, press, read_screen, settle, wait_until
from textual.pilot import Pilot

from cream_tui.app import CreamApp
from cream_tui.readers.health_reader import HealthData, HealthReader
from cream_tui.screens.health import HealthScreen
from cream_tui.shell.notices import RunState, WarningsFound
from cream_tui.shell.warning_watch import WarningWatch
from cream_tui.targets import HealthTarget, PairsTarget, RunsTarget, RunTarget
from cream_tui.views.run_alerts import RunAlert
from db.queries import find_run, open_reader
from engine.runtime.process import build_lease

SIZES = [(120, 40), (80, 24)]
EARLY = r"[!✓] early warning: M4 falls, probability ((?:over |under )?\d+ %), fitted on the sandbox"
GREW = "chosen responses grew from"


@pytest.fixture
def find(store: Path) -> Callable[[str], str]:
    """The id of a recorded run."""

    def found(name: str) -> str:
        with closing(open_reader(store)) as reader:
            return find_run(reader, name).run_id

    return found


@pytest.fixture
def examine(store: Path) -> Callable[[str], HealthData]:
    """What was found of a run."""

    def found(run_id: str) -> HealthData:
        with closing(open_reader(store)) as reader:
            return HealthReader(run_id).read(reader)

    return found


@pytest.fixture
def writer(store: Path) -> Iterator[sqlite3.Connection]:
    """Another process's connection."""
    with closing(sqlite3.connect(store / "cream.db", isolation_level=None, timeout=10)) as connection:
        yield connection


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One for each look for warnings that is over; what comes after the first is told."""
    over: list[None] = []
    look = WarningWatch.look

    def look_and_note(*arguments: Any) -> Iterator[WarningsFound]:
        yield from look(*arguments)
        over.append(None)

    monkeypatch.setattr(WarningWatch, "look", look_and_note)
    return over


class Live:
    """A recorded run that goes on again, at the pairs of its last iteration: this process holds its lease."""

    def __init__(self, writer: sqlite3.Connection, run_id: str) -> None:
        self._writer = writer
        self.run_id = run_id
        lease = build_lease(run_id)
        values = (lease.run_id, lease.token, lease.pid, lease.pid_started_at, lease.host, time.time())
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE run SET state = 'running', finished_at = NULL WHERE run_id = ?", (run_id,))
        writer.execute("INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, ?, ?)", values)
        stages = writer.execute(
            "SELECT s.stage_id, s.name FROM run_stage l JOIN stage s USING (stage_id) WHERE l.run_id = ? "
            "ORDER BY l.position DESC LIMIT 3",
            (run_id,),
        ).fetchall()
        assert [name for _, name in stages] == ["evaluate", "train", "pair"]
        self._pair_stage = stages[-1][0]
        for stage_id, _ in stages:
            writer.execute("UPDATE stage SET state = 'pending', finished_at = NULL WHERE stage_id = ?", (stage_id,))
        writer.execute("COMMIT")

    def finish_pairs(self, n_tokens: float) -> None:
        """Commit the pair stage; its chosen responses are as long as this."""
        self._writer.execute("BEGIN IMMEDIATE")
        self._writer.execute(
            "UPDATE metric SET value = ? WHERE stage_id = ? AND name_id = "
            "(SELECT name_id FROM metric_name WHERE name = 'chosen_n_tokens')",
            (n_tokens, self._pair_stage),
        )
        self._writer.execute(
            "UPDATE stage SET state = 'done', finished_at = ? WHERE stage_id = ?", (time.time(), self._pair_stage)
        )
        self._writer.execute("COMMIT")


def add_early_measures(writer: sqlite3.Connection, run_id: str) -> None:
    """Write what the early warning needs and the recorded stages of the run lack."""
    measures = {
        "score": ("kl_previous",),
        "pair": ("confidence",),
    }
    for stage, names in measures.items():
        for name in names:
            writer.execute("INSERT OR IGNORE INTO metric_name (name) VALUES (?)", (name,))
            writer.execute(
                "INSERT OR IGNORE INTO metric (stage_id, name_id, step, value, at) "
                "SELECT s.stage_id, n.name_id, 0, 0.5, 0 FROM run_stage l JOIN stage s USING (stage_id) "
                "JOIN metric_name n ON n.name = ? "
                "WHERE l.run_id = ? AND s.name = ?",
                (name, run_id, stage),
            )


def get_screen(app: CreamApp) -> HealthScreen:
    assert isinstance(app.front, HealthScreen)
    return app.front


def read_toasts(app: CreamApp) -> str:
    return "\n".join(notification.message for notification in app._notifications)


async def wait_for_watcher(pilot: Pilot[Any], is_so: Callable[[], bool]) -> None:
    """Wait for the store's watcher to bring it about."""
    await wait_until(pilot, is_so)
    await settle(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_six_opens_the_diagnostics_of_the_run_under_the_cursor(
    open_app: Any, find: Callable[[str], str], examine: Callable[[str], HealthData], size: tuple[int, int]
) -> None:
    async with open_app(RunsTarget(), size=size) as (app, pilot):
        run_id = find("srlm-seed1")
        app.front.table.put_cursor(run_id)
        await press(pilot, "6")
        screen, shown = get_screen(app), read_screen(app)
        findings = examine(run_id).diagnosis.findings
        assert len(findings) > 20
        assert "6 Health" in shown and "srlm-seed1" in shown
        assert "early warning" in shown.splitlines()[3]
        assert screen.table._rows[0].key == "early_warning"
        assert {row.key for row in screen.table._rows} == {"early_warning", *(found.key for found in findings)}
        assert all(len(line) <= size[0] for line in shown.splitlines())
        await press(pilot, "escape")
        assert app.current_mode == "runs"


@pytest.mark.parametrize("size", SIZES)
async def test_the_diagnostic_under_the_cursor_is_explained(
    open_app: Any, find: Callable[[str], str], examine: Callable[[str], HealthData], size: tuple[int, int]
) -> None:
    run_id = find("cream-seed0")
    findings = {found.key: found for found in examine(run_id).diagnosis.findings}
    async with open_app(HealthTarget(run_id, "tau_anchor"), size=size) as (app, pilot):
        screen = get_screen(app)
        for key in ("tau_anchor", "noise_floor"):
            screen.table.put_cursor(key)
            await settle(pilot)
            found, words = findings[key], screen.words.text
            assert found.title in words and found.meaning in words and found.advice in words
            assert (found.sentence if found.history else found.shown) in words and f"warns {found.threshold}" in words
            for model, _ in found.history:
                assert f"  {model} " in words
        assert "not computable, because" in read_screen(app)
        assert screen.get_copy().text == screen.words.text
        await press(pilot, "j")
        assert screen.words.text != words


@pytest.mark.parametrize("size", SIZES)
async def test_the_early_warning_stands_on_top_with_its_origin(
    open_app: Any, find: Callable[[str], str], writer: sqlite3.Connection, size: tuple[int, int]
) -> None:
    """The recorded runs are older than some of its measures: they are put in as a stage would write them."""
    run_id = find("cream-seed0")
    async with open_app(HealthTarget(run_id), size=size) as (app, _):
        assert "? early warning: not computable, because" in read_screen(app)
    add_early_measures(writer, run_id)
    async with open_app(HealthTarget(run_id), size=size) as (app, _):
        found = re.search(EARLY, read_screen(app))
        assert found is not None
        words = get_screen(app).words.text
        assert re.search(rf"  M3 +{found[1]}\n", words)
        assert "McNemar" in words
        assert re.search(r"log of \(KL of last training \+ 0\.1 nats\) +−0\.511\n", words)  # of 0.6


async def test_enter_goes_to_the_pairs_or_the_chart_that_show_it(open_app: Any, find: Callable[[str], str]) -> None:
    run_id = find("cream-seed0")
    async with open_app(HealthTarget(run_id, "tau_anchor")) as (app, pilot):
        assert "enter opens the pairs of M3 that show it" in read_screen(app)
        await press(pilot, "enter")
        assert app.current_mode == "pairs"
        assert "anchor<=0" in read_screen(app) and "iteration=3," in repr(app.front.want())
        for key, panel in (("accuracy_from_first", "accuracy"), ("truncated", "sample:truncated_rate")):
            await press(pilot, "6")
            get_screen(app).table.put_cursor(key)
            await press(pilot, "enter")
            assert app.current_mode == "run"
            assert app.front.charts.focused_key == panel
            assert panel in app.front.charts.pages.visible


async def test_what_nothing_is_known_of_opens_nothing(open_app: Any, find: Callable[[str], str]) -> None:
    async with open_app(HealthTarget(find("cream-seed0"), "judge_failures")) as (app, pilot):
        assert "? not computable, because" in get_screen(app).words.text
        await press(pilot, "enter")
        assert app.current_mode == "health"
        assert "nothing shows it" in read_toasts(app)


async def test_its_command_palette_export_and_place_are_those_of_every_screen(
    open_app: Any, find: Callable[[str], str]
) -> None:
    async with open_app(HealthTarget(find("cream-seed0"))) as (app, pilot):
        screen = get_screen(app)
        assert screen.get_command() == "health cream-seed0"
        table = screen.get_table()
        assert table is not None and table.columns[:3] == ("key", "title", "status")
        await press(pilot, "ctrl+p", *"noise floor", "enter")
        assert screen.table.cursor_key == "noise_floor"
        await press(pilot, "question_mark")
        assert "Health of the current run" in read_screen(app)
        await press(pilot, "escape", "q")
    async with open_app() as (app, _):
        assert app.current_mode == "health" and "cream-seed0" in read_screen(app)


async def test_no_run_and_a_removed_one_are_told(open_app: Any) -> None:
    async with open_app(None) as (app, pilot):
        app.current_run_id = None
        await press(pilot, "6")
        assert "No run is chosen" in read_screen(app)
    async with open_app(HealthTarget("gone")) as (app, _):
        assert "no run 'gone'" in read_screen(app)


async def test_signs_tell_without_colours(
    open_app: Any, find: Callable[[str], str], writer: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    live = Live(writer, find("cream-seed2"))
    live.finish_pairs(99.0)
    async with open_app(HealthTarget(live.run_id)) as (app, _):
        lines = read_screen(app).splitlines()
        assert any("! drift of the length" in line for line in lines)
        assert any("✓ truncated responses" in line for line in lines)
        assert any("? repeated responses" in line for line in lines)


async def test_the_list_follows_a_run_that_goes_on_and_its_cursor_stays(
    open_app: Any, find: Callable[[str], str], writer: sqlite3.Connection, looks: list[None]
) -> None:
    live = Live(writer, find("cream-seed2"))
    async with open_app(HealthTarget(live.run_id, "truncated")) as (app, pilot):
        screen = get_screen(app)
        await wait_for_watcher(pilot, lambda: bool(looks))
        assert "● running" in read_screen(app) and "! drift" not in read_screen(app)
        live.finish_pairs(99.0)
        await wait_for_watcher(pilot, lambda: "! drift of the length" in read_screen(app) and bool(app.alerts))
        assert "length_drift" in {row.key for row in screen.table._rows if row.status == "warn"}
        assert screen.table.cursor_key == "truncated"
        assert app.n_new_alerts == 1 and GREW not in read_toasts(app)


async def test_a_warning_comes_once_into_the_notice_line_and_the_inbox(
    open_app: Any, find: Callable[[str], str], writer: sqlite3.Connection, looks: list[None]
) -> None:
    live = Live(writer, find("cream-seed2"))
    async with open_app(RunTarget(live.run_id)) as (app, pilot):
        await wait_for_watcher(pilot, lambda: bool(looks))
        assert GREW not in read_screen(app)
        live.finish_pairs(99.0)
        await wait_for_watcher(pilot, lambda: f"! M3: {GREW}" in read_screen(app) and bool(app.alerts))
        assert "1 new (press !)" in read_screen(app)
        assert len(app.alerts) == 1 and GREW not in read_toasts(app)
        await press(pilot, "exclamation_mark")
        assert len([line for line in read_screen(app).splitlines() if "│" in line and GREW in line]) == 1
        await press(pilot, "enter")
        assert app.current_mode == "pairs" and "iteration=3," in repr(app.front.want())
        live.finish_pairs(98.0)  # a second look finds the same warning with another number
        await asyncio.sleep(0.6)
        await settle(pilot)
        assert len(app.alerts) == 1


async def test_a_warning_of_another_run_is_told_wherever_one_is(
    open_app: Any, find: Callable[[str], str], writer: sqlite3.Connection, looks: list[None]
) -> None:
    live = Live(writer, find("cream-seed2"))
    async with open_app(PairsTarget(find("srlm-seed0"))) as (app, pilot):
        await wait_for_watcher(pilot, lambda: bool(looks))
        live.finish_pairs(99.0)
        await wait_for_watcher(pilot, lambda: bool(app.alerts))
        assert f"cream-seed2: M3: {GREW}" in read_toasts(app)
        await press(pilot, "exclamation_mark", "enter")
        assert app.current_mode == "pairs" and f"run_id='{live.run_id}'" in repr(app.front.want())


def test_old_warnings_of_a_resumed_run_are_not_told_and_new_ones_are(
    store: Path, find: Callable[[str], str], writer: sqlite3.Connection
) -> None:
    """The first look finds a failed run with a warning; then it is resumed; a fresh run with the same warning tells."""
    live = Live(writer, find("cream-seed2"))
    live.finish_pairs(99.0)
    running, failed = ({live.run_id: RunState("cream-seed2", state, None)} for state in ("running", "failed"))
    queued = {live.run_id: RunState("cream-seed2", "queued", None)}
    with closing(open_reader(store)) as reader:
        watch = WarningWatch()
        assert list(watch.look(reader, failed)) == []
        assert list(watch.look(reader, running)) == []
        live.finish_pairs(98.0)
        assert list(watch.look(reader, running)) == []
        fresh = WarningWatch()
        assert list(fresh.look(reader, queued)) == []
        (found,) = fresh.look(reader, running)
        assert (found.run_id, found.name) == (live.run_id, "cream-seed2")
        assert "length_drift" in {warning.key for warning in found.warnings}
        assert list(fresh.look(reader, running)) == []
        done = {live.run_id: RunState("cream-seed2", "done", None)}
        assert list(fresh.look(reader, done)) == [] and fresh._watched == {}


async def test_of_a_studys_runs_only_the_early_warning_is_told_and_without_a_toast(
    open_app: Any, store: Path, find: Callable[[str], str], writer: sqlite3.Connection
) -> None:
    live = Live(writer, find("cream-seed2"))
    live.finish_pairs(99.0)
    alone = RunState("cream-seed2", "running", None)
    with closing(open_reader(store)) as reader:
        for state, n_told in ((alone, 1), (replace(alone, study="matrix"), 0)):
            watch = WarningWatch()
            assert list(watch.look(reader, {})) == []
            assert len(list(watch.look(reader, {live.run_id: state}))) == n_told
    early = RunAlert("M4 falls", "warning", HealthTarget(live.run_id), "early_warning/M3")
    async with open_app(RunsTarget()) as (app, _):
        app.on_warnings_found(WarningsFound(live.run_id, "cream-seed2", [early], is_quiet=True))
        assert app.alerts[0].text == "cream-seed2: M4 falls" and "falls" not in read_toasts(app)


async def test_the_command_finds_the_same(open_app: Any, store: Path, find: Callable[[str], str]) -> None:
    told = ask(store, "health", "cream-seed0")["findings"]
    async with open_app(HealthTarget(find("cream-seed0"))) as (app, _):
        shown = {row.key: row.status for row in get_screen(app).table._rows if row.finding is not None}
    assert shown == {found["key"]: found["status"] for found in told}
