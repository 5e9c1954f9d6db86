"""Final answers: how one is found in a response and when two are equal. Knows no task but the conventions of text."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_MARKED = re.compile(r"(?:####|answer\s*:|answer is)\s*:?\s*(.+)", re.IGNORECASE)
_NUMBER = re.compile(r"^[-+]?[$£€]?\d[\d,]*(?:\.\d+)?%?$")
_CHOICE = re.compile(r"^\(?([A-Z])\)?(?:[.):]|\s|$)")
_BARE_MAX_WORDS = 3


def extract_answer(text: str) -> str | None:
    """Return what follows the last ``####``, ``Answer:`` or ``answer is``, or the last ``\\boxed{}``.

    A response of at most three words is its own answer. None where nothing of this is found.
    """
    marked = [(m.start(), m.group(1)) for pattern in (_MARKED, _BOXED) for m in pattern.finditer(text)]
    if marked:
        found = max(marked)[1].strip().strip("*").rstrip(".").strip()
        return found or None
    stripped = text.strip()
    return stripped.rstrip(".") if stripped and len(stripped.split()) <= _BARE_MAX_WORDS else None


def is_equal_answer(extracted: str | None, gold: str) -> bool:
    """Return whether both name the same number, choice letter or text; letter case and outer marks aside."""
    if extracted is None:
        return False
    first, second = _normalise(extracted), _normalise(gold)
    if first == second:
        return True
    if len(second) == 1 and second.isalpha():
        choice = _CHOICE.match(extracted.strip())
        return choice is not None and choice.group(1).casefold() == second
    number, gold_number = _read_number(first), _read_number(second)
    return number is not None and number == gold_number


def _normalise(answer: str) -> str:
    return " ".join(answer.strip().strip("*`'\"").rstrip(".").split()).casefold()


def _read_number(text: str) -> Decimal | None:
    if not _NUMBER.match(text):
        return None
    try:
        return Decimal(re.sub(r"[,$£€%]", "", text))
    except InvalidOperation:
        return None
