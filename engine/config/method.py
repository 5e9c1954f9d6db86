"""What a method is: scorers, aggregate, agreement, confidence. Which methods exist is up to the files."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.config.scorers import ALL_MODELS, Scorer, Scorers
from engine.config.section import Fraction, PlainText, Section, refuse


class AggregateConfig(Section):
    """How scores become the one reward that ranks responses."""

    kind: Annotated[
        Literal["single", "mean", "min"],
        Field(description="single: one scorer as it is; mean, min: over scores standardised per prompt"),
    ]
    scorers: Annotated[Scorers, Field(description="which of the method's scorers enter")]


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
        Literal["one", "fixed", "mean", "per_prompt"],
        Field(description="one: C = 1; fixed: `value`; mean: over the iteration's prompts; per_prompt: each its own"),
    ]
    value: Annotated[Fraction | None, Field(description="the fixed C, 0..1; only for kind fixed")] = None
    shrinkage: Annotated[
        Fraction, Field(description="per_prompt only: 0 takes each prompt's own C, 1 the iteration's mean")
    ] = 0.0
    c_map: Annotated[
        Literal["linear", "exact", "clamp"],
        Field(description="tau to C: linear (tau + 1)/2; exact (3 - tau)/(2 (2 - tau)); clamp: linear, at least 1/2"),
    ] = "linear"


class MethodConfig(Section):
    """One method, put together from parts."""

    name: Annotated[PlainText, Field(max_length=80, description="name of the method")]
    scorers: Annotated[Scorers, Field(description="what gives responses a score; higher is better")]
    aggregate: Annotated[AggregateConfig, Field(description="from scores to the reward that ranks")]
    agreement: Annotated[AgreementConfig | None, Field(description="rank agreement that C is made of; null: none")] = (
        None
    )
    confidence: Annotated[ConfidenceConfig, Field(description="C of each pair")]

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
        scorers = self.aggregate.scorers
        if self.aggregate.kind == "single" and len(scorers) != 1:
            refuse("aggregate.scorers", scorers, "must be exactly one for kind single; use mean or min for several")
        if self.aggregate.kind == "single" and scorers[0] == ALL_MODELS:
            refuse("aggregate.scorers", scorers, "are several models; use kind mean or min")
        if self.aggregate.kind != "single" and len(set(scorers)) != len(scorers):
            refuse("aggregate.scorers", scorers, "names a scorer twice")
        return self

    @model_validator(mode="after")
    def _check_agreement(self) -> MethodConfig:
        agreement = self.agreement
        if agreement is None:
            if self.confidence.kind in ("mean", "per_prompt"):
                refuse("confidence.kind", self.confidence.kind, "needs an agreement; add one, or use one or fixed")
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
        return self
