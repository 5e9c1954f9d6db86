"""Final answers: how one is found in a response and when two are equal. Knows no task but the conventions of text.

Main path: ``extract_answer``, then ``is_equal_answer`` or, where the choices are known, ``read_choice``.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping

from engine.tasks.numbers import clean_markup, read_number, read_whole_number

_MARK = re.compile(
    r"^[ \t#*_]*(?:final\s+)?answer[ \t*_]*$"
    r"|####[ \t]*:?"
    r"|\banswers?(?:\s*\([^()\n]{0,40}\))?[\s*_`]*[:：=][*_`]*"
    r"|\banswer(?:\s+to\s+[^.\n:]{1,80}?)?\s+(?:is|was|would\s+be|must\s+be|should\s+be|will\s+be)\b[ \t]*:?"
    r"|\b(?:correct|right|best)\s+(?:option|choice)\s+(?:is|would\s+be)\b[ \t]*:?",
    re.IGNORECASE | re.MULTILINE,
)
_BOXED = re.compile(r"\\f?boxed\s*\{")
_REVERSED = re.compile(
    r"(?:^|[\s(*])\(?(?P<letter>[A-Z])\)?\**\s+(?:is|would be)\s+(?:the\s+)?(?:correct|right|best)\b", re.MULTILINE
)
# A model that goes on with a question of its own has answered before.
_NEXT_QUESTION = re.compile(
    r"\n[ \t*#]*(?:question|problem|q|user|human|instruction)(?:[ \t]+\d+)?[ \t*]*:", re.IGNORECASE
)
_FENCE = re.compile(r"`{3,}\w*\s*|[*_]+")
_BARE_MAX_WORDS = 3
# What stands around a text without being part of it; a sign, a decimal point and a unit are part.
_OPENING = "".join(sorted(set(string.punctuation) - set("-+.$%°"))) + "“”‘’ "
_CLOSING = "".join(sorted(set(string.punctuation) - set("$%°"))) + "“”‘’ "
_MAX_LINE = 2000  # a final answer is a line; what a broken model repeats for pages is not searched

_REASON = re.compile(
    r"[\s,;.:(\-]*\b(?:because|since|explanation|reason(?:ing)?|as (?:it|the|they|this)|due to)\b.*", re.I | re.S
)
_NEGATED = re.compile(
    r"(?:,\s*)?\b(?:not|rather than|instead of|isn't|neither)\s+(?:option\s+|choice\s+)?\(?[A-Z0-9]\)?(?!\w)"
)
_REFUTED = re.compile(r"\(?\b[A-Z]\)?\s+(?:is|was|are)\s+(?:wrong|incorrect|not)\b[^,.;]*")
_LABEL_FIRST = (
    r"(?:(?:option|choice|letter|answer)\s*)?"
    r"(?:[(\[]\s*(?P<inner>{0})\s*[)\]][:.,]?|(?P<outer>{0})(?:[):,;\]]|\.(?!\w)|\s*$|\s+[-=>]+\s))"
)
_AFTER_A = frozenset(["is", "was", "are", "and", "or", "because", "since", "as", "would", "must", "seems", "not"])


def extract_answer(text: str) -> str | None:
    """Return what follows the last mark of a final answer, to the end of its line; None where there is none.

    Marks are ``####``, ``Answer:``, ``the answer is``, ``the correct option is``, a line that says only ``Answer``, and
    ``\\boxed{}``. An unmarked response may say ``B is correct``, or be its own answer if it has at most three words.
    """
    first = _MARK.search(text)
    following = None if first is None else _NEXT_QUESTION.search(text, first.end())
    text = text if following is None else text[: following.start()]
    marked = [(found.end(), _take_line(text, found.end())) for found in _MARK.finditer(text)]
    marked += [(found.end(), _take_braces(text, found.end())) for found in _BOXED.finditer(text)]
    known = [(end, answer) for end, answer in marked if answer]
    if known:
        return max(known)[1] or None
    if marked:
        return None
    reversed_answers = [found["letter"] for found in _REVERSED.finditer(text)]
    if reversed_answers:
        return str(reversed_answers[-1])
    stripped = text.strip()
    is_bare = 0 < len(stripped.split()) <= _BARE_MAX_WORDS and not stripped.endswith(":")
    return stripped.rstrip(".") if is_bare else None


def is_equal_answer(extracted: str | None, gold: str) -> bool:
    """Return whether both name the same number, choice letter or text; letter case and outer marks aside.

    A number may stand in a sentence, a choice letter before its explanation; two different readings are no answer.
    """
    if extracted is None:
        return False
    if _normalise(extracted) == _normalise(gold) or _simplify(extracted) == _simplify(gold) != "":
        return True
    if len(gold) == 1 and gold.isalpha():
        return read_choice(extracted, dict.fromkeys(string.ascii_uppercase, "")) == gold.upper()
    number = read_whole_number(gold)
    return number is not None and read_number(extracted) == number


def normalise_answer(extracted: str) -> str:
    """Return one spelling for all answers that count as equal: of a number, a leading choice letter, or a text."""
    number = read_number(extracted)
    if number is not None and not re.search(r"[A-Za-z]", extracted.split("=")[0].split(" ")[0]):
        return str(number)
    letter = _read_leading(clean_markup(extracted), dict.fromkeys(string.ascii_uppercase, ""))
    return letter or _simplify(extracted)


def read_choice(text: str, choices: Mapping[str, str]) -> str | None:
    """Return the label of the one choice that a short text names, by its label, its text or both; else None.

    ``choices`` maps labels (upper-case letters or digits) to texts, empty where they are not known. The article "a" and
    the pronoun "I" are no labels, a label that is denied is not named, and contradictions name none.
    """
    cleaned = clean_markup(text[:_MAX_LINE]).strip()
    if not cleaned:
        return None
    by_text = {_simplify(words): label for label, words in choices.items() if words}
    leading = _read_leading(cleaned, choices)
    if leading is not None and _simplify(cleaned).upper() == leading:
        return leading
    if _simplify(cleaned) in by_text:
        return by_text[_simplify(cleaned)]
    if leading is not None:
        rest = _cut_label(cleaned, choices)
        named = by_text.get(_simplify(rest))
        return leading if named in (leading, None) and _list_labels(rest, choices) <= {leading} else None
    sentence = _REFUTED.sub("", _NEGATED.sub("", _REASON.sub("", cleaned)))
    found = _list_labels(sentence, choices) | _list_texts(sentence, choices)
    return found.pop() if len(found) == 1 else None


def _take_line(text: str, start: int) -> str:
    """Return the first line from ``start`` on that says something; a line that ends with a colon leads to the next."""
    for line in text[start : start + _MAX_LINE].split("\n"):
        stripped = line.strip()
        if stripped and not _FENCE.fullmatch(stripped) and not stripped.endswith(":"):
            return stripped.strip("*` ").rstrip(".").strip()
    return ""


def _take_braces(text: str, start: int) -> str:
    """Return what stands up to the brace that closes the one before ``start``; empty where none does."""
    depth = 1
    for at in range(start, min(len(text), start + _MAX_LINE)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return text[start:at].strip()
    return ""


def _normalise(answer: str) -> str:
    return " ".join(answer.strip().strip("*`'\"").rstrip(".").split()).casefold()


def _simplify(answer: str) -> str:
    """Return a text in lower case without markup, outer punctuation and leading articles."""
    words = clean_markup(answer).casefold().lstrip(_OPENING).rstrip(_CLOSING)
    return re.sub(r"^(?:the|an|a)\s+(?=\S)", "", " ".join(words.split()))


def _compile_leading(choices: Mapping[str, str]) -> re.Pattern[str]:
    labels = "|".join(map(re.escape, choices))
    return re.compile(_LABEL_FIRST.format(labels), re.IGNORECASE)


def _read_leading(text: str, choices: Mapping[str, str]) -> str | None:
    found = _compile_leading(choices).match(text)
    if found is None or re.match(r"\d", text[found.end() :]):  # "1,5" and "3.5" are numbers
        return None
    return str(found["inner"] or found["outer"]).upper()


def _cut_label(text: str, choices: Mapping[str, str]) -> str:
    found = _compile_leading(choices).match(text)
    assert found is not None
    return _REFUTED.sub("", _NEGATED.sub("", _REASON.sub("", text[found.end() :]))).strip()


def _list_labels(sentence: str, choices: Mapping[str, str]) -> set[str]:
    """Return the labels that stand alone in a sentence: in brackets, after "option", or in upper case."""
    found = set()
    for matched in re.finditer(r"(?<![\w'’.,/\-$])([A-Z]|\d)(?![\w'’/%]|[.,]\d|-\w)", sentence):
        label, rest = matched[1], sentence[matched.end() :]
        is_bracketed = sentence[: matched.start()].endswith(("(", "[")) and rest.startswith((")", "]"))
        following = re.match(r"\s+([A-Za-z]+)", rest)
        is_word = label in "AI" and following is not None and following[1].casefold() not in _AFTER_A
        if label in choices and (is_bracketed or not is_word):
            found.add(label)
    return found


def _list_texts(sentence: str, choices: Mapping[str, str]) -> set[str]:
    """Return the labels of the choices whose text stands in a sentence; the longest first, each place used once."""
    left = f" {_simplify(sentence)} "
    found = set()
    for label, words in sorted(choices.items(), key=lambda choice: -len(choice[1])):
        simple = _simplify(words)
        pattern = rf"(?<!\w){re.escape(simple)}(?!\w)"
        if simple and re.search(pattern, left):
            found.add(label)
            left = re.sub(pattern, " ", left)
    return found
