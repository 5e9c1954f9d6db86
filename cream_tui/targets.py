"""Where in the app somebody wants to be: what a link names, what a screen opens.

Knows the store's runs and studies. Must not know screens. Written as RUN, RUN/M2, RUN/pairs, RUN/pairs/412,
RUN/health, STUDY.
"""

from __future__ import annotations

import re
import shlex
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from cream_tui.diagnostics import UsageProblem


@dataclass(frozen=True, slots=True)
class RunsTarget:
    """The list of runs; ``filter_text`` None leaves the filter as it was, ``study_id`` names a study to unfold."""

    filter_text: str | None = None
    study_id: str | None = None


@dataclass(frozen=True, slots=True)
class RunTarget:
    """One run, at the iteration in which ``model`` samples, with the chart of ``metric`` (stage and name) in front."""

    run_id: str
    model: str | None = None
    metric: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class PairsTarget:
    """The pairs of a run.

    Attributes:
        iteration: Only its pairs; None for all.
        number: The pair to open, from 1 in the order of the run; None for the first.
        prompt_id: The prompt whose pair is to be opened.
        filter_text: In the grammar of ``cream_tui.filtering.grammar``; None leaves the filter as it was.
    """

    run_id: str
    iteration: int | None = None
    number: int | None = None
    prompt_id: str | None = None
    filter_text: str | None = None


@dataclass(frozen=True, slots=True)
class CompareTarget:
    """Runs side by side."""

    run_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StudyTarget:
    """What a study shows so far: its arms over their seeds."""

    study_id: str


@dataclass(frozen=True, slots=True)
class HealthTarget:
    """The diagnostics of a run; ``key`` is the one to look at."""

    run_id: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class LaunchTarget:
    """The form of a new run.

    Attributes:
        base: A shipped name or a file to start from.
        source_run_id: A run whose configuration is copied.
        fork_at: The model at which the source is forked; None for a run of its own.
    """

    base: str | None = None
    source_run_id: str | None = None
    fork_at: str | None = None


Target: TypeAlias = RunsTarget | RunTarget | PairsTarget | CompareTarget | HealthTarget | LaunchTarget | StudyTarget

_MODEL = re.compile(r"M(\d+)")
_PATH = re.compile(r"[/.~]|.*\.(ya?ml|json)$")
_WAYS = "Ways: RUN, RUN/M2, RUN/pairs, RUN/pairs/412, RUN/health, STUDY."


def parse_target(connection: sqlite3.Connection, text: str) -> Target:
    """The target that a link names.

    Raises:
        RunNotFoundError: Neither a run nor a study, or several, answer to its first part.
        UsageProblem: What follows the run is neither a model, nor pairs, nor health; or it is a path instead.
    """
    from db.errors import RunNotFoundError
    from db.studies import StudyRow, find_run_or_study

    reference, *rest = text.split("/")
    try:
        run = find_run_or_study(connection, reference)
    except RunNotFoundError:
        if _PATH.match(text):
            raise _refuse_path(text) from None
        raise
    if isinstance(run, StudyRow):
        if any(rest):
            raise UsageProblem(f"{text}: {run.name} is a study; it is opened by its name alone", _WAYS)
        return RunsTarget(study_id=run.study_id)
    match rest:
        case [] | [""]:
            return RunTarget(run.run_id)
        case [word] if (found := _MODEL.fullmatch(word)) is not None:
            if int(found[1]) > run.iterations + 1:
                raise UsageProblem(
                    f"{text}: {run.name} has the models M0 to M{run.iterations + 1}", f"Try {run.name}/M1."
                )
            return RunTarget(run.run_id, word)
        case ["pairs"] | ["pairs", ""]:
            return PairsTarget(run.run_id)
        case ["pairs", number] if number.isascii() and number.isdigit() and int(number) > 0:
            return PairsTarget(run.run_id, number=int(number))
        case ["health"] | ["health", ""]:
            return HealthTarget(run.run_id)
    raise UsageProblem(f"{text}: nothing in the app is called so", _WAYS)


def _refuse_path(text: str) -> UsageProblem:
    if not Path(text).expanduser().is_file():
        return UsageProblem(f"no such file: {text}, and no run", _WAYS)
    word = shlex.quote(text)
    return UsageProblem(
        f"{text} is a file, and the app opens what the store has",
        f"Start its run: cream-tui run {word}\nStart its study: cream-tui sweep {word}",
    )
