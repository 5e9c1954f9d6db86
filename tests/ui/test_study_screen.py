"""The Study screen through its keys: what `compare STUDY` says, arm by arm, at both sizes."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from driving import OpenApp, ask, press, read_screen, settle
from made_studies import SEEDS, WAITING, Arm, add_study
from textual.geometry import Region

from cream_tui.app import CreamApp
from cream_tui.health.verdict import FALLS
from cream_tui.readers.health_reader import HealthReader
from cream_tui.readers.study_reader import StudyReader, StudyWant
from cream_tui.screens.study import StudyScreen
from cream_tui.targets import CompareTarget, RunsTarget, StudyTarget, Target
from cream_tui.units import format_interval, format_percent, format_signed
from cream_tui.views.health import find_early_status
from db.reading import open_reader

both_sizes = pytest.mark.parametrize("size", [(120, 40), (80, 24)])
ARMS: list[Arm] = [*SEEDS, *WAITING, ("fast", 0, "too-fast")]


@pytest.fixture
def study_id(store: Path) -> str:
    """Two arms of three seeds, one that waits, one of a single seed whose run failed after M1."""
    return add_study(store, "mixed", ARMS, finished_at=time.time())


def get_screen(app: CreamApp) -> StudyScreen:
    assert isinstance(app.front, StudyScreen)
    return app.front


def read_line(app: CreamApp, arm: str) -> list[str]:
    """The words of an arm's line in the table, without cursor and mark."""
    region: Region = get_screen(app).table.region
    lines = read_screen(app).splitlines()[region.y + 1 : region.bottom - 1]
    words = next(words for line in lines if arm in (words := line.strip("│▂▃▄▅▆▇ ").split()))
    return words[words.index(arm) + 1 :]


def list_ids(store: Path, names: list[str]) -> tuple[str, ...]:
    with closing(sqlite3.connect(store / "cream.db")) as connection:
        found = dict(connection.execute("SELECT name, run_id FROM run"))
    return tuple(found[name] for name in names)


@both_sizes
async def test_it_shows_the_numbers_of_compare(
    open_app: OpenApp, study_id: str, store: Path, size: tuple[int, int]
) -> None:
    told = ask(store, "compare", "mixed")
    means = {(row["arm"], row["model"]): row["cells"]["sandbox"] for row in told["table"]}
    test = next(test for test in told["comparisons"] if test["family"] == "arms" and test["first"] == "cream")
    async with open_app(StudyTarget(study_id), size=size) as (app, pilot):
        words = read_line(app, "cream")[size[0] == 120 :]  # where there is room, the number of seeds is first
        models = [means.get(("cream", name)) or means["all", name] for name in ("M0", "M1", "M2", "M3", "M4")]
        assert [word.rstrip("↑↓=*") for word in words[:5]] == [format_percent(cell["mean"]) for cell in models]
        assert format_signed(100 * test["difference"], 1) in words
        last = models[-1]
        if size[0] == 120:
            assert format_interval((last["low"], last["high"])) in words
            assert f"{format_signed(100 * test['low'], 1)} to {format_signed(100 * test['high'], 1)}" in " ".join(words)
        await press(pilot, "down")
        assert get_screen(app).line is not None and get_screen(app).line.title == "cream"
        assert f"M4 {format_percent(last['mean'])}" in get_screen(app).status_line.render().plain
        sentence = next(sentence for sentence in told["sentences"] if sentence.startswith("At M4 cream has"))
        assert sentence in get_screen(app).words.text
        await press(pilot, "up")
        assert all(sentence in get_screen(app).words.text for sentence in told["sentences"])
        assert "not begun yet: 3 runs: oracle (3)" in get_screen(app).words.text


async def test_an_arm_without_all_seeds_has_its_own_means(open_app: OpenApp, study_id: str, store: Path) -> None:
    """M1 is shared: over the three seeds it is another mean than that of the one seed of the arm."""
    told = ask(store, "compare", "mixed")
    (fast,) = (arm for arm in told["arms"] if arm["title"] == "fast")
    own = next(model for model in fast["models"] if model["model"] == "M1")["measures"]["accuracy"]["mean"]
    shared = next(row for row in told["table"] if (row["arm"], row["model"]) == ("all", "M1"))["cells"]["sandbox"][
        "mean"
    ]
    assert format_percent(own) != format_percent(shared)
    async with open_app(StudyTarget(study_id)) as (app, _):
        assert read_line(app, "fast")[2] == format_percent(own), "after its number of seeds and M0"


@both_sizes
async def test_it_counts_the_runs_that_fell_as_health_says(
    open_app: OpenApp, study_id: str, store: Path, size: tuple[int, int]
) -> None:
    names = [name for method, _, name in SEEDS if method == "cream"]
    with closing(open_reader(store)) as connection:
        found = [HealthReader(run_id).read(connection).diagnosis for run_id in list_ids(store, names)]
    fallen = [[f for f in one.findings if f.key in FALLS and f.status == "warn"] for one in found]
    n_fallen, n_warned = sum(map(bool, fallen)), sum(find_early_status(one.early) == "warn" for one in found)
    first = min(name for falls in fallen for f in falls for name in f.warned)
    assert 0 < n_fallen < 3
    async with open_app(StudyTarget(study_id), size=size) as (app, pilot):
        words = read_line(app, "cream")
        assert f"{n_fallen} {first}" in " ".join(words)
        await press(pilot, "down")
        told = get_screen(app).words.text
        assert f"Accuracy fell significantly (below M1 or the model before) in {n_fallen} of 3 runs" in told
        assert (f"fires at the newest model of {n_warned} of 3 runs" in told) == (n_warned > 0)
        assert told.index("Accuracy fell") < told.index("What else warns"), "the most serious first"
        assert "accuracy against M1 (" not in told, "what has a sentence is not counted once more"


@both_sizes
async def test_an_arm_that_has_not_begun_is_listed(open_app: OpenApp, study_id: str, size: tuple[int, int]) -> None:
    async with open_app(StudyTarget(study_id), size=size) as (app, pilot):
        assert set(read_line(app, "oracle")) == {"–"}
        current = app.current_run_id
        await press(pilot, "end")
        assert "None of its runs has begun." in get_screen(app).words.text
        await press(pilot, "enter")
        assert app.current_mode == "study"
        assert "no run of oracle has begun" in {notice.message for notice in app._notifications}
        assert app.current_run_id == current


async def test_curves_have_intervals_where_they_are_looked_at(open_app: OpenApp, study_id: str, store: Path) -> None:
    told = ask(store, "compare", "mixed")
    cells = [row["cells"]["sandbox"] for row in told["table"] if row["arm"] in ("all", "cream")]
    async with open_app(StudyTarget(study_id)) as (app, pilot):
        await press(pilot, "down")
        series = {each.name: each for each in get_screen(app).chart.series}
        assert {name for name, each in series.items() if each.is_faint} == {"fast"}
        cream = series["cream"]
        assert list(cream.xs) == [0, 1, 2, 3, 4]
        assert cream.low is not None and cream.high is not None
        for got, key in ((cream.ys, "mean"), (cream.low, "low"), (cream.high, "high")):
            assert list(got) == pytest.approx([100 * cell[key] for cell in cells])
        await press(pilot, "end", "up", "space")
        assert {each.name for each in get_screen(app).chart.series if each.is_faint} == {"cream"}


async def test_another_measure_order_and_baseline(open_app: OpenApp, study_id: str, store: Path) -> None:
    told = ask(store, "compare", "mixed")
    labels = {row["model"]: row["label_accuracy"] for row in told["measures"] if row["arm"] == "cream"}
    against = ask(store, "compare", "mixed", "--baseline", "cream")
    test = next(test for test in against["comparisons"] if test["family"] == "arms" and test["first"] == "srlm")
    async with open_app(StudyTarget(study_id)) as (app, pilot):
        await press(pilot, "m")
        assert "labels right %" in read_screen(app)
        words = read_line(app, "cream")[1:4]
        assert words == [format_percent(labels[name]["mean"]) for name in ("M1", "M2", "M3")]
        await press(pilot, "M", "s")
        ends = {"fast": 1, "srlm": 4, "cream": 4}
        order = [line.title for line in get_screen(app)._lines if line.n_seeds]
        values = [next(line for line in get_screen(app)._lines if line.title == title).last for title in order]
        assert [name for name, _ in filter(None, values)] == [f"M{ends[title]}" for title in order]
        assert [value.mean for _, value in filter(None, values)] == sorted(
            (value.mean for _, value in filter(None, values)), reverse=True
        )
        get_screen(app).table.put_cursor("cream")
        await press(pilot, "p")
        await settle(pilot)
        assert "baseline cream" in read_screen(app)
        assert format_signed(100 * test["difference"], 1) in read_line(app, "srlm")
        assert get_screen(app).get_command() == "compare mixed --baseline cream"
        await press(pilot, "p")
        await settle(pilot)
        assert get_screen(app).get_command() == "compare mixed"


async def test_ways_in_and_out(open_app: OpenApp, study_id: str, store: Path) -> None:
    async with open_app(RunsTarget(study_id=study_id)) as (app, pilot):
        await press(pilot, "c")
        await settle(pilot)
        assert app.current_mode == "study" and "6/10 done, 1 failed, 3 to go" in read_screen(app)
        await press(pilot, "q")
    async with open_app() as (app, pilot):
        assert app.current_mode == "study", "the last view is found again"
        await press(pilot, "escape")
        assert app.current_mode == "runs"
        await press(pilot, "7")
        assert app.current_mode == "study"


async def test_enter_opens_the_runs_of_arms_beside_the_baseline(
    open_app: OpenApp, study_id: str, gone: list[Target], store: Path
) -> None:
    async with open_app(StudyTarget(study_id)) as (_, pilot):
        await press(pilot, "enter", "down", "enter", "space", "space", "enter")
        srlm, cream = ([name for method, _, name in SEEDS if method == arm] for arm in ("srlm", "cream"))
        assert gone == [
            CompareTarget(list_ids(store, srlm)),
            CompareTarget(list_ids(store, srlm + cream)),
            CompareTarget(list_ids(store, [*srlm, *cream, "too-fast"])),
        ]


async def test_what_a_run_adds_is_shown_and_what_stands_is_not_read_again(
    open_app: OpenApp, study_id: str, store: Path
) -> None:
    async with open_app(StudyTarget(study_id)) as (app, pilot):
        before = get_screen(app)._shown
        app.refresh_screen()
        await settle(pilot)
        assert get_screen(app)._shown is before
        with closing(sqlite3.connect(store / "cream.db")) as connection, connection:
            connection.execute(
                "UPDATE study_arm SET run_id = NULL WHERE study_id = ? AND run_name = 'cream-seed2'", (study_id,)
            )
        app.refresh_screen()
        await settle(pilot)
        assert read_line(app, "cream")[0] == "2", "seeds that are left"
        assert "5/10 done" in read_screen(app)


@pytest.mark.parametrize("has_runs", [True, False])
async def test_without_a_study_or_a_value_it_says_so(open_app: OpenApp, store: Path, has_runs: bool) -> None:
    keys = ("m", "M", "s", "space", "p", "enter", "J", "K", "down", "end")
    if has_runs:
        async with open_app(StudyTarget("gone")) as (app, pilot):
            await press(pilot, *keys)
            assert "No study yet" in read_screen(app)
    else:
        study_id = add_study(store, "new", WAITING, created_at=time.time())
        async with open_app(StudyTarget(study_id)) as (app, pilot):
            await press(pilot, *keys)
            assert "0/3 done, 3 to go" in read_screen(app)
            assert "No model was evaluated yet" in read_screen(app)
            assert app.current_mode == "study"


async def test_titles_are_shown_as_what_they_are(open_app: OpenApp, store: Path) -> None:
    hostile = "srlm [/b]\x1b[2J[red]"
    arms = [(hostile if arm == "srlm" else arm, seed, run) for arm, seed, run in SEEDS]
    study_id = add_study(store, "hostile", arms, finished_at=time.time())
    async with open_app(StudyTarget(study_id)) as (app, pilot):
        await press(pilot, "down", "up")
        assert "[/b]" in read_screen(app) and "\x1b" not in read_screen(app)


async def test_a_baseline_is_that_of_one_study(open_app: OpenApp, study_id: str, store: Path) -> None:
    other = add_study(store, "other", SEEDS, finished_at=time.time())
    async with open_app(StudyTarget(study_id)) as (app, pilot):
        await press(pilot, "down", "p")
        assert "baseline cream" in read_screen(app)
        app.current_study_id = other  # as the cursor in the list of runs does
        await press(pilot, "1", "7")
        assert "baseline srlm" in read_screen(app)
        assert get_screen(app).get_command() == "compare other"


async def test_a_baseline_that_is_gone_is_none(open_app: OpenApp, study_id: str, store: Path) -> None:
    async with open_app(StudyTarget(study_id)) as (app, pilot):
        await press(pilot, "end", "p")
        assert "baseline srlm" in read_screen(app), "the last arm has not begun"
        await press(pilot, "up", "p")
        assert "baseline fast" in read_screen(app)
        with closing(sqlite3.connect(store / "cream.db")) as connection, connection:
            connection.execute("DELETE FROM study_arm WHERE study_id = ? AND arm = 'fast'", (study_id,))
        app.refresh_screen()
        await settle(pilot)
        assert "baseline srlm" in read_screen(app)
        assert get_screen(app).get_command() == "compare mixed"


def test_the_study_is_the_newest_where_none_was_chosen_or_that_is_gone(store: Path) -> None:
    add_study(store, "older", SEEDS, created_at=1.0)
    newer = add_study(store, "newer", SEEDS[:3], created_at=2.0)
    with closing(open_reader(store)) as connection:
        for wanted in (None, "gone"):
            found = StudyReader().read(connection, StudyWant(wanted, None))
            assert found is not None and found.study.study_id == newer


def test_what_another_run_computes_for_a_stopped_one_is_read(store: Path) -> None:
    study_id = add_study(store, "shared", SEEDS)
    last = "SELECT max(stage_id) FROM run_stage JOIN stage USING (stage_id) WHERE run_id = ? AND name = 'evaluate'"
    (run_id,) = list_ids(store, ["cream-seed2"])

    def change(sql: str, *values: object) -> None:
        with closing(sqlite3.connect(store / "cream.db")) as connection, connection:
            connection.execute(sql, values)

    change("UPDATE run SET state = 'stopped' WHERE run_id = ?", run_id)
    change(f"UPDATE stage SET state = 'running' WHERE stage_id = ({last})", run_id)
    reader = StudyReader()
    with closing(open_reader(store)) as connection:
        before = reader.read(connection, StudyWant(study_id, None))
        change(f"UPDATE stage SET state = 'done' WHERE stage_id = ({last})", run_id)
        after = reader.read(connection, StudyWant(study_id, None))
    assert before is not None and after is not None
    assert [len(found.models["cream"].find_evaluated("M4")) for found in (before, after)] == [2, 3]


def test_a_baseline_that_the_file_names_later_is_told(store: Path) -> None:
    study_id = add_study(store, "late", [*SEEDS, *WAITING])
    reader = StudyReader()
    with closing(open_reader(store)) as connection:
        before = reader.read(connection, StudyWant(study_id, None))
        with closing(sqlite3.connect(store / "cream.db")) as writer, writer:
            writer.execute('UPDATE study SET config_json = \'{"baseline": "oracle"}\' WHERE study_id = ?', (study_id,))
        after = reader.read(connection, StudyWant(study_id, None))
    told = [found.compared.lacking_baseline for found in (before, after) if found is not None]
    assert told == [None, "oracle"]


async def test_other_screens_open_a_run_of_the_arm_and_lead_back(open_app: OpenApp, study_id: str, store: Path) -> None:
    runs = dict(zip(("srlm", "cream"), list_ids(store, ["srlm-seed0", "cream-seed0"]), strict=True))
    async with open_app(StudyTarget(study_id)) as (app, pilot):
        assert app.current_run_id == runs["srlm"]
        await press(pilot, "j", "6")
        assert app.current_mode == "health" and app.current_run_id == runs["cream"]
        assert "cream-seed0" in read_screen(app)
        await press(pilot, "7", "enter")
        assert app.current_mode == "compare"
        await press(pilot, "escape")
        assert app.current_mode == "study"
        await press(pilot, "escape")
        assert app.current_mode == "runs"
        await press(pilot, "4", "escape")
        assert app.current_mode == "runs"


async def test_a_study_of_one_run_has_nothing_to_compare(open_app: OpenApp, store: Path) -> None:
    async with open_app(StudyTarget(add_study(store, "lone", SEEDS[:1], finished_at=time.time()))) as (app, _):
        assert get_screen(app).get_command() == "show lone"
