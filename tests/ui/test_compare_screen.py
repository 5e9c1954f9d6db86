"""The Compare screen through its keys: charts with seed bands, summary, settings, answers, at both sizes."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from driving import OpenApp, ask, press, read_screen, settle
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Input, OptionList

from cream_tui.app import CreamApp
from cream_tui.charts.chart import Chart
from cream_tui.charts.series import Series
from cream_tui.readers.compared_runs import find_runs
from cream_tui.screens.compare import CompareScreen
from cream_tui.screens.pairs import PairsScreen
from cream_tui.targets import CompareTarget
from cream_tui.units import format_signed
from cream_tui.widgets.row_table import RowTable
from db.reading import open_reader

BOTH = [(120, 40), (80, 24)]
both_sizes = pytest.mark.parametrize("size", BOTH)
SEEDS = ("srlm-seed0", "cream-seed0", "srlm-seed1", "cream-seed1", "srlm-seed2", "cream-seed2")
TWO = ("cream-seed0", "cream-seed2")
OpenCompare = Callable[..., AbstractAsyncContextManager[tuple[CompareScreen, Pilot[int]]]]


def query(root: Path, sql: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(root / "cream.db")) as connection, connection:
        return connection.execute(sql, values).fetchall()


def find_ids(root: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    with closing(open_reader(root)) as connection:
        return tuple(run.run_id for run in find_runs(connection, names))


def read_accuracy(root: Path, name: str) -> float:
    """Of a run's newest model."""
    sql = (
        "SELECT avg(e.correct) FROM run r JOIN run_stage l USING (run_id) JOIN evaluation e USING (stage_id) "
        "WHERE r.name = ? AND l.label = 'evaluate M' || (r.iterations + 1)"
    )
    return float(query(root, sql, name)[0][0])


def read_summary(app: CreamApp, title: str) -> list[str]:
    """The words behind the title of a row of the summary, the marks of the best aside."""
    line = next(line for line in read_screen(app).splitlines() if line.startswith(f"│  {title} "))
    return line.replace("*", " ").split("│")[1].removeprefix(f"  {title} ").split()


def read_widget(app: CreamApp, widget: Widget) -> str:
    """What stands on the screen where the widget is, in one line."""
    region = widget.region
    lines = read_screen(app).splitlines()[region.y : region.bottom]
    return " ".join(" ".join(line[region.x : region.right] for line in lines).split())


def get_screen(app: CreamApp) -> CompareScreen:
    assert isinstance(app.front, CompareScreen)
    return app.front


def list_charts(screen: CompareScreen) -> list[Chart]:
    return [chart for chart in screen.query(Chart) if chart.display]


def list_series(screen: CompareScreen, place: int = 0) -> list[Series]:
    return [series for series in list_charts(screen)[place].series if not series.is_faint]


def list_drawn(screen: CompareScreen) -> list[str]:
    return [series.name for series in list_series(screen)]


@pytest.fixture
def compare(store: Path, open_app: OpenApp) -> OpenCompare:
    """Opens the screen at runs: ``async with compare("a", "b", size=(80, 24)) as (screen, pilot)``."""

    @asynccontextmanager
    async def opened(*names: str, size: tuple[int, int] = (120, 40)) -> AsyncIterator[tuple[CompareScreen, Pilot[int]]]:
        if not names:
            query(store, "UPDATE run SET is_baseline = 0")
        async with open_app(CompareTarget(find_ids(store, names or SEEDS)), size=size) as (app, pilot):
            yield get_screen(app), pilot

    return opened


# Seeds, deltas, what it says -----------------------------------------------------------------------------------------


@both_sizes
async def test_runs_that_differ_in_the_seed_stand_together(
    compare: OpenCompare, store: Path, size: tuple[int, int]
) -> None:
    arms = [arm["models"][-1]["measures"]["accuracy"] for arm in ask(store, "compare", *SEEDS)["arms"]]
    spreads = [word for arm in arms for word in (f"{100 * arm['mean']:.1f}", f"±{100 * arm['std']:.1f}")]
    async with compare(size=size) as (screen, pilot):
        text = read_screen(pilot.app)
        assert "A srlm" in text and "B cream" in text and "n=3" in text
        assert read_summary(pilot.app, "accuracy %") == [*spreads, format_signed(100 * arms[1]["delta"], 1)]
        assert list_drawn(screen) == ["srlm", "cream"]
        band = list_series(screen)[0]
        assert band.low is not None and band.high is not None
        assert (band.low <= band.ys).all() and (band.ys <= band.high).all() and (band.low < band.high).any()
        await press(pilot, "g")
        assert list_drawn(screen) == list(SEEDS)
        assert "seeds apart" in read_screen(pilot.app)
        assert list_series(screen)[0].low is None


async def test_what_it_says_stands_under_the_summary(compare: OpenCompare, store: Path) -> None:
    of_runs, *others = ask(store, "compare", *SEEDS)["sentences"]
    (of_seeds,) = [sentence for sentence in others if sentence.startswith("At ") and "3 seeds" in sentence]
    assert "exact McNemar" in of_runs and "paired bootstrap over 3 seeds" in of_seeds
    async with compare() as (screen, pilot):
        text = read_widget(pilot.app, screen.query_one("#compare-sentences"))
        assert of_runs in text and of_seeds in text
        assert "These are runs, not methods" not in text  # both arms have three seeds
    async with compare(*TWO) as (_, pilot):
        assert "These are runs, not methods" not in read_screen(pilot.app)  # one arm of two seeds
    async with compare("srlm-seed0", "cream-seed0") as (_, pilot):
        assert "These are runs, not methods" in read_screen(pilot.app)


async def test_on_a_narrow_screen_tab_brings_the_panes_forward(compare: OpenCompare) -> None:
    async with compare("srlm-seed0", "cream-seed0", size=(80, 24)) as (_, pilot):
        assert "summary" in read_screen(pilot.app) and "settings" not in read_screen(pilot.app)
        await press(pilot, "tab", "tab")
        text = read_screen(pilot.app)
        assert "settings   7 of 67 differ" in text and "summary" not in text
        await press(pilot, "tab")
        text = read_screen(pilot.app)
        assert "same prompts   B cream-seed0 against A" in text
        assert "These are runs, not methods" in text
        await press(pilot, "tab", "tab")
        assert "summary" in read_screen(pilot.app)


async def test_deltas_are_to_the_baseline(compare: OpenCompare, store: Path) -> None:
    first, second = (read_accuracy(store, name) for name in TWO)
    query(store, "UPDATE run SET is_baseline = 0")
    async with compare(*TWO) as (screen, pilot):
        await press(pilot, "g")
        words = [f"{100 * first:.1f}", f"{100 * second:.1f}", format_signed(100 * (second - first), 1)]
        assert read_summary(pilot.app, "accuracy %") == words
        row = next(line for line in read_screen(pilot.app).splitlines() if "  accuracy %" in line)
        assert (f" {words[0]}* " in row, f" {words[1]}* " in row) == (first > second, second > first)
        table = screen.get_table()
        assert table is not None
        rows = [dict(zip(table.columns, found, strict=True)) for found in table.rows]
        delta = {found["letter"]: found["delta"] for found in rows if found["metric"] == "accuracy"}
        assert delta == {"A": None, "B": pytest.approx(second - first)}


async def test_pinning_moves_the_baseline_and_is_undone(compare: OpenCompare, store: Path) -> None:
    query(store, "UPDATE run SET is_baseline = 0")
    async with compare("srlm-seed0", "cream-seed0") as (screen, pilot):
        await press(pilot, "right", "p")
        assert screen.selection is not None and screen.selection.baseline_run.name == "cream-seed0"
        assert query(store, "SELECT name FROM run WHERE is_baseline = 1") == [("cream-seed0",)]
        assert "baseline B" in read_screen(pilot.app)
        await press(pilot, "U")
        assert query(store, "SELECT name FROM run WHERE is_baseline = 1") == []
        assert screen.selection is not None and screen.selection.baseline_run.name == "srlm-seed0"
        await press(pilot, "p", "p")
        assert query(store, "SELECT count(*) FROM run WHERE is_baseline = 1") == [(0,)]


# Charts --------------------------------------------------------------------------------------------------------------


@both_sizes
async def test_hiding_takes_a_curve_away_and_keeps_the_colours(compare: OpenCompare, size: tuple[int, int]) -> None:
    async with compare("srlm-seed0", "cream-seed0", "cream-beta0.5", size=size) as (screen, pilot):
        colours = {series.name: series.colour for series in list_series(screen)}
        await press(pilot, "right", "space")
        left = list_series(screen)
        assert [series.name for series in left] == ["srlm-seed0", "cream-beta0.5"]
        assert all(series.colour == colours[series.name] for series in left)
        assert "hidden" in read_screen(pilot.app)
        await press(pilot, "space")
        assert list_drawn(screen) == ["srlm-seed0", "cream-seed0", "cream-beta0.5"]


async def test_one_cursor_and_one_window_for_all_charts(compare: OpenCompare) -> None:
    async with compare("srlm-seed0", "cream-seed0") as (screen, pilot):
        await press(pilot, "left_square_bracket", "left_square_bracket")
        charts = list_charts(screen)
        assert len(charts) == 3
        assert charts[0].cursor_x is not None
        assert len({chart.cursor_x for chart in charts}) == 1
        status = read_screen(pilot.app).splitlines()[-2]
        assert status.strip().startswith("loss  step")
        assert " A 0." in status and " B 0." in status
        await press(pilot, "right_parenthesis")
        assert len({chart.x_window for chart in charts}) == 1
        assert "zoomed" in read_screen(pilot.app)
        await press(pilot, "0", "escape")
        assert "zoomed" not in read_screen(pilot.app)
        assert charts[0].cursor_x is None


async def test_the_table_shows_last_best_or_cursor_values(compare: OpenCompare) -> None:
    async with compare("srlm-seed0", "cream-seed0") as (screen, pilot):

        def read_loss() -> list[str]:
            line = next(line for line in read_screen(pilot.app).splitlines() if line.startswith("│  loss "))
            return line.split()[2:4]

        last = read_loss()
        await press(pilot, "t")
        assert "best values" in read_screen(pilot.app)
        values = query(
            pilot.app.root,  # type: ignore[attr-defined]
            "SELECT min(value) FROM metric m JOIN metric_name n USING (name_id) JOIN run_stage l USING (stage_id) "
            "JOIN run r USING (run_id) WHERE n.name = 'loss' AND l.iteration > 0 AND r.name = 'srlm-seed0'",
        )
        assert read_loss()[0] == f"{values[0][0]:.4g}"
        await press(pilot, "t")
        assert "no cursor" in read_screen(pilot.app)
        await press(pilot, *["left_square_bracket"] * 4)
        assert "values at the cursor" in read_screen(pilot.app)
        shown = [reading.y for reading in list_charts(screen)[0].read_values()]
        assert read_loss()[0] == f"{shown[0]:.4g}"
        assert read_loss() != last


async def test_axis_smoothing_scale_and_zoom(compare: OpenCompare, store: Path) -> None:
    (newest,) = query(store, "SELECT iterations + 1 FROM run WHERE name = 'srlm-seed0'")[0]
    async with compare("srlm-seed0", "cream-seed0") as (screen, pilot):
        await press(pilot, "X")
        assert "x iteration" in read_screen(pilot.app)
        assert max(list_series(screen, 1)[0].xs) == newest
        await press(pilot, "X", "X")
        assert "x wall" in read_screen(pilot.app)
        assert max(list_series(screen)[0].xs) > 1.0  # seconds: the times were read
        await press(pilot, "plus", "s")
        assert "smooth 0.3" in read_screen(pilot.app) and "y log y" in read_screen(pilot.app)
        assert list_charts(screen)[0].smoothing == 0.3
        assert list_charts(screen)[1].smoothing == 0.0  # one value for each model is not smoothed
        await press(pilot, "z")
        assert len(list_charts(screen)) == 1
        assert "summary" not in read_screen(pilot.app)
        await press(pilot, "escape")
        assert len(list_charts(screen)) == 3


@both_sizes
async def test_only_metrics_in_sight_are_read(compare: OpenCompare, size: tuple[int, int]) -> None:
    async with compare("srlm-seed0", "cream-seed0", size=size) as (screen, pilot):
        n = 3 if size[0] >= 100 else 1
        assert len(list_charts(screen)) == n
        assert screen.data is not None
        assert {metric for _, metric in screen.data.points} == set(screen.body.charts.shown_metrics)
        first = screen.body.charts.shown_metrics
        await press(pilot, "pagedown")
        assert len(screen.body.charts.shown_metrics) == n
        assert not set(first) & set(screen.body.charts.shown_metrics)
        assert {metric for _, metric in screen.data.points} == set(screen.body.charts.shown_metrics)
        await press(pilot, "pageup")
        assert screen.body.charts.shown_metrics == first


@both_sizes
async def test_metrics_are_filtered_and_picked(compare: OpenCompare, size: tuple[int, int]) -> None:
    async with compare("srlm-seed0", "cream-seed0", size=size) as (screen, pilot):
        await press(pilot, "slash", *"tau")
        assert {"tau_previous", "tau_anchor"} <= {name for _, name in screen.body.charts.metrics}
        assert all("tau" in name for _, name in screen.body.charts.metrics)
        await press(pilot, "enter")
        assert "metrics / tau" in read_screen(pilot.app)
        await press(pilot, "m")
        await press(pilot, *"entropy")
        await press(pilot, "enter")
        assert ("train", "entropy") in screen.body.charts.shown_metrics
        assert pilot.app.focused is screen.body.charts.focused_chart
        assert screen.body.charts.focused_metric == ("train", "entropy")


async def test_a_row_of_the_summary_opens_its_chart(compare: OpenCompare) -> None:
    async with compare("srlm-seed0", "cream-seed0") as (screen, pilot):
        await press(pilot, "tab", "down", "down", "down", "down", "enter")
        assert screen.body.charts.focused_metric == ("pair", "confidence")
        copied = screen.get_copy()
        assert copied is not None and copied.what == "values"
        await press(pilot, "tab")
        copied = screen.get_copy()
        assert copied is not None
        assert copied.text.startswith("C in the loss: A srlm-seed0 1, B cream-seed0 0.9")


async def test_a_point_opens_the_pairs_behind_it(compare: OpenCompare, store: Path) -> None:
    async with compare("srlm-seed0", "cream-seed0") as (_, pilot):
        await press(pilot, "right", "left_square_bracket", "enter")
        front = pilot.app.front  # type: ignore[attr-defined]
        assert isinstance(front, PairsScreen)
        assert pilot.app.current_run_id == find_ids(store, ("srlm-seed0", "cream-seed0"))[1]  # type: ignore[attr-defined]


async def test_without_colour_lines_carry_letters(compare: OpenCompare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with compare("srlm-seed0", "cream-seed0") as (screen, pilot):
        assert [series.marker for series in list_series(screen)] == ["A", "B"]
        chart = "\n".join(line[:38] for line in read_screen(pilot.app).splitlines()[5:14])
        assert "A" in chart and "B" in chart


# Which runs ----------------------------------------------------------------------------------------------------------


@both_sizes
async def test_settings_show_differences_or_all(compare: OpenCompare, size: tuple[int, int]) -> None:
    async with compare("cream-seed0", "cream-beta0.5", size=size) as (_, pilot):
        await press(pilot, "tab", "tab")
        text = read_screen(pilot.app)
        assert "settings   1 of 66 differ" in text
        line = next(line for line in text.splitlines() if "training.beta" in line or "trainin" in line)
        assert "2.0" in line and "0.5" in line
        await press(pilot, "u")
        text = read_screen(pilot.app)
        assert "iterations" in text and "=" in text


async def test_runs_are_added_and_taken_away(compare: OpenCompare) -> None:
    async with compare("srlm-seed0", "cream-seed0") as (screen, pilot):
        await press(pilot, "a", *"beta0.5", "enter")
        assert list_drawn(screen) == ["srlm-seed0", "cream-seed0", "cream-beta0.5"]
        await press(pilot, "right", "backspace")
        assert list_drawn(screen) == ["srlm-seed0", "cream-beta0.5"]
        await press(pilot, "backspace")
        text = read_screen(pilot.app)
        assert "Compare takes two runs or more." in text
        assert "Chosen: cream-beta0.5" in text
        await press(pilot, "enter")
        assert list_drawn(screen) == ["too-fast", "stopped-early"] or screen.selection is not None
        assert [run.name for run in (screen.selection.runs if screen.selection else ())] == [
            "too-fast",
            "stopped-early",
        ]


@both_sizes
async def test_with_nothing_chosen_it_says_what_to_do(open_app: OpenApp, size: tuple[int, int]) -> None:
    async with open_app(CompareTarget(()), size=size) as (app, pilot):
        text = read_screen(app)
        assert "Compare takes two runs or more." in text
        assert "compares the two newest, too-fast and stopped-early" in text
        assert get_screen(app).get_command() is None
        await press(pilot, "d", "space", "p", "right", "t", "X")  # nothing to act on
        assert get_screen(app).selection is None
        await press(pilot, "a")
        assert pilot.app.screen.query_one(OptionList).option_count == 9


async def test_enter_compares_the_newest_after_the_screen_was_left_and_found_again(open_app: OpenApp) -> None:
    async with open_app(CompareTarget(())) as (app, pilot):
        await press(pilot, "question_mark", "escape", "1", "4", "tab", "enter")
        assert app.front.selection is not None


async def test_an_empty_store_says_how_to_start(open_app: OpenApp, tmp_path: Path) -> None:
    async with open_app(CompareTarget(()), root=tmp_path / "none") as (app, _):
        assert "There are no runs yet." in read_screen(app)


async def test_a_removed_run_leaves_the_others(compare: OpenCompare, store: Path) -> None:
    async with compare("srlm-seed0", "cream-seed0", "cream-beta0.5") as (screen, pilot):
        query(store, "DELETE FROM run WHERE name = 'cream-seed0'")
        screen.refresh_data()
        await settle(pilot)
        assert list_drawn(screen) == ["srlm-seed0", "cream-beta0.5"]


# Answers -------------------------------------------------------------------------------------------------------------


@both_sizes
async def test_answers_stand_side_by_side_by_outcome(compare: OpenCompare, size: tuple[int, int], store: Path) -> None:
    told = ask(store, "compare", *TWO, "--answers")
    (count,) = told["counts"]
    n, n_win, n_lose = count["n_items"], count["n_win"], count["n_lose"]
    assert 0 < n_win < n and 0 < n_lose < n and n_win != n_lose
    query(store, "UPDATE run SET is_baseline = 0")
    async with compare(*TWO, size=size) as (screen, pilot):
        await press(pilot, "g", "right", "d")
        text = read_screen(pilot.app)
        counts = f"▲ win {n_win}  ▼ lose {n_lose}  tie {n - n_win - n_lose}"
        assert f"greedy answers of {told['model']}   B against A:  {counts}" in text
        assert f"{n} of {n}" in text
        await press(pilot, "f")
        assert "shown: win" in read_screen(pilot.app)
        rows = screen.query_one(RowTable)
        items = screen.prompts.answers.shown_items
        assert len(items) == n_win
        text = read_screen(pilot.app)
        assert "✗ wrong" in text and "✓ right" in text
        assert items[0].prompt[:20] in text
        command = screen.get_command()
        assert command == f"compare cream-seed0 cream-seed2 --answers --model {told['model']} --only win"
        assert [item["prompt"] for item in ask(store, *shlex.split(command), "--limit", "0")["items"]] == [
            item.prompt for item in items
        ]
        copied = screen.get_copy()
        assert copied is not None and copied.text.startswith(items[0].prompt)
        table = screen.get_table()
        assert table is not None and len(table.rows) == n_win
        await press(pilot, "f")
        assert len(screen.prompts.answers.shown_items) == n_lose
        assert rows.has_focus
        await press(pilot, "escape")
        assert "summary" in read_screen(pilot.app)


async def test_sampled_prompts_show_both_pairs_and_open_them(compare: OpenCompare, store: Path) -> None:
    (sampled,) = ask(store, "compare", "srlm-seed0", "cream-seed0")["sampled"]
    n_same = sampled["iterations"][0]["pairs"]["same pair, other C"]
    confidences = {
        name: query(
            store,
            "SELECT DISTINCT round(p.confidence, 2) FROM run r JOIN run_stage l USING (run_id) "
            "JOIN pair p USING (stage_id) WHERE r.name = ? AND l.iteration = 1 AND p.confidence IS NOT NULL",
            name,
        )
        for name in ("srlm-seed0", "cream-seed0")
    }
    assert confidences["srlm-seed0"] == [(1.0,)] and len(confidences["cream-seed0"]) == 1
    async with compare("srlm-seed0", "cream-seed0") as (screen, pilot):
        await press(pilot, "d", "enter")
        assert isinstance(pilot.app.front, CompareScreen)  # type: ignore[attr-defined]
        await press(pilot, "right_curly_bracket")
        text = read_screen(pilot.app)
        assert "sampled at t=1, the same responses" in text
        assert "pairs  same pair, other C" in text
        assert "chosen" in text and "rejected" in text
        assert "C=1.00" in text and f"C={confidences['cream-seed0'][0][0]:.2f}" in text
        await press(pilot, *"ffff")
        assert "shown: same pair, other C" in read_screen(pilot.app)
        assert len(screen.prompts.answers.shown_items) == n_same
        prompt_id = screen.prompts.answers.shown_items[3].key
        await press(pilot, "down", "down", "down", "enter")
        front = pilot.app.front  # type: ignore[attr-defined]
        assert isinstance(front, PairsScreen)
        assert prompt_id in str(front.__dict__.values()) or prompt_id in read_screen(pilot.app)


async def test_the_command_prints_the_same(compare: OpenCompare, store: Path) -> None:
    query(store, "UPDATE run SET is_baseline = (name = 'cream-seed0')")
    async with compare("srlm-seed0", "cream-seed0") as (screen, _):
        assert screen.get_command() == "compare cream-seed0 srlm-seed0"


# Between sessions, and live ------------------------------------------------------------------------------------------


async def test_the_view_is_found_again(compare: OpenCompare) -> None:
    async with compare("srlm-seed0", "cream-seed0") as (screen, pilot):
        await press(pilot, "X", "g", "plus")
        view = screen.save_view()
        again = CompareScreen()
        again.restore_view(view)
        assert again.save_view() == view
        for nonsense in ({"runs": 3, "axis": 7, "smoothing": "x", "grouped": []}, {"runs": [1], "smoothing": 9}, {}):
            fresh = CompareScreen()
            fresh.restore_view(nonsense)
            assert (fresh.save_view()["runs"], fresh.save_view()["smoothing"]) == ([], 0.0)


async def test_a_live_run_grows(compare: OpenCompare, store: Path) -> None:
    async with compare("srlm-seed0", "cream-seed0") as (screen, pilot):
        n_before = len(list_series(screen)[1].xs)
        (stage_id, step) = query(
            store,
            "SELECT m.stage_id, max(m.step) FROM metric m JOIN metric_name n USING (name_id) JOIN run_stage l "
            "USING (stage_id) JOIN run r USING (run_id) "
            "WHERE r.name = 'cream-seed0' AND l.label = 'train M' || (r.iterations + 1) AND n.name = 'loss'",
        )[0]
        with closing(sqlite3.connect(store / "cream.db")) as connection, connection:
            connection.execute("UPDATE stage SET n_done = n_done + 1 WHERE stage_id = ?", (stage_id,))
            connection.execute(
                "INSERT INTO metric (stage_id, name_id, step, value, at) "
                "SELECT ?, name_id, ?, 0.123, 9 FROM metric_name WHERE name = 'loss'",
                (stage_id, step + 1),
            )
        screen.refresh_data()
        await settle(pilot)
        series = list_series(screen)[1]
        assert len(series.xs) == n_before + 1
        assert series.ys[-1] == 0.123
        assert "0.123" in read_screen(pilot.app)


async def test_an_input_keeps_its_letters(compare: OpenCompare) -> None:
    async with compare("srlm-seed0", "cream-seed0") as (screen, pilot):
        await press(pilot, "slash", *"gpda")
        assert screen.query_one("#compare-filter", Input).value == "gpda"
        assert screen.body.charts.metrics == ()
        await press(pilot, "escape")
        assert screen.body.charts.metrics
