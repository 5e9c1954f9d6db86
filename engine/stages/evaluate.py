"""Stage evaluate: greedy answers of one model to held-out items, one row each, and its accuracy per task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from transformers import PreTrainedTokenizerBase

from db.queries import read_evaluations
from db.rows import EvaluationRow, MetricRow
from engine.compute.build import build_greedy_sampler
from engine.compute.prompts import check_context, decode_response, encode_prompt
from engine.protocols import Sampler
from engine.records import EncodedPrompt, Prompt
from engine.stages.context import StageContext
from engine.stages.data import load_items
from engine.tasks.sources import verify


def run_evaluate(context: StageContext) -> None:
    """Answer and judge every item, one batch a transaction."""
    evaluation = context.config.evaluation
    tokenizer = context.load_tokenizer()
    model = context.load_model(context.spec.label.rsplit(maxsplit=1)[-1])
    sampler = build_greedy_sampler(model, tokenizer, context.spec, context.task.shrink)
    tasks = {PurePath(task).stem: load_items(task, n=evaluation.items) for task in evaluation.tasks}
    n_done = len(read_evaluations(context.reader, context.task.stage_id))
    context.write([], n_done=n_done, n_total=sum(map(len, tasks.values())), unit="items", n_tokens=0)
    for task, items in tasks.items():
        encoded = [EncodedPrompt(item.prompt_id, encode_prompt(tokenizer, item.messages)) for item in items]
        check_context(
            model, encoded, max_new_tokens=context.config.evaluation_max_new_tokens, key="evaluation.max_new_tokens"
        )
        _evaluate_task(context, task, items, encoded, sampler, tokenizer)
    context.write(_build_metrics(read_evaluations(context.reader, context.task.stage_id)))


def _evaluate_task(
    context: StageContext,
    task: str,
    items: Sequence[Prompt],
    encoded: Sequence[EncodedPrompt],
    sampler: Sampler,
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    by_id = {item.prompt_id: item for item in items}
    rows_before = read_evaluations(context.reader, context.task.stage_id)
    finished = {row.item_id for row in rows_before if row.task == task}
    n_done, n_tokens = len(rows_before), sum(row.n_tokens for row in rows_before)
    batches = [b for b in sampler.plan_batches(encoded) if any(prompt.prompt_id not in finished for prompt in b)]
    for sampled in sampler.sample_batches(batches):
        rows = []
        for response in sampled:
            item = by_id[response.prompt_id]
            text = decode_response(tokenizer, response.token_ids)
            extracted, correct = verify(item, text)
            rows.append(
                EvaluationRow(
                    task=task,
                    item_id=item.prompt_id,
                    prompt=item.text,
                    response=text,
                    extracted=extracted,
                    gold=item.answer or "",
                    correct=bool(correct),
                    n_tokens=len(response.token_ids),
                    finish_reason=response.finish_reason,
                )
            )
        n_done, n_tokens = n_done + len(rows), n_tokens + sum(row.n_tokens for row in rows)
        context.write(rows, n_done=n_done, n_tokens=n_tokens)


def _build_metrics(rows: Sequence[EvaluationRow]) -> list[MetricRow]:
    values: dict[str, float] = {}
    by_task: dict[str, list[EvaluationRow]] = {}
    for row in rows:
        by_task.setdefault(row.task, []).append(row)
    for task, items in by_task.items():
        n_correct = sum(row.correct for row in items)
        values[f"n_items/{task}"] = float(len(items))
        values[f"n_correct/{task}"] = float(n_correct)
        values[f"accuracy/{task}"] = n_correct / len(items)
    values["accuracy"] = sum(values[f"accuracy/{task}"] for task in by_task) / len(by_task)
    values["extraction_failure_rate"] = sum(row.extracted is None for row in rows) / len(rows)
    values["mean_n_tokens"] = sum(row.n_tokens for row in rows) / len(rows)
    return [MetricRow(name, 0, value) for name, value in values.items()]
