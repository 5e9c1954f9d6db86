"""Whole runs that sample and evaluate with vLLM: an engine killed in the middle, a run resumed, a server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from engines import PROMPTS, build_decoding, sample
from small_runs import build_config, find_processes, finish, is_stage, read_all, reread, wait_until

from db.queries import read_attempts, read_responses, read_run_checkpoints, read_run_stages
from db.reading import open_reader
from db.rows import ResponseRow, RunRow
from engine.artifacts import compute_folder_digest
from engine.compute.completions_client import CompletionsClient
from engine.compute.decoding import Decoding
from engine.compute.endpoint_sampler import EndpointSampler, name_weights
from engine.compute.vllm_sampler import SCRIPT
from engine.errors import BackendError
from engine.runtime import control

KEY = "not-a-secret-of-anyone"
SERVED = "the-base"
START_S = 180.0


def read_sampled(root: Path, run: RunRow) -> list[ResponseRow]:
    with closing(open_reader(root)) as reader:
        stage = next(s for s in read_run_stages(reader, run.run_id) if s.name == "sample")
        return read_responses(reader, stage.stage_id)


def find_engines(root: Path) -> list[psutil.Process]:
    return [p for p in find_processes(root) if str(SCRIPT) in p.cmdline()]


def test_a_run_whose_engine_is_killed_fails_with_a_word_and_is_resumed(root: Path, policy_folder: Path) -> None:
    config = build_config(
        f"model={{kind: hf, path: {policy_folder}, dtype: float32}}",
        "sampling.backend=vllm",
        "data.prompts_per_iteration=120",
        "sampling.max_new_tokens=100",
        "sampling.batch_tokens=4000",
        "evaluation.tasks=[]",
    )
    run = control.start_run(root, config)
    wait_until(lambda: is_stage(root, run, "sample t=1", "running"))
    wait_until(lambda: len(read_sampled(root, run)) > 0)
    (engine,) = find_engines(root)
    engine.send_signal(signal.SIGKILL)
    failed = finish(root, run, "failed")
    assert "sample t=1: the vLLM engine was killed by SIGKILL" in (failed.error or "")
    assert "stage.log" in (failed.error or "") and "resume" in (failed.error or "")
    assert failed.exit_code == 5
    kept = read_sampled(root, run)
    assert 0 < len(kept) < 600
    finish(root, control.resume_run(root, reread(root, run)))
    whole = read_sampled(root, run)
    assert len(whole) == 600
    assert {(r.prompt_id, r.k): r.token_ids for r in kept}.items() <= {
        (r.prompt_id, r.k): r.token_ids for r in whole
    }.items()
    assert not find_engines(root)


def test_vllm_evaluates_as_our_own_sampler_does(root: Path, policy_folder: Path) -> None:
    """Greedy answers of M0, which nothing has trained, under either backend."""
    answers = []
    for backend in ("hf", "vllm"):
        config = build_config(
            f"model={{kind: hf, path: {policy_folder}, dtype: float32}}",
            f"sampling.backend={backend}",
            "data.sft=null",
            "iterations=0",
            "evaluation.items=40",
        )
        run = finish(root, control.start_run(root, config))
        answers.append(sorted(row[2:] for row in read_all(root, run)["evaluations"]))
    assert len(answers[0]) == 40
    assert answers[0] == answers[1]


@pytest.fixture(scope="module")
def server(python: str, policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """vLLM's own OpenAI-compatible server of M0, which takes adapters while it runs; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "TORCH_COMPILE_DISABLE": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_API_KEY": KEY,
    }
    options = f"--model {policy_folder} --served-model-name {SERVED} --host 127.0.0.1 --port {port} --dtype float32 "
    options += "--enforce-eager --no-enable-chunked-prefill --max-num-batched-tokens 4096 --max-model-len 256 "
    options += "--enable-lora --max-lora-rank 8 --max-loras 1 --generation-config vllm"
    log = tmp_path_factory.mktemp("server") / "server.log"
    command = [python, "-m", "vllm.entrypoints.openai.api_server", *options.split()]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=os.environ | settings, stdout=output, stderr=output, cwd=log.parent)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_S
        while not is_up(f"{url}/health"):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
        yield f"{url}/v1"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except (OSError, urllib.error.URLError):
        return False


def build_endpoint(url: str, folder: Path, decoding: Decoding, *, base_name: str | None = SERVED) -> EndpointSampler:
    client = CompletionsClient(url, KEY, timeout_s=60.0, retry_waits_s=())
    return EndpointSampler(client, decoding, name_weights(folder, folder, base_name), concurrency=4)


def test_a_server_gives_token_ids_with_the_logprobs_of_the_hf_forward(
    server: str, policy_folder: Path, policy: object
) -> None:
    from test_vllm_sampler import check_logprobs

    endpoint = build_endpoint(server, policy_folder, build_decoding(policy_folder))
    found = sample(endpoint)
    assert set(found) == {(prompt.prompt_id, k) for prompt in PROMPTS for k in range(5)}
    ends = endpoint.decoding.outline.end_token_ids
    assert all((r.finish_reason == "end") == (r.token_ids[-1] in ends) for r in found.values())
    check_logprobs(policy, found)
    again = sample(build_endpoint(server, policy_folder, build_decoding(policy_folder)))
    assert {key: r.token_ids for key, r in again.items()} == {key: r.token_ids for key, r in found.items()}


def test_a_server_of_other_weights_is_refused_with_the_command_that_serves_them(
    server: str, policy_folder: Path
) -> None:
    endpoint = build_endpoint(server, policy_folder, build_decoding(policy_folder), base_name=None)
    with pytest.raises(BackendError, match=f"serves {SERVED}, and this stage needs the weights") as caught:
        sample(endpoint)
    digest = compute_folder_digest(policy_folder)
    assert f"vllm serve {policy_folder} --served-model-name {digest}" in str(caught.value)


def test_a_lora_run_samples_every_model_from_one_server(
    server: str, root: Path, policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each adapter is loaded into the server as its turn comes; the server's answers are those of M_t."""
    monkeypatch.setenv("SERVER_KEY", KEY)
    config = build_config(
        f"model={{kind: hf, path: {policy_folder}, dtype: float32}}",
        "adapter={kind: lora, rank: 8, alpha: 16}",
        "sampling.backend=openai",
        f"sampling.endpoint={{url: {server}, api_key_variable: SERVER_KEY, base_name: {SERVED}}}",
        "sft.learning_rate=1e-2",
        "evaluation.items=8",
        "evaluation.max_new_tokens=8",
    )
    run = finish(root, control.start_run(root, config))
    served = CompletionsClient(server, KEY, timeout_s=10.0).list_models()
    with closing(open_reader(root)) as reader:
        digests = [c.digest for c in read_run_checkpoints(reader, run.run_id, root) if c.name != "M0"]
        attempts = read_attempts(reader, run.run_id)
    assert len(digests) == 2
    assert {served[digest] for digest in digests} == {SERVED}
    assert len(read_sampled(root, run)) == 24 * 5
    assert all(attempt.exit_code == 0 for attempt in attempts)
    assert not [path for path in root.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
