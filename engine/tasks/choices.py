"""Multiple choice: how the choices stand in a prompt, and which of them a response names.

The choices are read back from the prompt that was built here, so that a prompt needs no other fields than its text, the
gold label and the name of this verifier. Knows no data format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from engine.records import Prompt
from engine.tasks import answers

CHOICE = "choice"
_HEAD = "Choices:"
_LINE = re.compile(r"\((?P<label>[A-Z]|\d)\) (?P<text>.+)")


def build_choice_text(question: str, choices: Mapping[str, str]) -> str:
    """Return a question with its choices below it, one a line."""
    lines = [f"({label}) {' '.join(text.split())}" for label, text in choices.items()]
    return "\n".join([question.strip(), _HEAD, *lines])


def read_choices(prompt: Prompt) -> dict[str, str]:
    """Return the choices of a prompt of this task by label, in order: the last block of such lines."""
    _, _, block = prompt.messages[-1].content.rpartition(f"\n{_HEAD}\n")
    found = {}
    for line in block.split("\n"):
        matched = _LINE.fullmatch(line)
        if matched is None:
            break
        found[matched["label"]] = matched["text"]
    return found


def verify_choice(prompt: Prompt, response: str) -> tuple[str | None, bool]:
    """Return the label that a response names, None where it names none or several, and whether it is the gold one."""
    extracted = answers.extract_answer(response)
    label = None if extracted is None else answers.read_choice(extracted, read_choices(prompt))
    return label, label is not None and label == prompt.answer
