"""Measures of arms with their intervals, distributions of tau and reliability, from numbers made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from scipy import stats

from cream_tui.comparison.formats import compare_study
from cream_tui.report.blocks import Fold, Table
from cream_tui.report.comparison_section import build_table_blocks
from cream_tui.report.health_section import build_health_section
from cream_tui.report.reading import ReportData
from cream_tui.report.series import (
    ANCHOR,
    build_curves,
    build_reliability,
    build_tau_grid,
    compute_label_auc,
    estimate_mean_accuracy,
    estimate_over,
    index_counts,
    read_label_interval,
    summarise_label_auc,
)
from cream_tui.results import ModelResult, TaskCount
from cream_tui.views.compare import SeedArm
from db.report_reads import TauLabels
from db.rows import RunRow
from engine.method.statistics import compute_wilson_interval

LABELS = estimate_over(lambda model: model.get("label_accuracy"), own=read_label_interval, bounds=(0, 1))


def make_run(run_id: str, seed: int) -> RunRow:
    values = dict.fromkeys(RunRow.__dataclass_fields__)
    own = {"run_id": run_id, "seed": seed, "name": run_id, "config_json": "{}", "base_digest": "m0"}
    return RunRow(**(values | own))  # type: ignore[arg-type]


def make_arm(*seeds: int) -> SeedArm:
    return SeedArm("A", "cream", tuple(make_run(f"run{seed}", seed) for seed in seeds))


def make_model(n_correct: int, **measures: float) -> ModelResult:
    items = {("sandbox", str(k)): k < n_correct for k in range(100)}
    return ModelResult("M2", (TaskCount("sandbox", n_correct, 100),), measures, items)


def count(tau: float, n_right: int, n_inverted: int, *, t: int = 2, run_id: str = "run0") -> TauLabels:
    return TauLabels(run_id, t, ANCHOR, tau, 5, n_right + n_inverted, n_right, n_inverted)


def test_seeds_have_students_interval() -> None:
    """Accuracies .6, .7, .8: mean .7, standard error .1 / sqrt(3), t with 2 degrees of freedom from scipy."""
    results = {f"run{seed}": [make_model(n)] for seed, n in enumerate((60, 70, 80))}
    (curve,) = build_curves([make_arm(0, 1, 2)], results, estimate_mean_accuracy)
    (point,) = curve.points
    half = stats.t.ppf(0.975, 2) * 0.1 / 3**0.5
    assert (point.x, point.y, point.n) == (2, pytest.approx(0.7), 3)
    assert (point.low, point.high) == (pytest.approx(0.7 - half), pytest.approx(0.7 + half))


def test_several_tasks_have_one_table_of_their_average_and_one_of_each_folded() -> None:
    """Two arms of one seed: of 10 items of each task 5 and 3 right at M1, then 9 and 7 with the one, 2 and 2."""
    arms, results = [], {}
    for title, last in (("srlm", (9, 7)), ("cream", (2, 2))):
        run = make_run(title, 0)
        arms.append(SeedArm("A", title, (run,)))
        results[title] = [
            ModelResult(
                name,
                tuple(TaskCount(task, n, 10) for task, n in zip("ab", right, strict=True)),
                {},
                {(task, str(k)): k < n for task, n in zip("ab", right, strict=True) for k in range(10)},
            )
            for name, right in (("M1", (5, 3)), ("M2", last))
        ]
    average, fold = build_table_blocks(compare_study("two", arms, results))
    assert isinstance(average, Table) and isinstance(fold, Fold)
    assert average.titles == ("arm", "seeds", "M1", "M2")
    cells = [[cell.split(" ")[0] for cell in row] for row in average.rows]
    assert cells == [["all", "1", "40.0", "–"], ["srlm", "1", "–", "80.0"], ["cream", "1", "–", "20.0"]]
    (by_task,) = fold.blocks
    assert isinstance(by_task, Table) and by_task.titles == ("arm", "model", "seeds", "a %", "b %", "average %")
    assert [[cell.split(" ")[0] for cell in row] for row in by_task.rows] == [
        ["all", "M1", "1", "50.0", "30.0", "40.0"],
        ["srlm", "M2", "1", "90.0", "70.0", "80.0"],
        ["cream", "M2", "1", "20.0", "20.0", "20.0"],
    ]


@pytest.mark.parametrize(
    ("n_warned", "every", "some"),
    [
        ((2,), "a", "–"),
        ((1,), "–", "a (1 of 2)"),
        ((2, 2), "all 2 arms", "–"),
        ((2, 1, 0), "a", "b (1 of 2)"),
        ((2, 2, 2, 2, 0), "all 5 arms but e", "–"),
    ],
)
def test_arms_that_always_warn_are_named(n_warned: Sequence[int], every: str, some: str) -> None:
    """Two runs each: accuracy falls from 80 to 20 of 100 in so many of them, in the others it rises."""
    arms, results = [], {}
    for title, n in zip("abcde", n_warned, strict=False):
        arms.append(SeedArm("A", title, tuple(make_run(f"{title}{seed}", seed) for seed in (0, 1))))
        for seed in (0, 1):
            results[f"{title}{seed}"] = [replace(make_model(20 if seed < n else 90), name="M2")]
            results[f"{title}{seed}"].insert(0, replace(make_model(80), name="M1"))
    runs = tuple(run for arm in arms for run in arm.runs)
    data = ReportData((), runs, tuple(arms), (), None, results, index_counts([]), (), {}, {})
    table = build_health_section(data).blocks[0]
    assert isinstance(table, Table)
    assert [row[1:3] for row in table.rows] == [(every, some)] * 2  # against M1 and against the model before it


def test_one_seed_has_the_interval_of_its_items_only() -> None:
    results = {"run0": [make_model(60, label_accuracy=0.75, n_right=30.0, n_inverted=10.0)]}
    (curve,) = build_curves([make_arm(0)], results, LABELS)
    (point,) = curve.points
    assert (point.low, point.high, point.n) == (*compute_wilson_interval(30, 40), 1)


def test_an_interval_over_seeds_ends_where_the_measure_does() -> None:
    results = {f"run{k}": [make_model(60, label_accuracy=share)] for k, share in enumerate((0.9, 1.0))}
    (curve,) = build_curves([make_arm(0, 1)], results, LABELS)
    assert curve.points[0].high == 1.0


def test_seeds_that_agree_do_not_borrow_the_interval_of_one() -> None:
    results = {f"run{k}": [make_model(60, label_accuracy=0.75, n_right=30.0, n_inverted=10.0)] for k in range(2)}
    (curve,) = build_curves([make_arm(0, 1)], results, LABELS)
    (point,) = curve.points
    assert (point.y, point.low, point.high, point.n) == (0.75, None, None, 2)


def test_runs_of_one_seed_count_once() -> None:
    """The first of two that came equally far counts, as in every comparison: (.5 + .8) / 2."""
    arm = SeedArm("A", "cream", (make_run("run0", 0), make_run("again", 0), make_run("run1", 1)))
    results = {"run0": [make_model(50)], "again": [make_model(70)], "run1": [make_model(80)]}
    (curve,) = build_curves([arm], results, estimate_mean_accuracy)
    assert (curve.points[0].y, curve.points[0].n) == (pytest.approx(0.65), 2)


def test_an_arm_without_the_measure_has_no_curve() -> None:
    results = {"run0": [make_model(60)]}
    assert build_curves([make_arm(0)], results, estimate_over(lambda model: model.get("kl_base"))) == ()


def test_taus_stand_beside_the_null_of_their_size() -> None:
    """Two of three prompts at tau 1, one at -1; of 5 items the extremes of tau have probability 1 / 120 each."""
    grid = build_tau_grid([make_arm(0)], index_counts([count(1.0, 1, 1), count(-1.0, 1, 0)]), is_anchor=True)
    assert grid is not None
    bars = grid.cells[0][0]
    assert bars is not None
    assert (bars.shares[0], bars.shares[-1], bars.n) == (pytest.approx(1 / 3), pytest.approx(2 / 3), 3)
    assert (bars.null[0], bars.null[-1], sum(bars.null)) == (
        pytest.approx(1 / 120),
        pytest.approx(1 / 120),
        pytest.approx(1),
    )
    assert bars.mean == pytest.approx(1 / 3)


def test_agreement_with_the_previous_model_begins_at_the_second_iteration() -> None:
    rows = [count(1.0, 1, 0, t=1), TauLabels("run0", 2, "implicit:M1", 0.2, 5, 7, 0, 0)]
    grid = build_tau_grid([make_arm(0)], index_counts(rows), is_anchor=False)
    assert grid is not None and grid.column_titles == ("t = 2",)
    assert [bars.n for bars in grid.cells[0] if bars] == [7]


def test_reliability_pools_seeds_and_leaves_small_bins_out() -> None:
    """C_x = 1: 30 of 40 right over two seeds; C_x = .5: 9 labels only."""
    rows = [count(1.0, 10, 10), count(1.0, 20, 0, run_id="run1"), count(0.0, 5, 4)]
    grid = build_reliability([make_arm(0, 1)], index_counts(rows), is_anchor=True)
    assert grid is not None
    ((title, (line,)),) = grid.panels
    (point,) = line.points
    assert (title, line.title) == ("cream", "t = 2")
    assert (point.x, point.y, point.n) == (1.0, 0.75, 40)
    assert (point.low, point.high) == compute_wilson_interval(30, 40)


def test_no_labels_give_no_reliability() -> None:
    rows = [TauLabels("run0", 2, ANCHOR, 0.2, 5, 7, 0, 0)]
    assert build_reliability([make_arm(0)], index_counts(rows), is_anchor=True) is None


def test_auc_of_tau_is_that_of_scipy() -> None:
    """AUC is Mann-Whitney's U over the number of pairs of a right and an inverted label."""
    rows = [count(1.0, 8, 1), count(0.2, 5, 4), count(-0.6, 1, 3)]
    right, inverted = [1.0] * 8 + [0.2] * 5 + [-0.6], [1.0] + [0.2] * 4 + [-0.6] * 3
    expected = stats.mannwhitneyu(right, inverted).statistic / (len(right) * len(inverted))
    assert compute_label_auc(rows) == pytest.approx(expected)
    assert compute_label_auc([count(1.0, 8, 0)]) is None


def test_auc_over_seeds_needs_two_for_an_interval() -> None:
    rows = [count(1.0, 8, 1), count(-0.6, 1, 3)]
    one = summarise_label_auc(make_arm(0), index_counts(rows), 2, is_anchor=True)
    assert one is not None and one.low is None
    rows += [count(1.0, 7, 1, run_id="run1"), count(-0.6, 1, 4, run_id="run1")]
    two = summarise_label_auc(make_arm(0, 1), index_counts(rows), 2, is_anchor=True)
    assert two is not None and two.n == 2 and two.low is not None and two.low < two.y
