"""How numbers of a comparison are written, and what a reader of its tables must know. Text only.

Knows table and tests. Must not know where they are printed.
"""

from __future__ import annotations

from collections.abc import Sequence

from cream_tui.comparison.arms import NO_SPREAD, ONE_SEED
from cream_tui.comparison.estimates import Estimate
from cream_tui.comparison.paired import BOOTSTRAP, MCNEMAR, Comparison
from cream_tui.comparison.table import MEASURES, SHARED, Change, StudyTable
from cream_tui.units import MISSING, format_interval, format_number, format_p_value, format_percent, format_signed

MEASURE_TITLES = dict(
    zip(
        MEASURES,
        ("labels right %", "tau to previous", "tau to anchor", "C", "tokens chosen", "tokens rejected"),
        strict=True,
    )
)
TEST_TITLES = ("first", "second", "difference", "95 % interval", "p by Holm", "t over seeds", "seeds", "items")
RATES = frozenset({"label_accuracy"})
_SIGNED = frozenset({"tau_previous", "tau_anchor"})
_WHY_NOT = {ONE_SEED: "there is one seed", NO_SPREAD: "every seed has the same value"}
_LENGTHS = frozenset({"chosen_n_tokens", "rejected_n_tokens"})


def format_change(change: Change | None) -> str:
    """↑, ↓ or =, with * where it carries a claim; empty without one."""
    return "" if change is None else change.arrow + ("*" if change.is_significant else "")


def format_accuracy_interval(estimate: Estimate) -> str:
    """The interval as percent."""
    return format_interval(estimate.interval)


def format_measure(name: str, value: float | None) -> str:
    """A measure as a reader wants it: rates as percent, taus signed."""
    if name in RATES:
        return format_percent(value)
    if name in _SIGNED:
        return format_signed(value)
    return format_number(value, 1 if name in _LENGTHS else 2)


def format_measure_estimate(name: str, estimate: Estimate | None) -> str:
    """Mean and interval: 0.51 [0.49, 0.53]; the mean alone where there is one seed."""
    if estimate is None:
        return MISSING
    mean = format_measure(name, estimate.mean)
    if estimate.interval is None:
        return mean
    low, high = (format_measure(name, end) for end in estimate.interval)
    return mean if low == mean == high else f"{mean} [{low}, {high}]"


def list_test_cells(found: Comparison) -> list[str]:
    """The cells of one test, in the order of TEST_TITLES, points for accuracies; a reason where there is none."""
    difference = found.difference
    sides = [
        " ".join(filter(None, words))
        for words in ((found.first, found.first_model), (found.second, found.second_model))
    ]
    if difference is None:
        return [*sides, found.reason or MISSING, *[MISSING] * 5]
    mark = "*" if found.direction else ""
    seed_p_value = difference.seed_p_value
    return [
        *sides,
        format_signed(100 * difference.mean, 1) + mark,
        f"{format_signed(100 * difference.low, 1)} to {format_signed(100 * difference.high, 1)}",
        MISSING if found.p_holm is None else _format_bare_p(found.p_holm),
        MISSING if seed_p_value is None else _format_bare_p(seed_p_value),
        str(1 if difference.method == MCNEMAR else len(difference.seeds)),
        str(difference.n_items),
    ]


def list_table_notes(table: StudyTable) -> list[str]:
    """What a reader of the table must know."""
    notes = []
    if table.has_seeds:
        notes.append("Accuracy in %: mean over seeds, with its 95 % interval by Student's t over seeds.")
    if table.has_one_seed:
        notes.append(
            "Where there is one seed, or one model for all seeds (M0): accuracy in %, with Wilson's 95 % interval over "
            "its items. An interval over seeds is not computable from it, because there is no spread to see."
        )
    if any(cell and cell.estimate.reason == NO_SPREAD for row in table.rows for cell in row.cells):
        notes.append("Without an interval: every seed has the same accuracy, so there is no spread to see.")
    if table.n_arrows:
        notes.append(
            "Arrow: the mean is above or below that of the previous model, on seeds and items that both have; * the "
            f"change carries a claim: p < 0.05 by Holm over the {table.n_arrows} arrows, and an interval without 0 "
            "(paired bootstrap over seeds and items; exact McNemar for one seed)."
        )
    if any(row.arm == SHARED for row in table.rows):
        notes.append(f"{SHARED}: every answer of these models is the same in all arms that have the seed.")
    return [*notes, *table.notes]


def list_measure_notes(table: StudyTable) -> list[str]:
    """What a reader of the measures must know."""
    if not table.measures:
        return []
    notes = [
        "Of the pairs that this model made for the next one: mean over seeds, with its 95 % interval by Student's t "
        "over seeds; labels: of those pairs whose sides differ in correctness; C: its mean in the loss."
    ]
    if any(row.model == "M1" and row.estimates[MEASURES.index("tau_previous")] for row in table.measures):
        notes.append("M1: tau to previous is to M0's log-likelihood, because M0 has no implicit reward.")
    reasons = {estimate.reason for row in table.measures for estimate in row.estimates if estimate}
    why = [word for reason, word in _WHY_NOT.items() if reason in reasons]
    if why:
        notes.append(f"Where there is no interval, it is not computable, because {' or '.join(why)}.")
    return notes


def list_test_notes(*families: Sequence[Comparison]) -> list[str]:
    """What a reader of the tests must know."""
    tested = [found for family in families for found in family if found.difference is not None]
    if not tested:
        return []
    notes = [
        "Difference: first minus second, in points of accuracy, on the seeds and items that both have, with the 95 % "
        "interval of this difference alone; p is corrected by Holm over the tests of its table. * better or worse: "
        "p < 0.05 and an interval without 0."
    ]
    if any(found.difference and found.difference.method == BOOTSTRAP for found in tested):
        notes.append(
            "Several seeds: paired bootstrap over seeds and items; t: Student's paired t over seeds, as it is."
        )
    if any(found.difference and found.difference.method == MCNEMAR for found in tested):
        notes.append("One seed: exact McNemar, and an interval over items, which says nothing of other seeds.")
    if any(found.family == "models" for found in tested):
        notes.append(
            "An arm against itself: its last model against M1, and against the best before it. Which that is is chosen "
            "by the same data: that p is multiplied by how many it could have been."
        )
    return notes


def _format_bare_p(p_value: float) -> str:
    return format_p_value(p_value).removeprefix("p ").removeprefix("= ")
