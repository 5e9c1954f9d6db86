"""Pairs of responses of which one is preferred, as RewardBench lays them out: prompt, chosen, rejected, subset.

``prompt`` is text or chat messages; ``chosen`` and ``rejected`` are text, or whole conversations that end with the
assistant and share everything before. ``subset`` may be missing. The main path enters at ``parse_preferences``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import TaskError
from engine.keys import compute_key
from engine.records import Message
from engine.tasks.files import PlacedRow
from engine.tasks.sources import build_prompt, parse_messages, parse_prompts


@dataclass(frozen=True, slots=True)
class PreferenceItem:
    """One pair. ``item_id`` is a digest of the rest, the subset's name before it where there is one."""

    item_id: str
    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    subset: str | None

    @property
    def text(self) -> str:
        """The prompt as it is shown."""
        return build_prompt(self.messages, answer=None, task=None).text


def parse_preferences(rows: Iterable[PlacedRow]) -> list[PreferenceItem]:
    """Return the distinct pairs of the rows, first occurrence kept.

    Raises:
        TaskError: a row has no prompt, lacks a side, or its sides are equal or answer different prompts; names its
            place.
    """
    found: dict[str, PreferenceItem] = {}
    for place, row in rows:
        messages, chosen, rejected = read_sides(place, row)
        if chosen == rejected:
            raise TaskError(f"{place}: chosen and rejected are equal")
        subset = _read_subset(place, row)
        turns = [[message.role, message.content] for message in messages]
        digest = "p" + compute_key("preference", turns, chosen, rejected)[:12]
        item_id = digest if subset is None else f"{subset}/{digest}"
        found.setdefault(item_id, PreferenceItem(item_id, messages, chosen, rejected, subset))
    return list(found.values())


def read_sides(place: str, row: Mapping[str, Any]) -> tuple[tuple[Message, ...], str, str]:
    """Return the messages that both sides answer, the chosen text and the rejected one.

    Raises:
        TaskError: as ``parse_preferences``, save that equal sides are returned.
    """
    sides = {side: _read_side(place, row, side) for side in ("chosen", "rejected")}
    prompts = {messages for messages, _ in sides.values() if messages is not None}
    if len(prompts) > 1:
        raise TaskError(f"{place}: chosen and rejected answer different prompts")
    messages = prompts.pop() if prompts else parse_prompts([(place, row)])[0].messages
    return messages, sides["chosen"][1], sides["rejected"][1]


def _read_side(place: str, row: Mapping[str, Any], side: str) -> tuple[tuple[Message, ...] | None, str]:
    """Return a response, and the messages before it where the row has the whole conversation there."""
    value = row.get(side)
    if isinstance(value, list):
        messages = parse_messages(place, value)
        if messages[-1].role != "assistant":
            raise TaskError(f"{place}: {side} must end with the assistant")
        return messages[:-1] or None, messages[-1].content
    if not isinstance(value, str) or not value.strip():
        raise TaskError(f"{place}: {side} must be text that is not empty, or chat messages")
    return None, value


def _read_subset(place: str, row: Mapping[str, Any]) -> str | None:
    subset = row.get("subset")
    if subset is None:
        return None
    if not isinstance(subset, str) or not subset.strip() or "/" in subset:
        raise TaskError(f"{place}: subset must be a name without a slash, found {subset!r}")
    return subset.strip()
