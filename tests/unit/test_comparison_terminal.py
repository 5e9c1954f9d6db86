"""The short tables of a comparison on hand-made models: blocks of models, what gives way, what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from made_arms import STUDY, build_model, build_right, build_run, build_two_tasks, make_study

from cream_tui.comparison.arms import ONE_MODEL
from cream_tui.comparison.paired import compare_arms, compare_models
from cream_tui.comparison.table import StudyTable, build_study_table
from cream_tui.comparison.terminal import (
    MOST_ROWS,
    Rows,
    build_arm_test_columns,
    build_arm_test_rows,
    build_matrices,
    build_measure_columns,
    build_measure_rows,
    build_model_test_columns,
    build_model_test_rows,
    choose_measures,
    choose_model_tests,
    fits,
    has_matrix,
    list_matrix_notes,
    list_measure_notes,
    list_test_notes,
    tell_matrix,
)
from cream_tui.output import Column, lay_out_table, measure_table
from cream_tui.views.compare import group_by_seed, split_runs

LONG = {
    "ensemble-anchored-mean": [tuple(range(5, 16)), tuple(range(7, 18))],
    "srlm": [tuple(range(16, 5, -1)), tuple(range(18, 7, -1))],
}


def draw(columns: Sequence[Column], rows: Rows, width: int | None = None) -> list[str]:
    return ["".join(cell.text for cell in line).rstrip() for line in lay_out_table(columns, rows, width=width)]


def make_table(n_seeds: int = 2) -> StudyTable:
    return build_study_table(*make_study({method: seeds[:n_seeds] for method, seeds in LONG.items()}))


@pytest.mark.parametrize(("width", "n_blocks"), [(None, 1), (160, 1), (100, 2), (80, 2), (60, 4), (45, 11), (30, 11)])
def test_a_matrix_is_cut_into_as_few_blocks_of_models_as_fit(width: int | None, n_blocks: int) -> None:
    """M0 to M10, none of them shared: each stands in one block, with the interval of the last one of its block."""
    table = make_table()
    blocks = build_matrices(table, width)
    assert len(blocks) == n_blocks
    names = [name for columns, _ in blocks for column in columns if (name := column.title).startswith("M")]
    assert names == [f"M{k}" for k in range(11)]
    for columns, rows in blocks:
        lines = draw(columns, rows, width)
        assert width is None or max(map(len, lines)) <= width
        if width is None or width >= 45:
            assert "ensemble-anchored-mean" in lines[2]
            assert lines[2].split()[-1].count("–") == 1
    shown = " ".join(word for columns, rows in blocks for word in draw(columns, rows, width)[2].split())
    assert all(f" {2.5 * (k + 6):.1f}" in shown for k in range(11))


def test_the_seeds_stand_in_a_column_only_where_they_differ() -> None:
    for n_seeds in (1, 2):
        columns, rows = build_matrices(make_table(n_seeds), None)[0]
        assert columns[-1].title == "95 % of\nthe last" and len(rows[0]) == len(columns)
    assert list_matrix_notes(make_table())[0].startswith("Mean over 2 seeds; 95 % interval: Student's t over seeds")
    arms, results = make_study({"srlm": STUDY["srlm"], "cream": STUDY["cream"][:2]})
    results["id-srlm-2"] = results["id-srlm-2"][:3]
    table = build_study_table(arms, results)
    columns, rows = build_matrices(table, None)[0]
    assert [row[-1] for row in rows] == ["2 to 3", "2"]
    assert list_matrix_notes(table)[0].startswith("Mean over seeds; ")


def test_what_is_the_same_in_all_arms_stands_above_once() -> None:
    arms, results = make_study(STUDY)
    table = build_study_table(arms, results)
    heading, shared = tell_matrix(table)
    assert heading == "Accuracy on t in %"
    assert shared == "The same in all: M0 25.0 (21.0–29.5), M1 52.5↑* (46.3–58.7)."
    ((columns, _),) = build_matrices(table, None)
    assert [column.title for column in columns] == ["", "M2", "M3", "95 % of\nthe last"]
    assert table.rows[0].cells[0] is not None and table.rows[0].cells[0].estimate.reason == ONE_MODEL
    assert "Wilson's over items of M0, one model for all seeds" in list_matrix_notes(table)[0]
    assert tell_matrix(make_table()) == ["Accuracy on t in %"]


def test_arms_that_are_alike_to_the_end_have_no_matrix() -> None:
    arms, results = make_study({"srlm": STUDY["srlm"], "cream": STUDY["srlm"]})
    table = build_study_table(arms, results)
    assert build_matrices(table, 80) == []
    assert all(f" {name} " in tell_matrix(table)[1] for name in ("M0", "M1", "M2", "M3"))


def test_a_run_that_is_called_all_is_not_taken_for_all() -> None:
    runs = [build_run("all"), build_run("other", method="srlm")]
    results = {"id-all": [build_model("M0", build_right(10)), build_model("M1", build_right(30))]}
    results["id-other"] = results["id-all"][:1]
    table = build_study_table(split_runs(runs), results)
    assert tell_matrix(table)[1].count("M") == 1
    ((columns, rows),) = build_matrices(table, None)
    assert [line.split()[:2] for line in draw(columns, rows)[2:]] == [["all", "75.0↑*"], ["other", "–"]]


def test_several_tasks_keep_the_papers_table_but_runs_have_the_average() -> None:
    runs = [build_run("a"), build_run("b", method="srlm")]
    both = build_two_tasks("M1", [True] * 3 + [False], [True] * 5 + [False] * 5)
    other = build_two_tasks("M1", [True] * 4, [True] * 5 + [False] * 5)
    table = build_study_table(split_runs(runs), {"id-a": [both], "id-b": [other]})
    assert has_matrix(table, are_runs=True) and not has_matrix(table, are_runs=False)
    assert tell_matrix(table) == ["Accuracy in %, mean over 2 tasks"]
    ((columns, rows),) = build_matrices(table, None)
    assert [line.split()[:2] for line in draw(columns, rows)[2:]] == [["a", "62.5"], ["b", "75.0"]]
    apart = build_study_table(split_runs(runs), {"id-a": [both], "id-b": [build_model("M1", [True, False])]})
    assert not has_matrix(apart, are_runs=True)  # no run has all three tasks, so there is no average to show


def test_measures_are_of_every_iteration_or_of_each_arms_newest() -> None:
    """The newest iteration that two seeds have: M2 of b stands in one of them."""
    arms, results = make_study(dict.fromkeys(("a", "b"), STUDY["srlm"]), dict.fromkeys(("a", "b"), (0.8, 0.9, 0.7)))
    table = build_study_table(arms, results)
    assert choose_measures(table) == table.measures and len(table.measures) == 4
    many = replace(table, measures=table.measures * MOST_ROWS)
    assert [(row.arm, row.model) for row in choose_measures(many)] == [("a", "M2"), ("b", "M2")]
    for seed in (1, 2):
        results[f"id-b-{seed}"][2] = replace(results[f"id-b-{seed}"][2], measures={})
    table = build_study_table(arms, results)
    many = replace(table, measures=table.measures * MOST_ROWS)
    assert [(row.arm, row.model, row.n_seeds) for row in choose_measures(many)] == [("a", "M2", 3), ("b", "M1", 3)]


def test_measures_lose_their_intervals_where_the_terminal_is_narrow() -> None:
    arms, results = make_study({"srlm": STUDY["srlm"]}, {"srlm": (0.8, 0.9, 0.7)})
    measured = choose_measures(build_study_table(arms, results))
    columns, rows = build_measure_columns(measured), build_measure_rows(measured)
    wide = measure_table(columns, rows)
    assert fits(columns, rows, None) and fits(columns, rows, wide) and not fits(columns, rows, wide - 1)
    assert rows[0][2] == "80.0 [55.2, 100.0]"
    bare = build_measure_rows(measured, has_intervals=False)
    assert [row[2:4] for row in bare] == [["80.0", "–"], ["40.0", "+0.90"]]
    assert list_measure_notes(measured)[0].startswith("Mean over 3 seeds with its 95 % interval by Student's t")
    assert list_measure_notes(measured, has_intervals=False)[0].startswith("Mean over 3 seeds. Of the pairs")
    assert list_measure_notes([]) == []


def test_an_arm_against_itself_is_one_row() -> None:
    """cream ends at its best, so that M2 is the best before; random was never better than at M1."""
    arms, results = make_study(
        {"cream": STUDY["cream"], "random": [(10, 20, 12, 11), (10, 22, 13, 12), (10, 21, 14, 11)]}
    )
    tests = compare_models(arms, results)
    rows = build_model_test_rows(tests)
    lines = [line.split() for line in draw(build_model_test_columns(), rows)[2:]]
    by_pair = {(one.first, one.second_model): one for one in tests}
    for line in lines:
        assert line[1:3] == ["M3", "M1"]
        mean = by_pair[line[0], "M1"].difference
        assert mean is not None and line[3].rstrip("*") == f"{100 * mean.mean:+.1f}".replace("-", "−")
    assert len(by_pair) == 3 and len(lines) == 2
    best = by_pair["cream", "M2"].difference
    assert best is not None and best.mean == pytest.approx(7 / 40)
    assert [line.count("M2") for line in lines] == [1, 0]
    assert lines[0][lines[0].index("M2") + 1] == "+17.5*"
    assert lines[1][-3:] == ["M1", "3", "400"]
    assert any(note.startswith("Best: ") for note in list_test_notes(tests))


def test_many_arms_against_themselves_are_left_to_files() -> None:
    arms, results = make_study({"srlm": STUDY["srlm"]})
    tests = compare_models(arms, results)
    most = [replace(test, first=f"arm-{k}") for k in range(MOST_ROWS) for test in tests]
    assert choose_model_tests(most) == most and len(build_model_test_rows(most)) == MOST_ROWS
    assert choose_model_tests([*most, *tests]) == ()


@pytest.mark.parametrize("width", [80, 100, 120])
def test_details_of_tests_give_way_before_names(width: int) -> None:
    arms, results = make_study(
        dict.fromkeys(("ensemble-anchored-mean", "ensemble-anchored-min"), STUDY["srlm"]) | {"cream": STUDY["cream"]}
    )
    own, others = compare_models(arms, results), compare_arms(arms, results)
    for columns, rows in (
        (build_model_test_columns(), build_model_test_rows(own)),
        (build_arm_test_columns(), build_arm_test_rows(others)),
    ):
        lines = draw(columns, rows, width)
        assert max(map(len, lines)) <= width
        assert "…" not in "".join(lines) and lines[2].startswith("ensemble-anchored-m")
        assert lines[1].count("interval") in (0, lines[1].count("points"))


def test_single_runs_are_told_their_test() -> None:
    arms, results = make_study({"srlm": [(10, 20)], "cream": [(10, 30)]})
    (note,) = list_test_notes(compare_arms(arms, results))
    assert "of one seed by exact McNemar" in note and "bootstrap" not in note and "t:" not in note
    notes = list_matrix_notes(build_study_table(group_by_seed([arm.runs[0] for arm in arms]), results))
    assert notes[0] == "95 % interval: Wilson's over items of one seed, which says nothing of other seeds."
    assert notes[1].endswith("(exact McNemar).")
