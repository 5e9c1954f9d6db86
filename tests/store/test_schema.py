"""Schema, versions and migrations on real files."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from db import schema
from db.errors import StoreError
from db.queries import open_reader, read_runs
from db.session import open_store
from db.writes import create_run

PROJECT = Path(schema.__file__).parent.parent


def describe_schema(database: Path) -> dict[str, Any]:
    """Columns, unique keys, indexes, foreign keys and CHECKs per table, in comparable form."""
    with closing(sqlite3.connect(database)) as c:
        tables = dict(
            c.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            ).fetchall()
        )
        return {name: _describe_table(c, name, sql) for name, sql in tables.items()}


def _describe_table(c: sqlite3.Connection, name: str, sql: str) -> dict[str, Any]:
    affinity = {"VARCHAR": "TEXT", "FLOAT": "REAL"}
    columns = [
        # A primary key may or may not say NOT NULL; either way SQLite holds an integer one as not null.
        (column, affinity.get(kind, kind), bool(not_null or place), default, place)
        for _, column, kind, not_null, default, place in c.execute(f"PRAGMA table_info({name})")
    ]
    indexes = set()
    for _, index, unique, origin, is_partial in c.execute(f"PRAGMA index_list({name})").fetchall():
        keys = tuple(row[2] for row in c.execute(f"PRAGMA index_info({index})"))
        indexes.add((index if origin == "c" else None, bool(unique), origin, bool(is_partial), keys))
    foreign = {row[2:7] for row in c.execute(f"PRAGMA foreign_key_list({name})")}
    return {
        "columns": columns,
        "indexes": indexes,
        "foreign": foreign,
        "checks": sorted(find_checks(sql)),
        "autoincrement": "AUTOINCREMENT" in sql,
    }


def find_checks(sql: str) -> list[str]:
    checks = []
    for match in re.finditer(r"CHECK \(", sql):
        depth, end = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(sql[end], 0)
            end += 1
        checks.append(" ".join(sql[match.end() : end - 1].split()))
    return checks


def test_models_equal_the_migrations(tmp_path: Path, metadata_store: Callable[[Path], None]) -> None:
    open_store(tmp_path / "migrated").close()
    metadata_store(tmp_path / "modelled")
    migrated = describe_schema(tmp_path / "migrated" / "cream.db")
    modelled = describe_schema(tmp_path / "modelled" / "cream.db")
    assert len(migrated) == 21
    assert migrated.keys() == modelled.keys()
    for table, expected in migrated.items():
        assert modelled[table] == expected, table


def test_fresh_store_has_the_latest_version_and_a_write_ahead_log(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "odd % ? #name"
    open_store(root).close()
    with closing(sqlite3.connect(root / "cream.db")) as c:
        assert c.execute("PRAGMA user_version").fetchone() == (schema.list_migrations()[-1][0],)
        assert c.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.fixture
def later_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives the program one more migration with this script."""

    def add(script: str) -> None:
        folder = tmp_path / "migrations"
        shutil.copytree(schema.MIGRATIONS_FOLDER, folder)
        number = len(schema.list_migrations()) + 1
        (folder / f"{number:04}_next.sql").write_text(script, encoding="utf-8")
        monkeypatch.setattr(schema, "MIGRATIONS_FOLDER", folder)

    return add


@pytest.mark.parametrize("open_by", ["writer", "reader"])
def test_older_store_is_migrated_with_its_rows(
    tmp_path: Path, new_run: Callable[..., Any], later_program: Callable[[str], None], open_by: str
) -> None:
    root = tmp_path / "store"
    run = create_run(open_store(root), new_run(), [])
    later_program("-- a note; with a semicolon\nCREATE TABLE extra (a TEXT);\nINSERT INTO extra VALUES ('x;y');\n")
    if open_by == "writer":
        open_store(root).close()
    with closing(open_reader(root)) as c:
        assert [tuple(row) for row in c.execute("SELECT a FROM extra")] == [("x;y",)]
        assert read_runs(c) == [run]


@pytest.mark.parametrize("opener", [open_store, open_reader])
def test_store_of_the_first_version_is_brought_to_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opener: Callable[[Path], Any]
) -> None:
    """Its runs stand as nobody has noted, pinned or queued them."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    shutil.copy(schema.MIGRATIONS_FOLDER / "0001_initial.sql", folder)
    with monkeypatch.context() as old_program:
        old_program.setattr(schema, "MIGRATIONS_FOLDER", folder)
        open_store(tmp_path / "store").close()
    with closing(sqlite3.connect(tmp_path / "store" / "cream.db")) as c:
        assert c.execute("PRAGMA user_version").fetchone() == (1,)
        c.execute(
            "INSERT INTO run (run_id, name, method, seed, iterations, state, created_at, config_json, config_digest, "
            "lineage_json, base_folder, base_digest, reuse, provenance_json) "
            "VALUES ('abc', 'old', 'cream', 0, 1, 'done', 1.0, '{}', 'c', '[]', '/m', 'm', 1, '{}')"
        )
        c.commit()
    opener(tmp_path / "store").close()
    with closing(open_reader(tmp_path / "store")) as c:
        assert c.execute("PRAGMA user_version").fetchone()[0] == schema.list_migrations()[-1][0]
        (run,) = read_runs(c)
    assert (run.name, run.note, run.is_baseline, run.queue_position) == ("old", "", False, None)


def test_responses_of_the_second_version_keep_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third version rebuilds two tables: ids, values and links stay, and tokens may be unknown from then on."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for name in ("0001_initial.sql", "0002_annotations.sql"):
        shutil.copy(schema.MIGRATIONS_FOLDER / name, folder)
    with monkeypatch.context() as old_program:
        old_program.setattr(schema, "MIGRATIONS_FOLDER", folder)
        open_store(tmp_path / "store").close()
    selects = ("SELECT * FROM sampled_prompt", "SELECT * FROM response")
    with closing(sqlite3.connect(tmp_path / "store" / "cream.db")) as c:
        c.execute("INSERT INTO stage (stage_id, key, name, state, n_done) VALUES (7, 'k', 'sample', 'done', 1)")
        c.execute("INSERT INTO prompt VALUES ('p', 'text', '[]', NULL, NULL)")
        c.execute("INSERT INTO sampled_prompt VALUES (3, 7, 'p', 0, '[1]', NULL)")
        c.execute("INSERT INTO response VALUES (9, 7, 'p', 0, 'x', '[1,2]', 'end', 2, -0.5, NULL, 1)")
        c.commit()
        before = [c.execute(sql).fetchall() for sql in selects]
    open_store(tmp_path / "store").close()
    with closing(sqlite3.connect(tmp_path / "store" / "cream.db")) as c:
        c.execute("PRAGMA foreign_keys = ON")
        assert [c.execute(sql).fetchall() for sql in selects] == before
        c.execute("INSERT INTO response (stage_id, prompt_id, k, text) VALUES (7, 'p', 1, 'imported')")
        assert c.execute("SELECT max(response_id) FROM response").fetchone() == (10,)
        c.execute("DELETE FROM stage")
        assert [c.execute(sql).fetchall() for sql in selects] == [[], []]


def test_failing_migration_leaves_the_store_as_it_was(tmp_path: Path, later_program: Callable[[str], None]) -> None:
    root = tmp_path / "store"
    open_store(root).close()
    before = describe_schema(root / "cream.db")
    later_program("CREATE TABLE extra (a TEXT);\nINSERT INTO nowhere VALUES (1);\n")
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        open_store(root)
    assert describe_schema(root / "cream.db") == before


@pytest.mark.parametrize("opener", [open_store, open_reader])
def test_newer_store_is_refused(tmp_path: Path, opener: Callable[[Path], Any]) -> None:
    open_store(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "cream.db")) as c:
        c.execute("PRAGMA user_version = 9999")
    with pytest.raises(StoreError, match=r"version 9999.* version 4 at most") as caught:
        opener(tmp_path)
    assert "upgrade cream-tui" in str(caught.value.hint)


def test_database_of_another_program_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "cream.db")) as c:
        c.execute("CREATE TABLE theirs (a)")
    with pytest.raises(StoreError, match="another program"):
        open_store(tmp_path)


def test_processes_share_a_fresh_store(tmp_path: Path) -> None:
    """Four processes create one store at once and take names from it at once; none is lost, none is given twice."""
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from db.rows import NewRun\n"
        "from db.session import open_store\n"
        "from db.writes import create_run\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "store = open_store(Path(sys.argv[1]))\n"
        "new = NewRun('same', 'cream', 0, 1, '{}', 'd', '[]', 'f', 'd', '{}')\n"
        "print(*[create_run(store, new, []).name for _ in range(10)])\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "store")]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    names = [name for process in processes for name in process.communicate(timeout=60)[0].split()]
    assert [process.returncode for process in processes] == [0] * 4
    assert sorted(names) == sorted(["same", *(f"same-{n}" for n in range(2, 41))])


def test_statements_are_split_at_their_ends() -> None:
    script = "CREATE TABLE a (b TEXT DEFAULT ';');\n-- c;\nCREATE TRIGGER t AFTER INSERT ON a BEGIN\n SELECT 1;\nEND;\n"
    assert len(schema.split_statements(script)) == 2
    with pytest.raises(ValueError, match="unfinished"):
        schema.split_statements("SELECT 1")
