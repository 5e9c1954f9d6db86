"""Scores of a judge: a model of the run reads every distinct response several times; the score is the mean it gives.

One row with the mean for each response, and one for each judgement (scorer ``judge:M1#1``, ``judge:M1#2``, ...). A
judgement without a readable score is missing, with the reason, and enters no mean. Texts of judgements are not kept;
the ends of some without a score go to the stage's log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from db.queries import read_prompts, read_scores
from db.rows import MetricRow, ResponseRow, ScoreRow
from engine.compute.build import build_judge_decoding
from engine.compute.judge import JudgedItem, Judgement, encode_judge_prompts, parse_judgements
from engine.method.judgement import compute_mean_score, compute_self_agreement, compute_within_sd
from engine.records import EncodedPrompt
from engine.stages.context import StageContext
from engine.tasks.judge_prompt import read_judge_prompt

NO_SCORE = "the judgement holds no score"
NO_JUDGEMENT = "no judgement holds a score"
TOO_LONG = "does not fit the judge's context"
N_LOGGED = 5
_LOG = logging.getLogger(__name__)


def score_by_judge(context: StageContext, model_name: str) -> None:
    """Judge what is not judged yet, one batch a transaction."""
    items = _read_items(context)
    tokenizer, limit = context.load_tokenizer(), context.outline.context
    encoded = encode_judge_prompts(tokenizer, read_judge_prompt(context.config), items)
    by_id = {item.item_id: responses for item, responses in items.items()}
    decoding = build_judge_decoding(context.outline, context.spec, context.task.shrink)
    fitting = [p for p in encoded if limit is None or len(p.token_ids) + decoding.max_new_tokens <= limit]
    progress = _Progress(context, by_id, fitting)
    progress.write_unfit(set(encoded).difference(fitting))
    batches = [b for b in decoding.plan_batches(fitting) if any(p.prompt_id not in progress.done for p in b)]
    with context.open_sampler(model_name, decoding) as sampler:
        for sampled in sampler.sample_batches(batches):
            progress.write(parse_judgements(tokenizer, sampled))
    context.write(_build_metrics(context, by_id))


def _read_items(context: StageContext) -> dict[JudgedItem, list[ResponseRow]]:
    texts = {
        prompt.prompt_id: prompt.text for prompt, _ in read_prompts(context.reader, context.get_input_id("sample"))
    }
    items: dict[JudgedItem, list[ResponseRow]] = {}
    for response in context.read_samples().list_responses():
        prompt_id = response.prompt_id
        item = JudgedItem(prompt_id, texts[prompt_id], response.text, response.token_ids)
        items.setdefault(item, []).append(response)
    return items


class _Progress:
    """Writes the rows of judged items with the counts; ``done`` are those that an earlier attempt committed."""

    def __init__(
        self, context: StageContext, by_id: Mapping[str, Sequence[ResponseRow]], fitting: Sequence[EncodedPrompt]
    ) -> None:
        self.context = context
        self.by_id = by_id
        found = {(row.prompt_id, row.k) for row in _read_rows(context, context.spec.part)}
        firsts = {prompt.prompt_id: by_id[prompt.prompt_id][0] for prompt in fitting}
        self.done = {item_id for item_id, first in firsts.items() if (first.prompt_id, first.k) in found}
        self.n = context.config.scoring.judge.judgements
        self.n_done, self.n_tokens, self.n_logged = self.n * len(self.done), 0, 0
        context.write([], n_done=self.n_done, n_total=self.n * len(fitting), unit="judgements", n_tokens=0)

    def write_unfit(self, prompts: Iterable[EncodedPrompt]) -> None:
        """Say of responses that cannot be judged why."""
        part, model = self.context.spec.part, _name_model(self.context)
        rows = [
            _build_row(response, part, model, None, TOO_LONG)
            for prompt in prompts
            for response in self.by_id[prompt.prompt_id]
        ]
        self.context.write(rows)

    def write(self, judgements: Mapping[str, Sequence[Judgement]]) -> None:
        """Commit a batch."""
        rows: list[ScoreRow] = []
        for item_id, given in judgements.items():
            for response in self.by_id[item_id]:
                rows += self._build_rows(response, [judgement.score for judgement in given])
            for judgement in given:
                self.n_done += 1
                self.n_tokens += judgement.n_tokens
                self._log(judgement)
        self.context.write(rows, n_done=self.n_done, n_tokens=self.n_tokens)

    def _build_rows(self, response: ResponseRow, scores: Sequence[float | None]) -> list[ScoreRow]:
        part, model = self.context.spec.part, _name_model(self.context)
        mean = compute_mean_score(scores)
        rows = [_build_row(response, part, model, mean, NO_JUDGEMENT)]
        for number, score in enumerate(scores, start=1):
            rows.append(_build_row(response, f"{part}#{number}", model, score, NO_SCORE))
        return rows

    def _log(self, judgement: Judgement) -> None:
        if judgement.score is None and self.n_logged < N_LOGGED:
            self.n_logged += 1
            _LOG.warning("a judgement of %d tokens without a score ends: %a", judgement.n_tokens, judgement.text[-200:])


def _build_row(response: ResponseRow, scorer: str, model: str, score: float | None, reason: str) -> ScoreRow:
    missing = reason if score is None else None
    return ScoreRow(response.prompt_id, response.k, scorer, model, None, None, None, None, score, missing)


def _read_rows(context: StageContext, scorer: str) -> list[ScoreRow]:
    rows = read_scores(context.reader, [context.task.stage_id])
    return [row for row in rows if row.scorer == scorer]


def _name_model(context: StageContext) -> str:
    return context.spec.part.partition(":")[2]


def _build_metrics(context: StageContext, by_id: Mapping[str, Sequence[ResponseRow]]) -> list[MetricRow]:
    """Return how reliable the judge is, over distinct responses, from what is committed."""
    part = context.spec.part
    rows = read_scores(context.reader, [context.task.stage_id])
    scores = {(row.scorer, row.prompt_id, row.k): row.score for row in rows}
    n_missing = sum(row.score is None for row in rows if row.scorer == part)
    names = [f"{part}#{number + 1}" for number in range(context.config.scoring.judge.judgements)]
    judgements = [
        [scores[name, first.prompt_id, first.k] for name in names]
        for first, *_ in by_id.values()
        if (names[0], first.prompt_id, first.k) in scores
    ]
    given = [score for scores_of_one in judgements for score in scores_of_one]
    values: dict[str, float | None] = {
        "n_missing": float(n_missing),
        "n_judgements": float(len(given)),
        "judge_parse_failure_rate": given.count(None) / len(given) if given else None,
        "judge_self_agreement": compute_self_agreement(judgements),
        "judge_within_sd": compute_within_sd(judgements),
        "judge_mean": compute_mean_score(given),
    }
    return [MetricRow(name, 0, value) for name, value in values.items() if value is not None]
