"""What a report counts in SQL, against a plain count over the rows of the same store."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from db.queries import (
    open_reader,
    read_agreements,
    read_attempts,
    read_pairs,
    read_responses,
    read_run_stages,
    read_runs,
)
from db.report_reads import read_stage_costs, read_tau_labels

RECORDED = Path(__file__).resolve().parents[1] / "ui" / "recorded" / "cream.db"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    root = tmp_path_factory.mktemp("report-store")
    shutil.copy(RECORDED, root)
    with closing(open_reader(root)) as connection:
        yield connection


def test_taus_and_labels_are_those_of_the_rows(reader) -> None:
    run = next(run for run in read_runs(reader) if run.name == "cream-seed1")
    by_name = {(s.name, s.iteration): s.stage_id for s in read_run_stages(reader, run.run_id)}
    expected: Counter[tuple[object, ...]] = Counter()
    for t in (1, 2, 3):
        correct = {(r.prompt_id, r.k): r.correct for r in read_responses(reader, by_name["sample", t])}
        pairs = {pair.prompt_id: pair for pair in read_pairs(reader, by_name["pair", t])}
        for row in read_agreements(reader, [by_name["agree", t]]):
            if row.value is None or row.measure != "kendall":
                continue
            key = (t, row.against, row.value, row.n_distinct)
            expected[*key, "n"] += 1
            pair = pairs[row.prompt_id]
            if pair.chosen_k is not None:
                sides = correct[row.prompt_id, pair.chosen_k], correct[row.prompt_id, pair.rejected_k]
                expected[*key, "right"] += sides == (True, False)
                expected[*key, "inverted"] += sides == (False, True)
    found: Counter[tuple[object, ...]] = Counter()
    for row in read_tau_labels(reader, [run.run_id]):
        key = (row.iteration, row.against, row.tau, row.n_distinct)
        found[*key, "n"] += row.n_prompts
        found[*key, "right"] += row.n_right
        found[*key, "inverted"] += row.n_inverted
    assert +found == +expected
    assert sum(n for key, n in found.items() if key[-1] == "inverted") > 20


def test_shared_stages_are_paid_once(reader) -> None:
    """Each stage's attempts count once; each further run that links it saved as much."""
    runs = [run for run in read_runs(reader) if run.state == "done"]
    stages = [stage for run in runs for stage in read_run_stages(reader, run.run_id)]
    attempts = {a.attempt_id: a for run in read_runs(reader) for a in read_attempts(reader, run.run_id)}
    spent: Counter[int] = Counter()
    for attempt in attempts.values():
        spent[attempt.stage_id] += attempt.compute_s or 0.0
    links = Counter(stage.stage_id for stage in stages)
    costs = {cost.stage: cost for cost in read_stage_costs(reader, [run.run_id for run in runs])}
    assert list(costs) == ["sample", "score", "agree", "pair", "train", "evaluate"]
    for name, cost in costs.items():
        ids = {stage.stage_id for stage in stages if stage.name == name}
        assert (cost.n_asked, cost.n_stages) == (sum(links[i] for i in ids), len(ids))
        assert cost.compute_s == pytest.approx(sum(spent[i] for i in ids))
        assert cost.shared_s == pytest.approx(sum(spent[i] * (links[i] - 1) for i in ids))
    assert costs["train"].shared_s
