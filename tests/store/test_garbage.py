"""What `gc` removes, what it keeps, and that a crash in its middle leaves a store that the next one cleans."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from db import garbage
from db.errors import LeaseHeldError
from db.garbage import Garbage, collect_garbage, find_garbage
from db.queries import read_run_checkpoints, read_runs
from db.reading import open_reader
from db.writes import delete_run

TABLES = ("stage", "sampled_prompt", "response", "score", "agreement", "pair", "metric", "checkpoint", "evaluation")


def no_lease_lives(_: object) -> bool:
    return False


def fill_folders(recorded: Any) -> None:
    """A folder for each checkpoint and run, a snapshot of an unfinished stage, and one of each that nothing needs."""
    root = recorded.root
    with closing(open_reader(root)) as c:
        folders = [row[0] for row in c.execute("SELECT DISTINCT folder FROM checkpoint")]
        unfinished = [row[0] for row in c.execute("SELECT key FROM stage WHERE state <> 'done'")]
        runs = [run.run_id for run in read_runs(c)]
    assert folders and unfinished and runs
    names = [*folders, "checkpoints/orphan", f"work/{unfinished[0]}", "work/finished", "runs/gone"]
    for name in [*names, *(f"runs/{run_id}" for run_id in runs)]:
        (root / name).mkdir(parents=True)
        (root / name / "file").write_bytes(b"x" * 1000)


def count_rows(root: Path) -> dict[str, int]:
    with closing(sqlite3.connect(root / "cream.db")) as c:
        return {name: c.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in (*TABLES, "prompt", "run")}


def list_folders(root: Path) -> set[str]:
    return {f"{path.parent.name}/{path.name}" for kind in ("checkpoints", "work", "runs") for path in
            ((root / kind).iterdir() if (root / kind).is_dir() else ())}  # fmt: skip


@pytest.fixture
def own(tmp_path: Path, store: Any, record_store: Callable[..., Any]) -> Any:
    recorded = record_store(store)
    fill_folders(recorded)
    return recorded


def test_what_runs_link_to_is_kept_and_all_else_goes(own: Any) -> None:
    before, folders = count_rows(own.root), list_folders(own.root)
    found = {g.kind: g for g in collect_garbage(own.store, is_alive=no_lease_lives)}
    assert count_rows(own.root) == before
    assert folders - list_folders(own.root) == {"checkpoints/orphan", "work/finished", "runs/gone"}
    assert {kind: (g.n, g.n_bytes) for kind, g in found.items()} == {
        "stages": (0, 0), "prompts": (0, 0), "checkpoints": (1, 1000), "work": (1, 1000), "runs": (1, 1000),
        "left": (0, 0),
    }  # fmt: skip
    assert collect_garbage(own.store, is_alive=no_lease_lives) == [Garbage(kind, 0, 0) for kind in found]


def test_folders_may_be_links_to_another_place(own: Any, tmp_path: Path) -> None:
    """As where checkpoints lie on a shared disk: what is removed never leaves that disk."""
    elsewhere = tmp_path / "elsewhere"
    (own.root / "checkpoints").rename(elsewhere)
    (own.root / "checkpoints").symlink_to(elsewhere)
    n = len(list(elsewhere.iterdir()))
    collect_garbage(own.store, is_alive=no_lease_lives)
    assert len(list(elsewhere.iterdir())) == n - 1 and (own.root / "checkpoints").is_symlink()


def test_the_rows_and_models_of_removed_runs_go(own: Any) -> None:
    for run in (own.first, own.second):
        delete_run(own.store, run.run_id, is_alive=no_lease_lives)
    before = count_rows(own.root)
    assert before["response"] and before["prompt"] and before["checkpoint"] and not before["run"]
    with closing(sqlite3.connect(own.root / "cream.db")) as connection, connection:
        connection.execute("UPDATE response SET text = ?", ("x" * 10_000,))  # more than one page
    planned = find_garbage(own.store)
    assert count_rows(own.root) == before and "checkpoints/orphan" in list_folders(own.root)
    size = (own.root / "cream.db").stat().st_size
    assert collect_garbage(own.store, is_alive=no_lease_lives) == planned
    assert {g.kind: g.n for g in planned}["stages"] == before["stage"]
    assert set(count_rows(own.root).values()) == {0}
    assert list_folders(own.root) == set()
    assert (own.root / "cream.db").stat().st_size < size


def test_what_another_run_shares_stays(own: Any) -> None:
    with closing(open_reader(own.root)) as c:
        kept = {row[0] for row in c.execute("SELECT stage_id FROM run_stage WHERE run_id = ?", (own.second.run_id,))}
    delete_run(own.store, own.first.run_id, is_alive=no_lease_lives)
    collect_garbage(own.store, is_alive=no_lease_lives)
    with closing(open_reader(own.root)) as c:
        assert {row[0] for row in c.execute("SELECT stage_id FROM stage")} == kept
        assert c.execute("PRAGMA foreign_key_check").fetchall() == []
        named = [point for point in read_run_checkpoints(c, own.second.run_id, own.root) if point.name != "M0"]
    assert named and all(Path(point.folder).is_dir() for point in named)


def test_nothing_goes_while_a_run_is_live(own: Any) -> None:
    """The second recorded run holds a lease; the first has been removed, so that there is something to collect."""
    delete_run(own.store, own.first.run_id, is_alive=no_lease_lives)
    rows, folders = count_rows(own.root), list_folders(own.root)
    with pytest.raises(LeaseHeldError, match="nothing is removed meanwhile"):
        collect_garbage(own.store, is_alive=lambda _: True)
    assert (count_rows(own.root), list_folders(own.root)) == (rows, folders)
    collect_garbage(own.store, is_alive=no_lease_lives)
    assert count_rows(own.root)["stage"] < rows["stage"] and list_folders(own.root) < folders


@pytest.mark.parametrize("step", ["_move_aside", "_delete_folder", "_drop_prompts"])
def test_a_crash_leaves_no_row_without_its_folder_and_the_next_gc_ends_the_work(
    own: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    for run in (own.first, own.second):
        delete_run(own.store, run.run_id, is_alive=no_lease_lives)
    with monkeypatch.context() as broken:
        broken.setattr(garbage, step, crash)
        with pytest.raises(KeyboardInterrupt):
            collect_garbage(own.store, is_alive=no_lease_lives)
    with closing(open_reader(own.root)) as c:
        named = [row[0] for row in c.execute("SELECT folder FROM checkpoint")]
    assert all((own.root / folder).is_dir() for folder in named)
    collect_garbage(own.store, is_alive=no_lease_lives)
    assert list_folders(own.root) == set() and count_rows(own.root)["prompt"] == 0
