"""What two runs have in common, read from a real store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest

from db import writes
from db.compare_reads import (
    LastValue,
    PromptText,
    SampledText,
    ValueRange,
    read_curve,
    read_last_values,
    read_prompt_text,
    read_run_costs,
    read_sampled_texts,
    read_shared_iterations,
    read_shared_prompts,
    read_value_ranges,
)
from db.reading import open_reader
from db.rows import MetricRow, PairRow, PromptRow, ResponseRow, SampledPromptRow, StageDataRow
from db.session import Store


def sample(run: str, *prompt_ids: str) -> list[StageDataRow]:
    """Two responses to each prompt, the first right."""
    rows: list[StageDataRow] = [PromptRow(prompt_id, f"ask {prompt_id}", "[]", "gold", "t") for prompt_id in prompt_ids]
    rows += [SampledPromptRow(prompt_id, place, (1,)) for place, prompt_id in enumerate(prompt_ids)]
    rows += [
        ResponseRow(prompt_id, k, f"{run} {prompt_id} {k}", (1, 2), "end", -1.0, None, k == 0)
        for prompt_id in prompt_ids
        for k in range(2)
    ]
    return rows


class Two:
    """Two runs: t = 1 on the same responses with other pairs, t = 2 on other responses to one shared prompt."""

    def __init__(self, store: Store, recorded: Any) -> None:
        self.store, self.root = store, store.paths.root
        self.first, self.second = recorded.first.run_id, recorded.second.run_id
        self.tokens = {self.first: "t1", self.second: "t2"}
        pair = [PairRow("pz", 2, 1, 0.5, -0.5, 1.0, 2 / 3, 1.0, None), PairRow("pa", *[None] * 7, "all scores equal")]
        self.write(self.second, "pair M1", pair)
        self.write(self.first, "sample M2", sample("one", "p1", "p2"))
        self.write(self.second, "sample M2", sample("two", "p2", "p3"))

    def write(self, run_id: str, label: str, rows: Sequence[StageDataRow]) -> int:
        with closing(open_reader(self.root)) as c:
            found = c.execute("SELECT stage_id FROM run_stage WHERE run_id = ? AND label = ?", (run_id, label))
            stage_id = int(found.fetchone()[0])
        token = self.tokens[run_id]
        writes.claim_stage(self.store, stage_id, run_id=run_id, token=token, is_alive=lambda _: True)
        for batch in ([row for row in rows if isinstance(row, PromptRow)], rows):
            writes.write_stage_rows(self.store, stage_id, token, batch)
        writes.finish_stage(self.store, stage_id, token)
        return stage_id


@pytest.fixture
def two(store: Store, record_store: Callable[[Store], Any]) -> Two:
    return Two(store, record_store(store))


@pytest.fixture
def c(two: Two) -> Iterator[sqlite3.Connection]:
    with closing(open_reader(two.root)) as connection:
        yield connection


def test_last_values_are_of_the_last_iteration_that_has_them(two: Two, c: sqlite3.Connection) -> None:
    found = read_last_values(c, [two.first, two.second])
    assert LastValue(two.first, "train", "loss", 1, 0.5) in found  # the second of two steps, SFT's 2.5 aside
    assert LastValue(two.first, "evaluate", "accuracy", 1, 0.3) in found
    assert LastValue(two.second, "evaluate", "accuracy", 0, 0.2) in found  # of M1, which both share
    assert len({(row.run_id, row.stage, row.name) for row in found}) == len(found)
    assert not any(row.stage == "train" for row in found if row.run_id == two.second)
    assert read_last_values(c, []) == []


def test_a_metric_of_two_kinds_of_stages_is_two(two: Two, c: sqlite3.Connection) -> None:
    two.write(two.second, "train M2", [MetricRow("accuracy", 1, 0.9)])
    found = [(row.stage, row.value) for row in read_last_values(c, [two.second]) if row.name == "accuracy"]
    assert found == [("evaluate", 0.2), ("train", 0.9)]


def test_ranges_leave_sft_out(two: Two, c: sqlite3.Connection) -> None:
    runs = [two.first, two.second]
    assert read_value_ranges(c, runs, [("train", "loss")]) == [ValueRange(two.first, "train", "loss", 0.5, 1.0)]
    accuracy = read_value_ranges(c, runs, [("evaluate", "accuracy")])
    assert {(row.run_id, row.lowest, row.highest) for row in accuracy} == {
        (two.first, 0.1, 0.3),
        (two.second, 0.1, 0.2),
    }


def test_a_curve_is_a_metric_of_all_iterations(two: Two, c: sqlite3.Connection) -> None:
    """loss of M2 at the steps 1 and 2; SFT's is left out."""
    curve = read_curve(c, two.first, "train", "loss", has_times=True)
    assert (curve.stages, list(curve.step), list(curve.value)) == (((7, 1, 2),), [1, 2], [1.0, 0.5])
    assert len(curve.at) == 2 and min(curve.at) > 1e9
    assert curve.cursor == c.execute("SELECT max(metric_id) FROM metric").fetchone()[0]
    models = read_curve(c, two.first, "evaluate", "accuracy", has_times=False)
    assert models.stages == ((0, 0, 1), (2, 0, 1), (8, 1, 1))
    assert (list(models.step), list(models.value), list(models.at)) == ([0, 0, 0], [0.1, 0.2, 0.3], [])
    assert read_curve(c, two.second, "train", "loss", has_times=False).stages == ()
    assert read_curve(c, two.first, "train", "nothing", has_times=False).stages == ()


def test_a_curve_with_gaps_keeps_its_steps(two: Two, c: sqlite3.Connection) -> None:
    two.write(two.second, "train M2", [MetricRow("loss", step, step / 7) for step in (3, 10, 4)])
    curve = read_curve(c, two.second, "train", "loss", has_times=False)
    assert list(curve.step) == [3, 4, 10]
    assert list(curve.value) == pytest.approx([3 / 7, 4 / 7, 10 / 7], rel=1e-14)


def test_costs_are_of_all_stages_whoever_computed_them(two: Two, c: sqlite3.Connection) -> None:
    with sqlite3.connect(two.root / "cream.db") as writer:
        writer.execute("UPDATE run SET started_at = 10, finished_at = 25 WHERE run_id = ?", (two.first,))
        writer.execute("UPDATE run SET started_at = NULL WHERE run_id = ?", (two.second,))
        shared, own = (
            writer.execute(
                "SELECT stage_id FROM run_stage WHERE run_id = ? AND label = ?", (two.first, label)
            ).fetchone()[0]
            for label in ("sample M1", "train M2")
        )
        for stage_id, rss, seconds in ((shared, 500, 2.0), (own, 900, 3.0)):
            writer.execute(
                "INSERT INTO attempt (stage_id, run_id, number, started_at, peak_rss_bytes, compute_s) "
                "VALUES (?, ?, 9, 0, ?, ?)",
                (stage_id, two.first, rss, seconds),
            )
    writer.close()
    costs = read_run_costs(c, [two.first, two.second])
    first, second = costs[two.first], costs[two.second]
    assert (first.wall_s, first.compute_s, first.peak_rss_bytes, first.peak_gpu_bytes) == (15.0, 5.0, 900, None)
    assert (second.wall_s, second.compute_s, second.peak_rss_bytes) == (None, 2.0, 500)
    assert (first.n_reused, second.n_reused) == (0, 5)


def test_shared_iterations_say_whether_the_responses_are_the_same(two: Two, c: sqlite3.Connection) -> None:
    one, other = read_shared_iterations(c, two.first, two.second)
    assert (one.iteration, one.n_prompts, one.has_same_responses) == (1, 3, True)
    assert None not in (one.pair_stage_id, one.other_pair_stage_id)
    assert (other.iteration, other.n_prompts, other.has_same_responses, other.pair_stage_id) == (2, 1, False, None)


def test_pairs_of_the_same_responses_stand_beside_each_other(two: Two, c: sqlite3.Connection) -> None:
    """pz: k = 1 is right and all others wrong; the first run chose it, the second rejected it."""
    found = read_shared_prompts(c, read_shared_iterations(c, two.first, two.second)[0])
    assert [prompt.prompt_id for prompt in found] == ["pz", "pa", "pm"]
    first, second = found[0].first, found[0].second
    assert (first.n_right, first.n_known, first.chosen_k, first.rejected_k, first.confidence) == (1, 3, 1, 2, 0.7)
    assert (first.chosen_correct, first.rejected_correct) == (True, False)
    assert (second.chosen_k, second.rejected_k, second.confidence) == (2, 1, 1.0)
    assert (second.chosen_correct, second.rejected_correct) == (False, True)
    assert [prompt.first.skip_reason for prompt in found[1:]] == ["all scores equal", "too long"]
    assert (found[2].first.n_known, found[2].first.chosen_k) == (0, None)


def test_prompts_are_joined_by_id(two: Two, c: sqlite3.Connection) -> None:
    shared = read_shared_iterations(c, two.first, two.second)[1]
    (prompt,) = read_shared_prompts(c, shared)
    assert prompt.text == "ask p2"
    assert (prompt.prompt_id, prompt.first.position, prompt.second.position) == ("p2", 1, 0)
    assert (prompt.first.n_right, prompt.first.n_known, prompt.first.chosen_k) == (1, 2, None)
    assert read_sampled_texts(c, shared.sample_stage_id, "p2") == [
        SampledText(0, "one p2 0", 2, True),
        SampledText(1, "one p2 1", 2, False),
    ]
    assert read_sampled_texts(c, shared.other_sample_stage_id, "p2")[0].text == "two p2 0"
    assert read_prompt_text(c, "p2") == PromptText("ask p2", "gold")
    assert read_prompt_text(c, "none") is None
