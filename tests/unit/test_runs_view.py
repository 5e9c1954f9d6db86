"""The list of runs without a screen: rows, edits, groups, columns, cells, what is told of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import FACTS, NOW, RECORDS, RUNS, build_records, make_run

from cream_tui.output import measure
from cream_tui.readers.run_details import RunDetail
from cream_tui.readers.run_forks import count_fork_verdicts, describe_fork
from cream_tui.readers.run_records import RunFacts
from cream_tui.readers.run_tables import RunTable
from cream_tui.views.columns import Column, cut_middle, find_difference, fit, lay_out
from cream_tui.views.run_columns import COLUMNS, build_cells
from cream_tui.views.run_edits import Edit
from cream_tui.views.run_pane import build_group_pane, build_run_pane, build_summary
from cream_tui.views.run_rows import GroupRow, Row, RunRow
from cream_tui.views.runs import RunList, parse_tag_change, split_list
from db.rows import RunRow as StoredRun
from engine.errors import ConfigError
from engine.plan import JudgedPairs
from engine.records import PairVerdict
from engine.runtime.lineage import Lineage, write_lineage


def make_table(at: float = NOW, facts: RunFacts = FACTS, **left_s: float) -> RunTable:
    return RunTable(tuple(RECORDS), facts, at, left_s)


@pytest.fixture
def runs() -> RunList:
    made = RunList()
    made.take(make_table())
    return made


def names(runs: RunList) -> list[str]:
    return [row.record.run.name if isinstance(row, RunRow) else row.key for row in runs.rows]


def find_row(runs: RunList, key: str) -> Row:
    return next(row for row in runs.rows if row.key == key)


def cells(row: Any) -> dict[str, str]:
    built = build_cells(row)
    return {column.key or column.title: cell.text for column, cell in zip(COLUMNS, built.cells, strict=True)}


# Filter, order, groups


def test_rows_come_newest_first_until_sorted(runs: RunList) -> None:
    assert names(runs) == ["sweep-2", "sweep-10", "lost", "child"]
    runs.sort_by("accuracy")
    assert (names(runs), runs.is_descending) == (["sweep-2", "child", "sweep-10", "lost"], True)
    runs.sort_by("accuracy")
    assert names(runs) == ["sweep-10", "child", "sweep-2", "lost"]
    runs.sort_by("name")
    assert names(runs) == ["child", "lost", "sweep-2", "sweep-10"]
    runs.sort_by("state")
    assert names(runs) == ["lost", "child", "sweep-2", "sweep-10"]


def test_a_term_without_meaning_is_told_and_the_others_count(runs: RunList) -> None:
    assert not runs.set_filter("method:srlm acuracy>1")
    assert runs.problem is not None and "did you mean accuracy?" in runs.problem.message
    assert names(runs) == ["sweep-10", "lost"]
    assert runs.set_filter("method:srlm")
    assert runs.problem is None
    runs.set_filter("method:srlm (")
    assert names(runs) == ["sweep-10", "lost"]


def test_a_key_that_is_being_typed_hides_nothing(runs: RunList) -> None:
    runs.set_filter("method:srlm acc")
    assert names(runs) == [], "typed to its end it is a word like any other, as on the command line"
    runs.is_typing = True
    runs.set_filter("method:srlm acc")
    assert names(runs) == ["sweep-10", "lost"]
    runs.set_filter("method:srlm be")  # of training.beta
    assert names(runs) == ["sweep-10", "lost"]
    runs.set_filter("method:srlm xyz")
    assert names(runs) == []
    runs.set_filter("sweep")
    assert names(runs) == ["sweep-2", "sweep-10"]


def test_what_is_not_read_yet_is_waited_for() -> None:
    runs = RunList()
    runs.take(make_table(facts=RunFacts()))
    assert runs.set_filter("beta<=1 loss<0.5")
    assert runs.is_waiting and runs.other_keys == ("beta", "loss")
    assert len(runs.rows) == 4
    runs.take(make_table(facts=replace(FACTS, metrics={})))
    assert runs.is_waiting  # the metric has a name, but no values yet
    runs.take(make_table())
    assert not runs.is_waiting
    assert names(runs) == ["sweep-2"]
    runs.take(make_table(facts=RunFacts()))
    assert names(runs) == ["sweep-2"], "facts once read stay"


def test_groups_fold(runs: RunList) -> None:
    runs.group_by(["method", "beta"])
    assert runs.group_keys == ("method", "training.beta")
    heads = [row for row in runs.rows if isinstance(row, GroupRow)]
    assert [(head.group.values, len(head.group.runs)) for head in heads] == [
        ((("method", "cream"), ("training.beta", "0.1")), 1),
        ((("method", "srlm"), ("training.beta", "2")), 2),
        ((("method", "oracle"), ("training.beta", "none")), 1),
    ]
    assert len(runs.rows) == 7
    runs.toggle_fold(heads[1].key)
    assert len(runs.rows) == 5
    runs.take(make_table())
    assert len(runs.rows) == 5, "a reading leaves it folded"
    runs.toggle_fold(heads[1].key)
    assert len(runs.rows) == 7
    with pytest.raises(ConfigError, match="there is no such key"):
        runs.group_by(["methd"])
    assert runs.check_group_keys("method, bta") == "bta: there is no such key; did you mean beta?"
    assert runs.check_group_keys("") is None


def test_candidates_are_keys_in_which_runs_differ(runs: RunList) -> None:
    candidates = runs.list_group_candidates()
    assert candidates[:2] == ["method", "seed"]
    assert "training.beta" in candidates
    assert "iterations" not in candidates


def test_values_on_offer_are_those_of_the_store(runs: RunList) -> None:
    values = runs.list_values()
    assert values["tag"] == ["Sweep", "best", "sweep"]
    assert values["method"] == ["cream", "oracle", "srlm"]
    assert values["parent"] == ["sweep-2"]


# Selection and edits


def test_selection(runs: RunList) -> None:
    runs.toggle(["id-lost"])
    assert [record.run.name for record in runs.list_chosen(find_row(runs, "id-child"))] == ["lost"]
    runs.set_filter("sweep")
    runs.select_all()
    assert runs.selected == {"id-lost", "id-sweep-2", "id-sweep-10"}
    assert [record.run.name for record in runs.list_chosen(None)] == ["sweep-2", "sweep-10", "lost"]
    runs.select_all()
    assert runs.selected == {"id-lost"}
    runs.select_none()
    assert [record.run.name for record in runs.list_chosen(find_row(runs, "id-sweep-10"))] == ["sweep-10"]
    assert runs.list_chosen(None) == []


def test_a_removed_run_is_not_selected_any_more(runs: RunList) -> None:
    runs.toggle(["id-lost", "id-child"])
    runs.take(RunTable(tuple(RECORDS[:3]), FACTS, NOW))
    assert runs.selected == {"id-lost"}


def test_an_edit_shows_until_a_reading_has_it(runs: RunList) -> None:
    runs.edit(["id-lost"], Edit(NOW, tags=("new",), note="n"))
    runs.edit(["id-lost"], Edit(NOW, is_baseline=True))
    record = runs.find("id-lost")
    assert record is not None and (record.run.tags, record.run.note, record.run.is_baseline) == (("new",), "n", True)
    runs.take(make_table(NOW + 1))
    assert runs.find("id-lost") == record, "an old reading does not take it back"
    runs.take(make_table(NOW + 6))
    assert runs.find("id-lost") == RECORDS[2], "somebody else has the last word"
    runs.edit(["id-lost"], Edit(NOW + 6, note="m"))
    runs.forget_edits(["id-lost"])
    runs.take(make_table(NOW + 6))
    assert runs.find("id-lost") == RECORDS[2]


@pytest.mark.parametrize(
    ("text", "former", "after"),
    [
        ("a, b", ("x",), ("a", "b")),
        ("", ("x",), ()),
        ("+a, -x", ("x", "y"), ("a", "y")),
        ("a, -x", ("x",), ("a",)),
        ("b, a, a ,", (), ("a", "b")),
        ("two words", (), ("two words",)),
        ("+", ("x",), ("x",)),
    ],
)
def test_tag_changes(text: str, former: tuple[str, ...], after: tuple[str, ...]) -> None:
    assert parse_tag_change(text, former) == after


def test_split_list() -> None:
    assert split_list(" a, ,b ,") == ["a", "b"]


# What is kept and what is told


def test_the_view_is_kept_and_nonsense_is_left_out(runs: RunList) -> None:
    runs.set_filter("method:srlm")
    runs.sort_by("accuracy")
    runs.group_by(["beta"])
    other = RunList()
    other.restore(runs.save())
    other.take(make_table())
    assert names(other) == names(runs)
    other.restore({"filter": 3, "sort": None, "group": "method", "descending": "yes"})
    assert other.save() == runs.save() | {"descending": False}


def test_the_command_shows_the_same(runs: RunList) -> None:
    assert runs.describe_command() == "ls"
    runs.set_filter('method:srlm "a b"')
    runs.sort_by("accuracy")
    runs.group_by(["beta"])
    assert (
        runs.describe_command()
        == "ls --filter 'method:srlm \"a b\"' --sort accuracy --descending --group training.beta"
    )


def test_the_table_to_export_has_what_the_filter_leaves(runs: RunList) -> None:
    runs.set_filter("sweep")
    runs.group_by(["beta"])
    keys, rows = runs.tabulate()
    assert "training.beta" in keys
    assert [row[keys.index("name")] for row in rows] == ["sweep-2", "sweep-10"]
    assert rows[0][keys.index("tag")] == "best, Sweep"
    assert rows[1][keys.index("C")] is None


def test_counts(runs: RunList) -> None:
    assert (runs.describe_view(), runs.describe_states()) == ("4 runs", "1 stale")
    runs.set_filter("sweep")
    assert runs.describe_view() == "2 of 4"
    runs.take(RunTable((), FACTS, NOW))
    assert runs.describe_states() == "no run is live"


# Columns


def test_columns_fold_by_rank_and_flexible_ones_take_the_rest() -> None:
    """Widths 4 + 6 + 5 and two gaps are 17; at 16 the column of rank 1 goes, and 16 - 11 = 5 cells are left over."""
    columns = [Column("a", "a", 4, most=12), Column("b", "b", 6), Column("c", "c", 5, rank=1)]
    assert [(place.index, place.x, place.width) for place in lay_out(columns, 17)] == [(0, 0, 4), (1, 5, 6), (2, 12, 5)]
    assert [(place.index, place.x, place.width) for place in lay_out(columns, 16)] == [(0, 0, 9), (1, 10, 6)]
    assert [place.width for place in lay_out(columns, 5)] == [4, 6], "rank 0 never leaves"


def test_columns_leave_for_the_wish_of_another_and_without_room_it_has_its_width() -> None:
    columns = [Column("a", "a", 4, most=9, wish=9), Column("b", "b", 6), Column("c", "c", 5, rank=1)]
    assert [(place.index, place.width) for place in lay_out(columns, 22)] == [(0, 9), (1, 6), (2, 5)]
    assert [(place.index, place.width) for place in lay_out(columns, 21)] == [(0, 9), (1, 6)]
    assert [(place.index, place.width) for place in lay_out(columns, 13)] == [(0, 6), (1, 6)]


@given(st.integers(20, 250))
def test_the_columns_of_runs_fit_every_width_from_56_on(width: int) -> None:
    places = lay_out(COLUMNS, width)
    assert max(place.x + place.width for place in places) <= max(width, 35)
    assert {"state", "name", "progress", "accuracy"} <= {COLUMNS[place.index].key for place in places}


@given(st.text(), st.integers(1, 12))
def test_a_text_fits_its_cell(text: str, width: int) -> None:
    from cream_tui.text import make_visible

    shown = make_visible(text)
    assert measure(cut_middle(shown, width)) <= width
    for align in ("left", "right"):
        assert measure(fit(shown, width, Column("", "", width, align))) == width  # type: ignore[arg-type]


def test_names_keep_both_ends() -> None:
    assert cut_middle("cream-7b-sweep-lr5e-7", 13) == "cream-…lr5e-7"
    assert (
        cut_middle("日本語日本語", 7) == "日本…語"
    )  # (7 - 1) // 2 = 3 cells hold one of the tail, the other 4 two of the head
    assert cut_middle("short", 5) == "short"


def test_only_what_differs_is_painted() -> None:
    old = (("ab", ""), ("cd", "x"), ("ef", ""))
    assert find_difference(old, (("ab", ""), ("cz", "x"), ("ef", "")), 10) == (2, 4)
    assert find_difference(old, (("ab", ""), ("cd", "y"), ("eg", "")), 10) == (2, 6)
    assert find_difference(old, (("ab", ""), ("cde", "x"), ("ef", "")), 10) == (2, 10)
    assert find_difference(old, (), 10) == (0, 10)


# Cells


def test_cells_of_a_run(runs: RunList) -> None:
    runs.toggle(["id-child"])
    by_name = {row.record.run.name: cells(row) for row in runs.rows if isinstance(row, RunRow)}
    assert by_name["sweep-2"]["accuracy"] == "75.0"
    assert (by_name["sweep-2"]["C"], by_name["sweep-2"]["tau"], by_name["sweep-2"]["anchor"]) == ("0.95", "+0.90 ", "–")
    assert by_name["sweep-2"]["iteration"] == "M4"
    assert by_name["sweep-2"]["age"] == "12h"
    assert (by_name["lost"]["state"], by_name["lost"]["iteration"], by_name["lost"]["progress"]) == (
        "? stale",
        "M2",
        "40%",
    )
    assert by_name["child"]["state"] == "✗ fail"
    marks = [build_cells(row).cells[0].text for row in runs.rows]
    assert marks == ["   ", "   ", "  !", "■◆!"]


def test_undefined_taus_alone_are_told_without_a_mark() -> None:
    sound, lost = replace(build_records(RUNS)[0], warnings=("undefined taus",), undefined_share=0.24), RECORDS[2]
    row = RunRow(sound, is_selected=False, left_s=None)
    assert "!" not in build_cells(row).cells[0].text
    assert "24 % of taus undefined" in [
        "".join(cell.text for cell in line) for line in build_run_pane(row, None, 38, 20)
    ]
    assert "!" in build_cells(RunRow(lost, is_selected=False, left_s=None)).cells[0].text


def test_a_tau_to_a_stand_in_is_marked() -> None:
    runs = RunList()
    runs.take(RunTable(tuple(build_records([make_run("a", tau_previous=0.5, tau_iteration=1)])), FACTS, NOW))
    assert cells(runs.rows[0])["tau"] == "+0.50*"


def test_cells_of_a_group(runs: RunList) -> None:
    runs.group_by(["method"])
    built = build_cells(runs.rows[2])
    assert built.label is not None and built.label.text == "▼ method srlm (2)"
    assert cells(runs.rows[2])["accuracy"] == "65.4"


def test_foreign_texts_are_made_visible() -> None:
    nasty = make_run("a\x1b[2J\u202eb", method="m\x9b", tags=("t\x07",), note="n\x1b", error="e\x1b\nsecond")
    runs = RunList()
    runs.take(RunTable(tuple(build_records([replace(nasty, state="failed")])), FACTS, NOW))
    (row,) = runs.rows
    assert isinstance(row, RunRow)
    lines = build_run_pane(row, make_detail(nasty.run_id), 40, 40)
    shown = [cell.text for cell in build_cells(row).cells] + [cell.text for line in lines for cell in line]
    shown += [cell.text for cell in build_summary(row, None)]
    assert not any(bad in text for text in shown for bad in ("\x1b", "\x9b", "\u202e", "\x07", "\n"))
    runs.group_by(["name"])
    (head, _) = runs.rows
    assert isinstance(head, GroupRow)
    label = build_cells(head).label
    assert label is not None and "\x1b" not in label.text
    assert not any("\x1b" in cell.text for line in build_group_pane(head) for cell in line)


# Close up


def make_detail(run_id: str, **values: Any) -> RunDetail:
    stored = StoredRun(
        **dict.fromkeys(StoredRun.__dataclass_fields__) | {"run_id": run_id, "fork_at": "M2", "lineage_json": "{}"}
    )  # type: ignore[arg-type]
    detail = RunDetail(stored, {}, (), "", {}, (), None, ())
    return replace(detail, **values)


def write_judged_lineage(*sizes: int) -> str:
    """As a fork keeps it that was given so many verdicts on the pairs of each iteration."""
    judged = {
        t: JudgedPairs("sample", tuple(PairVerdict(f"p{k}", "swap", 0, 1) for k in range(n)))
        for t, n in enumerate(sizes, 1)
    }
    return write_lineage(Lineage(judged=judged))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"verdicts": null}', '{"verdicts": [1, {"pairs": 2}, {}]}'])
def test_a_lineage_without_verdicts_counts_none(text: str) -> None:
    assert count_fork_verdicts(text) == 0
    assert describe_fork("a", "M2", text) == "a at M2"


def test_one_verdict_is_no_plural() -> None:
    assert describe_fork("a", "M2", write_judged_lineage(1)) == "a at M2 with 1 verdict"


def tell(row: Any, detail: RunDetail | None, width: int = 38, height: int = 30) -> list[str]:
    return ["".join(cell.text for cell in line).rstrip() for line in build_run_pane(row, detail, width, height)]


def test_the_pane_tells_of_models_differences_and_the_log() -> None:
    runs = RunList()
    runs.take(make_table(**{"id-sweep-2": 30.0}))
    detail = make_detail(
        "id-sweep-2",
        figures={"accuracy": {0: 0.0, 1: 0.5, 2: 1.0}, "tau_anchor": {1: 0.5}},
        settings={"training.beta": 0.1, "training.learning_rate": 1e-6, "sampling.n": 5},
        differences=(("training.beta", 2.0, 0.1), ("method.agreement.measure", None, "kendall")),
        baseline="sweep-10",
        log=tuple(f"line {n}" for n in range(50)),
    )
    lines = tell(runs.rows[0], detail, height=20)
    assert lines[:3] == [
        "✓ done  M4 of M4  30 s left",
        "method    cream, seed 0",
        "config    beta 0.1  lr 1e-6  N 5",
    ]
    assert "accuracy  ▁▅█  0.0 → 100.0  M0–M2" in lines
    assert "anchor    ▅    +0.50  M1" in lines
    at = lines.index("2 settings differ from sweep-10")
    assert lines[at + 1 : at + 3] == ["training.beta 2 → 0.1", "agreement.measure – → kendall"]
    assert lines[-1] == "line 49"
    assert len(lines) == 20
    assert max(map(measure, lines)) <= 38


def test_the_pane_of_a_run_in_trouble() -> None:
    runs = RunList()
    runs.take(RunTable(tuple(build_records([RUNS[2], replace(RUNS[3], error="no memory\nuse less")])), FACTS, NOW))
    lost, child = runs.rows
    assert {"! small change", "50 % of taus undefined"} <= set(tell(lost, None)), "only the first is a reason for !"
    assert "its process is gone; R goes on" in tell(lost, None)
    assert "note      why did it stop?" in tell(lost, None)
    assert tell(child, None)[-2:] == ["no memory", "use less"]
    assert "fork of   id-sweep-2 at M2" in tell(child, make_detail("id-child"))
    judged = make_detail("id-child")
    judged = replace(judged, run=replace(judged.run, lineage_json=write_judged_lineage(3, 9)))
    assert "fork of   id-sweep-2 at M2 with 12 verdicts" in tell(child, judged, width=60)
    narrow = tell(child, judged)
    at = narrow.index("fork of   id-sweep-2 at M2 with 12")
    assert narrow[at + 1] == "          verdicts", "the number is not cut away"
    assert isinstance(child, RunRow)
    assert "".join(cell.text for cell in build_summary(child, None)) == "child  ! failed  no memory⏎use less"
