"""LoRA and QLoRA against plain torch: what M_t computes, what is trained and saved, where training starts."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import (
    CONFIGS,
    END,
    build_model,
    build_settings,
    build_word_tokenizer,
    compute_plain,
    make_pairs,
    make_sequences,
)
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from engine.artifacts import compute_folder_digest, measure_model
from engine.compute.adapters import AdapterSettings, attach_adapter, load_policy
from engine.compute.models import load_model
from engine.compute.train_job import Examples, TrainJob, run_job
from engine.compute.training import PreferenceLoss
from engine.errors import CheckpointError, ConfigError
from engine.records import PreferencePair, TokenSequence

CPU = torch.device("cpu")
LORA = AdapterSettings(rank=4, alpha=8, dropout=0.0, targets=("all-linear",))
Steps = list[dict[str, float]]


def save_base(folder: Path, architecture: str = "llama") -> Path:
    build_model(architecture).save_pretrained(folder)
    build_word_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """M0 as a folder."""
    return save_base(tmp_path_factory.mktemp("base"))


def demonstrate(n: int) -> Examples:
    return [TokenSequence(s.prompt, (*s.response, END)) for s in make_sequences(n, seed=1)]


def train(
    base: Path,
    folder: Path,
    examples: Examples,
    *,
    parent: Path | None = None,
    adapter: AdapterSettings = LORA,
    dtype: str = "float32",
    beta: float | None = 0.3,
    **settings: object,
) -> tuple[Steps, Path]:
    """Train an adapter beside M0 for a few steps; return their values and the folder of the result."""
    steps: Steps = []
    job = TrainJob(
        base_folder=str(base),
        base_name="M0",
        parent_folder=str(parent or base),
        adapter=adapter,
        dtype=dtype,
        settings=build_settings(**{"learning_rate": 1e-2, **settings}),
        loss=None if beta is None else PreferenceLoss(beta),
        work_folder=str(folder / "work"),
        output_folder=str(folder / "out"),
    )
    run_job(job, examples, device=CPU, on_step=lambda step, n_steps, values, _: steps.append(dict(values)))
    return steps, folder / "out"


def load(folder: Path, base: Path, **options: object) -> PreTrainedModel:
    return load_policy(folder, base_folder=base, **{"dtype": "float32", "device": CPU, **options})  # type: ignore[arg-type]


def merge_by_hand(base: Path, adapter: Path, *, scale: float) -> PreTrainedModel:
    """M0 with W + scale B A in place of every adapted W, from the files alone."""
    model, weights = load_model(base, dtype="float32", device=CPU), load_file(adapter / "adapter_model.safetensors")
    for name in (name for name in weights if name.endswith(".lora_A.weight")):
        layer = model.get_submodule(name.removeprefix("base_model.model.").removesuffix(".lora_A.weight"))
        update = weights[name.replace("lora_A", "lora_B")] @ weights[name]
        with torch.no_grad():
            layer.weight += scale * update
    return model


def refer(pairs: Examples, model: PreTrainedModel) -> list[PreferencePair]:
    """The pairs with the log-probs of another reference."""
    return [
        replace(
            pair,
            reference_chosen_logprob=compute_plain(model, TokenSequence(pair.prompt, pair.chosen)),
            reference_rejected_logprob=compute_plain(model, TokenSequence(pair.prompt, pair.rejected)),
        )
        for pair in pairs
    ]


def test_a_model_of_the_run_is_m0_plus_its_one_adapter(base: Path, tmp_path: Path) -> None:
    _, m1 = train(base, tmp_path, demonstrate(16), beta=None, epochs=3)
    by_hand, plain = merge_by_hand(base, m1, scale=8 / 4), build_model()
    for sequence in make_sequences(6, seed=2):
        found = compute_plain(load(m1, base), sequence)
        assert found == pytest.approx(compute_plain(by_hand, sequence), abs=1e-4)
        assert abs(found - compute_plain(plain, sequence)) > 0.01
        assert compute_plain(load(base, base), sequence) == compute_plain(plain, sequence)


def test_training_goes_on_with_the_same_adapter_and_starts_at_its_reference(base: Path, tmp_path: Path) -> None:
    """M1's adapter, trained further; with M_t as reference z is 0 at first, with M0 it is not."""
    _, m1 = train(base, tmp_path / "1", demonstrate(16), beta=None)
    pairs = make_pairs(16, seed=1)  # their references are M0's
    against_m1, m2 = train(base, tmp_path / "2", refer(pairs, load(m1, base)), parent=m1)
    against_m0, _ = train(base, tmp_path / "3", pairs, parent=m1)
    assert against_m1[0]["z"] == pytest.approx(0, abs=1e-4)
    assert against_m1[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert abs(against_m0[0]["z"]) > 0.01
    one, two = (load_file(folder / "adapter_model.safetensors") for folder in (m1, m2))
    assert one.keys() == two.keys() and all(one[name].shape == two[name].shape for name in one)
    assert any(not torch.equal(one[name], two[name]) for name in one)
    assert not any("ref" in name for name in two)


@pytest.mark.parametrize("architecture", list(CONFIGS))
def test_an_adapter_trains_beside_any_architecture(architecture: str, tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", architecture)
    pairs = refer(make_pairs(16, seed=1), build_model(architecture))
    steps, m2 = train(base, tmp_path, pairs)
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    sequence = make_sequences(1, seed=3)[0]
    before, after = compute_plain(load(base, base), sequence), compute_plain(load(m2, base), sequence)
    assert abs(after - before) > 1e-3


def test_the_folder_holds_the_adapter_and_names_no_path(base: Path, tmp_path: Path) -> None:
    _, folder = train(base, tmp_path, make_pairs(8, seed=1))
    names = {path.name for path in folder.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    for path in folder.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes() and str(base).encode() not in path.read_bytes()
    # Llama's seven layers, twice: 4 (in + out) each.
    per_layer = 2 * (32 + 32) + 2 * (32 + 16) + 3 * (32 + 48)
    assert measure_model(folder).n_parameters == 2 * 4 * per_layer


def test_equal_trainings_have_equal_digests_wherever_m0_lies(base: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(base, tmp_path / "elsewhere")
    pairs = make_pairs(8, seed=1)
    _, one = train(base, tmp_path / "1", pairs)
    _, two = train(elsewhere, tmp_path / "2", pairs)
    _, other = train(base, tmp_path / "3", pairs, seed=1)
    assert compute_folder_digest(one) == compute_folder_digest(two) != compute_folder_digest(other)


def test_a_new_adapter_changes_nothing_yet_and_follows_its_seed(base: Path) -> None:
    def attach(seed: int) -> PreTrainedModel:
        return attach_adapter(load_model(base, dtype="float32", device=CPU), LORA, parent=None, seed=seed)

    one, equal, other = ({n: p for n, p in attach(seed).named_parameters() if "lora_A" in n} for seed in (5, 5, 6))
    assert one and all(torch.equal(one[name], equal[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)
    sequence = make_sequences(1, seed=2)[0]
    assert compute_plain(attach(5).get_base_model().eval(), sequence) == compute_plain(build_model(), sequence)


def test_half_precision_keeps_small_updates_in_a_float32_adapter(base: Path, tmp_path: Path) -> None:
    """At a learning rate of 1e-6 a bfloat16 weight of 0.1 would never move: its steps are 5e-4."""
    half = tmp_path / "half"
    build_model().to(torch.bfloat16).save_pretrained(half)
    build_word_tokenizer().save_pretrained(half)
    pairs = refer(make_pairs(8, seed=1), build_model().to(torch.bfloat16))
    _, one = train(half, tmp_path / "1", pairs, dtype="bfloat16", learning_rate=1e-6, warmup_ratio=0.0)
    new = attach_adapter(load_model(half, dtype="bfloat16", device=CPU), LORA, parent=None, seed=0)
    assert {p.dtype for n, p in new.named_parameters() if "lora_" not in n} == {torch.bfloat16}
    weights = load_file(one / "adapter_model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    name = "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight"
    assert 0 < float(weights[name].abs().max()) < 2e-6
    assert {parameter.dtype for parameter in load(one, half, dtype="bfloat16").parameters()} >= {torch.bfloat16}


def test_dropout_belongs_to_sft_alone(base: Path, tmp_path: Path) -> None:
    wet = replace(LORA, dropout=0.5)
    for n, (examples, beta) in enumerate([(demonstrate(16), None), (make_pairs(16, seed=1), 0.3)]):
        dry_steps, _ = train(base, tmp_path / f"dry{n}", examples, beta=beta)
        wet_steps, _ = train(base, tmp_path / f"wet{n}", examples, beta=beta, adapter=wet)
        assert (dry_steps[1]["grad_norm"] == wet_steps[1]["grad_norm"]) == (beta is not None)


def test_a_whole_model_in_place_of_an_adapter_is_refused(base: Path, tmp_path: Path) -> None:
    other = save_base(tmp_path / "other")
    with pytest.raises(CheckpointError, match="whole model"):
        train(base, tmp_path, make_pairs(8, seed=1), parent=other)


def test_an_adapter_of_another_model_is_refused(base: Path, tmp_path: Path) -> None:
    _, m1 = train(base, tmp_path, demonstrate(8), beta=None)
    config = CONFIGS["llama"]()
    config.num_hidden_layers = 1
    LlamaForCausalLM(config).save_pretrained(tmp_path / "smaller")
    with pytest.raises(CheckpointError, match="does not fit"):
        load(m1, tmp_path / "smaller")


@pytest.mark.parametrize("targets", [("up_projj",), ("lm_head",)])
def test_targets_that_cannot_be_adapted_are_refused(base: Path, tmp_path: Path, targets: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"adapter\.targets"):
        train(base, tmp_path, make_pairs(8, seed=1), adapter=replace(LORA, targets=targets))


def test_qlora_trains_beside_four_bits_and_starts_at_its_reference(tmp_path: Path) -> None:
    """Scoring and training hold M0 in the same 4 bits, so z is 0 at first; against the plain M0 it would not be."""
    pytest.importorskip("bitsandbytes")
    base, quantised = tmp_path / "base", replace(LORA, is_quantised=True)
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    plain = LlamaForCausalLM(LlamaConfig(vocab_size=100, bos_token_id=1, eos_token_id=2, pad_token_id=0, **sizes))
    with torch.no_grad():
        for parameter in plain.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2)
    plain.save_pretrained(base)
    build_word_tokenizer().save_pretrained(base)
    policy, sequence = load(base, base, is_quantised=True), make_sequences(1, seed=2)[0]
    assert policy.model.layers[0].mlp.up_proj.weight.dtype == torch.uint8
    pairs = make_pairs(16, seed=1)
    steps, m2 = train(base, tmp_path, refer(pairs, policy), adapter=quantised)
    assert steps[0]["z"] == pytest.approx(0, abs=1e-5)
    against_plain, _ = train(base, tmp_path / "3", refer(pairs, plain.eval()), adapter=quantised)
    assert abs(against_plain[0]["z"]) > 0.01
    assert compute_plain(load(m2, base, is_quantised=True), sequence) != compute_plain(policy, sequence)
    assert {weight.dtype for weight in load_file(m2 / "adapter_model.safetensors").values()} == {torch.float32}
    again, _ = train(
        base, tmp_path / "2", refer(pairs, load(m2, base, is_quantised=True)), adapter=quantised, parent=m2
    )
    assert again[0]["z"] == pytest.approx(0, abs=1e-5)
