"""Small real runs: their configuration, waiting for them, and what they left."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import psutil

from db.exports import EXPORT_COLUMNS, iterate_export
from db.queries import find_run, read_attempts, read_lease, read_run_stages
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
WAIT_S = 400.0  # however slow the machine: whoever waits for so long waits in vain


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
        with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
            if str(root) in (process.info["cmdline"] or []) and process.status() != psutil.STATUS_ZOMBIE:
                found |= {process, *process.children(recursive=True)}
    return list(found)


def find_supervisor(root: Path, run: RunRow) -> psutil.Process:
    with closing(open_reader(root)) as reader:
        lease = read_lease(reader, run.run_id)
    assert lease is not None
    return psutil.Process(lease.pid)


def find_worker(root: Path, run: RunRow) -> int | None:
    """The process of the stage that is being computed."""
    with closing(open_reader(root)) as reader:
        attempts = read_attempts(reader, run.run_id)
    return attempts[-1].pid if attempts and attempts[-1].finished_at is None else None


def hold_worker(root: Path, run: RunRow, label: str, *, n_done: int = 0) -> psutil.Process:
    """A stage's process, suspended once it has committed so much: the stage cannot be over before one acts on it.

    Until then it works in turns of a few milliseconds, however fast the machine is.
    """
    wait_until(lambda: is_stage(root, run, label, "running", "done") and find_worker(root, run) is not None)
    pid = find_worker(root, run)
    assert pid is not None, f"{label} is over"
    worker, deadline = psutil.Process(pid), time.monotonic() + WAIT_S
    with closing(open_reader(root)) as reader, closing(sqlite3.connect(root / "cream.db", timeout=0.1)) as writer:
        while True:
            worker.suspend()
            if _is_free(writer):  # or it was in the middle of a commit, and would keep all others waiting
                stage = next(stage for stage in read_run_stages(reader, run.run_id) if stage.label == label)
                if stage.n_done >= n_done or stage.state != "running":
                    break
            worker.resume()
            assert time.monotonic() < deadline, f"{label} does not come to {n_done}"
            time.sleep(0.01)
    if stage.state != "running":
        worker.resume()
        raise AssertionError(f"{label} is {stage.state}")
    return worker


def let_end(worker: psutil.Process) -> None:
    """Resume a process that is held once it has been told to end."""
    with suppress(FileNotFoundError, psutil.NoSuchProcess):  # it was killed meanwhile
        wait_until(lambda: _is_terminated(worker.pid))
        worker.resume()


def _is_free(connection: sqlite3.Connection) -> bool:
    """Whether the store can be written to."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    connection.rollback()
    return True


def _is_terminated(pid: int) -> bool:
    """Whether SIGTERM waits for a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pending = next(int(line.split()[1], 16) for line in lines if line.startswith("ShdPnd"))
    return bool(pending >> (signal.SIGTERM - 1) & 1)
