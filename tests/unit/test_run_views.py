"""What the Run screen says of a run: stages in a line, what it waits for, its log, what to look at."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from cream_tui.readers.health_reader import diagnose
from cream_tui.readers.snapshots import RunSnapshot
from cream_tui.results import ModelResult
from cream_tui.stage_view import StageView
from cream_tui.targets import PairsTarget, RunTarget
from cream_tui.units import format_left
from cream_tui.views.run import (
    describe_current,
    describe_state,
    find_peak,
    format_config,
    lay_out_stages,
    list_log_sections,
    list_stage_rows,
    tell_notice,
)
from cream_tui.views.run_alerts import RunAlert, list_alerts, summarise_alerts
from db.rows import AttemptRow, RunRow, StageRow
from db.run_series import TauCount

RUN = RunRow(
    run_id="r1", name="one", method="cream", seed=0, iterations=1, state="running", created_at=0.0, started_at=1.0,
    finished_at=None, config_json='{"seed": 0, "training": {"beta": 0.1}}', config_digest="abc", lineage_json="{}",
    base_folder="/m0", base_digest="m0", parent_run_id=None, fork_at=None, reuse=True,
    provenance_json='{"python": "3.11"}', stop_requested_at=None, exit_code=None, error=None, note="",
    is_baseline=False, queue_position=None, tags=(),
)  # fmt: skip
PLAN = (
    ("train", 0, "train M1 (SFT)"),
    ("evaluate", 0, "evaluate M1"),
    ("sample", 1, "sample t=1"),
    ("pair", 1, "pair t=1"),
    ("train", 1, "train M2"),
    ("evaluate", 1, "evaluate M2"),
)


def make_row(position: int, name: str, iteration: int, label: str) -> StageRow:
    return StageRow(
        run_id="r1", position=position, stage_id=10 + position, key=label, name=name, iteration=iteration, label=label,
        state="pending", owner_run_id="r1", n_done=38, n_total=38, unit="steps", n_tokens=None, started_at=None,
        finished_at=None, error=None, n_attempts=1,
    )  # fmt: skip


ROWS = tuple(make_row(position, *entry) for position, entry in enumerate(PLAN))


def make_snapshot(
    *statuses: str, stale: bool = False, results: tuple[ModelResult, ...] = (), **run: object
) -> RunSnapshot:
    """A run whose stages have these statuses, the rest pending."""
    filled = [*statuses, *["pending"] * (len(PLAN) - len(statuses))]
    stages = tuple(
        StageView(
            label, name, status, "other" if status in ("waiting", "reused") else None, 12, 38, "steps", 4.0,
            rate=3.0 if status == "running" else None, left_s=26.0 / 3 if status == "running" else None,
        )
        for status, (name, _, label) in zip(filled, PLAN, strict=True)
    )  # fmt: skip
    return RunSnapshot(replace(RUN, **run), stale, ROWS, stages, results)  # type: ignore[arg-type]


def text_of(spans: list[tuple[str, str]]) -> str:
    return "".join(text for text, _ in spans)


def line(snapshot: RunSnapshot, width: int) -> str:
    return text_of(lay_out_stages(snapshot.rows, snapshot.stages, width))


def test_the_stages_stand_in_one_line() -> None:
    snapshot = make_snapshot("done", "done", "reused", "running")
    assert line(snapshot, 120) == "M0 ✓train ✓eval ── M1 ✓sample ▸pair 32% ·train ·eval ── M2 ·"


def test_what_is_over_folds_first() -> None:
    snapshot = make_snapshot("done", "done", "reused", "running")
    assert line(snapshot, 55) == "M0 ✓ ── M1 ✓sample ▸pair 32% ·train ·eval ── M2 ·"
    assert line(snapshot, 30) == "M0 ✓ ── M1 ▸pair 32% ── M2 ·"


@pytest.mark.parametrize(
    ("status", "words"),
    [("failed", "✗sample failed"), ("waiting", "…sample waiting"), ("interrupted", "✗sample interrupted")],
)
def test_a_state_is_a_mark_and_a_word(status: str, words: str) -> None:
    assert words in line(make_snapshot("done", "done", status), 120)


def test_a_finished_run_ends_with_its_last_model() -> None:
    assert line(make_snapshot(*["done"] * 6), 30) == "M0 ✓ ── M1 ✓ ── M2 ✓"


def test_the_line_below_tells_rate_and_time_left() -> None:
    told = text_of(describe_current(make_snapshot("done", "done", "running"), 120))
    assert told.startswith("sample t=1  12/38  3.0/s  9 s left  ━━━")


def test_the_line_below_fits() -> None:
    told = text_of(describe_current(make_snapshot("running", "waiting", "running"), 40))
    assert len(told) <= 40
    assert told.endswith("…")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (8.4, "8 s"), (33.0, "35 s"), (58.0, "1:00"), (96.0, "1:40"), (1234.0, "21:00")]
)
def test_a_time_left_moves_in_steps(seconds: float, text: str) -> None:
    assert format_left(seconds) == text


def test_the_state_says_how_far_and_how_long() -> None:
    assert describe_state(make_snapshot("done", "done", "running")) == "● running  2/6 stages"
    assert describe_state(make_snapshot(*["done"] * 6, state="done", finished_at=61.0)) == "✓ done  in 1:00"
    assert describe_state(make_snapshot("running", stale=True)) == "? stale  0/6 stages"


@pytest.mark.parametrize(
    ("snapshot", "kind", "words"),
    [
        (
            make_snapshot(state="failed", error="train M2: the loss is nan\nsmaller rates help"),
            "error",
            "smaller rates help",
        ),
        (make_snapshot(stale=True), "error", "process is gone"),
        (make_snapshot(state="stopped"), "warning", "R goes on"),
        (make_snapshot(state="queued"), "information", "starts"),
        (make_snapshot("waiting"), "information", "waits for other to compute train M1 (SFT)"),
    ],
)
def test_a_run_that_does_not_go_on_says_why(snapshot: RunSnapshot, kind: str, words: str) -> None:
    notice = tell_notice(snapshot)
    assert notice is not None
    assert notice.kind == kind
    assert words in "\n".join(notice.lines)


def test_a_queued_run_names_those_before_it() -> None:
    notice = tell_notice(make_snapshot(state="queued", queue_position=2.0), ["a", "b", "c"])
    assert notice is not None
    assert notice.lines == ("It waits in the queue for its turn. a, b and 1 more go first.",)


def test_a_run_that_goes_on_needs_no_notice() -> None:
    assert tell_notice(make_snapshot("done", "running")) is None
    assert tell_notice(make_snapshot(*["done"] * 6, state="done")) is None


def make_attempt(number: int, stage_id: int, **changes: object) -> AttemptRow:
    attempt = AttemptRow(
        number,
        stage_id,
        "r1",
        number,
        1,
        f"runs/r1/attempts/{number}/stage.log",
        1000.0,
        1004.0,
        0,
        None,
        512,
        None,
        3.0,
    )
    return replace(attempt, **changes)  # type: ignore[arg-type]


def test_the_log_goes_attempt_by_attempt(tmp_path: Path) -> None:
    attempts = [
        make_attempt(1, 10),
        make_attempt(2, 14, exit_code=4, error="train M2: out of memory"),
        make_attempt(3, 14, finished_at=None, exit_code=None),
    ]
    sections = list_log_sections(attempts, ROWS, tmp_path, tmp_path / "supervisor.log")
    assert [section.head[10:] for section in sections] == ["train M1 (SFT)", "train M2", "train M2, attempt 2"]
    assert [section.foot[10:] for section in sections] == ["done in 4.0 s, 38 steps", "train M2: out of memory", ""]
    assert [section.is_bad for section in sections] == [False, True, False]
    assert sections[0].path == tmp_path / "runs/r1/attempts/1/stage.log"


def test_the_supervisors_log_stands_where_it_was_written(tmp_path: Path) -> None:
    """It is empty for most runs; what it says last is what ended the run."""
    log = tmp_path / "supervisor.log"
    log.touch()
    assert len(list_log_sections([make_attempt(1, 10)], ROWS, tmp_path, log)) == 1
    log.write_text("Traceback")
    for changed, place in ((1002.0, 0), (1010.0, 1)):
        os.utime(log, (changed, changed))
        sections = list_log_sections([make_attempt(1, 10)], ROWS, tmp_path, log)
        assert sections[place].key == "supervisor"


def test_stages_have_the_most_that_any_attempt_took() -> None:
    attempts = [make_attempt(1, 10, peak_rss_bytes=2048), make_attempt(2, 10, peak_rss_bytes=1024, peak_gpu_bytes=4096)]
    cells, status = list_stage_rows(make_snapshot("done"), attempts)[0]
    assert status == "done"
    assert cells[:2] == ("train M1 (SFT)", "✓ done")
    assert cells[5:7] == ("2.0 KiB", "4.0 KiB")
    assert find_peak(attempts, ROWS) == (1024, 4096, "train M1 (SFT)")
    assert find_peak([], ROWS) is None


def test_the_configuration_comes_with_its_origin() -> None:
    text = format_config(replace(RUN, parent_run_id="r0", fork_at="M2"))
    assert "training:\n  beta: 0.1\n" in text
    assert "python: '3.11'" in text
    assert "fork_of: r0\nfork_at: M2" in text and "fork_verdicts" not in text
    lineage = '{"verdicts": [{"iteration": 2, "sample": "s", "pairs": [["p1", "swap", 0, 1], ["p2", "agree", 1, 0]]}]}'
    assert "fork_verdicts: 2\n" in format_config(replace(RUN, parent_run_id="r0", fork_at="M2", lineage_json=lineage))
    assert format_config(replace(RUN, config_json="broken", provenance_json=json.dumps("odd")))


def make_results(**measures: list[float | None]) -> tuple[ModelResult, ...]:
    """M1, M2, ... with these measures."""
    n = max(map(len, measures.values()))
    return tuple(
        ModelResult(
            f"M{k + 1}",
            measures={
                name: value for name, values in measures.items() if k < len(values) and (value := values[k]) is not None
            },
        )
        for k in range(n)
    )


def find_alerts(snapshot: RunSnapshot, anchors: dict[int, list[TauCount]]) -> list[RunAlert]:
    found = diagnose(snapshot.results, anchors)
    return list_alerts(snapshot, found.findings, found.early)


def test_a_finding_that_warns_is_an_alert_with_the_place_that_shows_it() -> None:
    results = make_results(tau_anchor=[0.5, 0.03], truncated_rate=[0.0, 0.3], distinct_2=[0.5, 0.4])
    counts = {t: [TauCount(0.0, 5, 600)] for t in (1, 2)}
    anchor, truncated = find_alerts(make_snapshot(results=results, iterations=2), counts)
    assert anchor.text == "M2: tau to the anchor is +0.03, which chance gives too (0 ± 0.03)"
    assert (anchor.key, anchor.target) == ("tau_anchor", PairsTarget("r1", 2, filter_text="anchor<=0"))
    assert truncated.text == "M2: the share of truncated responses is 30.0 %"
    assert truncated.target == RunTarget("r1", "M2", ("sample", "truncated_rate"))
    assert find_alerts(make_snapshot(results=make_results(tau_anchor=[0.5, 0.4])), counts) == []


def test_errors_come_first() -> None:
    snapshot = make_snapshot(
        state="failed",
        error="train M2: the loss is nan at step 3\nhint",
        results=make_results(chosen_n_tokens=[1.0, 9.0]),
    )
    alerts = find_alerts(snapshot, {})
    assert alerts[0].text == "failed: train M2: the loss is nan at step 3"
    assert (alerts[0].severity, alerts[0].target) == ("error", RunTarget("r1"))
    assert summarise_alerts(alerts) == "! failed: train M2: the loss is nan at step 3  (+1: !)"
    assert summarise_alerts([]) == ""
