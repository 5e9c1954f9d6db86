"""What a stage is expected to take of memory: arithmetic by hand, and one real run of a model of 17M parameters."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from memory import MODELS, STAGES, estimate_run, measure_run, write_run
from small_runs import build_config

from engine.config.load import load_run_config
from engine.config.run import RunConfig
from engine.config.scoring import RewardModelConfig
from engine.config.shipped import find_configs_folder
from engine.errors import ExitCode, Interrupted
from engine.plan import Segment, StageTask, plan_run
from engine.runtime.memory import (
    PROCESS_BYTES,
    Lengths,
    ModelShape,
    StageMemory,
    count_checkpoint_bytes,
    count_snapshot_bytes,
    count_trained,
    estimate_reward_model,
    estimate_stages,
    read_shape,
)
from engine.stages.context import StageContext
from engine.stages.train import check_training_room

# Llama-3-8B: 32 layers of 4096, 14336 in between, 8 of 32 heads for keys and values, 128,256 tokens, no tied head.
LLAMA_8B = ModelShape(
    n_parameters=8_030_261_248,
    n_layers=32,
    hidden=4096,
    intermediate=14336,
    n_heads=32,
    kv_width=1024,
    vocabulary=128_256,
    mlp_tensors=4,
    has_eager_attention=False,
    n_embedding=2 * 128_256 * 4096,
    stored_bytes=2 * 8_030_261_248,
)
LENGTHS = Lengths(prompt=1024, item=512, example=2048)
GB = 1e9


def build(*overrides: str) -> RunConfig:
    return load_run_config(
        "sandbox",
        overrides=["model.dtype=bfloat16", "sampling.max_new_tokens=768", "training.max_length=2048", *overrides],
    )


def estimate(*overrides: str, **processes: int) -> dict[str, StageMemory]:
    stages = estimate_stages(build(*overrides), LLAMA_8B, LENGTHS, device="cuda", **processes)
    return {stage.name: stage for stage in stages}


def test_a_run_of_17m_parameters_takes_what_was_expected(root: Path, tmp_path: Path) -> None:
    """Within 20 %, beyond what the process of a stage without a model takes."""
    smaller = ("data.sft_examples=8", "sft.batch_size=4", "data.prompts_per_iteration=4", "sampling.n=2")
    config = write_run(tmp_path / "run", MODELS["llama-17m"], [*smaller, "training.batch_size=2"])
    peaks = measure_run(config, root)
    empty = peaks["agree t=1"]
    ratios = {}
    for stage in estimate_run(config):
        measured = peaks[STAGES[stage.name]] - empty - (stage.process - PROCESS_BYTES)
        ratios[stage.name] = (stage.total - stage.process) / measured
    assert set(ratios) == {"train (SFT)", "sample", "score", "train"}
    assert all(0.8 <= ratio <= 1.2 for ratio in ratios.values()), ratios


def test_a_judge_samples_what_it_says_and_a_reward_model_is_weights_and_one_layer() -> None:
    """The weights of 8B in bfloat16, and in float32 for a reward model whose configuration says nothing else."""
    config = build("scoring.judge={judgements: 4, max_new_tokens: 256}")
    judged = {
        stage.name: stage for stage in estimate_stages(config, LLAMA_8B, replace(LENGTHS, judge=2048), device="cuda")
    }
    assert "judge" not in estimate()
    assert judged["judge"].weights == judged["sample"].weights
    longer = estimate_stages(config, LLAMA_8B, replace(LENGTHS, judge=16384), device="cuda")
    assert {stage.name: stage for stage in longer}["judge"].other > judged["judge"].other
    settings = RewardModelConfig(path="rm", batch_tokens=2048)
    reward_model = estimate_reward_model("rm", settings, LLAMA_8B, length=2048, device="cuda")
    assert reward_model.weights == pytest.approx(1.05 * 4 * LLAMA_8B.n_parameters)
    assert reward_model.other == pytest.approx(1.05 * 2048 * 4 * (4 * 14336 + 6 * 4096))


def test_the_shape_is_read_from_config_and_headers() -> None:
    """The sandbox's M0: three layers of 96, 288 in between, and a head that is its embeddings of 384 tokens."""
    shape = read_shape(find_configs_folder() / "models" / "sandbox")
    assert shape == ModelShape(
        n_parameters=396_960,
        n_layers=3,
        hidden=96,
        intermediate=288,
        n_heads=4,
        kv_width=96,
        vocabulary=384,
        mlp_tensors=4,
        has_eager_attention=False,
        n_embedding=384 * 96,
        stored_bytes=4 * 396_960,
    )


def test_weights_and_adam_are_those_of_the_textbook() -> None:
    """8.03e9 parameters: 16.06 GB in bfloat16; trained, 4 bytes each and 8 of Adam; 5 % stay unusable."""
    stages = estimate()
    assert stages["score"].weights == pytest.approx(1.05 * 16.06 * GB, rel=1e-3)
    assert stages["train"].weights == pytest.approx(1.05 * 32.12 * GB, rel=1e-3)
    assert stages["train"].optimiser == pytest.approx(1.05 * 64.24 * GB, rel=1e-3)
    assert stages["score"].optimiser == 0


def test_processes_that_share_a_model_divide_what_belongs_to_it() -> None:
    whole, shared = estimate()["train"], estimate(n_processes=8, is_sharded=True)["train"]
    assert shared.weights == pytest.approx(whole.weights / 8, rel=1e-6)
    assert shared.optimiser == pytest.approx(whole.optimiser / 8, rel=1e-6)
    copied = estimate(n_processes=8)["train"]
    assert (copied.weights, copied.optimiser) == (whole.weights, whole.optimiser)


def test_an_adapter_trains_its_factors_alone() -> None:
    """r (in + out) of seven matrices in 32 layers: 32 * 32 * (2*8192 + 2*5120 + 3*18432) = 83.9M numbers."""
    config = build("adapter.kind=lora", "adapter.rank=32")
    assert count_trained(LLAMA_8B, config.adapter) == 32 * 32 * (2 * 8192 + 2 * 5120 + 3 * 18432) == 83_886_080
    assert count_checkpoint_bytes(LLAMA_8B, config) == 4 * 83_886_080
    assert count_snapshot_bytes(LLAMA_8B, config) == 12 * 83_886_080
    stage = estimate("adapter.kind=lora")["train"]
    assert stage.optimiser == pytest.approx(1.05 * 8 * 83_886_080, rel=1e-3)
    assert stage.weights == pytest.approx(1.05 * (16.06 * GB + 4 * 83_886_080), rel=1e-3)
    assert count_checkpoint_bytes(LLAMA_8B, build()) == LLAMA_8B.stored_bytes


def test_four_bits_hold_the_layers_and_leave_the_embeddings() -> None:
    stage = estimate("adapter.kind=qlora")["score"]
    layers = LLAMA_8B.n_parameters - LLAMA_8B.n_embedding
    assert stage.weights == pytest.approx(1.05 * (0.52 * layers + 2 * LLAMA_8B.n_embedding), rel=1e-6)


@pytest.mark.parametrize(
    ("more", "stage"),
    [
        ("training.gradient_checkpointing=true", "train"),
        ("training.gradient_accumulation_steps=32", "train"),
        ("sft.gradient_accumulation_steps=16", "train (SFT)"),
        ("sampling.batch_tokens=4096", "sample"),
        ("scoring.batch_tokens=1792", "score"),
        ("evaluation.batch_tokens=2048", "evaluate"),
    ],
)
def test_each_setting_that_saves_memory_is_seen(more: str, stage: str) -> None:
    base = ("scoring.batch_tokens=8192",)
    before, after = estimate(*base), estimate(*base, more)
    assert after[stage].other < 0.7 * before[stage].other
    others = {name: value for name, value in before.items() if name != stage}
    assert {name: after[name] for name in others} == others


def test_a_larger_vocabulary_needs_more_room_for_logits_up_to_a_bound() -> None:
    """Training takes log-probs of 32,768 columns at a time; the gradient of the head alone goes on growing."""
    few, many = (
        {
            stage.name: stage
            for stage in estimate_stages(build(), replace(LLAMA_8B, vocabulary=n), LENGTHS, device="cpu")
        }
        for n in (32_768, 65_536)
    )
    grown = many["train"].other - few["train"].other
    assert grown == pytest.approx(1.05 * 4 * 32_768 * 4096, rel=1e-6)
    assert many["sample"].other > few["sample"].other


@pytest.mark.parametrize(
    ("free_bytes", "snapshot_every", "is_refused"),
    [(1_000_000, 50, True), (2_000_000, 50, False), (2_000_000, 2, True), (20_000_000, 2, False)],
)
def test_a_training_begins_only_with_room_for_what_it_will_write(
    root: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int, snapshot_every: int, is_refused: bool
) -> None:
    """1.6 MB of weights and, where 8 updates outlast the interval, two snapshots of 4.8 MB; a resume may go on."""
    config = build_config(f"sft.snapshot_every={snapshot_every}")
    spec = next(spec for spec in plan_run([Segment(config, None)], base_digest="M0") if spec.part == "sft")
    folder = find_configs_folder() / "models" / "sandbox"
    context = StageContext(StageTask(str(root), "run", "token", 1, spec, {}, str(folder), str(root / "log")))
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=free_bytes))
    if not is_refused:
        check_training_room(context, n_examples=16)
        return
    with pytest.raises(Interrupted, match="no room for the checkpoint and its snapshots") as refusal:
        check_training_room(context, n_examples=16)
    assert refusal.value.exit_code == ExitCode.INTERRUPTED and "resume" in str(refusal.value.hint)


def test_a_resumed_training_needs_no_room_for_the_snapshot_that_is_there(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first attempt began with just enough room and wrote one of two snapshots."""
    config = build_config("sft.snapshot_every=2")
    spec = next(spec for spec in plan_run([Segment(config, None)], base_digest="M0") if spec.part == "sft")
    folder = find_configs_folder() / "models" / "sandbox"
    context = StageContext(StageTask(str(root), "run", "token", 1, spec, {}, str(folder), str(root / "log")))
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=7_000_000))
    with pytest.raises(Interrupted):
        check_training_room(context, n_examples=16)
    snapshot = context.work_folder / "checkpoint-2"
    snapshot.mkdir(parents=True)
    (snapshot / "snapshot.json").write_text('{"step": 2}')
    check_training_room(context, n_examples=16)
