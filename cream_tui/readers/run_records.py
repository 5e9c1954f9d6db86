"""Runs as the list of runs shows, filters, sorts and groups them: one table of fields for command line and app.

Knows the overview of db. Must not know how anything is drawn or written in SQL. Settings and metrics join the fields by
name, and are asked for only where a name is none of the fixed ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from cream_tui.config_differences import flatten_config, load_config
from cream_tui.filtering.grammar import Key, Kind, Vocabulary
from cream_tui.narrative import LEAST_CHANGED_SHARE, MOST_UNDEFINED_SHARE
from cream_tui.units import format_percent
from db.overview import RunOverview
from db.run_facts import RunHealth

if TYPE_CHECKING:
    from cream_tui.health.verdict import Verdict

Value: TypeAlias = bool | int | float | str | tuple[str, ...] | None

# In the order in which a list by state shows them.
STATES = ("running", "queued", "stale", "failed", "stopped", "done")
FELL, EARLY, UNDEFINED = "accuracy fell", "early warning", "undefined taus"
# The most serious first.
WARNINGS = ("stale", "failed", FELL, EARLY, "small change", UNDEFINED)
# Found in sound runs too: told, but no reason for a mark.
_MINOR = (UNDEFINED,)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run at a moment.

    Attributes:
        state: as shown: stale where its process is gone.
        parent: name of the run it was forked from; its id where that is removed.
        age_s: since it was created.
        undefined_share: of the taus of its newest agree stage, None before there is one.
        study: name of the study that it belongs to.
        verdict: on its health; None where that was not looked into.
    """

    run: RunOverview
    state: str
    age_s: float
    parent: str | None = None
    warnings: tuple[str, ...] = ()
    undefined_share: float | None = None
    study: str | None = None
    verdict: Verdict | None = None

    @property
    def is_marked(self) -> bool:
        """Whether a person should look at it."""
        return any(warning not in _MINOR for warning in self.warnings)

    def tell_warnings(self) -> list[str]:
        """The warnings that mark it, in words, the most serious first."""
        return [self._tell(warning) for warning in self.warnings if warning not in _MINOR]

    def tell_minor_warnings(self) -> list[str]:
        """The others in words."""
        return [self._tell(warning) for warning in self.warnings if warning in _MINOR]

    def _tell(self, warning: str) -> str:
        if self.verdict is not None and warning == FELL:
            return self.verdict.fall
        if self.verdict is not None and warning == EARLY:
            return self.verdict.tell_early()
        if self.undefined_share is not None and warning == UNDEFINED:
            return f"{format_percent(self.undefined_share, 0)} % of taus undefined"
        return warning


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known beyond the records.

    Attributes:
        settings: flat configuration by run id, None before it was read.
        metrics: last values by metric name and run id, of those that were asked for.
        metric_names: of the whole store, None before they were read.
    """

    settings: Mapping[str, Mapping[str, Any]] | None = None
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    metric_names: tuple[str, ...] | None = None

    def list_settings(self) -> list[str]:
        """Dotted keys of all settings."""
        return list(dict.fromkeys(key for settings in (self.settings or {}).values() for key in settings))


@dataclass(frozen=True, slots=True)
class RunField:
    """A key with what it reads; a field that is the mean of a group has ``has_mean``."""

    key: Key
    read: Callable[[RunRecord], Value]
    has_mean: bool = False


RUN_FIELDS: tuple[RunField, ...] = (
    RunField(Key("name", Kind.TEXT, "its name"), lambda r: r.run.name),
    RunField(Key("id", Kind.TEXT, "its id", ("run", "run_id")), lambda r: r.run.run_id),
    RunField(Key("state", Kind.CHOICE, "as shown", choices=STATES), lambda r: r.state),
    RunField(Key("method", Kind.TEXT, "how pairs are made"), lambda r: r.run.method),
    RunField(Key("seed", Kind.NUMBER, "of its configuration"), lambda r: r.run.seed),
    RunField(Key("iteration", Kind.ITERATION, "t, or the model M_t", ("t", "it")), lambda r: r.run.iteration),
    RunField(Key("iterations", Kind.NUMBER, "how many it makes"), lambda r: r.run.iterations),
    RunField(Key("progress", Kind.RATE, "share of the work that is done"), lambda r: r.run.fraction_done),
    RunField(Key("accuracy", Kind.RATE, "of the newest model", ("acc",)), lambda r: r.run.accuracy, has_mean=True),
    RunField(
        Key("C", Kind.RATE, "mean confidence of the newest pairs", ("confidence",)),
        lambda r: r.run.confidence,
        has_mean=True,
    ),
    RunField(
        Key("tau", Kind.NUMBER, "Kendall's, to the previous model", ("tau_previous",)),
        lambda r: r.run.tau_previous,
        has_mean=True,
    ),
    RunField(
        Key("anchor", Kind.NUMBER, "Kendall's tau to the base model", ("tau_anchor",)),
        lambda r: r.run.tau_anchor,
        has_mean=True,
    ),
    RunField(
        Key("consistency", Kind.RATE, "(tau + 1) / 2", ("consistency_rate",)),
        lambda r: r.run.consistency_rate,
        has_mean=True,
    ),
    RunField(
        Key("labels", Kind.RATE, "share of right labels, where gold is known", ("label_accuracy",)),
        lambda r: r.run.label_accuracy,
        has_mean=True,
    ),
    RunField(Key("tag", Kind.TEXT, "any of its tags", ("tags",)), lambda r: r.run.tags),
    RunField(Key("note", Kind.TEXT, "its note"), lambda r: r.run.note or None),
    RunField(Key("age", Kind.AGE, "since it was created: 2d, 3h, 20min", ("created",)), lambda r: r.age_s),
    RunField(Key("parent", Kind.TEXT, "the run it was forked from"), lambda r: r.parent),
    RunField(Key("study", Kind.TEXT, "the study it belongs to"), lambda r: r.study),
    RunField(
        Key("baseline", Kind.FLAG, "whether it is pinned", ("pinned",), choices=("yes", "no")),
        lambda r: r.run.is_baseline,
    ),
    RunField(
        Key("warning", Kind.CHOICE, "what is wrong with it", ("warnings",), choices=WARNINGS), lambda r: r.warnings
    ),
)
_BY_NAME = {run_field.key.name: run_field for run_field in RUN_FIELDS}


def build_run_records(
    runs: Sequence[RunOverview],
    *,
    now: float,
    is_stale: Callable[[RunOverview], bool],
    health: Mapping[str, RunHealth] | None = None,
    studies: Mapping[str, str] | None = None,
    verdicts: Mapping[str, Verdict] | None = None,
) -> list[RunRecord]:
    """The records of the runs, in their order; names of studies and verdicts are by run id."""
    names = {run.run_id: run.name for run in runs}
    records = []
    for run in runs:
        state = "stale" if is_stale(run) else run.state
        parent = None if run.parent_run_id is None else names.get(run.parent_run_id, run.parent_run_id)
        known = (health or {}).get(run.run_id, RunHealth())
        verdict = (verdicts or {}).get(run.run_id)
        warnings = _find_warnings(state, known, verdict)
        age_s, study = max(0.0, now - run.created_at), (studies or {}).get(run.run_id)
        records.append(RunRecord(run, state, age_s, parent, warnings, known.undefined_share, study, verdict))
    return records


def build_vocabulary(facts: RunFacts) -> Vocabulary:
    """The keys of runs: the fixed fields, then settings, then metrics."""

    def find_more(name: str) -> Key | None:
        setting = find_setting(name, facts.list_settings())
        if setting is not None:
            return Key(setting, Kind.SETTING)
        metric = next((known for known in facts.metric_names or () if known.casefold() == name.casefold()), None)
        return None if metric is None else Key(metric, Kind.NUMBER)

    def list_more() -> Iterable[str]:
        return [*facts.list_settings(), *(facts.metric_names or ())]

    return Vocabulary((run_field.key for run_field in RUN_FIELDS), more=find_more, more_names=list_more)


def find_setting(name: str, keys: Iterable[str]) -> str | None:
    """The only setting of this dotted name, or with this end of one.

    Raises:
        LookupError: several end so.
    """
    folded = name.casefold()
    found = []
    for key in keys:
        if key.casefold() == folded:
            return key
        if key.casefold().endswith("." + folded):
            found.append(key)
    if len(found) > 1:
        raise LookupError(f"{name} is {len(found)} settings: {', '.join(sorted(found))}")
    return found[0] if found else None


def read_value(record: RunRecord, key: str, facts: RunFacts) -> Value:
    """What a run has under a key that the vocabulary found; None where it has nothing."""
    run_field = _BY_NAME.get(key)
    if run_field is not None:
        return run_field.read(record)
    if key in (settings := (facts.settings or {}).get(record.run.run_id, {})):
        value = settings[key]
        return tuple(map(str, value)) if isinstance(value, list) else value
    return facts.metrics.get(key, {}).get(record.run.run_id)


def has_mean(key: str) -> bool:
    """Whether a group of runs shows the mean of this field."""
    return key in _BY_NAME and _BY_NAME[key].has_mean


def load_settings(config_json: str) -> dict[str, Any]:
    """The settings of a stored configuration by dotted key; empty where it cannot be read."""
    flat = flatten_config(load_config(config_json))
    return {sys.intern(key): value for key, value in flat.items() if key}  # the same few keys in a thousand runs


def _find_warnings(state: str, health: RunHealth, verdict: Verdict | None) -> tuple[str, ...]:
    found = [state] if state in ("stale", "failed") else []
    if verdict is not None:
        found += [FELL] if verdict.has_fallen else []
        found += [EARLY] if verdict.is_warned else []
    if health.least_changed_share is not None and health.least_changed_share < LEAST_CHANGED_SHARE:
        found.append("small change")
    if health.undefined_share is not None and health.undefined_share > MOST_UNDEFINED_SHARE:
        found.append(UNDEFINED)
    return tuple(found)
