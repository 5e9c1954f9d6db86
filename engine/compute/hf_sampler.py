"""Sampling from any causal LM of transformers: one prefill per prompt, a growing KV cache, finished rows dropped.

Every response draws from its own random stream, keyed by (seed, prompt_id, k), so what is sampled does not depend on
which other prompts stand in the run before it. The main path enters at ``HFSampler.sample``.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from engine.errors import BackendError
from engine.records import EncodedPrompt, SampledResponse

CACHE_CHUNK = 32  # tokens by which a full cache buffer grows; one copy per chunk instead of one per token
KEPT_ROWS = 0.8  # rows are dropped once fewer than this share are unfinished: dropping copies the cache
# Steps between two looks at how many rows are unfinished: a GPU has to catch up with the host for each look.
LOOK_EVERY = {"cuda": 8}
NUCLEUS_GUESS = 48  # tokens looked at before a whole vocabulary is sorted; the nucleus is nearly always smaller


def cut_batches(
    prompts: Sequence[EncodedPrompt], *, n: int, max_new_tokens: int, batch_tokens: int
) -> list[list[EncodedPrompt]]:
    """Return batches of prompts of similar length, at most ``batch_tokens`` tokens each once fully generated."""
    ordered = sorted(prompts, key=lambda p: (len(p.token_ids), p.prompt_id))
    batches: list[list[EncodedPrompt]] = []
    for prompt in ordered:
        row_tokens = len(prompt.token_ids) + max_new_tokens
        if batches and (len(batches[-1]) + 1) * n * row_tokens <= batch_tokens:
            batches[-1].append(prompt)
        else:
            batches.append([prompt])
    return batches


@dataclass(frozen=True, slots=True)
class HFSampler:
    """Samples ``n`` responses per prompt; ``greedy`` takes the most likely token and needs ``n`` = 1.

    ``n_known`` tokens are the tokenizer's; rows that pad the embeddings beyond them are never chosen.
    """

    model: PreTrainedModel
    end_token_ids: frozenset[int]
    seed: int
    n: int
    max_new_tokens: int
    batch_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    greedy: bool = False
    n_known: int | None = None

    def plan_batches(self, prompts: Sequence[EncodedPrompt]) -> list[list[EncodedPrompt]]:
        """Return batches of prompts of similar length; see ``cut_batches``."""
        return cut_batches(prompts, n=self.n, max_new_tokens=self.max_new_tokens, batch_tokens=self.batch_tokens)

    def sample_batches(self, batches: Sequence[Sequence[EncodedPrompt]]) -> Iterator[list[SampledResponse]]:
        """Yield the responses of one batch after the other."""
        yield from map(self.sample, batches)

    @torch.inference_mode()
    def sample(self, batch: Sequence[EncodedPrompt]) -> list[SampledResponse]:
        """Return the responses of a batch, ordered by prompt and k."""
        cache, device = _build_cache(self.model), self.model.device
        lengths = torch.tensor([len(prompt.token_ids) for prompt in batch])
        width = int(lengths.max())
        ids_BT = torch.zeros(len(batch), width, dtype=torch.long)
        for row, prompt in enumerate(batch):
            ids_BT[row, width - len(prompt.token_ids) :] = torch.tensor(prompt.token_ids)
        positions_BT = torch.arange(width) - (width - lengths)[:, None]
        mask = None
        if int(lengths.min()) < width:
            # All columns that will ever be needed; a step looks at the first ones.
            mask = torch.nn.functional.pad((positions_BT >= 0).long(), (0, self.max_new_tokens), value=1).to(device)
        shown = None if mask is None else mask[:, :width]
        logits_BV = self._forward(ids_BT.to(device), shown, positions_BT.clamp(min=0).to(device), cache)
        prompt_rows = torch.arange(len(batch), device=device).repeat_interleave(self.n)
        cache.reorder_cache(prompt_rows)
        group = _Group(
            logits=logits_BV[prompt_rows],
            mask=None if mask is None else mask[prompt_rows],
            lengths=lengths.to(device)[prompt_rows],
            draws=self._draw(batch).to(device),
            ends=torch.tensor(sorted(self.end_token_ids), device=device),
        )
        token_ids, logprobs = self._decode(group, cache)
        return [
            SampledResponse(
                prompt_id=batch[row // self.n].prompt_id,
                k=row % self.n,
                token_ids=tuple(ids),
                finish_reason="end" if ids[-1] in self.end_token_ids else "length",
                sampled_logprob=float(logprob),
            )
            for row, (ids, logprob) in enumerate(zip(token_ids, logprobs, strict=True))
        ]

    def _decode(self, group: _Group, cache: DynamicCache) -> tuple[list[list[int]], list[float]]:
        n_rows, device = len(group.lengths), group.logits.device
        tokens = torch.full((n_rows, self.max_new_tokens), -1, dtype=torch.long, device=device)
        sums = torch.zeros(n_rows, dtype=torch.float64, device=device)
        rows = torch.arange(n_rows, device=device)
        logits, mask, lengths = group.logits, group.mask, group.lengths
        is_alive = torch.ones(n_rows, dtype=torch.bool, device=device)
        look_every = LOOK_EVERY.get(device.type, 1)
        for step in range(self.max_new_tokens):
            next_ids = self._choose(logits[:, : self.n_known], group.draws[rows, step])
            logprobs = logits.gather(1, next_ids[:, None])[:, 0] - logits.logsumexp(1)
            tokens[rows, step] = torch.where(is_alive, next_ids, -1)
            sums[rows] += torch.where(is_alive, logprobs, 0.0)
            is_alive = is_alive & ~torch.isin(next_ids, group.ends)
            if step + 1 == self.max_new_tokens:
                break
            n_alive = int(is_alive.sum()) if (step + 1) % look_every == 0 else len(rows)
            if n_alive == 0:
                break
            if n_alive < KEPT_ROWS * len(rows):
                kept = is_alive.nonzero()[:, 0]
                cache.reorder_cache(kept)
                rows, next_ids, is_alive, lengths = rows[kept], next_ids[kept], is_alive[kept], lengths[kept]
                mask = mask[kept] if mask is not None else None
            shown = None if mask is None else mask[:, : mask.shape[1] - self.max_new_tokens + step + 1]
            logits = self._forward(next_ids[:, None], shown, lengths[:, None] + step, cache)
        return [[t for t in row if t >= 0] for row in tokens.tolist()], sums.tolist()

    def _forward(
        self, ids_BT: torch.Tensor, mask_BT: torch.Tensor | None, positions_BT: torch.Tensor, cache: DynamicCache
    ) -> torch.Tensor:
        """Return the float32 logits after the last token of each row, and extend the cache."""
        outputs = self.model(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = outputs.logits[:, -1].float()
        return logits

    def _choose(self, logits_BV: torch.Tensor, draws_B: torch.Tensor) -> torch.Tensor:
        """Return one token per row by inverting the cumulative nucleus distribution at the row's draw."""
        if self.greedy:
            return logits_BV.argmax(1)
        probs_BV = torch.softmax(logits_BV / self.temperature, 1)
        if self.top_p >= 1:
            return _invert(probs_BV, torch.arange(probs_BV.shape[1], device=probs_BV.device), draws_B, self.top_p)
        guess_BK, ids_BK = probs_BV.topk(min(NUCLEUS_GUESS, probs_BV.shape[1]), 1)
        chosen_B = _invert(guess_BK, ids_BK, draws_B, self.top_p)
        is_short = guess_BK.sum(1) < self.top_p
        if guess_BK.shape[1] < probs_BV.shape[1] and bool(is_short.any()):
            sorted_BV, order_BV = probs_BV[is_short].sort(dim=1, descending=True, stable=True)
            chosen_B[is_short] = _invert(sorted_BV, order_BV, draws_B[is_short], self.top_p)
        return chosen_B

    def _draw(self, batch: Sequence[EncodedPrompt]) -> torch.Tensor:
        if self.greedy:
            return torch.zeros(len(batch) * self.n, self.max_new_tokens)
        streams = [
            np.random.Generator(np.random.Philox(key=_derive_key(self.seed, prompt.prompt_id, k)))
            for prompt in batch
            for k in range(self.n)
        ]
        return torch.from_numpy(np.stack([stream.random(self.max_new_tokens, dtype=np.float32) for stream in streams]))


@dataclass(frozen=True, slots=True)
class _Group:
    """The rows of a batch after prefill; ``mask`` covers all tokens to come, ``lengths`` are those of the prompts."""

    logits: torch.Tensor
    mask: torch.Tensor | None
    lengths: torch.Tensor
    draws: torch.Tensor
    ends: torch.Tensor


def _invert(probs_BK: torch.Tensor, ids_BK: torch.Tensor, draws_B: torch.Tensor, top_p: float) -> torch.Tensor:
    """Return the token at which the cumulative of the nucleus reaches draw * mass.

    Below ``top_p`` = 1 probs must be sorted, largest first; ids name their tokens, [B, K] or [K].
    """
    cumulative_BK = probs_BK.cumsum(1)
    in_nucleus_BK = (cumulative_BK - probs_BK) < top_p
    mass_B = (probs_BK * in_nucleus_BK).sum(1)
    index_B = (cumulative_BK <= (draws_B * mass_B)[:, None]).sum(1)
    last_B = in_nucleus_BK.sum(1) - 1  # -1 where all is NaN, which the log-probability will tell
    return ids_BK.expand_as(probs_BK).gather(1, torch.minimum(index_B, last_B).clamp(min=0)[:, None])[:, 0]


def _derive_key(seed: int, prompt_id: str, k: int) -> int:
    digest = hashlib.blake2b(f"{seed}/{prompt_id}/{k}".encode(), digest_size=16).digest()
    return int.from_bytes(digest, "little")


def _build_cache(model: PreTrainedModel) -> DynamicCache:
    """Return a cache of the model's own layer kinds, with growing buffers where plain attention is used.

    Raises:
        BackendError: the model keeps no key-value cache; it would ignore ours and forget the prompt.
    """
    if "past_key_values" not in inspect.signature(model.forward).parameters:
        raise BackendError(
            f"{type(model).__name__} keeps no key-value cache, and this sampler needs one",
            hint="take a model with attention layers",
        )
    cache = DynamicCache(config=model.config)
    for index, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer:
            cache.layers[index] = _GrowingLayer()
    return cache


class _GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values in a buffer with room to grow, where DynamicLayer copies everything for each new token."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append along the sequence; return views of everything so far, [B, heads, T, head_dim]."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.key_buffer, self.value_buffer, self.length = key_states, value_states, 0
        start, self.length = self.length, self.length + key_states.shape[-2]
        if start == 0:
            self.key_buffer, self.value_buffer = key_states, value_states
        else:
            if self.length > self.key_buffer.shape[-2]:
                self.key_buffer = _grow(self.key_buffer, start, self.length + CACHE_CHUNK)
                self.value_buffer = _grow(self.value_buffer, start, self.length + CACHE_CHUNK)
            self.key_buffer[:, :, start : self.length] = key_states
            self.value_buffer[:, :, start : self.length] = value_states
        self._show()
        return self.keys, self.values

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Make the given rows the new ones; an index may be repeated or left out."""
        self.key_buffer = self.key_buffer.index_select(0, beam_idx)
        self.value_buffer = self.value_buffer.index_select(0, beam_idx)
        self._show()

    def _show(self) -> None:
        self.keys = self.key_buffer[:, :, : self.length]
        self.values = self.value_buffer[:, :, : self.length]


def _grow(buffer: torch.Tensor, used: int, capacity: int) -> torch.Tensor:
    grown = buffer.new_empty(*buffer.shape[:2], capacity, buffer.shape[3])
    grown[:, :, :used] = buffer[:, :, :used]
    return grown
