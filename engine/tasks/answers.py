"""Final answers: how one is found in a response and when two are equal. Knows no task but the conventions of text."""

from __future__ import annotations

import re
from fractions import Fraction

_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_MARKED = re.compile(r"(?:####|answer\s*:|answer is)\s*:?[ \t]*(\S.*)", re.IGNORECASE)
# A number first, then at most its unit: no second number, no other choice of reading.
_NUMBER = re.compile(
    r"(?P<sign>[-+]?)\s*[$£€]?\s*(?P<whole>\d{1,3}(?:,\d{3})+|\d+)?(?P<part>\.\d+)?(?:\s*/\s*(?P<below>\d+))?"
    r"(?:\s*%)?(?P<unit>(?:[\s.°][^\d]*)?)"
)
# A letter that stands alone, in brackets or before a mark: "A dog" is no choice of A.
_CHOICE = re.compile(r"\(?(?P<letter>[A-Za-z])(?:\)|(?=[.:,])|$)(?P<rest>.*)", re.DOTALL)
_OTHER_CHOICE = re.compile(r"\([A-Z]\)|\bor [A-Z]\b")
_BARE_MAX_WORDS = 3


def extract_answer(text: str) -> str | None:
    """Return what follows the last ``####``, ``Answer:`` or ``answer is``, or in the last ``\\boxed{}``.

    A response of at most three words is its own answer. None where nothing of this is found.
    """
    marked = [(m.start(), m.group(1)) for pattern in (_MARKED, _BOXED) for m in pattern.finditer(text)]
    if marked:
        found = max(marked)[1].strip().strip("*").rstrip(".").strip()
        return found or None
    stripped = text.strip()
    is_bare = 0 < len(stripped.split()) <= _BARE_MAX_WORDS and not stripped.endswith(":")
    return stripped.rstrip(".") if is_bare else None


def is_equal_answer(extracted: str | None, gold: str) -> bool:
    """Return whether both name the same number, choice letter or text; letter case and outer marks aside.

    A number may carry a unit, a choice letter its explanation after a mark; two different readings are no answer.
    """
    if extracted is None:
        return False
    first, second = _normalise(extracted), _normalise(gold)
    if first == second:
        return True
    if len(second) == 1 and second.isalpha():
        return _read_choice(extracted.strip()) == second
    number = _read_number(second)
    return number is not None and _read_number(first) == number


def _normalise(answer: str) -> str:
    return " ".join(answer.strip().strip("*`'\"").rstrip(".").split()).casefold()


def _read_choice(text: str) -> str | None:
    found = _CHOICE.match(text)
    if found is None or _OTHER_CHOICE.search(found["rest"]):
        return None
    return found["letter"].casefold()


def _read_number(text: str) -> Fraction | None:
    found = _NUMBER.fullmatch(text)
    if found is None or not (found["whole"] or found["part"]):
        return None
    below = int(found["below"] or 1)
    if below == 0:
        return None
    value = Fraction((found["whole"] or "0").replace(",", "") + (found["part"] or "")) / below
    return -value if found["sign"] == "-" else value
