"""Prompts, demonstrations and evaluation items from the sandbox or JSONL files.

A line holds ``prompt`` (text) or ``messages`` ([{role, content}, ...]); prompts may have an ``answer``, demonstrations
have a ``response`` or end with an assistant message. The main path enters at ``read_jsonl``, ``parse_prompts`` and
``parse_examples``; rows of a ``datasets`` source are parsed by the same functions.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.errors import TaskError
from engine.keys import compute_key
from engine.records import Message, Prompt, SftExample
from engine.tasks import answers, sandbox

SANDBOX = "sandbox"
EXACT = "exact"
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_ROLES = ("system", "user", "assistant")


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


def read_jsonl(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """Return every row with its place, ``FILE, line N``; blank lines are passed over.

    Raises:
        TaskError: no such file, no rows, or a line that is no JSON object; names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise TaskError(f"{path} does not exist", hint="check the path in the config") from error
    except UnicodeDecodeError as error:
        raise TaskError(f"{path} is not UTF-8 (byte {error.start})", hint="save it as UTF-8") from error
    except OSError as error:
        raise TaskError(f"cannot read {path}: {error.strerror}") from error
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise TaskError(f"{place}: not valid JSON: {error.msg} at column {error.colno}") from error
        except (RecursionError, ValueError) as error:
            raise TaskError(f"{place}: not readable as JSON: nested too deeply, or a number too long") from error
        if not isinstance(row, dict):
            raise TaskError(f"{place}: expected a JSON object, found {type(row).__name__}")
        _refuse_surrogates(place, line)
        rows.append((place, row))
    if not rows:
        raise TaskError(f"{path} holds no rows", hint='write one JSON object per line, such as {"prompt": "..."}')
    return rows


def parse_prompts(rows: Iterable[tuple[str, Mapping[str, Any]]], *, need_answer: bool = False) -> list[Prompt]:
    """Return the distinct prompts of the rows, first occurrence kept.

    Raises:
        TaskError: a row without a usable prompt, or without an answer where one is needed; names its place.
    """
    found: dict[str, Prompt] = {}
    for place, row in rows:
        messages = _parse_messages(place, row)
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


def parse_examples(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> list[SftExample]:
    """Return the demonstrations of the rows.

    Raises:
        TaskError: a row without prompt or response; names its place.
    """
    examples: list[SftExample] = []
    for place, row in rows:
        messages = _parse_messages(place, row)
        response = row.get("response")
        if response is None and messages[-1].role == "assistant" and len(messages) > 1:
            messages, response = messages[:-1], messages[-1].content
        if not isinstance(response, str) or not response.strip():
            raise TaskError(f"{place}: no response", hint='add "response", or end messages with the assistant')
        examples.append(SftExample(messages, response))
    return examples


def slice_iteration(prompts: Sequence[Prompt], *, iteration: int, n: int) -> list[Prompt]:
    """Return the prompts of iteration ``iteration`` >= 1, fresh ones each time.

    Mixed by their ids, whatever their order in the file: every seed and every fork sees the same split.
    """
    mixed = sorted(prompts, key=lambda prompt: prompt.prompt_id)
    return mixed[(iteration - 1) * n : iteration * n]


def check_enough(n_prompts: int, *, iterations: int, n: int) -> None:
    """Raise a TaskError where ``iterations`` of ``n`` fresh prompts need more than there are."""
    if n_prompts < iterations * n:
        raise TaskError(
            f"data.prompts holds {n_prompts} distinct prompts; {iterations} iterations of "
            f"data.prompts_per_iteration = {n} need {iterations * n}",
            hint=f"set data.prompts_per_iteration to at most {n_prompts // iterations}, or fewer iterations",
        )


def verify(prompt: Prompt, response: str) -> tuple[str | None, bool | None]:
    """Return the extracted answer and whether it is right; the latter None where the gold answer is unknown."""
    if prompt.answer is None:
        return answers.extract_answer(response), None
    if prompt.task == SANDBOX:
        return sandbox.extract_answer(response), sandbox.is_correct(response, prompt.answer)
    extracted = answers.extract_answer(response)
    return extracted, answers.is_equal_answer(extracted, prompt.answer)


def _refuse_surrogates(place: str, line: str) -> None:
    if not _SURROGATE.search(line):
        return
    try:
        json.dumps(json.loads(line), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise TaskError(f"{place}: half a surrogate pair ({error.object[error.start]!r}) is no text") from error


def _parse_messages(place: str, row: Mapping[str, Any]) -> tuple[Message, ...]:
    prompt, messages = row.get("prompt"), row.get("messages")
    if isinstance(prompt, list) and messages is None:
        prompt, messages = None, prompt
    if messages is None:
        if not isinstance(prompt, str) or not prompt.strip():
            if prompt is not None:
                raise TaskError(f"{place}: prompt must be text that is not empty")
            found = ", ".join(sorted(map(str, row))) or "none"
            raise TaskError(f"{place}: neither prompt nor messages (keys found: {found})")
        return (Message("user", prompt),)
    if not isinstance(messages, list) or not messages:
        raise TaskError(f"{place}: messages must be a list with at least one {{role, content}}")
    return tuple(_parse_message(place, message) for message in messages)


def _parse_message(place: str, message: object) -> Message:
    if not isinstance(message, dict) or not isinstance(message.get("content"), str):
        raise TaskError(f"{place}: each of messages needs a role and a content that is text")
    if message.get("role") not in _ROLES:
        raise TaskError(f"{place}: the role of a message is one of {', '.join(_ROLES)}, not {message.get('role')!r}")
    return Message(message["role"], message["content"])
