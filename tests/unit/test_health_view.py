"""The list of diagnostics, one of them in words, where each shows, and what `watch` says of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cream_tui.health.findings import EarlyWarning, Finding
from cream_tui.health.rules import examine_run
from cream_tui.progress import lay_out_runs, list_events
from cream_tui.readers.snapshots import RunSnapshot
from cream_tui.stage_view import StageView
from cream_tui.targets import HealthTarget, PairsTarget, RunTarget
from cream_tui.views.columns import RowCells, lay_out
from cream_tui.views.health import (
    COLUMNS,
    EARLY_WARNING,
    Diagnosis,
    HealthRow,
    build_cells,
    build_rows,
    count_statuses,
    describe_place,
    draw_history,
    explain,
    find_place,
    tabulate,
    tell_early_warning,
)
from cream_tui.views.run_alerts import AlertOrder, RunAlert, list_alerts
from db.rows import RunRow

ANCHOR = Finding(
    key="tau_anchor",
    title="tau to the anchor",
    model="M3",
    value=0.04,
    shown="+0.04",
    threshold="below 0.1",
    status="warn",
    meaning="How far both rankings agree.",
    advice="Stop at M2.",
    history=(("M1", 0.5), ("M2", 0.3), ("M3", 0.04)),
    sentence="M3: tau to the anchor is +0.04",
    filter_text="anchor<=0",
    metric=("agree", "tau_anchor"),
)
TRUNCATED = replace(
    ANCHOR, key="truncated", title="truncated", status="ok", value=0.01, shown="1.0 %", history=(("M3", 0.01),)
)
UNKNOWN = replace(
    ANCHOR,
    key="kl",
    title="KL from M0",
    status="unknown",
    model=None,
    value=None,
    shown="not computable, because no stage measured it",
    history=(),
)
EARLY = EarlyWarning("M3", 0.874, 0.5, {"last_step": 0.61, "is_first": 0.0, "first_push": 0.0}, is_fired=True)
HEALTH = Diagnosis((TRUNCATED, UNKNOWN, ANCHOR), EARLY, (("M2", 0.2), ("M3", 0.874)))


def say(row: HealthRow) -> str:
    return "".join(text for text, _ in explain(row))


def find_row(diagnosis: Diagnosis, key: str) -> HealthRow:
    return next(row for row in build_rows(diagnosis) if row.key == key)


def read_cells(cells: RowCells) -> list[str]:
    return [cell.text for cell in cells.cells]


def test_the_early_warning_comes_first_then_what_warns_then_what_is_well() -> None:
    assert [row.key for row in build_rows(HEALTH)] == [EARLY_WARNING, "tau_anchor", "truncated", "kl"]
    assert count_statuses(HEALTH) == "! 1 to look at  ✓ 1 well  ? 1 not computable"


def test_a_row_says_its_status_by_a_sign_of_its_own() -> None:
    rows = [build_cells(find_row(HEALTH, key)) for key in ("tau_anchor", "truncated", "kl")]
    assert [read_cells(row)[0] for row in rows] == ["!", "✓", "?"]
    assert read_cells(rows[0])[1:] == ["tau to the anchor", "+0.04", "█▅▁", "M3", "below 0.1, or half"]
    assert read_cells(rows[2])[1] == "KL from M0"
    assert [row.label.text if row.label else None for row in rows] == [None, None, UNKNOWN.shown]


def test_a_history_has_a_place_for_each_model_from_m1_on() -> None:
    """M1 0.0, M2 nothing, M3 1.0 of a run that came to M4; with M0 it begins there."""
    assert draw_history((("M1", 0.0), ("M3", 1.0)), 5) == "▁ █ "
    assert draw_history((("M0", 0.0), ("M1", 1.0)), 2) == "▁█"
    assert draw_history((), 5) == ""


@pytest.mark.parametrize(
    ("early", "mark"), [(EARLY, "!"), (replace(EARLY, is_fired=False), "✓"), ("not computable", "?")]
)
def test_the_early_warning_is_labelled_with_where_it_was_fitted(early: EarlyWarning | str, mark: str) -> None:
    row = find_row(replace(HEALTH, early=early), EARLY_WARNING)
    cells = build_cells(row)
    assert cells.label is not None
    assert read_cells(cells)[0] == mark
    if isinstance(early, str):
        assert cells.label.text == "early warning: not computable"
        assert find_place(row, "r1", 4) is None
    else:
        assert cells.label.text == "early warning: M4 falls, probability 87 %, fitted on the sandbox"
        assert "warns from 50 % on" in say(row) and "M2         20 %" in say(row)
        assert "  log of (KL of last training + 0.1 nats)  0.61\n" in say(row) and "first model" not in say(row)
        assert ("What to try" in say(row)) == early.is_fired
        assert find_place(row, "r1", 4) == RunTarget("r1", "M3")


@pytest.mark.parametrize(
    ("probability", "shown"), [(0.99996, "over 99 %"), (0.0001, "under 1 %"), (0.99, "99 %"), (0.5, "50 %")]
)
def test_no_probability_is_certain(probability: float, shown: str) -> None:
    assert f"probability {shown}, fitted" in tell_early_warning(replace(EARLY, probability=probability))


def test_a_diagnostic_is_explained_with_what_to_try_and_its_history() -> None:
    words = say(find_row(HEALTH, "tau_anchor"))
    for part in (
        "! M3: tau to the anchor is +0.04",
        "warns below 0.1",
        "How far both rankings agree.",
        "What to try: Stop at M2.",
        "M2        +0.30",
    ):
        assert part in words
    assert say(find_row(HEALTH, "kl")).startswith("KL from M0\n? not computable, because no stage measured it\n")


def test_it_shows_in_pairs_where_the_model_made_some_and_else_in_its_chart() -> None:
    row = find_row(HEALTH, "tau_anchor")
    assert find_place(row, "r1", 4) == PairsTarget("r1", 3, filter_text="anchor<=0")
    assert find_place(row, "r1", 2) == RunTarget("r1", "M3", ("agree", "tau_anchor"))
    without = find_row(Diagnosis((replace(ANCHOR, filter_text=None),)), "tau_anchor")
    assert describe_place(find_place(without, "r1", 4)) == "enter opens its chart"
    assert find_place(find_row(HEALTH, "kl"), "r1", 4) is None
    assert describe_place(None) == ""


def test_foreign_words_are_made_visible() -> None:
    row = find_row(Diagnosis((replace(ANCHOR, title="a\x1bb", shown="c\x1bd", sentence="e\x1bf"),)), "tau_anchor")
    assert "\x1b" not in "".join(read_cells(build_cells(row))) + say(row)


def test_when_a_diagnostic_warns_fits_its_column() -> None:
    (width,) = (column.width for column in COLUMNS if column.key == "threshold")
    for found in examine_run([]):
        assert len(read_cells(build_cells(HealthRow(found.key, "ok", HEALTH, replace(found, value=0.0))))[5]) <= width


@pytest.mark.parametrize("width", [20, 54, 76, 120])
def test_columns_fold_and_the_value_stays(width: int) -> None:
    kept = {COLUMNS[place.index].key for place in lay_out(COLUMNS, width)}
    assert {"status", "title", "value"} <= kept
    assert ("threshold" in kept) == (width >= 76)


def test_the_table_to_export_is_raw() -> None:
    columns, rows = tabulate(HEALTH)
    assert dict(zip(columns, rows[2], strict=True))["value"] == 0.04
    assert len(rows) == 3


# What runs that go on say of it -------------------------------------------------------------------------------------


def alert(key: str, text: str, severity: str = "warning") -> RunAlert:
    return RunAlert(text, severity, RunTarget("r1"), key)


def test_a_fired_early_warning_is_an_alert_for_each_model_that_it_is_about() -> None:
    (found,) = list_alerts(make_snapshot(), [TRUNCATED, UNKNOWN], EARLY)
    assert "fitted on the sandbox" in found.text
    assert found.target == HealthTarget("r1", EARLY_WARNING)
    (later,) = list_alerts(make_snapshot(), [], replace(EARLY, model="M4"))
    assert later.identity != found.identity and found.is_early
    (warning,) = list_alerts(make_snapshot(), [ANCHOR], "not computable")
    assert (warning.text, warning.key, warning.is_early) == (ANCHOR.sentence, "tau_anchor", False)
    for quiet in (replace(EARLY, is_fired=False), replace(EARLY, outcome=True), "not computable"):
        assert list_alerts(make_snapshot(), [], quiet) == []


def test_what_came_up_last_stands_first_but_for_errors() -> None:
    order = AlertOrder()
    old, other = alert("a", "a at M2"), alert("b", "b")
    assert order.sort([old, other]) == [old, other]
    new, failed = alert("c", "c"), alert("", "failed", "error")
    moved = alert("a", "a at M3")
    assert order.sort([failed, moved, new, other]) == [failed, new, moved, other]
    assert order.sort([moved, new, other]) == [new, moved, other]


RUN = RunRow(
    run_id="r1", name="demo", method="cream", seed=0, iterations=3, state="running", created_at=0.0, started_at=1.0,
    finished_at=None, config_json="{}", config_digest="d", lineage_json="{}", base_folder="/m0", base_digest="m0",
    parent_run_id=None, fork_at=None, reuse=True, provenance_json="{}", stop_requested_at=None, exit_code=None,
    error=None, note="", is_baseline=False, queue_position=None, tags=(),
)  # fmt: skip
STAGES = tuple(
    StageView(f"{name} t=1", name, "pending", None, 0, None, "rows", None)
    for name in ("sample", "score", "agree", "pair")
)


def make_snapshot() -> RunSnapshot:
    return RunSnapshot(RUN, False, (), STAGES, ())


def test_a_warning_is_one_event_whatever_its_numbers_are_by_now() -> None:
    first, later = (
        list_events(make_snapshot(), [alert("a", "a at M2")]),
        list_events(make_snapshot(), [alert("a", "a at M3")]),
    )
    assert [text for _, text in first] == ["loading libraries", "! a at M2"]
    assert first[1][0] == later[1][0]
    assert list_events(make_snapshot(), [alert("b", "a at M2")])[1][0] != first[1][0]


@pytest.mark.parametrize(
    ("height", "n_shown", "more"), [(30, 3, "(+2: cream-tui health)"), (6, 2, "(+3: cream-tui health)"), (4, 0, "")]
)
def test_the_live_view_shows_the_newest_warnings_that_fit(height: int, n_shown: int, more: str) -> None:
    """The head and three stages come first."""
    warnings = [alert(str(k), f"warning {k} " + 80 * "x") for k in range(5)]
    lines = lay_out_runs([make_snapshot()], width=80, height=height, warnings={"r1": warnings})
    texts = ["".join(cell.text for cell in line) for line in lines]
    shown = [text for text in texts if text.startswith("  ! ")]
    assert len(shown) == n_shown
    assert all(len(text) <= 80 for text in texts)
    assert [text[4:13] for text in shown] == [f"warning {k}" for k in range(n_shown)]
    assert not shown or shown[-1].endswith(more)
