"""ls, show, pairs, compare, config and doctor on recorded stores."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from recording import N_ITEMS, Recorder

from cream_tui.commands import ls
from cream_tui.output import Column, lay_out_table


def test_ls_lists_the_newest_first(call: Callable, store_root: Path) -> None:
    called = call("ls", "--store", str(store_root))
    assert called.code == 0
    head, *rows = called.stdout.splitlines()
    assert head.split() == ["run", "name", "method", "seed", "state", "stages", "accuracy", "tau", "created"]
    assert [row.split()[1] for row in rows] == ["demo-cream", "demo-srlm"]
    assert max(map(len, called.stdout.splitlines())) <= 80


def test_ls_json_has_the_documented_keys(call: Callable, store_root: Path) -> None:
    runs = json.loads(call("ls", "--json", "--store", str(store_root)).stdout)
    assert [(run["name"], run["method"], run["seed"], run["state"], run["stale"]) for run in runs] == [
        ("demo-cream", "cream", 0, "done", False),
        ("demo-srlm", "srlm", 0, "done", False),
    ]
    assert all(run["run_id"] for run in runs)


def test_ls_filters(call: Callable, recorder: Recorder) -> None:
    recorder.record("a", tags=("x",))
    recorder.record("b", "srlm", last_label="agree t=1")
    recorder.record("c", "oracle", last_label="agree t=1", is_live=True)
    store = ("--json", "--store", str(recorder.store.paths.root))

    def names(*arguments: str) -> list[str]:
        return [run["name"] for run in json.loads(call("ls", *arguments, *store).stdout)]

    assert names() == ["c", "b", "a"]
    assert names("--tag", "x") == ["a"]
    assert names("--state", "done") == ["a"]
    assert names("--state", "running") == ["c", "b"]
    assert names("--state", "stale") == ["b"]


def test_show_json_gives_state_checkpoints_and_results(call: Callable, store_root: Path) -> None:
    shown = json.loads(call("show", "demo-cream", "--json", "--store", str(store_root)).stdout)
    assert shown["state"] == "done"
    assert [(model["name"], model["folder"]) for model in shown["checkpoints"]] == [
        ("M0", "/models/m0"),
        ("M1", str(store_root / "checkpoints/M1")),
        ("M2", str(store_root / "checkpoints/M2")),
        ("M3", str(store_root / "checkpoints/M3")),
    ]
    assert [stage["state"] for stage in shown["stages"]] == ["reused"] * 5 + ["done"] * 10
    assert shown["stages"][0]["other_run"] == "demo-srlm"
    assert [model["accuracy"] for model in shown["models"]] == [0.5, 0.7, 0.8, 0.6]
    assert shown["models"][1]["tau_previous"] == 0.5
    assert [model["changed_share"] for model in shown["models"]] == [None, 0.97, 0.97, 0.0042]
    assert shown["config"]["training"]["beta"] == 2.0
    assert {(row["iteration"], row["stage"]) for row in shown["metrics"]} == {
        (t, stage) for t in (1, 2) for stage in ("sample", "score", "agree", "pair")
    }
    assert [row["n_missing"] for row in shown["metrics"] if row["label"] == "score t=2"] == [3.0]


def test_show_warns_of_weights_that_stayed_and_of_missing_scores(call: Callable, store_root: Path) -> None:
    warnings = call("show", "demo-cream", "--store", str(store_root)).stderr.splitlines()
    assert warnings[1:] == [
        "warning: training changed 0.42 % of the weights of M3: its updates were too few (the first "
        "of a warm-up has rate 0), too small, or rounded away in half precision.",
        "warning: score t=2: 3 responses have no score",
    ]


def test_show_fits_80_columns_and_aligns(call: Callable, store_root: Path) -> None:
    called = call("show", "demo-cream", "--store", str(store_root))
    lines = called.stdout.splitlines()
    assert "M1         70.0  54.6–81.9    +0.50*   +0.50  0.75     66.7    10.0       9.0" in lines
    assert "M2         80.0  65.2–89.5    +0.93    +0.10  0.75     66.7    20.0       9.0" in lines
    assert "* tau to M0's log-likelihood: M0 has no implicit reward." in lines
    assert max(len(line) for line in lines if str(store_root) not in line) <= 80
    assert not any(line != line.rstrip() for line in lines)


def test_show_says_with_how_many_verdicts_a_run_was_forked(call: Callable, recorder: Recorder) -> None:
    root = recorder.store.paths.root
    parent, fork, plain = recorder.record("parent"), recorder.record("fork"), recorder.record("plain")
    verdicts = [{"iteration": 1, "sample": "s", "pairs": [["p1", "swap", 0, 1], ["p2", "agree", 1, 0]]}]
    with closing(sqlite3.connect(root / "cream.db")) as connection, connection:
        update = "UPDATE run SET parent_run_id = ?, fork_at = 'M2', lineage_json = ? WHERE run_id = ?"
        lineage = {"segments": [], "salt": None, "verdicts": verdicts}
        connection.execute(update, (parent.run_id, json.dumps(lineage), fork.run_id))
    assert f"{parent.run_id} at M2 with 2 verdicts" in call("show", "fork", "--store", str(root)).stdout
    for run, n in ((fork, 2), (plain, 0)):
        shown = json.loads(call("show", run.run_id, "--json", "--store", str(root)).stdout)
        assert shown["n_fork_verdicts"] == n


def test_show_of_a_run_without_process_says_how_to_go_on(call: Callable, recorder: Recorder) -> None:
    run = recorder.record("lost", last_label="sample t=1")
    called = call("show", "lost", "--store", str(recorder.store.paths.root))
    assert "stale" in called.stdout
    assert "interrupted" in called.stdout
    assert f"cream-tui resume {run.run_id} --store {recorder.store.paths.root}" in called.stderr


def test_watch_of_a_run_without_process_ends_with_3(call: Callable, recorder: Recorder) -> None:
    run = recorder.record("lost", last_label="sample t=1")
    called = call("watch", "lost", "--store", str(recorder.store.paths.root))
    assert called.code == 3
    assert "its process is gone" in called.stderr
    assert f"cream-tui resume {run.run_id}" in called.stderr
    assert "\x1b" not in called.stderr


def test_watch_of_a_finished_run_tells_its_stages_once(call: Callable, store_root: Path) -> None:
    called = call("watch", "demo-cream", "--store", str(store_root))
    assert called.code == 0
    assert called.stdout == ""
    assert called.stderr.count("sample t=2: done") == 1
    assert "sample t=1: reused from demo-srlm" in called.stderr
    assert "M3  accuracy 60.0 % (44.6–73.7)" in called.stderr


def test_pairs_sort_filter_and_limit(call: Callable, store_root: Path) -> None:
    store = ("--json", "--store", str(store_root))
    everything = json.loads(call("pairs", "latest", "--limit", "0", *store).stdout)
    assert len(everything) == 6
    assert len(json.loads(call("pairs", "latest", "--limit", "2", *store).stdout)) == 2
    second = json.loads(call("pairs", "latest", "--iteration", "2", "--sort", "margin", "--descending", *store).stdout)
    assert {pair["iteration"] for pair in second} == {2}
    assert json.loads(call("pairs", "latest", "--wrong", *store).stdout) == []
    assert all(pair["chosen_correct"] and pair["rejected_correct"] is False for pair in everything)


def test_pairs_are_readable(call: Callable, store_root: Path) -> None:
    shown = call("pairs", "latest", "--limit", "1", "--store", str(store_root)).stdout.splitlines()
    assert shown[0].startswith("#1  t=1  p1-0  margin 1.00  tau +0.33*  anchor +0.33")
    assert shown[-1].startswith("* tau to M0's log-likelihood")
    assert "  chosen, 2 tokens, right" in shown
    assert "    1 + 1 = 2. #### 2" in shown


def test_compare_tests_against_the_first_run(call: Callable, store_root: Path) -> None:
    """16 and 24 of 40 right, nested: 8 items only the second gets, p = 2 / 2^8."""
    called = call("compare", "demo-srlm", "demo-cream", "--json", "--store", str(store_root))
    record = json.loads(called.stdout)
    (test,) = record["tests"]
    assert (test["model"], test["n_items"], test["n_run_only"], test["n_baseline_only"]) == ("M3", N_ITEMS, 8, 0)
    assert test["p_value"] == pytest.approx(2 / 2**8)
    assert (test["run_accuracy"], test["baseline_accuracy"]) == (0.6, 0.4)
    assert record["differences"] == [{"key": "method.name", "values": ["srlm", "cream"]}]


def test_compare_reads_at_80_columns(call: Callable, store_root: Path) -> None:
    called = call("compare", "demo-srlm", "demo-cream", "--store", str(store_root))
    assert max(map(len, called.stdout.splitlines())) <= 80
    assert "demo-cream is better" in called.stdout
    assert "p = 0.008" in " ".join(called.stdout.split())


def test_config_show_can_be_run_again(call: Callable, tmp_path: Path) -> None:
    shown = call("config", "show", "sandbox", "--set", "training.learning_rate=1e-6")
    assert shown.code == 0
    file = tmp_path / "mine.yaml"
    file.write_text(shown.stdout)
    assert yaml.safe_load(shown.stdout)["training"]["learning_rate"] == 1e-6
    again = call("config", "show", str(file))
    assert again.stdout == shown.stdout
    assert "is sound" in call("config", "check", str(file)).stdout


def test_config_lists_what_is_shipped(call: Callable) -> None:
    shown = call("config", "show").stdout
    assert "sandbox-collapse" in shown
    assert "cream-dynamic" in shown
    assert json.loads(call("config", "schema").stdout)["properties"]["seed"]


def test_config_check_names_a_missing_file(call: Callable, tmp_path: Path) -> None:
    called = call("config", "check", "sandbox", "--set", f"data.prompts={tmp_path}/none.jsonl")
    assert called.code == 2
    assert "none.jsonl" in called.stderr


def test_doctor_says_what_there_is(call: Callable, store_root: Path) -> None:
    called = call("doctor", "--json", "--store", str(store_root), env={"OMP_NUM_THREADS": "7"})
    findings = {finding["name"]: finding for finding in json.loads(called.stdout)}
    assert findings["runs"]["value"] == "2 runs, 0 running"
    assert findings["state"]["value"].endswith("ok")
    assert findings["torch"]["ok"]
    assert findings["threads"]["value"] == "1 per process of a run (resources.threads)"
    assert findings["OMP_NUM_THREADS"]["value"] == "7"
    assert call("doctor", "--store", str(store_root)).code == called.code == 0


def test_doctor_finds_a_damaged_store(call: Callable, tmp_path: Path) -> None:
    (tmp_path / "cream.db").write_bytes(b"no database at all" * 100)
    called = call("doctor", "--store", str(tmp_path))
    assert called.code == 2
    assert "damaged" in called.stderr


def test_completion_of_runs_is_silent_without_a_store(tmp_path: Path, store_root: Path) -> None:
    from cream_tui.stores import list_run_names

    assert list_run_names(str(store_root)) == ["demo-cream", "demo-srlm"]
    assert list_run_names(str(tmp_path)) == []


@pytest.mark.parametrize("width", [100, 80, 60, 50])
def test_tables_fit_a_narrow_terminal(width: int) -> None:
    """ls: names stay readable while other columns go; nothing is cut where nobody looks."""
    columns = ls._COLUMNS
    row = ["demo-cream" if column.is_flexible else "123456" for column in columns]
    lines = ["".join(cell.text for cell in line).rstrip() for line in lay_out_table(columns, [row], width=width)]
    assert max(map(len, lines)) <= width
    assert "demo-cream" in lines[-1]
    whole = lay_out_table(columns, [row])
    assert [cell.text for cell in whole[-1]].count("123456") == len(columns) - 1


@pytest.mark.parametrize(
    ("width", "shown"), [(34, "name-of-a-run 11 22 33"), (20, "name-of-a-run 11"), (10, "name-… 11")]
)
def test_columns_of_one_rank_go_together_before_a_name_is_cut_below_what_is_readable(width: int, shown: str) -> None:
    columns = [Column("", is_flexible=True, readable=13), Column("a"), Column("b", rank=1), Column("c", rank=1)]
    lines = lay_out_table(columns, [["name-of-a-run", "11", "22", "33"]], width=width)
    assert "".join(cell.text for cell in lines[-1]).split() == shown.split()
