"""Studies within the list of runs, without a screen: rows, folds, order, counts, time left, what is told of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_runs import NOW, build_records, make_run

from cream_tui.readers.run_records import RunFacts, RunRecord
from cream_tui.readers.run_tables import RunTable
from cream_tui.readers.study_records import WAITING, StudyRecord, build_study_records
from cream_tui.views.run_columns import COLUMNS, build_cells
from cream_tui.views.run_rows import ArmRow, Row, RunRow, StudyLine
from cream_tui.views.runs import RunList
from cream_tui.views.studies import estimate_study_left, find_arm_state, tell_counts, tell_size
from cream_tui.views.study_pane import build_arm_pane, build_head_summary, build_study_pane
from db.rows import Lease
from db.studies import StudyArm, StudyRow

# An hour ago a study of two arms with two seeds began; a third arm has one seed. Two runs are none of its.
RUNS = [
    make_run("q-cream-s1", seed=1, created_at=NOW - 1000, accuracy=0.7, started_at=NOW - 1000, finished_at=NOW - 700),
    make_run("after", method="srlm", created_at=NOW - 1500, accuracy=0.9),
    make_run("q-cream-s0", created_at=NOW - 2000, accuracy=0.6, started_at=NOW - 2000, finished_at=NOW - 1900),
    make_run("q-oracle-s0", method="oracle", state="failed", created_at=NOW - 3000, accuracy=0.8, error="nan\x1b[2J"),
    make_run("before", method="srlm", created_at=NOW - 9000, accuracy=0.5),
]
MATRIX = [("cream", 0), ("cream", 1), ("srlm", 0), ("srlm", 1), ("oracle", 0)]


def make_study(name: str = "q", *, state: str = "running", jobs: int = 2, at: float = NOW - 3600) -> StudyRecord:
    found = {run.name: run for run in RUNS}
    arms = []
    for place, (method, seed) in enumerate(MATRIX):
        run = found.get(f"{name}-{method}-s{seed}")
        run_id, run_state = (None, None) if run is None else (run.run_id, run.state)
        error = None if run is None else run.error
        arms.append(
            StudyArm(f"id-{name}", place, method, method, seed, f"{name}-{method}-s{seed}", run_id, run_state, error)
        )
    lease = Lease(f"id-{name}", "t", 1, 1, "host", NOW) if state == "running" else None
    row = StudyRow(f"id-{name}", name, "{}", jobs, at, None if lease else at + 9, None, None, lease)
    runs = {run.run_id: record for run, record in zip(RUNS, build_records(RUNS), strict=True)}
    (record,) = build_study_records([(row, tuple(arms))], runs, now=NOW)
    return replace(record, state=state)


def make_table(*studies: StudyRecord) -> RunTable:
    owners = {run_id: study.study.name for study in studies for run_id in study.run_ids}
    records = tuple(replace(record, study=owners.get(record.run.run_id)) for record in build_records(RUNS))
    return RunTable(records, RunFacts(), NOW, {}, studies)


@pytest.fixture
def runs() -> RunList:
    made = RunList()
    made.take(make_table(make_study()))
    return made


def name(row: Row) -> str:
    match row:
        case StudyLine():
            return f"[{row.study.study.name}]"
        case ArmRow():
            return f"<{row.title}>"
        case RunRow():
            return row.record.run.name
    raise AssertionError(row)


def names(runs: RunList) -> list[str]:
    return [name(row) for row in runs.rows]


def unfold(runs: RunList, *heads: str) -> None:
    for head in heads:
        runs.toggle_fold(next(row.key for row in runs.rows if name(row) == head))


def read_cells(row: Row) -> tuple[dict[str, str], str]:
    built = build_cells(row)
    label = "" if built.label is None else built.label.text
    return {column.key: cell.text for column, cell in zip(COLUMNS, built.cells, strict=True)}, label


# Rows


def test_a_study_is_one_row_in_the_place_of_its_newest_run(runs: RunList) -> None:
    assert names(runs) == ["[q]", "after", "before"]
    unfold(runs, "[q]")
    assert names(runs) == ["[q]", "<cream>", "<srlm>", "q-oracle-s0", "after", "before"], "an arm of one seed is a run"
    unfold(runs, "<cream>")
    assert [read_cells(row)[0]["name"].strip() for row in runs.rows[2:4]] == ["s0", "s1"], "what tells them apart"
    assert names(runs)[:4] == ["[q]", "<cream>", "q-cream-s0", "q-cream-s1"], "as in the study, not by age"
    assert [row.depth for row in runs.rows if isinstance(row, RunRow)] == [2, 2, 1, 0, 0]
    assert runs.describe_view() == "1 study   5 runs"
    unfold(runs, "[q]")
    assert names(runs) == ["[q]", "after", "before"]


def test_no_run_is_missing_or_shown_twice(runs: RunList) -> None:
    unfold(runs, "[q]", "<cream>")
    shown = [row.key for row in runs.rows if isinstance(row, RunRow)]
    assert sorted(shown) == sorted(run.run_id for run in RUNS)


def test_a_study_that_has_started_no_run_stands_by_its_age(runs: RunList) -> None:
    young = make_study("young", at=NOW - 1200)
    runs.take(make_table(young, make_study()))
    assert names(runs) == ["[q]", "[young]", "after", "before"]
    runs.sort_by("age")
    assert names(runs)[-1] == "[young]"
    runs.sort_by("accuracy")
    assert names(runs) == ["after", "[q]", "before", "[young]"]
    runs.set_filter("accuracy>0")
    assert "[young]" not in names(runs)


def test_an_order_sorts_studies_by_their_first_run_and_arms_by_their_means(runs: RunList) -> None:
    unfold(runs, "[q]", "<cream>")
    runs.sort_by("accuracy")
    expected = ["after", "[q]", "q-oracle-s0", "<cream>", "q-cream-s1", "q-cream-s0", "<srlm>", "before"]
    assert names(runs) == expected, "the mean of cream is 0.65, the arm without a run comes last"
    runs.sort_by("accuracy")
    assert names(runs) == ["before", "[q]", "<cream>", "q-cream-s0", "q-cream-s1", "q-oracle-s0", "<srlm>", "after"]
    runs.sort_by("name")
    assert names(runs)[2:6] == ["[q]", "<cream>", "q-cream-s0", "q-cream-s1"]


def test_a_filter_shows_what_it_finds_and_leaves_folds_as_they_were(runs: RunList) -> None:
    runs.set_filter("method:cream,oracle accuracy<0.65")
    assert names(runs) == ["[q]", "<cream>", "q-cream-s0"]
    cells, _ = read_cells(runs.rows[1])
    assert (cells["name"], cells["accuracy"]) == ("  ▼ cream (1 of 2)", "65.0"), "the mean is of all its runs"
    assert "1 of 3 shown" in read_cells(runs.rows[0])[1]
    assert isinstance(runs.rows[0], StudyLine) and isinstance(runs.rows[1], ArmRow)
    told = "\n".join("".join(cell.text for cell in cells) for cells in build_study_pane(runs.rows[0], 60, 30))
    assert "filter: 1 of 3 shown; means of all" in told and "srlm" in told
    told = "\n".join("".join(cell.text for cell in cells) for cells in build_arm_pane(runs.rows[1], 60, 30))
    assert "filter: 1 of 2 shown; means of all" in told and "means over 2 of 2 seeds" in told
    unfold(runs, "[q]")
    assert names(runs) == ["[q]"]
    runs.set_filter("state:failed")
    assert names(runs) == ["[q]"], "a person folded it while filtering"
    runs.set_filter("")
    assert names(runs) == ["[q]", "after", "before"]
    runs.set_filter("study:q")
    assert runs.describe_view() == "1 study   3 of 5"
    runs.set_filter("has:study -study:x q")
    assert len(runs.matching) == 3, "a word finds the name of the study, too"
    runs.set_filter("-has:study")
    assert names(runs) == ["after", "before"]


def test_groups_take_the_place_of_studies(runs: RunList) -> None:
    runs.group_by(["study"])
    assert [row.key for row in runs.rows if not isinstance(row, RunRow)] == ["group study=q", "group study=none"]
    assert sum(isinstance(row, RunRow) for row in runs.rows) == 5
    runs.group_by([])
    assert names(runs)[0] == "[q]"


def test_heads_select_and_stand_for_their_runs(runs: RunList) -> None:
    unfold(runs, "[q]")
    line, arm = runs.rows[0], runs.rows[1]
    assert [r.run.name for r in runs.list_chosen(line)] == ["q-cream-s0", "q-cream-s1", "q-oracle-s0"]
    assert [r.run.name for r in runs.list_chosen(arm)] == ["q-cream-s0", "q-cream-s1"]
    assert isinstance(arm, ArmRow)
    runs.toggle(record.run.run_id for record in arm.runs)
    assert [row.is_selected for row in runs.rows[:4] if not isinstance(row, RunRow)] == [False, True, False]
    assert read_cells(runs.rows[1])[0][""] != "■", "the last column without a key is the time left"
    assert build_cells(runs.rows[1]).cells[0].text == "■"
    unfold(runs, "[q]")
    assert [r.run.name for r in runs.list_chosen(None)] == ["q-cream-s0", "q-cream-s1"], "folded ones stay selected"


def test_the_place_of_a_run_is_the_head_that_hides_it(runs: RunList) -> None:
    assert runs.find_place("id-q-cream-s0") == "study id-q"
    unfold(runs, "[q]")
    assert runs.find_place("id-q-cream-s0") == "arm id-q cream"
    unfold(runs, "<cream>")
    assert runs.find_place("id-q-cream-s0") == "id-q-cream-s0"
    assert runs.find_place("id-nobody") == "id-nobody"


def test_a_named_study_is_shown_whatever_hides_it(runs: RunList) -> None:
    runs.set_filter("before")
    runs.group_by(["method"])
    assert runs.show_study("id-q") == "study id-q"
    assert names(runs)[:2] == ["[q]", "<cream>"]
    runs.show_study("id-q")
    assert names(runs)[:2] == ["[q]", "<cream>"], "again leaves it unfolded"


def test_unfolded_studies_are_found_again(runs: RunList) -> None:
    unfold(runs, "[q]")
    saved = runs.save()
    again = RunList()
    again.restore(saved)
    again.take(make_table(make_study()))
    assert names(again) == names(runs)
    again.restore({"unfolded": "id-q"})
    again.restore({"unfolded": [1, "group x"]})
    assert names(again) == names(runs), "what makes no sense is left out"


# Words and figures


def test_counts_and_sizes() -> None:
    study = make_study()
    assert study.states == ("done", "done", WAITING, WAITING, "failed")
    assert tell_counts(study.states) == "2/5 done, 1 failed, 2 to go"
    assert tell_counts(("done",)) == "1/1 done"
    assert tell_size(study) == "5 runs", "3 arms and 2 seeds are no matrix"
    assert tell_size(replace(study, arms=study.arms[:4])) == "2 arms × 2 seeds"
    assert tell_size(replace(study, arms=study.arms[:1])) == "1 arm × 1 seed"
    assert [find_arm_state(states) for states in (("done", "failed"), ("done", "running", WAITING), ("done",))] == [
        "failed",
        "running",
        "done",
    ]


def test_the_time_left_is_shared_out_over_the_runs_that_work_at_once() -> None:
    """Finished runs took 100 s and 300 s, so 200 s; one works for 50 s more, two wait: 450 s for two at a time."""
    records: dict[str, RunRecord] = {record.run.run_id: record for record in build_records(RUNS)}
    study = make_study(jobs=2)
    live = replace(records["id-q-oracle-s0"], state="running")
    runs = {**records, "id-q-oracle-s0": live}
    assert estimate_study_left(study, runs, {"id-q-oracle-s0": 50.0}) == pytest.approx(225.0)
    assert estimate_study_left(study, runs, {"id-q-oracle-s0": 500.0}) == pytest.approx(500.0), "none ends before it"
    assert estimate_study_left(make_study(jobs=9), runs, {"id-q-oracle-s0": 50.0}) == pytest.approx(150.0)
    half = replace(live, run=replace(live.run, fraction_done=0.25))
    assert estimate_study_left(study, {**runs, "id-q-oracle-s0": half}, {}) == pytest.approx(275.0)
    assert estimate_study_left(make_study(state="stopped"), runs, {}) is None
    unknown = {key: record for key, record in runs.items() if record.state != "done"}
    assert estimate_study_left(study, unknown, {"id-q-oracle-s0": 50.0}) is None, "nothing says what the others take"


def test_the_row_of_a_study_says_how_far_it_is(runs: RunList) -> None:
    cells, label = read_cells(runs.rows[0])
    assert label == "▶ q  2/5 done, 1 failed, 2 to go  60 %  3:20 left  5 runs"
    assert cells["state"] == "● run"
    unfold(runs, "[q]")
    cells, label = read_cells(runs.rows[1])
    assert (cells["name"], cells["seed"], cells["progress"], cells["accuracy"]) == ("  ▶ cream", "×2", "100%", "65.0")
    assert read_cells(runs.rows[2])[0]["state"] == "· to go"
    assert read_cells(runs.rows[3])[0]["name"] == "  oracle-s0"


def test_the_pane_tells_arms_and_what_went_wrong(runs: RunList) -> None:
    line = runs.rows[0]
    assert isinstance(line, StudyLine)
    text = "\n".join("".join(cell.text for cell in cells) for cells in build_study_pane(line, 38, 30))
    counts = "2/5 done, 1 failed, 2 to go"
    for words in ("● running  60 %", counts, "at once   2", "about 3:20", "65.0", "oracle seed 0"):
        assert words in text
    assert "nan" in text and "\x1b" not in text
    assert len(build_study_pane(line, 38, 7)) == 7
    assert all(sum(len(cell.text) for cell in cells) <= 38 for cells in build_study_pane(line, 38, 30))
    summary = "".join(cell.text for cell in build_head_summary(line))
    assert summary == "q  3:20 left  2/5 done, 1 failed, 2 to go  5 runs, 2 at once"
    arm = line.arms[0]
    text = "\n".join("".join(cell.text for cell in cells) for cells in build_arm_pane(arm, 38, 30))
    assert "means over 2 of 2 seeds" in text and "65.0" in text and "70.0" in text
    assert "mean accuracy 65.0 %" in "".join(cell.text for cell in build_head_summary(arm))
