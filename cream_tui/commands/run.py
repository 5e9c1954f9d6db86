"""`run`, `watch`, `stop`, `resume`, `fork`, `rm`: everything that changes or follows a run.

Starts and ends runs through engine.runtime.control only. The exit code is the run's own, or 130 where the view was
closed by Ctrl-C; the run goes on then.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cream_tui import diagnostics, output
from cream_tui.stores import format_command, open_run_reader
from db.paths import find_store_root
from db.rows import RunRow
from db.studies import StudyRow, find_exact_run_or_study, find_run_or_study, read_study_arms
from engine.errors import ExitCode

if TYPE_CHECKING:
    from engine.config.run import RunConfig

_EXIT_CODE_BY_STATE = {"done": ExitCode.DONE, "failed": ExitCode.UNEXPECTED, "stopped": ExitCode.INTERRUPTED}


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs from the configuration, and what the run is called."""

    overrides: tuple[str, ...] = ()
    method: str | None = None
    seed: int | None = None
    name: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BaseConfig:
    """Where a new run's settings come from: a file or shipped name, or a stored run; exactly one is given."""

    config: str | None
    source: str | None = None


def load_config(store: str | None, base: BaseConfig, changes: Changes) -> RunConfig:
    """The checked configuration of a run that is to start; the files that it names are there.

    Raises:
        UsageProblem: Both or none of CONFIG and --from are given.
    """
    from engine.config.load import apply_overrides, check_files, config_from_json, load_run_config

    if (base.config is None) == (base.source is None):
        raise diagnostics.UsageProblem(
            "give one of CONFIG and --from RUN", "For example: cream-tui run sandbox, or: cream-tui run --from latest"
        )
    if base.config is not None:
        loaded = load_run_config(
            base.config, overrides=changes.overrides, method=changes.method, seed=changes.seed, name=changes.name
        )
    else:
        from engine.runtime.lineage import refuse_imported

        _, found = _find(store, str(base.source))
        refuse_imported(found, "repeat")
        loaded = apply_overrides(
            config_from_json(found.config_json),
            overrides=changes.overrides,
            method=changes.method,
            seed=changes.seed,
            name=changes.name,
        )
    check_files(loaded)
    return loaded


def run(
    store: str | None, base: BaseConfig, changes: Changes, *, is_detached: bool, is_reusing: bool, is_queued: bool
) -> int:
    """Start a run and follow it."""
    loaded = load_config(store, base, changes)
    root = find_store_root(store)
    from engine.runtime.control import start_run

    started = start_run(root, loaded, tags=changes.tags, reuse=is_reusing, is_queued=is_queued)
    return _announce_and_follow(root, store, started, "started", is_detached=is_detached)


def watch(store: str | None, run: str) -> int:
    """Follow a run that exists, or a study."""
    root, found = _find_any(store, run)
    if isinstance(found, StudyRow):
        from cream_tui.commands import study

        return study.watch(root, store, found)
    return follow_to_end(root, store, [found])


def stop(store: str | None, run: str) -> int:
    """Stop a run, or a study with its runs, and say how it ended."""
    root, found = _find_exact(store, run)
    if isinstance(found, StudyRow):
        from cream_tui.commands import study

        return study.stop(root, store, found)
    if found.state in ("done", "failed", "stopped"):
        diagnostics.narrate(f"{found.name} is {found.state} already")
        return ExitCode.DONE
    from engine.runtime.control import stop_run

    diagnostics.narrate(f"stopping {found.name} ...")
    state = stop_run(root, found)
    words = f"{found.name} is {state}"
    if state == "stopped":
        words += f"; go on with: {format_command(f'resume {found.run_id}', store)}"
    diagnostics.narrate(words)
    return ExitCode.DONE


def resume(store: str | None, run: str, *, is_detached: bool, is_queued: bool) -> int:
    """Go on with a run, or a study, and follow it."""
    from engine.runtime.control import resume_run
    from engine.runtime.lineage import refuse_imported

    root, found = _find_any(store, run)
    if isinstance(found, StudyRow):
        from cream_tui.commands import study

        _refuse_queue(found, is_queued=is_queued)
        return study.resume(root, store, found, is_detached=is_detached)
    refuse_imported(found, "resume")
    if found.state == "done":
        diagnostics.narrate(f"{found.name} is done already")
        return ExitCode.DONE

    resumed = resume_run(root, found, is_queued=is_queued)
    return _announce_and_follow(root, store, resumed, "resumed", is_detached=is_detached)


def fork(
    store: str | None, run: str, at: str, changes: Changes, *, uses_verdicts: bool, is_detached: bool, is_queued: bool
) -> int:
    """Start a run from a model of another and follow it."""
    root, found = _find(store, run)
    from engine.runtime.control import fork_run

    forked = fork_run(
        root,
        found,
        at=at,
        overrides=changes.overrides,
        method=changes.method,
        seed=changes.seed,
        name=changes.name,
        tags=changes.tags,
        use_verdicts=uses_verdicts,
        is_queued=is_queued,
    )
    return _announce_and_follow(root, store, forked, f"forked from {found.name} at {at}", is_detached=is_detached)


def remove(store: str | None, run: str, *, is_sure: bool) -> int:
    """Remove a run, or a study with its runs, after a question on a terminal."""
    root, found = _find_exact(store, run)
    if isinstance(found, StudyRow):
        return _remove_study(root, found, is_sure=is_sure)
    if not is_sure and not _ask(f"Remove run {found.name} ({found.run_id}, {found.state})?"):
        diagnostics.narrate("nothing was removed")
        return ExitCode.DONE
    from engine.runtime.control import delete_run

    delete_run(root, found)
    diagnostics.narrate(f"removed {found.name}")
    return ExitCode.DONE


def follow_to_end(root: Path, store: str | None, runs: Sequence[RunRow], *, is_kept: bool = True) -> int:
    """Show the runs until they end, say how, and return the code of the first that did not end well."""
    from cream_tui.progress import follow

    try:
        snapshots = follow(root, [run.run_id for run in runs], is_kept=is_kept)
    except KeyboardInterrupt:
        tell_closed(store, runs)
        return diagnostics.ViewExit.CLOSED
    codes = [_conclude(root, store, snapshot.run, is_stale=snapshot.stale) for snapshot in snapshots]
    return next((code for code in codes if code), int(ExitCode.DONE))


def _announce_and_follow(root: Path, store: str | None, run: RunRow, word: str, *, is_detached: bool) -> int:
    diagnostics.narrate(f"{run.name} ({run.run_id}) {word}; store {root}")
    if is_detached:
        diagnostics.narrate(f"watch it: {format_command(f'watch {run.run_id}', store)}")
        output.print_text(run.run_id)
        return ExitCode.DONE
    return follow_to_end(root, store, [run])


def _conclude(root: Path, store: str | None, run: RunRow, *, is_stale: bool) -> int:
    """Say how a run ended and return its exit code."""
    resume_line = f"Go on with: {format_command(f'resume {run.run_id}', store)}"
    if is_stale:
        diagnostics.fail(f"{run.name}: its process is gone; nothing that was written is lost", resume_line)
        return int(ExitCode.INTERRUPTED)
    if run.state == "stopped":
        diagnostics.narrate(f"{run.name} was stopped. {resume_line}")
    elif run.state == "failed":
        hints = [f"The log is {log}" for log in _find_logs(root, run) if str(log) not in (run.error or "")]
        other = f"With other settings: {format_command(f'run --from {run.run_id} --set KEY=VALUE', store)}"
        diagnostics.fail(f"{run.name}: {run.error or 'failed'}", "\n".join([*hints, resume_line, other]))
    else:
        diagnostics.narrate(f"{run.name} is {run.state}; see it: {format_command(f'show {run.run_id}', store)}")
    if run.exit_code is not None:
        return run.exit_code
    return int(_EXIT_CODE_BY_STATE.get(run.state, ExitCode.UNEXPECTED))


def _find_logs(root: Path, run: RunRow) -> list[Path]:
    from cream_tui.commands.show import find_log
    from db.queries import open_reader

    connection = open_reader(root)
    try:
        log = find_log(connection, root, run.run_id)
    finally:
        connection.close()
    return [] if log is None else [log]


def tell_closed(store: str | None, runs: Sequence[RunRow]) -> None:
    """Say that the view is gone and the runs are not, and how to watch and stop them."""
    goes = "the run goes on" if len(runs) == 1 else "the runs go on"
    lines = [f"\nThe view is closed; {goes}."]
    for run in runs:
        lines.append(f"  {run.name}: {format_command(f'watch {run.run_id}', store)}")
        lines.append(f"  {' ' * len(run.name)}  {format_command(f'stop {run.run_id}', store)}")
    diagnostics.narrate("\n".join(lines))


def _find(store: str | None, reference: str) -> tuple[Path, RunRow]:
    from db.queries import find_run

    with open_run_reader(store) as (root, connection):
        return root, find_run(connection, reference)


def _find_any(store: str | None, reference: str) -> tuple[Path, RunRow | StudyRow]:
    with open_run_reader(store) as (root, connection):
        return root, find_run_or_study(connection, reference)


def _find_exact(store: str | None, reference: str) -> tuple[Path, RunRow | StudyRow]:
    with open_run_reader(store) as (root, connection):
        return root, find_exact_run_or_study(connection, reference)


def _refuse_queue(study: StudyRow, *, is_queued: bool) -> None:
    if is_queued:
        raise diagnostics.UsageProblem(
            f"--queue: {study.name} is a study, which lets its runs wait by itself", "Leave --queue out."
        )


def _remove_study(root: Path, study: StudyRow, *, is_sure: bool) -> int:
    from cream_tui.commands import study as command

    with open_run_reader(str(root)) as (_, connection):
        n_runs = sum(arm.run_id is not None for arm in read_study_arms(connection, study.study_id))
    if not is_sure and not _ask(f"Remove study {study.name} ({study.study_id}) and its {n_runs} runs?"):
        diagnostics.narrate("nothing was removed")
        return ExitCode.DONE
    return command.remove(root, study)


def _ask(question: str) -> bool:
    if not sys.stdin.isatty():
        raise diagnostics.UsageProblem("there is no terminal to ask on", "Say --yes to remove it.")
    diagnostics.narrate(f"{question} [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")
