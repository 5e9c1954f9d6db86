"""Sampling and log-probs on the nodes of a Ray cluster, as Ray Data's ``map_batches`` over actors. The one door to Ray.

Every actor loads the model folder once and runs our own sampler or scorer on whole batches, so that results are those
of one machine. A file system that all nodes share is assumed and checked: an actor whose folder or libraries are not
ours refuses. An actor that dies is started anew and its batch redone. Knows no store: results come back to the caller.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from engine.artifacts import compute_folder_digest
from engine.cluster import check_address
from engine.compute.hf_sampler import HFSampler
from engine.compute.logprobs import compute_bucket
from engine.compute.models import choose_device
from engine.compute.unused_libraries import hide_unused
from engine.errors import BackendError, CheckpointError, CreamError
from engine.records import EncodedPrompt, SampledResponse, TokenSequence

# How often an actor is started anew, and a batch tried again, before the pass is given up: what kills every actor that
# takes it would otherwise be tried for ever.
MAX_RESTARTS = 5
# One batch at work and one behind it: with more, the last ones would wait in line behind a slow actor.
BATCHES_PER_ACTOR = 2
# Ray reads these when it is imported and when a cluster is started; its workers would be niced behind all else.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_worker_niceness": "0",
}
# Decide what a model computes; nodes that differ in one would rank by another model's numbers.
_PACKAGES = ("cream-tui", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Which cluster (local, auto or HOST:PORT), and what an actor takes of a node."""

    address: str
    actors: int
    gpus_per_actor: int
    threads: int


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder as every node has to find it."""

    path: str
    digest: str

    def check(self) -> Path:
        """Return the path on this node.

        Raises:
            CheckpointError: the folder is not here, or holds other files.
        """
        path, node = Path(self.path), os.uname().nodename
        if not path.is_dir():
            raise CheckpointError(
                f"the Ray node {node} has no folder {path}",
                hint="put the models, and the store's folders checkpoints and work, where every node mounts them under "
                "the same path; both may be links into a shared file system",
            )
        if (digest := compute_folder_digest(path)) != self.digest:
            raise CheckpointError(
                f"the model in {path} is another one on the Ray node {node}: digest {digest}, not {self.digest}",
                hint="give all nodes the same files",
            )
        return path


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model of a run; ``base`` is M0 where the folder holds an adapter. ``device`` is resolved on the node."""

    folder: Folder
    base: Folder | None
    dtype: str
    device: str
    is_quantised: bool
    versions: tuple[str, ...]

    def load(self) -> PreTrainedModel:
        """Return the model on this node.

        Raises:
            CheckpointError, BackendError: a folder is not here, or not the same; other libraries are installed.
        """
        if (found := read_versions()) != self.versions:
            raise BackendError(
                f"the Ray node {os.uname().nodename} has other versions than the run: {', '.join(found)} against "
                f"{', '.join(self.versions)}",
                hint="install the same versions on every node",
            )
        folder = self.folder.check()
        base_folder = folder if self.base is None else self.base.check()
        hide_unused(is_quantised=self.is_quantised)
        from engine.compute.adapters import load_policy

        return load_policy(
            folder,
            base_folder=base_folder,
            dtype=self.dtype,
            device=choose_device(self.device),
            is_quantised=self.is_quantised,
        )


class Work(Protocol):
    """What an actor does; travels to it pickled."""

    def open(self) -> Callable[[Any], Any]:
        """Return the function of a batch, everything loaded."""


@dataclass(frozen=True, slots=True)
class SamplingWork:
    """Samples batches of prompts; ``build`` makes the sampler of a loaded model."""

    files: ModelFiles
    build: Callable[[PreTrainedModel], HFSampler]

    def open(self) -> Callable[[Any], Any]:
        return self.build(self.files.load()).sample


@dataclass(frozen=True, slots=True)
class LogprobWork:
    """Sums the log-probs of buckets of sequences."""

    files: ModelFiles

    def open(self) -> Callable[[Any], Any]:
        model = self.files.load()
        return lambda bucket: compute_bucket(model, bucket)


@dataclass(frozen=True, slots=True)
class RayPool:
    """A connection to a cluster; ``open_pool`` makes one."""

    settings: PoolSettings

    def iterate_sum_logprobs(
        self, files: ModelFiles, buckets: Sequence[Sequence[TokenSequence]]
    ) -> Iterator[tuple[Sequence[TokenSequence], list[float]]]:
        """Yield each bucket with its sums, in the order in which they are finished."""
        for index, values in self.iterate_results(LogprobWork(files), buckets):
            yield buckets[index], values

    def iterate_results(self, work: Work, batches: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Yield the position and result of every batch, in the order in which they are finished.

        Raises:
            BackendError: the cluster failed. Errors of our own in an actor are raised as if it ran here.
        """
        if not batches:
            return
        ray, settings = _import_ray(), self.settings
        rows = [{"index": index, "batch": pickle.dumps(batch)} for index, batch in enumerate(batches)]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", DeprecationWarning
                )  # of the last two arguments, which have no other way
                results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                    _Actor,
                    fn_constructor_args=(settings.threads, work),
                    batch_size=1,
                    compute=ray.data.ActorPoolStrategy(
                        size=min(settings.actors, len(rows)), max_tasks_in_flight_per_actor=BATCHES_PER_ACTOR
                    ),
                    num_cpus=settings.threads,
                    num_gpus=settings.gpus_per_actor,
                    max_restarts=MAX_RESTARTS,
                    max_task_retries=MAX_RESTARTS,
                )
            for row in results.iter_rows():
                result = pickle.loads(row["result"])
                if isinstance(result, Exception):
                    raise result
                yield int(row["index"]), result
        except ray.exceptions.RayError as error:
            raise BackendError(f"the Ray cluster failed: {_last_line(error)}", hint="then go on with resume") from error


@dataclass(frozen=True, slots=True)
class RaySampler:
    """Our sampler on the actors of a pool; ``plan`` cuts batches as one machine would."""

    pool: RayPool
    work: SamplingWork
    plan: Callable[[Sequence[EncodedPrompt]], list[list[EncodedPrompt]]]

    def plan_batches(self, prompts: Sequence[EncodedPrompt]) -> list[list[EncodedPrompt]]:
        """Return the batches of the full list."""
        return self.plan(prompts)

    def sample_batches(self, batches: Sequence[Sequence[EncodedPrompt]]) -> Iterator[list[SampledResponse]]:
        """Yield the responses of each batch as actors finish."""
        for _, responses in self.pool.iterate_results(self.work, batches):
            yield responses


@contextlib.contextmanager
def open_pool(settings: PoolSettings) -> Iterator[RayPool]:
    """Connect to the cluster, or start one here, for as long as the context lasts.

    What was started here also ends with this process, however that ends.

    Raises:
        BackendError: there is no such cluster, or no node of it can hold an actor.
    """
    check_address(settings.address)
    ray = _import_ray()
    is_local = settings.address == "local"
    own = {"num_cpus": settings.actors * settings.threads, "include_dashboard": False} if is_local else {}
    try:
        ray.init(settings.address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, ValueError, RuntimeError, OSError, ray.exceptions.RayError) as error:
        raise BackendError(
            f"resources.ray.address = {settings.address}: {_last_line(error)}",
            hint="start the cluster first (ray start --head), or use local",
        ) from error
    try:
        _check_room(ray.nodes(), settings)
        yield RayPool(settings)
    finally:
        ray.shutdown()


def describe_folder(folder: Path) -> Folder:
    """Return a folder as other nodes have to find it, links resolved; reads all of it for its digest."""
    return Folder(str(folder.resolve()), compute_folder_digest(folder))


def read_versions() -> tuple[str, ...]:
    """Return what decides a model's numbers on this node."""
    return tuple(f"{package} {version(package)}" for package in _PACKAGES)


class _Actor:
    """Lives in a process of a node: opens its work with the first batch, answers with results or with our errors."""

    def __init__(self, threads: int, work: Work) -> None:
        torch.set_num_threads(threads)
        self.work = work
        self.run: Callable[[Any], Any] | None = None

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """Return the result of one row's batch, pickled."""
        (batch,) = rows["batch"]
        try:
            if self.run is None:
                self.run = self.work.open()
            result: object = self.run(pickle.loads(batch))
        except (CreamError, MemoryError, RuntimeError) as error:  # torch reports a lack of memory as RuntimeError
            result = error
        return {"index": rows["index"], "result": [pickle.dumps(result)]}


def _check_room(nodes: Sequence[dict[str, Any]], settings: PoolSettings) -> None:
    free = [node["Resources"] for node in nodes if node["Alive"]]
    if not any(n.get("CPU", 0) >= settings.threads and n.get("GPU", 0) >= settings.gpus_per_actor for n in free):
        raise BackendError(
            f"no node of the Ray cluster has {settings.threads} CPUs (resources.threads) and {settings.gpus_per_actor} "
            "GPUs (resources.ray.gpus_per_actor) for an actor; it would wait for ever",
            hint="start such nodes first, or set resources.ray.gpus_per_actor=0 to compute on CPUs",
        )


def _import_ray() -> Any:
    """Return Ray, silent and without reports to its makers."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray
    import ray.data

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return ray


def _last_line(error: Exception) -> str:
    """Return the end of a message: Ray puts its own traces before the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
