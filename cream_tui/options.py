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

Sort = Annotated[
    str, typer.Option("--sort", metavar="KEY", help="iteration, consistency, margin, confidence or length.")
]
Descending = Annotated[bool, typer.Option("--descending", help="The greatest first.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", help="At most so many; 0 for all.")]
Iteration = Annotated[
    int | None, typer.Option("--iteration", metavar="T", help="Only this iteration.", show_default=False)
]
Wrong = Annotated[bool, typer.Option("--wrong", help="Only pairs whose label is known to be wrong.")]

What = Annotated[
    str,
    typer.Option(
        "--what", metavar="WHAT", help="pairs, responses, rewards, consistency, metrics, evaluations or runs."
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="FORMAT", help="csv or jsonl; else by the file's ending, else csv.", show_default=False
    ),
]
OutputFile = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write this file, whole or not at all.", show_default=False),
]

OnlyTag = Annotated[
    str | None, typer.Option("--tag", metavar="TAG", help="Only runs with this tag.", show_default=False)
]
OnlyState = Annotated[
    str | None,
    typer.Option(
        "--state", metavar="STATE", help="Only queued, running, done, failed, stopped or stale.", show_default=False
    ),
]

AtModel = Annotated[
    str, typer.Option("--at", metavar="MODEL", help="The model to go on from, as M2.", show_default=False)
]
NoReuse = Annotated[bool, typer.Option("--no-reuse", help="Compute every stage anew, also what other runs have.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
