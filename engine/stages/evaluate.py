"""Stage evaluate: greedy answers of one model to held-out items, one row each, and its accuracy per task.

Tasks of lm_eval are run by that library and leave the same rows. Part "preference" ranks pairs instead: see
``evaluate_preferences``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from db.labels import find_model_name
from db.queries import read_evaluations
from db.rows import EvaluationRow, MetricRow
from engine.compute.build import build_greedy_decoding
from engine.compute.decoding import check_logprobs
from engine.compute.lm_eval_tasks import LmEvalItem, choose_batch_size, run_lm_eval_task
from engine.compute.prompts import check_context, decode_response, encode_prompt
from engine.config.evaluation import TaskSource
from engine.protocols import Sampler
from engine.records import EncodedPrompt, Prompt
from engine.stages.context import StageContext
from engine.stages.data import load_items
from engine.stages.evaluate_preferences import run_preferences
from engine.stages.measures import measure_evaluations
from engine.tasks.sources import verify


def run_evaluate(context: StageContext) -> None:
    """Answer and judge every item, one batch a transaction; a task of lm_eval is one batch."""
    if context.spec.part:
        run_preferences(context)
        return
    evaluation = context.config.evaluation
    tokenizer = context.load_tokenizer()
    model_name = find_model_name(context.spec.label) or context.spec.label
    named = zip(evaluation.sources, evaluation.tasks, strict=True)
    tasks = {source.name: load_items(task, n=evaluation.items) for source, task in named if source.rows is not None}
    n_done = len(read_evaluations(context.reader, context.task.stage_id))
    context.write([], n_done=n_done, n_total=sum(map(len, tasks.values())), unit="items", n_tokens=0)
    if tasks:
        _answer_tasks(context, model_name, tasks, tokenizer)
    by_lm_eval = [source for source in evaluation.sources if source.rows is None]
    if by_lm_eval:
        _evaluate_by_lm_eval(context, model_name, by_lm_eval, tokenizer)
    context.write(_build_metrics(read_evaluations(context.reader, context.task.stage_id)))


def _answer_tasks(
    context: StageContext, model_name: str, tasks: Mapping[str, Sequence[Prompt]], tokenizer: PreTrainedTokenizerBase
) -> None:
    decoding = build_greedy_decoding(context.outline, context.spec, context.task.shrink)
    with context.open_sampler(model_name, decoding) as sampler:
        for task, items in tasks.items():
            encoded = [EncodedPrompt(item.prompt_id, encode_prompt(tokenizer, item.messages)) for item in items]
            check_context(
                context.outline.context,
                encoded,
                max_new_tokens=decoding.max_new_tokens,
                key="evaluation.max_new_tokens",
            )
            _evaluate_task(context, task, items, encoded, sampler, tokenizer)


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
        check_logprobs(sampled)
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


def _evaluate_by_lm_eval(
    context: StageContext, model_name: str, sources: Sequence[TaskSource], tokenizer: PreTrainedTokenizerBase
) -> None:
    """Run tasks of lm_eval on the model in this process, whatever samples the others."""
    evaluation = context.config.evaluation
    model = context.load_model(model_name)
    for source in sources:
        rows_before = read_evaluations(context.reader, context.task.stage_id)
        if any(row.task == source.name for row in rows_before):
            continue
        result = run_lm_eval_task(
            model,
            tokenizer,
            source.lm_eval_name,
            batch_size=choose_batch_size(context.outline.context, evaluation.batch_tokens // context.task.shrink),
            limit=evaluation.items,
            folder=evaluation.lm_eval_tasks,
        )
        rows = [_build_lm_eval_row(source.name, item, tokenizer) for item in result.items]
        metrics = [MetricRow(f"{name}/{source.name}", 0, value) for name, value in result.metrics.items()]
        n_done, n_tokens = len(rows_before) + len(rows), sum(row.n_tokens for row in [*rows_before, *rows])
        context.write([*rows, *metrics], n_done=n_done, n_total=n_done, n_tokens=n_tokens)


def _build_lm_eval_row(task: str, item: LmEvalItem, tokenizer: PreTrainedTokenizerBase) -> EvaluationRow:
    n_tokens = len(tokenizer(item.response, add_special_tokens=False)["input_ids"])
    return EvaluationRow(
        task=task,
        item_id=item.item_id,
        prompt=item.prompt,
        response=item.response,
        extracted=item.extracted,
        gold=item.gold,
        correct=item.correct,
        n_tokens=n_tokens,
        finish_reason="end",
    )


def _build_metrics(rows: Sequence[EvaluationRow]) -> list[MetricRow]:
    if not rows:  # tasks of lm_eval that only have metrics of their own
        return []
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
    values["mean_n_tokens"] = sum(row.n_tokens for row in rows) / len(rows)
    return [*(MetricRow(name, 0, value) for name, value in values.items()), *measure_evaluations(rows)]
