"""Browsing pairs without a screen: orders, numbers, ranks, marks, and how far a person agrees."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cream_tui.pair_wishes import PairWishes
from cream_tui.views.pair_judging import (
    Mark,
    MarkLedger,
    Share,
    describe_mark,
    summarise,
    turn_verdict,
)
from cream_tui.views.pair_ranks import (
    build_rank_rows,
    compute_ranks,
    format_orders,
    is_turned,
    list_warnings,
    name_ranker,
    name_response,
)
from cream_tui.views.pairs import (
    ORDERS,
    QUICK_FILTERS,
    Numbers,
    check_number,
    depends_on_verdicts,
    find_next,
    follow_cursor,
    next_order,
)
from cream_tui.widgets.pair_text import build_rank_table
from db.pair_browse import PAIR_SORTS, PairQuery, PairView
from db.pair_counts import JudgedPair
from db.pair_detail import PairDetail, ScoredResponse


def judge(
    verdict: str | None, label: str = "unknown", *, c: float = 0.8, rate: float = 0.5, **more: bool
) -> JudgedPair:
    return JudgedPair(
        *(1, 2, "p", 1, verdict, more.get("is_flagged", False), more.get("is_blind", False), "", label, c, rate)
    )


def view(**changes: object) -> PairView:
    plain = PairView(
        *(1, 2, 2, 0, "p", None, "ask", 0, 1, "yes", "no", None, None, 30, 20, "end", "end"),
        *(1.0, -1.0, 2.0, 0.5, 0.8, 0.8, 0.6, 0.1, "unknown", None, None, False, False, ""),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def detail(scores: Sequence[tuple[float | None, float | None]], items: Sequence[int] | None = None) -> PairDetail:
    responses = tuple(
        ScoredResponse(k, f"r{k}", 3, "end", None, None, k if items is None else items[k], first, first, second, None)
        for k, (first, second) in enumerate(scores)
    )
    return PairDetail(view(), None, responses, "implicit:M2", "implicit:M1", None)


def test_places_are_counted_over_the_policys_responses_as_tau_counts_them() -> None:
    """Of M1's responses, which are there only to be rejected, the reward shows and no place."""
    pair = detail([(3.0, 1.0), (1.0, 2.0), (9.0, 9.0), (0.0, 0.0)])
    responses = tuple(replace(response, is_policy=response.k < 2) for response in pair.responses)
    rows = build_rank_rows(replace(pair, responses=responses))
    assert [row.current_rank for row in rows] == [1, 2, None, None]
    assert [row.current for row in rows] == [3.0, 1.0, 9.0, 0.0]
    assert format_orders(rows) == "A>B | B>A"
    shown = build_rank_table(rows, pair).plain.split("\n")
    assert ["of M1" in line for line in shown[1:5]] == [False, False, True, True]


# Orders and numbers


def test_every_order_is_the_stores_and_comes_round() -> None:
    assert {order.sort for order in ORDERS} <= set(PAIR_SORTS)
    seen, sort = [], "position"
    for _ in ORDERS:
        sort = next_order(sort).sort
        seen.append(sort)
    assert sorted(seen) == sorted(order.sort for order in ORDERS)
    assert seen[-1] == "position"
    assert next_order("nonsense") is ORDERS[1]


def test_every_quick_filter_compiles() -> None:
    from cream_tui.filtering.pairs import compile_pairs

    for text, _ in QUICK_FILTERS:
        assert compile_pairs(text).where


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (PairQuery(), False),
        (PairQuery(where="tau < ?", parameters=(0.0,)), False),
        (PairQuery(where="ifnull(verdict IS NOT NULL, 0)"), True),
        (PairQuery(where="flagged = 1"), True),
        (PairQuery(where="text LIKE ?", parameters=("%x%",)), True),  # the note is searched, too
        (PairQuery(sort="verdict"), True),
    ],
)
def test_which_queries_a_verdict_can_change(query: PairQuery, expected: bool) -> None:
    assert depends_on_verdicts(query) is expected


@pytest.mark.parametrize("ids", [[3, 5, 9], [9, 3, 5]])
def test_numbers_count_from_one_in_the_order_given(ids: list[int]) -> None:
    numbers = Numbers(array("q", ids))
    assert [numbers.get(pair_id) for pair_id in ids] == [1, 2, 3]
    assert [numbers.find(number) for number in (0, 1, 3, 4)] == [None, ids[0], ids[2], None]
    assert numbers.get(4) is None
    assert len(numbers) == 3


def test_next_goes_round_once() -> None:
    ids = [10, 11, 12, 13]
    assert find_next(ids, 1, lambda i: i % 2 == 0) == 2
    assert find_next(ids, 2, lambda i: i % 2 == 0) == 0  # past the end, from the top
    assert find_next(ids, 2, lambda i: i % 2 == 0, step=-1) == 0
    assert find_next(ids, 1, lambda i: i == 11) == 1  # itself is the last that is looked at
    assert find_next(ids, 1, lambda i: False) is None
    assert find_next([], 0, lambda i: True) is None


@pytest.mark.parametrize(
    ("place", "new", "expected"),
    [
        (2, [7, 12, 10], 1),  # its own pair
        (1, [10, 13], 1),  # 11 and 12 are gone: the next that is left
        (3, [10, 11], 1),  # nothing behind it is left: the nearest above
        (2, [7, 8, 9, 6], 2),  # none of them: the place itself
        (3, [7], 0),
        (0, [], 0),
    ],
)
def test_the_cursor_stays_on_its_pair(place: int, new: list[int], expected: int) -> None:
    assert follow_cursor([10, 11, 12, 13], place, array("q", new)) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [("1", None), (" 7 ", None), ("8", "there are 7 pairs"), ("0", "there are 7 pairs"), ("x", "type the number")],
)
def test_numbers_to_jump_to(text: str, problem: str | None) -> None:
    found = check_number(text, 7)
    assert found is None if problem is None else found is not None and found.startswith(problem)


# Ranks and warnings


def test_ranks_share_the_best_place_and_leave_missing_ones_out() -> None:
    assert compute_ranks([0.5, 2.0, None, 0.5, -1.0]) == [2, 1, None, 2, 4]


@given(st.lists(st.one_of(st.none(), st.integers(-3, 3)), max_size=8))
def test_ranks_go_down_as_scores_go_up(scores: list[float | None]) -> None:
    ranks = compute_ranks(scores)
    for a, x in zip(scores, ranks, strict=True):
        assert (a is None) == (x is None)
        for b, y in zip(scores, ranks, strict=True):
            if a is not None and b is not None and x is not None and y is not None:
                assert (a > b) == (x < y)


def test_rank_rows_name_roles_and_repeats() -> None:
    """C repeats A: it has A's places, and is not counted when others get theirs."""
    rows = build_rank_rows(detail([(2.0, 0.1), (-1.0, 0.3), (2.0, 0.1), (0.5, 0.2)], items=[0, 1, 0, 3]))
    assert [(row.letter, row.role, row.same_as) for row in rows] == [
        ("A", "chosen", None),
        ("B", "rejected", None),
        ("C", "", "A"),
        ("D", "", None),
    ]
    assert [row.current_rank for row in rows] == [1, 3, 1, 2]
    assert [row.previous_rank for row in rows] == [3, 1, 3, 2]
    assert format_orders(rows) == "A>D>B | B>D>A"


def test_another_reward_than_the_current_models_ranks() -> None:
    """A judge gives A 2 and B 4 points; M2's implicit reward has A first, and ranks nothing here."""
    plain = detail([(2.0, 0.1), (-1.0, 0.3)])
    judged = replace(
        plain, responses=tuple(replace(r, reward=p) for r, p in zip(plain.responses, (2.0, 4.0), strict=True))
    )
    assert [(row.current_rank, row.current) for row in build_rank_rows(judged)] == [(2, 2.0), (1, 4.0)]
    assert [(row.current_rank, row.current) for row in build_rank_rows(plain)] == [(1, 2.0), (2, -1.0)]
    assert (name_ranker(judged), name_ranker(plain)) == ("reward", "M2")
    table = build_rank_table(build_rank_rows(judged), judged).plain
    assert table.splitlines()[0].split() == ["now", "M1", "reward", "r.M1", "tok"]
    assert "tau of M2" in table
    assert build_rank_table(build_rank_rows(plain), plain).plain.splitlines()[0].split()[:3] == ["M2", "M1", "r.M2"]


def test_orders_show_ties_and_leave_an_absent_previous_model_out() -> None:
    assert format_orders(build_rank_rows(detail([(1.0, None), (2.0, None), (1.0, None)]))) == "B>A=C"


def test_names_of_responses_go_on_after_z() -> None:
    assert [name_response(k) for k in (0, 25, 26, 53)] == ["A", "Z", "A1", "B2"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"chosen_n_tokens": 29}, []),  # of 20
        ({"chosen_n_tokens": 30}, ["length bias: chosen is 1.5x longer"]),
        ({"chosen_n_tokens": 38}, ["length bias: chosen is 1.9x longer"]),
        ({"rejected_n_tokens": 0}, []),
        ({"chosen_n_tokens": 9, "previous_margin": -0.5}, ["rank flip: M1 prefers the rejected one"]),
        ({"chosen_n_tokens": 9, "previous_margin": -0.5, "iteration": 1}, ["rank flip: M0 prefers the rejected one"]),
        (
            {"chosen_n_tokens": 9, "chosen_finish_reason": "length", "rejected_finish_reason": "length"},
            ["cut at the token limit: chosen and rejected"],
        ),
    ],
)
def test_warnings(changes: dict[str, object], expected: list[str]) -> None:
    assert list_warnings(view(**changes)) == expected


# Blind mode


def test_half_of_the_pairs_are_turned_and_always_the_same_ones() -> None:
    turned = [is_turned(f"p{k}", 1) for k in range(1000)]
    assert 430 < sum(turned) < 570  # three standard deviations of a fair coin are 47
    assert turned == [is_turned(f"p{k}", 1) for k in range(1000)]
    assert turned != [is_turned(f"p{k}", 2) for k in range(1000)]


@pytest.mark.parametrize(
    ("key", "is_left_chosen", "stored"),
    [
        ("agree", True, "agree"),
        ("swap", True, "swap"),
        ("agree", False, "swap"),
        ("swap", False, "agree"),
        ("tie", False, "tie"),
        ("both_bad", False, "both_bad"),
        ("unsure", True, "unsure"),
    ],
)
def test_a_side_becomes_a_verdict(key: str, is_left_chosen: bool, stored: str) -> None:
    assert turn_verdict(key, is_left_chosen=is_left_chosen) == stored


@pytest.mark.parametrize(
    ("mark", "is_blind", "is_left_chosen", "text"),
    [
        (Mark(), False, True, ""),
        (Mark("agree"), False, True, "agree"),
        (Mark("both_bad", is_blind=True), False, False, "both bad (blind)"),
        (Mark("agree", is_blind=True), True, True, "left is better"),
        (Mark("agree", is_blind=True), True, False, "right is better"),
        (Mark("swap", is_blind=True), True, False, "left is better"),
        (Mark("agree"), True, True, "judged"),  # which side that was would tell what the model chose
        (Mark("tie"), True, True, "tie"),
    ],
)
def test_marks_in_words(mark: Mark, is_blind: bool, is_left_chosen: bool, text: str) -> None:
    assert describe_mark(mark, is_blind=is_blind, is_left_chosen=is_left_chosen) == text


# Agreement


def test_summary_counts_who_agrees_with_whom() -> None:
    """Decided: 3 agree, 2 swap. Gold is known of four of them: agree on right and swap on wrong are with gold (2),
    agree on wrong and swap on right against it (2); the model is right on 2 of the 4."""
    summary = summarise(
        [
            judge("agree", "right", is_blind=True),
            judge("agree", "wrong"),
            judge("agree", "unknown", is_flagged=True),
            judge("swap", "wrong", is_blind=True),
            judge("swap", "right"),
            judge("tie", "both_right"),
            judge("both_bad", "both_wrong"),
            judge("unsure", "right"),
            judge(None, "right", is_flagged=True),
        ]
    )
    assert (summary.n_judged, summary.n_flagged) == (8, 2)
    assert dict(summary.n_by_verdict) == {"agree": 3, "swap": 2, "tie": 1, "both_bad": 1, "unsure": 1}
    assert (summary.model, summary.blind, summary.sighted) == (Share(3, 5), Share(1, 2), Share(2, 3))
    assert (summary.gold, summary.model_gold) == (Share(2, 4), Share(2, 4))


def test_interval_is_wilsons() -> None:
    """8 of 10 at 95 %: (0.8 + z²/20 -+ z sqrt(0.8 * 0.2 / 10 + z²/400)) / (1 + z²/10), z = 1.96: 0.4902, 0.9433."""
    share = Share(8, 10)
    assert share.rate == 0.8
    assert share.interval == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert (Share(0, 0).rate, Share(0, 0).interval) == (None, None)


def test_halves_by_c_where_it_differs_else_by_consistency() -> None:
    by_c = summarise([judge("agree", c=0.9), judge("agree", c=0.8), judge("swap", c=0.6), judge("swap", c=0.5)])
    assert (by_c.halved_by, by_c.border) == ("C", pytest.approx(0.7))
    assert by_c.halves == (Share(0, 2), Share(2, 2))
    by_rate = summarise([judge("agree", rate=0.9), judge("swap", rate=0.2), judge("agree", rate=0.9)])
    assert (by_rate.halved_by, by_rate.halves) == ("consistency", (Share(0, 1), Share(2, 2)))
    assert summarise([judge("agree"), judge("swap")]).halves is None
    assert summarise([]).model == Share(0, 0)


@given(st.lists(st.tuples(st.sampled_from(["agree", "swap", "tie"]), st.sampled_from([0.1, 0.5, 0.9])), min_size=1))
def test_halves_part_all_decided_pairs(pairs: list[tuple[str, float]]) -> None:
    summary = summarise([judge(verdict, c=c) for verdict, c in pairs])
    if summary.halves is not None:
        low, high = summary.halves
        assert low.n_total and high.n_total
        assert low.n_total + high.n_total == summary.model.n_total
        assert low.n + high.n == summary.model.n


# Wishes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        ("landlord", False),
        ("t:1 flagged:yes -has:verdict", False),
        ("verdict:agree", True),
        ("has:tau", True),
        ("C>0.5", True),
        ("a or (label:wrong)", True),
        ("((", False),
    ],
)
def test_which_filters_tell_of_labels(text: str, expected: bool) -> None:
    wishes = PairWishes()
    wishes.set_filter(text)
    assert wishes.is_filter_telling is expected


def test_wishes_are_kept_and_taken_up_again() -> None:
    wishes = PairWishes()
    assert wishes.set_filter("tau<0") is None
    wishes.next_order()
    wishes.is_descending, wishes.iteration = True, 2
    again = PairWishes()
    again.restore(wishes.save())
    assert again.query == wishes.query
    assert again.query.where and again.query.sort == "tau" and again.query.is_descending
    assert again.write_command("my run") == "pairs 'my run' --filter 'tau<0' --iteration 2 --sort tau --descending"


def test_a_filter_without_meaning_leaves_the_last_one() -> None:
    wishes = PairWishes()
    wishes.set_filter("tau<0")
    before = wishes.query
    problem = wishes.set_filter("tau<")
    assert problem is not None and "tau" in problem
    assert wishes.query == before


def test_blind_orders_tell_nothing() -> None:
    wishes = PairWishes()
    wishes.next_order()
    wishes.set_blind(True)
    seen = {wishes.sort}
    for _ in ORDERS:
        wishes.next_order()
        seen.add(wishes.sort)
    assert seen == {"position", "flagged"}


# The ledger of marks


def write(ledger: MarkLedger, store: dict[int, Mark], pair_id: int) -> None:
    with ledger.writing:
        entry = ledger.find_newest(pair_id)
        if entry is not None:
            ticket, mark = entry
            store[pair_id] = mark
            ledger.note_written(pair_id, ticket)


def read_judged(store: dict[int, Mark]) -> list[JudgedPair]:
    return [
        JudgedPair(pair_id, 2, "p", 1, mark.verdict, mark.is_flagged, mark.is_blind, mark.note, "unknown", 0.8, 0.5)
        for pair_id, mark in store.items()
    ]


def test_a_mark_stands_at_once_and_until_it_was_read_back() -> None:
    ledger, store = MarkLedger(), dict[int, Mark]()
    ledger.set(7, Mark("agree"))
    assert ledger.get(7) == Mark("agree")
    ledger.settle(read_judged(store), ledger.list_written())  # a reading that began before it was written
    assert ledger.get(7) == Mark("agree")
    write(ledger, store, 7)
    written = ledger.list_written()
    store[7] = Mark("tie")  # somebody else, in between
    ledger.settle(read_judged(store), written)
    assert ledger.get(7) == Mark("tie")
    assert ledger.find_newest(7) is None


def test_a_reading_from_before_the_last_change_does_not_bring_the_old_mark_back() -> None:
    ledger, store = MarkLedger(), dict[int, Mark]()
    ledger.set(7, Mark("agree"))
    write(ledger, store, 7)
    written = ledger.list_written()
    before = read_judged(store)
    ledger.set(7, Mark("swap"))
    ledger.settle(before, written)
    assert ledger.get(7) == Mark("swap")
    write(ledger, store, 7)
    assert store[7] == Mark("swap")


def test_a_failed_write_is_taken_back_unless_the_person_went_on() -> None:
    ledger = MarkLedger()
    ledger.settle(read_judged({7: Mark("tie")}), {})
    ticket = ledger.set(7, Mark("agree"))
    assert ledger.take_back(7, ticket)
    assert ledger.get(7) == Mark("tie")
    old = ledger.set(7, Mark("agree"))
    ledger.set(7, Mark("swap"))
    assert not ledger.take_back(7, old)
    assert ledger.get(7) == Mark("swap")


def test_writers_of_one_pair_end_in_the_last_mark_whatever_their_order() -> None:
    ledger, store = MarkLedger(), dict[int, Mark]()
    threads = []
    for k in range(40):
        ledger.set(7, Mark("agree", note=str(k)))
        threads.append(threading.Thread(target=write, args=(ledger, store, 7)))
    for thread in reversed(threads):
        thread.start()
    for thread in threads:
        thread.join()
    assert store[7].note == "39"
    assert ledger.find_newest(7) is None


def test_a_mark_of_another_run_is_not_lost_when_its_writer_comes_late() -> None:
    """The person judges, goes to another run, whose pairs are read, and only then the thread gets to write."""
    ledger, store = MarkLedger(), dict[int, Mark]()
    ledger.set(7, Mark("agree"))
    ledger.settle(read_judged({99: Mark("tie")}), ledger.list_written())
    write(ledger, store, 7)
    assert store == {7: Mark("agree")}
