"""Rows as frozen records: what ``db.writes`` takes and ``db.queries`` returns. Light: no sqlmodel, no sqlalchemy.

Times are seconds since the epoch (UTC). Log-probabilities are sums in nats. ``correct`` is None where gold is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

VERDICTS = ("agree", "swap", "tie", "both_bad", "unsure")


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run before it has an id; ``name`` is what was asked for and may get a suffix.

    ``is_queued``: it waits for its turn behind those that wait already.
    """

    name: str
    method: str
    seed: int
    iterations: int
    config_json: str
    config_digest: str
    lineage_json: str
    base_folder: str
    base_digest: str
    provenance_json: str
    parent_run_id: str | None = None
    fork_at: str | None = None
    reuse: bool = True
    tags: tuple[str, ...] = ()
    is_queued: bool = False


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as it stands; with a ``queue_position`` it waits for its turn, the lowest first."""

    run_id: str
    name: str
    method: str
    seed: int
    iterations: int
    state: str
    created_at: float
    started_at: float | None
    finished_at: float | None
    config_json: str
    config_digest: str
    lineage_json: str
    base_folder: str
    base_digest: str
    parent_run_id: str | None
    fork_at: str | None
    reuse: bool
    provenance_json: str
    stop_requested_at: float | None
    exit_code: int | None
    error: str | None
    note: str
    is_baseline: bool
    queue_position: float | None
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewStage:
    """A planned stage; ``iteration`` and ``label`` (what the user reads) belong to the run's link to it."""

    key: str
    name: str
    iteration: int
    label: str


@dataclass(frozen=True, slots=True)
class ImportedStage:
    """A stage whose rows come from files: done as soon as it is there."""

    stage: NewStage
    rows: tuple[StageDataRow, ...]
    n_done: int
    unit: str


@dataclass(frozen=True, slots=True)
class StageRow:
    """A stage as one run sees it; another run owns it where ``owner_run_id`` differs."""

    run_id: str
    position: int
    stage_id: int
    key: str
    name: str
    iteration: int
    label: str
    state: str
    owner_run_id: str | None
    n_done: int
    n_total: int | None
    unit: str | None
    n_tokens: int | None
    started_at: float | None
    finished_at: float | None
    error: str | None
    n_attempts: int


@dataclass(frozen=True, slots=True)
class Lease:
    """Who works on a run (or, by its id, a study): one process on one host; ``pid_started_at`` in ticks since boot."""

    run_id: str
    token: str
    pid: int
    pid_started_at: float
    host: str
    heartbeat_at: float


@dataclass(frozen=True, slots=True)
class Claim:
    """``status`` is claimed | done | wait; ``owner_run_id`` is who computes or computed the stage."""

    status: str
    owner_run_id: str | None


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One try of a stage by one run: its process, its log, how it ended and what it took."""

    attempt_id: int
    stage_id: int
    run_id: str
    number: int
    pid: int | None
    log_path: str | None
    started_at: float
    finished_at: float | None
    exit_code: int | None
    error: str | None
    peak_rss_bytes: int | None
    peak_gpu_bytes: int | None
    compute_s: float | None


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A prompt of the store; ``messages_json`` is the conversation that ``text`` shows."""

    prompt_id: str
    text: str
    messages_json: str
    answer: str | None
    task: str | None


@dataclass(frozen=True, slots=True)
class SampledPromptRow:
    """A prompt as it was encoded for one sample stage; with a ``skip_reason`` it has no responses."""

    prompt_id: str
    position: int
    token_ids: tuple[int, ...]
    skip_reason: str | None = None


@dataclass(frozen=True, slots=True)
class ResponseRow:
    """One of the N responses to a prompt, by its token ids."""

    prompt_id: str
    k: int
    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    sampled_logprob: float
    extracted: str | None
    correct: bool | None

    @property
    def n_tokens(self) -> int:
        """A sampled end token counts."""
        return len(self.token_ids)


@dataclass(frozen=True, slots=True)
class TextPromptRow:
    """A prompt of an imported sample stage, known by its text alone."""

    prompt_id: str
    position: int


@dataclass(frozen=True, slots=True)
class TextResponseRow:
    """A response that was imported as text: its tokens, how it ended and how likely it was are not known."""

    prompt_id: str
    k: int
    text: str
    extracted: str | None
    correct: bool | None


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """What a scorer gives a response, or why it gives nothing."""

    prompt_id: str
    k: int
    scorer: str
    model: str | None
    reference: str | None
    sum_logprob: float | None
    reference_sum_logprob: float | None
    n_tokens: int | None
    score: float | None
    missing_reason: str | None


@dataclass(frozen=True, slots=True)
class AgreementRow:
    """How far two rankings of the responses to a prompt agree, or why that is undefined."""

    prompt_id: str
    measure: str
    scorer: str
    against: str
    value: float | None
    consistency_rate: float | None
    n: int
    n_distinct: int
    undefined_reason: str | None


@dataclass(frozen=True, slots=True)
class PairRow:
    """The pair of a prompt, or why there is none."""

    prompt_id: str
    chosen_k: int | None
    rejected_k: int | None
    chosen_reward: float | None
    rejected_reward: float | None
    margin: float | None
    consistency_rate: float | None
    confidence: float | None
    skip_reason: str | None


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """What a person says of a pair; ``stage_id`` is its pair stage. Without a verdict there is only a flag or a note.

    Attributes:
        verdict: one of VERDICTS or None; swap: the rejected response is the better one.
        is_blind: whether the person saw neither rewards nor labels.
    """

    stage_id: int
    prompt_id: str
    verdict: str | None
    is_flagged: bool
    is_blind: bool
    note: str
    at: float


@dataclass(frozen=True, slots=True)
class UsageSample:
    """What a run's processes take at a moment.

    Attributes:
        cpu_percent: of one core, summed over the processes, as is ``rss_bytes``.
        gpu_percent: how busy the devices are, on average; the bytes are summed over them, whoever uses them. None
            without a GPU.
    """

    cpu_percent: float
    rss_bytes: int
    gpu_percent: float | None = None
    gpu_bytes: int | None = None
    gpu_total_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class UsageRow:
    """A stored ``UsageSample``; ``usage_id`` rises, so a reader asks for what is above its cursor."""

    usage_id: int
    run_id: str
    at: float
    cpu_percent: float
    rss_bytes: int
    gpu_percent: float | None
    gpu_bytes: int | None
    gpu_total_bytes: int | None


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One value of one step; a replayed step replaces its row."""

    name: str
    step: int
    value: float


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """``folder`` is relative to the store and posix."""

    digest: str
    parent_digest: str
    folder: str
    n_parameters: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """The greedy answer to an item of an evaluation."""

    task: str
    item_id: str
    prompt: str
    response: str
    extracted: str | None
    gold: str
    correct: bool
    n_tokens: int
    finish_reason: str


StageDataRow: TypeAlias = (
    PromptRow
    | SampledPromptRow
    | TextPromptRow
    | ResponseRow
    | TextResponseRow
    | ScoreRow
    | AgreementRow
    | PairRow
    | MetricRow
    | CheckpointRow
    | EvaluationRow
)


@dataclass(frozen=True, slots=True)
class RunCheckpoint:
    """A model of a run by its name M0, M1, ...; ``folder`` is absolute, a plain transformers folder."""

    name: str
    folder: str
    digest: str


@dataclass(frozen=True, slots=True)
class RunMetric:
    """A metric as one run sees it; ``metric_id`` rises, so a reader asks for what is above its cursor.

    ``label`` tells stages of one name and iteration apart.
    """

    metric_id: int
    iteration: int
    stage: str
    step: int
    name: str
    value: float
    at: float
    label: str = ""
