"""Model folders of all sorts: tied and untied heads, padded embeddings, no pad token, other names of equal weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import CONFIGS, VOCAB_SIZE, build_model, build_word_tokenizer
from transformers import AutoModelForCausalLM, PreTrainedModel

from engine.artifacts import list_weight_files, measure_model
from engine.compute.hf_sampler import HFSampler
from engine.compute.models import compute_changed_share, load_model, load_tokenizer, save_model
from engine.compute.prompts import check_vocabulary, count_known_tokens
from engine.errors import CheckpointError, ConfigError
from engine.records import EncodedPrompt

CPU = torch.device("cpu")
IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., tuple[Path, PreTrainedModel]]:
    def make(name: str, architecture: str = "llama", **changes: object) -> tuple[Path, PreTrainedModel]:
        config = CONFIGS[architecture]()
        for key, value in changes.items():
            setattr(config, key, value)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        save_model(model, build_word_tokenizer(), tmp_path / name)
        return tmp_path / name, model

    return make


@pytest.mark.parametrize("is_tied", [True, False])
def test_a_head_is_saved_once_where_it_is_tied_and_comes_back_equal(
    make: Callable[..., tuple[Path, PreTrainedModel]], tmp_path: Path, is_tied: bool
) -> None:
    """What changed is counted once, too: the embeddings, which a tied head shares."""
    folder, model = make("M0", tie_word_embeddings=is_tied)
    with torch.no_grad():
        model.get_input_embeddings().weight.add_(0.25)
    save_model(model, build_word_tokenizer(), tmp_path / "M1")
    loaded = load_model(tmp_path / "M1", dtype="float32", device=CPU)
    with torch.no_grad():
        assert torch.equal(loaded(IDS).logits, model(IDS).logits)
    names = set(load_file(tmp_path / "M1" / "model.safetensors"))
    assert ("lm_head.weight" in names) is not is_tied
    n_total = sum(parameter.numel() for parameter in model.parameters())
    assert measure_model(tmp_path / "M1").n_parameters == n_total
    assert compute_changed_share(tmp_path / "M1", folder) == model.get_input_embeddings().weight.numel() / n_total


def test_weights_under_shorter_names_are_the_same_weights(
    make: Callable[..., tuple[Path, PreTrainedModel]], tmp_path: Path
) -> None:
    """GPT-2's folder on the hub says h.0 where transformers saves transformer.h.0."""
    folder, _ = make("M0", "gpt2")
    tensors = load_file(folder / "model.safetensors")
    short = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    assert set(short) != set(tensors)
    save_file(short, folder / "model.safetensors", metadata={"format": "pt"})
    save_model(load_model(folder, dtype="float32", device=CPU), build_word_tokenizer(), tmp_path / "M1")
    assert compute_changed_share(tmp_path / "M1", folder) == 0


def test_rows_that_pad_the_embeddings_are_never_chosen(make: Callable[..., tuple[Path, PreTrainedModel]]) -> None:
    """Here they are far the likeliest, greedily and by chance; the tokenizer has no text for them."""
    _, model = make("padded", vocab_size=VOCAB_SIZE + 28, tie_word_embeddings=False)
    tokenizer = build_word_tokenizer()
    check_vocabulary(VOCAB_SIZE + 28, tokenizer)
    assert count_known_tokens(tokenizer) == VOCAB_SIZE
    with torch.no_grad():
        model.lm_head.weight[VOCAB_SIZE:] = 100 * model.lm_head.weight[VOCAB_SIZE:]
    prompts = [EncodedPrompt(f"p{index}", tuple(range(4, 7 + index))) for index in range(6)]
    drawn: dict[tuple[bool, int | None], set[int]] = {}
    for greedy in (True, False):
        for n_known in (VOCAB_SIZE, None):
            sampler = HFSampler(
                model, frozenset({2}), seed=0, n=1 if greedy else 4, max_new_tokens=8, batch_tokens=10**4, top_p=0.9,
                greedy=greedy, n_known=n_known,
            )  # fmt: skip
            responses = sampler.sample(prompts)
            drawn[greedy, n_known] = {token for response in responses for token in response.token_ids}
            assert all(torch.isfinite(torch.tensor(response.sampled_logprob)) for response in responses)
    assert all(max(drawn[greedy, VOCAB_SIZE]) < VOCAB_SIZE for greedy in (True, False))
    assert all(max(drawn[greedy, None]) >= VOCAB_SIZE for greedy in (True, False)), "the model does not want them"


def test_a_tokenizer_beyond_the_embeddings_is_refused() -> None:
    with pytest.raises(ConfigError, match=f"token ids up to {VOCAB_SIZE - 1}, the model {VOCAB_SIZE - 1} embeddings"):
        check_vocabulary(VOCAB_SIZE - 1, build_word_tokenizer())


@pytest.mark.parametrize(("end", "pad"), [("<end>", "<end>"), (None, "<pad>")])
def test_a_missing_pad_token_is_the_end_or_the_first_token(tmp_path: Path, end: str | None, pad: str) -> None:
    tokenizer = build_word_tokenizer(pad=None)
    tokenizer.eos_token = end
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert (loaded.eos_token, loaded.pad_token) == (end, pad)
    assert len(loaded) == VOCAB_SIZE, "no token was added"


def test_the_weights_are_those_that_the_index_names(tmp_path: Path) -> None:
    """A second copy in another layout is neither counted nor compared; a shard that is missing is named."""
    model = build_model()
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    shards = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(shards) > 2
    save_file({"copy": torch.zeros(10**4)}, tmp_path / "consolidated.safetensors")
    assert [path.name for path in list_weight_files(tmp_path)] == shards
    assert measure_model(tmp_path).n_parameters == sum(parameter.numel() for parameter in model.parameters())
    (tmp_path / shards[1]).unlink()
    with pytest.raises(CheckpointError, match=f"lacks {shards[1]}"):
        list_weight_files(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps([]))
    with pytest.raises(CheckpointError, match="is no index of weights"):
        list_weight_files(tmp_path)
