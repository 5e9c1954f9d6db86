"""The GPU benchmark on the CPU: its FLOPs against torch's own count, and the whole script on the smallest shape."""

from __future__ import annotations

import json

import gpu
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode


@pytest.mark.parametrize(("n_tokens", "n_logits"), [(63, 48), (40, 1)])
def test_flops_are_those_that_torch_counts(n_tokens: int, n_logits: int) -> None:
    """Attention as plain products, which torch counts: all of the square, so the causal half is switched off."""
    shape = gpu.SHAPES["tiny"]
    model = gpu.build_model(shape, torch.device("cpu"))
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(input_ids=torch.ones(1, n_tokens, dtype=torch.long), use_cache=False, logits_to_keep=n_logits)
    assert gpu.count_forward_flops(shape, n_tokens, n_logits, is_causal=False) == counter.get_total_flops()


def test_causal_attention_counts_half() -> None:
    """4 L d T^2 against 2 L d T^2, with L = 2, d = 64, T = 10."""
    shape = gpu.SHAPES["tiny"]
    whole, half = (gpu.count_forward_flops(shape, 10, 1, is_causal=c) for c in (False, True))
    assert whole - half == 2 * 2 * 64 * 10**2


def test_the_large_shapes_have_the_parameters_that_they_promise() -> None:
    sizes = {
        name: sum(p.numel() for p in gpu.build_model(gpu.SHAPES[name], torch.device("meta")).parameters())
        for name in ("100m", "1b")
    }
    assert 1e8 < sizes["100m"] < 1.3e8
    assert 1e9 < sizes["1b"] < 1.3e9
    assert all(gpu.SHAPES[name].prompt_tokens + gpu.SHAPES[name].response_tokens == 1024 for name in sizes)


def test_the_script_measures_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--device", "cpu", "--shape", "tiny", "--dtype", "bfloat16"])
    table, facts = capsys.readouterr().out.rstrip().rsplit("\n", 1)
    found = json.loads(facts)
    assert found["device"] == "CPU" and "CPU, bfloat16, shape tiny" in table
    assert set(found["stages"]) == {"scoring", "training", "sampling"}
    for stage in found["stages"].values():
        assert stage["tokens_per_s"] > 0 and 0 < stage["utilisation"] < 1 and stage["peak_bytes"] is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(SystemExit, match="no CUDA GPU"):
        gpu.main(["--shape", "tiny"])
