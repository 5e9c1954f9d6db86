"""The benchmarks known by name: where their rows lie on the hub, which split is evaluated, and how many rows it has.

Knows no reader and no parser. Sizes are those of the splits that the paper evaluates on; a source of another size is no
such split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One evaluation split. ``revision`` names a branch where the main one needs code to be run."""

    path: str
    subset: str | None
    split: str
    n_rows: int
    revision: str | None = None


# Source: Wang et al. 2025 (CREAM, arXiv 2410.12735) for the splits; SIQA's test answers are not public.
BENCHMARKS: Mapping[str, Benchmark] = {
    "arc_easy": Benchmark("allenai/ai2_arc", "ARC-Easy", "test", 2376),
    "arc_challenge": Benchmark("allenai/ai2_arc", "ARC-Challenge", "test", 1172),
    "openbookqa": Benchmark("allenai/openbookqa", "main", "test", 500),
    "siqa": Benchmark("allenai/social_i_qa", None, "validation", 1954, "refs/convert/parquet"),
    "gsm8k": Benchmark("openai/gsm8k", "main", "test", 1319),
}
# Source: Lambert et al. 2024 (RewardBench, arXiv 2403.13787).
PREFERENCE_BENCHMARKS: Mapping[str, Benchmark] = {
    "reward_bench": Benchmark("allenai/reward-bench", None, "filtered", 2985),
}
