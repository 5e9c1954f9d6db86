"""A comparison in words: titles of metrics, numbers in their units, tables of styled cells, counts as sentences.

Pure: no store, no Textual. A span is a text with the name of a style of ``cream_tui.charts.frame``; texts of
runs and models are made visible where they are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from cream_tui.config_differences import format_setting, is_different, list_settings, load_config
from cream_tui.units import (
    MISSING,
    format_bytes,
    format_compact,
    format_count,
    format_duration,
    format_number,
    format_p_value,
    format_percent,
    format_signed,
)
from cream_tui.views.compare import Metric, SeedArm, SummaryCell, SummaryRow
from db.rows import RunRow

if TYPE_CHECKING:
    from cream_tui.views.shared_prompts import OutcomeCount, SampledComparison

Span: TypeAlias = tuple[str, str]
Cell: TypeAlias = tuple[Span, ...]
_TITLES: Mapping[Metric, str] = {
    ("evaluate", "accuracy"): "accuracy %",
    ("pair", "label_accuracy"): "labels right %",
    ("agree", "tau_previous"): "tau to previous",
    ("agree", "tau_anchor"): "tau to anchor",
    ("agree", "consistency_rate"): "consistency %",
    ("pair", "confidence"): "C in the loss",
    ("pair", "chosen_n_tokens"): "tokens chosen",
    ("pair", "rejected_n_tokens"): "tokens rejected",
    ("pair", "n_pairs"): "pairs",
    ("train", "loss"): "loss",
    ("train", "z"): "z",
    ("train", "final_z"): "z at the end",
    ("train", "final_target_z"): "its target logit(C)",
    ("sample", "correct_rate"): "samples right %",
    ("sample", "truncated_rate"): "truncated %",
    ("cost", "wall_s"): "wall time",
    ("cost", "compute_s"): "computing time",
    ("cost", "peak_rss_bytes"): "peak memory",
    ("cost", "peak_gpu_bytes"): "peak GPU memory",
}
_PERCENT_ENDS = ("accuracy", "_rate", "_share")
_SHORT = 5  # characters of a difference or a spread
_NO_SHARES = frozenset({"learning_rate"})


@dataclass(frozen=True, slots=True)
class TableRow:
    """A line of a table; ``key`` names it."""

    key: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column with its title in two lines; ``width`` 0 is as wide as its cells."""

    title: Cell
    subtitle: Cell = ()
    width: int = 0


def title_metric(metric: Metric) -> str:
    """What a reader calls a metric; percent is part of the name where values are rates."""
    if metric in _TITLES:
        return _TITLES[metric]
    stage, name = metric
    if stage == "evaluate" and name.startswith("accuracy/"):
        return f"{name} %"
    return f"{stage}/{name}" + (" %" if is_percent(name) else "")


def list_names(metric: Metric) -> str:
    """All that a metric is called, in one line."""
    title, key = title_metric(metric), "/".join(metric)
    return title if title.startswith(key) else f"{title}   {key}"


def filter_metrics(metrics: Sequence[Metric], search: str) -> list[Metric]:
    """The metrics whose names hold one of the typed words; all without a word."""
    words = search.casefold().split()
    return [metric for metric in metrics if not words or any(word in list_names(metric).casefold() for word in words)]


def is_percent(name: str) -> bool:
    """Whether a metric is a share that is written in percent."""
    return name.partition("/")[0].endswith(_PERCENT_ENDS) and name not in _NO_SHARES


def format_metric(metric: Metric, value: float | None) -> str:
    """A value in the unit of its metric."""
    stage, name = metric
    if value is None:
        return MISSING
    if stage == "cost":
        return format_duration(value) if name.endswith("_s") else format_bytes(value)
    if is_percent(name):
        return format_percent(value)
    if name.startswith("tau_"):
        return format_signed(value)
    return format_count(round(value)) if name.startswith("n_") and value == round(value) else format_compact(value)


def format_delta(metric: Metric, delta: float) -> str:
    """A difference with its sign, in the unit of its metric."""
    stage, name = metric
    sign = "−" if delta < 0 else "+"
    if stage == "cost":
        return sign + format_metric(metric, abs(delta))
    if is_percent(name):
        return format_signed(100 * delta, 1)
    if name.startswith("tau_"):
        return format_signed(delta)
    text = format_compact(abs(delta), _SHORT)
    return text if text == "0" else sign + text


def describe_cell(metric: Metric, cell: SummaryCell | None, iteration: int | None) -> tuple[str, str, str, str]:
    """Value, a star or nothing, spread, and delta; in place of the delta the iteration where it is another one.

    Args:
        iteration: Of the baseline's value.
    """
    if cell is None:
        return MISSING, "", "", ""
    value = format_metric(metric, cell.spread.mean)
    std = "" if cell.spread.std is None else f"±{_format_std(metric, cell.spread.std)}"
    delta = ""
    if cell.delta is not None:
        delta = format_delta(metric, cell.delta)
    elif None not in (cell.iteration, iteration) and cell.iteration != iteration:
        delta = f"t={cell.iteration}"
    return value, "*" if cell.is_best else "", std, delta


def build_summary_table(
    arms: Sequence[SeedArm], rows: Sequence[SummaryRow], heads: Sequence[TableColumn], *, baseline: int
) -> tuple[list[TableColumn], list[TableRow]]:
    """The summary: a column for each arm, its parts aligned.

    Args:
        heads: The arms' columns.
    """
    parts = []
    for row in rows:
        base = row.cells[baseline]
        iteration = None if base is None else base.iteration
        parts.append([describe_cell(row.metric, cell, iteration) for cell in row.cells])
    # Durations and sizes are long words: they do not set the widths, and go without their spread.
    aligned = [found for row, found in zip(rows, parts, strict=True) if row.stage != "cost"]
    widths = [
        tuple(max((len(found[k][j]) for found in aligned), default=0) for j in range(4)) for k in range(len(arms))
    ]
    table = []
    for row, found in zip(rows, parts, strict=True):
        join = _join if row.stage == "cost" else _align
        cells = [join(texts, own) for texts, own in zip(found, widths, strict=True)]
        table.append(TableRow("/".join(row.metric), (((title_metric(row.metric), "value"),), *cells)))
    return [TableColumn((("metric", "label"),)), *heads], table


def build_heads(
    arms: Sequence[SeedArm],
    *,
    colours: Mapping[str, int],
    baseline: int,
    cursor: int,
    hidden: frozenset[str] = frozenset(),
) -> list[TableColumn]:
    """A column for each arm: its letter in its colour, its title, and what is to be known of it.

    Args:
        colours: By letter.
        cursor: The place of the arm that keys act on.
        hidden: Letters of arms without curves.
    """
    heads = []
    for k, arm in enumerate(arms):
        mark = ("▸" if k == cursor else " ", "cursor")
        notes = ["baseline"] if k == baseline else []
        notes += ["hidden"] if arm.letter in hidden else []
        notes += [f"n={arm.n_seeds}"] if arm.n_seeds > 1 else []
        notes += sorted({run.state for run in arm.runs} - {"done"})
        style = f"series-{colours[arm.letter]}"
        heads.append(
            TableColumn((mark, (arm.letter, style), (f" {arm.title}", "value")), ((f"   {', '.join(notes)}", "label"),))
        )
    return heads


def build_settings_table(
    runs: Sequence[RunRow], heads: Sequence[TableColumn], *, baseline: int, is_all: bool
) -> tuple[list[TableColumn], list[TableRow], int, int]:
    """The settings that differ, or all; then how many differ, and of how many. What is as in the baseline is ``=``."""
    settings = list_settings([load_config(run.config_json) for run in runs])
    differing = {key for key, values in settings.items() if is_different(values)}
    rows = []
    for key, values in settings.items():
        if is_all or key in differing:
            style = "value" if key in differing else "label"
            cells = [_show_setting(value, k, values[baseline], baseline) for k, value in enumerate(values)]
            rows.append(TableRow(key, (((key, style),), *cells)))
    columns = [TableColumn((("setting", "label"),)), *heads]
    return columns, rows, len(differing), len(settings)


def describe_greedy(model: str, count: OutcomeCount) -> list[str]:
    """The greedy answers of a run and the baseline in a few lines."""
    if not count.n:
        return []
    p_value = format_p_value(count.compute_p_value())
    return [
        f"greedy answers of {model}, {format_count(count.n)} items",
        f"  win {count.n_win}   lose {count.n_lose}   tie {count.n_tie}   {p_value}",
        f"  {count.n_both_right} both right, {count.n_both_wrong} both wrong",
    ]


def describe_sampled(found: SampledComparison) -> list[str]:
    """An iteration's sampled prompts in a few lines."""
    kind = "the same responses" if found.has_same_responses else "own responses"
    lines = [f"sampled at t={found.iteration}, {format_count(found.n_prompts)} prompts, {kind}"]
    if found.relations:
        lines.append("  " + ", ".join(f"{relation.value} {n}" for relation, n in found.relations.items()))
    if found.right_share is not None and found.baseline_right_share is not None and not found.has_same_responses:
        difference = format_signed(100 * (found.right_share - found.baseline_right_share), 1)
        text = f"  right {format_percent(found.right_share)} % against {format_percent(found.baseline_right_share)} %"
        interval = None if found.interval is None else f" ({_format_points(found.interval)})"
        lines.append(f"{text}: {difference}{interval or ''}")
    if found.chosen.n and not (found.has_same_responses and not found.chosen.n_win + found.chosen.n_lose):
        p_value = format_p_value(found.chosen.compute_p_value())
        chosen = found.chosen
        lines.append(f"  chosen right: win {chosen.n_win}   lose {chosen.n_lose}   tie {chosen.n_tie}   {p_value}")
    return lines


def _format_points(interval: tuple[float, float]) -> str:
    return f"{format_signed(100 * interval[0], 1)} to {format_signed(100 * interval[1], 1)}"


def _format_std(metric: Metric, std: float) -> str:
    if metric[0] == "cost":
        return format_metric(metric, std)
    if is_percent(metric[1]):
        return format_number(100 * std, 1)
    return format_number(std) if metric[1].startswith("tau_") else format_compact(std, _SHORT)


def _align(parts: tuple[str, str, str, str], widths: tuple[int, ...]) -> Cell:
    value, star, std, delta = parts
    spans = [(value.rjust(widths[0]), "value"), (star.ljust(widths[1]), "chosen")]
    if widths[2]:
        spans.append((f" {std.ljust(widths[2])}", "label"))
    if widths[3]:
        spans.append((f" {delta.rjust(widths[3])}", "label"))
    return tuple(spans)


def _join(parts: tuple[str, str, str, str], widths: tuple[int, ...]) -> Cell:
    value, star, _, delta = parts
    spans = [(value.rjust(widths[0]), "value"), (star, "chosen")]
    return (*spans, (f" {delta}", "label")) if delta else tuple(spans)


def _show_setting(value: Any, place: int, base: Any, baseline: int) -> Cell:
    if place != baseline and value == base:
        return (("=", "label"),)
    return ((MISSING if value is None else format_setting(value), "value"),)
