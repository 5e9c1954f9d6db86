"""A run before it is started: fields, what was typed, sweeps, the command, YAML and back."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cream_tui.views.launch import Draft, Review, build_command, find_differences, load_base, review_draft
from cream_tui.views.launch_checks import Machine, list_checks
from cream_tui.views.launch_fields import (
    BASIC_KEYS,
    MAX_SWEEP,
    encode_setting,
    expand_sweep,
    find_fields,
    flatten,
    format_setting,
    list_fields,
)
from cream_tui.views.launch_yaml import read_document, write_document
from engine.config.load import apply_overrides, dump, load_run_config
from engine.config.yaml_loader import parse_yaml

FIELDS = {field.key: field for field in list_fields()}
ROOM = Machine(disk_bytes=10**12, memory_bytes=10**12)


def review(tmp_path: Path, base: str = "sandbox", **values: str) -> Review:
    named = {key.replace("__", "."): text for key, text in values.items()}
    return review_draft(Draft(base=base, values=named), None, tmp_path)


def test_every_setting_of_a_configuration_has_one_field() -> None:
    """The method's file gives `method`, its parts the rest; nothing is missing and nothing is made up."""
    flat = flatten(dump(load_run_config("sandbox")))
    assert list(FIELDS)[: len(BASIC_KEYS)] == list(BASIC_KEYS)
    null_sections = {key for key in set(flat) - set(FIELDS) if flat[key] is None}
    their_parts = {field for field in FIELDS if field.startswith(tuple(f"{key}." for key in null_sections))}
    assert set(flat) - null_sections == set(FIELDS) - their_parts
    assert all(field.help for field in FIELDS.values())
    beta, scorers, tasks = FIELDS["training.beta"], FIELDS["method.scorers"], FIELDS["evaluation.tasks"]
    assert (beta.kind, beta.default, beta.is_optional, beta.section) == ("float", "0.1", False, "training")
    assert (scorers.kind, scorers.choices[0]) == ("list", "implicit:current")
    assert (tasks.kind, tasks.default) == ("list", "")
    assert "srlm" in FIELDS["method"].choices
    assert FIELDS["training.gradient_checkpointing"].choices == ("true", "false")
    assert FIELDS["model.path"].is_optional


def test_fields_are_found_by_key_before_help() -> None:
    assert [field.key for field in find_fields(list_fields(), "learning rate")] == [
        "training.learning_rate",
        "sft.learning_rate",
    ]
    assert [field.key for field in find_fields(list_fields(), "nucleus")] == ["sampling.top_p"]
    assert find_fields(list_fields(), "no such thing") == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-4, "1e-4"), (1.5e-4, "1.5e-4"), (0.001, "0.001"), (2.0, "2.0"), (0.0, "0.0"), (True, "true"), (None, "")],
)
def test_a_value_is_shown_as_it_is_typed(value: object, text: str) -> None:
    assert format_setting(value) == text
    assert parse_yaml(text, "value") == value


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"))))
def test_a_text_reads_as_itself(text: str) -> None:
    """Whatever is typed into a field for a text reaches the configuration as that text, spaces at its ends aside."""
    assert parse_yaml(encode_setting(FIELDS["name"], text), "name") == text.strip()


def test_numbers_keep_their_type_and_nothing_is_null() -> None:
    assert encode_setting(FIELDS["name"], "2") == '"2"'
    assert encode_setting(FIELDS["training.beta"], " 0.5 ") == "0.5"
    assert encode_setting(FIELDS["data.sft"], "") == "null"
    assert (
        encode_setting(FIELDS["evaluation.tasks"], "a.jsonl, [b].jsonl, sandbox") == '[a.jsonl, "[b].jsonl", sandbox]'
    )


def test_sweeps() -> None:
    seed, beta = FIELDS["seed"], FIELDS["training.beta"]
    assert expand_sweep(seed, "1..3") == ["1", "2", "3"]
    assert expand_sweep(seed, "[1..2, 9, 9]") == ["1", "2", "9"]
    assert expand_sweep(beta, "[0.1, 0.5]") == ["0.1", "0.5"]
    assert expand_sweep(beta, "1..3") == ["1..3"]
    assert expand_sweep(FIELDS["method.scorers"], "[oracle]") == ["[oracle]"]
    for wrong in ("3..1", f"1..{MAX_SWEEP + 1}", "[]"):
        with pytest.raises(ValueError):
            expand_sweep(seed, wrong)


def test_a_draft_keeps_only_what_differs_from_its_base(tmp_path: Path) -> None:
    base = load_base(Draft(), None)
    draft = Draft().change("training.beta", "0.5", base).change("seed", "4", base)
    assert dict(draft.values) == {"training.beta": "0.5", "seed": "4"}
    assert dict(draft.change("seed", "0", base).values) == {"training.beta": "0.5"}
    found = review_draft(draft, None, tmp_path)
    assert [(d.key, d.before, d.after) for d in found.differences] == [
        ("seed", "0", "4"),
        ("training.beta", "2.0", "0.5"),
    ]


def test_the_command_makes_the_very_configuration_that_was_looked_at(tmp_path: Path) -> None:
    """What the command line does with the words equals the review's configuration."""
    draft = Draft(
        values={"training.beta": "0.5", "seed": "4", "method": "srlm", "name": "it's mine", "evaluation.tasks": ""},
        tags="a, b,a",
        is_reusing=False,
    )
    found = review_draft(draft, None, tmp_path)
    (words,) = found.commands
    assert words[:2] == ("run", "sandbox")
    assert words[-5:] == ("--tag", "a", "--tag", "b", "--no-reuse")
    assert shlex.split(shlex.join(words)) == list(words)
    overrides = [words[k + 1] for k, word in enumerate(words) if word == "--set"]
    made = load_run_config("sandbox", overrides=overrides, method="srlm", seed=4, name="it's mine")
    assert words[words.index("--seed") + 1] == "4" and words[words.index("--name") + 1] == "it's mine"
    assert found.configs == (made,)


def test_every_wrong_field_is_told_at_once_with_the_nearest_choice(tmp_path: Path) -> None:
    found = review(
        tmp_path, training__beta="-1", sampling__n="one", training__bta="3", model__dtype="float31", seed="7"
    )
    problems = {problem.key: problem for problem in found.problems}
    assert set(problems) == {"training.beta", "sampling.n", "training.bta", "model.dtype"}
    assert "above 0" in problems["training.beta"].message
    assert "whole number" in problems["sampling.n"].message
    assert "did you mean training.beta" in problems["training.bta"].message
    assert problems["model.dtype"].hint == "Did you mean float32?"
    assert not any("--set" in problem.message or "more)" in problem.message for problem in found.problems)
    assert not found.is_sound and found.commands == ()


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("seed", "seed is empty: expected a whole number; the default is 0"),
        ("training.beta", "training.beta is empty: expected a number; the default is 0.1"),
        ("name", "name is empty; the base has sandbox"),
        ("data.prompts", "data.prompts is empty; the base has sandbox"),
    ],
)
def test_an_emptied_field_says_what_would_stand_there(tmp_path: Path, key: str, told: str) -> None:
    (problem,) = review(tmp_path, **{key.replace(".", "__"): " "}).problems
    assert (problem.key, problem.message) == (key, told)


@pytest.mark.parametrize(
    ("values", "key", "word"),
    [
        ({"method": "creem"}, "method", "did you mean cream"),
        ({"model__kind": "hf"}, "model.path", "is needed for kind hf"),
        ({"data__prompts": "nix.jsonl"}, "data.prompts", "is no file"),
        ({"data__sft": ""}, "data.sft", "equal to M0"),
        ({"training__gradient_accumulation_steps": "5"}, "training.gradient_accumulation_steps", "does not divide"),
        ({"seed": "1..99"}, "seed", "at most 64"),
        ({"seed": "1..9", "training__beta": "[1,2,3,4,5,6,7,8,9]"}, "base", "81 runs"),
    ],
)
def test_a_problem_stands_at_its_field(tmp_path: Path, values: dict[str, str], key: str, word: str) -> None:
    (problem,) = review(tmp_path, **values).problems
    assert problem.key == key
    assert word in problem.message


def test_a_file_of_prompts_is_read_anew_once_it_changes(tmp_path: Path) -> None:
    """One prompt is too few for 3 x 1; two more lines make it enough."""
    prompts = tmp_path / "own prompts.jsonl"
    prompts.write_text('{"prompt": "a"}\n')
    values = {"data__prompts": str(prompts), "data__prompts_per_iteration": "1"}
    (problem,) = review(tmp_path, **values).problems
    assert problem.key in ("data.prompts", "data.prompts_per_iteration") and "holds 1 distinct" in problem.message
    prompts.write_text('{"prompt": "a"}\n{"prompt": "b"}\n{"prompt": "c"}\n')
    assert review(tmp_path, **values).is_sound
    prompts.write_text('{"prompt": "a"}\nno json\n')
    (problem,) = review(tmp_path, **values).problems
    assert problem.key == "data.prompts" and "line 2" in problem.message


def test_a_sweep_makes_one_named_run_per_way(tmp_path: Path) -> None:
    found = review(tmp_path, seed="1..2", training__learning_rate="[1e-5, 2e-5]", method="[cream, srlm]")
    assert len(found.commands) == len(found.configs) == 8
    names = [config.name for config in found.configs]
    assert names[0] == "sandbox-cream-seed1-lr1e-5"
    assert len(set(names)) == 8
    assert {(c.method.name, c.seed, c.training.learning_rate) for c in found.configs} == {
        (method, seed, rate) for method in ("cream", "srlm") for seed in (1, 2) for rate in (1e-5, 2e-5)
    }
    shown = {difference.key: difference.after for difference in found.differences}
    assert shown["seed"] == "1..2" and shown["name"] == f"{names[0]} …"
    assert set(found.swept) == {"seed", "training.learning_rate", "method"}


def test_another_method_brings_its_own_parts(tmp_path: Path) -> None:
    base = load_base(Draft(values={"method": "srlm"}), None)
    assert base.texts["method.confidence.kind"] == "one"
    assert base.config.method.name == "cream"
    keys = {difference.key for difference in review(tmp_path, method="srlm").differences}
    assert {"method", "method.confidence.kind", "method.scorers"} <= keys


def test_a_command_for_a_stored_run() -> None:
    values = {"training.beta": "0.5", "seed": "0x10"}
    assert build_command(Draft(base="run:my run", values=values)) == [
        "run", "--from", "my run", "--set", "seed=0x10", "--set", "training.beta=0.5",
    ]  # fmt: skip
    fork = Draft(base="run:r", at="M2", values={"name": "f"}, uses_verdicts=True, is_reusing=False)
    assert build_command(fork) == ["fork", "r", "--at", "M2", "--name", "f", "--use-verdicts"]


@pytest.mark.parametrize("base", ["sandbox", "sandbox-gentle", "paper-llama3"])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"method": "srlm", "training.beta": "0.25"},
        {"method": "oracle", "data.sft": ""},
        {"seed": "1..3", "training.beta": "[0.1, 0.5]", "sampling.n": "x", "method": "[cream, srlm]"},
    ],
)
def test_a_document_reads_back_as_the_draft(base: str, values: dict[str, str]) -> None:
    draft = Draft(base=base, values=values, tags="t")
    loaded = load_base(draft, None)
    assert read_document(write_document(draft, loaded), draft, loaded) == draft


def test_an_edited_document_changes_the_draft() -> None:
    draft = Draft()
    base = load_base(draft, None)
    text = write_document(draft, base).replace("beta: 2.0", "beta: 0.5").replace("name: cream", "name: srlm", 1)
    assert dict(read_document(text, draft, base).values) == {"training.beta": "0.5", "method": "srlm"}


def test_differences_between_a_run_and_its_copy() -> None:
    base = load_base(Draft(), None)
    changed = apply_overrides(base.config, overrides=["sampling.n=7", "data.sft=none"], method="oracle")
    shown = {d.key: (d.before, d.after) for d in find_differences(base, changed, {})}
    assert shown["sampling.n"] == ("5", "7")
    assert shown["data.sft"] == ("sandbox", "")
    assert shown["method"] == ("cream", "oracle")


def test_checks_warn_of_a_small_disk_and_memory(tmp_path: Path) -> None:
    """A training at its longest texts takes most; 4 models of 4 bytes a parameter and two snapshots go on the disk."""
    sound = review(tmp_path)
    checks = {check.name: check for check in list_checks(sound, ROOM, None, [])}
    assert {check.status for check in checks.values()} == {"good"}
    assert "397 k parameters" in checks["model"].text
    assert "1,800" in checks["prompts"].text
    poor = {check.name: check for check in list_checks(sound, Machine(10**6, 10**6), None, [])}
    assert (poor["disk"].status, poor["memory"].status) == ("warning", "warning")
    assert re.fullmatch(r"~\d+ MiB \(train\), 977 KiB free", poor["memory"].text)
    (only,) = list_checks(review(tmp_path, seed="x"), ROOM, None, [])
    assert (only.name, only.status) == ("settings", "bad")


def test_a_gpu_run_counts_the_memory_of_the_gpu(tmp_path: Path) -> None:
    machine = Machine(10**12, memory_bytes=10**12, gpu_bytes=10**6)
    for device, status in (("auto", "warning"), ("cpu", "good")):
        checks = {c.name: c for c in list_checks(review(tmp_path, resources__device=device), machine, None, [])}
        assert checks["memory"].status == status
    (memory,) = [
        c for c in list_checks(review(tmp_path, resources__device="cuda"), ROOM, None, []) if c.name == "memory"
    ]
    assert memory.status == "warning" and "no GPU" in memory.text


def test_the_views_load_no_configuration_classes_by_themselves() -> None:
    heavy = "{'pydantic', 'textual', 'torch', 'sqlmodel'}"
    code = f"import sys, cream_tui.views.launch_reader; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_reward_model_is_named_in_the_yaml_and_its_problem_stands_there(tmp_path: Path) -> None:
    """The form has no field for it: how many there are, and how they are called, is up to the person."""
    key = "scoring.reward_models.rm.path"
    assert not any(name.startswith("scoring.reward_models") for name in FIELDS)
    (lacking,) = review(tmp_path, method="reward-model").problems
    assert lacking.key == "method" and "scoring.reward_models.rm" in lacking.message
    values = {"method": "reward-model", key: str(tmp_path / "none")}
    missing = review_draft(Draft(base="sandbox", values=values), None, tmp_path).problems[0]
    assert (missing.key, "is no folder" in missing.message) == (key, True)
    (tmp_path / "lm").mkdir()
    (tmp_path / "lm" / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (tmp_path / "lm" / "model.safetensors").write_text("")
    values[key] = str(tmp_path / "lm")
    draft = Draft(base="sandbox", values=values)
    found = review_draft(draft, None, tmp_path).problems[0]
    assert (found.key, "no sequence classifier" in found.message) == (key, True)
    text = write_document(draft, load_base(Draft(), None))
    assert read_document(text, draft, load_base(Draft(), None)).values == values
