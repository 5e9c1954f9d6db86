"""Cards hold foreign names and private paths: neither gets through as more, or less, than text."""

from __future__ import annotations

import pytest
import yaml

from cream_tui.cards.facts import find_hub_name
from cream_tui.cards.markdown import HIDDEN_ADDRESS, build_fence, build_head, escape, hide_places
from engine.runtime.redaction import hide_secrets


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/home/ann/models/llama", "llama"),
        ("~/prompts.jsonl", "prompts.jsonl"),
        ("../data/prompts.jsonl", "prompts.jsonl"),
        (r"C:\Users\ann\prompts.jsonl", "prompts.jsonl"),
        ("http://ann:secret@10.0.0.7:8000/v1", HIDDEN_ADDRESS),
        ("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("implicit:current", "implicit:current"),
        (0.5, 0.5),
        (None, None),
        ({"tasks": ["/a/b.jsonl", "sandbox"]}, {"tasks": ["b.jsonl", "sandbox"]}),
    ],
)
def test_of_a_place_on_this_machine_only_the_name_stays(value: object, shown: object) -> None:
    assert hide_places(value) == shown


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ({"path": "meta-llama/Llama-3.1-8B"}, "meta-llama/Llama-3.1-8B"),
        ({"path": "gpt2"}, "gpt2"),
        ({"path": "/models/llama"}, None),
        ({"path": None}, None),
        ({}, None),
    ],
)
def test_only_a_hub_name_is_a_base_model(model: dict[str, object], name: str | None) -> None:
    assert find_hub_name({"model": model}) == name


def test_markup_in_a_name_is_shown_as_it_is() -> None:
    assert escape("[x](javascript:1)|<b>\n`") == r"\[x\](javascript:1)\|\<b\>⏎\`"


def test_a_fence_is_longer_than_any_inside() -> None:
    text = "a: '````'"
    fenced = build_fence(text, "yaml").splitlines()
    assert fenced[0] == "`````yaml" and fenced[-1] == "`````" and fenced[1] == text


def test_the_head_is_yaml_without_what_is_unknown() -> None:
    head = build_head({"base_model": None, "tags": ["a: b"], "library_name": "peft"})
    assert head.startswith("---\n") and head.endswith("---\n")
    assert yaml.safe_load(head.strip("-\n")) == {"tags": ["a: b"], "library_name": "peft"}


def test_keys_are_taken_out_of_foreign_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    said = hide_secrets("401 for 0123456789abcdef at http://ann:pw@host/x with hf_abcdefghijkl")
    assert said == "401 for *** at http://***@host/x with ***"
