"""Stage train: demonstrations or pairs -> the next model, as a checkpoint named by its content."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from db.queries import read_checkpoint, read_pairs, read_run_metrics, read_scores
from db.rows import CheckpointRow, MetricRow, PairRow, ScoreRow
from engine.artifacts import compute_folder_digest
from engine.compute.build import build_optimiser_settings
from engine.compute.logprobs import compute_sum_logprobs
from engine.compute.models import compute_changed_share, save_model
from engine.compute.prompts import encode_example, find_end_token_ids
from engine.compute.train_dpo import train_preference
from engine.compute.train_sft import train_sft
from engine.compute.training import fsync
from engine.errors import CheckpointError, TaskError, TrainingError
from engine.plan import BASE
from engine.records import PreferencePair, TokenSequence
from engine.stages.context import Samples, StageContext
from engine.stages.data import load_examples

COMMIT_SECONDS = 0.25  # steps come faster than a screen shows them; one transaction takes several


def run_train(context: StageContext) -> None:
    """Train the next model and publish it; from the newest snapshot where an earlier attempt left one."""
    if read_checkpoint(context.reader, context.task.stage_id) is not None:
        return  # an earlier attempt ended between publishing and being counted as done
    # A half-precision model is trained on float32 weights under autocast: an update of 1e-6 is lost in bfloat16.
    parent = BASE if context.spec.part == "sft" else f"M{context.spec.iteration}"
    model = context.load_model(parent, dtype="float32").train()
    tokenizer = context.load_tokenizer()
    context.work_folder.mkdir(parents=True, exist_ok=True)
    recorder = _StepRecorder(context)
    if context.spec.part == "sft":
        _train_sft(context, model, tokenizer, recorder)
    else:
        _train_preference(context, model, tokenizer, recorder)
    recorder.commit()
    context.write(_summarise_margin(context))
    _publish(context, model, tokenizer, parent)


def _train_sft(
    context: StageContext, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, recorder: _StepRecorder
) -> None:
    sft = context.config.sft
    ends = find_end_token_ids(model, tokenizer)
    examples = [
        encode_example(tokenizer, example.messages, example.response, end_token_ids=ends)
        for example in load_examples(context.config)
    ]
    fitting = [example for example in examples if len(example) <= sft.max_length]
    if not fitting:
        raise TaskError(f"all {len(examples)} SFT examples are longer than sft.max_length = {sft.max_length} tokens")
    context.write(
        [
            MetricRow("n_examples", 0, float(len(fitting))),
            MetricRow("n_skipped_examples", 0, float(len(examples) - len(fitting))),
        ]
    )
    train_sft(
        model,
        tokenizer,
        fitting,
        settings=build_optimiser_settings(sft, seed=context.spec.seed, shrink=context.task.shrink),
        dtype=context.config.model.dtype,
        work_folder=context.work_folder,
        on_step=recorder.record,
    )


def _train_preference(
    context: StageContext, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, recorder: _StepRecorder
) -> None:
    training = context.config.training
    pairs = _build_pairs(context)
    fitting = [
        pair for pair in pairs if len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)) <= training.max_length
    ]
    context.write([MetricRow("n_too_long_pairs", 0, float(len(pairs) - len(fitting)))])
    if not fitting:
        raise TrainingError(f"all {len(pairs)} pairs exceed training.max_length = {training.max_length} tokens")
    train_preference(
        model,
        tokenizer,
        fitting,
        beta=training.beta,
        settings=build_optimiser_settings(training, seed=context.spec.seed, shrink=context.task.shrink),
        dtype=context.config.model.dtype,
        work_folder=context.work_folder,
        on_step=recorder.record,
    )


def _build_pairs(context: StageContext) -> list[PreferencePair]:
    """Return the pairs in prompt order with the log-probs of the DPO reference."""
    samples = context.read_samples()
    rows = [row for row in read_pairs(context.reader, context.get_input_id("pair")) if row.skip_reason is None]
    sides = {
        (row.prompt_id, k): samples.get_sequence(samples.groups[row.prompt_id][k])
        for row in rows
        for k in (row.chosen_k, row.rejected_k)
        if k is not None
    }
    reference = _read_reference_logprobs(context, sides)
    complete = [
        row for row in rows if {(row.prompt_id, row.chosen_k), (row.prompt_id, row.rejected_k)} <= set(reference)
    ]
    context.write([MetricRow("n_unreferenced_pairs", 0, float(len(rows) - len(complete)))])
    return [_build_pair(row, samples, reference) for row in complete]


def _build_pair(row: PairRow, samples: Samples, reference: Mapping[tuple[str, int], float]) -> PreferencePair:
    if row.chosen_k is None or row.rejected_k is None or row.confidence is None:
        raise TrainingError(f"pair of prompt {row.prompt_id} is incomplete")
    group = samples.groups[row.prompt_id]
    return PreferencePair(
        prompt=samples.prompts[row.prompt_id],
        chosen=group[row.chosen_k].token_ids,
        rejected=group[row.rejected_k].token_ids,
        reference_chosen_logprob=reference[row.prompt_id, row.chosen_k],
        reference_rejected_logprob=reference[row.prompt_id, row.rejected_k],
        confidence=row.confidence,
    )


def _read_reference_logprobs(
    context: StageContext, sides: Mapping[tuple[str, int], TokenSequence]
) -> dict[tuple[str, int], float]:
    """Return log-probs of both sides: those that scoring computed, or one pass of M1 where that is the reference."""
    setting = context.config.training.dpo_reference
    if setting == "sft":
        model = context.load_model("M1")
        values = compute_sum_logprobs(model, list(sides.values()), batch_tokens=context.config.scoring.batch_tokens)
        return dict(zip(sides, values, strict=True))
    scorer = f"implicit:M{context.spec.iteration}"
    scores: dict[tuple[str, int], ScoreRow] = {
        (row.prompt_id, row.k): row
        for row in read_scores(context.reader, [context.get_input_id("score")])
        if row.scorer == scorer
    }
    found = {
        side: scores[side].sum_logprob if setting == "policy" else scores[side].reference_sum_logprob for side in sides
    }
    return {side: value for side, value in found.items() if value is not None}


def _publish(context: StageContext, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, parent: str) -> None:
    """Save under work, name by content, rename, then write the row; a folder of the same digest is kept."""
    staging = context.work_folder / "staging"
    shutil.rmtree(staging, ignore_errors=True)
    save_model(model.to(getattr(torch, context.config.model.dtype)), tokenizer, staging)
    digest = compute_folder_digest(staging)
    parent_folder = context.find_model_folder(parent)
    parent_digest = compute_folder_digest(parent_folder)
    changed_share = compute_changed_share(staging, parent_folder)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    manifest = {"digest": digest, "parent": parent_digest, "model": context.spec.label, "stage": context.spec.key}
    (staging / "manifest.json").write_text(json.dumps(manifest, indent=1))
    for path in staging.iterdir():
        fsync(path)
    folder = context.store.paths.checkpoint_folder(digest)
    folder.parent.mkdir(exist_ok=True)
    try:
        staging.rename(folder)
    except OSError as error:
        if not (folder / "manifest.json").exists():
            raise CheckpointError(f"{folder} is in the way of a checkpoint", hint="move it away") from error
    fsync(folder.parent)
    n_bytes = sum(path.stat().st_size for path in folder.iterdir())
    relative = folder.relative_to(context.store.paths.root).as_posix()
    context.write(
        [
            CheckpointRow(digest, parent_digest, relative, n_parameters, n_bytes),
            MetricRow("changed_share", 0, changed_share),
        ]
    )
    shutil.rmtree(context.work_folder, ignore_errors=True)


def _summarise_margin(context: StageContext) -> list[MetricRow]:
    """Return z and its target over the last tenth of the steps: whether C had a say, or only scaled the first steps.

    From the store, which also holds the steps before a resume.
    """
    steps: dict[str, dict[int, float]] = {"z": {}, "target_z": {}}
    for metric in read_run_metrics(context.reader, context.task.run_id, names=steps):
        if metric.label == context.spec.label:
            steps[metric.name][metric.step] = metric.value
    rows = []
    for name, values in steps.items():
        first = 0.9 * max(values, default=0)
        last = [value for step, value in sorted(values.items()) if step > first]
        if last:
            rows.append(MetricRow(f"final_{name}", 0, math.fsum(last) / len(last)))
    return rows


class _StepRecorder:
    """Collects the values of every step and commits them several times a second, and before each snapshot."""

    def __init__(self, context: StageContext) -> None:
        self.context = context
        self.rows: list[MetricRow] = []
        self.position = (0, 0)
        self.committed_at = 0.0

    def record(self, step: int, n_steps: int, values: Mapping[str, float], has_snapshot: bool) -> None:
        self.rows.extend(MetricRow(name, step, value) for name, value in values.items())
        self.position = (step, n_steps)
        if has_snapshot or time.monotonic() - self.committed_at >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        step, n_steps = self.position
        self.context.write(self.rows, n_done=step, n_total=n_steps, unit="steps")
        self.rows, self.committed_at = [], time.monotonic()
