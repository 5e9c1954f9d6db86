"""`sweep` and what the other commands do with a study: plans, bad input, a study that is done, its end."""

from __future__ import annotations

import json
import resource
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from db.reading import open_reader
from db.rows import NewRun, NewStage
from db.session import open_store
from db.studies import StudyRow, find_study
from db.study_writes import NewArm, acquire_study_lease, create_study, end_study, set_arm_error
from db.writes import acquire_lease, create_run
from engine.config.load import compute_config_digest, dump
from engine.config.study import load_study
from engine.runtime.process import build_lease, is_alive
from engine.runtime.sampling_backend import resolve_backend
from engine.runtime.study_plan import plan_study

STUDY = """\
name: wide
config: sandbox
methods: [srlm, cream, oracle, random, smoothing]
seeds: {from: 0, count: 10}
set: {iterations: 2}
"""


FEW = STUDY.replace("count: 10", "count: 1")


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    return file


def record_done(root: Path, file: Path) -> StudyRow:
    """Every run of the study with its real stages, done, without what they computed."""
    study, store, arms = load_study(str(file)), open_store(root), []
    for arm in plan_study(root, study).arms:
        config = resolve_backend(arm.arm.config)
        new = NewRun(
            name=config.name,
            method=arm.arm.method,
            seed=arm.arm.seed,
            iterations=config.iterations,
            config_json=json.dumps(dump(config)),
            config_digest=compute_config_digest(config),
            lineage_json='{"segments": [], "salt": null}',
            base_folder="/m",
            base_digest="m",
            provenance_json="{}",
        )
        labels = [NewStage(key, "evaluate", 0, f"stage {place}") for place, key in enumerate(arm.keys)]
        run = create_run(store, new, labels)
        arms.append(NewArm(arm.arm.title, new.method, new.seed, new.name, json.dumps(dump(arm.arm.config)), run.run_id))
    with closing(sqlite3.connect(root / "cream.db")) as c:
        c.execute("UPDATE run SET state = 'done'")
        c.execute("UPDATE stage SET state = 'done'")
        c.commit()
    study_id = create_study(store, study.name, study.config.model_dump_json(), jobs=2, arms=arms)
    end_study(store, study_id)
    with closing(open_reader(root)) as c:
        return find_study(c, study_id)


def test_a_dry_run_counts_stages_and_starts_nothing(tmp_path: Path, study_file: Path, call: Callable[..., Any]) -> None:
    """5 methods x 10 seeds; M0's evaluation is one for all, a seed's first stages are one for all methods."""
    store = tmp_path / "store"
    called = call("sweep", str(study_file), "--dry-run", "--json", "--jobs", "3", "--store", str(store))
    assert (called.code, called.stderr) == (0, "")
    plan = json.loads(called.stdout)
    assert len(plan["arms"]) == 50
    assert plan["jobs"] == 3
    assert plan["n_asked"] == sum(arm["n_stages"] for arm in plan["arms"])
    assert plan["n_distinct"] == sum(arm["n_new"] for arm in plan["arms"])
    assert [arm["n_shared"] for arm in plan["arms"][:3]] == [0, 1, 1]  # seeds of the first method share M0 alone
    assert not store.exists()
    text = call("sweep", str(study_file), "--dry-run", "--store", str(store))
    assert "wide  50 runs of sandbox: 5 arms x 10 seeds" in text.stdout
    assert "unknown: the store has no finished stage like these" in text.stdout
    assert "nothing was started" in text.stderr
    assert not store.exists()


def test_a_done_study_again_starts_nothing_within_seconds(
    tmp_path: Path, study_file: Path, spawn: Callable[..., Any]
) -> None:
    """50 runs: no run is new, no process is started.

    A run has 15 stages, 17 where the verifier or chance ranks: 3 * 150 + 2 * 170. M0's evaluation is one for all. SFT,
    M1's evaluation, first samples, scores, and the first agree stage of the four methods without agreement are one for
    each seed. What is left of a seed: 9 of srlm and smoothing, 10 of cream, 11 of oracle and random.
    1 + 10 * (5 + 2 * 9 + 10 + 2 * 11) = 551.
    """
    root = tmp_path / "store"
    study = record_done(root, study_file)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    called = spawn("sweep", str(study_file), "--store", str(root))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 20
    assert called.returncode == 0, called.stderr
    words = " ".join(called.stdout.decode().split())
    assert "50 runs asked for 790 stages with 551 distinct keys: 0 run now, 551 reused." in words
    with closing(open_reader(root)) as c:
        assert find_study(c, "wide").study_id == study.study_id
        assert c.execute("SELECT count(*) FROM run").fetchone()[0] == 50
        assert c.execute("SELECT count(*) FROM lease").fetchone()[0] == 0
    assert not (root / "studies").exists()


def test_commands_take_a_study(tmp_path: Path, study_file: Path, call: Callable[..., Any]) -> None:
    root = tmp_path / "store"
    study = record_done(root, study_file)
    at = ("--store", str(root))
    listed = call("ls", *at).stdout
    assert listed.count("\n") == 2
    assert "5 arms × 10 seeds" in listed
    assert call("ls", "--flat", *at).stdout.count("wide-") == 50
    assert {run["study"] for run in json.loads(call("ls", "--json", *at).stdout)} == {"wide"}
    shown = call("show", "wide", *at).stdout
    assert study.study_id in shown
    assert [line.split()[:2] for line in shown.splitlines() if "10/10" in line] == [
        [method, "10/10"] for method in ("srlm", "cream", "oracle", "random", "smoothing")
    ]
    assert call("ls", "--filter", "study=wide", *at).stdout.count("wide-") == 50
    assert json.loads(call("show", study.study_id, "--json", *at).stdout)["state"] == "done"
    assert "wide is done already" in call("resume", "wide", *at).stderr
    assert call("stop", "wide", *at).stderr == "wide is done already\n"
    assert call("resume", "wide", "--queue", *at).code == 2
    assert call("watch", "wide", *at).code == 0
    assert call("show", "wide-cream-s3", *at).code == 0
    assert (
        "wide is a study, and this takes one run\n  name one of its runs: wide-srlm-s0 ("
        in call("pairs", "wide", *at).stderr
    )
    assert "Say --yes" in call("rm", "wide", *at).stderr
    assert "removed wide and 50 runs" in call("rm", "wide", "--yes", *at).stderr
    assert "no runs in" in call("ls", *at).stderr


def test_failures_are_told_once_and_decide_the_exit_code(
    tmp_path: Path, study_file: Path, call: Callable[..., Any]
) -> None:
    root = tmp_path / "store"
    study = record_done(root, study_file)
    store = open_store(root)
    with closing(sqlite3.connect(root / "cream.db")) as c:
        c.execute("UPDATE study_arm SET run_id = NULL WHERE position < 6")
        c.commit()
    for position in range(6):
        set_arm_error(store, study.study_id, position, f"no such file\nthe log: /runs/{position}.log")
    called = call("watch", "wide", "--store", str(root))
    assert called.code == 1
    assert called.stderr.count("no such file") == 1
    assert "srlm seed 0, srlm seed 1, srlm seed 2, srlm seed 3 and 2 more: no such file" in called.stderr
    assert "6 of 50 runs are not done. Go on with: cream-tui resume wide" in called.stderr


def test_a_dry_run_tells_what_the_file_has_changed_and_a_printed_command_can_be_pasted(
    tmp_path: Path, study_file: Path, call: Callable[..., Any]
) -> None:
    few = STUDY.replace("count: 10", "count: 1").replace("name: wide", "name: 'a > b'")
    study_file.write_text(few)
    root = tmp_path / "store"
    record_done(root, study_file)
    assert "compare its arms: cream-tui compare 'a > b'" in call("watch", "a > b", "--store", str(root)).stderr
    study_file.write_text(few.replace("random, ", "vote, "))
    told = call("sweep", str(study_file), "--dry-run", "--store", str(root)).stderr
    assert "added: vote seed 0\nno arm any more: random seed 0; kept as runs: a > b-random-s0\n" in told


def test_runs_that_are_not_done_are_named(tmp_path: Path, study_file: Path, call: Callable[..., Any]) -> None:
    root = tmp_path / "store"
    study = record_done(root, study_file)
    with closing(sqlite3.connect(root / "cream.db")) as c:
        c.execute("UPDATE run SET state = 'stopped' WHERE name LIKE 'wide-cream-%' AND seed > 1")
        c.execute("UPDATE study_arm SET run_id = NULL WHERE position = 0")
        c.commit()
    set_arm_error(open_store(root), study.study_id, 0, "no such file")
    shown = call("show", "wide", "--store", str(root))
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["srlm", "9/10", "failed"] in [line[:3] for line in lines]
    assert ["cream", "2/10", "stopped"] in [line[:3] for line in lines]
    names = ", ".join(f"wide-cream-s{seed}" for seed in range(2, 8))
    assert f"stopped: {names} and 2 more" in " ".join(shown.stdout.split())
    assert "error: srlm seed 0: no such file" in shown.stderr


def test_a_baseline_alone_changes_what_is_stored_and_no_run(
    tmp_path: Path, study_file: Path, call: Callable[..., Any]
) -> None:
    """The stored study is of a time before the key; later the file names an arm, then none again."""
    root = tmp_path / "store"
    before = record_done(root, study_file)
    with closing(sqlite3.connect(root / "cream.db")) as c:
        c.execute("UPDATE study SET config_json = json_remove(config_json, '$.baseline')")
        c.commit()

    def sweep(*words: str) -> tuple[str, StudyRow]:
        called = call("sweep", str(study_file), "--store", str(root), *words)
        assert called.code == 0, called.stderr
        with closing(open_reader(root)) as c:
            assert c.execute("SELECT count(*) FROM run").fetchone()[0] == 50
            return called.stderr, find_study(c, "wide")

    assert "baseline: " not in sweep()[0]
    study_file.write_text(f"{STUDY}baseline: cream\n")
    told, dry = sweep("--dry-run")
    assert "baseline: cream instead of the first arm\n" in told and dry.baseline is None
    told, after = sweep()
    assert "baseline: cream instead of the first arm\n" in told
    assert (after.study_id, after.jobs, after.finished_at) == (before.study_id, before.jobs, before.finished_at)
    assert after.baseline == "cream"
    study_file.write_text(STUDY)
    assert sweep()[1].baseline is None


@pytest.mark.parametrize(
    ("change", "arguments", "part"),
    [
        (("srlm", "crem"), (), "unknown method crem; did you mean cream?"),
        (("iterations: 2", "trainng.beta: 2"), (), "unknown key trainng"),
        (("count: 10", "count: 0"), (), "seeds.count = 0 is no whole number from 1"),
        (("", ""), ("--set", "training.bta=1"), "--set: unknown key training.bta"),
        (("", ""), ("--set", "seed=3"), "error: --set.seed: a study has `seeds` for that\n  Write --seeds 3.\n"),
        (("iterations: 2", "data.prompts: no.jsonl"), (), "/study.yaml: srlm: data.prompts: "),
        (("", ""), ("--jobs", "0"), "--jobs 0: is no whole number above 0"),
        (("", ""), ("--config", "sandbx"), "no configuration sandbx"),
        (("srlm,", "reward-model,"), (), "reward-model: "),
        (("iterations: 2}", "iterations: 2}\nbaseline: crem"), (), "baseline crem: no arm is called so; did you mean"),
    ],
)
def test_bad_input_is_one_message_before_anything_starts(
    tmp_path: Path,
    study_file: Path,
    call: Callable[..., Any],
    change: tuple[str, str],
    arguments: tuple[str, ...],
    part: str,
) -> None:
    study_file.write_text(STUDY.replace(*change))
    called = call("sweep", str(study_file), *arguments, "--store", str(tmp_path / "store"))
    assert called.code == 2
    assert part in called.stderr
    assert called.stderr.count("error:") == 1
    assert called.stdout == ""
    assert not (tmp_path / "store").exists()


def test_what_keeps_arms_from_starting_is_told_of_all(
    tmp_path: Path, study_file: Path, call: Callable[..., Any]
) -> None:
    """Two methods ask for the same file that is not there: that is one line."""
    lost = "".join(f", {{name: {name}, set: {{data.prompts: lost.jsonl}}}}" for name in ("vote", "reversed"))
    study_file.write_text(STUDY.replace("srlm,", "reward-model,").replace("smoothing]", f"smoothing{lost}]"))
    called = call("sweep", str(study_file), "--dry-run", "--store", str(tmp_path / "store"))
    told = called.stderr.splitlines()
    assert (called.code, len(told)) == (2, 2)
    assert told[0].startswith(f"error: {study_file}: reward-model: method.scorers: reward_model:rm needs ")
    assert told[1].startswith(f"{study_file}: vote prompts=lost.jsonl: data.prompts: ")


def test_a_wrong_limit_of_the_machine_is_told_before_anything_starts(
    tmp_path: Path, study_file: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREAM_SLOTS", "two")
    called = call("sweep", str(study_file), "--jobs", "1", "--store", str(tmp_path / "store"))
    assert called.code == 2
    assert "$CREAM_SLOTS = 'two': is no whole number above 0" in called.stderr
    assert not (tmp_path / "store").exists()


def test_a_study_may_not_be_called_like_a_run(
    tmp_path: Path, study_file: Path, call: Callable[..., Any], recorder: Any
) -> None:
    recorder.record("wide", "cream")
    for words in ("--detach", "--dry-run"):
        called = call("sweep", str(study_file), words, "--store", str(tmp_path / "store"))
        assert called.code == 2
        assert "a run is called wide already, and studies and runs share their names" in called.stderr
        assert called.stdout == ""


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_store_that_cannot_be_made_is_told_by_the_dry_run(
    tmp_path: Path, study_file: Path, call: Callable[..., Any], place: str
) -> None:
    (tmp_path / "file").write_text("mine")
    said = []
    for words in (("sweep", str(study_file)), ("sweep", str(study_file), "--dry-run"), ("run", "sandbox", "--dry-run")):
        called = call(*words, "--store", str(tmp_path / place))
        assert called.code == 2
        said.append(called.stderr)
    assert said[0].startswith(f"error: {tmp_path / place} cannot be a store: a file is in the way")
    assert set(said) == {said[0]}


def test_what_is_gone_takes_nothing_else_with_it(
    tmp_path: Path, study_file: Path, call: Callable[..., Any], recorder: Any
) -> None:
    """`rm wi` a second time, when the study is gone, must not find the run that starts so."""
    at = ("--store", str(tmp_path / "store"))
    run = recorder.record("wider", "cream")
    study_file.write_text(FEW)
    record_done(tmp_path / "store", study_file)
    for command in (("rm", "wide-", "--yes"), ("rm", run.run_id[:5], "--yes"), ("stop", "wid")):
        called = call(*command, *at)
        assert called.code == 2
        assert "is no whole name or id of a run or study" in called.stderr
    assert "removed wide and 5 runs" in call("rm", "wide", "--yes", *at).stderr
    called = call("rm", "wide", "--yes", *at)
    assert called.code == 2
    assert f"it may mean wider ({run.run_id})" in called.stderr
    assert call("show", "wide", *at).code == 0
    assert call("rm", run.run_id, "--yes", *at).stderr == "removed wider\n"


def test_a_running_study_is_said_to_run(tmp_path: Path, study_file: Path, call: Callable[..., Any]) -> None:
    """By resume and by sweep, which may give it another number of runs at once; no second process is started."""
    root = tmp_path / "store"
    study_file.write_text(FEW)
    study = record_done(root, study_file)
    with closing(sqlite3.connect(root / "cream.db")) as c:
        c.execute("UPDATE run SET state = 'stopped' WHERE name = 'wide-cream-s0'")
        c.commit()
    acquire_study_lease(open_store(root), build_lease(study.study_id), is_alive=is_alive)
    for words in (("resume", "wide"), ("sweep", str(study_file), "--jobs", "1")):
        called = call(*words, "--detach", "--store", str(root))
        assert called.code == 0, called.stderr
        assert f"wide ({study.study_id}) is running already; store {root}\n" in called.stderr
        assert called.stdout.endswith(f"{study.study_id}\n")
    assert "at once: 1 run instead of 2\n" in called.stderr
    assert not (root / "studies").exists()
    study_file.write_text(STUDY.replace("count: 10", "count: 2"))
    called = call("sweep", str(study_file), "--store", str(root))
    assert "5 of its runs are new, 0 are gone, 0 read other files" in called.stderr


def lose_runner(root: Path, study: StudyRow) -> None:
    """The study's process was killed long ago."""
    lease = replace(build_lease(study.study_id), pid_started_at=0, heartbeat_at=0.0)
    acquire_study_lease(open_store(root), lease, is_alive=is_alive)


def test_a_study_whose_process_was_killed_is_told_alike_by_all(
    tmp_path: Path, study_file: Path, call: Callable[..., Any]
) -> None:
    """A run had failed, another goes on in the store although its process is gone as well."""
    root = tmp_path / "store"
    study_file.write_text(FEW)
    study = record_done(root, study_file)
    lose_runner(root, study)
    with closing(sqlite3.connect(root / "cream.db")) as c:
        c.execute("UPDATE run SET state = 'failed' WHERE name = 'wide-cream-s0'")
        c.execute("UPDATE run SET state = 'running' WHERE name = 'wide-oracle-s0'")
        c.commit()
    at = ("--store", str(root))

    def show() -> str:
        return str(json.loads(call("show", "wide", "--json", *at).stdout)["state"])

    assert show() == "stale"
    told = call("stop", "wide", *at).stderr
    assert "wide is failed (3/5 done, 1 failed, 1 stopped); go on with: cream-tui resume wide" in told
    assert show() == "failed"
    assert " failed  3/5 runs " in call("ls", *at).stdout
    assert call("stop", "wide", *at).stderr == "wide is failed already\n"


def test_a_study_whose_runs_came_to_their_end_without_its_process_is_done(
    tmp_path: Path, study_file: Path, call: Callable[..., Any]
) -> None:
    root = tmp_path / "store"
    study_file.write_text(FEW)
    lose_runner(root, record_done(root, study_file))
    at = ("--store", str(root))
    assert json.loads(call("show", "wide", "--json", *at).stdout)["state"] == "done"
    for verb in ("stop", "resume"):
        assert call(verb, "wide", *at).stderr == "wide is done already\n"
    called = call("sweep", str(study_file), *at)
    assert (called.code, "process is gone" in called.stderr) == (0, False)


def test_a_study_that_never_began_is_stopped_once(tmp_path: Path, study_file: Path, call: Callable[..., Any]) -> None:
    root = tmp_path / "store"
    study_id = create_study(open_store(root), "wide", "{}", jobs=1, arms=[NewArm("cream", "cream", 0, "w", "{}")])
    at = ("--store", str(root))
    assert "wide is stopped (0/1 done, 1 to go); go on with" in call("stop", study_id, *at).stderr
    assert call("stop", "wide", *at).stderr == "wide is stopped already\n"


def test_of_two_sweeps_at_once_one_starts_the_study(
    tmp_path: Path, study_file: Path, spawn: Callable[..., Any], call: Callable[..., Any]
) -> None:
    """A run of somebody else, here of this process, has the only slot: the study computes nothing."""
    root = tmp_path / "store"
    store = open_store(root)
    busy = create_run(store, NewRun("busy", "cream", 0, 1, "{}", "d", "{}", "/m", "m", "{}"), [])
    acquire_lease(store, build_lease(busy.run_id), is_alive=is_alive)
    study_file.write_text(FEW)
    at = ("--store", str(root))

    def sweep(_: int) -> str:
        called = spawn("sweep", str(study_file), "--detach", *at, env={"CREAM_SLOTS": "1"})
        assert called.returncode == 0, called.stderr
        return str(called.stderr.decode().splitlines()[0])

    try:
        with ThreadPoolExecutor(2) as pool:
            told = list(pool.map(sweep, range(2)))
    finally:
        end = call("stop", "wide", *at).stderr
    with closing(open_reader(root)) as c:
        study_id = find_study(c, "wide").study_id
    words = [f"wide ({study_id}) {word}; store {root}" for word in ("is running already", "started")]
    assert sorted(told) == words
    assert "wide is stopped (0/5 done, 5 to go)" in end


def test_a_study_of_one_run_is_shown_not_compared(tmp_path: Path, study_file: Path, call: Callable[..., Any]) -> None:
    study_file.write_text("name: one\nconfig: sandbox\nmethods: [srlm]\nset: {iterations: 1}\n")
    record_done(tmp_path / "store", study_file)
    at = ("--store", str(tmp_path / "store"))
    told = call("watch", "one", *at).stderr
    assert told == f"see it: cream-tui show one --store {at[1]}\n"
    assert call("show", "one", *at).code == 0


def test_a_stored_study_without_its_file_is_gone_on_with_by_resume(
    tmp_path: Path, study_file: Path, call: Callable[..., Any]
) -> None:
    study_file.write_text(FEW)
    record_done(tmp_path / "store", study_file)
    at = ("--store", str(tmp_path / "store"))
    called = call("sweep", "wide", *at)
    assert called.code == 2
    assert called.stderr.startswith("error: wide is a study of the store; sweep takes a study's file or a shipped name")
    assert f"Go on with it: cream-tui resume wide --store {at[1]}\n" in called.stderr
    assert "no study wid\n" in call("sweep", "wid", *at).stderr
