"""Supervised fine-tuning through TRL's SFTTrainer on token ids that are already there; loss on response tokens only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from engine.compute.training import (
    OnStep,
    OptimiserSettings,
    build_arguments,
    keep_to_one_gpu,
    keep_trained_weights,
    run_trainer,
)
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
) -> SFTTrainer:
    """Train ``model`` in place and return its trainer; masks go by position, so pad = eos does no harm."""
    dataset = Dataset.from_dict(
        {
            "input_ids": [list(example.prompt + example.response) for example in examples],
            "labels": [[-100] * len(example.prompt) + list(example.response) for example in examples],
        }
    )
    arguments = SFTConfig(
        **build_arguments(settings, dtype=dtype, work_folder=work_folder), dataset_kwargs={"skip_prepare_dataset": True}
    )
    keep_to_one_gpu(arguments)
    with keep_trained_weights(model):
        trainer = SFTTrainer(
            model=model,
            args=arguments,
            train_dataset=dataset,
            processing_class=tokenizer,
        )
    run_trainer(trainer, settings=settings, work_folder=work_folder, on_step=on_step)
    return trainer
