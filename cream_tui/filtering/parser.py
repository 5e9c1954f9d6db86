"""The filter grammar as text: parsed to a tree, and written back.

Knows characters. Must not know keys, their kinds or what a filter is for: `filters` checks that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from engine.errors import CreamError, ExitCode

_MAX_TERMS = 100
_MAX_DEPTH = 30
_OPERATORS = ("<=", ">=", "!=", "<", ">", "=", ":")
_WORD = re.compile(r'[^\s()",:=<>!]+')
_VALUE = re.compile(r'[^\s()",]+')
_SPACED_OPERATOR = re.compile(r"\s*(<=|>=|!=|<|>|=)\s*")
_JOINERS = ("or", "and", "not")


class FilterError(CreamError):
    """A filter that says nothing; `position` and `end` are the characters of its term."""

    exit_code = ExitCode.CONFIGURATION

    def __init__(self, problem: str, text: str, position: int, end: int, *, hint: str | None = None) -> None:
        term = text[position:end].strip()
        super().__init__(
            f"{term} (at {position + 1}): {problem}" if term else f"at {position + 1}: {problem}", hint=hint
        )
        self.position = position
        self.end = end


@dataclass(frozen=True, slots=True)
class Term:
    """One condition as written; ``key`` is None for free words.

    Attributes:
        position: its first character in the text, ``end`` the one behind it.
    """

    key: str | None
    operator: str
    values: tuple[str, ...]
    position: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    part: Filter


@dataclass(frozen=True, slots=True)
class All:
    """True where every part is; without parts always."""

    parts: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Filter, ...]


Filter: TypeAlias = Term | Not | All | AnyOf
T = TypeVar("T")


def parse(text: str) -> Filter:
    """The tree of a filter; an empty text is All() and matches everything.

    Raises:
        FilterError: the text has no meaning.
    """
    return _Parser(text).parse()


def write(node: Filter) -> str:
    """The text of a parsed tree; parsing it gives the tree again."""
    if isinstance(node, Term):
        values = ",".join(quote(value, is_word=node.key is None) for value in node.values)
        return values if node.key is None else f"{node.key}{node.operator}{values}"
    if isinstance(node, Not):
        return "-" + _write_part(node.part)
    if isinstance(node, All):
        return " ".join(_write_part(part) for part in node.parts)
    return " or ".join(write(part) if isinstance(part, All) else _write_part(part) for part in node.parts)


def list_terms(node: Filter) -> list[Term]:
    """All terms from left to right."""
    return fold(node, term=lambda term: [term], negate=lambda part: part, every=_chain, some=_chain)


def fold(
    node: Filter,
    *,
    term: Callable[[Term], T],
    negate: Callable[[T], T],
    every: Callable[[Sequence[T]], T],
    some: Callable[[Sequence[T]], T],
) -> T:
    """One value from a tree, put together from the leaves up."""
    if isinstance(node, Term):
        return term(node)
    if isinstance(node, Not):
        return negate(fold(node.part, term=term, negate=negate, every=every, some=some))
    parts = [fold(part, term=term, negate=negate, every=every, some=some) for part in node.parts]
    return every(parts) if isinstance(node, All) else some(parts)


class _Parser:
    """Recursive descent over the characters."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._n_terms = 0
        self._depth = 0

    def parse(self) -> Filter:
        self._skip_space()
        if self._at == len(self._text):
            return All()
        node = self._parse_any()
        if self._at < len(self._text):
            raise self._fail("this closes nothing", self._at, self._at + 1)
        return node

    def _parse_any(self) -> Filter:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._fail(f"more than {_MAX_DEPTH} levels deep", self._at, self._at + 1)
        parts = [self._parse_all()]
        while (at := self._take_joiner("or")) is not None:
            if self._is_at_end():
                raise self._fail("nothing stands behind it", at, at + 2)
            parts.append(self._parse_all())
        self._depth -= 1
        return _join(AnyOf, parts)

    def _parse_all(self) -> Filter:
        if (at := self._take_joiner("or")) is not None:
            raise self._fail("nothing stands before it", at, at + 2)
        parts = [self._parse_factor()]
        while True:
            at = self._take_joiner("and")
            if self._is_at_end() or self._peek_joiner("or"):
                if at is not None:
                    raise self._fail("nothing stands behind it", at, at + 3)
                return _join(All, parts)
            parts.append(self._parse_factor())

    def _parse_factor(self) -> Filter:
        n_negations = 0
        start = self._at
        while True:
            if self._text.startswith("-", self._at):
                self._at += 1
                n_negations += 1
            elif self._take_joiner("not") is not None:
                n_negations += 1
            else:
                break
        if n_negations > _MAX_DEPTH:
            raise self._fail("too many negations", start, self._at)
        if n_negations and (self._is_at_end() or self._text[self._at].isspace()):
            raise self._fail("nothing to negate", start, self._at)
        node = self._parse_parentheses() if self._text.startswith("(", self._at) else self._parse_term()
        for _ in range(n_negations):
            node = Not(node)
        self._skip_space()
        return node

    def _parse_parentheses(self) -> Filter:
        start = self._at
        self._at += 1
        self._skip_space()
        if self._text.startswith(")", self._at):
            raise self._fail("nothing stands in it", start, self._at + 1)
        if self._at == len(self._text):
            raise self._fail("nothing stands behind it", start, start + 1)
        node = self._parse_any()
        if not self._text.startswith(")", self._at):
            raise self._fail("it is never closed", start, start + 1)
        self._at += 1
        return node

    def _parse_term(self) -> Term:
        start = self._at
        self._n_terms += 1
        if self._n_terms > _MAX_TERMS:
            raise self._fail(f"more than {_MAX_TERMS} terms", start, start + 1)
        if self._text.startswith('"', start):
            return Term(None, ":", (self._take_quoted(),), start, self._at)
        if self._text.startswith(")", start):
            raise self._fail("this closes nothing", start, start + 1)
        word = _WORD.match(self._text, start)
        if word is None:
            sign = next((sign for sign in _OPERATORS if self._text.startswith(sign, start)), self._text[start])
            raise self._fail("a key must stand before it", start, start + len(sign), hint="as in name:x")
        self._at = word.end()
        operator = self._take_operator()
        if operator is None and word[0].casefold() in _JOINERS:
            raise self._fail("nothing stands before it", start, self._at, hint="quote it to search for the word")
        if operator is None:
            return Term(None, ":", (word[0],), start, self._at)
        values = [self._take_value(start, operator)]
        while self._text.startswith(",", self._at):
            self._at += 1
            values.append(self._take_value(start, ","))
        return Term(word[0], operator, tuple(values), start, self._at)

    def _take_operator(self) -> str | None:
        if self._text.startswith(":", self._at):
            self._at += 1
            return ":"
        found = _SPACED_OPERATOR.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        return found[1]

    def _take_value(self, start: int, behind: str) -> str:
        if self._text.startswith('"', self._at):
            return self._take_quoted()
        found = _VALUE.match(self._text, self._at)
        if found is None:
            raise self._fail(f"needs a value behind {behind}", start, self._at)
        self._at = found.end()
        return found[0]

    def _take_quoted(self) -> str:
        start = self._at
        taken: list[str] = []
        self._at += 1
        while self._at < len(self._text):
            character = self._text[self._at]
            self._at += 1
            if character == '"':
                return "".join(taken)
            if character == "\\" and self._text[self._at : self._at + 1] in ('"', "\\"):
                character = self._text[self._at]
                self._at += 1
            taken.append(character)
        raise self._fail("the quote is never closed", start, len(self._text))

    def _peek_joiner(self, word: str) -> bool:
        end = self._at + len(word)
        return self._text[self._at : end].casefold() == word and (
            end == len(self._text) or self._text[end].isspace() or self._text[end] in "()"
        )

    def _take_joiner(self, word: str) -> int | None:
        """Where the joiner was, or None where there is none."""
        if not self._peek_joiner(word):
            return None
        at = self._at
        self._at += len(word)
        self._skip_space()
        return at

    def _is_at_end(self) -> bool:
        return self._at == len(self._text) or self._text[self._at] == ")"

    def _skip_space(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _fail(self, problem: str, position: int, end: int, *, hint: str | None = None) -> FilterError:
        return FilterError(problem, self._text, position, end, hint=hint)


def _join(kind: type[All] | type[AnyOf], parts: list[Filter]) -> Filter:
    """One part stands for itself; a list within a list of its kind is one list."""
    flat: list[Filter] = []
    for part in parts:
        flat += part.parts if isinstance(part, kind) else [part]
    return flat[0] if len(flat) == 1 else kind(tuple(flat))


def _write_part(node: Filter) -> str:
    return f"({write(node)})" if isinstance(node, (All, AnyOf)) else write(node)


def _chain(parts: Sequence[list[Term]]) -> list[Term]:
    return [term for part in parts for term in part]


def quote(text: str, *, is_word: bool) -> str:
    """The text as a value, or as a free word, in quotes where it needs them."""
    plain = _WORD if is_word else _VALUE
    is_plain = plain.fullmatch(text) is not None
    is_plain = is_plain and not text.startswith("-" if is_word else "=")
    if is_word:
        is_plain = is_plain and text.casefold() not in _JOINERS
    if is_plain:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
