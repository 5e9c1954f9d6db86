"""From configuration to compute objects: the only place of the heavy side that reads config classes."""

from __future__ import annotations

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.compute.hf_sampler import HFSampler
from engine.compute.prompts import check_vocabulary, find_end_token_ids
from engine.compute.training import OptimiserSettings
from engine.config.training import OptimiserConfig
from engine.plan import StageSpec
from engine.protocols import Sampler


def build_sampler(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, spec: StageSpec, shrink: int) -> Sampler:
    """Return the sampler of an iteration's groups."""
    check_vocabulary(model, tokenizer)
    sampling = spec.config.sampling
    return HFSampler(
        model=model,
        end_token_ids=find_end_token_ids(model, tokenizer),
        seed=spec.seed,
        n=sampling.n,
        max_new_tokens=sampling.max_new_tokens,
        batch_tokens=max(1, sampling.batch_tokens // shrink),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
    )


def build_greedy_sampler(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, spec: StageSpec, shrink: int
) -> Sampler:
    """Return the sampler of evaluation: one most likely response per item."""
    check_vocabulary(model, tokenizer)
    return HFSampler(
        model=model,
        end_token_ids=find_end_token_ids(model, tokenizer),
        seed=spec.seed,
        n=1,
        max_new_tokens=spec.config.evaluation_max_new_tokens,
        batch_tokens=max(1, spec.config.evaluation.batch_tokens // shrink),
        greedy=True,
    )


def build_optimiser_settings(config: OptimiserConfig, *, seed: int, shrink: int) -> OptimiserSettings:
    """Return the settings of one training; ``shrink`` takes more, smaller forward passes per update."""
    accumulation = min(config.gradient_accumulation_steps * shrink, config.batch_size)
    while config.batch_size % accumulation:
        accumulation += 1
    return OptimiserSettings(
        learning_rate=config.learning_rate,
        epochs=config.epochs,
        batch_size=config.batch_size,
        warmup_ratio=config.warmup_ratio,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        lr_scheduler=config.lr_scheduler,
        gradient_accumulation_steps=accumulation,
        gradient_checkpointing=config.gradient_checkpointing,
        snapshot_every=config.snapshot_every,
        seed=seed,
    )
