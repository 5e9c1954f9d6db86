"""Supervised fine-tuning through TRL's SFTTrainer on token ids that are already there; loss on response tokens only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from engine.compute.training import OnStep, OptimiserSettings, build_arguments, run_trainer
from engine.records import TokenSequence


def train_sft(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[TokenSequence],
    *,
    settings: OptimiserSettings,
    dtype: str,
    work_folder: Path,
    on_step: OnStep,
) -> None:
    """Train ``model`` in place; masks go by position, so pad = eos does no harm."""
    dataset = Dataset.from_dict(
        {
            "input_ids": [list(example.prompt + example.response) for example in examples],
            "labels": [[-100] * len(example.prompt) + list(example.response) for example in examples],
        }
    )
    arguments = build_arguments(settings, model=model, dtype=dtype, work_folder=work_folder)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**arguments, dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=dataset,
        processing_class=tokenizer,
    )
    run_trainer(trainer, settings=settings, work_folder=work_folder, on_step=on_step)
