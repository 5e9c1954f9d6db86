"""How SFT and preference training run."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.config.section import Count, Fraction, NotNegative, Positive, Section, refuse


class OptimiserConfig(Section):
    """AdamW settings that SFT and preference training share."""

    learning_rate: Annotated[Positive, Field(description="peak learning rate of AdamW")]
    epochs: Annotated[Positive, Field(description="passes over the examples; may be a fraction")]
    batch_size: Annotated[Count, Field(description="examples or pairs per optimiser update")]
    warmup_ratio: Annotated[Fraction, Field(lt=1, description="share of the updates with a rising learning rate")] = 0.1
    weight_decay: Annotated[NotNegative, Field(description="weight decay of AdamW")] = 0.0
    max_grad_norm: Annotated[Positive, Field(description="gradients are clipped to this norm")] = 1.0
    lr_scheduler: Annotated[
        Literal["cosine", "linear", "constant"], Field(description="learning rate after the warm-up")
    ] = "cosine"
    max_length: Annotated[
        Count, Field(description="tokens of prompt and response; longer examples are left out and counted")
    ] = 2048
    gradient_accumulation_steps: Annotated[
        Count,
        Field(
            description="forward passes per update, shared by all processes; divides batch_size, more take less memory"
        ),
    ] = 1
    gradient_checkpointing: Annotated[
        bool, Field(description="recompute activations in the backward pass: less memory, slower")
    ] = False
    snapshot_every: Annotated[Count, Field(description="updates between two snapshots that a resume starts from")] = 50

    @model_validator(mode="after")
    def _check_accumulation(self) -> Self:
        if self.batch_size % self.gradient_accumulation_steps:
            steps = self.gradient_accumulation_steps
            refuse("gradient_accumulation_steps", steps, f"does not divide batch_size ({self.batch_size})")
        return self

    def count_passes(self, n_processes: int) -> int | None:
        """Return the forward passes of one process per update; None where a batch cannot be shared by so many.

        Processes share the passes where there are enough of them, so that a pass takes the memory that it takes alone.
        """
        n_passes = self.gradient_accumulation_steps
        if n_passes % n_processes:
            n_passes *= n_processes
        return None if self.batch_size % n_passes else n_passes // n_processes


class SftConfig(OptimiserConfig):
    """Supervised fine-tuning: from M0 to M1."""

    learning_rate: Annotated[Positive, Field(description="peak learning rate of AdamW")] = 2e-4
    epochs: Annotated[Positive, Field(description="passes over the examples; may be a fraction")] = 3.0
    batch_size: Annotated[Count, Field(description="examples per optimiser update")] = 16


class TrainingConfig(OptimiserConfig):
    """Preference training: from M_t to M_{t+1}."""

    dpo_reference: Annotated[
        Literal["policy", "sft", "base"],
        Field(description="frozen reference of the loss: the model at the iteration's start, M1 or M0"),
    ] = "policy"
    replay: Annotated[
        Fraction,
        Field(description="pairs of earlier iterations added to this one's, as a share of these; with their stored C"),
    ] = 0.0
    beta: Annotated[Positive, Field(description="scale of the log-ratio difference in the loss")] = 0.1
    learning_rate: Annotated[Positive, Field(description="peak learning rate of AdamW")] = 1e-6
    epochs: Annotated[Positive, Field(description="passes over the pairs; may be a fraction")] = 1.0
    batch_size: Annotated[Count, Field(description="pairs per optimiser update")] = 32
