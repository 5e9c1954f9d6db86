"""Reads the numbers of a comparison again and again, but every point only once.

Knows db and the pure views. Must not know Textual. Not for two threads at a time.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass

from cream_tui.views.compare import (
    Metric,
    MetricValue,
    collect_best_values,
    collect_last_values,
    find_direction,
    order_metrics,
)
from cream_tui.views.compare_series import build_curve_points, drop_sft
from cream_tui.views.series import Points, Timeline, build_timeline, merge_points
from db.compare_reads import RunCost, read_curve, read_last_values, read_run_costs, read_value_ranges
from db.queries import read_run_stages, read_runs
from db.reading import snapshot
from db.rows import RunRow, StageRow
from db.run_series import read_series

# Every statement waits for its turn while the main thread works; at the usual 5 ms sixty of them take 0.3 s.
_SHORT_TURN_S = 0.0005
Values = Mapping[str, Mapping[Metric, MetricValue]]


@dataclass(frozen=True, slots=True)
class CompareWant:
    """What is to be read.

    Attributes:
        charted: Metrics whose points are wanted.
        has_times: Whether the points need their times.
        has_table: Whether last values and costs are wanted, too; without them a first chart comes sooner.
        has_best: Whether best values are.
        has_models: Whether the points of all metrics that describe models are.
    """

    run_ids: tuple[str, ...]
    charted: tuple[Metric, ...]
    has_times: bool = False
    has_table: bool = True
    has_best: bool = False
    has_models: bool = False


@dataclass(frozen=True, slots=True)
class CompareData:
    """What was read. ``runs`` are those of the wish that exist, in its order; ``newest`` are the newest of the store.

    Attributes:
        points: By run id and metric.
        progress: The stages of all runs with their states.
        best: Best values, where they were wanted; metrics without a better side have none.
    """

    runs: tuple[RunRow, ...]
    newest: tuple[RunRow, ...]
    timelines: Mapping[str, Timeline]
    points: Mapping[tuple[str, Metric], Points]
    progress: tuple[tuple[int, str], ...]
    metrics: tuple[Metric, ...] = ()
    last: Values | None = None
    best: Values | None = None
    costs: Mapping[str, RunCost] | None = None

    @property
    def pinned_id(self) -> str | None:
        """The pinned run of the store, compared or not."""
        return next((run.run_id for run in self.newest if run.is_baseline), None)


class CompareReader:
    """Keeps the points that were wanted last, and reads only what has been added to them."""

    def __init__(self) -> None:
        self._ahead: tuple[CompareWant, Future[CompareData | None]] | None = None
        self._points: dict[tuple[str, Metric, bool], tuple[object, Points]] = {}

    def read_ahead(
        self, borrow: Callable[[], AbstractContextManager[sqlite3.Connection | None]], want: CompareWant
    ) -> None:
        """Begin to read the wish in a thread of its own; the next ``read`` of the same wish takes what it found.

        Args:
            borrow: Lends a connection.
        """

        def work() -> CompareData | None:
            usual = sys.getswitchinterval()
            sys.setswitchinterval(_SHORT_TURN_S)
            try:
                with borrow() as connection:
                    return None if connection is None else self._read(connection, want)
            finally:
                sys.setswitchinterval(usual)

        executor = ThreadPoolExecutor(1)
        self._ahead = want, executor.submit(work)
        executor.shutdown(wait=False)

    def read(self, c: sqlite3.Connection, want: CompareWant) -> CompareData:
        """Read the wish in one state of the store."""
        ahead, self._ahead = self._ahead, None
        data = ahead[1].result() if ahead is not None else None
        return data if data is not None and ahead is not None and ahead[0] == want else self._read(c, want)

    def _read(self, c: sqlite3.Connection, want: CompareWant) -> CompareData:
        with snapshot(c):
            known = read_runs(c)
            by_id = {run.run_id: run for run in known}
            runs = tuple(by_id[run_id] for run_id in want.run_ids if run_id in by_id)
            stages = {run.run_id: read_run_stages(c, run.run_id) for run in runs}
            last = collect_last_values(read_last_values(c, [run.run_id for run in runs])) if want.has_table else None
            metrics = order_metrics(metric for found in (last or {}).values() for metric in found)
            wanted = dict.fromkeys(want.charted)
            if want.has_models:
                wanted |= dict.fromkeys(metric for metric in metrics if metric[0] != "train")
            return CompareData(
                runs=runs,
                newest=tuple(reversed(known)),
                timelines={run_id: build_timeline(own) for run_id, own in stages.items()},
                points=self._read_all_points(c, stages, list(wanted), has_times=want.has_times),
                progress=tuple((found.stage_id, found.state) for own in stages.values() for found in own),
                metrics=tuple(metrics),
                last=last,
                best=self._read_best(c, runs, metrics) if want.has_best else None,
                costs=read_run_costs(c, [run.run_id for run in runs]) if want.has_table else None,
            )

    def _read_all_points(
        self,
        c: sqlite3.Connection,
        stages: Mapping[str, Sequence[StageRow]],
        metrics: Sequence[Metric],
        *,
        has_times: bool,
    ) -> dict[tuple[str, Metric], Points]:
        found = {}
        for metric in metrics:
            for run_id, own in stages.items():
                found[run_id, metric] = self._read_points(c, run_id, own, metric, has_times=has_times)
        for key in [key for key in self._points if key[:2] not in found or key[2] != has_times]:
            del self._points[key]
        return found

    def _read_points(
        self, c: sqlite3.Connection, run_id: str, stages: Sequence[StageRow], metric: Metric, *, has_times: bool
    ) -> Points:
        """Rows and counters of a stage are committed together: where no counter has moved there is no new row."""
        stage, name = metric
        signature = _sign([own for own in stages if own.name == stage])
        key = (run_id, metric, has_times)
        known = self._points.get(key)
        if known is not None and known[0] == signature:
            return known[1]
        if known is None:
            points = build_curve_points(read_curve(c, run_id, stage, name, has_times=has_times))
        else:
            added = read_series(c, run_id, name, stage=stage, after=known[1].cursor)
            points = drop_sft(merge_points(known[1], added), stage)
        self._points[key] = (signature, points)
        return points

    def _read_best(self, c: sqlite3.Connection, runs: Sequence[RunRow], metrics: Sequence[Metric]) -> Values:
        directed = [metric for metric in metrics if find_direction(metric[1])]
        return collect_best_values(read_value_ranges(c, [run.run_id for run in runs], directed))


def _sign(stages: Sequence[StageRow]) -> tuple[object, ...]:
    return tuple((own.stage_id, own.state, own.n_done, own.n_attempts, own.finished_at) for own in stages)
