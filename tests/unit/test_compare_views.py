"""Arms over seeds, deltas, what is best, and outcomes on shared prompts: all figures derived by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from made_arms import build_model, build_run

from cream_tui.config_differences import find_differences, flatten_config, list_settings
from cream_tui.narrative import Arm, tell_differences
from cream_tui.views.compare import (
    MetricValue,
    Spread,
    build_cost_rows,
    build_model_summary,
    build_summary,
    collect_best_values,
    compute_spread,
    find_arm,
    find_baseline,
    find_direction,
    group_by_seed,
    letter,
    order_metrics,
    split_runs,
)
from cream_tui.views.shared_prompts import (
    Outcome,
    OutcomeCount,
    Relation,
    compare_sampled,
    count_outcomes,
    filter_by_side,
    find_relation,
    join_answers,
    judge,
    summarise_sampled,
)
from db.compare_reads import PromptSide, RunCost, SharedIteration, SharedPrompt, ValueRange
from db.rows import EvaluationRow

ACCURACY = ("evaluate", "accuracy")


def build_side(prompt_id: str = "p", **changes: object) -> PromptSide:
    side = PromptSide(prompt_id, 0, 2, 4, 0, 1, True, False, 0.75, None)
    return replace(side, **changes)  # type: ignore[arg-type]


def test_runs_that_differ_in_seed_name_and_threads_are_one_arm() -> None:
    runs = [
        build_run("a", seed=0),
        build_run("b", method="srlm", seed=0),
        build_run("c", seed=1),
        build_run("d", seed=2, beta=0.5),
    ]
    arms = group_by_seed(runs)
    assert [arm.run_ids for arm in arms] == [("id-a", "id-c"), ("id-b",), ("id-d",)]
    assert [arm.letter for arm in arms] == ["A", "B", "D"]
    assert [arm.title for arm in arms] == ["cream", "b", "d"]
    assert [arm.n_seeds for arm in arms] == [2, 1, 1]
    assert [arm.title for arm in split_runs(runs)] == ["a", "b", "c", "d"]
    assert find_arm(arms, "id-c") == 0


def test_a_fork_and_another_base_model_are_arms_of_their_own() -> None:
    earlier = {"last_iteration": 1, "config": {"name": "x", "seed": 9, "training": {"beta": 2.0}}}
    fork = build_run("b", seed=1, lineage_json=json.dumps({"segments": [earlier], "salt": None}))
    again = build_run("c", seed=2, lineage_json=json.dumps({"segments": [earlier], "salt": "own"}))
    other_base = build_run("d", seed=3, base_digest="m0-again")
    arms = group_by_seed([build_run("a"), fork, again, other_base])
    assert [arm.run_ids for arm in arms] == [("id-a",), ("id-b", "id-c"), ("id-d",)]


def test_arms_are_called_by_what_sets_them_apart() -> None:
    runs = [build_run(f"{beta}-{seed}", beta=beta, seed=seed) for beta in (0.1, 0.5) for seed in (0, 1)]
    assert [arm.title for arm in group_by_seed(runs)] == ["beta=0.1", "beta=0.5"]
    others = [build_run(f"s{seed}", method="srlm", seed=seed) for seed in (0, 1)]
    assert [arm.title for arm in group_by_seed([*runs, *others])] == [
        "cream beta=0.1",
        "cream beta=0.5",
        "srlm beta=0.1",
    ]
    assert [arm.title for arm in group_by_seed([*runs[:2], *others, runs[2]])] == ["cream", "srlm", "0.5-0"]


def test_arms_of_one_title_are_told_apart_by_a_run() -> None:
    """Nothing that a config says differs: only the base model does."""
    runs = [build_run(name, seed=k % 2, base_digest=f"m{k // 2}") for k, name in enumerate("abcd")]
    assert [arm.title for arm in group_by_seed(runs)] == ["cream (a)", "cream (c)"]


def test_spread_counts_each_seed_once() -> None:
    """Seed 0 has 1 and 3, their mean 2; seed 1 has 6: mean 4, std |6 - 2| / sqrt 2."""
    assert compute_spread([(0, 1.0), (0, 3.0), (1, 6.0)]) == Spread(4.0, pytest.approx(4 / 2**0.5), 2)
    assert compute_spread([(5, 1.0), (5, 3.0)]) == Spread(2.0, None, 1)
    assert compute_spread([]) is None


def test_deltas_are_to_the_baseline_at_the_same_iteration_only() -> None:
    arms = split_runs([build_run(name) for name in "abc"])
    values = {
        "id-a": {ACCURACY: MetricValue(0.5, 3)},
        "id-b": {ACCURACY: MetricValue(0.7, 3), ("train", "extra"): MetricValue(1.0, 1)},
        "id-c": {ACCURACY: MetricValue(0.9, 2)},
    }
    accuracy, extra = build_summary(arms, values, baseline=0)
    cells = [cell for cell in accuracy.cells if cell is not None]
    assert [cell.delta for cell in cells] == [None, pytest.approx(0.2), None]
    assert not any(cell.is_best for cell in cells)  # c is an iteration behind: which is best is not known
    assert [cell is None for cell in extra.cells] == [True, False, True]
    level = build_summary(arms, {**values, "id-c": {ACCURACY: MetricValue(0.6, 3)}}, baseline=1)[0]
    assert [cell.delta for cell in level.cells if cell] == [pytest.approx(-0.2), None, pytest.approx(-0.1)]
    assert [cell.is_best for cell in level.cells if cell] == [False, True, False]


def test_seeds_of_an_arm_at_other_iterations_have_no_delta() -> None:
    arms = group_by_seed([build_run("a", method="srlm"), build_run("b", seed=0), build_run("c", seed=1)])
    values = {f"id-{name}": {ACCURACY: MetricValue(0.5, t)} for name, t in (("a", 3), ("b", 3), ("c", 2))}
    cell = build_summary(arms, values, baseline=0)[0].cells[1]
    assert cell is not None
    assert (cell.iteration, cell.delta, cell.spread.n) == (None, None, 2)


def test_the_loss_has_a_best_within_one_loss_only() -> None:
    """C and beta make it another function; tau has no better side at all."""
    loss, tau = ("train", "loss"), ("agree", "tau_previous")
    values = {
        "id-a": {loss: MetricValue(0.5, 1), tau: MetricValue(0.1, 1)},
        "id-b": {loss: MetricValue(0.4, 1), tau: MetricValue(0.2, 1)},
    }

    def find_best(method: str, beta: float = 0.1) -> list[list[bool]]:
        arms = split_runs([build_run("a"), build_run("b", method=method, beta=beta, seed=1)])
        return [[cell.is_best for cell in row.cells if cell] for row in build_summary(arms, values, baseline=0)]

    assert find_best("cream") == [[False, False], [False, True]]  # tau comes first
    assert find_best("srlm") == [[False, False], [False, False]]
    assert find_best("cream", 0.5) == [[False, False], [False, False]]


def test_equal_values_have_no_best() -> None:
    arms = split_runs([build_run(name) for name in "ab"])
    values = {f"id-{name}": {ACCURACY: MetricValue(0.5, 3)} for name in "ab"}
    assert [cell.is_best for cell in build_summary(arms, values, baseline=0)[0].cells if cell] == [False, False]


def test_best_values_follow_the_direction_of_the_metric() -> None:
    rows = [ValueRange("r", "train", name, 1.0, 2.0) for name in ("accuracy/gsm8k", "loss", "z")]
    assert {metric[1]: found.value for metric, found in collect_best_values(rows)["r"].items()} == {
        "accuracy/gsm8k": 2.0,
        "loss": 1.0,
    }
    assert [find_direction(name) for name in ("label_accuracy", "truncated_rate", "tau_anchor")] == [1, -1, 0]


def test_metrics_come_with_headlines_first() -> None:
    found = order_metrics([("sample", "empty_rate"), ("train", "loss"), ("evaluate", "x"), ACCURACY, ("train", "a")])
    assert found == [ACCURACY, ("train", "loss"), ("evaluate", "x"), ("train", "a"), ("sample", "empty_rate")]


def test_costs_star_what_is_computed_but_not_the_wall_time() -> None:
    arms = split_runs([build_run(name) for name in "ab"])
    costs = {"id-a": RunCost("id-a", 9.0, 5.0, 100, None, 0), "id-b": RunCost("id-b", 3.0, 6.0, 50, None, 4)}
    wall, compute, memory = build_cost_rows(arms, costs, baseline=0)
    assert [wall.name, compute.name, memory.name] == ["wall_s", "compute_s", "peak_rss_bytes"]
    assert [[cell.is_best for cell in row.cells if cell] for row in (wall, compute, memory)] == [
        [False, False],
        [True, False],
        [False, True],
    ]
    assert [cell.delta for cell in wall.cells if cell] == [None, -6.0]


def test_model_summary_has_accuracy_and_measures_by_model() -> None:
    arms = group_by_seed([build_run("a"), build_run("b", seed=1), build_run("c", method="srlm")])
    results = {
        "id-a": [build_model("M1", [True, False])],
        "id-b": [build_model("M1", [True, True])],
        "id-c": [replace(build_model("M1", [False, False]), measures={"tau_anchor": 0.5})],
    }
    summary = build_model_summary(arms, results, baseline=1)
    accuracy, tau = summary["M1"]
    assert [cell.spread for cell in accuracy.cells if cell] == [
        Spread(0.75, pytest.approx(0.125**0.5), 2),
        Spread(0.0, None, 1),
    ]
    assert [cell.delta for cell in accuracy.cells if cell] == [0.75, None]
    assert [cell is None for cell in tau.cells] == [True, False]


def test_letters_go_on_after_z() -> None:
    assert [letter(k) for k in (0, 25, 26, 27, 52)] == ["A", "Z", "AA", "AB", "BA"]


def test_the_pinned_run_is_the_baseline() -> None:
    runs = [build_run("a"), build_run("b", is_baseline=True)]
    assert find_baseline(runs).name == "b"
    assert find_baseline(runs[:1]).name == "a"


def test_settings_differ_by_dotted_key_and_the_name_is_none() -> None:
    first, second = {"name": "a", "t": {"x": 1, "y": []}}, {"name": "b", "t": {"x": 1, "z": {}}}
    assert flatten_config(first) == {"name": "a", "t.x": 1, "t.y": []}
    assert find_differences([first, second]) == {"t.y": [[], None], "t.z": [None, {}]}
    assert list(list_settings([first, second])) == ["t.x", "t.y", "t.z"]


def test_differences_to_the_baseline_are_corrected_for_their_number() -> None:
    """5 against 0: p = 2 / 2^5 = 0.0625; over two comparisons 0.125, printed p = 0.12."""
    base = Arm("base", (build_model("M1", [False] * 5),))
    better = [Arm(name, (build_model("M1", [True] * 5),)) for name in ("x", "y")]
    (alone,) = tell_differences(better[:1], base)
    assert alone.endswith("5 only x, 0 only base, p = 0.062).")
    both = tell_differences([*better, Arm("z", ())], base)
    assert [sentence.rpartition(", ")[2] for sentence in both[:2]] == ["p = 0.12 by Holm over 2 comparisons)."] * 2
    assert both[2] == "z and base have no evaluated model in common, so they cannot be compared."


# Shared prompts -----------------------------------------------------------------------------------------------------


def test_outcomes_are_seen_from_the_run() -> None:
    assert [judge(*sides) for sides in ((True, False), (False, True), (True, True), (False, False))] == list(Outcome)
    assert [outcome.side for outcome in Outcome] == ["win", "lose", "tie", "tie"]
    count = count_outcomes([Outcome.WIN] * 5 + [Outcome.BOTH_RIGHT, None])
    assert count == OutcomeCount(5, 0, 1, 0)
    assert (count.n, count.n_tie) == (6, 1)
    assert count.compute_p_value() == pytest.approx(2 / 2**5)


def test_answers_are_joined_by_item_and_prompt() -> None:
    def evaluate(item: str, correct: bool, prompt: str = "q") -> EvaluationRow:
        return EvaluationRow("t", item, prompt, f"say {correct}", None, "g", correct, 3, "end")

    base = [evaluate("a", False), evaluate("b", True), evaluate("c", True), evaluate("only", True)]
    run = [evaluate("c", True), evaluate("b", False), evaluate("a", True), evaluate("d", True)]
    other = [evaluate(item, True) for item in "ab"] + [evaluate("c", True, "another prompt")]
    items = join_answers([base, run])
    assert [(item.item_id, item.outcomes) for item in items] == [
        ("a", (Outcome.WIN,)),
        ("b", (Outcome.LOSE,)),
        ("c", (Outcome.BOTH_RIGHT,)),
    ]
    assert [item.item_id for item in join_answers([base, run, other])] == ["a", "b"]
    assert [item.item_id for item in filter_by_side(items, "tie")] == ["c"]
    assert [item.item_id for item in filter_by_side(join_answers([base, run, other]), "tie")] == ["b"]
    assert len(filter_by_side(items, None)) == 3


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Relation.SAME),
        ({"confidence": 0.75 + 1e-12}, Relation.SAME),
        ({"confidence": 1.0}, Relation.OTHER_C),
        ({"confidence": None}, Relation.OTHER_C),
        ({"chosen_k": 1, "rejected_k": 0}, Relation.REVERSED),
        ({"rejected_k": 2}, Relation.OTHER_PAIR),
        ({"chosen_k": None, "rejected_k": None}, Relation.ONE_SKIPPED),
    ],
)
def test_relation_of_two_pairs(changes: dict[str, object], expected: Relation) -> None:
    assert find_relation(build_side(**changes), build_side()) is expected
    assert find_relation(build_side(), build_side(**changes)) is expected


def test_two_skipped_prompts_are_skipped_both() -> None:
    skipped = build_side(chosen_k=None, rejected_k=None, skip_reason="equal")
    assert find_relation(skipped, skipped) is Relation.BOTH_SKIPPED


def test_sampled_prompts_are_summed_up() -> None:
    """Right 2/4 and 4/4 against 1/4 and 3/4: means 0.75 and 0.5, both differences 1/4, so an interval of no width."""
    pairs = [((2, True), (1, False)), ((4, True), (3, True))]
    prompts = [
        SharedPrompt(
            build_side(f"p{k}", n_right=base[0], chosen_correct=base[1]),
            build_side(f"p{k}", n_right=run[0], chosen_correct=run[1]),
            "ask",
        )
        for k, (run, base) in enumerate(pairs)
    ]
    unknown = build_side("u", n_right=0, n_known=0, chosen_correct=None, rejected_correct=None)
    prompts.append(SharedPrompt(unknown, unknown, "ask"))
    shared = SharedIteration(2, 1, 2, 3, 4, 3)
    items = compare_sampled(shared, prompts)
    assert [item.outcome for item in items] == [Outcome.WIN, Outcome.BOTH_RIGHT, None]
    found = summarise_sampled(shared, items)
    assert (found.n_prompts, found.n_known, found.right_share, found.baseline_right_share) == (3, 2, 0.75, 0.5)
    assert found.interval == (0.25, 0.25)
    assert (found.chosen, found.relations) == (OutcomeCount(1, 0, 1, 0), {})


def test_pairs_are_related_only_where_the_responses_are_the_same() -> None:
    prompts = [
        SharedPrompt(build_side("p"), build_side("p", confidence=1.0), "ask"),
        SharedPrompt(build_side("q"), build_side("q"), "ask"),
    ]
    same = SharedIteration(1, 7, 7, 8, 9, 2)
    found = summarise_sampled(same, compare_sampled(same, prompts))
    assert found.relations == {Relation.SAME: 1, Relation.OTHER_C: 1}
    assert found.interval is None
    unpaired = SharedIteration(1, 7, 7, 8, None, 2)
    assert summarise_sampled(unpaired, compare_sampled(unpaired, prompts)).relations == {}
