"""`sweep`: a study's plan, its start and its end. Also what `stop`, `resume`, `watch`, `rm` and `show` do with a study.

Starts and ends studies through engine.runtime.study_control only. The exit code is 0 where every arm is done.
"""

from __future__ import annotations

import shlex
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cream_tui import diagnostics, output
from cream_tui.readers.study_records import StudyRecord
from cream_tui.stores import format_command, open_run_reader
from cream_tui.views.study_account import StudyAccount, build_account, name_arm, tell_account, tell_failures
from cream_tui.views.study_plan import tell_changes
from db.errors import LeaseHeldError
from db.paths import find_store_root
from db.reading import has_store
from db.studies import StudyRow, read_study_by_name, read_study_stages
from engine.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from engine.runtime.study_plan import StudyPlan

_CODES = {"done": ExitCode.DONE, "failed": ExitCode.UNEXPECTED}


@dataclass(frozen=True, slots=True)
class Options:
    """How a study is run; ``jobs`` None for what the machine allows, ``config``, ``name``, ``seeds`` for its file's."""

    jobs: int | None = None
    overrides: tuple[str, ...] = ()
    config: str | None = None
    name: str | None = None
    seeds: str | None = None
    is_detached: bool = False
    as_json: bool = False


def sweep(store: str | None, study: str, options: Options, *, is_dry: bool) -> int:
    """Print what a study will do, do it and follow it."""
    from engine.config.study import load_study, parse_seeds
    from engine.runtime.study_plan import check_study, plan_study

    root = find_store_root(store)
    _refuse_stored(root, store, study)
    seeds = None if options.seeds is None else parse_seeds(options.seeds)
    loaded = load_study(study, overrides=options.overrides, config=options.config, name=options.name, seeds=seeds)
    check_study(loaded)
    plan = plan_study(root, loaded, jobs=options.jobs)
    if is_dry and options.as_json:
        output.print_json(build_plan_record(plan))
        return ExitCode.DONE
    if not options.as_json:
        print_plan(plan)
    if is_dry:
        for line in tell_changes(plan):
            diagnostics.narrate(line)
        diagnostics.narrate("nothing was started")
        return ExitCode.DONE
    return _start(root, store, plan, options)


def _refuse_stored(root: Path, store: str | None, name: str) -> None:
    """Say what to do with a study of the store of which there is no file here.

    Raises:
        UsageProblem: The name is that of such a study.
    """
    from engine.config.study import find_study_file

    try:
        find_study_file(name)
    except ConfigError:
        if not has_store(root):
            return
        with open_run_reader(str(root)) as (_, connection):
            stored = read_study_by_name(connection, name)
        if stored is not None:
            ways = [format_command(f"{verb} {shlex.quote(name)}", store) for verb in ("show", "resume")]
            raise diagnostics.UsageProblem(
                f"{name} is a study of the store; sweep takes a study's file or a shipped name",
                f"See it: {ways[0]}\nGo on with it: {ways[1]}",
            ) from None


def _start(root: Path, store: str | None, plan: StudyPlan, options: Options) -> int:
    from engine.runtime.study_control import start_study
    from engine.runtime.study_plan import plan_study

    since = time.time()
    try:
        started = start_study(root, plan)
    except LeaseHeldError:  # somebody else has started it since the plan was made
        plan = plan_study(root, plan.study, jobs=options.jobs)
        started = start_study(root, plan)
    for line in tell_changes(plan):
        diagnostics.narrate(line)
    word = "is done already" if plan.is_done else "is running already" if plan.is_running else "started"
    if options.is_detached:
        return announce(root, store, started, word)
    if not plan.is_done:
        diagnostics.narrate(f"{started.name} ({started.study_id}) {word}; store {root}")
    return follow_to_end(root, store, started, since=since, as_json=options.as_json)


def announce(root: Path, store: str | None, study: StudyRow, word: str) -> int:
    """Say that a study goes on in the background, and print its id."""
    diagnostics.narrate(f"{study.name} ({study.study_id}) {word}; store {root}")
    diagnostics.narrate(f"watch it: {format_command(f'watch {shlex.quote(study.name)}', store)}")
    output.print_text(study.study_id)
    return ExitCode.DONE


def follow_to_end(
    root: Path, store: str | None, study: StudyRow, *, since: float | None = None, as_json: bool = False
) -> int:
    """Show a study until it ends, print its account, and return 0 where every arm is done."""
    from cream_tui.study_progress import follow_study

    try:
        record = follow_study(root, study.study_id)
    except KeyboardInterrupt:
        diagnostics.narrate("\nThe view is closed; the study goes on.")
        for verb in ("watch", "stop"):
            diagnostics.narrate(f"  {format_command(f'{verb} {shlex.quote(study.name)}', store)}")
        return diagnostics.ViewExit.CLOSED
    with open_run_reader(str(root)) as (_, connection):
        account = build_account(record.arms, read_study_stages(connection, study.study_id), since=since)
    if as_json:
        output.print_json(build_record(record, account))
    else:
        output.print_text()
        output.print_paragraph(tell_account(account))
    return _conclude(store, record)


def _conclude(store: str | None, record: StudyRecord) -> int:
    study = record.study
    resume_line = f"Go on with: {format_command(f'resume {shlex.quote(study.name)}', store)}"
    for names, message in tell_failures(record.arms):
        diagnostics.fail(f"{names}: {message}", None)
    if study.error is not None:
        diagnostics.fail(f"{study.name}: {study.error}")
    if record.state == "stale":
        diagnostics.fail(f"{study.name}: its process is gone; nothing that was written is lost", resume_line)
    elif record.state != "done":
        n_left = sum(state != "done" for state in record.states)
        diagnostics.narrate(f"{n_left} of {len(record.arms)} runs are not done. {resume_line}")
    if "done" in record.states:
        diagnostics.narrate(_tell_next(record, store))
    return int(_CODES.get(record.state, ExitCode.INTERRUPTED))


def _tell_next(record: StudyRecord, store: str | None) -> str:
    """How to see what it found; a comparison takes two runs."""
    name = shlex.quote(record.study.name)
    if sum(arm.run_id is not None for arm in record.arms) > 1:
        return f"compare its arms: {format_command(f'compare {name}', store)}"
    return f"see it: {format_command(f'show {name}', store)}"


def print_plan(plan: StudyPlan) -> None:
    """Print a study's arms, stages and expected time."""
    from cream_tui.views.study_plan import PLAN_COLUMNS, build_plan_rows, describe_headline, list_facts

    output.print_text(describe_headline(plan), "bold")
    output.print_text()
    output.print_table(PLAN_COLUMNS, build_plan_rows(plan))
    output.print_text()
    output.print_facts(list_facts(plan))


def build_plan_record(plan: StudyPlan) -> dict[str, Any]:
    """The JSON of a plan."""
    names = ("n_asked", "n_distinct", "n_done", "seconds", "n_unknown", "jobs", "is_base_known")
    return {
        "name": plan.study.name,
        **{name: getattr(plan, name) for name in names},
        "added": list(plan.added) if plan.stored else [],
        "dropped": [name_arm(arm) for arm in plan.dropped],
        "outdated": [name_arm(arm) for arm in plan.outdated],
        "arms": [
            {
                "arm": arm.arm.title,
                "method": arm.arm.method,
                "seed": arm.arm.seed,
                "run_name": arm.arm.config.name,
                "run_id": arm.run_id,
                "state": arm.state,
                "n_stages": len(arm.keys),
                "n_reused": arm.n_reused,
                "n_shared": arm.n_shared,
                "n_new": arm.n_new,
            }
            for arm in plan.arms
        ],
    }


def build_record(record: StudyRecord, account: StudyAccount) -> dict[str, Any]:
    """The JSON of a study."""
    study = record.study
    return {
        "study_id": study.study_id,
        "name": study.name,
        "state": record.state,
        "jobs": study.jobs,
        "error": study.error,
        "account": asdict(account),
        "arms": [
            {
                "arm": arm.arm,
                "method": arm.method,
                "seed": arm.seed,
                "run_id": arm.run_id,
                "run_name": arm.run_name,
                "state": state,
                "error": arm.error,
            }
            for arm, state in zip(record.arms, record.states, strict=True)
        ],
    }
