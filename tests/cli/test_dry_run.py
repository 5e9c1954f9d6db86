"""`run --dry-run`, `fork --dry-run`, `run --from`: what would be done, counted on a store with real keys."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from db import writes
from db.queries import open_reader, read_run_stages, read_runs
from db.rows import Lease, NewRun, NewStage, RunRow
from db.session import open_store
from engine.artifacts import measure_model, resolve_base
from engine.config.load import compute_config_digest, dump, load_run_config
from engine.config.shipped import find_configs_folder
from engine.plan import Segment, plan_run
from engine.runtime.intent import resolve_backend
from engine.runtime.lineage import Lineage, write_lineage

SECONDS = {"evaluate": 1.0, "train": 8.0, "sample": 2.0, "score": 4.0, "agree": 0.5, "pair": 0.5}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A finished run `first`: the sandbox with CREAM, its stages as the engine plans them, each with a set time."""
    folder = tmp_path / "store"
    config = resolve_backend(load_run_config("sandbox", name="first"))
    base = resolve_base("sandbox", None, None, configs_folder=find_configs_folder())
    specs = plan_run([Segment(config, None)], base_digest=base.digest)
    new = NewRun(
        name="first",
        method="cream",
        seed=0,
        iterations=3,
        config_json=json.dumps(dump(config)),
        config_digest=compute_config_digest(config),
        lineage_json=write_lineage(Lineage()),
        base_folder=str(base.folder),
        base_digest=base.digest,
        provenance_json="{}",
    )
    store = open_store(folder)
    run = writes.create_run(store, new, [NewStage(s.key, s.name, s.iteration, s.label) for s in specs])
    writes.acquire_lease(store, Lease(run.run_id, "t", 1, 1.0, "here", 0.0), is_alive=lambda _: True)
    with closing(open_reader(folder)) as reader:
        stages = read_run_stages(reader, run.run_id)
    for stage in stages:
        writes.claim_stage(store, stage.stage_id, run_id=run.run_id, token="t", is_alive=lambda _: True)
        writes.finish_stage(store, stage.stage_id, "t")
    writes.release_lease(store, run.run_id, "t", state="done", exit_code=0)
    store.close()
    with closing(sqlite3.connect(folder / "cream.db")) as connection, connection:
        for name, seconds in SECONDS.items():
            connection.execute("UPDATE stage SET finished_at = started_at + ? WHERE name = ?", (seconds, name))
    return folder


def ask(call: Callable, root: Path, *words: str) -> dict:
    called = call(*words, "--dry-run", "--json", "--store", str(root))
    assert called.code == 0, called.stderr
    return json.loads(called.stdout)


def list_runs(root: Path) -> list[RunRow]:
    with closing(open_reader(root)) as reader:
        return read_runs(reader)


def test_without_a_store_everything_is_new_and_times_are_unknown(call: Callable, tmp_path: Path) -> None:
    """3 x 600 prompts of 5 responses of at most 64 tokens; M1 to M4 are written; no store is made."""
    found = ask(call, tmp_path / "none", "run", "sandbox")
    assert {stage["status"] for stage in found["stages"]} == {"new"}
    assert len(found["stages"]) == 21
    assert (found["n_prompts"], found["n_responses"], found["max_tokens"]) == (1800, 9000, 576_000)
    assert found["seconds"] is None
    size = measure_model(find_configs_folder() / "models" / "sandbox")
    assert size.n_parameters == 396_960
    assert (found["n_models"], found["checkpoint_bytes"]) == (4, 4 * size.count_bytes("float32"))
    assert not (tmp_path / "none").exists()


def test_the_same_run_again_computes_nothing(call: Callable, root: Path) -> None:
    found = ask(call, root, "run", "sandbox")
    assert {(stage["status"], stage["run"]) for stage in found["stages"]} == {("reused", "first")}
    assert (found["n_prompts"], found["n_models"], found["checkpoint_bytes"], found["seconds"]) == (0, 0, 0, 0.0)
    assert len(list_runs(root)) == 1


def test_one_more_iteration_is_counted_by_finished_stages(call: Callable, root: Path) -> None:
    """t = 4 alone is new: 2 + 4 + 0.5 + 0.5 + 8 + 1 seconds, as those of the same kind took."""
    found = ask(call, root, "run", "sandbox", "--set", "iterations=4", "--name", "first")
    new = [stage["label"] for stage in found["stages"] if stage["status"] == "new"]
    assert new == ["sample t=4", "score t=4", "agree t=4", "pair t=4", "train M5", "evaluate M5"]
    assert (found["n_prompts"], found["n_responses"], found["n_models"]) == (600, 3000, 1)
    assert found["seconds"] == pytest.approx(16.0, abs=0.01)
    assert found["name"] == "first-2"


def test_time_goes_with_the_work(call: Callable, root: Path) -> None:
    """Twice the prompts and 4 epochs instead of 2: a training of 4 x 8 s, samples of 2 x 2 s; evaluations as before."""
    changes = ("--set", "data.prompts_per_iteration=1200", "--set", "training.epochs=4", "--set", "iterations=1")
    stages = {stage["label"]: stage for stage in ask(call, root, "run", "sandbox", *changes)["stages"]}
    assert stages["train M2"]["seconds"] == pytest.approx(32.0, abs=0.01)
    assert stages["sample t=1"]["seconds"] == pytest.approx(4.0, abs=0.01)
    assert stages["evaluate M2"]["seconds"] == pytest.approx(1.0, abs=0.01)
    assert stages["evaluate M1"]["status"] == "reused"


def test_no_reuse_reuses_nothing(call: Callable, root: Path) -> None:
    found = ask(call, root, "run", "sandbox", "--no-reuse")
    assert {stage["status"] for stage in found["stages"]} == {"new"}
    assert found["n_models"] == 4


def test_from_takes_the_settings_of_a_stored_run(call: Callable, root: Path) -> None:
    found = ask(call, root, "run", "--from", "first", "--set", "training.beta=0.5")
    statuses = {stage["label"]: stage["status"] for stage in found["stages"]}
    assert (statuses["pair t=1"], statuses["train M2"]) == ("reused", "new")
    assert found["name"] == "first-2"


def test_a_stage_of_a_live_run_is_shared_and_of_a_stopped_one_begun(call: Callable, root: Path) -> None:
    with closing(sqlite3.connect(root / "cream.db")) as connection, connection:
        change = (
            "UPDATE stage SET state = ?, n_done = 7 WHERE stage_id = (SELECT stage_id FROM run_stage WHERE label = ?)"
        )
        connection.execute(change, ("running", "train M4"))
        connection.execute(change, ("pending", "evaluate M4"))
    stages = {stage["label"]: stage for stage in ask(call, root, "run", "sandbox")["stages"]}
    assert (stages["train M4"]["status"], stages["train M4"]["run"]) == ("shared", "first")
    assert stages["evaluate M4"]["status"] == "begun"


def test_a_fork_shares_what_lies_before_it(call: Callable, root: Path) -> None:
    found = ask(call, root, "fork", "first", "--at", "M3", "--set", "training.beta=0.5")
    new = [stage["label"] for stage in found["stages"] if stage["status"] == "new"]
    assert new == ["train M4", "evaluate M4"]
    assert (found["name"], found["n_prompts"]) == ("first-M3", 0)


def test_the_table_says_what_is_reused_and_that_nothing_was_started(call: Callable, root: Path) -> None:
    called = call("run", "sandbox", "--set", "iterations=4", "--dry-run", "--store", str(root))
    assert called.code == 0
    assert "sample t=4" in called.stdout and "reused from first" in called.stdout
    assert "600 prompts, 3,000 responses, at most 192,000 tokens" in called.stdout
    assert "about 16 s" in called.stdout
    assert called.stderr == "nothing was started\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run", "--dry-run"), "one of CONFIG and --from RUN"),
        (("run", "sandbox", "--from", "first"), "one of CONFIG and --from RUN"),
        (("run", "--from", "frist", "--dry-run"), "first"),
        (("run", "sandbox", "--json"), "--dry-run"),
        (("run", "sandbox", "--dry-run", "--set", "training.beta=-1"), "above 0"),
        (("fork", "first", "--at", "M9", "--dry-run"), "M1 to M4"),
    ],
)
def test_wrong_use_is_one_message(call: Callable, root: Path, words: tuple[str, ...], told: str) -> None:
    called = call(*words, "--store", str(root))
    assert called.code == 2
    assert told in called.stderr
    assert called.stdout == ""
    assert len(list_runs(root)) == 1


def test_a_dry_run_of_a_hub_model_fetches_nothing(
    call: Callable, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    found = ask(call, root, "run", "sandbox", "--set", "model={kind: hf, path: nobody/nothing}")
    assert found["base_folder"] is None and found["checkpoint_bytes"] is None
    assert {stage["status"] for stage in found["stages"]} == {"new"}
