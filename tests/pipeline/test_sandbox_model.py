"""The shipped sandbox base model: loads offline, keeps its token format, and can be rebuilt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from engine.compute.sandbox_model import (
    ASSISTANT,
    CONTEXT_LENGTH,
    END,
    PAD,
    STEPS,
    USER,
    build_model,
    build_tokenizer,
    compute_first_losses,
    main,
)
from engine.tasks.sandbox import MAX_NUMBER, generate_problems

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "models" / "sandbox"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    loaded: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(FOLDER, local_files_only=True)
    return loaded


def encode(tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, str]], *, is_prompt: bool) -> list[int]:
    ids: list[int] = tokenizer.apply_chat_template(
        messages, add_generation_prompt=is_prompt, tokenize=True, return_dict=False
    )
    return ids


def test_prompt_is_a_token_prefix_and_response_decodes_to_its_text(tokenizer: PreTrainedTokenizerFast) -> None:
    for problem in generate_problems(0, "test", 250) + generate_problems(0, "sft", 250):
        messages = [{"role": "user", "content": problem.prompt}]
        prompt_ids = encode(tokenizer, messages, is_prompt=True)
        full_ids = encode(tokenizer, [*messages, {"role": "assistant", "content": problem.solution}], is_prompt=False)
        response_ids = full_ids[len(prompt_ids) :]
        assert full_ids[: len(prompt_ids)] == prompt_ids, problem
        assert response_ids[-1] == tokenizer.eos_token_id
        assert response_ids[:-1] == tokenizer(" " + problem.solution, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(response_ids, skip_special_tokens=True).strip() == problem.solution
        assert tokenizer.unk_token_id not in full_ids
        assert len(full_ids) + 64 < CONTEXT_LENGTH


def test_several_turns_keep_the_prefix_and_other_roles_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    turns = [
        {"role": "user", "content": "What is 2 * 3 + 1?"},
        {"role": "assistant", "content": "#### 7"},
        {"role": "user", "content": "Add 1, 2 and 3."},
    ]
    prompt_ids = encode(tokenizer, turns, is_prompt=True)
    assert (
        encode(tokenizer, [*turns, {"role": "assistant", "content": "#### 6"}], is_prompt=False)[: len(prompt_ids)]
        == prompt_ids
    )
    with pytest.raises(Exception, match="only the roles user and assistant"):
        encode(tokenizer, [{"role": "system", "content": "x"}], is_prompt=True)


def test_every_whole_number_is_one_token(tokenizer: PreTrainedTokenizerFast) -> None:
    lengths = {n: len(tokenizer(f" {n}", add_special_tokens=False)["input_ids"]) for n in range(MAX_NUMBER + 1)}
    assert set(lengths.values()) == {1}, [n for n, length in lengths.items() if length != 1]


def test_special_tokens_are_distinct_and_end_stops_generation(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer.convert_tokens_to_ids([PAD, tokenizer.bos_token, END, USER, ASSISTANT, tokenizer.unk_token])
    assert len(set(ids)) == 6
    assert tokenizer.eos_token == END
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    model = AutoModelForCausalLM.from_pretrained(FOLDER, local_files_only=True)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == model.config.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id == model.config.pad_token_id


def test_model_is_what_the_documents_say_and_ends_its_responses(tokenizer: PreTrainedTokenizerFast) -> None:
    """384 * 96 tied embeddings + 3 * (4 * 96^2 + 3 * 96 * 288 + 2 * 96) + 96 = 396,960."""
    model = AutoModelForCausalLM.from_pretrained(FOLDER, local_files_only=True)
    assert sum(parameter.numel() for parameter in model.parameters()) == 396_960
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.config.max_position_embeddings == CONTEXT_LENGTH
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2_000_000
    prompt_ids = encode(tokenizer, [{"role": "user", "content": "What is 2 * 3 + 1?"}], is_prompt=True)
    output = model.generate(input_ids=torch.tensor([prompt_ids]), do_sample=False, max_new_tokens=64)
    assert output[0, -1].item() == tokenizer.eos_token_id


def test_first_losses_of_a_rebuild_agree_with_the_record() -> None:
    facts = json.loads((FOLDER / "rebuild.json").read_text(encoding="utf-8"))
    assert facts["steps"] == STEPS
    assert compute_first_losses(6) == pytest.approx(facts["first_losses"][:6], abs=1e-3)


def test_rebuilt_tokenizer_equals_the_shipped_one(tokenizer: PreTrainedTokenizerFast) -> None:
    rebuilt = build_tokenizer()
    assert rebuilt.get_vocab() == tokenizer.get_vocab()
    assert rebuilt.chat_template == tokenizer.chat_template
    texts = [" " + problem.prompt for problem in generate_problems(0, "prompts/1", 100)]
    assert rebuilt(texts)["input_ids"] == tokenizer(texts)["input_ids"]


def test_initial_weights_do_not_depend_on_the_global_seed() -> None:
    rebuilt = build_tokenizer()
    torch.manual_seed(1)
    first = build_model(rebuilt).state_dict()
    torch.manual_seed(2)
    second = build_model(rebuilt).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_command_writes_a_folder_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "model"), "--steps", "2"]) == 0
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", local_files_only=True)
    assert model.config.architectures == ["LlamaForCausalLM"]
    facts = json.loads((tmp_path / "model" / "rebuild.json").read_text(encoding="utf-8"))
    assert len(facts["first_losses"]) == 2
    assert capsys.readouterr().out == ""
    assert main(["--out", str(tmp_path / "misled"), "--steps", "2", "--corpus", "misled"]) == 0
    other = json.loads((tmp_path / "misled" / "rebuild.json").read_text(encoding="utf-8"))
    assert other["command"].endswith("--corpus misled") and other["first_losses"] != facts["first_losses"]
    with pytest.raises(SystemExit) as stop:
        main(["--out", str(tmp_path), "--steps", "0"])
    assert stop.value.code == 2
