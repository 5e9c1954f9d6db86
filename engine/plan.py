"""From a configuration to the ordered stages of a run, each with a content key. Torch-free, reads no store.

A key is a digest of the stage's settings and of the keys of its inputs, so every key is known before anything runs, and
two runs with the same start share their first stages. Settings that do not change what a stage computes (threads,
device, snapshot interval) stay out of it. The main path enters at ``plan_run``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from engine.artifacts import compute_file_digest, compute_folder_digest, find_base_folder
from engine.config.data import SourceConfig
from engine.config.evaluation import TaskSource
from engine.config.method import MethodConfig
from engine.config.run import RunConfig
from engine.config.scorers import ALL_MODELS, REWARD_MODEL, VOTES
from engine.config.section import Section
from engine.config.shipped import find_configs_folder
from engine.errors import ConfigError
from engine.keys import compute_key, derive_seed
from engine.records import PairVerdict
from engine.tasks.judge_prompt import read_judge_prompt

BASE = "M0"
MATRIX = "matrix"
# Settings that keys did not hold from the beginning: in a key only where they are not at their default.
_LATER = {"aggregate": ("k", "length_penalty"), "confidence": ("permuted",)}
# Not part of a key: they change how, not what; replay is in it where there is something to replay.
_HOW = {"sft": {"snapshot_every"}, "training": {"snapshot_every", "replay"}, "sampling": {"vllm", "endpoint"}}


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage of one run: what to do (``part`` tells score stages apart) and from what.

    ``inputs`` name stages of the same run by role: sample, score, agree, pair, and a scorer that has a score stage of
    its own by its stored name, as oracle or judge:M1. ``models`` map M1, M2, ... to the train stage's key; M0 is not
    among them. ``config`` is the configuration in force at this stage. ``verdicts`` correct the pairs of a pair stage.
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

    @property
    def reads_files(self) -> bool:
        """Whether it reads files of the user, beside models and rows."""
        return self.name in ("sample", "evaluate") or self.part == "sft" or (self.name == "score" and bool(self.part))


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
    (the authors rank by M0's mean log-likelihood there). The role of all models is no single scorer: see
    ``list_scorers``.
    """
    first = {"mean_loglik": f"mean_loglik:{BASE}", "sum_loglik": f"sum_loglik:{BASE}", "skip": None}
    previous = first[config.scoring.first_iteration] if iteration == 1 else f"implicit:M{iteration - 1}"
    return {
        "implicit:current": f"implicit:M{iteration}",
        "implicit:previous": previous,
        "mean_loglik:base": f"mean_loglik:{BASE}",
        "sum_loglik:base": f"sum_loglik:{BASE}",
        "judge:current": f"judge:M{iteration}",
        "judge:previous": f"judge:M{iteration - 1}",
        "judge:base": f"judge:{BASE}",
        "oracle": "oracle",
        "random": "random",
        VOTES: VOTES,
        **{role: role for role in config.method.scorers if role.startswith(REWARD_MODEL)},
    }


def list_scorers(config: RunConfig, iteration: int, roles: Sequence[str]) -> list[str]:
    """Return the stored names of these scorer roles at an iteration, each once; implicit:all is M1 to M_t."""
    names = name_scorers(config, iteration)
    found: list[str | None] = []
    for role in roles:
        found += [f"implicit:M{t}" for t in range(1, iteration + 1)] if role == ALL_MODELS else [names[role]]
    return [name for name in dict.fromkeys(found) if name is not None]


def list_own_parts(config: RunConfig, iteration: int) -> list[str]:
    """Return the method's scorers that the passes of M_t, M_{t-1} and M0 do not give: each is a score stage."""
    shared = {f"implicit:M{iteration}", f"implicit:M{iteration - 1}", f"mean_loglik:{BASE}", f"sum_loglik:{BASE}"}
    return [name for name in list_scorers(config, iteration, config.method.scorers) if name not in shared]


def name_dpo_reference(config: RunConfig, iteration: int) -> str:
    """Return the model that the loss of an iteration is taken against."""
    return {"policy": f"M{iteration}", "sft": "M1", "base": BASE}[config.training.dpo_reference]


def list_sampled_models(config: RunConfig, iteration: int) -> list[str]:
    """Return the models whose responses make up a group, N each: the policy's, then those that M1 gives to reject."""
    takes_sft = config.method.pairs.rejected == "sft" and iteration > 1  # at t = 1 the policy is M1
    return [f"M{iteration}", *(["M1"] if takes_sft else [])]


def count_responses(config: RunConfig, iteration: int) -> int:
    """Return the responses that an iteration samples to each prompt, of all models."""
    return config.sampling.n * len(list_sampled_models(config, iteration))


def list_replayed(config: RunConfig, iteration: int) -> range:
    """Return the earlier iterations whose pairs an iteration trains on again; their stages are inputs by role:t."""
    return range(1, iteration if config.training.replay else 1)


class _Planner:
    def __init__(
        self, segments: Sequence[Segment], base_digest: str, salt: str | None, judged: Mapping[int, JudgedPairs]
    ) -> None:
        self.segments = segments
        self.base_digest = _name_base(segments, base_digest)
        self.salt = salt
        self.judged = judged
        self.stages: list[StageSpec] = []
        self.model_keys: dict[str, str] = {}
        self.pair_inputs: dict[int, dict[str, str]] = {}
        self.reward_models: dict[tuple[str, str | None], str | None] = {}

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
        sampled, settings = list_sampled_models(config, t), _sample_settings(config, t)
        sample = self._add(config, "sample", t, f"sample t={t}", models=sampled, settings=settings)
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
        if config.scoring.noise_floor is not None:
            self._measure_noise(config, t, inputs)
        for part in list_own_parts(config, t):
            inputs[part] = self._score(config, t, part, inputs)
        agreement = None if method.agreement is None else method.agreement.model_dump(mode="json")
        roles = () if method.agreement is None else (method.agreement.scorer, method.agreement.against)
        compared = list_scorers(config, t, roles)
        inputs["agree"] = self._add(
            config,
            "agree",
            t,
            f"agree t={t}",
            inputs={role: inputs[role] for role in inputs if role in ("sample", "score", *compared)},
            settings=[agreement, config.scoring.first_iteration],
        )
        if config.scoring.tau_matrix and t > 1:
            self._compare_with_earlier(config, t, inputs)
        inputs["pair"] = self._pair(config, t, inputs)
        self._train_preference(config, t, inputs)
        self._evaluate(f"M{t + 1}", t)

    def _compare_with_earlier(self, config: RunConfig, iteration: int, inputs: Mapping[str, str]) -> None:
        """Add the stage that compares M_t with every earlier model, and their passes; no other stage depends on it."""
        own = {role: inputs[role] for role in ("sample", "score")}
        for part in (f"implicit:M{k}" for k in range(1, iteration - 1)):
            own[part] = inputs[part] if part in inputs else self._score(config, iteration, part, inputs)
        label = f"agree t={iteration} ({MATRIX})"
        self._add(config, "agree", iteration, label, part=MATRIX, inputs=own, settings=None)

    def _measure_noise(self, config: RunConfig, iteration: int, inputs: Mapping[str, str]) -> None:
        """Add the stage that scores some prompts again; nothing depends on it."""
        self._add(
            config,
            "score",
            iteration,
            f"score t={iteration} (noise)",
            part="noise",
            inputs=inputs,
            models=sorted({f"M{iteration}", BASE}),
            settings=[config.scoring.noise_floor, config.scoring.batch_tokens, config.model.dtype],
        )

    def _score(self, config: RunConfig, iteration: int, part: str, inputs: Mapping[str, str]) -> str:
        """Add the stage of a scorer that needs passes of its own, or none."""
        kind, _, name = part.partition(":")
        settings: Any = None
        if kind == "random":
            settings = config.seed
        elif kind == "implicit":
            settings = [config.scoring.batch_tokens, config.model.dtype]
        elif kind == "judge":
            settings = _judge_settings(config)
        elif kind == "reward_model":
            settings = self._identify_reward_model(config, name)
        return self._add(
            config,
            "score",
            iteration,
            f"score t={iteration} ({part})",
            part=part,
            # An implicit reward is taken against the log-probs of M0 that the shared part has.
            inputs={role: inputs[role] for role in ("sample", *(("score",) if kind == "implicit" else ()))},
            models=[name] if kind in ("implicit", "judge") else [],
            settings=settings,
        )

    def _identify_reward_model(self, config: RunConfig, name: str) -> list[Any]:
        """Return what decides a reward model's scores; a hub model that is not here yet has only its name."""
        model = config.scoring.find_reward_model(name)
        place = model.path, model.revision
        if place not in self.reward_models:
            folder = find_base_folder("hf", *place, configs_folder=find_configs_folder())
            self.reward_models[place] = None if folder is None else compute_folder_digest(folder)
        return [self.reward_models[place] or place, model.dtype, model.logit, model.batch_tokens]

    def _pair(self, config: RunConfig, iteration: int, inputs: Mapping[str, str]) -> str:
        parts: list[Any] = [
            _dump_pairing(config.method, iteration),
            config.scoring.first_iteration,
        ]
        judged = self.judged.get(iteration)
        verdicts = judged.verdicts if judged is not None and judged.sample_key == inputs["sample"] else ()
        if verdicts:  # else the key is that of the uncorrected pairs
            parts.append([astuple(verdict) for verdict in verdicts])
        key = self._add(config, "pair", iteration, f"pair t={iteration}", inputs=inputs, settings=parts)
        self.stages[-1] = replace(self.stages[-1], verdicts=verdicts)
        return key

    def _train_preference(self, config: RunConfig, iteration: int, inputs: Mapping[str, str]) -> None:
        self.pair_inputs[iteration] = {role: inputs[role] for role in ("sample", "pair")}
        replayed = list_replayed(config, iteration)
        earlier = {f"{role}:{t}": key for t in replayed for role, key in self.pair_inputs[t].items()}
        self.model_keys[f"M{iteration + 1}"] = self._add(
            config,
            "train",
            iteration,
            f"train M{iteration + 1}",
            part="preference",
            inputs={**{role: inputs[role] for role in ("sample", "score", "pair")}, **earlier},
            models=sorted({f"M{iteration}", name_dpo_reference(config, iteration)}),
            settings=[
                _what(config, "training"),
                config.model.dtype,
                config.scoring.batch_tokens,
                *_list_adapter(config),
                *_list_loss(config),
                *([["replay", config.training.replay]] if replayed else []),
            ],
        )

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
                *_list_adapter(config),
            ],
        )

    def _evaluate(self, model: str, iteration: int) -> None:
        config = self._config(iteration)
        evaluation = config.evaluation
        if evaluation.tasks:
            tasks = [
                [task.name, _identify_task(task, "evaluation.tasks", evaluation.lm_eval_tasks)]
                for task in evaluation.sources
            ]
            limits: list[object] = [
                evaluation.items,
                config.evaluation_max_new_tokens,
                evaluation.batch_tokens,
                config.model.dtype,
            ]
            if config.sampling.backend != "hf":
                limits.append(config.sampling.backend)
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
        if evaluation.preference_sets:
            self._rank_preferences(config, model, iteration)

    def _rank_preferences(self, config: RunConfig, model: str, iteration: int) -> None:
        """Add the stage that ranks the preference sets; M0, the reward's reference, belongs to its inputs."""
        evaluation = config.evaluation
        sets = [
            [source.name, _identify_task(source, "evaluation.preference_sets")]
            for source in evaluation.preference_sources
        ]
        self._add(
            config,
            "evaluate",
            iteration,
            f"evaluate {model} (preference)",
            part="preference",
            models=sorted({model, BASE}),
            settings=[sets, evaluation.items, config.scoring.batch_tokens, config.model.dtype],
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


def identify_source(source: SourceConfig, key: str) -> list[Any]:
    """Return what decides a source's content: the digest of a file or folder; only the name of a hub data set.

    A data set of the hub is known by its name, split, subset and revision: where its branch moves, pin a commit.

    Raises:
        ConfigError: the file does not exist or cannot be read.
    """
    path = Path(source.path)
    if source.kind == "sandbox":
        return ["sandbox"]
    mapped: list[Any] = [["columns", *source.columns.list_named()]] if source.columns.list_named() else []
    try:
        if source.kind == "file":
            return [path.suffix.lower().removeprefix("."), compute_file_digest(path), *mapped]
        folder = None
        if path.is_absolute() and path.is_dir():  # else a name of the hub, whatever lies in the current folder
            folder = compute_key([[str(p), compute_file_digest(p)] for p in sorted(path.rglob("*")) if p.is_file()])
        pinned: list[Any] = [["revision", source.revision]] if source.revision is not None else []
        return ["datasets", source.path, source.split, source.subset, folder, *pinned, *mapped]
    except OSError as error:
        raise ConfigError(f"{key}: cannot read {source.path}: {error.strerror}", key=key, value=source.path) from error


def _identify_task(task: TaskSource, key: str, lm_eval_folder: str | None = None) -> list[Any]:
    """Return what decides a task's items; of a task of lm_eval its name, and the content of the folder with others."""
    if task.rows is not None:
        return identify_source(task.rows, key)
    if lm_eval_folder is None:
        return ["lm_eval"]
    return ["lm_eval", identify_source(SourceConfig(path=lm_eval_folder), "evaluation.lm_eval_tasks")[-1]]


def _identify_prompts(source: SourceConfig, iteration: int) -> list[Any]:
    """Return what decides an iteration's prompts: its source, and those of earlier iterations, whose it leaves out."""
    if not source.is_per_iteration:
        return identify_source(source, "data.prompts")
    return [identify_source(source.choose(t), "data.prompts") for t in range(1, iteration + 1)]


def _judge_settings(config: RunConfig) -> list[Any]:
    sampling = config.sampling
    return [
        compute_key(read_judge_prompt(config)),
        config.scoring.judge.model_dump(mode="json", exclude={"prompt"}),
        [sampling.backend, sampling.batch_tokens, config.model.dtype],
    ]


def _sample_settings(config: RunConfig, iteration: int) -> list[Any]:
    data = config.data
    return [
        _identify_prompts(data.prompts, iteration),
        [data.prompts_per_iteration, data.max_prompt_tokens, iteration],
        _what(config, "sampling"),
        config.model.dtype,
        config.seed,
    ]


def _needs_sum_loglik(config: RunConfig, iteration: int) -> bool:
    return "sum_loglik:base" in config.method.scorers or (
        iteration == 1 and config.scoring.first_iteration == "sum_loglik"
    )


def _name_base(segments: Sequence[Segment], base_digest: str) -> str:
    """Return what M0 is to every stage: with QLoRA, its weights in 4 bits."""
    adapter = segments[-1].config.adapter if segments else None
    return f"{base_digest}:nf4" if adapter is not None and adapter.is_quantised else base_digest


def _list_adapter(config: RunConfig) -> list[Any]:
    """Return what a training's key holds of its adapter: nothing where all weights are trained."""
    return [] if config.adapter is None else [config.adapter.model_dump(mode="json")]


def _list_loss(config: RunConfig) -> list[Any]:
    """Return what a training's key holds of the method's loss: nothing where it is the usual one."""
    changed = config.method.loss.model_dump(mode="json", exclude_defaults=True)
    return [["loss", changed]] if changed else []


def _dump_pairing(method: MethodConfig, iteration: int) -> dict[str, Any]:
    """Return what a pair stage's key holds of the method; at t = 1 the policy is M1, whose responses it has anyway."""
    dumped = method.model_dump(mode="json", include={"aggregate", "confidence", "agreement"})
    for part, names in _LATER.items():
        section: Section = getattr(method, part)
        for name in names:
            if getattr(section, name) == type(section).model_fields[name].default:
                del dumped[part][name]
    pairs = method.pairs.model_dump(
        mode="json", exclude_defaults=True, exclude={"rejected"} if iteration == 1 else None
    )
    return {**dumped, "pairs": pairs} if pairs else dumped


def _what(config: RunConfig, section: str) -> dict[str, Any]:
    dumped: dict[str, Any] = getattr(config, section).model_dump(mode="json", exclude=_HOW[section])
    return dumped
