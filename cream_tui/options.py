"""Arguments and options that several commands share.

Knows Typer and names. Must not know what a command does with a value.
"""

from __future__ import annotations

from typing import Annotated

import typer

from cream_tui.layout import complete_configs, complete_methods, complete_runs

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
