"""What every stage works with: its specification, its inputs' rows, the models' folders, and guarded writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from db.queries import read_checkpoint, read_prompts, read_responses
from db.reading import open_reader
from db.rows import ResponseRow, StageDataRow
from db.session import Store, open_store
from db.writes import write_stage_rows
from engine.compute.models import choose_device, load_model, load_tokenizer
from engine.errors import CheckpointError
from engine.plan import StageTask
from engine.records import TokenSequence


class StageContext:
    """Reads the inputs of one stage and writes its rows under the owner's token."""

    def __init__(self, task: StageTask) -> None:
        self.task = task
        self.spec = task.spec
        self.config = task.spec.config
        self.device = choose_device(self.config.resources.device)

    @cached_property
    def store(self) -> Store:
        return open_store(Path(self.task.root))

    @cached_property
    def reader(self) -> sqlite3.Connection:
        return open_reader(Path(self.task.root))

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
        """Return a model of the run in evaluation mode."""
        return load_model(self.find_model_folder(model), dtype=dtype or self.config.model.dtype, device=self.device)

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Return M0's tokenizer: one for the whole run."""
        return load_tokenizer(self.task.base_folder)

    def read_sampled(self) -> list[ResponseRow]:
        """Return the responses that this stage, a sample stage, has committed so far."""
        return read_responses(self.reader, self.task.stage_id)

    def read_samples(self) -> Samples:
        """Return the prompts and responses of the input ``sample``."""
        stage_id = self.get_input_id("sample")
        prompts = {prompt.prompt_id: sampled.token_ids for prompt, sampled in read_prompts(self.reader, stage_id)}
        groups: dict[str, list[ResponseRow]] = {}
        for response in read_responses(self.reader, stage_id):
            groups.setdefault(response.prompt_id, []).append(response)
        return Samples(prompts=prompts, groups=groups)

    def free_memory(self) -> None:
        """Give cached GPU memory back between two models."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


@dataclass(frozen=True, slots=True)
class Samples:
    """The responses of an iteration by prompt, in k order; prompts without responses are absent from ``groups``."""

    prompts: Mapping[str, tuple[int, ...]]
    groups: Mapping[str, list[ResponseRow]]

    def get_sequence(self, response: ResponseRow) -> TokenSequence:
        """Return prompt and response as they were sampled."""
        return TokenSequence(self.prompts[response.prompt_id], response.token_ids)
