"""What the Run screen says in words: state, stages, models, log, configuration.

Pure: rows in, texts and styled spans out; no store, no Textual. Styles are the names of ``RUN_STYLES`` and
``STAGE_STYLES``: states, not colours.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cream_tui.readers.log_tail import LogSection
from cream_tui.readers.run_forks import count_fork_verdicts
from cream_tui.readers.snapshots import RunSnapshot
from cream_tui.stage_view import StageView, describe_stage, estimate_time_left
from cream_tui.styles import RUN_MARKS
from cream_tui.units import MISSING, format_bytes, format_duration, format_left, format_percent
from db.rows import AttemptRow, RunRow, StageRow

Span = tuple[str, str]  # text and the state that styles it; "" for none
_MARKS = {"done": "✓", "reused": "✓", "failed": "✗", "interrupted": "✗", "running": "▸", "waiting": "…", "pending": "·"}
_SHORT_NAMES = {"evaluate": "eval"}
_BAR_WIDTH = 10


@dataclass(frozen=True, slots=True)
class Notice:
    """What stands above everything else: ``kind`` is error, warning or information."""

    kind: str
    lines: tuple[str, ...]


def describe_state(snapshot: RunSnapshot) -> str:
    """Mark, state, how far, how long yet: the facts of the top line."""
    state = "loading" if snapshot.is_loading else snapshot.state
    parts = [f"{RUN_MARKS.get(snapshot.state, '·')} {state}"]
    if not snapshot.is_over and snapshot.stages:
        parts.append(f"{snapshot.n_done}/{len(snapshot.stages)} stages")
        left = estimate_time_left(snapshot.stages)
        if left is not None and not snapshot.stale:
            parts.append(f"{format_left(left)} left")
    elif snapshot.run.started_at is not None and snapshot.run.finished_at is not None:
        parts.append(f"in {format_duration(snapshot.run.finished_at - snapshot.run.started_at)}")
    return "  ".join(parts)


def tell_notice(snapshot: RunSnapshot, waits_for: Sequence[str] = ()) -> Notice | None:
    """Why the run does not go on, and what to do; None where it goes on or is done.

    Args:
        waits_for: Names of the runs before it in the queue.
    """
    run = snapshot.run
    if snapshot.stale:
        return Notice("error", ("Its process is gone. R goes on from the last committed row.",))
    if run.state == "failed":
        message = (run.error or "the run failed").strip().split("\n")
        return Notice("error", (*message[:4], "R tries again from the last committed row, O shows the log."))
    if run.state == "stopped":
        return Notice("warning", ("It was stopped. R goes on from the last committed row.",))
    if run.state == "queued":
        if run.queue_position is None:
            return Notice("information", ("It starts: its process has not taken it up yet.",))
        others = f" {_join_names(waits_for)} {'goes' if len(waits_for) == 1 else 'go'} first." if waits_for else ""
        return Notice("information", (f"It waits in the queue for its turn.{others}",))
    if snapshot.is_loading:
        return Notice("information", ("It loads its libraries: this takes a few seconds.",))
    waiting = [stage for stage in snapshot.stages if stage.status == "waiting"]
    if waiting and not any(stage.status == "running" for stage in snapshot.stages):
        return Notice(
            "information", (f"It waits for {waiting[0].other} to compute {waiting[0].label}, which both need.",)
        )
    return None


def lay_out_stages(rows: Sequence[StageRow], stages: Sequence[StageView], width: int) -> list[Span]:
    """One line: the models with the stages between them; what is over is folded, what goes on is spelled out."""
    groups: dict[int, list[StageView]] = {}
    for row, stage in zip(rows, stages, strict=True):
        groups.setdefault(row.iteration, []).append(stage)
    open_at = next((t for t, group in groups.items() if not all(stage.is_over for stage in group)), None)
    for is_spelled_out in (lambda t: True, lambda t: t == open_at, lambda t: False):
        spans = _lay_out_groups(groups, open_at, is_spelled_out)
        if sum(len(text) for text, _ in spans) <= width:
            break
    return spans


def _lay_out_groups(
    groups: Mapping[int, Sequence[StageView]], open_at: int | None, is_spelled_out: Callable[[int], bool]
) -> list[Span]:
    spans: list[Span] = []
    for t, group in groups.items():
        spans.append((("" if not spans else " ── ") + f"M{t} ", ""))
        if is_spelled_out(t):
            for place, stage in enumerate(group):
                spans += [(" ", "")] if place else []
                spans.append((_name_stage(stage), stage.status))
        elif all(stage.is_over for stage in group):
            spans.append(("✓", "done"))
        elif t == open_at:
            current = _find_current(group)
            spans.append((_name_stage(current), current.status))
        else:
            spans.append(("·", "pending"))
    last = max(groups, default=-1) + 1
    spans.append((f" ── M{last} ", ""))
    is_done = all(stage.is_over for group in groups.values() for stage in group)
    spans.append(("✓" if is_done and groups else "·", "done" if is_done and groups else "pending"))
    return spans


def _name_stage(stage: StageView) -> str:
    name = f"{_MARKS.get(stage.status, '·')}{_SHORT_NAMES.get(stage.name, stage.name)}"
    if stage.status in ("failed", "interrupted", "waiting"):
        return f"{name} {stage.status}"
    if stage.status == "running" and stage.fraction is not None:
        return f"{name} {format_percent(stage.fraction, 0)}%"
    return name


def _find_current(stages: Sequence[StageView]) -> StageView:
    """The stage that a person looks for: one that failed or goes on, else the next."""
    for wanted in (("failed", "interrupted"), ("running",), ("waiting",), ("pending",)):
        found = next((stage for stage in stages if stage.status in wanted), None)
        if found is not None:
            return found
    return stages[-1]


def describe_current(snapshot: RunSnapshot, width: int) -> list[Span]:
    """The line below: each stage that goes on with a bar, its rate and its time left; else what was last."""
    going = [stage for stage in snapshot.stages if stage.status in ("running", "waiting", "failed", "interrupted")]
    if not going:
        done = [stage for stage in snapshot.stages if stage.is_over]
        if not done:
            return []
        return [(f"{done[-1].label}  ", ""), (f"{done[-1].status}  {describe_stage(done[-1])}", done[-1].status)]
    spans: list[Span] = []
    for stage in going:
        spans.append((("   " if spans else "") + f"{stage.label}  ", ""))
        spans.append((_describe_going(stage), stage.status))
        if stage.fraction is not None and stage.status == "running":
            n_full = round(stage.fraction * _BAR_WIDTH)  # behind the numbers: what stands before them is sent with them
            spans += [("  " + "━" * n_full, "running"), ("─" * (_BAR_WIDTH - n_full), "pending")]
    return _cut(spans, width)


def _describe_going(stage: StageView) -> str:
    if stage.status in ("running", "waiting") and stage.left_s is not None and stage.left_s > 1:
        words = describe_stage(stage).rsplit("  ", 1)[0]
        return f"{words}  {format_left(stage.left_s)} left"
    return describe_stage(stage)


def _cut(spans: Iterable[Span], width: int) -> list[Span]:
    kept: list[Span] = []
    for text, style in spans:
        room = width - sum(len(part) for part, _ in kept)
        if len(text) > room:
            return [*kept, (text[: max(0, room - 1)] + "…", style)]
        kept.append((text, style))
    return kept


def list_log_sections(
    attempts: Sequence[AttemptRow], rows: Sequence[StageRow], root: Path, supervisor_log: Path
) -> list[LogSection]:
    """The run's log in the order in which it was written: each attempt between its begin and its end."""
    labels = {row.stage_id: row for row in rows}
    n_tries: dict[int, int] = {}
    sections = []
    for attempt in attempts:
        n_tries[attempt.stage_id] = n = n_tries.get(attempt.stage_id, 0) + 1
        stage = labels.get(attempt.stage_id)
        label = stage.label if stage is not None else "a stage of another plan"
        head = f"{_format_clock(attempt.started_at)}  {label}" + (f", attempt {n}" if n > 1 else "")
        path = root / attempt.log_path if attempt.log_path else None
        sections.append(LogSection(f"attempt {attempt.number}", head, path, *_tell_end(attempt, stage)))
    supervisor = LogSection("supervisor", "supervisor", supervisor_log)
    changed = _read_change(supervisor_log)
    if changed is None:
        return sections
    is_newest = all((attempt.finished_at or changed + 1) <= changed for attempt in attempts)
    return [*sections, supervisor] if is_newest else [supervisor, *sections]


def _tell_end(attempt: AttemptRow, stage: StageRow | None) -> tuple[str, bool]:
    if attempt.finished_at is None:
        return "", False
    clock = _format_clock(attempt.finished_at)
    if attempt.error is not None:
        return f"{clock}  {attempt.error}", True
    if attempt.exit_code not in (0, None):
        return f"{clock}  ended with exit code {attempt.exit_code}", True
    amount = "" if stage is None or not stage.n_done else f", {stage.n_done:,} {stage.unit or ''}".rstrip()
    return f"{clock}  done in {format_duration(attempt.finished_at - attempt.started_at)}{amount}", False


def _read_change(path: Path) -> float | None:
    """When a file that holds something was last written; None for one that is empty or not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime if status.st_size else None


def _format_clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))


STAGE_COLUMNS = ("stage", "state", "time", "done", "rate", "memory", "GPU memory", "tries")


def list_stage_rows(snapshot: RunSnapshot, attempts: Sequence[AttemptRow]) -> list[tuple[tuple[str, ...], str]]:
    """Each stage as cells under STAGE_COLUMNS, with its state."""
    peaks: dict[int, tuple[int, int]] = {}
    for attempt in attempts:
        rss, gpu = peaks.get(attempt.stage_id, (0, 0))
        peaks[attempt.stage_id] = max(rss, attempt.peak_rss_bytes or 0), max(gpu, attempt.peak_gpu_bytes or 0)
    found: list[tuple[tuple[str, ...], str]] = []
    for row, stage in zip(snapshot.rows, snapshot.stages, strict=True):
        rss, gpu = peaks.get(row.stage_id, (0, 0))
        done = f"{stage.n_done:,}" + (f"/{stage.n_total:,}" if stage.n_total and not stage.is_over else "")
        rate = stage.rate
        if rate is None and stage.is_over and stage.elapsed_s:
            rate = stage.n_done / stage.elapsed_s
        cells = (
            stage.label,
            f"{_MARKS.get(stage.status, '·')} {stage.status}" + (f" ({stage.other})" if stage.other else ""),
            format_duration(stage.elapsed_s),
            f"{done} {stage.unit}".strip() if stage.n_done else MISSING,
            f"{rate:,.1f}/s" if rate else MISSING,
            format_bytes(rss) if rss else MISSING,
            format_bytes(gpu) if gpu else MISSING,
            str(row.n_attempts) if row.n_attempts else MISSING,
        )
        found.append((cells, stage.status))
    return found


def find_peak(attempts: Sequence[AttemptRow], rows: Sequence[StageRow]) -> tuple[int, int | None, str] | None:
    """The run's own greatest memory, the GPU's at that, and the stage that took it; None before any attempt ended."""
    known = [attempt for attempt in attempts if attempt.peak_rss_bytes]
    if not known:
        return None
    labels = {row.stage_id: row.label for row in rows}
    most = max(known, key=lambda attempt: (attempt.peak_gpu_bytes or 0, attempt.peak_rss_bytes or 0))
    return most.peak_rss_bytes or 0, most.peak_gpu_bytes, labels.get(most.stage_id, "")


def format_config(run: RunRow) -> str:
    """The resolved configuration as YAML, below it where the run came from."""
    import yaml

    sections: dict[str, Any] = {"config": _load(run.config_json), "provenance": _load(run.provenance_json)}
    origin = {
        "run": run.run_id,
        "config_digest": run.config_digest,
        "base": run.base_folder,
        "base_digest": run.base_digest,
        **(_tell_fork(run) if run.parent_run_id else {}),
    }
    sections["provenance"] = {**origin, **_as_mapping(sections["provenance"])}
    parts = [yaml.safe_dump(sections["config"], sort_keys=False, allow_unicode=True, width=1000)]
    parts.append("# where it came from\n" + yaml.safe_dump(sections["provenance"], sort_keys=False, allow_unicode=True))
    return "\n".join(parts)


def _tell_fork(run: RunRow) -> dict[str, Any]:
    n = count_fork_verdicts(run.lineage_json)
    return {"fork_of": run.parent_run_id, "fork_at": run.fork_at, **({"fork_verdicts": n} if n else {})}


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {"text": value}


def _join_names(names: Sequence[str]) -> str:
    if len(names) <= 2:
        return " and ".join(names)
    return f"{names[0]}, {names[1]} and {len(names) - 2} more"
