"""Whole runs that rank by a judge, by an external reward model, and by several models of the run."""

from __future__ import annotations

import statistics
from contextlib import closing
from pathlib import Path

import pytest
import torch
from in_process import finish_here
from scorer_models import N_PROMPTS, build_judge_config, save_judge, save_reward_model
from small_runs import build_config, find_processes, finish, hold_worker, read_all, reread, wait_until
from tiny_models import compute_plain
from transformers import AutoModelForCausalLM

from db.queries import (
    read_pairs,
    read_prompts,
    read_responses,
    read_run_checkpoints,
    read_run_metrics,
    read_run_stages,
    read_scores,
)
from db.reading import open_reader
from db.rows import RunRow
from engine.method.aggregation import compute_rewards
from engine.method.judgement import compute_self_agreement
from engine.records import TokenSequence
from engine.runtime import control
from engine.stages.score_judge import NO_JUDGEMENT
from engine.stages.score_reward_model import TOO_LONG

Score = dict[tuple[str, str, int], float | None]


def read_score_rows(root: Path, run: RunRow, t: int) -> Score:
    """Return the scores of an iteration, the aggregate of the pair stage among them."""
    with closing(open_reader(root)) as reader:
        ids = [
            s.stage_id for s in read_run_stages(reader, run.run_id) if s.iteration == t and s.name in ("score", "pair")
        ]
        return {(row.scorer, row.prompt_id, row.k): row.score for row in read_scores(reader, ids)}


def find_stage(root: Path, run: RunRow, label: str) -> int:
    with closing(open_reader(root)) as reader:
        return next(s.stage_id for s in read_run_stages(reader, run.run_id) if s.label == label)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("judge")
    save_judge(made / "lm")
    save_reward_model(made / "rm")
    save_reward_model(made / "short", context=7)
    return made


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> tuple[Path, RunRow]:
    root = tmp_path_factory.mktemp("judged")
    return root, finish_here(root, build_judge_config(folder))


def test_a_judges_score_is_the_mean_of_what_could_be_read(judged: tuple[Path, RunRow]) -> None:
    root, run = judged
    scores = read_score_rows(root, run, 1)
    with closing(open_reader(root)) as reader:
        responses = read_responses(reader, find_stage(root, run, "sample t=1"))
        metrics = {m.name: m.value for m in read_run_metrics(reader, run.run_id) if m.label.endswith("(judge:M1)")}
        pairs = read_pairs(reader, find_stage(root, run, "pair t=1"))
    judgements = {}
    for r in responses:
        given = [scores[f"judge:M1#{n}", r.prompt_id, r.k] for n in (1, 2, 3)]
        present = [score for score in given if score is not None]
        expected = statistics.fmean(present) if present else None
        assert scores["judge:M1", r.prompt_id, r.k] == (expected if expected is None else pytest.approx(expected))
        assert scores["aggregate", r.prompt_id, r.k] == scores["judge:M1", r.prompt_id, r.k]
        # Equal responses are judged once.
        assert judgements.setdefault((r.prompt_id, r.token_ids), given) == given
    every = [score for given in judgements.values() for score in given]
    assert metrics["n_judgements"] == len(every)
    assert metrics["judge_parse_failure_rate"] == pytest.approx(every.count(None) / len(every))
    assert (
        0.1 < metrics["judge_parse_failure_rate"] < 0.4
    )  # the model leaves the score out in a quarter of its judgements
    assert {s for s in every if s is not None} == {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}
    assert len({tuple(given) for given in judgements.values()}) > 10  # each response has random streams of its own
    alpha = compute_self_agreement(list(judgements.values()))
    assert alpha is not None and metrics["judge_self_agreement"] == pytest.approx(alpha)
    assert abs(metrics["judge_self_agreement"]) < 0.35  # what it says of a response is chance
    for pair in pairs:
        if pair.chosen_k is not None and pair.rejected_k is not None:
            group = [s for (scorer, p, _), s in scores.items() if (scorer, p) == ("judge:M1", pair.prompt_id)]
            present = [s for s in group if s is not None]
            assert (pair.chosen_reward, pair.rejected_reward) == (max(present), min(present))


def test_a_judge_killed_in_the_middle_and_resumed_gives_equal_rows(
    judged: tuple[Path, RunRow], folder: Path, root: Path
) -> None:
    run = control.start_run(root, build_judge_config(folder))
    hold_worker(root, run, "score t=1 (judge:M1)", n_done=1).kill()
    wait_until(lambda: not find_processes(root))
    assert reread(root, run).state == "failed"
    finish(root, control.resume_run(root, reread(root, run)))
    assert read_all(root, run) == read_all(*judged)


def test_a_judge_that_never_states_a_score_stops_the_run_with_the_reason(root: Path, tmp_path: Path) -> None:
    """The sandbox's model does sums: what it says of a response is no judgement, and none is called bad for it."""
    overrides = [
        "data.sft=none",
        "data.prompts_per_iteration=4",
        "evaluation.tasks=[]",
        f"scoring.judge={{judgements: 2, max_new_tokens: 8, prompt: {tmp_path / 'ask.txt'}}}",
    ]
    (tmp_path / "ask.txt").write_text("score {prompt} {response}")  # the shipped one is longer than its context
    run = finish(root, control.start_run(root, build_config(*overrides, method="srlm-judge")), "failed")
    assert "iteration 1 has no pair to train on" in (run.error or "")
    assert f"judge:M1: {NO_JUDGEMENT}, 20 of 20 responses" in (run.error or "")
    assert {s for (scorer, *_), s in read_score_rows(root, run, 1).items() if scorer.startswith("judge")} == {None}


def test_reward_models_rank_and_compare(judged: tuple[Path, RunRow], folder: Path) -> None:
    """One ranks against the judge of another run, whose judgements are shared; one is too short for most responses."""
    root, _ = judged
    ranks = "{kind: single, scorers: [reward_model:rm]}"
    compares = "{measure: kendall, scorer: reward_model:rm, against: judge:current}"
    overrides = [
        f"scoring.reward_models={{rm: {{path: {folder / 'rm'}}}, short: {{path: {folder / 'short'}}}}}",
        f"method={{name: rm, scorers: [reward_model:rm, reward_model:short, judge:current], aggregate: {ranks}, "
        f"agreement: {compares}, confidence: {{kind: per_prompt}}}}",
    ]
    run = finish_here(root, build_judge_config(folder, *overrides, name="rm", method=None))
    scores = read_score_rows(root, run, 1)
    rewards = {key[1:]: score for key, score in scores.items() if key[0] == "reward_model:rm"}
    assert len(rewards) == 4 * N_PROMPTS and None not in rewards.values()
    assert {key[1:]: score for key, score in scores.items() if key[0] == "aggregate"} == rewards
    with closing(open_reader(root)) as reader:
        pairs = read_pairs(reader, find_stage(root, run, "pair t=1"))
        labels = {s.label: s.stage_id for s in read_run_stages(reader, run.run_id)}
        shared = {s.label: s.stage_id for s in read_run_stages(reader, judged[1].run_id)}
        texts = {(r.prompt_id, r.k): r.text for r in read_responses(reader, labels["sample t=1"])}
        short = read_scores(reader, [labels["score t=1 (reward_model:short)"]])
    assert labels["score t=1 (judge:M1)"] == shared["score t=1 (judge:M1)"]
    for pair in pairs:
        if pair.chosen_k is not None and pair.rejected_k is not None:
            group = [rewards[pair.prompt_id, k] for k in range(4)]
            assert rewards[pair.prompt_id, pair.chosen_k] == max(group)
            assert rewards[pair.prompt_id, pair.rejected_k] == min(group)
            assert pair.confidence == pair.consistency_rate
    # A conversation takes six words around a response of one or two: 'words' fits into 7, 'Score: 3' does not.
    assert {(row.prompt_id, row.k) for row in short if row.score is not None} == {
        key for key, text in texts.items() if text == "words"
    }
    assert {row.missing_reason for row in short} == {None, TOO_LONG}


def test_an_ensemble_has_each_earlier_models_rewards_of_the_same_responses(root: Path) -> None:
    """Independent oracle: log-probs of every checkpoint by a plain forward pass, aggregated by hand."""
    overrides = ["iterations=3", "evaluation.tasks=[]", "data.prompts_per_iteration=8", "training.epochs=2"]
    run = finish_here(root, build_config(*overrides, method="ensemble-min"))
    scores = read_score_rows(root, run, 3)
    with closing(open_reader(root)) as reader:
        checkpoints = {c.name: Path(c.folder) for c in read_run_checkpoints(reader, run.run_id, root)}
        sample = find_stage(root, run, "sample t=3")
        prompts = {prompt.prompt_id: sampled.token_ids for prompt, sampled in read_prompts(reader, sample)}
        responses = read_responses(reader, sample)[:10]
    models = {
        name: AutoModelForCausalLM.from_pretrained(checkpoints[name], dtype=torch.float32)
        for name in ("M0", "M1", "M2", "M3")
    }
    rewards: dict[str, dict[str, list[float]]] = {}
    for r in responses:
        sequence = TokenSequence(prompts[r.prompt_id], r.token_ids)
        base = compute_plain(models["M0"], sequence)
        for name in ("M1", "M2", "M3"):
            expected = compute_plain(models[name], sequence) - base
            assert scores[f"implicit:{name}", r.prompt_id, r.k] == pytest.approx(expected, abs=1e-3)
            rewards.setdefault(r.prompt_id, {}).setdefault(name, []).append(expected)
    for prompt_id, columns in rewards.items():
        expected_rewards = compute_rewards(columns, kind="min")
        assert [scores["aggregate", prompt_id, k] for k in range(5)] == pytest.approx(expected_rewards, abs=1e-2)
