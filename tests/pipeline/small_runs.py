"""Small real runs: their configuration, waiting for them, and what they left."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil

from db.exports import EXPORT_COLUMNS, iterate_export
from db.queries import find_run, read_run_stages
from db.reading import open_reader
from db.rows import RunRow
from engine.config.load import load_run_config
from engine.config.run import RunConfig

SMALL = (
    "iterations=1",
    "data.prompts_per_iteration=24",
    "data.sft_examples=16",
    "evaluation.items=16",
    "sampling.batch_tokens=2000",
    "sampling.max_new_tokens=24",
    "scoring.batch_tokens=400",
    "training.epochs=4",
    "training.batch_size=8",
    "training.snapshot_every=3",
    "sft.batch_size=4",
    "sft.epochs=2",
    "sft.snapshot_every=2",
)
# What may differ between two equal runs: ids, names and times.
VOLATILE = {"run_id", "name", "created_at", "started_at", "finished_at", "at"}
WAIT_S = 150.0


def build_config(*overrides: str, method: str = "cream", name: str = "small") -> RunConfig:
    return load_run_config("sandbox", overrides=[*SMALL, *overrides], method=method, name=name)


def wait_until(condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def reread(root: Path, run: RunRow) -> RunRow:
    with closing(open_reader(root)) as reader:
        return find_run(reader, run.run_id)


def finish(root: Path, run: RunRow, state: str = "done") -> RunRow:
    wait_until(lambda: reread(root, run).state not in ("queued", "running"))
    ended = reread(root, run)
    assert ended.state == state, ended.error
    return ended


def read_all(root: Path, run: RunRow) -> dict[str, list[tuple[object, ...]]]:
    """Every exported row of a run without what may differ."""
    rows = {}
    with closing(open_reader(root)) as reader:
        for what, columns in EXPORT_COLUMNS.items():
            kept = [i for i, column in enumerate(columns) if column not in VOLATILE]
            rows[what] = [tuple(row[i] for i in kept) for row in iterate_export(reader, what, reread(root, run))]
    return rows


def is_stage(root: Path, run: RunRow, label: str, *states: str) -> bool:
    with closing(open_reader(root)) as reader:
        return any(s.label == label and s.state in states for s in read_run_stages(reader, run.run_id))


def find_processes(root: Path) -> list[psutil.Process]:
    """Every process that has this store on its command line, children included."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter(["cmdline"]):
        if str(root) in (process.info["cmdline"] or []) and process.status() != psutil.STATUS_ZOMBIE:
            found |= {process, *process.children(recursive=True)}
    return list(found)
