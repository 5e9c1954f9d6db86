"""The sampler against transformers' ``generate``, the exact nucleus distribution and the log-prob implementation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from tiny_models import END, OTHER_END, PAD, VOCAB_SIZE, build_model, make_sequences
from transformers import MambaConfig, MambaForCausalLM, PreTrainedModel

from engine.compute import hf_sampler
from engine.compute.decoding import check_logprobs
from engine.compute.hf_sampler import NUCLEUS_GUESS, HFSampler
from engine.compute.logprobs import compute_sum_logprobs
from engine.errors import BackendError, SamplingError
from engine.records import EncodedPrompt, SampledResponse, TokenSequence

# Many end tokens, so that rows of a batch end at different steps.
ENDS = frozenset({END, OTHER_END, *range(10, 70, 10)})
PROMPTS = [EncodedPrompt(f"p{i}", s.prompt) for i, s in enumerate(make_sequences(12, seed=2))]


def build_sampler(model: PreTrainedModel, **changes: object) -> HFSampler:
    settings = {"seed": 0, "n": 5, "max_new_tokens": 24, "batch_tokens": 10**6, "temperature": 0.8, "top_p": 0.95}
    return HFSampler(model=model, end_token_ids=ENDS, **{**settings, **changes})  # type: ignore[arg-type]


def sample(sampler: HFSampler, prompts: Sequence[EncodedPrompt]) -> dict[tuple[str, int], SampledResponse]:
    return {(r.prompt_id, r.k): r for batch in sampler.plan_batches(prompts) for r in sampler.sample(batch)}


def compute_nucleus(model: PreTrainedModel, prompt: EncodedPrompt, *, temperature: float, top_p: float) -> np.ndarray:
    """The first-token distribution: softmax at the temperature, the smallest set of mass >= top_p, renormalised."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt.token_ids])).logits[0, -1].double().numpy() / temperature
    probs = np.exp(logits - logits.max())
    probs /= probs.sum()
    order = np.argsort(-probs)
    kept = order[: int(np.searchsorted(probs[order].cumsum(), top_p)) + 1]
    nucleus = np.zeros_like(probs)
    nucleus[kept] = probs[kept] / probs[kept].sum()
    return nucleus


def test_greedy_equals_generate(model: PreTrainedModel) -> None:
    found = sample(build_sampler(model, n=1, greedy=True), PROMPTS)
    for prompt in PROMPTS:
        ids = torch.tensor([prompt.token_ids])
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=24,
            eos_token_id=sorted(ENDS),
            pad_token_id=PAD,
        )
        assert found[prompt.prompt_id, 0].token_ids == tuple(output[0, len(prompt.token_ids) :].tolist())


def test_greedy_prompts_differ_in_length_and_responses_end_at_different_steps(llama: PreTrainedModel) -> None:
    """Keeps the test above from passing on an easy case."""
    found = sample(build_sampler(llama, n=1, greedy=True), PROMPTS)
    assert len({len(prompt.token_ids) for prompt in PROMPTS}) > 6
    assert len({len(response.token_ids) for response in found.values()}) > 6


@pytest.mark.parametrize(("temperature", "top_p"), [(0.8, 0.95), (1.0, 0.5), (4.0, 0.95), (1.0, 1.0), (4.0, 1.0)])
def test_first_tokens_follow_the_exact_nucleus_distribution(
    llama: PreTrainedModel, temperature: float, top_p: float
) -> None:
    n = 4000
    sampler = build_sampler(llama, n=n, max_new_tokens=1, temperature=temperature, top_p=top_p)
    counts = Counter(response.token_ids[0] for response in sampler.sample(PROMPTS[:1]))
    nucleus = compute_nucleus(llama, PROMPTS[0], temperature=temperature, top_p=top_p)
    assert all(nucleus[token] > 0 for token in counts)
    expected, observed = nucleus * n, np.array([counts[token] for token in range(VOCAB_SIZE)])
    rare = expected < 5
    grouped = [(observed[~rare], expected[~rare]), ([observed[rare].sum()], [expected[rare].sum()])]
    f_obs, f_exp = (np.concatenate(side) for side in zip(*grouped, strict=True))
    kept = f_exp > 0
    assert kept.sum() > 2
    assert chisquare(f_obs[kept], f_exp[kept]).pvalue > 0.01


def test_a_nucleus_larger_than_the_guess_was_among_them(llama: PreTrainedModel) -> None:
    sizes = [(compute_nucleus(llama, PROMPTS[0], temperature=t, top_p=0.95) > 0).sum() for t in (0.8, 4.0)]
    assert sizes[0] < NUCLEUS_GUESS < sizes[1] < VOCAB_SIZE


def test_rows_with_a_small_and_a_large_nucleus_share_a_batch(llama: PreTrainedModel) -> None:
    """Only the rows whose nucleus exceeds the guess are sorted whole; the others keep their choice."""
    sampler = build_sampler(llama, n=400, max_new_tokens=1, temperature=1.6)
    sizes = [(compute_nucleus(llama, prompt, temperature=1.6, top_p=0.95) > 0).sum() for prompt in PROMPTS]
    assert min(sizes) < NUCLEUS_GUESS < max(sizes)
    together = sample(sampler, PROMPTS)
    for prompt in PROMPTS:
        alone = sampler.sample([prompt])
        assert [together[r.prompt_id, r.k].token_ids for r in alone] == [r.token_ids for r in alone]


def test_a_response_does_not_depend_on_the_other_prompts(model: PreTrainedModel) -> None:
    """Other rows end and are dropped on the way; equal tokens at float32 for this seed."""
    sampler = build_sampler(model)
    together = sample(sampler, PROMPTS)
    for prompt in PROMPTS:
        for response in sampler.sample([prompt]):
            assert together[response.prompt_id, response.k].token_ids == response.token_ids
    one_by_one = sample(build_sampler(model, batch_tokens=1), PROMPTS[::-1])
    assert {key: r.token_ids for key, r in one_by_one.items()} == {key: r.token_ids for key, r in together.items()}


def test_a_rerun_is_equal_to_the_last_bit_and_another_seed_is_not(llama: PreTrainedModel) -> None:
    first = sample(build_sampler(llama), PROMPTS)
    assert sample(build_sampler(llama), PROMPTS) == first
    other = sample(build_sampler(llama, seed=1), PROMPTS)
    assert sum(first[key].token_ids != other[key].token_ids for key in first) > len(first) / 2


def test_responses_of_a_group_and_equal_prompts_of_two_ids_differ(llama: PreTrainedModel) -> None:
    twin = replace(PROMPTS[0], prompt_id="twin")
    found = sample(build_sampler(llama, temperature=2.0), [PROMPTS[0], twin])
    assert len({response.token_ids for response in found.values()}) > 8


@pytest.mark.parametrize("greedy", [False, True])
def test_sampled_logprob_is_the_sum_at_temperature_one(model: PreTrainedModel, greedy: bool) -> None:
    sampler = build_sampler(model, n=1 if greedy else 3, greedy=greedy, temperature=0.6, top_p=0.8)
    found = sample(sampler, PROMPTS).values()
    prompts = {prompt.prompt_id: prompt.token_ids for prompt in PROMPTS}
    sums = compute_sum_logprobs(
        model, [TokenSequence(prompts[r.prompt_id], r.token_ids) for r in found], batch_tokens=500
    )
    assert [response.sampled_logprob for response in found] == pytest.approx(sums, abs=1e-3)


def test_finish_reason_and_end_token(model: PreTrainedModel) -> None:
    found = list(sample(build_sampler(model), PROMPTS).values())
    for response in found:
        *body, last = response.token_ids
        assert not ENDS & set(body)
        assert response.finish_reason == ("end" if last in ENDS else "length")
        assert response.finish_reason == "end" or len(response.token_ids) == 24
    assert {response.finish_reason for response in found} == {"end", "length"}


def test_an_end_token_at_the_limit_is_an_end(llama: PreTrainedModel) -> None:
    found = build_sampler(llama, n=400, max_new_tokens=1, temperature=4.0).sample(PROMPTS[:1])
    ended = [response for response in found if response.finish_reason == "end"]
    assert 0 < len(ended) < len(found)
    assert {response.token_ids[0] in ENDS for response in ended} == {True}


def test_a_long_response_outgrows_the_cache_buffer_several_times(llama: PreTrainedModel) -> None:
    sampler = replace(build_sampler(llama, n=2, max_new_tokens=100), end_token_ids=frozenset({END}))
    found = sampler.sample(PROMPTS[:3])
    assert max(len(response.token_ids) for response in found) == 100
    prompts = {prompt.prompt_id: prompt.token_ids for prompt in PROMPTS}
    sums = compute_sum_logprobs(
        llama, [TokenSequence(prompts[r.prompt_id], r.token_ids) for r in found], batch_tokens=500
    )
    assert [response.sampled_logprob for response in found] == pytest.approx(sums, abs=1e-3)


@pytest.mark.parametrize("greedy", [True, False])
def test_looking_seldom_for_finished_rows_changes_no_response(
    llama: PreTrainedModel, monkeypatch: pytest.MonkeyPatch, greedy: bool
) -> None:
    """As on a GPU, where each look waits for it: rows go on behind their end, and nothing of that is kept."""
    sampler = build_sampler(llama, n=1 if greedy else 5, greedy=greedy)
    often = sample(sampler, PROMPTS)
    monkeypatch.setitem(hf_sampler.LOOK_EVERY, "cpu", 7)
    seldom = sample(sampler, PROMPTS)
    assert {key: r.token_ids for key, r in seldom.items()} == {key: r.token_ids for key, r in often.items()}
    assert [r.sampled_logprob for r in seldom.values()] == pytest.approx(
        [r.sampled_logprob for r in often.values()], abs=1e-4
    )
    assert len({len(r.token_ids) for r in often.values()}) > 6


def test_batches_hold_the_limit_and_do_not_depend_on_order(llama: PreTrainedModel) -> None:
    sampler = build_sampler(llama, batch_tokens=600)
    batches = sampler.plan_batches(PROMPTS)
    assert sampler.plan_batches(PROMPTS[::-1]) == batches
    assert sorted(p.prompt_id for batch in batches for p in batch) == sorted(p.prompt_id for p in PROMPTS)
    assert all(len(b) * 5 * (max(len(p.token_ids) for p in b) + 24) <= 600 for b in batches)
    assert 1 < len(batches) < len(PROMPTS)
    assert [len(batch) for batch in replace(sampler, batch_tokens=1).plan_batches(PROMPTS)] == [1] * len(PROMPTS)


def test_a_bfloat16_model_gets_a_float32_log_softmax() -> None:
    model = build_model("llama").to(torch.bfloat16)
    for prompt in PROMPTS:
        response = build_sampler(model, n=1, greedy=True, max_new_tokens=1).sample([prompt])[0]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt.token_ids])).logits[0, -1]
        assert response.sampled_logprob == pytest.approx(float(logits.float().log_softmax(-1).max()), abs=1e-4)


def test_a_model_without_key_value_cache_is_refused() -> None:
    """It would take our cache as an unknown keyword and forget the prompt after one token."""
    config = MambaConfig(vocab_size=VOCAB_SIZE, hidden_size=16, num_hidden_layers=1, bos_token_id=1, eos_token_id=2)
    with pytest.raises(BackendError, match="MambaForCausalLM keeps no key-value cache"):
        build_sampler(MambaForCausalLM(config).eval()).sample(PROMPTS[:1])


@pytest.mark.parametrize("greedy", [False, True])
def test_a_model_of_nan_weights_gives_no_responses_that_look_like_some(greedy: bool) -> None:
    """Not even in evaluation, where an accuracy of 0 would be the only trace."""
    model = build_model()
    sampler = build_sampler(model, n=1, greedy=greedy, max_new_tokens=4)
    check_logprobs(sampler.sample(PROMPTS[:2]))
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(SamplingError, match="not finite"):
        check_logprobs(sampler.sample(PROMPTS[:2]))
