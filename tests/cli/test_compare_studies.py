"""`compare` of studies and of seeds: arms as the matrix has them, every format from the same numbers, refusals."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from recording import Recorder
from scipy import stats

from db.session import open_store
from db.study_writes import NewArm, create_study

SEEDS = (0, 1)
LAST = {"srlm": (0.4, 0.35), "cream": (0.6, 0.65)}


@pytest.fixture(scope="module")
def study_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two methods and two seeds whose last run has not begun, and a run of its own; read only."""
    root = tmp_path_factory.mktemp("study") / "store"
    store = open_store(root)
    recorder = Recorder(store)
    arms = []
    for method, last in LAST.items():
        for seed in SEEDS:
            name = f"quick-{method}-{seed}"
            run = recorder.record(name, method, seed=seed, accuracies=(0.5, 0.7, 0.8, last[seed]))
            arms.append(NewArm(method, method, seed, name, "{}", run.run_id))
    arms.append(NewArm("oracle", "oracle", 0, "quick-oracle-0", "{}"))
    create_study(store, "quick", "{}", jobs=1, arms=arms)
    for name, baseline in (("own", "cream"), ("early", "oracle")):
        create_study(store, name, json.dumps({"name": name, "baseline": baseline}), jobs=1, arms=arms)
    create_study(store, "empty", "{}", jobs=1, arms=arms[-1:])
    recorder.record("alone", "random", accuracies=(0.5, 0.7, 0.7, 0.5))
    return root


def test_a_study_is_compared_arm_by_arm(call: Callable, study_root: Path) -> None:
    called = call("compare", "quick", "--store", str(study_root))
    text = " ".join(called.stdout.split())
    assert called.code == 0
    assert "warning: not begun yet: 1 run: oracle (1)\n" in called.stderr
    assert max(map(len, called.stdout.splitlines())) <= 120
    assert "At M3 cream has 62.5 % and srlm 37.5 %: +25.0 points" in text
    assert "Against srlm" in text and "cream M3 +25.0 " in text
    assert "The same in all: M0 50.0 " in text and "srlm 37.5↓ " in text


def test_every_format_has_the_same_numbers(call: Callable, study_root: Path, tmp_path: Path) -> None:
    where = ("--store", str(study_root))
    low, high = stats.t.interval(0.95, 1, 0.375, stats.sem(LAST["srlm"]))
    record = json.loads(call("compare", "quick", "--json", *where).stdout)
    (row,) = [row for row in record["table"] if (row["arm"], row["model"]) == ("srlm", "M3")]
    cell = row["cells"]["sandbox"]
    assert (cell["low"], cell["high"], cell["interval"], cell["n_seeds"]) == (
        pytest.approx(max(0.0, low)),
        pytest.approx(high),
        "seeds",
        2,
    )
    lines = list(csv.DictReader(call("compare", "quick", "--format", "csv", *where).stdout.splitlines()))
    (line,) = [one for one in lines if (one["arm"], one["model"], one["measure"]) == ("srlm", "M3", "accuracy")]
    assert (float(line["low"]), float(line["change"])) == (cell["low"], cell["change"]["mean"])
    shown = f"37.5 ↓ ({100 * low:.1f}–{100 * high:.1f})"
    assert shown in call("compare", "quick", "--format", "markdown", *where).stdout.replace("**", "").replace("\\*", "")
    file = tmp_path / "table.tex"
    called = call("compare", "quick", "-o", str(file), *where)
    assert called.stdout == "" and str(file) in called.stderr
    assert f"({100 * low:.1f}--{100 * high:.1f})" in file.read_text()


def test_the_baseline_can_be_chosen(call: Callable, study_root: Path) -> None:
    where = ("--json", "--store", str(study_root))
    first = json.loads(call("compare", "quick", "alone", *where).stdout)
    assert [arm["title"] for arm in first["arms"]] == ["srlm", "cream", "alone"]
    for name in ("cream", "quick-cream-1"):
        chosen = json.loads(call("compare", "quick", "alone", "--baseline", name, *where).stdout)
        of_arms = [one for one in chosen["comparisons"] if one["family"] == "arms"]
        assert [(one["first"], one["second"]) for one in of_arms] == [("srlm", "cream"), ("alone", "cream")]
        assert [one["n_family"] for one in of_arms] == [2, 2]
        assert of_arms[0]["difference"] == pytest.approx(-0.25)
        assert (of_arms[1]["method"], of_arms[1]["seeds"]) == ("exact McNemar", [0])
    assert chosen["studies"] == ["quick"]
    assert chosen["missing"] == [{"arm": "oracle", "seed": 0, "error": None}]


def test_the_baseline_of_a_study_is_that_of_its_file(call: Callable, study_root: Path) -> None:
    """A stored study whose file names none has its first arm; one whose baseline has no run says so and has it, too."""

    def compare(*words: str) -> tuple[list[str], str]:
        called = call("compare", *words, "--json", "--store", str(study_root))
        record = json.loads(called.stdout)
        tests = [one for one in record["comparisons"] if one["family"] == "arms"]
        assert {one["second"] for one in tests} == {record["arms"][0]["title"]}
        assert record["runs"][0]["name"] in record["arms"][0]["runs"]
        return [arm["title"] for arm in record["arms"]], called.stderr

    assert compare("quick")[0] == ["srlm", "cream"]
    assert compare("own")[0] == ["cream", "srlm"]
    assert compare("own", "alone")[0] == ["cream", "srlm", "alone"]
    assert compare("own", "--baseline", "srlm")[0] == ["srlm", "cream"]
    arms, told = compare("early")
    assert arms == ["srlm", "cream"]
    assert "warning: the baseline oracle has no run yet: arms are compared with srlm" in told


def test_a_baseline_of_ones_own_is_said_to_be_exploratory_in_every_format(call: Callable, study_root: Path) -> None:
    def read(*words: str) -> str:
        return " ".join(call("compare", *words, "--store", str(study_root)).stdout.split())

    told = "The baseline srlm was chosen after the fact, that of the study is cream: "
    for words in ((), ("--json",), ("--format", "markdown")):
        assert told in read("own", "--baseline", "srlm", *words)
        assert "after the fact" not in read("own", "--baseline", "cream", *words) + read("own", *words)
    record = json.loads(read("own", "--baseline", "srlm", "--json"))
    assert record["sentences"][0].startswith(told) and record["notes"][0].startswith(told)
    assert "that of the study is srlm: " in read("quick", "--baseline", "quick-cream-1")  # its first arm
    assert "that of the study is oracle: " in read("early", "--baseline", "cream")  # which has no run yet
    runs = [f"quick-{method}-{seed}" for method in ("cream", "srlm") for seed in SEEDS]
    assert "after the fact" not in read(*runs, "--baseline", "srlm")


def test_arms_are_compared_at_a_chosen_model(call: Callable, study_root: Path) -> None:
    """At M2 all arms have 80 %; what comes later is not looked at."""
    where = ("--store", str(study_root))
    record = json.loads(call("compare", "quick", "--at", "M2", "--json", *where).stdout)
    assert record["at"] == "M2" and json.loads(call("compare", "quick", "--json", *where).stdout)["at"] is None
    (found,) = [one for one in record["comparisons"] if one["family"] == "arms"]
    assert (found["first_model"], found["difference"]) == ("M2", 0.0)
    assert {row["model"] for row in record["table"]} == {"M0", "M1", "M2"}
    assert record["sentences"][0].startswith("Everything is told as if M2 were the last model: ")
    runs = call("compare", "alone", "quick-cream-0", "--at", "M2", *where).stdout
    assert "At M2 quick-cream-0 has 80.0 % and alone 70.0 %" in " ".join(runs.split())


def test_show_has_a_row_for_each_arm(call: Callable, study_root: Path) -> None:
    """Means and Student's intervals over two seeds of what was recorded; the arm without a run has none."""
    where = ("--store", str(study_root))
    shown = call("show", "quick", *where).stdout
    rows = {words[0]: words[1:] for line in shown.splitlines() if (words := line.split())}
    for method, last in LAST.items():
        low, high = stats.t.interval(0.95, 1, sum(last) / 2, stats.sem(last))
        interval = f"{100 * max(0.0, low):.1f}–{100 * min(1.0, high):.1f}"
        assert rows[method][:-1] == ["2/2", "M3", "2", f"{50 * sum(last):.1f}", interval]
    assert [rows[method][-1] for method in LAST] == ["▇█▁", "▇█▅"]  # of 8 levels from 37.5 to 80 %: 70 and 62.5
    assert rows["oracle"] == ["0/1", "waiting", "–", "–"]
    assert "Its runs: cream-tui ls --filter study=quick" in shown
    record = json.loads(call("show", "quick", "--json", *where).stdout)
    assert len(record["arms"]) == 5
    by_arm = {arm["arm"]: arm for arm in record["by_arm"]}
    assert by_arm["cream"]["models"]["M3"]["accuracy"] == pytest.approx(sum(LAST["cream"]) / 2)
    assert [by_arm[name]["n_done"] for name in ("srlm", "cream", "oracle")] == [2, 2, 0]


def test_json_goes_with_a_file_of_any_name_but_of_another_format(
    call: Callable, study_root: Path, tmp_path: Path
) -> None:
    for name in ("r.json", "r.txt"):
        called = call("compare", "quick", "--json", "-o", str(tmp_path / name), "--store", str(study_root))
        assert called.code == 0 and json.loads((tmp_path / name).read_text())["studies"] == ["quick"]


def test_a_study_and_its_run_are_not_counted_twice(call: Callable, study_root: Path) -> None:
    record = json.loads(call("compare", "quick", "quick-cream-1", "--json", "--store", str(study_root)).stdout)
    assert len(record["runs"]) == 4
    assert record["sampled"] == []


def test_answers_of_a_study_are_listed(call: Callable, study_root: Path) -> None:
    called = call("compare", "quick", "--answers", "--limit", "1", "--json", "--store", str(study_root))
    assert len(json.loads(called.stdout)["items"][0]["answers"]) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("quick", "--baseline", "cram"), "--baseline cram: no arm is called so; did you mean cream?"),
        (("quick", "--format", "latx"), "--format latx: there is no such format; did you mean latex?"),
        (("quick", "-o", "table.txt"), "-o table.txt: the table is for the terminal"),
        (("quick", "--json", "-o", "t.md"), "-o t.md: is not JSON, which --json asks for"),
        (("quick", "--json", "--format", "csv"), "--format csv: is not JSON, which --json asks for"),
        (("quick", "--at", "M9"), "--at M9: no run has evaluated such a model\n  There are M1, M2, M3."),
        (("quick", "--at", "M0"), "--at M0: no run has evaluated such a model"),
        (("empty",), "compare takes two different runs or more, or a study with two that have begun"),
        (("alone",), "compare takes two different runs or more"),
        (("quik",), "no run or study 'quik' in the store"),
    ],
)
def test_wrong_wishes_are_named(call: Callable, study_root: Path, words: tuple[str, ...], message: str) -> None:
    called = call("compare", *words, "--store", str(study_root))
    assert called.code == 2
    assert message in called.stderr
    assert called.stdout == ""


@pytest.mark.parametrize(
    ("place", "part"),
    [
        ("nowhere/x.tex", "there is no folder"),
        ("folder.tex", "folder.tex: is a folder"),
        ("file/x.tex", "one of its folders is a file"),
    ],
)
def test_a_file_that_cannot_be_written_is_named_with_the_way_out(
    call: Callable, study_root: Path, tmp_path: Path, place: str, part: str
) -> None:
    (tmp_path / "folder.tex").mkdir()
    (tmp_path / "file").touch()
    called = call("compare", "quick", "-o", str(tmp_path / place), "--store", str(study_root))
    assert called.code == 2
    assert called.stderr.count("error: ") == 1
    assert part in called.stderr and str(tmp_path / place) in called.stderr
    assert "Name another file with -o." in called.stderr


def test_single_runs_have_the_table_too(call: Callable, store_root: Path) -> None:
    text = call("compare", "demo-srlm", "demo-cream", "--format", "markdown", "--store", str(store_root)).stdout
    assert "| demo-cream | M3 | 60.0 ↓ (44.6–73.7) | 1 |" in text.replace("**", "").replace("\\*", "")
    assert "not computable from it, because there is no spread to see" in text


@pytest.mark.parametrize("format_name", ["markdown", "csv", "latex", "json"])
def test_hostile_names_reach_no_terminal(call: Callable, nasty_root: Path, format_name: str) -> None:
    called = call("compare", "other", "a", "--format", format_name, "--store", str(nasty_root))
    assert called.code == 0
    if format_name != "csv":  # the one format that holds texts as they are, for programs
        assert not [character for character in "\x1b\x9b\u202e" if character in called.stdout]
