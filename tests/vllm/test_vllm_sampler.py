"""vLLM itself, on CPU, against the HF sampler, the log-prob implementation and PEFT."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from engines import PROMPTS, build_decoding, build_sampler, sample
from scipy.stats import chi2_contingency
from transformers import PreTrainedModel

from engine.compute.adapters import load_policy
from engine.compute.build import build_hf_sampler
from engine.compute.decoding import Decoding
from engine.compute.logprobs import compute_sum_logprobs
from engine.compute.vllm_sampler import VllmSampler
from engine.errors import BackendError
from engine.records import SampledResponse, TokenSequence

TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def decoding(policy_folder: Path) -> Decoding:
    """Many end tokens, so that responses end at different steps."""
    decoding = build_decoding(policy_folder)
    ends = decoding.outline.end_token_ids | set(range(5, decoding.outline.n_known, 9))
    return replace(decoding, outline=replace(decoding.outline, end_token_ids=frozenset(ends)))


@pytest.fixture(scope="module")
def sampler(python: str, policy_folder: Path, decoding: Decoding) -> Iterator[VllmSampler]:
    sampler = build_sampler(python, policy_folder, decoding)
    yield sampler
    sampler.close()


@pytest.fixture(scope="module")
def responses(sampler: VllmSampler) -> dict[tuple[str, int], SampledResponse]:
    return sample(sampler)


def check_logprobs(model: PreTrainedModel, found: Mapping[tuple[str, int], SampledResponse]) -> None:
    """The sums that vLLM reports are those of our own forward pass, at temperature 1, whatever it sampled at."""
    prompts = {prompt.prompt_id: prompt.token_ids for prompt in PROMPTS}
    sequences = [TokenSequence(prompts[r.prompt_id], r.token_ids) for r in found.values()]
    sums = compute_sum_logprobs(model, sequences, batch_tokens=1000)
    assert [r.sampled_logprob for r in found.values()] == pytest.approx(sums, abs=TOLERANCE)


def test_every_prompt_gets_its_group_and_responses_end_where_they_should(
    responses: dict[tuple[str, int], SampledResponse], decoding: Decoding
) -> None:
    ends = decoding.outline.end_token_ids
    assert set(responses) == {(prompt.prompt_id, k) for prompt in PROMPTS for k in range(5)}
    for response in responses.values():
        assert not ends & set(response.token_ids[:-1])
        assert (response.token_ids[-1] in ends) == (response.finish_reason == "end")
        assert response.finish_reason == "end" or len(response.token_ids) == 24
    assert {response.finish_reason for response in responses.values()} == {"end", "length"}
    assert len({len(response.token_ids) for response in responses.values()}) > 5


def test_reported_logprobs_are_those_of_the_hf_forward(
    policy: PreTrainedModel, responses: dict[tuple[str, int], SampledResponse]
) -> None:
    check_logprobs(policy, responses)


def test_a_rerun_on_two_new_engines_gives_equal_responses(
    python: str, policy_folder: Path, decoding: Decoding, responses: dict[tuple[str, int], SampledResponse]
) -> None:
    """Seeds belong to prompts: neither the number of engines nor the order of prompts matters."""
    two = build_sampler(python, policy_folder, decoding, n_engines=2)
    try:
        again = sample(two, PROMPTS[::-1])
        assert len({engine.process.pid for engine in two.engines}) == 2
    finally:
        two.close()
    assert {key: r.token_ids for key, r in again.items()} == {key: r.token_ids for key, r in responses.items()}


@pytest.fixture(scope="module")
def first_tokens(python: str, policy_folder: Path) -> Iterator[VllmSampler]:
    """Samples many first tokens."""
    sampler = build_sampler(python, policy_folder, build_decoding(policy_folder, n=3000, max_new_tokens=1))
    yield sampler
    sampler.close()


def test_first_tokens_of_both_samplers_are_distributed_alike(
    first_tokens: VllmSampler, policy: PreTrainedModel
) -> None:
    by_vllm = sample(first_tokens, PROMPTS[:3])
    by_hf = build_hf_sampler(policy, first_tokens.decoding).sample(PROMPTS[:3])
    for prompt in PROMPTS[:3]:
        counts = [
            Counter(r.token_ids[0] for r in found if r.prompt_id == prompt.prompt_id)
            for found in (by_vllm.values(), by_hf)
        ]
        table = np.array([[count[token] for token in sorted(counts[0] | counts[1])] for count in counts])
        is_rare = table.sum(0) < 10
        table = np.column_stack([table[:, ~is_rare], table[:, is_rare].sum(1)])
        table = table[:, table.sum(0) > 0]
        assert table.shape[1] > 5
        assert chi2_contingency(table).pvalue > 0.001


def test_longer_prompts_start_the_engine_anew(first_tokens: VllmSampler) -> None:
    sample(first_tokens, PROMPTS[:1])
    short = first_tokens.engines[0].process
    longer = replace(PROMPTS[0], token_ids=sum((prompt.token_ids for prompt in PROMPTS), ()))
    assert len(sample(first_tokens, [longer])) == 3000
    assert short.poll() == 0
    assert first_tokens.engines[0].process.pid != short.pid


def test_padding_of_the_embeddings_is_never_sampled(
    policy_folder: Path, responses: dict[tuple[str, int], SampledResponse]
) -> None:
    outline = build_decoding(policy_folder).outline
    assert outline.n_embeddings == outline.n_known + 16
    assert max(token for r in responses.values() for token in r.token_ids) < outline.n_known


def test_an_adapter_is_applied_as_peft_applies_it(
    python: str, policy_folder: Path, adapter_folder: Path, policy: PreTrainedModel
) -> None:
    decoding = build_decoding(policy_folder, n=1, greedy=True)
    adapted = load_policy(adapter_folder, base_folder=policy_folder, dtype="float32", device=torch.device("cpu"))
    sampler = build_sampler(python, policy_folder, decoding, adapter=adapter_folder)
    try:
        found = sample(sampler)
    finally:
        sampler.close()
    expected, plain = (
        {r.prompt_id: r.token_ids for r in build_hf_sampler(model, decoding).sample(PROMPTS)}
        for model in (adapted, policy)
    )
    assert {r.prompt_id: r.token_ids for r in found.values()} == expected
    assert sum(expected[prompt.prompt_id] != plain[prompt.prompt_id] for prompt in PROMPTS) > 6
    check_logprobs(adapted, found)


def test_a_killed_engine_is_reported_with_its_signal(sampler: VllmSampler) -> None:
    sample(sampler, PROMPTS[:1])
    os.kill(sampler.engines[0].process.pid, signal.SIGKILL)
    with pytest.raises(BackendError, match="was killed by SIGKILL") as caught:
        sample(sampler)
    assert "resume" in str(caught.value)
    sampler.close()


def test_a_model_that_vllm_does_not_know_gives_one_message(python: str, policy_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unknown"
    shutil.copytree(policy_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["NobodysForCausalLM"]}))
    sampler = build_sampler(python, folder, build_decoding(policy_folder))
    with pytest.raises(BackendError, match=r"vLLM does not start with this model: .*NobodysForCausalLM") as caught:
        sample(sampler)
    sampler.close()
    assert len(caught.value.message) < 400
