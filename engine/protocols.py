"""What the replaceable parts look like to the stages. Structural; nothing inherits from these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from engine.records import EncodedPrompt, SampledResponse


class Sampler(Protocol):
    """Samples the group of every prompt; equal inputs and seed give equal responses, whatever came before."""

    def plan_batches(self, prompts: Sequence[EncodedPrompt]) -> list[list[EncodedPrompt]]:
        """Return the batches, cut from the full list; a resume redoes whole batches."""

    def sample_batches(self, batches: Sequence[Sequence[EncodedPrompt]]) -> Iterator[list[SampledResponse]]:
        """Yield n responses per prompt, ordered by prompt and k: one list a batch, in any order of batches."""
