"""A run that was computed elsewhere, written whole: the run, its stages and their rows in one transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlmodel import Session, col, select

from db.models import Run, RunStage, Stage
from db.rows import ImportedStage, NewRun, RunRow
from db.run_writes import insert_run
from db.session import Store
from db.stage_writes import insert_rows


def import_run(store: Store, new: NewRun, stages: Sequence[ImportedStage]) -> tuple[str, RunRow | None]:
    """The id of the run that holds these stages, and its row where it is new; everything is there or nothing.

    A run that has the last of the stages already is the same import.

    Raises:
        ValueError: a number is NaN or infinite; nothing was written.
    """
    with store.begin() as session:
        known = _find_import(session, stages[-1].stage.key)
        if known is not None:
            return known, None
        row = insert_run(session, new, [imported.stage for imported in stages])
        for imported in stages:
            _fill_stage(session, row.run_id, imported)
        run = session.get_one(Run, row.run_id)
        run.state, run.exit_code, run.finished_at = "done", 0, run.created_at
        session.add(run)
        return row.run_id, row


def _find_import(session: Session, key: str) -> str | None:
    statement = select(RunStage.run_id).join(Stage, col(Stage.stage_id) == col(RunStage.stage_id))
    return session.exec(statement.where(col(Stage.key) == key).limit(1)).first()


def _fill_stage(session: Session, run_id: str, imported: ImportedStage) -> None:
    stage = session.exec(select(Stage).where(col(Stage.key) == imported.stage.key)).one()
    if stage.stage_id is None:
        raise AssertionError("a stored stage has an id")
    insert_rows(session, stage.stage_id, imported.rows)
    stage.state, stage.owner_run_id, stage.finished_at = "done", run_id, time.time()
    stage.n_done = stage.n_total = imported.n_done
    stage.unit = imported.unit
    session.add(stage)
