"""One training, whole: what a process has to know to do it, or its share of it. Knows no store.

The stage's process runs a job itself, or writes it into a folder that every process of ``train_process`` reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase, Trainer

from engine.artifacts import check_room, is_adapter_folder
from engine.compute.adapters import AdapterSettings, attach_adapter, save_adapter
from engine.compute.models import load_model, load_tokenizer, save_model
from engine.compute.train_dpo import train_preference
from engine.compute.train_sft import train_sft
from engine.compute.training import OnStep, OptimiserSettings, PreferenceLoss
from engine.errors import CheckpointError, Interrupted, TrainingError
from engine.records import PreferencePair, TokenSequence

JOB_FILE, EXAMPLES_FILE = "job.json", "examples.jsonl"
Examples = Sequence[Any]  # TokenSequence for SFT, PreferencePair for preference training


@dataclass(frozen=True, slots=True)
class TrainJob:
    """Attributes:
    base_folder, base_name: M0, and what an adapter's config calls it.
    parent_folder: Of the model that training starts from: M0's, another whole one, or an adapter's.
    dtype: Number format of the checkpoint; weights are trained in float32, under autocast where this is a half format.
    loss: Of preference training; None for SFT.
    work_folder, output_folder: Of the snapshots, and of the trained model.
    """

    base_folder: str
    base_name: str
    parent_folder: str
    adapter: AdapterSettings | None
    dtype: str
    settings: OptimiserSettings
    loss: PreferenceLoss | None
    work_folder: str
    output_folder: str


def write_job(job: TrainJob, examples: Examples, folder: Path) -> None:
    """Write a job and what it trains on."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JOB_FILE).write_text(json.dumps(asdict(job), indent=1))
    with (folder / EXAMPLES_FILE).open("w") as file:
        file.writelines(json.dumps(asdict(example)) + "\n" for example in examples)


def read_job(folder: Path) -> tuple[TrainJob, Examples]:
    """Return what ``write_job`` wrote."""
    record = json.loads((folder / JOB_FILE).read_text())
    adapter, loss = record["adapter"], record["loss"]
    if loss is not None:
        record["loss"] = PreferenceLoss(**loss)
    if adapter is not None:
        record["adapter"] = AdapterSettings(**{**adapter, "targets": tuple(adapter["targets"])})
    job = TrainJob(**{**record, "settings": OptimiserSettings(**record["settings"])})
    kind = TokenSequence if job.loss is None else PreferencePair
    with (folder / EXAMPLES_FILE).open() as file:
        return job, [kind(**_freeze(json.loads(line))) for line in file]


def run_job(job: TrainJob, examples: Examples, *, device: torch.device, on_step: OnStep) -> None:
    """Train and write the trained model; with several processes, every one of them calls this.

    ``device`` is where the model is loaded: the processes of a sharded training load it on the CPU.

    Raises:
        TrainingError: the loss is not finite, or the processes end with different weights.
    """
    tokenizer = load_tokenizer(job.base_folder)
    model = _load_trained(job, device)
    arguments: dict[str, Any] = {
        "settings": job.settings,
        "dtype": job.dtype,
        "work_folder": Path(job.work_folder),
        "on_step": on_step,
    }
    trainer: Trainer
    if job.loss is None:
        trainer = train_sft(model, tokenizer, examples, **arguments)
    else:
        trainer = train_preference(model, tokenizer, examples, loss=job.loss, **arguments)
    if job.settings.n_processes > 1 and not _is_sharded(trainer):
        check_equal_weights(model)
    _save(trainer, model, tokenizer, job)


def check_equal_weights(model: torch.nn.Module) -> str:
    """Return the digest of the trained weights; with several processes, after comparing it with theirs.

    Raises:
        TrainingError: they differ, so gradients were not shared.
    """
    total = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            bits = parameter.detach().contiguous().view(torch.int32)
            # Two sums tell weights apart that only changed places, and leave the bytes where they are.
            weights = torch.arange(1, bits.numel() + 1, device=bits.device)
            sums = [int(bits.sum(dtype=torch.int64)), int((bits.flatten() * weights).sum())]
            total.update(f"{name} {sums}\n".encode())
    digest = total.hexdigest()[:16]
    if torch.distributed.is_initialized():
        digests: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(digests, digest)
        if len(set(digests)) > 1:
            raise TrainingError(f"the processes ended with different weights: {', '.join(map(str, digests))}")
    return digest


def _load_trained(job: TrainJob, device: torch.device) -> PreTrainedModel | PeftModel:
    if job.adapter is None:
        # A half-precision model is trained on float32 weights under autocast: an update of 1e-6 is lost in bfloat16.
        return load_model(job.parent_folder, dtype="float32", device=device).train()
    parent = Path(job.parent_folder)
    has_adapter = is_adapter_folder(parent)
    if not has_adapter and parent != Path(job.base_folder):
        raise CheckpointError(f"{parent} is a whole model, and an adapter belongs beside M0")
    base = load_model(job.base_folder, dtype=job.dtype, device=device, is_quantised=job.adapter.is_quantised)
    return attach_adapter(base, job.adapter, parent=parent if has_adapter else None, seed=job.settings.seed)


def _save(
    trainer: Trainer, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, job: TrainJob
) -> None:
    folder, dtype = Path(job.output_folder), getattr(torch, job.dtype)
    # All processes have a share of a sharded model; the first one gets the whole.
    gathered = trainer.accelerator.get_state_dict(trainer.model_wrapped) if _is_sharded(trainer) else None
    if not trainer.is_world_process_zero():
        return
    n_bytes = dtype.itemsize * sum(p.numel() for p in model.parameters() if p.requires_grad)
    check_room(folder, n_bytes, "the checkpoint", error=Interrupted)
    if isinstance(model, PeftModel):
        save_adapter(model, tokenizer, folder, base_name=job.base_name)
    elif gathered is None:
        save_model(model.to(dtype), tokenizer, folder)
    else:
        with torch.device("meta"):
            whole = AutoModelForCausalLM.from_config(model.config, dtype=dtype)
        whole.load_state_dict({name: tensor.to(dtype) for name, tensor in gathered.items()}, assign=True)
        whole.tie_weights()
        whole.generation_config = model.generation_config
        save_model(whole, tokenizer, folder)


def _is_sharded(trainer: Trainer) -> bool:
    return bool(trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)


def _freeze(record: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
