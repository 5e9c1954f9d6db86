"""The part of the command table about data from elsewhere and room in the store. `cream_tui.cli` adds it.

Knows names, options and help texts. Must not know what a command does.
"""

from __future__ import annotations

from typing import Annotated

import typer

from cream_tui.options import AsJson, Name, Store, Tags

ResultFiles = Annotated[
    list[str], typer.Argument(metavar="FILE ...", help="Result files of one iteration, or preference data.")
]
ModelLabel = Annotated[
    str | None,
    typer.Option("--model", metavar="LABEL", help="What the model that answered is called.", show_default=False),
]
OfIteration = Annotated[
    int | None,
    typer.Option("--iteration", metavar="T", help="Which iteration the files are of; else 1.", show_default=False),
]


def import_(
    files: ResultFiles,
    name: Name = None,
    model: ModelLabel = None,
    iteration: OfIteration = None,
    tags: Tags = None,
    store: Store = None,
    json: AsJson = False,
) -> int:
    """Read results of other programs into the store.

    CREAM's files of one iteration together: what infer.py sampled, what rewarding.py gave under the current model and
    then under the previous one, and the pairs of cal_consistency.py; any of them may be missing. Or one file of
    preference data in TRL's format: prompt, chosen, rejected, as text or messages, with scores where it has them.

    \b
    Examples
      cream-tui import results.json current.json previous.json dpo.json
      cream-tui import preferences.jsonl --name ultrafeedback
    """
    from cream_tui.commands import import_results as command

    wish = command.Wish(name, model, iteration, tuple(tags or ()))
    return command.import_results(store, tuple(files), wish, as_json=json)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")] = False,
    store: Store = None,
    json: AsJson = False,
) -> int:
    """Remove from the store what no run needs any more.

    Rows and models of removed runs, snapshots of finished trainings, logs of removed runs. What a run in the store
    links to stays, its models too. Refused while a run works.

    \b
    Examples
      cream-tui gc --dry-run
      cream-tui gc
    """
    from cream_tui.commands import gc as command

    return command.collect(store, is_dry=dry_run, as_json=json)
