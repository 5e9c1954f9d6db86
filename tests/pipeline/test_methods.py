"""Every method file for one iteration of the tiny model, held to what its table row says; and the settings of methods.

The runs share one store, so what methods have in common is computed once.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from in_process import InProcessRun, run_here
from scipy.stats import kendalltau
from scorer_models import build_judge_config, save_judge, save_reward_model
from small_runs import build_config

from db.queries import read_agreements, read_checkpoint, read_pairs, read_responses, read_run_metrics, read_scores
from db.reading import open_reader
from db.rows import AgreementRow, PairRow, PromptRow, ResponseRow, SampledPromptRow
from db.writes import write_stage_rows
from engine.config.load import list_shipped_methods, load_run_config
from engine.config.run import RunConfig
from engine.errors import TaskError, TrainingError
from engine.method.confidence import LOW_AGREEMENT
from engine.method.pairing import SMALL_MARGIN
from engine.plan import name_scorers
from engine.tasks.answers import extract_answer

N_METHODS = 25
QUICK = (
    "data.prompts_per_iteration=16",
    "data.sft_examples=32",
    "sft.epochs=1",
    "training.epochs=1",
    "training.batch_size=4",
    "evaluation.tasks=[]",
)
FIXED_C = {"reversed": 0.0, "smoothing": 0.8, "fixed-65": 0.65}
CERTAIN = {
    "agreement-filter",
    "ensemble-anchored-mean",
    "ensemble-anchored-min",
    "ensemble-lcb",
    "ensemble-mean",
    "ensemble-min",
    "ensemble-uwo",
    "oracle",
    "random",
    "srlm",
    "srlm-judge",
    "srlm-kl",
}
PREVIOUS = ("kendall", "implicit:M1", "mean_loglik:M0")  # at t = 1 the previous model's stand-in is the anchor
AGREEMENT = {
    **dict.fromkeys(("cream", "cream-dynamic", "signed-weight", "agreement-filter"), PREVIOUS),
    **dict.fromkeys(("cream-anchored", "anchored-mean", "anchored-permuted"), PREVIOUS),
    "cream-spearman": ("spearman", "implicit:M1", "mean_loglik:M0"),
    "cream-toporder": ("toporder", "implicit:M1", "mean_loglik:M0"),
    "reward-model": ("kendall", "implicit:M1", "reward_model:rm"),
}
PER_PROMPT = {"cream-dynamic", "cream-anchored", "anchored-permuted"}
CURRENT = ("implicit:M1",)
MEMBERS = ("implicit:M1", "mean_loglik:M0")
RANKED_BY = {
    **dict.fromkeys(list_shipped_methods(), CURRENT),
    **{name: MEMBERS for name in list_shipped_methods() if name.startswith("ensemble-")},
    "oracle": ("oracle",),
    "random": ("random",),
    "vote": ("votes",),
    "srlm-judge": ("judge:M1",),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("methods") / "store"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_judge(folder / "lm")
    save_reward_model(folder / "rm")
    return folder


def build(method: str, models: Path, *overrides: str) -> RunConfig:
    if method == "srlm-judge":
        return build_judge_config(models, *overrides)
    given = (f"scoring.reward_models.rm.path={models / 'rm'}",) if method == "reward-model" else ()
    return build_config(*QUICK, *given, *overrides, method=method, name=method)


class Found:
    """What a run has stored of an iteration."""

    def __init__(self, run: InProcessRun, t: int = 1) -> None:
        with closing(open_reader(run.root)) as reader:
            parts = [spec.label for spec in run.specs if (spec.name, spec.iteration) == ("score", t)]
            scores = read_scores(reader, [run.get_id(label) for label in (*parts, f"pair t={t}")])
            agreements = read_agreements(reader, [run.get_id(f"agree t={t}")])
            self.responses = read_responses(reader, run.get_id(f"sample t={t}"))
            self.pairs = {pair.prompt_id: pair for pair in read_pairs(reader, run.get_id(f"pair t={t}"))}
            self.metrics = {
                m.name: m.value for m in read_run_metrics(reader, run.run.run_id) if m.label == f"pair t={t}"
            }
            trained = f"train M{t + 1}"
            self.checkpoint = read_checkpoint(reader, run.get_id(trained))
        self.scores = {(row.scorer, row.prompt_id, row.k): row.score for row in scores}
        self.agreements: dict[tuple[str, str, str], dict[str, AgreementRow]] = {}
        for row in agreements:
            self.agreements.setdefault((row.measure, row.scorer, row.against), {})[row.prompt_id] = row
        self.groups: dict[str, list[ResponseRow]] = {}
        for response in self.responses:
            self.groups.setdefault(response.prompt_id, []).append(response)

    @property
    def kept(self) -> list[PairRow]:
        return [pair for pair in self.pairs.values() if pair.skip_reason is None]


def find_sides(pair: PairRow) -> tuple[int, int]:
    assert pair.chosen_k is not None and pair.rejected_k is not None
    return pair.chosen_k, pair.rejected_k


def expect_rewards(method: str, found: Found, prompt_id: str) -> list[float | None]:
    """Rewards by numpy alone, from the scores that are stored."""
    ks = [response.k for response in found.groups[prompt_id]]
    columns = [[found.scores[scorer, prompt_id, k] for k in ks] for scorer in RANKED_BY[method]]
    if len(columns) == 1:
        return columns[0]
    members = np.array(columns, dtype=float)
    spread = members.std(axis=1, keepdims=True)
    members = np.divide(members - members.mean(axis=1, keepdims=True), spread, out=0 * members, where=spread > 0)
    half_gap = abs(members[0] - members[1]) / 2  # the population standard deviation of two numbers
    mean = members.mean(axis=0)
    kind = method.split("-")[-1]
    rewards = {"mean": mean, "min": members.min(axis=0), "lcb": mean - half_gap / 2, "uwo": mean - half_gap**2 / 2}
    return list(rewards[kind])


def expect_confidences(method: str, found: Found) -> Mapping[str, float]:
    """C of each pair from agreements and answers that are stored."""
    if method in FIXED_C or method in CERTAIN:
        return {pair.prompt_id: FIXED_C.get(method, 1.0) for pair in found.kept}
    if method == "vote":
        votes = {p: Counter(r.extracted for r in group) for p, group in found.groups.items()}
        sides = {
            pair.prompt_id: [found.groups[pair.prompt_id][k].extracted for k in find_sides(pair)] for pair in found.kept
        }
        return {
            p: votes[p][chosen] / (votes[p][chosen] + votes[p][rejected]) for p, (chosen, rejected) in sides.items()
        }
    values = {p: row.value for p, row in found.agreements[AGREEMENT[method]].items() if row.value is not None}
    rates = {p: value if method == "cream-toporder" else (value + 1) / 2 for p, value in values.items()}
    if method in PER_PROMPT:
        return rates
    return dict.fromkeys(found.pairs, statistics.fmean(rates.values()))


def test_every_method_has_a_row_here() -> None:
    methods = list_shipped_methods()
    assert len(methods) == N_METHODS
    assert set(methods) == set(AGREEMENT) | CERTAIN | set(FIXED_C) | {"vote"}


@pytest.mark.parametrize("method", list_shipped_methods())
def test_a_method_ranks_and_weighs_as_its_table_row_says(method: str, models: Path, root: Path) -> None:
    found = Found(run_here(root, build(method, models)))
    assert len(found.kept) >= 4
    for pair in found.kept:
        rewards = expect_rewards(method, found, pair.prompt_id)
        present = [reward for reward in rewards if reward is not None]
        chosen, rejected = find_sides(pair)
        assert (pair.chosen_reward, pair.rejected_reward) == pytest.approx((max(present), min(present)))
        assert (rewards[chosen], rewards[rejected]) == pytest.approx((max(present), min(present)))
    given = {pair.prompt_id: pair.confidence for pair in found.kept}
    expected = expect_confidences(method, found)
    if method == "anchored-permuted":
        assert sorted(c for c in given.values() if c is not None) == pytest.approx(sorted(expected.values()))
        assert given != expected
    else:
        assert given == pytest.approx({prompt_id: expected[prompt_id] for prompt_id in given})
    if method == "agreement-filter":
        rates = {p: row.consistency_rate for p, row in found.agreements[PREVIOUS].items()}
        assert all((rates[pair.prompt_id] or 0) >= 0.75 for pair in found.kept)
        dropped = [p for p, pair in found.pairs.items() if pair.skip_reason == LOW_AGREEMENT]
        assert dropped and all((rates[p] or 0) < 0.75 for p in dropped)
    if method == "vote":
        assert all((pair.confidence or 0) > 0.5 for pair in found.kept)
    assert found.checkpoint is not None and found.checkpoint.digest != found.checkpoint.parent_digest


def test_methods_share_what_they_have_in_common(models: Path, root: Path) -> None:
    """After the first, a method computes what ranks, the pairs and the training; run again, nothing at all."""
    run_here(root, build("srlm", models))
    other = InProcessRun(root, build("cream", models, "training.learning_rate=2e-4"))
    other.go()
    other.end()
    assert other.n_computed <= 3  # agree, pair and train; the test of cream may have done the first two
    again = InProcessRun(root, build("cream", models, "training.learning_rate=2e-4"))
    again.go()
    again.end()
    assert again.n_computed == 0


@pytest.fixture(scope="module")
def plain(models: Path, root: Path) -> Found:
    """The pairs of cream-dynamic without a setting."""
    return Found(run_here(root, build("cream-dynamic", models), until="pair t=1"))


def pair_with(override: str, models: Path, root: Path) -> Found:
    return Found(run_here(root, build("cream-dynamic", models, override), until="pair t=1"))


def find_all_sides(found: Found) -> dict[str, tuple[int, int]]:
    return {pair.prompt_id: find_sides(pair) for pair in found.kept}


def find_confidences(found: Found) -> dict[str, float]:
    return {pair.prompt_id: pair.confidence for pair in found.kept if pair.confidence is not None}


def test_a_length_penalty_is_taken_off_every_reward(models: Path, root: Path, plain: Found) -> None:
    found = pair_with("method.aggregate.length_penalty=0.5", models, root)
    for response in found.responses:
        key = (response.prompt_id, response.k)
        score = plain.scores["implicit:M1", *key]
        assert score is not None
        assert found.scores["aggregate", *key] == pytest.approx(score - 0.5 * len(response.token_ids))
    assert find_all_sides(found) != find_all_sides(plain)
    assert find_confidences(found) == find_confidences(plain)  # the agreement is between scores, not rewards


def test_a_random_rejected_keeps_chosen_and_ranks_below_it(models: Path, root: Path, plain: Found) -> None:
    found = pair_with("method.pairs.strategy=max_random", models, root)
    sides, lowest = find_all_sides(found), find_all_sides(plain)
    assert {prompt_id: k for prompt_id, (k, _) in sides.items()} == {
        prompt_id: k for prompt_id, (k, _) in lowest.items()
    }
    assert sides != lowest and all((pair.margin or 0) > 0 for pair in found.kept)


def test_pairs_below_a_margin_are_left_out_with_the_reason(models: Path, root: Path, plain: Found) -> None:
    margins = {pair.prompt_id: pair.margin or 0.0 for pair in plain.kept}
    threshold = statistics.median_high(margins.values())
    found = pair_with(f"method.pairs.min_margin={threshold}", models, root)
    small = {prompt_id for prompt_id, margin in margins.items() if margin < threshold}
    assert small and {p for p, pair in found.pairs.items() if pair.skip_reason == SMALL_MARGIN} == small
    assert find_all_sides(found) == {p: sides for p, sides in find_all_sides(plain).items() if p not in small}


def test_the_map_of_tau_to_c_and_shrinkage(models: Path, root: Path, plain: Found) -> None:
    rates = find_confidences(plain)
    taus = {prompt_id: 2 * rate - 1 for prompt_id, rate in rates.items()}
    exact = find_confidences(pair_with("method.confidence.c_map=exact", models, root))
    assert exact == pytest.approx({prompt_id: (3 - tau) / (2 * (2 - tau)) for prompt_id, tau in taus.items()})
    shrunk = find_confidences(pair_with("method.confidence.shrinkage=0.5", models, root))
    mean = statistics.fmean(
        r.consistency_rate for r in plain.agreements[PREVIOUS].values() if r.consistency_rate is not None
    )
    assert shrunk == pytest.approx({prompt_id: (rate + mean) / 2 for prompt_id, rate in rates.items()})


def test_what_stands_in_for_the_previous_model_at_the_first_iteration(models: Path, root: Path) -> None:
    skipped = pair_with("scoring.first_iteration=skip", models, root)
    assert set(find_confidences(skipped).values()) == {1.0}
    summed = pair_with("scoring.first_iteration=sum_loglik", models, root)
    rates = {p: row.consistency_rate for p, row in summed.agreements["kendall", "implicit:M1", "sum_loglik:M0"].items()}
    assert find_confidences(summed) == {prompt_id: rates[prompt_id] for prompt_id in find_all_sides(summed)}


def test_the_anchor_is_the_base_model_at_every_iteration(models: Path, root: Path) -> None:
    """At t = 2, where cream compares with M1, the anchored C is still the agreement with M0's mean log-likelihood."""
    found = Found(run_here(root, build("cream-anchored", models, "iterations=2"), until="pair t=2"), t=2)
    rates = {p: row.consistency_rate for p, row in found.agreements["kendall", "implicit:M2", "mean_loglik:M0"].items()}
    others = {p: row.consistency_rate for p, row in found.agreements["kendall", "implicit:M2", "implicit:M1"].items()}
    given = {pair.prompt_id: pair.confidence for pair in found.kept}
    assert given == {p: rates[p] for p in given} != {p: others[p] for p in given}
    for first_iteration in ("mean_loglik", "sum_loglik", "skip"):
        config = load_run_config("sandbox", overrides=[f"scoring.first_iteration={first_iteration}"])
        assert {name_scorers(config, t)["mean_loglik:base"] for t in (1, 2, 3)} == {"mean_loglik:M0"}


def test_the_matrix_compares_with_every_earlier_model(models: Path, root: Path) -> None:
    """scipy's tau-b over distinct responses is tau-a where no rewards are equal, and those of floats are not."""
    config = build("cream", models, "iterations=3", "scoring.tau_matrix=true")
    run = run_here(root, config, until="pair t=3")
    label = "agree t=3 (matrix)"
    with closing(open_reader(root)) as reader:
        rows = read_agreements(reader, [run.get_id(label)])
        metrics = {m.name: m.value for m in read_run_metrics(reader, run.run.run_id) if m.label == label}
        previous = next(
            m.value
            for m in read_run_metrics(reader, run.run.run_id)
            if (m.label, m.name) == ("agree t=3", "tau_previous")
        )
    assert {(row.scorer, row.against) for row in rows} == {("implicit:M3", "implicit:M1")}
    assert metrics["tau_M2"] == pytest.approx(previous)
    found = Found(run, t=3)
    taus = []
    for prompt_id, group in found.groups.items():
        distinct = {response.token_ids: response.k for response in group}.values()
        if len(distinct) > 1:
            sides = [[found.scores[f"implicit:M{t}", prompt_id, k] for k in distinct] for t in (3, 1)]
            taus.append(float(kendalltau(*sides).statistic))
    assert sorted(row.value for row in rows if row.value is not None) == pytest.approx(sorted(taus))
    assert metrics["tau_M1"] == pytest.approx(statistics.fmean(taus))


@pytest.mark.parametrize(
    ("method", "key", "value"),
    [("agreement-filter", "method.pairs.min_consistency", 1.0), ("srlm", "method.pairs.min_margin", 1e6)],
)
def test_a_threshold_that_no_pair_reaches_is_named(
    method: str, key: str, value: float, models: Path, tmp_path: Path
) -> None:
    """Two prompts of five responses at a high temperature have no tau of 1 here."""
    overrides = (f"{key}={value}", "data.prompts_per_iteration=2", "sampling.temperature=1.2")
    with pytest.raises(
        TrainingError, match=r"no pair to train on \((agreement|margin) below the threshold: 2 of 2"
    ) as caught:
        run_here(tmp_path / "store", build(method, models, *overrides), until="pair t=1")
    assert caught.value.hint == f"lower {key}"


@pytest.fixture
def voting(tmp_path: Path) -> InProcessRun:
    """A run by votes whose first responses are still to be written; its prompts have no known verifier."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "How many?", "answer": "42"}\n{"prompt": "Which?"}\n')
    overrides = [f"data.prompts={prompts}", "data.prompts_per_iteration=2", "sampling.n=4"]
    return InProcessRun(tmp_path / "store", build_config(*QUICK, *overrides, method="vote", name="voting"))


def write_responses(run: InProcessRun, texts: Mapping[str, tuple[str, ...]], tasks: Mapping[str, str | None]) -> None:
    rows: list[PromptRow | SampledPromptRow | ResponseRow] = []
    for position, (prompt_id, group) in enumerate(texts.items()):
        rows.append(PromptRow(prompt_id, prompt_id, "[]", None, tasks[prompt_id]))
        rows.append(SampledPromptRow(prompt_id, position, (1, 2)))
        rows += [
            ResponseRow(prompt_id, k, text, (position, k), "end", -1.0, extract_answer(text), None)
            for k, text in enumerate(group)
        ]
    spec = run.find("sample t=1")
    for earlier in run.specs[: run.specs.index(spec) + 1]:
        assert run.claim(earlier)
        if earlier is spec:
            write_stage_rows(run.store, run.get_id(spec.label), run.lease.token, rows)
        run.finish(earlier)


def read_votes(run: InProcessRun) -> dict[tuple[str, int], tuple[float | None, str | None]]:
    label = "score t=1 (votes)"
    assert run.claim(run.find(label))
    run.compute(run.find(label))
    with closing(open_reader(run.root)) as reader:
        return {(r.prompt_id, r.k): (r.score, r.missing_reason) for r in read_scores(reader, [run.get_id(label)])}


def test_votes_count_answers_that_are_equal_whatever_their_spelling(voting: InProcessRun) -> None:
    """42, 42.0 and $42 are one answer; a text without an answer has no votes, and gold is not asked for."""
    texts = {
        "numbers": ("It is so. Answer: 42", "Answer: 42.0", "#### $42", "Answer: 7"),
        "letters": ("Answer: B", "The answer is (B)", "Answer: C", "I cannot say what it is at all"),
    }
    write_responses(voting, texts, {"numbers": "exact", "letters": None})
    assert read_votes(voting) == {
        **{("numbers", k): (0.75, None) for k in range(3)},
        ("numbers", 3): (0.25, None),
        ("letters", 0): (0.5, None),
        ("letters", 1): (0.5, None),
        ("letters", 2): (0.25, None),
        ("letters", 3): (None, "no final answer found"),
    }


def test_votes_over_free_text_fail_with_what_to_do(voting: InProcessRun) -> None:
    text = "Once upon a time there was a king who had three daughters"
    write_responses(voting, {"p": (text,) * 4}, {"p": None})
    with pytest.raises(TaskError, match="no final answer found in any of the 4 responses of iteration 1") as caught:
        read_votes(voting)
    assert "Answer: B" in str(caught.value)
