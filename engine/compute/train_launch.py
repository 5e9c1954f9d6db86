"""Starts the processes of a training through ``accelerate launch`` and passes on what they report. Knows no store.

They work in a folder of their own; their output joins this process's. However this process ends, they end with it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from engine.compute.train_job import Examples, TrainJob, write_job
from engine.compute.train_process import ALIVE_FIFO, ERROR_FILES, LINKS_FILE, STEPS_FILE, Failure, Links
from engine.compute.training import OnStep, find_snapshot
from engine.errors import CreamError, ExitCode, TrainingError

POLL_S = 0.05
GRACE_S = 10.0
PROCESS_MODULE = "engine.compute.train_process"


def launch_job(
    job: TrainJob, examples: Examples, *, launcher_file: Path, device: str, threads: int, on_step: OnStep
) -> None:
    """Train in several processes, from the newest whole snapshot; the launcher's file says how they share the model.

    Raises:
        CreamError: a process failed; the message is its own.
        MemoryError: memory ran out in one.
    """
    folder = Path(job.work_folder) / "job"
    snapshot = find_snapshot(Path(job.work_folder))  # here, so that no two processes clear away unfinished ones
    write_job(job, examples, folder)
    is_quantised = job.adapter is not None and job.adapter.is_quantised
    (folder / LINKS_FILE).write_text(json.dumps(asdict(Links(socket.gethostname(), device, threads, is_quantised))))
    for path in folder.glob(ERROR_FILES):
        path.unlink()
    fifo = folder / ALIVE_FIFO
    fifo.unlink(missing_ok=True)
    os.mkfifo(fifo)
    writer = os.open(fifo, os.O_RDWR)  # for reading too, or it would wait for a reader; the processes watch it
    reports = _Reports(folder / STEPS_FILE, on_step, last_step=_read_step(snapshot))
    command = [sys.executable, "-P", "-m", "accelerate.commands.launch", "--config_file", str(launcher_file)]
    command += ["--num_processes", str(job.settings.n_processes), "--num_cpu_threads_per_process", str(threads)]
    command += ["--mixed_precision", {"bfloat16": "bf16", "float16": "fp16"}.get(job.dtype, "no")]
    command += ["--module", PROCESS_MODULE, str(folder)]
    try:
        with subprocess.Popen(command, cwd=folder, env=_build_environment(), stdin=subprocess.DEVNULL) as process:
            try:
                while process.poll() is None:
                    reports.read()
                    time.sleep(POLL_S)
            finally:
                _end(process)
        reports.read()
    finally:
        os.close(writer)
    if process.returncode:
        raise_failure(folder, process.returncode)


class _Reports:
    """Reads the lines of the steps file as they come; first, again, those of an earlier attempt up to its snapshot."""

    def __init__(self, path: Path, on_step: OnStep, *, last_step: int) -> None:
        kept: list[str] = []
        for line in path.read_text().splitlines(keepends=True) if path.is_file() else []:
            if line.endswith("\n") and json.loads(line)[0] <= last_step:
                kept.append(line)
        path.write_text("".join(kept))
        self.file = path.open()
        self.on_step = on_step
        self.rest = ""

    def read(self) -> None:
        lines = (self.rest + self.file.read()).split("\n")
        self.rest = lines.pop()  # not whole yet
        for line in lines:
            step, n_steps, values = json.loads(line)
            self.on_step(step, n_steps, values, False)


def _read_step(snapshot: Path | None) -> int:
    return 0 if snapshot is None else int(snapshot.name.rpartition("-")[2])


def _build_environment() -> dict[str, str]:
    """Return the environment of the launcher and its processes: the current folder must not shadow a library."""
    return os.environ | {"PYTHONSAFEPATH": "1", "TOKENIZERS_PARALLELISM": "false"}


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()


def raise_failure(folder: Path, returncode: int) -> None:
    """Raise what the first process that failed said; the others failed because of it."""
    failures = [Failure(**json.loads(path.read_text())) for path in folder.glob(ERROR_FILES)]
    if not failures:
        raise TrainingError(
            f"the processes of the training ended with exit code {returncode} before they could say why",
            hint="their output is in the stage's log; the system may have run out of memory",
        )
    first = min(failures, key=lambda failure: failure.at)
    if first.exit_code == ExitCode.UNEXPECTED and first.kind != "TrainingError":
        # As the same exception of a single process would be classified.
        raise (MemoryError if first.kind in ("MemoryError", "OutOfMemoryError") else RuntimeError)(first.text)
    error = CreamError(first.text, hint=first.hint)
    error.exit_code = ExitCode(first.exit_code)
    raise error
