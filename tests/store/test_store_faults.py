"""Full and read-only disks, wrong files and network file systems: one message with the way out, nothing lost."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from db import session
from db.errors import StoreError, StoreFullError
from db.faults import translate_os_error, translate_sqlite_error
from db.paths import check_filesystem, find_store_root
from db.queries import find_run, open_reader, read_responses, read_runs
from db.rows import Lease, NewRun, PromptRow, ResponseRow, SampledPromptRow, StageDataRow
from db.session import Store, open_store
from db.writes import acquire_lease, claim_stage, create_run, write_stage_rows


def alive(_: Lease) -> bool:
    return True


def limit(store: Store, pragma: str) -> None:
    """Every later connection of the store starts with this pragma."""

    def run(connection: sqlite3.Connection, _: Any) -> None:
        connection.execute(pragma)

    event.listen(store.bind, "connect", run)


def test_full_disk_loses_no_committed_row(
    store: Store,
    new_run: Callable[..., NewRun],
    new_plan: Callable[[str], Any],
    new_lease: Callable[..., Lease],
) -> None:
    run_id = create_run(store, new_run(), new_plan("x")).run_id
    acquire_lease(store, new_lease(run_id), is_alive=alive)
    claim_stage(store, 1, run_id=run_id, token="t1", is_alive=alive)
    prompt: list[StageDataRow] = [PromptRow("p0", "ask", "[]", None, None), SampledPromptRow("p0", 0, (1,))]
    kept = ResponseRow("p0", 0, "kept", (1,), "end", -1.0, None, None)
    write_stage_rows(store, 1, "t1", [*prompt, kept])
    limit(store, "PRAGMA max_page_count = 1")  # SQLite then takes the size it has
    with pytest.raises(StoreFullError, match=r"disk is full.*cream\.db") as caught:
        write_stage_rows(store, 1, "t1", [ResponseRow("p0", 1, "x" * 100_000, (1,), "end", -1.0, None, None)])
    assert "resume" in str(caught.value.hint)
    with closing(open_reader(store.paths.root)) as c:
        assert read_responses(c, 1) == [kept]
    resumed = open_store(store.paths.root)
    write_stage_rows(resumed, 1, "t1", [ResponseRow("p0", 1, "x" * 100_000, (1,), "end", -1.0, None, None)])


def test_read_only_store_is_named(store: Store, new_run: Callable[..., NewRun]) -> None:
    limit(store, "PRAGMA query_only = ON")
    with pytest.raises(StoreFullError, match=r"cream\.db is read-only") as caught:
        create_run(store, new_run(), [])
    assert "--store" in str(caught.value.hint)


def test_reader_cannot_write(store: Store) -> None:
    with (
        closing(open_reader(store.paths.root)) as c,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        c.execute("DELETE FROM run")


def test_lock_that_stays_is_explained(
    store: Store, new_run: Callable[..., NewRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "BUSY_TIMEOUT_S", 0.05)
    with closing(sqlite3.connect(store.paths.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process has kept"):
            create_run(store, new_run(), [])
        with closing(open_reader(store.paths.root)) as c:
            assert read_runs(c) == []  # readers go on
        other.execute("ROLLBACK")
    assert create_run(store, new_run(), []).name == "sandbox"


@pytest.mark.parametrize("opener", [open_store, open_reader])
def test_other_file_in_place_of_the_database(tmp_path: Path, opener: Callable[[Path], Any]) -> None:
    (tmp_path / "cream.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match=r"cream\.db is damaged or no SQLite database"):
        opener(tmp_path)


def test_folder_in_place_of_the_database(tmp_path: Path) -> None:
    (tmp_path / "cream.db").mkdir()
    with pytest.raises(StoreError, match=r"cream\.db cannot be opened.*must exist and be writable"):
        open_store(tmp_path)
    with pytest.raises(StoreError, match="no store at"):
        open_reader(tmp_path)


def test_file_in_place_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match="a file is in the way"):
            open_store(root)


def test_missing_store_says_how_to_start(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store at") as caught:
        open_reader(tmp_path / "nowhere")
    assert caught.value.hint == "start one with `cream-tui demo` or name one with --store DIR"
    assert not (tmp_path / "nowhere").exists()


def test_store_deleted_under_its_writer(store: Store, new_run: Callable[..., NewRun]) -> None:
    shutil.rmtree(store.paths.root)
    with pytest.raises(StoreError, match=r"cream\.db cannot be opened"):
        create_run(store, new_run(), [])


def test_damage_is_found_while_reading(store: Store, new_run: Callable[..., NewRun]) -> None:
    for _ in range(50):
        create_run(store, new_run(), [])
    database = store.paths.database
    with closing(sqlite3.connect(database)) as c:
        c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(database.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    database.write_bytes(content)
    with closing(open_reader(store.paths.root)) as c, pytest.raises(StoreError, match="damaged"):
        find_run(c, "latest")


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("SQLITE_READONLY_DBMOVED", StoreError, "moved or deleted"),
        ("SQLITE_READONLY_CANTINIT", StoreFullError, "cream.db-shm"),
        ("SQLITE_READONLY_DIRECTORY", StoreFullError, "must exist and be writable"),
        ("SQLITE_IOERR_WRITE", StoreError, "SQLITE_IOERR_WRITE"),
        ("SQLITE_CANTOPEN", StoreError, "cannot be opened"),
        ("SQLITE_PERM", StoreError, "no permission"),
        ("SQLITE_BUSY_SNAPSHOT", StoreError, "another process"),
        ("SQLITE_CORRUPT_VTAB", StoreError, "damaged"),
    ],
)
def test_sqlite_errors_become_messages(tmp_path: Path, name: str, kind: type[StoreError], text: str) -> None:
    error = sqlite3.OperationalError("from below")
    error.sqlite_errorname = name
    fault = translate_sqlite_error(error, tmp_path / "cream.db")
    assert type(fault) is kind
    assert text in fault.message
    assert fault.hint


def test_write_error_on_a_full_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR_WRITE"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 4096))
    assert isinstance(translate_sqlite_error(error, tmp_path / "cream.db"), StoreFullError)


def test_read_only_file_system_is_told_from_a_missing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = sqlite3.OperationalError("unable to open database file")
    error.sqlite_errorname = "SQLITE_CANTOPEN"
    assert not isinstance(translate_sqlite_error(error, tmp_path / "cream.db"), StoreFullError)
    flags = list(os.statvfs(tmp_path))
    flags[8] |= os.ST_RDONLY
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(flags))
    fault = translate_sqlite_error(error, tmp_path / "cream.db")
    assert isinstance(fault, StoreFullError) and "read-only file system" in fault.message


def test_defects_of_the_program_stay_errors(tmp_path: Path) -> None:
    for error in (sqlite3.OperationalError("no such table: x"), sqlite3.IntegrityError("CHECK")):
        assert translate_sqlite_error(error, tmp_path / "cream.db") is None


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (errno.ENOSPC, StoreFullError, "disk is full"),
        (errno.EDQUOT, StoreFullError, "disk is full"),
        (errno.EROFS, StoreFullError, "read-only file system"),
        (errno.EACCES, StoreError, "no permission"),
        (errno.ENAMETOOLONG, StoreError, "name too long"),
    ],
)
def test_file_errors_become_messages(number: int, kind: type[StoreError], text: str) -> None:
    fault = translate_os_error(OSError(number, "File name too long"), Path("/somewhere"))
    assert type(fault) is kind
    assert text in fault.message.lower()
    assert "/somewhere" in fault.message


MOUNTS = """\
20 1 254:0 / / rw,relatime - ext4 /dev/vda rw
21 20 0:30 / /home rw shared:1 - nfs4 server:/home rw
22 21 254:1 / /home/local\\040disk rw - ext4 /dev/vdb rw
23 20 0:31 / /mnt/lab rw - fuse.sshfs user@host: rw
24 20 0:32 / /homes rw - ext4 /dev/vdc rw
25 20 0:33 / /over rw - nfs server:/over rw
26 25 254:9 / /over rw - ext4 /dev/vdd rw
broken line
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me/.cream", "nfs4"),
        ("/home", "nfs4"),
        ("/mnt/lab/x", "fuse.sshfs"),
        ("/home/local disk/.cream", None),
        ("/homes/me", None),
        ("/srv/.cream", None),
        ("/over/x", None),  # the later mount covers the network one
    ],
)
def test_network_file_systems_are_refused(tmp_path: Path, folder: str, kind: str | None) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(MOUNTS, encoding="utf-8")
    if kind is None:
        check_filesystem(Path(folder), mountinfo)
        return
    with pytest.raises(StoreError) as caught:
        check_filesystem(Path(folder), mountinfo)
    assert folder in caught.value.message and f"({kind})" in caught.value.message
    assert "--store" in str(caught.value.hint)


def test_missing_mount_table_is_no_fault(tmp_path: Path) -> None:
    check_filesystem(tmp_path, tmp_path / "nowhere")


@pytest.mark.parametrize("opener", [open_store, open_reader])
def test_both_doors_refuse_a_network_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opener: Callable[[Path], Any]
) -> None:
    open_store(tmp_path).close()
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text("20 1 0:1 / / rw - nfs server:/ rw\n", encoding="utf-8")
    monkeypatch.setattr("db.paths.MOUNTINFO", mountinfo)
    with pytest.raises(StoreError, match="network file system"):
        opener(tmp_path)


def test_store_folder_by_option_variable_or_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CREAM_STORE", raising=False)
    assert find_store_root() == tmp_path / ".cream"
    monkeypatch.setenv("CREAM_STORE", "elsewhere")
    assert find_store_root() == tmp_path / "elsewhere"
    assert find_store_root("/option/../given") == Path("/given")
    monkeypatch.setenv("HOME", "/home/me")
    assert find_store_root("~/x") == Path("/home/me/x")
