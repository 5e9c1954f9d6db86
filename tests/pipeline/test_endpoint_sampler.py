"""Sampling from a server: what it is asked, whose weights it must serve, and what is said when it fails."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from completions_server import CompletionsServer, serve
from small_runs import build_config, finish, reread
from tiny_models import END, OTHER_END, VOCAB_SIZE, make_sequences
from transformers import PreTrainedModel

from engine.artifacts import compute_folder_digest
from engine.compute.build import build_hf_sampler
from engine.compute.completions_client import CompletionsClient
from engine.compute.decoding import Decoding, ModelOutline
from engine.compute.endpoint_sampler import EndpointSampler, ServedWeights, name_weights
from engine.compute.models import load_model
from engine.config.shipped import find_configs_folder
from engine.errors import BackendError, CreamError, SamplingError
from engine.records import EncodedPrompt, SampledResponse
from engine.runtime import control

KEY = "sk-of-nobody"
ENDS = frozenset({END, OTHER_END, *range(10, 70, 10)})
PROMPTS = [EncodedPrompt(f"p{i}", s.prompt) for i, s in enumerate(make_sequences(9, seed=2))]
OUTLINE = ModelOutline(end_token_ids=ENDS, n_known=VOCAB_SIZE - 3, n_embeddings=VOCAB_SIZE, context=128)
GREEDY = Decoding(outline=OUTLINE, seed=0, n=1, max_new_tokens=12, batch_tokens=80, greedy=True)
WEIGHTS = ServedWeights("w1", Path("/models/w1"), "w0", Path("/models/w0"), None)


@pytest.fixture
def server(llama: PreTrainedModel) -> Iterator[CompletionsServer]:
    with serve(CompletionsServer(llama, name="w1", key=KEY, n_vocab=OUTLINE.n_known)) as running:
        yield running


def build(
    server: CompletionsServer, *, decoding: Decoding = GREEDY, weights: ServedWeights = WEIGHTS, **changes: Any
) -> EndpointSampler:
    settings = {"url": server.url, "key": KEY, "timeout_s": 10.0, "retry_waits_s": (0.01, 0.02), **changes}
    return EndpointSampler(CompletionsClient(**settings), decoding, weights, concurrency=4)


def sample(sampler: EndpointSampler) -> dict[str, SampledResponse]:
    return {r.prompt_id: r for batch in sampler.sample_batches(sampler.plan_batches(PROMPTS)) for r in batch}


def test_a_served_model_answers_as_the_same_model_here(server: CompletionsServer, llama: PreTrainedModel) -> None:
    found = sample(build(server))
    here = {r.prompt_id: r for r in build_hf_sampler(llama, GREEDY).sample(PROMPTS)}
    assert {key: r.token_ids for key, r in found.items()} == {key: r.token_ids for key, r in here.items()}
    assert {key: r.finish_reason for key, r in found.items()} == {key: r.finish_reason for key, r in here.items()}
    assert {r.finish_reason for r in found.values()} == {"end", "length"}
    for key, response in found.items():
        assert response.sampled_logprob == pytest.approx(here[key].sampled_logprob, abs=1e-4)


def test_each_batch_comes_whole_and_once(server: CompletionsServer) -> None:
    sampler = build(server)
    batches = sampler.plan_batches(PROMPTS)
    found = [[r.prompt_id for r in batch] for batch in sampler.sample_batches(batches)]
    assert len(batches) > 3
    assert sorted(found) == sorted([p.prompt_id for p in batch] for batch in batches)


def test_a_request_says_what_and_how(server: CompletionsServer) -> None:
    decoding = replace(GREEDY, greedy=False, n=3, temperature=0.7, top_p=0.9, seed=5)
    sampled = [r for batch in build(server, decoding=decoding).sample_batches([PROMPTS[:2]]) for r in batch]
    assert [(r.prompt_id, r.k) for r in sampled] == [(p.prompt_id, k) for p in PROMPTS[:2] for k in range(3)]
    bodies = {tuple(body["prompt"]): body for path, body in server.requests if path == "/v1/completions"}
    first, second = (bodies[prompt.token_ids] for prompt in PROMPTS[:2])
    assert (first["model"], first["n"], first["temperature"], first["top_p"]) == ("w1", 3, 0.7, 0.9)
    assert (first["max_tokens"], first["stop_token_ids"], first["return_token_ids"]) == (12, sorted(ENDS), True)
    assert first["logit_bias"] == {"97": -100.0, "98": -100.0, "99": -100.0}
    assert first["seed"] == decoding.derive_seed("p0") != second["seed"] == decoding.derive_seed("p1")
    assert first["seed"] != replace(decoding, seed=6).derive_seed("p0")
    assert 0 <= first["seed"] < 2**52


def test_a_busy_server_is_asked_again(server: CompletionsServer) -> None:
    server.faults = [(429, {"Retry-After": "0"}, "slow down"), (503, {}, "starting")]
    assert len(sample(build(server))) == len(PROMPTS)


def test_a_server_that_stays_busy_stops_the_stage(server: CompletionsServer) -> None:
    server.faults = [(429, {}, json.dumps({"error": {"message": "quota\nused up"}}))] * 9
    with pytest.raises(BackendError, match=r"no answer to 3 tries: HTTP 429: quota\n") as caught:
        sample(build(server))
    assert "resume" in (caught.value.hint or "")


def test_a_wrong_key_is_refused_at_once_and_shown_nowhere(server: CompletionsServer) -> None:
    with pytest.raises(BackendError, match=r"refuses the key \(HTTP 401\)") as caught:
        sample(build(server, key="sk-wrong"))
    assert len(server.requests) == 1
    assert "sk-wrong" not in str(caught.value)
    assert "api_key_variable" in (caught.value.hint or "")


def test_a_key_that_the_server_repeats_is_hidden(server: CompletionsServer) -> None:
    server.faults = [(400, {}, f"bad request by {KEY}")]
    sampler = build(server)
    with pytest.raises(CreamError) as caught:
        sampler._sample(PROMPTS[0])
    assert "bad request by ***" in str(caught.value)


def test_redirects_are_not_followed(server: CompletionsServer) -> None:
    """The key would go along."""
    server.faults = [(307, {"Location": server.url + "/models"}, "")]
    with pytest.raises(BackendError, match="answers /models with HTTP 307"):
        build(server).client.list_models()
    assert len(server.requests) == 1


def test_a_silent_server_times_out(server: CompletionsServer) -> None:
    server.change = lambda choice: time.sleep(0.6)
    with pytest.raises(BackendError, match=r"no answer to 2 tries: .*timed out"):
        sample(build(server, timeout_s=0.1, retry_waits_s=(0.01,)))


def test_no_server_at_all() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        client = CompletionsClient(url, None, timeout_s=1.0, retry_waits_s=())
        with pytest.raises(BackendError, match=r"no answer to 1 tries: .*Connection refused"):
            client.list_models()


@pytest.mark.parametrize("body", ["<html>hello</html>", "[1, 2]", '{"object": "list"}', '{"data": [1]}', "\xff"])
def test_nonsense_is_no_list_of_models(server: CompletionsServer, body: str) -> None:
    server.faults = [(200, {}, body)]
    with pytest.raises(BackendError, match=r"answers /models with no"):
        sample(build(server))


def test_a_server_without_token_ids_is_refused(server: CompletionsServer) -> None:
    server.change = lambda choice: choice.pop("token_ids")
    with pytest.raises(BackendError, match="gives texts and no token ids"):
        sample(build(server))


def test_a_server_without_logprobs_is_refused(server: CompletionsServer) -> None:
    server.change = lambda choice: choice.update(logprobs=None)
    with pytest.raises(BackendError, match="no log-probability for each token"):
        sample(build(server))


def test_a_group_that_is_not_whole_is_refused(server: CompletionsServer) -> None:
    server.faults = [(200, {}, '{"data": [{"id": "w1"}]}'), (200, {}, '{"choices": []}')]
    with pytest.raises(BackendError, match="gave 0 responses where 1 were asked for"):
        sample(build(server))


def test_a_server_that_changes_the_prompt_is_refused(server: CompletionsServer) -> None:
    server.change = lambda choice: choice["prompt_token_ids"].insert(0, 1)
    with pytest.raises(BackendError, match="changed the prompt's tokens"):
        sample(build(server))


def test_a_response_without_its_end_token_is_refused(server: CompletionsServer) -> None:
    def cut(choice: dict[str, Any]) -> None:
        if choice["finish_reason"] == "stop":
            choice["token_ids"].pop()
            choice["logprobs"]["token_logprobs"].pop()

    server.change = cut
    with pytest.raises(SamplingError, match="without an end token"):
        sample(build(server))


def test_a_model_of_another_vocabulary_is_noticed(server: CompletionsServer) -> None:
    server.change = lambda choice: choice["token_ids"].__setitem__(0, VOCAB_SIZE - 1)
    with pytest.raises(SamplingError, match=r"chose token 99.*another vocabulary"):
        sample(build(server))


def test_other_weights_are_refused_with_the_command_that_serves_the_right_ones(server: CompletionsServer) -> None:
    weights = replace(WEIGHTS, name="w2", folder=Path("/models/w 2"))
    with pytest.raises(BackendError, match="serves w1, and this stage needs the weights w2") as caught:
        sample(build(server, weights=weights))
    assert "vllm serve '/models/w 2' --served-model-name w2" in str(caught.value)
    assert all(path == "/v1/models" for path, _ in server.requests)


ADAPTER = ServedWeights("a1", Path("/store/a1"), "w1", Path("/models/w1"), 8)


def test_an_adapter_is_loaded_where_the_server_allows_it(server: CompletionsServer) -> None:
    server.may_load = True
    assert len(sample(build(server, weights=ADAPTER))) == len(PROMPTS)
    loads = [body for path, body in server.requests if path == "/v1/load_lora_adapter"]
    assert loads == [{"lora_name": "a1", "lora_path": "/store/a1"}]
    sample(build(server, weights=ADAPTER))
    assert sum(path == "/v1/load_lora_adapter" for path, _ in server.requests) == 1


def test_an_adapter_that_cannot_be_loaded_stops_with_the_command(server: CompletionsServer) -> None:
    with pytest.raises(BackendError, match="HTTP 404: no such thing") as caught:
        sample(build(server, weights=ADAPTER))
    command = "vllm serve /models/w1 --served-model-name w1 --enable-lora --max-lora-rank 8 --lora-modules a1=/store/a1"
    assert command in str(caught.value)


def test_an_adapter_of_another_base_is_refused(server: CompletionsServer) -> None:
    """Its name alone does not say on top of what it was loaded."""
    server.served["a1"] = "w9"
    with pytest.raises(BackendError, match="a1 is an adapter of w9, not of w1"):
        sample(build(server, weights=ADAPTER))


def test_weights_are_named_by_their_content(tmp_path: Path) -> None:
    base = find_configs_folder() / "models" / "sandbox"
    assert name_weights(base, base, None).name == compute_folder_digest(base)
    assert name_weights(base, base, "mine").name == "mine"
    (tmp_path / "adapter_config.json").write_text('{"r": 4, "rank_pattern": {"q_proj": 12}}')
    adapter = name_weights(tmp_path, base, "mine")
    assert (adapter.adapter_rank, adapter.base_name, adapter.name) == (16, "mine", compute_folder_digest(tmp_path))
    (tmp_path / "adapter_config.json").write_text('{"r": 600}')
    with pytest.raises(BackendError, match=r"rank 512 at most, and adapter\.rank is 600"):
        name_weights(tmp_path, base, None)


def test_a_run_waits_for_the_weights_that_it_has_trained(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has M0 alone: the run evaluates it, trains M1, and stops with the command; served, it goes on."""
    folder = find_configs_folder() / "models" / "sandbox"
    model = load_model(folder, dtype="float32", device=torch.device("cpu"))
    monkeypatch.setenv("SERVER_KEY", KEY)
    with serve(CompletionsServer(model, name="base", key=KEY)) as server:
        config = build_config(
            "sampling.backend=openai",
            f"sampling.endpoint={{url: {server.url}, api_key_variable: SERVER_KEY, base_name: base}}",
            "iterations=0",
            "evaluation.items=2",
            "evaluation.max_new_tokens=4",
        )
        stopped = finish(root, control.start_run(root, config), "failed")
        assert "evaluate M1: the server" in (stopped.error or "")
        assert stopped.exit_code == 5
        command = next(line for line in (stopped.error or "").splitlines() if "vllm serve" in line)
        served = Path(command.split("vllm serve ")[1].split(" --")[0])
        assert served.parent.name == "checkpoints"
        server.served = {command.rpartition(" ")[2]: None}
        server.model = load_model(served, dtype="float32", device=model.device)
        finish(root, control.resume_run(root, reread(root, stopped)))
    assert not [path for path in root.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
