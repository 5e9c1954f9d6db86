"""Log-probabilities of responses against plain torch: every architecture, any bucket, position masks, float32 sums."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import END, PAD, build_model, compute_plain, make_sequences
from transformers import LlamaForCausalLM, PreTrainedModel

from engine.compute import logprobs
from engine.compute.logprobs import (
    compute_sum_logprobs,
    compute_token_logprobs,
    iterate_sum_logprobs,
    plan_buckets,
)
from engine.records import TokenSequence


@contextmanager
def count_rows(model: PreTrainedModel) -> Iterator[list[int]]:
    """Collect the number of rows of each forward pass."""
    rows: list[int] = []

    def note(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        rows.append(len(kwargs["input_ids"]))

    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    yield rows
    handle.remove()


def test_sums_equal_plain_torch_one_by_one(model: PreTrainedModel) -> None:
    sequences = make_sequences(20, seed=1)
    found = compute_sum_logprobs(model, sequences, batch_tokens=150)
    assert found == pytest.approx([compute_plain(model, sequence) for sequence in sequences], abs=1e-4)


def test_soft_capping_counts() -> None:
    """The same weights without the cap give other sums, so the architecture test above would see a lost cap."""
    model = build_model("gemma2")
    sequences = make_sequences(5, seed=2)
    capped = compute_sum_logprobs(model, sequences, batch_tokens=1000)
    model.config.final_logit_softcapping = None
    free = compute_sum_logprobs(model, sequences, batch_tokens=1000)
    assert all(abs(a - b) > 0.1 for a, b in zip(capped, free, strict=True))


@pytest.mark.parametrize("batch_tokens", [1, 64, 10**6])
def test_buckets_and_padding_change_nothing(model: PreTrainedModel, batch_tokens: int) -> None:
    sequences = make_sequences(16, seed=3, response=(1, 40))
    found = compute_sum_logprobs(model, sequences, batch_tokens=batch_tokens)
    assert found == pytest.approx(compute_sum_logprobs(model, sequences, batch_tokens=200), abs=1e-4)


@given(
    lengths=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=30),
    batch_tokens=st.integers(1, 60),
    seed=st.integers(0, 5),
)
def test_plan_is_a_partition_within_the_limit(lengths: list[tuple[int, int]], batch_tokens: int, seed: int) -> None:
    rng = random.Random(seed)
    sequences = [TokenSequence(tuple(rng.choices((5, 6), k=p)), tuple(rng.choices((5, 6), k=r))) for p, r in lengths]
    buckets = plan_buckets(sequences, batch_tokens=batch_tokens)
    planned = [sequence for bucket in buckets for sequence in bucket]
    assert set(planned) == set(sequences) and len(planned) == len(set(planned))
    assert all(len(b) == 1 or len(b) * max(map(len, b)) <= batch_tokens for b in buckets)
    assert [len(s) for s in planned] == sorted(map(len, planned), reverse=True)
    rng.shuffle(sequences)
    assert plan_buckets(sequences, batch_tokens=batch_tokens) == buckets


def test_equal_responses_are_computed_once(llama: PreTrainedModel) -> None:
    distinct = make_sequences(6, seed=4)
    with count_rows(llama) as rows:
        found = compute_sum_logprobs(llama, distinct * 3 + distinct[:2], batch_tokens=120)
    assert sum(rows) == 6
    assert found == (found[:6] * 4)[:20]


def test_order_does_not_matter_to_the_last_bit(llama: PreTrainedModel) -> None:
    sequences = make_sequences(20, seed=5)
    shuffled = random.Random(0).sample(sequences, k=len(sequences))
    found = dict(zip(shuffled, compute_sum_logprobs(llama, shuffled, batch_tokens=100), strict=True))
    assert compute_sum_logprobs(llama, sequences, batch_tokens=100) == [found[sequence] for sequence in sequences]


def test_a_resume_of_some_buckets_gives_equal_bits(llama: PreTrainedModel) -> None:
    buckets = plan_buckets(make_sequences(20, seed=6), batch_tokens=100)
    whole = [values for _, values in iterate_sum_logprobs(llama, buckets)]
    assert len(buckets) > 3
    assert [values for _, values in iterate_sum_logprobs(llama, buckets[2:])] == whole[2:]


def test_only_response_tokens_count(model: PreTrainedModel) -> None:
    """Chain rule, which a counted prompt token breaks: log p(ab | prompt) = log p(a | prompt) + log p(b | prompt a)."""
    for sequence in make_sequences(6, seed=7, response=(2, 12)):
        a, b = sequence.response[:1], sequence.response[1:]
        parts = [sequence, TokenSequence(sequence.prompt, a), TokenSequence(sequence.prompt + a, b)]
        whole, first, rest = compute_sum_logprobs(model, parts, batch_tokens=1000)
        assert whole == pytest.approx(first + rest, abs=1e-4)


def test_one_token_after_one_token(llama: PreTrainedModel) -> None:
    with torch.no_grad():
        expected = llama(input_ids=torch.tensor([[7]])).logits[0, -1].log_softmax(-1)[9]
    found = compute_sum_logprobs(llama, [TokenSequence((7,), (9,)), *make_sequences(3, seed=8)], batch_tokens=1000)
    assert found[0] == pytest.approx(float(expected), abs=1e-5)


def test_pad_and_end_ids_inside_a_response_are_scored(model: PreTrainedModel) -> None:
    """Masks go by position: a response may hold the id that fills the bucket, and its end token counts."""
    odd = [TokenSequence((5, PAD, 6), response) for response in ((8, PAD, 9), (PAD,), (8, PAD, PAD), (8, 9, END))]
    found = compute_sum_logprobs(model, [*odd, *make_sequences(4, seed=9)], batch_tokens=1000)
    assert found[:4] == pytest.approx([compute_plain(model, sequence) for sequence in odd], abs=1e-4)
    assert found[3] < compute_sum_logprobs(model, [TokenSequence((5, PAD, 6), (8, 9))], batch_tokens=1000)[0]


def test_a_bfloat16_model_gets_a_float32_log_softmax() -> None:
    model = build_model("llama").to(torch.bfloat16)
    sequence = make_sequences(1, seed=10, response=(12, 12))[0]
    with torch.no_grad():
        logits_TV = model(input_ids=torch.tensor([(sequence.prompt + sequence.response)[:-1]])).logits[0]
    assert logits_TV.dtype == torch.bfloat16
    at, ids = slice(len(sequence.prompt) - 1, None), torch.tensor(sequence.response)[:, None]
    fine = float(logits_TV[at].float().log_softmax(-1).gather(1, ids).sum())
    coarse = float(logits_TV[at].log_softmax(-1).gather(1, ids).sum())
    found = compute_sum_logprobs(model, [sequence], batch_tokens=1000)[0]
    assert found == pytest.approx(fine, abs=1e-4)
    assert abs(coarse - fine) > 1e-2


def test_bfloat16_logits_get_the_log_softmax_of_float64() -> None:
    """Logits as large models have them, up to 30: rounding the log-softmax itself to bfloat16 would cost 0.1."""
    generator = torch.Generator().manual_seed(0)
    logits_MV = (8 * torch.randn(300, 5000, generator=generator)).to(torch.bfloat16)
    target_M = torch.randint(5000, (300,), generator=generator)
    exact = logits_MV.double().log_softmax(1).gather(1, target_M[:, None])[:, 0]
    assert (compute_token_logprobs(logits_MV, target_M) - exact).abs().max() < 1e-5
    assert (logits_MV.log_softmax(1).gather(1, target_M[:, None])[:, 0] - exact).abs().max() > 0.05


def test_the_room_for_float32_logits_changes_no_bit(llama: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = make_sequences(20, seed=12)
    whole = compute_sum_logprobs(llama, sequences, batch_tokens=300)
    for room in (1, 700):  # one row at a time, seven
        monkeypatch.setattr(logprobs, "LOGITS_AT_ONCE", room)
        assert compute_sum_logprobs(llama, sequences, batch_tokens=300) == whole


class WideLlama(LlamaForCausalLM):
    """A model that cannot leave logits out, as code outside of transformers may be."""

    def forward(self, input_ids: torch.Tensor, use_cache: bool) -> Any:  # type: ignore[override]
        """All logits."""
        return super().forward(input_ids=input_ids, use_cache=use_cache)


def test_a_model_without_logits_to_keep_gives_the_same(llama: PreTrainedModel) -> None:
    wide = WideLlama(llama.config).eval()
    wide.load_state_dict(llama.state_dict())
    sequences = make_sequences(8, seed=11)
    found = compute_sum_logprobs(wide, sequences, batch_tokens=100)
    assert found == pytest.approx(compute_sum_logprobs(llama, sequences, batch_tokens=100), abs=1e-5)


@pytest.mark.parametrize("sequence", [TokenSequence((), (5,)), TokenSequence((5,), ())])
def test_nothing_to_condition_on_or_to_score_is_refused(llama: PreTrainedModel, sequence: TokenSequence) -> None:
    with pytest.raises(ValueError, match="at least one prompt and one response token"):
        compute_sum_logprobs(llama, [sequence], batch_tokens=100)
