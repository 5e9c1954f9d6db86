"""Numbers in free text: what a person would read as the one number that a short answer names. Knows no task.

Main path: ``read_number``. A text that can be read as two different numbers has none.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_MAX_LENGTH = 400  # no final answer is longer, and a number of thousands of digits is no answer
_MAX_EXPONENT = 99
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_DASHES = str.maketrans(dict.fromkeys("−–‒﹣－", "-"))
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")
_FRAC = re.compile(r"\\[dtc]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}|\\[dtc]?frac\s*(\d)\s*(\d)")
_COMMAND_TEXT = re.compile(r"\\(?:text|textbf|textit|mathbf|mathrm|mathit|boxed|fbox|mbox|operatorname)\s*\{([^{}]*)\}")
_LATEX = (
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"(?<=\d)\\[,!:; ](?=\d{3}\b)"), ","),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\degree"), "°"),
    (re.compile(r"\\(?:left|right|displaystyle|quad|qquad)(?![A-Za-z])|\\[()\[\],!:; ]|~"), " "),
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])"), " × "),
    (re.compile(r"\\(?:approx|simeq)(?![A-Za-z])"), " = "),
    (re.compile(r"\\([%$&#_])"), r"\1"),
)
_NUMBER = re.compile(
    r"(?<![\w.^/\\])(?P<sign>[-+]\s?)?(?:[$£€¥]\s?)?(?P<inner>-)?"
    r"(?:(?P<mixed>\d++)\s+(?P<above>\d++)\s*/\s*(?P<under>\d++)"
    r"|(?P<whole>\d{1,3}(?:,\d{3})++(?!\d)|\d++)?(?P<part>\.\d++)?"
    r"(?:[eE](?P<exponent>[+-]?\d++))?(?:\s?[×x*]\s?10\s?\^\s?\{?(?P<power>[+-]?\d++)\}?)?"
    r"(?:\s?\^\s?\{?(?P<raised>\d++)\}?)?(?:\s?/\s?(?P<below>\d++))?)"
)
# Parts of a larger thing: an ordinal, a clock time, a version, a date.
_NO_NUMBER = re.compile(r"(?:st|nd|rd|th)\b|:\d|[.]\d")
_NEGATED = re.compile(r"(?:,\s*)?\b(?:not|rather than|instead of|isn't)\s+(?:equal to\s+|just\s+)?[-$£€]*\d[\d.,/%]*")
_REASON = re.compile(r"[\s,;.(]*\b(?:because|since|explanation|reason(?:ing)?)\b.*", re.IGNORECASE | re.DOTALL)
_ALTERNATIVE = re.compile(r"\d[^,;]*?\bor\b[^,;]*?\d", re.IGNORECASE)
_EQUALS = re.compile(r"=|≈|\b(?:equals|is equal to|comes (?:out )?to)\b", re.IGNORECASE)
_VARIABLE = re.compile(r"\b[A-Za-z]\s*$")
_CONCLUSION = re.compile(
    r"\b(?:so|therefore|thus|hence|which (?:is|gives|makes)|giving|making|leaving|for a total of|in total)\b",
    re.IGNORECASE,
)


def clean_markup(text: str) -> str:
    """Return a short text without Markdown, LaTeX and typographic variants of signs, on one line."""
    text = _SUPERSCRIPT.sub(lambda found: "^" + found.group().translate(_SUPERSCRIPTS), text)
    text = unicodedata.normalize("NFKC", _split_vulgar_fractions(text)).translate(_DASHES)
    text = _FRAC.sub(lambda found: f" {found[1] or found[3]}/{found[2] or found[4]} ", text)
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    before = None
    while before != text:
        before, text = text, _COMMAND_TEXT.sub(r"\1", text)
    text = re.sub(r"[*_`]{1,3}(?=\S)|(?<=\S)[*_`]{1,3}(?=\W|$)", "", text)
    return " ".join(text.split())


def read_number(text: str) -> Fraction | None:
    """Return the one number that a short text names, units and words around it aside; None for none or several.

    After an equals sign, or else a word of conclusion ("so", "therefore"), only what follows the last one counts.
    """
    if len(text) > _MAX_LENGTH or "\\boxed{" in (cleaned := clean_markup(text)):
        return None
    cleaned = _REASON.sub("", _NEGATED.sub("", cleaned.casefold()))
    if _ALTERNATIVE.search(cleaned):
        return None
    bare = re.sub(r"\([^()]*\)", " ", cleaned)
    cleaned = bare if re.search(r"\d", bare) else cleaned
    parts = _EQUALS.split(cleaned)
    if len(parts) > 2 and sum(bool(_VARIABLE.search(part)) for part in parts[:-1]) > 1:
        return None
    found = _list_numbers(parts[-1])
    if found is not None and len(found) > 1:
        found = _list_numbers(_CONCLUSION.split(parts[-1])[-1])
    return found.pop() if found is not None and len(found) == 1 else None


def read_whole_number(text: str) -> Fraction | None:
    """Return the number that a text is, with at most a unit after it; None where it says anything else."""
    cleaned = clean_markup(text)
    matched = _NUMBER.match(cleaned)
    if len(text) > _MAX_LENGTH or matched is None or not _is_number(matched):
        return None
    rest = cleaned[matched.end() :]
    return _compute(matched) if re.fullmatch(r"\s?[%$€£]?\.?|(?:[\s°][^\d]*)", rest) else None


def _list_numbers(text: str) -> set[Fraction] | None:
    """Return the different numbers in a text; None where one of them is not readable."""
    found = set()
    for matched in _NUMBER.finditer(text):
        if not _is_number(matched) or text[: matched.end()].endswith("°"):
            continue
        value = None if _NO_NUMBER.match(text, matched.end()) else _compute(matched)
        if value is None:
            return None
        found.add(value)
    return found


def _is_number(matched: re.Match[str]) -> bool:
    return bool(matched["whole"] or matched["part"] or matched["mixed"])


def _compute(matched: re.Match[str]) -> Fraction | None:
    below = int(matched["below"] or matched["under"] or 1)
    exponents = [int(matched[name] or 0) for name in ("exponent", "power")]
    raised = int(matched["raised"] or 1)
    if below == 0 or max(map(abs, [*exponents, raised])) > _MAX_EXPONENT:
        return None
    if matched["mixed"]:
        value = int(matched["mixed"]) + Fraction(int(matched["above"]), below)
    else:
        value = Fraction((matched["whole"] or "0").replace(",", "") + (matched["part"] or ""))
        value = value**raised * Fraction(10) ** sum(exponents) / below
    is_negative = (matched["sign"] or "").strip() == "-" or matched["inner"] is not None
    return -value if is_negative else value


def _split_vulgar_fractions(text: str) -> str:
    """Return the text with 3½ as 3 1/2."""
    return "".join(
        f" {unicodedata.normalize('NFKC', char).replace('⁄', '/')} "
        if unicodedata.category(char) == "No" and "⁄" in unicodedata.normalize("NFKC", char)
        else char
        for char in text
    )
