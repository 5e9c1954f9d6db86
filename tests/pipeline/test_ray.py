"""Sampling and log-probs on Ray: a real cluster of two nodes on this machine, and a run with a cluster of its own.

Every actor imports torch and transformers anew, so the tests share what they start.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from in_process import finish_here
from small_runs import build_config, find_processes, finish, is_stage, read_all, reread, wait_until
from tiny_models import build_model, make_sequences
from transformers import PreTrainedModel

from engine.cluster import check_ray
from engine.compute.hf_sampler import HFSampler, cut_batches
from engine.compute.logprobs import compute_sum_logprobs, plan_buckets
from engine.compute.ray_pool import (
    Folder,
    LogprobWork,
    ModelFiles,
    PoolSettings,
    RayPool,
    RaySampler,
    SamplingWork,
    Work,
    _Actor,
    describe_folder,
    open_pool,
    read_versions,
)
from engine.errors import BackendError, CheckpointError, ConfigError
from engine.records import EncodedPrompt, SampledResponse
from engine.runtime import control

pytest.importorskip("ray")
PROMPTS = [EncodedPrompt(f"p{i}", s.prompt) for i, s in enumerate(make_sequences(30, seed=2))]
ACTOR = "ray::MapWorker"
SEQUENCES = make_sequences(40, seed=5)
BY_RAY = ("resources.ray.address=local", "resources.ray.actors=1", "resources.ray.gpus_per_actor=0")
NO_EVALUATION = "evaluation.tasks=[]"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    folder = tmp_path_factory.mktemp("model")
    build_model().save_pretrained(folder)
    return ModelFiles(
        describe_folder(folder), base=None, dtype="float32", device="cpu", is_quantised=False, versions=read_versions()
    )


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two nodes with a CPU each, whose actors can import this module too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture(scope="module")
def pool(address: str) -> Iterator[RayPool]:
    with open_pool(PoolSettings(address, actors=2, gpus_per_actor=0, threads=1)) as opened:
        yield opened


def build_sampler(model: PreTrainedModel) -> HFSampler:
    return HFSampler(
        model=model, end_token_ids=frozenset({2, 3}), seed=0, n=3, max_new_tokens=24, batch_tokens=400, temperature=0.8
    )


@dataclass(frozen=True, slots=True)
class Slow:
    """The real work, with a pause before each batch, so that an actor can be killed at it."""

    inner: Work

    def open(self) -> Callable[[Any], Any]:
        run = self.inner.open()

        def run_later(batch: Any) -> Any:
            time.sleep(0.3)
            return run(batch)

        return run_later


def choose(processes: Iterable[psutil.Process], *names: str) -> list[psutil.Process]:
    """Those whose name starts so; Ray's come and go."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name().startswith(names):
                found.append(process)
    return found


def find_actors() -> list[psutil.Process]:
    """The actors below this process; a title ends with the method that the actor is at."""
    return choose(psutil.Process().children(recursive=True), ACTOR)


def is_at_work(actor: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return any("submit" in word for word in actor.cmdline()[:1])
    return False


def test_a_cluster_without_room_for_an_actor_is_refused(address: str) -> None:
    for settings in (PoolSettings(address, 1, 1, 1), PoolSettings(address, 1, 0, 2)):
        with pytest.raises(BackendError, match="no node of the Ray cluster has"), open_pool(settings):
            pass


def test_an_actor_killed_at_work_costs_nothing_but_time(pool: RayPool, files: ModelFiles) -> None:
    """The responses equal those of the local sampler bit for bit; the nodes had an actor each."""
    local = build_sampler(build_model())
    sampler = RaySampler(
        pool,
        Slow(SamplingWork(files, build_sampler)),
        partial(cut_batches, n=3, max_new_tokens=24, batch_tokens=400),
    )
    batches = sampler.plan_batches(PROMPTS)
    assert batches == local.plan_batches(PROMPTS) and len(batches) > 6
    found: dict[str, list[SampledResponse]] = {}
    killed: psutil.Process | None = None
    nodes: set[int] = set()
    for responses in sampler.sample_batches(batches):
        found[responses[0].prompt_id] = responses
        with contextlib.suppress(psutil.NoSuchProcess):
            nodes |= {actor.ppid() for actor in find_actors()}
        if killed is None:
            killed = next(filter(is_at_work, find_actors()), None)
            if killed is not None:
                killed.kill()
    assert killed is not None and len(nodes) == 2
    assert found == {responses[0].prompt_id: responses for responses in local.sample_batches(batches)}


def test_log_probs_equal_local_ones_bit_for_bit(pool: RayPool, files: ModelFiles) -> None:
    buckets = plan_buckets(SEQUENCES, batch_tokens=120)
    found = {}
    for bucket, values in pool.iterate_sum_logprobs(files, buckets):
        found.update(zip(bucket, values, strict=True))
    assert [found[s] for s in SEQUENCES] == compute_sum_logprobs(build_model(), SEQUENCES, batch_tokens=120)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folder": Folder("/no/such/folder", "0")}, "has no folder /no/such/folder"),
        ({"digest": "0123"}, "is another one on the Ray node"),
        ({"versions": ("cream-tui 0", "torch 0")}, "has other versions than the run"),
    ],
)
def test_a_node_that_differs_answers_with_one_message(files: ModelFiles, change: dict[str, Any], message: str) -> None:
    """What an actor answers is raised on the driver; here the actor is called without a cluster."""
    if "digest" in change:
        change = {"folder": replace(files.folder, **change)}
    work = pickle.loads(pickle.dumps(LogprobWork(replace(files, **change))))
    answer = _Actor(1, work)({"index": [3], "batch": [pickle.dumps(SEQUENCES[:1])]})
    error = pickle.loads(answer["result"][0])
    assert isinstance(error, CheckpointError | BackendError) and message in error.message and error.hint
    assert list(answer["index"]) == [3]


def test_what_does_not_fit_is_refused_before_the_run() -> None:
    with pytest.raises(ConfigError, match="does not fit resources"):
        check_ray(build_config("resources.ray.address=local", "resources.device=cpu"))
    with pytest.raises(ConfigError, match="streams no batches"):
        check_ray(build_config("resources.ray.address=ray://head:10001"))
    check_ray(build_config(*BY_RAY, "resources.device=cpu"))


def test_ray_missing_is_said_before_the_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as an import that finds none
    with pytest.raises(BackendError, match="Ray is not installed here"):
        control.start_run(root, build_config(*BY_RAY))
    assert not root.exists()


def test_an_address_where_nothing_answers_is_told_at_once() -> None:
    settings = PoolSettings("127.0.0.1:1", actors=1, gpus_per_actor=0, threads=1)
    with pytest.raises(BackendError, match="nothing answers there"), open_pool(settings):
        pass
    with pytest.raises(BackendError, match="nothing answers there"):
        check_ray(build_config("resources.ray.address=127.0.0.1:1"))
    with pytest.raises(ConfigError, match="neither local, auto nor HOST:PORT"):
        check_ray(build_config("resources.ray.address=head"))


def test_a_killed_stage_takes_its_cluster_along_and_a_resume_gives_equal_rows(root: Path, tmp_path: Path) -> None:
    """Checkpoints and work lie elsewhere, behind links, as they would on a file system that nodes share."""
    local = tmp_path / "local"
    whole = finish_here(local, build_config(NO_EVALUATION))
    for name in ("checkpoints", "work"):
        (tmp_path / "shared" / name).mkdir(parents=True)
        root.mkdir(exist_ok=True)
        (root / name).symlink_to(tmp_path / "shared" / name)
    run = control.start_run(root, build_config(NO_EVALUATION, *BY_RAY))
    wait_until(lambda: bool(choose(find_processes(root), ACTOR)))
    everything = find_processes(root)
    (raylet,) = choose(everything, "raylet")
    working = choose(everything, "raylet", "gcs_server", ACTOR)
    helpers = [p for p in choose(everything, "ray") if p not in working]  # they hold nothing, and end within a minute
    assert len(working) >= 3
    os.kill(raylet.ppid(), signal.SIGKILL)
    finish(root, run, "failed")
    assert not psutil.wait_procs(working, timeout=60)[1]
    for process in psutil.wait_procs(helpers, timeout=0)[1]:
        process.kill()
    assert is_stage(root, run, "sample t=1", "failed")
    finish(root, control.resume_run(root, reread(root, run)))
    ours, theirs = read_all(root, run), read_all(local, whole)
    assert ours.pop("runs") != theirs.pop("runs")  # the configurations differ in resources alone
    assert ours == theirs
