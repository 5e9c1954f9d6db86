"""What a person should look at in a run: why it does not go on, and the findings that warn, with the place of each.

Pure: findings in, alerts out; no store, no Textual. The rules are those of ``cream_tui.health``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cream_tui.health.findings import EarlyWarning, Finding
from cream_tui.readers.snapshots import RunSnapshot
from cream_tui.targets import HealthTarget, RunTarget, Target
from cream_tui.views.health import EARLY_WARNING, find_evidence, tell_early_warning


@dataclass(frozen=True, slots=True)
class RunAlert:
    """``severity`` is warning or error; ``target`` is where it shows; ``key`` is the diagnostic's, where one warns."""

    text: str
    severity: str
    target: Target
    key: str = ""

    @property
    def identity(self) -> str:
        """What it is about, whatever its numbers are by now: told once."""
        return self.key or self.text

    @property
    def is_early(self) -> bool:
        """Whether it foretells what has not happened yet."""
        return self.key.startswith(EARLY_WARNING)


def list_alerts(snapshot: RunSnapshot, findings: Sequence[Finding], early: EarlyWarning | str) -> list[RunAlert]:
    """The run's alerts: errors, the diagnostics that warn in the order of their catalogue, the early warning."""
    run_id = snapshot.run.run_id
    alerts: list[RunAlert] = []
    if snapshot.run.state == "failed":
        message = (snapshot.run.error or "the run failed").strip().split("\n")[0]
        alerts.append(RunAlert(f"failed: {message}", "error", RunTarget(run_id)))
    if snapshot.stale:
        alerts.append(
            RunAlert("its process is gone; R goes on from the last committed row", "error", RunTarget(run_id))
        )
    for finding in findings:
        if finding.status == "warn":
            place = find_evidence(finding, run_id, snapshot.run.iterations) or RunTarget(run_id)
            alerts.append(RunAlert(finding.sentence, "warning", place, finding.key))
    if not isinstance(early, str) and early.is_fired and early.outcome is None:
        target = HealthTarget(run_id, EARLY_WARNING)
        key = f"{EARLY_WARNING}/{early.model}"  # each is about another model, and told anew
        alerts.append(RunAlert(tell_early_warning(early), "warning", target, key))
    return alerts


class AlertOrder:
    """Puts what came up last before what was there before; errors are first whatever comes."""

    def __init__(self) -> None:
        self._n_looks = 0
        self._seen_at: dict[str, int] = {}

    def sort(self, alerts: Sequence[RunAlert]) -> list[RunAlert]:
        """The alerts in order; those that are seen for the first time together stay as they are."""
        self._n_looks += 1
        for alert in alerts:
            self._seen_at.setdefault(alert.identity, self._n_looks)
        return sorted(alerts, key=lambda alert: (alert.severity != "error", -self._seen_at[alert.identity]))


def summarise_alerts(alerts: Sequence[RunAlert]) -> str:
    """One line: the first alert and how many more there are; empty without any."""
    if not alerts:
        return ""
    more = f"  (+{len(alerts) - 1}: !)" if len(alerts) > 1 else "  (! opens it)"
    return f"! {alerts[0].text}{more}"
