"""What is said before the verdicts: a baseline or model that was chosen, and in what studies and runs differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from made_arms import STUDY, make_study

from cream_tui.comparison.formats import compare_study
from cream_tui.comparison.paired import compare_arms
from cream_tui.comparison.premises import find_premises, mark_premises, tell_premises
from cream_tui.comparison.sentences import tell_arms
from cream_tui.views.compare import SeedArm

BASE = {"model": {"kind": "sandbox", "path": None}, "evaluation": {"items": 500, "batch_tokens": 8}, "iterations": 5}
STUDIES = {"srlm": "first", "cream": "first", "vote": "second", "random": "second"}


def give_configs(arms: list[SeedArm], configs: Mapping[str, Mapping[str, Any]], digest: str = "m0") -> list[SeedArm]:
    """The arms with these settings beside their method; those without any have those of BASE."""
    changed = []
    for arm in arms:
        config = json.dumps({"method": {"name": arm.title}, **BASE, **configs.get(arm.title, {})})
        base = digest if arm.title in configs else "m0"
        runs = tuple(replace(run, config_json=config, base_digest=base) for run in arm.runs)
        changed.append(replace(arm, runs=runs))
    return changed


def make_arms() -> tuple[list[SeedArm], dict[str, Any]]:
    return make_study(STUDY | {"vote": STUDY["cream"], "random": STUDY["srlm"]})


def test_studies_of_other_worlds_are_told_before_the_verdicts() -> None:
    """The second study has another model; batch_tokens changes nothing, beta is what its arms vary."""
    arms, results = make_arms()
    other = {"model": {"kind": "hf", "path": "/home/somebody/misled"}, "evaluation": {"items": 500, "batch_tokens": 9}}
    varied = [{**other, "training": {"beta": beta}} for beta in (0.1, 0.5)]
    arms = give_configs(arms, dict(zip(("vote", "random"), varied, strict=True)), "m0-again")
    study = compare_study("two", arms, results, sources=STUDIES)
    assert list(study.premises) == [
        "The studies differ in base model (model.kind sandbox in first and hf in second; model.path null in first and "
        "misled in second): a difference across them is not one of methods alone."
    ]
    assert study.sentences[0] == study.premises[0]
    assert [found.beside for found in study.arm_tests] == [None, "another base model", "another base model"]
    told = tell_arms(study.arm_tests)
    assert told[0].endswith(": cream is better than srlm.")
    assert told[1].endswith(": vote is better than srlm, which has another base model.")


def test_all_settings_of_studies_are_named_but_of_runs_how_they_start() -> None:
    arms, _ = make_arms()
    changes = {"training": {"beta": 0.5}, "iterations": 3}
    arms = give_configs(arms, {"vote": changes, "random": changes})
    (told,) = tell_premises(arms, STUDIES)
    words = (
        "iterations (iterations 5 in first and 3 in second), training (training.beta null in first and 0.5 in second)"
    )
    assert told.startswith(f"The studies differ in {words}: ")
    (told,) = tell_premises(arms, {})
    assert told.startswith("The runs differ in iterations (iterations 5 in srlm, cream and 3 in vote, random): ")


def test_other_weights_of_one_name_are_told_by_their_digest() -> None:
    arms, _ = make_arms()
    arms = give_configs(arms, {"vote": {}, "random": {}}, "0123456789")
    assert find_premises(arms, STUDIES) == {"digest of M0": {"first": "m0", "second": "01234567"}}
    assert "base model (digest of M0 m0 in first and 01234567 in second)" in tell_premises(arms, STUDIES)[0]


def test_arms_of_one_study_and_runs_that_start_alike_have_no_premise() -> None:
    arms, results = make_arms()
    arms = give_configs(arms, {"vote": {"evaluation": {"items": 500, "batch_tokens": 9}, "training": {"beta": 1.0}}})
    tests = compare_arms(arms, results)
    one = dict.fromkeys(STUDIES, "one")
    assert tell_premises(arms, {}) == tell_premises(give_configs(arms, {"vote": {"iterations": 3}}), one) == []
    assert mark_premises(tests, arms, {}) == tests


def test_a_chosen_baseline_and_model_are_said_to_be() -> None:
    arms, results = make_study(STUDY)
    study = compare_study("one", arms, results, own_baseline="cream", at="M2")
    at, baseline = study.premises
    assert at.startswith("Everything is told as if M2 were the last model: ")
    assert baseline == (
        "The baseline srlm was chosen after the fact, that of the study is cream: p-values against srlm are "
        "exploratory."
    )
    assert list(study.sentences[:2]) == [at, baseline]
    assert compare_study("one", arms, results).premises == []
