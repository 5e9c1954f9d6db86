"""Sampling with vLLM: starts its engines as processes of their own, hands out batches, collects responses.

Knows the protocol of ``vllm_process`` and imports no vLLM. The main path enters at ``VllmSampler.sample_batches``.
Equal prompts and seed give equal responses as far as vLLM itself does: it computes requests together as they come, and
in half precision that can change a token.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from engine.compute.decoding import Decoding
from engine.errors import BackendError
from engine.records import EncodedPrompt, SampledResponse

SCRIPT = Path(__file__).with_name("vllm_process.py")
START_TIMEOUT_S = 1800.0  # reading and compiling a large model takes minutes; an engine that ends is noticed at once
END_TIMEOUT_S = 10.0
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM can be told as the largest rank
POLL_S = 0.5
# Responses that an engine has under way before it gets no further batch: more than vLLM computes at once.
IN_FLIGHT = 1024
READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class EngineModel:
    """What an engine loads: a model folder, or M0's with one adapter folder on top."""

    folder: Path
    dtype: str
    adapter: Path | None = None


@dataclass(frozen=True, slots=True)
class EnginePlaces:
    """Which interpreter runs the engines and where: one engine for each of ``devices``, a CUDA_VISIBLE_DEVICES."""

    python: str
    devices: tuple[str | None, ...]
    tensor_parallel: int
    gpu_memory_utilization: float
    enforce_eager: bool
    log: Path | None


class VllmSampler:
    """Samples on engines that start with the first batch; ``close`` ends them."""

    def __init__(self, model: EngineModel, decoding: Decoding, places: EnginePlaces, *, min_length: int = 0) -> None:
        """``min_length``: tokens of prompt and response that engines are started for, if no batch needs more."""
        self.model = model
        self.decoding = decoding
        self.places = places
        self.length = min_length
        self.engines: list[_Engine] = []
        self._ids = count()

    def plan_batches(self, prompts: Sequence[EncodedPrompt]) -> list[list[EncodedPrompt]]:
        """Return the batches in which responses are committed; engines compute several at once."""
        return self.decoding.plan_batches(prompts)

    def sample_batches(self, batches: Sequence[Sequence[EncodedPrompt]]) -> Iterator[list[SampledResponse]]:
        """Yield the responses of each batch as it gets whole.

        Raises:
            BackendError: an engine does not start, or dies.
        """
        if not batches:
            return
        self._start(max(len(prompt.token_ids) for batch in batches for prompt in batch))
        waiting = deque(_Batch(list(batch)) for batch in batches)
        under_way: dict[str, tuple[_Batch, EncodedPrompt]] = {}
        while waiting or under_way:
            while waiting and (engine := min(self.engines, key=lambda e: e.n_under_way)).n_under_way < IN_FLIGHT:
                batch = waiting.popleft()
                for prompt in batch.prompts:
                    request = str(next(self._ids))
                    under_way[request] = (batch, prompt)
                    engine.send_prompt(request, prompt, self.decoding)
            for answer in self._receive():
                found = under_way.pop(answer["id"], None)
                if found is None:  # of batches that nobody waited for
                    continue
                batch, prompt = found
                batch.responses[prompt.prompt_id] = self._build_responses(prompt, answer["responses"])
                if len(batch.responses) == len(batch.prompts):
                    yield [response for p in batch.prompts for response in batch.responses[p.prompt_id]]

    def close(self) -> None:
        """End the engines and wait for it, so that their memory is free."""
        engines, self.engines = self.engines, []
        for engine in engines:
            engine.hang_up()
        for engine in engines:
            engine.end()

    def _build_responses(self, prompt: EncodedPrompt, found: Sequence[Any]) -> list[SampledResponse]:
        if len(found) != self.decoding.n:
            raise BackendError(f"vLLM gave {len(found)} responses where {self.decoding.n} were asked for")
        return [
            self.decoding.build_response(prompt, k, token_ids=ids, finish=finish, logprob=logprob)
            for k, (ids, finish, logprob) in enumerate(found)
        ]

    def _start(self, longest: int) -> None:
        """Start the engines where they do not run yet, or not for prompts as long as this."""
        needed = longest + self.decoding.max_new_tokens
        if self.engines and needed <= self.length:
            return
        self.close()
        self.length = max(needed, min(self.length, self.decoding.outline.context or self.length))
        settings = {"engine": self._describe_engine(), "sampling": _describe_sampling(self.decoding)}
        self.engines = [_Engine(self.places, device, settings) for device in self.places.devices]
        deadline = time.monotonic() + START_TIMEOUT_S
        while not all(engine.is_ready for engine in self.engines):
            for _ in self._receive():
                pass
            if time.monotonic() > deadline:
                raise BackendError(
                    f"vLLM did not start within {START_TIMEOUT_S / 60:.0f} minutes", hint=_name_log(self.places.log)
                )

    def _describe_engine(self) -> dict[str, Any]:
        adapter = self.model.adapter
        return {
            "model": str(self.model.folder),
            "adapter": None if adapter is None else str(adapter),
            "adapter_rank": None if adapter is None else read_adapter_rank(adapter),
            "dtype": self.model.dtype,
            "max_model_len": self.length,
            "tensor_parallel_size": self.places.tensor_parallel,
            "gpu_memory_utilization": self.places.gpu_memory_utilization,
            "enforce_eager": self.places.enforce_eager,
        }

    def _receive(self) -> Iterator[dict[str, Any]]:
        """Yield what has been answered, after waiting a moment for it."""
        with selectors.DefaultSelector() as selector:
            for engine in self.engines:
                selector.register(engine.answers, selectors.EVENT_READ, engine)
            ready = [key.data for key, _ in selector.select(POLL_S)]
        for engine in ready:
            yield from engine.read()
        for engine in self.engines:
            engine.check_alive()


@dataclass(frozen=True, slots=True)
class _Batch:
    prompts: list[EncodedPrompt]
    responses: dict[str, list[SampledResponse]] = field(default_factory=dict)


class _Engine:
    """One process with one engine."""

    def __init__(self, places: EnginePlaces, device: str | None, settings: dict[str, Any]) -> None:
        self.log = places.log
        self.is_ready = False
        self.n_under_way = 0
        self._n = settings["sampling"]["n"]
        self._rest = b""
        self.answers, theirs = os.pipe()
        os.set_blocking(self.answers, False)
        visible = {} if device is None else {"CUDA_VISIBLE_DEVICES": device}
        try:
            self.process = subprocess.Popen(
                [places.python, str(SCRIPT), str(theirs)],
                stdin=subprocess.PIPE,
                pass_fds=[theirs],
                process_group=0,
                env=os.environ | visible,
            )
        except OSError as error:
            os.close(self.answers)
            raise BackendError(f"{places.python} does not run: {error.strerror}") from error
        finally:
            os.close(theirs)
        self._send(settings)

    def send_prompt(self, request: str, prompt: EncodedPrompt, decoding: Decoding) -> None:
        """Hand over one prompt."""
        self.n_under_way += self._n
        seed = None if decoding.greedy else decoding.derive_seed(prompt.prompt_id)
        self._send({"id": request, "token_ids": prompt.token_ids, "seed": seed})

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the answers that can be read at once.

        Raises:
            BackendError: the engine says that it failed.
        """
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.answers, READ_BYTES):
                self._rest += chunk
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            answer = json.loads(line)
            if "failed" in answer:
                doing = "failed" if self.is_ready else "does not start with this model"
                raise BackendError(f"vLLM {doing}: {answer['failed']}", hint=_name_log(self.log))
            if "ready" in answer:
                self.is_ready = True
                continue
            self.n_under_way -= self._n
            yield answer

    def check_alive(self) -> None:
        """Raise a BackendError where the process has ended, with how."""
        code = self.process.poll()
        if code is None:
            return
        for _ in self.read():  # its own word of what went wrong, if it still had one
            pass
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        last = _read_last_line(self.log)
        raise BackendError(
            f"the vLLM engine {how}" + (f"; the last line of its log: {last}" if last else ""),
            hint=f"{_name_log(self.log)}; then resume: what was sampled is kept".removeprefix("; "),
        )

    def hang_up(self) -> None:
        """Close its input, which it ends by."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def end(self) -> None:
        """Wait for the end, and bring it about where it does not come."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_TIMEOUT_S)
        # With tensor parallelism its workers would hold their GPUs for seconds after it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.answers)

    def _send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        # A process that has ended cannot be written to; ``check_alive`` tells how it ended.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()


def read_adapter_rank(folder: Path) -> int:
    """Return for which rank vLLM makes room so that a LoRA adapter fits.

    Raises:
        BackendError: it makes no room so large.
    """
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    rank = max(int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values()), 1)
    room = next((possible for possible in LORA_RANKS if possible >= rank), None)
    if room is None:
        raise BackendError(
            f"vLLM takes LoRA adapters of rank {LORA_RANKS[-1]} at most, and adapter.rank is {rank}",
            hint="sample with sampling.backend=hf",
        )
    return room


def _describe_sampling(decoding: Decoding) -> dict[str, Any]:
    return {
        "n": decoding.n,
        "temperature": 0.0 if decoding.greedy else decoding.temperature,
        "top_p": 1.0 if decoding.greedy else decoding.top_p,
        "max_tokens": decoding.max_new_tokens,
        "end_token_ids": sorted(decoding.outline.end_token_ids),
        "biases": list(decoding.list_biases().items()),
    }


def _name_log(log: Path | None) -> str:
    return "" if log is None else f"the log: {log}"


def _read_last_line(log: Path | None) -> str | None:
    if log is None or not log.is_file():
        return None
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - READ_BYTES))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else None
