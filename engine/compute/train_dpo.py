"""Preference training: TRL's DPOTrainer with one term added, so that each pair carries its own confidence C.

L(z, C) = -logsigmoid(z) + (1 - C) z. TRL computes the first term and everything around it; this adds the second.
Pairs come as token ids with reference log-probs, so nothing is tokenised again and no reference model is loaded.

Source: Wang et al. 2025, consistency-regularised loss, arXiv 2410.12735.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

from engine.compute.training import (
    OnStep,
    OptimiserSettings,
    build_arguments,
    keep_to_one_gpu,
    keep_trained_weights,
    run_trainer,
)
from engine.records import PreferencePair

_REFERENCE_IN_PAIRS = "its log-probs come with the pairs"


class ConfidenceDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """DPOTrainer whose pairs are token ids with reference log-probs and a ``confidence`` in [0, 1].

    There is no reference model: TRL would load one under FSDP, keep a copy of a LoRA adapter, and hash all weights to
    name the log-probs that it computes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, ref_model=_REFERENCE_IN_PAIRS, **kwargs)
        self.precompute_ref_logps = True

    @property
    def ref_model(self) -> None:
        return None

    @ref_model.setter
    def ref_model(self, model: object) -> None:
        assert model in (None, _REFERENCE_IN_PAIRS)

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        # TRL would tokenise again and end even a truncated response with an end token.
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if "confidence" not in self._signature_columns:
            self._signature_columns.append("confidence")

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        confidence_B = inputs.pop("confidence")
        forwards: list[Any] = []

        def keep_forward(**kwargs: Any) -> Any:
            forwards.append(model(**kwargs))
            return forwards[-1]

        loss = super()._compute_loss(keep_forward, inputs, return_outputs=False)
        chosen_B, rejected_B = forwards[0].log_probs.sum(1).chunk(2)
        reference_B = inputs["ref_chosen_logps"] - inputs["ref_rejected_logps"]
        z_B = self.beta * (chosen_B - rejected_B - reference_B)
        targets_B = self.accelerator.gather(torch.logit(confidence_B))
        if (finite_B := targets_B[targets_B.isfinite()]).numel():
            self._metrics["train"]["target_z"].append(finite_B.mean().item())
        return loss + ((1 - confidence_B) * z_B).mean()


class ConfidenceCollator(DataCollatorForPreference):  # type: ignore[misc]
    """TRL's collator, with the confidence of each pair as a float tensor."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return TRL's batch and ``confidence`` [B]."""
        batch: dict[str, Any] = super().torch_call(examples)
        batch["confidence"] = torch.tensor([example["confidence"] for example in examples])
        return batch


def build_pair_dataset(pairs: Sequence[PreferencePair]) -> Dataset:
    """Return the pairs under the column names that TRL's trainer reads."""
    return Dataset.from_dict(
        {
            "prompt_ids": [list(pair.prompt) for pair in pairs],
            "chosen_ids": [list(pair.chosen) for pair in pairs],
            "rejected_ids": [list(pair.rejected) for pair in pairs],
            "ref_chosen_logps": [pair.reference_chosen_logprob for pair in pairs],
            "ref_rejected_logps": [pair.reference_rejected_logprob for pair in pairs],
            "confidence": [pair.confidence for pair in pairs],
        }
    )


def train_preference(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[PreferencePair],
    *,
    beta: float,
    settings: OptimiserSettings,
    dtype: str,
    work_folder: Path,
    on_step: OnStep,
) -> DPOTrainer:
    """Train ``model`` in place on the soft-label loss and return its trainer."""
    arguments = DPOConfig(**build_arguments(settings, dtype=dtype, work_folder=work_folder), beta=beta)
    keep_to_one_gpu(arguments)
    with keep_trained_weights(model):
        trainer = ConfidenceDPOTrainer(
            model=model,
            args=arguments,
            data_collator=ConfidenceCollator(pad_token_id=tokenizer.pad_token_id),
            train_dataset=build_pair_dataset(pairs),
            processing_class=tokenizer,
        )
    run_trainer(trainer, settings=settings, work_folder=work_folder, on_step=on_step)
    return trainer
