"""What must not break the app: signals, a store that goes away, keys that come faster than screens, odd names."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from driving import OpenApp, press, read_screen, settle, wait_for_text, wait_until
from made_studies import SEEDS, add_study
from pseudo_terminal import PseudoTerminal
from textual.keys import _character_to_key

from cream_tui import services
from cream_tui.app import CreamApp
from cream_tui.charts.frame import shorten
from cream_tui.screens.base import Table
from cream_tui.screens.dialogs import AskText, Confirm
from cream_tui.shell import pending_writes, saving
from cream_tui.shell.actions import Outcome, call_command
from cream_tui.shell.palette import Palette
from cream_tui.targets import CompareTarget, LaunchTarget, PairsTarget, RunsTarget, RunTarget, StudyTarget, Target
from db.annotations import set_note
from db.errors import StoreError

PROGRAM = (sys.executable, "-P", "-m", "cream_tui")
Start = Callable[[Path], PseudoTerminal]


def find_run_id(root: Path, name: str) -> str:
    with closing(sqlite3.connect(root / "cream.db")) as connection:
        return str(connection.execute("SELECT run_id FROM run WHERE name = ?", (name,)).fetchone()[0])


def read_one(root: Path, sql: str) -> object:
    with closing(sqlite3.connect(root / "cream.db", timeout=10)) as connection:
        return connection.execute(sql).fetchone()[0]


def change(root: Path, sql: str, *parameters: object) -> None:
    with closing(sqlite3.connect(root / "cream.db", timeout=10)) as connection, connection:
        connection.execute(sql, parameters)


# Signals and writes -------------------------------------------------------------------------------------------------


@pytest.fixture
def start_judging(tmp_path: Path, own_settings: Path) -> Iterator[Start]:
    """Starts the program at the pairs of a run and waits until one can be judged."""
    opened: list[PseudoTerminal] = []

    def start(root: Path) -> PseudoTerminal:
        environment = {"CREAM_STORE": str(root), "XDG_CONFIG_HOME": str(tmp_path / "config")}
        words = [*PROGRAM, "cream-seed0/pairs"]
        terminal = PseudoTerminal(words, environment=environment, folder=tmp_path)
        opened.append(terminal)
        terminal.wait_for("chosen")
        terminal.wait_for("judged of")
        terminal.idle(0.3)
        return terminal

    yield start
    for terminal in opened:
        terminal.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_keeps_verdicts_that_wait_for_a_lock_and_restores_the_terminal(
    start_judging: Start, store: Path, number: signal.Signals
) -> None:
    terminal = start_judging(store)
    with closing(sqlite3.connect(store / "cream.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        terminal.send("asaa")
        terminal.wait_for("4 judged of")
        os.kill(terminal._pid, number)
        terminal.idle(0.3)
        other.rollback()
    assert terminal.close() == 128 + number
    assert read_one(store, "SELECT count(*) FROM verdict") == 4
    assert b"\x1b[?1049l" in terminal.raw and b"\x1b[?25h" in terminal.raw


def test_a_terminal_that_vanishes_without_a_signal_ends_the_app(start_judging: Start, store: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        terminal = start_judging(store)
    finally:
        signal.signal(signal.SIGHUP, before)
    terminal.send("a")
    terminal.wait_for("1 judged of")
    os.close(terminal._handle)
    terminal._handle = -1
    deadline = time.monotonic() + 60
    while not os.waitpid(terminal._pid, os.WNOHANG)[0]:
        assert time.monotonic() < deadline, "it runs on without a terminal"
        time.sleep(0.05)
    terminal._code = 0
    assert read_one(store, "SELECT count(*) FROM verdict") == 1


async def test_the_end_keeps_the_order_of_writes_and_each_is_written_once(store: Path) -> None:
    run_id = find_run_id(store, "cream-seed0")
    app = CreamApp(store)
    written: list[str] = []

    def write(text: str) -> Callable[[], None]:
        def work() -> None:
            time.sleep(0.1)
            set_note(store, run_id, text)
            written.append(text)

        return work

    async with app.run_test() as pilot:
        await settle(pilot)
        for text in "abc":
            app.annotate(write(text))
        app.exit()
    assert written == ["a", "b", "c"]
    assert read_one(store, f"SELECT note FROM run WHERE run_id = '{run_id}'") == "c"
    assert app.lost_writes is None


@pytest.mark.parametrize(
    ("patience_s", "told"), [(5.0, "2 changes: it is locked"), (0.0, "2 changes: there was no time left")]
)
async def test_what_the_store_does_not_take_at_the_end_is_told(
    store: Path, monkeypatch: pytest.MonkeyPatch, patience_s: float, told: str
) -> None:
    monkeypatch.setattr(pending_writes, "PATIENCE_S", patience_s)
    app = CreamApp(store)

    def fail() -> None:
        raise StoreError("it is locked")

    async with app.run_test() as pilot:
        await settle(pilot)
        app.annotate(fail)
        app.annotate(fail)
        app.exit()
    assert app.lost_writes == f"not saved: {told}"


# A store that changes under the app ---------------------------------------------------------------------------------


async def test_a_store_that_is_deleted_is_told_and_one_in_its_place_is_taken_up(
    store: Path, open_app: OpenApp, tmp_path: Path
) -> None:
    async with open_app() as (app, pilot):
        await wait_for_text(pilot, "cream-seed0")
        shutil.copytree(store, tmp_path / "other")
        change(tmp_path / "other", "UPDATE run SET name = 'the-other-store' WHERE name = 'cream-seed0'")
        store.rename(tmp_path / "away")
        await wait_for_text(pilot, "was moved or deleted")
        assert app.store_fault is not None
        (tmp_path / "other").rename(store)
        await wait_for_text(pilot, "the-other-store")
        await wait_until(pilot, lambda: app.store_fault is None)


@pytest.mark.parametrize("mode", ["runs", "run", "pairs", "launch"])
async def test_a_run_that_is_deleted_meanwhile_is_told_and_nothing_of_it_is_judged(
    store: Path, open_app: OpenApp, mode: str
) -> None:
    run_id = find_run_id(store, "cream-seed0")
    targets: dict[str, Target] = {
        "runs": RunsTarget(),
        "run": RunTarget(run_id),
        "pairs": PairsTarget(run_id),
        "launch": LaunchTarget(source_run_id=run_id),
    }
    async with open_app(targets[mode]) as (app, pilot):
        words = [*PROGRAM, "rm", run_id, "--yes", "--store", str(store)]
        subprocess.run(words, check=True, capture_output=True)
        app.refresh_screen()
        await settle(pilot)
        if mode == "pairs":
            shown = await wait_for_text(pilot, "not in the store any more")
            assert "There are no runs yet" not in shown
            await press(pilot, "a", "f", "e", "escape")
            assert not app.alerts
        elif mode == "run":
            await wait_for_text(pilot, f"no run '{run_id}'")
        for mode in ("run", "pairs", "compare", "launch", "runs"):
            await app.show_mode(mode)
            await settle(pilot)
        assert "cream-seed0" not in read_screen(app)


# Keys that come faster than the screens ------------------------------------------------------------------------------


async def test_a_question_is_answered_once_however_fast_the_keys_are(open_app: OpenApp) -> None:
    answers: list[bool | None] = []
    async with open_app() as (app, pilot):
        app.push_screen(Confirm("Sure?"), answers.append)
        await settle(pilot)
        for key in ("y", "y", "enter", "escape"):
            app.simulate_key(key)
        await settle(pilot)
        assert answers == [True]
        assert len(app.screen_stack) == 1


@pytest.mark.parametrize("keys", [("ctrl+p", "escape", "escape"), ("ctrl+p", "pagedown", "pageup", "enter", "enter")])
async def test_the_palette_takes_keys_that_are_faster_than_it(open_app: OpenApp, keys: tuple[str, ...]) -> None:
    async with open_app() as (app, pilot):
        for key in keys:
            app.simulate_key(key)
        await settle(pilot)
        await press(pilot, "escape", "escape")
        assert not isinstance(app.screen, Palette)


async def test_the_palette_and_another_screen_may_be_asked_for_at_once(open_app: OpenApp, store: Path) -> None:
    run_id = find_run_id(store, "cream-seed0")
    async with open_app() as (app, pilot):
        for _ in range(5):
            app.go_to(RunTarget(run_id))
            app.simulate_key("ctrl+p")
            await pilot.pause()
            app.go_to(RunsTarget())
            await settle(pilot)
        await press(pilot, "escape")
        assert app.is_running


NAVIGATION = ("up", "down", "left", "right", "pageup", "pagedown", "home", "end", "tab", "shift+tab", "enter", "escape")
CHARACTERS = "aZ09%_<>=!~:\"'()[]{}*?\\/|&^$#@;,.-+ é漢"
SIZES = ((200, 50), (20, 5), (1, 1), (40, 10), (59, 10))


@pytest.mark.parametrize("mode", ["runs", "run", "pairs", "compare", "launch", "study"])
async def test_keys_without_sense_and_sizes_without_end_leave_a_way_back(
    store: Path, open_app: OpenApp, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR", "true")
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setattr(services, "call_command", lambda *_, **__: Outcome(2, "", "error: [/no] \x1b[2J"))
    chance = random.Random(mode)
    run_id = find_run_id(store, "cream-seed0")
    targets: dict[str, Target] = {
        "runs": RunsTarget(),
        "run": RunTarget(run_id),
        "pairs": PairsTarget(run_id),
        "compare": CompareTarget((run_id, find_run_id(store, "srlm-seed0"))),
        "launch": LaunchTarget(source_run_id=run_id),
        "study": StudyTarget(add_study(store, "quick", SEEDS)),
    }
    async with open_app(targets[mode], size=(80, 24)) as (app, pilot):
        monkeypatch.setattr(app, "action_quit", lambda: None)
        for n in range(1, 91):
            bound = [key for key in app.screen.active_bindings if key not in ("q", "ctrl+q")]
            draw = chance.random()
            typed = _character_to_key(chance.choice(CHARACTERS))
            key = chance.choice(bound) if draw < 0.6 else chance.choice(NAVIGATION) if draw < 0.8 else typed
            app.simulate_key(key)
            await (asyncio.sleep(0) if n % 6 else pilot.pause())
            if n % 30 == 0:
                await pilot.resize_terminal(*chance.choice(SIZES))
                await pilot.resize_terminal(80, 24)
        await settle(pilot)
        for _ in range(12):
            if app.current_mode == "runs" and len(app.screen_stack) == 1:
                break
            await press(pilot, "escape")
        assert (app.current_mode, len(app.screen_stack)) == ("runs", 1)


# Names and values ---------------------------------------------------------------------------------------------------


async def test_a_tag_that_looks_like_markup_is_found_in_the_palette(store: Path, open_app: OpenApp) -> None:
    run_id = find_run_id(store, "cream-seed0")
    change(store, "INSERT INTO run_tag (run_id, tag) VALUES (?, '[/nothing] [red]')", run_id)
    async with open_app() as (_, pilot):
        await press(pilot, "ctrl+p", *"cream-seed0")
        await wait_for_text(pilot, "[/nothing] [red]")


@pytest.mark.parametrize("name", ["../../x", "-rf", ".hidden", "a/b", "tab\tnew\nline", "~root", "", "ü ber.1"])
def test_the_offered_file_stays_in_the_folder(name: str) -> None:
    offered = Path(saving.name_file(name) + ".csv")
    assert offered.name == str(offered) and not offered.name.startswith((".", "-", "~"))
    assert saving._check(str(offered)) is None


@pytest.mark.parametrize("name", ["~nobody-is-called-so/x.csv", "x" * 300 + ".csv", "a\x00b.csv", "/dev/null/x.csv"])
async def test_a_file_that_cannot_be_is_refused_while_it_is_typed(open_app: OpenApp, name: str) -> None:
    async with open_app() as (app, pilot):
        await press(pilot, "E")
        assert isinstance(app.screen, AskText)
        app.screen.query_one("Input").value = name
        await press(pilot, "enter")
        assert isinstance(app.screen, AskText)


async def test_a_folder_that_is_gone_or_not_writable_is_told(open_app: OpenApp, tmp_path: Path) -> None:
    async with open_app() as (app, pilot):
        shutil.rmtree(tmp_path / "cwd")
        await press(pilot, "f12", "Y")
        assert len(app.alerts) == 2 and all("No such file" in alert.text for alert in app.alerts)


def test_numbers_that_are_none_are_exported_as_nothing(tmp_path: Path) -> None:
    table = Table("x", ("a", "b"), [(float("nan"), 1.0), (float("-inf"), True)])
    assert "2 rows" in saving.write_table(table, tmp_path / "x.jsonl")
    lines = (tmp_path / "x.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"a": None, "b": 1.0}, {"a": None, "b": True}]


def test_a_command_that_cannot_be_started_is_an_outcome(tmp_path: Path) -> None:
    for word in ("x" * 3_000_000, "a\x00b"):
        outcome = call_command(["ls", word], tmp_path)
        assert not outcome.is_good and "cannot be started" in outcome.message


@pytest.mark.parametrize("value", [9e999, -9e999, 1e308, 5e-324])
@pytest.mark.parametrize("mode", ["runs", "run", "compare"])
async def test_numbers_at_the_ends_of_their_range_are_drawn(
    store: Path, open_app: OpenApp, mode: str, value: float
) -> None:
    name = "name_id = (SELECT name_id FROM metric_name WHERE name = 'loss')"
    change(
        store,
        f"UPDATE metric SET value = CASE step % 3 WHEN 0 THEN ? WHEN 1 THEN -? ELSE value END WHERE {name}",
        value,
        value,
    )
    first, second = find_run_id(store, "cream-seed0"), find_run_id(store, "srlm-seed0")
    targets = {"runs": RunsTarget(), "run": RunTarget(first), "compare": CompareTarget((first, second))}
    async with open_app(targets[mode]) as (app, pilot):
        await press(pilot, "down", "X", "X", "s", "s", "pagedown")
        assert "cream-seed0" in read_screen(app) and app.is_running


async def test_a_note_of_many_lines_is_edited_on_one_and_keeps_them(store: Path, open_app: OpenApp) -> None:
    note = "word " * 8_000 + "\nsecond line"
    change(store, "UPDATE run SET note = ?", note)
    async with open_app() as (app, pilot):
        before = time.monotonic()
        await press(pilot, "e", "end", "!", "enter")
        assert time.monotonic() - before < 60  # Textual takes minutes for such a text with its line break
        assert not app.alerts
    assert read_one(store, f"SELECT count(*) FROM run WHERE note = '{note}!'") == 1


def test_a_name_of_any_length_is_shortened_at_once() -> None:
    before = time.process_time()
    assert shorten("ab" * 100_000, 11) == "ababa…babab"
    assert time.process_time() - before < 1
