"""Supervised fine-tuning against plain torch: loss on response tokens by position, the end token among them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import CONFIGS, END, build_model, build_settings, build_word_tokenizer, compute_plain, make_sequences
from transformers import PreTrainedModel
from trl.trainer.sft_trainer import SFTTrainer

from engine.compute.train_sft import train_sft
from engine.errors import TrainingError
from engine.records import TokenSequence

EXAMPLES = [TokenSequence(s.prompt, (*s.response, END)) for s in make_sequences(24, seed=1)]


def train(
    examples: Sequence[TokenSequence], folder: Path, *, model: PreTrainedModel | None = None, **settings: object
) -> tuple[list[dict[str, float]], PreTrainedModel]:
    """The values of every step and the trained model; the tokenizer's pad token is its end token."""
    model, steps = model or build_model().train(), []
    tokenizer = build_word_tokenizer(pad="<end>")
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == END
    train_sft(
        model,
        tokenizer,
        examples,
        settings=build_settings(**settings),
        dtype="float32",
        work_folder=folder,
        on_step=lambda step, n_steps, values, _: steps.append(dict(values)),
    )
    return steps, model


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """Every batch that SFTTrainer computes a loss of."""
    seen: list[dict[str, torch.Tensor]] = []
    compute_loss = SFTTrainer.compute_loss

    def note(self: SFTTrainer, model: Any, inputs: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        seen.append({name: tensor.clone() for name, tensor in inputs.items()})
        return compute_loss(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(SFTTrainer, "compute_loss", note)
    return seen


def test_labels_go_by_position_where_pad_is_the_end_token(
    batches: list[dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    """A prompt may hold the end token and is not trained; the end of a response is, the padding after it is not."""
    examples = [TokenSequence((5, END, 6), (7, END)), TokenSequence((5, 6), (8, 9, 10, 11, END)), EXAMPLES[0]]
    train(examples, tmp_path, batch_size=3)
    assert len(batches) == 1
    labels = {
        tuple(ids[mask.bool()].tolist()): row.tolist()
        for ids, mask, row in zip(*(batches[0][n] for n in ("input_ids", "attention_mask", "labels")), strict=True)
    }
    width = max(map(len, examples))
    assert labels == {
        e.prompt + e.response: [-100] * len(e.prompt) + list(e.response) + [-100] * (width - len(e)) for e in examples
    }


@pytest.mark.parametrize("architecture", list(CONFIGS))
def test_loss_is_the_mean_over_response_tokens(architecture: str, tmp_path: Path) -> None:
    """The first step's loss, at which weights are the initial ones: summed log-probs over counted tokens."""
    steps, _ = train(EXAMPLES[:8], tmp_path, model=build_model(architecture).train())
    model = build_model(architecture)
    total = sum(compute_plain(model, example) for example in EXAMPLES[:8])
    n_tokens = sum(len(example.response) for example in EXAMPLES[:8])
    assert len(steps) == 1
    assert steps[0]["loss"] == pytest.approx(-total / n_tokens, abs=1e-5)


def test_first_update_equals_plain_torch(tmp_path: Path) -> None:
    """AdamW without warm-up and decay: with one step, each weight moves by lr * g / (|g| + eps) after clipping to 1."""
    lr = 1e-2
    _, trained = train(EXAMPLES[:8], tmp_path, warmup_ratio=0.0, learning_rate=lr, lr_scheduler="constant")
    plain = build_model()
    total, n_tokens = torch.tensor(0.0), 0
    for example in EXAMPLES[:8]:
        logits = plain(input_ids=torch.tensor([example.prompt + example.response])).logits[0]
        logprobs = logits.log_softmax(-1)[len(example.prompt) - 1 : -1]
        total = total - logprobs.gather(1, torch.tensor(example.response)[:, None]).sum()
        n_tokens += len(example.response)
    (total / n_tokens).backward()
    torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
    for (name, after), (_, before) in zip(trained.named_parameters(), plain.named_parameters(), strict=True):
        clear = before.grad.abs() > 1e-4  # where the gradient is rounding noise, Adam's direction is noise as well
        expected = before.detach() - lr * before.grad / (before.grad.abs() + 1e-8)
        assert bool(clear.any()), name
        torch.testing.assert_close(after.detach()[clear], expected[clear], atol=1e-5, rtol=0)


def test_accumulation_weighs_tokens_equally(tmp_path: Path) -> None:
    """Two halves of a batch hold different numbers of tokens; their sum is still a mean over all tokens."""
    whole, one = train(EXAMPLES, tmp_path / "whole")
    parts, other = train(EXAMPLES, tmp_path / "parts", gradient_accumulation_steps=4)
    assert len(whole) == len(parts) == 3
    assert [step["loss"] for step in parts] == pytest.approx([step["loss"] for step in whole], abs=1e-5)
    for (_, a), (_, b) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        torch.testing.assert_close(a.detach(), b.detach(), atol=2e-4, rtol=0)


def test_training_learns_to_end(tmp_path: Path) -> None:
    example = TokenSequence((5, 6, 7), (8, 9, END))
    _, model = train([example] * 8, tmp_path, epochs=40, learning_rate=1e-2)
    assert compute_plain(model.eval(), example) > -0.1


def test_a_loss_that_is_not_finite_stops_with_the_way_out(tmp_path: Path) -> None:
    model = build_model().train()
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    with pytest.raises(TrainingError, match=r"the loss is nan at step 1 of 3") as stop:
        train(EXAMPLES, tmp_path, model=model)
    assert "learning_rate" in str(stop.value)


def test_values_have_this_projects_names(tmp_path: Path) -> None:
    steps, _ = train(EXAMPLES[:8], tmp_path)
    assert set(steps[0]) == {"loss", "grad_norm", "learning_rate", "entropy", "token_accuracy"}


def test_equal_seeds_give_equal_bits_and_other_seeds_another_order(tmp_path: Path) -> None:
    one, first = train(EXAMPLES, tmp_path / "one")
    two, second = train(EXAMPLES, tmp_path / "two")
    assert one == two
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert train(EXAMPLES, tmp_path / "three", seed=1)[0] != one
