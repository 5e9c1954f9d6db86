"""`metrics`: the numbers that a run wrote step by step; without a name, what there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from cream_tui import diagnostics, output
from cream_tui.output import Column
from cream_tui.stores import open_run_reader
from cream_tui.units import format_compact, format_count
from db.exports import format_time
from db.metric_summaries import MetricSummary, read_metric_summaries
from db.queries import find_run, read_run_metrics, read_run_stages
from db.rows import RunMetric
from engine.errors import ExitCode, find_nearest

_SUMMARY_COLUMNS = (
    Column("metric", is_flexible=True),
    Column("stage"),
    Column("values", "right"),
    Column("last", "right"),
    Column("of", rank=2),
    Column("least", "right", rank=1),
    Column("most", "right", rank=1),
)
_VALUE_COLUMNS = (
    Column("metric", is_flexible=True),
    Column("stage"),
    Column("step", "right"),
    Column("value", "right"),
)
_ROOM = 10


def metrics(store: str | None, run: str, names: Sequence[str], *, as_json: bool) -> int:
    """Print the values of the named metrics, else one line for each that the run has."""
    with open_run_reader(store) as (_, connection):
        found = find_run(connection, run)
        summaries = read_metric_summaries(connection, found.run_id)
        _check_names(names, summaries)
        values = read_run_metrics(connection, found.run_id, names=names) if names else []
        places = {stage.label: stage.position for stage in read_run_stages(connection, found.run_id)}
    values.sort(key=lambda value: (list(names).index(value.name), places[value.label], value.step))
    if as_json:
        output.print_json([_build_record(value) for value in values] if names else [asdict(s) for s in summaries])
    elif names:
        output.print_table(_VALUE_COLUMNS, map(_build_value_row, values))
    elif summaries:
        output.print_table(_SUMMARY_COLUMNS, map(_build_summary_row, summaries))
    else:
        diagnostics.narrate(f"{found.name}: no metrics yet")
    return ExitCode.DONE


def _check_names(names: Sequence[str], summaries: Sequence[MetricSummary]) -> None:
    known = [summary.name for summary in summaries]
    for name in names:
        if name not in known:
            nearest = find_nearest(name, known)
            raise diagnostics.UsageProblem(
                f"{name}: the run has no such metric" + (f"; did you mean {nearest}?" if nearest else ""),
                f"There are {', '.join(dict.fromkeys(known))}." if known else "It has none yet.",
            )


def _build_summary_row(summary: MetricSummary) -> list[str]:
    numbers = [format_compact(value, _ROOM) for value in (summary.last, summary.lowest, summary.highest)]
    return [summary.name, summary.stage, format_count(summary.n), numbers[0], summary.label, *numbers[1:]]


def _build_value_row(value: RunMetric) -> list[str]:
    return [value.name, value.label, str(value.step), format_compact(value.value, _ROOM)]


def _build_record(value: RunMetric) -> dict[str, object]:
    return {
        "name": value.name,
        "stage": value.stage,
        "label": value.label,
        "iteration": value.iteration,
        "step": value.step,
        "value": value.value,
        "at": format_time(value.at),
    }
