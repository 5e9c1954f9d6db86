"""From configuration to compute objects: the only place of the heavy side that reads config classes."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.artifacts import find_context_length, is_adapter_folder
from engine.backends import read_endpoint_key, require_vllm, split_gpus
from engine.compute.adapters import AdapterSettings
from engine.compute.completions_client import CompletionsClient
from engine.compute.decoding import Decoding, ModelOutline
from engine.compute.endpoint_sampler import EndpointSampler, name_weights
from engine.compute.hf_sampler import HFSampler
from engine.compute.models import load_config, load_generation_config
from engine.compute.prompts import check_vocabulary, collect_end_token_ids, count_known_tokens
from engine.compute.ray_pool import PoolSettings
from engine.compute.training import OptimiserSettings, PreferenceLoss
from engine.compute.vllm_sampler import EngineModel, EnginePlaces, VllmSampler
from engine.config.adapter import AdapterConfig
from engine.config.run import RunConfig
from engine.config.training import OptimiserConfig
from engine.errors import ConfigError
from engine.keys import derive_seed
from engine.plan import StageSpec


def read_outline(folder: Path, tokenizer: PreTrainedTokenizerBase) -> ModelOutline:
    """Return what sampling needs to know of the models that come from M0 in this folder.

    Raises:
        ConfigError: the tokenizer does not fit the model, or nothing would end a response.
    """
    config = load_config(folder)
    check_vocabulary(config.vocab_size, tokenizer)
    return ModelOutline(
        end_token_ids=collect_end_token_ids(load_generation_config(folder), tokenizer),
        n_known=count_known_tokens(tokenizer),
        n_embeddings=config.vocab_size,
        context=find_context_length(config.to_dict()),
    )


def build_group_decoding(outline: ModelOutline, spec: StageSpec, shrink: int) -> Decoding:
    """Return how an iteration's groups are drawn."""
    sampling = spec.config.sampling
    return Decoding(
        outline=outline,
        seed=spec.seed,
        n=sampling.n,
        max_new_tokens=sampling.max_new_tokens,
        batch_tokens=max(1, sampling.batch_tokens // shrink),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
    )


def build_greedy_decoding(outline: ModelOutline, spec: StageSpec, shrink: int) -> Decoding:
    """Return how evaluation draws: one most likely response per item."""
    return Decoding(
        outline=outline,
        seed=spec.seed,
        n=1,
        max_new_tokens=spec.config.evaluation_max_new_tokens,
        batch_tokens=max(1, spec.config.evaluation.batch_tokens // shrink),
        greedy=True,
    )


def build_judge_decoding(outline: ModelOutline, spec: StageSpec, shrink: int) -> Decoding:
    """Return how judgements are drawn; their random streams are none of those that sample responses."""
    judge = spec.config.scoring.judge
    return Decoding(
        outline=outline,
        seed=derive_seed(spec.seed, spec.part),
        n=judge.judgements,
        max_new_tokens=judge.max_new_tokens,
        batch_tokens=max(1, spec.config.sampling.batch_tokens // shrink),
        temperature=judge.temperature,
        top_p=judge.top_p,
    )


def build_hf_sampler(model: PreTrainedModel, decoding: Decoding) -> HFSampler:
    """Return the sampler that runs in this process, on a loaded model."""
    return HFSampler(
        model=model,
        end_token_ids=decoding.outline.end_token_ids,
        seed=decoding.seed,
        n=decoding.n,
        max_new_tokens=decoding.max_new_tokens,
        batch_tokens=decoding.batch_tokens,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        greedy=decoding.greedy,
        n_known=decoding.outline.n_known,
    )


def build_vllm_sampler(
    decoding: Decoding, config: RunConfig, *, folder: Path, base_folder: Path, log: Path
) -> VllmSampler:
    """Return the sampler that starts vLLM, on a whole model's folder or on M0 with an adapter's.

    Raises:
        BackendError, ConfigError: vLLM is not installed, or there are too few GPUs.
    """
    vllm, install = config.sampling.vllm, require_vllm()
    adapter = folder if is_adapter_folder(folder) else None
    model = EngineModel(base_folder if adapter else folder, config.model.dtype, adapter)
    places = EnginePlaces(
        python=install.python,
        devices=tuple(split_gpus(vllm.tensor_parallel, vllm.data_parallel)),
        tensor_parallel=vllm.tensor_parallel,
        gpu_memory_utilization=vllm.gpu_memory_utilization,
        enforce_eager=vllm.enforce_eager,
        log=log,
    )
    return VllmSampler(model, decoding, places, min_length=config.data.max_prompt_tokens + decoding.max_new_tokens)


def build_endpoint_sampler(
    decoding: Decoding, config: RunConfig, *, folder: Path, base_folder: Path
) -> EndpointSampler:
    """Return the sampler that asks a server, which has to serve these very weights."""
    endpoint = config.sampling.endpoint
    assert endpoint is not None, "the configuration requires it"
    client = CompletionsClient(
        endpoint.url.rstrip("/"), read_endpoint_key(endpoint.api_key_variable), timeout_s=endpoint.timeout_s
    )
    weights = name_weights(folder, base_folder, endpoint.base_name)
    return EndpointSampler(client, decoding, weights, concurrency=endpoint.concurrency)


def build_optimiser_settings(
    config: OptimiserConfig, *, seed: int, shrink: int, n_processes: int = 1, is_on_gpu: bool = False
) -> OptimiserSettings:
    """Return the settings of one training; ``shrink`` takes more, smaller forward passes per update.

    Raises:
        ConfigError: a batch cannot be shared by so many processes.
    """
    n_passes = config.count_passes(n_processes)
    if n_passes is None:
        raise ConfigError(
            f"batch_size = {config.batch_size} in passes of {config.gradient_accumulation_steps} cannot be shared by "
            f"{n_processes} processes",
            hint="set gradient_accumulation_steps to the number of processes, or batch_size to a multiple of it",
            key="resources.processes",
            value=n_processes,
        )
    share = config.batch_size // n_processes
    n_passes = min(n_passes * shrink, share)
    while share % n_passes:
        n_passes += 1
    return OptimiserSettings(
        learning_rate=config.learning_rate,
        epochs=config.epochs,
        batch_size=config.batch_size,
        warmup_ratio=config.warmup_ratio,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        lr_scheduler=config.lr_scheduler,
        gradient_accumulation_steps=n_passes,
        gradient_checkpointing=config.gradient_checkpointing,
        snapshot_every=config.snapshot_every,
        seed=seed,
        n_processes=n_processes,
        is_on_gpu=is_on_gpu,
    )


def build_preference_loss(config: RunConfig) -> PreferenceLoss:
    """Return what the preference training of a run minimises."""
    loss = config.method.loss
    return PreferenceLoss(config.training.beta, kind=loss.kind, kl_weight=loss.kl_weight, nll_weight=loss.nll_weight)


def build_adapter_settings(config: AdapterConfig | None) -> AdapterSettings | None:
    """Return what a training attaches to M0; None where it trains all weights."""
    if config is None:
        return None
    return AdapterSettings(config.rank, config.alpha, config.dropout, config.targets, config.is_quantised)


def build_pool_settings(config: RunConfig) -> PoolSettings | None:
    """Return the Ray cluster of a run; None where it uses none."""
    ray, threads = config.resources.ray, config.resources.threads
    if ray.address is None:
        return None
    return PoolSettings(ray.address, actors=ray.actors, gpus_per_actor=ray.gpus_per_actor, threads=threads)
