"""The part of the command table about studies: many runs from one file, and what they say. `cream_tui.cli` adds it.

Knows names, options and help texts. Must not know what a command does.
"""

from __future__ import annotations

from typing import Annotated

import typer

from cream_tui.layout import complete_configs, complete_runs, complete_sweeps
from cream_tui.options import AsJson, BaselineArm, Detach, DryRun, Overrides, Run, Store

Study = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="A YAML file or a shipped name, as config show lists them.",
        autocompletion=complete_sweeps,
        show_default=False,
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", metavar="K", help="Let so many runs work at once; else what GPUs or cores allow.", show_default=False
    ),
]

StudiesOrRuns = Annotated[
    list[str],
    typer.Argument(
        metavar="STUDY|RUN",
        help="Studies and runs, by name, id or the start of one.",
        autocompletion=complete_runs,
        show_default=False,
    ),
]
ReportFile = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write this .html or .md file, whole.", show_default=False),
]


OtherConfig = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="CONFIG",
        help="Start all runs from this YAML file or shipped name instead of the study's.",
        autocompletion=complete_configs,
        show_default=False,
    ),
]
OtherSeeds = Annotated[
    str | None,
    typer.Option("--seeds", metavar="SEEDS", help="Take these seeds: 0-9, or 0,1,2.", show_default=False),
]
StudyName = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Call the study so.", show_default=False)]


def sweep(
    study: Study,
    jobs: Jobs = None,
    dry_run: DryRun = False,
    detach: Detach = False,
    overrides: Overrides = None,
    config: OtherConfig = None,
    seeds: OtherSeeds = None,
    name: StudyName = None,
    store: Store = None,
    json: AsJson = False,
) -> int:
    """Run a study: methods x seeds x settings from one file.

    A stage that runs share is computed once. The plan is printed first. The same study again goes on where it stopped,
    and does nothing where it is done. Its runs are ordinary runs; watch, show, stop, resume and rm take the study's
    name.

    \b
    Examples
      cream-tui sweep quick --dry-run
      cream-tui sweep quick --jobs 2
      cream-tui sweep paper-table --config my.yaml --seeds 0-9 --detach
    """
    from cream_tui.commands import sweep as command

    options = command.Options(
        jobs=jobs,
        overrides=tuple(overrides or ()),
        config=config,
        name=name,
        seeds=seeds,
        is_detached=detach,
        as_json=json,
    )
    return command.sweep(store, study, options, is_dry=dry_run)


def report(names: StudiesOrRuns, file: ReportFile = None, baseline: BaselineArm = None, store: Store = None) -> int:
    """Write studies and runs as one file: findings, tables, figures.

    HTML is one file that needs nothing else, .md is Markdown with its figures in a folder beside it. Runs that differ
    only in the seed are one arm. It draws with matplotlib: pip install 'cream-tui[report]'.

    \b
    Examples
      cream-tui report quick -o report.html
      cream-tui report demo-srlm demo-cream -o report.md
      cream-tui report reviewers --baseline cream-anchored -o report.html
    """
    from cream_tui.commands import report as command

    return command.report(store, names, file, baseline=baseline)


def health(run: Run, store: Store = None, json: AsJson = False) -> int:
    """Show a run's diagnostics: value, threshold, meaning, what to try.

    Of a study it says in how many runs of each arm a diagnostic warns, and when the early warning did.
    The early warning foretells whether the next model gets worse, from measures that need no gold answers; it was
    fitted on the sandbox. The command ends with 0 whatever warns.

    \b
    Examples
      cream-tui health demo-srlm
      cream-tui health demo-srlm --json
      cream-tui health quick
    """
    from cream_tui.commands import health as command

    return command.health(store, run, as_json=json)
