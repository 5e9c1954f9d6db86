"""The early warning: its features by hand, what it says where they lack, and how it is fitted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from early_warning import (
    Transition,
    bootstrap,
    build_arrays,
    fit,
    fit_logistic,
    leave_seeds_out,
    predict_all,
    print_false_alarms,
    print_first_falls,
)
from scipy.optimize import minimize

from cream_tui.health.early_warning import (
    FEATURES,
    EarlyModel,
    compute_features,
    format_early_model,
    load_early_model,
    parse_early_model,
    predict,
)
from cream_tui.health.findings import EarlyWarning
from cream_tui.results import ModelResult, TaskCount

FIRST = {"tau_anchor": 0.5, "confidence": 0.8, "kl_previous": 0.7, "chosen_n_tokens": 10.0}
LATER = {"tau_anchor": 0.1, "confidence": 1.0, "kl_previous": math.exp(-2) - 0.1, "chosen_n_tokens": 12.0}
# Of two features; standardised they are (-2 - -4) / 2 = 1 and (0 - 0.1) / 0.1 = -1 at LATER.
MODEL = EarlyModel(
    intercept=0.5,
    coefficients={"last_step": 2.0, "first_push": -1.0},
    means={"last_step": -4.0, "first_push": 0.1},
    scales={"last_step": 2.0, "first_push": 0.1},
    threshold=0.9,
    provenance={"fitted_on": "a test"},
)


def build_results(*measures: Mapping[str, float]) -> list[ModelResult]:
    return [ModelResult("M0"), *(ModelResult(f"M{k}", measures=values) for k, values in enumerate(measures, start=1))]


def test_features_by_hand() -> None:
    results = build_results(FIRST, LATER)
    assert compute_features(results, results[1]) == {
        "last_step": 0.0,
        "is_first": 1.0,
        "first_push": pytest.approx(0.5 * (2 * 0.8 - 1)),
        "growth": 0.0,
    }
    assert compute_features(results, results[2]) == {
        "last_step": pytest.approx(-2),
        "is_first": 0.0,
        "first_push": 0.0,
        "growth": pytest.approx(math.log(1.2)),
    }


@pytest.mark.parametrize("step", [1e-9, 0.0, -0.003])
def test_a_step_too_small_to_tell_counts_as_none(step: float) -> None:
    results = build_results(FIRST, {**LATER, "kl_previous": step})
    features = compute_features(results, results[2])
    assert isinstance(features, dict)
    assert features["last_step"] == pytest.approx(math.log(0.1))


def test_empty_chosen_responses_count_as_one_token() -> None:
    results = build_results({**FIRST, "chosen_n_tokens": 0.0}, {**LATER, "chosen_n_tokens": 0.5})
    features = compute_features(results, results[2])
    assert isinstance(features, dict) and features["growth"] == 0.0


def test_what_the_first_model_lacks_is_said_of_it() -> None:
    results = build_results({"tau_anchor": 0.5}, LATER)
    assert compute_features(results, results[2], names=["growth"]) == "M1 lacks chosen_n_tokens"


def test_what_is_not_used_need_not_be_there() -> None:
    results = build_results({"tau_anchor": 0.5})
    assert compute_features(results, results[1], names=["is_first"]) == {"is_first": 1.0}


def test_gold_answers_are_not_asked_for() -> None:
    """What it says is the same whatever is known of correctness before the next model is evaluated."""
    gold = {"label_accuracy": 0.1, "reward_auc": 0.2, "correct_rate": 0.0}
    blind, seeing = predict(build_results(FIRST, LATER), MODEL), predict(build_results(FIRST, {**LATER, **gold}), MODEL)
    assert isinstance(blind, EarlyWarning) and blind == seeing


def test_the_probability_by_hand() -> None:
    """0.5 + 2 * 1 - 1 * -1 = 3.5; 1 / (1 + exp(-3.5)) = 0.9707."""
    early = predict(build_results(FIRST, LATER), MODEL)
    assert isinstance(early, EarlyWarning)
    assert (early.model, early.is_fired, early.threshold, early.outcome) == ("M2", True, 0.9, None)
    assert early.probability == pytest.approx(0.970688, abs=1e-6)
    assert early.features == {"last_step": pytest.approx(-2), "first_push": 0.0}


def test_it_fires_at_its_threshold_and_not_below() -> None:
    """At M1 0.5 + 2 * 2 - 1 * 2 = 2.5, whose probability is 0.924."""
    early = predict(build_results(FIRST), replace(MODEL, threshold=0.93))
    assert isinstance(early, EarlyWarning)
    assert (early.model, early.is_fired) == ("M1", False)
    assert early.probability == pytest.approx(1 / (1 + math.exp(-2.5)))
    at = predict(build_results(FIRST), replace(MODEL, threshold=early.probability))
    assert isinstance(at, EarlyWarning) and at.is_fired


def test_it_foretells_from_the_newest_model_with_all_measures() -> None:
    half = {"tau_anchor": -0.5}
    early = predict([*build_results(FIRST, LATER, half), ModelResult("M4")], MODEL)
    assert isinstance(early, EarlyWarning) and early.model == "M2"


def test_what_came_of_it_is_said_once_it_is_known() -> None:
    items = [{("sandbox", f"i{k}"): k < n for k in range(100)} for n in (80, 60, 58)]
    results = build_results(FIRST, LATER)
    results = [
        replace(model, tasks=(TaskCount("sandbox", sum(right.values()), 100),), items=right)
        for model, right in zip([*results[1:], ModelResult("M3")], items, strict=True)
    ]
    fell, held = predict([*results[:1], replace(results[1], measures={})], MODEL), predict(results, MODEL)
    assert isinstance(fell, EarlyWarning) and isinstance(held, EarlyWarning)
    assert (fell.model, fell.outcome) == ("M1", True)  # 20 items lost, p = 2 / 2^20
    assert (held.model, held.outcome) == ("M2", False)  # 2 items lost, p = 0.5


@pytest.mark.parametrize(
    ("measures", "reason"),
    [
        ([], "no iteration has come so far yet"),
        ([{"tau_anchor": 0.5, "n_pairs": 9.0}], "M1 lacks kl_previous, confidence"),
    ],
)  # fmt: skip
def test_where_measures_lack_it_says_which(measures: list[Mapping[str, float]], reason: str) -> None:
    assert predict(build_results(*measures), MODEL) == f"not computable, because {reason}"


def test_extreme_features_give_no_overflow() -> None:
    for value in (-1e6, 1e6):
        probability = MODEL.compute_probability({"last_step": value, "first_push": 0.1})
        assert probability in (0.0, 1.0)


def test_a_model_survives_its_file() -> None:
    assert parse_early_model(format_early_model(MODEL)) == MODEL


def test_the_shipped_model_was_judged_on_seeds_that_it_was_not_fitted_on() -> None:
    model = load_early_model()
    assert model is not None
    assert set(model.coefficients) == set(FEATURES)
    assert 0 < model.threshold < 1 and all(scale > 0 for scale in model.scales.values())
    fitted, judged = model.provenance["fit"], model.provenance["judged"]
    assert fitted["n_falls"] > 0 and not set(fitted["seeds"]) & set(judged["seeds"])
    assert "/" not in json.dumps(model.provenance).replace("benchmarks/early_warning.py", "")


# How it is fitted -----------------------------------------------------------------------------------------------------


def make_rows(n_seeds: int, *, seed: int) -> list[Transition]:
    """Transitions that fall with a probability of the first feature alone; the others are noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for run in range(n_seeds):
        for t in range(1, 6):
            values = rng.normal(size=len(FEATURES))
            is_fall = rng.random() < 1 / (1 + math.exp(3 * values[0]))
            features = dict(zip(FEATURES, map(float, values), strict=True))
            rows.append(Transition(f"run{run}", "collapse", "srlm", run, t, features, {}, 0.0, bool(is_fall)))
    return rows


def test_the_fit_is_the_minimum_of_the_penalised_likelihood() -> None:
    """Against a general minimiser of scipy."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(2.0, 3.0, size=(60, 3)), (rng.random(60) < 0.4).astype(float)
    intercept, weights, mean, scale = fit_logistic(x, y, penalty=2.0)
    z = (x - x.mean(0)) / x.std(0)

    def loss(theta: np.ndarray) -> float:
        logit = theta[0] + z @ theta[1:]
        return float(np.logaddexp(0, logit).sum() - y @ logit + theta[1:] @ theta[1:])

    assert np.allclose([intercept, *weights], minimize(loss, np.zeros(4), tol=1e-12).x, atol=1e-4)
    assert np.allclose(mean, x.mean(0)) and np.allclose(scale, x.std(0))


def test_separable_rows_do_not_break_the_fit() -> None:
    x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0.0, 0.0, 1.0, 1.0])
    p = predict_all(fit_logistic(x, y, penalty=0.1), x)
    assert list(p > 0.5) == [False, False, True, True]


def test_what_is_left_out_is_not_learned_from() -> None:
    """With labels that are noise, what is said of a left-out seed ranks no better than chance."""
    rng = np.random.default_rng(4)
    rows = [replace(row, is_fall=bool(rng.random() < 0.5)) for row in make_rows(30, seed=5)]
    _, inside = fit(rows)
    falls = [p for p, row in zip(inside, rows, strict=True) if row.is_fall]
    calm = [p for p, row in zip(inside, rows, strict=True) if not row.is_fall]
    auc = np.mean([[(a > b) + 0.5 * (a == b) for b in calm] for a in falls])
    assert 0.3 < auc < 0.62


def test_each_seed_is_told_by_a_fit_of_the_others() -> None:
    rows = make_rows(6, seed=8)
    x, y = build_arrays(rows)
    seeds = np.array([row.seed for row in rows])
    inside = leave_seeds_out(rows, x, y, 2.0)
    for seed in range(6):
        fitted = fit_logistic(x[seeds != seed], y[seeds != seed], 2.0)
        assert np.allclose(inside[seeds == seed], predict_all(fitted, x[seeds == seed]))


def test_the_feature_that_matters_gets_the_weight() -> None:
    model, _ = fit(make_rows(40, seed=2))
    weights = {name: abs(weight) for name, weight in model.coefficients.items()}
    assert max(weights, key=lambda name: weights[name]) == "last_step"
    assert model.coefficients["last_step"] < 0


def test_a_run_is_warned_in_time_before_its_first_fall(capsys: pytest.CaptureFixture[str]) -> None:
    """It fires where last_step is -2, as in test_the_probability_by_hand, and not where it is -9."""

    def build(run: str, *series: tuple[float, bool]) -> list[Transition]:
        return [
            Transition(run, "collapse", "srlm", 0, t, {"last_step": step, "first_push": 0.1}, {}, drop, is_fall)
            for t, (step, is_fall) in enumerate(series, start=1)
            for drop in [0.01]
        ]

    in_time = build("a", (-2.0, False), (-9.0, True))
    at_once = build("b", (-2.0, True))
    late = build("c", (-9.0, True), (-2.0, True))
    in_vain, calm = build("d", (-2.0, False)), build("e", (-9.0, False))
    rows = [*in_vain, *reversed(in_time), *at_once, *late, *calm]
    print_first_falls(MODEL, rows)
    assert "before their first fall: 2 of 3; without a fall, warned: 1 of 2" in capsys.readouterr().out
    print_false_alarms(MODEL, rows)
    said = capsys.readouterr().out
    assert "after a false alarm: accuracy went down in 2 of 2, by -1.0 points" in said
    assert "without alarm or fall: accuracy went down in 1 of 1" in said


def test_the_interval_draws_whole_clusters() -> None:
    """Ten copies of each row in one cluster carry no more than one row each."""
    rng = np.random.default_rng(0)
    labels = [k % 2 == 0 for k in range(30)]
    p = [float(rng.normal(label, 1.0)) for label in labels]
    names = [f"r{k}" for k in range(30)]
    once = bootstrap(names, p, labels, 400)
    copied = bootstrap(names * 10, p * 10, labels * 10, 400)
    assert once is not None and once == copied
    each = bootstrap([name for name in "abcde" for _ in range(2)], [0.1, 0.9] * 5, [False, True] * 5, 20)
    assert each == [1.0, 1.0]
    assert bootstrap(["a", "b"], [0.1, 0.2], [True, False], 10) is None
    assert bootstrap(list("abcde"), [0.1] * 5, [True] * 5, 10) is None
