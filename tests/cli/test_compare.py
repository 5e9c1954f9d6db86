"""`compare`: arms and deltas as JSON, answers side by side, corrections for their number, and the way into the app."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from recording import DANGEROUS, N_ITEMS, Recorder

BASE, RUN = "demo-srlm", "demo-cream"


def test_json_has_arms_with_deltas(call: Callable, store_root: Path) -> None:
    record = json.loads(call("compare", BASE, RUN, "--json", "--store", str(store_root)).stdout)
    assert [(arm["title"], arm["seeds"]) for arm in record["arms"]] == [(BASE, [0]), (RUN, [0])]
    models = {model["model"]: model["measures"] for model in record["arms"][1]["models"]}
    assert models["M3"]["accuracy"] == {"mean": 0.6, "std": None, "n_seeds": 1, "delta": pytest.approx(0.2)}
    assert record["arms"][0]["models"][3]["measures"]["accuracy"]["delta"] is None
    assert record["tests"][0]["p_value_holm"] == record["tests"][0]["p_value"]
    (sampled,) = record["sampled"]
    first, second = sampled["iterations"]
    assert (first["same_responses"], first["pairs"]) == (True, {"same pair": 3, "both skipped": 1})
    assert (second["same_responses"], second["pairs"], second["chosen"]["n_both_right"]) == (False, {}, 3)
    assert (second["run_right_share"], second["baseline_right_share"]) == (0.5, 0.5)
    assert record["sentences"][-1].startswith("These are runs, not methods")


def test_seeds_are_taken_together(call: Callable, recorder: Recorder) -> None:
    """M3: srlm 0.4 and 0.5, cream 0.6 and 0.7: +0.2 in both seeds."""
    for seed in (0, 1):
        recorder.record(f"srlm-{seed}", "srlm", seed=seed, accuracies=(0.5, 0.7, 0.8, 0.4 + seed / 10))
        recorder.record(f"cream-{seed}", "cream", seed=seed, accuracies=(0.5, 0.7, 0.8, 0.6 + seed / 10))
    names = ("srlm-0", "cream-0", "srlm-1", "cream-1")
    where = ("--store", str(recorder.store.paths.root))
    record = json.loads(call("compare", *names, "--json", *where).stdout)
    assert [(arm["title"], arm["runs"], arm["seeds"]) for arm in record["arms"]] == [
        ("srlm", ["srlm-0", "srlm-1"], [0, 1]),
        ("cream", ["cream-0", "cream-1"], [0, 1]),
    ]
    accuracy = record["arms"][1]["models"][3]["measures"]["accuracy"]
    assert accuracy == {
        "mean": pytest.approx(0.65),
        "std": pytest.approx(0.1 / 2**0.5),
        "n_seeds": 2,
        "delta": pytest.approx(0.2),
    }
    p_values = [test["p_value"] for test in record["tests"]]
    assert [test["p_value_holm"] for test in record["tests"]] != p_values
    text = call("compare", *names, *where).stdout
    assert max(map(len, text.splitlines())) <= 120
    assert "At M3 cream has 65.0 % and srlm 45.0 %: +20.0 points" in " ".join(text.split())
    assert "paired bootstrap over 2 seeds and 40 shared items" in " ".join(text.split())


def test_answers_stand_side_by_side(call: Callable, store_root: Path) -> None:
    """16 of 40 right against 24, nested: items 16 to 23 are wins."""
    where = ("--store", str(store_root))
    shown = call("compare", BASE, RUN, "--answers", "--only", "win", "--limit", "2", *where).stdout
    assert shown.splitlines()[:6] == [
        "sandbox  i16  gold 2",
        "    q",
        "  demo-srlm, 3 tokens, wrong",
        "    1 + 1 = 2. #### 2",
        "  demo-cream, 3 tokens, right  win",
        "    1 + 1 = 2. #### 2",
    ]
    assert shown.count("right  win") == 2
    told = "At M3 demo-cream wins 8 and loses 0 of 40 items against demo-srlm; 16 both right, 16 both wrong."
    assert told in " ".join(shown.split())


def test_answers_as_json_by_outcome_and_model(call: Callable, store_root: Path) -> None:
    def read(*words: str) -> dict:
        return json.loads(call("compare", BASE, RUN, "--json", "--store", str(store_root), *words).stdout)

    wins = read("--only", "win", "--limit", "0")
    assert (wins["model"], wins["baseline"], len(wins["items"])) == ("M3", BASE, 8)
    assert wins["counts"] == [
        {"run": RUN, "n_items": N_ITEMS, "n_win": 8, "n_lose": 0, "n_both_right": 16, "n_both_wrong": 16}
    ]
    answer = wins["items"][0]["answers"][1]
    assert (answer["run"], answer["correct"], answer["outcome"]) == (RUN, True, "win")
    assert wins["items"][0]["answers"][0]["outcome"] is None
    assert read("--only", "lose")["items"] == []
    assert len(read("--only", "tie", "--limit", "0")["items"]) == 32
    assert len(read("--answers")["items"]) == 20
    early = read("--answers", "--model", "M2")
    assert (early["model"], early["counts"][0]["n_win"], early["counts"][0]["n_lose"]) == ("M2", 0, 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--only", "wins"), "--only wins: there is no such outcome; did you mean win?"),
        (("--model", "M9"), "--model M9: not every run has evaluated it"),
        (("--answers", "--limit", "-1"), "--limit -1: is below 0"),
    ],
)
def test_wrong_wishes_are_named(call: Callable, store_root: Path, words: tuple[str, ...], message: str) -> None:
    called = call("compare", BASE, RUN, *words, "--store", str(store_root))
    assert called.code == 2
    assert message in called.stderr


def test_runs_of_different_length_are_compared_at_their_last_common_model(call: Callable, recorder: Recorder) -> None:
    recorder.record("whole")
    recorder.record("begun", "srlm", last_label="train M2")
    record = json.loads(
        call("compare", "whole", "begun", "--answers", "--json", "--store", str(recorder.store.paths.root)).stdout
    )
    assert record["model"] == "M1"


@pytest.mark.parametrize("words", [(), ("--json",), ("--answers",), ("--answers", "--json")])
def test_hostile_texts_are_shown_not_obeyed(call: Callable, nasty_root: Path, words: tuple[str, ...]) -> None:
    called = call("compare", "other", "a", *words, "--limit", "0", "--store", str(nasty_root))
    assert called.code == 0
    assert not [character for character in DANGEROUS if character in called.stdout + called.stderr]


def test_the_app_needs_a_terminal(call: Callable, store_root: Path) -> None:
    called = call("compare", BASE, RUN, "--tui", "--store", str(store_root))
    assert called.code == 2
    assert "terminal" in called.stderr
    assert called.stdout == ""
