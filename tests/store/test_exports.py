"""Exported tables: documented columns, raw texts, and an order that does not depend on row ids."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from db.exports import EXPORT_COLUMNS, iterate_export
from db.queries import find_run, read_runs
from db.reading import open_reader
from db.session import open_store

DOCUMENTED = {
    "runs": "run_id name method seed state iterations created_at config_digest",
    "responses": "run_id iteration prompt_id prompt k text prompt_token_ids token_ids finish_reason n_tokens "
    "sampled_logprob correct",
    "rewards": "run_id iteration prompt_id k scorer model reference sum_logprob reference_sum_logprob n_tokens score "
    "missing_reason",
    "consistency": "run_id iteration prompt_id measure scorer against value consistency_rate n n_distinct "
    "undefined_reason",
    "pairs": "run_id iteration prompt_id prompt chosen rejected chosen_k rejected_k chosen_reward rejected_reward "
    "margin consistency_rate confidence chosen_correct rejected_correct skip_reason",
    "verdicts": "run_id iteration prompt_id prompt chosen rejected verdict flagged blind note at consistency_rate "
    "confidence margin chosen_correct rejected_correct",
    "metrics": "run_id iteration stage step name value at",
    "evaluations": "run_id model task item_id prompt response extracted gold correct",
}


def read_table(c: sqlite3.Connection, what: str, run_id: str) -> list[dict[str, Any]]:
    rows = list(iterate_export(c, what, find_run(c, run_id)))
    return [dict(zip(EXPORT_COLUMNS[what], row, strict=True)) for row in rows]


def test_documented_columns_come_first() -> None:
    assert EXPORT_COLUMNS.keys() == DOCUMENTED.keys()
    for what, names in DOCUMENTED.items():
        expected = tuple(names.split())
        assert EXPORT_COLUMNS[what][: len(expected)] == expected
        assert len(set(EXPORT_COLUMNS[what])) == len(EXPORT_COLUMNS[what])


@pytest.mark.parametrize("what", sorted(DOCUMENTED))
def test_every_row_has_every_column(recorded: Any, reader: sqlite3.Connection, what: str) -> None:
    table = read_table(reader, what, recorded.first.run_id)
    n_rows = {"runs": 1, "responses": 6, "rewards": 16, "consistency": 2, "pairs": 2, "metrics": 11, "evaluations": 6}
    assert len(table) == (n_rows | {"verdicts": 2})[what]
    assert {row["run_id"] for row in table} == {recorded.first.run_id}
    types = {type(value) for row in table for value in row.values()}
    assert types <= {str, int, float, bool, type(None)}


def test_runs_are_exported_one_or_all(recorded: Any, reader: sqlite3.Connection) -> None:
    (row,) = read_table(reader, "runs", "sandbox")
    assert (row["name"], row["seed"], row["tags"], row["state"]) == ("sandbox", 7, '["a", "b"]', "running")
    assert row["created_at"].endswith("+00:00") and "T" in row["created_at"]
    assert len(list(iterate_export(reader, "runs", read_runs(reader)))) == 2


def test_responses_follow_the_prompts(recorded: Any, reader: sqlite3.Connection) -> None:
    table = read_table(reader, "responses", recorded.first.run_id)
    assert [(row["prompt_id"], row["k"]) for row in table] == [(p, k) for p in ("pz", "pa") for k in range(3)]
    assert (json.loads(table[1]["prompt_token_ids"]), json.loads(table[1]["token_ids"])) == ([1, 2, 0], [5, 6, 1])
    assert (table[1]["correct"], table[0]["correct"], table[1]["n_tokens"]) == (True, False, 3)
    assert table[0]["prompt"] == 'ask NA, "quoted"\r\nline'


def test_rewards_end_with_the_aggregate(recorded: Any, reader: sqlite3.Connection) -> None:
    table = read_table(reader, "rewards", recorded.first.run_id)
    assert [row["scorer"] for row in table[:3]] == ["implicit:M1", "mean_loglik:M0", "aggregate"]
    assert len({(row["iteration"], row["prompt_id"], row["k"], row["scorer"]) for row in table}) == len(table)
    missing = [row for row in table if row["score"] is None]
    assert [(row["scorer"], row["missing_reason"]) for row in missing] == [("aggregate", "no tokens")]


def test_pairs_carry_texts_and_skips(recorded: Any, reader: sqlite3.Connection) -> None:
    pair, skipped = read_table(reader, "pairs", recorded.first.run_id)
    assert (pair["chosen"], pair["rejected"][:5], pair["chosen_correct"], pair["rejected_correct"]) == (
        *("pz", "\x1b[31m", True, False),
    )
    assert (skipped["chosen"], skipped["chosen_k"], skipped["chosen_correct"], skipped["skip_reason"]) == (
        *(None, None, None, "all scores equal"),
    )
    assert read_table(reader, "pairs", recorded.second.run_id) == []  # its own pair stage has not run


def test_pairs_end_with_taus_lengths_and_what_a_person_said(recorded: Any, reader: sqlite3.Connection) -> None:
    pair, skipped = read_table(reader, "pairs", recorded.first.run_id)
    names = EXPORT_COLUMNS["pairs"][-6:]
    # In iteration 1 the base model's likelihood stands in for the previous model's reward.
    assert [pair[name] for name in names] == [1 / 3, 1 / 3, 3, 3, "swap", False]
    assert [skipped[name] for name in names] == [None, None, None, None, None, True]


def test_verdicts_stand_beside_what_they_are_held_against(recorded: Any, reader: sqlite3.Connection) -> None:
    said, flagged = read_table(reader, "verdicts", recorded.first.run_id)
    assert (said["prompt_id"], said["verdict"], said["flagged"], said["blind"]) == ("pz", "swap", False, True)
    assert (said["note"], said["at"][-6:]) == ('NA, "quoted"\r\nline', "+00:00")
    assert (said["confidence"], said["margin"], said["chosen_correct"], said["rejected_correct"]) == (
        *(0.7, 1.0, True, False),
    )
    assert (flagged["verdict"], flagged["flagged"], flagged["chosen"]) == (None, True, None)
    assert read_table(reader, "verdicts", recorded.second.run_id) == []  # its own pair stage has not run


def test_evaluations_name_their_models(recorded: Any, reader: sqlite3.Connection) -> None:
    table = read_table(reader, "evaluations", recorded.first.run_id)
    assert [(row["model"], row["item_id"], row["correct"]) for row in table] == [
        (model, item, item == "i2") for model in ("M0", "M1", "M2") for item in ("i2", "i10")
    ]


def test_metrics_by_iteration_stage_and_step(recorded: Any, reader: sqlite3.Connection) -> None:
    table = read_table(reader, "metrics", recorded.first.run_id)
    assert [(row["iteration"], row["stage"], row["step"], row["name"]) for row in table] == [
        (0, "evaluate", 0, "accuracy"),
        (0, "train", 1, "loss"),
        (0, "evaluate", 0, "accuracy"),
        (1, "agree", 0, "consistency_rate"),
        (1, "agree", 0, "tau_anchor"),
        (1, "agree", 0, "tau_previous"),
        (1, "pair", 0, "confidence"),
        (1, "pair", 0, "label_accuracy"),
        (1, "train", 1, "loss"),
        (1, "train", 2, "loss"),
        (1, "evaluate", 0, "accuracy"),
    ]


def test_equal_runs_export_equally(tmp_path: Path, record_store: Callable[..., Any]) -> None:
    """One store got its rows in reverse, so that all row ids differ."""
    tables = []
    for is_reversed in (False, True):
        recorded = record_store(open_store(tmp_path / str(is_reversed)), is_reversed=is_reversed)
        with closing(open_reader(recorded.root)) as c:
            tables.append({what: read_table(c, what, recorded.first.run_id) for what in DOCUMENTED})
            first = c.execute("SELECT prompt_id FROM response ORDER BY response_id LIMIT 1").fetchone()[0]
            assert first == ("pa" if is_reversed else "pz")
    for what in DOCUMENTED:
        for one, other in zip(tables[0][what], tables[1][what], strict=True):
            differing = {name for name in one if one[name] != other[name]}
            assert differing <= {"run_id", "created_at", "started_at", "at"}, what


def test_texts_survive_a_csv_file(recorded: Any, reader: sqlite3.Connection) -> None:
    rows = list(iterate_export(reader, "responses", recorded.first))
    file = io.StringIO(newline="")
    csv.writer(file).writerows(rows)
    file.seek(0)
    assert list(csv.reader(file)) == [[str(value) if value is not None else "" for value in row] for row in rows]


def test_export_sees_one_state_and_lets_go_of_it(recorded: Any, reader: sqlite3.Connection) -> None:
    rows = iterate_export(reader, "responses", recorded.first)
    next(rows)
    assert reader.in_transaction
    rows.close()  # type: ignore[attr-defined]
    assert not reader.in_transaction
