"""The sections of a report on health: which diagnostics warn in which arms, and when the early warning fired.

Pure: results in, blocks out. The rules are those of ``cream_tui.health``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cream_tui.health.early_warning import predict
from cream_tui.health.findings import EarlyWarning, Finding
from cream_tui.health.rules import examine_run
from cream_tui.report.blocks import NOT_COMPUTABLE, Block, Bullets, Fold, Paragraph, Section, Table
from cream_tui.report.reading import ReportData
from cream_tui.report.series import list_iterations, select_counts
from cream_tui.results import SIGNIFICANCE, ModelResult, compute_paired_test
from cream_tui.units import MISSING
from cream_tui.views.compare import SeedArm
from db.run_series import TauCount

_FITTED = "fitted on the sandbox"


@dataclass(frozen=True, slots=True)
class _Count:
    """In how many runs a diagnostic warns, of how many that have it."""

    n_warned: int
    n_known: int

    @property
    def text(self) -> str:
        return f"{self.n_warned} of {self.n_known}"


def build_health_section(data: ReportData) -> Section:
    """In how many seeds of each arm a diagnostic warns, what that means, and what to try."""
    found = {run.run_id: _examine(data, run.run_id) for run in data.runs}
    titles = {finding.key: finding for findings in found.values() for finding in findings}
    if not titles:
        return Section("health", "Health", (Paragraph(f"Health: {NOT_COMPUTABLE}no run has measures yet."),))
    counts = {key: [_count_warnings(arm, found, key) for arm in data.arms] for key in titles}
    known = {key: cells for key, cells in counts.items() if any(cells)}
    rows = [(titles[key].title, *(cell.text if cell else MISSING for cell in cells)) for key, cells in known.items()]
    strong = frozenset(
        (i, 1 + k) for i, cells in enumerate(known.values()) for k, cell in enumerate(cells) if cell and cell.n_warned
    )
    caption = (
        "Runs of the arm in which the diagnostic warns, of those in which it can be computed; bold where it does, a "
        "dash where no run has what it needs. No intervals: these are counts of runs."
    )
    blocks: list[Block] = []
    if rows:
        blocks.append(Table(("diagnostic", *(arm.title for arm in data.arms)), tuple(rows), caption, strong=strong))
    if len(known) < len(titles):
        lacking = tuple(f"{f.title}: {f.shown}" for key, f in titles.items() if key not in known)
        blocks.append(Fold(f"{len(lacking)} diagnostics that no run has", (Bullets(lacking),)))
    for arm in data.arms:
        told = _tell_arm(arm, found, list(titles))
        blocks.append(Fold(f"What warns in {arm.title}", (Bullets(told) if told else Paragraph("Nothing."),)))
    meanings = tuple((f.title, f.threshold, f.meaning, f.advice) for f in titles.values())
    legend = Table(("diagnostic", "warns", "meaning", "what to try"), meanings, "The diagnostics.", is_text=True)
    blocks.append(Fold("What each diagnostic means", (legend,)))
    return Section("health", "Health", tuple(blocks))


def build_warning_section(data: ReportData) -> Section:
    """When the early warning fired, beside the models that really were significantly worse."""
    title = f"Early warning ({_FITTED})"
    rows, reasons = [], dict[str, None]()
    for arm in data.arms:
        warned, dropped, n = [], [], 0
        for run_id in arm.run_ids:
            results = data.results[run_id]
            known = [predict([m for m in results if m.index <= t]) for t in _list_sampled(results)]
            early = [warning for warning in known if isinstance(warning, EarlyWarning)]
            reasons |= dict.fromkeys(reason for reason in known if isinstance(reason, str))
            n += bool(early)
            warned += [w.model for w in early if w.is_fired][:1]
            dropped += _find_drops(results)[:1]
        if n:
            rows.append(
                (arm.title, f"{len(warned)} of {n}", _tell_first(warned), str(len(dropped)), _tell_first(dropped))
            )
    if not rows:
        reason = next(iter(reasons), f"{NOT_COMPUTABLE}no model has sampled yet")
        return Section("early-warning", title, (Paragraph(f"Early warning: {reason.rstrip('.')}."),))
    caption = (
        "The warning needs no gold labels: from what M_t sampled, scored and paired it says whether M_{t+1} will be "
        "significantly less accurate. A drop: exact McNemar of a model against the one before it, on the items that "
        f"both answered, p < {SIGNIFICANCE}, with fewer right; not corrected for the number of models."
    )
    head = ("arm", "runs warned", "first warned while at", "runs with a drop", "first drop at")
    return Section("early-warning", title, (Table(head, tuple(rows), caption),))


def _examine(data: ReportData, run_id: str) -> list[Finding]:
    anchors: dict[int, list[TauCount]] = {}
    for t in list_iterations(data.counts):
        rows = select_counts([run_id], data.counts, t, is_anchor=True)
        anchors[t] = [TauCount(row.tau, row.n_distinct, row.n_prompts) for row in rows]
    return examine_run(data.results[run_id], anchors)


def _count_warnings(arm: SeedArm, found: Mapping[str, Sequence[Finding]], key: str) -> _Count | None:
    statuses = [f.status for run_id in arm.run_ids for f in found[run_id] if f.key == key and f.status != "unknown"]
    return _Count(statuses.count("warn"), len(statuses)) if statuses else None


def _tell_arm(arm: SeedArm, found: Mapping[str, Sequence[Finding]], keys: Sequence[str]) -> tuple[str, ...]:
    """A line for each diagnostic that warns in the arm, with the numbers of its first such run."""
    told = []
    for key in keys:
        warned = [(run, f) for run in arm.runs for f in found[run.run_id] if f.key == key and f.status == "warn"]
        if warned:
            run, finding = warned[0]
            words = (finding.sentence or f"{finding.model}: {finding.title} {finding.shown}").rstrip(".")
            seeds = ", ".join(str(other.seed) for other, _ in warned)
            told.append(f"{words} (seed {run.seed}; warns in seeds {seeds}). {finding.advice}")
    return tuple(told)


def _list_sampled(results: Sequence[ModelResult]) -> list[int]:
    return [model.index for model in results if model.measures]


def _find_drops(results: Sequence[ModelResult]) -> list[str]:
    """Models from M2 on that are significantly worse than the one before."""
    evaluated = {model.index: model for model in results if model.tasks}
    drops = []
    for index, model in sorted(evaluated.items()):
        before = evaluated.get(index - 1)
        test = compute_paired_test(before, model) if before is not None and index > 1 else None
        if test is not None and test.is_fall:
            drops.append(model.name)
    return drops


def _tell_first(models: Sequence[str]) -> str:
    """How often each model was the first, as "M2 (3), M3"."""
    counts = {name: models.count(name) for name in sorted(set(models), key=lambda name: int(name[1:]))}
    return ", ".join(name if n == 1 else f"{name} ({n})" for name, n in counts.items()) or MISSING
