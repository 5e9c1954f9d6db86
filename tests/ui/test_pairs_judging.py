"""Judging on the Pairs screen through its keys, blind too, at both sizes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from driving import OpenApp, press, read_screen, settle
from pairs_driving import both_sizes, find_run_id, get_screen, list_toasts, read_verdicts, type_text

from cream_tui.app import CreamApp
from cream_tui.screens import pair_actions
from cream_tui.targets import PairsTarget
from cream_tui.views.pair_judging import Mark
from cream_tui.views.pair_ranks import is_turned
from db.annotations import write_verdict


@pytest.fixture
def target(store: Path) -> PairsTarget:
    return PairsTarget(find_run_id(store))


# Judging


@both_sizes
@pytest.mark.parametrize(
    ("key", "verdict"), [("a", "agree"), ("s", "swap"), ("t", "tie"), ("x", "both_bad"), ("u", "unsure")]
)
async def test_a_verdict_is_stored_and_the_next_pair_comes(
    open_app: OpenApp, target: PairsTarget, size: tuple[int, int], key: str, verdict: str
) -> None:
    async with open_app(target, size=size) as (app, pilot):
        screen = get_screen(app)
        row = screen.list.cursor_row
        assert row is not None
        await press(pilot, key)
        assert read_verdicts(app.root) == [(row.prompt_id, verdict, 0, 0, "")]
        assert screen.list.place == 1
        assert screen.ledger.get(row.pair_id) == Mark(verdict)
        assert f"1 judged of {screen.data.n_pairs}" in read_screen(app)  # type: ignore[union-attr]


async def test_the_mark_stands_before_it_is_stored(open_app: OpenApp, target: PairsTarget) -> None:
    async with open_app(target) as (app, _):
        screen = get_screen(app)
        row = screen.list.cursor_row
        assert row is not None
        pair_actions.judge(screen, "agree")  # no message was handled in between
        assert screen.ledger.get(row.pair_id) == Mark("agree")
        assert screen.list.place == 1


@both_sizes
async def test_judged_pairs_are_passed_over(open_app: OpenApp, target: PairsTarget, size: tuple[int, int]) -> None:
    async with open_app(target, size=size) as (app, pilot):
        screen = get_screen(app)
        await press(pilot, "j", "a", "s")  # the second and the third
        assert screen.list.place == 3
        await press(pilot, "home", "t")
        assert screen.list.place == 3
        await press(pilot, "N")
        assert screen.list.place == len(screen.list.ids) - 1  # in a circle
        await press(pilot, "n")
        assert screen.list.place == 3


@both_sizes
async def test_undo_takes_back_verdict_flag_and_note_one_by_one(
    open_app: OpenApp, target: PairsTarget, size: tuple[int, int]
) -> None:
    async with open_app(target, size=size) as (app, pilot):
        screen = get_screen(app)
        row = screen.list.cursor_row
        assert row is not None
        await press(pilot, "f", "e")
        await type_text(pilot, "off by one")
        await press(pilot, "enter", "a")
        assert read_verdicts(app.root) == [(row.prompt_id, "agree", 1, 0, "off by one")]
        await press(pilot, "U")
        assert read_verdicts(app.root) == [(row.prompt_id, None, 1, 0, "off by one")]
        assert screen.list.place == 0  # back on the pair
        await press(pilot, "ctrl+z")
        assert read_verdicts(app.root) == [(row.prompt_id, None, 1, 0, "")]
        await press(pilot, "U")
        assert read_verdicts(app.root) == []
        assert screen.ledger.get(row.pair_id) == Mark()


async def test_backspace_forgets_the_verdict_and_keeps_the_flag(open_app: OpenApp, target: PairsTarget) -> None:
    async with open_app(target) as (app, pilot):
        row = get_screen(app).list.cursor_row
        assert row is not None
        await press(pilot, "a", "home", "f", "backspace")
        assert read_verdicts(app.root) == [(row.prompt_id, None, 1, 0, "")]
        await press(pilot, "f")
        assert read_verdicts(app.root) == []


@both_sizes
async def test_judging_under_a_filter_of_what_is_not_judged(
    open_app: OpenApp, store: Path, size: tuple[int, int]
) -> None:
    """The judged pair leaves the list; the cursor is on the pair that follows it, not on the one after."""
    async with open_app(PairsTarget(find_run_id(store), filter_text="-has:verdict"), size=size) as (app, pilot):
        screen = get_screen(app)
        ids = list(screen.list.ids)
        await press(pilot, "j", "a")
        screen.refresh_data()  # as the next commit would
        await settle(pilot)
        assert list(screen.list.ids) == [ids[0], *ids[2:]]
        assert screen.list.cursor_id == ids[2]


async def test_a_write_that_fails_is_told_and_taken_back(open_app: OpenApp, target: PairsTarget, store: Path) -> None:
    async with open_app(target) as (app, pilot):
        screen = get_screen(app)
        row = screen.list.cursor_row
        assert row is not None
        with closing(sqlite3.connect(store / "cream.db")) as connection, connection:
            connection.execute("DELETE FROM pair WHERE pair_id = ?", (row.pair_id,))
        pair_actions.judge(screen, "agree")
        assert screen.ledger.get(row.pair_id) == Mark("agree")
        await settle(pilot)
        assert screen.ledger.get(row.pair_id) == Mark()
        assert any("not saved" in alert.text for alert in app.alerts)
        assert read_verdicts(store) == []


async def test_what_another_program_says_comes_in(open_app: OpenApp, target: PairsTarget, store: Path) -> None:
    async with open_app(target) as (app, pilot):
        screen = get_screen(app)
        row = screen.list.cursor_row
        assert row is not None
        write_verdict(store, row.stage_id, row.prompt_id, verdict="swap", note="from the shell")
        screen.refresh_data()
        await settle(pilot)
        assert screen.ledger.get(row.pair_id) == Mark("swap", note="from the shell")
        assert "from the shell" in read_screen(app)


async def test_agreement_is_counted_with_its_interval(open_app: OpenApp, target: PairsTarget) -> None:
    """3 of 4: Wilson's 95 % interval is 30.1 to 95.4."""
    async with open_app(target) as (app, pilot):
        await press(pilot, "a", "a", "a", "s", "t")
        assert "you agree 75 % (30–95) of 4" in read_screen(app)
        await press(pilot, "v")
        text = read_screen(app)
        assert "30.1–95.4, n = 4" in text
        assert "agree 3   swap 1   tie 1" in text


# Blind mode


def list_revealing(app: CreamApp) -> list[str]:
    text = read_screen(app).lower()
    words = (
        "chosen",
        "rejected",
        "margin",
        "tau +",
        "tau −",
        "gold",
        "agree",
        "swap",
        "right ",
        "wrong",
        "bias",
        "flip",
    )
    return [word for word in words if word in text]


@both_sizes
async def test_blind_mode_shows_nothing_that_tells(
    open_app: OpenApp, target: PairsTarget, size: tuple[int, int]
) -> None:
    async with open_app(target, size=size) as (app, pilot):
        await press(pilot, "enter")
        assert list_revealing(app)
        await press(pilot, "B")
        # The keys in the footer are called by what they do otherwise; "right " is a side.
        footer = {"agree", "swap", "right "}
        for keys in ((), ("d",), ("d",), ("r",), ("r", "h"), ("h", "H"), ("H", "v"), ("escape", "escape")):
            await press(pilot, *keys)
            assert set(list_revealing(app)) <= footer, (keys, list_revealing(app))


@both_sizes
@pytest.mark.parametrize("key", ["a", "s"])
async def test_a_blind_verdict_names_a_side_and_is_stored_by_what_stood_there(
    open_app: OpenApp, target: PairsTarget, size: tuple[int, int], key: str
) -> None:
    async with open_app(target, size=size) as (app, pilot):
        screen = get_screen(app)
        await press(pilot, "B")
        expected = {}
        for _ in range(6):
            row = screen.list.cursor_row
            assert row is not None
            has_chosen_left = not is_turned(row.prompt_id, row.iteration)
            expected[row.prompt_id] = "agree" if has_chosen_left == (key == "a") else "swap"
            await press(pilot, key)
        stored = {prompt_id: verdict for prompt_id, verdict, _, is_blind, _ in read_verdicts(app.root) if is_blind}
        assert stored == expected
        assert set(expected.values()) == {"agree", "swap"}  # both sides were met
        await press(pilot, "home", "enter")
        assert ("left is better" if key == "a" else "right is better") in read_screen(app)
        assert "you agree" not in read_screen(app)
        await press(pilot, "B")
        assert "you agree" in read_screen(app)


async def test_blind_mode_gives_up_an_order_that_tells_and_warns_of_such_a_filter(
    open_app: OpenApp, store: Path
) -> None:
    async with open_app(PairsTarget(find_run_id(store), filter_text="label:wrong")) as (app, pilot):
        screen = get_screen(app)
        await press(pilot, "o", "B")
        assert screen.wishes.sort == "position"
        assert "the filter tells something" in list_toasts(app)
        seen = set()
        for _ in range(4):
            await press(pilot, "o")
            seen.add(screen.wishes.sort)
        assert seen == {"position", "flagged"}
        await press(pilot, "J")
        assert "hidden in blind mode" in list_toasts(app)


async def test_what_is_copied_and_exported_blind_does_not_tell(open_app: OpenApp, target: PairsTarget) -> None:
    async with open_app(target) as (app, pilot):
        screen = get_screen(app)
        copied, table = screen.get_copy(), screen.get_table()
        assert copied is not None and table is not None
        assert "chosen:" in copied.text and "label" in table.columns
        await press(pilot, "B")
        copied, table = screen.get_copy(), screen.get_table()
        assert copied is not None and table is not None
        assert "left:" in copied.text and "chosen" not in copied.text
        assert not {"label", "chosen", "margin", "verdict"} & set(table.columns)
