"""Tiny random models of several architectures, made on the spot, and a tokenizer trained on a few sentences.

Weights are larger than a fresh model's, so that next-token distributions have a shape: sampling and greedy choices then
differ clearly from token to token.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
)
from transformers.models.auto import AutoModelForCausalLM

from engine.records import EncodedPrompt, PreferencePair, TokenSequence

VOCAB_SIZE = 100
PAD, END, OTHER_END = 0, 2, 3
COMMON = {"vocab_size": VOCAB_SIZE, "bos_token_id": 1, "eos_token_id": END, "pad_token_id": PAD}
SMALL = {
    **COMMON,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
}
CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**SMALL, tie_word_embeddings=True),
    "gpt2": lambda: GPT2Config(**COMMON, n_embd=32, n_layer=2, n_head=4, n_positions=128),
    "qwen3": lambda: Qwen3Config(**SMALL),
    # A window that the sequences of these tests outgrow.
    "mistral": lambda: MistralConfig(**SMALL, sliding_window=8),
    "gemma2": lambda: Gemma2Config(
        **SMALL, sliding_window=8, query_pre_attn_scalar=8, final_logit_softcapping=5.0, attn_logit_softcapping=4.0
    ),
    # No position ids at all: its positions are a bias on the attention.
    "bloom": lambda: BloomConfig(**COMMON, hidden_size=32, n_layer=2, n_head=4),
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def build_model(architecture: str = "llama", *, seed: int = 0) -> PreTrainedModel:
    """A new model in evaluation mode; equal seeds give equal weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(CONFIGS[architecture]())
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0, 0.5 if "embed" in name or "wte" in name else 0.25)
    return model.float().eval()


def make_sequences(n: int, *, seed: int, prompt: tuple[int, int] = (1, 20), response: tuple[int, int] = (1, 16)) -> list[TokenSequence]:
    """Random sequences whose lengths lie in the given ranges, ends included."""
    rng = random.Random(seed)

    def draw(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.randrange(4, VOCAB_SIZE) for _ in range(rng.randint(low, high)))

    return [TokenSequence(draw(*prompt), draw(*response)) for _ in range(n)]


@pytest.fixture(scope="session", params=list(CONFIGS))
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """Each architecture in turn; only for reading."""
    return build_model(request.param)


@pytest.fixture(scope="session")
def llama() -> PreTrainedModel:
    """The tiny Llama alone; only for reading."""
    return build_model("llama")
