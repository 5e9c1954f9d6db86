"""Notes, tags, the baseline, verdicts and usage: what is written is read back, writers wait, keys hold."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import db
from db.annotations import (
    add_tags,
    delete_verdict,
    open_annotator,
    remove_tags,
    set_baseline,
    set_note,
    write_verdict,
)
from db.errors import LeaseLostError, RunNotFoundError, StoreError
from db.overview import read_run_overview
from db.queries import find_run, open_reader, read_runs, read_usage, read_verdicts
from db.rows import UsageRow, UsageSample, VerdictRow
from db.session import open_store
from db.writes import delete_run, write_usage

PROJECT = Path(db.__file__).parent.parent


@pytest.fixture(params=["migrations", "metadata"])
def own(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    record_store: Callable[..., Any],
    metadata_store: Callable[[Path], None],
) -> Any:
    """A recorded store to write to, on the migrations' schema and on the SQLModel classes'."""
    root = tmp_path / "store"
    if request.param == "metadata":
        metadata_store(root)
    recorded = record_store(open_store(root))
    for verdict in read_own_verdicts(recorded):
        delete_verdict(root, verdict.stage_id, verdict.prompt_id)
    return recorded


def read_own_verdicts(own: Any, run_id: str | None = None) -> list[VerdictRow]:
    with closing(open_reader(own.root)) as c:
        return read_verdicts(c, run_id or own.first.run_id)


def test_note_and_tags(own: Any) -> None:
    first, second = own.first.run_id, own.second.run_id
    set_note(own.root, first, "beta too high?\n\x1b[31m")
    add_tags(own.root, [first, second], ["b", "c"])
    remove_tags(own.root, [first], ["a", "nosuch"])
    with closing(open_reader(own.root)) as c:
        runs = read_runs(c)
        lines = read_run_overview(c)
    assert [run.tags for run in runs] == [("b", "c"), ("b", "c")]
    assert [run.note for run in runs] == ["beta too high?\n\x1b[31m", ""]
    assert [(line.tags, line.note) for line in lines] == [(run.tags, run.note) for run in runs]


def test_the_store_has_one_baseline_at_most(own: Any) -> None:
    first, second = own.first.run_id, own.second.run_id
    for chosen, expected in ((first, [True, False]), (second, [False, True]), (None, [False, False])):
        set_baseline(own.root, chosen)
        with closing(open_reader(own.root)) as c:
            assert [run.is_baseline for run in read_runs(c)] == expected
            assert [line.is_baseline for line in read_run_overview(c)] == expected
    with pytest.raises(sqlite3.IntegrityError), open_annotator(own.root) as c:
        c.execute("UPDATE run SET is_baseline = 1")


def test_unknown_run_changes_nothing(own: Any) -> None:
    first = own.first.run_id
    set_baseline(own.root, first)
    for change in (
        lambda: set_note(own.root, "nosuch", "x"),
        lambda: add_tags(own.root, [first, "nosuch"], ["x"]),
        lambda: remove_tags(own.root, [first, "nosuch"], ["a"]),
        lambda: set_baseline(own.root, "nosuch"),
    ):
        with pytest.raises(RunNotFoundError, match="nosuch"):
            change()
    with closing(open_reader(own.root)) as c:
        run = find_run(c, first)
    assert (run.tags, run.is_baseline) == (("a", "b"), True)


def test_verdict_is_replaced_and_what_was_there_comes_back(own: Any) -> None:
    stage_id = own.stage_ids["pair M1"]
    before = time.time()
    assert write_verdict(own.root, stage_id, "pz", verdict="agree", is_blind=True) is None
    (first,) = read_own_verdicts(own)
    assert first == VerdictRow(stage_id, "pz", "agree", False, True, "", first.at)
    assert before <= first.at <= time.time()
    assert write_verdict(own.root, stage_id, "pz", verdict="swap", is_flagged=True, note="why?") == first
    (second,) = read_own_verdicts(own)
    assert second == VerdictRow(stage_id, "pz", "swap", True, False, "why?", second.at)
    assert delete_verdict(own.root, stage_id, "pz") == second
    assert read_own_verdicts(own) == []
    assert delete_verdict(own.root, stage_id, "pz") is None


def test_flag_and_note_need_no_verdict_and_no_pair(own: Any) -> None:
    stage_id = own.stage_ids["pair M1"]
    write_verdict(own.root, stage_id, "pa", verdict=None, is_flagged=True, note="why skipped?")
    assert [(v.prompt_id, v.verdict, v.is_flagged) for v in read_own_verdicts(own)] == [("pa", None, True)]
    with pytest.raises(StoreError, match="no pair to judge: all scores equal"):
        write_verdict(own.root, stage_id, "pa", verdict="tie")
    assert [v.note for v in read_own_verdicts(own)] == ["why skipped?"]


def test_only_pairs_are_judged_and_only_with_verdicts_that_exist(own: Any) -> None:
    for stage_id, prompt_id in ((own.stage_ids["pair M1"], "nosuch"), (own.stage_ids["agree M1"], "pz"), (999, "pz")):
        with pytest.raises(StoreError, match="no pair"):
            write_verdict(own.root, stage_id, prompt_id, verdict="agree")
    with pytest.raises(ValueError, match="no verdict 'great'"):
        write_verdict(own.root, own.stage_ids["pair M1"], "pz", verdict="great")
    assert read_own_verdicts(own) == []


def test_foreign_keys_and_checks_hold(own: Any) -> None:
    stage_id = own.stage_ids["pair M1"]
    insert = "INSERT INTO verdict (stage_id, prompt_id, verdict, is_flagged, is_blind, note, at) VALUES "
    for values in (
        "(999, 'pz', 'tie', 0, 0, '', 1.0)",
        f"({stage_id}, 'nosuch', 'tie', 0, 0, '', 1.0)",
        f"({stage_id}, 'pz', 'great', 0, 0, '', 1.0)",
        f"({stage_id}, 'pz', 'tie', 2, 0, '', 1.0)",
    ):
        with pytest.raises(sqlite3.IntegrityError), open_annotator(own.root) as c:
            c.execute(insert + values)
    write_verdict(own.root, stage_id, "pz", verdict="tie")
    with open_annotator(own.root) as c:
        c.execute("DELETE FROM stage WHERE stage_id NOT IN (SELECT stage_id FROM run_stage)")
        assert c.execute("SELECT count(*) FROM verdict").fetchone()[0] == 1
        c.execute("DELETE FROM run_stage WHERE stage_id = ?", (stage_id,))
        c.execute("DELETE FROM stage WHERE stage_id = ?", (stage_id,))
        assert c.execute("SELECT count(*) FROM verdict").fetchone()[0] == 0


def test_a_failed_block_leaves_nothing(own: Any) -> None:
    def write_half(c: sqlite3.Connection) -> None:
        c.execute("UPDATE run SET note = 'half'")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), open_annotator(own.root) as c:
        write_half(c)
    with closing(open_reader(own.root)) as c:
        assert {run.note for run in read_runs(c)} == {""}


def test_writers_of_other_processes_wait_for_each_other(own: Any) -> None:
    """Four processes append to one note, reading it within their transaction: no append is lost."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from db.annotations import open_annotator\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "for _ in range(25):\n"
        "    with open_annotator(Path(sys.argv[1])) as c:\n"
        "        note = c.execute('SELECT note FROM run WHERE run_id = ?', (sys.argv[2],)).fetchone()[0]\n"
        "        c.execute('UPDATE run SET note = ? WHERE run_id = ?', (note + 'x', sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", script, str(own.root), own.first.run_id]
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
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0] * 4
    with closing(open_reader(own.root)) as c:
        assert find_run(c, own.first.run_id).note == "x" * 100


def test_usage_is_read_above_a_cursor_and_goes_with_its_run(own: Any) -> None:
    run_id = own.first.run_id
    write_usage(own.store, run_id, "t1", UsageSample(150.0, 2**31))
    write_usage(own.store, run_id, "t1", UsageSample(90.5, 3, 40.0, 5, 80))
    with pytest.raises(LeaseLostError):
        write_usage(own.store, run_id, "other", UsageSample(1.0, 1))
    with closing(open_reader(own.root)) as c:
        first, second = read_usage(c, run_id)
        assert first == UsageRow(first.usage_id, run_id, first.at, 150.0, 2**31, None, None, None)
        assert second == UsageRow(second.usage_id, run_id, second.at, 90.5, 3, 40.0, 5, 80)
        assert read_usage(c, run_id, after_usage_id=first.usage_id) == [second]
        assert read_usage(c, own.second.run_id) == []
    delete_run(own.store, run_id, is_alive=lambda _: False)
    with closing(open_reader(own.root)) as c:
        assert c.execute("SELECT count(*) FROM usage").fetchone()[0] == 0


def test_a_verdict_stays_with_the_stage_when_a_run_goes(own: Any) -> None:
    stage_id = own.stage_ids["pair M1"]
    write_verdict(own.root, stage_id, "pz", verdict="tie")
    delete_run(own.store, own.first.run_id, is_alive=lambda _: False)
    with closing(open_reader(own.root)) as c:
        assert c.execute("SELECT count(*) FROM verdict").fetchone()[0] == 1


def test_a_store_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store at"):
        set_note(tmp_path / "nowhere", "x", "y")
    assert not (tmp_path / "nowhere").exists()
