"""The noise floor: nothing to see in float32, something in bfloat16, and neither keys nor rows of others change."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from small_runs import build_config, is_stage, reread, wait_until

from cream_tui.readers.health_reader import HealthReader
from db.queries import read_run_metrics
from db.reading import open_reader
from db.rows import RunRow
from engine.plan import Segment, plan_run
from engine.runtime import control

# Short of everything that the noise floor does not need.
SHORT = ("evaluation.tasks=[]", "scoring.noise_floor=20")


def plan(*overrides: str) -> dict[str, str]:
    config = build_config("sampling.backend=hf", *overrides)
    return {spec.label: spec.key for spec in plan_run([Segment(config, None)], base_digest="0")}


def run_small(root: Path, *overrides: str) -> tuple[RunRow, dict[str, float]]:
    run = control.start_run(root, build_config(*SHORT, *overrides))
    wait_until(lambda: is_stage(root, run, "score t=1 (noise)", "done") or is_over(root, run))
    assert control.stop_run(root, run) in ("stopped", "done")
    with closing(open_reader(root)) as reader:
        metrics = {m.name: m.value for m in read_run_metrics(reader, run.run_id) if m.name.startswith("noise_floor")}
    return run, metrics


def test_it_is_a_stage_of_its_own_that_changes_no_other_key() -> None:
    without, with_it = plan(), plan("scoring.noise_floor=20")
    assert with_it.keys() - without.keys() == {"score t=1 (noise)"}
    assert all(with_it[label] == key for label, key in without.items())
    assert plan("scoring.noise_floor=21")["score t=1 (noise)"] != with_it["score t=1 (noise)"]


def test_float32_ranks_again_as_it_did(root: Path) -> None:
    run, metrics = run_small(root)
    assert metrics.keys() == {"noise_floor_n_prompts", "noise_floor_tau", "noise_floor_nats"}
    assert metrics["noise_floor_n_prompts"] == 20
    assert metrics["noise_floor_tau"] > 0.98
    assert 0 < metrics["noise_floor_nats"] < 1e-3
    assert not find_noise_alerts(root, run)


def test_bfloat16_ranks_otherwise_than_float32_and_is_told(root: Path) -> None:
    """The rewards of M1 are small, and bfloat16 rounds away some of what tells responses apart."""
    run, metrics = run_small(root, "model.dtype=bfloat16")
    assert metrics["noise_floor_tau_float32"] < metrics["noise_floor_tau"] <= 1
    assert metrics["noise_floor_tau_float32"] < 0.95
    assert metrics["noise_floor_nats_float32"] > 0.01
    (text, *_) = [text for text in find_noise_alerts(root, run) if "float32" in text]
    assert text == (
        f"M1: scored again in float32, it agrees with itself to tau +{metrics['noise_floor_tau_float32']:.2f} only"
    )


def is_over(root: Path, run: RunRow) -> bool:
    return reread(root, run).state in ("failed", "done", "stopped")


def find_noise_alerts(root: Path, run: RunRow) -> list[str]:
    with closing(open_reader(root)) as reader:
        alerts = HealthReader(run.run_id).read(reader).alerts
    return [alert.text for alert in alerts if "agrees with itself" in alert.text]
