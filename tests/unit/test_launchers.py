"""What a training over several processes is refused for before it starts, and how its batches are shared."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from engine.config.load import load_run_config
from engine.config.training import TrainingConfig
from engine.errors import BackendError, ConfigError
from engine.launchers import check_training, find_launcher


def check(*overrides: str) -> None:
    check_training(load_run_config("sandbox", overrides=["resources.device=cpu", *overrides]))


@pytest.mark.parametrize(
    ("batch_size", "accumulation", "n_processes", "expected"),
    [
        (32, 8, 1, 8),
        (32, 8, 8, 1),  # the paper's: 4 per GPU on 8 GPUs
        (32, 8, 4, 2),
        (32, 1, 8, 1),
        (32, 2, 8, 2),  # too few passes to share: each process makes as many, of 2 each
        (32, 8, 3, None),
        (8, 4, 16, None),
    ],
)
def test_processes_share_the_passes_of_an_update(
    batch_size: int, accumulation: int, n_processes: int, expected: int | None
) -> None:
    config = TrainingConfig(batch_size=batch_size, gradient_accumulation_steps=accumulation)
    assert config.count_passes(n_processes) == expected


def test_a_run_of_one_process_needs_no_launcher() -> None:
    check()
    check("resources.processes=1")
    assert find_launcher(load_run_config("sandbox").resources) is None


def test_a_shipped_launcher_and_its_processes() -> None:
    config = load_run_config(
        "sandbox", overrides=["resources.device=cpu", "resources.launcher=ddp", "resources.processes=2"]
    )
    launcher = find_launcher(config.resources)
    assert launcher is not None
    assert (launcher.file.name, launcher.kind, launcher.n_processes) == ("ddp.yaml", "MULTI_GPU", 2)
    assert not launcher.is_sharded
    check_training(config)


def test_the_processes_of_a_launchers_file(tmp_path: Path) -> None:
    file = tmp_path / "two-nodes.yaml"
    file.write_text("distributed_type: MULTI_GPU\nnum_machines: 2\nnum_processes: 4\nmain_process_ip: node1\n")
    config = load_run_config("sandbox", overrides=["resources.device=cpu", f"resources.launcher={file}"])
    launcher = find_launcher(config.resources)
    assert launcher is not None
    assert (launcher.file, launcher.n_processes, launcher.n_machines) == (file, 4, 2)
    with pytest.raises(ConfigError, match="no multiple of num_machines = 2"):
        check(f"resources.launcher={file}", "resources.processes=3")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["resources.processes=2"], "resources.processes = 2 needs a launcher"),
        (["resources.launcher=ddp"], "resources.processes = null"),
        (["resources.launcher=ddp", "resources.processes=5"], r"sft\.batch_size = 16 cannot be shared by 5 processes"),
        (["resources.launcher=nowhere.yaml"], r"nowhere\.yaml is no file"),
        (["adapter.kind=lora", "adapter.targets=[q_proj, up_pro]"], "no layer up_pro; did you mean up_proj?"),
        (["adapter.kind=lora", "adapter.targets=[lm_head]"], "lm_head is the output head"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refusal:
        check(*overrides)
    assert refusal.value.key is not None and refusal.value.key.split(".")[0] in ("resources", "sft", "adapter")


def test_sharding_needs_gpus() -> None:
    with pytest.raises(BackendError, match="fsdp splits a model over GPUs") as refusal:
        check("resources.launcher=fsdp", "resources.processes=2")
    assert "ddp" in str(refusal.value)


@pytest.mark.skipif(find_spec("deepspeed") is not None, reason="deepspeed is installed")
def test_deepspeed_has_to_be_installed() -> None:
    with pytest.raises(BackendError, match="needs deepspeed, which is not installed"):
        check("resources.launcher=deepspeed", "resources.processes=2")


def test_a_file_of_something_else_is_no_launcher(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("name: sandbox\n")
    with pytest.raises(ConfigError, match="no configuration of accelerate"):
        check(f"resources.launcher={file}")
