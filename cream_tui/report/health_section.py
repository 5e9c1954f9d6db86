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
_FEW = 4  # all but fewer than one in so many: they are named instead of the others


@dataclass(frozen=True, slots=True)
class _Warned:
    """In how many of an arm's runs a diagnostic warns, of those that have it; the first of them."""

    title: str
    n_warned: int
    n_known: int
    example: str

    @property
    def is_always(self) -> bool:
        return self.n_warned == self.n_known

    @property
    def text(self) -> str:
        return f"{self.title} ({self.n_warned} of {self.n_known})"


def build_health_section(data: ReportData) -> Section:
    """Which diagnostics warn in which arms, with an example; what that means, and what to try."""
    found = {run.run_id: _examine(data, run.run_id) for run in data.runs}
    titles = {finding.key: finding for findings in found.values() for finding in findings}
    if not titles:
        return Section("health", "Health", (Paragraph(f"Health: {NOT_COMPUTABLE}no run has measures yet."),))
    by_key = {key: [known for arm in data.arms if (known := _count_warnings(arm, found, key))] for key in titles}
    loud = [key for key, known in by_key.items() if any(one.n_warned for one in known)]
    silent = [titles[key].title for key, known in by_key.items() if known and key not in loud]
    lacking = tuple(f"{titles[key].title}: {titles[key].shown}" for key, known in by_key.items() if not known)
    blocks: list[Block] = []
    if loud:
        rows = tuple((titles[key].title, *_tell_warned(by_key[key])) for key in loud)
        caption = (
            "A run warns as soon as one of its models does. In brackets: in how many of the arm's runs, of those in "
            "which the diagnostic can be computed. No intervals: these are counts of runs."
        )
        heads = ("diagnostic", "warns in every run of", "in some runs of", "for example")
        blocks.append(Table(heads, rows, caption, is_text=True))
    if silent:
        blocks.append(Paragraph(f"Warns in no run: {'; '.join(silent)}."))
    if lacking:
        blocks.append(Fold(f"{len(lacking)} diagnostics that no run has", (Bullets(lacking),)))
    if loud:
        meanings = tuple((f.title, f.threshold, f.meaning, f.advice) for f in (titles[key] for key in loud))
        legend = Table(("diagnostic", "warns", "meaning", "what to try"), meanings, "The diagnostics.", is_text=True)
        blocks.append(Fold("What these warnings mean, and what to try", (legend,)))
    return Section("health", "Health", tuple(blocks))


def build_warning_section(data: ReportData) -> Section:
    """When the early warning fired, beside the models that really were significantly worse."""
    title = f"Early warning ({_FITTED})"
    rows, reasons = [], dict[str, None]()
    all_told: list[_Told] = []
    for arm in data.arms:
        told = []
        for run_id in arm.run_ids:
            results = data.results[run_id]
            known = [predict(results[:n]) for n in range(1, len(results) + 1)]
            early = [warning for warning in known if isinstance(warning, EarlyWarning)]
            reasons |= dict.fromkeys(reason for reason in known[-1:] if isinstance(reason, str))
            if early:
                fired = (w.model for w in early if w.is_fired)
                told.append(_Told(next(fired, None), next(iter(_find_drops(results)), None)))
        if told:
            rows.append((arm.title, *_tell_arm(told)))
            all_told += told
    if not rows:
        reason = next(iter(reasons), f"{NOT_COMPUTABLE}no model has sampled yet")
        return Section("early-warning", title, (Paragraph(f"Early warning: {reason.rstrip('.')}."),))
    caption = (
        "The warning needs no gold labels: from what M_t sampled, scored and paired it says whether M_{t+1} will be "
        "significantly less accurate. A drop: exact McNemar of a model against the one before it, on the items that "
        f"both answered, p < {SIGNIFICANCE}, with fewer right; not corrected for the number of models. Foretold: it "
        "warned while at a model before the first drop. In vain: it warned in a run without a drop."
    )
    head = ("arm", "runs", "first warned at", "first drop at", "foretold", "in vain")
    total = Paragraph(f"In all, first drops foretold: {_count_foretold(all_told)}. {_tell_vain(all_told)}")
    return Section("early-warning", title, (Table(head, tuple(rows), caption), total))


@dataclass(frozen=True, slots=True)
class _Told:
    """At which model a run was first warned, and which was its first that dropped."""

    warned_at: str | None
    drop_at: str | None

    @property
    def is_foretold(self) -> bool:
        return (
            self.warned_at is not None and self.drop_at is not None and int(self.warned_at[1:]) < int(self.drop_at[1:])
        )


def _tell_arm(told: Sequence[_Told]) -> tuple[str, ...]:
    warned = [run.warned_at for run in told if run.warned_at]
    drops = [run.drop_at for run in told if run.drop_at]
    return str(len(told)), _tell_first(warned), _tell_first(drops), _count_foretold(told), _count_vain(told)


def _count_foretold(told: Sequence[_Told]) -> str:
    dropped = [run for run in told if run.drop_at]
    return f"{sum(run.is_foretold for run in dropped)} of {len(dropped)}" if dropped else MISSING


def _count_vain(told: Sequence[_Told]) -> str:
    held = [run for run in told if not run.drop_at]
    return f"{sum(run.warned_at is not None for run in held)} of {len(held)}" if held else MISSING


def _tell_vain(told: Sequence[_Told]) -> str:
    vain = _count_vain(told)
    return "Every run had a drop." if vain == MISSING else f"Runs without a drop that were warned: {vain}."


def _examine(data: ReportData, run_id: str) -> list[Finding]:
    anchors: dict[int, list[TauCount]] = {}
    for t in list_iterations(data.counts):
        rows = select_counts([run_id], data.counts, t, is_anchor=True)
        anchors[t] = [TauCount(row.tau, row.n_distinct, row.n_prompts) for row in rows]
    return examine_run(data.results[run_id], anchors)


def _count_warnings(arm: SeedArm, found: Mapping[str, Sequence[Finding]], key: str) -> _Warned | None:
    """None where no run of the arm has the diagnostic."""
    known = [(run, f) for run in arm.runs for f in found[run.run_id] if f.key == key and f.status != "unknown"]
    warned = [(run, f) for run, f in known if f.status == "warn"]
    example = f"{arm.title}, seed {warned[0][0].seed}: {_tell_finding(warned[0][1])}" if warned else ""
    return _Warned(arm.title, len(warned), len(known), example) if known else None


def _tell_finding(finding: Finding) -> str:
    return (finding.sentence or f"{finding.model}: {finding.title} {finding.shown}").rstrip(".")


def _tell_warned(known: Sequence[_Warned]) -> tuple[str, str, str]:
    """The arms that always warn, those that sometimes do, and the first warning."""
    always = [one.title for one in known if one.is_always]
    others = [one.title for one in known if not one.is_always]
    if not others and len(known) > 1:
        every = f"all {len(known)} arms"
    elif 0 < len(others) < len(known) / _FEW:
        every = f"all {len(known)} arms but {', '.join(others)}"
    else:
        every = ", ".join(always)
    some = ", ".join(one.text for one in known if 0 < one.n_warned < one.n_known)
    return every or MISSING, some or MISSING, next(one.example for one in known if one.n_warned)


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
