"""What every stage works with: its specification, its inputs' rows, the models' folders, and guarded writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from db.queries import read_checkpoint, read_prompts, read_responses
from db.reading import open_reader
from db.rows import ResponseRow, StageDataRow
from db.session import Store, open_store
from db.writes import write_stage_rows
from engine.artifacts import is_adapter_folder
from engine.compute.adapters import load_policy
from engine.compute.build import (
    build_endpoint_sampler,
    build_hf_sampler,
    build_pool_settings,
    build_vllm_sampler,
    read_outline,
)
from engine.compute.decoding import Decoding, ModelOutline
from engine.compute.logprobs import iterate_sum_logprobs
from engine.compute.models import choose_device, load_tokenizer
from engine.compute.ray_pool import (
    ModelFiles,
    RayPool,
    RaySampler,
    SamplingWork,
    describe_folder,
    open_pool,
    read_versions,
)
from engine.errors import CheckpointError
from engine.plan import StageTask
from engine.protocols import Sampler
from engine.records import TokenSequence


class StageContext:
    """Reads the inputs of one stage and writes its rows under the owner's token."""

    def __init__(self, task: StageTask) -> None:
        self.task = task
        self.spec = task.spec
        self.config = task.spec.config
        self.device = choose_device(self.config.resources.device)
        self.exits = ExitStack()

    @cached_property
    def store(self) -> Store:
        return open_store(Path(self.task.root))

    @cached_property
    def reader(self) -> sqlite3.Connection:
        return open_reader(Path(self.task.root))

    @cached_property
    def pool(self) -> RayPool | None:
        """The Ray cluster that samples and scores for this stage; None where its own process does."""
        settings = build_pool_settings(self.config)
        return None if settings is None else self.exits.enter_context(open_pool(settings))

    @property
    def work_folder(self) -> Path:
        return self.store.paths.work_folder(self.spec.key)

    def write(
        self,
        rows: Sequence[StageDataRow],
        *,
        n_done: int | None = None,
        n_total: int | None = None,
        unit: str | None = None,
        n_tokens: int | None = None,
    ) -> None:
        """Commit a batch: rows and counters in one transaction, refused if another process owns the stage."""
        write_stage_rows(
            self.store,
            self.task.stage_id,
            self.task.token,
            rows,
            n_done=n_done,
            n_total=n_total,
            unit=unit,
            n_tokens=n_tokens,
        )

    def get_input_id(self, role: str) -> int:
        """Return the stage id of an input."""
        return self.task.stage_ids[self.spec.inputs[role]]

    def list_score_ids(self) -> list[int]:
        """Return the stage ids of the inputs with scores: the shared part and those of single scorers."""
        others = {"sample", "agree", "pair"}
        return [self.get_input_id(role) for role in self.spec.inputs if role not in others]

    def find_model_folder(self, model: str) -> Path:
        """Return the folder of M0, M1, ...; what is not trained in this run is M0."""
        key = self.spec.models.get(model)
        if key is None:
            return Path(self.task.base_folder)
        checkpoint = read_checkpoint(self.reader, self.task.stage_ids[key])
        folder = None if checkpoint is None else Path(self.task.root) / checkpoint.folder
        if folder is None or not folder.is_dir():
            raise CheckpointError(
                f"the checkpoint of {model} is gone from the store: {folder}",
                hint="start the run again with --no-reuse",
            )
        return folder

    def load_model(self, model: str, *, dtype: str | None = None) -> PreTrainedModel:
        """Return a model of the run in evaluation mode; with an adapter, M0 and that of the model."""
        return load_policy(
            self.find_model_folder(model),
            base_folder=Path(self.task.base_folder),
            dtype=dtype or self.config.model.dtype,
            device=self.device,
            is_quantised=self.config.adapter is not None and self.config.adapter.is_quantised,
        )

    def describe_model(self, model: str, *, dtype: str | None = None) -> ModelFiles:
        """Return a model of the run as the nodes of a cluster have to find it."""
        folder = self.find_model_folder(model)
        return ModelFiles(
            describe_folder(folder),
            base=describe_folder(Path(self.task.base_folder)) if is_adapter_folder(folder) else None,
            dtype=dtype or self.config.model.dtype,
            device=self.config.resources.device,
            is_quantised=self.config.adapter is not None and self.config.adapter.is_quantised,
            versions=read_versions(),
        )

    def iterate_sum_logprobs(
        self, model: str, buckets: Sequence[Sequence[TokenSequence]], *, dtype: str | None = None
    ) -> Iterator[tuple[Sequence[TokenSequence], list[float]]]:
        """Yield each bucket with its sums under a model of the run, from a cluster in the order it finishes them."""
        if self.pool is not None:
            yield from self.pool.iterate_sum_logprobs(self.describe_model(model, dtype=dtype), buckets)
            return
        loaded = self.load_model(model, dtype=dtype)
        yield from iterate_sum_logprobs(loaded, buckets)
        del loaded
        self.free_memory()

    @cached_property
    def outline(self) -> ModelOutline:
        """What sampling needs to know of the run's models, without loading one."""
        return read_outline(Path(self.task.base_folder), self.load_tokenizer())

    @contextmanager
    def open_sampler(self, model: str, decoding: Decoding) -> Iterator[Sampler]:
        """Hold a sampler of a model of the run; its engines or its model go with the context."""
        backend, folder, base = self.config.sampling.backend, self.find_model_folder(model), Path(self.task.base_folder)
        if backend == "vllm":
            log = Path(self.task.log_path)
            with closing(build_vllm_sampler(decoding, self.config, folder=folder, base_folder=base, log=log)) as vllm:
                yield vllm
        elif backend == "openai":
            yield build_endpoint_sampler(decoding, self.config, folder=folder, base_folder=base)
        elif self.pool is not None:
            work = SamplingWork(self.describe_model(model), partial(build_hf_sampler, decoding=decoding))
            yield RaySampler(self.pool, work, decoding.plan_batches)
        else:
            yield build_hf_sampler(self.load_model(model), decoding)

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Return M0's tokenizer: one for the whole run."""
        return load_tokenizer(self.task.base_folder)

    def read_sampled(self) -> list[ResponseRow]:
        """Return the responses that this stage, a sample stage, has committed so far."""
        return read_responses(self.reader, self.task.stage_id)

    def read_samples(self, role: str = "sample") -> Samples:
        """Return the prompts and responses of an input that is a sample stage."""
        stage_id = self.get_input_id(role)
        prompts = {prompt.prompt_id: sampled.token_ids for prompt, sampled in read_prompts(self.reader, stage_id)}
        groups: dict[str, list[ResponseRow]] = {}
        for response in read_responses(self.reader, stage_id):
            groups.setdefault(response.prompt_id, []).append(response)
        return Samples(prompts=prompts, groups=groups)

    def read_policy_samples(self) -> Samples:
        """Return the input ``sample`` with the policy's own responses, which come first in a group."""
        samples, n = self.read_samples(), self.config.sampling.n
        return replace(samples, groups={prompt_id: group[:n] for prompt_id, group in samples.groups.items()})

    def free_memory(self) -> None:
        """Give cached GPU memory back between two models."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


@dataclass(frozen=True, slots=True)
class Samples:
    """The responses of an iteration by prompt, in k order; prompts without responses are absent from ``groups``."""

    prompts: Mapping[str, tuple[int, ...]]
    groups: Mapping[str, list[ResponseRow]]

    def list_responses(self) -> list[ResponseRow]:
        """Return all responses, by prompt and k."""
        return [response for group in self.groups.values() for response in group]

    def get_sequence(self, response: ResponseRow) -> TokenSequence:
        """Return prompt and response as they were sampled."""
        return TokenSequence(self.prompts[response.prompt_id], response.token_ids)
