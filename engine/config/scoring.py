"""How responses are scored: the implicit reward, the judge, and external reward models by name."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.config.scorers import NAME_PATTERN, REWARD_MODEL
from engine.config.section import MAX_COUNT, Count, PlainText, Positive, Section, Size, refuse
from engine.errors import ConfigError


class JudgeConfig(Section):
    """How a model of the run judges responses, for the scorers judge:current, judge:previous and judge:base."""

    judgements: Annotated[
        int, Field(ge=1, le=MAX_COUNT, description="judgements of each response; its score is the mean of those parsed")
    ] = 3
    temperature: Annotated[Positive, Field(description="temperature of the judgements")] = 0.8
    top_p: Annotated[
        float, Field(gt=0, le=1, description="probability mass kept of each token of a judgement; 1 keeps all")
    ] = 0.95
    max_new_tokens: Annotated[Count, Field(description="tokens of one judgement")] = 512
    prompt: Annotated[
        PlainText | None,
        Field(
            description="a text file with {prompt} and {response} that asks for 'Score: <0 to 5>'; null: the shipped "
            "additive five-point prompt"
        ),
    ] = None


class RewardModelConfig(Section):
    """An external reward model: a sequence classifier with a tokenizer and a chat template of its own."""

    path: Annotated[PlainText, Field(description="hub name or folder of the reward model")]
    revision: Annotated[
        PlainText | None, Field(description="branch, tag or commit of a hub model; null: its default branch")
    ] = None
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"], Field(description="number format of the forward pass")
    ] = "float32"
    logit: Annotated[
        Size | None, Field(description="which logit is the reward, from 0; null: the only one, others are refused")
    ] = None
    batch_tokens: Annotated[Count, Field(description="tokens of one forward pass, padding included")] = 8192


class ScoringConfig(Section):
    """How scores are computed."""

    reward_reference: Annotated[
        Literal["base"], Field(description="reference of the implicit reward, the same in all iterations: M0")
    ] = "base"
    first_iteration: Annotated[
        Literal["mean_loglik", "sum_loglik", "skip"],
        Field(
            description="at t = 1 the previous model is M0 and its implicit reward is 0: rank by M0's mean or summed "
            "log-likelihood instead, or skip the agreement (C = 1)"
        ),
    ] = "mean_loglik"
    batch_tokens: Annotated[Count, Field(description="tokens of one forward pass, padding included")] = 2048
    judge: Annotated[JudgeConfig, Field(description="how a model of the run judges")] = JudgeConfig()
    reward_models: Annotated[
        dict[str, RewardModelConfig], Field(description="external reward models by name: reward_model:NAME")
    ] = Field(default_factory=dict)

    noise_floor: Annotated[
        Count | None,
        Field(
            description="prompts of each iteration that are scored again, with other buckets and for half formats in "
            "float32, to see how far numerics alone change the ranking; null: none"
        ),
    ] = None
    tau_matrix: Annotated[
        bool,
        Field(description="tau of the current model with every earlier one, not the last alone: a pass for each older"),
    ] = False

    @model_validator(mode="after")
    def _check_names(self) -> ScoringConfig:
        for name in self.reward_models:
            if not re.fullmatch(NAME_PATTERN, name):
                refuse("reward_models", name, "is no name of a reward model: letters, digits and _, at most 40")
        return self

    def find_reward_model(self, name: str) -> RewardModelConfig:
        """Return the reward model that a method's scorer names.

        Raises:
            ConfigError: there is none of this name.
        """
        if name in self.reward_models:
            return self.reward_models[name]
        known = ", ".join(self.reward_models) or "none"
        raise ConfigError(
            f"method.scorers: {REWARD_MODEL}{name} needs scoring.reward_models.{name}, and scoring.reward_models has "
            f"{known}",
            hint=f"Set scoring.reward_models.{name}.path to the folder or hub name of a reward model.",
            key="method.scorers",
            value=f"{REWARD_MODEL}{name}",
        )
