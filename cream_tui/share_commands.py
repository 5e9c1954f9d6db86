"""The part of the command table about what leaves the store: exports, uploads, trackers. `cream_tui.cli` adds it.

Knows names, options and help texts. Must not know what a command does.
"""

from __future__ import annotations

from cream_tui.options import (
    AsJson,
    Format,
    Merge,
    OptionalRun,
    OutputFile,
    Private,
    PushToHub,
    Run,
    Store,
    ToTracker,
    What,
)


def export(
    run: OptionalRun = None,
    what: What = "pairs",
    format_: Format = None,
    file: OutputFile = None,
    merge: Merge = False,
    push_to_hub: PushToHub = None,
    private: Private = True,
    store: Store = None,
) -> int:
    """Export rows, or a model or pairs as a folder with a card.

    Rows are CSV, JSON lines or Parquet. CSV is RFC 4180 in UTF-8 with full precision: an empty field is a missing
    value, flags are True and False, lists are JSON. Pairs as jsonl are TRL's preference format and hold no skipped
    prompts. A checkpoint, RUN/M2, is a folder for transformers or peft; a dataset holds the pairs for
    `datasets.load_dataset` and TRL.

    \b
    Examples
      cream-tui export > pairs.csv
      cream-tui export sandbox --what responses -o responses.jsonl
      cream-tui export sandbox/M3 --what checkpoint -o my-model
    """
    if what in ("checkpoint", "dataset"):
        from cream_tui.commands import export_folder

        return export_folder.export_folder(
            store, run, what, export_folder.build_destination(file, push_to_hub, is_private=private), is_merged=merge
        )
    from cream_tui.commands import export as command

    command.refuse_folder_options(what, is_merged=merge, hub=push_to_hub)
    return command.export(store, run, what=what, format_name=format_, target=file)


def mirror(run: Run, to: ToTracker, store: Store = None, json: AsJson = False) -> int:
    """Send a run's metrics to a tracker: all that it does not have yet.

    A run that goes on is followed until it is over. With report_to in its configuration a run does this by itself.

    \b
    Examples
      cream-tui mirror sandbox --to tensorboard
      cream-tui mirror latest --to mlflow
    """
    from cream_tui.commands import mirror as command

    return command.mirror(store, run, to, as_json=json)
