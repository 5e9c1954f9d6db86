"""A small recorded store: two runs that share M1, the first sample and the first scores."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlmodel import SQLModel, create_engine

from db import models, writes
from db.annotations import write_verdict
from db.reading import open_reader
from db.rows import (
    AgreementRow,
    CheckpointRow,
    EvaluationRow,
    Lease,
    MetricRow,
    NewRun,
    NewStage,
    PairRow,
    PromptRow,
    ResponseRow,
    RunRow,
    SampledPromptRow,
    ScoreRow,
    StageDataRow,
)
from db.schema import list_migrations
from db.session import Store, open_store

PLAN = (
    ("evaluate", 0, "evaluate M0"),
    ("train", 0, "train M1"),
    ("evaluate", 0, "evaluate M1"),
    ("sample", 1, "sample M1"),
    ("score", 1, "score M1"),
    ("agree", 1, "agree M1"),
    ("pair", 1, "pair M1"),
    ("train", 1, "train M2"),
    ("evaluate", 1, "evaluate M2"),
    ("sample", 2, "sample M2"),
)
N_SHARED = 5
NASTY = ['NA, "quoted"\r\nline', "", "\x1b[31mred\x00 ümlaut \U0001f600", "=1+1"]


@dataclass(frozen=True)
class Recorded:
    store: Store
    root: Path
    first: RunRow
    second: RunRow
    stage_ids: dict[str, int]  # by label, of the first run


def describe_run(name: str = "sandbox", method: str = "cream", tags: tuple[str, ...] = ()) -> NewRun:
    return NewRun(
        name=name,
        method=method,
        seed=7,
        iterations=2,
        config_json='{"seed": 7}',
        config_digest="cfg",
        lineage_json="[]",
        base_folder="/models/m0",
        base_digest="m0",
        provenance_json="{}",
        tags=tags,
    )


def describe_plan(own: str) -> list[NewStage]:
    return [
        NewStage(key=f"{'shared' if place < N_SHARED else own}-{place}", name=name, iteration=iteration, label=label)
        for place, (name, iteration, label) in enumerate(PLAN)
    ]


def describe_lease(run_id: str, token: str = "t1", pid: int = 100) -> Lease:
    return Lease(run_id, token, pid=pid, pid_started_at=1.0, host="here", heartbeat_at=5.0)


def is_alive(_: Lease) -> bool:
    return True


def is_dead(_: Lease) -> bool:
    return False


@pytest.fixture
def new_run() -> Callable[..., NewRun]:
    return describe_run


@pytest.fixture
def new_plan() -> Callable[[str], list[NewStage]]:
    return describe_plan


@pytest.fixture
def new_lease() -> Callable[..., Lease]:
    return describe_lease


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture(params=["migrations", "metadata"], scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Recorded:
    """The recorded store, only to be read: once on the migrations' schema and once on the SQLModel classes'."""
    root = tmp_path_factory.mktemp("recorded") / "store"
    if request.param == "metadata":
        create_from_metadata(root)
    return record(open_store(root))


@pytest.fixture
def reader(recorded: Recorded) -> Iterator[sqlite3.Connection]:
    with closing(open_reader(recorded.root)) as connection:
        yield connection


@pytest.fixture
def record_store() -> Callable[..., Recorded]:
    return record


@pytest.fixture
def metadata_store() -> Callable[[Path], None]:
    return create_from_metadata


def create_from_metadata(root: Path) -> None:
    """A store whose schema comes from the SQLModel classes."""
    root.mkdir()
    assert models.Run.metadata is SQLModel.metadata
    bind = create_engine(f"sqlite:///{root / 'cream.db'}")
    SQLModel.metadata.create_all(bind)
    with bind.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA user_version = {list_migrations()[-1][0]}")
    bind.dispose()


def record(store: Store, *, is_reversed: bool = False) -> Recorded:
    """Fills a store; reversed: equal rows, other row ids."""
    first = writes.create_run(store, describe_run(tags=("b", "a")), describe_plan("first"))
    second = writes.create_run(store, describe_run(method="srlm"), describe_plan("second"))
    with closing(open_reader(store.paths.root)) as c:
        ids = {label: _find_stage(c, first.run_id, label) for _, _, label in PLAN}
        own = {label: _find_stage(c, second.run_id, label) for _, _, label in PLAN}
    writes.acquire_lease(store, describe_lease(first.run_id), is_alive=is_alive)
    for label, rows in describe_rows().items():
        _complete(store, first.run_id, "t1", ids[label], rows[::-1] if is_reversed else rows)
    writes.claim_stage(store, ids["sample M2"], run_id=first.run_id, token="t1", is_alive=is_alive)
    writes.write_stage_rows(store, ids["sample M2"], "t1", [], n_done=1, n_total=4, unit="prompts", n_tokens=9)
    writes.acquire_lease(store, describe_lease(second.run_id, "t2"), is_alive=is_alive)
    _complete(store, second.run_id, "t2", own["agree M1"], describe_rows()["agree M1"])
    write_verdict(store.paths.root, ids["pair M1"], "pz", verdict="swap", is_blind=True, note=NASTY[0])
    write_verdict(store.paths.root, ids["pair M1"], "pa", verdict=None, is_flagged=True)
    return Recorded(store, store.paths.root, first, second, ids)


def describe_rows() -> dict[str, list[StageDataRow]]:
    prompts = ["pz", "pa", "pm"]  # position is not the order of the ids
    sample: list[StageDataRow] = [
        row
        for position, prompt_id in enumerate(prompts)
        for row in (
            PromptRow(prompt_id, f"ask {NASTY[position]}", "[]", None, "sandbox"),
            SampledPromptRow(prompt_id, position, (1, 2, position), "too long" if prompt_id == "pm" else None),
        )
    ]
    sample += [
        ResponseRow(prompt_id, k, NASTY[k] + prompt_id, (5, 6, k), "end" if k else "length", -1.25 * k, None, k == 1)
        for prompt_id in prompts[:2]
        for k in range(3)
    ]
    score: list[StageDataRow] = [
        ScoreRow(prompt_id, k, scorer, "M1", "M0", -4.0 - k, -5.0, 3, 1.0 - k, None)
        for scorer in ("implicit:M1", "mean_loglik:M0")
        for prompt_id in prompts[:2]
        for k in range(3)
    ]
    agree: list[StageDataRow] = [
        AgreementRow("pz", "kendall", "implicit:M1", "mean_loglik:M0", 1 / 3, 2 / 3, 3, 3, None),
        AgreementRow("pa", "kendall", "implicit:M1", "mean_loglik:M0", None, None, 3, 1, "constant"),
        MetricRow("tau_previous", 0, 0.1),
        MetricRow("tau_anchor", 0, 0.2),
        MetricRow("consistency_rate", 0, 2 / 3),
    ]
    pair: list[StageDataRow] = [
        ScoreRow("pz", k, "aggregate", None, None, None, None, None, float(-k), None) for k in range(3)
    ]
    pair.append(ScoreRow("pa", 0, "aggregate", None, None, None, None, None, None, "no tokens"))
    pair.append(PairRow("pz", 1, 2, 0.5, -0.5, 1.0, 2 / 3, 0.7, None))
    pair.append(PairRow("pa", None, None, None, None, None, None, None, "all scores equal"))
    pair += [MetricRow("confidence", 0, 0.7), MetricRow("label_accuracy", 0, 0.25)]

    train: list[StageDataRow] = [MetricRow("loss", step, 1 / step) for step in (1, 2)]
    train.append(CheckpointRow("m2", "m1", "checkpoints/m2", 1000, 4000))

    def evaluate(accuracy: float) -> list[StageDataRow]:
        items = [EvaluationRow("sandbox", f"i{n}", "ask", "say", None, "gold", n == 2, 4, "end") for n in (10, 2)]
        return [*items, MetricRow("accuracy", 0, accuracy)]

    return {
        "evaluate M0": evaluate(0.1),
        "train M1": [MetricRow("loss", 1, 2.5), CheckpointRow("m1", "m0", "checkpoints/m1", 1000, 4000)],
        "evaluate M1": evaluate(0.2),
        "sample M1": sample,
        "score M1": score,
        "agree M1": agree,
        "pair M1": pair,
        "train M2": train,
        "evaluate M2": evaluate(0.3),
    }


def _complete(store: Store, run_id: str, token: str, stage_id: int, rows: Sequence[StageDataRow]) -> None:
    claim = writes.claim_stage(store, stage_id, run_id=run_id, token=token, is_alive=is_alive)
    assert claim.status == "claimed"
    if any(isinstance(row, SampledPromptRow) for row in rows):  # prompts may come in an earlier batch
        writes.write_stage_rows(store, stage_id, token, [row for row in rows if isinstance(row, PromptRow)])
    writes.write_stage_rows(store, stage_id, token, rows)
    writes.finish_stage(store, stage_id, token)


def _find_stage(c: sqlite3.Connection, run_id: str, label: str) -> int:
    rows = c.execute("SELECT stage_id FROM run_stage WHERE run_id = ? AND label = ?", (run_id, label)).fetchall()
    return int(rows[0][0])
