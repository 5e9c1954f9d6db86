"""What every sampler is told, and what follows from it alike for all: seeds of prompts, the record of a response."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.compute.hf_sampler import cut_batches
from engine.errors import SamplingError
from engine.records import EncodedPrompt, SampledResponse

SEED_BITS = 52  # a JSON reader may keep whole numbers as doubles
# Keeps a token from being chosen, in servers that know no other way; the protocol allows -100 to 100.
NEVER = -100


def check_logprobs(responses: Sequence[SampledResponse]) -> None:
    """Refuse responses of a model that computes nothing any more.

    Raises:
        SamplingError: a log-probability is NaN or infinite.
    """
    if not all(math.isfinite(response.sampled_logprob) for response in responses):
        raise SamplingError(
            "the model's log-probabilities are not finite",
            hint="try model.dtype: float32; else the weights are broken",
        )


@dataclass(frozen=True, slots=True)
class ModelOutline:
    """What sampling needs to know of a run's models besides their weights; alike for M0 and all that come from it.

    Token ids from ``n_known`` to ``n_embeddings`` are rows that pad the embeddings; they are never chosen. ``context``:
    tokens of prompt and response together, None where the model sets no limit.
    """

    end_token_ids: frozenset[int]
    n_known: int
    n_embeddings: int
    context: int | None


@dataclass(frozen=True, slots=True)
class Decoding:
    """How responses are drawn. ``greedy`` takes the most likely token and needs ``n`` = 1."""

    outline: ModelOutline
    seed: int
    n: int
    max_new_tokens: int
    batch_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    greedy: bool = False

    def plan_batches(self, prompts: Sequence[EncodedPrompt]) -> list[list[EncodedPrompt]]:
        """Return batches of prompts of similar length, at most ``batch_tokens`` tokens each once fully generated."""
        return cut_batches(prompts, n=self.n, max_new_tokens=self.max_new_tokens, batch_tokens=self.batch_tokens)

    def derive_seed(self, prompt_id: str) -> int:
        """Return the seed of a prompt's group, for engines that take one per request."""
        digest = hashlib.blake2b(f"{self.seed}/{prompt_id}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") >> (64 - SEED_BITS)

    def list_biases(self) -> Mapping[int, float]:
        """Return the logit bias of each token that must not be chosen."""
        return dict.fromkeys(range(self.outline.n_known, self.outline.n_embeddings), float(NEVER))

    def build_response(
        self, prompt: EncodedPrompt, k: int, *, token_ids: Sequence[int], finish: str, logprob: float
    ) -> SampledResponse:
        """Return an engine's response as a record; ``finish`` is its word: stop or length.

        Raises:
            SamplingError: the engine left the end token out, or chose tokens that the tokenizer does not know.
        """
        is_ended = bool(token_ids) and token_ids[-1] in self.outline.end_token_ids
        if finish not in ("stop", "length") or not token_ids or (finish == "stop" and not is_ended):
            raise SamplingError(
                f"the engine ended a response by {finish!r} after {len(token_ids)} tokens and without an end token; "
                "such a response can neither be scored nor trained",
                hint="sample with sampling.backend=hf",
            )
        if not all(0 <= token < self.outline.n_known for token in token_ids):
            raise SamplingError(
                f"the engine chose token {max(token_ids)}, and the run's tokenizer has {self.outline.n_known}: it "
                "samples from a model of another vocabulary",
                hint="serve the folder that the run asks for",
            )
        return SampledResponse(
            prompt_id=prompt.prompt_id,
            k=k,
            token_ids=tuple(token_ids),
            finish_reason="end" if is_ended else "length",
            sampled_logprob=logprob,
        )
