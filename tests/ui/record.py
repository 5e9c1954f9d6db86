"""Makes the recorded store of the app's tests and pictures: ``python tests/ui/record.py``, a few minutes.

Every row is the engine's own: two arms on shared stages, two more seeds, a fork, a run that failed and one that was
stopped. Checkpoints and logs stay out, but for the failed run's; the file is small enough to be kept beside the tests.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from driving import INSTALLED

from cream_tui.shell.actions import call_command

FOLDER = Path(__file__).parent / "recorded"
CHECKOUT = Path(__file__).resolve().parents[2]
# A learning rate at which a dozen steps a training show what the sandbox shows at full size.
SMALL = ("data.prompts_per_iteration=120", "evaluation.items=200", "training.learning_rate=3e-4")
SLOW = ("data.prompts_per_iteration=400", "evaluation.items=200")


def main() -> int:
    """Record, then put the store in its place."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "store"
        for seed in (0, 1, 2):
            for method in ("srlm", "cream"):
                name = f"{method}-seed{seed}"
                _run(root, "run", "sandbox", "--method", method, "--seed", str(seed), "--name", name, *_set(SMALL))
        _run(root, "mark", "srlm-seed0", "--tag", "demo", "--tag", "baseline", "--pin")
        _run(root, "mark", "cream-seed0", "--tag", "demo", "--note", "first look; the labels get worse from M2 on")
        words = ("--at", "M2", "--set", "training.beta=0.5", "--name", "cream-beta0.5", "--tag", "sweep")
        _run(root, "fork", "cream-seed0", *words)
        too_much = ("training.learning_rate=1e9", "training.max_grad_norm=1e9")
        _run(root, "run", "sandbox", "--name", "too-fast", *_set(SMALL + too_much), expected=1)
        _run(root, "run", "sandbox", "--name", "stopped-early", "--seed", "3", *_set(SLOW), "--detach")
        _wait_for_a_stage(root, "stopped-early")
        _run(root, "stop", "stopped-early")
        _keep(root)
    return 0


def _set(changes: tuple[str, ...]) -> list[str]:
    return [word for change in changes for word in ("--set", change)]


def _run(root: Path, *words: str, expected: int = 0) -> None:
    began = time.monotonic()
    outcome = call_command(words, root)
    print(f"{time.monotonic() - began:5.1f} s  {' '.join(words)}", flush=True)
    if outcome.code != expected:
        sys.exit(f"exit code {outcome.code}: {outcome.stderr}")


def _wait_for_a_stage(root: Path, name: str) -> None:
    while not any(stage["state"] == "done" for stage in json.loads(_ask(root, "show", name, "--json"))["stages"]):
        time.sleep(0.2)


def _ask(root: Path, *words: str) -> str:
    return call_command(words, root).stdout


def _keep(root: Path) -> None:
    """Put the store into its place, without the places of the machine on which it was made."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    places = {str(root): "/data/store", str(CHECKOUT): str(INSTALLED)}
    with closing(sqlite3.connect(root / "cream.db")) as connection:
        connection.execute("VACUUM INTO ?", (str(FOLDER / "cream.db"),))
        (run_id,) = connection.execute("SELECT run_id FROM run WHERE name = 'too-fast'").fetchone()
    with closing(sqlite3.connect(FOLDER / "cream.db")) as connection, connection:
        for place, name in places.items():
            for table, column in (("run", "error"), ("stage", "error"), ("attempt", "error"), ("run", "base_folder")):
                connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (place, name))
        connection.execute("UPDATE run SET provenance_json = json_set(provenance_json, '$.system', 'Linux')")
    with closing(sqlite3.connect(FOLDER / "cream.db", isolation_level=None)) as connection:
        connection.execute("VACUUM")  # a replaced text must not stay in a free page
    shutil.copytree(root / "runs" / run_id, FOLDER / "runs" / run_id)
    for log in FOLDER.rglob("*.log"):
        text = log.read_text(encoding="utf-8")
        for place, name in places.items():
            text = text.replace(place, name)
        log.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
