"""Fits the early warning on some seeds and presets of the sandbox and judges it on others never used in fitting.

    python benchmarks/early_warning.py --store STORE --fit-seeds 20-24 --fit-presets collapse,default --write

A transition is a model M_t and the next one, both evaluated on the same items; it is a fall where an exact McNemar test
has p < 0.05 and the next one is lower. Features are those of `cream_tui.health.early_warning`: of iteration t and the
first one, no gold answers. The model is logistic regression with an L2 penalty, which comes from predictions on runs of
the fit left out (all runs of a seed at once, since they share their start). It fires where a fall is more probable than
not.

Judged on seeds that were not fitted: AUC with a bootstrap interval (runs are drawn, not transitions; and seeds, of
which there are few), false alarms and what came of them, how many runs were warned before their first fall,
calibration, and what single measures and the iteration alone would do. Runs of a fitted seed on other presets are shown
apart: they share M_1 and its first responses with the fit. --write puts the model among the shipped configurations.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cream_tui.health.early_warning import FEATURES, FILE, EarlyModel, compute_features, format_early_model
from cream_tui.results import ModelResult, compute_paired_test, read_results
from db.queries import read_runs
from db.reading import open_reader
from db.rows import RunRow
from engine.config.load import load_run_config
from engine.config.shipped import find_configs_folder, list_shipped_runs
from engine.config.study import parse_seeds
from engine.config.training import TrainingConfig
from engine.method.statistics import compute_auc, compute_wilson_interval

Floats = NDArray[np.float64]
# Measures that need no gold answers, shown beside the model as the only guide each.
GUIDES = (
    "kl_previous",
    "kl_base",
    "tau_anchor",
    "tau_previous",
    "tau_saturated_share",
    "chosen_n_tokens",
    "reward_length_correlation",
    "reward_sd",
    "distinct_share",
    "mean_token_logprob",
    "anchor_agreement_share",
    "vote_agreement_share",
)
PENALTIES = (1.0, 3.0, 10.0, 30.0)
THRESHOLD = 0.5
N_BINS = 5
SANDBOX = "sandbox"


@dataclass(frozen=True, slots=True)
class Transition:
    """One model and what became of the next."""

    run: str
    preset: str
    method: str
    seed: int
    t: int
    features: dict[str, float]
    measures: dict[str, float]
    drop: float
    is_fall: bool


def main() -> None:
    """Fit, judge, print, and write where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, action="append", help="more than one may be given")
    parser.add_argument("--fit-seeds", required=True, help="as 20-24,27")
    parser.add_argument("--fit-presets", default="collapse,default")
    parser.add_argument("--judge-seeds", help="else all that are not fitted")
    parser.add_argument("--bootstrap", type=int, default=2000)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    seeds, presets = parse_seeds(arguments.fit_seeds), set(arguments.fit_presets.split(","))
    transitions = read_transitions([Path(store) for store in arguments.store])
    fitted = [row for row in transitions if row.seed in seeds and row.preset in presets]
    others = set(parse_seeds(arguments.judge_seeds)) if arguments.judge_seeds else {row.seed for row in transitions}
    judged = [row for row in transitions if row.seed in others and row.seed not in seeds]
    beside = [row for row in transitions if row.seed in seeds and row.preset not in presets]
    for title, rows in (("fit", fitted), ("judged", judged), ("fitted seeds, other presets", beside)):
        print(f"{title}: {describe(rows)}")
    if len({row.is_fall for row in fitted}) < 2:
        raise SystemExit("not computable, because the runs to fit hold no fall, or nothing else")
    model, inside = fit(fitted)
    print_model(model)
    print(f"\nleft out in turn, within the fit: AUC {compute_auc(inside, [row.is_fall for row in fitted]):.3f}")
    record = judge("judged on other seeds", model, judged, arguments.bootstrap)
    judge_by_preset(model, judged, arguments.bootstrap)
    judge("fitted seeds, other presets", model, beside, arguments.bootstrap)
    judge_by_preset(model, beside, arguments.bootstrap)
    print_baselines(judged)
    print_hindsight(fitted, judged)
    if arguments.write:
        write(model, arguments, fitted, judged, record)


def read_transitions(roots: Sequence[Path]) -> list[Transition]:
    """Every transition whose features and test are known; equal ones of runs that share stages once."""
    found: dict[object, Transition] = {}
    skipped: Counter[str] = Counter()
    for run, results in iterate_runs(roots):
        preset = find_preset(run)
        for model, after in pairwise(results):
            if model.index < 1 or after.index != model.index + 1:
                continue
            features, test = compute_features(results, model), compute_paired_test(model, after)
            if isinstance(features, str) or test is None:
                skipped[features if isinstance(features, str) else "not evaluated on the same items"] += 1
                continue
            answers = tuple(frozenset(at.items.items()) for at in (model, after))
            found[preset, run.seed, model.index, answers] = Transition(
                run=run.name,
                preset=preset,
                method=run.method,
                seed=run.seed,
                t=model.index,
                features=features,
                measures=dict(model.measures),
                drop=test.first_accuracy - test.second_accuracy,
                is_fall=test.is_fall,
            )
    for reason, n in skipped.most_common(3):
        print(f"left out: {n} transitions, {reason}")
    return list(found.values())


def iterate_runs(roots: Sequence[Path]) -> Iterator[tuple[RunRow, list[ModelResult]]]:
    """Every run of the stores with its models."""
    for root in roots:
        with closing(open_reader(root)) as reader:
            for run in read_runs(reader):
                yield run, read_results(reader, run.run_id)


@cache
def list_presets() -> dict[str, TrainingConfig]:
    """Training settings of the shipped runs of the sandbox, by what this page calls them."""
    names = [name for name in list_shipped_runs() if name.split("-")[0] == SANDBOX]
    titles = {name: name.removeprefix(f"{SANDBOX}-") if name != SANDBOX else "default" for name in names}
    return {title: load_run_config(name).training for name, title in titles.items()}


def find_preset(run: RunRow) -> str:
    """The shipped run whose training settings a run has; another base model is named after its folder."""
    config = json.loads(run.config_json)
    given = tuple(config["training"][key] for key in ("learning_rate", "beta", "epochs"))
    known = {(t.learning_rate, t.beta, t.epochs): title for title, t in list_presets().items()}
    preset = known.get(given, "other")
    path = config["model"].get("path")
    return preset if path is None else f"{preset} on {Path(path).name}"


def fit(rows: Sequence[Transition]) -> tuple[EarlyModel, list[float]]:
    """The model, and what models that never saw a row's seed said of the row."""
    x_NF, y_N = build_arrays(rows)
    inside_by_penalty = {penalty: leave_seeds_out(rows, x_NF, y_N, penalty) for penalty in PENALTIES}
    penalty = min(PENALTIES, key=lambda penalty: compute_log_loss(inside_by_penalty[penalty], y_N))
    intercept, weights_F, mean_F, scale_F = fit_logistic(x_NF, y_N, penalty)
    model = EarlyModel(
        intercept=round(intercept, 4),
        coefficients={name: round(float(weights_F[k]), 4) for k, name in enumerate(FEATURES)},
        means={name: round(float(mean_F[k]), 5) for k, name in enumerate(FEATURES)},
        scales={name: round(float(scale_F[k]), 5) for k, name in enumerate(FEATURES)},
        threshold=THRESHOLD,
        provenance={"penalty": penalty},
    )
    return model, inside_by_penalty[penalty].tolist()


def leave_seeds_out(rows: Sequence[Transition], x_NF: Floats, y_N: Floats, penalty: float) -> Floats:
    """What is said of each row by a model that saw no run of its seed; the rate where the others tell nothing."""
    seeds_N, inside_N = np.array([row.seed for row in rows]), np.full(len(rows), y_N.mean())
    for seed in set(seeds_N.tolist()):
        is_out = seeds_N == seed
        if len(set(y_N[~is_out].tolist())) == 2:
            fitted = fit_logistic(x_NF[~is_out], y_N[~is_out], penalty)
            inside_N[is_out] = predict_all(fitted, x_NF[is_out])
    return inside_N


Logistic = tuple[float, Floats, Floats, Floats]


def fit_logistic(x_NF: Floats, y_N: Floats, penalty: float) -> Logistic:
    """Intercept, weights of standardised features, means and scales; Newton's method on the penalised likelihood."""
    mean_F, scale_F = x_NF.mean(0), np.maximum(x_NF.std(0), 1e-6)
    design = np.column_stack([np.ones(len(x_NF)), (x_NF - mean_F) / scale_F])
    ridge = np.diag([0.0, *([penalty] * x_NF.shape[1])])
    theta = np.zeros(design.shape[1])
    for _ in range(100):
        p_N = 1 / (1 + np.exp(-np.clip(design @ theta, -30, 30)))
        gradient = design.T @ (p_N - y_N) + ridge @ theta
        hessian = (design * (p_N * (1 - p_N))[:, None]).T @ design + ridge + 1e-9 * np.eye(len(theta))
        step = np.linalg.solve(hessian, gradient)
        theta = theta - step * min(1.0, 5.0 / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return float(theta[0]), theta[1:], mean_F, scale_F


def predict_all(fitted: Logistic, x_NF: Floats) -> Floats:
    """Probabilities of rows."""
    intercept, weights_F, mean_F, scale_F = fitted
    return 1 / (1 + np.exp(-(intercept + (x_NF - mean_F) / scale_F @ weights_F)))


def compute_log_loss(p_N: Floats, y_N: Floats) -> float:
    """Mean log loss in nats."""
    p_N = np.clip(p_N, 1e-9, 1 - 1e-9)
    return float(-(y_N * np.log(p_N) + (1 - y_N) * np.log(1 - p_N)).mean())


def build_arrays(rows: Sequence[Transition]) -> tuple[Floats, Floats]:
    """Features and labels of rows."""
    return np.array([[r.features[name] for name in FEATURES] for r in rows]), np.array([float(r.is_fall) for r in rows])


def judge(title: str, model: EarlyModel, rows: Sequence[Transition], n_bootstrap: int) -> dict[str, object]:
    """Print and return how the model does on rows."""
    print(f"\n{title}: {describe(rows)}")
    if not rows:
        return {"n_transitions": 0}
    p = [model.compute_probability(row.features) for row in rows]
    labels = [row.is_fall for row in rows]
    record: dict[str, object] = {
        "n_transitions": len(rows),
        "n_falls": sum(labels),
        "n_runs": len({r.run for r in rows}),
    }
    auc = compute_auc(p, labels)
    if auc is None:
        print("  AUC not computable, because there are only falls, or none")
    else:
        by_run = bootstrap([row.run for row in rows], p, labels, n_bootstrap)
        by_seed = bootstrap([str(row.seed) for row in rows], p, labels, n_bootstrap)
        record |= {"auc": round(auc, 4), "auc_interval": by_run, "auc_interval_by_seed": by_seed}
        print(f"  AUC {auc:.3f}, 95 % {show_interval(by_run)} over runs, {show_interval(by_seed)} over seeds")
    for name, wanted in (("false_alarms", False), ("falls_foretold", True)):
        fired = [value >= model.threshold for value, label in zip(p, labels, strict=True) if label is wanted]
        if fired:
            low, high = compute_wilson_interval(sum(fired), len(fired))
            record[name] = {"n": sum(fired), "of": len(fired), "interval": [round(low, 4), round(high, 4)]}
            share = sum(fired) / len(fired)
            print(f"  {name.replace('_', ' ')}: {sum(fired)} of {len(fired)}, {share:.1%} ({low:.1%} to {high:.1%})")
    print_false_alarms(model, rows)
    print_first_falls(model, rows)
    brier = float(np.mean((np.array(p) - np.array(labels)) ** 2))
    rate = sum(labels) / len(labels)
    record["brier"] = round(brier, 4)
    print(f"  Brier score {brier:.3f}; of the rate alone {rate * (1 - rate):.3f}")
    print_calibration(p, labels)
    return record


def print_false_alarms(model: EarlyModel, rows: Sequence[Transition]) -> None:
    """What became of models that did not fall significantly: after an alarm, and without one."""
    held = [row for row in rows if not row.is_fall]
    for title, is_fired in (("after a false alarm", True), ("without alarm or fall", False)):
        drops = [r.drop for r in held if (model.compute_probability(r.features) >= model.threshold) is is_fired]
        if drops:
            n_down, change = sum(drop > 0 for drop in drops), -100 * float(np.mean(drops))
            print(f"  {title}: accuracy went down in {n_down} of {len(drops)}, by {change:+.1f} points in the mean")


def print_first_falls(model: EarlyModel, rows: Sequence[Transition]) -> None:
    """How many runs were warned at or before the model whose successor was the first to fall."""
    runs: dict[tuple[str, str], list[Transition]] = {}
    for row in sorted(rows, key=lambda row: row.t):
        runs.setdefault((row.preset, row.run), []).append(row)
    n_foretold = n_fell = n_vain = 0
    for found in runs.values():
        fell = next((row.t for row in found if row.is_fall), None)
        warned = next((r.t for r in found if model.compute_probability(r.features) >= model.threshold), None)
        n_fell += fell is not None
        n_foretold += fell is not None and warned is not None and warned <= fell
        n_vain += fell is None and warned is not None
    held = f"without a fall, warned: {n_vain} of {len(runs) - n_fell}"
    print(f"  runs warned before their first fall: {n_foretold} of {n_fell}; {held}")


def judge_by_preset(model: EarlyModel, rows: Sequence[Transition], n_bootstrap: int) -> None:
    """Print how the model does on each preset of rows."""
    for preset in sorted({row.preset for row in rows}):
        judge(f"  of these, {preset}", model, [row for row in rows if row.preset == preset], n_bootstrap)


def bootstrap(
    clusters: Sequence[str], p: Sequence[float], labels: Sequence[bool], n: int, seed: int = 0
) -> list[float] | None:
    """95 % percentile interval of the AUC, whole clusters drawn; None below 5 clusters or without falls."""
    names = sorted(set(clusters))
    if len(names) < 5:
        return None
    members = {name: [k for k, cluster in enumerate(clusters) if cluster == name] for name in names}
    rng, found = np.random.default_rng(seed), []
    for _ in range(n):
        drawn = [k for index in rng.integers(len(names), size=len(names)) for k in members[names[index]]]
        auc = compute_auc([p[k] for k in drawn], [labels[k] for k in drawn])
        if auc is not None:
            found.append(auc)
    return [round(float(value), 4) for value in np.quantile(found, [0.025, 0.975])] if found else None


def print_calibration(p: Sequence[float], labels: Sequence[bool]) -> None:
    """One line for each fifth of the probabilities that has rows."""
    for k in range(N_BINS):
        low, high = k / N_BINS, (k + 1) / N_BINS
        inside = [label for value, label in zip(p, labels, strict=True) if low <= value < high or value == high == 1]
        if inside:
            ends = compute_wilson_interval(sum(inside), len(inside))
            print(
                f"  told {low:.1f} to {high:.1f}: {sum(inside)} of {len(inside)} fell ({ends[0]:.0%} to {ends[1]:.0%})"
            )


def print_baselines(rows: Sequence[Transition]) -> None:
    """What single measures, and the iteration alone, would do as the only guide; signs are chosen in hindsight."""
    labels = [row.is_fall for row in rows]
    print("\nalone, on the judged seeds (AUC, the better direction):")
    guides = {"iteration": [float(row.t) for row in rows]}
    guides |= {name: [row.measures.get(name, float("nan")) for row in rows] for name in GUIDES}
    for name, values in guides.items():
        auc = compute_auc(values, labels) if values and not np.isnan(values).any() else None
        print(f"  {name:<28}{'-' if auc is None else f'{max(auc, 1 - auc):.3f}'}")


def print_hindsight(fitted: Sequence[Transition], judged: Sequence[Transition]) -> None:
    """How far one gets who knows what became of the same method, preset and iteration on the fitted seeds.

    No warning can know that. Where it, too, is far from 1, falls are decided by what only a seed knows.
    """
    drops: dict[tuple[str, str, int], list[float]] = {}
    for row in fitted:
        drops.setdefault((row.preset, row.method, row.t), []).append(row.drop)
    known = [row for row in judged if (row.preset, row.method, row.t) in drops]
    told = [float(np.mean(drops[row.preset, row.method, row.t])) for row in known]
    auc = compute_auc(told, [row.is_fall for row in known])
    shown = "not computable" if auc is None else f"{auc:.3f}"
    print(f"\nin hindsight, by the mean drop of the same method and iteration on the fitted seeds: AUC {shown}")
    print(f"  ({len(known)} of {len(judged)} transitions have one)")


def print_model(model: EarlyModel) -> None:
    """The coefficients."""
    print(f"\nintercept {model.intercept:+.2f}, fires from {model.threshold:.0%}, {model.provenance}")
    for name, weight in model.coefficients.items():
        print(f"  {name:<28}{weight:+.3f}  mean {model.means[name]:+.3f}  scale {model.scales[name]:.3f}")


def describe(rows: Sequence[Transition]) -> str:
    """Counts of rows in words."""
    presets = ", ".join(f"{name} {n}" for name, n in sorted(Counter(row.preset for row in rows).items()))
    n_falls, n_runs = sum(row.is_fall for row in rows), len({row.run for row in rows})
    return f"{len(rows)} transitions of {n_runs} runs, {n_falls} falls ({presets or 'none'})"


def show_interval(interval: list[float] | None) -> str:
    """An interval, or why there is none."""
    return "not computable from fewer than 5" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def write(
    model: EarlyModel,
    arguments: argparse.Namespace,
    fitted: Sequence[Transition],
    judged: Sequence[Transition],
    record: dict[str, object],
) -> None:
    """Put the model where the light side reads it."""
    command = f"--fit-seeds {arguments.fit_seeds} --fit-presets {arguments.fit_presets}"
    command += f" --judge-seeds {arguments.judge_seeds}" if arguments.judge_seeds else ""
    provenance = {
        **model.provenance,
        "fitted_on": "the sandbox",
        "command": f"python benchmarks/early_warning.py --store STORE {command} --write",
        "fit": {**count(fitted)},
        "judged": {**count(judged), **record},
    }
    path = find_configs_folder() / FILE
    path.write_text(format_early_model(replace(model, provenance=provenance)))
    print(f"\nwritten: {path.name}")


def count(rows: Sequence[Transition]) -> dict[str, object]:
    """What rows come from."""
    return {
        "n_transitions": len(rows),
        "n_falls": sum(row.is_fall for row in rows),
        "n_runs": len({row.run for row in rows}),
        "seeds": sorted({row.seed for row in rows}),
        "presets": sorted({row.preset for row in rows}),
        "methods": sorted({row.method for row in rows}),
    }


if __name__ == "__main__":
    main()
