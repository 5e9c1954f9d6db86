"""Stage train: demonstrations or pairs -> the next model, as a checkpoint named by its content."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from db.queries import read_checkpoint, read_pairs, read_run_metrics, read_scores
from db.rows import CheckpointRow, MetricRow, PairRow, ScoreRow
from engine.artifacts import check_room, compute_folder_digest, measure_model
from engine.compute.build import build_adapter_settings, build_optimiser_settings
from engine.compute.logprobs import compute_sum_logprobs
from engine.compute.models import compute_changed_share
from engine.compute.prompts import encode_example
from engine.compute.train_job import Examples, TrainJob, run_job
from engine.compute.train_launch import launch_job
from engine.compute.training import find_snapshot, fsync
from engine.config.model import ModelConfig
from engine.errors import CheckpointError, Interrupted, TaskError, TrainingError
from engine.launchers import find_launcher
from engine.plan import BASE
from engine.records import PreferencePair, TokenSequence
from engine.stages.context import Samples, StageContext
from engine.stages.data import load_examples

COMMIT_SECONDS = 0.25  # steps come faster than a screen shows them; one transaction takes several


def run_train(context: StageContext) -> None:
    """Train the next model and publish it; from the newest snapshot where an earlier attempt left one."""
    if read_checkpoint(context.reader, context.task.stage_id) is not None:
        return  # an earlier attempt ended between publishing and being counted as done
    context.work_folder.mkdir(parents=True, exist_ok=True)
    is_sft = context.spec.part == "sft"
    # Before the trained model is in memory: a pass of the reference needs one of its own.
    examples: Examples = _encode_examples(context) if is_sft else _list_fitting_pairs(context)
    check_training_room(context, len(examples))
    launcher = find_launcher(context.config.resources)
    job = _describe_job(context, n_processes=1 if launcher is None else launcher.n_processes)
    staging = Path(job.output_folder)
    shutil.rmtree(staging, ignore_errors=True)
    recorder = _StepRecorder(context)
    if launcher is None:
        run_job(job, examples, device=context.device, on_step=recorder.record)
    else:
        launch_job(
            job,
            examples,
            launcher_file=launcher.file,
            device=context.device.type,
            threads=context.config.resources.threads,
            on_step=recorder.record,
        )
    recorder.commit()
    context.write(_summarise_margin(context))
    _publish(context, staging, Path(job.parent_folder))


def check_training_room(context: StageContext, n_examples: int) -> None:
    """Refuse to begin a training whose snapshots and checkpoint the disk has no room for; an adapter's are small.

    Raises:
        Interrupted: names what is needed; a resume goes on from here.
    """
    config = context.config
    settings = config.sft if context.spec.part == "sft" else config.training
    if config.adapter is not None:
        return
    size = measure_model(Path(context.task.base_folder))
    n_steps = settings.epochs * n_examples / settings.batch_size
    # The next snapshot is whole before the last one goes; on a resume, that one is there.
    n_snapshots = 0 if n_steps <= settings.snapshot_every else 2 if find_snapshot(context.work_folder) is None else 1
    n_bytes = size.count_bytes(config.model.dtype) + n_snapshots * size.snapshot_bytes
    check_room(context.work_folder, n_bytes, "the checkpoint and its snapshots", error=Interrupted)


def _describe_job(context: StageContext, *, n_processes: int) -> TrainJob:
    config, is_sft = context.config, context.spec.part == "sft"
    base = Path(context.task.base_folder)
    parent = context.find_model_folder(BASE if is_sft else f"M{context.spec.iteration}")
    return TrainJob(
        base_folder=str(base),
        base_name=_name_base(config.model),
        parent_folder=str(parent),
        adapter=build_adapter_settings(config.adapter),
        dtype=config.model.dtype,
        settings=build_optimiser_settings(
            config.sft if is_sft else config.training,
            seed=context.spec.seed,
            shrink=context.task.shrink,
            n_processes=n_processes,
            is_on_gpu=context.device.type == "cuda",
        ),
        beta=None if is_sft else config.training.beta,
        work_folder=str(context.work_folder),
        output_folder=str(context.work_folder / "staging"),
    )


def _name_base(model: ModelConfig) -> str:
    """Return what an adapter's config calls M0: its name on the hub; a folder's path is no name for another machine."""
    return BASE if model.path is None or Path(model.path).is_absolute() else model.path


def _encode_examples(context: StageContext) -> list[TokenSequence]:
    sft, tokenizer = context.config.sft, context.load_tokenizer()
    examples = [
        encode_example(tokenizer, example.messages, example.response, end_token_ids=context.outline.end_token_ids)
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
    return fitting


def _list_fitting_pairs(context: StageContext) -> list[PreferencePair]:
    training, pairs = context.config.training, _build_pairs(context)
    fitting = [
        pair for pair in pairs if len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)) <= training.max_length
    ]
    context.write([MetricRow("n_too_long_pairs", 0, float(len(pairs) - len(fitting)))])
    if not fitting:
        raise TrainingError(f"all {len(pairs)} pairs exceed training.max_length = {training.max_length} tokens")
    return fitting


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
    """Return finite log-probs of both sides: from scoring, or from one pass of M1 where that is the reference."""
    setting = context.config.training.dpo_reference
    if setting == "sft":
        batch_tokens = max(1, context.config.scoring.batch_tokens // context.task.shrink)
        model = context.load_model("M1")
        values = compute_sum_logprobs(model, list(sides.values()), batch_tokens=batch_tokens)
        del model
        context.free_memory()
        return {side: value for side, value in zip(sides, values, strict=True) if math.isfinite(value)}
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


def _publish(context: StageContext, staging: Path, parent_folder: Path) -> None:
    """Name the trained model by its content, rename it, then write the row; a folder of the same digest is kept.

    Its parameters are those in the folder: of an adapter alone, where one was trained.
    """
    digest, parent_digest = compute_folder_digest(staging), compute_folder_digest(parent_folder)
    measures: list[MetricRow] = []
    if context.config.adapter is None:  # an adapter is float32 and forgets no update, however small
        measures.append(MetricRow("changed_share", 0, compute_changed_share(staging, parent_folder)))
    n_parameters = measure_model(staging).n_parameters
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
    context.write([CheckpointRow(digest, parent_digest, relative, n_parameters, n_bytes), *measures])
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
