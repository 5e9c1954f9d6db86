"""The detached process of a study: starts its runs in turn, as many at once as may work, and records what cannot start.

Never imports torch. Runs have supervisors of their own, which share stages without knowing of the study; they go on if
this process is killed. Start: ``python -P -m engine.runtime.study_runner STORE STUDY_ID``.
"""

from __future__ import annotations

import signal
import sqlite3
import sys
import threading
import time
import traceback
from contextlib import closing, suppress
from pathlib import Path

from db.errors import LeaseHeldError, LeaseLostError, RunNotFoundError, StoreError, StoreFullError
from db.queries import find_run, read_lease
from db.reading import open_reader, snapshot
from db.rows import Lease, RunRow
from db.run_queue import read_queue
from db.session import Store, open_store
from db.studies import (
    StudyArm,
    StudyRow,
    read_arm_configs,
    read_run_keys,
    read_studies_of_runs,
    read_study,
    read_study_arms,
)
from db.study_writes import acquire_study_lease, release_study_lease, renew_study_lease, set_arm_error, set_arm_run
from db.writes import mark_run_stopped
from engine.backends import list_gpus
from engine.config.load import compute_config_digest, config_from_json
from engine.config.run import RunConfig
from engine.errors import CreamError, ExitCode
from engine.runtime.capacity import count_slots, find_free_gpu, spreads_over_gpus, uses_gpu
from engine.runtime.control import resume_run, start_run
from engine.runtime.detached import START_TIMEOUT_S, Flag, keep_lease
from engine.runtime.process import build_lease, is_alive
from engine.runtime.sampling_backend import resolve_backend
from engine.runtime.study_control import find_arm_run, one_at_a_time, stop_runs
from engine.runtime.study_plan import list_stage_keys

POLL_S = 0.2
START_LIMIT_S = 2 * START_TIMEOUT_S  # who starts a run waits for half of this, and then says why it did not begin
GONE = "its process was killed or lost; what it had written is kept"


class StudyRunner:
    """Works through one study under one lease."""

    def __init__(self, store: Store, study: StudyRow, configs: dict[int, RunConfig]) -> None:
        self.store = store
        self.root = store.paths.root
        self.study = study
        self.configs = configs
        self.lease = build_lease(study.study_id)
        self.stop = Flag()
        self.lost = Flag()
        self.begun: set[int] = set()  # positions of arms that this process has started, or found at work
        self.starting: dict[str, float] = {}  # since when runs are queued without a process

    def work(self) -> None:
        """Return once each arm has had its turn, or all were stopped.

        Raises:
            StoreError: nothing more can be written.
        """
        with closing(open_reader(self.root)) as reader:
            n_slots = count_slots(self.configs.values(), asked=self.study.jobs)
            self._link_live(reader)
            while not self.lost.is_set():
                study = read_study(reader, self.study.study_id)
                if study is not None and study.jobs != self.study.jobs:
                    self.study, n_slots = study, count_slots(self.configs.values(), asked=study.jobs)
                arms, going = self._look(reader)
                self.begun |= going
                if self.stop.is_set():
                    stop_runs(self.root, arms)
                    return
                left = [arm for arm in arms if arm.position not in self.begun and arm.state != "done"]
                if not left and not going:
                    return
                may_begin = bool(left) and len(going) < self.study.jobs
                if not may_begin or not self._begin_if_free(reader, left[0], n_slots):
                    self.stop.wait(POLL_S)
        raise LeaseLostError("another process has taken over this study")

    def keep_lease(self) -> None:
        """Renew the lease every second; set ``stop`` or ``lost`` when the store says so."""
        keep_lease(
            lambda: renew_study_lease(self.store, self.study.study_id, self.lease.token, time.time()),
            stop=self.stop,
            lost=self.lost,
        )

    def _link_live(self, reader: sqlite3.Connection) -> None:
        """Take back the runs that go on although a runner was killed before it had noted them."""
        for arm in read_study_arms(reader, self.study.study_id):
            if arm.run_id is None:
                with suppress(CreamError):  # told in the arm's turn
                    run = find_unlinked_run(reader, arm, self.configs[arm.position])
                    lease = None if run is None else read_lease(reader, run.run_id)
                    if lease is not None and is_alive(lease):
                        set_arm_run(self.store, self.study.study_id, arm.position, lease.run_id)

    def _look(self, reader: sqlite3.Connection) -> tuple[list[StudyArm], set[int]]:
        """Return the arms and the positions of those that go on; a run of ours that has lost its process has failed."""
        arms, going, dead = self._read(reader)
        if dead:
            arms, going, dead = self._read(reader)  # it may have ended well between the row and the look at its process
            for run_id in dead:
                mark_run_stopped(self.store, run_id, "failed", GONE)
            arms, going, _ = self._read(reader)
        return arms, going

    def _read(self, reader: sqlite3.Connection) -> tuple[list[StudyArm], set[int], list[str]]:
        """Return the arms, the positions of those with a process, or one that is being started, and our dead runs."""
        with snapshot(reader):
            arms = read_study_arms(reader, self.study.study_id)
            runs = {arm.run_id: arm for arm in arms if arm.run_id is not None and arm.state in ("queued", "running")}
            leases = {run_id: read_lease(reader, run_id) for run_id in runs}
        now = time.monotonic()
        waiting = [run_id for run_id, arm in runs.items() if arm.state == "queued" and leases[run_id] is None]
        self.starting = {run_id: self.starting.get(run_id, now) for run_id in waiting}
        going: set[int] = set()
        dead: list[str] = []
        for run_id, arm in runs.items():
            lease, since = leases[run_id], self.starting.get(run_id)
            is_ours = arm.position in self.begun
            is_starting = is_ours and since is not None and now - since < START_LIMIT_S
            if is_starting or (lease is not None and is_alive(lease)):
                going.add(arm.position)
            elif is_ours:
                dead.append(run_id)
        return arms, going, dead

    def _begin_if_free(self, reader: sqlite3.Connection, arm: StudyArm, n_slots: int) -> bool:
        """Start or resume an arm's run where the machine has room for it; whether it had."""
        config = self.configs[arm.position]
        with one_at_a_time(self.root, "admission"):
            working = _list_working(reader, self.lease.host)
            if len(working) >= n_slots:
                return False
            gpu = None
            if uses_gpu(config) and not spreads_over_gpus(config):
                gpu = find_free_gpu(list_gpus(), [lease for lease in working if is_on_gpu(reader, lease.run_id)])
                if gpu is None:
                    return False
            self.begun.add(arm.position)
            self._begin(reader, arm, config, gpu)
            return True

    def _begin(self, reader: sqlite3.Connection, arm: StudyArm, config: RunConfig, gpu: str | None) -> None:
        study_id = self.study.study_id
        try:
            run = find_arm_run(self.root, arm) or find_unlinked_run(reader, arm, config)
            if run is None:
                run = start_run(self.root, config, gpus=gpu)
            else:
                with suppress(LeaseHeldError):  # somebody else has just resumed it
                    resume_run(self.root, run, gpus=gpu)
            set_arm_run(self.store, study_id, arm.position, run.run_id)
        except StoreFullError:
            raise
        except (CreamError, StoreError) as error:
            message = error.message if error.hint is None else f"{error.message}\n{error.hint}"
            set_arm_error(self.store, study_id, arm.position, message)


def find_unlinked_run(reader: sqlite3.Connection, arm: StudyArm, config: RunConfig) -> RunRow | None:
    """Return a run of this arm's name, settings and stages that no study has; None where there is none.

    A runner that was killed has not noted it, or the arm was taken out of the study for a while.
    """
    try:
        run = find_run(reader, arm.run_name)
    except RunNotFoundError:
        return None
    config = resolve_backend(config)
    is_same = run.name == arm.run_name and run.config_digest == compute_config_digest(config)
    is_own = run.parent_run_id is None and run.reuse and run.run_id not in read_studies_of_runs(reader)
    if not (is_same and is_own):
        return None
    # Files that it read may have changed since.
    return run if tuple(read_run_keys(reader, run.run_id)) == list_stage_keys(config) else None


def _list_working(reader: sqlite3.Connection, host: str) -> list[Lease]:
    """Return the leases of the live runs of this host that do not wait for their turn."""
    leases = [entry.lease for entry in read_queue(reader) if entry.state == "running"]
    return [lease for lease in leases if lease is not None and lease.host == host and is_alive(lease)]


def is_on_gpu(reader: sqlite3.Connection, run_id: str) -> bool:
    """Whether a run may compute on a GPU; one whose configuration says nothing of it counts."""
    try:
        return uses_gpu(config_from_json(find_run(reader, run_id).config_json))
    except CreamError:
        return True


def main(root: str, study_id: str) -> int:
    """Run a study to its end in this process; return its exit code."""
    store = open_store(Path(root))
    with closing(open_reader(Path(root))) as reader:
        study = read_study(reader, study_id)
        configs = read_arm_configs(reader, study_id)
    if study is None:
        print(f"study {study_id} is not in the store", file=sys.stderr)
        return int(ExitCode.CONFIGURATION)
    runner = StudyRunner(store, study, {place: config_from_json(text) for place, text in configs.items()})
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: runner.stop.set())
    acquire_study_lease(store, runner.lease, is_alive=is_alive)
    threading.Thread(target=runner.keep_lease, daemon=True).start()
    code, error = ExitCode.DONE, None
    try:
        runner.work()
    except LeaseLostError as lost:
        print(lost.message, file=sys.stderr)
        return int(ExitCode.LEASE_LOST)
    except (CreamError, StoreError) as problem:
        code, error = ExitCode.CONFIGURATION, problem.message
    except Exception as problem:
        traceback.print_exc()
        code, error = ExitCode.UNEXPECTED, f"unexpected {type(problem).__name__}: {problem}"
    try:
        release_study_lease(store, study_id, runner.lease.token, error=error)
    except StoreError as fault:  # the end could not be written; the study shows as stale and can be resumed
        print(fault.message, file=sys.stderr)
        return int(ExitCode.INTERRUPTED)
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
