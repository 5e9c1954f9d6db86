"""Shared settings: one torch thread, no network, no deadline for property tests on a shared core."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

settings.register_profile("cream", deadline=None)
settings.load_profile("cream")
