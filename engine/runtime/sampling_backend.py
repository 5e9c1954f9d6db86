"""Which backend samples for a run, by a stated rule, and whether it can. Reaches neither torch nor the network.

``auto`` is vLLM where a transformers model meets an installed vLLM and an NVIDIA GPU, and the HF sampler elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.backends import VLLM_PYTHON, find_vllm, list_gpus, read_endpoint_key, require_vllm, split_gpus
from engine.config.run import RunConfig
from engine.errors import ConfigError


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """``name`` is hf, vllm or openai."""

    name: str
    reason: str


def choose_backend(config: RunConfig) -> BackendChoice:
    """Return what samples for this configuration, and why.

    Raises:
        BackendError: ``$CREAM_VLLM_PYTHON`` names no interpreter with vLLM.
    """
    asked = config.sampling.backend
    if asked != "auto":
        return BackendChoice(asked, "sampling.backend asks for it")
    against = _find_objection(config)
    if against is not None:
        return BackendChoice("hf", against)
    found = find_vllm()
    if found is None:
        return BackendChoice("hf", f"vLLM is not installed here, and {VLLM_PYTHON} is not set")
    return BackendChoice("vllm", f"{found.version} and an NVIDIA GPU are here")


def check_backend(config: RunConfig) -> None:
    """Refuse a run whose sampling backend cannot work here.

    Raises:
        BackendError, ConfigError: name the key and the way out.
    """
    name, sampling = choose_backend(config).name, config.sampling
    if name == "hf":
        return
    if config.adapter is not None and config.adapter.is_quantised:
        raise ConfigError(
            f"sampling.backend = {name} holds M0 whole, and adapter.kind = qlora trains and scores it in 4 bits: it "
            "would sample from another model",
            hint="use sampling.backend=hf, or adapter.kind=lora",
            key="sampling.backend",
            value=name,
        )
    if config.resources.ray.address is not None:
        raise ConfigError(
            f"sampling.backend = {name} does not go with resources.ray.address: the cluster runs the HF sampler",
            hint="use sampling.backend=hf, or leave resources.ray.address out",
            key="sampling.backend",
            value=name,
        )
    if name == "vllm":
        require_vllm()
        split_gpus(sampling.vllm.tensor_parallel, sampling.vllm.data_parallel)
    elif sampling.endpoint is not None:
        read_endpoint_key(sampling.endpoint.api_key_variable)


def resolve_backend(config: RunConfig) -> RunConfig:
    """Return the config with ``auto`` replaced by what is there."""
    backend = choose_backend(config).name
    return config.model_copy(update={"sampling": config.sampling.model_copy(update={"backend": backend})})


def _find_objection(config: RunConfig) -> str | None:
    """Return what keeps ``auto`` from vLLM, whether it is installed or not."""
    if config.model.kind != "hf":
        return "the embedded model gains nothing from vLLM"
    if config.resources.device == "cpu":
        return "resources.device is cpu"
    if config.resources.ray.address is not None:
        return "the Ray cluster runs the HF sampler"
    if config.adapter is not None and config.adapter.is_quantised:
        return "adapter.kind is qlora, and vLLM would hold M0 whole"
    return None if list_gpus() else "no NVIDIA GPU is here"
