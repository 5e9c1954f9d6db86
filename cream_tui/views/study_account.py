"""What a study has computed and what sharing spared it, counted and in words.

Pure: rows in, numbers and words out. Must not know whether a command, a screen or a report shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cream_tui.units import format_duration, format_quantity
from db.studies import StudyArm, StudyStage

_LOG = "the log: "


@dataclass(frozen=True, slots=True)
class StudyAccount:
    """Attributes:
    n_arms: Runs that it has; those that have not begun ask for nothing yet.
    n_asked: Stages of all its runs; ``n_distinct`` of them have keys of their own.
    n_run: Stages that its runs have computed since a moment; None where no moment was given.
    n_reused: Stages that were done by then, or that runs outside the study have computed.
    spent_s: What the distinct stages took.
    saved_s: What they would have taken once more for every other run that has them.
    """

    n_arms: int
    n_asked: int
    n_distinct: int
    n_run: int | None
    n_reused: int | None
    spent_s: float
    saved_s: float


def build_account(
    arms: Sequence[StudyArm], stages: Sequence[StudyStage], *, since: float | None = None
) -> StudyAccount:
    """The account of a study.

    Args:
        since: When it was started or gone on with, in seconds since the epoch.
    """
    own = {arm.run_id for arm in arms}
    done = [stage for stage in stages if stage.state == "done"]
    fresh = [
        stage
        for stage in done
        if since is not None and (stage.finished_at or 0.0) >= since and stage.owner_run_id in own
    ]
    return StudyAccount(
        n_arms=sum(arm.run_id is not None for arm in arms),
        n_asked=sum(stage.n_arms for stage in stages),
        n_distinct=len(stages),
        n_run=None if since is None else len(fresh),
        n_reused=None if since is None else len(done) - len(fresh),
        spent_s=sum(stage.seconds or 0.0 for stage in done),
        saved_s=sum((stage.n_arms - 1) * (stage.seconds or 0.0) for stage in done),
    )


def tell_account(account: StudyAccount) -> str:
    """The account in a sentence or two."""
    words = (
        f"{format_quantity(account.n_arms, 'run')} asked for {format_quantity(account.n_asked, 'stage')} with "
        f"{account.n_distinct} distinct keys"
    )
    if account.n_run is not None:
        words += f": {account.n_run} run now, {account.n_reused} reused"
    shared = account.spent_s + account.saved_s
    if account.saved_s <= 0:
        return f"{words}."
    return f"{words}. Sharing saved {format_duration(account.saved_s)} of {format_duration(shared)} of computing."


def tell_failures(arms: Iterable[StudyArm]) -> list[tuple[str, str]]:
    """Which arms failed, and how: each message once, since runs that share a stage fail by it alike.

    The log that a message ends with is that of the first.
    """
    names: dict[str, list[str]] = {}
    messages: dict[str, str] = {}
    for arm in arms:
        if arm.state == "failed" or (arm.run_id is None and arm.error):
            message = arm.error or "failed"
            cause = "\n".join(line for line in message.split("\n") if not line.startswith(_LOG))
            names.setdefault(cause, []).append(name_arm(arm))
            messages.setdefault(cause, message)
    return [(_list_names(failed), messages[cause]) for cause, failed in names.items()]


def name_arm(arm: StudyArm) -> str:
    """An arm with its seed: cream seed 0."""
    return f"{arm.arm} seed {arm.seed}"


def _list_names(names: Sequence[str], n_shown: int = 4) -> str:
    more = f" and {len(names) - n_shown} more" if len(names) > n_shown else ""
    return ", ".join(names[:n_shown]) + more
