"""The sections of a report that are words and tables, and their order.

Pure: data in, blocks out. Texts are untrusted and plain here; folders of this machine and addresses stay out.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cream_tui.cards.markdown import hide_places
from cream_tui.comparison.formats import compare_study
from cream_tui.config_differences import find_differences, format_setting, load_config
from cream_tui.report.blocks import NOT_COMPUTABLE, Block, Bullets, Code, Fold, Paragraph, Report, Section, Table
from cream_tui.report.comparison_section import (
    build_finding_blocks,
    build_table_blocks,
    build_test_blocks,
)
from cream_tui.report.figure_sections import (
    build_accuracy_blocks,
    build_agreement_section,
    build_label_section,
    build_length_section,
    build_reliability_section,
    build_reward_section,
)
from cream_tui.report.health_section import build_health_section, build_warning_section
from cream_tui.report.reading import ReportData
from cream_tui.units import MISSING, format_bytes, format_count, format_duration, format_quantity, format_seeds
from cream_tui.views.compare import SeedArm
from cream_tui.views.launch_yaml import encode_yaml
from db.exports import format_time
from db.rows import RunRow

# A path of several parts inside a message; its last part stays.
_PATH = re.compile(r"(?<![\w.:/])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\",;:]+[/\\])+")
_ASIDE = ("name", "seed")
_GIB = 1024**3


def build_report(data: ReportData, *, now: float, command: str) -> Report:
    """All sections in their order.

    Args:
        now: Seconds since the epoch.
        command: What was typed for this report, without places of this machine.
    """
    title = ", ".join(study.name for study in data.studies) or _title_runs(data)
    n_seeds = len({run.seed for run in data.runs})
    counts = (len(data.arms), "arm"), (len(data.runs), "run"), (n_seeds, "seed")
    size = ", ".join(format_quantity(n, noun) for n, noun in counts)
    lead = f"{size}, models M0 to M{data.last_index}. Written {_format_moment(now)}."
    compared = compare_study(title, data.arms, data.results, own_baseline=data.own_baseline, sources=data.sources)
    accuracy = (*build_table_blocks(compared), *build_test_blocks(compared), *build_accuracy_blocks(data))
    sections = [
        Section("findings", "What it shows", tuple(build_finding_blocks(data, compared))),
        Section("what-was-run", "What was run", tuple(_build_subject(data, command))),
        Section("accuracy", "Accuracy", accuracy),
        build_label_section(data),
        build_agreement_section(data),
        build_reliability_section(data),
        build_length_section(data),
        build_reward_section(data),
        build_health_section(data),
        build_warning_section(data),
        _build_cost_section(data),
        _build_config_section(data),
    ]
    return Report(title, lead, tuple(sections))


def _build_subject(data: ReportData, command: str) -> list[Block]:
    """What was run, on what, and what is missing."""
    blocks: list[Block] = [Paragraph(_tell_dates(data))]
    if data.studies:
        for study in data.studies:
            text = encode_yaml(hide_places(_shorten_study(_load(study.config_json))))
            title = f"The study file; run it again with: cream-tui sweep {study.name}.yaml"
            blocks.append(Fold(title, (Code(text, "yaml"),)))
    else:
        blocks.append(
            Paragraph(
                "Each run can be repeated with cream-tui run CONFIG.yaml --seed SEED, where CONFIG.yaml is the "
                "configuration at the end of this page with the settings in which its arm differs."
            )
        )
    blocks.append(
        Table(("arm", "method", "seeds", "state of its runs"), _build_arm_rows(data), "The arms.", 2, is_text=True)
    )
    methods = tuple((name, data.purposes[name]) for name in _list_methods(data.runs) if name in data.purposes)
    if methods:
        caption = "As the shipped files say; what an arm sets otherwise stands in its title and under Configurations."
        blocks.append(Fold("What the methods are", (Table(("method", "what it is"), methods, caption, is_text=True),)))
    gaps = [*_tell_failures(data), *_tell_missing(data)]
    if gaps:
        blocks.append(Bullets(tuple(gaps)))
    blocks.append(Fold("The runs", (_build_run_table(data),)))
    blocks.append(Fold("Versions and hardware", (_build_version_table(data),)))
    blocks.append(Paragraph(f"This report: {command}"))
    return blocks


def _shorten_study(config: Mapping[str, Any]) -> dict[str, Any]:
    """The study file as a person writes it: without what is empty, and a method that sets nothing as its name."""
    kept = {key: value for key, value in config.items() if value not in (None, {})}
    methods = kept.get("methods")
    if isinstance(methods, list):
        kept["methods"] = [
            method["name"] if isinstance(method, dict) and not method.get("set") else method for method in methods
        ]
    return kept


def _tell_dates(data: ReportData) -> str:
    began = [run.started_at for run in data.runs if run.started_at is not None]
    ended = [run.finished_at for run in data.runs if run.finished_at is not None]
    if not began and ended:
        return "The runs were imported from files."
    if not began or not ended:
        return "No run has come to its end yet."
    return f"The runs were made from {_format_moment(min(began))} to {_format_moment(max(ended))}."


def _build_arm_rows(data: ReportData) -> tuple[tuple[str, ...], ...]:
    rows = []
    for arm in data.arms:
        states: dict[str, int] = {}
        for run in arm.runs:
            states[run.state] = states.get(run.state, 0) + 1
        rows.append(
            (
                arm.title,
                ", ".join(_list_methods(arm.runs)),
                format_seeds(sorted({run.seed for run in arm.runs})),
                ", ".join(f"{n} {state}" for state, n in states.items()),
            )
        )
    return tuple(rows)


def _list_methods(runs: Iterable[RunRow]) -> list[str]:
    return list(dict.fromkeys(run.method for run in runs))


def _tell_failures(data: ReportData) -> list[str]:
    """What is not done and why, one line for all seeds of an arm that ended alike."""
    seeds: dict[tuple[str, str, str], list[int]] = {}
    for arm in data.arms:
        for run in arm.runs:
            if run.state != "done":
                error = (run.error or "").strip()
                reason = f": {hide_folders(error.splitlines()[0])}" if error else ""
                seeds.setdefault((arm.title, run.state, reason), []).append(run.seed)
    return [
        f"{title}, {_name_seeds(own)}: {state}{reason}. Figures and tables go as far as it came."
        for (title, state, reason), own in seeds.items()
    ]


def _tell_missing(data: ReportData) -> list[str]:
    """What has no run and why, one line for all arms that miss the same seeds for the same reason."""
    seeds: dict[tuple[str, str | None], list[int]] = {}
    for part in data.missing:
        seeds.setdefault((part.arm, part.error), []).append(part.seed)
    arms: dict[tuple[tuple[int, ...], str | None], list[str]] = {}
    for (arm, error), own in seeds.items():
        arms.setdefault((tuple(own), error), []).append(arm)
    told = []
    for (missed, error), titles in arms.items():
        has = "has" if len(missed) == len(titles) == 1 else "have"
        reason = f": {hide_folders(error)}" if error else ""
        told.append(f"{', '.join(titles)}, {_name_seeds(missed)}: {has} no run{reason}.")
    return told


def _name_seeds(seeds: Sequence[int]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {format_seeds(seeds)}"


def _build_run_table(data: ReportData) -> Table:
    rows = []
    for arm in data.arms:
        began = [run.started_at for run in arm.runs if run.started_at is not None]
        ended = [run.finished_at for run in arm.runs if run.finished_at is not None]
        ids = ", ".join(f"{run.seed}: {run.run_id}" for run in arm.runs)
        rows.append(
            (arm.title, ids, _format_moment(min(began, default=None)), _format_moment(max(ended, default=None)))
        )
    titles = ("arm", "ids of its runs by seed", "first began", "last ended")
    return Table(titles, tuple(rows), "The runs in their store.", is_text=True)


def _build_version_table(data: ReportData) -> Table:
    """Every version and part of the machine, with all values that the runs have of it."""
    found: dict[str, dict[str, None]] = {}
    for run in data.runs:
        for name, value in _list_origin(_load(run.provenance_json)):
            found.setdefault(name, {})[value] = None
    rows = tuple((name, ", ".join(values)) for name, values in found.items())
    return Table(("what", "value"), rows, "As recorded when each run began; several values: runs differ.", is_text=True)


def _list_origin(provenance: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    names = {"revision": "revision of cream-tui", "python": "Python", "system": "system", "machine": "processor"}
    for key, name in names.items():
        if provenance.get(key):
            yield name, str(provenance[key])
    if provenance.get("n_cores"):
        yield "cores", str(provenance["n_cores"])
    if isinstance(provenance.get("memory_bytes"), int):
        yield "memory", f"{provenance['memory_bytes'] / _GIB:.0f} GiB"
    model = provenance.get("model")
    if isinstance(model, dict):
        commit = f" at commit {model['commit']}" if model.get("commit") else ""
        yield "M0", f"{hide_places(model.get('name'))}{commit}"
    packages = provenance.get("packages")
    for name, version in (packages if isinstance(packages, dict) else {}).items():
        if version:
            yield str(name), str(version)


def _build_cost_section(data: ReportData) -> Section:
    """Cost by kind of stage and by arm, and what sharing saved."""
    rows = [
        (
            cost.stage,
            format_count(cost.n_asked),
            format_count(cost.n_stages),
            format_duration(cost.compute_s),
            format_duration(cost.shared_s),
            format_count(cost.n_tokens),
            _format_peak(cost.peak_rss_bytes),
            _format_peak(cost.peak_gpu_bytes),
        )
        for cost in data.stage_costs
    ]
    if not rows:
        return Section("cost", "Cost", (Paragraph(f"Cost of stages: {NOT_COMPUTABLE}no stage is finished."),))
    asked, run = (sum(getattr(cost, name) for cost in data.stage_costs) for name in ("n_asked", "n_stages"))
    saved = sum(cost.shared_s or 0.0 for cost in data.stage_costs)
    spent = sum(cost.compute_s or 0.0 for cost in data.stage_costs)
    words = (
        f"The runs have {asked:,} finished stages, of which {run:,} are different ones and were computed: "
        f"{format_duration(spent)} in all. Sharing the others saved {format_duration(saved)}."
    )
    titles = ("stage", "asked for", "computed", "time", "saved by sharing", "tokens", "peak memory", "peak GPU memory")
    caption = "Computing time of all attempts at the finished stages, by kind; memory is the highest of any attempt."
    return Section("cost", "Cost", (Paragraph(words), Table(titles, tuple(rows), caption), _build_arm_costs(data)))


def _build_arm_costs(data: ReportData) -> Table:
    rows = []
    for arm in data.arms:
        costs = [data.run_costs[run_id] for run_id in arm.run_ids]
        times = [cost.compute_s for cost in costs if cost.compute_s is not None]
        peaks = [cost.peak_rss_bytes for cost in costs if cost.peak_rss_bytes is not None]
        gpu_peaks = [cost.peak_gpu_bytes for cost in costs if cost.peak_gpu_bytes is not None]
        rows.append(
            (
                arm.title,
                str(len(costs)),
                format_duration(statistics.fmean(times)) if times else MISSING,
                _format_peak(max(peaks, default=None)),
                _format_peak(max(gpu_peaks, default=None)),
            )
        )
    titles = ("arm", "runs", "time per run", "peak memory", "peak GPU memory")
    caption = (
        "Mean computing time of all stages of a run, whoever computed them: what it takes without sharing, beside "
        "whatever else the machine did then."
    )
    return Table(titles, tuple(rows), caption)


def _build_config_section(data: ReportData) -> Section:
    """The first arm's configuration in full, and in what each other arm differs from it."""
    base, *others = [_get_config(arm) for arm in data.arms]
    title = data.arms[0].title
    blocks: list[Block] = []
    if others and find_differences([base, *others]):
        rows = [(arm.title, _list_differences(base, config)) for arm, config in zip(data.arms[1:], others, strict=True)]
        caption = f"Settings in which each arm differs from {title}, the seed aside; null: it has no such setting."
        blocks.append(Table(("arm", f"differs from {title} in"), tuple(rows), caption, is_text=True))
    elif others:
        blocks.append(Paragraph("The settings of all arms are the same, the seed aside."))
    blocks.append(Fold(f"Configuration of {title} in full", (Code(encode_yaml(base), "yaml"),)))
    return Section("configurations", "Configurations", tuple(blocks))


def _list_differences(base: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    differences = find_differences([base, config])
    return "; ".join(f"{key} = {format_setting(own)}" for key, (_, own) in differences.items()) or "nothing"


def _get_config(arm: SeedArm) -> dict[str, Any]:
    config = hide_places(load_config(arm.runs[0].config_json))
    return {key: value for key, value in config.items() if key not in _ASIDE}


def hide_folders(text: str) -> str:
    """A message with the folders of its paths left out."""
    return _PATH.sub("", text)


def _title_runs(data: ReportData) -> str:
    names = [arm.title for arm in data.arms]
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"


def _load(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _format_peak(n_bytes: int | None) -> str:
    return MISSING if n_bytes is None else format_bytes(n_bytes)


def _format_moment(seconds: float | None) -> str:
    return MISSING if seconds is None else f"{(format_time(seconds) or '')[:16].replace('T', ' ')} UTC"
