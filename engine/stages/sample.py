"""Stage sample: prompts of an iteration -> groups of n responses from the policy.

Where rejected responses are taken from M1, its n responses follow those of the policy in each group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from db.rows import MetricRow, PromptRow, ResponseRow, SampledPromptRow
from engine.compute.build import build_group_decoding
from engine.compute.decoding import check_logprobs
from engine.compute.prompts import check_context, decode_response, encode_prompt
from engine.errors import SamplingError
from engine.keys import derive_seed
from engine.plan import list_sampled_models
from engine.records import EncodedPrompt, Prompt, SampledResponse
from engine.stages.context import StageContext
from engine.stages.data import build_prompt_row, load_share
from engine.stages.measures import measure_samples
from engine.tasks.sources import verify


def run_sample(context: StageContext) -> None:
    """Sample what is not sampled yet, one batch a transaction."""
    config = context.config
    tokenizer = context.load_tokenizer()
    share = load_share(config, context.spec.iteration)
    prompts = {p.prompt_id: p for p in share.prompts}
    encoded = [EncodedPrompt(p.prompt_id, encode_prompt(tokenizer, p.messages)) for p in prompts.values()]
    fitting = [p for p in encoded if len(p.token_ids) <= config.data.max_prompt_tokens]
    if not fitting:
        raise SamplingError(
            f"all {len(encoded)} prompts of iteration {context.spec.iteration} are longer than "
            f"data.max_prompt_tokens = {config.data.max_prompt_tokens}",
            hint="raise data.max_prompt_tokens",
        )
    context.write(_build_prompt_rows(encoded, prompts, config.data.max_prompt_tokens))
    check_context(
        context.outline.context,
        fitting,
        max_new_tokens=config.sampling.max_new_tokens,
        key="sampling.max_new_tokens",
    )
    groups = _Groups(context, fitting, prompts)
    for place in range(len(list_sampled_models(config, context.spec.iteration))):
        groups.sample_from(place)
        context.free_memory()
    # The policy's: M1's are the same model's in every iteration.
    responses = [response for response in context.read_sampled() if response.k < config.sampling.n]
    repeated = [MetricRow("n_repeated_prompts", 0, float(share.n_repeated))] if share.n_repeated else []
    metrics = _build_metrics(responses, n_prompts=len(fitting), n_skipped=len(encoded) - len(fitting))
    context.write([*metrics, *measure_samples(responses), *repeated])


class _Groups:
    """The groups of an iteration: samples them model after model, counts over all, and leaves out what is there."""

    def __init__(self, context: StageContext, encoded: Sequence[EncodedPrompt], prompts: Mapping[str, Prompt]) -> None:
        self.context = context
        self.encoded = encoded
        self.prompts = prompts
        self.n = context.config.sampling.n
        self.models = list_sampled_models(context.config, context.spec.iteration)
        done = context.read_sampled()
        self.finished = {(response.prompt_id, response.k // self.n) for response in done}
        self.n_done, self.n_tokens = len(done), sum(len(response.token_ids) for response in done)
        n_total = len(encoded) * self.n * len(self.models)
        context.write([], n_done=self.n_done, n_total=n_total, unit="responses", n_tokens=self.n_tokens)

    def sample_from(self, place: int) -> None:
        """Sample k = place * n .. (place + 1) * n - 1 of every group from one model, one batch a transaction."""
        context, model = self.context, self.models[place]
        decoding = build_group_decoding(context.outline, context.spec, context.task.shrink)
        if place:  # another stream: equal random numbers would make the models' responses alike
            decoding = replace(decoding, seed=derive_seed(decoding.seed, model))
        # Only whole batches are ever committed, so what is there already is left out batch by batch.
        batches = [
            batch
            for batch in decoding.plan_batches(self.encoded)
            if any((prompt.prompt_id, place) not in self.finished for prompt in batch)
        ]
        if not batches:
            return
        tokenizer = context.load_tokenizer()
        with context.open_sampler(model, decoding) as sampler:
            for sampled in sampler.sample_batches(batches):
                check_logprobs(sampled)
                shifted = [replace(response, k=response.k + place * self.n) for response in sampled]
                rows = _build_response_rows(shifted, self.prompts, tokenizer)
                self.n_done += len(rows)
                self.n_tokens += sum(row.n_tokens for row in rows)
                context.write(rows, n_done=self.n_done, n_tokens=self.n_tokens)


def _build_prompt_rows(
    encoded: Sequence[EncodedPrompt], prompts: Mapping[str, Prompt], max_prompt_tokens: int
) -> list[PromptRow | SampledPromptRow]:
    rows: list[PromptRow | SampledPromptRow] = [build_prompt_row(prompt) for prompt in prompts.values()]
    for position, prompt in enumerate(encoded):
        n_tokens = len(prompt.token_ids)
        reason = f"longer than {max_prompt_tokens} tokens" if n_tokens > max_prompt_tokens else None
        rows.append(SampledPromptRow(prompt.prompt_id, position, prompt.token_ids, reason))
    return rows


def _build_response_rows(
    sampled: Sequence[SampledResponse], prompts: Mapping[str, Prompt], tokenizer: PreTrainedTokenizerBase
) -> list[ResponseRow]:
    rows = []
    for response in sampled:
        text = decode_response(tokenizer, response.token_ids)
        extracted, correct = verify(prompts[response.prompt_id], text)
        rows.append(
            ResponseRow(
                prompt_id=response.prompt_id,
                k=response.k,
                text=text,
                token_ids=response.token_ids,
                finish_reason=response.finish_reason,
                sampled_logprob=response.sampled_logprob,
                extracted=extracted,
                correct=correct,
            )
        )
    return rows


def _build_metrics(responses: Sequence[ResponseRow], *, n_prompts: int, n_skipped: int) -> list[MetricRow]:
    n = len(responses)
    known = [response.correct for response in responses if response.correct is not None]
    values = {
        "n_prompts": n_prompts,
        "n_skipped_prompts": n_skipped,
        "n_responses": n,
        "truncated_rate": sum(r.finish_reason == "length" for r in responses) / n,
        "empty_rate": sum(not r.text.strip() for r in responses) / n,
        "distinct_share": len({(r.prompt_id, r.token_ids) for r in responses}) / n,
        "mean_n_tokens": sum(r.n_tokens for r in responses) / n,
    }
    if known:
        values["correct_rate"] = sum(known) / len(known)
    return [MetricRow(name, 0, float(value)) for name, value in values.items()]
