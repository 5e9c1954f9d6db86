"""A study's runner against what people and signals leave in its rows: in a thread of this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from small_runs import WAIT_S, build_config, reread, wait_until

from db.reading import open_reader
from db.rows import Lease, NewRun, NewStage, RunRow
from db.session import Store, open_store
from db.studies import StudyArm, read_study, read_study_arms
from db.study_writes import NewArm, create_study
from db.writes import acquire_lease, create_run, release_lease, requeue_run
from engine import backends
from engine.artifacts import find_base
from engine.config.load import compute_config_digest
from engine.config.run import RunConfig
from engine.config.shipped import find_configs_folder
from engine.runtime import study_runner
from engine.runtime.process import build_lease, is_alive
from engine.runtime.sampling_backend import resolve_backend
from engine.runtime.study_plan import list_stage_keys
from engine.runtime.study_runner import GONE, POLL_S, StudyRunner, is_on_gpu


def create(store: Store, config: RunConfig) -> RunRow:
    """A run as ``start_run`` writes it."""
    config = resolve_backend(config)
    base = find_base("sandbox", None, None, configs_folder=find_configs_folder())
    assert base is not None
    digest, json = compute_config_digest(config), config.model_dump_json()
    new = NewRun(config.name, "cream", 0, 1, json, digest, "{}", str(base.folder), base.digest, "{}")
    stages = [NewStage(key, "evaluate", 0, f"stage {place}") for place, key in enumerate(list_stage_keys(config))]
    return create_run(store, new, stages)


def hold(store: Store, run: RunRow) -> Lease:
    """This process is the run's supervisor."""
    lease = build_lease(run.run_id)
    acquire_lease(store, lease, is_alive=is_alive)
    return lease


def end(store: Store, lease: Lease, state: str) -> None:
    release_lease(store, lease.run_id, lease.token, state=state, exit_code=0)


def describe(run: RunRow, *, is_linked: bool) -> NewArm:
    return NewArm(run.name, "cream", 0, run.name, "{}", run.run_id if is_linked else None)


def create_held(store: Store, configs: Mapping[int, RunConfig]) -> tuple[str, list[RunRow], list[Lease]]:
    """A study whose runs go on, each with this process as its supervisor."""
    runs = [create(store, config) for config in configs.values()]
    arms = [describe(run, is_linked=True) for run in runs]
    return create_study(store, "small", "{}", jobs=len(runs), arms=arms), runs, [hold(store, run) for run in runs]


def look(root: Path, study_id: str) -> list[StudyArm]:
    with closing(open_reader(root)) as reader:
        return read_study_arms(reader, study_id)


@contextmanager
def working(
    store: Store, study_id: str, configs: Mapping[int, RunConfig]
) -> Iterator[tuple[StudyRunner, Future[None]]]:
    """A runner at work, and what tells whether it has come to its end."""
    with closing(open_reader(store.paths.root)) as reader:
        study = read_study(reader, study_id)
    assert study is not None
    runner = StudyRunner(store, study, dict(configs))
    with ThreadPoolExecutor(1) as pool:
        try:
            yield runner, pool.submit(runner.work)
        finally:
            runner.lost.set()


@pytest.fixture
def configs() -> dict[int, RunConfig]:
    return {place: build_config(name=name) for place, name in enumerate(("one", "two"))}


def test_a_run_that_is_resumed_by_hand_is_waited_for(root: Path, configs: dict[int, RunConfig]) -> None:
    """It is queued without a process until its supervisor has loaded: neither dead, nor over."""
    store = open_store(root)
    study_id, runs, (first, second) = create_held(store, configs)
    with working(store, study_id, configs) as (runner, work):
        wait_until(lambda: runner.begun == {0, 1})
        end(store, first, "stopped")
        requeue_run(store, first.run_id, is_alive=is_alive)
        end(store, second, "done")
        for _ in range(2):  # a whole look at what now stands
            before = runner.starting
            wait_until(lambda before=before: runner.starting is not before)
        assert (reread(root, runs[0]).state, work.done()) == ("queued", False)
        end(store, hold(store, runs[0]), "done")
        work.result(WAIT_S)
    assert [(arm.state, arm.error) for arm in look(root, study_id)] == [("done", None)] * 2


def test_a_start_that_was_lost_is_not_waited_for_without_end(
    root: Path, configs: dict[int, RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who resumed it was killed before its supervisor came up."""
    monkeypatch.setattr(study_runner, "START_LIMIT_S", 3 * POLL_S)
    store = open_store(root)
    study_id, runs, (first, second) = create_held(store, configs)
    with working(store, study_id, configs) as (runner, work):
        wait_until(lambda: runner.begun == {0, 1})
        end(store, first, "stopped")
        requeue_run(store, first.run_id, is_alive=is_alive)
        wait_until(lambda: reread(root, runs[0]).state == "failed")
        end(store, second, "done")
        work.result(WAIT_S)
    assert [(arm.state, arm.error) for arm in look(root, study_id)] == [("failed", GONE), ("done", None)]


def test_a_live_run_that_was_not_noted_is_taken_back(
    root: Path, configs: dict[int, RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner was killed just after it had started it; it has the machine's only slot, and keeps it."""
    monkeypatch.setenv("CREAM_SLOTS", "1")
    store = open_store(root)
    run = create(store, configs[0])
    lease = hold(store, run)
    study_id = create_study(store, "small", "{}", jobs=1, arms=[describe(run, is_linked=False)])
    with working(store, study_id, configs) as (_, work):
        wait_until(lambda: look(root, study_id)[0].run_id == run.run_id, 30)
        assert not work.done()
        end(store, lease, "done")
        work.result(WAIT_S)
    assert [(arm.state, arm.error) for arm in look(root, study_id)] == [("done", None)]


def test_a_run_that_somebody_resumes_before_its_turn_is_left_to_him(
    root: Path, configs: dict[int, RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREAM_SLOTS", "2")
    store = open_store(root)
    one, two = (create(store, config) for config in configs.values())
    first = hold(store, one)
    arms = [describe(one, is_linked=True), describe(two, is_linked=False)]
    study_id = create_study(store, "small", "{}", jobs=1, arms=arms)
    with working(store, study_id, configs) as (runner, work):
        wait_until(lambda: runner.begun == {0})
        second = hold(store, two)
        end(store, first, "done")
        wait_until(lambda: 1 in runner.begun)
        wait_until(lambda: look(root, study_id)[1].run_id == two.run_id, 30)
        end(store, second, "done")
        work.result(WAIT_S)
    assert [(arm.state, arm.error) for arm in look(root, study_id)] == [("done", None)] * 2


def test_a_run_on_the_cpu_holds_no_gpu(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(backends, "_count_devices", lambda: 1)
    store = open_store(root)
    runs = [create(store, build_config(f"resources.device={device}", name=device)) for device in ("cpu", "auto")]
    with closing(open_reader(root)) as reader:
        assert [is_on_gpu(reader, run.run_id) for run in runs] == [False, True]
