"""Scores read from judgements, and a judge's agreement with itself."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.load import load_run_config
from engine.errors import ConfigError
from engine.method.judgement import compute_mean_score, compute_self_agreement, compute_within_sd, parse_score
from engine.tasks.judge_prompt import fill_judge_prompt, read_judge_prompt

READ = [
    ("Score: 4", 4),
    ("Score: 0", 0),
    ("SCORE: 5", 5),
    ("Score: 4.", 4),
    ("Score: 4.5", 4.5),
    ("Score: 04", 4),
    ("Score: +4", 4),
    ("Score:\n4", 4),
    ("Score: 3/5", 3),
    ("Score: 3 / 5", 3),
    ("Score: 3 out of 5", 3),
    ("Score: 4 (out of 5)", 4),
    ("The final score is three out of five.", 3),
    ("score is four", 4),
    ("Score: zero", 0),
    ("score 4", 4),
    ("Total score = 2", 2),
    ("Score out of 5: 4", 4),
    ("Score (out of 5): 3", 3),
    ("Score (0-5): 3", 3),
    ("Score (max 5): 4", 4),
    ("Score: 4 points", 4),
    ("**Score:** 4", 4),
    ("**Score**: 4/5", 4),
    ("Score: **4**", 4),
    ("Score: <4>", 4),
    ("Score: $4$", 4),
    (r"Score: \boxed{4}", 4),
    ("Score: 1 + 1 + 1 = 3", 3),
    ("I give it a score of 4 because 2 of the statements hold", 4),
    ("A score of 5 would need insight. Score: 2", 2),
    ("Score: 2\nOn reflection statement 3 holds too.\nScore: 3", 3),
    ("Score: 4\nThe score is good.", 4),
]
NOT_READ = [
    "",
    "The reply is helpful.",
    "It meets 3 of 5 statements.",
    "4/5",
    "I would give 4 points",
    "Score: <points>",
    "Score: N/A",
    "Score: high",
    "Score: 6",
    "Score: 6/5",
    "Score: -1",
    "Score: 10",
    "Score: 99999999999999999999",
    "Score: 8/10",
    "Score: 4 out of 10",
    "Score: 4/5/5",
    "Score: 80%",
    "Score: 3-4",
    "Score: 3 to 4",
    "Score: 3 or 4",
    "Score: three and a half",
    "Score: 4,5",
    "Score: 1 + 1 + 1",
    "Score: 1e0",
    "Score: 4th",
    "Score: 5-point scale",
    "Score: fourteen",
    "Score: ４",
    "scores: 4",
    "underscore: 4",
    "Score: 4\nScore: 7",
]


@pytest.mark.parametrize(("text", "score"), READ)
def test_a_stated_score_is_read(text: str, score: float) -> None:
    assert parse_score(text) == score


@pytest.mark.parametrize("text", NOT_READ)
def test_what_states_no_score_on_the_scale_is_missing_not_bad(text: str) -> None:
    assert parse_score(text) is None


@given(st.text(alphabet="scoreSCORE: 0123456789/.+-=*\nisofut", max_size=200))
def test_any_text_gives_a_score_on_the_scale_or_none(text: str) -> None:
    score = parse_score(text)
    assert score is None or 0 <= score <= 5


def test_missing_judgements_do_not_enter_the_mean() -> None:
    assert compute_mean_score([4.0, None, 1.0]) == 2.5
    assert compute_mean_score([None, None]) is None


def test_self_agreement_by_hand() -> None:
    """Responses judged (1, 1), (3, 5); a single judgement does not enter.

    Within: ordered pairs of (3, 5) give 2 * 4 = 8 over m - 1 = 1: 8. Pooled 1, 1, 3, 5: squared differences of
    unordered pairs 0 + 4 + 16 + 4 + 16 + 4 = 44, ordered 88, over n - 1 = 3. Alpha = 1 - 8 / (88 / 3) = 1 - 3 / 11.
    """
    assert compute_self_agreement([[1, 1], [3, 5, None], [0], [None, 2]]) == pytest.approx(1 - 3 / 11)


@given(st.lists(st.lists(st.sampled_from([None, 0.0, 1.0, 2.5, 5.0]), max_size=5), max_size=8))
def test_self_agreement_and_spread_equal_their_definitions(judgements: list[list[float | None]]) -> None:
    units = [[s for s in unit if s is not None] for unit in judgements]
    units = [unit for unit in units if len(unit) > 1]
    pooled = [s for unit in units for s in unit]
    between = [(a - b) ** 2 for a, b in itertools.permutations(pooled, 2)]
    if not pooled or not any(between):
        assert compute_self_agreement(judgements) is None
    else:
        within = sum(
            sum((a - b) ** 2 for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in units
        ) / len(pooled)
        alpha = 1 - within / (sum(between) / len(between))
        assert compute_self_agreement(judgements) == pytest.approx(alpha, abs=1e-12)
    if pooled:
        squares = sum(statistics.variance(unit) * (len(unit) - 1) for unit in units)
        assert compute_within_sd(judgements) == pytest.approx(math.sqrt(squares / (len(pooled) - len(units))))
    else:
        assert compute_within_sd(judgements) is None


def test_a_judge_of_one_mind_agrees_and_a_random_one_does_not() -> None:
    assert compute_self_agreement([[1, 1, 1], [4, 4, 4]]) == 1
    assert compute_self_agreement([[0, 5], [0, 5], [5, 0]]) < 0


def test_the_shipped_prompt_asks_for_what_is_parsed() -> None:
    template = read_judge_prompt(load_run_config("sandbox"))
    asked = fill_judge_prompt(template, prompt="What is 1 + 1?", response="2")
    assert "What is 1 + 1?" in asked and asked.rstrip().splitlines()[-1].startswith("Score:")
    assert parse_score(asked) is None  # a model that repeats the prompt has judged nothing
    assert parse_score(asked.replace("<points>", "3")) == 3


def test_judged_texts_with_braces_stay_as_they_are() -> None:
    filled = fill_judge_prompt("Q {prompt} A {response}", prompt="{response} {0} \\1", response="{prompt}")
    assert filled == "Q {response} {0} \\1 A {prompt}"


@pytest.mark.parametrize(
    ("content", "part"),
    [(b"grade {prompt}", "lacks {response}"), (b"\xff{prompt}{response}", "UTF-8"), (None, "No such file")],
)
def test_a_prompt_file_that_cannot_serve_is_refused(tmp_path, content, part) -> None:
    path = tmp_path / "mine.txt"
    if content is not None:
        path.write_bytes(content)
    config = load_run_config("sandbox", overrides=[f"scoring.judge.prompt={path}"])
    with pytest.raises(ConfigError, match=part) as caught:
        read_judge_prompt(config)
    assert caught.value.key == "scoring.judge.prompt"
    assert str(path) in caught.value.message
