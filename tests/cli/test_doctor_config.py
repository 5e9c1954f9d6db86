"""doctor CONFIG: what a run would meet, with the real tokenizer in a process of its own, and no weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from engine.config.shipped import find_configs_folder

SANDBOX = find_configs_folder() / "models" / "sandbox"


def examine(call: Callable, *words: str) -> tuple[int, dict[tuple[str, str], dict], str]:
    called = call("doctor", *words, "--json")
    return called.code, {(f["section"], f["name"]): f for f in json.loads(called.stdout)}, called.stderr


def test_a_sound_run_is_described_and_nothing_is_made(call: Callable, tmp_path: Path) -> None:
    code, found, _ = examine(call, "sandbox", "--set", "iterations=1", "--store", str(tmp_path / "none"))
    assert code == 0 and all(finding["ok"] for finding in found.values())
    assert found["model", "size"]["value"] == "0.4M parameters, float32"
    assert found["model", "context"]["value"] == "256 tokens"
    assert found["model", "special"]["value"] == "<bos> 1 times in a prompt; ends: <end>; pad: <pad>"
    assert found["model", "prompt"]["value"].startswith("<bos><user> ")
    assert found["data", "data.sft"]["value"].startswith("200, the longest ")
    assert found["data", "data.prompts t=1"]["value"].startswith("600, the longest ")
    assert {name for section, name in found if section == "memory"} == {
        "train (SFT)", "sample", "score", "train", "evaluate",
    }  # fmt: skip
    assert found["resources", "sampling"]["value"].startswith("hf: ")
    assert found["disk", "models"]["value"].startswith("2 models, about ")
    assert ("versions", "torch") in found and ("store", "disk") in found
    assert not (tmp_path / "none").exists()


def test_every_problem_is_told_at_once(call: Callable, tmp_path: Path) -> None:
    """A template that is no prefix, prompts beyond the context, and weights that neither memory nor disk could hold."""
    folder = tmp_path / "model"
    shutil.copytree(SANDBOX, folder)
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(template.replace("{{ '<assistant>' }}", "{{ '<assistant> think' }}"))
    assert (folder / "chat_template.jinja").read_text() != template
    header = {"model.embed_tokens.weight": {"dtype": "F32", "shape": [384, 10**11], "data_offsets": [0, 0]}}
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    rows = [{"prompt": "one two three " * 90}, {"prompt": "What is 2 + 2?"}]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "model.kind": "hf",
        "model.path": folder,
        "data.prompts": tmp_path / "prompts.jsonl",
        "data.prompts_per_iteration": 2,
        "iterations": 1,
        "evaluation.tasks": "[]",
    }
    overrides = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    code, found, stderr = examine(call, "sandbox", *overrides, "--store", str(tmp_path / "store"))
    assert code == 2
    assert "no token prefix" in found["model", "template"]["value"]
    assert "exceeds the model's context of 256" in found["model", "context"]["value"]
    assert "data.max_prompt_tokens" in found["model", "context"]["hint"]
    assert not found["memory", "train"]["ok"] and "can be had" in found["memory", "train"]["hint"]
    assert not found["disk", "models"]["ok"]
    assert "no token prefix" in stderr and "Free some space" in stderr


def test_each_check_that_fails_is_told(call: Callable, tmp_path: Path) -> None:
    missing = f"data.sft={tmp_path / 'none.jsonl'}"
    shared = ("resources.launcher=ddp", "resources.processes=3", "resources.device=cpu", "iterations=1", missing)
    words = (*(word for setting in shared for word in ("--set", setting)), "--store", str(tmp_path))
    called = call("doctor", "sandbox", *words)
    assert called.code == 2
    assert "cannot be shared by 3 processes" in called.stderr and "none.jsonl does not exist" in called.stderr


def test_a_judge_that_could_read_no_response_is_a_problem(call: Callable, tmp_path: Path) -> None:
    words = ("sandbox", "--method", "srlm-judge", "--set", "iterations=1", "--store", str(tmp_path))
    code, found, _ = examine(call, *words)
    assert code == 2 and "exceed the model's context of 256" in found["model", "judge"]["value"]
    own = tmp_path / "judge.txt"
    own.write_text("{prompt} {response} Score:")
    code, found, _ = examine(
        call, *words, "--set", f"scoring.judge.prompt={own}", "--set", "scoring.judge.max_new_tokens=32"
    )
    assert code == 0 and ("model", "judge") not in found
    assert found["data", "judge t=1"]["value"].startswith("600, the longest ")


def test_a_hub_model_that_is_not_here_is_no_problem_and_nothing_is_fetched(
    call: Callable, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    words = ("--set", "model.kind=hf", "--set", "model.path=some/model", "--store", str(tmp_path))
    code, found, _ = examine(call, "sandbox", *words)
    assert code == 0
    assert "some/model is not on this machine yet" in found["model", "folder"]["value"]
    assert found["disk", "models"]["value"].startswith("4 models of unknown size")


def test_a_wrong_setting_is_one_message(call: Callable) -> None:
    called = call("doctor", "sandbox", "--set", "model.kinds=hf")
    assert called.code == 2 and "model.kinds" in called.stderr
