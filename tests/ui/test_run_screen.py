"""The Run screen through its keys, at both sizes, on recorded runs and on one that goes on."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from driving import press, read_screen, settle, wait_for_text

from cream_tui import pacing
from cream_tui.app import CreamApp
from cream_tui.screens.run import RunScreen
from cream_tui.shell import actions, watcher
from cream_tui.shell.actions import Outcome
from cream_tui.targets import RunTarget
from db.queries import find_run, open_reader
from engine.runtime.process import build_lease

SIZES = [(120, 40), (80, 24)]


@pytest.fixture
def find(store: Path) -> Callable[[str], str]:
    """The id of a recorded run."""

    def found(name: str) -> str:
        with closing(open_reader(store)) as reader:
            return find_run(reader, name).run_id

    return found


@pytest.fixture
def iterations(store: Path) -> int:
    """How many iterations the recorded runs have: M1 is trained before the first, so M(n + 1) is the newest model."""
    with closing(open_reader(store)) as reader:
        found = find_run(reader, "cream-seed0").iterations
    assert found > 1
    return found


@pytest.fixture
def n_sft_steps(store: Path) -> int:
    """Steps of the training of M1."""
    with closing(open_reader(store)) as reader:
        (found,) = reader.execute(
            "SELECT s.n_done FROM run_stage l JOIN stage s USING (stage_id) JOIN run r USING (run_id) "
            "WHERE r.name = 'cream-seed0' AND l.label = 'train M1 (SFT)'"
        ).fetchone()
    return int(found)


@pytest.fixture
def writer(store: Path) -> Iterator[sqlite3.Connection]:
    """Another process's connection."""
    with closing(sqlite3.connect(store / "cream.db", isolation_level=None)) as connection:
        yield connection


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that the app would have run."""
    found: list[list[str]] = []

    def call(words: list[str], *_: object, **__: object) -> Outcome:
        found.append(list(words))
        return Outcome(0, "", "")

    monkeypatch.setattr(actions, "call_command", call)
    monkeypatch.setattr("cream_tui.services.call_command", call)
    return found


def get_screen(app: CreamApp) -> RunScreen:
    assert isinstance(app.front, RunScreen)
    return app.front


def told(app: CreamApp) -> str:
    """What the app says in its toasts."""
    return "\n".join(notification.message for notification in app._notifications)


@pytest.mark.parametrize(("size", "n_charts"), [((120, 40), 4), ((80, 24), 2)])
async def test_a_page_of_charts_the_stages_and_the_log(
    open_app: Any, find: Callable[[str], str], iterations: int, size: tuple[int, int], n_charts: int
) -> None:
    async with open_app(RunTarget(find("cream-seed0")), size=size) as (app, _):
        screen, shown = get_screen(app), read_screen(app)
        assert "cream-seed0  ✓ done" in shown
        assert " ── ".join(f"M{k} ✓" for k in range(iterations + 2)) in shown
        assert list(screen.charts.pages.visible) == ["loss", "z", "accuracy", "tau"][:n_charts]
        assert "z and its target logit(C)" in shown
        assert ("tau of the rankings" in shown) == (n_charts == 4)
        assert "log  following ●" in shown
        assert f"evaluate M{iterations + 1}" in shown.splitlines()[-5] + shown.splitlines()[-6]
        assert ("system" in shown) == (size[0] == 120)
        assert sum("\u2801" <= letter <= "\u28ff" for letter in shown) > 40


@pytest.mark.parametrize("size", SIZES)
async def test_pages_turn_to_every_chart_and_around(
    open_app: Any, find: Callable[[str], str], iterations: int, size: tuple[int, int]
) -> None:
    async with open_app(RunTarget(find("cream-seed0")), size=size) as (app, pilot):
        pages = get_screen(app).charts.pages
        seen = list(pages.visible)
        for _ in range(pages.n_pages - 1):
            await press(pilot, "pagedown")
            seen += get_screen(app).charts.pages.visible
        assert seen == list(get_screen(app).charts.panels)
        assert f"M{iterations}: tau to anchor" in read_screen(app)
        await press(pilot, "pagedown")
        assert get_screen(app).charts.pages.page == 0
        await press(pilot, "pageup")
        assert "taus-anchor" in get_screen(app).charts.pages.visible


async def test_only_what_is_in_sight_is_read(open_app: Any, find: Callable[[str], str]) -> None:
    async with open_app(RunTarget(find("cream-seed0"))) as (app, pilot):
        screen = get_screen(app)
        assert screen.data is not None
        assert ("train", "loss") in screen.data.points
        assert ("pair", "chosen_n_tokens") not in screen.data.points
        await press(pilot, "pagedown")
        assert ("pair", "chosen_n_tokens") in screen.data.points


async def test_one_cursor_for_all_charts(
    open_app: Any, find: Callable[[str], str], iterations: int, n_sft_steps: int
) -> None:
    """The cursor goes from a step of the newest model back to M1, which stands at the last step of SFT."""
    async with open_app(RunTarget(find("cream-seed0"))) as (app, pilot):
        charts = get_screen(app).charts
        await press(pilot, "left_square_bracket", "left_square_bracket", "left_square_bracket")
        x = charts.look.cursor_x
        assert x is not None
        assert {charts._cells[key].cursor_x for key in charts.pages.visible} == {x}
        assert f"M{iterations + 1} step" in read_screen(app)
        await press(pilot, *["left_curly_bracket"] * iterations)
        assert charts.iteration == 1
        assert charts.look.cursor_x == n_sft_steps
        await press(pilot, "pagedown")
        assert {charts._cells[key].cursor_x for key in charts.pages.visible} == {n_sft_steps}
        await press(pilot, "escape")
        assert charts.look.cursor_x is None
        assert app.current_mode == "run"


async def test_zoom_and_pan_move_all_charts(open_app: Any, find: Callable[[str], str]) -> None:
    async with open_app(RunTarget(find("cream-seed0"))) as (app, pilot):
        charts = get_screen(app).charts
        await press(pilot, "left_square_bracket", "right_parenthesis")
        windows = {charts._cells[key].x_window for key in charts.pages.visible}
        assert len(windows) == 1
        (window,) = windows
        assert window is not None and window[0] > 0
        await press(pilot, "less_than_sign")
        assert charts.look.window is not None and charts.look.window[0] < window[0]
        assert "zoomed" in read_screen(app) or charts.look.cursor_x is not None
        await press(pilot, "0")
        assert charts.look.window is None
        assert {charts._cells[key].x_window[0] for key in charts.pages.visible} == {0.0}


async def test_the_x_axis_goes_around_and_keeps_the_model(open_app: Any, find: Callable[[str], str]) -> None:
    async with open_app(RunTarget(find("cream-seed0"))) as (app, pilot):
        charts = get_screen(app).charts
        await press(pilot, "right_square_bracket", "left_curly_bracket", "left_curly_bracket")
        iteration = charts.iteration
        axes = []
        for _ in range(4):
            await press(pilot, "X")
            axes.append((charts.look.axis, charts.iteration))
            assert len({charts._cells[key].x_window for key in charts.pages.visible}) == 1
        assert axes == [(axis, iteration) for axis in ("iteration", "tokens", "wall", "step")]


async def test_smoothing_keeps_the_raw_curve_and_scales_belong_to_one_chart(
    open_app: Any, find: Callable[[str], str]
) -> None:
    async with open_app(RunTarget(find("cream-seed0"))) as (app, pilot):
        charts = get_screen(app).charts
        await press(pilot, "plus", "plus")
        assert charts.look.smoothing == 0.6
        assert charts._cells["loss"].series[0].smooth_ys is not None
        assert charts._cells["accuracy"].series[0].smooth_ys is None
        assert "smooth 0.6" in read_screen(app)
        await press(pilot, "minus", "minus", "minus")
        assert charts.look.smoothing == 0
        await press(pilot, "s")
        assert charts._cells["loss"].y_log and not charts._cells["z"].y_log
        assert "loss  log y" in read_screen(app)
        await press(pilot, "o")
        assert charts._cells["loss"].is_clipped and not charts._cells["z"].is_clipped


@pytest.mark.parametrize("size", SIZES)
async def test_one_chart_has_the_screen_with_its_figures(
    open_app: Any, find: Callable[[str], str], size: tuple[int, int]
) -> None:
    async with open_app(RunTarget(find("cream-seed0")), size=size) as (app, pilot):
        await press(pilot, "l", "z", "left_square_bracket")
        shown = read_screen(app)
        assert get_screen(app).charts.pages.visible == ("z",)
        assert "greatest" in shown and "cursor" in shown and "target" in shown
        assert "log  following" not in shown
        assert all(len(row) <= size[0] for row in shown.splitlines())
        await press(pilot, "escape")
        assert "log  following" in read_screen(app)
        assert get_screen(app).charts.focused_key == "z"


async def test_keys_go_from_chart_to_chart(open_app: Any, find: Callable[[str], str]) -> None:
    async with open_app(RunTarget(find("cream-seed0"))) as (app, pilot):
        charts = get_screen(app).charts
        keys = []
        for key in ("l", "j", "h", "k", "j", "j"):
            await press(pilot, key)
            keys.append(charts.focused_key)
        assert keys == ["z", "tau", "accuracy", "loss", "accuracy", "logprob"]


async def test_enter_opens_the_pairs_behind_a_point(open_app: Any, find: Callable[[str], str], iterations: int) -> None:
    async with open_app(RunTarget(find("cream-seed0"))) as (app, pilot):
        await press(pilot, "left_square_bracket", "enter")
        assert app.current_mode == "pairs"
        assert f"iteration={iterations}," in repr(app.front.want())


async def test_sft_has_no_pairs(open_app: Any, find: Callable[[str], str], iterations: int) -> None:
    async with open_app(RunTarget(find("cream-seed0"))) as (app, pilot):
        await press(pilot, *["left_curly_bracket"] * (iterations + 1))
        assert get_screen(app).charts.iteration == 1
        await press(pilot, "enter")
        assert app.current_mode == "run"
        assert "no pairs stand behind this point" in told(app)


async def test_a_bar_of_the_histogram_opens_its_pairs(open_app: Any, find: Callable[[str], str]) -> None:
    async with open_app(RunTarget(find("cream-seed0"), "M1")) as (app, pilot):
        await press(pilot, "pagedown", "pagedown")
        assert "M1: tau to stand-in" in read_screen(app)
        await press(pilot, "l", "right", "enter")
        assert app.current_mode == "pairs"
        assert "anchor>=" in read_screen(app)


async def test_any_metric_gets_a_chart_and_loses_it_again(open_app: Any, find: Callable[[str], str]) -> None:
    async with open_app(RunTarget(find("cream-seed0"))) as (app, pilot):
        screen = get_screen(app)
        await press(pilot, "m", *"grad", "enter")
        assert screen.charts.focused_key == "train:grad_norm"
        assert "grad_norm (train)" in read_screen(app)
        assert ("train", "grad_norm") in screen.data.points
        assert screen.save_view()["picked"] == ["train:grad_norm"]
        await press(pilot, "m", *"grad", "enter")
        assert "train:grad_norm" not in screen.charts.panels
        await press(pilot, "m", *"tokens", "enter")
        assert screen.charts.focused_key == "lengths"


@pytest.mark.parametrize("size", SIZES)
async def test_the_log_has_the_screen_is_searched_and_left(
    open_app: Any, find: Callable[[str], str], size: tuple[int, int]
) -> None:
    async with open_app(RunTarget(find("too-fast")), size=size) as (app, pilot):
        log = get_screen(app).log_view
        assert log.lines.is_following
        assert "the loss is nan" in read_screen(app)
        await press(pilot, "O", "slash", *["n", "a", "n"], "enter")
        first = log.lines.here
        assert first is not None and "nan" in log.lines.lines[first].text.casefold()
        assert f"line {first + 1} of" in read_screen(app)
        await press(pilot, "N")
        assert log.lines.here is not None and log.lines.here < first
        await press(pilot, "n")
        assert log.lines.here == first
        await press(pilot, "escape")
        assert log.lines.wanted == "" and get_screen(app)._view == "log"
        await press(pilot, "g")
        assert not log.lines.is_following
        assert "staying ○" in read_screen(app)
        await press(pilot, "G")
        assert log.lines.is_following
        await press(pilot, "escape")
        assert "loss" in read_screen(app) and app.current_mode == "run"


async def test_searching_from_the_charts_keeps_digits_as_text(open_app: Any, find: Callable[[str], str]) -> None:
    async with open_app(RunTarget(find("too-fast"))) as (app, pilot):
        await press(pilot, "slash", "1", "x", "enter")
        assert app.current_mode == "run"
        assert get_screen(app).log_view.border_subtitle == "not found"
        await press(pilot, "n")
        assert "/ searches the log" in told(app)


@pytest.mark.parametrize("size", SIZES)
async def test_stages_configuration_and_models_have_panes(
    open_app: Any, find: Callable[[str], str], writer: sqlite3.Connection, size: tuple[int, int]
) -> None:
    (n_prompts,) = writer.execute(
        "SELECT json_extract(config_json, '$.data.prompts_per_iteration') FROM run WHERE name = 'cream-seed0'"
    ).fetchone()
    async with open_app(RunTarget(find("cream-seed0")), size=size) as (app, pilot):
        await press(pilot, "T")
        assert "✓ reused (srlm-seed0)" in read_screen(app)
        await press(pilot, "K")
        assert "model:" in read_screen(app)
        assert f"prompts_per_iteration: {n_prompts}\n" in app.front.get_copy().text
        assert "packages:" in app.front.get_copy().text
        await press(pilot, "M")
        models = read_screen(app)
        assert re.search(r"M2 +accuracy .* labels right +\d+\.\d %", models)
        assert re.search(r"tau to previous +[+−]\d\.\d\d\* +tau to anchor +[+−]\d\.\d\d +\* M0's likelihood", models)
        await press(pilot, "down")
        assert "checkpoints" in app.front.get_copy().text
        assert app.front.get_copy().what == "folder of M1"
        await press(pilot, "enter")
        assert app.current_mode == "pairs"
        await press(pilot, "2", "M")
        assert get_screen(app)._view == "charts"


async def test_a_failed_run_says_why_and_what_to_do(
    open_app: Any, find: Callable[[str], str], writer: sqlite3.Connection
) -> None:
    (error,) = writer.execute("SELECT error FROM run WHERE name = 'too-fast'").fetchone()
    reason = error.splitlines()[0]
    assert "the loss is nan" in reason
    async with open_app(RunTarget(find("too-fast"))) as (app, pilot):
        shown = read_screen(app)
        assert f"✗ {reason}" in shown
        assert "a smaller training.learning_rate" in shown
        assert "✗train failed" in shown
        await press(pilot, "exclamation_mark")
        assert "failed: train M2: the loss is nan" in read_screen(app)
        await press(pilot, "enter")
        assert get_screen(app)._view == "log"


async def test_stop_asks_and_does_nothing_to_a_run_that_does_not_go_on(
    open_app: Any, find: Callable[[str], str], performed: list[list[str]]
) -> None:
    async with open_app(RunTarget(find("stopped-early"))) as (app, pilot):
        assert "It was stopped. R goes on from the last committed row." in read_screen(app)
        await press(pilot, "x")
        assert performed == [] and len(app.screen_stack) == 1
        await press(pilot, "R")
        assert performed == [["resume", find("stopped-early"), "--detach"]]


async def test_fork_opens_the_form_at_a_model(open_app: Any, find: Callable[[str], str]) -> None:
    async with open_app(RunTarget(find("cream-seed0"))) as (app, pilot):
        await press(pilot, "F", *["M", "2"], "enter")
        assert app.current_mode == "launch"
        assert "M2" in read_screen(app)


async def test_what_is_shown_is_exported_copied_and_named(
    open_app: Any, find: Callable[[str], str], n_sft_steps: int
) -> None:
    async with open_app(RunTarget(find("cream-seed0"))) as (app, pilot):
        screen = get_screen(app)
        assert screen.get_command() == "metrics cream-seed0 loss"
        table = screen.get_table()
        assert table is not None
        assert table.name == "cream-seed0-loss"
        assert table.rows[0][:5] == ("train", "loss", 0, 1, f"M1 step 1/{n_sft_steps}")
        await press(pilot, "left_square_bracket")
        assert "loss 0." in screen.get_copy().text
        await press(pilot, "O")
        assert screen.get_command() == "logs cream-seed0"


async def test_the_view_is_found_again_and_nonsense_is_ignored(open_app: Any, find: Callable[[str], str]) -> None:
    async with open_app(RunTarget(find("cream-seed0"))) as (app, pilot):
        await press(pilot, "X", "plus", "m", *["g", "r", "a", "d"], "enter")
        saved = get_screen(app).save_view()
    assert saved == {"axis": "iteration", "smoothing": 0.3, "picked": ["train:grad_norm"]}
    screen = RunScreen()
    screen.restore_view(saved)
    assert screen.save_view() == saved
    screen.restore_view({"axis": 7, "smoothing": "much", "picked": [1, "x"]})
    assert screen.save_view() == {**saved, "picked": []}


async def test_no_run_says_how_to_choose_one(open_app: Any) -> None:
    async with open_app(None) as (app, pilot):
        app.current_run_id = None
        await press(pilot, "2")
        assert "No run is chosen" in read_screen(app)


async def test_a_deleted_run_is_told(open_app: Any) -> None:
    async with open_app(RunTarget("gone")) as (app, _):
        assert "no run 'gone'" in read_screen(app)


class Live:
    """A recorded run that goes on again: this process holds its lease, a second connection writes its steps."""

    def __init__(self, writer: sqlite3.Connection, run_id: str) -> None:
        self._writer = writer
        self.run_id = run_id
        lease = build_lease(run_id)
        values = (lease.run_id, lease.token, lease.pid, lease.pid_started_at, lease.host, time.time())
        writer.execute("UPDATE run SET state = 'running', finished_at = NULL WHERE run_id = ?", (run_id,))
        writer.execute("INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, ?, ?)", values)
        (self._stage_id,) = writer.execute(
            "SELECT s.stage_id FROM run_stage l JOIN stage s ON s.stage_id = l.stage_id "
            "WHERE l.run_id = ? AND s.name = 'train' ORDER BY l.position DESC LIMIT 1",
            (run_id,),
        ).fetchone()
        (self._name_id,) = writer.execute("SELECT name_id FROM metric_name WHERE name = 'loss'").fetchone()
        writer.execute("DELETE FROM metric WHERE stage_id = ?", (self._stage_id,))
        writer.execute("UPDATE attempt SET finished_at = NULL, exit_code = NULL WHERE stage_id = ?", (self._stage_id,))
        writer.execute(
            "UPDATE stage SET state = 'running', finished_at = NULL, owner_run_id = ?, n_done = 0, n_total = 40, "
            "started_at = ? WHERE stage_id = ?",
            (run_id, time.time(), self._stage_id),
        )

    def step(self, step: int, value: float) -> None:
        self._writer.execute("BEGIN IMMEDIATE")
        self._writer.execute(
            "INSERT OR REPLACE INTO metric (stage_id, name_id, step, value, at) VALUES (?, ?, ?, ?, ?)",
            (self._stage_id, self._name_id, step, value, time.time()),
        )
        self._writer.execute("UPDATE stage SET n_done = ? WHERE stage_id = ?", (step, self._stage_id))
        self._writer.execute("COMMIT")


async def test_a_commit_comes_to_the_screen_in_half_a_second(
    open_app: Any, find: Callable[[str], str], writer: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is waited, and what reading and drawing take of a core: a busy machine does not stretch either."""
    monkeypatch.setattr(watcher, "TICK_S", 1000.0)  # it is the commit that is noticed
    monkeypatch.setattr(pacing, "REST", 0.0)
    waited_s = watcher.POLL_S + watcher.LEAST_GAP_S
    live = Live(writer, find("cream-seed2"))
    works = []
    async with open_app(RunTarget(live.run_id)) as (app, pilot):
        assert "● running" in read_screen(app)
        for step in range(1, 8):
            live.step(step, 0.7 + step / 1000)
            began = time.process_time()
            await wait_for_text(pilot, f"0.70{step}")
            works.append(time.process_time() - began)
            assert "▸train" in read_screen(app)
        await wait_for_text(pilot, "7/40")
        points = get_screen(app).data.points["train", "loss"]
        assert points.step[-7:].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert waited_s + sorted(works)[len(works) // 2] <= 0.5, works


async def test_a_replayed_step_is_drawn_once(
    open_app: Any, find: Callable[[str], str], writer: sqlite3.Connection
) -> None:
    live = Live(writer, find("cream-seed2"))
    async with open_app(RunTarget(live.run_id)) as (app, pilot):
        for step in (1, 2, 3):
            live.step(step, 0.5)
        await wait_for_text(pilot, "3/40")
        n = len(get_screen(app).data.points["train", "loss"])
        live.step(3, 0.9876)
        await wait_for_text(pilot, "0.9876")
        assert len(get_screen(app).data.points["train", "loss"]) == n


async def test_a_live_tick_repaints_little(
    open_app: Any, find: Callable[[str], str], writer: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step repaints spans of a few rows: 40 rows of 120 cells would be 4,800 cells."""
    live = Live(writer, find("cream-seed2"))
    async with open_app(RunTarget(live.run_id)) as (app, pilot):
        for step in range(1, 12):
            live.step(step, 0.5)
        await wait_for_text(pilot, "11/40")
        await settle(pilot)
        n_cells = 0
        compositor = app.screen._compositor
        render = compositor.render_update

        def count(*args: Any, **kwargs: Any) -> Any:
            nonlocal n_cells
            n_cells += sum(region.area for region in compositor._dirty_regions)
            return render(*args, **kwargs)

        monkeypatch.setattr(compositor, "render_update", count)
        live.step(12, 0.5)
        await wait_for_text(pilot, "12/40")
        await settle(pilot)
    assert 0 < n_cells < 200


async def test_a_log_that_grows_is_followed(
    open_app: Any, find: Callable[[str], str], store: Path, writer: sqlite3.Connection
) -> None:
    live = Live(writer, find("cream-seed2"))
    path = Path("runs") / live.run_id / "attempts" / "99" / "stage.log"
    (store / path).parent.mkdir(parents=True)
    writer.execute(
        "INSERT INTO attempt (stage_id, run_id, number, pid, log_path, started_at) VALUES (?, ?, 99, ?, ?, ?)",
        (live._stage_id, live.run_id, os.getpid(), path.as_posix(), time.time()),
    )
    async with open_app(RunTarget(live.run_id)) as (app, pilot):
        with (store / path).open("w") as file:
            for n in range(30):
                file.write(f"line {n}\n")
            file.write("10%\r20%\r\x1b]52;c;Zm9v\a[red]30%")
            file.flush()
            live.step(1, 0.5)
            await wait_for_text(pilot, "␛]52;c;Zm9v␇[red]30%")
            assert "line 29" in read_screen(app)
            await press(pilot, "O", "up", "up")
            assert not get_screen(app).log_view.lines.is_following
            file.write("\nnews\n")
            file.flush()
            live.step(2, 0.5)
            await wait_for_text(pilot, "2/40")
            await settle(pilot)
            top = get_screen(app).log_view.lines.scroll_offset.y
            await press(pilot, "G")
            assert "news" in read_screen(app)
            assert get_screen(app).log_view.lines.scroll_offset.y > top
