"""`cream-tui health`: what warns is explained, what is not known says why, and warnings are no failure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from recording import Recorder

from db.queries import open_reader, read_run_stages
from db.rows import MetricRow, RunRow
from db.session import Store, open_store
from db.stage_writes import insert_rows
from db.study_writes import NewArm, create_study

# Of M2, whose tau to the anchor the recorded runs leave at 0.1.
MEASURES: Mapping[str, Mapping[str, float]] = {
    "sample t=1": {"n_responses": 40, "distinct_2": 0.5, "distinct_share": 0.8, "truncated_rate": 0.0},
    "sample t=2": {"n_responses": 40, "distinct_2": 0.2, "distinct_share": 0.7, "truncated_rate": 0.01},
    "score t=1": {"kl_base": 0.1, "kl_previous": 0.1, "reward_sd": 0.3, "reward_length_correlation": 0.2},
    "score t=2": {"kl_base": 0.9, "kl_previous": 1.0, "reward_sd": 0.9, "reward_length_correlation": 0.7},
    "agree t=1": {"tau_saturated_share": 0.3},
    "agree t=2": {"tau_saturated_share": 0.7},
    "pair t=1": {"anchor_agreement_share": 0.9, "low_confidence_share": 0.0},
    "pair t=2": {"anchor_agreement_share": 0.4, "low_confidence_share": 0.0},
}


def add_measures(store: Store, run: RunRow, measures: Mapping[str, Mapping[str, float]] = MEASURES) -> None:
    with open_reader(store.paths.root) as reader:
        stages = {stage.label: stage.stage_id for stage in read_run_stages(reader, run.run_id)}
    with store.begin() as session:
        for label, values in measures.items():
            insert_rows(session, stages[label], [MetricRow(name, 0, value) for name, value in values.items()])


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with every measure of this version; read only."""
    recorder = Recorder(open_store(tmp_path_factory.mktemp("measured") / "store"))
    add_measures(recorder.store, recorder.record("m", "srlm"))
    return recorder.store.paths.root


def test_what_warns_is_explained(call: Callable, measured: Path) -> None:
    called = call("health", "m", "--store", str(measured))
    assert called.code == 0
    lines = called.stdout.splitlines()
    rows = {line[3:40].strip(): line for line in lines if line[:1] in ("!", "✓", "?")}
    assert rows["tau to the anchor"].startswith("!") and "+0.10" in rows["tau to the anchor"]
    assert rows["truncated responses"].startswith("✓") and "1.0 %" in rows["truncated responses"]
    assert rows["noise floor of scoring"].startswith("?")
    assert "! M2: tau to the anchor is +0.10, which chance gives too (0 ± 0.40)" in lines
    at = lines.index("! M2: the correlation of reward and length is +0.70")
    assert lines[at + 1].startswith("Within a prompt the reward follows")
    assert any(line.startswith("Try: ") for line in lines[at:])
    assert "early warning: M3 falls, probability" in lines[1] and "fitted on the sandbox" in called.stdout


def test_a_run_of_an_earlier_version_says_what_it_lacks(call: Callable, store_root: Path) -> None:
    called = call("health", "demo-srlm", "--store", str(store_root))
    assert called.code == 0
    text = " ".join(called.stdout.split())
    assert "early warning: not computable, because M2 lacks kl_previous" in text
    assert "not computable, because the run was imported, or made before this was measured: " in text


def test_json_holds_every_finding_and_the_early_warning(call: Callable, measured: Path) -> None:
    found = json.loads(call("health", "m", "--json", "--store", str(measured)).stdout)
    findings = {finding["key"]: finding for finding in found["findings"]}
    assert len(findings) > 30
    assert findings["tau_anchor"] | {"meaning": "", "advice": ""} == {
        "key": "tau_anchor", "title": "tau to the anchor", "model": "M2", "value": 0.1, "shown": "+0.10",
        "threshold": "below 0.1, or half of M1's", "status": "warn", "meaning": "", "advice": "",
        "history": [{"model": "M1", "value": 0.5}, {"model": "M2", "value": 0.1}],
        "sentence": "M2: tau to the anchor is +0.10, which chance gives too (0 ± 0.40)", "filter_text": "anchor<=0",
        "metric": ["agree", "tau_anchor"], "warned": ["M2"],
    }  # fmt: skip
    early = found["early_warning"]
    assert (early["model"], early["origin"]) == ("M2", "fitted on the sandbox")
    assert 0 <= early["probability"] <= 1 and early["features"] == {
        "last_step": pytest.approx(math.log(1.1)),
        "is_first": 0.0,
        "first_push": 0.0,
        "growth": pytest.approx(math.log(2)),
    }
    assert early["status"] == ("warn" if early["probability"] >= early["threshold"] else "ok")


def test_an_unknown_run_is_refused(call: Callable, store_root: Path) -> None:
    called = call("health", "nobody", "--store", str(store_root))
    assert called.code == 2 and "nobody" in called.stderr and "Traceback" not in called.stderr


def test_hostile_names_reach_no_terminal(call: Callable, nasty_root: Path) -> None:
    called = call("health", "a", "--store", str(nasty_root))
    assert called.code == 0 and "\x1b" not in called.stdout and "\u202e" not in called.stdout


def test_a_study_is_asked_by_arm_in_how_many_runs_what_warns(call: Callable, tmp_path: Path) -> None:
    """Two arms; of the runs of srlm one has the warnings of ``MEASURES``, the other none of these measures."""
    recorder = Recorder(open_store(tmp_path / "store"))
    arms, runs = [], {}
    for method, seed in (("srlm", 0), ("srlm", 1), ("cream", 0)):
        run = recorder.record(f"st-{method}-s{seed}", method, seed=seed)
        arms.append(NewArm(method, method, seed, run.name, "{}", run.run_id))
        runs[method, seed] = run
    calm = {
        label: {**values, "distinct_2": 0.5} if "distinct_2" in values else values for label, values in MEASURES.items()
    }
    add_measures(recorder.store, runs["srlm", 0])
    add_measures(recorder.store, runs["srlm", 1], calm)
    create_study(recorder.store, "st", "{}", jobs=1, arms=arms)
    create_study(recorder.store, "empty", "{}", jobs=1, arms=[NewArm("srlm", "srlm", 9, "empty-s9", "{}")])
    at = ("--store", str(tmp_path / "store"))
    called = call("health", "st", *at)
    assert called.code == 0
    lines = called.stdout.splitlines()
    at_bigrams = lines.index("! distinct bigrams")
    assert lines[at_bigrams + 1] == "  in some runs of: srlm (1 of 2)"
    assert lines[at_bigrams + 2].startswith("  for example: srlm, seed 0: M2: ")
    at_lengths = lines.index("! reward and length within a prompt")
    assert lines[at_lengths + 1] == "  warns in every run of: srlm"
    early = next(line for line in lines if line.startswith("srlm "))
    records = json.loads(call("health", "st", "--json", *at).stdout)["runs"]
    assert [(record["arm"], record["seed"], record["name"]) for record in records] == [
        ("srlm", 0, "st-srlm-s0"),
        ("srlm", 1, "st-srlm-s1"),
        ("cream", 0, "st-cream-s0"),
    ]
    assert records[0] == {"arm": "srlm", "seed": 0} | json.loads(call("health", "st-srlm-s0", "--json", *at).stdout)
    known = [record["early_warning"] for record in records[:2]]
    assert [one["status"] for one in known] == ["warn", "warn"]
    assert early.split() == ["srlm", "2", "M2", "(2)", "M3", "(2)", "2", "of", "2", "–"]
    called = call("health", "empty", *at)
    assert (called.code, called.stdout) == (2, "") and "empty: no run has begun yet" in called.stderr
