"""Keys of shipped runs, as stores of earlier versions hold them: a new setting at its default must change none.

A key that changes makes stored stages useless and unfinished runs impossible to resume. Where what a
stage computes does change, ``engine.keys.SCHEMA`` is raised, and this table with it.
"""

from __future__ import annotations

import hashlib

import pytest

from engine.config.load import load_run_config
from engine.plan import Segment, plan_run
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
