"""The process that mirrors a run's metrics to one tracker: it reads rows and harms nothing.

A supervisor starts one for each name in ``report_to``, the command ``mirror`` one at a time. What was sent is noted in
the run's folder, so that a resumed run goes on where the last mirror ended; a step that a training replays is sent
once. Knows the store's rows. Must not know any tracker: that is ``engine.runtime.trackers``. Start:
``python -P -m engine.runtime.mirror STORE RUN_ID TRACKER``.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TextIO

from db.errors import StoreError
from db.paths import StorePaths
from db.queries import find_run, read_lease, read_run_metrics, read_run_stages
from db.reading import open_reader, snapshot
from db.rows import RunMetric, RunRow
from engine.config.load import config_from_json
from engine.config.tracking import check_trackers
from engine.errors import BackendError, ConfigError, CreamError, ExitCode
from engine.runtime.points import build_points
from engine.runtime.process import is_alive
from engine.runtime.redaction import hide_secrets
from engine.runtime.trackers import MirroredRun, TrackerLink, open_tracker

POLL_S = 1.0
LOCK_S = 10.0  # how long a mirror of the run's former supervisor may take to end
RETRY_S = (1.0, 4.0)  # waits after which what a tracker refused is sent again
CHUNK = 500  # metrics between two notes of what was sent


@dataclass(slots=True)
class Progress:
    """What a tracker has, and where; ``last_steps`` by label of the stage and name of the metric."""

    metric_id: int = 0
    remote_id: str | None = None
    place: str | None = None
    last_steps: dict[str, int] = field(default_factory=dict)

    def take(self, metrics: Sequence[RunMetric]) -> list[RunMetric]:
        """Note these as sent and return those that were not sent before: a replayed step comes again."""
        fresh = []
        for metric in metrics:
            series = f"{metric.label}/{metric.name}"
            if metric.step > self.last_steps.get(series, -1):
                self.last_steps[series] = metric.step
                fresh.append(metric)
            self.metric_id = max(self.metric_id, metric.metric_id)
        return fresh

    def copy(self) -> Progress:
        return replace(self, last_steps=dict(self.last_steps))


class Mirror:
    """Follows one run until it is over, or its supervisor another, and sends what it reports."""

    def __init__(self, paths: StorePaths, run_id: str, tracker: str) -> None:
        self.paths = paths
        self.run_id = run_id
        self.tracker = tracker
        self.n_sent = 0
        folder = paths.run_folder(run_id) / "trackers"
        self.note = folder / f"{tracker}.json"
        self.log = folder / f"{tracker}.log"
        self.lock = folder / f"{tracker}.lock"
        folder.mkdir(parents=True, exist_ok=True)

    def follow(self) -> str:
        """Send until the run is over; return where a person finds it.

        Raises:
            BackendError: the tracker cannot be used; what it has is noted.
        """
        with closing(open_reader(self.paths.root)) as reader, self._hold_lock():
            token = _read_token(reader, self.run_id)
            progress = self._read_note()
            if progress.place is not None and self._has_all(reader, token, progress):
                return progress.place
            link = self._open(find_run(reader, self.run_id), progress)
            progress.remote_id, progress.place = link.remote_id, link.place
            self._write_note(progress)
            state = "running"
            try:
                is_over = False
                while not is_over:
                    state, is_over = _look(reader, self.run_id, token)  # before the rows: none that follows is missed
                    progress = self._send(link, reader, progress)
                    if not is_over:
                        time.sleep(POLL_S)
            finally:
                self._finish(link, state)
        return link.place

    def _has_all(self, reader: sqlite3.Connection, token: str | None, progress: Progress) -> bool:
        """Whether nothing more will come: then the tracker is left alone."""
        _, is_over = _look(reader, self.run_id, token)
        return is_over and not read_run_metrics(reader, self.run_id, after_metric_id=progress.metric_id)

    def _open(self, run: RunRow, progress: Progress) -> TrackerLink:
        facts = {
            "method": run.method,
            "seed": run.seed,
            "run_id": run.run_id,
            "config": json.loads(run.config_json),
            "packages": json.loads(run.provenance_json).get("packages", {}),
        }
        mirrored = MirroredRun(run.run_id, run.name, run.tags, facts, progress.remote_id)
        try:
            return open_tracker(self.tracker, mirrored, self.paths.root / "trackers" / self.tracker)
        except (Exception, SystemExit) as error:  # a tracker's library raises what it likes
            raise self._explain(error) from error

    def _send(self, link: TrackerLink, reader: sqlite3.Connection, progress: Progress) -> Progress:
        """Send what is new; return what the tracker has then."""
        with snapshot(reader):
            metrics = read_run_metrics(reader, self.run_id, after_metric_id=progress.metric_id)
            stages = read_run_stages(reader, self.run_id)
        for start in range(0, len(metrics), CHUNK):
            progress = progress.copy()
            points = build_points(progress.take(metrics[start : start + CHUNK]), stages)
            for wait_s in (*RETRY_S, None):
                try:
                    link.log(points)
                    break
                except Exception as error:  # as above
                    if wait_s is None:
                        raise self._explain(error) from error
                    time.sleep(wait_s)
            self.n_sent += len(points)
            self._write_note(progress)
        return progress

    def _finish(self, link: TrackerLink, state: str) -> None:
        try:
            link.finish(state)
        except Exception:  # noqa: BLE001 - as above; everything was sent
            sys.stderr.write(hide_secrets(traceback.format_exc()))

    def _explain(self, error: BaseException) -> BackendError:
        sys.stderr.write(hide_secrets("".join(traceback.format_exception(error))))
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return BackendError(
            f"{self.tracker}: metrics are not mirrored: {hide_secrets(reason)}",
            hint=f"no run waits for a tracker; `cream-tui mirror {self.run_id} --to {self.tracker}` sends what is "
            f"missing, once it can; the tracker's own words: {self.log}",
        )

    def _read_note(self) -> Progress:
        try:
            return Progress(**json.loads(self.note.read_text()))
        except (OSError, ValueError, TypeError):
            return Progress()

    def _write_note(self, progress: Progress) -> None:
        beside = self.note.with_suffix(".tmp")
        beside.write_text(json.dumps(asdict(progress)))
        os.replace(beside, self.note)

    @contextmanager
    def _hold_lock(self) -> Iterator[None]:
        with self.lock.open("w") as file:
            deadline = time.monotonic() + LOCK_S
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise ConfigError(
                            f"{self.tracker}: another process mirrors this run already", hint="let it end"
                        ) from None
                    time.sleep(0.1)
            yield


def start_mirrors(root: Path, run: RunRow) -> None:
    """Start a mirror for each tracker of the run's ``report_to``; what they say goes to this process's stderr."""
    for tracker in dict.fromkeys(config_from_json(run.config_json).report_to):
        command = [sys.executable, "-P", "-m", "engine.runtime.mirror", str(root), run.run_id, tracker]
        try:
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        except OSError as error:  # no process to be had for a moment: the run is worth more
            sys.stderr.write(f"{tracker}: metrics are not mirrored: {error.strerror}\n")


def _look(reader: sqlite3.Connection, run_id: str, token: str | None) -> tuple[str, bool]:
    """The run's state, and whether it is over or has lost the supervisor that held this token."""
    with snapshot(reader):
        state, lease = find_run(reader, run_id).state, read_lease(reader, run_id)
    if state not in ("queued", "running"):
        return state, True
    return state, lease is None or lease.token != token or not is_alive(lease)


def _read_token(reader: sqlite3.Connection, run_id: str) -> str | None:
    lease = read_lease(reader, run_id)
    return None if lease is None else lease.token


def _redirect(log: Path) -> tuple[TextIO, TextIO]:
    """Send what the tracker's library prints to a file; return the former stdout and stderr."""
    former = tuple(os.fdopen(os.dup(number), "w") for number in (1, 2))
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number in (1, 2):
        os.dup2(descriptor, number)
    os.close(descriptor)
    return former[0], former[1]


def main(root: str, run_id: str, tracker: str) -> int:
    """Mirror a run until it is over; one JSON object on stdout says what came of it, stderr what went wrong."""
    mirror = Mirror(StorePaths(Path(root)), run_id, tracker)
    stdout, stderr = _redirect(mirror.log)
    outcome: dict[str, object] = {}
    try:
        check_trackers([tracker])
        outcome["place"] = mirror.follow()
        code = ExitCode.DONE
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except (CreamError, StoreError) as error:
        outcome = {"message": error.message, "hint": error.hint}
        stderr.write(f"{error.message}\n{error.hint or ''}".rstrip() + "\n")
        code = error.exit_code if isinstance(error, CreamError) else ExitCode.CONFIGURATION
    json.dump(outcome | {"n_points": mirror.n_sent}, stdout)
    for stream in (stdout, stderr):
        stream.close()
    return int(code)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
