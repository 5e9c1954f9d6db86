"""run, watch, stop, resume, fork, rm on the command line's side: messages and codes; the engine has its own tests."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from recording import Recorder

from cream_tui import diagnostics
from cream_tui.commands import demo
from cream_tui.commands.demo import ARMS, CONFIG, QUICK
from cream_tui.output import Cell
from cream_tui.progress import lay_out_runs, list_events
from cream_tui.readers.snapshots import read_snapshot
from cream_tui.stage_view import RateMeter, StageView, build_stage_view, describe_stage, estimate_time_left
from cream_tui.stores import open_run_reader
from db import writes
from db.queries import open_reader, read_runs
from db.rows import RunRow, StageRow
from engine.artifacts import compute_folder_digest
from engine.config.load import load_run_config
from engine.config.run import RunConfig
from engine.errors import TaskError


def build_row(state: str = "running", n_done: int = 0, owner: str = "r", started_at: float = 100.0) -> StageRow:
    return StageRow(
        run_id="r", position=0, stage_id=1, key="k", name="sample", iteration=1, label="sample t=1", state=state,
        owner_run_id=owner, n_done=n_done, n_total=1000, unit="responses", n_tokens=None, started_at=started_at,
        finished_at=110.0 if state == "done" else None, error=None, n_attempts=1,
    )  # fmt: skip


def build_view(name: str, status: str, elapsed_s: float | None = None, left_s: float | None = None) -> StageView:
    return StageView(name, name, status, None, 0, None, "", elapsed_s, left_s=left_s)


def test_a_stage_of_another_run_is_waited_for_or_reused() -> None:
    assert build_stage_view(build_row(owner="o"), {"o": "other"}, 105.0).status == "waiting"
    reused = build_stage_view(build_row("done", 1000, owner="o"), {"o": "other"}, 105.0)
    assert (reused.status, reused.other) == ("reused", "other")
    assert build_stage_view(build_row("pending", owner="o"), {}, 105.0).other is None


def test_rate_and_time_left_follow_the_last_seconds() -> None:
    """100 by second 1, 300 by second 2: 200 per second between the looks; 700 of 1,000 are left."""
    meter = RateMeter()
    build_stage_view(build_row(n_done=100), {}, 101.0, meter)
    view = build_stage_view(build_row(n_done=300), {}, 102.0, meter)
    assert (view.rate, view.left_s, view.elapsed_s) == (200.0, 3.5, 2.0)
    assert describe_stage(view) == "300/1,000  200/s  3.5 s left"
    assert describe_stage(build_stage_view(build_row("done", 1000), {}, 200.0)) == "10 s  1,000 responses"


def test_time_left_is_told_once_every_kind_of_stage_was_finished() -> None:
    """sample took 10 s and is to come again; train runs with 4 s left: 14 s."""
    stages = [build_view("sample", "done", 10.0), build_view("train", "running", 1.0, 4.0)]
    assert estimate_time_left([*stages, build_view("sample", "pending")]) == 14.0
    assert estimate_time_left([*stages, build_view("evaluate", "pending")]) is None


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 12), (200, 60)])
def test_the_view_fits_the_terminal(store_root: Path, width: int, height: int) -> None:
    connection = open_reader(store_root)
    try:
        snapshots = [read_snapshot(connection, run.run_id) for run in read_runs(connection)]
    finally:
        connection.close()
    lines = lay_out_runs(snapshots, width=width, height=height)
    assert len(lines) <= height
    assert all(isinstance(cell, Cell) for line in lines for cell in line)
    texts = ["".join(cell.text for cell in line) for line in lines]
    assert texts[0].startswith("demo-srlm  done")
    if width >= 80:
        assert max(map(len, texts)) <= width
    events = [text for _, text in list_events(snapshots[1])]
    assert events[-1] == "run done"


def test_what_failed_in_an_earlier_try_is_told_only_where_it_ends_the_run(store_root: Path) -> None:
    with open_run_reader(str(store_root)) as (_, connection):
        shown = read_snapshot(connection, read_runs(connection)[-1].run_id)
    first, *others = shown.stages
    failed = replace(shown, stages=(replace(first, status="failed"), *others))
    live = replace(failed, run=replace(shown.run, state="running"))
    assert any("failed" in text for _, text in list_events(failed))
    assert not any("failed" in text for _, text in list_events(live))


def test_a_narrow_terminal_loses_columns_from_the_right_of_their_rank(store_root: Path) -> None:
    with open_run_reader(str(store_root)) as (_, connection):
        shown = read_snapshot(connection, read_runs(connection)[-1].run_id)

    def draw(width: int, height: int = 30) -> list[str]:
        return ["".join(cell.text for cell in line) for line in lay_out_runs([shown], width=width, height=height)]

    assert max(map(len, draw(60))) <= 60
    assert draw(60)[-3] == "  M3         60.0        –        –     –        –"
    assert draw(60)[-1] == "* tau to M0's log-likelihood: M0 has no implicit reward."
    assert draw(80)[-4].endswith("0.75     66.7    20.0       9.0")


def test_a_low_terminal_keeps_the_newest_models(store_root: Path) -> None:
    """10 lines: head, 3 stages, 2 lines of titles, 4 models; with 8 the 2 newest; with 6 stages only."""
    with open_run_reader(str(store_root)) as (_, connection):
        shown = read_snapshot(connection, read_runs(connection)[-1].run_id)
    for height, first_words in ((10, ["M0", "M1", "M2", "M3"]), (8, ["M2", "M3"]), (6, [])):
        lines = lay_out_runs([shown], width=80, height=height)
        assert len(lines) == height
        starts = ["".join(cell.text for cell in line).strip()[:2] for line in lines]
        assert [start for start in starts if start[:1] == "M"] == first_words


def test_ctrl_c_closes_the_view_and_the_run_goes_on(recorder: Recorder) -> None:
    run = recorder.record("mine", last_label="sample t=1", is_live=True)
    root = recorder.store.paths.root
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "cream_tui", "watch", "mine", "--store", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert "evaluate M0" in first
    assert process.returncode == 130
    assert stdout == ""
    assert "The view is closed; the run goes on." in stderr
    assert f"cream-tui watch {run.run_id} --store {root}" in stderr
    assert f"cream-tui stop {run.run_id} --store {root}" in stderr
    assert "Traceback" not in stderr


def read_terminal(arguments: list[str], environment: dict[str, str]) -> str:
    """What a command draws on a terminal within its first second."""
    pid, handle = pty.fork()
    if pid == 0:
        os.environ.update(environment)
        os.execv(sys.executable, [sys.executable, "-P", "-m", "cream_tui", *arguments])
    drawn, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline and b"pair t=1" not in drawn:
        if select.select([handle], [], [], 0.2)[0]:
            drawn += os.read(handle, 65536)
    os.kill(pid, signal.SIGINT)
    while True:
        try:
            chunk = os.read(handle, 65536)
        except OSError:
            break
        if not chunk:
            break
        drawn += chunk
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    os.close(handle)
    return drawn.decode()


def test_the_view_is_drawn_in_place_on_a_terminal(recorder: Recorder) -> None:
    recorder.record("a\x1b]0;x\x07", last_label="sample t=1", is_live=True)
    arguments = ["watch", "latest", "--store", str(recorder.store.paths.root)]
    drawn = read_terminal(arguments, {"TERM": "xterm-256color", "NO_COLOR": ""})
    assert "\x1b[32m" in drawn
    assert "\x1b]0;" not in drawn
    assert "a␛]0;x␇" in drawn
    plain = read_terminal(arguments, {"TERM": "xterm-256color", "NO_COLOR": "1"})
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain)


def test_stop_and_resume_of_a_finished_run_change_nothing(call: Callable, store_root: Path) -> None:
    for command in ("stop", "resume"):
        called = call(command, "demo-cream", "--store", str(store_root))
        assert called.code == 0
        assert "demo-cream is done already" in called.stderr


def test_a_live_run_is_neither_resumed_nor_removed(call: Callable, recorder: Recorder, tmp_path: Path) -> None:
    folder = tmp_path / "m0"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    base = (str(folder), compute_folder_digest(folder))
    recorder.record("mine", last_label="sample t=1", is_live=True, base=base)
    for arguments in (("resume", "mine"), ("rm", "mine", "--yes")):
        called = call(*arguments, "--store", str(recorder.store.paths.root))
        assert called.code == 2
        assert "already working on run mine" in called.stderr


def test_rm_removes_and_shared_stages_stay(call: Callable, recorder: Recorder) -> None:
    recorder.record("first", "srlm")
    recorder.record("second", "cream")
    store = ("--store", str(recorder.store.paths.root))
    assert call("rm", "first", "--yes", *store).code == 0
    shown = call("show", "second", *store)
    assert "from a removed run" in shown.stdout
    assert call("show", "first", *store).code == 2


def test_exit_code_of_a_failed_run_and_its_log(call: Callable, recorder: Recorder) -> None:
    run = recorder.record("mine", last_label="sample t=1", is_live=True)
    connection = open_reader(recorder.store.paths.root)
    token = connection.execute("SELECT token FROM lease").fetchone()[0]
    log = recorder.store.paths.root / connection.execute("SELECT max(log_path) FROM attempt").fetchone()[0]
    connection.close()
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("it broke")
    writes.release_lease(recorder.store, run.run_id, token, state="failed", exit_code=4, error="out of memory\x1b[2J")
    called = call("watch", "mine", "--store", str(recorder.store.paths.root))
    assert called.code == 4
    assert "error: mine: out of memory␛[2J" in called.stderr
    assert "The log is " in called.stderr
    assert "cream-tui resume" in called.stderr


def test_a_log_that_the_error_names_is_named_once(call: Callable, recorder: Recorder) -> None:
    run = recorder.record("mine", last_label="sample t=1", is_live=True)
    root = recorder.store.paths.root
    connection = open_reader(root)
    token = connection.execute("SELECT token FROM lease").fetchone()[0]
    log = root / connection.execute("SELECT max(log_path) FROM attempt").fetchone()[0]
    connection.close()
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("it broke")
    error = f"it broke\nthe log: {log}"
    writes.release_lease(recorder.store, run.run_id, token, state="failed", exit_code=1, error=error)
    for command in ("watch", "show"):
        assert call(command, "mine", "--store", str(root)).stderr.count(str(log)) == 1


def test_the_demo_has_two_arms_that_share_all_but_the_method() -> None:
    configs = [load_run_config(CONFIG, overrides=QUICK, method=method, seed=3) for method, _ in ARMS]
    assert [config.method.name for config in configs] == ["srlm", "cream"]
    assert configs[0].model_copy(update={"method": configs[1].method}) == configs[1]
    assert configs[0].iterations == 2


def test_the_demo_ends_with_commands_that_run_as_printed(
    call: Callable,
    store_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with open_run_reader(str(store_root)) as (_, connection):
        runs = read_runs(connection)
    demo._print(str(store_root), list(zip(("SRLM", "CREAM"), runs, strict=True)), as_json=False)
    told, commands = capsys.readouterr().out.split("See more\n")
    assert "SRLM: accuracy went from 70.0 % (M1) to 80.0 % (M2" in " ".join(told.split())
    assert "CREAM is better" in told
    app, *lines = commands.strip().splitlines()
    assert shlex.split(app) == ["cream-tui", "--store", str(store_root)]
    assert "the app needs a terminal" in call(*shlex.split(app)[1:]).stderr
    assert [line.split()[1] for line in lines] == ["show", "pairs", "compare", "export"]
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "cream-tui"
        assert call(*arguments).code == 0
    assert (tmp_path / "pairs.csv").is_file()


def test_the_demo_tells_of_the_one_arm_that_started(
    store_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first arm is refused, the second starts: its results are told under its own title."""
    with open_run_reader(str(store_root)) as (_, connection):
        finished = read_runs(connection)[-1]

    def start_run(root: Path, config: RunConfig, *, tags: Sequence[str]) -> RunRow:
        if config.method.name == "srlm":
            raise TaskError("no room")
        return finished

    monkeypatch.setattr("engine.runtime.control.start_run", start_run)
    code = demo.demo(str(store_root), is_quick=True, seed=0, as_json=False)
    told = capsys.readouterr()
    assert code == TaskError("").exit_code
    assert "error: no room" in told.err
    assert "demo-cream  CREAM" in told.out
    assert "SRLM: " not in told.out
    assert "compare" not in told.out


def test_a_detached_demo_prints_its_runs_and_returns(
    store_root: Path, call: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_run_reader(str(store_root)) as (_, connection):
        runs = {run.method: run for run in read_runs(connection)}
    monkeypatch.setattr("engine.runtime.control.start_run", lambda root, config, *, tags: runs[config.method.name])
    monkeypatch.setattr("cream_tui.commands.run.follow_to_end", None)
    called = call("demo", "--quick", "--detach", "--store", str(store_root))
    assert called.code == 0
    assert called.stdout.split() == [runs["srlm"].run_id, runs["cream"].run_id]


def test_a_failed_stage_is_named_once(call: Callable, recorder: Recorder) -> None:
    run = recorder.record("mine", last_label="sample t=1", is_live=True)
    with open_run_reader(str(recorder.store.paths.root)) as (_, connection):
        stage_id = connection.execute("SELECT stage_id FROM run_stage WHERE label = 'sample t=1'").fetchone()[0]
        token = connection.execute("SELECT token FROM lease").fetchone()[0]
    error = "sample t=1: the prompt is empty"
    writes.fail_stage(recorder.store, stage_id, token, error)
    writes.release_lease(recorder.store, run.run_id, token, state="failed", exit_code=1, error=error)
    store = ("--store", str(recorder.store.paths.root))
    assert re.search(r"sample t=1 +failed +the prompt is empty$", call("show", "mine", *store).stdout, re.MULTILINE)
    assert "sample t=1: failed the prompt is empty\n" in call("watch", "mine", *store).stderr


def test_every_exit_code_is_documented() -> None:
    assert [int(code) for code, _ in diagnostics.EXIT_CODES] == [0, 1, 2, 3, 4, 5, 6, 130]
