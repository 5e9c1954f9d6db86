"""Arguments and options of the commands.

Knows Typer and names. Must not know what a command does with a value.
"""

from __future__ import annotations

from typing import Annotated

import typer

from cream_tui.layout import complete_configs, complete_methods, complete_runs


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from cream_tui import output
        from cream_tui.commands.doctor import find_version

        output.print_text(f"cream-tui {find_version('cream-tui') or 'not installed'}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)]
Store = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="DIR", help="The store folder; else $CREAM_STORE, else .cream here.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A name, an id, the start of an id, or latest.",
        autocompletion=complete_runs,
        show_default=False,
    ),
]
WholeRun = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A whole name or id.", autocompletion=complete_runs, show_default=False),
]
OptionalRun = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help="A name, an id, the start of an id, or latest; else the latest.",
        autocompletion=complete_runs,
        show_default=False,
    ),
]
Config = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG", help="A YAML file or a shipped name.", autocompletion=complete_configs, show_default=False
    ),
]
OptionalConfig = Annotated[
    str | None,
    typer.Argument(
        metavar="[CONFIG]", help="A YAML file or a shipped name.", autocompletion=complete_configs, show_default=False
    ),
]
FromRun = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="RUN",
        help="Take the settings of this run instead of CONFIG.",
        autocompletion=complete_runs,
        show_default=False,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would do; start nothing.")]
DryRunJson = Annotated[bool, typer.Option("--json", help="With --dry-run: print JSON.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; may be repeated.", show_default=False),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method", metavar="NAME", help="Use this method.", autocompletion=complete_methods, show_default=False
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Use this seed.", show_default=False)]
Name = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Call the run so.", show_default=False)]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", metavar="TAG", help="Tag the run; may be repeated.", show_default=False)
]
Detach = Annotated[bool, typer.Option("--detach", help="Return at once; the run goes on in the background.")]

Queued = Annotated[
    bool,
    typer.Option("--queue", help="Wait for its turn behind the runs that work and wait; $CREAM_SLOTS work at once."),
]
UseVerdicts = Annotated[
    bool, typer.Option("--use-verdicts", help="Train on the pairs as the verdicts on them say (see judge).")
]

Sort = Annotated[
    str, typer.Option("--sort", metavar="KEY", help="iteration, consistency, margin, confidence or length.")
]
Filter = Annotated[
    str | None,
    typer.Option(
        "--filter", metavar="FILTER", help="Only these, as 'C<0.8 label:wrong -has:verdict'.", show_default=False
    ),
]
RunFilter = Annotated[
    str | None,
    typer.Option(
        "--filter", metavar="FILTER", help="Only these, as 'method:cream beta<=1 accuracy>70%'.", show_default=False
    ),
]
RunSort = Annotated[
    str | None,
    typer.Option(
        "--sort", metavar="KEY", help="By a column, a setting or a metric; else the newest first.", show_default=False
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        "--group", metavar="KEY,...", help="In groups that agree in these, with their means.", show_default=False
    ),
]
Flat = Annotated[bool, typer.Option("--flat", help="A row for each run of a study too.")]
Descending = Annotated[bool, typer.Option("--descending", help="The greatest first.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", help="At most so many; 0 for all.")]
Iteration = Annotated[
    int | None, typer.Option("--iteration", metavar="T", help="Only this iteration.", show_default=False)
]
Wrong = Annotated[bool, typer.Option("--wrong", help="Only pairs whose label is known to be wrong.")]

What = Annotated[
    str,
    typer.Option(
        "--what",
        metavar="WHAT",
        help="pairs, verdicts, responses, rewards, consistency, metrics, evaluations or runs; a folder: checkpoint or "
        "dataset.",
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="csv, jsonl or parquet; else by the file's ending, else csv.",
        show_default=False,
    ),
]
OutputFile = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Write this file or folder, whole or not at all.", show_default=False
    ),
]
Merge = Annotated[bool, typer.Option("--merge", help="Of a LoRA checkpoint: M0 with the adapter in its weights.")]
PushToHub = Annotated[
    str | None,
    typer.Option(
        "--push-to-hub",
        metavar="USER/NAME",
        help="Upload a checkpoint or dataset to the Hugging Face hub, private.",
        show_default=False,
    ),
]
Private = Annotated[bool, typer.Option("--private/--public", help="Who can read what is uploaded.")]

OnlyTag = Annotated[
    str | None, typer.Option("--tag", metavar="TAG", help="Only runs with this tag.", show_default=False)
]
OnlyState = Annotated[
    str | None,
    typer.Option(
        "--state", metavar="STATE", help="Only queued, running, done, failed, stopped or stale.", show_default=False
    ),
]

ToTracker = Annotated[
    str, typer.Option("--to", metavar="TRACKER", help="trackio, wandb, tensorboard or mlflow.", show_default=False)
]

AtModel = Annotated[
    str, typer.Option("--at", metavar="MODEL", help="The model to go on from, as M2.", show_default=False)
]
NoReuse = Annotated[bool, typer.Option("--no-reuse", help="Compute every stage anew, also what other runs have.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

Answers = Annotated[bool, typer.Option("--answers", help="List the runs' greedy answers to the same prompts.")]
OnlySide = Annotated[
    str | None,
    typer.Option(
        "--only",
        metavar="OUTCOME",
        help="With --answers: only those that a run wins, loses or ties: win, lose or tie.",
        show_default=False,
    ),
]
OfModel = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="MODEL", help="With --answers: of this model, else the last in common.", show_default=False
    ),
]
BaselineArm = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="ARM",
        help="Compare with this arm, or the arm of this run; else the study's baseline, or the first.",
        show_default=False,
    ),
]
ComparedAt = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="MODEL",
        help="Compare at this model, as if there were none after it; else at the last that both sides have.",
        show_default=False,
    ),
]
CompareFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="table, markdown, csv, json or latex; else by the file's ending, else table.",
        show_default=False,
    ),
]
InApp = Annotated[bool, typer.Option("--tui", help="Open the comparison in the app.")]

AddedTags = Annotated[
    list[str] | None, typer.Option("--tag", metavar="TAG", help="Add a tag; may be repeated.", show_default=False)
]
RemovedTags = Annotated[
    list[str] | None,
    typer.Option("--untag", metavar="TAG", help="Take a tag away; may be repeated.", show_default=False),
]
NoteText = Annotated[
    str | None, typer.Option("--note", metavar="TEXT", help="Replace the note; empty for none.", show_default=False)
]
Pin = Annotated[
    bool | None, typer.Option("--pin/--unpin", help="Make it the store's one baseline, or not.", show_default=False)
]
PromptId = Annotated[
    str,
    typer.Argument(
        metavar="PROMPT", help="The prompt's id, the start of one, or the pair's number.", show_default=False
    ),
]
VerdictWord = Annotated[
    str | None,
    typer.Argument(metavar="[VERDICT]", help="agree, swap, tie, both_bad or unsure.", show_default=False),
]
Flag = Annotated[bool | None, typer.Option("--flag/--no-flag", help="Flag the pair, or not.", show_default=False)]
Clear = Annotated[bool, typer.Option("--clear", help="Forget verdict, flag and note.")]
QueuedRun = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]", help="The waiting run that is to move.", autocompletion=complete_runs, show_default=False
    ),
]
First = Annotated[bool, typer.Option("--first", help="Let it go before all others.")]
Last = Annotated[bool, typer.Option("--last", help="Let it go behind all others.")]
Before = Annotated[
    str | None, typer.Option("--before", metavar="OTHER", help="Let it go just before this one.", show_default=False)
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run is over.")]
OfStage = Annotated[
    str | None,
    typer.Option("--stage", metavar="LABEL", help='Of this stage, as "train M2", or supervisor.', show_default=False),
]
MetricNames = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME ...]", help="The metrics; none: list them.", show_default=False)
]
