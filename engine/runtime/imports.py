"""Results of other programs as a finished run of the store. Torch-free.

What the files do not tell stays unknown: no tokens, no checkpoints, settings at their defaults. Agreements are computed
here, by our own rule. The main path enters at `import_results`.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from db.imports import import_run
from db.labels import IMPORTED
from db.pair_links import AGGREGATE
from db.queries import find_run
from db.reading import open_reader
from db.rows import (
    AgreementRow,
    ImportedStage,
    MetricRow,
    NewRun,
    NewStage,
    PairRow,
    PromptRow,
    RunRow,
    ScoreRow,
    StageDataRow,
    TextPromptRow,
    TextResponseRow,
)
from db.session import open_store
from engine.artifacts import compute_file_digest
from engine.config.data import DataConfig, SourceConfig
from engine.config.load import compute_config_digest, dump
from engine.config.method import AggregateConfig, AgreementConfig, ConfidenceConfig, MethodConfig
from engine.config.model import ModelConfig
from engine.config.run import RunConfig
from engine.config.sampling import SamplingConfig
from engine.config.section import MAX_COUNT, find_hidden_character
from engine.errors import ConfigError
from engine.keys import compute_key
from engine.method.agreement import compute_agreement
from engine.method.pairing import select_pair
from engine.plan import BASE
from engine.records import Prompt
from engine.runtime.lineage import Lineage, write_lineage
from engine.runtime.provenance import describe_origin
from engine.tasks.answers import extract_answer
from engine.tasks.imported import ForeignGroup, ForeignPair, ForeignScore, Results, read_results
from engine.tasks.sources import build_prompt

METHOD = "imported"
NOT_THERE = "not in the file"
_UNKNOWN_MODEL = "unknown"
LONGEST_NAME = 80  # of a run's name
_SCHEMA = 1  # raised when the same files give other rows


@dataclass(frozen=True, slots=True)
class Imported:
    """The run that holds the files; ``is_new`` is False where it was imported before."""

    run: RunRow
    is_new: bool
    n_prompts: int
    n_responses: int
    n_pairs: int
    n_repeated: int


def import_results(
    root: Path,
    paths: Sequence[Path],
    *,
    name: str | None = None,
    model: str | None = None,
    iteration: int | None = None,
    tags: Sequence[str] = (),
) -> Imported:
    """Write the files' prompts, responses, scores, agreements and pairs as one run, all or nothing.

    Args:
        model: What the model that answered is called; only shown.
        iteration: Which iteration the files are of, from 1; None: 1, unless they say that it is a later one.

    Raises:
        TaskError: a file or an item is missing or broken; names file and item.
        ConfigError: the iteration is not told, or does not fit the files; a name that no run can have.
        StoreError: the store cannot be written.
    """
    results = read_results(paths)
    t = _choose_iteration(results, iteration)
    digests = [[kind, compute_file_digest(path)] for path, kind in zip(paths, results.kinds, strict=True)]
    prompts = [(build_prompt(group.messages, answer=None, task=None), group) for group in results.groups]
    key = compute_key("import", _SCHEMA, digests, t, model)
    stages = _build_stages(key, prompts, results, t)
    config = _build_config(name or paths[0].stem[:LONGEST_NAME], results, paths[0], model=model, iteration=t)
    files = [
        {"file": str(path.absolute()), "kind": kind, "digest": digest}
        for path, (kind, digest) in zip(paths, digests, strict=True)
    ]
    new = NewRun(
        name=config.name,
        method=METHOD,
        seed=config.seed,
        iterations=t,
        config_json=json.dumps(dump(config)),
        config_digest=compute_config_digest(config),
        lineage_json=write_lineage(Lineage()),
        base_folder="",
        base_digest="",
        provenance_json=json.dumps(describe_origin() | {IMPORTED: files}),
        tags=tuple(tags),
    )
    run_id, row = import_run(open_store(root), new, stages)
    reader = open_reader(root)
    try:
        run = find_run(reader, run_id)
    finally:
        reader.close()
    pairs = [pair for stage in stages for pair in stage.rows if isinstance(pair, PairRow)]
    return Imported(
        run=run,
        is_new=row is not None,
        n_prompts=len(prompts),
        n_responses=sum(len(group.responses) for group in results.groups),
        n_pairs=sum(pair.skip_reason is None for pair in pairs),
        n_repeated=results.n_repeated,
    )


def _choose_iteration(results: Results, iteration: int | None) -> int:
    if iteration is not None and not 1 <= iteration <= MAX_COUNT:
        raise ConfigError(
            f"--iteration {iteration}: iterations count from 1, to {MAX_COUNT} at the most",
            key="iteration",
            value=iteration,
        )
    if results.previous_has_reference and iteration in (None, 1):
        raise ConfigError(
            "both rewarding files have reference scores, so the previous model is not M0 and this is iteration 2 or "
            "a later one",
            hint="say which with --iteration",
            key="iteration",
        )
    if results.previous_has_reference is False and iteration not in (None, 1):
        raise ConfigError(
            f"--iteration {iteration}: the previous model's rewarding file has no reference scores; these likelihoods "
            "of M0 stand for a previous model in iteration 1 only",
            hint="run rewarding.py with --enable_ref yes for the previous model",
            key="iteration",
        )
    return iteration or 1


def _build_config(name: str, results: Results, path: Path, *, model: str | None, iteration: int) -> RunConfig:
    """Return the configuration that readers expect of a run: what the files tell, and defaults."""
    name = "".join(letter for letter in name.strip().lstrip("-") if find_hidden_character(letter) is None).strip()
    if not name or "/" in name or name in ("latest", ".", "..") or len(name) > LONGEST_NAME:
        raise ConfigError(f"--name {name}: no run can be called so", hint="give another --name", key="name")
    model, place = (model or "").strip() or _UNKNOWN_MODEL, str(path.absolute())
    if find_hidden_character(model) is not None:
        raise ConfigError("--model: holds a control character", hint="give another --model", key="model", value=model)
    if find_hidden_character(place) is not None:
        raise ConfigError(f"{place!a}: its name holds a control character", hint="rename the file or its folder")
    has_agreement = results.previous_has_reference is not None
    current, previous = "implicit:current", "implicit:previous"
    return RunConfig(
        name=name,
        iterations=iteration,
        model=ModelConfig(kind="hf", path=model),
        data=DataConfig(sft=None, prompts=SourceConfig(path=place), prompts_per_iteration=len(results.groups)),
        sampling=SamplingConfig(n=max(2, *(len(group.responses) for group in results.groups))),
        method=MethodConfig(
            name=METHOD,
            scorers=(current, previous) if has_agreement else (current,),
            aggregate=AggregateConfig(kind="single", scorers=(current,)),
            agreement=AgreementConfig(measure="kendall", scorer=current, against=previous) if has_agreement else None,
            confidence=ConfidenceConfig(kind="one"),
        ),
    )


def _build_stages(
    key: str, prompts: Sequence[tuple[Prompt, ForeignGroup]], results: Results, t: int
) -> list[ImportedStage]:
    names = (f"implicit:M{t}", f"mean_loglik:{BASE}" if t == 1 else f"implicit:M{t - 1}")
    scores = [row for prompt, group in prompts for row in _build_scores(prompt, group, names)]
    agreements = [_compare(prompt, group, names) for prompt, group in prompts if group.current and group.previous]
    rates = {row.prompt_id: row.consistency_rate for row in agreements}
    pairs = [
        _build_pair(prompt.prompt_id, pair, rates)
        for prompt, group in prompts
        if (pair := group.pair or _select(group)) is not None
    ]
    n_responses = sum(len(group.responses) for _, group in prompts)
    sampled = [*_build_sampled(prompts), *_list_metrics(n_prompts=len(prompts), n_responses=n_responses)]
    sampled += _list_metrics(n_repeated_prompts=results.n_repeated)
    found: list[tuple[str, list[StageDataRow], int, str]] = [("sample", sampled, n_responses, "responses")]
    if scores:
        found.append(("score", [*scores], len(scores), "scores"))
    if agreements:
        found.append(("agree", [*agreements, *_summarise_agreements(agreements, t)], len(agreements), "rankings"))
    if pairs:
        rewards = [row for prompt, group in prompts for row in _build_rewards(prompt, group)]
        found.append(("pair", [*rewards, *pairs, *_summarise_pairs(pairs)], len(pairs), "prompts"))
    return [
        ImportedStage(NewStage(compute_key(key, stage), stage, t, f"{stage} t={t}"), tuple(rows), n, unit)
        for stage, rows, n, unit in found
    ]


def _build_sampled(prompts: Sequence[tuple[Prompt, ForeignGroup]]) -> list[StageDataRow]:
    rows: list[StageDataRow] = []
    for position, (prompt, group) in enumerate(prompts):
        turns = [{"role": message.role, "content": message.content} for message in prompt.messages]
        rows.append(PromptRow(prompt.prompt_id, prompt.text, json.dumps(turns, ensure_ascii=False), None, None))
        rows.append(TextPromptRow(prompt.prompt_id, position))
        for k, text in enumerate(group.responses):
            correct = group.correct[k] if group.correct else None
            rows.append(TextResponseRow(prompt.prompt_id, k, text, extract_answer(text), correct))
    return rows


def _build_scores(prompt: Prompt, group: ForeignGroup, names: tuple[str, str]) -> list[ScoreRow]:
    rows = []
    for name, scores in zip(names, (group.current, group.previous), strict=True):
        model = name.partition(":")[2]
        for k, score in enumerate(scores or ()):
            is_implicit = name.startswith("implicit:")
            rows.append(
                ScoreRow(
                    prompt_id=prompt.prompt_id,
                    k=k,
                    scorer=name,
                    model=model,
                    reference=BASE if is_implicit else None,
                    sum_logprob=score.score if is_implicit else None,
                    reference_sum_logprob=score.reference,
                    n_tokens=None,
                    score=score.reward,
                    missing_reason=NOT_THERE if score.reward is None else None,
                )
            )
    return rows


def _build_rewards(prompt: Prompt, group: ForeignGroup) -> list[ScoreRow]:
    """Return what ranked the responses."""
    if group.current is not None:
        rewards: list[tuple[int, float | None]] = [(k, score.reward) for k, score in enumerate(group.current)]
    elif group.pair is not None and group.pair.chosen_reward is not None:
        rewards = [(0, group.pair.chosen_reward), (1, group.pair.rejected_reward)]
    else:
        return []
    return [
        ScoreRow(
            prompt.prompt_id,
            k,
            AGGREGATE,
            model=None,
            reference=None,
            sum_logprob=None,
            reference_sum_logprob=None,
            n_tokens=None,
            score=reward,
            missing_reason=NOT_THERE if reward is None else None,
        )
        for k, reward in rewards
    ]


def _compare(prompt: Prompt, group: ForeignGroup, names: tuple[str, str]) -> AgreementRow:
    agreement = compute_agreement(
        _score_once(group, group.current or ()), _score_once(group, group.previous or ()), group.responses
    )
    return AgreementRow(
        prompt_id=prompt.prompt_id,
        measure="kendall",
        scorer=names[0],
        against=names[1],
        value=agreement.value,
        consistency_rate=agreement.consistency_rate,
        n=agreement.n,
        n_distinct=agreement.n_distinct,
        undefined_reason=agreement.undefined_reason,
    )


def _score_once(group: ForeignGroup, scores: Sequence[ForeignScore]) -> list[float | None]:
    """Return the rewards with equal responses under the first one's: batches of other sizes moved them a little."""
    first: dict[str, float | None] = {}
    for text, score in zip(group.responses, scores, strict=True):
        first.setdefault(text, score.reward)
    return [first[text] for text in group.responses]


def _select(group: ForeignGroup) -> ForeignPair | None:
    """Return the pair that the rewards make by our rule; None without rewards."""
    if group.current is None:
        return None
    rewards = [score.reward for score in group.current]
    choice = select_pair(rewards, group.responses)
    if choice.chosen_k is None or choice.rejected_k is None:
        return ForeignPair(None, None, skip_reason=choice.skip_reason)
    chosen, rejected = rewards[choice.chosen_k], rewards[choice.rejected_k]
    return ForeignPair(choice.chosen_k, choice.rejected_k, chosen, rejected, choice.margin)


def _build_pair(prompt_id: str, pair: ForeignPair, rates: dict[str, float | None]) -> PairRow:
    """Return the row: a consistency rate of the file stands, ours where it has none."""
    return PairRow(
        prompt_id=prompt_id,
        chosen_k=pair.chosen_k,
        rejected_k=pair.rejected_k,
        chosen_reward=pair.chosen_reward,
        rejected_reward=pair.rejected_reward,
        margin=pair.margin,
        consistency_rate=rates.get(prompt_id) if pair.consistency_rate is None else pair.consistency_rate,
        confidence=pair.confidence,
        skip_reason=pair.skip_reason,
    )


def _summarise_agreements(rows: Sequence[AgreementRow], t: int) -> list[MetricRow]:
    taus = [row.value for row in rows if row.value is not None]
    metrics = _list_metrics(n_defined=len(taus), n_undefined=len(rows) - len(taus))
    if taus:
        mean = statistics.fmean(taus)
        metrics += _list_metrics(tau_previous=mean, consistency_rate=(mean + 1) / 2)
        metrics += _list_metrics(tau_anchor=mean) if t == 1 else []  # M0's likelihood is both
    if len(taus) > 1:
        metrics += _list_metrics(tau_previous_se=statistics.stdev(taus) / math.sqrt(len(taus)))
    return metrics


def _summarise_pairs(pairs: Sequence[PairRow]) -> list[MetricRow]:
    n_skipped = sum(pair.skip_reason is not None for pair in pairs)
    metrics = _list_metrics(n_pairs=len(pairs) - n_skipped, n_skipped=n_skipped)
    margins = [pair.margin for pair in pairs if pair.margin is not None]
    confidences = [pair.confidence for pair in pairs if pair.confidence is not None]
    metrics += _list_metrics(median_margin=statistics.median(margins)) if margins else []
    return metrics + (_list_metrics(confidence=statistics.fmean(confidences)) if confidences else [])


def _list_metrics(**values: float) -> list[MetricRow]:
    return [MetricRow(name, 0, float(value)) for name, value in values.items()]
