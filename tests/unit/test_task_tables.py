"""Several tasks and preference sets in tables: what stands in them, and that they fit 80 columns."""

from __future__ import annotations

from cream_tui.output import lay_out_table
from cream_tui.result_table import (
    PREFERENCE_COLUMNS,
    build_preference_rows,
    build_record,
    build_task_columns,
    build_task_notes,
    build_task_rows,
)
from cream_tui.results import build_results, compute_paired_test
from db.rows import StageRow

TASKS = ("arc_easy", "arc_challenge", "openbookqa", "siqa", "gsm8k", "lm_eval:arc_easy", "preference:reward_bench")


def evaluate(n_right: int, *, tasks: tuple[str, ...] = TASKS) -> dict[tuple[str, str], bool]:
    return {(task, f"i{k}"): k < n_right for task in tasks for k in range(10)}


def train(iteration: int) -> StageRow:
    label, times = f"train M{iteration + 1}", (None,) * 6
    return StageRow("r", 1, 1, "k", "train", iteration, label, "done", None, 0, *times, 1)  # type: ignore[arg-type]


def write(columns: object, rows: object) -> list[str]:
    return ["".join(cell.text for cell in line) for line in lay_out_table(columns, rows, width=80)]  # type: ignore[arg-type]


def test_six_tasks_stand_in_eighty_columns() -> None:
    results = build_results([train(0)], [], {"M0": evaluate(3), "M1": evaluate(5)})
    lines = write(build_task_columns(results), build_task_rows(results))
    assert max(map(len, lines)) <= 80
    titles = " ".join(lines[:2])
    for name in ("arc_easy %", "challenge %", "openbookqa %", "siqa %", "gsm8k %", "lm_eval:"):
        assert name in titles
    assert [line.split()[1:] for line in lines[2:]] == [["30.0"] * 6, ["50.0"] * 6]
    assert "in-distribution" in build_task_notes(results)[0]


def test_tasks_of_ones_own_need_no_note() -> None:
    results = build_results([], [], {"M0": evaluate(3, tasks=("a", "b"))})
    assert build_task_notes(results) == []
    assert [column.title for column in build_task_columns(results)] == ["model", "a %", "b %"]


def test_preferences_are_shown_apart_and_enter_neither_mean_nor_test() -> None:
    tasks = ("gsm8k", "preference:pairs")
    first, second = [evaluate(2, tasks=tasks[:1]) | evaluate(n, tasks=tasks[1:]) for n in (10, 0)]
    results = build_results([train(0)], [], {"M0": first, "M1": second})
    assert [model.accuracy for model in results] == [0.2, 0.2]
    test = compute_paired_test(*results)
    assert test is not None and (test.n_items, test.n_first_only, test.n_second_only) == (10, 0, 0)
    lines = write(PREFERENCE_COLUMNS, build_preference_rows(results))
    assert [line.split()[:3] for line in lines[1:]] == [["M0", "pairs", "100.0*"], ["M1", "pairs", "0.0"]]
    assert build_record(results[0])["preferences"] == [
        {"set": "pairs", "n_correct": 10, "n_pairs": 10, "accuracy": 1.0}
    ]
