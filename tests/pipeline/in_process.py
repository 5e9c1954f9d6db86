"""A run's stages one after the other in this process: the same rows as a supervisor's, without starting any process."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from db.queries import find_run, read_run_stages
from db.reading import open_reader
from db.rows import NewRun, NewStage, RunRow
from db.session import Store, open_store
from db.writes import acquire_lease, claim_stage, create_run, finish_stage, release_lease
from engine.artifacts import resolve_base
from engine.config.load import compute_config_digest, dump
from engine.config.run import RunConfig
from engine.config.shipped import find_configs_folder
from engine.plan import StageSpec, StageTask
from engine.runtime.intent import check_config, plan_stages
from engine.runtime.lineage import Lineage, write_lineage
from engine.runtime.process import build_lease, is_alive
from engine.runtime.sampling_backend import resolve_backend
from engine.stages.run import run_stage


class InProcessRun:
    """A run of a store that this process holds the lease of."""

    def __init__(self, root: Path, config: RunConfig) -> None:
        config = resolve_backend(config)
        check_config(config)
        model = config.model
        base = resolve_base(model.kind, model.path, model.revision, configs_folder=find_configs_folder())
        self.specs: list[StageSpec] = plan_stages(config, Lineage(), base)
        self.store: Store = open_store(root)
        self.root = root
        new = NewRun(
            name=config.name,
            method=config.method.name,
            seed=config.seed,
            iterations=config.iterations,
            config_json=json.dumps(dump(config)),
            config_digest=compute_config_digest(config),
            lineage_json=write_lineage(Lineage()),
            base_folder=str(base.folder),
            base_digest=base.digest,
            provenance_json="{}",
        )
        links = [NewStage(spec.key, spec.name, spec.iteration, spec.label) for spec in self.specs]
        self.run: RunRow = create_run(self.store, new, links)
        self.lease = build_lease(self.run.run_id)
        acquire_lease(self.store, self.lease, is_alive=is_alive)
        with closing(open_reader(root)) as reader:
            self.stage_ids = {stage.key: stage.stage_id for stage in read_run_stages(reader, self.run.run_id)}
        self.n_computed = 0

    def find(self, label: str) -> StageSpec:
        return next(spec for spec in self.specs if spec.label == label)

    def get_id(self, label: str) -> int:
        return self.stage_ids[self.find(label).key]

    def claim(self, spec: StageSpec) -> bool:
        """Return whether the stage is this run's to compute; else another run has done it."""
        stage_id = self.stage_ids[spec.key]
        claim = claim_stage(self.store, stage_id, run_id=self.run.run_id, token=self.lease.token, is_alive=is_alive)
        return claim.status == "claimed"

    def compute(self, spec: StageSpec) -> None:
        """Compute a claimed stage."""
        task = StageTask(
            root=str(self.root),
            run_id=self.run.run_id,
            token=self.lease.token,
            stage_id=self.stage_ids[spec.key],
            spec=spec,
            stage_ids={key: self.stage_ids[key] for key in spec.needs},
            base_folder=self.run.base_folder,
            log_path="",
        )
        run_stage(task)
        self.finish(spec)
        self.n_computed += 1

    def finish(self, spec: StageSpec) -> None:
        finish_stage(self.store, self.stage_ids[spec.key], self.lease.token)

    def go(self, until: str | None = None) -> None:
        """Compute what no run has computed yet, up to and including a stage."""
        for spec in self.specs:
            if self.claim(spec):
                self.compute(spec)
            if spec.label == until:
                return

    def end(self, state: str = "done") -> None:
        release_lease(self.store, self.run.run_id, self.lease.token, state=state, exit_code=0)


def run_here(root: Path, config: RunConfig, *, until: str | None = None) -> InProcessRun:
    """Return a run after all its stages, or those up to and including ``until``."""
    run = InProcessRun(root, config)
    run.go(until)
    run.end("done" if until is None else "stopped")
    return run


def finish_here(root: Path, config: RunConfig) -> RunRow:
    """Return a run that is done, as a reader sees it."""
    run = run_here(root, config).run
    with closing(open_reader(root)) as reader:
        return find_run(reader, run.run_id)
