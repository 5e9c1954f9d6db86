"""Which prompts each iteration gets, and how many were read, repeated and met in evaluation items.

Knows prompts and settings. Must not know where rows come from: whoever calls brings a reader. Main path:
`share_prompts`, for the stages and for the checks before them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from engine.config.data import DataConfig, SourceConfig
from engine.errors import TaskError
from engine.records import Message, Prompt
from engine.tasks.files import PlacedRow
from engine.tasks.sources import parse_prompts

ReadRows: TypeAlias = Callable[[SourceConfig], list[PlacedRow]]


@dataclass(frozen=True, slots=True)
class Share:
    """The prompts of one iteration.

    Attributes:
        n_read: Rows of its source, which iterations may share.
        n_repeated: Rows of it that ask what a row before them asked, of an earlier iteration's source too.
        n_conflicting: Those of them with another answer; the first answer counts.
    """

    prompts: tuple[Prompt, ...]
    n_read: int
    n_repeated: int
    n_conflicting: int


def share_prompts(data: DataConfig, read: ReadRows, *, iterations: int) -> list[Share]:
    """Return the share of each iteration 1..``iterations``: fresh prompts each time, none asked twice in a run.

    Mixed by their ids, whatever their order in the file: every seed and every fork sees the same split.

    Raises:
        TaskError: there are too few prompts, or a row is broken.
    """
    n, source = data.prompts_per_iteration, data.prompts
    met: set[tuple[Message, ...]] = set()
    if source.is_per_iteration:
        return [_take_all(source.choose(t), read, met, n=n) for t in range(1, iterations + 1)]
    prompts, counts = _read_fresh(source, read, met)
    if len(prompts) < iterations * n:
        raise TaskError(
            f"data.prompts holds {len(prompts)} distinct prompts; {iterations} iterations of "
            f"data.prompts_per_iteration = {n} need {iterations * n}",
            hint=f"set data.prompts_per_iteration to at most {len(prompts) // iterations}, or fewer iterations",
        )
    return [Share(tuple(prompts[t * n : (t + 1) * n]), *counts) for t in range(iterations)]


def count_contamination(prompts: Iterable[Prompt], items: Sequence[Prompt]) -> int:
    """Return how many evaluation items ask what a prompt asks, letter case and spacing aside.

    A prompt that is the first lines of an item counts: the question without its choices and the instruction.
    """
    asked = {_normalise(prompt.messages[-1].content) for prompt in prompts}
    return sum(any(beginning in asked for beginning in _list_beginnings(item)) for item in items)


def _list_beginnings(item: Prompt) -> Iterator[str]:
    lines = item.messages[-1].content.split("\n")
    return (_normalise("\n".join(lines[:n])) for n in range(1, len(lines) + 1))


def _take_all(source: SourceConfig, read: ReadRows, met: set[tuple[Message, ...]], *, n: int) -> Share:
    prompts, counts = _read_fresh(source, read, met)
    if len(prompts) < n:
        raise TaskError(
            f"data.prompts: {source.path} holds {len(prompts)} prompts that no earlier iteration has asked; "
            f"data.prompts_per_iteration = {n} needs {n}",
            hint=f"set data.prompts_per_iteration to at most {len(prompts)}",
        )
    return Share(tuple(prompts[:n]), *counts)


def _read_fresh(
    source: SourceConfig, read: ReadRows, met: set[tuple[Message, ...]]
) -> tuple[list[Prompt], tuple[int, int, int]]:
    """Return the prompts of a source that are not among ``met``, mixed, and its counts; ``met`` grows."""
    rows = read(source)
    distinct = parse_prompts(rows)
    fresh: dict[tuple[Message, ...], Prompt] = {}
    for prompt in distinct:
        if prompt.messages not in met:
            fresh.setdefault(prompt.messages, prompt)
    n_conflicting = len(distinct) - len({prompt.messages for prompt in distinct})
    met.update(fresh)
    mixed = sorted(fresh.values(), key=lambda prompt: prompt.prompt_id)
    return mixed, (len(rows), len(rows) - len(fresh), n_conflicting)


def _normalise(text: str) -> str:
    return " ".join(text.split()).casefold()
