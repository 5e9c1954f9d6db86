"""Rows of a ``datasets`` source: a name on the hub, or a folder that the library loads or has saved."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, load_dataset, load_from_disk

from engine.config.data import SourceConfig
from engine.errors import TaskError
from engine.tasks.files import PlacedRow

_SAVED = ("dataset_dict.json", "state.json")
_COMMIT = re.compile(r"@([0-9a-f]{40})/")
_log = logging.getLogger(__name__)


def read_hub_rows(source: SourceConfig) -> list[PlacedRow]:
    """Return every row with its place, for the same parser that reads the rows of files.

    What was read is logged with its commit, where the library tells one, and its fingerprint.

    Raises:
        TaskError: the library cannot load it; carries the library's own reason.
    """
    name, split = source.path, source.split
    try:
        dataset = _load(source)
    except Exception as error:  # the library raises what its readers and its transport raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TaskError(
            f"datasets cannot load {name} (split {split}): {reason}", hint="check data.* in the config, and the network"
        ) from error
    _log.info("read %s (%s): %d rows, %s", name, split, len(dataset), describe_version(dataset))
    return [(f"{name} ({split}), row {index}", dict(row)) for index, row in enumerate(dataset)]


def describe_version(dataset: Dataset) -> str:
    """Return the hub's commit, where it is known, and the library's fingerprint of the content."""
    urls = " ".join(map(str, dataset.info.download_checksums or {}))
    commit = _COMMIT.search(urls)
    return (f"commit {commit[1]}, " if commit else "") + f"fingerprint {dataset._fingerprint}"


def _load(source: SourceConfig) -> Any:
    folder = Path(source.path)
    if not any((folder / name).is_file() for name in _SAVED):
        return load_dataset(source.path, source.subset, split=source.split, revision=source.revision)
    saved = load_from_disk(str(folder))
    return saved[source.split] if isinstance(saved, DatasetDict) else saved
