"""A store of any size in seconds: finished runs with metrics, evaluations and pairs, for benchmarks and tests.

    python benchmarks/synthetic.py STORE --runs 10 --metrics 20 --steps 10000 --pairs 0

Written with plain sqlite3 on the real schema. The stages, their keys and what runs share come from the real planner,
the taus and pairs from the scores that are written; texts and curves are made up. CREAM and SRLM take turns, each pair
of runs with the next seed. The same numbers give the same store.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from db.paths import StorePaths
from db.schema import migrate
from engine.config.load import load_run_config
from engine.config.run import RunConfig
from engine.keys import compute_key
from engine.plan import Segment, StageSpec, plan_run

N_ITERATIONS = 3
N_RESPONSES = 5
METRIC_NAMES = (
    "loss",
    "z",
    "chosen_logprob",
    "rejected_logprob",
    "grad_norm",
    "learning_rate",
    "entropy",
    "token_accuracy",
)
_START = 1_790_000_000.0
_STEP_S = 0.5
_TEXT = """
The notice must be written early and kept short because the owner reads it first. Count the days, check the date twice
and send the letter by post. If the answer is not clear, offer two dates and ask which of them suits the other side. Add
the numbers line by line, write the sum under each part and compare it with the whole before you go to the next page.
"""
_WORDS = tuple(_TEXT.split())
Rows = Iterable[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Size:
    """How much a store holds: pairs, steps and metrics of each run, items of each evaluation."""

    n_runs: int
    n_metrics: int
    n_steps: int
    n_pairs: int
    n_items: int = 200


def write_store(
    root: Path, n_runs: int, *, n_metrics: int = 20, n_steps: int = 10_000, n_pairs: int = 0, n_items: int = 200
) -> list[str]:
    """Write a store into a folder that has none and return the names of its runs, the oldest first.

    A run has ``n_pairs`` pairs and ``n_steps`` steps of each metric in all, spread over its iterations.
    """
    size = Size(n_runs, n_metrics, n_steps, n_pairs, n_items)
    database = StorePaths(Path(root).absolute()).database
    database.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        migrate(connection, database)
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        names = [_write_run(connection, size, number) for number in range(n_runs)]
        connection.execute("COMMIT")
        connection.execute("PRAGMA optimize")
        connection.execute("PRAGMA journal_mode = WAL")
    return names


def _write_run(c: sqlite3.Connection, size: Size, number: int) -> str:
    method, seed = ("cream", "srlm")[number % 2], number // 2
    name, run_id = f"{method}-s{seed}", f"synth{number:03d}"
    config = load_run_config("sandbox", method=method, seed=seed, name=name)
    created_at = _START + 60 * number
    _insert(
        c,
        "run",
        "run_id name method seed iterations state created_at started_at finished_at config_json config_digest "
        "lineage_json base_folder base_digest reuse provenance_json exit_code",
        [
            (
                *(run_id, name, method, seed, config.iterations, "done", created_at, created_at + 1.0),
                *(created_at + 2.0 + _STEP_S * size.n_steps, config.model_dump_json(), compute_key(name)),
                *('{"segments": [], "salt": null}', "/models/m0", "m0", 1, "{}", 0),
            )
        ],
    )
    at = created_at
    for position, spec in enumerate(_plan(config)):
        found = c.execute("SELECT stage_id FROM stage WHERE key = ?", (spec.key,)).fetchone()
        if found is None:
            stage_id, at = _write_stage(c, size, spec, run_id, at)
        else:
            stage_id = found[0]
        _insert(
            c,
            "run_stage",
            "run_id position stage_id iteration label",
            [(run_id, position, stage_id, spec.iteration, spec.label)],
        )
    return name


def _plan(config: RunConfig) -> list[StageSpec]:
    if config.iterations != N_ITERATIONS:
        raise ValueError(f"the sandbox config has {config.iterations} iterations, not {N_ITERATIONS}")
    return plan_run([Segment(config, None)], base_digest="m0")


def _write_stage(c: sqlite3.Connection, size: Size, spec: StageSpec, run_id: str, at: float) -> tuple[int, float]:
    """Write a finished stage with its rows; return its id and when it ended."""
    (stage_id,) = c.execute("SELECT coalesce(max(stage_id), 0) + 1 FROM stage").fetchone()
    rng = np.random.default_rng(int(spec.key[:12], 16))
    n_steps = _share(size.n_steps, spec.iteration) if spec.name == "train" else 1
    end = at + 1.0 + _STEP_S * n_steps
    n_done = {"train": n_steps, "evaluate": size.n_items}.get(spec.name, _share(size.n_pairs, spec.iteration))
    _insert(
        c,
        "stage",
        "stage_id key name state owner_run_id n_done n_total unit n_tokens started_at finished_at",
        [(stage_id, spec.key, spec.name, "done", run_id, n_done, n_done, "rows", 12 * n_done, at, end)],
    )
    _insert(
        c,
        "attempt",
        "stage_id run_id number log_path started_at finished_at exit_code peak_rss_bytes compute_s",
        [(stage_id, run_id, spec.iteration + 1, None, at, end, 0, 400_000_000 + 1_000 * stage_id, end - at)],
    )
    if spec.name == "train":
        _write_training(c, spec, stage_id, rng, n_metrics=size.n_metrics, n_steps=n_steps, at=at)
    elif spec.name == "evaluate":
        _write_evaluation(c, spec, stage_id, rng, n_items=size.n_items, at=at)
    elif spec.iteration and size.n_pairs:
        _Pairs(c, spec, stage_id, n=_share(size.n_pairs, spec.iteration), at=at).write()
    return stage_id, end


def _share(total: int, iteration: int) -> int:
    """What falls to an iteration; the first ones take the rest of the division, SFT takes ten."""
    if iteration == 0:
        return min(10, total)
    return total // N_ITERATIONS + (iteration <= total % N_ITERATIONS)


def _write_training(
    c: sqlite3.Connection,
    spec: StageSpec,
    stage_id: int,
    rng: np.random.Generator,
    *,
    n_metrics: int,
    n_steps: int,
    at: float,
) -> None:
    names = [METRIC_NAMES[k] if k < len(METRIC_NAMES) else f"synthetic_{k:02d}" for k in range(n_metrics)]
    ids = [_name_id(c, name) for name in names]
    curves = np.array([_draw_curve(k, spec, n_steps, rng) for k in range(n_metrics)])
    steps = (
        (stage_id, ids[k], step + 1, float(curves[k, step]), at + _STEP_S * (step + 1))
        for step in range(n_steps)
        for k in range(n_metrics)
    )
    _insert(c, "metric", "stage_id name_id step value at", steps)
    _write_summaries(c, stage_id, {"changed_share": 0.97}, at + _STEP_S * n_steps)
    digest = compute_key("checkpoint", spec.key)
    row = (stage_id, digest, "m0", f"checkpoints/{digest}", 396_960, 1_613_598, at + _STEP_S * n_steps)
    _insert(c, "checkpoint", "stage_id digest parent_digest folder n_parameters n_bytes created_at", [row])


def _draw_curve(k: int, spec: StageSpec, n_steps: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A decay towards a level of its own, with noise that remembers and a rare spike."""
    level = 0.3 + 0.1 * (k % 7) + (0.08 if spec.config.method.name == "srlm" else 0.0) - 0.05 * spec.iteration
    white = rng.normal(0.0, 0.01, n_steps)
    noise = np.convolve(white, np.exp(-np.arange(20) / 6.0))[:n_steps]
    curve = level + 0.5 * np.exp(-np.linspace(0.0, 5.0, n_steps)) + noise
    curve[rng.random(n_steps) < 0.0005] += 1.0
    return np.asarray(1e-4 * curve if METRIC_NAMES[k : k + 1] == ("learning_rate",) else curve)


def _write_evaluation(
    c: sqlite3.Connection, spec: StageSpec, stage_id: int, rng: np.random.Generator, *, n_items: int, at: float
) -> None:
    model = int(spec.label.rsplit("M", 1)[1])
    skill = (0.35, 0.7, 0.75, 0.72, 0.68)[min(model, 4)] - (0.04 if spec.config.method.name == "srlm" else 0.0)
    difficulty = np.random.default_rng(7).random(n_items)
    right = difficulty + rng.normal(0.0, 0.1, n_items) < skill
    rows = (
        (
            *(stage_id, "synthetic", f"i{k}", f"Item {k}: add {k} and {k + 1}."),
            *(f"{k} + {k + 1}. #### {2 * k + 1 + (not right[k])}", str(2 * k + 1 + (not right[k])), str(2 * k + 1)),
            *(int(right[k]), 9, "end"),
        )
        for k in range(n_items)
    )
    columns = "stage_id task item_id prompt response extracted gold correct n_tokens finish_reason"
    _insert(c, "evaluation", columns, rows)
    if n_items:
        accuracy = float(right.mean())
        values = {"accuracy": accuracy, "accuracy/synthetic": accuracy, "n_items/synthetic": float(n_items)}
        _write_summaries(c, stage_id, {**values, "n_correct/synthetic": float(right.sum())}, at)


class _Pairs:
    """The stages sample, score, agree and pair of one iteration.

    What all of them need is drawn again from the sample's key, so that a stage's rows fit those of its inputs.
    """

    def __init__(self, c: sqlite3.Connection, spec: StageSpec, stage_id: int, *, n: int, at: float) -> None:
        self.c, self.spec, self.stage_id, self.n, self.at = c, spec, stage_id, n, at
        t = spec.iteration
        rng = np.random.default_rng(int(spec.inputs.get("sample", spec.key)[:12], 16))
        names = [f"implicit:M{t}", *([f"implicit:M{t - 1}"] if t > 1 else []), "mean_loglik:M0"]
        quality = rng.normal(0.0, 1.0, (n, N_RESPONSES))
        noise = (0.4, 0.5, 1.2)[-len(names) :] if t > 1 else (0.4, 1.2)
        self.scores = {
            name: quality + rng.normal(0.0, sd, quality.shape) for name, sd in zip(names, noise, strict=True)
        }
        self.correct = quality + rng.normal(0.0, 2.0, quality.shape) > 0.3
        self.lengths = rng.integers(6, 60, quality.shape)
        self.words = np.random.default_rng(t).integers(0, len(_WORDS), 4096)
        self.prompt_ids = [f"p{spec.config.seed}-{t}-{k:06d}" for k in range(n)]
        self.previous = names[1]
        self.current = names[0]

    def write(self) -> None:
        getattr(self, f"_write_{self.spec.name}")()

    def _write_sample(self) -> None:
        ids = self.prompt_ids
        prompts = (
            (ids[k], self._text(31 * k, 18), "[]", str(k) if k % 4 else None, "synthetic" if k % 4 else "open")
            for k in range(self.n)
        )
        # Runs with one seed ask the same prompts.
        self.c.executemany("INSERT OR IGNORE INTO prompt VALUES (?, ?, ?, ?, ?)", prompts)
        sampled = ((self.stage_id, ids[k], k, "[1, 2]", None) for k in range(self.n))
        _insert(self.c, "sampled_prompt", "stage_id prompt_id position token_ids_json skip_reason", sampled)
        columns = "stage_id prompt_id k text token_ids_json finish_reason n_tokens sampled_logprob extracted correct"
        _insert(self.c, "response", columns, self._list_responses())
        _write_summaries(self.c, self.stage_id, {"mean_n_tokens": float(self.lengths.mean())}, self.at)

    def _list_responses(self) -> Iterator[tuple[object, ...]]:
        for p, prompt_id in enumerate(self.prompt_ids):
            for k in range(N_RESPONSES):
                n_tokens = int(self.lengths[p, k])
                text = f"{self._text(31 * p + 7, n_tokens // 2)} {self._text(17 * p + 101 * k, n_tokens // 2)}"
                correct = int(self.correct[p, k]) if p % 4 else None
                yield self.stage_id, prompt_id, k, text, "[]", "end", n_tokens, -1.5 * n_tokens, None, correct

    def _write_score(self) -> None:
        rows = (
            (self.stage_id, prompt_id, k, name, None, None, None, None, int(self.lengths[p, k]), values[p, k], None)
            for name, array in self.scores.items()
            for values in [array.round(6)]
            for p, prompt_id in enumerate(self.prompt_ids)
            for k in range(N_RESPONSES)
        )
        columns = "stage_id prompt_id k scorer model reference sum_logprob reference_sum_logprob n_tokens score"
        _insert(self.c, "score", f"{columns} missing_reason", rows)

    def _write_agree(self) -> None:
        summaries = {}
        for title, against in (("tau_previous", self.previous), ("tau_anchor", "mean_loglik:M0")):
            tau = self._compute_tau(against)
            summaries[title] = float(tau.mean())
            if title == "tau_previous":
                summaries["consistency_rate"] = float((tau.mean() + 1) / 2)
            elif against == self.previous:
                continue
            rows = (
                (self.stage_id, p, "kendall", self.current, against, float(v), float((v + 1) / 2), N_RESPONSES, 5, None)
                for p, v in zip(self.prompt_ids, tau, strict=True)
            )
            columns = "stage_id prompt_id measure scorer against value consistency_rate n n_distinct undefined_reason"
            _insert(self.c, "agreement", columns, rows)
        _write_summaries(self.c, self.stage_id, summaries, self.at)

    def _write_pair(self) -> None:
        rewards = self.scores[self.current]
        chosen, rejected = rewards.argmax(axis=1), rewards.argmin(axis=1)
        rate = (self._compute_tau(self.previous) + 1) / 2
        confidence = np.full(self.n, rate.mean()) if self.spec.config.method.name == "cream" else np.ones(self.n)
        rows = []
        for p, prompt_id in enumerate(self.prompt_ids):
            high, low = float(rewards[p, chosen[p]]), float(rewards[p, rejected[p]])
            sides = (int(chosen[p]), int(rejected[p]), high, low, high - low, float(rate[p]), float(confidence[p]))
            if p % 50 == 49:
                rows.append((self.stage_id, prompt_id, *[None] * 7, "all responses are equal"))
            else:
                rows.append((self.stage_id, prompt_id, *sides, None))
        columns = "stage_id prompt_id chosen_k rejected_k chosen_reward rejected_reward margin consistency_rate"
        _insert(self.c, "pair", f"{columns} confidence skip_reason", rows)
        known = np.array([p % 4 > 0 and p % 50 != 49 for p in range(self.n)], dtype=bool)
        at = np.arange(self.n)
        good, bad = self.correct[at, chosen], self.correct[at, rejected]
        n_right, n_inverted = int((known & good & ~bad).sum()), int((known & bad & ~good).sum())
        values = {
            "n_pairs": float(sum(row[-1] is None for row in rows)),
            "n_right": float(n_right),
            "n_inverted": float(n_inverted),
            "confidence": float(confidence.mean()),
            "chosen_n_tokens": float(self.lengths[at, chosen].mean()),
            "rejected_n_tokens": float(self.lengths[at, rejected].mean()),
        }
        if n_right + n_inverted:
            values["label_accuracy"] = n_right / (n_right + n_inverted)
        _write_summaries(self.c, self.stage_id, values, self.at)

    def _compute_tau(self, against: str) -> NDArray[np.float64]:
        """Kendall's tau of each prompt; no two scores are equal."""
        first, second = self.scores[self.current], self.scores[against]
        left, right = np.triu_indices(N_RESPONSES, 1)
        signs = np.sign(first[:, left] - first[:, right]) * np.sign(second[:, left] - second[:, right])
        return np.asarray(signs.mean(axis=1).round(6))

    def _text(self, start: int, n: int) -> str:
        return " ".join(_WORDS[self.words[(start + k) % len(self.words)]] for k in range(n))


def _write_summaries(c: sqlite3.Connection, stage_id: int, values: dict[str, float], at: float) -> None:
    rows = [(stage_id, _name_id(c, name), 0, value, at) for name, value in values.items()]
    _insert(c, "metric", "stage_id name_id step value at", rows)


def _name_id(c: sqlite3.Connection, name: str) -> int:
    c.execute("INSERT OR IGNORE INTO metric_name (name) VALUES (?)", (name,))
    return int(c.execute("SELECT name_id FROM metric_name WHERE name = ?", (name,)).fetchone()[0])


def _insert(c: sqlite3.Connection, table: str, columns: str, rows: Rows) -> None:
    names = columns.split()
    c.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", rows)


def main() -> None:
    """Write a store from the command line and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--metrics", type=int, default=20)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=0)
    given = parser.parse_args()
    start = time.perf_counter()
    names = write_store(given.store, given.runs, n_metrics=given.metrics, n_steps=given.steps, n_pairs=given.pairs)
    size = StorePaths(given.store).database.stat().st_size
    print(json.dumps({"runs": names, "n_bytes": size, "wall_s": round(time.perf_counter() - start, 1)}))


if __name__ == "__main__":
    main()
