"""The Pairs screen through its keys: finding and reading pairs, and what is around it, at both sizes."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from driving import OpenApp, press, read_screen, settle
from pairs_driving import both_sizes, find_run_id, get_screen, list_toasts, query, read_verdicts, type_text

from cream_tui.screens.pairs import PairsScreen
from cream_tui.targets import PairsTarget
from cream_tui.views.pairs import QUICK_FILTERS


@pytest.fixture
def target(store: Path) -> PairsTarget:
    return PairsTarget(find_run_id(store))


# Looking


@both_sizes
async def test_the_list_shows_the_pairs_and_the_cursor_moves(
    open_app: OpenApp, target: PairsTarget, size: tuple[int, int]
) -> None:
    async with open_app(target, size=size) as (app, pilot):
        screen = get_screen(app)
        first = screen.list.cursor_row
        assert first is not None and len(screen.list.ids) == screen.data.n_pairs  # type: ignore[union-attr]
        assert first.prompt[:8] in read_screen(app)
        await press(pilot, "j", "down")
        assert screen.list.place == 2
        await press(pilot, "k")
        assert screen.list.place == 1
        await press(pilot, "end")
        assert screen.list.place == len(screen.list.ids) - 1
        last = screen.list.cursor_row
        assert last is not None and str(len(screen.list.ids)) in read_screen(app)
        await press(pilot, "home", "pagedown")
        assert screen.list.place == screen.list.size.height - 2


async def test_wide_shows_list_ranks_and_both_sides_at_once(open_app: OpenApp, target: PairsTarget) -> None:
    async with open_app(target, size=(120, 40)) as (app, _):
        screen = get_screen(app)
        row, text = screen.list.cursor_row, read_screen(app)
        assert row is not None
        assert f"#1  M{row.iteration}" in text
        assert "ranks of the 5 responses" in text
        assert text.count("chosen") >= 3 and text.count("rejected") >= 3  # titles, ranks, answers
        assert "now | before" not in text


async def test_narrow_shows_the_list_then_the_pair(open_app: OpenApp, target: PairsTarget) -> None:
    async with open_app(target, size=(80, 24)) as (app, pilot):
        assert "both in one" not in read_screen(app)
        await press(pilot, "enter")
        text = read_screen(app)
        assert "both in one" in text and "now | before" in text and "label  prompt" not in text
        await press(pilot, "tab")
        assert "label  prompt" in read_screen(app)
        await press(pilot, "tab", "escape")
        assert "label  prompt" in read_screen(app)


@both_sizes
async def test_the_ways_to_show_both_sides(open_app: OpenApp, target: PairsTarget, size: tuple[int, int]) -> None:
    async with open_app(target, size=size) as (app, pilot):
        screen = get_screen(app)
        await press(pilot, "enter")
        seen = [screen.pair.shown_mode]
        for _ in range(3):
            await press(pilot, "d")
            seen.append(screen.pair.shown_mode)
        assert seen == (["side", "unified", "plain", "side"] if size[0] == 120 else ["unified", "plain"] * 2)
        await press(pilot, "w")
        assert not screen.pair.is_wrapped
        assert screen.pair.left.has_class("-no-wrap")


@both_sizes
async def test_responses_history_histogram_and_verdicts_take_the_place_of_the_pair(
    open_app: OpenApp, target: PairsTarget, size: tuple[int, int]
) -> None:
    async with open_app(target, size=size) as (app, pilot):
        for key, sign in (
            ("r", "5 responses to this prompt"),
            ("h", "In this run only M1 answered it"),
            ("H", "left and right choose a bar"),
            ("v", "You agree with the model's label"),
        ):
            await press(pilot, key)
            assert sign in read_screen(app), key
            await press(pilot, key)  # the same key closes it
            assert sign not in read_screen(app), key
        await press(pilot, "r", "escape")
        assert get_screen(app).views.name == "pair"


async def test_responses_are_there_in_full_with_both_rankings(open_app: OpenApp, target: PairsTarget) -> None:
    async with open_app(target) as (app, pilot):
        await press(pilot, "r")
        text = read_screen(app)
        assert "M0 (log-lik)" in text
        for letter in "ABCDE":
            assert f"│ {letter}  " in text
        await press(pilot, "j")  # the view goes along with the cursor
        row = get_screen(app).list.cursor_row
        assert row is not None and row.chosen is not None and row.chosen[:12] in read_screen(app)


async def test_a_bar_of_the_histogram_keeps_its_pairs(open_app: OpenApp, target: PairsTarget) -> None:
    async with open_app(target) as (app, pilot):
        screen = get_screen(app)
        n_all = len(screen.list.ids)
        await press(pilot, "H", "right", *["right"] * 10, "enter")
        assert screen.filter_bar.text == "tau>0.9"
        expected = sum(tau > 0.9 for (tau,) in list_taus(app.root, screen))
        assert 0 < len(screen.list.ids) == expected < n_all


def list_taus(root: Path, screen: PairsScreen) -> list[Any]:
    assert screen.data is not None
    return query(
        root,
        "SELECT a.value FROM run_stage l JOIN stage s USING (stage_id) JOIN pair p USING (stage_id) "
        "JOIN run_stage k ON k.run_id = l.run_id AND k.iteration = l.iteration "
        "JOIN agreement a ON a.stage_id = k.stage_id AND a.prompt_id = p.prompt_id AND a.measure = 'kendall' "
        "AND a.scorer = 'implicit:M' || l.iteration "
        "AND a.against = CASE l.iteration WHEN 1 THEN 'mean_loglik:M0' ELSE 'implicit:M' || (l.iteration - 1) END "
        "WHERE l.run_id = ? AND p.chosen_k IS NOT NULL AND a.value IS NOT NULL",
        screen.data.run_id,
    )


# Finding


@both_sizes
async def test_a_filter_works_while_it_is_typed_and_says_what_is_wrong(
    open_app: OpenApp, target: PairsTarget, size: tuple[int, int]
) -> None:
    async with open_app(target, size=size) as (app, pilot):
        screen = get_screen(app)
        n_all = len(screen.list.ids)
        await press(pilot, "slash")
        await type_text(pilot, "label:wrong")
        n_wrong = len(screen.list.ids)
        assert 0 < n_wrong < n_all
        await press(pilot, "space", "left_parenthesis")
        assert "nothing stands behind it" in read_screen(app)
        assert len(screen.list.ids) == n_wrong  # as long as it has no meaning the last one holds
        await type_text(pilot, "colour:red)")
        assert "there is no key colour" in read_screen(app)
        await press(pilot, "escape")
        assert screen.filter_bar.text == "" and len(screen.list.ids) == n_all
        assert screen.list.has_focus


async def test_a_filter_that_finds_nothing_leaves_an_empty_list(open_app: OpenApp, target: PairsTarget) -> None:
    async with open_app(target) as (app, pilot):
        screen = get_screen(app)
        await press(pilot, "slash")
        await type_text(pilot, "nobodysaidso")
        assert len(screen.list.ids) == 0
        shown = read_screen(app)
        assert "no pair is left by the filter" in shown
        assert "ranks of the" not in shown  # of the pair that stood there before
        await press(pilot, "enter", "a", "j", "r", "v", "H", "escape", "i")
        assert read_verdicts(app.root) == []


@both_sizes
async def test_one_iteration_alone_is_told_and_escape_takes_the_filter_back_first(
    open_app: OpenApp, target: PairsTarget, size: tuple[int, int]
) -> None:
    only = PairsTarget(target.run_id, 2, filter_text="label:wrong")
    async with open_app(only, size=size) as (app, pilot):
        screen = get_screen(app)
        n_wrong = len(screen.list.ids)
        assert "only M2's pairs, [ ] others" in read_screen(app)
        await press(pilot, "escape")
        assert (app.current_mode, screen.filter_bar.text, screen.wishes.filter_text) == ("pairs", "", "")
        assert len(screen.list.ids) > n_wrong
        assert screen.wishes.iteration == 2
        await press(pilot, "right_square_bracket", "right_square_bracket")
        assert screen.wishes.iteration != 2 and "only M2" not in read_screen(app)
        await press(pilot, "escape")
        assert app.current_mode == "runs"


async def test_the_prompts_have_the_room_beside_the_figures(open_app: OpenApp, target: PairsTarget) -> None:
    async with open_app(target, size=(120, 40)) as (app, _):
        row = get_screen(app).list.cursor_row
        assert row is not None and len(row.prompt) > 22
        line = next(line for line in read_screen(app).splitlines() if f"{row.prompt[:6]}" in line)
        assert row.prompt[:22] in line


@both_sizes
async def test_ready_filters_are_aligned(open_app: OpenApp, target: PairsTarget, size: tuple[int, int]) -> None:
    async with open_app(target, size=size) as (app, pilot):
        await press(pilot, "F")
        lines = read_screen(app).splitlines()
        places = {
            line.rindex(words)
            for _, words in QUICK_FILTERS
            for line in lines
            if re.search(rf"│ .* {re.escape(words)} +│", line)
        }
        assert len(places) == 1
        assert all(any(words in line for line in lines) for _, words in QUICK_FILTERS), "none is broken in two"


@both_sizes
async def test_ready_filters_stand_in_the_line(open_app: OpenApp, target: PairsTarget, size: tuple[int, int]) -> None:
    async with open_app(target, size=size) as (app, pilot):
        await press(pilot, "F")
        await type_text(pilot, "wrong labels")
        await press(pilot, "enter")
        screen = get_screen(app)
        assert screen.filter_bar.text == "label:wrong"
        assert 0 < len(screen.list.ids) < screen.data.n_pairs  # type: ignore[union-attr]


@both_sizes
async def test_orders_go_round_and_the_cursor_stays_on_its_pair(
    open_app: OpenApp, target: PairsTarget, size: tuple[int, int]
) -> None:
    async with open_app(target, size=size) as (app, pilot):
        screen = get_screen(app)
        await press(pilot, "j", "j", "j")
        pair_id = screen.list.cursor_id
        await press(pilot, "o")
        assert (screen.wishes.sort, screen.list.cursor_id) == ("tau", pair_id)
        assert "by tau ▲" in read_screen(app)
        rising = list(screen.list.ids)
        await press(pilot, "O")
        assert "by tau ▼" in read_screen(app)
        assert screen.list.cursor_id == pair_id
        assert list(screen.list.ids) != rising and sorted(screen.list.ids) == sorted(rising)


@both_sizes
async def test_skipped_prompts_are_shown_with_their_reason_when_asked_for(
    open_app: OpenApp, store: Path, size: tuple[int, int]
) -> None:
    run_id = find_run_id(store)
    (pair_id,) = query(
        store,
        "SELECT p.pair_id FROM run_stage l JOIN pair p USING (stage_id) WHERE l.run_id = ? LIMIT 1",
        run_id,
    )[0]
    with closing(sqlite3.connect(store / "cream.db")) as connection, connection:
        connection.execute(
            "UPDATE pair SET chosen_k = NULL, rejected_k = NULL, chosen_reward = NULL, rejected_reward = NULL, "
            "margin = NULL, confidence = NULL, skip_reason = 'all rewards equal' WHERE pair_id = ?",
            (pair_id,),
        )
    async with open_app(PairsTarget(run_id, filter_text="has:skipped"), size=size) as (app, pilot):
        screen = get_screen(app)
        assert pair_id in screen.list.ids
        assert "no pair: all rewards equal" in read_screen(app)
        screen.go_to_pair(pair_id)
        await settle(pilot)
        await press(pilot, "enter", "a")  # nothing to judge
        assert "no pair: all rewards equal" in read_screen(app)
        assert read_verdicts(store) == []


@both_sizes
async def test_iterations_are_shown_one_by_one(open_app: OpenApp, target: PairsTarget, size: tuple[int, int]) -> None:
    async with open_app(target, size=size) as (app, pilot):
        screen = get_screen(app)
        assert screen.data is not None
        counts = screen.data.counts.n_by_iteration
        seen = []
        for _ in range(len(counts) + 1):
            await press(pilot, "right_square_bracket")
            seen.append((screen.wishes.iteration, len(screen.list.ids)))
        assert len(counts) > 1
        assert seen == [*sorted(counts.items()), (None, sum(counts.values()))]
        await press(pilot, "left_square_bracket")
        assert screen.wishes.iteration == max(counts)


@both_sizes
async def test_jump_to_a_number(open_app: OpenApp, target: PairsTarget, size: tuple[int, int]) -> None:
    async with open_app(target, size=size) as (app, pilot):
        screen = get_screen(app)
        await press(pilot, "i")
        await type_text(pilot, "9999")
        assert "there are" in read_screen(app)
        await press(pilot, "backspace", "backspace", "backspace", "backspace")
        await type_text(pilot, "37")
        await press(pilot, "enter")
        assert screen.list.place == 36
        assert screen.list.number_of(screen.list.cursor_id or 0) == 37


@both_sizes
async def test_a_link_opens_its_pair(open_app: OpenApp, store: Path, size: tuple[int, int]) -> None:
    async with open_app(PairsTarget(find_run_id(store), number=41), size=size) as (app, _):
        assert get_screen(app).list.place == 40
        assert "#41" in read_screen(app)


async def test_a_link_by_prompt_and_one_that_leads_nowhere(open_app: OpenApp, store: Path) -> None:
    run_id = find_run_id(store)
    async with open_app(PairsTarget(run_id, number=20)) as (app, pilot):
        row = get_screen(app).list.cursor_row
        assert row is not None
        app.go_to(PairsTarget(run_id, prompt_id=row.prompt_id))
        await settle(pilot)
        assert get_screen(app).list.place == 19
        app.go_to(PairsTarget(run_id, number=100_000))
        await settle(pilot)
        assert "there is no such pair" in list_toasts(app)


@both_sizes
async def test_low_consistency_is_a_key_away(open_app: OpenApp, target: PairsTarget, size: tuple[int, int]) -> None:
    async with open_app(target, size=size) as (app, pilot):
        screen = get_screen(app)
        await press(pilot, "J")
        row = screen.list.cursor_row
        assert row is not None and row.consistency_rate is not None and row.consistency_rate < 0.5
        first = screen.list.place
        await press(pilot, "J")
        assert screen.list.place != first
        await press(pilot, "K")
        assert screen.list.place == first


# Around it


async def test_export_holds_every_pair_that_is_shown(open_app: OpenApp, store: Path) -> None:
    async with open_app(PairsTarget(find_run_id(store), filter_text="label:wrong")) as (app, _):
        table = get_screen(app).get_table()
        assert table is not None
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        assert len(rows) == len(table.rows) > 0
        assert {row["label"] for row in rows} == {"wrong"}
        assert [row["number"] for row in rows] == sorted(row["number"] for row in rows)


async def test_the_command_shows_the_same_pairs(open_app: OpenApp, store: Path) -> None:
    async with open_app(PairsTarget(find_run_id(store), iteration=2, filter_text="tau<0")) as (app, pilot):
        await press(pilot, "o", "O")
        assert get_screen(app).get_command() == (
            "pairs cream-seed0 --filter 'tau<0' --iteration 2 --sort tau --descending"
        )


async def test_the_view_is_found_again(open_app: OpenApp, target: PairsTarget, store: Path) -> None:
    async with open_app(target) as (app, pilot):
        await press(pilot, "d", "w", "slash")
        await type_text(pilot, "margin>0")
        await press(pilot, "enter", "o", "j", "j", "j")
        saved, pair_id = get_screen(app).save_view(), get_screen(app).list.cursor_id
        await pilot.press("q")
    async with open_app() as (app, _):  # no target: where one was
        screen = get_screen(app)
        assert screen.save_view() == saved
        assert screen.list.cursor_id == pair_id
        assert screen.pair.left.has_class("-no-wrap")


@pytest.mark.parametrize("view", [{"filter": "((", "sort": 7, "iteration": "x", "mode": [], "pair_id": "a"}, {}])
def test_a_view_that_makes_no_sense_is_passed_over(view: dict[str, Any]) -> None:
    screen = PairsScreen()
    screen.restore_view(view)
    assert (screen.wishes.filter_text, screen.wishes.sort, screen.pair.mode) == ("", "position", "side")


@both_sizes
async def test_a_run_without_pairs_says_what_must_come_first(
    open_app: OpenApp, store: Path, size: tuple[int, int]
) -> None:
    run_id = find_run_id(store, "stopped-early")
    (label,) = query(
        store,
        "SELECT l.label FROM run_stage l JOIN stage s USING (stage_id) WHERE l.run_id = ? AND s.state <> 'done' "
        "ORDER BY l.position LIMIT 1",
        run_id,
    )[0]
    async with open_app(PairsTarget(run_id), size=size) as (app, pilot):
        text = read_screen(app)
        assert "stopped-early has no pairs yet" in text
        assert f"The run is stopped before {label}." in text
        await press(pilot, "a", "j", "o", "r", "B", "escape")


@both_sizes
async def test_an_empty_store_says_how_to_begin(open_app: OpenApp, tmp_path: Path, size: tuple[int, int]) -> None:
    async with open_app(size=size, root=tmp_path / "nothing") as (app, pilot):
        await press(pilot, "3")
        assert "There are no runs yet" in read_screen(app)
        await press(pilot, "a", "j", "o", "H", "i", "F", "escape")


async def test_a_run_that_is_gone_is_told(open_app: OpenApp) -> None:
    async with open_app(PairsTarget("gone")) as (app, pilot):
        assert "The run is not in the store any more" in read_screen(app)
        await press(pilot, "a", "j", "o", "H", "i", "F", "escape")


async def test_new_pairs_come_in_and_the_cursor_stays_on_its_pair(
    open_app: OpenApp, target: PairsTarget, store: Path
) -> None:
    """A live run: the pairs of the second iteration are not there yet, then they are."""
    run_id = target.run_id
    (stage_id,) = query(
        store,
        "SELECT stage_id FROM run_stage l JOIN stage s USING (stage_id) "
        "WHERE l.run_id = ? AND s.name = 'pair' AND l.iteration = 2",
        run_id,
    )[0]
    with closing(sqlite3.connect(store / "cream.db")) as connection, connection:
        connection.execute("CREATE TABLE later AS SELECT * FROM pair WHERE stage_id = ?", (stage_id,))
        connection.execute("DELETE FROM pair WHERE stage_id = ?", (stage_id,))
        connection.execute("UPDATE stage SET state = 'running', n_done = 0 WHERE stage_id = ?", (stage_id,))
    async with open_app(PairsTarget(run_id, number=9)) as (app, pilot):
        screen = get_screen(app)
        await press(pilot, "o", "O")  # by tau: new pairs come in between
        pair_id, n_before = screen.list.cursor_id, len(screen.list.ids)
        with closing(sqlite3.connect(store / "cream.db")) as connection, connection:
            connection.execute("INSERT INTO pair SELECT * FROM later")
            connection.execute("UPDATE stage SET state = 'done', n_done = n_total WHERE stage_id = ?", (stage_id,))
        screen.refresh_data()
        await settle(pilot)
        assert len(screen.list.ids) > n_before
        assert screen.list.cursor_id == pair_id
        assert screen.list.number_of(pair_id or 0) == 9


MIXED = "日本語のとても長い質問です。もう一つ \u05e9\u05dc\u05d5\u05dd \U0001f600 e\u0301"


async def test_wide_and_right_to_left_text_does_not_move_columns(
    open_app: OpenApp, target: PairsTarget, store: Path
) -> None:
    with closing(sqlite3.connect(store / "cream.db")) as connection, connection:
        connection.execute("UPDATE prompt SET text = ?", (MIXED,))
    async with open_app(target, size=(120, 40)) as (app, _):
        screen = get_screen(app)
        for y in range(1, 12):
            strip = screen.list.render_line(y)
            assert strip.cell_length == screen.list.size.width
        lines = read_screen(app).split("\n")
        assert "日本語" in lines[4]


async def test_long_texts_scroll_together_and_begin_anew_with_the_next_pair(
    open_app: OpenApp, target: PairsTarget, store: Path
) -> None:
    long = "\n".join(f"line {k} " + "word " * 30 for k in range(60))
    with closing(sqlite3.connect(store / "cream.db")) as connection, connection:
        connection.execute("UPDATE response SET text = ? || k", (long,))
    async with open_app(target) as (app, pilot):
        pair = get_screen(app).pair
        assert "line 0" in read_screen(app)
        await press(pilot, "enter", "pagedown")
        assert pair.left.scroll_y == pair.right.scroll_y > 0
        assert "line 0 " not in read_screen(app)
        await press(pilot, "ctrl+u", "ctrl+u", "ctrl+u")
        assert pair.left.scroll_y == pair.right.scroll_y == 0
        await press(pilot, "ctrl+d", "j")
        assert pair.left.scroll_y == pair.right.scroll_y == 0
        await press(pilot, "w", "right", "right")
        assert pair.left.scroll_x > 0


@both_sizes
async def test_no_colour_marks_words_with_brackets(
    open_app: OpenApp, target: PairsTarget, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with open_app(PairsTarget(target.run_id, number=3), size=size) as (app, pilot):
        await press(pilot, "enter")
        assert "{+" in read_screen(app)
