"""Sampling from a server that speaks OpenAI's completions protocol and takes and gives token ids, such as vLLM's.

Never samples from weights that it was not asked for: a checkpoint is served under the digest of its folder, and a
server that does not serve this name is refused, with the command that would. The main path enters at
``EndpointSampler.sample_batches``.
"""

from __future__ import annotations

import shlex
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from engine.artifacts import compute_folder_digest, is_adapter_folder
from engine.compute.completions_client import CompletionsClient, EndpointRefusal
from engine.compute.decoding import Decoding
from engine.compute.vllm_sampler import read_adapter_rank
from engine.errors import BackendError
from engine.records import EncodedPrompt, SampledResponse


@dataclass(frozen=True, slots=True)
class ServedWeights:
    """A model of the run as a server has to name it; ``base_folder`` and ``base_name`` are M0's.

    ``adapter_rank`` is None where ``folder`` holds a whole model.
    """

    name: str
    folder: Path
    base_name: str
    base_folder: Path
    adapter_rank: int | None

    @property
    def command(self) -> str:
        """How vLLM serves it."""
        if self.adapter_rank is None:
            return f"vllm serve {shlex.quote(str(self.folder))} --served-model-name {shlex.quote(self.name)}"
        base, adapter = shlex.quote(str(self.base_folder)), shlex.quote(str(self.folder))
        return (
            f"vllm serve {base} --served-model-name {shlex.quote(self.base_name)} "
            f"--enable-lora --max-lora-rank {self.adapter_rank} --lora-modules {self.name}={adapter}"
        )


def name_weights(folder: Path, base_folder: Path, base_name: str | None) -> ServedWeights:
    """Return under which name a server must serve a model; ``base_name`` is M0's, None: its digest too."""
    base_name = base_name or compute_folder_digest(base_folder)
    if folder == base_folder:
        return ServedWeights(base_name, folder, base_name, base_folder, None)
    rank = read_adapter_rank(folder) if is_adapter_folder(folder) else None
    return ServedWeights(compute_folder_digest(folder), folder, base_name, base_folder, rank)


class EndpointSampler:
    """Asks for each prompt's group by one request, ``concurrency`` of them at once."""

    def __init__(
        self, client: CompletionsClient, decoding: Decoding, weights: ServedWeights, *, concurrency: int
    ) -> None:
        self.client = client
        self.decoding = decoding
        self.weights = weights
        self.concurrency = concurrency

    def plan_batches(self, prompts: Sequence[EncodedPrompt]) -> list[list[EncodedPrompt]]:
        """Return the batches in which responses are committed."""
        return self.decoding.plan_batches(prompts)

    def sample_batches(self, batches: Sequence[Sequence[EncodedPrompt]]) -> Iterator[list[SampledResponse]]:
        """Yield the responses of each batch as it gets whole.

        Raises:
            BackendError: the server serves other weights, or fails for longer than it is waited for.
        """
        if not batches:
            return
        self._require_weights()
        waiting = deque(
            (whole, prompt) for whole in (_Batch(list(batch)) for batch in batches) for prompt in whole.prompts
        )
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="endpoint")
        under_way: dict[Future[list[SampledResponse]], tuple[_Batch, EncodedPrompt]] = {}
        try:
            while waiting or under_way:
                while waiting and len(under_way) < self.concurrency:
                    batch, prompt = waiting.popleft()
                    under_way[pool.submit(self._sample, prompt)] = (batch, prompt)
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    batch, prompt = under_way.pop(future)
                    batch.responses[prompt.prompt_id] = future.result()
                    if len(batch.responses) == len(batch.prompts):
                        yield [response for p in batch.prompts for response in batch.responses[p.prompt_id]]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _require_weights(self) -> None:
        """Make sure that the server serves the model, by loading its adapter where that is allowed."""
        weights = self.weights
        served = self.client.list_models()
        if weights.adapter_rank is not None and weights.name not in served and weights.base_name in served:
            try:
                self.client.load_adapter(weights.name, str(weights.folder))
            except EndpointRefusal as refusal:
                raise self._refuse(served, f" (loading the adapter there: {refusal.reason})") from None
            served = self.client.list_models()
        if weights.name not in served:
            raise self._refuse(served)
        parent = served[weights.name]
        if weights.adapter_rank is not None and parent is not None and parent != weights.base_name:
            raise self._refuse(served, f" ({weights.name} is an adapter of {parent}, not of {weights.base_name})")

    def _refuse(self, served: Sequence[str] | dict[str, str | None], why: str = "") -> BackendError:
        names = ", ".join(list(served)[:5]) or "nothing"
        return BackendError(
            f"the server of sampling.endpoint, {self.client.url}, serves {names}, and this stage needs the weights "
            f"{self.weights.name}{why}",
            hint=f"serve them: {self.weights.command}\nthen go on with resume",
        )

    def _sample(self, prompt: EncodedPrompt) -> list[SampledResponse]:
        decoding = self.decoding
        request: dict[str, Any] = {
            "model": self.weights.name,
            "prompt": list(prompt.token_ids),
            "n": decoding.n,
            "max_tokens": decoding.max_new_tokens,
            "temperature": 0.0 if decoding.greedy else decoding.temperature,
            "top_p": 1.0 if decoding.greedy else decoding.top_p,
            "logprobs": 0,
            "stop_token_ids": sorted(decoding.outline.end_token_ids),
            "ignore_eos": True,
            "return_token_ids": True,
            "add_special_tokens": False,
        }
        if not decoding.greedy:
            request["seed"] = decoding.derive_seed(prompt.prompt_id)
        if biases := decoding.list_biases():
            request["logit_bias"] = {str(token): bias for token, bias in biases.items()}
        try:
            choices = self.client.complete(request)
        except EndpointRefusal as refusal:
            raise BackendError(
                f"the server of sampling.endpoint, {self.client.url}, refuses: {refusal.reason}"
            ) from None
        if len(choices) != decoding.n:
            raise BackendError(
                f"the server of sampling.endpoint, {self.client.url}, gave {len(choices)} responses where {decoding.n} "
                "were asked for"
            )
        choices = sorted(choices, key=lambda choice: int(choice.get("index", 0)))
        return [self._build_response(prompt, k, choice) for k, choice in enumerate(choices)]

    def _build_response(self, prompt: EncodedPrompt, k: int, choice: dict[str, Any]) -> SampledResponse:
        token_ids, logprobs = choice.get("token_ids"), (choice.get("logprobs") or {}).get("token_logprobs")
        if not _is_list_of(token_ids, int):
            raise BackendError(
                f"the server of sampling.endpoint, {self.client.url}, gives texts and no token ids; a text that is "
                "tokenised again need not be what was sampled",
                hint="use a server that knows return_token_ids, such as vllm serve, or sampling.backend=hf",
            )
        if not _is_list_of(logprobs, (int, float)) or len(logprobs) != len(token_ids):
            raise BackendError(
                f"the server of sampling.endpoint, {self.client.url}, gives no log-probability for each token",
                hint="use a server that knows logprobs, such as vllm serve, or sampling.backend=hf",
            )
        # vLLM's server says what it took as the prompt: anything else would score a question that was not asked.
        taken = choice.get("prompt_token_ids")
        if taken is not None and list(taken) != list(prompt.token_ids):
            raise BackendError(
                f"the server of sampling.endpoint, {self.client.url}, changed the prompt's tokens",
                hint="serve with the defaults: no prompt template and no truncation",
            )
        finish = str(choice.get("finish_reason"))
        return self.decoding.build_response(prompt, k, token_ids=token_ids, finish=finish, logprob=float(sum(logprobs)))


@dataclass(frozen=True, slots=True)
class _Batch:
    prompts: list[EncodedPrompt]
    responses: dict[str, list[SampledResponse]] = field(default_factory=dict)


def _is_list_of(values: Any, kinds: type | tuple[type, ...]) -> TypeGuard[list[Any]]:
    return isinstance(values, list) and all(isinstance(v, kinds) and not isinstance(v, bool) for v in values)
