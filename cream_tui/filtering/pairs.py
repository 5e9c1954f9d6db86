"""Filters of pairs: the grammar's tests as SQL over the columns of the pair view.

Knows the names of those columns. Must not know tables or a screen. What a person typed only ever becomes a parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cream_tui.filtering.grammar import HAS, Key, Kind, Test, Vocabulary, check, find_bounds, list_keys, parse
from cream_tui.filtering.parser import All, fold
from db.pair_browse import LABELS
from db.rows import VERDICTS

Parameter: TypeAlias = float | str
_Sql: TypeAlias = tuple[str, tuple[Parameter, ...]]
_TEXT_COLUMN = "text"

# A key and the column of the view that it reads.
_COLUMNS: tuple[tuple[Key, str], ...] = (
    (Key("t", Kind.ITERATION, "iteration, or the model M_t", ("iteration",)), "iteration"),
    (Key("tau", Kind.NUMBER, "Kendall's, to the previous model", ("tau_previous",)), "tau"),
    (Key("anchor", Kind.NUMBER, "Kendall's tau to the base model", ("tau_anchor",)), "anchor"),
    (Key("consistency", Kind.RATE, "(tau + 1) / 2", ("consistency_rate",)), "consistency"),
    (Key("C", Kind.RATE, "confidence in the label", ("confidence",)), "confidence"),
    (Key("margin", Kind.NUMBER, "reward of chosen over rejected; nats where it is implicit"), "margin"),
    (Key("previous_margin", Kind.NUMBER, "as the previous model ranks them", ("m_prev",)), "previous_margin"),
    (Key("length_ratio", Kind.NUMBER, "tokens of chosen over rejected", ("ratio",)), "length_ratio"),
    (Key("chosen_length", Kind.NUMBER, "in tokens"), "chosen_length"),
    (Key("rejected_length", Kind.NUMBER, "in tokens"), "rejected_length"),
    (Key("length_difference", Kind.NUMBER, "in tokens"), "length_difference"),
    (Key("chosen_reward", Kind.NUMBER, "what ranked it; nats where implicit"), "chosen_reward"),
    (Key("rejected_reward", Kind.NUMBER, "what ranked it; nats where implicit"), "rejected_reward"),
    (Key("label", Kind.CHOICE, "whether the model's label is right", choices=LABELS), "label"),
    (Key("verdict", Kind.CHOICE, "what a person said", choices=VERDICTS), "verdict"),
    (Key("flagged", Kind.FLAG, "by a person", ("flag",), ("yes", "no")), "flagged"),
    (Key("blind", Kind.FLAG, "judged without the labels", choices=("yes", "no")), "blind"),
    (Key("note", Kind.TEXT, "a person's note"), "note"),
    (Key("task", Kind.TEXT, "of the prompt"), "task"),
    (Key("prompt", Kind.TEXT, "its id", ("id", "prompt_id")), "prompt_id"),
    (Key("position", Kind.NUMBER, "of the prompt in its iteration"), "position"),
    (Key("text", Kind.TEXT, "prompt, responses and note"), _TEXT_COLUMN),
    (Key("skipped", Kind.TEXT, "why a prompt has no pair", ("skip_reason",)), "skip_reason"),
)
PAIR_VOCABULARY = Vocabulary(key for key, _ in _COLUMNS)
_COLUMN_OF = {key.name: column for key, column in _COLUMNS}


@dataclass(frozen=True, slots=True)
class PairFilter:
    """SQL over the pair view with its parameters, both empty where everything is meant.

    Attributes:
        asks_for_skipped: whether it names the reason for which a prompt has no pair.
    """

    where: str = ""
    parameters: tuple[Parameter, ...] = ()
    asks_for_skipped: bool = False


def compile_pairs(text: str) -> PairFilter:
    """The filter as SQL that is 0 or 1, never NULL.

    Raises:
        FilterError: the text has no meaning.
    """
    node = parse(text)
    if node == All():
        return PairFilter()
    where, parameters = fold(
        node,
        term=lambda term: _compile_test(check(term, PAIR_VOCABULARY, text)),
        negate=lambda part: (f"NOT {part[0]}", part[1]),
        every=lambda parts: _join(" AND ", parts),
        some=lambda parts: _join(" OR ", parts),
    )
    named = (PAIR_VOCABULARY.find(name) for name in list_keys(text))
    return PairFilter(where, parameters, any(key is not None and key.name == "skipped" for key in named))


def find_column(name: str) -> str | None:
    """The column of the view that a key reads."""
    key = PAIR_VOCABULARY.find(name)
    return None if key is None else _COLUMN_OF[key.name]


def _compile_test(test: Test) -> _Sql:
    column = _TEXT_COLUMN if test.key is None else _COLUMN_OF[test.key]
    if test.operator == HAS:
        return f"ifnull({column} {'<> 0' if test.kind is Kind.FLAG else 'IS NOT NULL'}, 0)", ()
    options = [_compile_operand(column, test, operand) for operand in test.operands]
    sql, parameters = _join(" OR ", options)
    return f"ifnull({'NOT ' if test.operator == '!=' else ''}{sql}, 0)", parameters


def _compile_operand(column: str, test: Test, operand: Parameter) -> _Sql:
    if isinstance(operand, float):
        bounds = find_bounds(test.operator, operand)
        return " AND ".join(f"{column} {sign} ?" for sign, _ in bounds), tuple(bound for _, bound in bounds)
    if test.operator == ":" and test.kind is not Kind.CHOICE:
        return f"{column} LIKE ? ESCAPE '\\'", (f"%{_escape(operand)}%",)
    return f"{column} = ? COLLATE NOCASE", (operand,)


def _escape(text: str) -> str:
    for special in ("\\", "%", "_"):
        text = text.replace(special, f"\\{special}")
    return text


def _join(word: str, parts: Sequence[_Sql]) -> _Sql:
    sql = word.join(f"({sql})" for sql, _ in parts)
    return f"({sql})", tuple(parameter for _, parameters in parts for parameter in parameters)
