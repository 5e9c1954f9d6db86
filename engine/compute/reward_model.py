"""An external reward model: a sequence classifier that reads a conversation and its reply and gives one number.

Texts are encoded anew with the reward model's own tokenizer: by its chat template, or, where it brings none, as a pair
of texts, prompt and response, which is how encoders are trained. What transformers' own forward gives for the
conversation alone is the reward, whatever stands beside it in a batch. Must not know the run's models and tokens, nor
the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.artifacts import find_context_length
from engine.compute.models import load_classifier, load_tokenizer
from engine.compute.prompts import count_known_tokens, encode_conversation
from engine.errors import CheckpointError, ConfigError
from engine.records import Message

_NO_LIMIT = 10**9  # tokenizers without a length of their own say about 10^30


@dataclass(frozen=True, slots=True)
class RewardInput:
    """A conversation with its reply as the reward model reads it; ``segments`` tell the two texts of a pair apart."""

    token_ids: tuple[int, ...]
    segments: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True, slots=True)
class RewardModel:
    """A loaded reward model; ``key`` is the setting that names it, ``logit`` which of its outputs is the reward."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    key: str
    logit: int

    @property
    def max_length(self) -> int | None:
        """Tokens that fit, of model and tokenizer the smaller limit; None where neither sets one."""
        limits = [find_context_length(self.model.config.to_dict()), self.tokenizer.model_max_length]
        return min((limit for limit in limits if limit is not None and limit < _NO_LIMIT), default=None)

    def encode(self, messages: Sequence[Message], prompt: str, response: str) -> RewardInput:
        """Return a reply as the model reads it; ``prompt`` is the text of the messages.

        Raises:
            ConfigError: the chat template refuses the messages.
        """
        if self.tokenizer.chat_template:
            try:
                return RewardInput(encode_conversation(self.tokenizer, messages, response))
            except ConfigError as error:
                raise ConfigError(
                    f"{self.key}: {error.message}", hint="take a reward model for such conversations", key=self.key
                ) from error
        encoding = self.tokenizer(prompt, response)
        segments = encoding.get("token_type_ids")
        return RewardInput(tuple(encoding["input_ids"]), None if segments is None else tuple(segments))

    def iterate_rewards(
        self, buckets: Sequence[Sequence[RewardInput]]
    ) -> Iterator[tuple[Sequence[RewardInput], list[float]]]:
        """Yield each bucket with its rewards in float32, so that a caller can commit as it goes."""
        for bucket in buckets:
            yield bucket, self._compute(bucket)

    def plan_buckets(self, inputs: Sequence[RewardInput], *, batch_tokens: int) -> list[list[RewardInput]]:
        """Return the distinct inputs, longest first, in buckets of at most ``batch_tokens`` tokens with padding.

        A model without a pad token reads one at a time: transformers refuses more.
        """
        distinct = sorted(set(inputs), key=lambda i: (-len(i), i.token_ids, i.segments or ()))
        room = 0 if self.model.config.get_text_config().pad_token_id is None else batch_tokens
        buckets: list[list[RewardInput]] = []
        for item in distinct:
            if buckets and len(buckets[-1][0]) * (len(buckets[-1]) + 1) <= room:
                buckets[-1].append(item)
            else:
                buckets.append([item])
        return buckets

    @torch.inference_mode()
    def _compute(self, bucket: Sequence[RewardInput]) -> list[float]:
        width = max(map(len, bucket))
        pad = self.model.config.get_text_config().pad_token_id or 0
        ids_BT = torch.full((len(bucket), width), pad)
        mask_BT, segments_BT = torch.zeros_like(ids_BT), torch.zeros_like(ids_BT)
        for row, item in enumerate(bucket):
            ids_BT[row, : len(item)] = torch.tensor(item.token_ids)
            mask_BT[row, : len(item)] = 1
            segments_BT[row, : len(item)] = torch.tensor(item.segments or 0)
        extra = {} if bucket[0].segments is None else {"token_type_ids": segments_BT.to(self.model.device)}
        logits_BL = self.model(
            input_ids=ids_BT.to(self.model.device), attention_mask=mask_BT.to(self.model.device), **extra
        ).logits
        return [float(value) for value in logits_BL[:, self.logit].float().cpu()]


def load_reward_model(
    folder: Path, *, key: str, dtype: str, device: torch.device, logit: int | None = None
) -> RewardModel:
    """Return the reward model of a folder; ``logit`` None: it must have exactly one.

    Raises:
        CheckpointError: no trained sequence classifier, a tokenizer that does not fit it, or no such logit.
    """
    model, tokenizer = load_classifier(folder, dtype=dtype, device=device, key=key), load_tokenizer(folder)
    model.config.use_cache = False
    n_logits, n_rows = model.config.num_labels, model.get_input_embeddings().weight.shape[0]
    if n_logits != 1 if logit is None else logit >= n_logits:
        raise CheckpointError(
            f"{key}: {folder} gives {n_logits} numbers, not one reward"
            if logit is None
            else f"{key}: {folder} gives {n_logits} numbers; logit = {logit} is none of them",
            hint=f"set {key.removesuffix('.path')}.logit to a number from 0 to {n_logits - 1}",
        )
    if count_known_tokens(tokenizer) > n_rows:
        raise CheckpointError(
            f"{key}: the tokenizer in {folder} does not fit its model: it has {count_known_tokens(tokenizer)} token "
            f"ids, the model {n_rows} embeddings",
            hint="bring the reward model and the tokenizer that belong together",
        )
    return RewardModel(model, tokenizer, key, logit or 0)
