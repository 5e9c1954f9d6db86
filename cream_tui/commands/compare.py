"""`compare`: runs side by side, model by model."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from cream_tui import output
from cream_tui.config_differences import find_differences, format_setting, load_config
from cream_tui.narrative import Arm, find_last_common, tell_differences
from cream_tui.output import Cell, Column
from cream_tui.readers.compared_runs import find_runs
from cream_tui.result_table import SHORT_RESULT_COLUMNS, build_legend, build_record, build_result_row
from cream_tui.results import ModelResult, adjust_by_holm, compute_paired_test, read_results
from cream_tui.seed_narrative import tell_seeds
from cream_tui.stores import open_run_reader
from cream_tui.text import make_visible
from cream_tui.units import MISSING, format_number, format_percent, format_signed
from cream_tui.views.compare import SeedArm, SummaryCell, SummaryRow, build_model_summary, find_arm, group_by_seed
from cream_tui.views.shared_prompts import SampledComparison, compare_sampled, summarise_sampled
from db.compare_reads import read_run_costs, read_shared_iterations, read_shared_prompts
from db.rows import RunRow
from engine.errors import ExitCode

_COLUMNS = (SHORT_RESULT_COLUMNS[0], Column("run", is_flexible=True), *SHORT_RESULT_COLUMNS[1:])
_ARM_COLUMNS = (
    Column("model"),
    Column("arm", is_flexible=True),
    Column("seeds", "right"),
    Column("accuracy\n%", "right"),
    Column("to the\nbaseline", "right"),
    Column("labels\nright %", "right", rank=2),
    Column("tau to\nprevious", "right", rank=3),
    Column("tau to\nanchor", "right", rank=1),
)
Results = Mapping[str, Sequence[ModelResult]]


def compare(store: str | None, references: Sequence[str], *, as_json: bool) -> int:
    """Print the runs' results, the settings in which they differ, and tests against the first."""
    with open_run_reader(store) as (_, connection):
        runs = find_runs(connection, references)
        results = {run.run_id: read_results(connection, run.run_id) for run in runs}
        if as_json:
            output.print_json(_build_record(connection, runs, results))
            return ExitCode.DONE
    _print_results(runs, results)
    differences = find_differences([load_config(run.config_json) for run in runs])
    if differences:
        columns = [Column("setting"), *(Column(make_visible(run.name), is_flexible=True) for run in runs)]
        output.print_table(columns, [(key, *map(format_setting, values)) for key, values in differences.items()])
    else:
        output.print_text("The settings are the same.")
    output.print_text()
    arms = group_by_seed(runs)
    if any(arm.n_seeds > 1 for arm in arms):
        output.print_table(_ARM_COLUMNS, _build_arm_rows(arms, results))
        output.print_paragraph("mean ± standard deviation over the seeds of runs that differ only in the seed.", "dim")
        output.print_text()
    told = [Arm(run.name, tuple(results[run.run_id])) for run in runs]
    for sentence in tell_differences(told[1:], told[0]):
        output.print_paragraph(sentence)
    for sentence in tell_seeds(arms, results, baseline=find_arm(arms, runs[0].run_id)):
        output.print_paragraph(sentence, "dim")
    return ExitCode.DONE


def _print_results(runs: Sequence[RunRow], results: Results) -> None:
    output.print_table(_COLUMNS, _build_rows(runs, [results[run.run_id] for run in runs]))
    for line in build_legend([model for models in results.values() for model in models]):
        output.print_paragraph(line, "dim")
    output.print_text()


def _build_rows(runs: Sequence[RunRow], results: Sequence[Sequence[ModelResult]]) -> list[list[str | Cell]]:
    by_name = [{model.name: model for model in models} for models in results]
    names = sorted({name for models in by_name for name in models}, key=lambda name: int(name[1:]))
    rows: list[list[str | Cell]] = []
    for name in names:
        is_first = True
        for run, models in zip(runs, by_name, strict=True):
            model = models.get(name)
            if model is not None and (model.tasks or model.measures):
                title, *cells = build_result_row(model)[: len(SHORT_RESULT_COLUMNS)]
                rows.append([title if is_first else "", run.name, *cells])
                is_first = False
    return rows


def _build_arm_rows(arms: Sequence[SeedArm], results: Results) -> list[list[str | Cell]]:
    rows: list[list[str | Cell]] = []
    for model, measures in build_model_summary(arms, results, baseline=0).items():
        by_name = {row.name: row.cells for row in measures}
        empty = (None,) * len(arms)
        for k, arm in enumerate(arms):
            accuracy = by_name.get("accuracy", empty)[k]
            delta = MISSING if accuracy is None or accuracy.delta is None else format_signed(100 * accuracy.delta, 1)
            rows.append(
                [
                    Cell(model, "bold") if k == 0 else "",
                    arm.title,
                    str(arm.n_seeds),
                    _format_spread(accuracy, is_percent=True),
                    delta,
                    _format_spread(by_name.get("label_accuracy", empty)[k], is_percent=True),
                    _format_spread(by_name.get("tau_previous", empty)[k]),
                    _format_spread(by_name.get("tau_anchor", empty)[k]),
                ]
            )
    return rows


def _format_spread(cell: SummaryCell | None, *, is_percent: bool = False) -> str:
    if cell is None:
        return MISSING
    mean = format_percent(cell.spread.mean) if is_percent else format_signed(cell.spread.mean)
    if cell.spread.std is None:
        return mean
    return f"{mean} ± {format_number(100 * cell.spread.std, 1) if is_percent else format_number(cell.spread.std)}"


def _build_record(connection: sqlite3.Connection, runs: Sequence[RunRow], results: Results) -> dict[str, Any]:
    arms = group_by_seed(runs)
    baseline = find_arm(arms, runs[0].run_id)
    costs = read_run_costs(connection, [run.run_id for run in runs])
    differences = find_differences([load_config(run.config_json) for run in runs])
    told = [Arm(run.name, tuple(results[run.run_id])) for run in runs]
    return {
        "runs": [
            {
                "run_id": run.run_id,
                "name": run.name,
                "wall_s": costs[run.run_id].wall_s,
                "compute_s": costs[run.run_id].compute_s,
                "peak_rss_bytes": costs[run.run_id].peak_rss_bytes,
                "peak_gpu_bytes": costs[run.run_id].peak_gpu_bytes,
                "models": [build_record(model) for model in results[run.run_id]],
            }
            for run in runs
        ],
        "differences": [{"key": key, "values": values} for key, values in differences.items()],
        "arms": _build_arm_records(arms, build_model_summary(arms, results, baseline=baseline)),
        "tests": _build_tests(runs, results),
        "sampled": [_build_sampled(connection, runs[0], run) for run in runs[1:]],
        "sentences": [*tell_differences(told[1:], told[0]), *tell_seeds(arms, results, baseline=baseline)],
    }


def _build_arm_records(arms: Sequence[SeedArm], summary: Mapping[str, Sequence[SummaryRow]]) -> list[dict[str, Any]]:
    """Arms with mean, spread and delta of every measure of every model."""
    return [
        {
            "title": arm.title,
            "runs": [run.name for run in arm.runs],
            "seeds": [run.seed for run in arm.runs],
            "models": [
                {
                    "model": model,
                    "measures": {
                        row.name: {
                            "mean": cell.spread.mean,
                            "std": cell.spread.std,
                            "n_seeds": cell.spread.n,
                            "delta": cell.delta,
                        }
                        for row in rows
                        if (cell := row.cells[k]) is not None
                    },
                }
                for model, rows in summary.items()
            ],
        }
        for k, arm in enumerate(arms)
    ]


def _build_tests(runs: Sequence[RunRow], results: Results) -> list[dict[str, Any]]:
    """Tests against the first run, each at the last model that both evaluated."""
    found = []
    for run in runs[1:]:
        pair = find_last_common(results[run.run_id], results[runs[0].run_id])
        test = None if pair is None else compute_paired_test(*pair)
        if pair is not None and test is not None:
            found.append((run, pair[0], test))
    adjusted = adjust_by_holm([test.p_value for *_, test in found])
    return [
        {
            "model": model.name,
            "run": run.name,
            "baseline": runs[0].name,
            "n_items": test.n_items,
            "run_accuracy": test.first_accuracy,
            "baseline_accuracy": test.second_accuracy,
            "n_run_only": test.n_first_only,
            "n_baseline_only": test.n_second_only,
            "p_value": test.p_value,
            "p_value_holm": p_value,
        }
        for (run, model, test), p_value in zip(found, adjusted, strict=True)
    ]


def _build_sampled(connection: sqlite3.Connection, baseline: RunRow, run: RunRow) -> dict[str, Any]:
    """What the run and the baseline made of prompts that both sampled in the same iteration."""
    compared = [
        summarise_sampled(shared, compare_sampled(shared, read_shared_prompts(connection, shared)))
        for shared in read_shared_iterations(connection, baseline.run_id, run.run_id)
    ]
    return {"run": run.name, "baseline": baseline.name, "iterations": [_build_iteration(found) for found in compared]}


def _build_iteration(found: SampledComparison) -> dict[str, Any]:
    return {
        "iteration": found.iteration,
        "n_prompts": found.n_prompts,
        "same_responses": found.has_same_responses,
        "n_known": found.n_known,
        "run_right_share": found.right_share,
        "baseline_right_share": found.baseline_right_share,
        "difference_interval": None if found.interval is None else list(found.interval),
        "chosen": {
            "n_win": found.chosen.n_win,
            "n_lose": found.chosen.n_lose,
            "n_both_right": found.chosen.n_both_right,
            "n_both_wrong": found.chosen.n_both_wrong,
            "p_value": found.chosen.compute_p_value() if found.chosen.n else None,
        },
        "pairs": {relation.value: n for relation, n in found.relations.items()},
    }
