"""Rows of a ``datasets`` source: a name on the hub or a folder that the library loads."""

from __future__ import annotations

from datasets import load_dataset

from engine.errors import TaskError


def read_hub_rows(name: str, *, split: str, subset: str | None) -> list[tuple[str, dict[str, object]]]:
    """Return every row with its place, for the same parser that reads JSONL rows.

    Raises:
        TaskError: the library cannot load it; carries the library's own reason.
    """
    try:
        dataset = load_dataset(name, subset, split=split)
    except Exception as error:  # the library raises what its readers and its transport raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TaskError(
            f"datasets cannot load {name} (split {split}): {reason}", hint="check data.* in the config, and the network"
        ) from error
    return [(f"{name} ({split}), row {index}", dict(row)) for index, row in enumerate(dataset)]
