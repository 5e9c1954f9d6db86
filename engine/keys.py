"""Digests that name content: stage keys, seeds, prompt ids. The same for every PYTHONHASHSEED and machine."""

from __future__ import annotations

import hashlib
import json

SCHEMA = 1  # raised when a stage's meaning changes, so that rows of an older meaning are never reused


def compute_key(*parts: object) -> str:
    """Return the first 20 hex digits of the SHA-256 of the parts as canonical JSON."""
    text = json.dumps([SCHEMA, *parts], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def derive_seed(seed: int, *stream: object) -> int:
    """Return a seed of its own, below 2**31, for a named stream of a run."""
    return int(compute_key("seed", seed, *stream)[:8], 16) % 2**31
