"""Questions with gold answers, from the rows of the known benchmarks and of files of one's own, as prompts.

A row's columns say what it is, so that a benchmark's rows are the same wherever they lie:

- ``question``, ``choices`` {text, label}, ``answerKey`` (ARC); ``question_stem`` likewise (OpenBookQA);
- ``context``, ``question``, ``answerA``.., ``label`` from 1 on (SIQA);
- ``question``, ``answer`` ending in ``#### 72`` (GSM8K);
- ``question``, ``choices`` (texts, or texts by label), ``answer`` (label, index from 0, or text);
- ``question``, ``answer``, without choices; ``label`` for ``answer`` in the authors' test sets, whose questions hold
  the choices as text;
- ``prompt`` or ``messages`` and ``answer``: asked as they are.

All but the last are asked with the protocol's instruction. The main path enters at ``parse_items``.
"""

from __future__ import annotations

import json
import math
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.errors import TaskError
from engine.records import Message, Prompt
from engine.tasks.choices import CHOICE, build_choice_text
from engine.tasks.files import PlacedRow
from engine.tasks.sources import EXACT, build_prompt, parse_prompts

# Source: Wang et al. 2025 (CREAM, arXiv 2410.12735), zero-shot evaluation.
INSTRUCTION = (
    "Answer the question by thinking step by step. At the end, output the final answer, starting with 'Answer:'."
)
_GSM8K_MARK = "####"
_MAX_CHOICES = len(string.ascii_uppercase)


def parse_items(rows: Iterable[PlacedRow]) -> list[Prompt]:
    """Return the distinct items of the rows, first occurrence kept.

    Raises:
        TaskError: a row has no question, no usable choices or no answer among them; names its place.
    """
    found: dict[str, Prompt] = {}
    for place, row in rows:
        item = _build_question(place, row) if _is_question(row) else parse_prompts([(place, row)], need_answer=True)[0]
        found.setdefault(item.prompt_id, item)
    return list(found.values())


def _is_question(row: Mapping[str, Any]) -> bool:
    return not {"prompt", "messages", "conversations"} & row.keys() and bool({"question", "question_stem"} & row.keys())


def _build_question(place: str, row: Mapping[str, Any]) -> Prompt:
    question, choices = _read_question(place, row), _read_choices(place, row)
    if choices is None:
        text, gold, task = question, _read_open_answer(place, row.get("answer", row.get("label"))), EXACT
    else:
        text, gold, task = build_choice_text(question, choices), _read_label(place, row, choices), CHOICE
    return build_prompt((Message("user", f"{text}\n{INSTRUCTION}"),), answer=gold, task=task)


def _read_question(place: str, row: Mapping[str, Any]) -> str:
    question = row.get("question_stem", row.get("question"))
    if isinstance(question, Mapping):
        question = question.get("stem")
    if not isinstance(question, str) or not question.strip():
        raise TaskError(f"{place}: question must be text that is not empty, found {_show(question)}")
    context = row.get("context")
    return f"{context.strip()} {question.strip()}" if isinstance(context, str) and context.strip() else question.strip()


def _read_choices(place: str, row: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the choices by label; None for a question without any."""
    if "answerA" in row:
        named = [(letter, row.get(f"answer{letter}")) for letter in string.ascii_uppercase]
        pairs: Sequence[tuple[Any, Any]] = [(letter, text) for letter, text in named if text is not None]
        return _check_choices(place, pairs)
    value = row.get("choices")
    if value is None and isinstance(row.get("question"), Mapping):
        value = row["question"].get("choices")
    if value is None:
        return None
    if isinstance(value, str):
        value = _parse_list(place, value)
    return _check_choices(place, _pair_choices(place, value))


def _pair_choices(place: str, value: Any) -> Sequence[tuple[Any, Any]]:
    if isinstance(value, Mapping) and {"text", "label"} <= value.keys():
        labels, texts = value["label"], value["text"]
        if not isinstance(labels, Sequence) or not isinstance(texts, Sequence) or len(labels) != len(texts):
            raise TaskError(f"{place}: choices must have as many texts as labels")
        return list(zip(labels, texts, strict=True))
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list) and value and all(isinstance(choice, Mapping) for choice in value):
        return [(choice.get("label"), choice.get("text")) for choice in value]
    if isinstance(value, list):
        return list(zip(string.ascii_uppercase, value, strict=False)) if len(value) <= _MAX_CHOICES else []
    raise TaskError(f"{place}: choices must be a list of texts or texts by label, found {_show(value)}")


def _parse_list(place: str, text: str) -> Any:
    """Return what a cell of a CSV file holds, where a list is written as JSON."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise TaskError(
            f"{place}: choices is text and no list", hint='write a list as JSON, such as ["red", "blue"]'
        ) from error


def _check_choices(place: str, pairs: Sequence[tuple[Any, Any]]) -> dict[str, str]:
    if not 2 <= len(pairs) <= _MAX_CHOICES:
        raise TaskError(f"{place}: a question has 2 to {_MAX_CHOICES} choices, found {len(pairs)}")
    choices: dict[str, str] = {}
    for label, text in pairs:
        name = str(label).strip().upper()
        if len(name) != 1 or name not in string.ascii_uppercase + string.digits:
            raise TaskError(f"{place}: the label of a choice is one letter or digit, found {_show(label)}")
        text = str(text) if _is_number(text) else text
        if not isinstance(text, str) or not text.strip():
            raise TaskError(f"{place}: choice {name} must be text that is not empty, found {_show(text)}")
        if name in choices:
            raise TaskError(f"{place}: two choices are labelled {name}")
        choices[name] = text.strip()
    return choices


def _read_label(place: str, row: Mapping[str, Any], choices: Mapping[str, str]) -> str:
    """Return the gold label; SIQA's ``label`` counts from 1, an index in ``answer`` from 0."""
    labels = list(choices)
    if "answerKey" in row:
        return _match_answer(place, "answerKey", row["answerKey"], choices)
    if "answerA" in row and row.get("answer") is None:
        text = str(row.get("label")).strip()
        if not (text.isdecimal() and 1 <= int(text) <= len(labels)):
            raise TaskError(f"{place}: label must be 1 to {len(labels)}, found {_show(row.get('label'))}")
        return labels[int(text) - 1]
    return _match_answer(place, "answer", row.get("answer"), choices)


def _match_answer(place: str, key: str, value: Any, choices: Mapping[str, str]) -> str:
    labels = list(choices)
    if isinstance(value, int) and not isinstance(value, bool):
        by_label = {str(value)} & choices.keys()
        if not by_label and not 0 <= value < len(labels):
            raise TaskError(f"{place}: {key} {value} is no index of {len(labels)} choices, which count from 0")
        return by_label.pop() if by_label else labels[value]
    text = str(value).strip() if isinstance(value, str) or _is_number(value) else ""
    named = {label for label in labels if text and (label == text.upper() or choices[label] == text)}
    if not named:
        named = {label for label in labels if text and choices[label].casefold() == text.casefold()}
    if len(named) != 1:
        what = "names no choice" if not named else f"could be {' or '.join(sorted(named))}"
        raise TaskError(
            f"{place}: {key} {_show(value)} {what}",
            hint=f"it is a label ({', '.join(labels)}), a whole number that counts from 0, or the text of a choice",
        )
    return named.pop()


def _read_open_answer(place: str, value: Any) -> str:
    if _is_number(value):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise TaskError(f"{place}: answer must be a number or text that is not empty, found {_show(value)}")
    gold = value.rpartition(_GSM8K_MARK)[2].strip()
    if not gold:
        raise TaskError(f"{place}: nothing follows {_GSM8K_MARK} in answer")
    return gold


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and (
        isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    )


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
