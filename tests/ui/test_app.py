"""What all screens share: going about, help, palette, alerts, copying, saving, themes, keys of one's own."""

from __future__ import annotations

import base64
import json
import re
import shutil
import sqlite3
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from driving import OpenApp, press, read_screen, settle, wait_for_text, wait_until
from textual.widgets import Input

from cream_tui.app import CreamApp
from cream_tui.screens.base import StoreScreen
from cream_tui.shell.actions import Outcome
from cream_tui.shell.key_list import list_keys, list_keys_of
from cream_tui.shell.themes import DARK, LIGHT
from cream_tui.targets import CompareTarget, PairsTarget, RunsTarget, RunTarget

MODES = {"1": "runs", "2": "run", "3": "pairs", "4": "compare", "5": "launch", "6": "health", "7": "study"}


def find_id(root: Path, name: str) -> str:
    with closing(sqlite3.connect(root / "cream.db")) as connection:
        return str(connection.execute("SELECT run_id FROM run WHERE name = ?", (name,)).fetchone()[0])


def execute(root: Path, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(root / "cream.db", timeout=10)) as connection, connection:
        connection.execute(sql, values)


def catch_sequences(app: CreamApp, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the app itself writes to the terminal."""
    written: list[str] = []
    monkeypatch.setattr(app, "write_sequence", written.append)
    return written


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_digits_go_to_every_screen_and_escape_comes_back(open_app: OpenApp, size: tuple[int, int]) -> None:
    async with open_app(RunsTarget(), size=size) as (app, pilot):
        for key in "2341657":
            await press(pilot, key)
            assert app.current_mode == MODES[key]
            assert isinstance(app.front, StoreScreen)
            await press(pilot, "escape", "escape", "1")
            assert app.current_mode == "runs"


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_every_tab_can_be_read_and_clicked(open_app: OpenApp, size: tuple[int, int]) -> None:
    async with open_app(RunsTarget(), size=size) as (app, pilot):
        for key, mode in [*MODES.items()][1:]:
            line = read_screen(app).splitlines()[0]
            assert all(f"{number} {name.capitalize()}" in line for number, name in MODES.items()), line
            await pilot.click(offset=(line.index(f"{key} {mode.capitalize()}"), 0))
            await settle(pilot)
            assert app.current_mode == mode


async def test_a_long_name_keeps_its_end_on_a_narrow_screen(open_app: OpenApp, store: Path) -> None:
    run_id = find_id(store, "cream-seed0")
    execute(store, "UPDATE run SET name = 'a-very-long-name-of-a-study-arm-s22' WHERE run_id = ?", run_id)
    async with open_app(RunTarget(run_id), size=(80, 24)) as (app, _):
        line = read_screen(app).splitlines()[0]
        title = line.split("Study ")[1]
        assert title.startswith("a-very") and "arm-s22" in title and "…" in title


async def test_a_target_opens_its_screen(open_app: OpenApp, store: Path) -> None:
    run_id, other = find_id(store, "cream-seed0"), find_id(store, "srlm-seed0")
    for target, mode, words in (
        (RunTarget(run_id), "run", "cream-seed0"),
        (PairsTarget(run_id, number=7), "pairs", "#7"),
        (CompareTarget((other, run_id)), "compare", "srlm-seed0"),
    ):
        (store / "view.json").unlink(missing_ok=True)
        async with open_app(target) as (app, _):
            assert app.current_mode == mode
            assert words in read_screen(app)


async def test_the_last_view_is_found_again(open_app: OpenApp, store: Path) -> None:
    async with open_app(PairsTarget(find_id(store, "srlm-seed1"))) as (app, pilot):
        await press(pilot, "q")
    async with open_app() as (app, _):
        assert app.current_mode == "pairs"
        assert "srlm-seed1" in read_screen(app)


async def test_a_view_of_nonsense_is_no_obstacle(open_app: OpenApp, store: Path) -> None:
    nonsense = {
        "mode": 7,
        "run_id": ["x"],
        "screens": {mode: {"a": [1], "sort": 5, "filter": 3} for mode in MODES.values()},
    }
    for view in (nonsense, {"screens": 3}, {"mode": "pairs", "run_id": "gone"}):
        (store / "view.json").write_text(json.dumps(view))
        async with open_app() as (app, pilot):
            for key in MODES:
                await press(pilot, key)
            assert app.error is None


async def test_help_shows_every_key_of_the_screen_and_finds(open_app: OpenApp) -> None:
    async with open_app(RunsTarget()) as (app, pilot):
        keys = list_keys_of(app.screen)
        await press(pilot, "question_mark")
        text = read_screen(app)
        assert keys[0].description in text
        await press(pilot, *"baseline")
        assert "runs.pin" in read_screen(app)
        await press(pilot, "escape")
        assert len(app.screen_stack) == 1


def test_every_action_has_an_id_a_description_and_one_meaning() -> None:
    keys = list_keys()
    assert len(keys) > 60
    assert len({key.binding_id for key in keys}) == len(keys)
    for key in keys:
        assert re.fullmatch(r"[a-z_]+\.[a-z_0-9]+", key.binding_id), key
        assert key.description and key.description[0].isupper(), key


async def test_the_palette_finds_actions_and_runs(open_app: OpenApp, store: Path) -> None:
    async with open_app(RunsTarget()) as (app, pilot):
        await press(pilot, "ctrl+p", *"srlm-seed2")
        await wait_for_text(pilot, "Run srlm-seed2")
        await press(pilot, "enter")
        assert app.current_mode == "run"
        assert app.current_run_id == find_id(store, "srlm-seed2")
        await press(pilot, "1", "ctrl+p", *"next theme")
        await wait_for_text(pilot, "Next theme")
        await press(pilot, "enter")
        assert app.theme != DARK


async def test_keys_of_ones_own(open_app: OpenApp, own_settings: Path) -> None:
    folder = own_settings / "config" / "cream-tui"
    folder.mkdir(parents=True)
    (folder / "keys.yaml").write_text("app.theme: f6\nrunz.pin: f7\n")
    async with open_app(RunsTarget()) as (app, pilot):
        assert any("runz.pin" in alert.text for alert in app.alerts)
        await press(pilot, "f6")
        assert app.theme == LIGHT
        await press(pilot, "ctrl+t")
        assert app.theme == LIGHT
        assert any(key.binding_id == "app.theme" and "f6" in key.keys for key in list_keys_of(app.screen))


async def test_a_theme_is_remembered(open_app: OpenApp) -> None:
    async with open_app(RunsTarget()) as (app, pilot):
        await press(pilot, "ctrl+t")
        assert app.theme == LIGHT
    async with open_app(RunsTarget()) as (app, _):
        assert app.theme == LIGHT


async def test_a_run_that_ends_rings_and_leads_there(
    open_app: OpenApp, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = find_id(store, "cream-seed1")
    execute(store, "UPDATE run SET state = 'running' WHERE run_id = ?", run_id)
    async with open_app(RunsTarget()) as (app, pilot):
        written = catch_sequences(app, monkeypatch)
        rung: list[bool] = []
        monkeypatch.setattr(app, "bell", lambda: rung.append(True))
        await wait_until(pilot, lambda: app._states is not None)
        execute(store, "UPDATE run SET state = 'failed', error = 'out of\x1b[2J luck' WHERE run_id = ?", run_id)
        await wait_until(pilot, lambda: bool(app.alerts))
        assert "cream-seed1 is failed: out of" in app.alerts[0].text
        assert rung == [True]
        assert written == ["\x1b]9;cream-tui: cream-seed1 is failed: out of␛[2J luck\a"]
        assert "press !" in read_screen(app)
        await press(pilot, "exclamation_mark", "enter")
        assert app.current_mode == "run" and app.current_run_id == run_id
        assert app.n_new_alerts == 0


async def test_copying_goes_through_the_terminal_or_into_a_file(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(RunsTarget()) as (app, pilot):
        written = catch_sequences(app, monkeypatch)
        await press(pilot, "dollar_sign")
        found = re.fullmatch(r"\x1b\]52;c;(.*)\a", written[-1])
        assert found is not None
        assert base64.b64decode(found[1]).decode().startswith("cream-tui ls")
        app.copy("x" * 100_000, "long text")
        await settle(pilot)
        assert Path("cream-tui-long-text.txt").read_text() == "x" * 100_000
        await press(pilot, "y", "Y")
        assert len(list(Path().glob("cream-tui-*.txt"))) == 2


async def test_what_is_shown_is_exported_and_nothing_is_overwritten(open_app: OpenApp) -> None:
    async with open_app(RunsTarget()) as (app, pilot):
        await press(pilot, "E", "enter")
        (file,) = Path().glob("*.csv")
        assert file.read_text().count("\n") == 10
        assert "cream-seed0" in file.read_text()
        await press(pilot, "E", "enter")
        assert "exists; choose another name" in read_screen(app)
        await press(pilot, "escape", "E", *"runs.jsonl", "enter")
        assert json.loads(Path("runs.jsonl").read_text().splitlines()[0])


async def test_a_picture_needs_nothing_from_outside(open_app: OpenApp) -> None:
    async with open_app(RunsTarget()) as (_, pilot):
        await press(pilot, "f12")
        picture = Path("cream-tui-runs.svg").read_text()
        assert "cream-seed0" in picture
        assert "font-face" not in picture and "cdn" not in picture


async def test_a_store_that_comes_later_is_noticed(open_app: OpenApp, store: Path, tmp_path: Path) -> None:
    late = tmp_path / "late"
    async with open_app(RunsTarget(), root=late) as (app, pilot):
        assert "No runs yet" in read_screen(app)
        part = tmp_path / "part"
        shutil.copytree(store, part)
        part.rename(late)
        await wait_until(pilot, lambda: "cream-seed0" in read_screen(app))


async def test_a_damaged_store_is_told_and_what_was_shown_stays(open_app: OpenApp, store: Path) -> None:
    """Another file in its place: one that is overwritten may be made whole again from its WAL by who has it open."""
    async with open_app(RunsTarget()) as (app, pilot):
        for leftover in store.glob("cream.db-*"):
            leftover.unlink()
        (store / "copied.db").write_bytes(b"no database at all" * 500)
        (store / "copied.db").replace(store / "cream.db")
        await wait_until(pilot, lambda: app.store_fault is not None)
        text = read_screen(app)
        assert "cream-seed0" in text
        assert "✗" in text


async def test_a_refused_command_is_kept_in_the_inbox(open_app: OpenApp) -> None:
    async with open_app(RunsTarget()) as (app, pilot):
        ended: list[Outcome] = []
        app.perform(["stop", "nobody"], doing="stopping nobody", done="stopped nobody", then=ended.append)
        await settle(pilot)
        assert ended[0].code == 2
        assert "no run or study 'nobody'" in app.alerts[0].text
        assert app.alerts[0].severity == "error"


async def test_writes_keep_their_order_and_are_not_lost_at_the_end(open_app: OpenApp) -> None:
    written: list[int] = []

    def write(number: int) -> None:
        time.sleep(0.05 if number == 0 else 0.0)
        written.append(number)

    async with open_app(RunsTarget()) as (app, pilot):
        for number in range(5):
            app.annotate(partial(write, number))
        await settle(pilot)
        assert written == list(range(5))
        for number in range(5, 10):
            app.annotate(partial(write, number))
    assert written == list(range(10))


async def test_undo_without_anything_says_so(open_app: OpenApp) -> None:
    async with open_app(RunsTarget()) as (app, pilot):
        await press(pilot, "ctrl+z")
        app.push_undo("a thing", lambda: app.tell("undone"))
        await press(pilot, "U", "U")
        assert [toast.message for toast in app._notifications] == [
            "nothing to undo",
            "undone",
            "took back a thing",
            "nothing to undo",
        ]


async def test_what_is_committed_while_a_screen_is_built_is_shown(
    open_app: OpenApp, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first reading begins before the screen stands: here it is over when the commit comes."""
    read_ahead = StoreScreen.read_ahead

    def read_and_commit(screen: StoreScreen[object, object]) -> None:
        read_ahead(screen)
        assert screen._ahead is not None
        screen._ahead.result(timeout=60)
        execute(store, "UPDATE run SET name = 'renamed' WHERE name = 'too-fast'")
        screen.refresh_data()  # as the watcher's message does

    monkeypatch.setattr(StoreScreen, "read_ahead", read_and_commit)
    async with open_app(RunsTarget()) as (app, _):
        assert "renamed" in read_screen(app)


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_the_line_of_keys_does_what_it_names(open_app: OpenApp, size: tuple[int, int]) -> None:
    async with open_app(RunsTarget(), size=size) as (app, pilot):
        keys = read_screen(app).splitlines()[-1]
        assert keys.startswith("enter Open") and keys.endswith("? Help")
        await pilot.click("#key-line", offset=(keys.index("Filter"), 0))
        await settle(pilot)
        assert isinstance(app.focused, Input)
        assert "Group" not in read_screen(app).splitlines()[-1], "a letter is typed now"
