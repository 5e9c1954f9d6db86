"""A whole run with an adapter: what it stores, that M0 stays plain, that training starts at the scores' reference."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
import torch
from small_runs import build_config, finish

from db.queries import (
    read_prompts,
    read_responses,
    read_run_checkpoints,
    read_run_metrics,
    read_run_stages,
    read_scores,
)
from db.reading import open_reader
from engine.compute.logprobs import compute_sum_logprobs
from engine.compute.models import load_model
from engine.config.shipped import find_configs_folder
from engine.errors import ConfigError
from engine.records import TokenSequence
from engine.runtime import control


def test_a_run_with_an_adapter(root: Path) -> None:
    config = build_config("adapter.kind=lora", "adapter.rank=4", "evaluation.items=4", "data.prompts_per_iteration=12")
    run = finish(root, control.start_run(root, config))
    with closing(open_reader(root)) as reader:
        checkpoints = read_run_checkpoints(reader, run.run_id, root)
        metrics = read_run_metrics(reader, run.run_id)
        stages = {stage.label: stage.stage_id for stage in read_run_stages(reader, run.run_id)}
        prompts = {prompt.prompt_id: p.token_ids for prompt, p in read_prompts(reader, stages["sample t=1"])}
        responses = {(r.prompt_id, r.k): r.token_ids for r in read_responses(reader, stages["sample t=1"])}
        scores = [s for s in read_scores(reader, [stages["score t=1"]]) if s.scorer == "implicit:M1"]
    for checkpoint in checkpoints[1:]:
        folder = Path(checkpoint.folder)
        assert not (folder / "config.json").exists() and (folder / "tokenizer.json").is_file()
        assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "M0"
    values = {(metric.label, metric.name, metric.step): metric.value for metric in metrics}
    assert values["train M2", "z", 1] == pytest.approx(0, abs=1e-4)
    assert not any(name == "changed_share" for _, name, _ in values)
    base = load_model(find_configs_folder() / "models" / "sandbox", dtype="float32", device=torch.device("cpu"))
    sequences = [TokenSequence(prompts[s.prompt_id], responses[s.prompt_id, s.k]) for s in scores]
    for score, plain in zip(scores, compute_sum_logprobs(base, sequences, batch_tokens=400), strict=True):
        assert score.reference_sum_logprob == pytest.approx(plain, abs=1e-3)
    assert any(abs(score.score or 0) > 1e-3 for score in scores)
    with pytest.raises(ConfigError, match="keeps its adapter"):
        control.fork_run(root, run, at="M1", overrides=["adapter.rank=8"])
