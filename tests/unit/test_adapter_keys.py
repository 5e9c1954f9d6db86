"""An adapter changes what is trained and what follows from it; how a training is spread changes no key."""

from __future__ import annotations

import pytest

from engine.config.load import load_run_config
from engine.plan import Segment, StageSpec, plan_run


def plan(*overrides: str) -> dict[str, StageSpec]:
    config = load_run_config("sandbox", overrides=["iterations=1", *overrides])
    return {stage.label: stage for stage in plan_run([Segment(config, None)], base_digest="0123456789abcdef")}


def list_changed(one: dict[str, StageSpec], other: dict[str, StageSpec]) -> list[str]:
    assert one.keys() == other.keys()
    return [label for label in one if one[label].key != other[label].key]


def test_lora_changes_all_but_the_evaluation_of_m0() -> None:
    plain = plan()
    assert list_changed(plain, plan("adapter.kind=lora")) == [label for label in plain if label != "evaluate M0"]


def test_qlora_changes_m0_itself() -> None:
    assert list_changed(plan("adapter.kind=lora"), plan("adapter.kind=qlora")) == list(plan())


@pytest.mark.parametrize("setting", ["rank=8", "alpha=16", "dropout=0.0", "targets=[q_proj]"])
def test_every_setting_of_an_adapter_counts(setting: str) -> None:
    lora = plan("adapter.kind=lora")
    assert "train M1 (SFT)" in list_changed(lora, plan("adapter.kind=lora", f"adapter.{setting}"))


def test_the_order_of_targets_does_not_count() -> None:
    one, other = (plan("adapter.kind=lora", f"adapter.targets=[{names}]") for names in ("a, b", "b, a"))
    assert list_changed(one, other) == []


@pytest.mark.parametrize("setting", ["launcher=ddp", "processes=2"])
def test_how_a_training_is_spread_does_not_count(setting: str) -> None:
    assert list_changed(plan(), plan(f"resources.{setting}")) == []
