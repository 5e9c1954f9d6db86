"""Keys of shipped runs, as stores of earlier versions hold them: a new setting at its default must change none.

A key that changes makes stored stages useless and unfinished runs impossible to resume. Where what a
stage computes does change, ``engine.keys.SCHEMA`` is raised, and this table with it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from engine.config.data import SourceConfig
from engine.config.load import load_run_config
from engine.plan import Segment, identify_source, plan_run
from engine.runtime.intent import resolve_backend

DIGESTS = {
    ("sandbox", "cream"): "4c5b661fe9ccaad4",
    ("sandbox", "cream-dynamic"): "d18969cf598ff600",
    ("sandbox", "srlm"): "bb970a0995de6ed0",
    ("sandbox", "oracle"): "0f6a36d1173889e8",
    ("sandbox", "random"): "4bfc84ab0f89c035",
    ("sandbox-collapse", "smoothing"): "8623fb2f21895d16",
}


@pytest.mark.parametrize(("name", "method"), list(DIGESTS))
def test_the_keys_of_a_shipped_run_stay(name, method):
    config = resolve_backend(load_run_config(name, method=method))
    stages = plan_run([Segment(config, None)], base_digest="0123456789abcdef")
    assert hashlib.sha256(" ".join(stage.key for stage in stages).encode()).hexdigest()[:16] == DIGESTS[name, method]


def test_a_folder_beside_the_user_is_no_data_set_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor works in another folder than the command that planned its run."""
    source = SourceConfig(path="openai/gsm8k", subset="main", split="test")
    key = identify_source(source, "evaluation.tasks")
    (tmp_path / "openai" / "gsm8k").mkdir(parents=True)
    (tmp_path / "openai" / "gsm8k" / "rows.jsonl").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert identify_source(source, "evaluation.tasks") == key
