"""External reward models: transformers' own forward is the oracle; what cannot serve is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scorer_models import RM_WORDS, build_tokenizer, save_encoder, save_judge, save_reward_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from engine.compute.reward_model import RewardModel, load_reward_model
from engine.config.load import load_run_config
from engine.errors import CheckpointError, ConfigError
from engine.records import Message
from engine.runtime.reward_models import check_scorers, resolve_reward_models

KEY = "scoring.reward_models.rm.path"
CONVERSATIONS = [
    ([Message("user", "w1 w2")], "w3"),
    ([Message("user", "w1 w2 w7 w7 w9")], "w3 w4 w5 w6 w7 w8"),
    ([Message("user", "w1"), Message("assistant", "w2"), Message("user", "w3")], "w4 w4"),
    ([Message("user", "w1 w2")], ""),
]


def load(folder: Path, **changes: object) -> RewardModel:
    settings = {"key": KEY, "dtype": "float32", "device": torch.device("cpu"), "logit": None, **changes}
    return load_reward_model(folder, **settings)  # type: ignore[arg-type]


def score(model: RewardModel, *, batch_tokens: int) -> list[float]:
    inputs = [model.encode(messages, messages[-1].content, response) for messages, response in CONVERSATIONS]
    found = {}
    for bucket, values in model.iterate_rewards(model.plan_buckets(inputs, batch_tokens=batch_tokens)):
        found.update(zip(bucket, values, strict=True))
    return [found[item] for item in inputs]


@pytest.mark.parametrize("pad", [0, 2, None])  # one of its own, the end token, none
@pytest.mark.parametrize("batch_tokens", [1, 10_000])
def test_rewards_are_those_of_each_conversation_alone(tmp_path: Path, pad: int | None, batch_tokens: int) -> None:
    folder = save_reward_model(tmp_path / "rm", pad=pad)
    plain, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    expected = []
    for messages, response in CONVERSATIONS:
        turns = [{"role": m.role, "content": m.content} for m in [*messages, Message("assistant", response)]]
        ids = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False), return_tensors="pt").input_ids
        expected.append(plain(input_ids=ids).logits.item())
    assert len(set(expected)) == len(CONVERSATIONS)
    assert score(load(folder), batch_tokens=batch_tokens) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("batch_tokens", [1, 10_000])
def test_an_encoder_without_a_template_reads_prompt_and_response_as_a_pair(tmp_path: Path, batch_tokens: int) -> None:
    folder = save_encoder(tmp_path / "rm")
    plain, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    expected = [
        plain.eval()(**tokenizer(messages[-1].content, response, return_tensors="pt")).logits.item()
        for messages, response in CONVERSATIONS
    ]
    assert tokenizer("w1", "w2")["token_type_ids"] == [0, 0, 0, 1, 1]
    assert score(load(folder), batch_tokens=batch_tokens) == pytest.approx(expected, abs=1e-5)


def test_the_shorter_limit_of_model_and_tokenizer_holds(tmp_path: Path) -> None:
    assert load(save_encoder(tmp_path / "encoder")).max_length == 32
    assert load(save_reward_model(tmp_path / "decoder", context=64)).max_length == 64


def test_one_of_several_logits_is_taken_only_where_it_is_named(tmp_path: Path) -> None:
    folder = save_reward_model(tmp_path / "rm", n_logits=3)
    with pytest.raises(CheckpointError, match="gives 3 numbers, not one reward"):
        load(folder)
    with pytest.raises(CheckpointError, match="logit = 3 is none of them"):
        load(folder, logit=3)
    first, last = score(load(folder, logit=0), batch_tokens=99), score(load(folder, logit=2), batch_tokens=99)
    assert first != last


def test_a_causal_lm_is_no_reward_model(tmp_path: Path) -> None:
    """Its head would be random: every seed of transformers another reward."""
    with pytest.raises(CheckpointError, match=r"lacks weights .*: score\.weight"):
        load(save_judge(tmp_path / "lm"))


def save_with_another_tokenizer(folder: Path) -> Path:
    save_reward_model(folder)
    build_tokenizer([*RM_WORDS, "more"], bos_token="<bos>", eos_token="<eos>").save_pretrained(folder)
    return folder


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = save_with_another_tokenizer(tmp_path / "rm")
    with pytest.raises(CheckpointError, match=rf"{KEY}.* does not fit its model.* {len(RM_WORDS)} embeddings"):
        load(folder)


def test_a_template_that_refuses_the_conversation_is_named(tmp_path: Path) -> None:
    folder = save_reward_model(tmp_path / "rm")
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no system role') }}")
    with pytest.raises(ConfigError, match=f"{KEY}: .*no system role"):
        load(folder).encode([Message("user", "w1")], "w1", "w2")


@pytest.mark.parametrize(
    ("build", "extra", "part"),
    [
        (save_judge, "", "LlamaForCausalLM, no sequence classifier"),
        (lambda folder: save_reward_model(folder, n_logits=2), "", "gives 2 numbers"),
        (lambda folder: folder.mkdir(), "", "holds no config.json"),
        (lambda folder: (save_reward_model(folder) / "tokenizer.json").unlink(), "", "holds no tokenizer"),
        (save_with_another_tokenizer, "", "token ids up to 43, the model 43 embeddings"),
        (lambda folder: None, "", "is no folder"),
    ],
)
def test_what_cannot_be_a_reward_model_is_found_before_the_run_starts(tmp_path: Path, build, extra, part) -> None:
    build(tmp_path / "rm")
    config = load_run_config(
        "sandbox", method="reward-model", overrides=[f"scoring.reward_models.rm.path={tmp_path}/rm"]
    )
    with pytest.raises((CheckpointError, ConfigError), match=part) as caught:
        check_scorers(config)
    assert caught.value.message.startswith(KEY)
    assert "model.path" not in str(caught.value).replace(KEY, "")


def test_a_sound_one_passes_and_is_pinned_to_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub's cache as the hub's client writes it; offline, so that nothing else can answer."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "hub" / "models--org--rm"
    save_reward_model(cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    config = load_run_config("sandbox", method="reward-model", overrides=["scoring.reward_models.rm.path=org/rm"])
    check_scorers(config)
    assert resolve_reward_models(config).scoring.reward_models["rm"].revision == commit
    other = load_run_config("sandbox", method="reward-model", overrides=["scoring.reward_models.rm.path=org/none"])
    check_scorers(other)  # it may be fetched yet
    with pytest.raises(CheckpointError, match=KEY):
        resolve_reward_models(other)
