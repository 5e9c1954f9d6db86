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
    choose_threshold,
    fit,
    fit_logistic,
    fit_signed,
    predict_all,
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

FIRST = {
    "tau_anchor": 0.5,
    "tau_saturated_share": 0.3,
    "chosen_n_tokens": 10.0,
    "rejected_n_tokens": 5.0,
    "reward_length_correlation": 0.6,
    "reward_sd": 0.25,
    "distinct_share": 0.75,
    "kl_base_token": 0.01,
    "anchor_agreement_share": 0.9,
    "vote_agreement_share": 0.8,
}
LATER = {
    **FIRST,
    "tau_anchor": 0.1,
    "tau_saturated_share": 0.8,
    "chosen_n_tokens": 20.0,
    "reward_sd": 1.0,
    "kl_base_token": 0.06,
}
# Of two features; standardised they are (0.1 - 0.3) / 0.2 = -1 and (0.06 - 0.04) / 0.02 = 1.
MODEL = EarlyModel(
    intercept=0.5,
    coefficients={"tau_anchor": -2.0, "kl_base_token": 1.0},
    means={"tau_anchor": 0.3, "kl_base_token": 0.04},
    scales={"tau_anchor": 0.2, "kl_base_token": 0.02},
    threshold=0.9,
    provenance={"fitted_on": "a test"},
)


def build_results(*measures: Mapping[str, float]) -> list[ModelResult]:
    return [ModelResult("M0"), *(ModelResult(f"M{k}", measures=values) for k, values in enumerate(measures, start=1))]


def test_features_by_hand() -> None:
    results = build_results(FIRST, LATER)
    assert compute_features(results, results[2]) == {
        "tau_anchor": 0.1,
        "tau_anchor_change": pytest.approx(-0.4),
        "tau_saturated_share": 0.8,
        "chosen_length_growth": pytest.approx(math.log(2)),
        "rejected_length_growth": 0.0,
        "reward_length_correlation": 0.6,
        "margin_growth": pytest.approx(math.log(4)),
        "distinct_share": 0.75,
        "kl_base_token": 0.06,
        "anchor_agreement_share": 0.9,
        "vote_agreement_share": 0.8,
    }


def test_at_m1_nothing_has_changed() -> None:
    results = build_results(FIRST)
    features = compute_features(results, results[1])
    assert isinstance(features, dict)
    assert {name for name, value in features.items() if value == 0} == {
        "tau_anchor_change", "chosen_length_growth", "rejected_length_growth", "margin_growth",
    }  # fmt: skip


def test_what_is_not_used_need_not_be_there() -> None:
    results = build_results({"tau_anchor": 0.5})
    assert compute_features(results, results[1], names=["tau_anchor"]) == {"tau_anchor": 0.5}


def test_gold_answers_are_not_asked_for() -> None:
    """What it says is the same whatever is known of correctness before the next model is evaluated."""
    gold = {"label_accuracy": 0.1, "reward_auc": 0.2, "correct_rate": 0.0}
    blind, seeing = predict(build_results(FIRST, LATER), MODEL), predict(build_results(FIRST, {**LATER, **gold}), MODEL)
    assert isinstance(blind, EarlyWarning) and blind == seeing


def test_the_probability_by_hand() -> None:
    """0.5 - 2 * -1 + 1 * 1 = 3.5; 1 / (1 + exp(-3.5)) = 0.9707."""
    early = predict(build_results(FIRST, LATER), MODEL)
    assert isinstance(early, EarlyWarning)
    assert (early.model, early.is_fired, early.threshold, early.outcome) == ("M2", True, 0.9, None)
    assert early.probability == pytest.approx(0.970688, abs=1e-6)
    assert early.features == {"tau_anchor": 0.1, "kl_base_token": 0.06}


def test_it_keeps_still_where_nothing_has_moved() -> None:
    """0.5 - 2 * 1 + 1 * -1.5 = -3; at the threshold itself it fires."""
    early = predict(build_results(FIRST), MODEL)
    assert isinstance(early, EarlyWarning)
    assert (early.model, early.is_fired) == ("M1", False)
    assert early.probability == pytest.approx(1 / (1 + math.exp(3)))
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
        ([{"tau_anchor": 0.5, "n_pairs": 9.0}], "M1 lacks kl_base_token, reward_sd"),
        ([{"tau_anchor": 0.5, "reward_sd": 1.0}, LATER], "M2 or M1 lacks kl_base_token"),
        ([{**FIRST, "reward_sd": 0.0}], "a length or the spread of the rewards of M1 is 0"),
    ],
)  # fmt: skip
def test_where_measures_lack_it_says_which(measures: list[Mapping[str, float]], reason: str) -> None:
    names = ("tau_anchor", "kl_base_token", "margin_growth")
    model = replace(MODEL, **{part: dict.fromkeys(names, 1.0) for part in ("coefficients", "means", "scales")})
    assert predict(build_results(*measures), model) == f"not computable, because {reason}"


def test_extreme_features_give_no_overflow() -> None:
    for value in (-1e6, 1e6):
        probability = MODEL.compute_probability({"tau_anchor": value, "kl_base_token": 0.04})
        assert probability in (0.0, 1.0)


def test_a_model_survives_its_file() -> None:
    assert parse_early_model(format_early_model(MODEL)) == MODEL


def test_the_shipped_model_was_judged_on_seeds_that_it_was_not_fitted_on() -> None:
    model = load_early_model()
    assert model is not None
    assert set(model.coefficients) <= set(FEATURES)
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
            rows.append(Transition(f"run{run}", "collapse", "srlm", run, t, features, bool(is_fall)))
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


def test_no_weight_points_against_its_sign() -> None:
    """y follows the first feature alone; the second is a noisy copy, whose weight would be negative here."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(200, 1))
    x = np.column_stack([x, x + rng.normal(scale=0.3, size=(200, 1))])
    y = (x[:, 0] - 0.5 * (x[:, 1] - x[:, 0]) > 0).astype(float)
    _, free, _, _ = fit_logistic(x, y, penalty=0.1)
    intercept, weights, _, _ = fit_signed(x, y, 0.1, np.array([1, 1]))
    assert free[1] < 0 and weights[1] == 0
    assert [intercept, weights[0]] == pytest.approx(
        [fit_logistic(x[:, :1], y, 0.1)[0], *fit_logistic(x[:, :1], y, 0.1)[1]]
    )
    assert not fit_signed(x, y, 0.1, np.array([-1, -1]))[1].any()


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


def test_the_feature_that_matters_gets_the_weight() -> None:
    model, _ = fit(make_rows(40, seed=2))
    weights = {name: abs(weight) for name, weight in model.coefficients.items()}
    assert max(weights, key=lambda name: weights[name]) == "tau_anchor"
    assert model.coefficients["tau_anchor"] < 0


def test_the_threshold_allows_few_false_alarms() -> None:
    """Of 20 calm ones one may fire: the two highest are 0.70 and 0.42, so it is above 0.42."""
    calm = np.array([0.1] * 18 + [0.42, 0.7])
    p, y = np.concatenate([calm, [0.9]]), np.array([0.0] * 20 + [1.0])
    assert choose_threshold(p, y) == 0.43


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
