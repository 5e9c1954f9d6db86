"""The command table. Bodies live in `cream_tui.commands`, imported inside each command, so that help costs nothing.

Knows names, options and help texts. Must not know what a command does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

import typer
from typer.main import get_command

from cream_tui import diagnostics
from cream_tui.data_commands import gc, import_
from cream_tui.launch import leave, run_guarded
from cream_tui.layout import CreamCommand, CreamGroup, complete_configs, complete_runs
from cream_tui.options import (
    Answers,
    AsJson,
    AtModel,
    BaselineArm,
    ComparedAt,
    CompareFormat,
    Config,
    Descending,
    Detach,
    DryRun,
    DryRunJson,
    Filter,
    Flat,
    FromRun,
    Group,
    InApp,
    Iteration,
    Limit,
    Method,
    Name,
    NoReuse,
    OfModel,
    OnlySide,
    OnlyState,
    OnlyTag,
    OptionalConfig,
    OutputFile,
    Overrides,
    Queued,
    Run,
    RunFilter,
    RunSort,
    Seed,
    Sort,
    Store,
    Tags,
    UseVerdicts,
    Version,
    WholeRun,
    Wrong,
    Yes,
)
from cream_tui.record_commands import judge, logs, mark, metrics, queue
from cream_tui.share_commands import export, mirror
from cream_tui.study_commands import health, report, sweep
from engine.errors import ExitCode

_PROGRAM = "cream-tui"
_EPILOG = "\b\nExit codes\n" + "\n".join(f"{int(code):>5}  {meaning}" for code, meaning in diagnostics.EXIT_CODES)

app = typer.Typer(
    cls=CreamGroup,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
config_app = typer.Typer(cls=CreamGroup, rich_markup_mode=None, add_completion=False)
app.add_typer(config_app, name="config")


def _command(section: str, group: typer.Typer = app) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return group.command(cls=CreamCommand, rich_help_panel=section)


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    store: Store = None,
    version: Version = False,
) -> int:
    """Experiments with self-rewarding language models: run, compare and take apart.

    Without a command the app opens, at a run where one is named: cream-tui RUN, RUN/M2, RUN/pairs/412,
    RUN/health.

    A run trains M1, M2, ... from a base model M0: each model answers prompts, ranks its own answers, and the next one
    learns from the pairs. Every response, reward and pair is kept in a store.

    \b
    Start here
      cream-tui
      cream-tui demo --quick
      cream-tui run sandbox --method cream
    """
    if context.invoked_subcommand is None:
        from cream_tui.app_start import start_app

        return start_app(store)
    if store is not None:
        raise diagnostics.UsageProblem(
            f"--store {store} stands before the command", f"Say cream-tui {context.invoked_subcommand} --store {store}."
        )
    return ExitCode.DONE


@config_app.callback(invoke_without_command=True)
def _start_config(context: typer.Context) -> int:
    """Show, check and describe configuration files."""
    if context.invoked_subcommand is None:
        from cream_tui import output

        output.print_raw(context.get_help() + "\n")
    return ExitCode.DONE


@app.command("open", cls=CreamCommand, hidden=True)
def open_(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="RUN", help="RUN, RUN/M2, RUN/pairs, RUN/pairs/412 or RUN/health.")],
    store: Store = None,
) -> int:
    """Open the app at a run; the word open may be left out.

    \b
    Example
      cream-tui open latest/pairs
    """
    from cream_tui.app_start import open_named

    commands = getattr(getattr(context.parent, "command", None), "commands", {})
    return open_named(store, name, [known for known, command in commands.items() if not command.hidden])


@_command("Run")
def demo(
    quick: Annotated[bool, typer.Option("--quick", help="Smaller numbers: under a minute.")] = False,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of both runs.")] = 0,
    detach: Detach = False,
    store: Store = None,
    json: AsJson = False,
) -> int:
    """See a whole experiment on an embedded model, start to end.

    CREAM and plain self-rewarding, two runs on the same M0, M1 and first responses, side by side; then their tables and
    what they say. Needs no download and no GPU.

    \b
    Example
      cream-tui demo --quick
    """
    from cream_tui.commands import demo as command

    return command.demo(store, is_quick=quick, seed=seed, is_detached=detach, as_json=json)


@_command("Run")
def run(
    config: OptionalConfig = None,
    source: FromRun = None,
    overrides: Overrides = None,
    method: Method = None,
    seed: Seed = None,
    name: Name = None,
    tags: Tags = None,
    detach: Detach = False,
    queued: Queued = False,
    no_reuse: NoReuse = False,
    dry_run: DryRun = False,
    json: DryRunJson = False,
    store: Store = None,
) -> int:
    """Start a run and watch it; Ctrl-C closes only the view.

    The exit code is the run's own. A stage that another run has computed is reused, and the view says so.

    \b
    Examples
      cream-tui run sandbox --method srlm --seed 1
      cream-tui run my.yaml --set training.learning_rate=5e-5 --tag trial --detach
      cream-tui run --from demo-cream --set training.beta=0.5 --dry-run
    """
    from cream_tui.commands import run as command

    changes = command.Changes(tuple(overrides or ()), method, seed, name, tuple(tags or ()))
    base = command.BaseConfig(config, source)
    if dry_run or json:
        from cream_tui.commands import dry_run as preview

        return preview.preview_run(store, base, changes, is_dry=dry_run, is_reusing=not no_reuse, as_json=json)
    return command.run(store, base, changes, is_detached=detach, is_reusing=not no_reuse, is_queued=queued)


@_command("Run")
def watch(run: Run = "latest", store: Store = None) -> int:
    """Watch a run or study until it ends; Ctrl-C closes only the view.

    \b
    Example
      cream-tui watch latest
    """
    from cream_tui.commands import run as command

    return command.watch(store, run)


@_command("Run")
def stop(run: WholeRun, store: Store = None) -> int:
    """Stop a run or study; it can be resumed and loses nothing.

    \b
    Example
      cream-tui stop sandbox
    """
    from cream_tui.commands import run as command

    return command.stop(store, run)


@_command("Run")
def resume(run: Run, detach: Detach = False, queued: Queued = False, store: Store = None) -> int:
    """Go on with a run or study that was stopped, failed or died.

    What is done stays done; the result equals that of a run that was never stopped.

    \b
    Example
      cream-tui resume sandbox
    """
    from cream_tui.commands import run as command

    return command.resume(store, run, is_detached=detach, is_queued=queued)


@_command("Run")
def fork(
    run: Run,
    at: AtModel,
    overrides: Overrides = None,
    method: Method = None,
    seed: Seed = None,
    name: Name = None,
    tags: Tags = None,
    use_verdicts: UseVerdicts = False,
    detach: Detach = False,
    queued: Queued = False,
    dry_run: DryRun = False,
    json: DryRunJson = False,
    store: Store = None,
) -> int:
    """Start a new run from a model of another, with other settings.

    With --use-verdicts the fork trains on the pairs of the model it starts from as a person judged them: swap reverses
    a pair, tie and both_bad drop it, agree and unsure keep it.

    \b
    Examples
      cream-tui fork sandbox --at M2 --method srlm --name from-m2
      cream-tui fork sandbox --at M2 --use-verdicts
    """
    from cream_tui.commands import run as command

    changes = command.Changes(tuple(overrides or ()), method, seed, name, tuple(tags or ()))
    if dry_run or json:
        from cream_tui.commands import dry_run as preview

        return preview.preview_fork(store, run, at, changes, is_dry=dry_run, uses_verdicts=use_verdicts, as_json=json)
    return command.fork(store, run, at, changes, uses_verdicts=use_verdicts, is_detached=detach, is_queued=queued)


@_command("Run")
def rm(
    run: WholeRun,
    yes: Yes = False,
    store: Store = None,
) -> int:
    """Remove a run or study; what other runs share stays.

    \b
    Example
      cream-tui rm sandbox-2 --yes
    """
    from cream_tui.commands import run as command

    return command.remove(store, run, is_sure=yes)


@_command("Look")
def ls(
    filter_: RunFilter = None,
    tag: OnlyTag = None,
    state: OnlyState = None,
    sort: RunSort = None,
    descending: Descending = False,
    group: Group = None,
    flat: Flat = False,
    store: Store = None,
    json: AsJson = False,
) -> int:
    """List the runs of the store, the newest first; a study is one row.

    A filter combines terms: key:text contains, key=value equals, < <= > >= != compare, has:key, bare words search; or,
    not, parentheses. Keys are the columns of the app (C, tau, anchor, labels, tag, age, ...), settings and metrics.

    \b
    Examples
      cream-tui ls --state running
      cream-tui ls --filter "method:cream beta<=1 age<2d" --sort accuracy
      cream-tui ls --group method,beta
    """
    from cream_tui.commands import ls as command

    wish = command.Wish(
        filter_ or "",
        tag=tag,
        state=state,
        sort=sort,
        is_descending=descending,
        group_keys=tuple(key.strip() for key in (group or "").split(",") if key.strip()),
        is_flat=flat,
    )
    return command.ls(store, wish, as_json=json)


@_command("Look")
def show(run: Run = "latest", store: Store = None, json: AsJson = False) -> int:
    """Show a run or study: its state, stages, models and results.

    \b
    Examples
      cream-tui show latest
      cream-tui show sandbox --json
    """
    from cream_tui.commands import show as command

    return command.show(store, run, as_json=json)


@_command("Look")
def pairs(
    run: Run = "latest",
    filter_: Filter = None,
    sort: Sort = "iteration",
    descending: Descending = False,
    limit: Limit = 20,
    iteration: Iteration = None,
    wrong: Wrong = False,
    store: Store = None,
    json: AsJson = False,
) -> int:
    """Read a run's pairs: prompt, chosen, rejected.

    A filter combines terms as that of ls does: tau, anchor, C, margin, length_ratio, label, verdict, t, text, ...

    \b
    Examples
      cream-tui pairs latest --sort consistency --limit 5
      cream-tui pairs latest --filter "label:wrong C>0.8 -has:verdict"
    """
    from cream_tui.commands import pairs as command

    wish = command.Wish(
        sort,
        filter_text=filter_ or "",
        is_descending=descending,
        limit=limit,
        iteration=iteration,
        is_wrong_only=wrong,
    )
    return command.pairs(store, run, wish, as_json=json)


@_command("Look")
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="STUDY|RUN ...", help="A study, or two runs or more.", autocompletion=complete_runs),
    ],
    baseline: BaselineArm = None,
    at: ComparedAt = None,
    format_: CompareFormat = None,
    output: OutputFile = None,
    answers: Answers = False,
    only: OnlySide = None,
    model: OfModel = None,
    limit: Limit = 20,
    tui: InApp = False,
    store: Store = None,
    json: AsJson = False,
) -> int:
    """Compare studies and runs model by model, with intervals and paired tests.

    Runs that differ only in the seed are an arm; arms are compared over their seeds, single runs by an exact test.

    \b
    Examples
      cream-tui compare demo-srlm demo-cream
      cream-tui compare demo-srlm demo-cream --answers --only win
      cream-tui compare quick --baseline cream -o table.tex
    """
    if tui:
        from cream_tui.readers.compared_runs import open_comparison

        return open_comparison(store, runs)
    if answers or only is not None or model is not None:
        from cream_tui.commands import compare_answers

        wish = compare_answers.Wish(only, model, limit)
        return compare_answers.compare_answers(store, runs, wish, as_json=json)
    from cream_tui.commands import compare as command

    return command.compare(store, runs, command.Wish(format_, output, baseline, at), as_json=json)


for _section, _function in (
    ("Run", sweep),
    ("Run", queue),
    ("Look", health),
    ("Look", report),
    ("Look", export),
    ("Look", mirror),
    ("Look", metrics),
    ("Look", logs),
    ("Mark", mark),
    ("Mark", judge),
    ("Machine", gc),
):
    _command(_section)(_function)
app.command("import", cls=CreamCommand, rich_help_panel="Look")(import_)


@config_app.command("show", cls=CreamCommand)
def config_show(
    config: Annotated[
        str | None,
        typer.Argument(
            metavar="[CONFIG]",
            help="A YAML file or a shipped name.",
            autocompletion=complete_configs,
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    method: Method = None,
    json: AsJson = False,
) -> int:
    """Print a configuration in full; without CONFIG, list them.

    \b
    Example
      cream-tui config show sandbox > my.yaml
    """
    from cream_tui.commands import config as command

    return command.show(config, tuple(overrides or ()), method, as_json=json)


@config_app.command("check", cls=CreamCommand)
def config_check(config: Config, overrides: Overrides = None, method: Method = None, json: AsJson = False) -> int:
    """Check a configuration and its files; runs nothing.

    \b
    Example
      cream-tui config check my.yaml
    """
    from cream_tui.commands import config as command

    return command.check(config, tuple(overrides or ()), method, as_json=json)


@config_app.command("schema", cls=CreamCommand)
def config_schema() -> int:
    """Print the JSON schema of a configuration file.

    \b
    Example
      cream-tui config schema > run.schema.json
    """
    from cream_tui.commands import config as command

    return command.schema()


@_command("Machine")
def keys(json: AsJson = False) -> int:
    """List the keys of the app, and how to choose others.

    \b
    Example
      cream-tui keys
    """
    from cream_tui.commands import keys as command

    return command.keys(as_json=json)


@_command("Machine")
def doctor(
    config: OptionalConfig = None,
    overrides: Overrides = None,
    method: Method = None,
    store: Store = None,
    json: AsJson = False,
) -> int:
    """Check this machine and the store, and what a run with CONFIG would meet.

    With CONFIG: template and special tokens of the model, counts and lengths of the data, context, memory of each
    stage, disk, GPUs and what samples, before hours are spent. No weights are loaded.

    \b
    Examples
      cream-tui doctor
      cream-tui doctor sandbox
      cream-tui doctor paper-llama3 --set model.path=DIR
    """
    from cream_tui.commands import doctor as command
    from cream_tui.commands.run import Changes

    return command.doctor(store, config, Changes(tuple(overrides or ()), method), as_json=json)


def run_command(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every error becomes a message."""
    return run_guarded(partial(_call, arguments))


def main() -> None:
    """Run the command that the arguments name and leave with its exit code."""
    leave(run_command(sys.argv[1:]))


def _call(arguments: Sequence[str]) -> object:
    try:
        return get_command(app).main(args=list(arguments), prog_name=_PROGRAM, standalone_mode=False)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        hint = f"{context.command_path} --help says how." if context is not None else None
        diagnostics.fail(error.format_message(), hint)
        return ExitCode.CONFIGURATION
    except typer.Abort:
        return diagnostics.ViewExit.CLOSED
