"""The list of runs through its keys, at both sizes."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from driving import press, read_screen, settle
from textual.pilot import Pilot
from textual.widgets import Input

from cream_tui import pacing
from cream_tui.app import CreamApp
from cream_tui.health.verdict import FALLS
from cream_tui.readers.health_reader import HealthReader
from cream_tui.screens.runs import RunsScreen
from cream_tui.targets import CompareTarget, LaunchTarget, RunsTarget, RunTarget, Target
from cream_tui.views.health import find_early_status
from cream_tui.views.run_rows import GroupRow, RunRow
from db.annotations import add_tags, set_baseline
from db.reading import open_reader

SIZES = [(120, 40), (80, 24)]
both_sizes = pytest.mark.parametrize("size", SIZES)


def get_screen(app: CreamApp) -> RunsScreen:
    assert isinstance(app.front, RunsScreen)
    return app.front


def list_names(app: CreamApp) -> list[str]:
    return [row.record.run.name for row in get_screen(app).list.rows if isinstance(row, RunRow)]


def name_cursor(app: CreamApp) -> str | None:
    record = get_screen(app).under_cursor
    return None if record is None else record.run.name


def query(store: Path, sql: str, *parameters: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(store / "cream.db")) as connection, connection:
        return connection.execute(sql, parameters).fetchall()


def get_id(store: Path, name: str) -> str:
    return str(query(store, "SELECT run_id FROM run WHERE name = ?", name)[0][0])


async def put_cursor(app: CreamApp, pilot: Pilot[int], name: str) -> None:
    screen = get_screen(app)
    run_id = next(record.run.run_id for record in screen.list.records if record.run.name == name)
    screen.table.put_cursor(run_id)
    await settle(pilot)


async def write(pilot: Pilot[int], text: str) -> None:
    """Type a text key by key."""
    for character in text:
        await pilot.press({" ": "space"}.get(character, character))
    await settle(pilot)


@both_sizes
async def test_the_list_shows_states_figures_and_the_run_under_the_cursor(open_app: Any, size) -> None:
    async with open_app(size=size) as (app, pilot):
        screen = read_screen(app)
        assert "✗ fail  too-fast" in screen
        assert "‖ stop  stopped-early" in screen
        assert "✓ done  cream-seed0" in screen
        for title in ("state", "name", "it", "done", "acc %", "C", "tau", "anchor", "label%", "age"):
            assert title in screen
        assert "the loss is nan" not in screen
        await put_cursor(app, pilot, "too-fast")
        assert "the loss is nan" in read_screen(app), "the side pane, or the line that stands for it"
        await put_cursor(app, pilot, "cream-seed0")
        assert "accuracy" in read_screen(app).split("cream-seed0")[-1] or size[0] >= 100
        assert app.current_run_id == get_screen(app).table.cursor_key
        assert max(map(len, read_screen(app).splitlines())) <= size[0]


@both_sizes
async def test_filter_is_live_completed_and_told_where_wrong(open_app: Any, size) -> None:
    async with open_app(size=size) as (app, pilot):
        await press(pilot, "slash")
        await write(pilot, "method:srlm")
        assert set(list_names(app)) == {"srlm-seed0", "srlm-seed1", "srlm-seed2"}
        assert "3 of 9" in read_screen(app)
        await write(pilot, " acc")
        await press(pilot, "tab")
        assert get_screen(app).filter_bar.text == "method:srlm accuracy>"
        await write(pilot, "x")
        assert "x is no number" in read_screen(app)
        assert len(list_names(app)) == 3, "the other term still counts"
        await press(pilot, "backspace", "0", "enter")
        assert "no number" not in read_screen(app)
        assert get_screen(app).table.has_focus
        await press(pilot, "escape")
        assert len(list_names(app)) == 9
        assert get_screen(app).filter_bar.text == ""


async def test_a_filter_by_settings_and_metrics_reads_them(open_app: Any) -> None:
    async with open_app(RunsTarget("beta<1")) as (app, pilot):
        assert list_names(app) == ["cream-beta0.5"]
        await press(pilot, "slash")
        await write(pilot, " or loss>0 -state:done")
        assert "too-fast" in list_names(app)
        await press(pilot, "escape")
        assert get_screen(app).filter_bar.text == "beta<1", "escape takes the line back to what it was"
        assert list_names(app) == ["cream-beta0.5"]


async def test_a_filter_that_is_entered_means_what_it_means_to_the_command(open_app: Any) -> None:
    async with open_app() as (app, pilot):
        await press(pilot, "slash")
        await write(pilot, "tau")
        assert len(list_names(app)) == 9, "a key that has only begun hides nothing"
        await press(pilot, "enter")
        assert list_names(app) == []


@both_sizes
async def test_sorting_by_keys_and_by_a_click(open_app: Any, size) -> None:
    async with open_app(size=size) as (app, pilot):
        newest_first = list_names(app)
        await press(pilot, "S")
        assert list_names(app) == newest_first[::-1]
        await press(pilot, "s", "s")
        assert get_screen(app).list.sort_key == "name"
        assert list_names(app) == sorted(list_names(app))
        table = get_screen(app).table
        header = read_screen(app).splitlines()[table.content_region.y]
        await pilot.click(table, offset=(header.index("acc") - table.region.x, table.content_region.y - table.region.y))
        await settle(pilot)
        accuracies = [row.record.run.accuracy for row in get_screen(app).list.rows if isinstance(row, RunRow)]
        assert accuracies == sorted(accuracies, key=lambda value: -(value or 0.0))
        assert "▼acc" in read_screen(app)


@both_sizes
async def test_groups_have_means_and_fold(open_app: Any, size) -> None:
    async with open_app(size=size) as (app, pilot):
        await press(pilot, "g")
        assert "training.beta" in read_screen(app), "keys in which the runs differ are named"
        await write(pilot, "metod")
        assert "did you mean method?" in read_screen(app)
        await press(pilot, *["backspace"] * 5)
        await write(pilot, "method")
        await press(pilot, "enter")
        heads = [row for row in get_screen(app).list.rows if isinstance(row, GroupRow)]
        assert {dict(head.group.values)["method"]: len(head.group.runs) for head in heads} == {"cream": 6, "srlm": 3}
        assert "▼ method srlm (3)" in read_screen(app)
        known = [record.run.accuracy for record in heads[0].group.runs if record.run.accuracy is not None]
        assert heads[0].group.means["accuracy"] == pytest.approx(sum(known) / len(known))
        await press(pilot, "home", "enter")
        assert "▶ method cream (6)" in read_screen(app)
        assert "cream-seed0" not in list_names(app)
        await press(pilot, "space")
        assert len(get_screen(app).list.selected) == 6, "space on a group selects its runs"
        await press(pilot, "escape", "home", "enter")
        assert "cream-seed0" in list_names(app)


async def test_selection(open_app: Any, gone: list[Target], store: Path) -> None:
    set_baseline(store, None)
    async with open_app() as (app, pilot):
        screen = get_screen(app)
        await press(pilot, "c")
        assert gone == [], "there is nothing to compare with yet"
        await press(pilot, "space", "space")
        assert len(screen.list.selected) == 2
        assert "2 selected" in read_screen(app)
        await press(pilot, "c")
        assert gone == [CompareTarget(tuple(record.run.run_id for record in screen.list.records[:2]))]
        await press(pilot, "escape")
        assert screen.list.selected == set()
        screen.filter_by("seed:1")
        await press(pilot, "ctrl+a")
        assert {record.run.name for record in screen.chosen} == {"cream-seed1", "srlm-seed1"}


@both_sizes
async def test_pin_compares_with_the_baseline_and_is_undone(
    open_app: Any, gone: list[Target], store: Path, size
) -> None:
    set_baseline(store, None)
    async with open_app(size=size) as (app, pilot):
        await put_cursor(app, pilot, "srlm-seed0")
        await press(pilot, "p")
        assert query(store, "SELECT name FROM run WHERE is_baseline") == [("srlm-seed0",)]
        assert "baseline srlm-seed0" in read_screen(app)
        await put_cursor(app, pilot, "cream-seed0")
        await press(pilot, "c")
        screen = get_screen(app)
        assert screen.list.baseline is not None and screen.under_cursor is not None
        assert gone == [CompareTarget((screen.list.baseline.run.run_id, screen.under_cursor.run.run_id))]
        if size[0] >= 100:
            assert "settings differ from srlm-seed0" in read_screen(app)
            assert "srlm → cream" in read_screen(app)
        await press(pilot, "p")
        assert query(store, "SELECT name FROM run WHERE is_baseline") == [("cream-seed0",)]
        await press(pilot, "U")
        assert query(store, "SELECT name FROM run WHERE is_baseline") == [("srlm-seed0",)]
        await press(pilot, "ctrl+z")
        assert query(store, "SELECT name FROM run WHERE is_baseline") == []


@both_sizes
async def test_tags_and_notes_of_one_and_of_many_runs(open_app: Any, store: Path, size) -> None:
    query(store, "DELETE FROM run_tag")
    add_tags(store, [get_id(store, "srlm-seed0")], ["old"])
    tags = "SELECT r.name, t.tag FROM run_tag t JOIN run r USING (run_id) ORDER BY 1, 2"
    async with open_app(size=size) as (app, pilot):
        await put_cursor(app, pilot, "srlm-seed0")
        await press(pilot, "number_sign")
        assert app.screen.query_one(Input).value == "old"
        await press(pilot, "end")
        await write(pilot, ", good")
        await press(pilot, "enter")
        assert query(store, tags) == [("srlm-seed0", "good"), ("srlm-seed0", "old")]
        get_screen(app).filter_by("name:seed0")
        await press(pilot, "ctrl+a", "number_sign")
        await write(pilot, "both,-old")
        await press(pilot, "enter")
        expected = [("cream-seed0", "both"), ("srlm-seed0", "both"), ("srlm-seed0", "good")]
        assert query(store, tags) == expected
        await press(pilot, "e")
        await write(pilot, "look again")
        await press(pilot, "enter")
        notes = "SELECT count(*) FROM run WHERE note = 'look again'"
        assert query(store, notes) == [(2,)]
        await press(pilot, "U")
        assert query(store, notes) == [(0,)]
        await press(pilot, "U", "U")
        assert query(store, tags) == [("srlm-seed0", "old")]


async def test_an_edit_that_cannot_be_written_is_taken_back(open_app: Any, store: Path) -> None:
    set_baseline(store, None)
    async with open_app() as (app, pilot):
        await put_cursor(app, pilot, "srlm-seed0")
        screen = get_screen(app)
        query(store, "DELETE FROM run WHERE name = 'srlm-seed0'")
        screen.action_pin()
        assert screen.list.baseline is not None, "it shows at once"
        await settle(pilot)
        assert screen.list.baseline is None
        assert any("not saved" in alert.text for alert in app.alerts)


async def test_stop_resume_and_delete_are_commands(open_app: Any, performed: list[list[str]], store: Path) -> None:
    """The recorded stopped run is made to look as if it went on, its process gone: it is stale."""
    query(store, "UPDATE run SET state = 'running' WHERE name = 'stopped-early'")
    ids = {str(name): str(run_id) for run_id, name in query(store, "SELECT run_id, name FROM run")}
    async with open_app() as (app, pilot):
        await put_cursor(app, pilot, "stopped-early")
        assert "? stale stopped-early" in read_screen(app)
        await press(pilot, "R")
        assert performed == [["resume", ids["stopped-early"], "--detach"]]
        await press(pilot, "x", "n")
        assert len(performed) == 1
        await press(pilot, "x", "y")
        assert performed[1:] == [["stop", ids["stopped-early"]]]
        await put_cursor(app, pilot, "cream-seed0")
        await press(pilot, "x", "R")
        assert len(performed) == 2, "a finished run is neither stopped nor resumed"
        await press(pilot, "d")
        await write(pilot, "cream")
        await press(pilot, "enter")
        assert len(performed) == 2, "the whole name must be typed"
        await write(pilot, "cream-seed0")
        await press(pilot, "enter")
        assert performed[2:] == [["rm", ids["cream-seed0"], "--yes"]]


async def test_many_runs_are_deleted_one_after_the_other(open_app: Any, performed: list[list[str]]) -> None:
    async with open_app() as (app, pilot):
        get_screen(app).filter_by("seed:1")
        await press(pilot, "ctrl+a", "d")
        await write(pilot, "delete 2")
        await press(pilot, "enter")
        await settle(pilot)
        assert [words[0] for words in performed] == ["rm", "rm"]
        assert len({words[1] for words in performed}) == 2
        assert get_screen(app).list.selected == set()


async def test_a_live_run_is_not_deleted(open_app: Any, performed: list[list[str]], store: Path) -> None:
    query(store, "UPDATE run SET state = 'queued' WHERE name = 'stopped-early'")
    async with open_app() as (app, pilot):
        await put_cursor(app, pilot, "stopped-early")
        await press(pilot, "d")
        assert len(app.screen_stack) == 1
        assert performed == []


@both_sizes
async def test_where_the_keys_lead(open_app: Any, gone: list[Target], store: Path, size) -> None:
    run_id = get_id(store, "cream-seed0")
    async with open_app(size=size) as (app, pilot):
        await put_cursor(app, pilot, "cream-seed0")
        await press(pilot, "enter", "n", "N", "F")
        assert gone == [RunTarget(run_id), LaunchTarget(), LaunchTarget(source_run_id=run_id)]
        assert "M3, and go its own way" in read_screen(app)
        await write(pilot, "M2")
        await press(pilot, "enter")
        assert gone[3:] == [LaunchTarget(source_run_id=run_id, fork_at="M2")]


async def test_a_live_list_keeps_cursor_and_scroll(open_app: Any, store: Path) -> None:
    """Forty copies of a run make the list longer than the screen; a newer one comes above all."""
    set_baseline(store, None)
    columns = (
        "method, seed, iterations, state, config_json, config_digest, lineage_json, base_folder, base_digest, reuse, "
    )
    columns += "provenance_json, note, is_baseline"

    def add(name: str, at: float) -> None:
        query(
            store,
            f"INSERT INTO run (run_id, name, created_at, {columns}) "
            f"SELECT 'id' || ?, ?, ?, {columns.replace('is_baseline', '0')} FROM run WHERE name = 'cream-seed0'",
            name,
            name,
            at,
        )

    for n in range(40):
        add(f"copy-{n:02d}", time.time() - 100 + n)
    async with open_app(size=(80, 24)) as (app, pilot):
        await put_cursor(app, pilot, "copy-07")
        await press(pilot, "up", "up", "up")
        assert name_cursor(app) == "copy-10"
        table = get_screen(app).table
        lines = read_screen(app).splitlines()
        line = next(n for n, text in enumerate(lines) if "copy-10" in text)
        assert table.scroll_offset.y > 0
        add("newest", time.time())
        app.refresh_screen()
        await settle(pilot)
        assert list_names(app)[0] == "newest"
        assert name_cursor(app) == "copy-10"
        lines = read_screen(app).splitlines()
        assert next(n for n, text in enumerate(lines) if "copy-10" in text) == line
        await press(pilot, "home")
        assert name_cursor(app) == "newest"
        await press(pilot, "pagedown", "end")
        assert name_cursor(app) == list_names(app)[-1]
        assert f"▸  ! ✓ done  {name_cursor(app)}" in read_screen(app)


async def test_commits_are_followed_at_the_pace_that_reading_allows(
    open_app: Any, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app() as (app, pilot):
        screen = get_screen(app)
        timers: list[tuple[float, Callable[[], None]]] = []
        monkeypatch.setattr(pacing, "time", SimpleNamespace(monotonic=lambda: 1000.0))
        monkeypatch.setattr(screen, "set_timer", lambda delay_s, then: timers.append((delay_s, then)) or True)
        screen._pace.rest(0.08)  # as if the store took so long to read: 0.72 s of rest
        query(store, "UPDATE run SET name = 'called-anew' WHERE name = 'stopped-early'")
        for _ in range(3):
            screen.follow()
        await settle(pilot)
        assert "called-anew" not in list_names(app) and not screen.is_reading
        ((delay_s, follow_up),) = timers
        assert delay_s == pytest.approx(0.72)
        follow_up()
        await settle(pilot)
        assert "called-anew" in list_names(app)


async def test_only_changed_lines_are_painted(open_app: Any, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_app() as (app, pilot):
        table = get_screen(app).table
        painted: list[tuple[int, int, int]] = []
        refresh = type(table).refresh

        def note(self, *regions, **options):
            painted.extend((region.x, region.y, region.width) for region in regions)
            return refresh(self, *regions, **options)

        monkeypatch.setattr(type(table), "refresh", note)
        app.refresh_screen()
        await settle(pilot)
        assert painted == [], "nothing has changed"
        query(store, "UPDATE run SET state = 'failed' WHERE name = 'stopped-early'")
        app.refresh_screen()
        await settle(pilot)
        assert {y for _, y, _ in painted} == {1}
        assert all(width < 20 for _, _, width in painted)


@both_sizes
async def test_an_empty_store_says_what_this_is_and_starts_the_demo(
    open_app: Any, performed: list[list[str]], tmp_path: Path, size
) -> None:
    async with open_app(size=size, root=tmp_path / "none") as (app, pilot):
        screen = read_screen(app)
        assert "No runs yet" in screen
        assert "start the demo" in screen
        assert "cream-tui demo --quick" in screen
        assert "Filter" not in screen, "keys that need runs are not offered"
        assert screen.splitlines()[-1].startswith("enter Start the demo") and "Open" not in screen
        await press(pilot, "slash", "g", "x", "d", "p")
        assert len(app.screen_stack) == 1
        await press(pilot, "enter")
        assert performed == [["demo", "--quick", "--detach"]]


async def test_the_view_is_found_again(open_app: Any) -> None:
    async with open_app() as (app, pilot):
        screen = get_screen(app)
        screen.filter_by("method:cream")
        screen.sort_by("accuracy")
        screen.group_by(["seed"])
        await press(pilot, "v")
        shown = [row.key for row in screen.list.rows]
        assert "accuracy  " not in read_screen(app), "the side pane is hidden"
        await press(pilot, "q")
    async with open_app() as (app, pilot):
        screen = get_screen(app)
        assert [row.key for row in screen.list.rows] == shown
        assert screen.filter_bar.text == "method:cream"
        assert screen.has_class("-without-side")


async def test_copy_command_and_export(open_app: Any) -> None:
    async with open_app(RunsTarget("seed:1")) as (app, pilot):
        screen = get_screen(app)
        await press(pilot, "ctrl+a")
        copied = screen.get_copy()
        assert copied is not None and set(copied.text.split()) == {"cream-seed1", "srlm-seed1"}
        assert screen.get_command() == "ls --filter seed:1"
        table = screen.get_table()
        assert table is not None
        assert {row[table.columns.index("name")] for row in table.rows} == {"cream-seed1", "srlm-seed1"}
        titles = [title for title, _, _ in screen.list_palette()]
        assert "Group runs by method" in titles
        assert "Sort runs by acc %" in titles


@both_sizes
async def test_the_list_opens_at_the_current_run(open_app: Any, store: Path, size) -> None:
    async with open_app(RunTarget(get_id(store, "cream-seed1")), size=size) as (app, pilot):
        await press(pilot, "1")
        assert name_cursor(app) == "cream-seed1"
        await press(pilot, "down", "2")
        assert app.current_run_id == get_id(store, "srlm-seed1")


async def test_the_mark_of_a_run_says_what_its_health_screen_says(open_app: Any, store: Path) -> None:
    async with open_app() as (app, pilot):
        records = {record.run.run_id: record for record in get_screen(app).list.records}
        with closing(open_reader(store)) as connection:
            found = {run_id: HealthReader(run_id).read(connection).diagnosis for run_id in records}
        fallen = set()
        for run_id, diagnosis in found.items():
            falls = [f for f in diagnosis.findings if f.key in FALLS and f.status == "warn"]
            is_warned = find_early_status(diagnosis.early) == "warn"
            warnings = records[run_id].warnings
            assert ("accuracy fell" in warnings, "early warning" in warnings) == (bool(falls), is_warned)
            fallen |= {(run_id, falls[0].sentence)} if falls else set()
        assert fallen and len(fallen) < len(records), "the mark tells runs apart"
        run_id, sentence = min(fallen)
        await put_cursor(app, pilot, records[run_id].run.name)
        line = next(text for text in read_screen(app).splitlines() if "▸" in text)
        assert "! ✓ done" in line
        words = [" ".join(text.split("││")[-1].strip(" │").split()) for text in read_screen(app).splitlines()]
        assert f"! {sentence}" in " ".join(words), "the most serious reason stands in the pane"
        await press(pilot, "slash")
        await write(pilot, 'warning:"accuracy fell"')
        await press(pilot, "enter")
        assert set(list_names(app)) == {records[run_id].run.name for run_id, _ in fallen}


async def test_without_colour_the_cursor_is_still_seen(open_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with open_app() as (app, pilot):
        await put_cursor(app, pilot, "cream-seed1")
        line = next(text for text in read_screen(app).splitlines() if "✓ done  cream-seed1" in text)
        assert "▸" in line
        assert "▸" not in read_screen(app).replace(line, "")
