"""What samples for a run, by the stated rule, and what is said where it cannot."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from engine import backends
from engine.backends import VLLM_PYTHON, find_vllm, list_gpus, split_gpus
from engine.config.load import load_run_config
from engine.config.run import RunConfig
from engine.errors import BackendError, ConfigError
from engine.plan import Segment, plan_run
from engine.runtime.sampling_backend import check_backend, choose_backend, resolve_backend

ENDPOINT = "sampling.endpoint={url: 'http://localhost:8000/v1', api_key_variable: MY_KEY}"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VLLM_PYTHON, "CUDA_VISIBLE_DEVICES", "MY_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An interpreter that finds something called vllm."""
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").write_text("raise SystemExit('nobody may import it to look for it')")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv(VLLM_PYTHON, str(python))
    return python


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs; what NVIDIA's library would count."""
    monkeypatch.setattr(backends, "_count_devices", lambda: 2)


def build(*overrides: str, folder: str = "/models/m") -> RunConfig:
    return load_run_config("sandbox", overrides=[f"model={{kind: hf, path: {folder}}}", *overrides])


def test_the_embedded_model_is_sampled_by_our_own_sampler(vllm: Path, two_gpus: None) -> None:
    assert choose_backend(load_run_config("sandbox")).name == "hf"


def test_auto_takes_vllm_where_it_and_a_gpu_are_here(vllm: Path, two_gpus: None) -> None:
    choice = choose_backend(build())
    assert choice.name == "vllm"
    assert "NVIDIA GPU" in choice.reason
    assert resolve_backend(build()).sampling.backend == "vllm"


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["resources.device=cpu"], "resources.device"),
        (["adapter.kind=qlora"], "qlora"),
        (["resources.ray.address=auto"], "Ray"),
    ],
)
def test_auto_says_what_speaks_against_vllm(vllm: Path, two_gpus: None, overrides: list[str], reason: str) -> None:
    choice = choose_backend(build(*overrides))
    assert choice.name == "hf"
    assert reason in choice.reason


def test_auto_without_a_gpu_or_without_vllm(vllm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_count_devices", lambda: 0)
    assert choose_backend(build()) == choose_backend(build("iterations=1"))
    assert choose_backend(build()).reason == "no NVIDIA GPU is here"
    monkeypatch.setattr(backends, "_count_devices", lambda: 1)
    monkeypatch.delenv(VLLM_PYTHON)
    assert "not installed" in choose_backend(build()).reason


def test_what_is_asked_for_is_taken() -> None:
    assert choose_backend(build("sampling.backend=hf")).reason == "sampling.backend asks for it"


def test_a_missing_vllm_is_said_before_the_run_with_the_ways_out() -> None:
    with pytest.raises(BackendError, match="vLLM is not installed here") as caught:
        check_backend(build("sampling.backend=vllm"))
    assert VLLM_PYTHON in (caught.value.hint or "") and "sampling.backend=hf" in (caught.value.hint or "")


def test_an_interpreter_that_is_none_or_has_no_vllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VLLM_PYTHON, str(tmp_path / "none"))
    with pytest.raises(BackendError, match=r"\$CREAM_VLLM_PYTHON = .*none: is no program"):
        find_vllm()
    monkeypatch.setenv(VLLM_PYTHON, sys.executable)
    with pytest.raises(BackendError, match="vLLM is not installed there"):
        find_vllm()


def test_vllm_is_found_without_being_imported(vllm: Path) -> None:
    found = find_vllm()
    assert found is not None and found.python == str(vllm)


def test_quantised_weights_are_sampled_by_us_alone(vllm: Path) -> None:
    with pytest.raises(ConfigError, match="holds M0 whole") as caught:
        check_backend(build("sampling.backend=vllm", "adapter.kind=qlora"))
    assert caught.value.key == "sampling.backend"


def test_a_cluster_goes_with_our_own_sampler_alone(vllm: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not go with resources\.ray\.address"):
        check_backend(build("sampling.backend=vllm", "resources.ray.address=auto"))


@pytest.mark.usefixtures("two_gpus")
def test_gpus_are_split_among_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert split_gpus(1, 2) == ["0", "1"]
    assert split_gpus(2, 1) == ["0,1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b, GPU-a ,MIG-c,3")
    assert list_gpus() == ["GPU-b", "GPU-a", "MIG-c", "3"]
    assert split_gpus(2, 2) == ["GPU-b,GPU-a", "MIG-c,3"]
    with pytest.raises(ConfigError, match="needs 6 GPUs, and 4 can be used"):
        split_gpus(2, 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert split_gpus(1, 2) == [None, None]


def test_an_endpoint_needs_its_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    config = build("sampling.backend=openai", ENDPOINT)
    with pytest.raises(ConfigError, match=r"\$MY_KEY is not set") as caught:
        check_backend(config)
    assert caught.value.key == "sampling.endpoint.api_key_variable"
    monkeypatch.setenv("MY_KEY", "something")
    check_backend(config)


@pytest.mark.parametrize("key", ["first-1234\nsecond-1234", "half-1234\u2026"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """The client of the standard library repeats such a header in its error, the key with it."""
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(ConfigError, match=r"\$MY_KEY holds a line break or another character") as caught:
        check_backend(build("sampling.backend=openai", ENDPOINT))
    assert "1234" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sampling.backend=openai"], "is needed for backend openai"),
        ([ENDPOINT], "does not go with sampling.endpoint"),
        (["sampling.backend=openai", "sampling.endpoint={url: 'localhost:8000'}"], r"no http\(s\) address"),
        (["sampling.backend=openai", "sampling.endpoint={url: 'http://me:pw@host/v1'}"], r"no http\(s\) address"),
        (
            ["sampling.backend=openai", "sampling.endpoint={url: 'http://h/v1', api_key_variable: sk-abc}"],
            "no environment variable",
        ),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build(*overrides)
    assert "sk-abc" not in str(caught.value)
    assert "pw@" not in str(caught.value)


def compute_keys(*overrides: str) -> dict[str, str]:
    config = build("data.prompts=sandbox", *overrides)
    return {stage.label: stage.key for stage in plan_run([Segment(config, None)], base_digest="0" * 16)}


def test_what_samples_is_in_the_keys_and_how_is_not() -> None:
    by_hf = compute_keys("sampling.backend=hf")
    by_vllm = compute_keys("sampling.backend=vllm")
    changed = {label for label, key in by_hf.items() if by_vllm[label] != key}
    assert {"sample t=1", "evaluate M0"} <= changed
    assert "train M1 (SFT)" not in changed
    assert compute_keys("sampling.backend=vllm", "sampling.vllm.data_parallel=4") == by_vllm


def test_the_probe_leaves_the_environment_alone(vllm: Path) -> None:
    before = dict(os.environ)
    find_vllm()
    assert dict(os.environ) == before
