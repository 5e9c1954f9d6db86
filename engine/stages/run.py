"""From a stage's name to its function."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from engine.plan import StageTask
from engine.stages.agree import run_agree
from engine.stages.context import StageContext
from engine.stages.evaluate import run_evaluate
from engine.stages.pair import run_pair
from engine.stages.sample import run_sample
from engine.stages.score import run_score
from engine.stages.train import run_train

STAGES: Mapping[str, Callable[[StageContext], None]] = {
    "sample": run_sample,
    "score": run_score,
    "agree": run_agree,
    "pair": run_pair,
    "train": run_train,
    "evaluate": run_evaluate,
}


def run_stage(task: StageTask) -> int | None:
    """Run a stage to its end; return the peak GPU memory in bytes, None without a GPU."""
    torch.set_num_threads(task.spec.config.resources.threads)
    context = StageContext(task)
    with context.exits:
        STAGES[task.spec.name](context)
    return torch.cuda.max_memory_allocated() if context.device.type == "cuda" else None
