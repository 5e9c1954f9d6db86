"""Processes of one training, forked from the test so that none imports the libraries anew; gloo on the CPU."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, DistributedType, PartialState
from safetensors.torch import load_file

from engine.compute.train_job import Examples, TrainJob, run_job

Steps = dict[int, dict[str, float]]


def run_ranks(
    job: TrainJob,
    examples: Examples,
    log: Path,
    *,
    killed_at: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Steps:
    """Run a job in as many processes as it has; return what the first one reported of each step.

    With ``killed_at`` all of them die as if by kill -9 once that step is reported.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(job.settings.n_processes)}
    fork = multiprocessing.get_context("fork")
    ranks = [
        fork.Process(target=_run_rank, args=(job, examples, log, rank, killed_at, {**world, **(environment or {})}))
        for rank in range(job.settings.n_processes)
    ]
    for process in ranks:
        process.start()
    if killed_at is not None:
        ranks[0].join(120)
        for process in ranks:
            process.kill()
    for process in ranks:
        process.join(120)
    codes = [process.exitcode for process in ranks]
    if killed_at is None:
        assert not any(codes)
    else:  # the others are killed too, or miss the first one before
        assert codes[0] == -signal.SIGKILL and all(codes)
    return read_steps(log)


def read_steps(log: Path) -> Steps:
    return dict(json.loads(line) for line in log.read_text().splitlines())


def read_weights(job: TrainJob) -> dict[str, torch.Tensor]:
    """Return the trained weights of a finished job."""
    (file,) = Path(job.output_folder).glob("*.safetensors")
    return load_file(file)


def _run_rank(
    job: TrainJob, examples: Examples, log: Path, rank: int, killed_at: int | None, environment: Mapping[str, str]
) -> None:
    os.environ.update({**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)})
    AcceleratorState._reset_state(reset_partial_state=True)
    if environment.get("ACCELERATE_USE_FSDP"):
        _let_accelerate_shard_on_the_cpu()

    def report(step: int, n_steps: int, values: Mapping[str, float], has_snapshot: bool) -> None:
        assert rank == 0
        with log.open("a") as file:
            file.write(json.dumps([step, dict(values)]) + "\n")
        if step == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    run_job(job, examples, device=torch.device("cpu"), on_step=report)
    torch.distributed.barrier()
    os._exit(0)


def _let_accelerate_shard_on_the_cpu() -> None:
    """Have accelerate take gloo on the CPU for a group of GPUs: it asks for these before it shards, torch does not."""
    begin = PartialState.__init__

    def count_as_gpus(self: PartialState, *args: object, **kwargs: object) -> None:
        begin(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = count_as_gpus
