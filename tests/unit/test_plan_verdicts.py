"""Verdicts in the plan: they enter the key of one pair stage and of what follows it, and nothing else."""

from __future__ import annotations

import pytest

from engine.config.load import load_run_config
from engine.plan import JudgedPairs, Segment, StageSpec, plan_run
from engine.records import PairVerdict

SWAP = PairVerdict("p1", "swap", 0, 3)


def plan(judged: dict[int, JudgedPairs] | None = None, *overrides: str) -> dict[str, StageSpec]:
    config = load_run_config("sandbox", overrides=["iterations=2", *overrides])
    return {spec.label: spec for spec in plan_run([Segment(config, None)], base_digest="m0", judged=judged)}


@pytest.fixture
def plain() -> dict[str, StageSpec]:
    return plan()


def find_changed(one: dict[str, StageSpec], other: dict[str, StageSpec]) -> set[str]:
    return {label for label in one if one[label].key != other[label].key}


def test_keys_change_from_the_corrected_pairs_on(plain: dict[str, StageSpec]) -> None:
    corrected = plan({1: JudgedPairs(plain["sample t=1"].key, (SWAP,))})
    later = {f"{name} t=2" for name in ("sample", "score", "agree", "pair")}
    assert find_changed(plain, corrected) == {"pair t=1", "train M2", "evaluate M2", "train M3", "evaluate M3"} | later
    assert {label for label, spec in corrected.items() if spec.verdicts} == {"pair t=1"}


def test_without_verdicts_the_keys_are_the_old_ones(plain: dict[str, StageSpec]) -> None:
    assert find_changed(plain, plan({})) == set()
    assert find_changed(plain, plan({1: JudgedPairs(plain["sample t=1"].key, ())})) == set()


def test_each_verdict_makes_a_key_of_its_own(plain: dict[str, StageSpec]) -> None:
    sample = plain["sample t=1"].key
    sets = [(SWAP,), (PairVerdict("p1", "agree", 0, 3),), (PairVerdict("p1", "swap", 0, 2),), (SWAP, SWAP)]
    assert len({plan({1: JudgedPairs(sample, verdicts)})["pair t=1"].key for verdicts in sets}) == len(sets)


def test_verdicts_hold_for_the_judged_responses_alone(plain: dict[str, StageSpec]) -> None:
    judged = {1: JudgedPairs(plain["sample t=1"].key, (SWAP,))}
    hotter = plan(judged, "sampling.temperature=1.3")
    assert find_changed(hotter, plan(None, "sampling.temperature=1.3")) == set()
    assert not any(spec.verdicts for spec in hotter.values())
