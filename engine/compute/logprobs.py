"""The one implementation of the log-probability of a response; scoring, evaluation and training tests all use it.

Forward in the model's dtype, float32 log-softmax over response positions only, so many at once as fit a fixed room.
Sequences are right-padded in buckets of similar length, so a causal model needs no attention mask; equal sequences are
computed once. Bucket composition depends on the set of sequences alone, never on their order or on what was finished
before.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedModel

from engine.records import TokenSequence

# Logits in float32 at once, as numbers: 256 MiB. Those of a whole bucket would take several GB with a large vocabulary.
LOGITS_AT_ONCE = 2**26


def plan_buckets(sequences: Sequence[TokenSequence], *, batch_tokens: int) -> list[list[TokenSequence]]:
    """Return the distinct sequences in buckets whose padded size stays within ``batch_tokens`` where one row allows.

    Longest first, so that memory runs out at the start or not at all.
    """
    distinct = sorted(set(sequences), key=lambda s: (-len(s), s.prompt, s.response))
    buckets: list[list[TokenSequence]] = []
    for sequence in distinct:
        if buckets and len(buckets[-1][0]) * (len(buckets[-1]) + 1) <= batch_tokens:
            buckets[-1].append(sequence)
        else:
            buckets.append([sequence])
    return buckets


def compute_sum_logprobs(
    model: PreTrainedModel, sequences: Sequence[TokenSequence], *, batch_tokens: int
) -> list[float]:
    """Return log pi(response | prompt) of each sequence: natural log, summed over all response tokens."""
    found: dict[TokenSequence, float] = {}
    for bucket, values in iterate_sum_logprobs(model, plan_buckets(sequences, batch_tokens=batch_tokens)):
        found.update(zip(bucket, values, strict=True))
    return [found[sequence] for sequence in sequences]


def iterate_sum_logprobs(
    model: PreTrainedModel, buckets: Sequence[Sequence[TokenSequence]]
) -> Iterator[tuple[Sequence[TokenSequence], list[float]]]:
    """Yield each bucket with its sums, so that a caller can commit and report as it goes."""
    for bucket in buckets:
        yield bucket, compute_bucket(model, bucket)


def compute_response_logprobs(
    model: PreTrainedModel, sequences: Sequence[TokenSequence], *, batch_tokens: int
) -> dict[TokenSequence, tuple[float, ...]]:
    """Return the log-prob of every response token of each distinct sequence, natural log."""
    found: dict[TokenSequence, tuple[float, ...]] = {}
    for bucket in plan_buckets(sequences, batch_tokens=batch_tokens):
        parts = compute_bucket_tokens(model, bucket)
        found.update(zip(bucket, (tuple(part.tolist()) for part in parts), strict=True))
    return found


def compute_bucket(model: PreTrainedModel, bucket: Sequence[TokenSequence]) -> list[float]:
    """Return the sums of one bucket, from one forward pass."""
    return [float(part.sum(dtype=torch.float64)) for part in compute_bucket_tokens(model, bucket)]


@torch.inference_mode()
def compute_bucket_tokens(model: PreTrainedModel, bucket: Sequence[TokenSequence]) -> list[torch.Tensor]:
    """Return the float32 log-probs of each response's tokens, on the CPU, from one forward pass."""
    if any(not sequence.response or not sequence.prompt for sequence in bucket):
        raise ValueError("a log-probability needs at least one prompt and one response token")
    width = max(len(sequence) for sequence in bucket) - 1  # nothing comes after the last token
    ids_BT = torch.zeros(len(bucket), width, dtype=torch.long)
    predicts_BT = torch.zeros(len(bucket), width, dtype=torch.bool)
    targets: list[int] = []
    for row, sequence in enumerate(bucket):
        ids_BT[row, : len(sequence) - 1] = torch.tensor((sequence.prompt + sequence.response)[:-1])
        predicts_BT[row, len(sequence.prompt) - 1 : len(sequence) - 1] = True
        targets.extend(sequence.response)
    ids_BT, predicts_BT = ids_BT.to(model.device), predicts_BT.to(model.device)
    keep = {"logits_to_keep": predicts_BT} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    logits = model(input_ids=ids_BT, use_cache=False, **keep).logits
    logits_MV = logits if logits.dim() == 2 else logits[predicts_BT]
    target_M = torch.tensor(targets, device=logits_MV.device)
    lengths = [len(sequence.response) for sequence in bucket]
    return list(torch.split(compute_token_logprobs(logits_MV, target_M).cpu(), lengths))


def compute_token_logprobs(logits_MV: torch.Tensor, target_M: torch.Tensor) -> torch.Tensor:
    """Return the log-prob of each target in float32, whatever the logits' dtype; [M]."""
    n_rows = max(1, LOGITS_AT_ONCE // logits_MV.shape[1])
    parts = []
    for start in range(0, len(target_M), n_rows):
        logits, target = logits_MV[start : start + n_rows].float(), target_M[start : start + n_rows]
        parts.append(logits.gather(1, target[:, None])[:, 0] - logits.logsumexp(1))
    return torch.cat(parts)
