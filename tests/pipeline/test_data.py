"""Prompts, demonstrations and items from every kind of source, and what is said of broken ones."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import datasets
import pytest
import torch

from engine.compute.hub_datasets import describe_version
from engine.compute.models import load_config, load_model, load_tokenizer
from engine.compute.prompts import check_vocabulary
from engine.config.load import load_run_config
from engine.config.run import RunConfig
from engine.config.shipped import find_configs_folder
from engine.errors import CheckpointError, ConfigError, TaskError
from engine.records import Message
from engine.stages.data import load_examples, load_items, load_prompts, load_share
from engine.tasks.files import read_rows
from engine.tasks.sources import parse_examples, parse_prompts, verify


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
        parse_prompts(read_rows(path))
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_files_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="does not exist"):
        read_rows(tmp_path / "none.jsonl")
    with pytest.raises(TaskError, match="holds no rows"):
        read_rows(write(tmp_path / "empty.jsonl", "", " "))
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "\xe9"}')
    with pytest.raises(TaskError, match="not UTF-8"):
        read_rows(tmp_path / "latin.jsonl")
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
        check_vocabulary(load_config(folder).vocab_size, tokenizer)


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    path = tmp_path / "bom.jsonl"
    path.write_text('{"prompt": "x"}\n', encoding="utf-8-sig")
    assert parse_prompts(read_rows(path))[0].text == "x"


def test_a_saved_dataset_and_one_split_per_iteration_give_their_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Columns are mapped as those of files are; what was read is logged with the library's fingerprint of it."""
    splits = {
        f"part{t}": datasets.Dataset.from_list([{"q": {"text": f"{t} and {k}"}, "gold": k} for k in range(5)])
        for t in (1, 2)
    }
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "set"))
    source = f"data.prompts={{path: {tmp_path / 'set'}, split: 'part{{t}}', columns: {{prompt: q.text, answer: gold}}}}"
    config = build_config(source, "data.prompts_per_iteration=5", "iterations=2")
    with caplog.at_level(logging.INFO, logger="engine"):
        prompts = load_prompts(config, 2)
    assert {(prompt.text, prompt.answer) for prompt in prompts} == {(f"2 and {k}", str(k)) for k in range(5)}
    saved = datasets.load_from_disk(str(tmp_path / "set"))
    assert f"(part2): 5 rows, fingerprint {saved['part2']._fingerprint}" in caplog.text
    with pytest.raises(
        TaskError, match=r"set \(part1\), row 0: no column q\.txt, which data\.prompts\.columns\.prompt"
    ):
        load_prompts(build_config(source.replace("q.text", "q.txt"), "iterations=2"), 1)


def test_the_commit_of_a_hub_data_set_is_told() -> None:
    """The library keeps the addresses that it read, with the commit in them."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    dataset = datasets.Dataset.from_list([{"prompt": "x"}])
    dataset.info.download_checksums = {f"hf://datasets/org/name@{commit}/train.parquet": {"num_bytes": 1}}
    assert describe_version(dataset) == f"commit {commit}, fingerprint {dataset._fingerprint}"


def test_an_iteration_samples_from_its_own_file(tmp_path: Path) -> None:
    for t in (1, 2):
        rows = {f"u{k}": [{"role": "user", "content": f"{t if k else 1} and {k}"}] for k in range(4)}
        (tmp_path / f"prompt.{t}.json").write_text(json.dumps(rows))
    prompts = f"data.prompts={tmp_path}/prompt.{{t}}.json"
    config = build_config(prompts, "data.prompts_per_iteration=3", "iterations=2")
    share = load_share(config, 2)
    assert {prompt.text for prompt in share.prompts} == {"2 and 1", "2 and 2", "2 and 3"}
    assert (share.n_read, share.n_repeated) == (4, 1)
