"""The app through a pseudo-terminal at 120x40: first paint, charts, overlay, lag, traffic, paging, memory.

    python benchmarks/app.py [--rounds 7] [--wandb PYTHON]

Every figure is taken from outside: the real program, its bytes replayed by a terminal emulator. Cases alternate round
by round, so that a busy neighbour disturbs all alike. ``--wandb`` names the interpreter of an environment with the
wandb package; then W&B LEET is timed in the same rounds on offline runs of the same shape (10 runs, 20 metrics, 10,000
steps), its saved view removed before each.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from pseudo_terminal import PseudoTerminal
from synthetic import write_store

N_RUNS, N_METRICS, N_STEPS, N_PAIRS = 10, 20, 10_000, 100_000
COMMITS, COMMIT_GAP_S = 25, 0.37
LIVE_S, LIVE_HZ = 15.0, 20.0
N_PAGES = 25
_PEER_SCRIPT = """
import os, sys, math, random
os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true")
import wandb
folder, n_runs, n_metrics, n_steps = sys.argv[1], *map(int, sys.argv[2:])
for r in range(n_runs):
    settings = wandb.Settings(x_disable_stats=True, console="off")
    run = wandb.init(project="bench", name=f"run-{r}", dir=folder, settings=settings)
    rng = random.Random(r)
    for step in range(n_steps):
        run.log({f"metric_{k}": math.exp(-3 * step / n_steps) + 0.05 * rng.gauss(0, 1) + k for k in range(n_metrics)})
    run.finish()
"""


def has_curve(text: str) -> bool:
    """Whether Braille dots of a chart stand on the screen."""
    return sum("\u2801" <= letter <= "\u28ff" for letter in text) > 30


class Bench:
    """Stores, ways to start the programs, and what was measured, by case."""

    def __init__(self, folder: Path, peer: Path | None) -> None:
        self.folder = folder
        self.peer = peer
        self.store = folder / "curves"
        self.names = write_store(self.store, N_RUNS, n_metrics=N_METRICS, n_steps=N_STEPS, n_pairs=600)
        self.pair_store = folder / "pairs"
        self.pair_run = write_store(self.pair_store, 1, n_metrics=2, n_steps=100, n_pairs=N_PAIRS)[0]
        self.peer_folder = folder / "peer"
        self.seconds: dict[str, list[float]] = {}
        self.peak_bytes: dict[str, int] = {}
        if peer is not None:
            self.peer_folder.mkdir()
            words = [str(self.peer_folder), str(N_RUNS), str(N_METRICS), str(N_STEPS)]
            subprocess.run([str(peer), "-c", _PEER_SCRIPT, *words], check=True)

    def open(self, *words: str, store: Path | None = None) -> PseudoTerminal:
        """Start the app anew: no view of an earlier time."""
        root = store or self.store
        (root / "view.json").unlink(missing_ok=True)
        program = Path(sys.executable).with_name("cream-tui")
        environment = {"CREAM_STORE": str(root), "XDG_CONFIG_HOME": str(self.folder / "config")}
        return PseudoTerminal([str(program), *words], environment=environment)

    def open_peer(self) -> PseudoTerminal:
        """Start LEET anew."""
        assert self.peer is not None
        for path in self.peer_folder.rglob("*leet*"):
            if path.is_file() and path.suffix in (".json", ".lock"):
                path.unlink()
        home = self.folder / "peer-home"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        command = [str(self.peer.with_name("wandb")), "leet", str(self.peer_folder / "wandb")]
        return PseudoTerminal(command, environment={"HOME": str(home), "WANDB_CONFIG_DIR": str(home)})

    def note(self, case: str, seconds: float, terminal: PseudoTerminal | None = None) -> None:
        """Keep a figure, and the peak memory of its program."""
        self.seconds.setdefault(case, []).append(seconds)
        if terminal is not None:
            self.peak_bytes[case] = max(self.peak_bytes.get(case, 0), terminal.peak_rss_bytes)

    def time_to(self, case: str, terminal: PseudoTerminal, wanted: str | Callable[[str], bool]) -> None:
        """Time from the start of the process to this screen, then end the program."""
        try:
            at = terminal.wait_for(wanted)
            self.note(case, at - terminal.started_at, terminal)
        finally:
            terminal.send("q")
            terminal.close()

    def start_up(self) -> None:
        """One round of everything that is timed from the start of the process."""
        self.time_to("run list", self.open(), self.names[-1])
        self.time_to("first chart", self.open(self.names[-1]), has_curve)
        self.time_to("overlay of 10", self.open("compare", *self.names, "--tui"), has_curve)
        if self.peer is not None:
            self.time_to("leet: run list", self.open_peer(), lambda text: text.count("offline-run-") >= 3)
            self.time_to("leet: first chart", self.open_peer(), has_curve)

    def commit_to_screen(self) -> None:
        """From the commit of a new run's name to that name on the screen."""
        terminal = self.open()
        try:
            terminal.wait_for(self.names[-1])
            with closing(sqlite3.connect(self.store / "cream.db", isolation_level=None)) as writer:
                (run_id,) = writer.execute("SELECT run_id FROM run ORDER BY created_at DESC LIMIT 1").fetchone()
                for number in range(COMMITS):
                    terminal.idle(COMMIT_GAP_S + 0.013 * number)
                    tag = f"tag{number:02d}"
                    writer.execute("UPDATE run SET name = ? WHERE run_id = ?", (f"live-{tag}", run_id))
                    committed_at = time.perf_counter()
                    self.note("commit to screen", terminal.wait_for(f"live-{tag}") - committed_at)
                writer.execute("UPDATE run SET name = ? WHERE run_id = ?", (self.names[-1], run_id))
        finally:
            terminal.send("q")
            terminal.close()

    def page(self) -> None:
        """Page down in 100,000 pairs: from the key to the last byte of the new screen."""
        terminal = self.open(f"{self.pair_run}/pairs", store=self.pair_store)
        try:
            terminal.wait_for("judged of", timeout_s=60)
            terminal.idle(1.0)
            for _ in range(N_PAGES):
                terminal.idle(0.3)
                sent_at = terminal.send("\x1b[6~")
                at = terminal.read(1.0)
                while (later := terminal.read(0.02)) is not None:
                    at = later
                if at is None:
                    raise TimeoutError(f"a page down changed nothing:\n{terminal.text}")
                self.note("page down", at - sent_at, terminal)
        finally:
            terminal.send("q")
            terminal.close()

    def live(self) -> float:
        """Bytes per second that the Run screen writes while a training commits steps 20 times a second."""
        root = self.folder / "live"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.store, root)
        with closing(sqlite3.connect(root / "cream.db", isolation_level=None)) as writer:
            feed = LiveTraining(writer)
            terminal = self.open(feed.name, store=root)
            try:
                terminal.wait_for(has_curve)
                self._feed(terminal, feed, 5.0)
                before = terminal.n_bytes
                self._feed(terminal, feed, LIVE_S)
                self.note("live", 0.0, terminal)
                return (terminal.n_bytes - before) / LIVE_S
            finally:
                terminal.send("q")
                terminal.close()

    def _feed(self, terminal: PseudoTerminal, feed: LiveTraining, seconds: float) -> None:
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            feed.step()
            terminal.idle(1 / LIVE_HZ)


class LiveTraining:
    """Makes the newest run of a synthetic store live: this process holds its lease and its last training goes on."""

    def __init__(self, writer: sqlite3.Connection) -> None:
        from engine.runtime.process import build_lease

        self._writer = writer
        query = "SELECT run_id, name FROM run ORDER BY created_at DESC LIMIT 1"
        self.run_id, self.name = writer.execute(query).fetchone()
        lease = build_lease(self.run_id)
        writer.execute("UPDATE run SET state = 'running', finished_at = NULL WHERE run_id = ?", (self.run_id,))
        values = (lease.run_id, lease.token, lease.pid, lease.pid_started_at, lease.host, lease.heartbeat_at)
        writer.execute("INSERT INTO lease VALUES (?, ?, ?, ?, ?, ?)", values)
        (self._stage_id,) = writer.execute(
            "SELECT s.stage_id FROM run_stage l JOIN stage s ON s.stage_id = l.stage_id "
            "WHERE l.run_id = ? AND s.name = 'train' ORDER BY l.position DESC LIMIT 1",
            (self.run_id,),
        ).fetchone()
        self._step, self._n_total = writer.execute(
            "SELECT max(m.step), 4 * s.n_total FROM metric m JOIN stage s ON s.stage_id = m.stage_id "
            "WHERE m.stage_id = ?",
            (self._stage_id,),
        ).fetchone()
        writer.execute(
            "UPDATE stage SET state = 'running', n_total = ?, finished_at = NULL, started_at = ? WHERE stage_id = ?",
            (self._n_total, time.time() - 60, self._stage_id),
        )
        self._names = [
            row[0]
            for row in writer.execute("SELECT DISTINCT name_id FROM metric WHERE stage_id = ?", (self._stage_id,))
        ]

    def step(self) -> None:
        """Commit one step of every metric, and the heartbeat."""
        self._step += 1
        now = time.time()
        self._writer.execute("BEGIN IMMEDIATE")
        self._writer.executemany(
            "INSERT INTO metric (stage_id, name_id, step, value, at) VALUES (?, ?, ?, ?, ?)",
            [
                (self._stage_id, name, self._step, 0.5 + 0.1 * ((self._step * 7919 + name) % 100) / 100, now)
                for name in self._names
            ],
        )
        self._writer.execute("UPDATE stage SET n_done = ? WHERE stage_id = ?", (self._step, self._stage_id))
        self._writer.execute("UPDATE lease SET heartbeat_at = ? WHERE run_id = ?", (now, self.run_id))
        self._writer.execute("COMMIT")


def describe(seconds: Sequence[float]) -> str:
    """Median with the range."""
    return f"{statistics.median(seconds):7.3f} s  [{min(seconds):.3f}-{max(seconds):.3f}]"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--wandb", type=Path, default=None, metavar="PYTHON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), given.wandb)
        for _ in range(given.rounds):
            bench.start_up()
        bench.commit_to_screen()
        bench.page()
        bytes_per_s = bench.live()
    print(f"{'case':<20} {'median [range]':<30} peak memory   load {os.getloadavg()[0]:.1f}")
    for case, seconds in bench.seconds.items():
        peak = bench.peak_bytes.get(case)
        shown = describe(seconds) if case != "live" else f"{bytes_per_s / 1000:7.2f} KB/s at 20 commits/s"
        print(f"{case:<20} {shown:<30} {'' if peak is None else f'{peak / 2**20:.0f} MiB'}")
    medians = {case: statistics.median(seconds) for case, seconds in bench.seconds.items()}
    for ours, theirs in (("run list", "leet: run list"), ("first chart", "leet: first chart")):
        if theirs in medians:
            print(f"{ours} / {theirs}: {medians[ours] / medians[theirs]:.2f}")
    peaks = {case: round(peak / 2**20, 1) for case, peak in bench.peak_bytes.items()}
    print(json.dumps({"median_s": medians, "live_bytes_per_s": bytes_per_s, "peak_mib": peaks}))


if __name__ == "__main__":
    main()
