"""From a configuration to the ordered stages of a run, each with a content key. Torch-free, reads no store.

A key is a digest of the stage's settings and of the keys of its inputs, so every key is known before anything runs, and
two runs with the same start share their first stages. Settings that do not change what a stage computes (threads,
device, snapshot interval) stay out of it. The main path enters at ``plan_run``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from engine.artifacts import compute_file_digest
from engine.config.data import SourceConfig
from engine.config.run import RunConfig
from engine.errors import ConfigError
from engine.keys import compute_key, derive_seed
from engine.records import PairVerdict

BASE = "M0"
# Not part of a key: they change how, not what.
_HOW = {"sft": {"snapshot_every"}, "training": {"snapshot_every"}}


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage of one run: what to do (``part`` tells score stages apart) and from what.

    ``inputs`` name stages of the same run by role: sample, score, oracle, random, agree, pair. ``models`` map M1, M2,
    ... to the train stage's key; M0 is not among them. ``config`` is the configuration in force at this stage.
    ``verdicts`` correct the pairs of a pair stage.
    """

    key: str
    name: str
    part: str
    iteration: int
    label: str
    inputs: Mapping[str, str]
    models: Mapping[str, str]
    config: RunConfig
    seed: int
    verdicts: tuple[PairVerdict, ...] = ()

    @property
    def needs(self) -> frozenset[str]:
        """Keys of the stages that must be done before."""
        return frozenset(self.inputs.values()) | frozenset(self.models.values())


@dataclass(frozen=True, slots=True)
class StageTask:
    """What a supervisor hands to a stage's process. ``shrink`` divides batch sizes after memory ran out."""

    root: str
    run_id: str
    token: str
    stage_id: int
    spec: StageSpec
    stage_ids: Mapping[str, int]
    base_folder: str
    log_path: str
    shrink: int = 1


@dataclass(frozen=True, slots=True)
class Segment:
    """The configuration in force up to and including the training of a model; None: to the end of the run."""

    config: RunConfig
    last_iteration: int | None


@dataclass(frozen=True, slots=True)
class JudgedPairs:
    """A person's verdicts on the pairs of one iteration, by prompt id; they hold for one sample stage's responses."""

    sample_key: str
    verdicts: tuple[PairVerdict, ...]


def plan_run(
    segments: Sequence[Segment],
    *,
    base_digest: str,
    salt: str | None = None,
    judged: Mapping[int, JudgedPairs] | None = None,
) -> list[StageSpec]:
    """Return the stages in order; a fork has an earlier segment for what it shares with its parent.

    ``salt`` makes every key the run's own, so that nothing is reused. ``judged`` corrects the pairs of an iteration,
    where that has the responses that were judged.
    """
    return _Planner(segments, base_digest, salt, judged or {}).plan()


def name_scorers(config: RunConfig, iteration: int) -> dict[str, str | None]:
    """Return the stored name of each scorer role at an iteration; None where the first iteration skips it.

    At t = 1 the previous model is M0, whose implicit reward is 0 everywhere; ``scoring.first_iteration`` stands in
    (the authors rank by M0's mean log-likelihood there).
    """
    first = {"mean_loglik": f"mean_loglik:{BASE}", "sum_loglik": f"sum_loglik:{BASE}", "skip": None}
    previous = first[config.scoring.first_iteration] if iteration == 1 else f"implicit:M{iteration - 1}"
    return {
        "implicit:current": f"implicit:M{iteration}",
        "implicit:previous": previous,
        "mean_loglik:base": f"mean_loglik:{BASE}",
        "sum_loglik:base": f"sum_loglik:{BASE}",
        "oracle": "oracle",
        "random": "random",
    }


class _Planner:
    def __init__(
        self, segments: Sequence[Segment], base_digest: str, salt: str | None, judged: Mapping[int, JudgedPairs]
    ) -> None:
        self.segments = segments
        self.base_digest = base_digest
        self.salt = salt
        self.judged = judged
        self.stages: list[StageSpec] = []
        self.model_keys: dict[str, str] = {}

    def plan(self) -> list[StageSpec]:
        first, last = self._config(0), self._config(None)
        self._evaluate(BASE, 0)
        if first.data.sft is not None:
            self._train_sft(first)
            self._evaluate("M1", 0)
        for iteration in range(1, last.iterations + 1):
            self._iterate(self._config(iteration), iteration)
        return self.stages

    def _config(self, iteration: int | None) -> RunConfig:
        for segment in self.segments:
            if segment.last_iteration is None or (iteration is not None and iteration <= segment.last_iteration):
                return segment.config
        raise ConfigError("a run needs a configuration without a last iteration")

    def _iterate(self, config: RunConfig, iteration: int) -> None:
        method, t = config.method, iteration
        policy = f"M{t}"
        sample = self._add(config, "sample", t, f"sample t={t}", models=[policy], settings=_sample_settings(config, t))
        inputs = {"sample": sample}
        inputs["score"] = self._add(
            config,
            "score",
            t,
            f"score t={t}",
            inputs={"sample": sample},
            models=sorted({policy, f"M{t - 1}", BASE}),
            settings=[config.scoring.batch_tokens, config.model.dtype, _needs_sum_loglik(config, t)],
        )
        for part in ("oracle", "random"):
            if part in method.scorers:
                label = f"score t={t} ({part})"
                settings = config.seed if part == "random" else None
                inputs[part] = self._add(
                    config, "score", t, label, part=part, inputs={"sample": sample}, settings=settings
                )
        agreement = None if method.agreement is None else method.agreement.model_dump(mode="json")
        compared = () if method.agreement is None else (method.agreement.scorer, method.agreement.against)
        inputs["agree"] = self._add(
            config,
            "agree",
            t,
            f"agree t={t}",
            inputs={role: inputs[role] for role in inputs if role in ("sample", "score", *compared)},
            settings=[agreement, config.scoring.first_iteration],
        )
        inputs["pair"] = self._pair(config, t, inputs)
        reference = {"policy": policy, "sft": "M1", "base": BASE}[config.training.dpo_reference]
        self.model_keys[f"M{t + 1}"] = self._add(
            config,
            "train",
            t,
            f"train M{t + 1}",
            part="preference",
            inputs={role: inputs[role] for role in ("sample", "score", "pair")},
            models=sorted({policy, reference}),
            settings=[_what(config, "training"), config.model.dtype, config.scoring.batch_tokens],
        )
        self._evaluate(f"M{t + 1}", t)

    def _pair(self, config: RunConfig, iteration: int, inputs: Mapping[str, str]) -> str:
        parts: list[Any] = [
            config.method.model_dump(mode="json", include={"aggregate", "confidence", "agreement"}),
            config.scoring.first_iteration,
        ]
        judged = self.judged.get(iteration)
        verdicts = judged.verdicts if judged is not None and judged.sample_key == inputs["sample"] else ()
        if verdicts:  # else the key is that of the uncorrected pairs
            parts.append([astuple(verdict) for verdict in verdicts])
        key = self._add(config, "pair", iteration, f"pair t={iteration}", inputs=inputs, settings=parts)
        self.stages[-1] = replace(self.stages[-1], verdicts=verdicts)
        return key

    def _train_sft(self, config: RunConfig) -> None:
        source = config.data.sft
        assert source is not None
        self.model_keys["M1"] = self._add(
            config,
            "train",
            0,
            "train M1 (SFT)",
            part="sft",
            models=[BASE],
            settings=[
                identify_source(source, "data.sft"),
                config.data.sft_examples,
                _what(config, "sft"),
                config.model.dtype,
            ],
        )

    def _evaluate(self, model: str, iteration: int) -> None:
        config = self._config(iteration)
        evaluation = config.evaluation
        if not evaluation.tasks:
            return
        tasks = [
            [PurePath(task).stem, identify_source(SourceConfig(path=task), "evaluation.tasks")]
            for task in evaluation.tasks
        ]
        limits = [evaluation.items, config.evaluation_max_new_tokens, evaluation.batch_tokens, config.model.dtype]
        self._add(
            config,
            "evaluate",
            iteration,
            f"evaluate {model}",
            models=[model],
            # The sandbox's test problems are one fixed set: the same for every seed of a study.
            settings=[tasks, limits],
            seed=0,
        )

    def _add(
        self,
        config: RunConfig,
        name: str,
        iteration: int,
        label: str,
        *,
        settings: Any,
        part: str = "",
        inputs: Mapping[str, str] | None = None,
        models: Sequence[str] = (),
        seed: int | None = None,
    ) -> str:
        own_seed = derive_seed(config.seed, name, iteration) if seed is None else seed
        keys = {model: self.model_keys.get(model, self.base_digest) for model in models}
        key = compute_key(
            name, part, iteration if name != "evaluate" else 0, inputs or {}, keys, settings, own_seed, self.salt
        )
        trained = {model: self.model_keys[model] for model in models if model in self.model_keys}
        self.stages.append(StageSpec(key, name, part, iteration, label, dict(inputs or {}), trained, config, own_seed))
        return key


def identify_source(source: SourceConfig, key: str) -> list[str | None]:
    """Return what decides a source's content: the digest of a file or folder; only the name of a hub data set.

    Raises:
        ConfigError: the file does not exist or cannot be read.
    """
    path = Path(source.path)
    if source.kind == "sandbox":
        return ["sandbox"]
    try:
        if source.kind == "jsonl":
            return ["jsonl", compute_file_digest(path)]
        digest = compute_key([[str(p), compute_file_digest(p)] for p in sorted(path.rglob("*")) if p.is_file()])
        return ["datasets", source.path, source.split, source.subset, digest if path.is_dir() else None]
    except OSError as error:
        raise ConfigError(f"{key}: cannot read {source.path}: {error.strerror}", key=key, value=source.path) from error


def _sample_settings(config: RunConfig, iteration: int) -> list[Any]:
    data = config.data
    return [
        identify_source(data.prompts, "data.prompts"),
        [data.prompts_per_iteration, data.max_prompt_tokens, iteration],
        config.sampling.model_dump(mode="json"),
        config.model.dtype,
        config.seed,
    ]


def _needs_sum_loglik(config: RunConfig, iteration: int) -> bool:
    return "sum_loglik:base" in config.method.scorers or (
        iteration == 1 and config.scoring.first_iteration == "sum_loglik"
    )


def _what(config: RunConfig, section: str) -> dict[str, Any]:
    dumped: dict[str, Any] = getattr(config, section).model_dump(mode="json", exclude=_HOW[section])
    return dumped
