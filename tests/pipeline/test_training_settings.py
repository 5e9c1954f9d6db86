"""Settings of any method that reach sampling and training: rejected from M1, replay, the loss and its reference."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path
from statistics import fmean

import pytest
from in_process import finish_here
from small_runs import build_config, find_processes, finish, hold_worker, read_all, reread, wait_until

from db.queries import (
    read_agreements,
    read_pairs,
    read_responses,
    read_run_metrics,
    read_run_stages,
    read_scores,
)
from db.reading import open_reader
from db.rows import PairRow, ResponseRow, RunRow, ScoreRow
from engine.plan import Segment, plan_run
from engine.runtime import control
from engine.runtime.preview import preview_run

N, N_PROMPTS = 5, 16
BETA = 0.5
# Every pair is in every step.
SETTINGS = (
    "iterations=2",
    "training.batch_size=64",
    "training.snapshot_every=2",
    "training.beta=0.5",
    "training.replay=0.5",
    "method.pairs.rejected=sft",
    "method.loss.kl_weight=0.1",
    "method.loss.nll_weight=0.1",
    "data.prompts_per_iteration=16",
    "sampling.batch_tokens=600",
    "evaluation.tasks=[]",
    "training.epochs=8",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRow]:
    """An uninterrupted run."""
    root = tmp_path_factory.mktemp("settings")
    return root, finish_here(root, build_config(*SETTINGS))


def find_stage(root: Path, run: RunRow, label: str) -> int:
    with closing(open_reader(root)) as reader:
        return next(stage.stage_id for stage in read_run_stages(reader, run.run_id) if stage.label == label)


def read_group_rows(root: Path, run: RunRow, t: int) -> tuple[list[ResponseRow], list[ScoreRow], list[PairRow]]:
    """Responses, scores by models and pairs of an iteration; of the prompts without a pair none."""
    sample, score, pair = (find_stage(root, run, f"{name} t={t}") for name in ("sample", "score", "pair"))
    with closing(open_reader(root)) as reader:
        pairs = [row for row in read_pairs(reader, pair) if row.skip_reason is None]
        return read_responses(reader, sample), read_scores(reader, [score]), pairs


def read_metrics(root: Path, run: RunRow, label: str, step: int) -> dict[str, float]:
    with closing(open_reader(root)) as reader:
        rows = read_run_metrics(reader, run.run_id)
    return {row.name: row.value for row in rows if row.label == label and row.step == step}


def test_rejected_responses_come_from_m1(whole: tuple[Path, RunRow]) -> None:
    """Each half of a group has its sampler's own log-probs, and no pair has both sides from one half."""
    first, _, _ = read_group_rows(*whole, 1)
    assert {response.k for response in first} == set(range(N))
    responses, scores, pairs = read_group_rows(*whole, 2)
    assert len(responses) == N_PROMPTS * 2 * N
    sums = {(row.scorer, row.prompt_id, row.k): row.sum_logprob for row in scores}
    for own, other, ks in (("M2", "M1", range(N)), ("M1", "M2", range(N, 2 * N))):
        half = [response for response in responses if response.k in ks]
        assert len(half) == N_PROMPTS * N
        for response in half:
            expected = sums[f"implicit:{own}", response.prompt_id, response.k]
            assert response.sampled_logprob == pytest.approx(expected, abs=1e-3)
        differences = [abs(r.sampled_logprob - (sums[f"implicit:{other}", r.prompt_id, r.k] or 0)) for r in half]
        assert max(differences) > 0.01
    texts = {k: [r.token_ids for r in responses if r.k == k] for k in (0, N)}
    assert sum(a == b for a, b in zip(texts[0], texts[N], strict=True)) < 14
    rewards = {(row.prompt_id, row.k): row.score or 0 for row in scores if row.scorer == "implicit:M2"}
    assert len(pairs) > 8
    for pair in pairs:
        group = {k: rewards[pair.prompt_id, k] for k in range(2 * N)}
        assert pair.chosen_k == max(range(N), key=group.__getitem__)
        assert pair.rejected_k == min(range(N, 2 * N), key=group.__getitem__)
        assert pair.margin == pytest.approx(group[pair.chosen_k] - group[pair.rejected_k])
    metrics = read_metrics(*whole, "sample t=2", 0)
    assert metrics["n_responses"] == N_PROMPTS * N
    own = [len(response.token_ids) for response in responses if response.k < N]
    assert metrics["mean_n_tokens"] == pytest.approx(fmean(own))


def test_agreement_is_over_the_policys_responses(whole: tuple[Path, RunRow]) -> None:
    root, run = whole
    agree = find_stage(root, run, "agree t=2")
    with closing(open_reader(root)) as reader:
        assert {row.n for row in read_agreements(reader, [agree])} == {N}


def test_replayed_pairs_keep_their_confidence_and_get_the_reference_of_now(whole: tuple[Path, RunRow]) -> None:
    """Training starts at its reference: z = KL = 0 over all pairs, so replayed ones are referred to M2, not to M1."""
    _, _, earlier = read_group_rows(*whole, 1)
    _, _, own = read_group_rows(*whole, 2)
    n_replayed = round(0.5 * len(own))
    assert read_metrics(*whole, "train M3", 0)["n_replayed_pairs"] == n_replayed
    assert "n_replayed_pairs" not in read_metrics(*whole, "train M2", 0)
    step = read_metrics(*whole, "train M3", 1)
    assert step["z"] == pytest.approx(0, abs=1e-4) and step["kl"] == pytest.approx(0, abs=1e-4)
    (before,), (now,) = ({pair.confidence for pair in pairs} for pairs in (earlier, own))
    assert before is not None and now is not None and abs(before - now) > 0.05
    targets = [math.log(now / (1 - now))] * len(own) + [math.log(before / (1 - before))] * n_replayed
    assert step["target_z"] == pytest.approx(fmean(targets), abs=1e-5)
    assert step["loss"] == pytest.approx(math.log(2) + 0.1 * step["chosen_nll"], abs=1e-4)
    assert read_metrics(*whole, "train M3", 8)["kl"] > 1e-4


def test_scored_pairs_and_replayed_ones_have_the_same_reference(whole: tuple[Path, RunRow]) -> None:
    """Without a KL term only the replayed pairs take a pass of M2; z is 0 over both."""
    root, run = whole
    fork = control.fork_run(root, run, at="M2", overrides=["method.loss.kl_weight=0"], name="no-kl")
    step = read_metrics(root, finish(root, fork), "train M3", 1)
    assert step["z"] == pytest.approx(0, abs=1e-4) and "kl" not in step
    assert step["target_z"] == pytest.approx(read_metrics(*whole, "train M3", 1)["target_z"], abs=1e-6)


@pytest.mark.parametrize("reference", ["base", "sft"])
def test_training_begins_as_far_from_its_reference_as_scoring_says(whole: tuple[Path, RunRow], reference: str) -> None:
    """z of the first step is beta times how much further M2 is than the reference, from the stored scores alone."""
    root, run = whole
    changes = (f"training.dpo_reference={reference}", "training.replay=0")
    if reference == "base":  # from scoring; with the KL term, from a pass of M1
        changes += ("method.loss.kl_weight=0",)
    fork = finish(root, control.fork_run(root, run, at="M2", overrides=changes, name=f"to-{reference}"))
    _, scores, pairs = read_group_rows(root, fork, 2)
    rewards = {(row.scorer, row.prompt_id, row.k): row.score or 0 for row in scores}

    def measure(pair: PairRow, k: int | None) -> float:
        reward = rewards["implicit:M2", pair.prompt_id, k or 0]
        return reward if reference == "base" else reward - rewards["implicit:M1", pair.prompt_id, k or 0]

    expected = BETA * fmean(measure(pair, pair.chosen_k) - measure(pair, pair.rejected_k) for pair in pairs)
    step = read_metrics(root, fork, "train M3", 1)
    assert abs(expected) > 0.01
    assert step["z"] == pytest.approx(expected, abs=1e-3)
    assert ("kl" in step) == (reference == "sft")
    assert step.get("kl", 1) > 0


def test_killed_among_m1s_responses_and_in_a_training_with_replay_then_resumed_gives_equal_rows(
    whole: tuple[Path, RunRow], root: Path
) -> None:
    run = control.start_run(root, build_config(*SETTINGS))
    for label, n_done in (("sample t=2", N_PROMPTS * N + 1), ("train M3", 2)):
        hold_worker(root, run, label, n_done=n_done).kill()
        wait_until(lambda: not find_processes(root))
        control.resume_run(root, reread(root, run))
    finish(root, run)
    assert read_all(root, run) == read_all(*whole)


def list_changed(*overrides: str, against: tuple[str, ...] = ()) -> set[str]:
    """Labels of the stages whose keys these settings change."""

    def plan(settings: tuple[str, ...]) -> dict[str, str]:
        stages = plan_run([Segment(build_config("iterations=3", *settings), None)], base_digest="d")
        return {stage.label: stage.key for stage in stages}

    after, before = plan((*against, *overrides)), plan(against)
    assert after.keys() == before.keys()
    return {label for label in after if after[label] != before[label]}


def list_later(first: str) -> set[str]:
    """All stages from one of iterations 2 and 3 on."""
    labels = [stage.label for stage in plan_run([Segment(build_config("iterations=3"), None)], base_digest="d")]
    return set(labels[labels.index(first) :])


def test_settings_change_the_keys_of_what_they_change_alone() -> None:
    assert list_changed("training.replay=0.0", "method.loss.kl_weight=0.0", "method.pairs.rejected=policy") == set()
    assert list_changed("training.replay=0.5") == list_later("train M3")
    assert list_changed("training.replay=0.5", against=("training.replay=0.4",)) == list_later("train M3")
    assert list_changed("method.loss.kl_weight=0.5") == list_later("train M2")
    assert list_changed("method.loss.kind=signed") == list_later("train M2")
    assert list_changed("method.pairs.rejected=sft") == list_later("sample t=2")


def test_a_dry_run_counts_m1s_responses_too(whole: tuple[Path, RunRow]) -> None:
    """What is there is reused; another seed samples N responses to each prompt at t = 1, twice as many at t = 2."""
    root, _ = whole
    assert preview_run(root, build_config(*SETTINGS)).n_responses == 0
    assert preview_run(root, build_config(*SETTINGS, "seed=1")).n_responses == N_PROMPTS * (N + 2 * N)


def test_replay_reads_the_pairs_of_all_earlier_iterations() -> None:
    stages = plan_run([Segment(build_config("iterations=3", "training.replay=1.0"), None)], base_digest="d")
    by_label = {stage.label: stage for stage in stages}
    replayed = {role: key for role, key in by_label["train M4"].inputs.items() if ":" in role}
    assert replayed == {f"{name}:{t}": by_label[f"{name} t={t}"].key for name in ("sample", "pair") for t in (1, 2)}
    assert not any(":" in role for role in by_label["train M2"].inputs)
