"""mark, judge, queue, metrics, logs: what they write, print and refuse."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from recording import DANGEROUS, NASTY, Recorder, new_run

from cream_tui.progress import WAITING, lay_out_runs, list_events
from cream_tui.readers.snapshots import read_snapshot
from cream_tui.stores import is_stale, open_run_reader
from db import writes
from db.annotations import write_verdict
from db.paths import StorePaths
from db.queries import read_attempts, read_runs, read_verdicts
from db.rows import Lease, RunRow, VerdictRow
from engine.runtime.process import build_lease


@pytest.fixture
def root(recorder: Recorder) -> Path:
    recorder.record("sandbox", "cream", tags=("demo",))
    return recorder.store.paths.root


@pytest.fixture
def say(call: Callable, root: Path) -> Callable:
    """Calls a command on the store."""
    return lambda *words: call(*words, "--store", str(root))


def read_run(root: Path, name: str = "sandbox") -> RunRow:
    with open_run_reader(str(root)) as (_, connection):
        return next(run for run in read_runs(connection) if run.name == name)


def read_said(root: Path) -> list[VerdictRow]:
    with open_run_reader(str(root)) as (_, connection):
        return read_verdicts(connection, read_run(root).run_id)


def test_marks_are_written_and_told(say: Callable, root: Path) -> None:
    done = say("mark", "sandbox", "--tag", "b", "--tag", "a", "--untag", "demo", "--note", "why?", "--pin")
    assert (done.code, done.stdout) == (0, "")
    assert done.stderr == "sandbox: tags a, b, the baseline, note: why?\n"
    run = read_run(root)
    assert (run.tags, run.note, run.is_baseline) == (("a", "b"), "why?", True)
    asked = say("mark", "sandbox")
    assert [line.split(maxsplit=1)[1] for line in asked.stdout.splitlines()][1:] == ["a, b", "why?", "yes"]
    record = json.loads(say("mark", "sandbox", "--unpin", "--note", "", "--json").stdout)
    assert record == {
        "run_id": run.run_id,
        "name": "sandbox",
        "note": "",
        "is_baseline": False,
        "tags": ["a", "b"],
    }


def test_unpinning_a_run_leaves_another_baseline_alone(say: Callable, root: Path, recorder: Recorder) -> None:
    recorder.record("other", "srlm")
    say("mark", "other", "--pin")
    assert say("mark", "sandbox", "--unpin").code == 0
    assert (read_run(root).is_baseline, read_run(root, "other").is_baseline) == (False, True)


def test_marks_that_make_no_sense_are_refused(say: Callable, root: Path) -> None:
    empty, unknown = say("mark", "sandbox", "--tag", " "), say("mark", "sandbx", "--tag", "x")
    assert (empty.code, unknown.code) == (2, 2)
    assert "a tag is empty" in empty.stderr
    assert "sandbox" in unknown.stderr
    assert read_run(root).tags == ("demo",)


def test_a_verdict_is_written_changed_and_cleared(say: Callable, root: Path) -> None:
    first = say("judge", "sandbox", "p1-0", "swap", "--flag")
    assert (first.code, first.stdout, first.stderr) == (0, "", "sandbox t=1 p1-0: swap, flagged\n")
    noted = say("judge", "sandbox", "p1-0", "--note", "a\nb")
    assert noted.stderr == "sandbox t=1 p1-0: swap, flagged, note: a\nb (was swap, flagged)\n"
    (said,) = read_said(root)
    assert (said.prompt_id, said.verdict, said.is_flagged, said.is_blind, said.note) == (
        *("p1-0", "swap", True, False, "a\nb"),
    )
    say("judge", "sandbox", "p1-0", "both-bad", "--no-flag", "--note", "")
    assert [(row.verdict, row.is_flagged, row.note) for row in read_said(root)] == [("both_bad", False, "")]
    cleared = json.loads(say("judge", "sandbox", "p1-0", "--clear", "--json").stdout)
    assert cleared == {"run_id": read_run(root).run_id, "iteration": 1, "prompt_id": "p1-0", "said": None}
    assert read_said(root) == []


def test_a_pair_is_judged_by_the_number_that_pairs_prints(say: Callable, root: Path) -> None:
    listed = json.loads(say("pairs", "sandbox", "--limit", "0", "--json").stdout)
    assert [pair["number"] for pair in listed] == list(range(1, len(listed) + 1))
    third = listed[2]
    assert say("judge", "sandbox", "3", "both_bad").stderr == (
        f"sandbox t={third['iteration']} {third['prompt_id']}: both bad\n"
    )
    printed = say("pairs", "sandbox", "--filter", "has:verdict").stdout
    assert printed.startswith(f"#3  t={third['iteration']}  {third['prompt_id']}  ")
    assert "  your verdict both bad\n" in printed
    assert say("judge", "sandbox", "3", "tie", "--iteration", "9").code == 2
    assert say("judge", "sandbox", "9" * 5000, "tie").code == 2
    assert [(row.prompt_id, row.verdict) for row in read_said(root)] == [(third["prompt_id"], "both_bad")]


def test_a_note_on_a_blind_verdict_leaves_it_blind_and_a_new_verdict_does_not(say: Callable, root: Path) -> None:
    say("judge", "sandbox", "p1-0", "agree")
    (said,) = read_said(root)
    write_verdict(root, said.stage_id, "p1-0", verdict="agree", is_blind=True)
    say("judge", "sandbox", "p1-0", "--note", "hm")
    assert [row.is_blind for row in read_said(root)] == [True]
    say("judge", "sandbox", "p1-0", "swap")
    assert [row.is_blind for row in read_said(root)] == [False]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("p1-0", "swp"), ("swp: there is no such verdict; did you mean swap?", "agree, swap, tie, both_bad, unsure")),
        (("p1-0",), ("there is nothing to write", "--clear")),
        (("p1-0", "tie", "--clear"), ("--clear goes alone",)),
        (("p1-", "tie"), ("'p1-' is the start of 4 prompts", "p1-0, p1-1, p1-2, p1-3")),
        (("p1-0", "tie", "--iteration", "2"), ("no pair of a prompt 'p1-0' in iteration 2", "pairs")),
        (("", "tie"), ("no pair of a prompt ''",)),
        (("p1-3", "tie"), ("no pair to judge: equal scores",)),
    ],
)
def test_a_judgement_that_cannot_be_written_says_why(
    say: Callable, root: Path, words: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    refused = say("judge", "sandbox", *words)
    assert refused.code == 2
    for part in expected:
        assert part in refused.stderr
    assert read_said(root) == []


def test_a_prompt_of_two_iterations_needs_one(say: Callable, root: Path, recorder: Recorder) -> None:
    with open_run_reader(str(root)) as (_, connection):
        stages = [row[0] for row in connection.execute("SELECT stage_id FROM stage WHERE name = 'pair'")]
    with recorder.store.begin() as session:
        session.connection().exec_driver_sql(
            "INSERT INTO pair (stage_id, prompt_id, chosen_k, rejected_k) VALUES (?, 'p1-0', 0, 1)", (stages[-1],)
        )
    refused = say("judge", "sandbox", "p1-0", "tie")
    assert "in iterations 1 and 2" in refused.stderr and "--iteration" in refused.stderr
    assert say("judge", "sandbox", "p1-0", "tie", "--iteration", "2").code == 0
    assert [row.stage_id for row in read_said(root)] == [stages[-1]]


def test_what_was_said_is_seen_with_the_pairs_and_exported(say: Callable) -> None:
    say("judge", "sandbox", "p1-1", "swap", "--note", NASTY[0])
    pairs = json.loads(say("pairs", "sandbox", "--json").stdout)
    (judged,) = [pair for pair in pairs if pair["verdict"] is not None]
    assert (judged["prompt_id"], judged["verdict"], judged["note"], judged["position"]) == ("p1-1", "swap", NASTY[0], 1)
    exported = list(csv.DictReader(io.StringIO(say("export", "sandbox", "--what", "verdicts").stdout, newline="")))
    assert [(row["prompt_id"], row["verdict"], row["flagged"], row["blind"]) for row in exported] == [
        ("p1-1", "swap", "False", "False")
    ]


def test_hostile_notes_and_names_are_made_visible(say: Callable, root: Path) -> None:
    hostile = "".join(NASTY)
    outputs = [
        say("mark", "sandbox", "--note", hostile.replace("\x00", "")),
        say("mark", "sandbox"),
        say("judge", "sandbox", "p1-1", "tie", "--note", hostile.replace("\x00", "")),
    ]
    for done in outputs:
        assert done.code == 0
        assert not set(DANGEROUS) & set(done.stdout + done.stderr)


@pytest.fixture
def wait_in_queue(recorder: Recorder) -> Callable[[str], RunRow]:
    """A waiting run whose supervisor is this process."""

    def wait(name: str, lease_of: Callable[[str], Lease] = build_lease) -> RunRow:
        run = writes.create_run(recorder.store, replace(new_run(name), is_queued=True), [])
        writes.acquire_lease(recorder.store, lease_of(run.run_id), is_alive=lambda _: False)
        return run

    return wait


@pytest.mark.parametrize(
    "words",
    [
        ("mark", "sandbox", "--tag", "x"),
        ("judge", "sandbox", "p1-0", "tie"),
        ("queue",),
        ("metrics", "sandbox"),
        ("logs", "sandbox"),
    ],
)
def test_no_writers_library_is_loaded(root: Path, words: tuple[str, ...]) -> None:
    """It would cost each of them 0.3 s."""
    code = (
        "import sys; from cream_tui.cli import run_command\n"
        "code = run_command(sys.argv[1:])\n"
        "print(code, *({'sqlmodel', 'sqlalchemy', 'torch', 'textual', 'numpy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-P", "-c", code, *words, "--store", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0"


def read_turns(say: Callable) -> list[tuple[object, ...]]:
    return [(entry["turn"], entry["name"], entry["state"]) for entry in json.loads(say("queue", "--json").stdout)]


def test_the_queue_is_shown_and_reordered(say: Callable, recorder: Recorder, wait_in_queue: Callable) -> None:
    assert "no run works or waits" in say("queue").stderr
    recorder.record("busy", "srlm", last_label="pair t=1", is_live=True)
    for name in ("one", "two", "three"):
        wait_in_queue(name)
    assert read_turns(say) == [
        (None, "busy", "running"),
        *((turn, name, "queued") for turn, name in enumerate(("one", "two", "three"), 1)),
    ]
    moved = say("queue", "three", "--first")
    assert moved.code == 0
    assert [line.split()[0] for line in moved.stdout.splitlines()] == ["turn", "–", "1", "2", "3"]
    say("queue", "one", "--last")
    say("queue", "one", "--before", "two")
    assert [name for _, name, _ in read_turns(say)] == ["busy", "three", "one", "two"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("one",), "say one place"),
        (("one", "--first", "--last"), "say one place"),
        (("--first",), "name the run"),
        (("sandbox", "--first"), "does not wait in the queue: it is done"),
        (("one", "--before", "sandbox"), "does not wait in the queue: it is done"),
        (("nosuch", "--first"), "no run 'nosuch'"),
    ],
)
def test_moves_that_make_no_sense_are_refused(
    say: Callable, wait_in_queue: Callable, words: tuple[str, ...], expected: str
) -> None:
    wait_in_queue("one")
    refused = say("queue", *words)
    assert (refused.code, refused.stdout) == (2, "")
    assert expected in refused.stderr


def test_a_waiting_run_is_shown_as_such_and_as_stale_without_its_process(
    root: Path, wait_in_queue: Callable, say: Callable
) -> None:
    run = wait_in_queue("one")
    wait_in_queue("two", lambda run_id: Lease(run_id, "t", 1, 1.0, build_lease(run_id).host, 5.0))
    with open_run_reader(str(root)) as (_, connection):
        snapshot = read_snapshot(connection, run.run_id)
    assert (snapshot.state, snapshot.is_waiting) == ("queued", True)
    assert WAITING in "".join(cell.text for cell in lay_out_runs([snapshot], width=80, height=24)[0])
    assert [text for _, text in list_events(snapshot)] == [WAITING]
    records = {entry["name"]: entry["stale"] for entry in json.loads(say("queue", "--json").stdout)}
    assert records == {"one": False, "two": True}


def test_a_run_that_waits_for_its_process_is_not_stale() -> None:
    fresh = build_lease("r")
    assert [is_stale("queued", lease) for lease in (None, fresh)] == [False, False]
    assert is_stale("queued", Lease("r", "t", fresh.pid, 1.0, fresh.host, 5.0)) is True
    assert is_stale("done", None) is False


def test_metrics_are_listed_and_read(say: Callable) -> None:
    listed = {record["name"]: record for record in json.loads(say("metrics", "sandbox", "--json").stdout)}
    assert {key: listed["loss"][key] for key in ("stage", "n", "lowest", "highest", "label")} == {
        "stage": "train", "n": 9, "lowest": pytest.approx(0.4), "highest": pytest.approx(0.6), "label": "train M3",
    }  # fmt: skip
    assert listed["loss"]["last"] == pytest.approx(0.4)
    assert listed["accuracy"]["last"] == 0.6
    table = say("metrics", "sandbox").stdout.splitlines()
    assert table[0].split() == ["metric", "stage", "values", "last", "of", "least", "most"]
    assert [line.split()[0] for line in table[1:]] == sorted(listed)

    values = json.loads(say("metrics", "sandbox", "tau_anchor", "loss", "--json").stdout)
    assert [(value["name"], value["label"], value["step"]) for value in values] == [
        ("tau_anchor", "agree t=1", 0),
        ("tau_anchor", "agree t=2", 0),
        *(("loss", label, step) for label in ("train M1 (SFT)", "train M2", "train M3") for step in (1, 2, 3)),
    ]
    assert (values[0]["value"], values[0]["iteration"], values[0]["stage"]) == (0.5, 1, "agree")
    rows = say("metrics", "sandbox", "tau_anchor").stdout.splitlines()
    assert rows[1].split() == ["tau_anchor", "agree", "t=1", "0", "0.5"]


def test_a_metric_that_is_not_there_is_answered_with_the_nearest(say: Callable, recorder: Recorder) -> None:
    refused = say("metrics", "sandbox", "los")
    assert refused.code == 2
    assert "did you mean loss?" in refused.stderr and "tau_anchor" in refused.stderr
    writes.create_run(recorder.store, new_run("fresh"), [])
    assert "no metrics yet" in say("metrics", "fresh").stderr


def write_log(root: Path, label: str, text: str) -> Path:
    run = read_run(root)
    with open_run_reader(str(root)) as (_, connection):
        labels = dict(
            connection.execute("SELECT stage_id, label FROM run_stage WHERE run_id = ?", (run.run_id,)).fetchall()
        )
        attempt = next(a for a in read_attempts(connection, run.run_id) if labels[a.stage_id] == label)
    path = root / str(attempt.log_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    return path


def test_the_newest_log_is_printed_or_that_of_a_stage(say: Callable, root: Path) -> None:
    assert "no log yet" in say("logs", "sandbox").stderr
    supervisor = StorePaths(root).supervisor_log(read_run(root).run_id)
    supervisor.parent.mkdir(parents=True, exist_ok=True)
    supervisor.write_text("from above\n")
    assert say("logs", "sandbox").stdout == "from above\n"
    write_log(root, "train M2", "10 %\r50 %\r100 %\nloss 0.5\n")
    last = write_log(root, "evaluate M3", "last\nno end")
    newest = say("logs", "sandbox")
    assert (newest.stdout, str(last) in newest.stderr) == ("last\nno end\n", True)
    assert say("logs", "sandbox", "--stage", "train M2").stdout == "100 %\nloss 0.5\n"
    assert say("logs", "sandbox", "--stage", "supervisor").stdout == "from above\n"
    assert "no log yet of train M1 (SFT)" in say("logs", "sandbox", "--stage", "train M1 (SFT)").stderr
    refused = say("logs", "sandbox", "--stage", "train M22")
    assert refused.code == 2
    assert "did you mean train M2?" in refused.stderr


def test_a_hostile_log_is_made_visible(say: Callable, root: Path) -> None:
    write_log(root, "evaluate M3", "\n".join(NASTY))
    printed = say("logs", "sandbox").stdout
    assert "clear" in printed
    assert not set(DANGEROUS) & set(printed)


def test_a_followed_log_goes_on_over_attempts_until_the_run_is_over(recorder: Recorder) -> None:
    run = recorder.record("live", "srlm", last_label="sample t=1", is_live=True)
    root = recorder.store.paths.root

    def open_log() -> Path:
        with open_run_reader(str(root)) as (_, connection):
            path = root / str(read_attempts(connection, run.run_id)[-1].log_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    log = open_log()
    log.write_text("one\ntw")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "cream_tui", "logs", "live", "-f", "--store", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "one\n"
    with log.open("a") as file:
        file.write("o\n")
    assert process.stdout.readline() == "two\n"  # whole, once its end has come
    with open_run_reader(str(root)) as (_, connection):
        (lease,) = connection.execute("SELECT token FROM lease WHERE run_id = ?", (run.run_id,)).fetchone()
        (stage_id,) = connection.execute("SELECT stage_id FROM stage WHERE state = 'running'").fetchone()
    writes.start_attempt(recorder.store, stage_id, run.run_id)
    open_log().write_text("second attempt\n")
    assert process.stdout.readline() == "second attempt\n"
    writes.release_lease(recorder.store, run.run_id, lease, state="stopped", exit_code=3)
    assert process.wait(timeout=60) == 0
