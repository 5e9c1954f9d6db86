"""Start, resume, fork, stop and delete runs: what the command line and the app call. Torch-free, returns at once.

A run's work happens in a detached supervisor; this module only writes its row and starts or signals it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from db.paths import StorePaths
from db.queries import find_run, read_lease
from db.reading import open_reader
from db.rows import Lease, NewRun, NewStage, RunRow
from db.session import open_store
from db.writes import create_run, mark_run_stopped, request_stop, requeue_run
from db.writes import delete_run as delete_run_row
from engine.artifacts import Base, check_model_folder, compute_folder_digest, resolve_base
from engine.config.load import apply_overrides, compute_config_digest, dump
from engine.config.run import RunConfig
from engine.config.shipped import find_configs_folder
from engine.errors import BackendError, CheckpointError, ConfigError, find_nearest
from engine.plan import Segment, StageSpec, plan_run
from engine.runtime.lineage import read_salt, read_segments, write_lineage
from engine.runtime.process import is_alive, signal_holder
from engine.runtime.provenance import describe_origin
from engine.tasks.check import check_data

__all__ = ["check_config", "delete_run", "fork_run", "is_alive", "resume_run", "start_run", "stop_run"]

BACKEND_REASON = "hf: the only sampling backend of this version"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.05


def start_run(root: Path, config: RunConfig, *, tags: Sequence[str] = (), reuse: bool = True) -> RunRow:
    """Create a run and start its supervisor; return once that has taken the run.

    Raises:
        ConfigError, TaskError, CheckpointError: something the configuration names is missing or unusable.
        StoreError: the store cannot be written.
    """
    config = _resolve_backend(config)
    check_config(config)
    base = _resolve_base(config)
    run = _create(root, config, [], base, tags=tags, salt=None if reuse else uuid.uuid4().hex)
    _spawn(root, run)
    return run


def check_config(config: RunConfig) -> None:
    """Make every check of ``start_run`` that needs neither computing nor the network.

    Raises:
        ConfigError, TaskError, CheckpointError: as ``start_run``.
    """
    _check_rewards(config)
    check_data(config)
    if config.model.path is not None and Path(config.model.path).is_dir():
        check_model_folder(Path(config.model.path))


def resume_run(root: Path, run: RunRow) -> RunRow:
    """Start a supervisor for what is left of a run; a finished run is returned as it is.

    Raises:
        LeaseHeldError: a live supervisor works on it.
        CheckpointError: the model folder has changed since.
    """
    if run.state == "done":
        return run
    _check_base(run)
    requeue_run(open_store(root), run.run_id, is_alive=is_alive)
    _spawn(root, run)
    return _reread(root, run)


def fork_run(
    root: Path,
    run: RunRow,
    *,
    at: str,
    overrides: Sequence[str] = (),
    method: str | None = None,
    seed: int | None = None,
    name: str | None = None,
    tags: Sequence[str] = (),
) -> RunRow:
    """Start a run that shares everything up to and including model ``at`` and goes its own way from there.

    Raises:
        ConfigError: the run has no such model, or an override changes what lies before it.
    """
    last_iteration = _find_fork_point(run, at)
    segments = read_segments(run)
    own = segments[-1].config
    config = _resolve_backend(
        apply_overrides(own, overrides=overrides, method=method, seed=seed, name=name or f"{run.name}-{at}")
    )
    _check_fork(own, config, at)
    _check_base(run)
    if config.iterations <= last_iteration:
        raise ConfigError(
            f"iterations = {config.iterations} ends at M{config.iterations + 1}: nothing is left after {at}",
            hint=f"set iterations to more than {last_iteration}",
            key="iterations",
            value=config.iterations,
        )
    _check_rewards(config)
    check_data(config)
    earlier = [s for s in segments if s.last_iteration is not None and s.last_iteration < last_iteration]
    covering = next(s for s in segments if s.last_iteration is None or s.last_iteration >= last_iteration)
    earlier.append(Segment(covering.config, last_iteration))
    base = Base(Path(run.base_folder), run.base_digest)
    fork = _create(root, config, earlier, base, tags=tags, salt=read_salt(run), parent=run, fork_at=at)
    _spawn(root, fork)
    return fork


def stop_run(root: Path, run: RunRow) -> str:
    """Ask the supervisor to stop, wait for it, kill its process group if it does not; return the final state."""
    store = open_store(root)
    lease = _read_lease(root, run)
    if lease is None or not is_alive(lease):
        if _reread(root, run).state in ("running", "queued"):
            mark_run_stopped(store, run.run_id, "stopped", None)
        return _reread(root, run).state
    request_stop(store, run.run_id)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        lease = _read_lease(root, run)
        if lease is None:
            return _reread(root, run).state
        if not is_alive(lease):
            break
        time.sleep(POLL_S)
    if lease is not None:
        signal_holder(lease, 9)
        mark_run_stopped(store, run.run_id, "stopped", None)
    return _reread(root, run).state


def delete_run(root: Path, run: RunRow) -> None:
    """Drop a run's row and links; stages that other runs use stay. Refuses a run that is being worked on."""
    delete_run_row(open_store(root), run.run_id, is_alive=is_alive)


def _resolve_base(config: RunConfig) -> Base:
    model = config.model
    return resolve_base(model.kind, model.path, model.revision, configs_folder=find_configs_folder())


def _resolve_backend(config: RunConfig) -> RunConfig:
    """Return the config with ``auto`` replaced by what is there."""
    return config.model_copy(update={"sampling": config.sampling.model_copy(update={"backend": "hf"})})


def _check_rewards(config: RunConfig) -> None:
    """Refuse a run whose every reward would be zero at t = 1."""
    uses_implicit = "implicit:current" in config.method.aggregate.scorers
    if config.data.sft is None and config.iterations and uses_implicit:
        raise ConfigError(
            "data.sft: none makes M1 equal to M0, so the implicit reward of M1 is 0 for every response and ranks none",
            hint="give data.sft, or use a method that ranks otherwise, such as oracle",
            key="data.sft",
        )
    if config.scoring.first_iteration == "skip" and "implicit:previous" in config.method.aggregate.scorers:
        raise ConfigError(
            "scoring.first_iteration: skip leaves implicit:previous without a score at t = 1; the method ranks by it",
            hint="use mean_loglik or sum_loglik",
            key="scoring.first_iteration",
            value="skip",
        )


def _check_fork(own: RunConfig, config: RunConfig, at: str) -> None:
    """Refuse what would change the shared part of a fork, or use its prompts a second time."""
    if (config.model, config.data.sft, config.data.sft_examples, config.sft) != (
        own.model,
        own.data.sft,
        own.data.sft_examples,
        own.sft,
    ):
        raise ConfigError(
            f"a fork at {at} keeps its model and SFT, which lie before it",
            hint="start a new run to change model or sft",
        )
    data = config.data
    if data.prompts == own.data.prompts and data.prompts_per_iteration != own.data.prompts_per_iteration:
        raise ConfigError(
            f"a fork keeps data.prompts_per_iteration = {own.data.prompts_per_iteration}: with another number its "
            "iterations would meet prompts again that were used before the fork",
            hint="start a new run, or give the fork other data.prompts",
            key="data.prompts_per_iteration",
            value=data.prompts_per_iteration,
        )


def _check_base(run: RunRow) -> None:
    if compute_folder_digest(Path(run.base_folder)) != run.base_digest:
        raise CheckpointError(
            f"the model folder {run.base_folder} has changed since {run.name} was started",
            hint="bring the old files back, or start a new run",
        )


def _find_fork_point(run: RunRow, at: str) -> int:
    models = [f"M{i}" for i in range(1, run.iterations + 2)]
    if at not in models:
        nearest = find_nearest(at, models)
        raise ConfigError(
            f"--at {at}: {run.name} has the models {models[0]} to {models[-1]}",
            hint=f"did you mean {nearest}?" if nearest else None,
            key="at",
            value=at,
        )
    return int(at[1:]) - 1


def _create(
    root: Path,
    config: RunConfig,
    earlier: Sequence[Segment],
    base: Base,
    *,
    tags: Sequence[str],
    salt: str | None,
    parent: RunRow | None = None,
    fork_at: str | None = None,
) -> RunRow:
    stages = plan_run([*earlier, Segment(config, None)], base_digest=base.digest, salt=salt)
    new = NewRun(
        name=config.name,
        method=config.method.name,
        seed=config.seed,
        iterations=config.iterations,
        config_json=json.dumps(dump(config)),
        config_digest=compute_config_digest(config),
        lineage_json=write_lineage(earlier, salt=salt),
        base_folder=str(base.folder),
        base_digest=base.digest,
        provenance_json=json.dumps(describe_origin() | {"backend_reason": BACKEND_REASON}),
        parent_run_id=parent.run_id if parent else None,
        fork_at=fork_at,
        reuse=salt is None,
        tags=tuple(tags),
    )
    return create_run(open_store(root), new, [_as_new_stage(spec) for spec in stages])


def _as_new_stage(spec: StageSpec) -> NewStage:
    return NewStage(key=spec.key, name=spec.name, iteration=spec.iteration, label=spec.label)


def _spawn(root: Path, run: RunRow) -> None:
    """Start the supervisor in a session of its own and wait until it holds the lease.

    Raises:
        BackendError: it ended before; the message carries the end of its log, and the run is marked as failed.
    """
    try:
        _start_supervisor(root, run)
    except (BackendError, OSError) as error:
        mark_run_stopped(open_store(root), run.run_id, "failed", str(error))
        raise


def _start_supervisor(root: Path, run: RunRow) -> None:
    paths = StorePaths(Path(root).absolute())
    log = paths.supervisor_log(run.run_id)
    log.parent.mkdir(parents=True, exist_ok=True)
    config = json.loads(run.config_json)
    (log.parent / "config.json").write_text(json.dumps(config, indent=1))
    threads = str(config["resources"]["threads"])
    environment = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    former = _read_lease(root, run)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "engine.runtime.supervisor", str(paths.root), run.run_id],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env=environment,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        lease = _read_lease(root, run)
        if lease is not None and (former is None or lease.token != former.token):
            return
        if process.poll() is not None:
            if _reread(root, run).state != "queued":
                return
            raise BackendError(f"the supervisor ended at once: {_last_line(log)}", hint=f"its log: {log}")
        time.sleep(POLL_S)
    raise BackendError(f"the supervisor did not start within {START_TIMEOUT_S:.0f} s", hint=f"its log: {log}")


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"


def _read_lease(root: Path, run: RunRow) -> Lease | None:
    with closing(open_reader(root)) as reader:
        return read_lease(reader, run.run_id)


def _reread(root: Path, run: RunRow) -> RunRow:
    with closing(open_reader(root)) as reader:
        return find_run(reader, run.run_id)
