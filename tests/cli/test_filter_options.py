"""`ls` and `pairs` with filters, orders and groups."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from recording import Recorder


@pytest.fixture
def list_names(call: Callable, store_root: Path) -> Callable[..., list[str]]:
    def call_ls(*arguments: str) -> list[str]:
        return [run["name"] for run in json.loads(call("ls", *arguments, "--json", "--store", str(store_root)).stdout)]

    return call_ls


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("method:cream", ["demo-cream"]),
        ("beta>=2", ["demo-cream", "demo-srlm"]),
        ("training.beta<2", []),
        ("accuracy<50%", ["demo-srlm"]),
        ("tag:demo -srlm", ["demo-cream"]),
        ("has:note or loss<0.5", ["demo-cream", "demo-srlm"]),
        ("state:done age<1h warning:small", ["demo-cream", "demo-srlm"]),
    ],
)
def test_ls_filters_by_fields_settings_and_metrics(
    list_names: Callable[..., list[str]], text: str, names: list[str]
) -> None:
    assert list_names("--filter", text) == names


def test_ls_sorts(list_names: Callable[..., list[str]]) -> None:
    assert list_names("--sort", "accuracy") == ["demo-srlm", "demo-cream"]
    assert list_names("--sort", "accuracy", "--descending") == ["demo-cream", "demo-srlm"]
    assert list_names("--sort", "age", "--descending") == ["demo-srlm", "demo-cream"]
    assert list_names("--sort", "changed_share")


def test_ls_groups_with_means(call: Callable, recorder: Recorder) -> None:
    """Mean accuracy of the two CREAM runs: both end at 24 of 40 and 16 of 40, (0.6 + 0.4) / 2 = 0.5."""
    recorder.record("a", "cream")
    recorder.record("b", "srlm")
    recorder.record("c", "cream", accuracies=(0.5, 0.7, 0.8, 0.4), base=("/models/other", "other"))
    store = ("--store", str(recorder.store.paths.root))
    groups = json.loads(call("ls", "--group", "method,beta", "--json", *store).stdout)
    assert [(group["group"], [run["name"] for run in group["runs"]]) for group in groups] == [
        ({"method": "cream", "training.beta": "2"}, ["c", "a"]),
        ({"method": "srlm", "training.beta": "2"}, ["b"]),
    ]
    assert groups[1]["means"]["accuracy"] == 0.6
    lines = call("ls", "--group", "method", *store).stdout.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("mean")] == [
        ["mean", "method=cream"],
        ["mean", "method=srlm"],
    ]


def test_a_wrong_filter_is_one_message_with_exit_code_2(call: Callable, store_root: Path) -> None:
    store = ("--store", str(store_root))
    wrong = call("ls", "--filter", "method:cream acuracy>1", *store)
    assert (wrong.code, wrong.stdout) == (2, "")
    assert "acuracy>1 (at 14): there is no key acuracy; did you mean accuracy?" in wrong.stderr
    assert "did you mean beta?" in call("ls", "--sort", "btea", *store).stderr
    assert "--group metod: there is no such key; did you mean method?" in call("ls", "--group", "metod", *store).stderr
    assert call("pairs", "--filter", "label:wrng", *store).code == 2
    assert "did you mean wrong?" in call("pairs", "--filter", "label:wrng", *store).stderr


def test_pairs_filter(call: Callable, store_root: Path) -> None:
    """Each of the two iterations has three pairs, all right with C 0.75, and one prompt without a pair."""

    def count(*arguments: str) -> int:
        return len(json.loads(call("pairs", "demo-cream", *arguments, "--json", "--store", str(store_root)).stdout))

    assert count() == 6
    assert count("--filter", "t=1") == 3
    assert count("--filter", "M2 or t:M2") == 3
    assert count("--filter", "label:right C>=0.75 -has:verdict") == 6
    assert count("--filter", "C>75%") == 0
    assert count("--filter", "label:right", "--wrong") == 0
    assert count("--filter", "skipped:equal") == 2
    assert count("--filter", '"#### 3"', "--sort", "tau", "--limit", "4") == 4


def test_a_skipped_prompt_says_why(call: Callable, store_root: Path) -> None:
    shown = call("pairs", "demo-cream", "--filter", "has:skipped", "--store", str(store_root)).stdout
    assert shown.count("no pair: equal scores") == 2
    assert "None" not in shown


def test_a_hostile_tag_in_a_group_stays_text(call: Callable, nasty_root: Path) -> None:
    shown = call("ls", "--group", "tag,name", "--store", str(nasty_root)).stdout
    assert "\x9b" not in shown and "\x1b" not in shown and "\u202e" not in shown
    assert "[red]x[/]" in shown
