"""Every shipped configuration parses, and reading one loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.config.load import (
    config_from_json,
    dump,
    list_shipped_methods,
    list_shipped_runs,
    load_method,
    load_run_config,
)
from engine.config.shipped import find_configs_folder
from engine.config.yaml_loader import load_mapping

RUNS = ["paper-llama2", "paper-llama3", "paper-llama3-lora", "sandbox", "sandbox-collapse", "sandbox-gentle"]
METHODS = [
    "agreement-filter",
    "anchored-mean",
    "anchored-permuted",
    "cream",
    "cream-anchored",
    "cream-dynamic",
    "cream-spearman",
    "cream-toporder",
    "ensemble-anchored-mean",
    "ensemble-anchored-min",
    "ensemble-lcb",
    "ensemble-mean",
    "ensemble-min",
    "ensemble-uwo",
    "fixed-65",
    "oracle",
    "random",
    "reversed",
    "reward-model",
    "signed-weight",
    "smoothing",
    "srlm",
    "srlm-judge",
    "srlm-kl",
    "vote",
]
LAUNCHERS = ["ddp", "deepspeed", "fsdp"]


def test_what_is_shipped() -> None:
    assert list_shipped_runs() == RUNS
    assert list_shipped_methods() == METHODS
    assert len(METHODS) == 25
    files: dict[str, list[Path]] = {}
    for path in sorted(find_configs_folder().rglob("*.yaml")):
        files.setdefault(path.parent.name, []).append(path)
    assert set(files) == {"accelerate", "methods", "runs", "sweeps"}
    assert [path.stem for path in files.pop("accelerate")] == LAUNCHERS
    assert len(files["methods"]) == len(METHODS) and len(files["runs"]) == len(RUNS)
    for path in (path for folder in files.values() for path in folder):
        assert load_mapping(path)["name"] == path.stem


@pytest.mark.parametrize("name", RUNS)
def test_run_parses(name: str) -> None:
    config = load_run_config(name)
    assert config.name == name
    assert config_from_json(config.model_dump_json()) == config
    assert dump(config)["method"]["name"] == "cream"


@pytest.mark.parametrize("name", METHODS)
def test_method_is_short_and_parses(name: str) -> None:
    lines = (find_configs_folder() / "methods" / f"{name}.yaml").read_text().splitlines()
    assert len(lines) <= 15
    assert lines[0].startswith("# ")
    assert load_method(name).name == name


@pytest.mark.parametrize(
    ("name", "settings"),
    [("sandbox", (2.0, 1e-4, 2.0)), ("sandbox-collapse", (0.5, 1.5e-4, 1.0)), ("sandbox-gentle", (0.5, 2e-5, 1.0))],
)
def test_sandbox_presets(name: str, settings: tuple[float, float, float]) -> None:
    training = load_run_config(name).training
    assert (training.beta, training.learning_rate, training.epochs) == settings


@pytest.mark.parametrize(("name", "kind"), [("ddp", "MULTI_GPU"), ("deepspeed", "DEEPSPEED"), ("fsdp", "FSDP")])
def test_launchers_are_configurations_of_accelerate(name: str, kind: str) -> None:
    """Read by accelerate's own class, which refuses unknown keys; those of a plugin it passes on as it finds them."""
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    config = load_config_from_file(str(find_configs_folder() / "accelerate" / f"{name}.yaml"))
    assert (config.distributed_type.value, config.num_machines, config.num_processes) == (kind, 1, -1)
    options = {option.dest for option in launch_command_parser()._actions}
    assert config.fsdp_config.keys() | config.deepspeed_config.keys() <= options


@pytest.mark.parametrize("name", ["paper-llama2", "paper-llama3"])
def test_paper_settings(name: str) -> None:
    config = load_run_config(name)
    sampling, sft, training = config.sampling, config.sft, config.training
    assert (sampling.n, sampling.temperature, sampling.top_p, sampling.max_new_tokens) == (5, 0.8, 0.95, 768)
    assert (sft.epochs, sft.learning_rate) == (5.0, 5e-6)
    assert (training.beta, training.epochs, training.learning_rate) == (0.1, 1.0, 1e-6)
    for part in (sft, training):
        assert (part.batch_size, part.batch_size // part.gradient_accumulation_steps) == (32, 4)
        assert (part.warmup_ratio, part.weight_decay, part.max_grad_norm, part.max_length) == (0.1, 0.01, 1.0, 2048)
        assert part.lr_scheduler == "cosine"
    assert config.data.max_prompt_tokens == 2048
    tasks = [Path(task).stem for task in config.evaluation.tasks]
    assert tasks == ["arc_easy", "arc_challenge", "openbookqa", "siqa", "gsm8k"]


def test_reading_a_config_loads_nothing_heavy() -> None:
    code = (
        "import sys; from engine.config.load import load_run_config; load_run_config('sandbox');"
        "print(sorted({m.split('.')[0] for m in sys.modules}"
        " & {'torch','transformers','datasets','huggingface_hub','sqlmodel','sqlalchemy','numpy','db','trl'}))"
    )
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
