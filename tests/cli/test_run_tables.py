"""The list of runs and one run close up, read from recorded stores."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from recording import Recorder

from cream_tui.readers import run_examiner, run_tables
from cream_tui.readers.run_details import read_run_detail
from cream_tui.readers.run_tables import RunTableReader
from cream_tui.results import ModelResult, read_results
from db.queries import find_run, open_reader
from db.rows import RunRow


def execute(root: Path, sql: str, *parameters: object) -> None:
    with closing(sqlite3.connect(root / "cream.db")) as connection, connection:
        connection.execute(sql, parameters)


@pytest.fixture
def root(recorder: Recorder) -> Path:
    return recorder.store.paths.root


def find(root: Path, name: str) -> RunRow:
    with closing(open_reader(root)) as connection:
        return find_run(connection, name)


def test_facts_are_read_only_when_they_are_asked_for(recorder: Recorder, root: Path) -> None:
    recorder.record("a")
    reader = RunTableReader()
    with closing(open_reader(root)) as connection:
        table = reader.read(connection)
        assert table.facts.settings is None and table.facts.metric_names is None
        table = reader.read(connection, with_facts=True)
        assert table.facts.metrics == {}
        assert table.facts.settings is not None
        assert table.facts.settings[find(root, "a").run_id]["training.beta"] == 2.0
        table = reader.read(connection, ["LOSS", "training.beta"])
        assert table.facts.metrics == {"loss": {find(root, "a").run_id: pytest.approx(0.4)}}


def test_states_warnings_and_parents(recorder: Recorder, root: Path) -> None:
    """Both runs end with a training that changed 0.42 % of the weights; the lost one has no process."""
    recorder.record("a")
    recorder.record("lost", "srlm", last_label="agree t=1")
    execute(root, "UPDATE run SET parent_run_id = (SELECT run_id FROM run WHERE name = 'a') WHERE name = 'lost'")
    with closing(open_reader(root)) as connection:
        newest, oldest = RunTableReader().read(connection).records
    assert (newest.run.name, newest.state, newest.warnings, newest.parent) == ("lost", "stale", ("stale",), "a")
    assert (oldest.state, oldest.warnings, oldest.parent) == ("done", ("small change",), None)


def test_a_run_is_examined_once_for_as_long_as_it_stands_as_it_does(
    recorder: Recorder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.record("a")
    recorder.record("b", "srlm")
    examined: list[str] = []

    def read(connection: sqlite3.Connection, run_id: str) -> list[ModelResult]:
        examined.append(run_id)
        return read_results(connection, run_id)

    monkeypatch.setattr(run_examiner, "read_results", read)
    reader = RunTableReader()
    newest, oldest = find(root, "b").run_id, find(root, "a").run_id
    with closing(open_reader(root)) as connection:
        assert [record.verdict for record in reader.read(connection).records] == [None, None], "only where asked for"
        assert not reader.read(connection, examine_s=0.0).is_whole and examined == []
        table = reader.read(connection, examine_s=60.0)
        assert table.is_whole and examined == [newest, oldest]
        assert all(record.verdict is not None for record in table.records)
        assert reader.read(connection, examine_s=0.0).is_whole and len(examined) == 2, "what is known costs nothing"
        execute(root, "UPDATE run SET finished_at = finished_at + 1 WHERE name = 'a'")
        table = reader.read(connection, examine_s=0.0)
        assert not table.is_whole and table.records[1].verdict is not None, "what it was known for stays meanwhile"
        reader.read(connection, examine_s=60.0)
        assert examined == [newest, oldest, oldest]


def test_a_queued_run_without_a_process_is_stale_after_a_while(
    recorder: Recorder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.record("a")
    execute(root, "UPDATE run SET state = 'queued'")
    execute(root, "DELETE FROM lease")
    reader, now = RunTableReader(), [1000.0]
    monkeypatch.setattr(run_tables.time, "time", lambda: now[0])
    with closing(open_reader(root)) as connection:
        assert reader.read(connection).records[0].state == "queued"
        now[0] += run_tables.START_GRACE_S - 1
        assert reader.read(connection).records[0].state == "queued"
        now[0] += 2
        assert reader.read(connection).records[0].state == "stale"


def test_time_left_is_told_of_live_runs(recorder: Recorder, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stage before took 0 s; 10 of 40 rows of the open one took 5 s, so 30 take 15 s."""
    recorder.record("done")
    recorder.record("live", "srlm", last_label="evaluate M3", is_live=True)
    run_id = find(root, "live").run_id
    execute(root, "UPDATE stage SET started_at = 100, finished_at = 100 WHERE state = 'done'")
    with closing(open_reader(root)) as connection:
        execute(
            root,
            "UPDATE stage SET n_done = 10, n_total = 40, started_at = ? WHERE state = 'running' AND owner_run_id = ?",
            1000.0,
            run_id,
        )
        monkeypatch.setattr(run_tables.time, "time", lambda: 1005.0)
        table = RunTableReader().read(connection, with_time_left=True)
        assert table.left_s == {run_id: pytest.approx(15.0)}
        assert RunTableReader().read(connection).left_s == {}


def test_a_run_close_up(recorder: Recorder, root: Path) -> None:
    recorder.record("a", "srlm", accuracies=(0.5, 0.7, 0.8, 0.6))
    recorder.record("b", "cream")
    run, baseline = find(root, "b"), find(root, "a")
    log = root / "runs" / run.run_id / "supervisor.log"
    log.parent.mkdir(parents=True)
    log.write_text("first\n\x1b[31mlast\n", encoding="utf-8")
    with closing(open_reader(root)) as connection:
        detail = read_run_detail(connection, root, run.run_id, baseline.run_id)
        assert detail.figures["accuracy"] == {0: 0.5, 1: 0.7, 2: 0.8, 3: 0.6}
        assert detail.figures["tau_anchor"] == {1: 0.5, 2: 0.1}
        assert detail.models == ("M0", "M1", "M2", "M3")
        assert detail.differences == (("method.name", "srlm", "cream"),)
        assert detail.baseline == "a"
        assert detail.log == ("first", "␛[31mlast")
        assert detail.stage == ""
        own = read_run_detail(connection, root, run.run_id, run.run_id)
        assert (own.baseline, own.differences) == (None, ())


def test_a_waiting_run_names_whom_it_waits_for(recorder: Recorder, root: Path) -> None:
    recorder.record("first", "srlm", last_label="sample t=1", is_live=True)
    recorder.record("second", "cream", last_label="agree t=1", is_live=True)
    owner = find(root, "first").run_id
    execute(root, "UPDATE stage SET state = 'running', owner_run_id = ? WHERE key = 'shared-sample t=1'", owner)
    with closing(open_reader(root)) as connection:
        detail = read_run_detail(connection, root, find(root, "second").run_id)
    assert detail.stage.startswith("sample t=1")
    assert "waiting for first" in detail.stage
