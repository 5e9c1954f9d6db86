"""Diagnostics that warn come up in `watch` while the run goes on, each once."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from recording import Recorder

from cream_tui.progress import _PlainView
from cream_tui.readers.health_reader import HealthReader
from db.queries import open_reader

_RUNNING = "(SELECT stage_id FROM stage WHERE state = 'running')"
GREW = "! M2: chosen responses grew from 10.0 (M1) to 20.0 tokens (+100 %)"


def test_watch_prints_each_warning_once_before_the_end(call: Callable, store_root: Path) -> None:
    """What the recorder writes: responses of 10 tokens at t=1 and of 20 at t=2."""
    lines = call("watch", "demo-cream", "--store", str(store_root)).stderr.splitlines()
    assert lines.count(GREW) == 1
    assert lines.index(GREW) < lines.index("run done")


def test_two_runs_are_told_apart(store_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(open_reader(store_root)) as connection:
        readers = [HealthReader(run_id) for (run_id,) in connection.execute("SELECT run_id FROM run")]
        with _PlainView() as view:
            view.update([reader.read(connection) for reader in readers])
    told = capsys.readouterr().err.splitlines()
    assert f"demo-srlm  {GREW}" in told and f"demo-cream  {GREW}" in told


class Live:
    """A run that makes the pairs of t=2; the summary of a stage is committed with its end."""

    def __init__(self, recorder: Recorder, writer: sqlite3.Connection) -> None:
        self.root = recorder.store.paths.root
        self.run_id = recorder.record("live", last_label="pair t=2", is_live=True).run_id
        self._writer = writer
        self._metrics = writer.execute(f"SELECT * FROM metric WHERE stage_id = {_RUNNING}").fetchall()
        writer.execute(f"DELETE FROM metric WHERE stage_id = {_RUNNING}")

    def finish_pairs(self) -> None:
        self._writer.execute("BEGIN IMMEDIATE")
        self._writer.executemany("INSERT INTO metric VALUES (?, ?, ?, ?, ?, ?)", self._metrics)
        self._writer.execute("UPDATE stage SET state = 'done', finished_at = ? WHERE state = 'running'", (time.time(),))
        self._writer.execute("COMMIT")


@pytest.fixture
def live(recorder: Recorder) -> Iterator[Live]:
    with closing(sqlite3.connect(recorder.store.paths.root / "cream.db", isolation_level=None)) as writer:
        yield Live(recorder, writer)


def test_a_warning_comes_up_when_its_stage_is_done_and_not_again(
    live: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    with closing(open_reader(live.root)) as connection:
        reader, view = HealthReader(live.run_id), _PlainView()
        for act in (None, live.finish_pairs, None):
            if act is not None:
                act()
            view.update([reader.read(connection)])
            told.append(capsys.readouterr().err.splitlines())
    assert [lines.count(GREW) for lines in told] == [0, 1, 0]


def test_a_run_is_examined_only_when_another_stage_is_done(live: Live) -> None:
    with closing(open_reader(live.root)) as connection:
        reader = HealthReader(live.run_id)
        first = reader.read(connection)
        assert reader.read(connection).diagnosis is first.diagnosis
        live.finish_pairs()
        later = reader.read(connection)
        assert later.diagnosis is not first.diagnosis
        assert later.diagnosis == HealthReader(live.run_id).read(connection).diagnosis
        assert "length_drift" in {alert.key for alert in later.warnings}
