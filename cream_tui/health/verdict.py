"""What matters most of a run's health: whether its accuracy fell, and whether it is foretold to.

Pure: results in, a verdict out. It says what the findings and the early warning of the Health screen say, so that a
list of runs and the screen of one of them never disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cream_tui.health.early_warning import predict
from cream_tui.health.findings import EarlyWarning, Finding
from cream_tui.health.rules import examine_run
from cream_tui.results import ModelResult
from cream_tui.units import format_percent

# The most telling first: it compares with where self-rewarding started.
FALLS = ("accuracy_from_first", "accuracy_from_previous")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Attributes:
    fell_at: The first model significantly less accurate than M1, or than the model before it.
    fall: What fell how far, in a sentence; empty where nothing did.
    early: The early warning after the newest model that has one.
    """

    fell_at: str | None = None
    fall: str = ""
    early: EarlyWarning | None = None

    @property
    def has_fallen(self) -> bool:
        """Whether any model's accuracy fell significantly."""
        return self.fell_at is not None

    @property
    def is_warned(self) -> bool:
        """Whether the early warning fired."""
        return self.early is not None and self.early.is_fired

    def tell_early(self) -> str:
        """The early warning in short; empty without one."""
        if self.early is None:
            return ""
        outcome = {True: " (it did)", False: " (it did not)", None: ""}[self.early.outcome]
        next_model = f"M{int(self.early.model[1:]) + 1}"
        return f"early warning: {next_model} falls, {format_percent(self.early.probability, 0)} %{outcome}"


def judge(results: Sequence[ModelResult]) -> Verdict:
    """The verdict on the models of a run in order."""
    return conclude(examine_run(results, keys=FALLS), predict(results))


def conclude(findings: Iterable[Finding], early: EarlyWarning | str) -> Verdict:
    """The verdict of a run whose diagnostics are known."""
    by_key = {finding.key: finding for finding in findings}
    falls = [by_key[key] for key in FALLS if key in by_key and by_key[key].status == "warn"]
    models = [name for finding in falls for name in finding.warned]
    return Verdict(
        fell_at=min(models, key=lambda name: int(name[1:]), default=None),
        fall=falls[0].sentence if falls else "",
        early=None if isinstance(early, str) else early,
    )
