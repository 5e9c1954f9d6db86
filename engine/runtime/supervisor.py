"""The detached process of a run: takes the lease, waits for its turn, runs what is not done, records how it went.

Never imports torch. Stages run in children of a fork server that has preloaded the heavy libraries. A stage whose
inputs are done and that no live run computes is claimed; others are waited for, so two runs share work without knowing
each other. Start: ``python -P -m engine.runtime.supervisor STORE RUN_ID``.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

from db.errors import LeaseLostError, StoreError, StoreFullError
from db.queries import find_run, read_run_stages
from db.reading import open_reader
from db.rows import RunRow, StageRow
from db.run_queue import count_ahead, read_queue, take_turn
from db.session import Store, open_store
from db.writes import (
    acquire_lease,
    claim_stage,
    fail_stage,
    finish_attempt,
    finish_stage,
    release_lease,
    release_stage,
    renew_lease,
    set_attempt_pid,
    start_attempt,
    write_usage,
)
from engine.errors import BackendError, CreamError, ExitCode, Interrupted
from engine.plan import StageSpec, StageTask
from engine.runtime.detached import Flag, keep_lease
from engine.runtime.lineage import plan_row
from engine.runtime.mirror import start_mirrors
from engine.runtime.process import build_lease, is_alive, name_signal, read_slots
from engine.runtime.stage_process import StageOutcome, report_import, run_stage_process
from engine.runtime.usage import SAMPLE_S, UsageMeter

PRELOAD, PRELOAD_QUANTISED = "engine.runtime.preload", "engine.runtime.preload_quantised"
POLL_S = 0.05
WAIT_S = 0.2
TURN_S = 0.3
STOP_GRACE_S = 5.0
TERM_WAIT_S = 5.0
TERMINATED = (-signal.SIGTERM, 255)  # 255: the fork server has ended too, and cannot tell how its child did
SHRINKS = (1, 2, 4)  # tried in turn when memory runs out


class Supervisor:
    """Works through one run under one lease."""

    def __init__(self, store: Store, run: RunRow) -> None:
        self.store = store
        self.run = run
        self.lease = build_lease(run.run_id)
        self.stop = Flag()
        self.lost = Flag()
        self.ended = threading.Event()

    def work(self) -> tuple[str, ExitCode, str | None]:
        """Return the run's final state, exit code and error after running all that is left of it."""
        try:
            self._wait_for_turn()
            threading.Thread(target=self._keep_usage, daemon=True).start()
            start_mirrors(self.store.paths.root, self.run)
            specs = plan_row(self.run)
            self._check_plan(specs)
            self._run_all(specs)
        except Interrupted:
            return "stopped", ExitCode.INTERRUPTED, None
        except StageFailed as failure:
            return "failed", failure.code, str(failure)
        except CreamError as error:
            return "failed", error.exit_code, str(error)
        except LeaseLostError:
            raise
        except StoreFullError as error:
            return "failed", ExitCode.INTERRUPTED, _join(error)
        except StoreError as error:
            return "failed", ExitCode.CONFIGURATION, _join(error)
        except Exception as error:
            traceback.print_exc()
            return "failed", ExitCode.UNEXPECTED, f"unexpected {type(error).__name__}: {error}"
        return "done", ExitCode.DONE, None

    def keep_lease(self) -> None:
        """Renew the lease every second; set ``stop`` or ``lost`` when the store says so."""
        keep_lease(
            lambda: renew_lease(self.store, self.run.run_id, self.lease.token, time.time()),
            stop=self.stop,
            lost=self.lost,
        )

    def _wait_for_turn(self) -> None:
        """Return at once where the run does not queue. Loads no library meanwhile: many may wait."""
        if self.run.queue_position is None:
            return
        n_slots = read_slots()
        with closing(open_reader(self.store.paths.root)) as reader:
            while True:
                self._check_stop()
                n_ahead = count_ahead(read_queue(reader), self.run.run_id, host=self.lease.host, is_alive=is_alive)
                # Only who seems to be next takes the write lock and looks again under it.
                if n_ahead < n_slots and take_turn(
                    self.store.paths.root, self.lease, n_slots=n_slots, is_alive=is_alive
                ):
                    return
                self.stop.wait(TURN_S)

    def _keep_usage(self) -> None:
        """Write what the run's processes take every two seconds until the run ends."""
        has_gpu = json.loads(self.run.config_json)["resources"]["device"] != "cpu"
        meter = UsageMeter(os.getpid(), has_gpu=has_gpu)
        while not self.ended.wait(SAMPLE_S):
            try:
                write_usage(self.store, self.run.run_id, self.lease.token, meter.sample())
            except LeaseLostError:
                return
            except StoreError as error:  # a sample is worth nothing that the run would have to end for
                print(f"usage: {error.message}", file=sys.stderr, flush=True)

    def _check_plan(self, specs: Sequence[StageSpec]) -> None:
        linked = {stage.key for stage in self._read_stages()}
        changed = [spec.label for spec in specs if spec.key not in linked]
        if changed:
            raise CreamError(
                f"the run cannot go on as it began: {changed[0]} and what follows would differ, because a data file, "
                "the model folder or cream-tui itself has changed since",
                hint="bring back what was changed, or start a new run",
            )

    def _check_files(self, spec: StageSpec) -> None:
        """Refuse a stage whose files are not those of its key: what they hold now would be stored as what they held."""
        if spec.reads_files:
            self._check_plan([now for now in plan_row(self.run) if now.label == spec.label])

    def _start_fork_server(self) -> ForkServerContext:
        """Return once the libraries are loaded, so that no stage's time holds the import.

        Raises:
            BackendError: a library cannot be imported; the server itself would swallow that.
            Interrupted: a stop was asked for meanwhile.
        """
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # trl would tell the hub of every training
        adapter = json.loads(self.run.config_json).get("adapter")
        preload = PRELOAD_QUANTISED if adapter and adapter["kind"] == "qlora" else PRELOAD
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([preload])
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=report_import, args=(preload, sender))
        forkserver.ensure_running()
        starter = threading.Thread(target=_start_when_loaded, args=(process, sender), daemon=True)
        starter.start()
        while not receiver.poll(POLL_S):
            if self.stop.is_set() or self.lost.is_set():
                _end_loading(starter)
                self._check_stop()
        starter.join()
        try:
            error: str | None = receiver.recv()
            process.join()
        except EOFError:
            if self.stop.wait(TERM_WAIT_S):  # the signal that ended it may be one to the whole job
                self._check_stop()
            error = "the process that loads them was killed; memory may have run out"
        if error is not None:
            raise BackendError(f"the libraries cannot be loaded: {error}", hint="install the pinned versions again")
        return context

    def _run_all(self, specs: Sequence[StageSpec]) -> None:
        rows = self._read_stages()
        stages = {row.key: row.stage_id for row in rows}
        # A run of which others have computed everything loads no library.
        context = None if all(row.state == "done" for row in rows) else self._start_fork_server()
        left = list(specs)
        done: set[str] = set()
        while left:
            self._check_stop()
            is_progress = False
            for spec in [spec for spec in left if spec.needs <= done]:
                self._check_files(spec)
                claim = claim_stage(
                    self.store, stages[spec.key], run_id=self.run.run_id, token=self.lease.token, is_alive=is_alive
                )
                if claim.status == "wait":
                    continue
                if claim.status == "claimed":
                    context = context or self._start_fork_server()
                    self._run_stage(spec, stages, context)
                done.add(spec.key)
                left.remove(spec)
                is_progress = True
                break
            if not is_progress:
                time.sleep(WAIT_S)

    def _run_stage(self, spec: StageSpec, stages: dict[str, int], context: ForkServerContext) -> None:
        stage_id = stages[spec.key]
        for shrink in SHRINKS:
            outcome = self._run_attempt(spec, stages, context, shrink)
            if outcome.exit_code != ExitCode.OUT_OF_MEMORY:
                break
        if outcome.exit_code == ExitCode.DONE:
            finish_stage(self.store, stage_id, self.lease.token)
            return
        if outcome.exit_code == ExitCode.LEASE_LOST:
            raise LeaseLostError(outcome.error or "another process has taken over")
        if outcome.exit_code == ExitCode.INTERRUPTED and outcome.error is None:
            release_stage(self.store, stage_id, self.lease.token)
            raise Interrupted("stopped on request")
        error = f"{spec.label}: {outcome.error}"
        fail_stage(self.store, stage_id, self.lease.token, error)
        raise StageFailed(error, ExitCode(outcome.exit_code))

    def _run_attempt(
        self, spec: StageSpec, stages: dict[str, int], context: ForkServerContext, shrink: int
    ) -> StageOutcome:
        stage_id = stages[spec.key]
        attempt = start_attempt(self.store, stage_id, self.run.run_id)
        log = self.store.paths.attempt_log(self.run.run_id, attempt.number)
        task = StageTask(
            root=str(self.store.paths.root),
            run_id=self.run.run_id,
            token=self.lease.token,
            stage_id=stage_id,
            spec=spec,
            stage_ids={key: stages[key] for key in spec.needs},
            base_folder=self.run.base_folder,
            log_path=str(log),
            shrink=shrink,
        )
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=run_stage_process, args=(task, sender), daemon=False)
        process.start()
        sender.close()
        try:
            if process.pid is not None:
                set_attempt_pid(self.store, attempt.attempt_id, process.pid)
            while not receiver.poll(POLL_S) and process.is_alive():
                if self.stop.is_set() or self.lost.is_set():
                    _end(process)
                    break
            outcome = self._collect(process, receiver, log)
        finally:
            _end(process)  # also where the store failed meanwhile: a worker must not go on without its supervisor
        error = (
            outcome.error if shrink == 1 or outcome.error is None else f"{outcome.error} (batches divided by {shrink})"
        )
        finish_attempt(
            self.store,
            attempt.attempt_id,
            exit_code=outcome.exit_code,
            error=error,
            peak_rss_bytes=outcome.peak_rss_bytes,
            peak_gpu_bytes=outcome.peak_gpu_bytes,
            compute_s=outcome.compute_s,
        )
        return outcome

    def _collect(self, process: multiprocessing.process.BaseProcess, receiver: Connection, log: Path) -> StageOutcome:
        try:
            outcome: StageOutcome | None = receiver.recv() if receiver.poll() else None
        except EOFError:
            outcome = None
        process.join()
        if self.lost.is_set():
            return StageOutcome(ExitCode.LEASE_LOST, "another process has taken over this run")
        if outcome is not None:
            if outcome.exit_code == ExitCode.UNEXPECTED:
                return replace(outcome, error=f"{outcome.error}\nthe log: {log}")
            return outcome
        if self.stop.is_set():
            return StageOutcome(ExitCode.INTERRUPTED, None)
        code = process.exitcode or 0
        # Who ends a whole job signals its processes in any order; our own TERM may be a moment behind the worker's.
        if code in TERMINATED and self.stop.wait(TERM_WAIT_S):
            return StageOutcome(ExitCode.INTERRUPTED, None)
        cause = f"killed by {name_signal(code)}" if code < 0 else f"ended with exit code {code}"
        hint = "; the system may have run out of memory" if code == -signal.SIGKILL else ""
        return StageOutcome(ExitCode.UNEXPECTED, f"the stage's process was {cause}{hint}\nthe log: {log}")

    def _check_stop(self) -> None:
        if self.lost.is_set():
            raise LeaseLostError("another process has taken over this run")
        if self.stop.is_set():
            raise Interrupted("stopped on request")

    def _read_stages(self) -> list[StageRow]:
        with closing(open_reader(self.store.paths.root)) as reader:
            return read_run_stages(reader, self.run.run_id)


class StageFailed(Exception):
    """A stage ended with an error; the message is the user's."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


def main(root: str, run_id: str) -> int:
    """Run a run to its end in this process; return its exit code."""
    store = open_store(Path(root))
    with closing(open_reader(Path(root))) as reader:
        run = find_run(reader, run_id)
    supervisor = Supervisor(store, run)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: supervisor.stop.set())
    acquire_lease(store, supervisor.lease, is_alive=is_alive)
    threading.Thread(target=supervisor.keep_lease, daemon=True).start()
    try:
        state, code, error = supervisor.work()
        supervisor.ended.set()
        end_fork_server()
        release_lease(store, run_id, supervisor.lease.token, state=state, exit_code=int(code), error=error)
    except LeaseLostError as lost:
        print(lost.message, file=sys.stderr)
        return int(ExitCode.LEASE_LOST)
    except StoreError as fault:  # the end itself could not be written; the run shows as stale and can be resumed
        print(_join(fault), file=sys.stderr)
        return int(ExitCode.INTERRUPTED)
    if error:
        print(error, file=sys.stderr)
    return int(code)


def _start_when_loaded(process: multiprocessing.process.BaseProcess, sender: Connection) -> None:
    """Start a process with this end of a pipe: the fork server takes it once the libraries are loaded."""
    with closing(sender), suppress(EOFError, ConnectionError):  # the server was ended before
        process.start()


def _end_loading(starter: threading.Thread) -> None:
    """End the fork server while a thread waits for it; also one that the thread has just started in its place."""
    while starter.is_alive():
        pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        starter.join(POLL_S)


def end_fork_server() -> None:
    """End the fork server and wait for it, so that a run that says it is over has no process left but this one."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # there is no public way; it ends at exit otherwise


def _join(error: StoreError) -> str:
    return error.message if error.hint is None else f"{error.message}\n{error.hint}"


def _end(process: multiprocessing.process.BaseProcess) -> None:
    process.terminate()
    process.join(STOP_GRACE_S)
    if process.is_alive():
        process.kill()
        process.join()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
