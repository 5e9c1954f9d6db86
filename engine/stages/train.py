"""Stage train: demonstrations or pairs -> the next model, as a checkpoint named by its content."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from db.queries import read_checkpoint, read_run_metrics
from db.rows import CheckpointRow, MetricRow
from engine.artifacts import check_room, compute_folder_digest, measure_model
from engine.compute.build import build_adapter_settings, build_optimiser_settings, build_preference_loss
from engine.compute.models import compute_changed_share
from engine.compute.prompts import encode_example
from engine.compute.train_job import Examples, TrainJob, run_job
from engine.compute.train_launch import launch_job
from engine.compute.training import find_snapshot, fsync
from engine.config.model import ModelConfig
from engine.errors import CheckpointError, Interrupted, TaskError
from engine.launchers import find_launcher
from engine.plan import BASE
from engine.records import TokenSequence
from engine.stages.context import StageContext
from engine.stages.data import load_examples
from engine.stages.train_pairs import list_training_pairs

COMMIT_SECONDS = 0.25  # steps come faster than a screen shows them; one transaction takes several


def run_train(context: StageContext) -> None:
    """Train the next model and publish it; from the newest snapshot where an earlier attempt left one."""
    if read_checkpoint(context.reader, context.task.stage_id) is not None:
        return  # an earlier attempt ended between publishing and being counted as done
    context.work_folder.mkdir(parents=True, exist_ok=True)
    is_sft = context.spec.part == "sft"
    # Before the trained model is in memory: a pass of the reference needs one of its own.
    examples: Examples = _encode_examples(context) if is_sft else list_training_pairs(context)
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
        loss=None if is_sft else build_preference_loss(config),
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
    """Return what the last tenth of the steps came to: whether C had a say, and how far both sides moved.

    From the store, which also holds the steps before a resume. ``chosen_shift`` and ``rejected_shift`` are changes of
    log-prob against the DPO reference, in nats.
    """
    beta = context.config.training.beta
    summaries = {
        "z": ("final_z", 1.0),
        "target_z": ("final_target_z", 1.0),
        "bounded_z": ("final_bounded_z", 1.0),
        "chosen_z": ("chosen_shift", beta),
        "rejected_z": ("rejected_shift", beta),
    }
    steps: dict[str, dict[int, float]] = {name: {} for name in summaries}
    for metric in read_run_metrics(context.reader, context.task.run_id, names=steps):
        if metric.label == context.spec.label:
            steps[metric.name][metric.step] = metric.value
    rows = []
    for name, values in steps.items():
        first = 0.9 * max(values, default=0)
        last = [value for step, value in sorted(values.items()) if step > first]
        if last:
            summary, scale = summaries[name]
            rows.append(MetricRow(summary, 0, math.fsum(last) / len(last) / scale))
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
