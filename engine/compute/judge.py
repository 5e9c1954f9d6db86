"""A model of the run as judge: what it is asked about each distinct response, and what its judgements amount to.

Knows token ids and texts. Must not know the store, nor what samples. The main path enters at ``encode_judge_prompts``;
what was sampled goes to ``parse_judgements``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from engine.compute.prompts import decode_response, encode_prompt
from engine.keys import compute_key
from engine.method.judgement import parse_score
from engine.records import EncodedPrompt, Message, SampledResponse
from engine.tasks.judge_prompt import fill_judge_prompt


@dataclass(frozen=True, slots=True)
class JudgedItem:
    """A distinct response to a prompt: equal token ids are judged once."""

    prompt_id: str
    prompt: str
    response: str
    token_ids: tuple[int, ...]

    @property
    def item_id(self) -> str:
        """Its name in the sampler, from which the random streams of its judgements come."""
        return compute_key("judged", self.prompt_id, list(self.token_ids))


@dataclass(frozen=True, slots=True)
class Judgement:
    """One judgement; ``score`` is None where its text holds none."""

    text: str
    score: float | None
    n_tokens: int


def encode_judge_prompts(
    tokenizer: PreTrainedTokenizerBase, template: str, items: Iterable[JudgedItem]
) -> list[EncodedPrompt]:
    """Return what the judge is asked about each item, as a user's message in the model's own chat template."""
    return [
        EncodedPrompt(
            item.item_id,
            encode_prompt(
                tokenizer,
                [Message("user", fill_judge_prompt(template, prompt=item.prompt, response=item.response))],
            ),
        )
        for item in items
    ]


def parse_judgements(
    tokenizer: PreTrainedTokenizerBase, sampled: Sequence[SampledResponse]
) -> Mapping[str, list[Judgement]]:
    """Return the judgements of each item in their order, by item id."""
    found: dict[str, list[Judgement]] = {}
    for response in sampled:
        text = decode_response(tokenizer, response.token_ids)
        judgement = Judgement(text, parse_score(text), len(response.token_ids))
        found.setdefault(response.prompt_id, []).append(judgement)
    return found
