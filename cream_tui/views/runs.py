"""What the list of runs shows and what a person chose there: filter, order, groups, folds, selection, pending edits.

Pure: tables of records in, rows and cells out; no store, no Textual.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from cream_tui.filtering.grammar import FilterError
from cream_tui.filtering.runs import (
    Predicate,
    RunGroup,
    compile_run_filter,
    find_key,
    group_runs,
    list_other_keys,
    name_other_keys,
    sort_runs,
)
from cream_tui.readers.run_records import RUN_FIELDS, RunFacts, RunRecord, Value, build_vocabulary, read_value
from cream_tui.readers.run_tables import RunTable
from engine.errors import ConfigError

# A pending edit that no reading has confirmed for so long was undone by somebody else.
_EDIT_LASTS_S = 5.0
NEWEST_FIRST = "age"
_GREATEST_FIRST = frozenset({"progress", *(run_field.key.name for run_field in RUN_FIELDS if run_field.has_mean)})
FIELD_NAMES = tuple(run_field.key.name for run_field in RUN_FIELDS)


@dataclass(frozen=True, slots=True)
class GroupRow:
    """The head of a group: its values, how many runs it has, their means."""

    group: RunGroup
    is_folded: bool

    @property
    def key(self) -> str:
        """What tells it from all other rows."""
        return "group " + "\x00".join(f"{name}={value}" for name, value in self.group.values)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run, with how it stands in the list."""

    record: RunRecord
    is_selected: bool
    left_s: float | None
    is_indented: bool

    @property
    def key(self) -> str:
        """Its id."""
        return self.record.run.run_id


Row: TypeAlias = GroupRow | RunRow


@dataclass(frozen=True, slots=True)
class Edit:
    """What a person changed and no reading has shown yet; None: as it was read."""

    at: float
    tags: tuple[str, ...] | None = None
    note: str | None = None
    is_baseline: bool | None = None


class RunList:
    """The state of the list. Every change leaves ``rows`` as they are to be shown."""

    def __init__(self) -> None:
        self.records: tuple[RunRecord, ...] = ()
        self.facts = RunFacts()
        self.filter_text = ""
        self.is_typing = False
        self.problem: FilterError | None = None
        self.sort_key = NEWEST_FIRST
        self.is_descending = False
        self.group_keys: tuple[str, ...] = ()
        self.selected: set[str] = set()
        self.rows: list[Row] = []
        self.matching: list[RunRecord] = []
        self._left_s: Mapping[str, float] = {}
        self._read_at = 0.0
        self._folded: set[str] = set()
        self._edits: dict[str, Edit] = {}
        self._matches: Predicate | None = None

    @property
    def other_keys(self) -> tuple[str, ...]:
        """Keys of filter, order and groups that are settings or metrics: what the next reading must bring."""
        named = name_other_keys([*self.group_keys, self.sort_key])
        return tuple(dict.fromkeys([*list_other_keys(self.filter_text), *named]))

    @property
    def is_waiting(self) -> bool:
        """Whether filter, order or groups name something that was not read yet."""
        known = {name.casefold() for name in self.facts.metrics}
        if self.facts.settings is None:
            return bool(self.other_keys)
        names = {name.casefold() for name in self.facts.metric_names or ()}
        return any(key.casefold() in names - known for key in self.other_keys)

    @property
    def baseline(self) -> RunRecord | None:
        """The pinned run."""
        return next((record for record in self.records if record.run.is_baseline), None)

    @property
    def baseline_id(self) -> str | None:
        """The pinned run's id."""
        return None if self.baseline is None else self.baseline.run.run_id

    def take(self, table: RunTable) -> None:
        """Show what was read; what a person changed meanwhile stays until a reading shows it."""
        self._read_at = table.read_at
        self._edits = {run_id: edit for run_id, edit in self._edits.items() if table.read_at - edit.at < _EDIT_LASTS_S}
        self.records = tuple(self._apply_edit(record) for record in table.records)
        if table.facts.settings is not None or self.facts.settings is None:
            self.facts = table.facts
        self._left_s = table.left_s
        self.selected &= {record.run.run_id for record in self.records}
        self.set_filter(self.filter_text)

    def edit(self, run_ids: Collection[str], edit: Edit) -> None:
        """Show a change before the store has it."""
        for run_id in run_ids:
            former = self._edits.get(run_id, Edit(edit.at))
            self._edits[run_id] = Edit(
                edit.at,
                former.tags if edit.tags is None else edit.tags,
                former.note if edit.note is None else edit.note,
                former.is_baseline if edit.is_baseline is None else edit.is_baseline,
            )
        self.records = tuple(self._apply_edit(record) for record in self.records)
        self.arrange()

    def forget_edits(self, run_ids: Collection[str]) -> None:
        """Take changes back that could not be written; the next reading shows what is true."""
        for run_id in run_ids:
            self._edits.pop(run_id, None)

    def set_filter(self, text: str) -> bool:
        """Filter by this; a term without meaning is left out and told. Whether there is none such.

        While it is typed (``is_typing``), a key that has only begun does not empty the list.
        """
        self.filter_text = text
        self.problem = None
        if not self.is_waiting:
            try:
                self._matches = compile_run_filter(text, self.facts)
            except FilterError as error:
                self.problem = error
                self._filter_without(error.position, error.end)
        self.arrange()
        if (
            self.is_typing
            and not self.matching
            and self.problem is None
            and (start := find_begun_key(text, self.facts)) is not None
        ):
            self._filter_without(start, len(text))
            self.arrange()
        return self.problem is None

    def _filter_without(self, start: int, end: int) -> None:
        """Filter by what is left of the text; where that has no meaning either, as before."""
        with suppress(FilterError):
            self._matches = compile_run_filter(f"{self.filter_text[:start]} {self.filter_text[end:]}", self.facts)

    def sort_by(self, key: str) -> None:
        """Sort by this, what is better when greater the other way round; the key in force turns the order round."""
        self.is_descending = not self.is_descending if key == self.sort_key else key in _GREATEST_FIRST
        self.sort_key = key
        self.arrange()

    def group_by(self, names: Sequence[str]) -> None:
        """Group by these keys.

        Raises:
            ConfigError: there is no such key.
        """
        self.group_keys = tuple(dict.fromkeys(find_key(name, self.facts).name for name in names))
        self._folded = set()
        self.arrange()

    def toggle_fold(self, key: str) -> None:
        """Fold or unfold a group."""
        self._folded ^= {key}
        self.arrange()

    def toggle(self, run_ids: Iterable[str]) -> None:
        """Select these runs, or none of them where all are selected."""
        chosen = set(run_ids)
        self.selected = self.selected - chosen if chosen <= self.selected else self.selected | chosen
        self.arrange()

    def select_all(self) -> None:
        """Select every run that the filter leaves, also those of folded groups."""
        self.toggle(record.run.run_id for record in self.matching)

    def select_none(self) -> None:
        """Select nothing."""
        self.selected = set()
        self.arrange()

    def find(self, run_id: str | None) -> RunRecord | None:
        """The run of this id."""
        return next((record for record in self.records if record.run.run_id == run_id), None)

    def list_chosen(self, key: str | None) -> list[RunRecord]:
        """The selected runs in the order of the list; without any, the one under the cursor."""
        if self.selected:
            by_id = {record.run.run_id: record for record in [*self.matching, *self.records]}
            return [record for run_id, record in by_id.items() if run_id in self.selected]
        found = self.find(key)
        return [] if found is None else [found]

    def list_values(self) -> dict[str, list[str]]:
        """Values that completion offers, by key."""
        texts: dict[str, dict[str, None]] = {"name": {}, "method": {}, "tag": {}, "parent": {}}
        for record in self.records:
            for name, found in texts.items():
                value = read_value(record, name, self.facts)
                values = value if isinstance(value, tuple) else (value,)
                found.update((str(one), None) for one in values if one is not None)
        return {name: sorted(found) for name, found in texts.items()}

    def list_group_candidates(self) -> list[str]:
        """Keys in which runs differ: method, seed, settings; what a method consists of differs with it."""
        settings = self.facts.settings or {}
        varying = [
            key
            for key in self.facts.list_settings()
            if key not in FIELD_NAMES
            and not key.startswith("method.")
            and len({repr(flat.get(key)) for flat in settings.values()}) > 1
        ]
        return [
            *self._list_varying("method", "seed", "iterations"),
            *varying,
            *self._list_varying("parent", "state", "tag"),
        ]

    def _list_varying(self, *names: str) -> list[str]:
        return [name for name in names if len({read_value(record, name, self.facts) for record in self.records}) > 1]

    def check_group_keys(self, text: str) -> str | None:
        """What is wrong with a list of keys, or None."""
        try:
            for name in split_list(text):
                find_key(name, self.facts)
        except ConfigError as error:
            return error.message
        return None

    def describe_command(self) -> str:
        """The words of the `ls` that shows the same."""
        words = ["ls"]
        if self.filter_text.strip():
            words += ["--filter", self.filter_text.strip()]
        if self.sort_key != NEWEST_FIRST:
            words += ["--sort", self.sort_key]
        if self.is_descending:
            words.append("--descending")
        if self.group_keys:
            words += ["--group", ",".join(self.group_keys)]
        return shlex.join(words)

    def describe_view(self) -> str:
        """Groups and how many runs are shown of how many."""
        n_all, n_shown = len(self.records), len(self.matching)
        parts = [f"by {', '.join(key.rpartition('.')[2] for key in self.group_keys)}"] if self.group_keys else []
        parts.append(f"{n_shown} of {n_all}" if n_shown != n_all else f"{n_all} run{'' if n_all == 1 else 's'}")
        return "   ".join(parts)

    def describe_states(self) -> str:
        """How many runs go on, wait, or have lost their process."""
        states = [record.state for record in self.records]
        counts = ((states.count(state), state) for state in ("running", "queued", "stale"))
        return ", ".join(f"{n} {state}" for n, state in counts if n) or "no run is live"

    def describe_marks(self) -> str:
        """How many runs are selected, and which is pinned."""
        parts = [f"{len(self.selected)} selected"] if self.selected else []
        parts += [f"baseline {self.baseline.run.name}"] if self.baseline is not None else []
        return "   ".join(parts)

    def tabulate(self) -> tuple[tuple[str, ...], list[list[Any]]]:
        """Every field of the runs that the filter leaves, and the keys they are sorted and grouped by: names, rows."""
        keys = list(dict.fromkeys([*FIELD_NAMES, *self.group_keys, self.sort_key]))
        rows = [[_as_plain(read_value(record, key, self.facts)) for key in keys] for record in self.matching]
        return tuple(keys), rows

    def save(self) -> dict[str, Any]:
        """Filter, order and groups, as JSON."""
        return {
            "filter": self.filter_text,
            "sort": self.sort_key,
            "descending": self.is_descending,
            "group": list(self.group_keys),
        }

    def restore(self, view: Mapping[str, Any]) -> None:
        """Take up what was saved; what does not fit is left out."""
        filter_text, sort, group = view.get("filter"), view.get("sort"), view.get("group")
        if isinstance(sort, str) and sort:
            self.sort_key = sort
        self.is_descending = view.get("descending") is True
        if isinstance(group, list) and all(isinstance(key, str) for key in group):
            self.group_keys = tuple(group)
        if isinstance(filter_text, str):
            self.set_filter(filter_text)

    def arrange(self) -> None:
        """Build the rows anew from what is known."""
        records = self.matching = self._list_matching()
        rows: list[Row] = []
        if not self.group_keys:
            self.rows = [self._build_row(record, is_indented=False) for record in records]
            return
        for group in group_runs(records, self.group_keys, self.facts):
            head = GroupRow(group, is_folded=False)
            head = replace(head, is_folded=head.key in self._folded)
            rows.append(head)
            if not head.is_folded:
                rows += [self._build_row(record, is_indented=True) for record in group.runs]
        self.rows = rows

    def _list_matching(self) -> list[RunRecord]:
        matches = self._matches
        records = [record for record in self.records if matches is None or matches(record)]
        if self.sort_key == NEWEST_FIRST:  # that is the order in which they are read
            return records[::-1] if self.is_descending else records
        return sort_runs(records, self.sort_key, self.facts, descending=self.is_descending)

    def _build_row(self, record: RunRecord, *, is_indented: bool) -> RunRow:
        run_id = record.run.run_id
        return RunRow(record, run_id in self.selected, self._left_s.get(run_id), is_indented)

    def _apply_edit(self, record: RunRecord) -> RunRecord:
        edit = self._edits.get(record.run.run_id)
        if edit is None:
            return record
        changes: dict[str, Any] = {
            name: value
            for name, value in (("tags", edit.tags), ("note", edit.note), ("is_baseline", edit.is_baseline))
            if value is not None
        }
        return replace(record, run=replace(record.run, **changes))


def _as_plain(value: Value) -> Any:
    return ", ".join(value) if isinstance(value, tuple) else value


def split_list(text: str) -> list[str]:
    """The words between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def find_begun_key(text: str, facts: RunFacts) -> int | None:
    """Where the last word begins if it may yet become a key, as `acc` of accuracy; None for any other end."""
    start = len(text) - len(re.split(r"[\s(-]", text)[-1])
    word = text[start:].casefold()
    names = build_vocabulary(facts).list_names()
    is_begun = any(part.casefold().startswith(word) for name in names for part in (name, name.rpartition(".")[2]))
    return start if word and is_begun else None


def parse_tag_change(text: str, former: Sequence[str]) -> tuple[str, ...]:
    """Tags after an edit: a plain list replaces them; ``+a, -b`` adds and removes.

    A list with any + or - changes the former tags; its plain words are added too.
    """
    words = split_list(text)
    if not any(word[0] in "+-" for word in words):
        return tuple(sorted(dict.fromkeys(words)))
    tags = dict.fromkeys(former)
    for word in words:
        name = word.lstrip("+-").strip()
        if word.startswith("-"):
            tags.pop(name, None)
        elif name:
            tags[name] = None
    return tuple(sorted(tags))
