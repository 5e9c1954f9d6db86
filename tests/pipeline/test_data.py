"""Prompts, demonstrations and items from every kind of source, and what is said of broken ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from engine.compute.models import load_model, load_tokenizer
from engine.compute.prompts import check_vocabulary
from engine.config.load import load_run_config
from engine.config.run import RunConfig
from engine.config.shipped import find_configs_folder
from engine.errors import CheckpointError, ConfigError, TaskError
from engine.records import Message
from engine.stages.data import load_examples, load_items, load_prompts
from engine.tasks.sources import parse_examples, parse_prompts, read_jsonl, verify


def build_config(*overrides: str) -> RunConfig:
    return load_run_config("sandbox", overrides=overrides)


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def test_sandbox_prompts_are_fresh_in_every_iteration_and_never_test_items() -> None:
    config = build_config("data.prompts_per_iteration=300")
    iterations = [{prompt.prompt_id for prompt in load_prompts(config, t)} for t in (1, 2, 3)]
    assert [len(ids) for ids in iterations] == [300, 300, 300]
    assert len(set.union(*iterations)) == 900
    assert not set.union(*iterations) & {item.prompt_id for item in load_items("sandbox", n=500)}


def test_file_prompts_are_split_alike_whatever_their_order(tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": f"say {i}"}) for i in range(10)]
    splits = []
    for name, order in (("a", lines), ("b", lines[::-1])):
        path = write(tmp_path / f"{name}.jsonl", *order)
        config = build_config(f"data.prompts={path}", "data.prompts_per_iteration=3")
        splits.append([[prompt.text for prompt in load_prompts(config, t)] for t in (1, 2, 3)])
    assert splits[0] == splits[1]
    assert len({text for part in splits[0] for text in part}) == 9


def test_datasets_folder_gives_the_same_prompts_as_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [json.dumps({"prompt": f"What is {i} + 1?", "answer": str(i + 1)}) for i in range(6)]
    write(tmp_path / "set" / "train.jsonl", *rows)
    config = build_config(f"data.prompts.path={tmp_path / 'set'}", "data.prompts_per_iteration=2")
    direct = build_config(f"data.prompts={tmp_path / 'set' / 'train.jsonl'}", "data.prompts_per_iteration=2")
    assert load_prompts(config, 2) == load_prompts(direct, 2)
    assert load_prompts(config, 2)[0].answer is not None


def test_unknown_dataset_says_which(tmp_path: Path) -> None:
    config = build_config(f"data.prompts.path={tmp_path / 'nothing'}")
    with pytest.raises(TaskError, match="nothing"):
        load_prompts(config, 1)


def test_demonstrations_from_responses_or_from_messages(tmp_path: Path) -> None:
    path = write(
        tmp_path / "sft.jsonl",
        '{"prompt": "hi", "response": "hello"}',
        '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}',
    )
    examples = load_examples(build_config(f"data.sft={path}"))
    assert examples[0] == examples[1]
    assert examples[0].messages == (Message("user", "hi"),)


def test_answers_are_verified_by_number_or_text() -> None:
    prompt, unknown = parse_prompts([("x", {"prompt": "1 + 1", "answer": 2}), ("y", {"prompt": "why?"})])
    assert verify(prompt, "It is 2.0. #### 2.0") == ("2.0", True)
    assert verify(prompt, "#### 3") == ("3", False)
    assert verify(unknown, "because") == ("because", None)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2: not valid JSON"),
        ("[1]", "line 2: expected a JSON object"),
        ('{"promt": "x"}', "line 2: neither prompt nor messages (keys found: promt)"),
        ('{"prompt": ""}', "line 2: prompt must be text"),
        ('{"prompt": 5}', "line 2: prompt must be text"),
        ("[" * 100_000, "line 2: not readable as JSON"),
        ('{"prompt": "x", "answer": ' + "9" * 5000 + "}", "line 2: not readable as JSON"),
        ('{"messages": []}', "line 2: messages must be a list"),
        ('{"messages": [{"role": "robot", "content": "x"}]}', "line 2: the role"),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', "line 2: messages end with the assistant"),
        ('{"prompt": "x", "answer": NaN}', "line 2: answer must be a number or text"),
        ('{"prompt": "x", "answer": true}', "line 2: answer must be a number or text"),
        ('{"prompt": "x", "answer": ""}', "line 2: answer must be a number or text"),
        ('{"prompt": "\\ud800"}', "line 2: half a surrogate pair"),
    ],
)
def test_broken_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = write(tmp_path / "p.jsonl", '{"prompt": "fine \\ud83d\\ude00"}', line)
    with pytest.raises(TaskError) as caught:
        parse_prompts(read_jsonl(path))
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_files_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="does not exist"):
        read_jsonl(tmp_path / "none.jsonl")
    with pytest.raises(TaskError, match="holds no rows"):
        read_jsonl(write(tmp_path / "empty.jsonl", "", " "))
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "\xe9"}')
    with pytest.raises(TaskError, match="not UTF-8"):
        read_jsonl(tmp_path / "latin.jsonl")
    with pytest.raises(TaskError, match="no response"):
        parse_examples([("x", {"prompt": "hi"})])


def test_a_folder_without_all_weights_is_refused(tmp_path: Path) -> None:
    """Transformers would make up what is missing, at random."""
    folder = tmp_path / "model"
    shutil.copytree(find_configs_folder() / "models" / "sandbox", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4, "layer_types": None}))
    with pytest.raises(CheckpointError, match=r"lacks weights.*model\.layers\.3"):
        load_model(folder, dtype="float32", device=torch.device("cpu"))


def test_a_tokenizer_larger_than_its_model_is_refused() -> None:
    folder = find_configs_folder() / "models" / "sandbox"
    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens(["<one more>"])
    with pytest.raises(ConfigError, match="does not fit its model"):
        check_vocabulary(load_model(folder, dtype="float32", device=torch.device("cpu")), tokenizer)


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    path = tmp_path / "bom.jsonl"
    path.write_text('{"prompt": "x"}\n', encoding="utf-8-sig")
    assert parse_prompts(read_jsonl(path))[0].text == "x"
