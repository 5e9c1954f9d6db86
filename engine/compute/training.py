"""What SFT and preference training share: trainer arguments, step records, snapshots that a resume can trust.

Every optimiser step is reported, so that a resumed run logs what an uninterrupted one would. The data order comes from
the seed alone. Several processes share each update's forward passes; the first one reports and signs snapshots.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from engine.errors import TrainingError

MANIFEST = "snapshot.json"
# Step, number of steps, values, and whether a snapshot follows at once: a resume from it does not report them again.
OnStep = Callable[[int, int, Mapping[str, float], bool], None]

# Names that trl logs, and what this project calls them. Rewards are beta times a log-ratio, margins their
# difference: z.
LOGGED = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "entropy": "entropy",
    "mean_token_accuracy": "token_accuracy",
    "rewards/margins": "z",
    "rewards/chosen": "chosen_z",
    "rewards/rejected": "rejected_z",
    "target_z": "target_z",
    "bounded_z": "bounded_z",
    "kl": "kl",
    "nll": "chosen_nll",
    "logps/chosen": "chosen_logprob",
    "logps/rejected": "rejected_logprob",
}


@dataclass(frozen=True, slots=True)
class OptimiserSettings:
    """AdamW with warm-up; ``batch_size`` counts examples or pairs per optimiser update, over all processes.

    ``gradient_accumulation_steps`` are the forward passes of one process per update.
    """

    learning_rate: float
    epochs: float
    batch_size: int
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    lr_scheduler: str
    gradient_accumulation_steps: int
    gradient_checkpointing: bool
    snapshot_every: int
    seed: int
    n_processes: int = 1
    is_on_gpu: bool = False

    @property
    def pass_size(self) -> int:
        """Examples or pairs of one forward pass of one process."""
        return self.batch_size // self.gradient_accumulation_steps // self.n_processes


@dataclass(frozen=True, slots=True)
class PreferenceLoss:
    """What the loss of a pair is made of.

    Attributes:
        beta: Scale of the log-ratio difference, z.
        kind: soft_label: -logsigmoid(z) + (1 - C) z. signed: -(2C - 1) logsigmoid(z), for C < 1/2 without a bound.
        kl_weight: Of KL(policy || dpo_reference) on the tokens of both responses, in nats a response; the pairs need
            the reference's log-prob of every token.
        nll_weight: Of the negative log-likelihood of chosen, in nats a token.
    """

    beta: float
    kind: str = "soft_label"
    kl_weight: float = 0.0
    nll_weight: float = 0.0


def build_arguments(settings: OptimiserSettings, *, dtype: str, work_folder: Path) -> dict[str, Any]:
    """Return the keyword arguments of ``SFTConfig`` and ``DPOConfig`` alike."""
    return {
        "output_dir": str(work_folder),
        "learning_rate": settings.learning_rate,
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": settings.pass_size,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        "activation_checkpointing": settings.gradient_checkpointing,
        "warmup_steps": settings.warmup_ratio,
        "lr_scheduler_type": "constant_with_warmup" if settings.lr_scheduler == "constant" else settings.lr_scheduler,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "optim": "adamw_torch",
        "seed": settings.seed,
        "bf16": dtype == "bfloat16",
        "fp16": dtype == "float16",
        "use_cpu": not settings.is_on_gpu,
        "dataloader_pin_memory": settings.is_on_gpu,
        "max_length": None,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def keep_to_one_gpu(arguments: TrainingArguments) -> None:
    """Have a process use its own GPU alone; where it sees several, the trainer would split each batch among them."""
    arguments._n_gpu = min(arguments.n_gpu, 1)


@contextmanager
def keep_trained_weights(model: torch.nn.Module) -> Iterator[None]:
    """Have weights that are trained keep their number format and values while trl builds its trainer.

    It rounds an adapter beside a quantised model to bfloat16, where the updates of a whole iteration can be lost.
    """
    kept = [(parameter, parameter.data) for parameter in model.parameters() if parameter.requires_grad]
    yield
    for parameter, data in kept:
        if parameter.dtype != data.dtype:
            parameter.data = data.to(parameter.device)


def run_trainer(trainer: Trainer, *, settings: OptimiserSettings, work_folder: Path, on_step: OnStep) -> None:
    """Train to the end, from the newest whole snapshot in ``work_folder`` if there is one.

    Raises:
        TrainingError: a step's loss is not finite.
    """
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Steps(on_step=on_step, snapshot_every=settings.snapshot_every))
    snapshot = find_snapshot(work_folder)
    trainer.train(resume_from_checkpoint=str(snapshot) if snapshot else None)


def find_snapshot(work_folder: Path) -> Path | None:
    """Return the newest snapshot with a manifest; unfinished ones are removed."""
    found: list[tuple[int, Path]] = []
    for folder in work_folder.glob("checkpoint-*"):
        try:
            step = int(json.loads((folder / MANIFEST).read_text())["step"])
        except (OSError, ValueError, KeyError):
            shutil.rmtree(folder)
        else:
            found.append((step, folder))
    return max(found)[1] if found else None


class _Steps(TrainerCallback):  # type: ignore[misc]
    """Reports every step, asks for snapshots and signs each one once it is whole on disk."""

    def __init__(self, *, on_step: OnStep, snapshot_every: int) -> None:
        self.report = on_step
        self.snapshot_every = snapshot_every

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        control.should_save = state.global_step % self.snapshot_every == 0 and state.global_step < state.max_steps
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs is None or "loss" not in logs:
            return
        values = {LOGGED[name]: float(value) for name, value in logs.items() if name in LOGGED}
        if not math.isfinite(values["loss"]):
            raise TrainingError(
                f"the loss is {values['loss']} at step {state.global_step} of {state.max_steps}",
                hint="a smaller training.learning_rate, or training in float32, usually helps",
            )
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        if state.is_world_process_zero:
            self.report(state.global_step, state.max_steps, finite, control.should_save)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if args.world_size > 1:
            torch.distributed.barrier()  # every process has its random state and its share of the weights in there
        if state.is_world_process_zero:
            self._sign(args, state)

    def _sign(self, args: TrainingArguments, state: TrainerState) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        for path in folder.rglob("*"):
            fsync(path)
        unsigned = folder / f"{MANIFEST}.part"
        unsigned.write_text(json.dumps({"step": state.global_step, "torch": torch.__version__}))
        fsync(unsigned)
        unsigned.replace(folder / MANIFEST)
        fsync(folder)
        # Only now: the trainer's own save_total_limit takes the last good snapshot away before this one is whole.
        for other in Path(args.output_dir).glob("checkpoint-*"):
            if other != folder:
                (other / MANIFEST).unlink(missing_ok=True)  # first: a half-deleted snapshot must not look whole
                shutil.rmtree(other)


def fsync(path: Path) -> None:
    """Put a file or folder on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
