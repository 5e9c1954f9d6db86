"""Tiny random models of several architectures, random sequences and pairs, and a tokenizer of their vocabulary.

Weights are larger than a fresh model's, so that next-token distributions have a shape: sampling and greedy choices then
differ clearly from token to token.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    Lfm2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from engine.compute.training import OptimiserSettings
from engine.records import PreferencePair, TokenSequence

VOCAB_SIZE = 100
PAD, BOS, END, OTHER_END = 0, 1, 2, 3
_COMMON = {"vocab_size": VOCAB_SIZE, "bos_token_id": BOS, "eos_token_id": END, "pad_token_id": PAD}
_SMALL = {
    **_COMMON,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_SMALL, tie_word_embeddings=True),
    "gpt2": lambda: GPT2Config(
        **_COMMON, n_embd=32, n_layer=2, n_head=4, n_positions=128, embd_pdrop=0, resid_pdrop=0, attn_pdrop=0
    ),
    "qwen3": lambda: Qwen3Config(**_SMALL, head_dim=8),
    # A window that the sequences of these tests outgrow.
    "mistral": lambda: MistralConfig(**_SMALL, sliding_window=8),
    "gemma2": lambda: Gemma2Config(
        **_SMALL,
        head_dim=8,
        sliding_window=8,
        query_pre_attn_scalar=8,
        final_logit_softcapping=5.0,
        attn_logit_softcapping=4.0,
    ),
    # No position ids: positions are a bias on the attention.
    "bloom": lambda: BloomConfig(**_COMMON, hidden_size=32, n_layer=2, n_head=4),
    # Half of the layers keep a recurrent state instead of keys and values.
    "lfm2": lambda: Lfm2Config(**_SMALL, layer_types=["conv", "full_attention"]),
}


def build_model(architecture: str = "llama", *, seed: int = 0) -> PreTrainedModel:
    """Return a new model in evaluation mode; equal seeds give equal weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(CONFIGS[architecture](), dtype=torch.float32)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0, 0.5 if "embed" in name or "wte" in name else 0.25)
    return model.eval()


def make_sequences(
    n: int, *, seed: int, prompt: tuple[int, int] = (1, 20), response: tuple[int, int] = (1, 16)
) -> list[TokenSequence]:
    """Return random sequences without special tokens; lengths lie in the given ranges, both ends included."""
    rng = random.Random(seed)

    def draw(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.randrange(4, VOCAB_SIZE) for _ in range(rng.randint(low, high)))

    return [TokenSequence(draw(*prompt), draw(*response)) for _ in range(n)]


def build_word_tokenizer(*, pad: str | None = "<pad>") -> PreTrainedTokenizerFast:
    """Return a tokenizer whose token of id i is ``ti``, special ones aside; ``pad`` may be the end token's text."""
    names = ["<pad>", "<bos>", "<end>", "<other>", *(f"t{index}" for index in range(4, VOCAB_SIZE))]
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<end>", pad_token=pad, unk_token="<pad>"
    )


def compute_plain(model: PreTrainedModel, sequence: TokenSequence) -> float:
    """Return log pi(response | prompt) from one unpadded forward pass and a full log-softmax in float64."""
    ids = torch.tensor([sequence.prompt + sequence.response])
    with torch.no_grad():
        logprobs_TV = model(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
    first = len(sequence.prompt) - 1
    return sum(float(logprobs_TV[first + at, token]) for at, token in enumerate(sequence.response))


def compute_plain_logprobs(model: PreTrainedModel, prompt: Sequence[int], response: Sequence[int]) -> torch.Tensor:
    """Log-probs of the response's tokens, with a gradient, from an unpadded forward pass."""
    logits = model(input_ids=torch.tensor([[*prompt, *response]]), use_cache=False).logits[0]
    return logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, torch.tensor(response)[:, None])[:, 0]


def make_pairs(n: int, *, seed: int, confidences: Sequence[float] = (1.0,)) -> list[PreferencePair]:
    """Return random pairs whose responses end with the end token; reference log-probs are those of ``build_model()``.

    The given confidences come in turn.
    """
    chosen = make_sequences(n, seed=seed, response=(1, 12))
    rejected = make_sequences(n, seed=seed + 1, response=(1, 12))
    model, pairs = build_model(), []
    for index, (one, other) in enumerate(zip(chosen, rejected, strict=True)):
        sides = [TokenSequence(one.prompt, (*side.response, END)) for side in (one, other)]
        good, bad = (compute_plain(model, side) for side in sides)
        confidence = confidences[index % len(confidences)]
        pairs.append(PreferencePair(one.prompt, sides[0].response, sides[1].response, good, bad, confidence))
    return pairs


def refer_by_token(pairs: Sequence[PreferencePair], model: PreTrainedModel) -> list[PreferencePair]:
    """The pairs with the log-probs by token of another reference than that of their sums."""
    found = []
    for pair in pairs:
        with torch.no_grad():
            chosen, rejected = (
                compute_plain_logprobs(model, pair.prompt, side) for side in (pair.chosen, pair.rejected)
            )
        found.append(
            replace(
                pair,
                reference_chosen_token_logprobs=tuple(chosen.tolist()),
                reference_rejected_token_logprobs=tuple(rejected.tolist()),
            )
        )
    return found


def build_settings(**changes: object) -> OptimiserSettings:
    """Return settings under which a tiny model moves visibly within a few steps."""
    settings = {
        "learning_rate": 1e-3,
        "epochs": 1.0,
        "batch_size": 8,
        "warmup_ratio": 0.1,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "lr_scheduler": "cosine",
        "gradient_accumulation_steps": 1,
        "gradient_checkpointing": False,
        "snapshot_every": 50,
        "seed": 0,
    }
    return OptimiserSettings(**{**settings, **changes})  # type: ignore[arg-type]
