"""Prompts, demonstrations and evaluation items from the sandbox or from rows of files and data sets.

A row holds ``prompt`` (text) or chat ``messages``; prompts may have an ``answer``, demonstrations have a ``response``
or end with an assistant message. The main path enters at ``read_source_rows``, ``parse_prompts`` and
``parse_examples``; rows of a ``datasets`` source are parsed by the same functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from engine.config.data import ColumnsConfig, SourceConfig
from engine.errors import TaskError
from engine.keys import compute_key
from engine.records import Message, Prompt, SftExample
from engine.tasks import answers, choices, sandbox
from engine.tasks.files import PlacedRow, read_rows

SANDBOX = "sandbox"
EXACT = "exact"
_ROLES = ("system", "user", "assistant")
_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant"}
_TEXT_KEYS = {"prompt", "messages", "conversations"}


def read_sandbox_prompts(seed: int, stream: str, n: int) -> list[Prompt]:
    """Return ``n`` distinct sandbox problems of a stream as prompts."""
    return [
        build_prompt((Message("user", problem.prompt),), answer=problem.answer, task=SANDBOX)
        for problem in sandbox.generate_problems(seed, stream, n)
    ]


def read_sandbox_examples(seed: int, n: int) -> list[SftExample]:
    """Return ``n`` clean sandbox demonstrations."""
    return [
        SftExample((Message("user", problem.prompt),), problem.solution)
        for problem in sandbox.generate_problems(seed, "sft", n)
    ]


def build_prompt(messages: tuple[Message, ...], *, answer: str | None, task: str | None) -> Prompt:
    """Return a prompt with the id that its content gives it."""
    turns = [[message.role, message.content] for message in messages]
    return Prompt("p" + compute_key("prompt", turns, answer, task)[:12], messages, answer, task)


def read_source_rows(source: SourceConfig, key: str) -> list[PlacedRow]:
    """Return the rows of a file with their columns under our names; ``key`` names the source in the configuration.

    Raises:
        TaskError: the file, a row or a column is missing or broken; names file and row.
    """
    return name_columns(read_rows(Path(source.path)), source.columns, key)


def name_columns(rows: Iterable[PlacedRow], columns: ColumnsConfig, key: str) -> list[PlacedRow]:
    """Return the rows with what ``columns`` maps under our names.

    Raises:
        TaskError: a row has no such column; names row, column and setting.
    """
    named = columns.list_named()
    if not named:
        return list(rows)
    has_text = any(field in _TEXT_KEYS for field, _ in named)
    dropped = _TEXT_KEYS if has_text else set()  # what is mapped says what the text is
    found: list[PlacedRow] = []
    for place, row in rows:
        kept = {name: value for name, value in row.items() if name not in dropped}
        mapped = {field: _find_column(place, row, column, f"{key}.columns.{field}") for field, column in named}
        found.append((place, kept | mapped))
    return found


def parse_prompts(rows: Iterable[PlacedRow], *, need_answer: bool = False) -> list[Prompt]:
    """Return the distinct prompts of the rows, first occurrence kept.

    Raises:
        TaskError: a row without a usable prompt, or without an answer where one is needed; names its place.
    """
    found: dict[str, Prompt] = {}
    for place, row in rows:
        messages = _parse_row(place, row)
        if messages[-1].role == "assistant":
            raise TaskError(f"{place}: messages end with the assistant; a prompt ends with the user")
        answer = row.get("answer")
        is_number = isinstance(answer, int) or (isinstance(answer, float) and math.isfinite(answer))
        is_number = is_number and not isinstance(answer, bool)
        if answer is not None and not is_number and not (isinstance(answer, str) and answer.strip()):
            raise TaskError(f"{place}: answer must be a number or text that is not empty, found {answer!r}")
        if need_answer and answer is None:
            raise TaskError(f"{place}: no answer, and an evaluation item needs one")
        gold = None if answer is None else str(answer)
        prompt = build_prompt(messages, answer=gold, task=None if gold is None else EXACT)
        found.setdefault(prompt.prompt_id, prompt)
    return list(found.values())


def parse_examples(rows: Iterable[PlacedRow]) -> list[SftExample]:
    """Return the demonstrations of the rows.

    Raises:
        TaskError: a row without prompt or response; names its place.
    """
    examples: list[SftExample] = []
    for place, row in rows:
        messages = _parse_row(place, row)
        response = row.get("response")
        if response is None and messages[-1].role == "assistant" and len(messages) > 1:
            messages, response = messages[:-1], messages[-1].content
        if not isinstance(response, str) or not response.strip():
            raise TaskError(f"{place}: no response", hint='add "response", or end messages with the assistant')
        examples.append(SftExample(messages, response))
    return examples


def verify(prompt: Prompt, response: str) -> tuple[str | None, bool | None]:
    """Return the extracted answer and whether it is right; the latter None where the gold answer is unknown."""
    if prompt.answer is None:
        return answers.extract_answer(response), None
    if prompt.task == SANDBOX:
        return sandbox.extract_answer(response), sandbox.is_correct(response, prompt.answer)
    if prompt.task == choices.CHOICE:
        return choices.verify_choice(prompt, response)
    extracted = answers.extract_answer(response)
    return extracted, answers.is_equal_answer(extracted, prompt.answer)


def normalise_answer(prompt: Prompt, response: str) -> str | None:
    """Return the response's answer in one spelling for all that count as equal; None where none is found."""
    extracted, _ = verify(prompt, response)
    return spell_answer(extracted, prompt.task)


def spell_answer(extracted: str | None, task: str | None) -> str | None:
    """Return an extracted answer in one spelling for all that count as equal; None stays None."""
    if extracted is None or task in (SANDBOX, choices.CHOICE):
        return extracted
    return answers.normalise_answer(extracted)


def parse_messages(place: str, messages: object) -> tuple[Message, ...]:
    """Return chat messages of the shapes {role, content} and {from, value}.

    Raises:
        TaskError: they are none; names the place.
    """
    if not isinstance(messages, list) or not messages:
        raise TaskError(f"{place}: messages must be a list with at least one {{role, content}}")
    return tuple(_parse_message(place, message) for message in messages)


def _find_column(place: str, row: Mapping[str, Any], column: str, key: str) -> Any:
    """Return the value at a column, or at the nested one that its dots lead to."""
    if column in row:
        return row[column]
    value: Any = row
    for part in column.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise TaskError(f"{place}: no column {column}, which {key} names (columns found: {list_names(row)})")
    return value


def _parse_row(place: str, row: Mapping[str, Any]) -> tuple[Message, ...]:
    prompt, messages = row.get("prompt"), row.get("messages")
    if messages is None:
        messages = prompt if isinstance(prompt, list) else row.get("conversations") if prompt is None else None
    if messages is not None:
        return parse_messages(place, messages)
    if "prompt" not in row:
        raise TaskError(
            f"{place}: neither prompt nor messages (keys found: {list_names(row)})",
            hint="name the column in the source's columns, as {path: FILE, columns: {prompt: question}}",
        )
    if not isinstance(prompt, str) or not prompt.strip():
        raise TaskError(f"{place}: prompt must be text that is not empty")
    return (Message("user", prompt),)


def _parse_message(place: str, message: object) -> Message:
    if isinstance(message, dict) and "from" in message and "role" not in message:
        message = {"role": _SHAREGPT_ROLES.get(message["from"], message["from"]), "content": message.get("value")}
    if not isinstance(message, dict) or not isinstance(message.get("content"), str):
        raise TaskError(f"{place}: each of messages needs a role and a content that is text")
    if message.get("role") not in _ROLES:
        raise TaskError(f"{place}: the role of a message is one of {', '.join(_ROLES)}, not {message.get('role')!r}")
    return Message(message["role"], message["content"])


def list_names(row: Mapping[str, Any]) -> str:
    """Return the names of a row's columns for a message."""
    return ", ".join(sorted(map(str, row))) or "none"
