"""What the benchmark scripts share: sandbox model and prompts, alternating repeats, a small table, one JSON line."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.compute.models import load_model, load_tokenizer
from engine.compute.prompts import encode_prompt
from engine.records import EncodedPrompt, Message
from engine.tasks.sandbox import generate_problems

MODEL_FOLDER = Path(__file__).resolve().parents[1] / "configs" / "models" / "sandbox"


@dataclass(frozen=True, slots=True)
class Timing:
    """Medians over the repeats; CPU seconds are those of this process, which a busy neighbour disturbs less."""

    wall_s: float
    cpu_s: float


def load_sandbox(n_prompts: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[EncodedPrompt]]:
    """Return the shipped model, its tokenizer and the encoded prompts of a first iteration; sets one torch thread."""
    torch.set_num_threads(1)
    tokenizer = load_tokenizer(MODEL_FOLDER)
    model = load_model(MODEL_FOLDER, dtype="float32", device=torch.device("cpu"))
    prompts = [
        EncodedPrompt(f"p{index:05d}", encode_prompt(tokenizer, (Message("user", problem.prompt),)))
        for index, problem in enumerate(generate_problems(0, "prompts/1", n_prompts))
    ]
    return model, tokenizer, prompts


def alternate(ways: Mapping[str, Callable[[], object]], *, repeats: int) -> tuple[dict[str, Timing], dict[str, float]]:
    """Run all ways in turn, ``repeats`` times; return their median timings and, for all but the last, the median ratio.

    A ratio is the last way's time over this way's, in CPU seconds, within one turn: how many times faster this way is.
    """
    walls: dict[str, list[float]] = {name: [] for name in ways}
    cpus: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(time.process_time() - cpu)
    *faster, baseline = ways
    ratios = {
        name: statistics.median(b / a for a, b in zip(cpus[name], cpus[baseline], strict=True)) for name in faster
    }
    timings = {name: Timing(statistics.median(walls[name]), statistics.median(cpus[name])) for name in ways}
    return timings, ratios


def report(benchmark: str, timings: Mapping[str, Timing], facts: Mapping[str, object]) -> None:
    """Print the table, then everything as one JSON line with the load of the machine."""
    width = max(map(len, timings))
    print(f"{'':{width}}  {'wall s':>8}  {'CPU s':>8}")
    for name, timing in timings.items():
        print(f"{name:{width}}  {timing.wall_s:8.2f}  {timing.cpu_s:8.2f}")
    measured = {name: {"wall_s": round(t.wall_s, 3), "cpu_s": round(t.cpu_s, 3)} for name, t in timings.items()}
    load = round(os.getloadavg()[0], 1)
    print(json.dumps({"benchmark": benchmark, **facts, "load": load, "n_cpus": os.cpu_count(), "median": measured}))
