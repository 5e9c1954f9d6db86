"""The whole configuration of a run."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from engine.config.adapter import AdapterConfig
from engine.config.data import DataConfig
from engine.config.evaluation import EvaluationConfig
from engine.config.method import MethodConfig
from engine.config.model import ModelConfig
from engine.config.resources import ResourcesConfig
from engine.config.sampling import SamplingConfig
from engine.config.scoring import ScoringConfig
from engine.config.section import PlainText, Section, Size
from engine.config.tracking import Tracker
from engine.config.training import SftConfig, TrainingConfig

# What numpy takes as a seed; transformers seeds numpy with the same number.
MAX_SEED = 2**32 - 1
_RESERVED_NAMES = {"latest", ".", ".."}


def check_name(name: str) -> str:
    """Return a name that may be a run's, in a path and on a command line; a validator of pydantic."""
    reason = None
    if "/" in name or "\\" in name:
        reason = "holds a path separator"
    elif name in _RESERVED_NAMES:
        reason = "is a reserved name"
    elif name.startswith("-"):
        reason = "starts with a dash, like an option"
    if reason is not None:
        raise PydanticCustomError("refused", "{reason}", {"reason": reason})
    return name


class RunConfig(Section):
    """One run: a model, its data, a method and the settings of every stage."""

    name: Annotated[
        PlainText, AfterValidator(check_name), Field(max_length=80, description="name of the run, 1 to 80 characters")
    ]
    seed: Annotated[int, Field(ge=0, le=MAX_SEED, description="seed of everything random")] = 0
    iterations: Annotated[Size, Field(description="t = 1..iterations, each trains M_{t+1} from M_t; 0: SFT only")] = 3
    model: Annotated[ModelConfig, Field(description="the model M0")]
    data: Annotated[DataConfig, Field(description="SFT examples and prompts")]
    sampling: Annotated[SamplingConfig, Field(description="how responses are sampled")] = SamplingConfig()
    scoring: Annotated[ScoringConfig, Field(description="how responses are scored")] = ScoringConfig()
    method: Annotated[MethodConfig, Field(description="a method's name, or a mapping: its name and what differs")]
    sft: Annotated[SftConfig, Field(description="supervised fine-tuning, M0 to M1")] = SftConfig()
    training: Annotated[TrainingConfig, Field(description="preference training, M_t to M_{t+1}")] = TrainingConfig()
    adapter: Annotated[AdapterConfig | None, Field(description="LoRA; null: all weights are trained")] = None
    evaluation: Annotated[EvaluationConfig, Field(description="held-out tasks")] = EvaluationConfig()
    resources: Annotated[ResourcesConfig, Field(description="what the run may use")] = ResourcesConfig()
    report_to: Annotated[
        tuple[Tracker, ...], Field(strict=False, description="trackers that the metrics are mirrored to")
    ] = ()

    @property
    def evaluation_max_new_tokens(self) -> int:
        """Tokens per response in evaluation: its own limit, else that of sampling."""
        own = self.evaluation.max_new_tokens
        return self.sampling.max_new_tokens if own is None else own
