"""What a method is: scorers, aggregate, agreement, confidence, pairs, loss. Which methods exist is up to the files."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.config.scorers import ALL_MODELS, VOTES, Scorer, Scorers
from engine.config.section import Fraction, NotNegative, PlainText, Section, refuse


class AggregateConfig(Section):
    """How scores become the one reward that ranks responses."""

    kind: Annotated[
        Literal["single", "mean", "min", "lcb", "uwo"],
        Field(
            description="single: one scorer as it is; the others over scores standardised per prompt: mean, min, "
            "lcb (mean - k standard deviations), uwo (mean - k variances)"
        ),
    ]
    scorers: Annotated[Scorers, Field(description="which of the method's scorers enter")]
    k: Annotated[
        NotNegative | None, Field(description="weight of the disagreement between scorers; only for kinds lcb and uwo")
    ] = None
    length_penalty: Annotated[
        NotNegative, Field(description="taken off the reward for each response token, in the reward's own unit")
    ] = 0.0


class AgreementConfig(Section):
    """How two rankings of the same responses are compared."""

    measure: Annotated[Literal["kendall", "spearman", "toporder"], Field(description="measure of rank agreement")]
    scorer: Annotated[Scorer, Field(description="scorer of the first ranking")]
    against: Annotated[Scorer, Field(description="scorer of the second ranking")]
    ties: Annotated[
        Literal["distinct", "tau_a", "tau_b", "ordinal"],
        Field(description="distinct: equal responses count once; tau_a, tau_b (Kendall only), ordinal: over all"),
    ] = "distinct"


class ConfidenceConfig(Section):
    """How C, the probability that chosen beats rejected in the loss, comes about."""

    kind: Annotated[
        Literal["one", "fixed", "mean", "per_prompt", "votes"],
        Field(
            description="one: C = 1; fixed: `value`; mean: over the iteration's prompts; per_prompt: each its own; "
            "votes: of the chosen answer, as a share of those of both sides"
        ),
    ]
    value: Annotated[Fraction | None, Field(description="the fixed C, 0..1; only for kind fixed")] = None
    shrinkage: Annotated[
        Fraction, Field(description="per_prompt only: 0 takes each prompt's own C, 1 the iteration's mean")
    ] = 0.0
    c_map: Annotated[
        Literal["linear", "exact", "clamp"],
        Field(description="tau to C: linear (tau + 1)/2; exact (3 - tau)/(2 (2 - tau)); clamp: linear, at least 1/2"),
    ] = "linear"
    permuted: Annotated[bool, Field(description="per_prompt only: the same C shuffled over the prompts, a control")] = (
        False
    )


class PairsConfig(Section):
    """Which two responses of a prompt become its pair, and which pairs are kept."""

    strategy: Annotated[
        Literal["max_min", "max_random"],
        Field(description="rejected is the response of lowest reward, or a random one of lower reward than chosen"),
    ] = "max_min"
    rejected: Annotated[
        Literal["policy", "sft"],
        Field(description="whose responses rejected is taken from: those of M_t, or as many of M1 to the same prompts"),
    ] = "policy"
    min_margin: Annotated[
        NotNegative, Field(description="pairs with a smaller reward difference are left out; unit of the reward")
    ] = 0.0
    min_consistency: Annotated[
        Fraction, Field(description="pairs whose prompt has a lower consistency rate are left out; needs an agreement")
    ] = 0.0


class LossConfig(Section):
    """What training minimises on the pairs."""

    kind: Annotated[
        Literal["soft_label", "signed"],
        Field(description="soft_label: C DPO + (1 - C) reversed DPO; signed: (2C - 1) DPO"),
    ] = "soft_label"
    kl_weight: Annotated[
        NotNegative, Field(description="weight of KL(policy || dpo_reference) on the tokens of both responses; 0: none")
    ] = 0.0
    nll_weight: Annotated[
        NotNegative, Field(description="weight of the negative log-likelihood of chosen, per token; 0: none")
    ] = 0.0


class MethodConfig(Section):
    """One method, put together from parts."""

    name: Annotated[PlainText, Field(max_length=80, description="name of the method")]
    scorers: Annotated[Scorers, Field(description="what gives responses a score; higher is better")]
    aggregate: Annotated[AggregateConfig, Field(description="from scores to the reward that ranks")]
    agreement: Annotated[AgreementConfig | None, Field(description="rank agreement that C is made of; null: none")] = (
        None
    )
    confidence: Annotated[ConfidenceConfig, Field(description="C of each pair")]
    pairs: Annotated[PairsConfig, Field(description="which responses become a pair")] = PairsConfig()
    loss: Annotated[LossConfig, Field(description="what training minimises")] = LossConfig()

    @model_validator(mode="after")
    def _check_scorers(self) -> MethodConfig:
        if len(set(self.scorers)) < len(self.scorers):
            refuse("scorers", self.scorers, "names a scorer twice")
        named = [("aggregate.scorers", scorer) for scorer in self.aggregate.scorers]
        if self.agreement is not None:
            named += [("agreement.scorer", self.agreement.scorer), ("agreement.against", self.agreement.against)]
        for key, scorer in named:
            if scorer not in self.scorers:
                refuse(key, scorer, f"is not among the method's scorers ({', '.join(self.scorers)}); add it there")
        return self

    @model_validator(mode="after")
    def _check_aggregate(self) -> MethodConfig:
        aggregate, scorers = self.aggregate, self.aggregate.scorers
        if aggregate.kind == "single" and len(scorers) != 1:
            refuse("aggregate.scorers", scorers, "must be exactly one for kind single; use mean or min for several")
        if aggregate.kind == "single" and scorers[0] == ALL_MODELS:
            refuse("aggregate.scorers", scorers, "are several models; use kind mean or min")
        if aggregate.kind != "single" and len(set(scorers)) != len(scorers):
            refuse("aggregate.scorers", scorers, "names a scorer twice")
        if aggregate.kind in ("lcb", "uwo") and aggregate.k is None:
            refuse("aggregate.k", None, f"is needed for kind {aggregate.kind}: a number of at least 0, such as 0.5")
        if aggregate.kind not in ("lcb", "uwo") and aggregate.k is not None:
            refuse("aggregate.k", aggregate.k, "is only for kinds lcb and uwo")
        return self

    @model_validator(mode="after")
    def _check_agreement(self) -> MethodConfig:
        agreement = self.agreement
        if agreement is None:
            if self.confidence.kind in ("mean", "per_prompt"):
                refuse("confidence.kind", self.confidence.kind, "needs an agreement; add one, or use one or fixed")
            if self.pairs.min_consistency:
                refuse("pairs.min_consistency", self.pairs.min_consistency, "needs an agreement to filter by; add one")
            return self
        for key, scorer in (("agreement.scorer", agreement.scorer), ("agreement.against", agreement.against)):
            if scorer == ALL_MODELS:
                refuse(key, scorer, "is several rankings; an agreement compares two")
        if agreement.scorer == agreement.against:
            refuse("agreement.against", agreement.against, "is the same as agreement.scorer")
        if agreement.measure != "kendall" and agreement.ties in ("tau_a", "tau_b"):
            refuse("agreement.ties", agreement.ties, "is only for measure kendall; use distinct or ordinal")
        return self

    @model_validator(mode="after")
    def _check_confidence(self) -> MethodConfig:
        confidence = self.confidence
        if confidence.kind == "fixed" and confidence.value is None:
            refuse("confidence.value", None, "is needed for kind fixed: a number from 0 to 1")
        if confidence.kind != "fixed" and confidence.value is not None:
            refuse("confidence.value", confidence.value, "is only for kind fixed")
        if confidence.kind != "per_prompt" and confidence.shrinkage:
            refuse("confidence.shrinkage", confidence.shrinkage, "is only for kind per_prompt")
        if confidence.kind != "per_prompt" and confidence.permuted:
            refuse("confidence.permuted", confidence.permuted, "is only for kind per_prompt")
        if confidence.kind == "votes" and VOTES not in self.scorers:
            refuse("confidence.kind", confidence.kind, f"needs the scorer {VOTES}; add it to the method's scorers")
        return self
