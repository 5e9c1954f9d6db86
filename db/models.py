"""SQLModel tables, equal to the SQL of the migrations (a test compares them). Writing goes through these classes.

They do not validate: what comes in has been checked at the border, and the schema's own CHECKs stand behind it. No
relationships: joins are written out. Columns are in the order of the migration files; ``db.rows`` says what they mean.
"""

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy import Integer as Flag  # 0 or 1: SQLAlchemy's Boolean would name another column type
from sqlmodel import Field, SQLModel

_FINISH_REASON = "finish_reason IN ('end', 'length')"


class Run(SQLModel, table=True):
    __tablename__ = "run"
    __table_args__ = (
        CheckConstraint("state IN ('queued', 'running', 'done', 'failed', 'stopped')"),
        CheckConstraint("reuse IN (0, 1)"),
        CheckConstraint("is_baseline IN (0, 1)"),
        Index("run_baseline", "is_baseline", unique=True, sqlite_where=text("is_baseline = 1")),
    )

    run_id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    method: str
    seed: int
    iterations: int
    state: str
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    config_json: str
    config_digest: str
    lineage_json: str
    base_folder: str
    base_digest: str
    parent_run_id: str | None = None
    fork_at: str | None = None
    reuse: bool = Field(sa_type=Flag)
    provenance_json: str
    stop_requested_at: float | None = None
    exit_code: int | None = None
    error: str | None = None
    note: str = Field(default="", sa_column_kwargs={"server_default": text("''")})
    is_baseline: bool = Field(default=False, sa_type=Flag, sa_column_kwargs={"server_default": text("0")})
    queue_position: float | None = None


class RunTag(SQLModel, table=True):
    __tablename__ = "run_tag"

    run_id: str = Field(primary_key=True, foreign_key="run.run_id", ondelete="CASCADE")
    tag: str = Field(primary_key=True)


class RunLease(SQLModel, table=True):
    __tablename__ = "lease"

    run_id: str = Field(primary_key=True, foreign_key="run.run_id", ondelete="CASCADE")
    token: str
    pid: int
    pid_started_at: float
    host: str
    heartbeat_at: float


class Stage(SQLModel, table=True):
    __tablename__ = "stage"
    __table_args__ = (
        CheckConstraint("name IN ('sample', 'score', 'agree', 'pair', 'train', 'evaluate')"),
        CheckConstraint("state IN ('pending', 'running', 'done', 'failed')"),
    )

    stage_id: int | None = Field(default=None, primary_key=True)
    key: str = Field(unique=True)
    name: str
    state: str
    owner_run_id: str | None = None
    owner_token: str | None = None
    n_done: int
    n_total: int | None = None
    unit: str | None = None
    n_tokens: int | None = None
    started_at: float | None = None
    finished_at: float | None = None
    error: str | None = None


class RunStage(SQLModel, table=True):
    __tablename__ = "run_stage"
    __table_args__ = (Index("run_stage_by_stage", "stage_id"),)

    run_id: str = Field(primary_key=True, foreign_key="run.run_id", ondelete="CASCADE")
    position: int = Field(primary_key=True)
    stage_id: int = Field(foreign_key="stage.stage_id")
    iteration: int
    label: str


class Attempt(SQLModel, table=True):
    __tablename__ = "attempt"
    __table_args__ = (Index("attempt_by_stage", "stage_id"),)

    attempt_id: int | None = Field(default=None, primary_key=True)
    stage_id: int = Field(foreign_key="stage.stage_id", ondelete="CASCADE")
    run_id: str
    number: int
    pid: int | None = None
    log_path: str | None = None
    started_at: float
    finished_at: float | None = None
    exit_code: int | None = None
    error: str | None = None
    peak_rss_bytes: int | None = None
    peak_gpu_bytes: int | None = None
    compute_s: float | None = None


class Prompt(SQLModel, table=True):
    __tablename__ = "prompt"

    prompt_id: str = Field(primary_key=True)
    text: str
    messages_json: str
    answer: str | None = None
    task: str | None = None


class SampledPrompt(SQLModel, table=True):
    __tablename__ = "sampled_prompt"
    __table_args__ = (UniqueConstraint("stage_id", "prompt_id"),)

    sampled_prompt_id: int | None = Field(default=None, primary_key=True)
    stage_id: int = Field(foreign_key="stage.stage_id", ondelete="CASCADE")
    prompt_id: str = Field(foreign_key="prompt.prompt_id")
    position: int
    token_ids_json: str | None = None
    skip_reason: str | None = None


class Response(SQLModel, table=True):
    __tablename__ = "response"
    __table_args__ = (
        UniqueConstraint("stage_id", "prompt_id", "k"),
        CheckConstraint(_FINISH_REASON),
        CheckConstraint("correct IN (0, 1)"),
    )

    response_id: int | None = Field(default=None, primary_key=True)
    stage_id: int = Field(foreign_key="stage.stage_id", ondelete="CASCADE")
    prompt_id: str = Field(foreign_key="prompt.prompt_id")
    k: int
    text: str
    token_ids_json: str | None = None
    finish_reason: str | None = None
    n_tokens: int | None = None
    sampled_logprob: float | None = None
    extracted: str | None = None
    correct: bool | None = Field(default=None, sa_type=Flag)


class Score(SQLModel, table=True):
    __tablename__ = "score"
    __table_args__ = (
        UniqueConstraint("stage_id", "scorer", "prompt_id", "k"),
        CheckConstraint("(score IS NULL) <> (missing_reason IS NULL)"),
    )

    score_id: int | None = Field(default=None, primary_key=True)
    stage_id: int = Field(foreign_key="stage.stage_id", ondelete="CASCADE")
    prompt_id: str = Field(foreign_key="prompt.prompt_id")
    k: int
    scorer: str
    model: str | None = None
    reference: str | None = None
    sum_logprob: float | None = None
    reference_sum_logprob: float | None = None
    n_tokens: int | None = None
    score: float | None = None
    missing_reason: str | None = None


class Agreement(SQLModel, table=True):
    __tablename__ = "agreement"
    __table_args__ = (
        UniqueConstraint("stage_id", "measure", "scorer", "against", "prompt_id"),
        CheckConstraint("(value IS NULL) <> (undefined_reason IS NULL)"),
        CheckConstraint("consistency_rate BETWEEN 0 AND 1"),
    )

    agreement_id: int | None = Field(default=None, primary_key=True)
    stage_id: int = Field(foreign_key="stage.stage_id", ondelete="CASCADE")
    prompt_id: str = Field(foreign_key="prompt.prompt_id")
    measure: str
    scorer: str
    against: str
    value: float | None = None
    consistency_rate: float | None = None
    n: int
    n_distinct: int
    undefined_reason: str | None = None


class Pair(SQLModel, table=True):
    __tablename__ = "pair"
    __table_args__ = (
        UniqueConstraint("stage_id", "prompt_id"),
        CheckConstraint("confidence BETWEEN 0 AND 1"),
        CheckConstraint("(chosen_k IS NULL) <> (skip_reason IS NULL)"),
        CheckConstraint("(chosen_k IS NULL) = (rejected_k IS NULL)"),
    )

    pair_id: int | None = Field(default=None, primary_key=True)
    stage_id: int = Field(foreign_key="stage.stage_id", ondelete="CASCADE")
    prompt_id: str = Field(foreign_key="prompt.prompt_id")
    chosen_k: int | None = None
    rejected_k: int | None = None
    chosen_reward: float | None = None
    rejected_reward: float | None = None
    margin: float | None = None
    consistency_rate: float | None = None
    confidence: float | None = None
    skip_reason: str | None = None


class MetricName(SQLModel, table=True):
    __tablename__ = "metric_name"

    name_id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)


class Metric(SQLModel, table=True):
    __tablename__ = "metric"
    __table_args__ = (UniqueConstraint("stage_id", "name_id", "step"), {"sqlite_autoincrement": True})

    metric_id: int | None = Field(default=None, primary_key=True)
    stage_id: int = Field(foreign_key="stage.stage_id", ondelete="CASCADE")
    name_id: int = Field(foreign_key="metric_name.name_id")
    step: int
    value: float
    at: float


class Checkpoint(SQLModel, table=True):
    __tablename__ = "checkpoint"

    checkpoint_id: int | None = Field(default=None, primary_key=True)
    stage_id: int = Field(unique=True, foreign_key="stage.stage_id", ondelete="CASCADE")
    digest: str
    parent_digest: str
    folder: str
    n_parameters: int
    n_bytes: int
    created_at: float


class Evaluation(SQLModel, table=True):
    __tablename__ = "evaluation"
    __table_args__ = (
        UniqueConstraint("stage_id", "task", "item_id"),
        CheckConstraint("correct IN (0, 1)"),
        CheckConstraint(_FINISH_REASON),
    )

    evaluation_id: int | None = Field(default=None, primary_key=True)
    stage_id: int = Field(foreign_key="stage.stage_id", ondelete="CASCADE")
    task: str
    item_id: str
    prompt: str
    response: str
    extracted: str | None = None
    gold: str
    correct: bool = Field(sa_type=Flag)
    n_tokens: int
    finish_reason: str


class Verdict(SQLModel, table=True):
    __tablename__ = "verdict"
    __table_args__ = (
        CheckConstraint("verdict IN ('agree', 'swap', 'tie', 'both_bad', 'unsure')"),
        CheckConstraint("is_flagged IN (0, 1)"),
        CheckConstraint("is_blind IN (0, 1)"),
    )

    stage_id: int = Field(primary_key=True, foreign_key="stage.stage_id", ondelete="CASCADE")
    prompt_id: str = Field(primary_key=True, foreign_key="prompt.prompt_id")
    verdict: str | None = None
    is_flagged: bool = Field(sa_type=Flag)
    is_blind: bool = Field(sa_type=Flag)
    note: str = Field(default="", sa_column_kwargs={"server_default": text("''")})
    at: float


class Usage(SQLModel, table=True):
    __tablename__ = "usage"
    __table_args__ = (Index("usage_by_run", "run_id", "usage_id"), {"sqlite_autoincrement": True})

    usage_id: int | None = Field(default=None, primary_key=True)
    run_id: str = Field(foreign_key="run.run_id", ondelete="CASCADE")
    at: float
    cpu_percent: float
    rss_bytes: int
    gpu_percent: float | None = None
    gpu_bytes: int | None = None
    gpu_total_bytes: int | None = None


class Study(SQLModel, table=True):
    __tablename__ = "study"

    study_id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    config_json: str
    jobs: int
    created_at: float
    finished_at: float | None = None
    stop_requested_at: float | None = None
    error: str | None = None


class StudyArm(SQLModel, table=True):
    __tablename__ = "study_arm"
    __table_args__ = (Index("study_arm_by_run", "run_id"),)

    study_id: str = Field(primary_key=True, foreign_key="study.study_id", ondelete="CASCADE")
    position: int = Field(primary_key=True)
    arm: str
    method: str
    seed: int
    run_name: str
    config_json: str
    run_id: str | None = Field(default=None, foreign_key="run.run_id", ondelete="SET NULL")
    error: str | None = None


class StudyLease(SQLModel, table=True):
    __tablename__ = "study_lease"

    study_id: str = Field(primary_key=True, foreign_key="study.study_id", ondelete="CASCADE")
    token: str
    pid: int
    pid_started_at: float
    host: str
    heartbeat_at: float
