"""A stage as a viewer sees it: who works on it, how far it is, how fast, how long yet.

Knows rows. Pure: no clock, no store, nothing of how it is drawn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cream_tui.units import format_count, format_duration, format_rate
from db.rows import StageRow

# A rate is taken over this long, so that it follows a change and does not jump with every batch.
RATE_WINDOW_S = 8.0
REMOVED_RUN = "a removed run"


@dataclass(frozen=True, slots=True)
class StageView:
    """Attributes:
    status: pending, running, waiting (another run computes it), done, reused (another run computed it), failed, or
        interrupted (it ran when the run's process went).
    other: Name of that other run.
    rate: Units per second lately; None where unknown.
    left_s: Time to the end of this stage at that rate.
    """

    label: str
    name: str
    status: str
    other: str | None
    n_done: int
    n_total: int | None
    unit: str
    elapsed_s: float | None
    rate: float | None = None
    left_s: float | None = None
    error: str | None = None

    @property
    def fraction(self) -> float | None:
        """Share that is done; None where the whole is unknown."""
        return min(1.0, self.n_done / self.n_total) if self.n_total else None

    @property
    def is_over(self) -> bool:
        return self.status in ("done", "reused")

    def interrupt(self) -> StageView:
        """The stage as it is where nobody works on the run any more."""
        if self.status not in ("running", "waiting"):
            return self
        return replace(self, status="interrupted", elapsed_s=None, rate=None, left_s=None)


class RateMeter:
    """Remembers how far each stage was when."""

    def __init__(self) -> None:
        self._seen: dict[int, deque[tuple[float, int]]] = {}

    def measure(self, stage: StageRow, now: float) -> float | None:
        """Units per second over the last seconds; since its start where that is all there is."""
        seen = self._seen.setdefault(stage.stage_id, deque())
        if seen and stage.n_done < seen[-1][1]:
            seen.clear()
        if not seen or stage.n_done > seen[-1][1]:
            seen.append((now, stage.n_done))
        while len(seen) > 2 and now - seen[0][0] > RATE_WINDOW_S:
            seen.popleft()
        if len(seen) >= 2 and now > seen[0][0]:
            return (seen[-1][1] - seen[0][1]) / (now - seen[0][0])
        if stage.started_at is not None and stage.n_done > 0 and now > stage.started_at:
            return stage.n_done / (now - stage.started_at)
        return None


def build_stage_view(
    stage: StageRow, names: Mapping[str, str], now: float, meter: RateMeter | None = None
) -> StageView:
    """The stage as its run sees it.

    Args:
        names: Run names by id, of the runs that own stages of this one.
    """
    is_foreign = stage.owner_run_id is not None and stage.owner_run_id != stage.run_id
    other = names.get(stage.owner_run_id or "", REMOVED_RUN) if is_foreign else None
    status = stage.state
    if is_foreign and status == "running":
        status = "waiting"
    elif is_foreign and status == "done":
        status = "reused"
    else:
        other = None
    end = stage.finished_at if status not in ("running", "waiting") else now
    elapsed = None if stage.started_at is None or end is None else max(0.0, end - stage.started_at)
    rate = meter.measure(stage, now) if meter is not None and stage.state == "running" else None
    left = (stage.n_total - stage.n_done) / rate if rate and stage.n_total else None
    return StageView(
        label=stage.label,
        name=stage.name,
        status=status,
        other=other,
        n_done=stage.n_done,
        n_total=stage.n_total,
        unit=stage.unit or "",
        elapsed_s=elapsed,
        rate=rate,
        left_s=left,
        error=stage.error,
    )


def estimate_time_left(stages: Sequence[StageView]) -> float | None:
    """Time to the end of the run; None until each kind of stage that is still to come was finished once."""
    durations: dict[str, float] = {}
    for stage in stages:
        if stage.is_over and stage.elapsed_s is not None:
            durations[stage.name] = stage.elapsed_s  # the newest of its kind: later models answer at greater length
    left = 0.0
    for stage in stages:
        if stage.is_over:
            continue
        expected = durations.get(stage.name)
        if stage.left_s is not None:
            left += stage.left_s
        elif expected is not None:
            left += max(0.0, expected - (stage.elapsed_s or 0.0))
        else:
            return None
    return left


def describe_stage(stage: StageView) -> str:
    """How far a stage is, in words: 3,000 responses in 4.1 s."""
    amount = format_count(stage.n_done) + (f" {stage.unit}" if stage.unit else "") if stage.n_done else ""
    if stage.status == "reused":
        return f"from {stage.other}"
    if stage.status == "done":
        return "  ".join(part for part in (format_duration(stage.elapsed_s), amount) if part)
    if stage.status == "failed":
        return (stage.error or "failed").split("\n")[0].removeprefix(f"{stage.label}: ")
    if stage.status == "pending":
        return ""
    progress = f"{format_count(stage.n_done)}/{format_count(stage.n_total)}" if stage.n_total else amount
    parts = [f"waiting for {stage.other}"] if stage.status == "waiting" else []
    parts += [progress] if progress else []
    if stage.rate and stage.status != "waiting":
        parts.append(format_rate(stage.rate))
    if stage.left_s is not None:
        parts.append(f"{format_duration(stage.left_s)} left")
    elif stage.elapsed_s is not None:
        parts.append(format_duration(stage.elapsed_s))
    return "  ".join(parts)
