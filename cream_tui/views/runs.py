"""What the list of runs shows and what a person chose there: filter, order, groups, folds, selection.

Pure: tables of records in, rows and cells out; no store, no Textual.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from cream_tui.filtering.grammar import FilterError
from cream_tui.filtering.runs import (
    Predicate,
    compile_run_filter,
    find_key,
    group_runs,
    list_other_keys,
    name_other_keys,
    sort_runs,
)
from cream_tui.readers.run_records import RUN_FIELDS, RunFacts, RunRecord, Value, build_vocabulary, has_mean, read_value
from cream_tui.readers.run_tables import RunTable
from cream_tui.readers.study_records import StudyRecord
from cream_tui.views.folds import Folds
from cream_tui.views.run_edits import Edit, PendingEdits
from cream_tui.views.run_rows import Arrangement, GroupRow, Row, RunRow, arrange_groups, key_study
from cream_tui.views.studies import arrange_studies
from engine.errors import ConfigError

NEWEST_FIRST = "age"
_GREATEST_FIRST = frozenset({"progress", *(run_field.key.name for run_field in RUN_FIELDS if run_field.has_mean)})
FIELD_NAMES = tuple(run_field.key.name for run_field in RUN_FIELDS)


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
        self.studies: tuple[StudyRecord, ...] = ()
        self._left_s: Mapping[str, float] = {}
        self._folds = Folds()
        self._edits = PendingEdits()
        self._matches: Predicate | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show: no run, and no study that has yet to start one."""
        return not self.records and not self.studies

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
        self._edits.expire(table.read_at)
        self.records = self._edits.apply(table.records)
        self.studies = table.studies
        if table.facts.settings is not None or self.facts.settings is None:
            self.facts = table.facts
        self._left_s = table.left_s
        self.selected &= {record.run.run_id for record in self.records}
        self.set_filter(self.filter_text)

    def edit(self, run_ids: Collection[str], edit: Edit) -> None:
        """Show a change before the store has it."""
        self._edits.add(run_ids, edit)
        self.records = self._edits.apply(self.records)
        self.arrange()

    def forget_edits(self, run_ids: Collection[str]) -> None:
        """Take changes back that could not be written; the next reading shows what is true."""
        self._edits.forget(run_ids)

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
        self._folds.forget_groups()
        self.arrange()

    def toggle_fold(self, key: str) -> None:
        """Fold or unfold a group, a study or an arm."""
        self._folds.toggle(key)
        self.arrange()

    def show_study(self, study_id: str) -> str:
        """Leave groups and filter, unfold the study, and return the key of its row."""
        key = key_study(study_id)
        self.group_keys = ()
        self.set_filter("")
        self._folds.unfold(key)
        self.arrange()
        return key

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

    def find_place(self, run_id: str) -> str:
        """The key of the row that shows a run: its own, or that of the folded head above it."""
        heads = [row for row in self.rows if not isinstance(row, RunRow)]
        if any(row.key == run_id for row in self.rows):
            return run_id
        return next((head.key for head in heads[::-1] if any(r.run.run_id == run_id for r in head.runs)), run_id)

    def list_chosen(self, row: Row | None) -> list[RunRecord]:
        """The selected runs in the order of the list; without any, the run of this row, or all of its study or arm."""
        if self.selected:
            shown = [r for line in self.rows for r in ([line.record] if isinstance(line, RunRow) else line.runs)]
            by_id = {record.run.run_id: record for record in [*shown, *self.records]}
            return [record for run_id, record in by_id.items() if run_id in self.selected]
        if isinstance(row, RunRow):
            return [row.record]
        return [] if row is None or isinstance(row, GroupRow) else list(row.runs)

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
        if self.studies and not self.group_keys:
            parts.append("1 study" if len(self.studies) == 1 else f"{len(self.studies)} studies")
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
        """Filter, order, groups and unfolded studies, as JSON."""
        return {
            "unfolded": self._folds.save(),
            "filter": self.filter_text,
            "sort": self.sort_key,
            "descending": self.is_descending,
            "group": list(self.group_keys),
        }

    def restore(self, view: Mapping[str, Any]) -> None:
        """Take up what was saved; what does not fit is left out."""
        filter_text, sort, group, unfolded = (view.get(name) for name in ("filter", "sort", "group", "unfolded"))
        if isinstance(sort, str) and sort:
            self.sort_key = sort
        self.is_descending = view.get("descending") is True
        if isinstance(group, list) and all(isinstance(key, str) for key in group):
            self.group_keys = tuple(group)
        self._folds.restore(unfolded)
        if isinstance(filter_text, str):
            self.set_filter(filter_text)

    def arrange(self) -> None:
        """Build the rows anew from what is known."""
        self.matching = self._list_matching()
        self._folds.is_filtered = bool(self.filter_text.strip()) and self._matches is not None
        groups = group_runs(self.matching, self.group_keys, self.facts) if self.group_keys else []
        self.rows = arrange_groups(groups, self._look()) if self.group_keys else arrange_studies(self._look())

    def _look(self) -> Arrangement:
        return Arrangement(
            self.matching,
            {record.run.run_id: record for record in self.records},
            self.studies,
            self.selected,
            self._left_s,
            has_own_order=self.sort_key == NEWEST_FIRST,
            mean_key=self.sort_key if has_mean(self.sort_key) else None,
            is_descending=self.is_descending,
            is_filtered=self._folds.is_filtered,
            is_folded=self._folds.is_folded,
        )

    def _list_matching(self) -> list[RunRecord]:
        matches = self._matches
        records = [record for record in self.records if matches is None or matches(record)]
        if self.sort_key == NEWEST_FIRST:  # that is the order in which they are read
            return records[::-1] if self.is_descending else records
        return sort_runs(records, self.sort_key, self.facts, descending=self.is_descending)


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
