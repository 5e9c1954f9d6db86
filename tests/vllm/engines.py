"""Samplers on real engines, and what they are asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tiny_models import make_sequences

from engine.compute.build import read_outline
from engine.compute.decoding import Decoding
from engine.compute.models import load_tokenizer
from engine.compute.vllm_sampler import EngineModel, EnginePlaces, VllmSampler
from engine.protocols import Sampler
from engine.records import EncodedPrompt, SampledResponse

PROMPTS = [EncodedPrompt(f"p{i}", s.prompt) for i, s in enumerate(make_sequences(12, seed=2))]


def build_decoding(folder: Path, **changes: object) -> Decoding:
    settings = {"seed": 0, "n": 5, "max_new_tokens": 24, "batch_tokens": 600, "temperature": 0.8, "top_p": 0.95}
    outline = read_outline(folder, load_tokenizer(folder))
    return Decoding(outline=outline, **{**settings, **changes})  # type: ignore[arg-type]


def build_sampler(
    python: str, folder: Path, decoding: Decoding, *, n_engines: int = 1, adapter: Path | None = None
) -> VllmSampler:
    places = EnginePlaces(
        python=python,
        devices=(None,) * n_engines,
        tensor_parallel=1,
        gpu_memory_utilization=0.9,
        enforce_eager=False,
        log=None,
    )
    return VllmSampler(EngineModel(folder, "float32", adapter), decoding, places)


def sample(sampler: Sampler, prompts: Sequence[EncodedPrompt] = PROMPTS) -> dict[tuple[str, int], SampledResponse]:
    batches = sampler.plan_batches(prompts)
    return {(r.prompt_id, r.k): r for batch in sampler.sample_batches(batches) for r in batch}
