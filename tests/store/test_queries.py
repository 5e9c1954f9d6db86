"""Every read of runs and stages, on the schema of the migrations and on that of the SQLModel classes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from db import queries, writes
from db.errors import RunNotFoundError
from db.queries import (
    find_pairs,
    find_run,
    open_reader,
    read_agreements,
    read_checkpoint,
    read_data_version,
    read_evaluations,
    read_lease,
    read_outcomes,
    read_pairs,
    read_prompts,
    read_responses,
    read_run_checkpoints,
    read_run_metrics,
    read_run_stages,
    read_runs,
    read_scores,
    read_stage,
)
from db.rows import CheckpointRow, NewRun, NewStage, PromptRow, RunCheckpoint, SampledPromptRow
from db.session import Store


def test_runs_come_newest_last_with_their_tags(recorded: Any, reader: sqlite3.Connection) -> None:
    runs = read_runs(reader)
    assert [run.run_id for run in runs] == [recorded.first.run_id, recorded.second.run_id]
    assert [run.tags for run in runs] == [("a", "b"), ()]
    assert [run.name for run in runs] == ["sandbox", "sandbox-2"]
    assert runs[0].reuse is True


def test_lease_of_a_run(recorded: Any, reader: sqlite3.Connection, new_lease: Callable[..., Any]) -> None:
    assert read_lease(reader, recorded.first.run_id) == new_lease(recorded.first.run_id)
    assert read_lease(reader, "nosuch") is None


def test_stages_of_a_run_say_who_computed_them(recorded: Any, reader: sqlite3.Connection) -> None:
    first, second = recorded.first.run_id, recorded.second.run_id
    stages = read_run_stages(reader, second)
    assert [stage.position for stage in stages] == list(range(10))
    assert [stage.owner_run_id for stage in stages] == [first] * 5 + [second] + [None] * 4
    assert [stage.state for stage in stages] == ["done"] * 6 + ["pending"] * 4
    sampling = read_run_stages(reader, first)[-1]
    assert (sampling.state, sampling.n_done, sampling.n_total, sampling.unit, sampling.n_tokens) == (
        *("running", 1, 4, "prompts", 9),
    )


def test_one_stage_as_a_run_sees_it(recorded: Any, reader: sqlite3.Connection) -> None:
    stage_id = recorded.stage_ids["sample M1"]
    of_owner, of_second = read_stage(reader, stage_id), read_stage(reader, stage_id, recorded.second.run_id)
    assert of_owner is not None and of_second is not None
    assert (of_owner.run_id, of_second.run_id) == (recorded.first.run_id, recorded.second.run_id)
    assert (of_owner.label, of_owner.position) == ("sample M1", 3)
    assert read_stage(reader, 10_000) is None


def test_checkpoints_are_the_models_that_exist(recorded: Any, reader: sqlite3.Connection) -> None:
    root = recorded.root
    assert read_run_checkpoints(reader, recorded.first.run_id, root) == [
        RunCheckpoint("M0", "/models/m0", "m0"),
        RunCheckpoint("M1", str(root / "checkpoints/m1"), "m1"),
        RunCheckpoint("M2", str(root / "checkpoints/m2"), "m2"),
    ]
    assert [m.name for m in read_run_checkpoints(reader, recorded.second.run_id, root)] == ["M0", "M1"]
    stage_ids = recorded.stage_ids
    assert read_checkpoint(reader, stage_ids["train M2"]) == CheckpointRow("m2", "m1", "checkpoints/m2", 1000, 4000)
    assert read_checkpoint(reader, stage_ids["sample M1"]) is None


def test_without_sft_m1_is_m0(store: Store, new_run: Callable[..., NewRun]) -> None:
    """A plan whose first training is of iteration 1: M1 has the folder and digest of M0."""
    plan = [NewStage("a", "evaluate", 0, "evaluate M0"), NewStage("b", "train", 1, "train M2")]
    planned, bare = (writes.create_run(store, new_run(), stages).run_id for stages in (plan, []))
    root = store.paths.root
    with closing(open_reader(root)) as c:
        m0, m1 = read_run_checkpoints(c, planned, root)
        assert (m0, m1) == (RunCheckpoint("M0", "/models/m0", "m0"), RunCheckpoint("M1", "/models/m0", "m0"))
        assert read_run_checkpoints(c, bare, root) == [m0]


def test_prompts_and_responses_come_by_position(recorded: Any, reader: sqlite3.Connection) -> None:
    stage_id = recorded.stage_ids["sample M1"]
    prompts = read_prompts(reader, stage_id)
    assert prompts[2] == (
        PromptRow("pm", "ask \x1b[31mred\x00 ümlaut \U0001f600", "[]", None, "sandbox"),
        SampledPromptRow("pm", 2, (1, 2, 2), "too long"),
    )
    assert [prompt.prompt_id for prompt, _ in prompts] == ["pz", "pa", "pm"]
    responses = read_responses(reader, stage_id)
    assert [(r.prompt_id, r.k) for r in responses] == [(p, k) for p in ("pz", "pa") for k in range(3)]
    assert responses[0].text == 'NA, "quoted"\r\nlinepz'
    assert (responses[1].token_ids, responses[1].n_tokens, responses[1].correct) == ((5, 6, 1), 3, True)
    assert (responses[2].correct, responses[2].sampled_logprob) == (False, -2.5)


def test_scores_agreements_and_pairs(recorded: Any, reader: sqlite3.Connection) -> None:
    ids = recorded.stage_ids
    scores = read_scores(reader, [ids["pair M1"], ids["score M1"]])
    assert [s.scorer for s in scores] == ["aggregate"] * 4 + ["implicit:M1"] * 6 + ["mean_loglik:M0"] * 6
    assert (scores[0].prompt_id, scores[0].score, scores[0].missing_reason) == ("pa", None, "no tokens")
    agreements = read_agreements(reader, [ids["agree M1"]])
    assert [(a.prompt_id, a.value, a.undefined_reason) for a in agreements] == [
        ("pa", None, "constant"),
        ("pz", 1 / 3, None),
    ]
    assert [(p.prompt_id, p.chosen_k, p.skip_reason) for p in read_pairs(reader, ids["pair M1"])] == [
        ("pa", None, "all scores equal"),
        ("pz", 1, None),
    ]
    assert read_scores(reader, []) == []


def test_evaluations_count_their_items_in_order(recorded: Any, reader: sqlite3.Connection) -> None:
    items = read_evaluations(reader, recorded.stage_ids["evaluate M1"])
    assert [(item.item_id, item.correct) for item in items] == [("i2", True), ("i10", False)]
    outcomes = read_outcomes(reader, recorded.stage_ids["evaluate M1"])
    assert [*outcomes.items()] == [((item.task, item.item_id), item.correct) for item in items]


def test_metrics_of_a_run_include_the_shared_ones(recorded: Any, reader: sqlite3.Connection) -> None:
    metrics = read_run_metrics(reader, recorded.second.run_id)
    assert [m.metric_id for m in metrics] == sorted(m.metric_id for m in metrics)
    assert [(m.iteration, m.stage, m.value) for m in metrics if m.name == "accuracy"] == [
        (0, "evaluate", 0.1),
        (0, "evaluate", 0.2),
    ]
    assert [m.name for m in read_run_metrics(reader, recorded.first.run_id, names=["loss", "nosuch"])] == ["loss"] * 3
    assert {m.label for m in metrics if m.name == "accuracy"} == {"evaluate M0", "evaluate M1"}
    assert read_run_metrics(reader, recorded.first.run_id, names=[]) == []
    assert read_run_metrics(reader, recorded.second.run_id, after_metric_id=metrics[-1].metric_id) == []


def test_pairs_are_found_by_the_start_of_a_prompt_id(recorded: Any, reader: sqlite3.Connection) -> None:
    run_id, stage_id = recorded.first.run_id, recorded.stage_ids["pair M1"]
    assert find_pairs(reader, run_id, "p") == [(1, stage_id, "pa"), (1, stage_id, "pz")]
    assert find_pairs(reader, run_id, "pz") == find_pairs(reader, run_id, "pz", 1) == [(1, stage_id, "pz")]
    for reference, iteration in (("pz", 2), ("px", None), ("%", None), ("P", None), ("pzz", None)):
        assert find_pairs(reader, run_id, reference, iteration) == []


def test_data_version_moves_with_foreign_commits(store: Store, new_run: Callable[..., NewRun]) -> None:
    with closing(open_reader(store.paths.root)) as c:
        before = read_data_version(c)
        assert read_data_version(c) == before
        writes.create_run(store, new_run(), [])
        assert read_data_version(c) != before


def test_every_public_read_is_tried_here() -> None:
    """Else a query could leave the schema unseen: this file runs each on both schemas."""
    names = {name for name in queries.__all__ if name.startswith(("read_", "find_"))}
    tried = Path(__file__).read_text(encoding="utf-8")
    untried = {name for name in names if tried.count(f"{name}(") == 0}
    assert len(names) == 20
    assert untried == {"read_attempts", "read_usage", "read_verdicts"}  # in test_stage_writes, test_annotations


@pytest.fixture
def named(store: Store, new_run: Callable[..., NewRun]) -> dict[str, str]:
    names = ["alpha", "alphabet", "beta", "Beta-long", "gamma"]
    return {name: writes.create_run(store, new_run(name), []).run_id for name in names}


def test_run_is_found_by_any_unique_reference(store: Store, named: dict[str, str]) -> None:
    c = open_reader(store.paths.root)
    found = {
        reference: find_run(c, reference).name
        for reference in [*named.values(), named["gamma"][:5], "alpha", "alphab", "bet", "Be", "gam", "latest"]
    }
    c.close()
    by_id = {run_id: name for name, run_id in named.items()}
    assert found == by_id | {
        named["gamma"][:5]: "gamma",
        "alpha": "alpha",
        "alphab": "alphabet",
        "bet": "beta",
        "Be": "Beta-long",
        "gam": "gamma",
        "latest": "gamma",
    }


def test_unfound_run_is_answered_with_names(store: Store, named: dict[str, str]) -> None:
    c = open_reader(store.paths.root)
    with pytest.raises(RunNotFoundError, match="'alp' is the start of 2 runs") as ambiguous:
        find_run(c, "alp")
    assert f"alpha ({named['alpha']}), alphabet ({named['alphabet']})" in str(ambiguous.value.hint)
    with pytest.raises(RunNotFoundError, match="no run 'gama'") as misspelt:
        find_run(c, "gama")
    assert f"gamma ({named['gamma']})" in str(misspelt.value.hint)
    with pytest.raises(RunNotFoundError, match="no run ''"):
        find_run(c, "")
    c.close()


def test_empty_store_says_how_to_start(store: Store) -> None:
    c = open_reader(store.paths.root)
    with pytest.raises(RunNotFoundError, match="has no runs"):
        find_run(c, "latest")
    c.close()
