"""A study arm by arm: how far each is, and how accurate its models are over its seeds.

Pure: records and accuracies in, summaries out. Must not know how they are shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cream_tui.comparison.arms import sort_models
from cream_tui.comparison.estimates import Estimate, estimate_over_seeds
from cream_tui.readers.study_records import StudyRecord
from cream_tui.views.studies import find_arm_state
from db.studies import ArmAccuracy

_OPEN = ("stale", "stopped", "running", "queued")


@dataclass(frozen=True, slots=True)
class ArmSummary:
    """The runs of one arm together.

    Attributes:
        state: What asks for a person first, then what goes on, then done.
        models: Accuracy by model, in their order, each over the seeds that have evaluated it.
    """

    title: str
    n_runs: int
    n_done: int
    state: str
    models: dict[str, Estimate]

    @property
    def newest(self) -> tuple[str, Estimate] | None:
        """The newest evaluated model; None before there is one."""
        name = next(reversed(self.models), None)
        return None if name is None else (name, self.models[name])

    @property
    def curve(self) -> list[float]:
        """The means from M1 on."""
        return [found.mean for name, found in self.models.items() if name != "M0"]


def summarise_arms(record: StudyRecord, accuracies: Iterable[ArmAccuracy]) -> list[ArmSummary]:
    """One summary for each arm, in the order of the matrix."""
    values: dict[str, dict[str, list[float]]] = {title: {} for title in record.titles}
    titles = {arm.position: arm.arm for arm in record.arms}
    for found in accuracies:
        values[titles[found.position]].setdefault(found.model, []).append(found.accuracy)
    summaries = []
    for title, by_model in values.items():
        states = [state for arm, state in zip(record.arms, record.states, strict=True) if arm.arm == title]
        models = {
            name: estimate
            for name in sort_models(by_model)
            if (estimate := estimate_over_seeds(by_model[name], bounds=(0.0, 1.0))) is not None
        }
        summaries.append(ArmSummary(title, len(states), states.count("done"), find_arm_state(states), models))
    return summaries


def list_open_runs(record: StudyRecord) -> dict[str, list[str]]:
    """The names of runs that go on or were stopped, by their state; failures are told with their messages."""
    found: dict[str, list[str]] = {}
    for state in _OPEN:
        names = [arm.run_name for arm, own in zip(record.arms, record.states, strict=True) if own == state]
        if names:
            found[state] = names
    return found
