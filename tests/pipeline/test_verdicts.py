"""`fork --use-verdicts`: what a person said of a run's pairs is what the fork trains on."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from in_process import finish_here
from small_runs import build_config, finish

from db.annotations import delete_verdict, write_verdict
from db.queries import find_run, read_pairs, read_run_metrics, read_run_stages
from db.reading import open_reader
from db.rows import PairRow, RunRow
from engine.errors import ConfigError
from engine.runtime import control

CONFIG = ("data.prompts_per_iteration=16", "evaluation.tasks=[]", "training.epochs=1")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunRow]:
    """A finished run; nobody has judged its pairs."""
    root = tmp_path_factory.mktemp("judged")
    return root, finish_here(root, build_config(*CONFIG))


def read_own_pairs(root: Path, run: RunRow, t: int = 1) -> tuple[int, dict[str, PairRow]]:
    with closing(open_reader(root)) as reader:
        (stage,) = [s for s in read_run_stages(reader, run.run_id) if s.name == "pair" and s.iteration == t]
        return stage.stage_id, {pair.prompt_id: pair for pair in read_pairs(reader, stage.stage_id)}


def read_counts(root: Path, run: RunRow) -> dict[str, float]:
    names = ("n_verdict_swapped", "n_verdict_dropped", "n_verdict_unused", "n_pairs", "n_skipped")
    with closing(open_reader(root)) as reader:
        return {m.name.removeprefix("n_"): m.value for m in read_run_metrics(reader, run.run_id, names=names)}


def fork(root: Path, run: RunRow, name: str, *overrides: str, method: str | None = None, use: bool = True) -> RunRow:
    return finish(
        root,
        control.fork_run(root, run, at="M1", overrides=overrides, method=method, name=name, use_verdicts=use),
    )


def test_verdicts_correct_the_pairs_of_a_fork(judged: tuple[Path, RunRow]) -> None:
    """One story in its order: no verdicts, verdicts, a fork that freezes them, forks of the fork."""
    root, run = judged
    stage_id, before = read_own_pairs(root, run)
    with pytest.raises(ConfigError, match="iteration 1 has a verdict") as refused:
        control.fork_run(root, run, at="M1", use_verdicts=True)
    assert "cream-tui judge" in str(refused.value.hint)

    swapped, tied, bad, agreed, unsure, *rest = [p for p, pair in before.items() if pair.chosen_k is not None]
    write_verdict(root, stage_id, unsure, verdict="unsure", is_flagged=True)
    with pytest.raises(ConfigError, match="could change it"):
        control.fork_run(root, run, at="M1", use_verdicts=True)
    for prompt_id, verdict in ((swapped, "swap"), (tied, "tie"), (bad, "both_bad"), (agreed, "agree")):
        write_verdict(root, stage_id, prompt_id, verdict=verdict)

    plain = fork(root, run, "plain", use=False)
    assert read_own_pairs(root, plain)[0] == stage_id  # nothing changed: the stage is shared

    corrected = control.fork_run(root, run, at="M1", name="corrected", use_verdicts=True)
    for prompt_id in (tied, bad):  # frozen: what is said later is for another fork
        delete_verdict(root, stage_id, prompt_id)
    corrected = finish(root, corrected)
    new_stage_id, after = read_own_pairs(root, corrected)
    assert new_stage_id != stage_id
    old, new = before[swapped], after[swapped]
    assert (new.chosen_k, new.rejected_k) == (old.rejected_k, old.chosen_k)
    assert (new.chosen_reward, new.rejected_reward) == (old.rejected_reward, old.chosen_reward)
    assert old.margin is not None and new.margin == -old.margin < 0
    assert (new.confidence, new.consistency_rate) == (old.confidence, old.consistency_rate)
    assert (after[tied].skip_reason, after[bad].skip_reason) == ("a person said: tie", "a person said: both bad")
    assert {p: after[p] for p in (agreed, unsure, *rest)} == {p: before[p] for p in (agreed, unsure, *rest)}
    counts, n_pairs = read_counts(root, corrected), sum(pair.chosen_k is not None for pair in before.values())
    assert counts == {
        "verdict_swapped": 1,
        "verdict_dropped": 2,
        "verdict_unused": 0,
        "pairs": n_pairs - 2,
        "skipped": len(before) - n_pairs + 2,
    }
    assert "verdict_swapped" not in read_counts(root, run)

    again = fork(root, run, "again")  # without the deleted verdicts: other pairs, the old ones untouched
    assert read_counts(root, again)["verdict_dropped"] == 0
    assert read_own_pairs(root, corrected)[1] == after

    heir = fork(root, corrected, "heir", "training.beta=0.5", use=False)
    assert read_own_pairs(root, heir)[0] == new_stage_id  # a fork of the fork keeps its corrections
    write_verdict(root, new_stage_id, swapped, verdict="swap")  # of the corrected pair: back to the model's choice
    both = fork(root, corrected, "both")
    assert read_own_pairs(root, both)[1][swapped] == old
    assert read_own_pairs(root, both)[1][tied].skip_reason == "a person said: tie"


def test_a_person_wins_over_another_ranking(judged: tuple[Path, RunRow]) -> None:
    """Chance ranks anew: where its pair has the judged responses, the person's preference stands."""
    root, run = judged
    stage_id, before = read_own_pairs(root, run)
    kept = {p: pair for p, pair in before.items() if pair.chosen_k is not None}
    for prompt_id in kept:
        write_verdict(root, stage_id, prompt_id, verdict="swap")
    plain = fork(root, run, "random", method="random", use=False)
    corrected = fork(root, run, "random-judged", method="random")
    (_, ranked), (_, after) = read_own_pairs(root, plain), read_own_pairs(root, corrected)
    met = [p for p, pair in kept.items() if find_sides(ranked[p]) == find_sides(pair)]
    assert met, "no pair is the same: the test shows nothing"
    assert {p: after[p].chosen_k for p in met} == {p: kept[p].rejected_k for p in met}
    counts = read_counts(root, corrected)
    assert counts["verdict_swapped"] >= sum(ranked[p].chosen_k == kept[p].chosen_k for p in met)
    assert counts["verdict_unused"] > 0


def find_sides(pair: PairRow) -> set[int | None]:
    return {pair.chosen_k, pair.rejected_k}


def test_the_command_line_judges_forks_and_queues(judged: tuple[Path, RunRow]) -> None:
    root, run = judged
    _, pairs = read_own_pairs(root, run)
    prompt_id = next(p for p, pair in pairs.items() if pair.chosen_k is not None)

    def call(*words: str) -> str:
        command = [sys.executable, "-P", "-m", "cream_tui", *words, "--store", str(root)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    call("judge", run.run_id, prompt_id, "tie")
    run_id = call("fork", run.run_id, "--at", "M1", "--use-verdicts", "--name", "queued", "--queue", "--detach")
    with closing(open_reader(root)) as reader:
        fork = find_run(reader, run_id)
    assert read_own_pairs(root, finish(root, fork))[1][prompt_id].skip_reason == "a person said: tie"


def test_other_responses_are_refused(judged: tuple[Path, RunRow]) -> None:
    root, run = judged
    stage_id, pairs = read_own_pairs(root, run)
    write_verdict(root, stage_id, next(p for p, pair in pairs.items() if pair.chosen_k is not None), verdict="swap")
    with pytest.raises(ConfigError, match="other responses in iteration 1") as refused:
        control.fork_run(root, run, at="M1", overrides=["sampling.temperature=1.2"], use_verdicts=True)
    assert "leave seed, sampling and prompts" in str(refused.value.hint)
