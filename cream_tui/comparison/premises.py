"""What a reader must know before the verdicts: a baseline or model that was chosen, studies that differ in more.

Pure: arms in, sentences out. Studies, or runs that are one by one, are compared by the settings that are the same in
all arms of each; what an arm varies within its study is no premise. Folders of this machine stay out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from cream_tui.cards.markdown import hide_places
from cream_tui.comparison.paired import Comparison
from cream_tui.config_differences import format_setting, is_different, list_settings, load_config
from cream_tui.views.compare import SeedArm

Sources: TypeAlias = Mapping[str, str]  # an arm's title: its study; an arm that is not there is a source of its own
Settings: TypeAlias = dict[str, dict[str, Any]]  # dotted key: value by source

_BASE_DIGEST = "digest of M0"
# What a run starts from and is measured by, as it is called and as it sets a side apart.
_START = {
    "model": ("base model", "another base model"),
    "sft": ("supervised fine-tuning", "another supervised fine-tuning"),
    "data": ("data", "other data"),
    "evaluation": ("evaluation", "another evaluation"),
    "iterations": ("iterations", "other iterations"),
}
# What arms are compared by, what tells runs apart, and how but not what is computed.
_ASIDE = frozenset({"method", "seed", "resources", "report_to"})
_HOW = frozenset({"batch_tokens", "gradient_checkpointing", "snapshot_every"})


def tell_premises(
    arms: Sequence[SeedArm], sources: Sources, *, own_baseline: str | None = None, at: str | None = None
) -> list[str]:
    """A sentence on each of them, where there is something to tell.

    Args:
        own_baseline: The arm that the study compares with, where another one was chosen.
        at: The model at which arms are compared, where it was chosen.
    """
    told = []
    if at is not None:
        told.append(
            f"Everything is told as if {at} were the last model: where it was chosen for its results, p-values are "
            "exploratory."
        )
    if own_baseline is not None:
        told.append(
            f"The baseline {arms[0].title} was chosen after the fact, that of the study is {own_baseline}: p-values "
            f"against {arms[0].title} are exploratory."
        )
    topics: dict[str, list[str]] = {}
    for key, values in find_premises(arms, sources).items():
        topics.setdefault(_name_topic(key)[0], []).append(f"{key} {_list_values(values)}")
    if topics:
        words = ", ".join(f"{topic} ({'; '.join(settings)})" for topic, settings in topics.items())
        told.append(
            f"The {'studies' if sources else 'runs'} differ in {words}: a difference across them is not one of methods "
            "alone."
        )
    return told


def find_premises(arms: Sequence[SeedArm], sources: Sources) -> Settings:
    """The settings that are the same in all arms of each source, but not in all sources; of runs, how they start."""
    places: dict[str, list[int]] = {}
    for place, arm in enumerate(arms):
        places.setdefault(sources.get(arm.title, arm.title), []).append(place)
    found: Settings = {}
    for key, values in list_settings([load_config(arm.runs[0].config_json) for arm in arms]).items():
        section = key.partition(".")[0]
        is_wanted = section in _START or (sources and section not in _ASIDE)
        if is_wanted and key.rpartition(".")[2] not in _HOW:
            _keep_different(found, key, values, places)
    if not any(_find_section(key) == "model" for key in found):
        _keep_different(found, _BASE_DIGEST, [arm.runs[0].base_digest[:8] for arm in arms], places)
    return found


def mark_premises(comparisons: Sequence[Comparison], arms: Sequence[SeedArm], sources: Sources) -> list[Comparison]:
    """The comparisons with what their sides differ in beside the method, as far as their sources do."""
    settings = find_premises(arms, sources)
    marked = []
    for found in comparisons:
        first, second = (sources.get(title, title) for title in (found.first, found.second))
        phrases = {
            _name_topic(key)[1]: None
            for key, values in settings.items()
            if is_different([values[first], values[second]])
        }
        marked.append(replace(found, beside=" and ".join(phrases) or None))
    return marked


def _keep_different(found: Settings, key: str, values: Sequence[Any], places: Mapping[str, Sequence[int]]) -> None:
    own = {source: [values[place] for place in of_source] for source, of_source in places.items()}
    if any(map(is_different, own.values())):
        return
    by_source = {source: of_source[0] for source, of_source in own.items()}
    if is_different(list(by_source.values())):
        found[key] = by_source


def _find_section(key: str) -> str:
    return "model" if key == _BASE_DIGEST else key.partition(".")[0]


def _name_topic(key: str) -> tuple[str, str]:
    section = _find_section(key)
    return _START.get(section, (section, f"another {section}"))


def _list_values(values: Mapping[str, Any]) -> str:
    """Each value with the sources that have it: 3 in a, b and 5 in c."""
    having: dict[str, list[str]] = {}
    for source, value in values.items():
        having.setdefault(format_setting(value), []).append(source)
    return " and ".join(
        f"{format_setting(hide_places(values[names[0]]))} in {', '.join(names)}" for names in having.values()
    )
