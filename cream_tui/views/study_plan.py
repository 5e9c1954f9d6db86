"""A study's plan in words: its arms, their stages, the time that is expected.

Pure. Knows the engine's plan of a study. Must not know whether a command or a screen shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cream_tui.output import Column
from cream_tui.units import format_count, format_duration, format_quantity, format_seeds
from cream_tui.views.studies import find_arm_state
from cream_tui.views.study_account import name_arm

if TYPE_CHECKING:
    from engine.runtime.study_plan import ArmPlan, StudyPlan

PLAN_COLUMNS = (
    Column("arm", is_flexible=True),
    Column("seeds", is_flexible=True),
    Column("state"),
    Column("stages", "right"),
    Column("there", "right"),
    Column("shared", "right", rank=1),
    Column("to run", "right"),
)
_NEW = "new"


def describe_headline(plan: StudyPlan) -> str:
    """The study in one line: its name, runs and where they start from."""
    config = plan.study.config
    n_arms, n_seeds = len({arm.arm.title for arm in plan.arms}), len(config.seeds)
    return (
        f"{plan.study.name}  {format_quantity(len(plan.arms), 'run')} of {config.config}: "
        f"{format_quantity(n_arms, 'arm')} x {format_quantity(n_seeds, 'seed')}"
    )


def build_plan_rows(plan: StudyPlan) -> list[tuple[str, ...]]:
    """A row for each arm: its seeds, how its runs stand, and its stages; each is run by the first arm that asks."""
    by_title: dict[str, list[ArmPlan]] = {}
    for arm in plan.arms:
        by_title.setdefault(arm.arm.title, []).append(arm)
    return [
        (
            title,
            format_seeds([arm.arm.seed for arm in arms]),
            _describe_state([arm.state or _NEW for arm in arms]),
            format_count(sum(len(arm.keys) for arm in arms)),
            format_count(sum(arm.n_reused for arm in arms)),
            format_count(sum(arm.n_shared for arm in arms)),
            format_count(sum(arm.n_new for arm in arms)),
        )
        for title, arms in by_title.items()
    ]


def _describe_state(states: Sequence[str]) -> str:
    """How the runs of an arm stand; those that are not there yet before all others."""
    n_new = states.count(_NEW)
    if n_new == len(states):
        return _NEW
    return f"{n_new} {_NEW}" if n_new else find_arm_state(states)


def list_facts(plan: StudyPlan) -> Sequence[tuple[str, str]]:
    """What the study costs, by name."""
    n_left = plan.n_distinct - plan.n_done
    stages = (
        f"{format_count(plan.n_asked)} asked for, {format_count(plan.n_distinct)} distinct: "
        f"{format_count(plan.n_done)} there, {format_count(n_left)} to run"
    )
    facts = [("stages", stages)]
    if n_left:
        facts += [("at once", format_quantity(plan.jobs, "run")), ("time", describe_time(plan))]
    if not plan.is_base_known:
        facts.append(("model", "not on this machine yet, so what the store has of it is not known"))
    return facts


def describe_time(plan: StudyPlan) -> str:
    """The expected time of what is left, from finished stages of the store that are like it."""
    if plan.seconds is None:
        return "unknown: the store has no finished stage like these"
    n_open = sum(arm.state != "done" for arm in plan.arms)
    n_at_once = max(1, min(plan.jobs, n_open))
    words = f"about {format_duration(plan.seconds / n_at_once)}"
    if n_at_once > 1:
        words += f", {format_duration(plan.seconds)} of computing"
    if plan.n_unknown:
        words += f", and {format_quantity(plan.n_unknown, 'stage')} of unknown time"
    return words


def tell_changes(plan: StudyPlan) -> list[str]:
    """What a study's file has changed since it was stored, in sentences."""
    if plan.stored is None:
        return []
    lines = []
    before, now = plan.stored.baseline, plan.study.config.baseline
    if before != now:
        lines.append(f"baseline: {now or 'the first arm'} instead of {before or 'the first arm'}")
    if plan.is_running and plan.jobs != plan.stored.jobs:
        lines.append(f"at once: {format_quantity(plan.jobs, 'run')} instead of {plan.stored.jobs}")
    if plan.added:
        lines.append(f"added: {', '.join(plan.added)}")
    for arms, reason in ((plan.dropped, "no arm any more"), (plan.outdated, "files or the program have changed since")):
        kept = ", ".join(arm.run_name for arm in arms if arm.run_id is not None)
        if arms:
            lines.append(f"{reason}: {', '.join(map(name_arm, arms))}" + (f"; kept as runs: {kept}" if kept else ""))
    return lines
