"""What a start or a fork asks for, before anything is written: its configuration, past and stages, after every check.

Light, on the path of the form that a run is written in: reads the store, knows no writer. The main path enters at
``check_config`` and ``prepare_fork``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from db.rows import RunRow
from engine.artifacts import Base
from engine.cluster import check_ray
from engine.config.load import apply_overrides
from engine.config.run import RunConfig
from engine.config.scorers import ALL_MODELS
from engine.config.tracking import check_trackers
from engine.errors import ConfigError, CreamError, find_nearest
from engine.launchers import check_training
from engine.plan import Segment, StageSpec, plan_run
from engine.runtime.lineage import Lineage, read_lineage, read_segments, refuse_imported
from engine.runtime.model_checks import check_model
from engine.runtime.reward_models import check_scorers
from engine.runtime.sampling_backend import check_backend, resolve_backend
from engine.runtime.verdicts import check_same_responses, freeze_verdicts
from engine.tasks.check import check_data


def check_config(config: RunConfig) -> None:
    """Make every check of ``start_run`` that needs neither computing nor the network.

    Raises:
        ConfigError, TaskError, CheckpointError: as ``start_run``.
    """
    for check in _CHECKS:
        check(config)


def find_problems(config: RunConfig) -> list[CreamError]:
    """Return what each check of ``check_config`` has against a configuration, all at once."""
    problems = []
    for check in _CHECKS:
        try:
            check(config)
        except CreamError as error:
            problems.append(error)
    return problems


def prepare_fork(
    root: Path,
    run: RunRow,
    *,
    at: str,
    overrides: Sequence[str] = (),
    method: str | None = None,
    seed: int | None = None,
    name: str | None = None,
    use_verdicts: bool = False,
) -> tuple[RunConfig, Lineage]:
    """Return the configuration and the past of a fork, after every check of ``fork_run``; starts nothing.

    Raises:
        ConfigError: as ``fork_run``.
    """
    *earlier, own = plan_fork(run, at=at, overrides=overrides, method=method, seed=seed, name=name)
    iteration = int(at[1:])
    parent = read_lineage(run)
    judged = {t: pairs for t, pairs in parent.judged.items() if t <= iteration}
    if use_verdicts:
        judged[iteration] = freeze_verdicts(root, run, iteration, judged.get(iteration))
    lineage = Lineage(earlier, judged, parent.salt)
    if use_verdicts:
        stages = plan_stages(own.config, lineage, Base(Path(run.base_folder), run.base_digest))
        check_same_responses(stages, iteration, judged[iteration])
    return own.config, lineage


def plan_fork(
    run: RunRow,
    *,
    at: str,
    overrides: Sequence[str] = (),
    method: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> list[Segment]:
    """Return the configurations of a fork in order, its own last, after every check of ``fork_run``; starts nothing.

    Raises:
        ConfigError: as ``fork_run``.
    """
    refuse_imported(run, "fork")
    last_iteration = _find_fork_point(run, at)
    segments = read_segments(run)
    own = segments[-1].config
    config = resolve_backend(
        apply_overrides(own, overrides=overrides, method=method, seed=seed, name=name or f"{run.name}-{at}")
    )
    _check_fork(own, config, at)
    if config.iterations <= last_iteration:
        raise ConfigError(
            f"iterations = {config.iterations} ends at M{config.iterations + 1}: nothing is left after {at}",
            hint=f"set iterations to more than {last_iteration}",
            key="iterations",
            value=config.iterations,
        )
    check_config(config)
    earlier = [s for s in segments if s.last_iteration is not None and s.last_iteration < last_iteration]
    covering = next(s for s in segments if s.last_iteration is None or s.last_iteration >= last_iteration)
    earlier.append(Segment(covering.config, last_iteration))
    return [*earlier, Segment(config, None)]


def plan_stages(config: RunConfig, lineage: Lineage, base: Base) -> list[StageSpec]:
    """Return the stages of a run with this configuration and past."""
    segments = [*lineage.earlier, Segment(config, None)]
    return plan_run(segments, base_digest=base.digest, salt=lineage.salt, judged=lineage.judged)


def _check_rewards(config: RunConfig) -> None:
    """Refuse a run whose every reward would be zero at t = 1."""
    uses_implicit = not {"implicit:current", ALL_MODELS}.isdisjoint(config.method.aggregate.scorers)
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
    if config.adapter != own.adapter:
        raise ConfigError(
            f"a fork at {at} keeps its adapter: {at} is M0 and that adapter, and training goes on with it",
            hint="start a new run to change adapter",
            key="adapter",
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


_CHECKS: tuple[Callable[[RunConfig], object], ...] = (
    _check_rewards,
    check_scorers,
    check_ray,
    check_training,
    check_backend,
    lambda config: check_trackers(config.report_to),
    check_data,
    check_model,
)
