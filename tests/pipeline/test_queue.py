"""The queue with real supervisors: turns, reordering, a stop while waiting, the death of who is waited for."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from small_runs import build_config, find_supervisor, finish, hold_worker, reread, wait_until

from db.reading import open_reader
from db.rows import RunRow
from db.run_queue import move_to_front, read_queue
from engine.errors import ConfigError
from engine.runtime import control

CONFIG = ("data.prompts_per_iteration=8", "evaluation.tasks=[]", "training.epochs=1")


def start(root: Path, name: str, *overrides: str, is_queued: bool = True) -> RunRow:
    return control.start_run(root, build_config(*CONFIG, *overrides, name=name), is_queued=is_queued)


def list_queue(root: Path) -> list[tuple[str, str]]:
    with closing(open_reader(root)) as reader:
        return [(entry.name, entry.state) for entry in read_queue(reader)]


def test_runs_take_turns(root: Path) -> None:
    busy = start(root, "busy", is_queued=False)
    worker = hold_worker(root, busy, "train M1 (SFT)")
    one, two, three = (start(root, name) for name in ("one", "two", "three"))
    assert list_queue(root) == [("busy", "running"), ("one", "queued"), ("two", "queued"), ("three", "queued")]

    for run in (one, two, three):  # who waits has loaded nothing
        supervisor = find_supervisor(root, run)
        assert supervisor.children() == []
        assert not any("libtorch" in mapped.path for mapped in supervisor.memory_maps())

    assert control.stop_run(root, one) == "stopped"
    stopped = reread(root, one)
    assert (stopped.exit_code, stopped.queue_position, stopped.started_at) == (3, None, None)
    one = control.resume_run(root, stopped, is_queued=True)
    move_to_front(root, three.run_id)
    assert list_queue(root)[1:] == [("three", "queued"), ("two", "queued"), ("one", "queued")]

    find_supervisor(root, busy).kill()
    worker.resume()  # to find itself alone
    three, two, one = (finish(root, run) for run in (three, two, one))
    for earlier, later in ((three, two), (two, one)):
        assert earlier.finished_at is not None and later.started_at is not None
        assert earlier.finished_at <= later.started_at
    assert reread(root, busy).state == "running"  # stale: nobody has resumed it


def test_slots_let_runs_work_together(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREAM_SLOTS", "2")
    runs = [start(root, name, "data.prompts_per_iteration=200") for name in ("one", "two", "three")]
    wait_until(lambda: [state for _, state in list_queue(root)] == ["running", "running", "queued"])
    for run in reversed(runs):
        control.stop_run(root, run)
    assert {reread(root, run).state for run in runs} == {"stopped"}


def test_slots_are_a_number_above_0(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("0", "two", "-1", "1.5"):
        monkeypatch.setenv("CREAM_SLOTS", text)
        with pytest.raises(ConfigError, match="CREAM_SLOTS"):
            start(root, "one")
    assert not root.exists()
