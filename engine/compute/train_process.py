"""One of the processes of a training: ``accelerate launch -m engine.compute.train_process JOB``. Knows no store.

The first one reports each step as a line of a file. A process whose stage has ended ends too; one that fails leaves its
error as a file. A process entry: it turns every exception into an outcome.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.compute.unused_libraries import hide_unused
from engine.errors import BackendError, CreamError, ExitCode

STEPS_FILE, ALIVE_FIFO, LINKS_FILE = "steps.jsonl", "alive", "links.json"
ERROR_FILES = "error-*.json"
WATCH_S = 0.3


@dataclass(frozen=True, slots=True)
class Links:
    """What ties the processes to the one that started them: its host, and what each of them may use.

    ``device`` is the kind, cpu or cuda; the processes of a ``sharded`` training load the model on the CPU.
    """

    host: str
    device: str
    threads: int
    is_quantised: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """How a process failed; ``text`` is its message, ``kind`` its exception's class."""

    exit_code: int
    kind: str
    text: str
    hint: str | None
    at: float


def main(folder: Path) -> int:
    """Do this process's share of the job in a folder; return the exit code."""
    links = Links(**json.loads((folder / LINKS_FILE).read_text()))
    if socket.gethostname() == links.host:
        threading.Thread(target=_end_with_stage, args=(folder / ALIVE_FIFO,), daemon=True).start()
    rank = int(os.environ.get("RANK", "0"))
    try:
        _train(folder, links)
    except BaseException as error:
        traceback.print_exc()
        hint = error.hint if isinstance(error, CreamError) else None
        code = error.exit_code if isinstance(error, CreamError) else ExitCode.UNEXPECTED
        text = error.message if isinstance(error, CreamError) else str(error)
        failure = {"exit_code": int(code), "kind": type(error).__name__, "text": text, "hint": hint, "at": time.time()}
        path = folder / f"error-{rank}.json"
        path.with_suffix(".part").write_text(json.dumps(failure))
        path.with_suffix(".part").replace(path)
        # Without waiting for the others, which may wait for this one.
        os._exit(int(code) or int(ExitCode.UNEXPECTED))
    return int(ExitCode.DONE)


def _train(folder: Path, links: Links) -> None:
    hide_unused(is_quantised=links.is_quantised)
    import torch
    from transformers.utils.logging import disable_progress_bar

    from engine.compute.train_job import read_job, run_job

    disable_progress_bar()
    torch.set_num_threads(links.threads)
    is_sharded = os.environ.get("ACCELERATE_USE_FSDP") == "true" or os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
    device = torch.device("cpu")
    if links.device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        device = device if is_sharded else torch.device("cuda", torch.cuda.current_device())
    job, examples = read_job(folder)
    n_started = int(os.environ.get("WORLD_SIZE", "1"))
    if n_started != job.settings.n_processes:
        raise BackendError(
            f"resources.launcher started {n_started} processes, and the training was planned for "
            f"{job.settings.n_processes}",
            hint="name a distributed_type that accelerate launches itself, such as MULTI_GPU, on a CPU too",
        )
    with (folder / STEPS_FILE).open("a") as steps:

        def report(step: int, n_steps: int, values: Mapping[str, float], has_snapshot: bool) -> None:
            steps.write(json.dumps([step, n_steps, dict(values)]) + "\n")
            steps.flush()
            if has_snapshot:  # a resume from it does not report this step again
                os.fsync(steps.fileno())

        run_job(job, examples, device=device, on_step=report)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _end_with_stage(fifo: Path) -> None:
    """End this process once nobody holds the FIFO open for writing: the stage's process is gone, however it ended."""
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    while True:
        try:
            if not os.read(descriptor, 1):
                os._exit(int(ExitCode.LEASE_LOST))
        except BlockingIOError:
            time.sleep(WATCH_S)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
