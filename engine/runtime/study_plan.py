"""What a study would do: which runs it has, which stages they share, what the store has of them. Starts nothing.

Light: reads the store, knows no writer and no torch. The main path enters at ``plan_study``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from db.plan_reads import read_finished_stages, read_known_stages
from db.reading import has_store, open_reader
from db.studies import (
    StudyArm,
    StudyRow,
    check_study_name,
    read_arm_configs,
    read_run_keys,
    read_study_arms,
    read_study_by_name,
)
from engine.artifacts import Base, find_base
from engine.config.load import check_files, compute_config_digest, config_from_json, dump
from engine.config.model import ModelConfig
from engine.config.run import RunConfig
from engine.config.shipped import find_configs_folder
from engine.config.study import PlannedArm, Study
from engine.errors import ConfigError, CreamError, join_errors
from engine.plan import StageSpec
from engine.runtime.capacity import count_slots
from engine.runtime.intent import check_config, plan_stages
from engine.runtime.lineage import Lineage
from engine.runtime.preview import StageClock
from engine.runtime.process import is_alive
from engine.runtime.sampling_backend import resolve_backend


@dataclass(frozen=True, slots=True)
class ArmPlan:
    """One run of a study, and what it would do.

    Attributes:
        run_id: The run that the arm has already.
        state: Of that run; None where it has none.
        keys: Of its stages, in the order of its plan.
        n_reused: Stages that the store has.
        n_shared: Stages that an earlier arm of the study computes.
        n_new: Stages that it computes.
    """

    arm: PlannedArm
    run_id: str | None
    state: str | None
    keys: tuple[str, ...]
    n_reused: int
    n_shared: int
    n_new: int


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """What ``start_study`` would do.

    Attributes:
        stored: The study of this name, where there is one.
        added: Arms that the stored study does not have.
        dropped: Its arms that are none any more; their runs stay in the store.
        outdated: Arms whose run has other stages than it would have now, since files or the program have changed.
        n_asked: Stages of all arms; ``n_distinct`` of them have keys of their own, ``n_done`` of these are computed.
        seconds: Expected computing time of what is left; None where no finished stage of the store is like any of it.
        n_unknown: Stages that are left and not in ``seconds``.
        is_base_known: Whether M0 is on this machine; else what the store has is not known.
        jobs: How many runs work at once; of a running study as many as do, unless a person asked for another number.
    """

    study: Study
    stored: StudyRow | None
    arms: tuple[ArmPlan, ...]
    added: tuple[str, ...]
    dropped: tuple[StudyArm, ...]
    outdated: tuple[StudyArm, ...]
    n_asked: int
    n_distinct: int
    n_done: int
    seconds: float | None
    n_unknown: int
    is_base_known: bool
    jobs: int

    @property
    def is_running(self) -> bool:
        """Whether the stored study has a live process."""
        return self.stored is not None and is_running(self.stored)

    @property
    def is_changed(self) -> bool:
        """Whether the stored study has other arms, or one that read other files."""
        return bool(self.added or self.dropped or self.outdated)

    @property
    def is_done(self) -> bool:
        """Whether every arm has its run, and that is done."""
        return all(arm.state == "done" for arm in self.arms)


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the store has of a study."""

    study: StudyRow | None
    arms: Mapping[str, StudyArm]
    keys: Mapping[str, tuple[str, ...]]


def check_study(study: Study) -> None:
    """Make every check of ``start_run`` that needs neither computing nor the network, for each arm.

    Raises:
        ConfigError, TaskError, CheckpointError: an arm could not start; it names the file and the arm. What is wrong
            with configurations is told of all arms.
    """
    checked: set[str] = set()
    found: dict[str, ConfigError] = {}
    for arm in study.arms:
        content = {key: value for key, value in dump(arm.config).items() if key not in ("name", "seed")}
        text = json.dumps(content, sort_keys=True)
        if text in checked:
            continue
        checked.add(text)
        try:
            check_files(arm.config)
            check_config(resolve_backend(arm.config))
        except ConfigError as error:
            message = f"{study.source}: {arm.title}: {error.message}"
            found.setdefault(error.message, ConfigError(message, hint=error.hint, key=error.key, value=error.value))
        except CreamError as error:
            error.message = f"{study.source}: {arm.title}: {error.message}"
            raise
    if found:
        raise join_errors(found.values())


def plan_study(root: Path, study: Study, *, jobs: int | None = None) -> StudyPlan:
    """Return what ``start_study`` would do; a store need not exist yet.

    Args:
        jobs: how many runs may work at once; None for what a running study has, else for what the machine allows.

    Raises:
        ConfigError, CheckpointError: a file or the model's folder cannot be read.
        StoreError: a run has the study's name; the store cannot be read, or none can be made there.
    """
    if jobs is not None and jobs < 1:
        raise ConfigError(f"--jobs {jobs}: is no whole number above 0", key="jobs", value=jobs)
    configs = [resolve_backend(arm.config) for arm in study.arms]
    n_slots = count_slots(configs)
    find = cache(_find_base)  # no longer than this plan: a folder may change before the next
    bases = [find(config.model) for config in configs]
    plans = [_plan_run(config, base) for config, base in zip(configs, bases, strict=True)]
    specs = {spec.key: spec for plan in plans for spec in plan}
    stored, done, clock = _read_store(root, study, specs, bases)
    arms: list[ArmPlan] = []
    outdated: list[StudyArm] = []
    first = set(done)
    for arm, plan, base in zip(study.arms, plans, bases, strict=True):
        keys = tuple(spec.key for spec in plan)
        held = stored.arms.get(compute_config_digest(arm.config))
        if held is not None and held.run_id is not None and base is not None and stored.keys[held.run_id] != keys:
            outdated.append(held)
            held = None
        arms.append(_plan_arm(arm, held, keys, done, first))
        first.update(keys)
    left = [clock.estimate(spec) for key, spec in specs.items() if key not in done]
    known = [seconds for seconds in left if seconds is not None]
    digests = {compute_config_digest(arm.config) for arm in study.arms}
    if jobs is None and stored.study is not None and is_running(stored.study):
        jobs = stored.study.jobs
    return StudyPlan(
        study=study,
        stored=stored.study,
        arms=tuple(arms),
        added=tuple(_name(arm) for arm in study.arms if compute_config_digest(arm.config) not in stored.arms),
        dropped=tuple(arm for digest, arm in stored.arms.items() if digest not in digests),
        outdated=tuple(outdated),
        n_asked=sum(len(plan) for plan in plans),
        n_distinct=len(specs),
        n_done=len(done),
        seconds=sum(known) if known or not left else None,
        n_unknown=len(left) - len(known),
        is_base_known=None not in bases,
        jobs=jobs if jobs is not None else min(len(study.arms), n_slots),
    )


def list_stage_keys(config: RunConfig) -> tuple[str, ...]:
    """Return the keys of the stages that a new run with this configuration would have, in the order of its plan.

    Raises:
        ConfigError, CheckpointError: a file or the model's folder cannot be read.
    """
    return tuple(spec.key for spec in _plan_run(config, _find_base(config.model)))


def is_running(study: StudyRow) -> bool:
    """Whether the study has a live process."""
    return study.lease is not None and is_alive(study.lease)


def _plan_run(config: RunConfig, base: Base | None) -> list[StageSpec]:
    return plan_stages(config, Lineage(), base or Base(Path(), "unknown"))


def _name(arm: PlannedArm) -> str:
    return f"{arm.title} seed {arm.seed}"


def _plan_arm(
    arm: PlannedArm, held: StudyArm | None, keys: tuple[str, ...], done: Set[str], first: Set[str]
) -> ArmPlan:
    """Return an arm's part; ``first`` are the stages that the store or an earlier arm has."""
    n_reused, n_known = sum(key in done for key in keys), sum(key in first for key in keys)
    return ArmPlan(
        arm,
        run_id=None if held is None else held.run_id,
        state=None if held is None else held.state,
        keys=keys,
        n_reused=n_reused,
        n_shared=n_known - n_reused,
        n_new=len(keys) - n_known,
    )


def _find_base(model: ModelConfig) -> Base | None:
    return find_base(model.kind, model.path, model.revision, configs_folder=find_configs_folder())


def _read_store(
    root: Path, study: Study, specs: Mapping[str, StageSpec], bases: Sequence[Base | None]
) -> tuple[_Stored, set[str], StageClock]:
    if not has_store(root):
        return _Stored(None, {}, {}), set(), StageClock([])
    with closing(open_reader(root)) as c:
        known = read_known_stages(c, list(specs))
        digests = sorted({base.digest for base in bases if base is not None})
        finished = [stage for digest in digests for stage in read_finished_stages(c, digest)]
        row = read_study_by_name(c, study.name)
        if row is None:
            check_study_name(c, study.name)
        arms = [] if row is None else read_study_arms(c, row.study_id)
        configs = {} if row is None else read_arm_configs(c, row.study_id)
        keys = {arm.run_id: tuple(read_run_keys(c, arm.run_id)) for arm in arms if arm.run_id is not None}
    by_digest = {compute_config_digest(config_from_json(configs[arm.position])): arm for arm in arms}
    done = {key for key, stage in known.items() if stage.state == "done"}
    return _Stored(row, by_digest, keys), done, StageClock(finished)
