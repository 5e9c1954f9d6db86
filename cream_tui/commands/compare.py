"""`compare`: runs and studies side by side, model by model, with tests; for the terminal or as a file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cream_tui import diagnostics, output
from cream_tui.comparison import formats, terminal, wording
from cream_tui.comparison.arms import Results, sort_models
from cream_tui.comparison.premises import tell_premises
from cream_tui.comparison.sentences import tell_cautions, tell_missing
from cream_tui.comparison.table import StudyTable, build_study_table
from cream_tui.config_differences import find_differences, format_setting, load_config
from cream_tui.export_formats import write_whole, writing
from cream_tui.narrative import Arm, find_last_common, tell_differences
from cream_tui.output import Column
from cream_tui.readers.compared_runs import ComparedArms, check_enough, read_compared_arms
from cream_tui.result_table import build_record
from cream_tui.results import ResultReader, adjust_by_holm, compute_paired_test
from cream_tui.stores import open_run_reader
from cream_tui.text import make_visible
from cream_tui.views.compare import SeedArm, SummaryRow, build_model_summary, split_runs
from cream_tui.views.shared_prompts import SampledComparison, compare_sampled, summarise_sampled
from db.compare_reads import read_run_costs, read_shared_iterations, read_shared_prompts
from db.reading import snapshot
from db.rows import RunRow
from engine.errors import ExitCode, find_nearest

FORMATS = ("table", "markdown", "csv", "json", "latex")
_ENDINGS = {".md": "markdown", ".markdown": "markdown", ".csv": "csv", ".json": "json", ".tex": "latex"}
# So many columns of settings a reader can take in.
_MOST_SETTING_COLUMNS = 4
_EVERYTHING = "Every model with its intervals, tests and pairs: --format markdown, or --tui."


@dataclass(frozen=True, slots=True)
class Wish:
    """How it is shown: ``format_name`` is one of FORMATS; ``target`` a file.

    Attributes:
        baseline: An arm's title or run.
        at: The model at which it is compared, as if there were none after it; None for the last.
    """

    format_name: str | None = None
    target: str | None = None
    baseline: str | None = None
    at: str | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """Arms and runs with their results, the baseline first; ``at`` is the last model that is looked at."""

    compared: ComparedArms
    results: Results
    at: str | None

    @property
    def arms(self) -> tuple[SeedArm, ...]:
        return self.compared.arms

    @property
    def runs(self) -> tuple[RunRow, ...]:
        return self.compared.runs

    @property
    def has_seeds(self) -> bool:
        """Whether arms are looked at, not runs one by one."""
        return bool(self.compared.studies) or any(arm.n_seeds > 1 for arm in self.arms)


def compare(store: str | None, references: Sequence[str], wish: Wish, *, as_json: bool = False) -> int:
    """Print or write results, settings that differ, and tests against the baseline."""
    format_name = _choose_format(wish, as_json=as_json)
    with open_run_reader(store) as (_, connection), snapshot(connection):
        read = _read(connection, references, wish)
        if format_name == "json":
            _write(wish.target, [output.encode_json(_build_record(connection, read), indent=2) + "\n"])
            return ExitCode.DONE
    if format_name == "table" and not read.has_seeds:
        _print_runs(read)
    elif format_name == "table":
        _print_study(_build_study(read), read)
    elif format_name == "csv":
        _write(wish.target, formats.encode_summary_csv(build_study_table(read.arms, read.results)))
    else:
        encode = formats.encode_markdown if format_name == "markdown" else formats.encode_latex
        _write(wish.target, encode(_build_study(read)))
    return ExitCode.DONE


def _read(connection: sqlite3.Connection, references: Sequence[str], wish: Wish) -> _Read:
    compared = read_compared_arms(connection, references, baseline=wish.baseline)
    check_enough(compared.runs)
    first = compared.arms[0].title
    for line in tell_missing(compared.missing, lacking_baseline=compared.lacking_baseline, first=first):
        diagnostics.warn(line)
    reader = ResultReader()
    results = {run.run_id: reader.read(connection, run.run_id) for run in compared.runs}
    return _Read(compared, results if wish.at is None else _end_at(results, wish.at), wish.at)


def _end_at(results: Results, at: str) -> Results:
    """The results as if the runs had ended at this model."""
    known = sort_models({model.name for models in results.values() for model in models if model.tasks} - {"M0"})
    if at not in known:
        raise diagnostics.UsageProblem(
            f"--at {at}: no run has evaluated such a model", f"There are {', '.join(known)}." if known else None
        )
    last = int(at[1:])
    return {run_id: [model for model in models if model.index <= last] for run_id, models in results.items()}


def _choose_format(wish: Wish, *, as_json: bool) -> str:
    by_ending = _ENDINGS.get(Path(wish.target or "").suffix.lower())
    name = wish.format_name or by_ending or ("json" if as_json else "table")
    if as_json and name != "json":
        other = f"-o {wish.target}" if wish.format_name is None else f"--format {wish.format_name}"
        raise diagnostics.UsageProblem(f"{other}: is not JSON, which --json asks for", "Leave one of them out.")
    if name not in FORMATS:
        nearest = find_nearest(name, FORMATS)
        guess = f"; did you mean {nearest}?" if nearest else ""
        raise diagnostics.UsageProblem(
            f"--format {name}: there is no such format{guess}", f"There are {', '.join(FORMATS)}."
        )
    if name == "table" and wish.target is not None:
        raise diagnostics.UsageProblem(
            f"-o {wish.target}: the table is for the terminal", "Name a .md, .csv, .json or .tex file, or a --format."
        )
    return name


def _write(target: str | None, chunks: Iterable[str]) -> None:
    if target is None or target == "-":
        output.print_stream(chunks)
        return
    path = Path(target).expanduser()
    with writing(path):
        write_whole(path, chunks)
    diagnostics.narrate(f"comparison in {target}")


def _build_study(read: _Read) -> formats.ComparedStudy:
    names = [study.name for study in read.compared.studies] or [arm.title for arm in read.arms]
    return formats.compare_study(
        ", ".join(names),
        read.arms,
        read.results,
        own_baseline=read.compared.own_baseline,
        sources=read.compared.sources,
        at=read.at,
    )


def _print_study(study: formats.ComparedStudy, read: _Read) -> None:
    _print_accuracies(study.table, are_runs=False)
    _print_tests(study)
    _print_measures(study.table)
    if len(read.arms) <= _MOST_SETTING_COLUMNS:
        _print_settings([(arm.title, arm.runs[0]) for arm in read.arms])
    for sentence in study.sentences:
        output.print_paragraph(sentence)


def _print_runs(read: _Read) -> None:
    """Runs that are one by one, not arms of seeds."""
    runs = read.runs
    table = build_study_table(split_runs(runs), read.results)
    _print_accuracies(table, are_runs=True)
    _print_measures(table)
    _print_settings([(run.name, run) for run in runs])
    told = [Arm(run.name, tuple(read.results[run.run_id])) for run in runs]
    premises = tell_premises(read.arms, {}, at=read.at)
    for sentence in [*premises, *tell_differences(told[1:], told[0])]:
        output.print_paragraph(sentence)
    for sentence in tell_cautions(read.arms):
        output.print_paragraph(sentence, "dim")


def _print_accuracies(table: StudyTable, *, are_runs: bool) -> None:
    if not table.rows:
        output.print_text("No model was evaluated yet.")
        _print_notes(table.notes)
    elif terminal.has_matrix(table, are_runs=are_runs):
        heading, *told = terminal.tell_matrix(table)
        output.print_text(heading, "bold")
        for sentence in told:
            output.print_paragraph(sentence)
        for columns, rows in terminal.build_matrices(table, output.find_width()):
            output.print_table(columns, rows)
        _print_notes(terminal.list_matrix_notes(table))
    else:
        output.print_table(terminal.build_accuracy_columns(table), terminal.build_accuracy_rows(table))
        _print_notes(wording.list_table_notes(table))


def _print_tests(study: formats.ComparedStudy) -> None:
    rows = terminal.build_arm_test_rows(study.arm_tests)
    if rows:
        output.print_text(f"Against {study.table.arms[0]}", "bold")
        output.print_table(terminal.build_arm_test_columns(), rows)
    model_tests = terminal.choose_model_tests(study.model_tests)
    own_rows = terminal.build_model_test_rows(model_tests)
    if own_rows:
        output.print_text(("\n" if rows else "") + "The last model against earlier ones of its arm", "bold")
        output.print_table(terminal.build_model_test_columns(), own_rows)
    notes = terminal.list_test_notes(study.arm_tests, model_tests)
    if notes:
        _print_notes(notes)


def _print_measures(table: StudyTable) -> None:
    measured = terminal.choose_measures(table)
    notes: list[str] = []
    if measured:
        columns, rows = terminal.build_measure_columns(measured), terminal.build_measure_rows(measured)
        is_wide = terminal.fits(columns, rows, output.find_width())
        output.print_table(columns, rows if is_wide else terminal.build_measure_rows(measured, has_intervals=False))
        notes = terminal.list_measure_notes(measured, has_intervals=is_wide)
    _print_notes([*notes, _EVERYTHING])


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        output.print_paragraph(note, "dim")
    output.print_text()


def _print_settings(compared: Sequence[tuple[str, RunRow]]) -> None:
    differences = find_differences([load_config(run.config_json) for _, run in compared])
    titles = [title for title, _ in compared]
    columns = [Column(make_visible(title)) for title in ("setting", *titles)]
    rows = [(key, *map(format_setting, values)) for key, values in differences.items()]
    width = output.find_width()
    if width is not None and output.measure_table(columns, rows) > width:
        for key, *values in rows:
            output.print_paragraph(f"{key}: {_group_titles(titles, values)}")
    elif rows:
        output.print_table(columns, rows)
    elif len(compared) > 1:
        output.print_text("The settings are the same.")
    output.print_text()


def _group_titles(titles: Sequence[str], values: Sequence[str]) -> str:
    """Each value with those that have it: one in srlm; mean in cream, vote."""
    having: dict[str, list[str]] = {}
    for title, value in zip(titles, values, strict=True):
        having.setdefault(value, []).append(title)
    return "; ".join(f"{value} in {', '.join(found)}" for value, found in having.items())


def _build_record(connection: sqlite3.Connection, read: _Read) -> dict[str, Any]:
    runs, results, arms = read.runs, read.results, read.arms
    costs = read_run_costs(connection, [run.run_id for run in runs])
    differences = find_differences([load_config(run.config_json) for run in runs])
    study = _build_study(read)
    told = [Arm(run.name, tuple(results[run.run_id])) for run in runs]
    between_runs = [] if read.compared.studies else tell_differences(told[1:], told[0])
    verdicts = study.sentences[len(study.premises) :] if read.has_seeds else tell_cautions(arms)
    return {
        "studies": [study.name for study in read.compared.studies],
        "at": read.at,
        "missing": [{"arm": part.arm, "seed": part.seed, "error": part.error} for part in read.compared.missing],
        "runs": [
            {
                "run_id": run.run_id,
                "name": run.name,
                "seed": run.seed,
                "state": run.state,
                "wall_s": costs[run.run_id].wall_s,
                "compute_s": costs[run.run_id].compute_s,
                "peak_rss_bytes": costs[run.run_id].peak_rss_bytes,
                "peak_gpu_bytes": costs[run.run_id].peak_gpu_bytes,
                "models": [build_record(model) for model in results[run.run_id]],
            }
            for run in runs
        ],
        "differences": [{"key": key, "values": values} for key, values in differences.items()],
        "arms": _build_arm_records(arms, build_model_summary(arms, results, baseline=0)),
        **formats.build_study_records(study),
        "tests": _build_tests(runs, results),
        # A study's arms share prompts by design: its reader asks for tables, not for 50 walks through all pairs.
        "sampled": [] if read.compared.studies else [_build_sampled(connection, runs[0], run) for run in runs[1:]],
        "sentences": [*study.premises, *between_runs, *verdicts],
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
