"""Which runs are compared, how they are grouped, which is the baseline, and which of them keys act on.

Pure: rows in, records out; no store, no Textual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cream_tui.views.compare import SeedArm, find_arm, find_baseline, group_by_seed, split_runs
from db.rows import RunRow

N_COLOURS = 8


@dataclass(frozen=True, slots=True)
class Selection:
    """The compared runs as they are looked at.

    Attributes:
        arms: One for each run, or runs that differ only in the seed together.
        baseline: The place of the arm to which deltas are taken.
        cursor: The place of the arm that keys act on.
        hidden: Letters of the arms that have no curves.
        baseline_run: The pinned run, else the first.
        rival: The run that stands against it: of the arm under the cursor, else of the next one; None for one arm.
    """

    runs: tuple[RunRow, ...]
    arms: tuple[SeedArm, ...]
    baseline: int
    cursor: int
    hidden: frozenset[str]
    baseline_run: RunRow
    rival: RunRow | None

    @property
    def colours(self) -> Mapping[str, int]:
        """A colour for each letter; an arm has that of its first run."""
        return {arm.letter: k % N_COLOURS + 1 for k, arm in enumerate(self.single_arms)}

    @property
    def single_arms(self) -> list[SeedArm]:
        """Each run as an arm of its own."""
        return split_runs(self.runs)

    @property
    def current(self) -> SeedArm:
        """The arm under the cursor."""
        return self.arms[self.cursor]

    @property
    def has_seeds(self) -> bool:
        """Whether runs were put together."""
        return any(len(arm.runs) > 1 for arm in self.arms)

    def find_letter(self, run_id: str) -> str:
        """The letter under which a run is shown."""
        return self.arms[find_arm(self.arms, run_id)].letter


def select(
    runs: Sequence[RunRow],
    *,
    is_grouped: bool,
    cursor_id: str | None,
    hidden_ids: frozenset[str],
    pinned_id: str | None,
) -> Selection:
    """The selection.

    Args:
        runs: At least one.
        is_grouped: Whether runs that differ only in the seed stand together.
        cursor_id: A run of the arm under the cursor; the first arm where it is not compared.
        hidden_ids: Runs without curves; an arm is hidden if all its runs are.
        pinned_id: The run that was just pinned and may not be in the rows yet; "" for none, None where rows tell.
    """
    arms = tuple(group_by_seed(runs) if is_grouped else split_runs(runs))
    known = {run.run_id: run for run in runs}
    base = find_baseline(runs) if pinned_id is None else known.get(pinned_id, runs[0])
    baseline = find_arm(arms, base.run_id)
    cursor = find_arm(arms, cursor_id) if cursor_id in known else 0
    hidden = frozenset(arm.letter for arm in arms if set(arm.run_ids) <= hidden_ids)
    return Selection(tuple(runs), arms, baseline, cursor, hidden, base, _find_rival(arms, base, baseline, cursor))


def _find_rival(arms: Sequence[SeedArm], base: RunRow, baseline: int, cursor: int) -> RunRow | None:
    """Of the same seed as the baseline where there is one."""
    if len(arms) == 1:
        others = [run for run in arms[0].runs if run.run_id != base.run_id]
        return others[0] if others else None
    place = cursor if cursor != baseline else (baseline + 1) % len(arms)
    return next((run for run in arms[place].runs if run.seed == base.seed), arms[place].runs[0])
