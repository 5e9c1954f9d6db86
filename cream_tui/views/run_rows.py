"""The rows of the list of runs: runs, heads of groups, studies and their arms.

Pure: records in, rows out; no store, no Textual. Every row has a key that tells it from all others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from cream_tui.filtering.runs import RunGroup
from cream_tui.readers.run_records import RunRecord
from cream_tui.readers.study_records import StudyRecord


@dataclass(frozen=True, slots=True)
class GroupRow:
    """The head of a group: its values, how many runs it has, their means."""

    group: RunGroup
    is_folded: bool

    @property
    def key(self) -> str:
        """What tells it from all other rows."""
        return "group " + "\x00".join(f"{name}={value}" for name, value in self.group.values)

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """The runs below it, also while it is folded."""
        return self.group.runs


@dataclass(frozen=True, slots=True)
class ArmRow:
    """The head of an arm of a study: runs that differ in the seed alone.

    Attributes:
        title: What it is called in its study.
        states: Of all its runs, also of those that are not started yet.
        runs: Those that the filter leaves, also while it is folded.
        n_begun: How many it has with those that the filter hides.
        means: Of the fields that have one, over all that it has.
        fraction_done: Of the work of all its runs, in [0, 1].
        error: Why a run could not be started, where one could not.
    """

    study_id: str
    title: str
    states: tuple[str, ...]
    runs: tuple[RunRecord, ...]
    n_begun: int
    means: Mapping[str, float]
    fraction_done: float
    is_folded: bool
    is_selected: bool
    error: str | None = None

    @property
    def key(self) -> str:
        """What tells it from all other rows."""
        return f"arm {self.study_id} {self.title}"

    @property
    def shown(self) -> str:
        """How many of its runs the filter leaves; empty where it hides none."""
        return f"{len(self.runs)} of {self.n_begun} shown" if len(self.runs) < self.n_begun else ""


@dataclass(frozen=True, slots=True)
class StudyLine:
    """A study in one line.

    Attributes:
        arms: All, also those of which the filter leaves no run.
        fraction_done: Of the work of all its runs, in [0, 1].
        left_s: Time to its end, where it goes on and that can be told.
        is_selected: Whether all its runs are.
    """

    study: StudyRecord
    arms: tuple[ArmRow, ...]
    fraction_done: float
    left_s: float | None
    is_folded: bool
    is_selected: bool
    is_filtered: bool = False

    @property
    def shown_arms(self) -> tuple[ArmRow, ...]:
        """Those that stand below the study where it is unfolded."""
        return tuple(arm for arm in self.arms if arm.runs) if self.is_filtered else self.arms

    @property
    def shown(self) -> str:
        """How many of its runs the filter leaves; empty where it hides none."""
        n_shown, n_begun = len(self.runs), sum(arm.n_begun for arm in self.arms)
        return f"{n_shown} of {n_begun} shown" if n_shown < n_begun else ""

    @property
    def study_id(self) -> str:
        """Of the study."""
        return self.study.study.study_id

    @property
    def key(self) -> str:
        """What tells it from all other rows."""
        return key_study(self.study_id)

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """The runs below it that the filter leaves, also while it is folded."""
        return tuple(record for arm in self.arms for record in arm.runs)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run, with how it stands in the list.

    Attributes:
        depth: Of how many heads it is below.
        label: What tells it from the others below its head; empty: its name.
    """

    record: RunRecord
    is_selected: bool
    left_s: float | None
    depth: int = 0
    label: str = ""

    @property
    def key(self) -> str:
        """Its id."""
        return self.record.run.run_id


Head: TypeAlias = GroupRow | StudyLine | ArmRow
Row: TypeAlias = Head | RunRow


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The list as a person looks at it.

    Attributes:
        records: The runs that the filter leaves, in the order of the list.
        runs: All runs by id, also those that the filter hides.
        studies: The newest first.
        has_own_order: Whether arms and runs keep the order of their study: the list is sorted by age.
        mean_key: The field by whose mean arms are sorted; None: as their first run is.
        is_folded: Whether the head of this key is folded.
    """

    records: Sequence[RunRecord]
    runs: Mapping[str, RunRecord]
    studies: Sequence[StudyRecord]
    selected: Collection[str] = ()
    left_s: Mapping[str, float] = field(default_factory=dict)
    has_own_order: bool = True
    mean_key: str | None = None
    is_descending: bool = False
    is_filtered: bool = False
    is_folded: Callable[[str], bool] = lambda key: True

    def build_row(self, record: RunRecord, depth: int, *, label: str = "") -> RunRow:
        """The row of a run."""
        run_id = record.run.run_id
        return RunRow(record, run_id in self.selected, self.left_s.get(run_id), depth, label)

    def is_all_selected(self, records: Sequence[RunRecord]) -> bool:
        """Whether there are runs and each is selected."""
        return bool(records) and all(record.run.run_id in self.selected for record in records)


def arrange_groups(groups: Sequence[RunGroup], view: Arrangement) -> list[Row]:
    """The heads of the groups, each with its runs where it is unfolded."""
    rows: list[Row] = []
    for group in groups:
        head = GroupRow(group, is_folded=False)
        head = replace(head, is_folded=view.is_folded(head.key))
        rows += [head, *(view.build_row(record, 1) for record in group.runs if not head.is_folded)]
    return rows


def key_study(study_id: str) -> str:
    """The key of a study's row."""
    return f"study {study_id}"
