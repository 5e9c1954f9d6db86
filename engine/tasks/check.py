"""Whether the data that a configuration names can be read and is enough, before anything is computed."""

from __future__ import annotations

from pathlib import Path

from engine.config.run import RunConfig
from engine.tasks.sources import SANDBOX, check_enough, parse_examples, parse_prompts, read_jsonl


def check_data(config: RunConfig) -> None:
    """Parse every file the run will read; a ``datasets`` name is only loaded by the stages.

    Raises:
        TaskError: a file is missing, empty or broken, or holds too few prompts; names file and line.
    """
    data = config.data
    if data.sft is not None and data.sft.kind == "jsonl":
        parse_examples(read_jsonl(Path(data.sft.path)))
    if config.iterations and data.prompts.kind == "jsonl":
        prompts = parse_prompts(read_jsonl(Path(data.prompts.path)))
        check_enough(len(prompts), iterations=config.iterations, n=data.prompts_per_iteration)
    for task in config.evaluation.tasks:
        if task != SANDBOX:
            parse_prompts(read_jsonl(Path(task)), need_answer=True)
