"""The names of scorers as a method writes them: fixed ones, and those of the reward models that a run names.

Knows names only. Must not know which model stands behind ``current`` at an iteration: that is the plan's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from engine.errors import find_nearest

ALL_MODELS = "implicit:all"
REWARD_MODEL = "reward_model:"
VOTES = "votes"
FIXED = (
    "implicit:current",
    "implicit:previous",
    ALL_MODELS,
    "mean_loglik:base",
    "sum_loglik:base",
    "judge:current",
    "judge:previous",
    "judge:base",
    "oracle",
    "random",
    VOTES,
)
NAME_PATTERN = "[A-Za-z_][A-Za-z0-9_]{0,39}"
_FORMS = (*FIXED, f"{REWARD_MODEL}NAME")
_REWARD_MODEL = re.compile(f"{REWARD_MODEL}{NAME_PATTERN}")


def _check_scorer(name: str) -> str:
    if name in FIXED or _REWARD_MODEL.fullmatch(name):
        return name
    if name.startswith(REWARD_MODEL):
        reason = "names no reward model: letters, digits and _ after the colon, as a key of scoring.reward_models"
        raise PydanticCustomError("refused", "{reason}", {"reason": reason})
    nearest = find_nearest(name, FIXED)
    guess = f"Did you mean {nearest}? " if nearest else ""
    context = {"reason": "is no scorer", "hint": f"{guess}Scorers: {', '.join(_FORMS)}"}
    raise PydanticCustomError("refused", "{reason}", context)


Scorer = Annotated[
    str,
    AfterValidator(_check_scorer),
    Field(json_schema_extra={"anyOf": [{"enum": list(FIXED)}, {"pattern": f"^{_REWARD_MODEL.pattern}$"}]}),
]
Scorers = Annotated[tuple[Scorer, ...], Field(strict=False, min_length=1)]


def list_reward_models(scorers: Iterable[str]) -> list[str]:
    """Return the names of the reward models among these scorers."""
    return [scorer.removeprefix(REWARD_MODEL) for scorer in scorers if scorer.startswith(REWARD_MODEL)]
