"""Studies in the app through its keys: a row that unfolds, what is done to the whole, how one is started."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from driving import press, read_screen, settle, wait_for_text, wait_until
from made_studies import SEEDS, WAITING, Arm, add_lease, add_study
from textual.pilot import Pilot
from textual.widgets import Input

from cream_tui.app import CreamApp
from cream_tui.diagnostics import UsageProblem
from cream_tui.screens.runs import RunsScreen
from cream_tui.screens.study_window import StudyWindow
from cream_tui.targets import CompareTarget, LaunchTarget, RunsTarget, RunTarget, StudyTarget, Target, parse_target
from cream_tui.views.run_rows import RunRow
from db.reading import open_reader

both_sizes = pytest.mark.parametrize("size", [(120, 40), (80, 24)])
ARMS: list[Arm] = [*SEEDS, *WAITING, ("fast", 0, "too-fast")]


@pytest.fixture
def study_id(store: Path) -> str:
    """Two arms of three seeds that are done, one that waits, one run that failed; the process has ended."""
    return add_study(store, "mixed", ARMS, finished_at=time.time())


def get_screen(app: CreamApp) -> RunsScreen:
    assert isinstance(app.front, RunsScreen)
    return app.front


def get_window(app: CreamApp) -> StudyWindow:
    assert isinstance(app.screen, StudyWindow)
    return app.screen


def list_names(app: CreamApp) -> list[str]:
    return [row.record.run.name for row in get_screen(app).list.rows if isinstance(row, RunRow)]


def execute(store: Path, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(store / "cream.db")) as connection, connection:
        return connection.execute(sql, parameters).fetchall()


def list_ids(store: Path, names: list[str]) -> tuple[str, ...]:
    found = dict(execute(store, "SELECT name, run_id FROM run"))
    return tuple(found[name] for name in names)


async def write(pilot: Pilot[int], text: str) -> None:
    """Type a text key by key."""
    await pilot.press(*[{" ": "space"}.get(letter, letter) for letter in text])
    await settle(pilot)


# In the list of runs


@both_sizes
async def test_a_study_is_one_row_that_unfolds_into_arms_and_runs(
    open_app: Any, study_id: str, gone: list[Target], store: Path, size: tuple[int, int]
) -> None:
    async with open_app(size=size) as (app, pilot):
        shown = read_screen(app)
        assert "▶ mixed  6/10 done, 1 failed, 3 to go" in shown
        assert "1 study   9 runs" in shown
        assert list_names(app) == ["stopped-early", "cream-beta0.5"], "its runs do not also stand in the list"
        await press(pilot, "down", "enter")
        shown = read_screen(app)
        assert "▼ mixed" in shown and "▶ srlm" in shown and "▶ oracle" in shown
        assert "✗ fail    too-fast" in shown, "an arm of one run is that run"
        assert "srlm-seed1" not in shown
        await press(pilot, "down", "enter", "down")
        shown = read_screen(app)
        assert "▼ srlm" in shown and "srlm-seed0" in shown and "cream-seed0" not in shown
        arm = next(line for line in shown.splitlines() if "▼ srlm" in line)
        accuracies = execute(
            store,
            "SELECT avg(m.value) FROM run r JOIN run_stage l USING (run_id) JOIN metric m USING (stage_id) "
            "JOIN metric_name n USING (name_id) WHERE r.name LIKE 'srlm%' AND n.name = 'accuracy' AND l.position = "
            "(SELECT max(position) FROM run_stage WHERE run_id = r.run_id)",
        )
        assert f"{100 * accuracies[0][0]:.1f}" in arm, "the mean over its seeds"
        await press(pilot, "enter")
        assert gone == [RunTarget(list_ids(store, ["srlm-seed0"])[0])]
        await press(pilot, "up", "enter", "up", "enter")
        assert "▶ mixed" in read_screen(app)
        assert max(map(len, read_screen(app).splitlines())) <= size[0]


@both_sizes
async def test_the_study_under_the_cursor_is_told_close_up(open_app: Any, study_id: str, size: tuple[int, int]) -> None:
    async with open_app(RunsTarget(study_id=study_id), size=size) as (app, pilot):
        shown = read_screen(app)
        assert "▼ mixed" in shown, "who asks for a study sees it unfolded"
        assert get_screen(app).table.cursor_key == f"study {study_id}"
        assert "2 at once" in shown or "at once   2" in shown
        if size[0] >= 100:
            assert "fast seed 0" in shown and "the loss is nan" in shown
        await press(pilot, "down")
        assert "3/3 done" in read_screen(app)


async def test_filter_selection_tags_and_comparison_work_within_a_study(
    open_app: Any, study_id: str, gone: list[Target], store: Path
) -> None:
    async with open_app() as (app, pilot):
        await press(pilot, "slash")
        await write(pilot, "study:mix seed:1")
        await press(pilot, "enter")
        assert list_names(app) == ["srlm-seed1", "cream-seed1"], "what a filter finds is unfolded"
        await press(pilot, "home", "number_sign")
        await write(pilot, "second")
        await press(pilot, "enter")
        tagged = "SELECT r.name FROM run_tag t JOIN run r USING (run_id) WHERE t.tag = 'second' ORDER BY 1"
        assert execute(store, tagged) == [("cream-seed1",), ("srlm-seed1",)]
        await press(pilot, "escape", "home", "down", "c")
        assert gone[0] == StudyTarget(study_id)
        await press(pilot, "enter", "down", "space", "c")
        assert gone[1] == CompareTarget(list_ids(store, ["srlm-seed0", "srlm-seed1", "srlm-seed2"]))
        assert "3 selected" in read_screen(app)
        await press(pilot, "y")
        assert "copied 3 names" in "".join(str(note.message) for note in app._notifications)


async def test_stop_resume_and_delete_mean_the_whole_study(
    open_app: Any, study_id: str, performed: list[list[str]], store: Path
) -> None:
    async with open_app(RunsTarget(study_id=study_id)) as (app, pilot):
        await press(pilot, "x")
        assert performed == [] and len(app.screen_stack) == 1, "it does not go on"
        await press(pilot, "R")
        assert performed == [["resume", study_id, "--detach"]]
        await press(pilot, "d")
        assert "Its 7 runs go with it" in read_screen(app)
        await write(pilot, "mixed")
        await press(pilot, "enter")
        assert performed[1:] == [["rm", study_id, "--yes"]]
        add_lease(store, study_id, pid=os.getpid(), started_at=0, host="here", heartbeat_at=time.time())
        app.refresh_screen()
        await settle(pilot)
        assert "● run   ▼ mixed" in read_screen(app)
        await press(pilot, "R", "d")
        assert len(performed) == 2 and len(app.screen_stack) == 1, "a study that goes on is neither resumed nor deleted"
        await press(pilot, "x", "y")
        assert performed[2:] == [["stop", study_id]]


async def test_a_study_whose_process_is_gone_says_so(open_app: Any, study_id: str, store: Path) -> None:
    add_lease(store, study_id, pid=2**22 + 1, started_at=0, host=os.uname().nodename, heartbeat_at=time.time() - 99)
    async with open_app(RunsTarget(study_id=study_id)) as (app, _):
        shown = read_screen(app)
        assert "? stale ▼ mixed" in shown
        assert "its process is gone; R goes on" in shown


async def test_a_run_belongs_to_its_study_as_soon_as_it_is_there(open_app: Any, store: Path) -> None:
    """Its process notes the run in the arm a moment after it has started it."""
    begun = add_study(store, "begun", [("fast", 0, "too-fast"), ("slow", 1, "stopped-early")])
    execute(store, "UPDATE study_arm SET run_id = NULL")
    async with open_app() as (app, pilot):
        assert "too-fast" in list_names(app), "nothing works on the study: it is another run of this name"
        add_lease(store, begun, pid=os.getpid(), started_at=0, host="here", heartbeat_at=time.time())
        app.refresh_screen()
        await settle(pilot)
        assert "too-fast" in list_names(app), "it has ended, and what the study starts has just begun"
        assert "▶ begun  0/2 done, 2 to go" in read_screen(app)
        execute(store, "UPDATE run SET state = 'queued' WHERE name IN ('too-fast', 'stopped-early')")
        app.refresh_screen()
        await settle(pilot)
        assert not {"too-fast", "stopped-early"} & set(list_names(app))
        assert "▶ begun  0/2 done, 2 " in read_screen(app) and "to go" not in read_screen(app)
        execute(store, "UPDATE study SET created_at = (SELECT max(created_at) FROM run)")
        app.refresh_screen()
        await settle(pilot)
        assert "too-fast" in list_names(app), "it is older than the study"


async def test_a_study_that_has_started_nothing_yet_is_shown(open_app: Any, tmp_path: Path, store: Path) -> None:
    execute(store, "DELETE FROM run")
    add_study(store, "young", WAITING, created_at=time.time())
    async with open_app() as (app, pilot):
        shown = read_screen(app)
        assert "No runs yet" not in shown
        assert "◌ queue ▶ young  0/3 done, 3 to go" in shown
        await press(pilot, "c")
        assert "No model was evaluated yet" in read_screen(app)
        await press(pilot, "escape", "space", "enter")
        assert "· to go   ▶ oracle" in read_screen(app)


async def test_the_current_run_is_found_in_the_folded_study_and_folds_are_kept(
    open_app: Any, study_id: str, store: Path
) -> None:
    (run_id,) = list_ids(store, ["cream-seed1"])
    async with open_app(RunsTarget()) as (app, pilot):
        app.current_run_id = run_id
        get_screen(app).on_screen_resume()
        await settle(pilot)
        assert get_screen(app).table.cursor_key == f"study {study_id}"
        await press(pilot, "enter")
        app.exit()
    async with open_app(RunsTarget()) as (app, _):
        assert "▼ mixed" in read_screen(app)


async def test_the_end_of_a_study_is_told_once_and_its_runs_end_in_silence(
    open_app: Any, study_id: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_lease(store, study_id, pid=os.getpid(), started_at=0, host="here", heartbeat_at=time.time())
    execute(store, "UPDATE run SET state = 'running' WHERE name IN ('cream-seed0', 'cream-seed1')")
    async with open_app(RunsTarget()) as (app, pilot):
        rung: list[bool] = []
        monkeypatch.setattr(app, "bell", lambda: rung.append(True))
        await wait_until(pilot, lambda: app._states is not None)
        execute(store, "UPDATE run SET state = 'done' WHERE name = 'cream-seed0'")
        execute(store, "UPDATE run SET state = 'failed', error = 'no luck' WHERE name = 'cream-seed1'")
        await wait_until(pilot, lambda: bool(app.alerts))
        assert [alert.text for alert in app.alerts] == ["cream-seed1 is failed: no luck"]
        assert rung == []
        execute(store, "DELETE FROM study_lease")
        await wait_until(pilot, lambda: len(app.alerts) == 2)
        assert app.alerts[0].text == "the study mixed has ended, 5 of 10 runs done, 2 failed"
        assert app.alerts[0].target == RunsTarget(study_id=study_id)
        assert rung == [True]


async def test_a_study_is_found_by_its_name(open_app: Any, study_id: str, store: Path) -> None:
    with closing(open_reader(store)) as reader:
        assert parse_target(reader, "mixed") == RunsTarget(study_id=study_id)
        with pytest.raises(UsageProblem, match="mixed/M2: mixed is a study"):
            parse_target(reader, "mixed/M2")
    async with open_app(LaunchTarget()) as (app, pilot):
        await press(pilot, "ctrl+p", *"study mixed")
        await wait_for_text(pilot, "Study mixed")
        await press(pilot, "enter")
        assert app.current_mode == "runs"
        assert get_screen(app).table.cursor_key == f"study {study_id}"
        assert "▼ mixed" in read_screen(app)


@both_sizes
async def test_a_filter_leaves_means_as_they_are_and_says_what_it_hides(
    open_app: Any, study_id: str, size: tuple[int, int]
) -> None:
    async with open_app(RunsTarget(study_id=study_id), size=size) as (app, pilot):
        arm = next(line for line in read_screen(app).splitlines() if "▶ srlm" in line)
        (mean,) = re.findall(r"100% +([0-9.]+) ", arm)
        await press(pilot, "slash")
        await write(pilot, "name=srlm-seed0,cream-seed2")
        await press(pilot, "enter")
        shown = read_screen(app)
        arm = next(line for line in shown.splitlines() if "▼ srlm" in line)
        assert "srlm (1 of 3)" in arm and f" {mean} " in arm
        assert "2 of 7 shown" in shown
        get_screen(app).table.put_cursor(f"arm {study_id} srlm")
        await settle(pilot)
        if size[0] >= 100:
            assert "filter: 1 of 3 shown; means of all" in read_screen(app)
        else:
            assert f"mean accuracy {mean} % of all, 1 of 3 shown" in read_screen(app)


async def test_the_chosen_study_has_a_mark_where_colours_are_off(
    open_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with open_app() as (app, pilot):
        await press(pilot, "w", "down")
        shown = read_screen(app)
        assert "▸ study paper-table" in shown and "▸ study anchored" not in shown
        assert "─ runs ─" in shown, "the list stays behind the question"


# Starting one


@both_sizes
async def test_a_study_is_chosen_planned_and_started(
    open_app: Any, performed: list[list[str]], gone: list[Target], store: Path, size: tuple[int, int]
) -> None:
    async with open_app(size=size) as (app, pilot):
        await press(pilot, "w")
        assert "study quick   A first look: three methods on two seeds" in read_screen(app)
        await write(pilot, "quick")
        await press(pilot, "enter")
        shown = read_screen(app)
        assert "A first look: three methods on two seeds" in shown, "what it is for stands above its plan"
        assert "6 runs of sandbox: 3 arms x 2 seeds" in shown
        assert "enter start" in shown, "the keys fit, whatever the plan says"
        assert "94 asked for, 71 distinct" in shown
        assert "$ cream-tui sweep quick --detach" in shown
        assert performed == [], "nothing is started before enter"
        jobs = get_window(app).plan.jobs
        await press(pilot, "plus")
        assert f"sweep quick --jobs {jobs + 1} --detach" in read_screen(app)
        await press(pilot, *["minus"] * (jobs + 1))
        assert "--jobs 1 --detach" in read_screen(app), "one at a time is the least"
        added = add_study(store, "quick", WAITING, created_at=time.time())
        await press(pilot, "enter")
        await settle(pilot)
        assert performed == [["sweep", "quick", "--jobs", "1", "--detach"]]
        assert gone == [RunsTarget(study_id=added)]
        assert len(app.screen_stack) == 1


async def test_a_study_file_with_a_mistake_says_so_until_it_is_mended(
    open_app: Any, performed: list[list[str]]
) -> None:
    file = Path("mine.yaml")
    text = "name: mine\nconfig: sandbox\nmethods: [srml]\nseeds: [0, 1]\nset: {iterations: 1}\n"
    file.write_text(text)
    Path("notes.yaml").write_text("what: no study\n")
    Path("same.json").write_text('{"name": "same", "config": "sandbox", "methods": ["srlm"], "seeds": [0]}')
    async with open_app(LaunchTarget(base="sandbox")) as (app, pilot):
        await press(pilot, "ctrl+b")
        await write(pilot, "study")
        assert "study mine.yaml   a file here" in read_screen(app) and "notes.yaml" not in read_screen(app)
        assert "study same.json   a file here" in read_screen(app)
        await write(pilot, " mine")
        await press(pilot, "enter")
        assert "✗ mine.yaml: unknown method srml; did you mean srlm?" in read_screen(app)
        assert "enter start" not in read_screen(app), "there is nothing to start"
        await press(pilot, "enter", "plus")
        assert performed == [] and isinstance(app.screen, StudyWindow)
        file.write_text(text.replace("srml", "srlm"))
        await press(pilot, "ctrl+t")
        shown = read_screen(app)
        assert "enter start" in shown
        assert "2 runs of sandbox: 1 arm x 2 seeds" in shown and "✗" not in shown.split("sandbox:")[1].split("$")[0]
        await press(pilot, "escape")
        assert len(app.screen_stack) == 1 and app.current_mode == "launch"
        assert performed == []


async def test_any_other_file_is_asked_for(open_app: Any) -> None:
    async with open_app() as (app, pilot):
        await press(pilot, "w")
        await write(pilot, "another")
        await press(pilot, "enter")
        assert app.screen.query_one(Input).value == ""
        await write(pilot, "nowhere.yaml")
        await press(pilot, "enter")
        shown = read_screen(app)
        assert "✗ no such file: nowhere.yaml" in shown and "quick" in shown
