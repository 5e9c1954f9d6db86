"""Frozen records that pass between tasks, compute and stages. Knows no torch and no store.

A token sequence is split into prompt and response once, when it is encoded or sampled; nothing re-tokenises it later.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked. ``prompt_id`` is a digest of everything else, so equal prompts have equal ids in every store.

    ``answer`` is the gold answer and ``task`` names the verifier that compares with it; both None where unknown.
    """

    prompt_id: str
    messages: tuple[Message, ...]
    answer: str | None
    task: str | None

    @property
    def text(self) -> str:
        """The last message; earlier turns are shown with their role."""
        if len(self.messages) == 1:
            return self.messages[0].content
        return "\n".join(f"{message.role}: {message.content}" for message in self.messages)


@dataclass(frozen=True, slots=True)
class SftExample:
    """One demonstration: the response to ``messages``."""

    messages: tuple[Message, ...]
    response: str


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    prompt_id: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SampledResponse:
    """``token_ids`` hold the sampled end token if there was one; ``sampled_logprob`` is the sum at temperature 1."""

    prompt_id: str
    k: int
    token_ids: tuple[int, ...]
    finish_reason: str
    sampled_logprob: float


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """A prompt and its response as token ids; the response is what is scored or trained."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """What a person said of a prompt's pair: agree, swap, tie or both_bad; the sides are those of the judged pair."""

    prompt_id: str
    verdict: str
    chosen_k: int
    rejected_k: int


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """A pair as the loss sees it; reference log-probs are in nats under the dpo_reference, sums save where it says so.

    Those by token are only there where the loss has a KL term.
    """

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    reference_chosen_logprob: float
    reference_rejected_logprob: float
    confidence: float
    reference_chosen_token_logprobs: tuple[float, ...] = ()
    reference_rejected_token_logprobs: tuple[float, ...] = ()
