"""The sampler against plain batched ``generate`` of transformers, same model, prompts and settings.

    python benchmarks/sampling.py

One torch thread. ``generate`` gets left padding, prompts sorted by length, ``num_return_sequences`` and the best of a
few batch sizes. Greedy responses of the two are compared token by token. About a minute.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import torch
from measure import alternate, load_sandbox, report
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.compute.hf_sampler import HFSampler
from engine.compute.prompts import find_end_token_ids
from engine.config.sampling import SamplingConfig
from engine.records import EncodedPrompt

N, TEMPERATURE, TOP_P, MAX_NEW_TOKENS = 5, 0.8, 0.95, 64
BATCH_SIZES = (8, 16, 32, 64, 128)  # prompts per call of generate


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch-tokens", type=int, default=SamplingConfig().batch_tokens, help="of our sampler")
    arguments = parser.parse_args()
    model, tokenizer, prompts = load_sandbox(arguments.prompts)
    ends = find_end_token_ids(model, tokenizer)
    shared = {"model": model, "end_token_ids": ends, "seed": 0, "max_new_tokens": MAX_NEW_TOKENS}
    shared["batch_tokens"] = arguments.batch_tokens
    sampler = HFSampler(**shared, n=N, temperature=TEMPERATURE, top_p=TOP_P)
    greedy = HFSampler(**shared, n=1, greedy=True)
    batch_size = min(BATCH_SIZES, key=lambda size: time_generate(model, tokenizer, prompts, size))
    timings, ratios = alternate(
        {
            "sampler": lambda: sample(sampler, prompts),
            "generate": lambda: generate(model, tokenizer, prompts, batch_size, is_greedy=False),
        },
        repeats=arguments.repeats,
    )
    ours = sample(greedy, prompts)
    theirs = generate(model, tokenizer, prompts, batch_size, is_greedy=True)
    n_equal = sum(ours[prompt.prompt_id] == theirs[prompt.prompt_id] for prompt in prompts)
    facts = {
        "ratio": round(ratios["sampler"], 2),
        "n_prompts": len(prompts),
        "n": N,
        "batch_tokens": arguments.batch_tokens,
        "generate_batch_size": batch_size,
        "greedy_equal": n_equal,
        "greedy_total": len(prompts),
    }
    report("sampling", timings, facts)


def sample(sampler: HFSampler, prompts: Sequence[EncodedPrompt]) -> dict[str, list[tuple[int, ...]]]:
    """Return the responses of every prompt, from our sampler."""
    found: dict[str, list[tuple[int, ...]]] = {}
    for batch in sampler.plan_batches(prompts):
        for response in sampler.sample(batch):
            found.setdefault(response.prompt_id, []).append(response.token_ids)
    return found


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[EncodedPrompt],
    batch_size: int,
    *,
    is_greedy: bool,
) -> dict[str, list[tuple[int, ...]]]:
    """Return the responses of every prompt, from ``generate``."""
    ordered = sorted(prompts, key=lambda prompt: len(prompt.token_ids))
    n = 1 if is_greedy else N
    how = {} if is_greedy else {"temperature": TEMPERATURE, "top_p": TOP_P, "top_k": 0, "num_return_sequences": n}
    ends = find_end_token_ids(model, tokenizer)
    found: dict[str, list[tuple[int, ...]]] = {}
    torch.manual_seed(0)
    for start in range(0, len(ordered), batch_size):
        batch = ordered[start : start + batch_size]
        inputs = tokenizer.pad(
            {"input_ids": [list(prompt.token_ids) for prompt in batch]}, padding_side="left", return_tensors="pt"
        )
        output = model.generate(**inputs, do_sample=not is_greedy, max_new_tokens=MAX_NEW_TOKENS, **how)
        for row, token_ids in enumerate(output[:, inputs["input_ids"].shape[1] :].tolist()):
            end = next((at + 1 for at, token in enumerate(token_ids) if token in ends), len(token_ids))
            found.setdefault(batch[row // n].prompt_id, []).append(tuple(token_ids[:end]))
    return found


def time_generate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[EncodedPrompt], batch_size: int
) -> float:
    """Return the CPU seconds of one sampled pass of ``generate``."""
    start = time.process_time()
    generate(model, tokenizer, prompts, batch_size, is_greedy=False)
    return time.process_time() - start


if __name__ == "__main__":
    main()
