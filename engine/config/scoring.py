"""How responses are scored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.config.section import Count, Section


class ScoringConfig(Section):
    """How the implicit reward is computed."""

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
