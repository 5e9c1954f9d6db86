"""What is found out about a model folder from its JSON and headers alone, before a run starts."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.artifacts import Base, check_room, find_context_length
from engine.config.load import load_run_config
from engine.config.run import RunConfig
from engine.config.shipped import find_configs_folder
from engine.errors import CheckpointError, ConfigError, CreamError, Interrupted
from engine.runtime.control import start_run
from engine.runtime.intent import check_config
from engine.runtime.model_checks import check_base
from engine.runtime.provenance import describe_model

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the sandbox's M0: 384 embeddings, a context of 256."""
    return Path(shutil.copytree(find_configs_folder() / "models" / "sandbox", tmp_path / "model"))


def build(folder: Path | str, *overrides: str) -> RunConfig:
    return load_run_config("sandbox", overrides=["model.kind=hf", f"model.path={folder}", *overrides])


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"max_position_embeddings": 4096}, 4096),
        ({"n_positions": 1024, "n_ctx": 1024}, 1024),
        ({"model_type": "bloom", "hidden_size": 64}, None),
        ({"text_config": {"max_position_embeddings": 8192}, "max_position_embeddings": 1}, 8192),
        # As Qwen 2.5 is stretched by its users: four times the length that it was trained for.
        ({"max_position_embeddings": 32768, "rope_scaling": {"type": "yarn", **YARN}}, 131072),
        ({"max_position_embeddings": 131072, "rope_parameters": YARN}, 131072),
        # Llama 3.1: the limit is the stretched one already, 8 times 8192 is less.
        (
            {
                "max_position_embeddings": 131072,
                "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192},
            },
            131072,
        ),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4.0}}, 16384),
        ({"max_position_embeddings": 2048, "rope_scaling": {"rope_type": "dynamic", "factor": 2}}, 4096),
        (
            {
                "model_type": "gemma3_text",
                "max_position_embeddings": 131072,
                "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            },
            131072,
        ),
        ({"max_position_embeddings": 131072, "rope_scaling": {"type": "longrope", "long_factor": [1.0]}}, 131072),
        ({"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, 4096),
    ],
)
def test_the_context_is_what_stretched_positions_reach(config: dict[str, Any], expected: int | None) -> None:
    assert find_context_length(config) == expected


def test_a_sound_folder_passes(folder: Path) -> None:
    check_base(build(folder), folder)
    check_config(build(folder))


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused_before_the_start(folder: Path, tmp_path: Path) -> None:
    """Counted in the weights, whatever config.json claims; a token that was added and not trained counts."""
    path = folder / "tokenizer.json"
    found = json.loads(path.read_text())
    added = {**found["added_tokens"][0], "id": 384, "content": "[PAD]"}
    change(path, added_tokens=[*found["added_tokens"], added])
    change(folder / "config.json", vocab_size=400)
    with pytest.raises(ConfigError, match=r"token ids up to 384, the model 384 embeddings") as refusal:
        start_run(tmp_path / "store", build(folder))
    assert refusal.value.key == "model.path" and str(folder) in refusal.value.message
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("break_folder", "words"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "holds no tokenizer"),
        (lambda folder: (folder / "config.json").unlink(), "holds no config.json"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json is no JSON object"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x10" + bytes(12)), "is no safetensors file"),
        (
            lambda folder: os.truncate(folder / "model.safetensors", 500_000),
            r"is cut off: it has 500,000 of \d[\d,]+ bytes",
        ),
        (lambda folder: (folder / "config.json").rename(folder / "adapter_config.json"), "a LoRA adapter and no model"),
    ],
)
def test_what_a_folder_lacks_is_named(folder: Path, break_folder: Any, words: str) -> None:
    break_folder(folder)
    with pytest.raises(CheckpointError, match=words) as refusal:
        check_config(build(folder))
    assert refusal.value.hint and str(folder) in refusal.value.message


@pytest.mark.parametrize(
    ("override", "key"),
    [("sampling.max_new_tokens=256", "sampling.max_new_tokens"), ("evaluation.max_new_tokens=300", "evaluation.max")],
)
def test_responses_as_long_as_the_context_are_refused(folder: Path, override: str, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}.* leaves no room for a prompt: the model's context is 256 tokens"):
        check_config(build(folder, override))
    check_config(build(folder, "sampling.max_new_tokens=255", "evaluation.max_new_tokens=255"))


def test_an_absolute_path_that_is_no_folder_is_no_hub_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no folder"):
        check_config(build(tmp_path / "nothing"))


def test_a_run_without_room_for_its_first_checkpoint_does_not_start(folder: Path, tmp_path: Path) -> None:
    """The header of the weights claims more numbers than any disk holds; nothing is read but the header."""
    header = {"model.embed_tokens.weight": {"dtype": "F32", "shape": [384, 10**14], "data_offsets": [0, 0]}}
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(CreamError, match=r"no room for the first checkpoint: it takes 153600000\.00 GB") as refusal:
        start_run(tmp_path / "store", build(folder))
    assert "free some space" in str(refusal.value.hint)
    assert not (tmp_path / "store").exists()


def test_room_is_looked_for_on_the_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    check_room(tmp_path / "a" / "b", 1, "a file")
    with pytest.raises(Interrupted, match="no room for a file"):
        check_room(tmp_path / "a" / "b", 10**18, "a file", error=Interrupted)


def test_the_commit_of_a_hub_model_is_part_of_where_a_run_came_from(tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    model = build("some/model", "model.revision=main").model
    described = describe_model(model, Base(tmp_path / "snapshots" / commit, "digest"))
    assert described == {"model": {"name": "some/model", "revision": "main", "commit": commit}}
    sandbox = describe_model(load_run_config("sandbox").model, Base(tmp_path, "digest"))
    assert sandbox == {"model": {"name": "sandbox", "revision": None, "commit": None}}
