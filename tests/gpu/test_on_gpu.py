"""The engine on a CUDA GPU against itself on the CPU; skipped where there is none, never needed for green."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from small_runs import build_config, finish, read_all
from tiny_models import build_model, build_settings, build_word_tokenizer, make_pairs, make_sequences

from engine.compute import hf_sampler
from engine.compute.hf_sampler import HFSampler
from engine.compute.logprobs import compute_sum_logprobs
from engine.compute.train_dpo import train_preference
from engine.compute.training import PreferenceLoss
from engine.records import EncodedPrompt
from engine.runtime.control import start_run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
ENDS = frozenset({2, 3, *range(10, 70, 10)})


def sample(device: str, *, greedy: bool) -> dict[tuple[str, int], tuple[int, ...]]:
    prompts = [EncodedPrompt(f"p{i}", s.prompt) for i, s in enumerate(make_sequences(12, seed=2))]
    sampler = HFSampler(
        model=build_model().to(device),
        end_token_ids=ENDS,
        seed=0,
        n=1 if greedy else 4,
        max_new_tokens=24,
        batch_tokens=10**6,
        temperature=0.8,
        top_p=0.95,
        greedy=greedy,
    )
    batches = sampler.plan_batches(prompts)
    return {(r.prompt_id, r.k): r.token_ids for batch in sampler.sample_batches(batches) for r in batch}


def test_greedy_tokens_equal_those_of_the_cpu() -> None:
    assert hf_sampler.LOOK_EVERY["cuda"] > 1
    assert sample("cuda", greedy=True) == sample("cpu", greedy=True)


def test_sampled_tokens_are_nearly_those_of_the_cpu() -> None:
    """Streams are drawn on the host; only a draw at the very edge of a token may fall on the other side."""
    ours, theirs = sample("cuda", greedy=False), sample("cpu", greedy=False)
    assert sum(ours[key] == theirs[key] for key in theirs) >= 0.9 * len(theirs)


def test_log_probs_equal_those_of_the_cpu() -> None:
    sequences = make_sequences(40, seed=1)
    found = compute_sum_logprobs(build_model().to("cuda"), sequences, batch_tokens=300)
    assert found == pytest.approx(compute_sum_logprobs(build_model(), sequences, batch_tokens=300), abs=1e-3)


def test_bfloat16_log_probs_are_near_float32() -> None:
    sequences = make_sequences(40, seed=1)
    found = compute_sum_logprobs(build_model().to("cuda", torch.bfloat16), sequences, batch_tokens=300)
    exact = compute_sum_logprobs(build_model(), sequences, batch_tokens=300)
    assert all(abs(a - b) < 0.1 * len(s.response) for a, b, s in zip(found, exact, sequences, strict=True))


def test_a_bfloat16_training_moves_float32_weights(tmp_path: Path) -> None:
    model, losses = build_model().to("cuda").train(), []
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    train_preference(
        model,
        build_word_tokenizer(),
        make_pairs(32, seed=3),
        loss=PreferenceLoss(0.1),
        settings=build_settings(),
        dtype="bfloat16",
        work_folder=tmp_path,
        on_step=lambda step, n, values, has_snapshot: losses.append(values["loss"]),
    )
    assert len(losses) == 4 and all(map(math.isfinite, losses))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert any(not torch.equal(before[name], parameter) for name, parameter in model.named_parameters())


def test_a_small_run_ends_on_the_gpu(tmp_path: Path) -> None:
    root = tmp_path / "store"
    run = start_run(root, build_config("resources.device=cuda", "model.dtype=bfloat16", "scoring.noise_floor=8"))
    finish(root, run)
    rows = read_all(root, run)
    assert rows["pairs"] and rows["evaluations"]
