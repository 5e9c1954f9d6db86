"""Processes through accelerate's launcher: they end with who started them, resume, say why they failed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from small_runs import find_processes
from tiny_models import END, build_model, build_settings, build_word_tokenizer, make_sequences

from engine.compute import train_process
from engine.compute.train_job import Examples, TrainJob, read_job, run_job, write_job
from engine.compute.train_launch import launch_job, raise_failure
from engine.compute.train_process import LINKS_FILE, Links
from engine.compute.training import PreferenceLoss, find_snapshot
from engine.config.shipped import find_configs_folder
from engine.errors import CreamError, ExitCode
from engine.records import PreferencePair, TokenSequence

DDP = find_configs_folder() / "accelerate" / "ddp.yaml"
N_STEPS, KILLED_AT = 8, 5
Steps = dict[int, dict[str, float]]


@pytest.fixture
def job(tmp_path: Path) -> TrainJob:
    """32 examples, 8 per step, 2 epochs, snapshots at 2, 4 and 6."""
    base = tmp_path / "base"
    build_model().save_pretrained(base)
    build_word_tokenizer().save_pretrained(base)
    return TrainJob(
        base_folder=str(base),
        base_name="M0",
        parent_folder=str(base),
        adapter=None,
        dtype="bfloat16",
        settings=build_settings(batch_size=8, epochs=2, snapshot_every=2),
        loss=None,
        work_folder=str(tmp_path / "alone"),
        output_folder=str(tmp_path / "alone" / "out"),
    )


@pytest.fixture
def examples() -> Examples:
    return [TokenSequence(s.prompt, (*s.response, END)) for s in make_sequences(32, seed=1)]


def launch(job: TrainJob, examples: Examples, log: Path, *, killed_at: int | None = None) -> None:
    """What a stage's process does; with ``killed_at`` it dies as if by kill -9 once that step is reported."""

    def on_step(step: int, n_steps: int, values: Mapping[str, float], has_snapshot: bool) -> None:
        assert n_steps == N_STEPS
        with log.open("a") as file:
            file.write(json.dumps([step, dict(values)]) + "\n")
        if step == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    launch_job(job, examples, launcher_file=DDP, device="cpu", threads=1, on_step=on_step)


def read_steps(log: Path) -> Steps:
    return dict(json.loads(line) for line in log.read_text().splitlines())


def test_processes_end_with_their_stage_and_a_resume_goes_on(job: TrainJob, examples: Examples, tmp_path: Path) -> None:
    expected: Steps = {}
    run_job(job, examples, device=torch.device("cpu"), on_step=lambda step, _n, v, _h: expected.update({step: dict(v)}))
    work = tmp_path / "shared"
    settings = replace(job.settings, n_processes=2)
    shared = replace(job, settings=settings, work_folder=str(work), output_folder=str(work / "out"))
    stage = multiprocessing.get_context("fork").Process(
        target=launch, args=(shared, examples, tmp_path / "log"), kwargs={"killed_at": KILLED_AT}
    )
    stage.start()
    stage.join(120)
    assert stage.exitcode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while (left := find_processes(work / "job")) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in left:
        process.kill()
    assert not left, "a process outlived the one that started it"
    snapshot = find_snapshot(work)
    assert snapshot is not None
    first = int(snapshot.name.rpartition("-")[2])
    assert first >= 4
    (tmp_path / "log").unlink()
    launch(shared, examples, tmp_path / "log")
    found = read_steps(tmp_path / "log")
    assert list(found) == list(range(1, N_STEPS + 1)), "steps up to the snapshot are reported again"
    for step, values in expected.items():
        # Under autocast to bfloat16 a pass of four rounds otherwise than one of eight.
        assert found[step]["loss"] == pytest.approx(values["loss"], rel=2e-3), step
    assert sorted(path.name for path in (work / "out").iterdir()) == sorted(
        path.name for path in Path(job.output_folder).iterdir()
    )


@pytest.mark.parametrize(
    ("change", "message", "code"),
    [
        ({"parent_folder": "/nowhere"}, r"cannot load a causal LM from /nowhere", ExitCode.CONFIGURATION),
        ({"settings": build_settings(n_processes=3)}, "started 1 processes, .* for 3", ExitCode.BACKEND_UNAVAILABLE),
    ],
)
def test_a_process_that_fails_says_why(
    job: TrainJob, examples: Examples, tmp_path: Path, change: dict[str, object], message: str, code: ExitCode
) -> None:
    folder = tmp_path / "job"
    write_job(replace(job, **change), examples, folder)  # type: ignore[arg-type]
    (folder / LINKS_FILE).write_text(json.dumps(asdict(Links("another host", "cpu", 1, is_quantised=False))))
    rank = multiprocessing.get_context("fork").Process(target=train_process.main, args=(folder,))
    rank.start()
    rank.join(60)
    assert rank.exitcode == code
    with pytest.raises(CreamError, match=message) as failure:
        raise_failure(folder, 1)
    assert failure.value.exit_code == code
    assert failure.value.hint is not None


@pytest.mark.parametrize(("kind", "expected"), [("OutOfMemoryError", MemoryError), ("ValueError", RuntimeError)])
def test_the_first_failure_is_the_one_that_counts(tmp_path: Path, kind: str, expected: type[Exception]) -> None:
    """The second process failed because the first was gone; what is retried is what a single process would have."""
    for rank, (name, text, at) in enumerate([("RuntimeError", "connection closed", 2.0), (kind, "the cause", 1.0)]):
        failure = {"exit_code": 1, "kind": name, "text": text, "hint": None, "at": at}
        (tmp_path / f"error-{rank}.json").write_text(json.dumps(failure))
    with pytest.raises(expected, match="the cause"):
        raise_failure(tmp_path, 1)


def test_a_job_is_read_as_it_was_written(job: TrainJob, tmp_path: Path) -> None:
    pairs = [PreferencePair((1, 2), (3,), (4, 5), -1.25, -0.1, 2 / 3, (-1.25,), (-0.06, -0.04))]
    preference = replace(job, loss=PreferenceLoss(0.1, kind="signed", kl_weight=0.5))
    write_job(preference, pairs, tmp_path / "job")
    assert read_job(tmp_path / "job") == (preference, pairs)
