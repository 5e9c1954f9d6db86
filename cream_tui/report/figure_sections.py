"""The sections of a report that have figures: accuracy, labels, agreement, reliability, length, self-reward.

Pure: data in, blocks out. Every figure says what it shows, of how many, and which interval; where data lack it says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cream_tui.comparison.arms import sort_models
from cream_tui.report.blocks import NOT_COMPUTABLE, Block, Figure, Fold, Paragraph, Section, Table
from cream_tui.report.drawings import BarGrid, Curve, CurvePanel, CurvePoint, Curves, Path, Paths, PathStep
from cream_tui.report.reading import ReportData
from cream_tui.report.series import (
    LEAST_LABELS,
    Estimator,
    build_curves,
    build_reliability,
    build_tau_grid,
    estimate_mean_accuracy,
    estimate_over,
    estimate_task,
    list_iterations,
    read_error_interval,
    read_label_interval,
    summarise_label_auc,
)
from cream_tui.result_table import list_tasks
from cream_tui.results import ModelResult
from cream_tui.units import MISSING, format_number, format_range, format_signed

_STUDENT = "95 % Student t interval of the mean over seeds"
_WILSON = "95 % Wilson interval of its items, which says nothing of other seeds"
_OLD_RUNS = "the runs have no such measure: they are of an earlier version, or not so far yet"
_NORMAL = "95 % normal interval of the mean over its prompts, which says nothing of other seeds"


@dataclass(frozen=True, slots=True)
class _Measure:
    """A measure of models and how its figure is called.

    Attributes:
        own: What the interval of one seed by itself is called; None where there is none.
    """

    key: str
    title: str
    estimate: Estimator
    y_title: str
    own: str | None = None
    x_title: str = "model that made the pairs"
    is_percent: bool = False
    n_digits: int = 2


def _read_later_tau(model: ModelResult) -> float | None:
    return model.get("tau_previous") if model.index > 1 else None


def _read_length_gap(model: ModelResult) -> float | None:
    chosen, rejected = model.get("chosen_n_tokens"), model.get("rejected_n_tokens")
    return None if chosen is None or not rejected else chosen / rejected - 1


_ACCURACY = _Measure(
    "accuracy", "Accuracy on held-out items", estimate_mean_accuracy, "accuracy %", _WILSON, "model", is_percent=True
)
_LABELS = _Measure(
    "label-accuracy",
    "Labels that the model gave itself: right ones",
    estimate_over(lambda model: model.get("label_accuracy"), own=read_label_interval, bounds=(0, 1)),
    "labels right %",
    "95 % Wilson interval of its labels, which says nothing of other seeds",
    is_percent=True,
)
_TAU_ANCHOR = _Measure(
    "tau-anchor",
    "Agreement of the current reward with the anchor",
    estimate_over(lambda model: model.get("tau_anchor"), own=read_error_interval("tau_anchor"), bounds=(-1, 1)),
    "mean tau",
    _NORMAL,
)
_TAU_PREVIOUS = _Measure(
    "tau-previous",
    "Agreement of the current reward with the previous model's",
    estimate_over(_read_later_tau, own=read_error_interval("tau_previous"), bounds=(-1, 1)),
    "mean tau",
    _NORMAL,
)
_CONFIDENCE = _Measure(
    "confidence",
    "C in the loss, mean over pairs",
    estimate_over(lambda model: model.get("confidence"), bounds=(0, 1)),
    "mean C",
)
_CHOSEN = _Measure(
    "chosen-length",
    "Length of the chosen responses",
    estimate_over(lambda model: model.get("chosen_n_tokens")),
    "tokens",
    n_digits=1,
)
_GAP = _Measure(
    "length-gap",
    "How much longer chosen responses are than rejected ones",
    estimate_over(_read_length_gap),
    "longer by %",
    is_percent=True,
)


def build_accuracy_blocks(data: ReportData) -> list[Block]:
    """Accuracy by model: the mean over tasks, then task by task."""
    n_items = sorted({len(model.items) for models in data.results.values() for model in models if model.items})
    what = (
        f"Mean accuracy over tasks of each model from M1 on, {format_range(n_items)} items per model and seed; M0 is "
        "among the numbers below. "
    )
    blocks = _build_curve_blocks(data, _ACCURACY, what)
    tasks = list_tasks([model for models in data.results.values() for model in models])
    if len(tasks) > 1 and len(data.arms) <= 8:
        panels = [CurvePanel(task, build_curves(data.arms, data.results, estimate_task(task))) for task in tasks]
        drawing = Curves(tuple(panels), _name_models(0, data.last_index), 0, "model", "accuracy %", is_percent=True)
        caption = "Accuracy on each task. " + _tell_bands([c for panel in panels for c in panel.curves], _WILSON)
        blocks.append(Figure("accuracy-by-task", "Accuracy by task", drawing, caption))
    return blocks


def build_label_section(data: ReportData) -> Section:
    """How many labels were right, where gold is known."""
    counts = [
        int((model.get("n_right") or 0) + (model.get("n_inverted") or 0))
        for models in data.results.values()
        for model in models
        if model.get("label_accuracy") is not None
    ]
    what = (
        "Share of right labels among pairs of which exactly one response is right, by the model that made them; "
        f"{format_range(counts)} such pairs per model and seed. 50 % is chance. "
    )
    lacking = "no gold answers are known for the prompts" if not counts else _OLD_RUNS
    return Section("labels", "Labels", tuple(_build_curve_blocks(data, _LABELS, what, lacking=lacking)))


def build_agreement_section(data: ReportData) -> Section:
    """Tau to the anchor and to the previous model, C, and the distributions of tau beside their nulls."""
    n_prompts = _count_prompts(data)
    blocks: list[Block] = [
        Paragraph(
            "tau is Kendall's rank correlation of two rankings of a prompt's distinct responses, -1 to 1. The anchor "
            "is the base model's mean log-likelihood; the previous model's ranking is that of its implicit reward, "
            "which M0 does not have, so that it begins at t = 2."
        )
    ]
    what = f"Mean over {format_range(n_prompts)} prompts per model and seed with a defined tau. "
    blocks += _build_curve_blocks(data, _TAU_ANCHOR, what)
    blocks += _build_curve_blocks(data, _TAU_PREVIOUS, what, first_x=2)
    blocks += _build_curve_blocks(data, _CONFIDENCE, "Mean confidence that the loss gave to chosen > rejected. ")
    for is_anchor, name in ((True, "anchor"), (False, "previous")):
        of = "the anchor" if is_anchor else "the previous model's reward"
        title = f"Distribution of tau to {of}"
        grid = build_tau_grid(data.arms, data.counts, is_anchor=is_anchor)
        if grid is None:
            blocks.append(_tell_lack(title, "no iteration has such agreements"))
            continue
        caption = (
            f"Share of prompts by tau to {of}, all seeds of an arm together ({format_range(_count_bars(grid))} prompts "
            "per panel). Line: exact distribution if the two rankings were independent, for the numbers of distinct "
            "responses that were ranked. Dashed: the mean of tau. No interval: these are counts."
        )
        blocks.append(Figure(f"tau-{name}-distribution", title, grid, caption))
    return Section("agreement", "Agreement", tuple(blocks))


def build_reliability_section(data: ReportData) -> Section:
    """Whether a high agreement means a right label: reliability curves, and the AUC of tau."""
    blocks: list[Block] = []
    for is_anchor, name in ((False, "previous"), (True, "anchor")):
        of = "the anchor" if is_anchor else "the previous model"
        title = f"Right labels by agreement with {of}"
        grid = build_reliability(data.arms, data.counts, is_anchor=is_anchor)
        if grid is None:
            blocks.append(_tell_lack(title, "no labels are known in iterations that have such agreements"))
            continue
        n = [point.n for _, lines in grid.panels for line in lines for point in line.points]
        caption = (
            f"Share of right labels by bin of C_x = (tau + 1) / 2 to {of}, one line per iteration t; all seeds of an "
            f"arm together, {format_range(n)} labels per point (bins of fewer than {LEAST_LABELS} are left out). Bars: "
            "95 % Wilson interval, labels taken as independent. Dotted: a C_x that says how likely a label is right."
        )
        blocks.append(Figure(f"reliability-{name}", title, grid, caption))
    blocks += _build_auc_tables(data)
    return Section("reliability", "Does agreement tell right labels from wrong ones?", tuple(blocks))


def build_length_section(data: ReportData) -> Section:
    """Whether responses grow."""
    blocks = _build_curve_blocks(data, _CHOSEN, "Mean number of tokens of the chosen responses. ")
    blocks += _build_curve_blocks(
        data, _GAP, "Mean tokens of chosen over mean tokens of rejected responses, less 1: above 0 length is rewarded. "
    )
    return Section("length", "Length", tuple(blocks))


def build_reward_section(data: ReportData) -> Section:
    """Self-reward and gold accuracy of the same models in one figure."""
    title = "Self-reward against gold accuracy"
    paths = []
    rewards = build_curves(data.arms, data.results, estimate_over(lambda model: model.get("kl_base")))
    accuracies = {curve.slot: curve for curve in build_curves(data.arms, data.results, estimate_mean_accuracy)}
    for reward in rewards:
        known = {point.x: point.y for point in accuracies[reward.slot].points} if reward.slot in accuracies else {}
        steps = [PathStep(f"M{point.x:.0f}", point.y, known[point.x]) for point in reward.points if point.x in known]
        if steps:
            paths.append(Path(reward.title, reward.slot, tuple(steps)))
    if not paths:
        return Section("self-reward", title, (_tell_lack(title, _OLD_RUNS),))
    caption = (
        "Each arm's way from model to model: across, the mean implicit reward that M_t gives its own responses (nats, "
        "the sum over a response, against M0); up, its accuracy on held-out items. To the right and down: it likes its "
        f"answers more while they get worse. Means over seeds ({_tell_seeds(rewards)}), without intervals."
    )
    drawing = Paths(tuple(paths), "self-reward, nats", "accuracy %")
    names = sort_models({step.title for path in paths for step in path.steps})
    rows = []
    for path in paths:
        by_model = {step.title: format_signed(step.x) for step in path.steps}
        rows.append((path.title, *(by_model.get(name, MISSING) for name in names)))
    table = Table(("arm", *names), tuple(rows), "Self-reward in nats; for the accuracies see the table of Accuracy.")
    blocks = (Figure("self-reward", title, drawing, caption), Fold("The numbers", (table,)))
    return Section("self-reward", title, blocks)


def _build_curve_blocks(
    data: ReportData, measure: _Measure, what: str, *, first_x: int = 1, lacking: str = _OLD_RUNS
) -> list[Block]:
    """A figure with its numbers; why there is none where no run has the measure.

    Args:
        first_x: The first model in the figure, if any has come so far; the numbers have all models.
    """
    curves = build_curves(data.arms, data.results, measure.estimate)
    if not curves:
        return [_tell_lack(measure.title, lacking)]
    last = int(max(point.x for curve in curves for point in curve.points))
    first = int(min(point.x for curve in curves for point in curve.points))
    first_x = min(max(first, first_x), last)
    names = _name_models(first, last)
    drawing = Curves(
        (CurvePanel("", _cut_before(curves, first_x)),),
        names[first_x - first :],
        first_x,
        measure.x_title,
        measure.y_title,
        is_percent=measure.is_percent,
    )
    layout = " Grey: the other arms." if len(curves) > 8 else ""
    figure = Figure(measure.key, measure.title, drawing, what + _tell_bands(curves, measure.own) + layout)
    return [figure, Fold("The numbers", (_build_numbers(curves, names, first, measure),))]


def _cut_before(curves: Sequence[Curve], first_x: int) -> tuple[Curve, ...]:
    cut = [replace(curve, points=tuple(p for p in curve.points if p.x >= first_x)) for curve in curves]
    return tuple(curve for curve in cut if curve.points)


def _build_numbers(curves: Sequence[Curve], names: Sequence[str], first_x: int, measure: _Measure) -> Table:
    rows = []
    for curve in curves:
        by_x = {int(point.x): point for point in curve.points}
        cells = [_format_point(by_x.get(first_x + k), measure) for k in range(len(names))]
        rows.append((curve.title, format_range([point.n for point in curve.points]), *cells))
    unit = " in percent" if measure.is_percent else ""
    caption = f"{measure.title}: mean{unit} and its interval."
    return Table(("arm", "seeds", *names), tuple(rows), caption)


def _format_point(point: CurvePoint | None, measure: _Measure) -> str:
    if point is None:
        return MISSING
    scale, digits = (100, 1) if measure.is_percent else (1, measure.n_digits)
    text = format_number(scale * point.y, digits)
    if point.low is None or point.high is None:
        return text
    return f"{text} [{format_number(scale * point.low, digits)}, {format_number(scale * point.high, digits)}]"


def _build_auc_tables(data: ReportData) -> list[Block]:
    """The AUC of tau for a label being right, by arm and iteration."""
    blocks: list[Block] = []
    for is_anchor in (False, True):
        of = "the anchor" if is_anchor else "the previous model"
        iterations = [t for t in list_iterations(data.counts) if is_anchor or t > 1]
        rows: list[tuple[str, ...]] = []
        strong: set[tuple[int, int]] = set()
        for arm in data.arms:
            cells = []
            for k, t in enumerate(iterations):
                point = summarise_label_auc(arm, data.counts, t, is_anchor=is_anchor)
                cells.append(_format_auc(point))
                if point is not None and point.low is not None and point.low > 0.5:
                    strong.add((len(rows), k + 1))
            if any(cell != MISSING for cell in cells):
                rows.append((arm.title, *cells))
        if not rows:
            reason = "no iteration has both right and inverted labels with such agreements"
            blocks.append(_tell_lack(f"AUC of tau to {of}", reason))
            continue
        caption = (
            f"AUC of tau to {of} for a label being right: the probability that a right label has the higher tau; 0.5 "
            f"is chance. Mean over seeds and its {_STUDENT.removesuffix(' of the mean over seeds')}; one seed has no "
            "interval. Bold: the interval lies above 0.5."
        )
        titles = ("arm", *(f"t = {t}" for t in iterations))
        blocks.append(Table(titles, tuple(rows), caption, strong=frozenset(strong)))
    return blocks


def _format_auc(point: CurvePoint | None) -> str:
    if point is None:
        return MISSING
    text = format_number(point.y)
    if point.low is None or point.high is None:
        return text
    return f"{text} [{format_number(point.low)}, {format_number(point.high)}]"


def _tell_bands(curves: Sequence[Curve], own: str | None) -> str:
    """How many seeds a curve is of, and what its band is."""
    n = [point.n for curve in curves for point in curve.points]
    if max(n) > 1:
        alone = "" if min(n) > 1 else "; of one seed: " + (f"the {own}" if own else "none")
        return f"Mean over seeds ({_tell_seeds(curves)}); band: {_STUDENT}{alone}."
    return f"One seed; band: {own}." if own else f"One seed, so an interval is {NOT_COMPUTABLE}only seeds give one."


def _tell_seeds(curves: Sequence[Curve]) -> str:
    """How many seeds there are, and whether that changes along a curve."""
    n = [point.n for curve in curves for point in curve.points]
    changes = any(len({point.n for point in curve.points}) > 1 for curve in curves)
    return f"n = {format_range(n)}" + (", fewer where runs have not come so far" if changes else "")


def _tell_lack(title: str, reason: str) -> Paragraph:
    return Paragraph(f"{title}: {NOT_COMPUTABLE}{reason}.")


def _name_models(first: int, last: int) -> tuple[str, ...]:
    return tuple(f"M{k}" for k in range(first, last + 1))


def _count_prompts(data: ReportData) -> list[int]:
    return [sum(row.n_prompts for row in rows) for rows in data.counts.values()]


def _count_bars(grid: BarGrid) -> list[int]:
    return [bars.n for row in grid.cells for bars in row if bars is not None]
