"""How long the command line takes to answer: ``cream-tui --help``, and ``cream-tui ls`` in a store of 1,000 runs.

    python benchmarks/startup.py

Whole processes, as a shell starts them; ``python -c pass`` is the floor. Each run of the store has all stages of the
shipped config; those whose accuracies and agreements ``ls`` shows are done. Also names the heavy modules that were
loaded: there should be none. A minute and a half, nearly all of it for making the store.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from db import writes
from db.queries import read_run_stages
from db.reading import open_reader
from db.rows import Lease, MetricRow, NewRun, NewStage
from db.session import open_store
from engine.config.load import load_run_config
from engine.plan import Segment, plan_run

TARGETS_MS = {"--help": 250, "ls": 600}
HEAVY = ("torch", "transformers", "trl", "datasets", "sqlmodel", "sqlalchemy", "textual", "pydantic", "numpy", "scipy")
METRICS = {"evaluate": ("accuracy",), "agree": ("consistency_rate", "tau_previous", "tau_anchor")}
LIST_MODULES = """
import sys
from cream_tui.cli import main
sys.argv = ["cream-tui", *sys.argv[1:]]
try:
    main()
finally:
    print(*{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""


def main() -> None:
    """Make the store, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=11)
    arguments = parser.parse_args()
    program = str(Path(sys.executable).with_name("cream-tui"))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        fill_store(Path(folder) / "store", arguments.runs)
        print(f"{arguments.runs} runs written in {time.perf_counter() - start:.0f} s", file=sys.stderr)
        store = ["--store", str(Path(folder) / "store")]
        medians = measure(
            {
                "python -c pass": [sys.executable, "-c", "pass"],
                "--help": [program, "--help"],
                "ls": [program, "ls", *store],
            },
            repeats=arguments.repeats,
        )
        heavy = {"--help": list_heavy(["--help"]), "ls": list_heavy(["ls", *store])}
    print(f"{'':14}  {'median ms':>9}  {'target':>6}  heavy modules")
    for name, median in medians.items():
        print(f"{name:14}  {median:9.0f}  {TARGETS_MS.get(name, ''):>6}  {' '.join(heavy.get(name, [])) or 'none'}")
    facts = {
        "n_runs": arguments.runs,
        "median_ms": {name: round(median) for name, median in medians.items()},
        "ratio_to_target": {name: round(medians[name] / target, 2) for name, target in TARGETS_MS.items()},
        "heavy_modules": heavy,
        "load": round(os.getloadavg()[0], 1),
        "n_cpus": os.cpu_count(),
    }
    print(json.dumps({"benchmark": "startup", **facts}))


def measure(commands: dict[str, list[str]], *, repeats: int) -> dict[str, float]:
    """Return the median wall milliseconds of each command, run in turn; a first turn is not counted."""
    found: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(repeats + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            if turn:
                found[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in found.items()}


def list_heavy(arguments: Sequence[str]) -> list[str]:
    """Return the heavy modules that a command loads."""
    command = [sys.executable, "-P", "-c", LIST_MODULES, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return sorted(set(HEAVY) & set(done.stderr.split()))


def fill_store(root: Path, n_runs: int) -> None:
    """Write runs that differ in their seed, through the functions that every run uses."""
    config = load_run_config("sandbox")
    store = open_store(root)
    with closing(open_reader(root)) as reader:
        for seed in range(n_runs):
            stages = plan_run([Segment(config.model_copy(update={"seed": seed}), None)], base_digest="m0")
            new = NewRun(
                name=config.name,
                method=config.method.name,
                seed=seed,
                iterations=config.iterations,
                config_json=config.model_dump_json(),
                config_digest=f"digest-{seed}",
                lineage_json="[]",
                base_folder="/models/m0",
                base_digest="m0",
                provenance_json="{}",
            )
            planned = [NewStage(key=s.key, name=s.name, iteration=s.iteration, label=s.label) for s in stages]
            run = writes.create_run(store, new, planned)
            lease = Lease(run.run_id, "t", pid=1, pid_started_at=1.0, host="benchmark", heartbeat_at=time.time())
            writes.acquire_lease(store, lease, is_alive=lambda _: False)
            for stage in read_run_stages(reader, run.run_id):
                if stage.state == "done" or stage.name not in METRICS:  # done: shared with an earlier run
                    continue
                writes.claim_stage(store, stage.stage_id, run_id=run.run_id, token="t", is_alive=lambda _: False)
                rows = [MetricRow(name, 0, 0.5) for name in METRICS[stage.name]]
                writes.write_stage_rows(store, stage.stage_id, "t", rows, n_done=1, n_total=1, unit="items")
                writes.finish_stage(store, stage.stage_id, "t")
            writes.release_lease(store, run.run_id, "t", state="done", exit_code=0)
    store.close()


if __name__ == "__main__":
    main()
