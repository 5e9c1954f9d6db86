"""Start, resume, fork, stop and delete runs: what the command line and the app call. Torch-free, returns at once.

A run's work happens in a detached supervisor; this module only writes its row and starts or signals it.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from db.paths import StorePaths
from db.queries import find_run, read_lease
from db.reading import open_reader
from db.rows import Lease, NewRun, NewStage, RunRow
from db.session import open_store
from db.writes import create_run, mark_run_stopped, request_stop, requeue_run
from db.writes import delete_run as delete_run_row
from engine.artifacts import Base, check_room, compute_folder_digest, resolve_base
from engine.backends import VISIBLE_DEVICES
from engine.config.load import compute_config_digest, dump
from engine.config.run import RunConfig
from engine.config.shipped import find_configs_folder
from engine.errors import BackendError, CheckpointError
from engine.plan import StageSpec
from engine.runtime.detached import POLL_S, start_detached
from engine.runtime.hub_sources import check_hub_sources
from engine.runtime.intent import check_config, plan_stages, prepare_fork
from engine.runtime.lineage import Lineage, refuse_imported, write_lineage
from engine.runtime.memory import count_checkpoint_bytes, read_shape
from engine.runtime.model_checks import check_base
from engine.runtime.process import ask_holder_to_stop, is_alive, read_slots, signal_holder
from engine.runtime.provenance import describe_model, describe_origin
from engine.runtime.reward_models import resolve_reward_models
from engine.runtime.sampling_backend import choose_backend, resolve_backend

__all__ = [
    "ask_run_to_stop",
    "check_config",
    "delete_run",
    "fork_run",
    "is_alive",
    "resume_run",
    "start_run",
    "stop_run",
]

STOP_TIMEOUT_S = 15.0


def start_run(
    root: Path,
    config: RunConfig,
    *,
    tags: Sequence[str] = (),
    reuse: bool = True,
    is_queued: bool = False,
    gpus: str | None = None,
) -> RunRow:
    """Create a run and start its supervisor; return once that has taken the run, to start it or to wait for its turn.

    Args:
        gpus: the only ones that it may use, as ``CUDA_VISIBLE_DEVICES`` names them; None for all.

    Raises:
        ConfigError, TaskError, CheckpointError: something the configuration names is missing or unusable.
        StoreError: the store cannot be written.
    """
    backend_reason = choose_backend(config).reason
    config = resolve_backend(config)
    check_config(config)
    check_hub_sources(config)
    config = resolve_reward_models(config)
    base = _resolve_base(config)
    _check_room(root, config, base)
    lineage = Lineage(salt=None if reuse else uuid.uuid4().hex)
    described = _describe(config, lineage, base, backend_reason=backend_reason)
    new = replace(described, tags=tuple(tags), is_queued=is_queued)
    return _launch(root, new, plan_stages(config, lineage, base), gpus)


def resume_run(root: Path, run: RunRow, *, is_queued: bool = False, gpus: str | None = None) -> RunRow:
    """Start a supervisor for what is left of a run, now or in its turn; a finished run is returned as it is.

    Raises:
        LeaseHeldError: a live supervisor works on it.
        CheckpointError: the model folder has changed since.
    """
    refuse_imported(run, "resume")
    if run.state == "done":
        return run
    _check_base(run)
    if is_queued:
        read_slots()
    requeue_run(open_store(root), run.run_id, is_alive=is_alive, is_queued=is_queued)
    _spawn(root, run, gpus)
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
    use_verdicts: bool = False,
    is_queued: bool = False,
) -> RunRow:
    """Start a run that shares everything up to and including model ``at`` and goes its own way from there.

    Verdicts that corrected the pairs of ``run`` hold for the fork's too, as long as its responses are the same.

    Args:
        use_verdicts: whether what a person has said of the pairs that ``at`` made for ``run`` corrects the fork's.

    Raises:
        ConfigError: the run has no such model, an override changes what lies before it, or nobody judged its pairs.
    """
    refuse_imported(run, "fork")
    _check_base(run)
    config, lineage = prepare_fork(
        root, run, at=at, overrides=overrides, method=method, seed=seed, name=name, use_verdicts=use_verdicts
    )
    check_hub_sources(config)
    config = resolve_reward_models(config)
    base = Base(Path(run.base_folder), run.base_digest)
    described = _describe(config, lineage, base, backend_reason=choose_backend(config).reason)
    new = replace(described, tags=tuple(tags), is_queued=is_queued)
    return _launch(root, replace(new, parent_run_id=run.run_id, fork_at=at), plan_stages(config, lineage, base))


def ask_run_to_stop(root: Path, run: RunRow) -> None:
    """Ask the run's supervisor to stop, and return at once; one that comes up meanwhile finds the request."""
    request_stop(open_store(root), run.run_id)
    lease = _read_lease(root, run)
    if lease is not None:
        ask_holder_to_stop(lease)


def stop_run(root: Path, run: RunRow) -> str:
    """Ask the supervisor to stop, wait for it, kill its process group if it does not; return the final state."""
    store = open_store(root)
    lease = _read_lease(root, run)
    if lease is None or not is_alive(lease):
        mark_run_stopped(store, run.run_id, "stopped", None)
        return _reread(root, run).state
    ask_run_to_stop(root, run)
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
    base = resolve_base(model.kind, model.path, model.revision, configs_folder=find_configs_folder())
    check_base(config, base.folder)
    return base


def _check_room(root: Path, config: RunConfig, base: Base) -> None:
    """Refuse a run whose first checkpoint would not fit; the training checks again for every one."""
    if config.iterations or config.data.sft is not None:
        shape = read_shape(base.folder)
        check_room(Path(root), count_checkpoint_bytes(shape, config), "the first checkpoint")


def _check_base(run: RunRow) -> None:
    folder = Path(run.base_folder)
    if not folder.is_dir():
        commit = Base(folder, run.base_digest).commit
        raise CheckpointError(
            f"the model folder {folder} of {run.name} is gone",
            hint=f"fetch commit {commit} into the hub's cache again (hf download)" if commit else "bring it back",
        )
    if compute_folder_digest(folder) != run.base_digest:
        raise CheckpointError(
            f"the model folder {run.base_folder} has changed since {run.name} was started",
            hint="bring the old files back, or start a new run",
        )


def _describe(config: RunConfig, lineage: Lineage, base: Base, *, backend_reason: str) -> NewRun:
    return NewRun(
        name=config.name,
        method=config.method.name,
        seed=config.seed,
        iterations=config.iterations,
        config_json=json.dumps(dump(config)),
        config_digest=compute_config_digest(config),
        lineage_json=write_lineage(lineage),
        base_folder=str(base.folder),
        base_digest=base.digest,
        provenance_json=json.dumps(
            describe_origin() | describe_model(config.model, base) | {"backend_reason": backend_reason}
        ),
        reuse=lineage.salt is None,
    )


def _launch(root: Path, new: NewRun, stages: Sequence[StageSpec], gpus: str | None = None) -> RunRow:
    """Write the run and start its supervisor."""
    if new.is_queued:
        read_slots()
    links = [NewStage(key=spec.key, name=spec.name, iteration=spec.iteration, label=spec.label) for spec in stages]
    run = create_run(open_store(root), new, links)
    _spawn(root, run, gpus)
    return run


def _spawn(root: Path, run: RunRow, gpus: str | None = None) -> None:
    """Start the supervisor in a session of its own and wait until it holds the lease.

    Raises:
        BackendError: it ended before; the message carries the end of its log, and the run is marked as failed.
    """
    try:
        _start_supervisor(root, run, gpus)
    except (BackendError, OSError) as error:
        mark_run_stopped(open_store(root), run.run_id, "failed", str(error))
        raise


def _start_supervisor(root: Path, run: RunRow, gpus: str | None) -> None:
    paths = StorePaths(Path(root).absolute())
    log = paths.supervisor_log(run.run_id)
    log.parent.mkdir(parents=True, exist_ok=True)
    config = json.loads(run.config_json)
    (log.parent / "config.json").write_text(json.dumps(config, indent=1))
    threads = str(config["resources"]["threads"])
    environment = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    if gpus is not None:
        environment[VISIBLE_DEVICES] = gpus
    former = _read_lease(root, run)

    def has_begun() -> bool:
        lease = _read_lease(root, run)
        if lease is not None and (former is None or lease.token != former.token):
            return True
        return _reread(root, run).state != "queued"

    start_detached(
        "engine.runtime.supervisor",
        [str(paths.root), run.run_id],
        log=log,
        environment=environment,
        has_begun=has_begun,
    )


def _read_lease(root: Path, run: RunRow) -> Lease | None:
    with closing(open_reader(root)) as reader:
        return read_lease(reader, run.run_id)


def _reread(root: Path, run: RunRow) -> RunRow:
    with closing(open_reader(root)) as reader:
        return find_run(reader, run.run_id)
