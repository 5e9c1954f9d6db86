"""Which words two texts share and which only one of them has.

Knows text. Must not know what the texts are, nor how a difference is drawn. Words are compared, with what sticks to
them; never blanks: as tokens of their own they cost twenty times as much and tell nothing. The main path enters at
``compute_word_diff``; joined, the spans of a text give it back character by character.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import Enum
from itertools import groupby

# A word and the blanks behind it. Where a script puts no blanks between words, each character is one.
_TOKEN = re.compile("([\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]|[^\\s\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]+)(\\s*)")
# Places where a word of one text stands in the other, over all words: 1,200 words of 36 different ones have 40,000, and
# comparing them takes about 15 ms.
_MOST_PLACES = 40_000
# Of the longer texts, a word that is more than a hundredth of all starts no shared span, as long as enough others can.
_LEAST_RARE_SHARE = 0.5


class Side(Enum):
    """Who has a span."""

    BOTH = "both"
    FIRST = "first"
    SECOND = "second"


@dataclass(frozen=True, slots=True)
class Span:
    side: Side
    text: str


@dataclass(frozen=True, slots=True)
class WordDiff:
    """The difference of two texts.

    Attributes:
        first, second: the spans of each text.
        unified: both texts in one: what is shared once, then what only the first has before what only the second has.
            Without the spans of one side it is the other side's text.
        n_first_only, n_second_only: words that only one text has.
        similarity: shared words over all words, counting both texts, in [0, 1]; 1 for two texts without words.
        is_whole: whether the texts are too long and too different to be compared word by word: then all between their
            common beginning and end counts as different.
    """

    first: tuple[Span, ...]
    second: tuple[Span, ...]
    unified: tuple[Span, ...]
    n_first_only: int
    n_second_only: int
    similarity: float
    is_whole: bool


@dataclass(frozen=True, slots=True)
class _Text:
    """Words and the blanks around them: ``gaps`` has one more, the blanks before the first word."""

    words: tuple[str, ...]
    gaps: tuple[str, ...]

    def join(self, start: int, end: int) -> str:
        """Words with the blanks behind them."""
        return "".join(self.words[k] + self.gaps[k + 1] for k in range(start, end))


def compute_word_diff(first: str, second: str) -> WordDiff:
    """The difference of two texts, in bounded time."""
    left, right = _split(first), _split(second)
    blocks, is_whole = _find_shared(left.words, right.words)
    unified = list(_merge(_unify(left, right, blocks)))
    n_shared = sum(size for _, _, size in blocks)
    n_words = len(left.words) + len(right.words)
    return WordDiff(
        first=tuple(_take_side(unified, Side.FIRST)),
        second=tuple(_take_side(unified, Side.SECOND)),
        unified=tuple(unified),
        n_first_only=len(left.words) - n_shared,
        n_second_only=len(right.words) - n_shared,
        similarity=2 * n_shared / n_words if n_words else 1.0,
        is_whole=is_whole,
    )


def turn(diff: WordDiff) -> WordDiff:
    """The difference with both texts exchanged."""
    unified: list[Span] = []
    for is_shared, run in groupby(diff.unified, key=lambda span: span.side is Side.BOTH):
        spans = list(run)
        if is_shared:
            unified += spans
        else:
            unified += [Span(Side.FIRST, span.text) for span in spans if span.side is Side.SECOND]
            unified += [Span(Side.SECOND, span.text) for span in spans if span.side is Side.FIRST]
    spans = list(_merge(iter(unified)))
    return WordDiff(
        first=tuple(_take_side(spans, Side.FIRST)),
        second=tuple(_take_side(spans, Side.SECOND)),
        unified=tuple(spans),
        n_first_only=diff.n_second_only,
        n_second_only=diff.n_first_only,
        similarity=diff.similarity,
        is_whole=diff.is_whole,
    )


def count_words(text: str) -> int:
    """The number of words that a difference would compare."""
    return sum(1 for _ in _TOKEN.finditer(text))


def _split(text: str) -> _Text:
    tokens = _TOKEN.findall(text)
    opening = text[: len(text) - len(text.lstrip())]
    return _Text(tuple(word for word, _ in tokens), (opening, *(gap for _, gap in tokens)))


def _find_shared(first: Sequence[str], second: Sequence[str]) -> tuple[list[tuple[int, int, int]], bool]:
    """Blocks of shared words as (start in first, start in second, size), and whether only the ends were compared."""
    shortest = min(len(first), len(second))
    head = next((k for k in range(shortest) if first[k] != second[k]), shortest)
    room = shortest - head
    tail = next((k for k in range(room) if first[-1 - k] != second[-1 - k]), room)
    inner_first, inner_second = first[head : len(first) - tail], second[head : len(second) - tail]
    blocks = [(0, 0, head)]
    counts = Counter(inner_second)
    rare = Counter({word: n for word, n in counts.items() if n <= len(inner_second) // 100 + 1})
    is_small = sum(counts[word] for word in inner_first) <= _MOST_PLACES
    is_whole = not is_small and (
        rare.total() < _LEAST_RARE_SHARE * len(inner_second) or sum(rare[word] for word in inner_first) > _MOST_PLACES
    )
    if not is_whole:
        matcher = SequenceMatcher(None, inner_first, inner_second, autojunk=not is_small)
        blocks += [(head + block.a, head + block.b, block.size) for block in matcher.get_matching_blocks()]
    blocks.append((len(first) - tail, len(second) - tail, tail))
    return [block for block in blocks if block[2]], is_whole


def _unify(left: _Text, right: _Text, blocks: Sequence[tuple[int, int, int]]) -> Iterator[Span]:
    yield from _unify_gap(left.gaps[0], right.gaps[0])
    at_left = at_right = 0
    for start_left, start_right, size in [*blocks, (len(left.words), len(right.words), 0)]:
        yield Span(Side.FIRST, left.join(at_left, start_left))
        yield Span(Side.SECOND, right.join(at_right, start_right))
        for k in range(size):
            yield Span(Side.BOTH, left.words[start_left + k])
            yield from _unify_gap(left.gaps[start_left + k + 1], right.gaps[start_right + k + 1])
        at_left, at_right = start_left + size, start_right + size


def _unify_gap(left: str, right: str) -> Iterator[Span]:
    if left == right:
        yield Span(Side.BOTH, left)
    else:
        yield Span(Side.FIRST, left)
        yield Span(Side.SECOND, right)


def _merge(spans: Iterator[Span]) -> Iterator[Span]:
    """The spans without empty ones, neighbours of one side put together."""
    side, texts = Side.BOTH, [""]
    for span in spans:
        if not span.text:
            continue
        if span.side is not side:
            if text := "".join(texts):
                yield Span(side, text)
            side, texts = span.side, []
        texts.append(span.text)
    if text := "".join(texts):
        yield Span(side, text)


def _take_side(unified: Sequence[Span], side: Side) -> Iterator[Span]:
    return _merge(span for span in unified if span.side in (Side.BOTH, side))
