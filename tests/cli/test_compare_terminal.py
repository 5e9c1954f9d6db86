"""`compare` in the terminal: the numbers of its short tables are those of its JSON, at every width."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recording import Recorder

from cream_tui.units import format_p_value
from db.session import open_store
from db.study_writes import NewArm, create_study

WIDTHS = (80, 100, 120, 160)
# Their seeds end at other accuracies; their models are the same up to M2.
SHORT = {"srlm": (0.4, 0.35), "ensemble-anchored-mean": (0.6, 0.65), "oracle": (0.9, 0.8)}
MORE = {f"arm-{k}": (0.5 + k / 40,) for k in range(4)}
LONG = [*SHORT, *MORE]
SINGLE = ("srlm-0", "ensemble-anchored-mean-0")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three arms and two seeds, and one of seven arms and one seed; read only."""
    root = tmp_path_factory.mktemp("terminal") / "store"
    store = open_store(root)
    recorder = Recorder(store)
    arms = []
    for method, last in (SHORT | MORE).items():
        for seed, accuracy in enumerate(last):
            name = f"{method}-{seed}"
            run = recorder.record(name, method, seed=seed, accuracies=(0.5, 0.7, 0.8, accuracy))
            arms.append(NewArm(method, method, seed, name, "{}", run.run_id))
    create_study(store, "quick", "{}", jobs=1, arms=[arm for arm in arms if arm.arm in SHORT])
    create_study(store, "long", "{}", jobs=1, arms=[arm for arm in arms if arm.seed == 0])
    return root


def read_json(call: Callable, root: Path, *names: str) -> dict[str, Any]:
    return json.loads(call("compare", *names, "--json", "--store", str(root)).stdout)


def write_percent(rate: float) -> str:
    return f"{100 * rate:.1f}"


def write_points(difference: float, direction: int) -> str:
    return f"{100 * difference:+.1f}".replace("-", "−").replace("+0.0", "0.0") + "*" * abs(direction)


def write_p(p_value: float) -> list[str]:
    return format_p_value(p_value).removeprefix("p ").removeprefix("= ").split()


def write_accuracy(row: dict[str, Any]) -> str:
    cell = row["cells"]["sandbox"]
    change = cell["change"]
    if change is None:
        return write_percent(cell["mean"])
    arrow = "=" if change["mean"] == 0 else "↑" if change["mean"] > 0 else "↓"
    return write_percent(cell["mean"]) + arrow + "*" * change["is_significant"]


def write_interval(row: dict[str, Any]) -> str:
    cell = row["cells"]["sandbox"]
    return f"{write_percent(cell['low'])}–{write_percent(cell['high'])}"


def read_table(lines: list[str], title: str) -> dict[str, list[str]]:
    """The rows below this line of titles, by their first word."""
    start = next(k for k, line in enumerate(lines) if " ".join(line.split()) == title)
    rows = {}
    for line in lines[start + 1 :]:
        if not line or " ".join(line.split()).startswith(("Mean over", "95 % interval:", "Of the pairs")):
            break
        name, *cells = line.split()
        rows[name] = cells
    return rows


@pytest.mark.parametrize("names", [("quick",), ("long",), SINGLE])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_matrix_has_every_accuracy(call: Callable, draw: Callable, root: Path, names: Any, width: int) -> None:
    record = read_json(call, root, *names)
    text = draw(width, "compare", *names, "--store", str(root))
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text
    assert lines[0] == "Accuracy on sandbox in %"
    shared = [row for row in record["table"] if row["arm"] == "all"]
    told = ", ".join(f"{row['model']} {write_accuracy(row)} ({write_interval(row)})" for row in shared)
    assert f"The same in all: {told}." in " ".join(text.split())
    own = [row for row in record["table"] if row["arm"] != "all"]
    assert [row["model"] for row in shared] == ["M0", "M1", "M2"] and {row["model"] for row in own} == {"M3"}
    assert read_table(lines, "M3 the last") == {row["arm"]: [write_accuracy(row), write_interval(row)] for row in own}


@pytest.mark.parametrize("width", WIDTHS)
def test_tests_have_the_numbers_of_the_json(call: Callable, draw: Callable, root: Path, width: int) -> None:
    record = read_json(call, root, "quick")
    lines = draw(width, "compare", "quick", "--store", str(root)).splitlines()
    by_family: dict[str, dict[str, list[dict[str, Any]]]] = {"arms": {}, "models": {}}
    for test in record["comparisons"]:
        by_family[test["family"]].setdefault(test["first"], []).append(test)
    start = lines.index("Against srlm")
    against = lines[start : start + 3 + len(SHORT) - 1]
    rows = {words[0]: words[1:] for line in against[3:] if (words := line.split())}
    assert rows.keys() == by_family["arms"].keys() == SHORT.keys() - {"srlm"}
    for title, (test,) in by_family["arms"].items():
        low, high = (write_points(test[end], 0) for end in ("low", "high"))
        expected = ["M3", write_points(test["difference"], test["direction"]), low, "to", high]
        assert rows[title][: len(expected) + 1] == [*expected, write_p(test["p_value_holm"])[0]]
    start = lines.index("The last model against earlier ones of its arm")
    rows = {words[0]: words[1:] for line in lines[start + 3 : start + 3 + len(SHORT)] if (words := line.split())}
    assert rows.keys() == by_family["models"].keys() == SHORT.keys()
    for title, tests in by_family["models"].items():
        cells = " ".join(rows[title])
        for test in tests:
            points = re.escape(write_points(test["difference"], test["direction"]))
            interval = "(?: [^ ]+ to [^ ]+)?"
            p_value = re.escape(" ".join(write_p(test["p_value_holm"])))
            assert re.search(f"{test['second_model']} {points}{interval} {p_value}(?: |$)", cells), cells


@pytest.mark.parametrize("width", WIDTHS)
def test_measures_are_of_the_newest_iteration_where_there_are_many(
    call: Callable, draw: Callable, root: Path, width: int
) -> None:
    for name, n_rows in (("quick", 2 * len(SHORT)), ("long", len(LONG))):
        record = read_json(call, root, name)
        text = draw(width, "compare", name, "--store", str(root))
        start = next(k for k, line in enumerate(text.splitlines()) if "right %" in line)
        rows = [line.split() for line in text.splitlines()[start + 1 : start + 1 + n_rows]]
        expected = record["measures"] if name != "long" else [row for row in record["measures"] if row["model"] == "M2"]
        arm = ""
        for words, row in zip(rows, expected, strict=True):
            arm = words.pop(0) if words[0] != row["model"] else arm
            assert (arm, words[0]) == (row["arm"], row["model"])
            assert words[1] == write_percent(row["label_accuracy"]["mean"])
            assert f"{row['confidence']['mean']:.2f}" in words
        assert "Every model with its intervals, tests and pairs: --format markdown, or --tui." in text


@pytest.mark.parametrize("names", [("quick",), ("long",), SINGLE])
def test_sentences_end_it(call: Callable, draw: Callable, root: Path, names: Any) -> None:
    sentences = read_json(call, root, *names)["sentences"]
    assert len(sentences) > 1
    text = " ".join(draw(120, "compare", *names, "--store", str(root)).split())
    assert text.endswith(" ".join(sentences))


@pytest.mark.parametrize("width", WIDTHS)
def test_settings_that_do_not_fit_are_told_in_lines(draw: Callable, root: Path, width: int) -> None:
    text = draw(width, "compare", *SINGLE, "--store", str(root))
    assert re.search(r"^method\.name +srlm +ensemble-anchored-mean$", text, re.MULTILINE)
    many = [f"{method}-0" for method in LONG]
    text = " ".join(draw(width, "compare", *many, "--store", str(root)).split())
    told = "; ".join(f"{method} in {run}" for method, run in zip(LONG, many, strict=True))
    assert (f"method.name: {told} " in text) == (width == 80)
