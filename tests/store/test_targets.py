"""Links into the app: RUN, RUN/M2, RUN/pairs/412."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cream_tui.diagnostics import UsageProblem
from cream_tui.targets import HealthTarget, PairsTarget, RunTarget, parse_target
from db import writes
from db.errors import RunNotFoundError
from db.reading import open_reader
from db.rows import NewRun
from db.session import open_store


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    new = NewRun("demo-cream", "cream", 0, 3, "{}", "d", "[]", "/m", "m", "{}")
    writes.create_run(open_store(tmp_path), new, [])
    with closing(open_reader(tmp_path)) as connection:
        yield connection


def find_id(reader: sqlite3.Connection) -> str:
    return str(reader.execute("SELECT run_id FROM run").fetchone()[0])


@pytest.mark.parametrize("name", ["demo-cream", "demo-c", "latest"])
def test_a_run_by_any_of_its_names(reader: sqlite3.Connection, name: str) -> None:
    run_id = find_id(reader)
    assert parse_target(reader, name) == parse_target(reader, f"{name}/") == RunTarget(run_id)
    assert parse_target(reader, f"{name}/M2") == RunTarget(run_id, "M2")
    assert parse_target(reader, f"{name}/pairs") == PairsTarget(run_id)
    assert parse_target(reader, f"{name}/pairs/412") == PairsTarget(run_id, number=412)
    assert parse_target(reader, f"{name}/health") == HealthTarget(run_id)
    assert parse_target(reader, f"{run_id[:4]}/M4") == RunTarget(run_id, "M4")


@pytest.mark.parametrize(
    "rest", ["M5", "pairs/0", "pairs/x", "pairs/-1", "pairs/1/2", "Mx", "pear", "health/1", "pairs/١"]
)
def test_a_place_that_is_not_there_is_named(reader: sqlite3.Connection, rest: str) -> None:
    with pytest.raises(UsageProblem, match="demo-cream/"):
        parse_target(reader, f"demo-cream/{rest}")


def test_a_run_that_is_not_there(reader: sqlite3.Connection) -> None:
    with pytest.raises(RunNotFoundError):
        parse_target(reader, "nobody/M1")


@pytest.mark.parametrize("path", ["/nowhere/study.yaml", "study.yaml", "./demo-cream"])
def test_a_path_is_no_run(reader: sqlite3.Connection, path: str) -> None:
    with pytest.raises(UsageProblem, match=f"no such file: {path}"):
        parse_target(reader, path)


def test_a_file_is_started_not_opened(reader: sqlite3.Connection, tmp_path: Path) -> None:
    file = tmp_path / "my study.yaml"
    file.touch()
    with pytest.raises(UsageProblem, match="is a file") as caught:
        parse_target(reader, str(file))
    assert f"cream-tui sweep '{file}'" in (caught.value.hint or "")
