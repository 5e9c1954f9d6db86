"""How much memory each stage will take: pure arithmetic on a model's shape, the lengths of its data and the settings.

Knows what transformers, TRL and torch keep of a forward and a backward pass, counted in bytes a token; the factors were
fitted to ``benchmarks/memory.py``, which measures real runs. Reads no weights and imports nothing heavy. The main path
enters at ``read_shape`` and ``estimate_stages``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.artifacts import PARAMETER_BYTES, Tensor, read_model_config, read_tensors
from engine.config.adapter import AdapterConfig
from engine.config.run import RunConfig
from engine.config.scoring import RewardModelConfig
from engine.config.section import MAX_COUNT
from engine.config.training import OptimiserConfig, SftConfig
from engine.plan import count_responses

# Resident before any weight is there: Python, torch, transformers and TRL, and what more of them a stage touches.
PROCESS_BYTES = 430 << 20
LIBRARY_BYTES = {"train": 75 << 20, "other": 35 << 20}
# Freed memory that the allocator keeps and cannot use again.
SLACK = {"cpu": 1.05, "cuda": 1.05}
# A cache grows by copying; on the CPU the holes that it leaves stay resident.
CACHE_SLACK = {"cpu": 1.25, "cuda": 1.1}
CACHE_GROWTH_TOKENS = 32
# TRL computes log-probs of at most so many tokens and columns of the vocabulary at a time.
TILE_TOKENS, TILE_COLUMNS = 4096, 32768
# Copies of a tile that are alive at once: Triton works in place, torch on the CPU does not.
TILE_COPIES = {"cpu": 8.25, "cuda": 1.0}
# Scoring turns at most so many logits into float32 at once.
LOGITS_AT_ONCE = 2**26
QUANTISED_BYTES = 0.52  # a number in NF4 with its doubly quantised scales
_ADAM_BYTES, _GRADIENT_BYTES, _MASTER_BYTES = 8, 4, 4
_STORED_BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1}
_EMBEDDINGS = (
    "embed_tokens.weight",
    "wte.weight",
    "word_embeddings.weight",
    "embed_in.weight",
    "tok_embeddings.weight",
)
_HEADS = ("lm_head.weight", "embed_out.weight")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What a model's memory follows from; widths count numbers a token.

    Attributes:
        mlp_tensors: Intermediate-wide tensors that a layer keeps for its backward pass.
        has_eager_attention: Attention scores are kept, one a head and pair of tokens.
        n_embedding: Numbers in the embeddings and, where it is not tied to them, the head.
        stored_bytes: Of the weights on the disk.
    """

    n_parameters: int
    n_layers: int
    hidden: int
    intermediate: int
    n_heads: int
    kv_width: int
    vocabulary: int
    mlp_tensors: int
    has_eager_attention: bool
    n_embedding: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of the longest text of each kind, 0 where there is none; examples and judges' prompts hold a response."""

    prompt: int
    item: int = 0
    example: int = 0
    judge: int = 0


@dataclass(frozen=True, slots=True)
class StageMemory:
    """Peak bytes of one stage's process on the device that computes; ``other`` is all that follows the batch."""

    name: str
    weights: int
    optimiser: int
    other: int
    process: int

    @property
    def total(self) -> int:
        return self.weights + self.optimiser + self.other + self.process


def read_shape(folder: Path) -> ModelShape:
    """Return the shape of a transformers folder, from its config and the headers of its weights.

    Raises:
        CheckpointError: a file is missing or cannot be read.
    """
    whole = read_model_config(folder)
    config, tensors = whole.get("text_config") or whole, read_tensors(folder)
    hidden = _find_number(config, "hidden_size", "n_embd", "d_model") or 1
    n_heads = _find_number(config, "num_attention_heads", "n_head") or 1
    head_width = _find_number(config, "head_dim") or hidden // n_heads
    n_kv_heads = _find_number(config, "num_key_value_heads", "n_head_kv") or n_heads
    heads = [tensor for tensor in tensors if tensor.name.endswith(_HEADS)]
    is_gated = any("gate" in tensor.name for tensor in tensors)
    return ModelShape(
        n_parameters=sum(tensor.n_numbers for tensor in tensors),
        n_layers=_find_number(config, "num_hidden_layers", "n_layer", "n_layers") or 1,
        hidden=hidden,
        intermediate=_find_number(config, "intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size") or 4 * hidden,
        n_heads=n_heads,
        kv_width=n_kv_heads * head_width,
        vocabulary=count_embeddings(tensors) or _find_number(config, "vocab_size") or 1,
        mlp_tensors=4 if is_gated else _count_mlp_tensors(config),
        has_eager_attention=bool(config.get("attn_logit_softcapping")),
        n_embedding=sum(tensor.n_numbers for tensor in [*_find_embeddings(tensors), *heads]),
        stored_bytes=sum(tensor.n_numbers * _STORED_BYTES.get(tensor.dtype, 4) for tensor in tensors),
    )


def count_embeddings(tensors: list[Tensor]) -> int | None:
    """Return how many token ids the weights have an embedding for; None where they name none that is known."""
    return max((tensor.shape[0] for tensor in _find_embeddings(tensors)), default=None)


def estimate_stages(
    config: RunConfig,
    shape: ModelShape,
    lengths: Lengths,
    *,
    device: str,
    n_processes: int = 1,
    is_sharded: bool = False,
) -> list[StageMemory]:
    """Return the peak of every kind of stage that the run has; ``device`` is cpu or cuda.

    Of one process, where ``n_processes`` share a training; sharded, they split the model among them.
    """
    weights = _count_weights(shape, config)
    stages = []
    if config.data.sft is not None:
        length = min(lengths.example, config.sft.max_length)
        work = _Training("train (SFT)", config.sft, length, n_processes, is_sharded)
        stages.append(_estimate_training(work, config, shape, device=device))
    if config.iterations:
        sampling = config.sampling
        n_prompts = config.data.prompts_per_iteration
        batch = _Batch(lengths.prompt, sampling.max_new_tokens, sampling.n, sampling.batch_tokens, n_prompts)
        stages.append(_estimate_sampling("sample", config, shape, weights, batch, device=device))
        stages.append(_estimate_scoring(config, shape, weights, lengths, device=device))
        if lengths.judge:
            judge, n_judged = config.scoring.judge, n_prompts * count_responses(config, config.iterations)
            batch = _Batch(lengths.judge, judge.max_new_tokens, judge.judgements, sampling.batch_tokens, n_judged)
            stages.append(_estimate_sampling("judge", config, shape, weights, batch, device=device))
        length = min(lengths.prompt + sampling.max_new_tokens, config.training.max_length)
        work = _Training("train", config.training, length, n_processes, is_sharded)
        stages.append(_estimate_training(work, config, shape, device=device))
    if lengths.item:
        evaluation = config.evaluation
        n_items = evaluation.items or MAX_COUNT
        batch = _Batch(lengths.item, config.evaluation_max_new_tokens, 1, evaluation.batch_tokens, n_items)
        stages.append(_estimate_sampling("evaluate", config, shape, weights, batch, device=device))
    return stages


def estimate_reward_model(
    name: str, settings: RewardModelConfig, shape: ModelShape, *, length: int, device: str
) -> StageMemory:
    """Return the peak of an external reward model on conversations of at most ``length`` tokens; it has no logits."""
    n_bytes = PARAMETER_BYTES[settings.dtype]
    tokens = max(1, settings.batch_tokens // length) * length
    return _build(name, shape.n_parameters * n_bytes, 0, tokens * _count_passing(shape, n_bytes), device)


def count_checkpoint_bytes(shape: ModelShape, config: RunConfig) -> int:
    """Return the bytes of one checkpoint's weights: an adapter is kept alone, and in float32."""
    n_bytes = _MASTER_BYTES if config.adapter else PARAMETER_BYTES[config.model.dtype]
    return count_trained(shape, config.adapter) * n_bytes


def count_snapshot_bytes(shape: ModelShape, config: RunConfig) -> int:
    """Return the bytes of one snapshot: what is trained and Adam's two moments, all in float32."""
    return count_trained(shape, config.adapter) * (_MASTER_BYTES + _ADAM_BYTES)


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch of the sampler: prompts of so many tokens, each with ``n`` responses, out of ``n_all``."""

    prompt: int
    response: int
    n: int
    batch_tokens: int
    n_all: int

    @property
    def n_prompts(self) -> int:
        return min(self.n_all, max(1, self.batch_tokens // (self.n * (self.prompt + self.response))))


def _estimate_sampling(
    name: str, config: RunConfig, shape: ModelShape, weights: int, batch: _Batch, *, device: str
) -> StageMemory:
    n_bytes = PARAMETER_BYTES[config.model.dtype]
    n_rows = batch.n_prompts * batch.n
    tokens = n_rows * (batch.prompt + batch.response + CACHE_GROWTH_TOKENS // 2)
    cache = CACHE_SLACK[device] * tokens * 2 * shape.n_layers * shape.kv_width * n_bytes
    # The logits, their float32 form, its quotient by the temperature, probabilities, and what a softmax takes.
    logits = n_rows * shape.vocabulary * (n_bytes + 5 * 4)
    prefill = batch.n_prompts * batch.prompt * _count_passing(shape, n_bytes)
    return _build(name, weights, 0, cache + logits + prefill, device)


def _estimate_scoring(
    config: RunConfig, shape: ModelShape, weights: int, lengths: Lengths, *, device: str
) -> StageMemory:
    n_bytes = PARAMETER_BYTES[config.model.dtype]
    response = config.sampling.max_new_tokens
    length = lengths.prompt + response
    n_responses = config.data.prompts_per_iteration * count_responses(config, config.iterations)
    n_rows = min(n_responses, max(1, config.scoring.batch_tokens // length))
    n_logits = n_rows * response * shape.vocabulary
    # Of response tokens alone; a part of them at a time less the largest, and as exponentials, in float32.
    logits = n_logits * n_bytes + min(n_logits, LOGITS_AT_ONCE) * (2 * 4 + (4 if n_bytes < 4 else 0))
    # The layers are over when the logits come; what they gave stays.
    given = n_rows * length * 2 * shape.hidden * n_bytes
    other = max(n_rows * length * _count_passing(shape, n_bytes), logits + given)
    return _build("score", weights, 0, other, device)


@dataclass(frozen=True, slots=True)
class _Training:
    """A training on sequences of at most ``length`` tokens."""

    name: str
    settings: OptimiserConfig
    length: int
    n_processes: int
    is_sharded: bool

    @property
    def n_sequences(self) -> int:
        """Those of one forward pass of one process; a pair has two."""
        n_passes = self.settings.count_passes(self.n_processes) or 1
        n = max(1, self.settings.batch_size // n_passes // self.n_processes)
        return n if isinstance(self.settings, SftConfig) else 2 * n

    def count_kept_by_adapter(self, adapter: AdapterConfig | None, shape: ModelShape) -> int:
        """Return the bytes a token and layer that the factors add: a layer's inputs twice, and twice for a dropout.

        As measured, for all linear layers; preference training has no dropout.
        """
        if adapter is None:
            return 0
        n_copies = 4 if adapter.dropout and isinstance(self.settings, SftConfig) else 2
        return n_copies * 4 * (6 * shape.hidden + shape.intermediate)


def _estimate_training(work: _Training, config: RunConfig, shape: ModelShape, *, device: str) -> StageMemory:
    settings, is_half = work.settings, config.model.dtype != "float32"
    tokens = work.n_sequences * work.length
    n_shards = work.n_processes if work.is_sharded else 1
    trained = count_trained(shape, config.adapter) // n_shards
    frozen = 0 if config.adapter is None else _count_weights(shape, config) // n_shards
    # Gradients on their way from one process to the others lie in buckets of their own.
    buckets = 4 * trained if work.n_processes > 1 and n_shards == 1 else 0
    kept = _count_kept(shape, work.length, is_half=is_half) + work.count_kept_by_adapter(config.adapter, shape)
    # Recomputed, a layer is there with all its tensors only while its turn lasts; its input stays.
    layers = shape.n_layers * 4 * shape.hidden + kept if settings.gradient_checkpointing else shape.n_layers * kept
    activations = tokens * (layers + 8 * shape.hidden)
    rows, columns = min(tokens, TILE_TOKENS), min(shape.vocabulary, TILE_COLUMNS)
    tiles = TILE_COPIES[device] * rows * columns * (2 if is_half and device == "cuda" else 4)
    head = 0 if config.adapter else 4 * shape.vocabulary * shape.hidden
    # Autocast keeps a half-precision copy of every matrix until the backward pass is over.
    cast = 2 * (shape.n_parameters - shape.n_embedding) if is_half and not config.adapter else 0
    master = trained * _MASTER_BYTES + frozen
    # Gradients of an update's earlier passes wait for the last one.
    waiting = trained * _GRADIENT_BYTES if (settings.count_passes(work.n_processes) or 1) > 1 else 0
    backward = activations + tiles + head + cast + waiting
    # Where gradients are all there, activations are not; torch's optimiser on a GPU works on whole lists of tensors.
    update = trained * (_GRADIENT_BYTES + (4 if device == "cuda" else 0))
    return _build(work.name, master, trained * _ADAM_BYTES, max(backward, update) + buckets, device)


def _build(name: str, weights: int, optimiser: int, other: float, device: str) -> StageMemory:
    touched = LIBRARY_BYTES["train" if name.startswith("train") else "other"]
    process = PROCESS_BYTES + touched if device == "cpu" else 0
    slack = SLACK[device]
    return StageMemory(name, int(weights * slack), int(optimiser * slack), int(other * slack), process)


def _count_weights(shape: ModelShape, config: RunConfig) -> int:
    """Return the bytes of a model that is not trained: adapters are counted with their training alone."""
    n_bytes = PARAMETER_BYTES[config.model.dtype]
    if config.adapter is None or not config.adapter.is_quantised:
        return shape.n_parameters * n_bytes
    return int((shape.n_parameters - shape.n_embedding) * QUANTISED_BYTES + shape.n_embedding * n_bytes)


def count_trained(shape: ModelShape, adapter: AdapterConfig | None) -> int:
    """Return the trained numbers: all, or two factors beside every matrix of every layer."""
    if adapter is None:
        return shape.n_parameters
    h, i, kv = shape.hidden, shape.intermediate, shape.kv_width
    attention = {"q_proj": 2 * h, "k_proj": h + kv, "v_proj": h + kv, "o_proj": 2 * h}
    mlp = {"gate_proj": h + i, "up_proj": h + i, "down_proj": i + h}
    widths = attention | mlp
    named = [width for name, width in widths.items() if name in adapter.targets]
    return shape.n_layers * adapter.rank * sum(named or widths.values())


def _count_kept(shape: ModelShape, length: int, *, is_half: bool) -> int:
    """Return the bytes a token and layer that wait for the backward pass: norms and residuals stay in float32."""
    wide = shape.mlp_tensors * shape.intermediate
    scores = 8 * shape.n_heads * length if shape.has_eager_attention else 0
    if is_half:
        return 30 * shape.hidden + 4 * shape.hidden + 2 * wide + scores
    return 32 * shape.hidden + 8 * shape.hidden + 4 * wide + scores


def _count_passing(shape: ModelShape, n_bytes: int) -> int:
    """Return the bytes a token that a forward pass without gradients takes: one layer's tensors at a time."""
    return n_bytes * (4 * shape.intermediate + 6 * shape.hidden)


def _count_mlp_tensors(config: Mapping[str, Any]) -> int:
    """Return what an MLP without a gate keeps: GPT-2's activation is put together from many small steps."""
    name = str(config.get("activation_function") or config.get("hidden_act") or "")
    return 7 if name in ("gelu_new", "gelu_fast") else 3


def _find_embeddings(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor.name.endswith(_EMBEDDINGS) and len(tensor.shape) == 2]


def _find_number(config: Mapping[str, Any], *names: str) -> int | None:
    return next((int(config[name]) for name in names if isinstance(config.get(name), int)), None)
