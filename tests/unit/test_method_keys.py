"""Which stages a setting of a method changes: those that compute with it and what follows them, and no other.

That runs of earlier versions keep their keys is held by ``test_plan_keys``.
"""

from __future__ import annotations

import pytest

from engine.config.load import apply_overrides, list_shipped_methods, load_run_config
from engine.config.run import RunConfig
from engine.plan import Segment, StageSpec, plan_run

TRAINING = {"train M2", "evaluate M2"}
PAIRS = {"pair t=1"} | TRAINING
DEFAULTS = (
    "method.aggregate.k=null",
    "method.aggregate.length_penalty=0.0",
    "method.confidence.permuted=false",
    "method.pairs={strategy: max_min, rejected: policy, min_margin: 0.0, min_consistency: 0.0}",
    "method.loss={kind: soft_label, kl_weight: 0.0, nll_weight: 0.0}",
    "scoring.tau_matrix=false",
)


def plan(config: RunConfig) -> dict[str, StageSpec]:
    return {stage.label: stage for stage in plan_run([Segment(config, None)], base_digest="0123456789abcdef")}


def find_changed(method: str, *overrides: str, t: int = 1) -> set[str]:
    config = load_run_config("sandbox", method=method)
    old, new = plan(config), plan(apply_overrides(config, overrides=overrides))
    assert set(old) == set(new)
    return {label for label in old if old[label].iteration == t and old[label].key != new[label].key}


@pytest.mark.parametrize("default", DEFAULTS)
def test_a_default_that_is_spelled_out_changes_nothing(default: str) -> None:
    assert find_changed("cream-dynamic", default) == set()


@pytest.mark.parametrize(
    ("method", "override", "changed"),
    [
        ("ensemble-lcb", "method.aggregate.k=0.25", PAIRS),
        ("ensemble-lcb", "method.aggregate.kind=uwo", PAIRS),
        ("srlm", "method.aggregate.length_penalty=0.01", PAIRS),
        ("cream-dynamic", "method.confidence.permuted=true", PAIRS),
        ("cream", "method.confidence.c_map=exact", PAIRS),
        ("srlm", "method.pairs.strategy=max_random", PAIRS),
        ("srlm", "method.pairs.min_margin=0.5", PAIRS),
        ("agreement-filter", "method.pairs.min_consistency=0.5", PAIRS),
        ("srlm", "method.loss.kind=signed", TRAINING),
        ("srlm", "method.loss.kl_weight=0.1", TRAINING),
        ("srlm", "method.loss.nll_weight=0.1", TRAINING),
    ],
)
def test_a_setting_changes_the_stages_that_compute_with_it(method: str, override: str, changed: set[str]) -> None:
    assert find_changed(method, override) == changed


def test_rejected_of_m1_changes_nothing_while_the_policy_is_m1() -> None:
    assert find_changed("srlm", "method.pairs.rejected=sft", t=1) == set()
    assert "pair t=2" in find_changed("srlm", "method.pairs.rejected=sft", t=2)


def test_each_method_that_is_not_another_ones_twin_has_keys_of_its_own() -> None:
    """Up to the model they train, methods differ in what ranks, in C, in which pairs there are or in the loss."""
    trained = {}
    for method in list_shipped_methods():
        given = ["scoring.reward_models.rm.path=org/none"] if method == "reward-model" else []
        stages = plan(load_run_config("sandbox", method=method, overrides=given))
        trained[method] = stages["train M3"].key
    assert len(set(trained.values())) == len(trained)


def test_c_is_permuted_anew_at_every_iteration_and_seed() -> None:
    """The permutation comes from the pair stage's seed, and that seed is in its key."""
    seeds = {
        plan(load_run_config("sandbox", method="anchored-permuted", seed=seed))[f"pair t={t}"].seed
        for seed in (0, 1)
        for t in (1, 2)
    }
    assert len(seeds) == 4


def test_votes_are_one_stage_that_reads_the_responses_alone() -> None:
    stages = plan(load_run_config("sandbox", method="vote"))
    assert set(stages["score t=1 (votes)"].inputs) == {"sample"}
    assert "votes" in stages["pair t=1"].inputs and "votes" not in stages["agree t=1"].inputs


def test_the_matrix_of_taus_adds_stages_that_no_other_depends_on() -> None:
    """At t = 2 the pass of M1 is there anyway, at t = 3 M1 needs one, at t = 4 M1 and M2; an ensemble has them."""
    given = ["iterations=4", "scoring.reward_models.rm.path=org/none"]
    for method in ("cream", "ensemble-mean"):
        config = load_run_config("sandbox", method=method, overrides=given)
        old, new = plan(config), plan(apply_overrides(config, overrides=["scoring.tau_matrix=true"]))
        assert all(new[label].key == stage.key for label, stage in old.items())
        passes = {"score t=3 (implicit:M1)", "score t=4 (implicit:M1)", "score t=4 (implicit:M2)"}
        matrices = {f"agree t={t} (matrix)" for t in (2, 3, 4)}
        assert set(new) - set(old) == matrices | (passes if method == "cream" else set())
        assert set(new["agree t=4 (matrix)"].inputs) == {"sample", "score", "implicit:M1", "implicit:M2"}
