"""Results of other programs as groups of responses with scores and a pair: CREAM's result files, preference data.

CREAM's files (github.com/Raibows/CREAM) are JSON objects by prompt name, one file a step: ``infer.py`` writes sampling
(prompt, responses), ``rewarding.py`` the rewards under one model (prompt, response, score, ref_score, reward),
``cal_consistency.py`` the pairs (prompt, selected, rejected, consistency). Preference data are rows of TRL's format.
Must not know the store, nor what a group is turned into. Main path: `read_results`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from engine.errors import TaskError
from engine.records import Message
from engine.tasks.files import PlacedRow, load_json, read_rows
from engine.tasks.preferences import read_sides
from engine.tasks.sources import list_names, parse_messages

FileKind: TypeAlias = Literal["sampling", "rewarding", "pairs", "preferences"]

_TURNS = (("\n\nHuman:", "user"), ("\n\nAssistant:", "assistant"))
_REWARD_COLUMNS = {side: (f"{side}_reward", f"{side}_score", f"score_{side}") for side in ("chosen", "rejected")}
_WAY_OUT = "give the files that infer.py, rewarding.py and cal_consistency.py wrote, or preference data"


@dataclass(frozen=True, slots=True)
class ForeignScore:
    """A response under one model: log-likelihood, the reference's, and their difference; None where it is missing.

    ``reference`` is None where the file has none: then ``reward`` is the mean log-likelihood itself.
    """

    score: float | None
    reference: float | None
    reward: float | None


@dataclass(frozen=True, slots=True)
class ForeignPair:
    """What was preferred, by k, or why nothing was; numbers are None where the file has none."""

    chosen_k: int | None
    rejected_k: int | None
    chosen_reward: float | None = None
    rejected_reward: float | None = None
    margin: float | None = None
    consistency_rate: float | None = None
    confidence: float | None = None
    skip_reason: str | None = None


@dataclass(frozen=True, slots=True)
class ForeignGroup:
    """A prompt with its responses in k order; ``correct`` only where the file tells it."""

    place: str
    messages: tuple[Message, ...]
    responses: tuple[str, ...]
    current: tuple[ForeignScore, ...] | None = None
    previous: tuple[ForeignScore, ...] | None = None
    pair: ForeignPair | None = None
    correct: tuple[bool | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Results:
    """The groups of one iteration.

    Attributes:
        kinds: What each file is, in the order that was given.
        n_repeated: Rows left out because an earlier one asks the same.
        previous_has_reference: Whether the previous model's rewards are implicit; None without such a file.
    """

    groups: tuple[ForeignGroup, ...]
    kinds: tuple[FileKind, ...]
    n_repeated: int
    previous_has_reference: bool | None


def read_results(paths: Sequence[Path]) -> Results:
    """Return what the files hold together: CREAM's of one iteration, or one file of preference data.

    Rewarding files are the current model's, then the previous one's; the one without a reference is the previous one's.

    Raises:
        TaskError: a file or an item is missing, broken, or does not go with the others; names file and item.
    """
    contents = [(path, *_classify(path)) for path in paths]
    kinds = tuple(kind for _, kind, _ in contents)
    if kinds in (("preferences",), ("pairs",)):
        groups = [_read_preference(place, row) for place, row in contents[0][2]]
        previous_has_reference = None
    else:
        groups, previous_has_reference = _join(contents)
    distinct: dict[tuple[Message, ...], ForeignGroup] = {}
    for group in groups:
        distinct.setdefault(group.messages, group)
    return Results(tuple(distinct.values()), kinds, len(groups) - len(distinct), previous_has_reference)


def _classify(path: Path) -> tuple[FileKind, list[PlacedRow]]:
    """Return what a file is, by the keys of its first item, and its rows."""
    if path.is_dir():
        raise TaskError(f"{path} is a folder", hint="name its files")
    if path.suffix.lower() == ".json" and isinstance(content := load_json(path), dict):
        rows: list[PlacedRow] = []
        for name, item in content.items():
            if not isinstance(item, dict):
                raise TaskError(
                    f"{path}, item {name!r}: expected an object, found {type(item).__name__}", hint=_WAY_OUT
                )
            rows.append((f"{path}, item {name!r}", item))
        if not rows:
            raise TaskError(f"{path} holds no items", hint=_WAY_OUT)
    else:
        rows = read_rows(path)
    keys = set(rows[0][1])
    if {"chosen", "rejected"} <= keys:
        return "preferences", rows
    if {"prompt", "selected", "rejected"} <= keys:
        return "pairs", rows
    if {"prompt", "response", "reward"} <= keys:
        return "rewarding", rows
    if {"prompt", "responses"} <= keys:
        return "sampling", rows
    raise TaskError(
        f"{rows[0][0]}: neither preference data nor a result of CREAM's (keys found: {list_names(rows[0][1])})",
        hint=_WAY_OUT,
    )


def _join(contents: Sequence[tuple[Path, FileKind, list[PlacedRow]]]) -> tuple[list[ForeignGroup], bool | None]:
    """Return the groups of CREAM's files of one iteration and whether the previous rewards have a reference."""
    by_kind: dict[FileKind, list[tuple[Path, list[PlacedRow]]]] = {}
    for path, kind, rows in contents:
        by_kind.setdefault(kind, []).append((path, rows))
    limits = {"sampling": 1, "rewarding": 2, "pairs": 1, "preferences": 0}
    for kind, found in by_kind.items():
        if len(found) > limits[kind]:
            raise TaskError(
                f"{found[limits[kind]][0]} is one {kind} file too many",
                hint="import one iteration at a time: at most a sampling file, two rewarding files and a dpo file; "
                "preference data one file at a time",
            )
    groups = {name: _read_group(place, row) for name, place, row in _list_named(by_kind.get("sampling", []))}
    current, previous = _order_rewards(by_kind.get("rewarding", []))
    has_reference = None
    for which, rewards in (("current", current), ("previous", previous)):
        if rewards is None:
            continue
        path, rows = rewards
        is_implicit = _has_reference(rows)
        has_reference = is_implicit if which == "previous" else has_reference
        for name, place, row in _list_named([rewards]):
            group, scores = _read_rewards(place, row, is_implicit=is_implicit)
            known = groups.setdefault(name, group)
            _check_same(place, known, group)
            groups[name] = replace(known, current=scores) if which == "current" else replace(known, previous=scores)
    for name, place, row in _list_named(by_kind.get("pairs", [])):
        if name not in groups or groups[name].current is None:
            raise TaskError(f"{place}: no rewards of this item", hint="give the rewarding file that it was made from")
        groups[name] = replace(groups[name], pair=_read_pair(place, row, groups[name]))
    if "pairs" in by_kind:
        left_out = ForeignPair(None, None, skip_reason=f"not in {by_kind['pairs'][0][0].name}")
        groups = {name: group if group.pair else replace(group, pair=left_out) for name, group in groups.items()}
    return list(groups.values()), has_reference


def _list_named(files: Sequence[tuple[Path, list[PlacedRow]]]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Return (name, place, item) of the items; names are what joins the files."""
    return [(place.removeprefix(f"{path}, "), place, row) for path, rows in files for place, row in rows]


def _order_rewards(
    files: Sequence[tuple[Path, list[PlacedRow]]],
) -> tuple[tuple[Path, list[PlacedRow]] | None, tuple[Path, list[PlacedRow]] | None]:
    """Return the current and the previous model's file: as given, but plain likelihoods are the previous one's."""
    if len(files) == 2 and not any(_has_reference(rows) for _, rows in files):
        raise TaskError(
            f"neither {files[0][0]} nor {files[1][0]} has reference scores, and the current model's rewards need them",
            hint="run rewarding.py with --enable_ref yes for the current model",
        )
    implicit = [file for file in files if _has_reference(file[1])]
    likelihoods = [file for file in files if not _has_reference(file[1])]
    current = implicit[0] if implicit else None
    return current, next(iter([*implicit[1:], *likelihoods]), None)


def _has_reference(rows: Sequence[PlacedRow]) -> bool:
    """Return whether rewards are differences to a reference; without one, rewarding.py writes 0 for it everywhere."""
    return any(value for _, row in rows for value in row.get("ref_score") or () if value is not None)


def _read_group(place: str, row: Mapping[str, Any]) -> ForeignGroup:
    responses = row.get("responses")
    if not isinstance(responses, list) or not responses or not all(isinstance(text, str) for text in responses):
        raise TaskError(f"{place}: responses must be a list of texts")
    return ForeignGroup(place, _read_prompt(place, row), tuple(responses))


def _read_prompt(place: str, row: Mapping[str, Any]) -> tuple[Message, ...]:
    prompt = row.get("prompt")
    return (Message("user", prompt),) if isinstance(prompt, str) else parse_messages(place, prompt)


def _read_rewards(
    place: str, row: Mapping[str, Any], *, is_implicit: bool
) -> tuple[ForeignGroup, tuple[ForeignScore, ...]]:
    responses = row.get("response")
    if not isinstance(responses, list) or not responses:
        raise TaskError(f"{place}: response must be a list")
    columns = {key: row.get(key) for key in ("score", "ref_score", "reward")}
    for key, values in columns.items():
        if not isinstance(values, list) or len(values) != len(responses):
            raise TaskError(f"{place}: {key} must be a list of {len(responses)} numbers, one for each response")
    texts = tuple(_read_last(place, response) for response in responses)
    scores = []
    for k in range(len(responses)):
        score, reference, reward = (_read_number(place, columns[key][k], key) for key in columns)  # type: ignore[index]
        scores.append(ForeignScore(score, reference if is_implicit else None, reward))
    return ForeignGroup(place, _read_prompt(place, row), texts), tuple(scores)


def _read_last(place: str, response: Any) -> str:
    """Return the text of a response that stands at the end of its conversation; empty where it is missing."""
    if response is None:
        return ""
    return response if isinstance(response, str) else parse_messages(place, response)[-1].content


def _read_number(place: str, value: Any, key: str) -> float | None:
    """Return a finite number; what is null or not finite is missing."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TaskError(f"{place}: {key} must hold numbers, found {value!r}")
    return float(value) if math.isfinite(value) else None


def _check_same(place: str, known: ForeignGroup, other: ForeignGroup) -> None:
    if known.messages != other.messages:
        raise TaskError(f"{place}: its prompt is not that of {known.place}", hint="give files of one iteration")
    if len(known.responses) != len(other.responses):
        raise TaskError(
            f"{place}: {len(other.responses)} responses, and {known.place} has {len(known.responses)}",
            hint="give files of one iteration",
        )
    for k, (ours, theirs) in enumerate(zip(known.responses, other.responses, strict=True)):
        if theirs and ours.strip() != theirs.strip():
            raise TaskError(f"{place}: response {k} is not that of {known.place}", hint="give files of one iteration")


def _read_pair(place: str, row: Mapping[str, Any], group: ForeignGroup) -> ForeignPair:
    """Return the pair by k; of equal texts the one whose reward made it the pair."""
    rewards = [score.reward for score in group.current or ()]
    found: dict[str, int] = {}
    for side, choose in (("selected", max), ("rejected", min)):
        text = _read_last(place, row.get(side)).strip()
        places = [(reward, k) for k, reward in enumerate(rewards) if reward is not None]
        alike = [entry for entry in places if group.responses[entry[1]].strip() == text]
        if not alike:
            raise TaskError(f"{place}: {side} is none of the responses of {group.place}")
        best = choose(reward for reward, _ in places)
        k = next((k for reward, k in alike if reward == best), None)
        if k is None:
            raise TaskError(
                f"{place}: {side} is not the response with the {choose.__name__}imal reward in {group.place}",
                hint="give the rewarding file of the current model first, then that of the previous one",
            )
        found[side] = k
    chosen, rejected = rewards[found["selected"]], rewards[found["rejected"]]
    margin = None if chosen is None or rejected is None else chosen - rejected
    rate = _read_number(place, row.get("consistency"), "consistency")
    return ForeignPair(found["selected"], found["rejected"], chosen, rejected, margin, _check_share(place, rate))


def _read_preference(place: str, row: Mapping[str, Any]) -> ForeignGroup:
    if "selected" in row:
        row = {**row, "chosen": row["selected"], "consistency_rate": row.get("consistency")}
    messages, chosen, rejected = read_sides(place, _split_implicit_prompt(row))
    chosen_reward, rejected_reward = _read_reward(place, row, "chosen"), _read_reward(place, row, "rejected")
    margin = _read_number(place, row.get("margin"), "margin")
    if margin is None and chosen_reward is not None and rejected_reward is not None:
        margin = chosen_reward - rejected_reward
    rate, confidence = (
        _check_share(place, _read_number(place, row.get(key), key)) for key in ("consistency_rate", "confidence")
    )
    pair = ForeignPair(0, 1, chosen_reward, rejected_reward, margin, rate, confidence)
    correct = tuple(value if isinstance(value := row.get(f"{s}_correct"), bool) else None for s in _REWARD_COLUMNS)
    return ForeignGroup(place, messages, (chosen, rejected), pair=pair, correct=correct)


def _read_reward(place: str, row: Mapping[str, Any], side: str) -> float | None:
    name = next((name for name in _REWARD_COLUMNS[side] if row.get(name) is not None), None)
    return None if name is None else _read_number(place, row[name], name)


def _check_share(place: str, value: float | None) -> float | None:
    if value is not None and not 0 <= value <= 1:
        raise TaskError(f"{place}: consistency and confidence lie between 0 and 1, found {value}")
    return value


def _split_implicit_prompt(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row with its prompt apart where both sides repeat it as text: a transcript, or a shared beginning."""
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if row.get("prompt") is not None or not isinstance(chosen, str) or not isinstance(rejected, str):
        return row
    shared = os.path.commonprefix([chosen, rejected])  # noqa: RUF071  # texts, no paths
    mark = _TURNS[1][0]
    cut = shared.rfind(mark)
    if cut >= 0:
        start = cut + len(mark)
        return {
            **row,
            "prompt": _read_transcript(shared[:cut]),
            "chosen": chosen[start:].strip(),
            "rejected": rejected[start:].strip(),
        }
    # As TRL's extract_prompt: to where they differ, without the space before it.
    end = len(shared) - (1 if shared.endswith(" ") and len(shared) < min(len(chosen), len(rejected)) else 0)
    return {**row, "prompt": shared[:end], "chosen": chosen[end:], "rejected": rejected[end:]}


def _read_transcript(text: str) -> list[dict[str, str]]:
    turns: list[dict[str, str]] = []
    rest = text
    while rest:
        starts = sorted((place, mark, role) for mark, role in _TURNS if (place := rest.find(mark)) >= 0)
        if not starts:
            break
        place, mark, role = starts[0]
        rest = rest[place + len(mark) :]
        ends = [found for other, _ in _TURNS if (found := rest.find(other)) >= 0]
        end = min(ends, default=len(rest))
        turns.append({"role": role, "content": rest[:end].strip()})
        rest = rest[end:]
    return turns
