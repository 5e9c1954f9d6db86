"""One training in two processes: that of one process with the same batches, equal weights, resumed after a kill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from forked_ranks import Steps, read_weights, run_ranks
from tiny_models import (
    END,
    build_model,
    build_settings,
    build_word_tokenizer,
    make_pairs,
    make_sequences,
    refer_by_token,
)

from engine.compute.adapters import AdapterSettings
from engine.compute.train_job import Examples, TrainJob, check_equal_weights, run_job
from engine.compute.training import PreferenceLoss, find_snapshot
from engine.records import TokenSequence

LOSS = PreferenceLoss(0.3, kl_weight=0.1, nll_weight=0.1)
# 32 examples, 8 per step, 2 epochs.
N_STEPS = 8
LORA = AdapterSettings(rank=4, alpha=8, dropout=0.0, targets=("all-linear",))
FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """M0 as a folder."""
    folder = tmp_path_factory.mktemp("base")
    build_model().save_pretrained(folder)
    build_word_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pairs() -> Examples:
    return refer_by_token(make_pairs(32, seed=1, confidences=(0.9, 0.4, 0.7)), build_model())


@pytest.fixture(scope="module")
def demonstrations() -> Examples:
    return [TokenSequence(s.prompt, (*s.response, END)) for s in make_sequences(32, seed=1)]


def build_job(
    base: Path, folder: Path, *, loss: PreferenceLoss | None, adapter: AdapterSettings | None = None
) -> TrainJob:
    return TrainJob(
        base_folder=str(base),
        base_name="M0",
        parent_folder=str(base),
        adapter=adapter,
        dtype="float32",
        settings=build_settings(batch_size=8, epochs=2, snapshot_every=3),
        loss=loss,
        work_folder=str(folder),
        output_folder=str(folder / "out"),
    )


def share(job: TrainJob, folder: Path, **changes: object) -> TrainJob:
    """The same job for two processes, in a folder of its own."""
    settings = replace(job.settings, n_processes=2, **changes)  # type: ignore[arg-type]
    return replace(job, settings=settings, work_folder=str(folder), output_folder=str(folder / "out"))


def train_alone(job: TrainJob, examples: Examples) -> Steps:
    steps: Steps = {}
    run_job(
        job,
        examples,
        device=torch.device("cpu"),
        on_step=lambda step, n_steps, values, _: steps.update({step: dict(values)}),
    )
    return steps


def assert_same_training(found: Steps, expected: Steps, *, but: frozenset[str] = frozenset()) -> None:
    assert list(found) == list(expected) == list(range(1, N_STEPS + 1))
    for step, values in expected.items():
        assert found[step].keys() == values.keys()
        assert found[step]["loss"] == pytest.approx(values["loss"], abs=1e-5)
        for name in values.keys() - but:
            assert found[step][name] == pytest.approx(values[name], rel=1e-4, abs=1e-4), (step, name)
    losses = [values["loss"] for values in expected.values()]
    assert max(losses) - min(losses) > 0.03


def assert_close_weights(found: TrainJob, expected: TrainJob, *, start: Path) -> None:
    weights, others = read_weights(found), read_weights(expected)
    assert weights.keys() == others.keys()
    for name, weight in others.items():
        torch.testing.assert_close(weights[name], weight, atol=2e-5, rtol=0)
    before = read_weights(replace(expected, output_folder=str(start)))
    assert max(float((others[name] - before[name]).abs().max()) for name in others) > 1e-3


@pytest.mark.parametrize("kind", ["sft", "preference", "sharded preference"])
def test_two_processes_train_as_one_with_the_doubled_pass(
    kind: str, base: Path, pairs: Examples, demonstrations: Examples, tmp_path: Path
) -> None:
    """The second process's pass holds other numbers of tokens: a mean of means would differ by far more than 1e-5."""
    examples = demonstrations if kind == "sft" else pairs
    alone = build_job(base, tmp_path / "alone", loss=None if kind == "sft" else LOSS)
    shared = share(alone, tmp_path / "shared")
    assert (shared.settings.pass_size, alone.settings.pass_size) == (4, 8)
    environment = FSDP if kind.startswith("sharded") else None
    assert_same_training(
        run_ranks(shared, examples, tmp_path / "log", environment=environment), train_alone(alone, examples)
    )
    assert_close_weights(shared, alone, start=base)
    assert (find_snapshot(tmp_path / "shared") or tmp_path).name == "checkpoint-6"
    is_sharded = any((tmp_path / "shared" / "checkpoint-6").glob("pytorch_model_fsdp_0/*.distcp"))
    assert is_sharded == kind.startswith("sharded")


def test_an_adapter_in_two_processes_killed_and_resumed(base: Path, pairs: Examples, tmp_path: Path) -> None:
    """Recomputed activations and two passes per update on top; the resumed steps equal those of an unbroken run."""
    alone = build_job(base, tmp_path / "alone", loss=LOSS, adapter=LORA)
    shared = share(
        alone, tmp_path / "shared", gradient_accumulation_steps=2, gradient_checkpointing=True, snapshot_every=3
    )
    before = run_ranks(shared, pairs, tmp_path / "before", killed_at=5)
    assert list(before) == [1, 2, 3, 4, 5]
    assert (find_snapshot(tmp_path / "shared") or tmp_path).name == "checkpoint-3"
    after = run_ranks(shared, pairs, tmp_path / "after")
    assert list(after) == [4, 5, 6, 7, 8]
    assert {step: after[step] for step in (4, 5)} == {step: before[step] for step in (4, 5)}
    # What is a mean over a pass's tokens is averaged over the passes of an update, which have other numbers of them.
    but = frozenset({"entropy", "token_accuracy"})
    assert_same_training({**before, **after}, train_alone(alone, pairs), but=but)
    assert sorted(read_weights(shared)) == sorted(read_weights(alone))
    for name, weight in read_weights(alone).items():
        torch.testing.assert_close(read_weights(shared)[name], weight, atol=2e-5, rtol=0)


def test_equal_weights_have_equal_digests_and_others_another() -> None:
    one, other = build_model().train(), build_model().train()
    assert check_equal_weights(one) == check_equal_weights(other)
    with torch.no_grad():
        weight = other.model.layers[0].mlp.up_proj.weight
        weight[0, :2] = weight[0, :2].flip(0).clone()
    assert check_equal_weights(one) != check_equal_weights(other)
