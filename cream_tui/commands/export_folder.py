"""`export --what checkpoint` and `--what dataset`: folders with a card, for others to load, and their way to the hub.

Writes beside the target and renames. Must not know how a card is worded. Whatever needs torch runs in another process.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cream_tui import diagnostics, output
from cream_tui.cards.dataset_card import build_dataset_card
from cream_tui.cards.facts import CardFacts, read_card_facts
from cream_tui.cards.model_card import build_model_card
from cream_tui.engine_call import call_engine
from cream_tui.export_formats import PREFERENCE, build_preferences
from cream_tui.hub_push import KEY, HubTarget, check_target, push_folder
from cream_tui.parquet_files import write_parquet
from cream_tui.stores import open_run_reader
from cream_tui.units import format_bytes
from db.export_types import Kind, find_kind
from db.exports import PREFERENCE_COLUMNS, iterate_preferences
from db.queries import find_run
from db.rows import RunCheckpoint
from engine.artifacts import IGNORED_FILES, MODEL_FILES, is_adapter_folder
from engine.errors import CheckpointError, ExitCode

_LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
_LABEL = "label_correct"
# Said before a copy that takes a while.
_LARGE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Destination:
    """A folder, a place on the hub, or both."""

    folder: str | None
    hub: HubTarget | None = None


def build_destination(folder: str | None, hub: str | None, *, is_private: bool) -> Destination:
    """Where the options say."""
    return Destination(folder, None if hub is None else HubTarget(hub, is_private))


def export_folder(store: str | None, run: str | None, what: str, where: Destination, *, is_merged: bool) -> int:
    """Write a checkpoint or a dataset."""
    if what == "checkpoint":
        return export_checkpoint(store, run, where, is_merged=is_merged)
    if is_merged:
        raise diagnostics.UsageProblem("--merge is for --what checkpoint", "Leave it out.")
    return export_dataset(store, run, where)


def export_checkpoint(store: str | None, run: str | None, where: Destination, *, is_merged: bool) -> int:
    """Write a model of a run, RUN or RUN/M2, as a folder that transformers or peft loads."""
    _check(where)
    reference, _, name = (run or "latest").partition("/")
    with open_run_reader(store) as (root, connection):
        _check_outside(where, root)
        facts = read_card_facts(connection, find_run(connection, reference), root)
    model = _choose_model(facts, name)
    source = Path(model.folder)
    is_adapter = is_adapter_folder(source)
    if not is_adapter and not (source / "config.json").is_file():
        raise CheckpointError(f"{model.name} of {facts.run.name}: no model lies in {source} any more")
    if is_merged and not is_adapter:
        raise diagnostics.UsageProblem(
            f"--merge: {model.name} of {facts.run.name} is a whole model, not an adapter", "Leave --merge out."
        )

    def fill(folder: Path) -> str:
        if is_merged:
            dtype = str(facts.config.get("model", {}).get("dtype", "float32"))
            call_engine("engine.compute.merge_adapter", facts.run.base_folder, str(source), dtype, str(folder))
        else:
            _copy_model(source, folder)
        card = build_model_card(
            facts, model, is_adapter=is_adapter and not is_merged, has_template=_has_template(folder)
        )
        (folder / "README.md").write_text(card, encoding="utf-8")
        return f"{facts.run.name} {model.name}"

    return _publish(where, fill, kind="model")


def export_dataset(store: str | None, run: str | None, where: Destination) -> int:
    """Write the pairs of a run as a folder that `datasets.load_dataset` loads and TRL trains on."""
    _check(where)
    with open_run_reader(store) as (root, connection):
        _check_outside(where, root)
        facts = read_card_facts(connection, find_run(connection, run or "latest"), root)
        kinds = _list_dataset_columns()

        def fill(folder: Path) -> str:
            (folder / "data").mkdir()
            rows = iterate_preferences(connection, [facts.run])
            records = build_preferences(PREFERENCE_COLUMNS, rows, has_messages=True)
            file = folder / "data" / "train-00000-of-00001.parquet"
            n = write_parquet(file, map(_add_label, records), kinds, PREFERENCE)
            if n == 0:
                raise diagnostics.UsageProblem(f"{facts.run.name}: no pairs yet")
            (folder / "README.md").write_text(build_dataset_card(facts, n, list(kinds)), encoding="utf-8")
            return f"{facts.run.name}: {n:,} pairs"

        return _publish(where, fill, kind="dataset")


def _check(where: Destination) -> None:
    if where.folder is None and where.hub is None:
        raise diagnostics.UsageProblem("it needs a place", f"Say -o FOLDER, or {KEY} USER/NAME.")
    if where.folder is not None:
        target = _find_target(where.folder)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise diagnostics.UsageProblem(
                f"{target} is there already", "Name a folder that is not there yet, or an empty one."
            )
    if where.hub is not None:
        check_target(where.hub)


def _check_outside(where: Destination, root: Path) -> None:
    """What lies in the store belongs to it: `gc` would take the export away."""
    if where.folder is not None and _find_target(where.folder).resolve().is_relative_to(root.resolve()):
        raise diagnostics.UsageProblem(f"{where.folder} lies in the store {root}", "Name a folder outside of it.")


def _find_target(folder: str) -> Path:
    return Path(folder).expanduser().absolute()


def _choose_model(facts: CardFacts, name: str) -> RunCheckpoint:
    by_name = {checkpoint.name: checkpoint for checkpoint in facts.checkpoints}
    if not by_name:
        raise diagnostics.UsageProblem(f"{facts.run.name} has no model yet, or was imported without one")
    if not name:
        return facts.checkpoints[-1]
    if name not in by_name:
        raise diagnostics.UsageProblem(
            f"{facts.run.name}/{name}: there is no such model", f"There are {', '.join(by_name)}."
        )
    return by_name[name]


def _publish(where: Destination, fill: Callable[[Path], str], *, kind: Literal["model", "dataset"]) -> int:
    """Fill a folder beside the target, move it there whole, upload it; one that only the hub gets is not kept."""
    target = None if where.folder is None else _find_target(where.folder)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".cream-tui-", dir=target and target.parent) as beside:
        folder = Path(beside) / "folder"
        folder.mkdir()
        title = fill(folder)
        if target is not None:
            folder = folder.replace(target)
            diagnostics.narrate(f"{title} in {target}")
        if where.hub is not None:
            diagnostics.narrate(f"uploading to {where.hub.name} ({'private' if where.hub.is_private else 'public'})")
            output.print_text(push_folder(folder, where.hub, kind=kind, message=f"{title}, by cream-tui"))
    return ExitCode.DONE


def _copy_model(source: Path, folder: Path) -> None:
    """Copy what a model is made of, after a look whether the disk has room."""
    names = {path for pattern in (*MODEL_FILES, *_LICENCES) for path in source.glob(pattern) if path.is_file()}
    paths = sorted(path for path in names if path.name not in IGNORED_FILES)
    n_bytes = sum(path.stat().st_size for path in paths)
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise diagnostics.UsageProblem(
            f"the model takes {format_bytes(n_bytes)}, and the disk has {format_bytes(free)} left",
            "Free some space, or name a folder on another disk.",
        )
    for index, path in enumerate(paths, start=1):
        if n_bytes >= _LARGE_BYTES:
            diagnostics.narrate(f"copying {path.name} ({index} of {len(paths)}, {format_bytes(path.stat().st_size)})")
        shutil.copyfile(path, folder / path.name)


def _has_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    config = folder / "tokenizer_config.json"
    return config.is_file() and "chat_template" in json.loads(config.read_text(encoding="utf-8"))


def _list_dataset_columns() -> dict[str, Kind]:
    own = [name for name in PREFERENCE_COLUMNS if name not in (*PREFERENCE, "skip_reason", "messages")]
    return {name: find_kind(name) for name in (*PREFERENCE, *own)} | {_LABEL: "flag"}


def _add_label(record: dict[str, Any]) -> dict[str, Any]:
    """The record and whether its label is right: known only where its sides differ in correctness."""
    chosen, rejected = record["chosen_correct"], record["rejected_correct"]
    is_known = chosen is not None and rejected is not None and chosen != rejected
    return record | {_LABEL: chosen if is_known else None}
