"""Wall time of `cream-tui demo`, time to the first result, and the share of time outside the stages' computing.

    python benchmarks/demo.py [--quick]

A run's time is covered where one of its own stages computes, or a stage that it shares is computed by the other run.
What is left, without the one import of the libraries, is the outside: process starts, claims, polling.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from db.queries import read_attempts, read_run_stages, read_runs
from db.reading import open_reader
from db.rows import AttemptRow


def measure(root: Path, *, is_quick: bool) -> dict[str, float]:
    """Run the demo into a fresh store; return seconds and shares."""
    started = time.time()
    options = ["--quick"] if is_quick else []
    command = [sys.executable, "-P", "-m", "cream_tui", "demo", "--store", str(root), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall = time.time() - started
    with closing(open_reader(root)) as reader:
        runs = read_runs(reader)
        attempts = {run.run_id: read_attempts(reader, run.run_id) for run in runs}
        stages = {run.run_id: read_run_stages(reader, run.run_id) for run in runs}
    everything = [attempt for found in attempts.values() for attempt in found]
    first = min(attempt.finished_at or started for attempt in everything) - started
    # Both supervisors load the libraries at once; the one that takes the first stage shows how long that took.
    import_s = min(attempts[run.run_id][0].started_at - (run.started_at or started) for run in runs)
    outside = []
    for run in runs:
        linked = {stage.stage_id for stage in stages[run.run_id]}
        covered = merge([interval(a) for a in everything if a.stage_id in linked])
        total = (run.finished_at or 0) - (run.started_at or 0) - import_s
        outside.append((total - covered) / total)
    return {
        "wall_s": wall,
        "first_result_s": first,
        "import_s": import_s,
        "outside_share": max(outside),
    }


def interval(attempt: AttemptRow) -> tuple[float, float]:
    """When an attempt computed; its process start lies before."""
    end = attempt.finished_at or 0.0
    return end - (attempt.compute_s or 0.0), end


def merge(intervals: list[tuple[float, float]]) -> float:
    """Length of the union of intervals, seconds."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def main() -> None:
    """Print one line of figures and one of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder) / "store", is_quick=options.quick)
    print("  ".join(f"{name} {value:.2f}" for name, value in figures.items()))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
