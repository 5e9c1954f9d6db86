"""Preference training: TRL's DPOTrainer with terms added, so that each pair carries its own confidence C.

L(z, C) = -logsigmoid(z) + (1 - C) z. TRL computes the first term and everything around it; this adds the second, or
what else a ``PreferenceLoss`` asks for. Pairs come as token ids with reference log-probs, so nothing is tokenised again
and no reference model is loaded.

Source: Wang et al. 2025, consistency-regularised loss, arXiv 2410.12735.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.nn.functional import logsigmoid
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

from engine.compute.training import (
    OnStep,
    OptimiserSettings,
    PreferenceLoss,
    build_arguments,
    keep_to_one_gpu,
    keep_trained_weights,
    run_trainer,
)
from engine.records import PreferencePair

_REFERENCE_IN_PAIRS = "its log-probs come with the pairs"
_TOKEN_COLUMNS = ("ref_chosen_token_logps", "ref_rejected_token_logps")
_OWN_COLUMNS = ("confidence", *_TOKEN_COLUMNS)


class ConfidenceDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """DPOTrainer whose pairs are token ids with reference log-probs and a ``confidence`` in [0, 1].

    There is no reference model: TRL would load one under FSDP, keep a copy of a LoRA adapter, and hash all weights to
    name the log-probs that it computes.
    """

    def __init__(self, *args: Any, loss: PreferenceLoss, **kwargs: Any) -> None:
        super().__init__(*args, ref_model=_REFERENCE_IN_PAIRS, **kwargs)
        self.precompute_ref_logps = True
        self.preference_loss = loss

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
        self._signature_columns.extend(name for name in _OWN_COLUMNS if name not in self._signature_columns)

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        confidence_B, reference_BT = inputs.pop("confidence"), inputs.pop("ref_token_logps", None)
        forwards: list[Any] = []

        def keep_forward(**kwargs: Any) -> Any:
            forwards.append(model(**kwargs))
            return forwards[-1]

        loss = super()._compute_loss(keep_forward, inputs, return_outputs=False)
        logprobs_BT = forwards[0].log_probs  # chosen, then rejected; 0 outside the responses
        chosen_B, rejected_B = logprobs_BT.sum(1).chunk(2)
        z_B = self.beta * (chosen_B - rejected_B - (inputs["ref_chosen_logps"] - inputs["ref_rejected_logps"]))
        if self.preference_loss.kind == "signed":
            # Added to TRL's -logsigmoid(z): 1 + (2C - 2) = 2C - 1.
            loss = loss + (2 * (1 - confidence_B) * logsigmoid(z_B)).mean()
        else:
            loss = loss + ((1 - confidence_B) * z_B).mean()
            target_B = torch.logit(confidence_B)
            self._note("target_z", target_B)
            self._note("bounded_z", z_B.detach().where(target_B.isfinite(), torch.nan))
        if kl_weight := self.preference_loss.kl_weight:
            kl_B = estimate_kl(logprobs_BT, reference_BT[:, 1:])
            self._note("kl", kl_B)
            loss = loss + kl_weight * kl_B.mean()
        if nll_weight := self.preference_loss.nll_weight:
            n_tokens_B, _ = inputs["completion_mask"].sum(1).chunk(2)
            nll_B = -chosen_B / n_tokens_B
            self._note("nll", nll_B)
            loss = loss + nll_weight * nll_B.mean()
        return loss

    def _note(self, name: str, values_B: torch.Tensor) -> None:
        """Log the mean over all processes of what is finite."""
        gathered_B = self.accelerator.gather(values_B.detach())
        if (finite_B := gathered_B[gathered_B.isfinite()]).numel():
            self._metrics["train"][name].append(finite_B.mean().item())


def estimate_kl(logprobs_BT: torch.Tensor, reference_BT: torch.Tensor) -> torch.Tensor:
    """Return an estimate of KL(policy || reference) by the tokens of each response, in nats; [B], never negative.

    It is exp(d) - 1 - d of the log-ratio d = log ref - log pi, summed over tokens. The responses were sampled before
    the training and are not sampled again.

    Args:
        logprobs_BT: Log-prob of each response token under the policy, 0 elsewhere.
        reference_BT: The same under the reference.

    Source: Schulman 2020, Approximating KL Divergence, estimator k3.
    """
    ratio_BT = reference_BT - logprobs_BT
    return (torch.expm1(ratio_BT) - ratio_BT).sum(1)


class ConfidenceCollator(DataCollatorForPreference):  # type: ignore[misc]
    """TRL's collator, with the confidence of each pair, and the reference's log-probs by token where it has them."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return TRL's batch, ``confidence`` [B] and ``ref_token_logps``, of the form of its ``input_ids``."""
        batch: dict[str, Any] = super().torch_call(examples)
        batch["confidence"] = torch.tensor([example["confidence"] for example in examples])
        if all(side in examples[0] for side in _TOKEN_COLUMNS):
            values = [value for side in _TOKEN_COLUMNS for example in examples for value in example[side]]
            # The mask's positions come row by row, as the values do.
            mask_BT = batch["completion_mask"].bool()
            batch["ref_token_logps"] = torch.zeros(mask_BT.shape).masked_scatter(mask_BT, torch.tensor(values))
        return batch


def build_pair_dataset(pairs: Sequence[PreferencePair]) -> Dataset:
    """Return the pairs under the column names that TRL's trainer reads."""
    columns: dict[str, list[Any]] = {
        "prompt_ids": [list(pair.prompt) for pair in pairs],
        "chosen_ids": [list(pair.chosen) for pair in pairs],
        "rejected_ids": [list(pair.rejected) for pair in pairs],
        "ref_chosen_logps": [pair.reference_chosen_logprob for pair in pairs],
        "ref_rejected_logps": [pair.reference_rejected_logprob for pair in pairs],
        "confidence": [pair.confidence for pair in pairs],
    }
    if all(pair.reference_chosen_token_logprobs and pair.reference_rejected_token_logprobs for pair in pairs):
        sides = [(pair.reference_chosen_token_logprobs, pair.reference_rejected_token_logprobs) for pair in pairs]
        columns.update(zip(_TOKEN_COLUMNS, map(list, zip(*sides, strict=True)), strict=True))
    return Dataset.from_dict(columns)


def train_preference(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[PreferencePair],
    *,
    loss: PreferenceLoss,
    settings: OptimiserSettings,
    dtype: str,
    work_folder: Path,
    on_step: OnStep,
) -> DPOTrainer:
    """Train ``model`` in place on the preference loss and return its trainer."""
    arguments = DPOConfig(**build_arguments(settings, dtype=dtype, work_folder=work_folder), beta=loss.beta)
    keep_to_one_gpu(arguments)
    with keep_trained_weights(model):
        trainer = ConfidenceDPOTrainer(
            model=model,
            args=arguments,
            loss=loss,
            data_collator=ConfidenceCollator(pad_token_id=tokenizer.pad_token_id),
            train_dataset=build_pair_dataset(pairs),
            processing_class=tokenizer,
        )
    run_trainer(trainer, settings=settings, work_folder=work_folder, on_step=on_step)
    return trainer
