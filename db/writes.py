"""The write side under one name. Heavy: brings sqlmodel; readers import ``db.queries`` only."""

from db.run_writes import (
    IsAlive,
    acquire_lease,
    create_run,
    delete_run,
    mark_run_stopped,
    release_lease,
    renew_lease,
    request_stop,
    requeue_run,
    write_usage,
)
from db.stage_writes import (
    claim_stage,
    fail_stage,
    finish_attempt,
    finish_stage,
    release_stage,
    set_attempt_pid,
    start_attempt,
    write_stage_rows,
)

__all__ = [
    "IsAlive",
    "acquire_lease",
    "claim_stage",
    "create_run",
    "delete_run",
    "fail_stage",
    "finish_attempt",
    "finish_stage",
    "mark_run_stopped",
    "release_lease",
    "release_stage",
    "renew_lease",
    "request_stop",
    "requeue_run",
    "set_attempt_pid",
    "start_attempt",
    "write_stage_rows",
    "write_usage",
]
