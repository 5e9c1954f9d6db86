"""Filters, orders and groups of runs, over records in memory.

Knows the grammar's tests and the fields of runs. Must not know the store or a screen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from cream_tui.filtering.grammar import (
    HAS,
    Key,
    Kind,
    Test,
    Vocabulary,
    check,
    find_bounds,
    list_keys,
    parse,
    read_number,
)
from cream_tui.filtering.parser import fold
from cream_tui.readers.run_records import RUN_FIELDS, STATES, RunFacts, RunRecord, Value, build_vocabulary, read_value
from engine.errors import ConfigError

Predicate = Callable[[RunRecord], bool]
_DIGITS = re.compile(r"(\d+)")
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@dataclass(frozen=True, slots=True)
class RunGroup:
    """Runs that agree in some keys.

    Attributes:
        values: by key, as text.
        means: of the fields that have one, over the runs that have a value.
    """

    values: tuple[tuple[str, str], ...]
    runs: tuple[RunRecord, ...]
    means: Mapping[str, float]


def list_other_keys(text: str) -> list[str]:
    """Keys of a filter that are no fixed field: settings or metrics, of which facts are needed."""
    return name_other_keys(list_keys(text))


def name_other_keys(names: Iterable[str]) -> list[str]:
    """Those of the keys that are no fixed field."""
    vocabulary = Vocabulary(run_field.key for run_field in RUN_FIELDS)
    return [name for name in names if vocabulary.find(name) is None]


def find_key(name: str, facts: RunFacts, *, option: str = "") -> Key:
    """The key of this name, to sort or group by; ``option`` is what asks, for the message.

    Raises:
        ConfigError: there is none, or several.
    """
    vocabulary = build_vocabulary(facts)
    asked = f"{option} {name}".strip()
    try:
        key = vocabulary.find(name)
    except LookupError as error:
        raise ConfigError(f"{asked}: {error.args[0]}", key=name) from None
    if key is None:
        nearest = vocabulary.find_nearest(name)
        guess = f"; did you mean {nearest}?" if nearest else ""
        raise ConfigError(f"{asked}: there is no such key{guess}", key=name)
    return key


def compile_run_filter(text: str, facts: RunFacts) -> Predicate:
    """Whether a run is meant by the filter.

    Raises:
        FilterError: the text has no meaning.
    """
    vocabulary = build_vocabulary(facts)
    return fold(
        parse(text),
        term=lambda term: _compile_test(check(term, vocabulary, text), facts),
        negate=_negate,
        every=_join_all,
        some=_join_any,
    )


def sort_runs(records: Iterable[RunRecord], key: str, facts: RunFacts, *, descending: bool = False) -> list[RunRecord]:
    """The runs by a field, a setting or a metric; those without a value come last either way, equals stay in order."""
    valued: list[tuple[Any, RunRecord]] = []
    missing: list[RunRecord] = []
    for record in records:
        value = read_value(record, key, facts)
        if value is None or value == ():
            missing.append(record)
        else:
            valued.append((STATES.index(record.state) if key == "state" else _build_sort_key(value), record))
    valued.sort(key=itemgetter(0), reverse=descending)
    return [record for _, record in valued] + missing


def group_runs(records: Sequence[RunRecord], keys: Sequence[str], facts: RunFacts) -> list[RunGroup]:
    """The runs by the values of these keys, groups and runs in the order of their first appearance."""
    by_values: dict[tuple[tuple[str, str], ...], list[RunRecord]] = {}
    for record in records:
        values = tuple((key, format_value(read_value(record, key, facts))) for key in keys)
        by_values.setdefault(values, []).append(record)
    return [RunGroup(values, tuple(runs), compute_means(runs)) for values, runs in by_values.items()]


def compute_means(records: Iterable[RunRecord]) -> dict[str, float]:
    """The mean of each field that has one, over the runs that have a value."""
    collected: dict[str, list[float]] = {}
    for record in records:
        for run_field in RUN_FIELDS:
            value = run_field.read(record) if run_field.has_mean else None
            if isinstance(value, (int, float)):
                collected.setdefault(run_field.key.name, []).append(float(value))
    return {name: sum(values) / len(values) for name, values in collected.items()}


def format_value(value: Value) -> str:
    """A value as the grammar writes it, `none` where there is none; may hold foreign text."""
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _compile_test(test: Test, facts: RunFacts) -> Predicate:
    words = tuple(operand.casefold() for operand in test.operands if isinstance(operand, str))
    key = test.key
    if key is None:
        return lambda record: any(word in text.casefold() for word in words for text in _list_texts(record))
    if test.operator == HAS:
        return lambda record: read_value(record, key, facts) not in (None, False, (), "")
    bounds = [find_bounds(test.operator, operand) for operand in test.operands if isinstance(operand, float)]
    is_containing = test.operator == ":" and test.kind is not Kind.CHOICE

    def equals(value: bool | int | float | str) -> bool:
        if isinstance(value, bool):
            spellings = ("true", "yes") if value else ("false", "no")
            return any(word in spellings for word in words) or any(_is_within(value, ends) for ends in bounds)
        if isinstance(value, (int, float)):
            numbers = [read_number(word) for word in words]
            ranges = [*bounds, *(find_bounds("=", number) for number in numbers if number is not None)]
            return any(_is_within(value, ends) for ends in ranges)
        folded = value.casefold()
        return any(folded == word or (is_containing and word in folded) for word in words)

    def holds(record: RunRecord) -> bool:
        """What is missing passes nothing, not even !=."""
        value = read_value(record, key, facts)
        if value is None or value == ():
            return False
        is_equal = any(map(equals, value if isinstance(value, tuple) else (value,)))
        return not is_equal if test.operator == "!=" else is_equal

    return holds


def _negate(part: Predicate) -> Predicate:
    return lambda record: not part(record)


def _join_all(parts: Sequence[Predicate]) -> Predicate:
    return lambda record: all(part(record) for part in parts)


def _join_any(parts: Sequence[Predicate]) -> Predicate:
    return lambda record: any(part(record) for part in parts)


def _list_texts(record: RunRecord) -> tuple[str, ...]:
    run = record.run
    return run.name, run.run_id, run.method, run.note, record.study or "", *run.tags


def _is_within(value: float, bounds: Sequence[tuple[str, float]]) -> bool:
    return all(_COMPARISONS[operator](value, bound) for operator, bound in bounds)


def _build_sort_key(value: Value) -> tuple[Any, ...]:
    """Numbers before texts, digits within texts as numbers: run-9 before run-10."""
    if isinstance(value, (bool, int, float)):
        return 0, float(value)
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    parts = _DIGITS.split(text.casefold())  # texts and digits take turns
    return 1, tuple(int(part) if k % 2 else part for k, part in enumerate(parts))
