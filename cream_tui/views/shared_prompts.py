"""What runs answered to the same prompts: who was right, and which pairs they made of the same responses.

Pure: rows in, records out; no store, no Textual. Always one run against a baseline: a win is a prompt that only the run
got right, a loss one that only the baseline did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cream_tui.results import Interval, ModelResult, find_evaluated_model
from db.compare_reads import PromptSide, SharedIteration, SharedPrompt
from db.labels import is_preference_stage
from db.rows import EvaluationRow, StageRow

# Two C's are one where they differ by rounding only.
_LEAST_CONFIDENCE_STEP = 1e-9


class Outcome(StrEnum):
    """A prompt between a run and a baseline; where gold is unknown there is none."""

    WIN = "win"
    LOSE = "lose"
    BOTH_RIGHT = "both right"
    BOTH_WRONG = "both wrong"

    @property
    def side(self) -> str:
        """win, lose or tie."""
        return self.value if self in (Outcome.WIN, Outcome.LOSE) else "tie"


SIDES = ("win", "lose", "tie")


class Relation(StrEnum):
    """The pairs that two runs made of the same responses."""

    SAME = "same pair"
    OTHER_C = "same pair, other C"
    REVERSED = "other orientation"
    OTHER_PAIR = "other pair"
    ONE_SKIPPED = "one skipped"
    BOTH_SKIPPED = "both skipped"


@dataclass(frozen=True, slots=True)
class OutcomeCount:
    """How many prompts came out how."""

    n_win: int = 0
    n_lose: int = 0
    n_both_right: int = 0
    n_both_wrong: int = 0

    @property
    def n(self) -> int:
        return self.n_win + self.n_lose + self.n_both_right + self.n_both_wrong

    @property
    def n_tie(self) -> int:
        return self.n_both_right + self.n_both_wrong

    def compute_p_value(self) -> float:
        """Exact McNemar: that both are right equally often."""
        from engine.method.statistics import compute_mcnemar

        return compute_mcnemar(self.n_win, self.n_lose)


@dataclass(frozen=True, slots=True)
class Answer:
    """One run's greedy answer to an evaluation item."""

    text: str
    extracted: str | None
    is_right: bool
    n_tokens: int


@dataclass(frozen=True, slots=True)
class AnsweredItem:
    """An evaluation item with the answers of all runs, in their order; the first run is the baseline.

    ``outcomes`` has one entry for each run after the baseline.
    """

    task: str
    item_id: str
    prompt: str
    gold: str
    answers: tuple[Answer, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def key(self) -> str:
        """What tells it from all other items."""
        return f"{self.task}/{self.item_id}"


@dataclass(frozen=True, slots=True)
class SampledItem:
    """A prompt that a run and the baseline sampled in the same iteration.

    ``prompt`` is the beginning of its text. ``outcome`` compares their chosen responses; None where gold is unknown or
    one has no pair. ``relation`` compares their pairs; None where the responses are not the same.
    """

    prompt_id: str
    prompt: str
    run: PromptSide
    baseline: PromptSide
    outcome: Outcome | None
    relation: Relation | None

    @property
    def key(self) -> str:
        """What tells it from all other items."""
        return self.prompt_id


@dataclass(frozen=True, slots=True)
class SampledComparison:
    """One iteration in which a run and the baseline sampled the same prompts.

    Attributes:
        n_known: Prompts with responses of known correctness in both runs.
        right_share, baseline_right_share: Mean share of right responses over them; None where there is none.
        interval: 95 % interval of the mean difference by prompt; None for the same responses or fewer than 2 prompts.
        chosen: Outcomes of the chosen responses.
        relations: Pairs by relation; empty where the responses are not the same.
    """

    iteration: int
    has_same_responses: bool
    n_prompts: int
    n_known: int
    right_share: float | None
    baseline_right_share: float | None
    interval: Interval | None
    chosen: OutcomeCount
    relations: Mapping[Relation, int]


def judge(is_right: bool, is_baseline_right: bool) -> Outcome:
    """How a prompt came out for the run."""
    if is_right:
        return Outcome.BOTH_RIGHT if is_baseline_right else Outcome.WIN
    return Outcome.LOSE if is_baseline_right else Outcome.BOTH_WRONG


def count_outcomes(outcomes: Iterable[Outcome | None]) -> OutcomeCount:
    """The outcomes counted; None is not."""
    counts = Counter(outcomes)
    return OutcomeCount(
        counts[Outcome.WIN], counts[Outcome.LOSE], counts[Outcome.BOTH_RIGHT], counts[Outcome.BOTH_WRONG]
    )


def count_greedy(run: ModelResult, baseline: ModelResult) -> OutcomeCount:
    """The outcomes of two models on the items that both answered."""
    return count_outcomes(
        judge(is_right, baseline.items[item]) for item, is_right in run.items.items() if item in baseline.items
    )


def list_common_evaluations(stages: Sequence[Sequence[StageRow]]) -> dict[str, tuple[int, ...]]:
    """The models that every run has evaluated, in order, with each run's evaluate stage."""
    by_run = []
    for own in stages:
        answered = [s for s in own if s.name == "evaluate" and s.state == "done" and not is_preference_stage(s.label)]
        done = {find_evaluated_model(s): s.stage_id for s in answered}
        if "M0" in done and not any(s.name == "train" and s.iteration == 0 for s in own):
            done.setdefault("M1", done["M0"])  # without SFT M1 is M0
        by_run.append(done)
    shared = set.intersection(*map(set, by_run)) if by_run else set()
    return {model: tuple(done[model] for done in by_run) for model in sorted(shared, key=lambda name: int(name[1:]))}


def join_answers(evaluations: Sequence[Sequence[EvaluationRow]]) -> list[AnsweredItem]:
    """The items that all runs answered, in the order of the first one, which is the baseline."""
    by_item = [{(row.task, row.item_id, row.prompt): row for row in rows} for rows in evaluations]
    items = []
    for key, row in by_item[0].items():
        rows = [found.get(key) for found in by_item]
        known = [other for other in rows if other is not None]
        if len(known) == len(rows):
            answers = tuple(Answer(r.response, r.extracted, r.correct, r.n_tokens) for r in known)
            outcomes = tuple(judge(answer.is_right, answers[0].is_right) for answer in answers[1:])
            items.append(AnsweredItem(row.task, row.item_id, row.prompt, row.gold, answers, outcomes))
    return items


def filter_by_side(items: Sequence[AnsweredItem], side: str | None) -> list[AnsweredItem]:
    """The items that came out so for any of the runs; None: all."""
    return [item for item in items if side is None or any(outcome.side == side for outcome in item.outcomes)]


def compare_sampled(shared: SharedIteration, prompts: Sequence[SharedPrompt]) -> list[SampledItem]:
    """The shared prompts of an iteration, the first side being the baseline's."""
    return [
        SampledItem(
            prompt.prompt_id,
            prompt.text,
            prompt.second,
            prompt.first,
            _judge_chosen(prompt.second, prompt.first),
            find_relation(prompt.second, prompt.first) if _has_pairs(shared) else None,
        )
        for prompt in prompts
    ]


def summarise_sampled(shared: SharedIteration, items: Sequence[SampledItem]) -> SampledComparison:
    """An iteration in a few numbers."""
    from engine.method.statistics import compute_mean_interval

    known = [item for item in items if item.run.n_known and item.baseline.n_known]
    shares = [(item.run.n_right / item.run.n_known, item.baseline.n_right / item.baseline.n_known) for item in known]
    relations = Counter(item.relation for item in items if item.relation is not None)
    return SampledComparison(
        iteration=shared.iteration,
        has_same_responses=shared.has_same_responses,
        n_prompts=len(items),
        n_known=len(known),
        right_share=sum(own for own, _ in shares) / len(shares) if shares else None,
        baseline_right_share=sum(other for _, other in shares) / len(shares) if shares else None,
        interval=None if shared.has_same_responses else compute_mean_interval([own - other for own, other in shares]),
        chosen=count_outcomes(item.outcome for item in items),
        relations={relation: relations[relation] for relation in Relation if relations[relation]},
    )


def find_relation(side: PromptSide, other: PromptSide) -> Relation:
    """How two pairs of the same responses relate."""
    pair, other_pair = (side.chosen_k, side.rejected_k), (other.chosen_k, other.rejected_k)
    if None in (*pair, *other_pair):
        return Relation.BOTH_SKIPPED if pair == other_pair else Relation.ONE_SKIPPED
    if pair == other_pair[::-1]:
        return Relation.REVERSED
    if pair != other_pair:
        return Relation.OTHER_PAIR
    if side.confidence is None or other.confidence is None:
        is_same = side.confidence is other.confidence
    else:
        is_same = abs(side.confidence - other.confidence) < _LEAST_CONFIDENCE_STEP
    return Relation.SAME if is_same else Relation.OTHER_C


def _has_pairs(shared: SharedIteration) -> bool:
    return shared.has_same_responses and None not in (shared.pair_stage_id, shared.other_pair_stage_id)


def _judge_chosen(side: PromptSide, other: PromptSide) -> Outcome | None:
    if side.chosen_correct is None or other.chosen_correct is None:
        return None
    return judge(side.chosen_correct, other.chosen_correct)
