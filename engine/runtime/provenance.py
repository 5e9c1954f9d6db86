"""Where a run came from: versions, code revision, hardware. Imports none of what it names."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from engine.artifacts import Base
from engine.config.model import ModelConfig

PACKAGES = (
    "cream-tui",
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "safetensors",
    "tokenizers",
    "huggingface_hub",
    "vllm",
    "scipy",
    "numpy",
    "sqlmodel",
)


def describe_origin() -> dict[str, object]:
    """Return what the run row stores, JSON-ready."""
    return {
        "python": platform.python_version(),
        "packages": {name: _find_version(name) for name in PACKAGES},
        "revision": _find_revision(),
        "machine": platform.machine(),
        "system": platform.platform(),
        "n_cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
    }


def describe_model(model: ModelConfig, base: Base) -> dict[str, object]:
    """Return which model M0 is: the name that was asked for, and the commit of the hub that it turned out to be."""
    return {"model": {"name": model.path or model.kind, "revision": model.revision, "commit": base.commit}}


def _find_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _find_revision() -> str | None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
