"""How responses are sampled, and by what. Only ``backend`` itself is part of what is sampled; its settings are not."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.config.section import MAX_COUNT, Count, PlainText, Positive, Section, refuse

_LOGIN = re.compile(r"//[^/]*@")
_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#@]*)?")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


class VllmConfig(Section):
    """How vLLM's engines use the machine."""

    tensor_parallel: Annotated[Count, Field(description="GPUs over which each engine splits the model")] = 1
    data_parallel: Annotated[Count, Field(description="engines that share the batches, each with GPUs of its own")] = 1
    gpu_memory_utilization: Annotated[
        float, Field(gt=0, le=1, description="share of each GPU's memory that an engine takes")
    ] = 0.9
    enforce_eager: Annotated[
        bool, Field(description="no CUDA graphs, no compilation: starts sooner, samples slower")
    ] = False


class EndpointConfig(Section):
    """A server that speaks OpenAI's completions protocol and takes and gives token ids, such as ``vllm serve``."""

    url: Annotated[PlainText, Field(description="its address up to and including /v1")]
    api_key_variable: Annotated[
        PlainText | None, Field(description="environment variable that holds the key; null: it asks for none")
    ] = None
    base_name: Annotated[
        PlainText | None, Field(description="the name under which it serves M0; null: the digest of M0's folder")
    ] = None
    concurrency: Annotated[Count, Field(description="prompts under way at once")] = 64
    timeout_s: Annotated[Positive, Field(description="seconds to wait for the responses of one prompt")] = 600.0

    @model_validator(mode="after")
    def _check_form(self) -> EndpointConfig:
        if not _URL.fullmatch(self.url):
            refuse(
                "url",
                _LOGIN.sub("//", self.url),
                "is no http(s) address like http://HOST:8000/v1, without user name, ? and #",
            )
        if self.api_key_variable is not None and not _VARIABLE.fullmatch(self.api_key_variable):
            refuse("api_key_variable", None, "is no environment variable in capitals; the key itself never stands here")
        return self


class SamplingConfig(Section):
    """How the policy samples the group of responses of a prompt."""

    n: Annotated[int, Field(ge=2, le=MAX_COUNT, description="responses per prompt")] = 5
    temperature: Annotated[Positive, Field(description="sampling temperature")] = 0.8
    top_p: Annotated[float, Field(gt=0, le=1, description="nucleus: probability mass kept; 1 keeps all")] = 0.95
    max_new_tokens: Annotated[Count, Field(description="tokens; a longer response is cut and marked truncated")] = 768
    backend: Annotated[
        Literal["auto", "hf", "vllm", "openai"],
        Field(
            description="what generates; auto: vLLM where it is installed and an NVIDIA GPU is there, else hf; openai: "
            "the server of sampling.endpoint"
        ),
    ] = "auto"
    batch_tokens: Annotated[
        Count, Field(description="tokens of one batch, prompts and responses, padding included")
    ] = 32768
    vllm: Annotated[VllmConfig, Field(description="only for vLLM")] = VllmConfig()
    endpoint: Annotated[EndpointConfig | None, Field(description="only for backend openai, and needed there")] = None

    @model_validator(mode="after")
    def _check_endpoint(self) -> SamplingConfig:
        if self.backend == "openai" and self.endpoint is None:
            refuse("endpoint", None, "is needed for backend openai: the address of a server")
        if self.backend != "openai" and self.endpoint is not None:
            refuse("backend", self.backend, "does not go with sampling.endpoint; use openai")
        return self
