"""Sampling, scoring and preference training of a Llama from scratch: tokens per second, share of the matrix rate.

    python benchmarks/gpu.py --shape 1b
    python benchmarks/gpu.py --device cpu --shape tiny

Random weights of the given shape, random token ids, our own sampler, scorer and trainer. The matrix rate is measured on
the same card in the same minute: the best of several products of two square matrices in the same number format. FLOPs
are those of the model, whatever the code spends beyond them (model FLOPs utilisation):

    forward   2 P T + 2 V d R + 2 L d T^2       P: weights of all layers, V d: of the head, L layers of width d
    training  3 x forward                       T tokens of a sequence, R of them with logits

The last term is attention, causal, hence half of 4 L d T^2. Decoding counts the forwards of prompt and response alike.
Training counts response positions only, as scoring does, and no recomputation under activation checkpointing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from engine.compute.hf_sampler import HFSampler
from engine.compute.logprobs import iterate_sum_logprobs, plan_buckets
from engine.compute.training import OptimiserSettings, PreferenceLoss
from engine.records import EncodedPrompt, PreferencePair, TokenSequence

AIM = 0.4
PAD = 0
END = 1
WARM_UP_STEPS = 2


@dataclass(frozen=True, slots=True)
class Shape:
    """A model and the work that is timed on it; tokens are those of one sequence."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int
    prompt_tokens: int
    response_tokens: int
    n_sequences: int
    batch_tokens: int
    n_prompts: int
    group: int
    new_tokens: int
    pairs_per_step: int
    accumulation: int
    steps: int
    matrix: int


SHAPES = {
    "tiny": Shape(64, 2, 4, 2, 128, 512, 16, 48, 12, 512, 4, 3, 24, 4, 2, 5, 256),
    "100m": Shape(768, 12, 12, 12, 2048, 32000, 256, 768, 512, 65536, 32, 8, 512, 32, 4, 12, 8192),
    # That of Llama 3.2 1B, head and embedding tied.
    "1b": Shape(2048, 16, 32, 8, 8192, 128256, 256, 768, 256, 32768, 32, 8, 512, 16, 4, 10, 8192),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One stage: ``utilisation`` is model FLOPs a second over the measured matrix rate."""

    tokens_per_s: float
    tflops: float
    utilisation: float
    peak_bytes: int | None


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="1b")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--batch-tokens", type=int, help="tokens of one forward pass of scoring")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="recompute activations in training")
    chosen = parser.parse_args(arguments)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA GPU; `--device cpu --shape tiny` tries the script itself")
    shape, device, dtype = SHAPES[chosen.shape], torch.device(chosen.device), getattr(torch, chosen.dtype)
    if chosen.batch_tokens is not None:
        shape = replace(shape, batch_tokens=chosen.batch_tokens)
    rate = measure_matrix_rate(shape.matrix, device=device, dtype=dtype)
    found = {
        "scoring": measure_scoring(shape, device, dtype, rate),
        "training": measure_training(shape, device, chosen.dtype, rate, checkpointing=chosen.gradient_checkpointing),
        "sampling": measure_sampling(shape, device, dtype, rate),
    }
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, {chosen.dtype}, shape {chosen.shape}: {rate / 1e12:.3g} TFLOP/s of matrix products")
    print(f"{'':9}  {'tokens/s':>10}  {'TFLOP/s':>8}  {'share':>6}  {'peak GiB':>8}")
    for stage, m in found.items():
        peak = "" if m.peak_bytes is None else f"{m.peak_bytes / 2**30:.2f}"
        aim = "  (aim: 40 %)" if stage != "sampling" else ""
        print(f"{stage:9}  {m.tokens_per_s:10,.0f}  {m.tflops:8.3g}  {m.utilisation:6.1%}  {peak:>8}{aim}")
    facts = {
        "benchmark": "gpu",
        "device": name,
        "dtype": chosen.dtype,
        "shape": chosen.shape,
        "n_parameters": sum(p.numel() for p in build_model(shape, torch.device("meta")).parameters()),
        "matrix_tflops": rate / 1e12,
        "torch": torch.__version__,
        "stages": {stage: asdict(m) for stage, m in found.items()},
    }
    print(json.dumps(facts))


def build_model(shape: Shape, device: torch.device) -> PreTrainedModel:
    """Return a Llama of the shape with random float32 weights, made where it will be used."""
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=END,
        eos_token_id=END,
    )
    torch.manual_seed(0)
    with device:
        return LlamaForCausalLM(config).eval()


def count_forward_flops(shape: Shape, n_tokens: int, n_logits: int, *, is_causal: bool = True) -> float:
    """Return the FLOPs of one sequence's forward pass; see the formula above."""
    head = shape.hidden // shape.heads
    attention = 2 * shape.hidden**2 + 2 * shape.hidden * shape.kv_heads * head
    weights = shape.layers * (attention + 3 * shape.hidden * shape.intermediate)
    scores = (2 if is_causal else 4) * shape.layers * shape.hidden * n_tokens**2
    return 2.0 * weights * n_tokens + 2.0 * shape.vocabulary * shape.hidden * n_logits + scores


def measure_matrix_rate(n: int, *, device: torch.device, dtype: torch.dtype) -> float:
    """Return the FLOPs a second of the fastest of several products of two n x n matrices."""
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    return 2 * n**3 / min(_time(device, lambda: a @ b) for _ in range(20))


def measure_scoring(shape: Shape, device: torch.device, dtype: torch.dtype, rate: float) -> Measured:
    """Time the passes of one model over sequences of one length."""
    model = build_model(shape, device).to(dtype)
    buckets = plan_buckets(make_sequences(shape), batch_tokens=shape.batch_tokens)
    _drain(iterate_sum_logprobs(model, buckets[:1]))
    _reset(device)
    seconds = _time(device, lambda: _drain(iterate_sum_logprobs(model, buckets)))
    n = sum(map(len, buckets))
    length = shape.prompt_tokens + shape.response_tokens
    flops = n * count_forward_flops(shape, length - 1, shape.response_tokens)
    return _summarise(n * length, flops, seconds, rate, device)


def measure_training(shape: Shape, device: torch.device, dtype: str, rate: float, *, checkpointing: bool) -> Measured:
    """Time optimiser steps of preference training, the first ones left out."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    from engine.compute.train_dpo import train_preference

    words = Tokenizer(WordLevel({"<pad>": PAD, "<end>": END}, unk_token="<pad>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>")
    chosen = make_sequences(replace(shape, n_sequences=2 * shape.pairs_per_step * shape.steps))
    pairs = [
        PreferencePair(a.prompt, a.response, b.response, -1.0, -1.0, 0.8)
        for a, b in zip(chosen[::2], chosen[1::2], strict=True)
    ]
    settings = OptimiserSettings(
        learning_rate=1e-6,
        epochs=1.0,
        batch_size=shape.pairs_per_step,
        warmup_ratio=0.1,
        weight_decay=0.01,
        max_grad_norm=1.0,
        lr_scheduler="cosine",
        gradient_accumulation_steps=shape.accumulation,
        gradient_checkpointing=checkpointing,
        snapshot_every=shape.steps + 1,
        seed=0,
    )
    model, ended_at = build_model(shape, device).train(), []
    _reset(device)
    with tempfile.TemporaryDirectory() as folder:
        train_preference(
            model,
            tokenizer,
            pairs,
            loss=PreferenceLoss(0.1),
            settings=settings,
            dtype=dtype,
            work_folder=Path(folder),
            on_step=lambda *_: ended_at.append(time.perf_counter()),
        )
    steps = [b - a for a, b in zip(ended_at[WARM_UP_STEPS - 1 : -1], ended_at[WARM_UP_STEPS:], strict=True)]
    n, length = 2 * shape.pairs_per_step, shape.prompt_tokens + shape.response_tokens
    flops = 3 * n * count_forward_flops(shape, length - 1, shape.response_tokens)
    return _summarise(n * length, flops, statistics.median(steps), rate, device)


def measure_sampling(shape: Shape, device: torch.device, dtype: torch.dtype, rate: float) -> Measured:
    """Time groups of responses that all reach the limit; tokens are those that were generated."""
    model = build_model(shape, device).to(dtype)
    prompts = [EncodedPrompt(f"p{i}", s.prompt) for i, s in enumerate(make_sequences(shape)[: shape.n_prompts])]
    sampler = HFSampler(
        model=model,
        end_token_ids=frozenset({shape.vocabulary}),  # no token: nothing ends early
        seed=0,
        n=shape.group,
        max_new_tokens=shape.new_tokens,
        batch_tokens=2**30,
        temperature=0.8,
        top_p=0.95,
    )
    replace(sampler, max_new_tokens=2).sample(prompts[:1])
    _reset(device)
    seconds = _time(device, lambda: sampler.sample(prompts))
    n, length = len(prompts) * shape.group, shape.prompt_tokens + shape.new_tokens
    # Prompts are read once for all responses; a response's tokens each attend to the prompt and to those before.
    whole, prompt = (count_forward_flops(shape, t, 0) for t in (length, shape.prompt_tokens))
    head = 2.0 * shape.vocabulary * shape.hidden * shape.new_tokens
    return _summarise(n * shape.new_tokens, n * (whole - prompt + head) + len(prompts) * prompt, seconds, rate, device)


def make_sequences(shape: Shape) -> list[TokenSequence]:
    """Return distinct random sequences of the shape's lengths, special tokens aside."""
    generator = torch.Generator().manual_seed(0)
    size = (shape.n_sequences, shape.prompt_tokens + shape.response_tokens)
    rows = torch.randint(2, shape.vocabulary, size, generator=generator).tolist()
    return [TokenSequence(tuple(row[: shape.prompt_tokens]), tuple(row[shape.prompt_tokens :])) for row in rows]


def _summarise(n_tokens: int, flops: float, seconds: float, rate: float, device: torch.device) -> Measured:
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return Measured(n_tokens / seconds, flops / seconds / 1e12, flops / seconds / rate, peak)


def _time(device: torch.device, run: Callable[[], object]) -> float:
    _wait(device)
    start = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset(device: torch.device) -> None:
    """Give back what the stage before held, and count the peak anew."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _drain(values: object) -> None:
    for _ in values:  # type: ignore[attr-defined]
        pass


if __name__ == "__main__":
    main()
