"""From what a judge wrote to a score, and how far a judge agrees with itself.

Knows texts and numbers. Must not know which model judged nor what was asked. A judgement without a readable score is
missing (None), never a bad score.
"""

import math
import re
from collections.abc import Sequence

LOWEST, HIGHEST = 0.0, 5.0
_WORDS = {word: float(value) for value, word in enumerate(("zero", "one", "two", "three", "four", "five"))}
_MARKUP = r"[\s*_`$<\[(\"']{0,12}"
# "score", what may stand between it and its number, a sum that is carried out, the number, and what it is out of.
_STATEMENT = re.compile(
    r"(?<![\w-])score(?![\w-])"
    r"(?:\s{0,3}\((?:out\s+of|max\.?|0\s*(?:-|–|to))\s*5\)|\s{1,3}out\s+of\s+(?:5|five)\b)?"
    rf"{_MARKUP}(?::|=|–|—|\bis\b|\bof\b)?{_MARKUP}(?:\\boxed\{{)?"
    r"(?:[0-9.]+(?:\s*\+\s*[0-9.]+)+\s*=\s*)?"
    rf"(?P<number>[+-]?[0-9]+(?:\.[0-9]+)?|(?:{'|'.join(_WORDS)})\b)"
    r"(?=(?P<tail>[^\n]{0,24}))",
    re.IGNORECASE,
)
_SCALE = re.compile(r"[\s*_`$>\])}\"']*(?:/|\bout\s+of\b)[\s*_`$]*(?P<scale>[0-9]+(?:\.[0-9]+)?|five\b)", re.IGNORECASE)
# What makes the number before it another one: more digits, letters, a range, a sum or a percentage.
_CONTINUED = re.compile(r"[0-9\w]|[.,][0-9]|-\w|\s*(?:%|[+×/]|[-–—]\s*[0-9]|\bto\s+[0-9]|\bor\s+[0-9]|and\s+a\s+half)")


def parse_score(text: str) -> float | None:
    """The score that a judgement ends with, in [0, 5]; None where there is none, or one off the scale.

    "Score: 4", "**Score:** 4/5", "the score is four" and "Score: 1 + 1 + 1 = 3" are read; the last statement counts. A
    number without the word, a range, a percentage or another scale than five is no score.
    """
    statements = list(_STATEMENT.finditer(text))
    if not statements:
        return None
    word, tail = statements[-1]["number"].lower(), statements[-1]["tail"]
    scale = _SCALE.match(tail)
    if scale is not None:
        if scale["scale"].lower() != "five" and float(scale["scale"]) != HIGHEST:
            return None
        tail = tail[scale.end() :]
    if _CONTINUED.match(tail):
        return None
    score = _WORDS[word] if word in _WORDS else float(word)
    return score if LOWEST <= score <= HIGHEST else None


def compute_mean_score(scores: Sequence[float | None]) -> float | None:
    """Mean of the judgements that have a score; None where none has."""
    present = [score for score in scores if score is not None]
    return math.fsum(present) / len(present) if present else None


def compute_self_agreement(judgements: Sequence[Sequence[float | None]]) -> float | None:
    """Krippendorff's alpha of a judge with itself, interval scale: 1 where it repeats itself, 0 as by chance.

    Args:
        judgements: Scores by response, None for what could not be read. Responses with fewer than two do not enter.

    Returns:
        Below 0 where judgements of one response differ more than those of different ones; None where no response has
        two judgements, or all judgements are equal, so that there is nothing to agree on.

    Source: Krippendorff 2011, "Computing Krippendorff's alpha-reliability".
    """
    units = [[score for score in unit if score is not None] for unit in judgements]
    units = [unit for unit in units if len(unit) > 1]
    pooled = [score for unit in units for score in unit]
    if not pooled or min(pooled) == max(pooled):
        return None
    within = math.fsum(_sum_squared_differences(unit) / (len(unit) - 1) for unit in units)
    between = _sum_squared_differences(pooled) / (len(pooled) - 1)
    return 1 - within / between


def compute_within_sd(judgements: Sequence[Sequence[float | None]]) -> float | None:
    """Standard deviation of a judgement around its response's mean, in points, pooled; None without repeats."""
    units = [[score for score in unit if score is not None] for unit in judgements]
    freedom = sum(len(unit) - 1 for unit in units if len(unit) > 1)
    if not freedom:
        return None
    # The sum over ordered pairs is 2 n times the sum of squares around the mean.
    squares = math.fsum(_sum_squared_differences(unit) / (2 * len(unit)) for unit in units if len(unit) > 1)
    return math.sqrt(squares / freedom)


def _sum_squared_differences(values: Sequence[float]) -> float:
    """Sum over all ordered pairs, in one pass: 2 n sum((x - mean)^2)."""
    mean = math.fsum(values) / len(values)
    return 2 * len(values) * math.fsum((value - mean) ** 2 for value in values)
