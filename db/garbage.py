"""What nothing in a store needs any more, and its removal.

Knows rows and the layout of the folders. Must not know processes: the caller says whether a lease's holder lives. Rows
go first, in a transaction of their own: a crash leaves folders that no row names, never a row whose folder is gone.
Folders then get another name, again while the store's write lock is held and no run is live, and are deleted after
that. They keep their parent, which may be a link to another file system.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text
from sqlmodel import Session, col, select

from db.errors import LeaseHeldError
from db.faults import store_faults, translate_os_error
from db.models import Checkpoint, Run, RunLease, RunStage, Stage
from db.paths import StorePaths
from db.reading import connect
from db.run_writes import IsAlive, load_lease
from db.session import Store

_LEFT = "left"
_ASIDE = "gc-"  # no digest, key or run id begins so
# Texts and lists of the rows of a stage, which are nearly all that a row takes.
_STAGE_TEXTS = {
    "sampled_prompt": ("token_ids_json",),
    "response": ("text", "token_ids_json", "extracted"),
    "score": ("scorer",),
    "agreement": ("measure", "scorer", "against"),
    "pair": (),
    "metric": (),
    "checkpoint": ("folder",),
    "evaluation": ("prompt", "response", "gold", "item_id"),
    "verdict": ("note",),
    "attempt": ("error", "log_path"),
}
_ROW_BYTES = 60  # numbers, keys and SQLite's own, about
_LOOSE_STAGES = "SELECT stage_id FROM stage WHERE stage_id NOT IN (SELECT stage_id FROM run_stage)"
_OF_PROMPTS = ("sampled_prompt", "response", "score", "agreement", "pair", "verdict")
_LOOSE_PROMPTS = "SELECT prompt_id FROM prompt WHERE " + " AND ".join(
    f"prompt_id NOT IN (SELECT prompt_id FROM {table} WHERE stage_id NOT IN ({_LOOSE_STAGES}))" for table in _OF_PROMPTS
)


@dataclass(frozen=True, slots=True)
class Garbage:
    """One kind of what nothing needs: stages (their rows), prompts, checkpoints, work, runs (folders), left (of a gc).

    ``n_bytes`` of rows are an estimate.
    """

    kind: str
    n: int
    n_bytes: int


def find_garbage(store: Store) -> list[Garbage]:
    """What ``collect_garbage`` would remove now, kind by kind; removes nothing."""
    with store.begin() as session:
        return _measure(session, store.paths)


def collect_garbage(store: Store, *, is_alive: IsAlive) -> list[Garbage]:
    """Removes what nothing needs and returns what it was; the file of the database shrinks by the rows.

    Raises:
        LeaseHeldError: a live process works on a run of the store.
        StoreError: a folder cannot be moved or deleted.
    """
    with store.begin() as session:
        _refuse_live_runs(session, is_alive)
        found = _measure(session, store.paths)
        session.execute(text(f"DELETE FROM stage WHERE stage_id IN ({_LOOSE_STAGES})"))
    with store.begin() as session:  # rows that name a folder are gone for good now
        _refuse_live_runs(session, is_alive)
        aside = _move_aside(_list_folders(session, store.paths))
    for folder in aside:
        _delete_folder(folder)
    if any(garbage.n for garbage in found if garbage.kind in ("stages", "prompts")):
        _drop_prompts(store.paths)
    return found


def _refuse_live_runs(session: Session, is_alive: IsAlive) -> None:
    for run_id in session.exec(select(RunLease.run_id)).all():
        lease = load_lease(session, run_id)
        if lease is not None and is_alive(lease):
            name = session.exec(select(Run.name).where(col(Run.run_id) == run_id)).one()
            raise LeaseHeldError(
                f"process {lease.pid} on {lease.host} works on run {name} ({run_id}); nothing is removed meanwhile",
                hint=f"wait for it, or stop it with `cream-tui stop {run_id}`",
            )


def _measure(session: Session, paths: StorePaths) -> list[Garbage]:
    n_stages = session.execute(text(f"SELECT count(*) FROM ({_LOOSE_STAGES})")).scalar_one()
    n_prompts, prompt_bytes = session.execute(
        text(
            f"SELECT count(*), total(length(text) + length(messages_json) + {_ROW_BYTES}) FROM prompt "
            f"WHERE prompt_id IN ({_LOOSE_PROMPTS})"
        )
    ).one()
    stage_bytes = sum(_measure_rows(session, table, names) for table, names in _STAGE_TEXTS.items()) if n_stages else 0
    found = [Garbage("stages", n_stages, stage_bytes), Garbage("prompts", n_prompts, int(prompt_bytes))]
    for kind, folders in _list_folders(session, paths).items():
        found.append(Garbage(kind, len(folders), sum(map(_measure_folder, folders))))
    return found


def _measure_rows(session: Session, table: str, names: Iterable[str]) -> int:
    lengths = " + ".join([str(_ROW_BYTES), *(f"coalesce(length({name}), 0)" for name in names)])
    sql = f"SELECT total({lengths}) FROM {table} WHERE stage_id IN ({_LOOSE_STAGES})"
    return int(session.execute(text(sql)).scalar_one())


def _list_folders(session: Session, paths: StorePaths) -> dict[str, list[Path]]:
    """The folders that nothing needs; what rows of unlinked stages name counts as not named.

    A stage that is not done keeps its work folder: a resume goes on from the snapshots there.
    """
    linked = select(RunStage.stage_id)
    named = session.exec(select(Checkpoint.folder).where(col(Checkpoint.stage_id).in_(linked))).all()
    unfinished = session.exec(
        select(Stage.key).where(col(Stage.state) != "done", col(Stage.stage_id).in_(linked))
    ).all()
    runs = session.exec(select(Run.run_id)).all()
    kept = {
        "checkpoints": (paths.checkpoints, {Path(folder).name for folder in named}),
        "work": (paths.root / "work", set(unfinished)),
        "runs": (paths.root / "runs", set(runs)),
    }
    found: dict[str, list[Path]] = {kind: [] for kind in (*kept, _LEFT)}
    for kind, (folder, names) in kept.items():
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name.startswith(_ASIDE):
                found[_LEFT].append(path)
            elif path.name not in names:
                found[kind].append(path)
    return found


def _measure_folder(folder: Path) -> int:
    files = [folder] if folder.is_file() else folder.rglob("*")
    return sum(path.lstat().st_size for path in files if path.is_file() and not path.is_symlink())


def _move_aside(folders: dict[str, list[Path]]) -> list[Path]:
    """Return the folders under their new names; a rename is quick, whatever lies below."""
    aside = list(folders[_LEFT])
    for folder in (path for kind, found in folders.items() if kind != _LEFT for path in found):
        target = folder.with_name(f"{_ASIDE}{uuid.uuid4().hex}")
        try:
            folder.rename(target)
        except OSError as error:
            raise translate_os_error(error, folder) from error
        aside.append(target)
    return aside


def _delete_folder(folder: Path) -> None:
    try:
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
        else:
            folder.unlink()
    except OSError as error:
        raise translate_os_error(error, folder) from error


def _drop_prompts(paths: StorePaths) -> None:
    """Deletes prompts that no row names and gives the file's free pages back.

    On a connection that checks no foreign keys: each deletion would look through five tables for the prompt.
    """
    with store_faults(paths.database), closing(connect(paths.database, "rw")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"DELETE FROM prompt WHERE prompt_id IN ({_LOOSE_PROMPTS})")
        connection.execute("COMMIT")
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
