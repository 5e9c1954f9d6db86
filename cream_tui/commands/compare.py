"""`compare`: runs side by side, model by model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cream_tui import diagnostics, output
from cream_tui.narrative import Arm, find_last_common, tell_difference
from cream_tui.output import Cell, Column
from cream_tui.result_table import SHORT_RESULT_COLUMNS, build_legend, build_record, build_result_row
from cream_tui.results import ModelResult, compute_paired_test, read_results
from cream_tui.stores import open_run_reader
from cream_tui.text import make_visible
from db.queries import find_run
from db.rows import RunRow
from engine.errors import ExitCode

_COLUMNS = (SHORT_RESULT_COLUMNS[0], Column("run", is_flexible=True), *SHORT_RESULT_COLUMNS[1:])


def compare(store: str | None, references: Sequence[str], *, as_json: bool) -> int:
    """Print the runs' results, the settings in which they differ, and a paired test against the first."""
    with open_run_reader(store) as (_, connection):
        runs = list({run.run_id: run for run in (find_run(connection, name) for name in references)}.values())
        results = [read_results(connection, run.run_id) for run in runs]
    if len(runs) < 2:
        raise diagnostics.UsageProblem("compare takes two different runs or more", "cream-tui ls names them.")
    differences = find_differences([_load_config(run) for run in runs])
    if as_json:
        output.print_json(_build_record(runs, results, differences))
        return ExitCode.DONE
    output.print_table(_COLUMNS, _build_rows(runs, results))
    for line in build_legend([model for models in results for model in models]):
        output.print_paragraph(line, "dim")
    output.print_text()
    if differences:
        columns = [Column("setting"), *(Column(make_visible(run.name), is_flexible=True) for run in runs)]
        output.print_table(columns, [(key, *map(_format_value, values)) for key, values in differences.items()])
    else:
        output.print_text("The settings are the same.")
    output.print_text()
    arms = [Arm(run.name, tuple(models)) for run, models in zip(runs, results, strict=True)]
    for arm in arms[1:]:
        output.print_paragraph(tell_difference(arm, arms[0]))
    output.print_paragraph("These are runs, not methods: repeat them with other seeds before you conclude.", "dim")
    return ExitCode.DONE


def find_differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Dotted keys, the name aside, whose values differ between the configurations, with the values."""
    flat = [_flatten(config) for config in configs]
    keys = dict.fromkeys(key for config in flat for key in config)
    values = {key: [config.get(key) for config in flat] for key in keys if key != "name"}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def _flatten(value: Any, at: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        return {
            key: item
            for name, child in value.items()
            for key, item in _flatten(child, f"{at}.{name}" if at else name).items()
        }
    return {at: value}


def _load_config(run: RunRow) -> dict[str, Any]:
    try:
        content = json.loads(run.config_json)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


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


def _build_record(
    runs: Sequence[RunRow], results: Sequence[Sequence[ModelResult]], differences: Mapping[str, list[Any]]
) -> dict[str, Any]:
    tests = []
    for run, models in zip(runs[1:], results[1:], strict=True):
        pair = find_last_common(models, results[0])
        test = None if pair is None else compute_paired_test(*pair)
        if pair is not None and test is not None:
            tests.append(
                {
                    "model": pair[0].name,
                    "run": run.name,
                    "baseline": runs[0].name,
                    "n_items": test.n_items,
                    "run_accuracy": test.first_accuracy,
                    "baseline_accuracy": test.second_accuracy,
                    "n_run_only": test.n_first_only,
                    "n_baseline_only": test.n_second_only,
                    "p_value": test.p_value,
                }
            )
    return {
        "runs": [
            {"run_id": run.run_id, "name": run.name, "models": [build_record(model) for model in models]}
            for run, models in zip(runs, results, strict=True)
        ],
        "differences": [{"key": key, "values": values} for key, values in differences.items()],
        "tests": tests,
    }


def _format_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
