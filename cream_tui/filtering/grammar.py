"""The filter grammar of app and command line: keys and the kinds of their values, and completion.

    method:cream beta<=1 tag:x accuracy>70% -state:failed "free words" (a or b)

Terms stand for `and`; `or`, parentheses, `-` or `not` combine them. `key:value` contains (of a comma list: any),
`key=value` equals, `< <= > >= !=` compare, `has:key` asks for presence, a bare word searches texts; letter case never
counts (in the texts of pairs: that of ASCII letters). Knows kinds of values. Must not know runs, pairs or SQL:
`run_filters` and `pair_filters` do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from cream_tui.filtering.parser import FilterError, Term, list_terms, parse, quote, write
from engine.errors import find_nearest

__all__ = [
    "HAS",
    "Completion",
    "FilterError",
    "Key",
    "Kind",
    "Term",
    "Test",
    "Vocabulary",
    "check",
    "complete",
    "find_bounds",
    "list_keys",
    "parse",
    "read_number",
    "write",
]

HAS = "has"
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_AGE = re.compile(rf"(\d+(?:\.\d*)?|\.\d+)({'|'.join(_SECONDS)})", re.IGNORECASE)
_TRUTH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_KEY = re.compile(r'([^\s()",:=<>!]+)(:|=|!=)')


class Kind(Enum):
    """What a key's values are. A rate lies in [0, 1]; a setting may be anything."""

    TEXT = "text"
    CHOICE = "choice"
    NUMBER = "number"
    RATE = "rate"
    ITERATION = "iteration"
    AGE = "age"
    FLAG = "flag"
    SETTING = "setting"


_ORDERED = frozenset({Kind.NUMBER, Kind.RATE, Kind.ITERATION, Kind.AGE, Kind.SETTING})


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the grammar.

    Attributes:
        choices: all values of a choice; those worth offering of a text.
    """

    name: str
    kind: Kind
    about: str = ""
    aliases: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Test:
    """A condition whose key exists and whose operands are of the key's kind: numbers (flags too) or texts.

    The operands of a choice are all choices that are meant. ``key`` is None for free words; ``operator`` may be HAS.
    """

    __test__ = False  # not one of pytest's

    key: str | None
    kind: Kind
    operator: str
    operands: tuple[float | str, ...]


class Vocabulary:
    """The keys that a filter may use, and the values that are offered.

    Args:
        more: finds keys beyond the fixed ones, such as settings and metrics; asked only for what is not fixed.
        more_names: lists them, for completion and for the nearest of a wrong one.
    """

    def __init__(
        self,
        keys: Iterable[Key],
        *,
        more: Callable[[str], Key | None] = lambda _: None,
        more_names: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self.keys = tuple(keys)
        self._by_name = {name.casefold(): key for key in self.keys for name in (key.name, *key.aliases)}
        self._more = more
        self._more_names = more_names

    def find(self, name: str) -> Key | None:
        """The key of this name."""
        return self._by_name.get(name.casefold()) or self._more(name)

    def list_names(self) -> list[str]:
        """Every name once, fixed keys first, aliases left out."""
        return list(dict.fromkeys([*(key.name for key in self.keys), *self._more_names()]))

    def find_nearest(self, name: str) -> str | None:
        """The name most like a wrong one."""
        names = self.list_names()
        aliases = (alias for key in self.keys for alias in key.aliases)
        return find_nearest(name, [*names, *aliases, *(known.rpartition(".")[2] for known in names)])


def check(term: Term, vocabulary: Vocabulary, text: str = "") -> Test:
    """The test that a term means; ``text`` is what it was parsed from, for messages.

    Raises:
        FilterError: its key does not exist, or a value is none of its kind.
    """

    def fail(problem: str, hint: str | None = None) -> FilterError:
        return FilterError(problem, text or write(term), term.position, term.end, hint=hint)

    if term.key is None:
        return Test(None, Kind.TEXT, ":", term.values)
    if _is_has(term):
        if term.operator not in (":", "=") or len(term.values) != 1:
            raise fail("has takes one key", "as in has:note")
        key = _find_key(term.values[0], vocabulary, fail)
        return Test(key.name, key.kind, HAS, ())
    key = _find_key(term.key, vocabulary, fail)
    is_comparing = term.operator in ("<", "<=", ">", ">=")
    if is_comparing and key.kind not in _ORDERED:
        raise fail(f"{key.name} has no order", f"use {key.name}:value or {key.name}=value")
    if is_comparing and len(term.values) > 1:
        raise fail(f"{term.operator} takes one value")
    operands: list[float | str] = []
    for value in term.values:
        if key.kind is Kind.CHOICE:
            operands += _find_choices(value, key, fail)
        else:
            operands.append(_read_operand(value, key, is_comparing, fail))
    return Test(key.name, key.kind, term.operator, tuple(operands))


def list_keys(text: str) -> list[str]:
    """The keys that a filter names, as written, those of has: too; none where it cannot be parsed."""
    try:
        terms = list_terms(parse(text))
    except FilterError:
        return []
    named = [term for term in terms if term.key is not None]
    return list(dict.fromkeys(name for term in named for name in (term.values if _is_has(term) else (term.key or "",))))


@dataclass(frozen=True, slots=True)
class Completion:
    """What the term at the cursor may become: each option replaces the text from ``start`` to ``end``."""

    start: int
    end: int
    options: tuple[str, ...] = ()

    def apply(self, text: str, option: str) -> tuple[str, int]:
        """The text with this option in it, and the cursor behind it."""
        return text[: self.start] + option + text[self.end :], self.start + len(option)


def complete(
    text: str, cursor: int, vocabulary: Vocabulary, values: Mapping[str, Iterable[str]] | None = None, limit: int = 20
) -> Completion:
    """Completions of the term that ends at the cursor and of nothing else: keys first, then values behind an operator.

    Args:
        values: values on offer by key name, beside the key's own choices.
    """
    start = _find_term_start(text, cursor)
    term = text[start:cursor]
    found = _KEY.match(term)
    if found is None:
        if not term or term.startswith('"'):
            return Completion(cursor, cursor)
        names = [HAS, *vocabulary.list_names()]
        return Completion(start, cursor, tuple(_begin_term(name, vocabulary) for name in _rank(names, term)[:limit]))
    key_name, begun = found[1], term[found.end() :].rpartition(",")[2].removeprefix('"')
    start = cursor - len(term[found.end() :].rpartition(",")[2])
    if key_name.casefold() == HAS:
        choices: list[str] = vocabulary.list_names()
    else:
        key = vocabulary.find(key_name)
        choices = [] if key is None else list(dict.fromkeys([*key.choices, *(values or {}).get(key.name, ())]))
    options = [quote(choice, is_word=False) for choice in _rank(choices, begun) if choice != begun]
    return Completion(start, cursor, tuple(options[:limit]))


def read_number(text: str) -> float | None:
    """A finite number, in percent too: 0.7, 1e-6, 70%."""
    is_percent = text.endswith("%")
    try:
        number = float(text.removesuffix("%").replace("−", "-"))
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return number / 100 if is_percent else number


def find_bounds(operator: str, operand: float) -> list[tuple[str, float]]:
    """The comparisons, all of which a number must pass; what differs only in its last digits counts as equal."""
    slack = 1e-9 * abs(operand)
    low, high = operand - slack, operand + slack
    return {
        "<": [("<", low)],
        "<=": [("<=", high)],
        ">": [(">", high)],
        ">=": [(">=", low)],
    }.get(operator, [(">=", low), ("<=", high)])


def _is_has(term: Term) -> bool:
    return term.key is not None and term.key.casefold() == HAS


def _find_key(name: str, vocabulary: Vocabulary, fail: Callable[..., FilterError]) -> Key:
    try:
        key = vocabulary.find(name)
    except LookupError as error:
        raise fail(str(error.args[0])) from None
    if key is None:
        nearest = vocabulary.find_nearest(name)
        raise fail(
            f"there is no key {name}" + (f"; did you mean {nearest}?" if nearest else ""),
            "quote it to search for the text",
        )
    return key


def _find_choices(value: str, key: Key, fail: Callable[..., FilterError]) -> list[str]:
    """The choice of this name, else those that hold the text."""
    folded = value.casefold()
    if folded in key.choices:
        return [folded]
    found = [choice for choice in key.choices if folded in choice]
    if not found:
        nearest = find_nearest(value, key.choices)
        guess = f"; did you mean {nearest}?" if nearest else ""
        raise fail(f"{key.name} is never {value}{guess}", f"there are {', '.join(key.choices)}")
    return found


def _read_operand(value: str, key: Key, is_comparing: bool, fail: Callable[..., FilterError]) -> float | str:
    if key.kind is Kind.TEXT or (key.kind is Kind.SETTING and not is_comparing):
        return value
    if key.kind is Kind.FLAG:
        if value.casefold() not in _TRUTH:
            raise fail(f"{key.name} is yes or no")
        return float(_TRUTH[value.casefold()])
    if key.kind is Kind.AGE:
        found = _AGE.fullmatch(value)
        if found is None:
            raise fail(f"{value} is no time", "write it as 30s, 20min, 3h, 2d or 1w")
        return float(found[1]) * _SECONDS[found[2].lower()]
    if key.kind is Kind.ITERATION and value[:1] in ("M", "m"):
        value = value[1:]
    number = read_number(value)
    if number is None:
        raise fail(f"{value} is no number")
    if key.kind is Kind.RATE and not 0 <= number <= 1:
        raise fail(f"{key.name} lies between 0 and 1", "write 70% or 0.7")
    return number


def _find_term_start(text: str, cursor: int) -> int:
    """The first character of the term that the cursor ends, its negation left out."""
    start, is_quoted = 0, False
    for at, character in enumerate(text[:cursor]):
        if character == '"':
            is_quoted = not is_quoted
        elif not is_quoted and (character.isspace() or character in "()"):
            start = at + 1
    return start + 1 if text[start:cursor].startswith("-") else start


def _begin_term(name: str, vocabulary: Vocabulary) -> str:
    """The name with the operator that most filters on it need."""
    try:
        key = vocabulary.find(name)
    except LookupError:
        key = None
    kind = Kind.TEXT if key is None else key.kind
    return name + {Kind.NUMBER: ">", Kind.RATE: ">", Kind.AGE: "<"}.get(kind, ":")


def _rank(choices: Iterable[str], begun: str) -> list[str]:
    """The choices that begin so, or whose last dotted part does; then those that hold it."""
    folded = begun.casefold()
    chosen = list(choices)
    first = [choice for choice in chosen if choice.casefold().startswith(folded)]
    second = [choice for choice in chosen if choice.casefold().rpartition(".")[2].startswith(folded)]
    third = [choice for choice in chosen if folded in choice.casefold()]
    return list(dict.fromkeys([*first, *second, *third]))
