"""Paging through the pairs of one run: from the key to the rows on the screen, and what the store needs for it.

    python benchmarks/pairs.py [--pairs 100000]

A synthetic store on the real schema, the real program in a pseudo-terminal of 120x40. A page counts as there when the
pair under the cursor and all rows in sight stand on the screen; a verdict when its letter stands in the list and the
next pair is shown. Also: whole orders and single pages read from the store, and the word difference of two texts of
1,200 words. One to two minutes, half of it for making the store.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from pseudo_terminal import PseudoTerminal
from synthetic import write_store

from cream_tui.word_diff import compute_word_diff
from db.pair_browse import PairQuery, read_pair_ids, read_pair_rows
from db.queries import find_run
from db.reading import open_reader

TARGETS_MS = {"page down": 30.0, "first pairs": 1000.0, "difference of 1,200 words": 30.0}
PAGE_DOWN = "\x1b[6~"
LIST_WIDTH = 50  # of 120 columns: texts beside the list may be cut with the same sign
LOADING = "…"
N_PAGES = 60
N_VERDICTS = 30


def main() -> None:
    """Make the store, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "store"
        start = time.perf_counter()
        (name, *_) = write_store(root, 1, n_metrics=1, n_steps=30, n_pairs=arguments.pairs, n_items=10)
        print(f"{arguments.pairs} pairs written in {time.perf_counter() - start:.0f} s", file=sys.stderr)
        found = measure_store(root, name) | measure_screen(root, name) | measure_differences()
    width = max(map(len, found))
    print(f"{'':{width}}  {'median ms':>9}  {'p90 ms':>9}  {'target':>6}")
    for what, times in found.items():
        row = f"{what:{width}}  {statistics.median(times):9.1f}  {quantile(times):9.1f}"
        print(f"{row}  {TARGETS_MS.get(what, ''):>6}")
    medians = {what: round(statistics.median(times), 2) for what, times in found.items()}
    facts = {
        "n_pairs": arguments.pairs,
        "median_ms": medians,
        "p90_ms": {what: round(quantile(times), 2) for what, times in found.items()},
        "ratio_to_target": {what: round(medians[what] / target, 3) for what, target in TARGETS_MS.items()},
        "load": round(os.getloadavg()[0], 1),
        "n_cpus": os.cpu_count(),
    }
    print(json.dumps({"benchmark": "pairs", **facts}))


def measure_store(root: Path, name: str) -> dict[str, list[float]]:
    """Read whole orders and pages."""
    with closing(open_reader(root)) as connection:
        run_id = find_run(connection, name).run_id
        ids = read_pair_ids(connection, run_id, PairQuery())
        queries = {
            "order by number": PairQuery(),
            "order by tau": PairQuery(sort="tau"),
            "filter label = wrong": PairQuery(where="label = ?", parameters=("wrong",)),
        }
        found = {what: take(lambda q=query: read_pair_ids(connection, run_id, q), 5) for what, query in queries.items()}
        places = iter(random.Random(0).sample(range(len(ids) - 50), 40))
        found["read a page of 50"] = take(
            lambda: read_pair_rows(connection, run_id, ids[(place := next(places)) : place + 50], n_characters=160), 40
        )
    return found


def measure_screen(root: Path, name: str) -> dict[str, list[float]]:
    """Open the program, page down, judge."""
    program = str(Path(sys.executable).with_name("cream-tui"))
    environment = {"XDG_CONFIG_HOME": str(root.parent / "config"), "CREAM_STORE": str(root)}
    terminal = PseudoTerminal([program, f"{name}/pairs"], environment=environment)
    found: dict[str, list[float]] = {"first pairs": [], "page down": [], "verdict and next pair": []}
    opened_at = terminal.wait_for(is_there(1))
    found["first pairs"].append(1000 * (opened_at - terminal.started_at))
    terminal.idle(1.5)
    number = 1
    page = count_rows(terminal.text) - 1
    for _ in range(N_PAGES):
        number += page
        sent_at = terminal.send(PAGE_DOWN)
        there_at = terminal.wait_for(is_there(number))
        found["page down"].append(1000 * (there_at - sent_at))
        terminal.idle(0.1)
    for _ in range(N_VERDICTS):
        sent_at = terminal.send("a")
        number += 1
        there_at = terminal.wait_for(is_there(number))
        found["verdict and next pair"].append(1000 * (there_at - sent_at))
        terminal.idle(0.3)
    print(f"peak memory {terminal.peak_rss_bytes / 1e6:.0f} MB", file=sys.stderr)
    terminal.send("q")
    terminal.close()
    return found


def is_there(number: int) -> Callable[[str], bool]:
    """Whether the pair with this number is shown and no row in sight is missing."""
    return lambda text: f"#{number}  M" in text and not any(LOADING in line[:LIST_WIDTH] for line in text.split("\n"))


def count_rows(text: str) -> int:
    """Rows of the list that are in sight, none of them judged: the border, then nothing but a number."""
    starts = (line[1:12].split() for line in text.split("\n") if line[:1] == "│")
    return sum(len(words) == 1 and words[0].isdigit() for words in starts)


def measure_differences() -> dict[str, list[float]]:
    """Compare texts of 1,200 words: natural-like ones, and the hardest that are still compared."""
    found = {}
    for what, vocabulary in (("difference of 1,200 words", 2000), ("the same, 40 different words", 40)):
        rng = random.Random(1)
        texts = [" ".join(f"w{rng.randrange(vocabulary)}" for _ in range(1200)) for _ in range(2)]
        found[what] = take(lambda pair=texts: compute_word_diff(*pair), 20)
    return found


def take(work: Callable[[], object], repeats: int) -> list[float]:
    """Milliseconds of each repeat."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    return times


def quantile(times: list[float]) -> float:
    """The 90th percentile."""
    return sorted(times)[int(0.9 * (len(times) - 1))]


if __name__ == "__main__":
    main()
