"""The preference trainer against plain torch, the numpy loss, conservative DPO and TRL's own trainer."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny_models import (
    CONFIGS,
    END,
    PAD,
    build_model,
    build_settings,
    build_word_tokenizer,
    compute_plain,
    compute_plain_logprobs,
    make_pairs,
    refer_by_token,
)
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from transformers import PreTrainedModel
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from engine.compute.train_dpo import (
    ConfidenceCollator,
    ConfidenceDPOTrainer,
    build_pair_dataset,
    estimate_kl,
    train_preference,
)
from engine.compute.training import PreferenceLoss, build_arguments
from engine.method.loss import compute_loss, compute_target_margin
from engine.records import PreferencePair, TokenSequence

BETA = 0.3
LOSS = PreferenceLoss(BETA)
CONFIDENCES = (0.0, 0.5, 1.0, 0.8, 0.31)
Gradients = dict[str, torch.Tensor]


def move_references(pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    """Make every z differ from 0, by several nats either way."""
    rng = random.Random(1)
    return [replace(p, reference_chosen_logprob=p.reference_chosen_logprob + rng.uniform(-9, 9)) for p in pairs]


def compute_by_trainer(
    pairs: Sequence[PreferencePair],
    tmp_path: Path,
    *,
    model: PreTrainedModel | None = None,
    loss: PreferenceLoss = LOSS,
) -> tuple[float, Gradients]:
    """Loss and gradients of one batch as the trainer computes them."""
    model = model or build_model()
    arguments = build_arguments(build_settings(), dtype="float32", work_folder=tmp_path)
    trainer = ConfidenceDPOTrainer(
        model=model.train(),
        args=DPOConfig(**arguments, beta=loss.beta),
        loss=loss,
        data_collator=ConfidenceCollator(pad_token_id=PAD),
        train_dataset=build_pair_dataset(pairs),
        processing_class=build_word_tokenizer(),
    )
    value = trainer.compute_loss(model, trainer.data_collator(list(trainer.train_dataset)))
    value.backward()
    return value.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def compute_plain_z(model: PreTrainedModel, pair: PreferencePair) -> torch.Tensor:
    """z of one pair, with a gradient, from two unpadded forward passes."""
    sums = [compute_plain_logprobs(model, pair.prompt, side).sum() for side in (pair.chosen, pair.rejected)]
    return BETA * (sums[0] - sums[1] - (pair.reference_chosen_logprob - pair.reference_rejected_logprob))


def collect_gradients(model: PreTrainedModel, loss: torch.Tensor) -> Gradients:
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_equal_gradients(found: Gradients, expected: Mapping[str, torch.Tensor], *, atol: float = 1e-5) -> None:
    assert found.keys() == expected.keys()
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    assert scale > 1e-3
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=atol * max(1.0, scale), rtol=0)


def train(
    pairs: Sequence[PreferencePair],
    folder: Path,
    *,
    model: PreTrainedModel | None = None,
    dtype: str = "float32",
    loss: PreferenceLoss = LOSS,
    **settings: object,
) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """The values of every step and the weights at the end."""
    model, steps = model or build_model().train(), []
    train_preference(
        model,
        build_word_tokenizer(),
        pairs,
        loss=loss,
        settings=build_settings(**settings),
        dtype=dtype,
        work_folder=folder,
        on_step=lambda step, n_steps, values, _: steps.append(dict(values)),
    )
    return steps, model.state_dict()


def test_loss_and_gradients_equal_plain_torch(tmp_path: Path) -> None:
    """L = -C logsigmoid(z) - (1 - C) logsigmoid(-z), each pair with its own C, averaged over pairs."""
    pairs = move_references(make_pairs(10, seed=1, confidences=CONFIDENCES))
    model = build_model().train()
    z = torch.stack([compute_plain_z(model, pair) for pair in pairs])
    assert z.detach().abs().max() > 1 and z.detach().min() < 0 < z.detach().max()
    c = torch.tensor([pair.confidence for pair in pairs])
    expected = (-c * logsigmoid(z) - (1 - c) * logsigmoid(-z)).mean()
    loss, gradients = compute_by_trainer(pairs, tmp_path)
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    assert loss == pytest.approx(float(np.mean(compute_loss(z.detach().numpy(), c.numpy()))), abs=1e-5)
    assert_equal_gradients(gradients, collect_gradients(model, expected))


def test_the_signed_loss_equals_plain_torch(tmp_path: Path) -> None:
    """L = (2C - 1) * -logsigmoid(z): for C < 1/2 it rewards a small z, for C = 1/2 it is nothing."""
    pairs = move_references(make_pairs(10, seed=1, confidences=CONFIDENCES))
    model = build_model().train()
    z = torch.stack([compute_plain_z(model, pair) for pair in pairs])
    c = torch.tensor([pair.confidence for pair in pairs])
    expected = (-(2 * c - 1) * logsigmoid(z)).mean()
    loss, gradients = compute_by_trainer(pairs, tmp_path, loss=PreferenceLoss(BETA, kind="signed"))
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    assert_equal_gradients(gradients, collect_gradients(model, expected))
    steps, _ = train(pairs, tmp_path / "logged", loss=PreferenceLoss(BETA, kind="signed"))
    assert "target_z" not in steps[0] and "z" in steps[0]


def test_kl_and_likelihood_terms_equal_plain_torch(tmp_path: Path) -> None:
    """KL: exp(d) - 1 - d of d = log ref - log pi, summed over tokens, mean over both sides; NLL: mean over tokens."""
    pairs = refer_by_token(move_references(make_pairs(10, seed=1, confidences=CONFIDENCES)), build_model(seed=1))
    model = build_model().train()
    z = torch.stack([compute_plain_z(model, pair) for pair in pairs])
    c = torch.tensor([pair.confidence for pair in pairs])
    kls, nlls = [], []
    for pair in pairs:
        for response, reference in (
            (pair.chosen, pair.reference_chosen_token_logprobs),
            (pair.rejected, pair.reference_rejected_token_logprobs),
        ):
            logprobs = compute_plain_logprobs(model, pair.prompt, response)
            d = torch.tensor(reference) - logprobs
            kls.append((d.exp() - 1 - d).sum())
            if response is pair.chosen:
                nlls.append(-logprobs.mean())
    dpo = (-c * logsigmoid(z) - (1 - c) * logsigmoid(-z)).mean()
    kl, nll = torch.stack(kls).mean(), torch.stack(nlls).mean()
    assert kl.item() > 1 and nll.item() > 1
    expected = dpo + 0.2 * kl + 0.7 * nll
    weights = PreferenceLoss(BETA, kl_weight=0.2, nll_weight=0.7)
    loss, gradients = compute_by_trainer(pairs, tmp_path, loss=weights)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert_equal_gradients(gradients, collect_gradients(model, expected))
    steps, _ = train(pairs, tmp_path / "logged", loss=weights, batch_size=10)
    assert steps[0]["kl"] == pytest.approx(kl.item(), rel=1e-5)
    assert steps[0]["chosen_nll"] == pytest.approx(nll.item(), rel=1e-5)
    assert steps[0]["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_the_kl_estimate_has_the_divergence_as_its_mean() -> None:
    """Over tokens drawn from the policy, exp(d) - 1 - d averages to sum pi (log pi - log ref); no term is below 0."""
    policy, reference = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.2, 0.5, 0.3])
    estimates = estimate_kl(policy.log()[:, None], reference.log()[:, None])
    assert float(estimates.min()) >= 0
    exact = float((policy * (policy / reference).log()).sum())
    assert float((policy * estimates).sum()) == pytest.approx(exact, abs=1e-6)
    assert estimate_kl(policy.log()[None], policy.log()[None]).tolist() == [0.0]


def test_a_kl_term_holds_the_policy_near_its_reference(tmp_path: Path) -> None:
    pairs = refer_by_token(make_pairs(8, seed=11), build_model())
    long = {"epochs": 12, "lr_scheduler": "constant"}
    free, _ = train(pairs, tmp_path / "free", loss=PreferenceLoss(BETA, kl_weight=1e-9), **long)
    held, _ = train(pairs, tmp_path / "held", loss=PreferenceLoss(BETA, kl_weight=1.0), **long)
    assert free[0]["kl"] == pytest.approx(0, abs=1e-5) and held[-1]["kl"] < 0.2 * free[-1]["kl"]


def test_loss_is_conservative_dpo_with_label_smoothing_1_minus_c(tmp_path: Path) -> None:
    """cDPO is the cross-entropy of sigmoid(z) with the soft label 1 - label_smoothing."""
    pairs = move_references(make_pairs(6, seed=2, confidences=(0.9,)))
    with torch.no_grad():
        z = torch.stack([compute_plain_z(build_model(), pair) for pair in pairs])
    label_smoothing = 0.1
    expected = binary_cross_entropy_with_logits(z, torch.full_like(z, 1 - label_smoothing))
    assert compute_by_trainer(pairs, tmp_path)[0] == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("confidence", [0.0, 0.31, 0.5, 0.8])
def test_first_step_is_a_multiple_of_dpo(tmp_path: Path, confidence: float) -> None:
    """At z = 0 dL/dz = 1/2 - C, which is (2C - 1) times DPO's -1/2."""
    pairs = make_pairs(6, seed=3)
    _, dpo = compute_by_trainer(pairs, tmp_path)
    _, found = compute_by_trainer([replace(pair, confidence=confidence) for pair in pairs], tmp_path)
    expected = {name: (2 * confidence - 1) * gradient for name, gradient in dpo.items()}
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4)
    assert max(float(gradient.abs().max()) for gradient in dpo.values()) > 1e-3


def test_certain_pairs_train_as_trl_does_from_text(tmp_path: Path) -> None:
    """TRL tokenises, ends the responses, computes its own reference; losses and weights agree over five steps."""
    pairs = make_pairs(20, seed=4)
    settings = build_settings(batch_size=4)
    steps, weights = train(pairs, tmp_path / "ours", batch_size=4)
    tokenizer, model = build_word_tokenizer(), build_model().train()
    arguments = build_arguments(settings, dtype="float32", work_folder=tmp_path / "trl")

    def write(ids: Sequence[int]) -> str:
        return "".join(f" t{token}" for token in ids)

    texts = [
        {"prompt": write(p.prompt), "chosen": write(p.chosen[:-1]), "rejected": write(p.rejected[:-1])} for p in pairs
    ]
    trainer = DPOTrainer(
        model=model,
        args=DPOConfig(**arguments, beta=BETA, precompute_ref_log_probs=True),
        train_dataset=Dataset.from_list(texts),
        processing_class=tokenizer,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 5 and losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert max(losses) - min(losses) > 0.05
    assert [step["loss"] for step in steps] == pytest.approx(losses, abs=1e-5)
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weights[name], weight, atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", list(CONFIGS))
def test_training_starts_at_z_0_with_the_reference_of_scoring(architecture: str, tmp_path: Path) -> None:
    """TRL's fused head and the engine's log-probs agree for every architecture, soft-capping and padding included."""
    pairs = []
    for pair in make_pairs(8, seed=5):
        model = build_model(architecture)
        good, bad = (compute_plain(model, TokenSequence(pair.prompt, side)) for side in (pair.chosen, pair.rejected))
        pairs.append(replace(pair, reference_chosen_logprob=good, reference_rejected_logprob=bad))
    steps, _ = train(pairs, tmp_path, model=build_model(architecture).train())
    assert len(steps) == 1
    assert steps[0]["z"] == pytest.approx(0, abs=1e-4)
    assert steps[0]["chosen_logprob"] == pytest.approx(np.mean([p.reference_chosen_logprob for p in pairs]), abs=1e-3)
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)


def test_the_model_sees_the_stored_ids_and_no_end_token_after_a_cut(tmp_path: Path) -> None:
    """Ids that no text gives back (pad and end inside, a cut response) reach the model as they are and all count."""
    pairs = [
        PreferencePair((5, PAD, END, 6), (7, 8), (9, PAD, END), -5.0, -6.0, 0.9),
        PreferencePair((5,), (END,), (10, 11, 12, 13), -5.0, -6.0, 0.9),
    ]
    seen: list[dict[str, Any]] = []
    model = build_model().train()
    model.model.register_forward_pre_hook(lambda _module, _args, kwargs: seen.append(kwargs), with_kwargs=True)
    train(pairs, tmp_path, model=model, batch_size=2)
    assert len(seen) == 1
    mask = seen[0]["attention_mask"].bool()
    rows = {tuple(row[kept].tolist()) for row, kept in zip(seen[0]["input_ids"], mask, strict=True)}
    assert rows == {p.prompt + side for p in pairs for side in (p.chosen, p.rejected)}
    batch = ConfidenceCollator(pad_token_id=PAD)(list(build_pair_dataset(pairs)))
    completions = zip(batch["input_ids"], batch["completion_mask"].bool(), strict=True)
    responses = [ids[kept].tolist() for ids, kept in completions]
    assert responses == [[7, 8], [END], [9, PAD, END], [10, 11, 12, 13]]


def test_shuffled_pairs_keep_their_references_and_confidences(tmp_path: Path) -> None:
    pairs = move_references(make_pairs(12, seed=6, confidences=CONFIDENCES))
    shuffled = random.Random(0).sample(pairs, k=len(pairs))
    loss, gradients = compute_by_trainer(shuffled, tmp_path)
    expected, expected_gradients = compute_by_trainer(pairs, tmp_path)
    assert loss == pytest.approx(expected, abs=1e-5)
    assert_equal_gradients(gradients, expected_gradients)
    rows = build_pair_dataset(shuffled)
    batch = ConfidenceCollator(pad_token_id=PAD)(list(rows))
    for row, pair in enumerate(shuffled):
        assert batch["confidence"][row] == pytest.approx(pair.confidence)
        assert batch["ref_chosen_logps"][row] == pytest.approx(pair.reference_chosen_logprob)
        assert batch["ref_rejected_logps"][row] == pytest.approx(pair.reference_rejected_logprob)


def test_accumulation_gives_the_same_training(tmp_path: Path) -> None:
    pairs = refer_by_token(move_references(make_pairs(32, seed=7, confidences=CONFIDENCES)), build_model())
    loss = PreferenceLoss(BETA, kl_weight=0.1, nll_weight=0.2)
    whole, weights = train(pairs, tmp_path / "whole", loss=loss, batch_size=8)
    parts, accumulated = train(pairs, tmp_path / "parts", loss=loss, batch_size=8, gradient_accumulation_steps=4)
    assert len(whole) == len(parts) == 4
    assert [step["loss"] for step in parts] == pytest.approx([step["loss"] for step in whole], abs=1e-5)
    for name in ("loss", "z", "grad_norm", "chosen_logprob", "kl", "chosen_nll"):
        assert [step[name] for step in parts] == pytest.approx([step[name] for step in whole], rel=1e-3, abs=1e-4)
    for name, weight in weights.items():
        torch.testing.assert_close(accumulated[name], weight, atol=2e-4, rtol=0)


def test_recomputed_activations_give_the_same_training(tmp_path: Path) -> None:
    pairs = move_references(make_pairs(16, seed=7, confidences=CONFIDENCES))
    kept, _ = train(pairs, tmp_path / "kept")
    recomputed, _ = train(pairs, tmp_path / "recomputed", gradient_checkpointing=True)
    assert recomputed == kept


def test_half_precision_trains_float32_weights(tmp_path: Path) -> None:
    """Under autocast the losses differ a little; the weights keep updates of 1e-6, which bfloat16 would lose."""
    pairs, before = move_references(make_pairs(16, seed=7)), build_model().state_dict()
    full, _ = train(pairs, tmp_path / "full")
    half, weights = train(pairs, tmp_path / "half", dtype="bfloat16")
    assert half != full
    assert [step["loss"] for step in half] == pytest.approx([step["loss"] for step in full], abs=0.1)
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    _, moved = train(pairs, tmp_path / "slow", dtype="bfloat16", learning_rate=1e-6, warmup_ratio=0.0)
    name = "model.layers.0.mlp.up_proj.weight"
    assert float((moved[name] != before[name]).float().mean()) > 0.9


def test_logged_values_are_what_they_say(tmp_path: Path) -> None:
    pairs = move_references(make_pairs(8, seed=8, confidences=(0.6, 0.7, 0.8, 0.9)))
    with torch.no_grad():
        z = np.array([float(compute_plain_z(build_model(), pair)) for pair in pairs])
    c = np.array([pair.confidence for pair in pairs])
    step = train(pairs, tmp_path)[0][0]
    assert step["z"] == pytest.approx(z.mean(), abs=1e-4)
    assert step["target_z"] == pytest.approx(compute_target_margin(c).mean(), abs=1e-5)
    assert step["loss"] == pytest.approx(compute_loss(z, c).mean(), abs=1e-5)
    model = build_model()
    for name in ("chosen", "rejected"):
        sums = [compute_plain(model, TokenSequence(pair.prompt, getattr(pair, name))) for pair in pairs]
        assert step[f"{name}_logprob"] == pytest.approx(np.mean(sums), abs=1e-3)


def test_the_target_of_a_certain_pair_is_infinite_and_left_out(tmp_path: Path) -> None:
    pairs = move_references(make_pairs(8, seed=9, confidences=(1.0, 0.8)))
    with torch.no_grad():
        z = [float(compute_plain_z(build_model(), pair)) for pair in pairs if pair.confidence == 0.8]
    some, _ = train(pairs, tmp_path / "some")
    assert some[0]["target_z"] == pytest.approx(math.log(4), abs=1e-5)
    assert some[0]["bounded_z"] == pytest.approx(np.mean(z), abs=1e-4) != some[0]["z"]
    none, _ = train(make_pairs(8, seed=9, confidences=(1.0, 0.0)), tmp_path / "none")
    assert not {"target_z", "bounded_z"} & set(none[0]) and "z" in none[0]


def test_enough_training_reaches_the_target_margin(tmp_path: Path) -> None:
    """z* = logit(C): with C = 0.8 the margin settles at log 4 where plain DPO goes on."""
    pairs = make_pairs(4, seed=10, confidences=(0.8,))
    long = {"epochs": 60, "batch_size": 4, "lr_scheduler": "constant", "learning_rate": 1e-3}
    soft, _ = train(pairs, tmp_path / "soft", **long)
    assert soft[-1]["z"] == pytest.approx(math.log(4), abs=0.1)
    hard, _ = train([replace(pair, confidence=1.0) for pair in pairs], tmp_path / "hard", **long)
    assert hard[-1]["z"] > 3


@pytest.mark.parametrize("is_checkpointing", [False, True])
def test_the_trainers_arguments_are_no_deprecated_ones(tmp_path: Path, is_checkpointing: bool) -> None:
    settings = build_settings(gradient_checkpointing=is_checkpointing)
    arguments = build_arguments(settings, dtype="float32", work_folder=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what they warn of stands in the log of every run
        made = DPOConfig(**arguments)
    assert made.gradient_checkpointing is is_checkpointing
