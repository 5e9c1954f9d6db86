"""Scores of an external reward model: one number for every distinct response text, whatever the method."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from db.queries import read_prompts, read_scores
from db.rows import MetricRow, PromptRow, ResponseRow, ScoreRow
from engine.artifacts import find_base_folder
from engine.compute.reward_model import RewardInput, RewardModel, load_reward_model
from engine.config.shipped import find_configs_folder
from engine.errors import CheckpointError
from engine.records import Message
from engine.stages.context import StageContext

TOO_LONG = "longer than the reward model's context"
NOT_FINITE = "the reward is not finite"
COMMIT_EVERY = 8  # buckets


def score_by_reward_model(context: StageContext, name: str) -> None:
    """Score what is not scored yet, some buckets a transaction."""
    reward_model = _load(context, name)
    by_input = _encode(context, reward_model)
    limit = reward_model.max_length
    fitting = [item for item in by_input if limit is None or len(item) <= limit]
    rows = [
        _build_row(context, name, response, None, TOO_LONG)
        for item, responses in by_input.items()
        if limit is not None and len(item) > limit
        for response in responses
    ]
    known = {(row.prompt_id, row.k) for row in read_scores(context.reader, [context.task.stage_id])}
    done = {item for item in fitting if (by_input[item][0].prompt_id, by_input[item][0].k) in known}
    n_done, n_tokens = len(done), sum(map(len, done))
    context.write(rows, n_done=n_done, n_total=len(fitting), unit="rewards", n_tokens=n_tokens)
    batch_tokens = max(1, context.config.scoring.reward_models[name].batch_tokens // context.task.shrink)
    buckets = [b for b in reward_model.plan_buckets(fitting, batch_tokens=batch_tokens) if not done.issuperset(b)]
    rows = []
    for index, (bucket, values) in enumerate(reward_model.iterate_rewards(buckets), start=1):
        for item, value in zip(bucket, values, strict=True):
            score = value if math.isfinite(value) else None
            rows += [_build_row(context, name, response, score, NOT_FINITE) for response in by_input[item]]
        n_done, n_tokens = n_done + len(bucket), n_tokens + sum(map(len, bucket))
        if index % COMMIT_EVERY == 0 or index == len(buckets):
            context.write(rows, n_done=n_done, n_tokens=n_tokens)
            rows = []
    n_missing = sum(row.score is None for row in read_scores(context.reader, [context.task.stage_id]))
    context.write([MetricRow("n_missing", 0, float(n_missing))])


def _load(context: StageContext, name: str) -> RewardModel:
    settings, key = context.config.scoring.reward_models[name], f"scoring.reward_models.{name}.path"
    folder = find_base_folder("hf", settings.path, settings.revision, configs_folder=find_configs_folder())
    if folder is None:
        raise CheckpointError(
            f"{key}: {settings.path} is neither a folder nor in the hub's cache on this machine",
            hint="bring it back, then resume",
        )
    return load_reward_model(folder, key=key, dtype=settings.dtype, device=context.device, logit=settings.logit)


def _encode(context: StageContext, reward_model: RewardModel) -> dict[RewardInput, list[ResponseRow]]:
    prompts = {prompt.prompt_id: prompt for prompt, _ in read_prompts(context.reader, context.get_input_id("sample"))}
    found: dict[RewardInput, list[ResponseRow]] = {}
    for response in context.read_samples().list_responses():
        prompt = prompts[response.prompt_id]
        item = reward_model.encode(_read_messages(prompt), prompt.text, response.text)
        found.setdefault(item, []).append(response)
    return found


def _read_messages(prompt: PromptRow) -> list[Message]:
    turns: Sequence[Mapping[str, str]] = json.loads(prompt.messages_json)
    return [Message(turn["role"], turn["content"]) for turn in turns]


def _build_row(context: StageContext, name: str, response: ResponseRow, score: float | None, reason: str) -> ScoreRow:
    missing = reason if score is None else None
    return ScoreRow(response.prompt_id, response.k, context.spec.part, name, None, None, None, None, score, missing)
