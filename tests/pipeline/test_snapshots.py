"""Training killed at a step and resumed: the weights and every logged value of an uninterrupted run, bit for bit."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from tiny_models import END, build_model, build_settings, build_word_tokenizer, make_pairs, make_sequences

from engine.compute import training
from engine.compute.train_dpo import train_preference
from engine.compute.train_sft import train_sft
from engine.compute.training import MANIFEST, OnStep, PreferenceLoss, find_snapshot
from engine.records import TokenSequence

# 32 examples, 8 per step, 3 epochs: 12 steps; snapshots at 3, 6 and 9, in the middle of epochs.
N_STEPS, KILLED_AT = 12, 8
SETTINGS = build_settings(epochs=3, batch_size=8, snapshot_every=3)
Weights = dict[str, torch.Tensor]
Train = Callable[[Path, OnStep], Weights]


def train_pairs(folder: Path, on_step: OnStep) -> Weights:
    model = build_model().train()
    train_preference(
        model,
        build_word_tokenizer(),
        make_pairs(32, seed=1, confidences=(0.9, 0.4, 0.7)),
        loss=PreferenceLoss(0.3),
        settings=SETTINGS,
        dtype="float32",
        work_folder=folder,
        on_step=on_step,
    )
    return model.state_dict()


def train_examples(folder: Path, on_step: OnStep) -> Weights:
    model = build_model().train()
    examples = [TokenSequence(s.prompt, (*s.response, END)) for s in make_sequences(32, seed=1)]
    train_sft(
        model,
        build_word_tokenizer(),
        examples,
        settings=SETTINGS,
        dtype="float32",
        work_folder=folder,
        on_step=on_step,
    )
    return model.state_dict()


def train_until_killed(train: Train, folder: Path, log: Path) -> None:
    """What the child process does: report each step to a file, and die as if by kill -9 within one step's report."""

    def on_step(step: int, n_steps: int, values: Mapping[str, float], has_snapshot: bool) -> None:
        with log.open("a") as file:
            file.write(json.dumps([step, dict(values)]) + "\n")
        if step == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)

    train(folder, on_step)


def train_until_killed_in_save(train: Train, folder: Path, log: Path) -> None:
    """What another child does: die when its second snapshot has its files and not yet its manifest."""

    def die_in_second(path: Path) -> None:
        if path.parent.name == "checkpoint-6" and path.name.startswith(MANIFEST):
            os.kill(os.getpid(), signal.SIGKILL)

    training.fsync = die_in_second
    train_until_killed(train, folder, log)


def run_child(target: Callable[[Train, Path, Path], None], train: Train, folder: Path, log: Path) -> None:
    child = multiprocessing.get_context("fork").Process(target=target, args=(train, folder, log))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL


@pytest.fixture(scope="module", params=[train_pairs, train_examples], ids=["preference", "sft"])
def train(request: pytest.FixtureRequest) -> Train:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def whole(train: Train, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[int, dict[str, float]], Weights]:
    """The logged values and the weights of an uninterrupted run."""
    steps: dict[int, dict[str, float]] = {}
    folder = tmp_path_factory.mktemp("whole")
    weights = train(folder, lambda step, n_steps, values, _: steps.update({step: dict(values)}))
    return steps, weights


def resume(train: Train, folder: Path) -> tuple[dict[int, dict[str, float]], Weights]:
    steps: dict[int, dict[str, float]] = {}
    weights = train(folder, lambda step, n_steps, values, _: steps.update({step: dict(values)}))
    return steps, weights


def assert_equal_bits(found: Weights, expected: Weights) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def test_killed_and_resumed_equals_uninterrupted(
    train: Train, whole: tuple[dict[int, dict[str, float]], Weights], tmp_path: Path
) -> None:
    steps, weights = whole
    folder, log = tmp_path / "work", tmp_path / "log.jsonl"
    run_child(train_until_killed, train, folder, log)
    before = dict(json.loads(line) for line in log.read_text().splitlines())
    assert list(steps) == list(range(1, N_STEPS + 1))
    assert before == {step: steps[step] for step in range(1, KILLED_AT + 1)}
    assert find_snapshot(folder) == folder / "checkpoint-6"
    after, resumed = resume(train, folder)
    assert list(after) == list(range(7, N_STEPS + 1))
    assert {**before, **after} == steps
    assert_equal_bits(resumed, weights)


def test_a_kill_while_a_snapshot_is_written_falls_back_to_the_one_before(
    train: Train, whole: tuple[dict[int, dict[str, float]], Weights], tmp_path: Path
) -> None:
    steps, weights = whole
    folder, log = tmp_path / "work", tmp_path / "log.jsonl"
    run_child(train_until_killed_in_save, train, folder, log)
    torn = folder / "checkpoint-6"
    assert torn.exists() and not (torn / MANIFEST).exists()
    assert find_snapshot(folder) == folder / "checkpoint-3"
    assert not torn.exists()
    after, resumed = resume(train, folder)
    assert after == {step: values for step, values in steps.items() if step > 3}
    assert_equal_bits(resumed, weights)
    assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-9"]


def test_who_records_steps_hears_of_a_snapshot_before_it_is_taken(train: Train, tmp_path: Path) -> None:
    """What is not committed by then is lost by a kill: the resume begins after the snapshot's step."""
    heard: dict[int, bool] = {}

    def on_step(step: int, n_steps: int, values: Mapping[str, float], has_snapshot: bool) -> None:
        assert not (tmp_path / f"checkpoint-{step}").exists()
        heard[step] = has_snapshot

    train(tmp_path, on_step)
    assert heard == {step: step in (3, 6, 9) for step in range(1, N_STEPS + 1)}


def test_the_newest_whole_snapshot_is_found(tmp_path: Path) -> None:
    for step, manifest in ((3, '{"step": 3}'), (6, '{"step": 6}'), (12, '{"step": 12}'), (15, None), (18, '{"st')):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").touch()
        if manifest:
            (folder / MANIFEST).write_text(manifest)
    assert find_snapshot(tmp_path) == tmp_path / "checkpoint-12"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-12", "checkpoint-3", "checkpoint-6"]


def test_nothing_to_resume_from(tmp_path: Path) -> None:
    assert find_snapshot(tmp_path) is None
    assert find_snapshot(tmp_path / "missing") is None
