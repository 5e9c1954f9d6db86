"""The form of a new run through its keys: typing, errors, the command, dry run, sweeps, start, queue, YAML."""

from __future__ import annotations

import asyncio
import shlex
import sqlite3
import stat
import subprocess
import threading
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
from driving import press, read_screen, settle, wait_until
from textual.events import Paste
from textual.pilot import Pilot

from cream_tui.app import CreamApp
from cream_tui.screens.launch import DEBOUNCE_S, LaunchScreen
from cream_tui.shell import actions
from cream_tui.targets import LaunchTarget
from cream_tui.views import launch_reader
from cream_tui.views.launch_checks import Machine
from db.queries import find_run, open_reader
from engine.config.load import list_shipped_methods, load_run_config

SIZES = [(120, 40), (80, 24)]
SANDBOX = LaunchTarget(base="sandbox")


def get_screen(app: CreamApp) -> LaunchScreen:
    assert isinstance(app.front, LaunchScreen)
    return app.front


async def look(pilot: Pilot[Any]) -> None:
    """Until the draft as it stands was looked at."""
    await asyncio.sleep(DEBOUNCE_S + 0.05)
    await settle(pilot)
    screen = pilot.app.front
    if isinstance(screen, LaunchScreen):
        await wait_until(pilot, lambda: screen._reading == screen.draft)
        await settle(pilot)


async def fill(app: CreamApp, pilot: Pilot[Any], key: str, text: str) -> None:
    """Go to a field as the search does and type over what it holds."""
    form = get_screen(app).form
    assert form.focus_field(key)
    await settle(pilot)
    await pilot.press("end", "ctrl+u", *[{" ": "space"}.get(letter, letter) for letter in text])
    await look(pilot)


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with room for every run, whatever this one has."""
    monkeypatch.setattr(launch_reader, "read_machine", lambda _: Machine(disk_bytes=10**12, memory_bytes=10**12))


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch, store: Path) -> list[list[str]]:
    """The commands that the app would have started; each answers with the id of a run of the store."""
    found: list[list[str]] = []
    with closing(open_reader(store)) as reader:
        run_id = find_run(reader, "cream-seed0").run_id

    def run(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        found.append(words[words.index("cream_tui") + 1 :])
        return subprocess.CompletedProcess(words, 0, f"{run_id}\n", "")

    monkeypatch.setattr(actions.subprocess, "run", run)
    return found


@pytest.mark.parametrize("size", SIZES)
async def test_a_wrong_value_is_told_at_its_field_and_goes_once_it_is_mended(
    open_app: Any, size: tuple[int, int]
) -> None:
    async with open_app(SANDBOX, size=size) as (app, pilot):
        screen = get_screen(app)
        assert "sound: ctrl+s starts it" in read_screen(app)
        await fill(app, pilot, "seed", "-1")
        shown = read_screen(app)
        assert "✗ seed = -1: expected a number of at least 0" in shown
        assert "1 thing is wrong" in shown
        await fill(app, pilot, "seed", "4")
        shown = read_screen(app)
        assert "expected" not in shown and "sound" in shown
        assert "cream-tui run sandbox --seed 4 --detach" in shown
        assert "*seed" in shown and "was 0" in shown
        await fill(app, pilot, "seed", "0")
        assert screen.draft.values == {}
        assert "$ cream-tui run sandbox --detach" in read_screen(app)


@pytest.mark.parametrize("size", SIZES)
async def test_a_dry_run_is_shown_and_closed(open_app: Any, performed: list[list[str]], size: tuple[int, int]) -> None:
    async with open_app(SANDBOX, size=size) as (app, pilot):
        await fill(app, pilot, "iterations", "1")
        await press(pilot, "ctrl+t")
        await look(pilot)
        shown = read_screen(app)
        assert "dry run: nothing was started" in shown
        assert "train M2" in shown or size[1] == 24
        assert "600 prompts, 3,000 responses" in shown
        await press(pilot, "escape")
        assert "dry run" not in read_screen(app).replace("Dry run", "")
        assert app.current_mode == "launch"
        assert performed == []


async def test_a_dry_run_of_a_run_that_is_there_reuses_it(open_app: Any, store: Path) -> None:
    with closing(open_reader(store)) as reader:
        run = find_run(reader, "cream-seed0")
    async with open_app(LaunchTarget(source_run_id=run.run_id)) as (app, _):
        assert get_screen(app).draft.base == "run:cream-seed0"
        shown = read_screen(app)
        assert "copy of cream-seed0" in shown
        assert "cream-tui run --from cream-seed0 --detach" in shown
        assert "taken: cream-seed0 becomes" in shown


@pytest.mark.parametrize("size", SIZES)
async def test_a_fork_is_a_copy_at_a_model(open_app: Any, store: Path, size: tuple[int, int]) -> None:
    with closing(open_reader(store)) as reader:
        run = find_run(reader, "cream-seed0")
    async with open_app(LaunchTarget(source_run_id=run.run_id, fork_at="M2"), size=size) as (app, pilot):
        await fill(app, pilot, "training.beta", "0.25")
        shown = read_screen(app)
        assert "fork of " in shown and " at M2" in shown, "a narrow screen cuts the name in its middle"
        assert "fork cream-seed0 --at M2 --set training.beta=0.25" in shown
        await fill(app, pilot, "at", "M9")
        assert "✗ --at M9" in read_screen(app) or "M9: cream-seed0 has the models" in read_screen(app)
        await fill(app, pilot, "at", "")
        assert "run --from cream-seed0 --set training.beta=0.25" in read_screen(app)


async def test_space_takes_the_next_choice(open_app: Any) -> None:
    async with open_app(SANDBOX) as (app, pilot):
        screen = get_screen(app)
        screen.form.focus_field("method")
        await press(pilot, "space")
        await look(pilot)
        methods = list_shipped_methods()
        expected = methods[methods.index("cream") + 1]
        assert screen.draft.values["method"] == expected
        assert f"--method {expected}" in read_screen(app)
        assert screen.form.rows["method"].input.value == expected


@pytest.mark.parametrize("size", SIZES)
async def test_a_folded_setting_is_found_by_typing(open_app: Any, size: tuple[int, int]) -> None:
    async with open_app(SANDBOX, size=size) as (app, pilot):
        assert "top_p" not in read_screen(app)
        await press(pilot, "ctrl+f", *"nucleus")
        assert "top_p" in read_screen(app) and "learning_rate" not in read_screen(app)
        await press(pilot, "enter", "0", ".", "5")
        await look(pilot)
        assert get_screen(app).draft.values == {"sampling.top_p": "0.5"}
        await press(pilot, "escape")
        assert "iterations" in read_screen(app)
        assert "--set sampling.top_p=0.5" in read_screen(app)


async def test_a_section_unfolds(open_app: Any) -> None:
    async with open_app(SANDBOX) as (app, pilot):
        screen = get_screen(app)
        screen.form.sections["scoring"].focus()
        await press(pilot, "enter")
        assert "first_iteration" in read_screen(app)
        await press(pilot, "enter")
        assert "first_iteration" not in read_screen(app)


@pytest.mark.parametrize("size", SIZES)
async def test_start_performs_the_command_that_is_shown(
    open_app: Any, performed: list[list[str]], size: tuple[int, int]
) -> None:
    async with open_app(SANDBOX, size=size) as (app, pilot):
        screen = get_screen(app)
        await fill(app, pilot, "name", "mine")
        await pilot.press("tab", "tab", "end", "ctrl+u", "9")
        words = None
        await press(pilot, "ctrl+s")
        await look(pilot)
        words = ["run", "sandbox", "--name", "mine", "--seed", "9", "--detach"]
        assert performed == [words]
        assert screen.get_command() == shlex.join(words)
        await settle(pilot)
        assert app.current_mode == "run"


async def test_what_was_typed_a_moment_ago_is_started_not_what_stood_there_before(
    open_app: Any, performed: list[list[str]]
) -> None:
    """ctrl+s comes before the debounced look at the last letter."""
    async with open_app(SANDBOX) as (app, pilot):
        get_screen(app).form.focus_field("iterations")
        await settle(pilot)
        await pilot.press("2", "ctrl+s")
        await look(pilot)
        assert performed == [["run", "sandbox", "--set", "iterations=2", "--detach"]]


async def test_the_form_is_locked_until_the_start_is_settled(
    open_app: Any, performed: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, answer = threading.Event(), actions.subprocess.run

    def run(words: list[str], **named: object) -> subprocess.CompletedProcess[str]:
        assert gate.wait(20)
        return answer(words, **named)

    monkeypatch.setattr(actions.subprocess, "run", run)
    async with open_app(SANDBOX) as (app, pilot):
        screen = get_screen(app)
        await fill(app, pilot, "name", "mine")
        await pilot.press("ctrl+n")
        try:
            await wait_until(pilot, lambda: "queueing mine …" in screen.status_line.render().plain)
            await pilot.press("x", "space", "q", "2", "backspace", "ctrl+u", "ctrl+s", "ctrl+n", "ctrl+r", "ctrl+b")
            screen.form.rows["name"].input.post_message(Paste("pasted"))
            await asyncio.sleep(DEBOUNCE_S + 0.1)
            await pilot.pause()
            assert screen.form.rows["name"].input.value == "mine"
            assert screen.draft.values == {"name": "mine"}
            assert len(app.screen_stack) == 1 and app.current_mode == "launch"
            assert "queueing mine …" in screen.status_line.render().plain
        finally:
            gate.set()
        await look(pilot)
        assert performed == [["run", "sandbox", "--name", "mine", "--queue", "--detach"]]
        assert "sound" in screen.status_line.render().plain
        await pilot.press("end", "s")
        assert screen.form.rows["name"].input.value == "mines"


@pytest.mark.parametrize("size", SIZES)
async def test_a_way_out_and_the_help_are_told_where_letters_are_text(open_app: Any, size: tuple[int, int]) -> None:
    async with open_app(SANDBOX, size=size) as (app, pilot):
        assert read_screen(app).splitlines()[-1].rstrip().endswith("esc Leave  f1 Help")
        await press(pilot, "f1")
        assert len(app.screen_stack) == 2
        await press(pilot, "escape", "escape")
        assert app.current_mode == "runs"


async def test_a_wrong_draft_cannot_be_started(open_app: Any, performed: list[list[str]]) -> None:
    async with open_app(SANDBOX) as (app, pilot):
        await fill(app, pilot, "training.beta", "much")
        get_screen(app).form.focus_field("name")
        for key in ("ctrl+s", "ctrl+s", "ctrl+n", "ctrl+t"):
            await press(pilot, key)
            await look(pilot)
        assert performed == []
        assert app.current_mode == "launch"
        assert get_screen(app).form.rows["training.beta"].input.has_focus


async def test_a_sweep_says_how_many_and_asks_before_it_crowds_the_machine(
    open_app: Any, performed: list[list[str]]
) -> None:
    async with open_app(SANDBOX) as (app, pilot):
        await fill(app, pilot, "seed", "1..3")
        shown = read_screen(app)
        assert "3 runs" in shown and "and 2 more" in shown
        await press(pilot, "ctrl+s")
        await look(pilot)
        assert performed == []
        assert "3 runs would compute side by side" in read_screen(app)
        await press(pilot, "ctrl+s")
        await look(pilot)
        assert [words[words.index("--seed") + 1] for words in performed] == ["1", "2", "3"]
        assert all(words[-1] == "--detach" and "--queue" not in words for words in performed)


async def test_a_sweep_is_queued_in_order_without_a_question(open_app: Any, performed: list[list[str]]) -> None:
    async with open_app(SANDBOX) as (app, pilot):
        await fill(app, pilot, "training.beta", "[0.5,1]")
        await press(pilot, "ctrl+n")
        await look(pilot)
        assert performed == [
            ["run", "sandbox", "--set", f"training.beta={beta}", "--name", f"sandbox-beta{beta}", "--queue", "--detach"]
            for beta in ("0.5", "1")
        ]
        assert app.current_mode == "launch"


async def test_a_start_that_fails_is_told_and_ends_the_sweep(open_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def run(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(words)
        return subprocess.CompletedProcess(words, 2, "", "error: the disk is on fire\n  put it out\n")

    monkeypatch.setattr(actions.subprocess, "run", run)
    async with open_app(SANDBOX) as (app, pilot):
        await fill(app, pilot, "seed", "1..3")
        await press(pilot, "ctrl+n")
        await look(pilot)
        assert len(calls) == 1
        assert "the disk is on fire" in app.alerts[0].text
        assert app.current_mode == "launch"


async def test_the_commands_are_copied_as_they_run(open_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    monkeypatch.setattr(CreamApp, "copy", lambda self, text, what: copied.append(text))
    async with open_app(SANDBOX) as (app, pilot):
        await fill(app, pilot, "seed", "1..2")
        await press(pilot, "ctrl+y")
        lines = copied[0].splitlines()
        assert [shlex.split(line)[1:] for line in lines] == [
            ["run", "sandbox", "--name", f"sandbox-seed{seed}", "--seed", str(seed), "--detach"] for seed in (1, 2)
        ]


async def test_the_draft_outlives_the_screen_and_the_app(open_app: Any, store: Path) -> None:
    async with open_app(SANDBOX) as (app, pilot):
        await fill(app, pilot, "training.beta", "0.7")
        await press(pilot, "escape")
        assert app.current_mode == "runs"
        await press(pilot, "5")
        assert get_screen(app).draft.values == {"training.beta": "0.7"}
        app.exit()
    async with open_app(LaunchTarget(), root=store) as (app, pilot):
        assert get_screen(app).draft.values == {"training.beta": "0.7"}
        assert "--set training.beta=0.7" in read_screen(app)
        await press(pilot, "ctrl+r")
        await look(pilot)
        assert get_screen(app).draft.values == {}
        app.action_undo()
        await look(pilot)
        assert "--set training.beta=0.7" in read_screen(app)


@pytest.mark.parametrize("view", [{"draft": 3}, {"draft": {"base": 1}}, {"draft": {"values": []}}, {}])
async def test_a_remembered_view_may_be_nonsense(view: dict[str, object]) -> None:
    screen = LaunchScreen()
    screen.restore_view(view)
    assert screen.draft.base == "sandbox"


async def test_another_base_is_chosen_from_a_list(open_app: Any) -> None:
    async with open_app(SANDBOX) as (app, pilot):
        await press(pilot, "ctrl+b", *"gentle", "enter")
        await look(pilot)
        shown = read_screen(app)
        assert "cream-tui run sandbox-gentle --detach" in shown
        assert get_screen(app).form.rows["training.beta"].input.value == "0.5"


async def test_the_draft_goes_through_the_persons_editor(
    open_app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The editor is a script; only the lending of the terminal is left out."""
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/iterations: 3/iterations: 7/" "$1"\n')
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("VISUAL", str(editor))
    monkeypatch.setattr(CreamApp, "suspend", lambda self: nullcontext())
    async with open_app(SANDBOX) as (app, pilot):
        await press(pilot, "ctrl+e")
        await look(pilot)
        assert get_screen(app).draft.values == {"iterations": "7"}
        assert "--set iterations=7" in read_screen(app)
        editor.write_text('#!/bin/sh\necho "[no mapping" > "$1"\n')
        await press(pilot, "ctrl+e")
        await look(pilot)
        assert get_screen(app).draft.values == {"iterations": "7"}
        assert "the draft is as it was" in app.alerts[0].text


async def test_the_configuration_is_saved_as_a_file_that_runs(open_app: Any, tmp_path: Path) -> None:
    async with open_app(SANDBOX) as (app, pilot):
        await fill(app, pilot, "training.beta", "0.3")
        await fill(app, pilot, "name", "kept")
        await press(pilot, "ctrl+o", "enter")
        path = Path("kept.yaml")
        assert load_run_config(str(path)) == load_run_config("sandbox", overrides=["training.beta=0.3"], name="kept")
        before = path.read_bytes()
        await press(pilot, "ctrl+o", "enter")
        assert "is there already" in read_screen(app)
        assert path.read_bytes() == before


def queue_runs(root: Path, *names: str) -> dict[str, str]:
    """Make these runs wait, in this order; their ids by name."""
    with closing(sqlite3.connect(root / "cream.db")) as connection, connection:
        for place, name in enumerate(names, 1):
            connection.execute("UPDATE run SET state = 'queued', queue_position = ? WHERE name = ?", (place, name))
        return dict(connection.execute("SELECT name, run_id FROM run").fetchall())


async def test_the_queue_is_reordered_and_a_run_taken_out_by_commands(
    open_app: Any, store: Path, performed: list[list[str]]
) -> None:
    ids = queue_runs(store, "srlm-seed1", "cream-seed1", "srlm-seed2")
    first, second, third = ids["srlm-seed1"], ids["cream-seed1"], ids["srlm-seed2"]
    async with open_app(SANDBOX) as (app, pilot):
        shown = read_screen(app)
        assert "next 1" in shown and "3 waiting" in shown
        await press(pilot, "ctrl+g", "down", "J", "J")
        assert performed == [["queue", first, "--before", third]] * 2
        await press(pilot, "down", "down", "K")
        assert performed[2] == ["queue", third, "--before", second]
        await press(pilot, "up", "J", "J")
        assert performed[3] == ["queue", second, "--last"]
        await press(pilot, "x", "y")
        assert performed[-1] == ["stop", second]
        await press(pilot, "escape")
        assert app.current_mode == "launch"


async def test_a_narrow_terminal_shows_the_queue_on_demand(open_app: Any, store: Path) -> None:
    queue_runs(store, "srlm-seed1")
    async with open_app(SANDBOX, size=(80, 24)) as (app, pilot):
        assert "1. srlm-seed1" in read_screen(app)
        await press(pilot, "ctrl+g")
        assert "next 1" in read_screen(app) and "learning_rate" not in read_screen(app)
        await press(pilot, "escape")
        assert "learning_rate" in read_screen(app) or "iterations" in read_screen(app)


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_names_and_texts_stay_text(open_app: Any, store: Path, size: tuple[int, int]) -> None:
    nasty = "[red]x\x1b]52;c;aGk=\x07\x1b[2J\u202ey\x9b31m"
    with closing(sqlite3.connect(store / "cream.db")) as connection, connection:
        connection.execute(
            "UPDATE run SET name = ?, state = 'queued', queue_position = 1 WHERE name = 'cream-seed1'", (nasty,)
        )
        (run_id,) = connection.execute("SELECT run_id FROM run WHERE name = ?", (nasty,)).fetchone()
    async with open_app(LaunchTarget(source_run_id=run_id), size=size) as (app, pilot):
        await press(pilot, "ctrl+b")
        await press(pilot, "escape")
        await fill(app, pilot, "tags", "[bold]b")
        shown = read_screen(app)
        assert not any(character in shown for character in "\x1b\x07\u202e\x9b")
        assert "[red]x␛" in shown
        assert f"run --from {run_id}" in shown


async def test_a_first_run_needs_no_store(open_app: Any, tmp_path: Path) -> None:
    async with open_app(SANDBOX, root=tmp_path / "none") as (app, pilot):
        shown = read_screen(app)
        assert "sound" in shown and "the first run of a new store" in shown
        await press(pilot, "ctrl+t")
        await look(pilot)
        assert "0 reused" in read_screen(app)
    assert not (tmp_path / "none").exists()


async def test_the_cursor_comes_back_to_its_field_and_never_leaves_the_form_upwards(
    open_app: Any, performed: list[list[str]]
) -> None:
    async with open_app(SANDBOX) as (app, pilot):
        await look(pilot)
        form = get_screen(app).form
        assert form.focus_field("training.beta")
        await press(pilot, "ctrl+t", "escape")
        assert app.focused is form.rows["training.beta"].input
        await press(pilot, "ctrl+f", "escape")
        assert app.focused is form.rows["training.beta"].input
        await press(pilot, *["up"] * 20)
        assert app.focused is form.rows["base"].input
        await press(pilot, *["down"] * 60)
        assert app.focused is list(form.sections.values())[-1]
