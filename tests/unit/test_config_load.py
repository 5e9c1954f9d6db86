"""Loading, overriding and dumping a run configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.config.load import (
    apply_overrides,
    check_files,
    compute_config_digest,
    config_from_json,
    dump,
    find_config,
    load_run_config,
    schema,
)
from engine.config.run import RunConfig
from engine.errors import ConfigError, ExitCode

BASE = """\
name: mine
model: {kind: sandbox}
data: {sft: sandbox, prompts: sandbox, prompts_per_iteration: 6}
method: cream
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    current = tmp_path / "current"
    current.mkdir()
    monkeypatch.chdir(current)
    return tmp_path


def _load(folder: Path, text: str = BASE, *overrides: str, **arguments: object) -> RunConfig:
    path = folder / "run.yaml"
    path.write_text(text)
    return load_run_config(str(path), overrides=overrides, **arguments)  # type: ignore[arg-type]


def _fail(folder: Path, text: str = BASE, *overrides: str, **arguments: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        _load(folder, text, *overrides, **arguments)
    assert caught.value.exit_code == ExitCode.CONFIGURATION
    return caught.value


def test_sandbox_holds_the_values_of_its_file() -> None:
    config = load_run_config("sandbox")
    assert (config.name, config.seed, config.iterations, config.model.kind) == ("sandbox", 0, 3, "sandbox")
    assert (config.data.prompts_per_iteration, config.data.sft_examples) == (600, 200)
    assert (config.sampling.n, config.sampling.temperature, config.sampling.top_p) == (5, 0.8, 0.95)
    assert (config.training.beta, config.training.learning_rate, config.training.epochs) == (2.0, 1e-4, 2.0)
    assert (config.sft.epochs, config.sft.learning_rate, config.sft.batch_size) == (1.0, 2e-4, 16)
    assert config.evaluation_max_new_tokens == 64
    assert config.method.confidence.kind == "mean"


def test_config_is_frozen() -> None:
    with pytest.raises(ValidationError):
        load_run_config("sandbox").seed = 1


@pytest.mark.parametrize(
    ("override", "key", "parts"),
    [
        (
            "training.learning_rte=1",
            "training.learning_rte",
            ["did you mean training.learning_rate?", "Keys of training"],
        ),
        ("training.lr=1", "training.lr", ["did you mean training.learning_rate?"]),
        ("learning_rate=1", "learning_rate", ["sft.learning_rate or training.learning_rate"]),
        ("zzz=1", "zzz", ["unknown key zzz", "Keys: name, seed, iterations"]),
        ("data.prompts.splt=x", "data.prompts.splt", ["data.prompts.split"]),
        ('training.beta="1e-4"', "training.beta", ["'1e-4'", "write 1e-4 without quotes"]),
        ("training.beta=.nan", "training.beta", ["a finite number"]),
        ("sampling.temperature=.inf", "sampling.temperature", ["a finite number"]),
        ("sampling.temperature=0", "sampling.temperature", ["above 0"]),
        ("sampling.temperature=true", "sampling.temperature", ["true: expected a number"]),
        ("sampling.top_p=1.1", "sampling.top_p", ["at most 1"]),
        ("sampling.n=1", "sampling.n", ["at least 2"]),
        ("sampling.n=5.0", "sampling.n", ["Write 5."]),
        ("seed=true", "seed", ["a whole number"]),
        ("seed=-1", "seed", ["at least 0"]),
        ("seed.x=3", "seed", ["a whole number"]),
        ("name=12", "name", ["Put it in quotes."]),
        ("name=a/b", "name", ["path separator"]),
        ("name=latest", "name", ["reserved"]),
        ('name="a\\u202eb"', "name", ["control character '\\u202e'"]),
        ("name=" + "x" * 81, "name", ["at most 80 characters"]),
        ("model.kind=hff", "model.kind", ["Did you mean hf?"]),
        ("model.kind=hf", "model.path", ["is needed for kind hf"]),
        ("model.path=x", "model.path", ["use kind hf"]),
        ("training.gradient_accumulation_steps=5", "training.gradient_accumulation_steps", ["batch_size (32)"]),
        ("data.prompts=x.txt", "data.prompts.path", ["none of the files that are read: .jsonl, .json, .csv"]),
        ("data.prompts=null", "data.prompts", ["a mapping of keys"]),
        ("data.sft.subset=b", "data.sft.subset", ["only for a datasets source"]),
        ("evaluation.tasks=sandbox", "evaluation.tasks", ["a list"]),
        ("evaluation.tasks=[a.txt]", "evaluation.tasks", ["neither sandbox nor a .jsonl file"]),
        ("evaluation.tasks=[a/x.jsonl, b/x.jsonl]", "evaluation.tasks", ["two tasks are named 'x'"]),
        ("scoring.reward_reference=policy", "scoring.reward_reference", ["expected one of 'base'"]),
        ("method=creem", "method", ["did you mean cream?", "Methods: agreement-filter, anchored-mean"]),
    ],
)
def test_refused_override(folder: Path, override: str, key: str, parts: list[str]) -> None:
    error = _fail(folder, BASE, override)
    assert error.key == key
    for part in parts:
        assert part in str(error)


@pytest.mark.parametrize("override", ["x", "=3", "seed", ".seed=1", "seed.=1", "a b=1", "seed=", "seed=[", "a=1\x00"])
def test_broken_override(folder: Path, override: str) -> None:
    assert "--set" in _fail(folder, BASE, override).message


def test_a_long_chain_of_keys_is_refused(folder: Path) -> None:
    assert "--set" in _fail(folder, BASE, ".".join("a" * 5000) + "=1").message


def test_message_names_what_set_the_key(folder: Path) -> None:
    assert _fail(folder, BASE + "seed: -1\n").message.startswith(str(folder / "run.yaml"))
    assert _fail(folder, BASE, "seed=-1").message.startswith("--set: seed")
    assert _fail(folder, BASE, seed=-1).message.startswith("--seed: seed")
    assert _fail(folder, BASE, method="srml").message.startswith("--method: unknown method srml; did you mean srlm?")


def test_several_problems_are_a_line_each_and_the_unknown_key_comes_first(folder: Path) -> None:
    error = _fail(folder, BASE + "seed: 1.0\niterations: y\ntraning: {}\n")
    assert error.key == "traning"
    file = folder / "run.yaml"
    assert str(error).splitlines() == [
        f"{file}: unknown key traning; did you mean training?",
        f"{file}: seed = 1.0: expected a whole number. Write 1.",
        f"{file}: iterations = 'y': expected a whole number",
    ]


def test_no_more_than_ten_problems_are_spelled_out(folder: Path) -> None:
    lines = str(_fail(folder, BASE + "".join(f"x{n}: 1\n" for n in range(12)))).splitlines()
    assert len(lines) == 11 and lines[-1] == "and 2 more"
    assert lines[0].endswith("report_to") and lines[1].endswith("unknown key x1")  # the valid keys stand there once


def test_missing_key_is_named_with_its_meaning(folder: Path) -> None:
    error = _fail(folder, BASE.replace("name: mine\n", ""))
    assert "name is missing" in error.message
    assert error.hint is not None
    assert "1 to 80 characters" in error.hint


def test_overrides_are_typed_and_the_last_counts(folder: Path) -> None:
    config = _load(folder, BASE, "training.learning_rate=1e-4", "seed=1", "seed=1_000", "training={beta: 2}")
    assert (config.training.learning_rate, config.seed, config.training.beta) == (1e-4, 1000, 2.0)


def test_arguments_come_before_overrides(folder: Path) -> None:
    config = _load(folder, BASE, "seed=3", seed=2, name="other", method="srlm")
    assert (config.seed, config.name, config.method.name) == (3, "other", "srlm")


def test_order_of_overrides_does_not_matter_for_a_change_of_kind(folder: Path) -> None:
    """A new kind drops what belonged to the old one, but never what the same command line sets."""
    one = _load(folder, BASE, "model.path=gpt2", "model.kind=hf")
    two = _load(folder, BASE, "model.kind=hf", "model.path=gpt2")
    assert one == two
    assert apply_overrides(one, overrides=["model.kind=sandbox"]).model.path is None


@pytest.mark.parametrize("value", ["none", "null", "~"])
def test_no_sft(folder: Path, value: str) -> None:
    config = _load(folder, BASE, f"data.sft={value}")
    assert config.data.sft is None
    assert config.data.sft_examples is None


def test_relative_paths_mean_the_file_folder_then_the_current_folder(folder: Path) -> None:
    (folder / "near.jsonl").write_text("{}\n")
    (folder / "current" / "near.jsonl").write_text("{}\n")
    (folder / "current" / "far.jsonl").write_text("{}\n")
    text = BASE.replace("sft: sandbox, prompts: sandbox", "sft: near.jsonl, prompts: {path: far.jsonl}")
    config = _load(folder, text + "evaluation: {tasks: [sandbox, none.jsonl]}\n", "data.max_prompt_tokens=9")
    assert config.data.sft is not None
    assert config.data.sft.path == str(folder / "near.jsonl")
    assert config.data.prompts.path == str(folder / "current" / "far.jsonl")
    assert config.evaluation.tasks == ("sandbox", str(folder / "current" / "none.jsonl"))
    assert _load(folder, BASE, "data.sft=near.jsonl").data.sft == config.data.sft.model_copy(
        update={"path": str(folder / "current" / "near.jsonl")}
    )
    with pytest.raises(ConfigError, match=r"evaluation\.tasks: .*none\.jsonl is no file"):
        check_files(config)


def test_hub_names_stay_and_folders_become_absolute(folder: Path) -> None:
    (folder / "model").mkdir()
    text = BASE.replace("{kind: sandbox}", "{kind: hf, path: NAME}").replace(
        "prompts: sandbox", "prompts: openai/gsm8k"
    )
    assert _load(folder, text.replace("NAME", "org/model")).model.path == "org/model"
    assert _load(folder, text.replace("NAME", "org/model")).data.prompts.kind == "datasets"
    assert _load(folder, text.replace("NAME", "model")).model.path == str(folder / "model")
    missing = _load(folder, text.replace("NAME", "./none"))
    assert missing.model.path == str(folder / "current" / "none")
    with pytest.raises(ConfigError, match=r"model\.path"):
        check_files(missing)


def test_extends_merges_one_parent(folder: Path) -> None:
    config = _load(folder, "extends: sandbox\nname: q\ntraining: {beta: 0.5}\n")
    assert (config.name, config.training.beta, config.training.epochs, config.iterations) == ("q", 0.5, 2.0, 3)
    (folder / "parent.yaml").write_text(BASE + "seed: 7\n")
    assert _load(folder, "extends: parent.yaml\nname: q\n").seed == 7
    assert "cannot extend another" in _fail(folder, "extends: sandbox-gentle\nname: q\n").message
    assert "Did you mean sandbox?" in str(_fail(folder, "extends: sandbx\nname: q\n"))
    assert _fail(folder, "extends: [sandbox]\nname: q\n").key == "extends"


@pytest.mark.parametrize("name", ["sandbx", "nope.yaml", "", " ", ".", "a\0b", "x" * 5000, "~nobody/x"])
def test_unknown_configuration(folder: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_config(name)
    assert "paper-llama2, paper-llama3, paper-llama3-lora, sandbox" in str(caught.value)
    assert ("Did you mean sandbox?" in str(caught.value)) == (name == "sandbx")


@pytest.mark.parametrize("name", ["sandbx.yaml", "none/sandbx", "./sandbx"])
def test_what_looks_like_a_path_is_no_such_file(folder: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"no such file: .*sandbx") as caught:
        find_config(name)
    assert "Did you mean" not in str(caught.value)
    with pytest.raises(ConfigError, match=f"no such file: {folder / name}"):
        find_config(name, folder)


def test_digest_ignores_only_the_name() -> None:
    config = load_run_config("sandbox")
    digest = compute_config_digest(config)
    assert len(digest) == 12
    assert compute_config_digest(load_run_config("sandbox", name="other")) == digest
    assert compute_config_digest(load_run_config("sandbox", overrides=["training.beta=2"])) == digest
    for override in ("seed=1", "resources.threads=2", "method.confidence.c_map=clamp", "method=srlm"):
        assert compute_config_digest(load_run_config("sandbox", overrides=[override])) != digest


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"name": NaN}', "[" * 100000])
def test_broken_stored_configuration(text: str) -> None:
    with pytest.raises(ConfigError, match="stored configuration"):
        config_from_json(text)


@given(
    learning_rate=st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False),
    seed=st.integers(min_value=0, max_value=2**32 - 1),
    method=st.sampled_from(["cream", "cream-dynamic", "srlm", "smoothing", "oracle", "random"]),
    path=st.text(min_size=1, max_size=20),
)
@settings(max_examples=50)
def test_dump_json_load_round_trip(learning_rate: float, seed: int, method: str, path: str) -> None:
    raw = dump(load_run_config("sandbox", method=method))
    raw["training"]["learning_rate"] = learning_rate
    raw["seed"] = seed
    raw["data"]["prompts"] = path
    try:
        config = config_from_json(json.dumps(raw))
    except ConfigError as error:
        assert error.key is not None
        assert error.key.startswith("data.prompts")
        return
    again = config_from_json(json.dumps(dump(config)))
    assert again == config
    assert compute_config_digest(again) == compute_config_digest(config)
    assert apply_overrides(config) == config


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["cream", "sandbox"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "path", "kind", "x"]), inner),
    max_leaves=4,
)
_KEYS = ["extends", "name", "seed", "model", "data", "method", "training", "evaluation", "sft", "zzz"]


@given(st.dictionaries(st.sampled_from(_KEYS), _VALUES))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_mapping_loads_or_is_a_config_error(tmp_path: Path, raw: dict[str, object]) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_text(json.dumps(raw))
    try:
        load_run_config(str(path))
    except ConfigError as error:
        assert str(error)


def test_every_key_of_the_schema_says_what_it_is() -> None:
    document = schema()
    json.dumps(document)
    sections = [document, *document["$defs"].values()]
    assert len(sections) == 24
    for section in sections:
        assert len(section["properties"]) <= 15
        for key, field in section["properties"].items():
            assert field.get("description"), key
    assert "cream" in document["properties"]["method"]["anyOf"][0]["enum"]


def test_a_shipped_study_is_no_run() -> None:
    with pytest.raises(ConfigError, match="quick is a study, not a run") as caught:
        load_run_config("quick")
    assert caught.value.hint == "cream-tui sweep quick runs it."
