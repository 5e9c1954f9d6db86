"""Scoring one iteration t >= 2 and its DPO reference: this engine against a naive pass.

    python benchmarks/scoring.py

Three models (M0, and two of slightly changed weights after a second of supervised training as M_{t-1} and M_t), 600
prompts with 5 responses from M_t, one torch thread. Both sides give the implicit reward of M_t and of M_{t-1} against
M0, the anchor (M0's log-likelihood) and the DPO reference log-probs of the chosen and rejected response. Naive: dataset
order, batches of 8, the prompt encoded again for each response, padding, full-vocabulary float32 log-softmax, one pass
per use (2 + 2 + 1 + 1). Sums must agree to 1e-3. About a minute and a half.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from measure import alternate, load_sandbox, report
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.compute.hf_sampler import HFSampler
from engine.compute.logprobs import iterate_sum_logprobs, plan_buckets
from engine.compute.prompts import encode_example, encode_prompt, find_end_token_ids
from engine.config.sampling import SamplingConfig
from engine.config.scoring import ScoringConfig
from engine.records import Message, TokenSequence
from engine.tasks.sandbox import generate_problems

N = 5
NAIVE_BATCH = 8
NOISE = 0.01  # share of each weight matrix's spread by which M_{t-1} and M_t differ from M0


@dataclass(frozen=True, slots=True)
class Scores:
    """Sums of log-probs in nats, all in dataset order: [responses] and, for the DPO reference, [chosen; rejected]."""

    current: list[float]
    previous: list[float]
    base: list[float]
    dpo_reference: list[float]


def main() -> None:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    base, tokenizer, prompts = load_sandbox(arguments.prompts)
    questions = [problem.prompt for problem in generate_problems(0, "prompts/1", arguments.prompts)]
    previous = perturb(fine_tune(base, tokenizer), seed=1)
    current = perturb(previous, seed=2)
    sampler = HFSampler(
        model=current,
        end_token_ids=find_end_token_ids(base, tokenizer),
        seed=0,
        n=N,
        max_new_tokens=64,
        batch_tokens=SamplingConfig().batch_tokens,
        temperature=0.8,
        top_p=0.95,
    )
    sampled = {(r.prompt_id, r.k): r for batch in sampler.plan_batches(prompts) for r in sampler.sample(batch)}
    responses = [sampled[prompt.prompt_id, k].token_ids for prompt in prompts for k in range(N)]
    sequences = [TokenSequence(prompts[i // N].token_ids, response) for i, response in enumerate(responses)]
    results: dict[str, Scores] = {}

    def run_engine() -> None:
        results["engine"] = score(base, previous, current, sequences)

    def run_naive() -> None:
        results["naive"] = score_naively(base, previous, current, questions, responses, tokenizer)

    timings, ratios = alternate({"engine": run_engine, "naive": run_naive}, repeats=arguments.repeats)
    facts = {
        "ratio": round(ratios["engine"], 2),
        "n_responses": len(sequences),
        "n_distinct": len(set(sequences)),
        "largest_difference": f"{compare(results['engine'], results['naive']):.1e}",
    }
    report("scoring", timings, facts)


def fine_tune(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Return a copy after a short plain training on clean solutions, so that responses repeat as much as in a run."""
    ends = find_end_token_ids(model, tokenizer)
    examples = [
        encode_example(tokenizer, (Message("user", problem.prompt),), problem.solution, end_token_ids=ends)
        for problem in generate_problems(0, "sft", 200)
    ]
    tuned = copy.deepcopy(model).train()
    optimiser = torch.optim.AdamW(tuned.parameters(), lr=2e-4)
    for start in range(0, len(examples), 16):
        optimiser.zero_grad()
        for example in examples[start : start + 16]:
            ids = torch.tensor([example.prompt + example.response])
            labels = torch.tensor([[-100] * len(example.prompt) + list(example.response)])
            (tuned(input_ids=ids, labels=labels, use_cache=False).loss / 16).backward()
        optimiser.step()
    return tuned.eval()


def perturb(model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
    """Return a copy whose weight matrices carry a little noise, as a stand-in for one iteration of training."""
    generator = torch.Generator().manual_seed(seed)
    changed = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in changed.parameters():
            if parameter.dim() > 1:
                parameter += NOISE * parameter.std() * torch.randn(parameter.shape, generator=generator)
    return changed


def score(
    base: PreTrainedModel, previous: PreTrainedModel, current: PreTrainedModel, sequences: Sequence[TokenSequence]
) -> Scores:
    """Return the scores as the score stage computes them: one pass per model over the distinct sequences."""
    buckets = plan_buckets(sequences, batch_tokens=ScoringConfig().batch_tokens)
    sums: list[list[float]] = []
    for model in (base, previous, current):
        found: dict[TokenSequence, float] = {}
        for bucket, values in iterate_sum_logprobs(model, buckets):
            found.update(zip(bucket, values, strict=True))
        sums.append([found[sequence] for sequence in sequences])
    base_sums, previous_sums, current_sums = sums
    sides = select_pairs(current_sums, base_sums)
    return Scores(current_sums, previous_sums, base_sums, [current_sums[index] for index in sides])


def score_naively(
    base: PreTrainedModel,
    previous: PreTrainedModel,
    current: PreTrainedModel,
    questions: Sequence[str],
    responses: Sequence[tuple[int, ...]],
    tokenizer: PreTrainedTokenizerBase,
) -> Scores:
    """Return the same scores with one pass per use."""

    def run_pass(model: PreTrainedModel, indices: Sequence[int]) -> list[float]:
        return compute_naively(model, tokenizer, [(questions[i // N], responses[i]) for i in indices])

    everything = range(len(responses))
    current_sums, base_sums = run_pass(current, everything), run_pass(base, everything)
    previous_sums = run_pass(previous, everything)
    run_pass(base, everything)  # the reference of the previous model's reward
    anchor_sums = run_pass(base, everything)
    return Scores(current_sums, previous_sums, anchor_sums, run_pass(current, select_pairs(current_sums, base_sums)))


@torch.no_grad()
def compute_naively(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, items: Sequence[tuple[str, tuple[int, ...]]]
) -> list[float]:
    """Return summed log-probs from padded batches in the given order and a log-softmax over every position."""
    sums: list[float] = []
    for start in range(0, len(items), NAIVE_BATCH):
        batch = [
            (encode_prompt(tokenizer, (Message("user", question),)), response)
            for question, response in items[start : start + NAIVE_BATCH]
        ]
        inputs = tokenizer.pad(
            {"input_ids": [list(prompt + response) for prompt, response in batch]},
            padding_side="right",
            return_tensors="pt",
        )
        logprobs_BTV = model(**inputs, use_cache=False).logits.float().log_softmax(-1)
        token_logprobs_BT = logprobs_BTV[:, :-1].gather(2, inputs["input_ids"][:, 1:, None])[:, :, 0]
        for row, (prompt, response) in enumerate(batch):
            first = len(prompt) - 1
            sums.append(float(token_logprobs_BT[row, first : first + len(response)].sum()))
    return sums


def select_pairs(current: Sequence[float], base: Sequence[float]) -> list[int]:
    """Return the indices of all chosen responses, then of all rejected ones."""
    rewards = [a - b for a, b in zip(current, base, strict=True)]
    groups = [range(start, start + N) for start in range(0, len(rewards), N)]
    return [max(g, key=rewards.__getitem__) for g in groups] + [min(g, key=rewards.__getitem__) for g in groups]


def compare(ours: Scores, naive: Scores) -> float:
    """Return the largest difference of any sum.

    Raises:
        SystemExit: it exceeds 1e-3.
    """
    worst = max(
        abs(a - b)
        for mine, theirs in ((ours.current, naive.current), (ours.previous, naive.previous), (ours.base, naive.base))
        for a, b in zip(mine, theirs, strict=True)
    )
    if worst > 1e-3:
        raise SystemExit(f"summed log-probs differ by {worst}")
    return worst


if __name__ == "__main__":
    main()
