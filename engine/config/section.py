"""What every part of a configuration shares: strictness, and the number and text types.

Knows no section. Values are strict: no number from text, no truth value as a number, nothing infinite.
"""

from __future__ import annotations

import re
from typing import Annotated, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

MAX_COUNT = 2**31 - 1
# Controls, line separators, marks that turn the writing direction, halves of characters.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Section(BaseModel):
    """Base of all configuration models: frozen, strict, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def refuse(key: str, value: object, reason: str, *, hint: str | None = None) -> NoReturn:
    """Fail validation at `key` of the section being validated."""
    raise PydanticCustomError("refused", "{reason}", {"key": key, "value": value, "reason": reason, "hint": hint})


def find_hidden_character(text: str) -> str | None:
    """Return the first character of `text` that does not show, or changes how the rest shows."""
    found = _HIDDEN.search(text)
    return None if found is None else found.group()


def _check_plain(text: str) -> str:
    hidden = find_hidden_character(text)
    if hidden is not None:
        raise PydanticCustomError("refused", "{reason}", {"reason": f"holds the control character {hidden!a}"})
    if text != text.strip() or not text:
        raise PydanticCustomError("refused", "{reason}", {"reason": "is empty or has spaces around it"})
    return text


Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
Size = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PlainText = Annotated[str, AfterValidator(_check_plain)]
